"""Connects a protocol to a command far away, by an endpoint: as with Conch, and with its errors.

    python examples/commandEndpoint.py USER HOST COMMAND...

The host has to be in `~/.ssh/known_hosts`; the key is `~/.ssh/id_ed25519`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from limpet.endpoints import CommandSucceeded, SSHCommandClientEndpoint
from limpet.ssh.keys import Key


class Printer(Protocol):
    """Passes on what comes, and says at the end how the command ended."""

    def __init__(self) -> None:
        self.ended: Deferred[Any] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def errReceived(self, data: bytes) -> None:
        sys.stderr.buffer.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.value)


async def main(reactor: Any, user: str, host: str, *command: str) -> None:
    endpoint = SSHCommandClientEndpoint.newConnection(
        reactor,
        " ".join(command).encode(),
        user.encode(),
        host.encode(),
        keys=[Key.fromFile(Path.home() / ".ssh" / "id_ed25519")],
    )
    protocol = await endpoint.connect(Factory.forProtocol(Printer))
    reason = await protocol.ended
    if isinstance(reason, CommandSucceeded):
        print("it succeeded")
    elif isinstance(reason, ProcessTerminated):
        print(f"it ended with status {reason.exitCode}, signal {reason.signal}")
    else:
        print(f"nobody knows how it ended: {reason}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        print("usage: commandEndpoint.py USER HOST COMMAND...", file=sys.stderr)
        sys.exit(2)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
