"""What `limpet.client.agent` gets out of the agent at SSH_AUTH_SOCK, as one JSON object.

python agentClient.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from typing import Any

from twisted.internet import defer, task
from twisted.internet.defer import Deferred

from limpet.client.agent import connectToAgent
from limpet.ssh.agent import AgentRefused, Constraints
from limpet.ssh.keys import Key
from tests.agents import HOST_KEY, SESSION, bindTo, fileToSign, login


@defer.inlineCallbacks
def exercise(reactor: Any) -> Generator[Deferred[Any], Any, None]:
    said: dict[str, Any] = {}
    agent = yield connectToAgent(reactor)
    keys = [
        Key.generate(kind, size)
        for kind, size in (("ed25519", None), ("ecdsa", 256), ("ecdsa", 521), ("rsa", 2048))
    ]
    for key in keys:
        yield agent.addIdentity(key.privateBlob(), key.type().encode())
    listed = yield agent.requestIdentities()
    said["listed"] = [comment.decode() for _, comment in listed]
    said["same"] = [blob for blob, _ in listed] == [key.blob() for key in keys]
    said["signed"] = []
    for key in keys:
        data = login(key)
        signature = yield agent.signData(key.blob(), data)
        said["signed"].append(key.verify(signature, data))
    signature = yield agent.signData(keys[0].blob(), fileToSign())
    said["file"] = keys[0].verify(signature, fileToSign())
    yield agent.addIdentity(keys[0].privateBlob(), b"again", Constraints(lifetimeSeconds=1000))
    yield agent.removeIdentity(keys[1].blob())
    listed = yield agent.requestIdentities()
    said["left"] = len(listed)
    yield agent.lock(b"secret")
    listed = yield agent.requestIdentities()
    said["locked"] = len(listed)
    try:
        yield agent.unlock(b"wrong")
    except AgentRefused:
        said["wrong"] = "refused"
    yield agent.unlock(b"secret")
    said["bound"] = (yield agent.bindSession(bindTo(HOST_KEY, SESSION))) is None
    signature = yield agent.signData(keys[0].blob(), login(keys[0]))
    said["after"] = keys[0].verify(signature, login(keys[0]))
    yield agent.removeAllIdentities()
    listed = yield agent.requestIdentities()
    said["end"] = len(listed)
    agent.disconnect()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    task.react(exercise)
