"""An SFTP server that is a program here, spoken to over its pipes (`limpet sftp -D`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from limpet.ssh.filetransfer.client import FileTransferClient


class PipeTransport(ProcessProtocol):
    """The program, as a transport of the client and as its process protocol.

    Args:
        client: What speaks SFTP with the program.
        told: Called with what the program says on standard error.
    """

    def __init__(
        self, client: FileTransferClient, told: Callable[[bytes], object] | None = None
    ) -> None:
        self.client = client
        self._told = told

    def connectionMade(self) -> None:
        self.client.makeConnection(self)  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def outReceived(self, data: bytes) -> None:
        self.client.dataReceived(data)

    def errReceived(self, data: bytes) -> None:
        if self._told is not None:
            self._told(data)

    def outConnectionLost(self) -> None:
        self.client.connectionLost(Failure(ConnectionLost()))

    def processEnded(self, reason: Failure) -> None:
        self.client.connectionLost(Failure(ConnectionLost()))


def spawnSFTP(
    reactor: Any,
    command: Sequence[str],
    told: Callable[[bytes], object] | None = None,
    environment: Any = None,
) -> FileTransferClient:
    """Start an SFTP server here.

    Args:
        reactor: Starts it.
        command: The program and its arguments.
        told: Called with what it says on standard error.
        environment: Its environment; None for this process's own.

    Returns:
        A client that is connected to it.
    """
    client = FileTransferClient()
    reactor.spawnProcess(PipeTransport(client, told), command[0], list(command), env=environment)
    return client
