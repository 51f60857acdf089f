"""Fetches a file, and reaches a port that only the host over there reaches, on one connection.

    python examples/filesAndForwarding.py [user@]HOST REMOTE_FILE LOCAL_FILE INNER_HOST:PORT

The port is forwarded to one here that the system chooses; a line is read from it.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import react

import limpet


class FirstLine(Protocol):
    """Waits for the first line."""

    def __init__(self) -> None:
        self.data = b""
        self.line: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if b"\n" in self.data and not self.line.called:
            self.line.callback(self.data.partition(b"\n")[0])


async def main(reactor: Any, host: str, remote: str, local: str, inner: str) -> None:
    async with await limpet.connect(host) as client:
        files = await client.files()
        await files.get(remote, local)
        forward = await client.forwardLocal(f"0:{inner}")
        here = HostnameEndpoint(reactor, "127.0.0.1", forward.port)
        protocol = await connectProtocol(here, FirstLine())
        print((await protocol.line).decode())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        print(
            "usage: filesAndForwarding.py [user@]HOST REMOTE_FILE LOCAL_FILE INNER_HOST:PORT",
            file=sys.stderr,
        )
        sys.exit(2)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
