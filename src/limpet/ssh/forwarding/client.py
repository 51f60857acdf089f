"""The protocol at the socket's side of a forwarded connection, and the socket's half of its end.

Rule: each direction ends by itself. The end of what the socket sends becomes EOF on the channel,
EOF on the channel shuts the socket for writing; when both are done, or one side breaks, all ends.
Neither side is read faster than the other takes it.

    socket ──► dataReceived ──► channel.write        window used up ──► socket paused
    socket ◄── transport.write ◄── channel.dataReceived     socket full ──► no more window

RFC 4254 section 5.3 and 7.2.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

LINGER_SECONDS = 60.0
"""How long a socket whose channel is closed may take none of what is still to be sent to it."""


@implementer(IHalfCloseableProtocol)
class SSHForwardingClient(Protocol):
    """Joins a socket to a channel.

    Args:
        channel: An `SSHChannel`, open or being opened: what comes before it is open waits in it.
            None for one that is joined later.

    Attributes:
        channel: The channel; None once either of the two is gone.
        buf: Empty; what waits, waits in the channel.
    """

    channel: Any
    buf = b""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._gatherer: Any = None
        self._socketEnded = False
        self._channelEnded = False
        self._isOver = False
        self._lingerTimer: Any = None
        self._isProduced = False
        self._isGathering = False

    def connectionMade(self) -> None:
        """The socket is there: let each side hold up the other."""
        if self._isOver:
            self._leave()
        elif self.channel is not None:
            self._join()

    def joinTo(self, channel: Any) -> None:
        """Join the socket, which is there already, to a channel."""
        self.channel = channel
        self._join()

    def _join(self) -> None:
        register = getattr(self.channel, "registerProducer", None)
        transport: Any = self.transport
        if register is not None and hasattr(transport, "registerProducer"):
            self._isProduced = True
            transport.registerProducer(self.channel, True)
            if self._channelEnded:
                self._endWriting()
            register(transport, True)
        elif self._channelEnded:
            self._endWriting()

    def gatherIn(self, gatherer: Any) -> None:
        """Have what one read of the socket causes leave in one go.

        Args:
            gatherer: The transport under the SSH connection; used if it is a `limpet.streams` one.
        """
        if all(hasattr(gatherer, name) for name in ("gather", "release", "whenRead")):
            self._gatherer = gatherer

    def dataReceived(self, data: bytes) -> None:
        """The socket sends."""
        if self.channel is None:
            return
        gatherer = self._gatherer
        if gatherer is None:
            self.channel.write(data)
            return
        gatherer.gather()
        try:
            self.channel.write(data)
        finally:
            gatherer.release()

    def send(self, data: bytes) -> None:
        """Send to the socket what the channel brings; all that one read brings in one go."""
        transport: Any = self.transport
        gatherer = self._gatherer
        if (
            gatherer is not None
            and not self._isGathering
            and hasattr(transport, "gather")
            and gatherer.whenRead(self._release)
        ):
            self._isGathering = True
            transport.gather()
        transport.write(data)

    def _release(self) -> None:
        self._isGathering = False
        transport: Any = self.transport
        transport.release()

    def readConnectionLost(self) -> None:
        """The socket sends no more."""
        self._socketEnded = True
        channel = self.channel
        if channel is not None:
            # It must not be told to go on reading: it would read its end again.
            if hasattr(channel, "unregisterProducer"):
                channel.unregisterProducer()
            if channel.conn is not None:
                channel.conn.sendEOF(channel)
        if self._channelEnded:
            self._leave()

    def writeConnectionLost(self) -> None:
        """The socket has got all that the channel sent, and its end."""
        if self._socketEnded:
            self._leave()

    def channelEnded(self) -> None:
        """EOF on the channel: when all of it is sent, the socket is shut for writing."""
        self._channelEnded = True
        if self.transport is not None:
            self._endWriting()

    def _endWriting(self) -> None:
        transport: Any = self.transport
        self._unregister()
        if hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()
        elif self._socketEnded:
            transport.loseConnection()

    def _unregister(self) -> None:
        # A transport with a producer that is paused never comes to its end.
        if self._isProduced:
            self._isProduced = False
            transport: Any = self.transport
            transport.unregisterProducer()

    def channelClosed(self) -> None:
        """The channel is gone: send what there is, and end."""
        self._forgetChannel()
        self._isOver = True
        if self.transport is not None:
            self._leave()

    def abort(self) -> None:
        """The channel never came about: end as a connection ends that is refused."""
        self._forgetChannel()
        self._isOver = True
        if self.transport is not None:
            transport: Any = self.transport
            end = getattr(transport, "abortConnection", transport.loseConnection)
            end()

    def _forgetChannel(self) -> None:
        channel, self.channel = self.channel, None
        self._gatherer = None
        if channel is not None and hasattr(channel, "unregisterProducer"):
            channel.unregisterProducer()

    def _leave(self) -> None:
        transport: Any = self.transport
        self._unregister()
        transport.loseConnection()
        reactor = getattr(transport, "reactor", None)
        if reactor is not None and self._lingerTimer is None and transport.connected:
            self._lingerTimer = reactor.callLater(
                LINGER_SECONDS, self._lingered, _unsentBytes(transport)
            )

    def _lingered(self, before: int) -> None:
        transport: Any = self.transport
        left = _unsentBytes(transport)
        if left < before:
            self._lingerTimer = transport.reactor.callLater(LINGER_SECONDS, self._lingered, left)
        else:
            self._lingerTimer = None
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is gone: close the channel behind what it sent."""
        if self._lingerTimer is not None:
            self._lingerTimer.cancel()
            self._lingerTimer = None
        channel = self.channel
        self._forgetChannel()
        if channel is not None:
            channel.loseConnection()


def _unsentBytes(transport: Any) -> int:
    """How much of what was written to a socket's transport the system has not taken yet."""
    prompt: int | None = getattr(transport, "_pendingBytes", None)
    if prompt is not None:
        return prompt
    joined = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
    return joined + int(getattr(transport, "_tempDataLen", 0))
