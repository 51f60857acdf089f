"""What AsyncSSH and Paramiko get out of the agent at SSH_AUTH_SOCK, as one JSON object.

python agentPeers.py asyncssh | paramiko
python agentPeers.py asyncssh PORT USER KNOWN_HOSTS     the same agent, forwarded to a server
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from limpet.ssh.keys import Key
from tests.agents import login


async def byAsyncssh() -> dict[str, Any]:
    import asyncssh

    said: dict[str, Any] = {}
    keys = [
        asyncssh.generate_private_key(name, comment=name)
        for name in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
    ]
    async with asyncssh.connect_agent(os.environ["SSH_AUTH_SOCK"]) as agent:
        await agent.add_keys(keys, lifetime=1000)
        listed = await agent.get_keys()
        said["listed"] = len(listed)
        await agent.lock("secret")
        said["locked"] = len(await agent.get_keys())
        await agent.unlock("secret")
        await agent.remove_keys(listed[:1])
        said["left"] = len(await agent.get_keys())
        await agent.remove_all()
    return said


def byParamiko() -> dict[str, Any]:
    import paramiko

    said: dict[str, Any] = {"signed": []}
    agent = paramiko.Agent()
    for found in agent.get_keys():
        key = Key.fromString(found.asbytes(), type="blob")
        algorithm = "rsa-sha2-256" if key.type() == "RSA" else None
        name = None if algorithm is None else algorithm.encode()
        data = login(key, algorithm=name)
        signature = found.sign_ssh_data(data, algorithm)
        said["signed"].append(key.verify(signature, data))
    agent.close()
    return said


async def forwardedByAsyncssh(port: int, user: str, knownHosts: str) -> dict[str, Any]:
    import asyncssh

    async with asyncssh.connect(
        "127.0.0.1",
        port,
        username=user,
        known_hosts=knownHosts,
        config=None,
        agent_forwarding=True,
    ) as connection:
        done = await connection.run("ssh-add -l")
    return {"listed": len(str(done.stdout).splitlines())}


def main(peer: str, *arguments: str) -> None:
    if arguments:
        said = asyncio.run(forwardedByAsyncssh(int(arguments[0]), arguments[1], arguments[2]))
    else:
        said = asyncio.run(byAsyncssh()) if peer == "asyncssh" else byParamiko()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
