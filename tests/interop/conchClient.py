"""Conch's own client for the tests, in a process of its own, because Conch installs a reactor.

    python conchClient.py PORT USER KEY KNOWN_HOSTS COMMAND

Runs the command through `SSHCommandClientEndpoint`, passes standard input on at once and ends it,
prints the output, and ends with the command's exit status.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from twisted.conch.client.knownhosts import KnownHostsFile
from twisted.conch.endpoints import SSHCommandClientEndpoint
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ProcessTerminated
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.python.filepath import FilePath

DRAIN_POLL_SECONDS = 0.02


class Conversation(Protocol):
    """Writes all of standard input, ends it, and copies what comes back."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(sys.stdin.buffer.read())
        self.endInput()

    def endInput(self) -> None:
        """Send EOF when the buffer has drained: Conch itself lets EOF overtake the data."""
        transport: Any = self.transport
        if transport.buf:
            reactor: Any = importlib.import_module("twisted.internet.reactor")
            reactor.callLater(DRAIN_POLL_SECONDS, self.endInput)
        else:
            transport.conn.sendEOF(transport)

    def dataReceived(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        sys.stdout.buffer.flush()
        if reason.check(ProcessTerminated):
            self.ended.callback(reason.value.exitCode)
        elif reason.check(ConnectionDone):
            self.ended.callback(0)
        else:
            self.ended.errback(reason)


async def run(reactor: Any, port: str, user: str, key: str, knownHosts: str, command: str) -> None:
    # Conch's own annotations are incomplete.
    keys: Any = Key
    endpoints: Any = SSHCommandClientEndpoint
    endpoint = endpoints.newConnection(
        reactor,
        command.encode(),
        user.encode(),
        "127.0.0.1",
        int(port),
        keys=[keys.fromFile(key)],
        knownHosts=KnownHostsFile.fromPath(FilePath(knownHosts)),
    )
    conversation = Conversation()
    await endpoint.connect(Factory.forProtocol(lambda: conversation))
    raise SystemExit(await conversation.ended)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, *sys.argv[1:6])))
