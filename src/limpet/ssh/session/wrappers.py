"""Adapters between a stream `Protocol` and the two sides of a process, for subsystems and shells.

Rule: each of them passes calls on and keeps no data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.python.failure import Failure


class ProtocolAsTransport:
    """A transport that hands what is written to a protocol, as if the protocol had received it.

    Args:
        proto: A `Protocol`, or a `ProcessProtocol` that gets the data as a process's output.
    """

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self._receive = getattr(proto, "dataReceived", None) or proto.outReceived
        self._lost = False

    def dataReceived(self, data: bytes) -> None:
        """Send `data` where the protocol sends its own."""
        self.proto.transport.write(data)

    def write(self, data: bytes) -> None:
        """The protocol receives `data`."""
        self._receive(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """The protocol receives the pieces of `data` as one."""
        self._receive(b"".join(data))

    def loseConnection(self) -> None:
        """The protocol's connection is lost, cleanly; the first call counts."""
        if not self._lost:
            self._lost = True
            self.connectionLost(Failure(ConnectionDone()))

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol that, and why, its connection is lost."""
        self.proto.connectionLost(reason)

    def getHost(self) -> Any:
        """The address of this end of the protocol's own transport."""
        return self.proto.transport.getHost()

    def getPeer(self) -> Any:
        """The address of the other end of the protocol's own transport."""
        return self.proto.transport.getPeer()


class ProcessAsTransport(ProtocolAsTransport):
    """The same for a `ProcessProtocol`: a lost connection is the end of its process."""

    def connectionLost(self, reason: Failure) -> None:
        self.proto.processEnded(reason)


class ProtocolAsProcess(ProcessProtocol):
    """A process protocol that hands a process's output to a stream protocol.

    Args:
        proto: The `Protocol`.
    """

    def __init__(self, proto: Protocol) -> None:
        self.proto = proto

    def connectionMade(self) -> None:
        if self.transport is None:
            self.proto.connectionMade()
        else:
            self.proto.makeConnection(self.transport)

    def outReceived(self, data: bytes) -> None:
        self.proto.dataReceived(data)

    def processEnded(self, reason: Failure) -> None:
        self.proto.connectionLost(reason)


def wrapProtocol(proto: Any) -> ProtocolAsTransport:
    """A transport that hands what is written to `proto`; its attribute `proto` is `proto`."""
    if isinstance(proto, Protocol) or not hasattr(proto, "processEnded"):
        return ProtocolAsTransport(proto)
    return ProcessAsTransport(proto)


def wrapProcessProtocol(proto: Any) -> Any:
    """A process protocol that hands its output to `proto`; not for what is one already."""
    if isinstance(proto, Protocol):
        return ProtocolAsProcess(proto)
    return proto


class SSHSessionClient(Protocol):
    """Passes on to its transport what it receives: a terminal's end of a session."""

    def dataReceived(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)
