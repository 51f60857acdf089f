"""A channel as the transport of any Twisted protocol: to connect through, or listen at, the far
side.

Rule: to the protocol it is a transport as TCP's is. Nothing arrives while it is paused, nothing is
lost when it ends meanwhile, either direction may end by itself, and `connectionLost` comes once.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from limpet.core.outbound import OutboundBuffer
from limpet.ssh.channel import SSHChannel
from limpet.ssh.forwarding.channels import FORWARDING_MAX_PACKET, FORWARDING_WINDOW

DELIVERED_AT_ONCE = 65536
"""Most bytes that waited which a protocol is given in one piece (what Twisted's TCP reads)."""


class StreamChannel(SSHChannel):
    """A channel that carries a protocol.

    Args:
        protocol: What it carries; gets its transport when the channel is open.
        name: The channel's type.
        peer: The address at the far end.
        host: The address at this end; None for that of the SSH transport.
        reactor: What the protocol's timers run on, where it asks its transport for one.
        details: As for `SSHChannel`.
    """

    def __init__(
        self,
        protocol: Protocol,
        name: bytes,
        peer: IAddress,
        host: IAddress | None = None,
        reactor: Any = None,
        **details: Any,
    ) -> None:
        details.setdefault("localWindow", FORWARDING_WINDOW)
        details.setdefault("localMaxPacket", FORWARDING_MAX_PACKET)
        super().__init__(**details)
        self.name = name
        self.protocol = protocol
        self.reactor = reactor
        self.disconnecting = False
        self.connected = False
        self._peer = peer
        self._host = host
        self._waiting = OutboundBuffer()
        self._isDelivering = False
        self._eofWaits = False
        self._reason: Exception | None = None
        self._isOver = False

    # ── from the far side ─────────────────────────────────────────────────────────────────────

    def channelOpen(self, specificData: bytes) -> None:
        """Connect the protocol."""
        self.connected = True
        self.protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """Give the protocol its data; keep it while it is paused, at most one window."""
        if self.inputPaused or self._waiting or self._isDelivering:
            self._waiting.append(data)
        elif not self._isOver:
            self.protocol.dataReceived(data)

    def eofReceived(self) -> None:
        """The far side sends no more: the protocol hears of it behind the data."""
        self._eofWaits = True
        self._deliver()

    def closed(self) -> None:
        """The channel is gone: the protocol hears of it behind the data."""
        isWithAll = getattr(self.conn, "_stopped", False)
        self._end(ConnectionLost() if isWithAll else ConnectionDone())

    def _end(self, reason: Exception) -> None:
        if self._reason is None:
            self._reason = reason
        if self.disconnecting:
            # It has ended the connection itself, and takes nothing more.
            self._waiting.clear()
        self._deliver()

    def resumeProducing(self) -> None:
        """The protocol takes more."""
        super().resumeProducing()
        self._deliver()

    def _deliver(self) -> None:
        if self._isDelivering:
            return  # the loop below goes on
        self._isDelivering = True
        try:
            while self._waiting and not self.inputPaused and not self._isOver:
                self.protocol.dataReceived(self._waiting.take(DELIVERED_AT_ONCE))
        finally:
            self._isDelivering = False
        if self._waiting or self._isOver or (self.inputPaused and self._reason is None):
            return
        if self._eofWaits:
            self._eofWaits = False
            halfCloseable: Any = IHalfCloseableProtocol(self.protocol, None)
            if halfCloseable is not None:
                halfCloseable.readConnectionLost()
            elif self._reason is None:
                # As of TCP's transport, the end of one direction is the end to such a protocol.
                self._reason = ConnectionDone()
                self.loseConnection()
        if self._reason is not None and not self._isOver:
            self._isOver = True
            self.connected = False
            self.protocol.connectionLost(Failure(self._reason))

    # ── what the protocol may ask of its transport ────────────────────────────────────────────

    def loseConnection(self) -> None:
        """Close the channel behind all that was written."""
        self.disconnecting = True
        super().loseConnection()

    def abortConnection(self) -> None:
        """Close the channel at once; the protocol need not wait for the far side's word."""
        super().abortConnection()
        if self.reactor is not None:
            self.reactor.callLater(0, self._end, ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """Say that no more comes, behind all that was written; the far side may go on."""
        self.conn.sendEOF(self)

    def stopProducing(self) -> None:
        """As for any transport: end."""
        self.loseConnection()

    def getPeer(self) -> IAddress:
        """The address at the far end."""
        return self._peer

    def getHost(self) -> IAddress:
        """The address at this end."""
        return super().getHost() if self._host is None else self._host

    def getTcpNoDelay(self) -> bool:
        """Small pieces leave at once."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is so already."""

    def getTcpKeepAlive(self) -> bool:
        """The SSH connection has its own."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """The SSH connection has its own."""


class OutgoingStream(StreamChannel):
    """One that this end asks for: a subclass has the words for a failure.

    Attributes:
        outcome: A Deferred that fires with the protocol once it is connected; it fails with what
            `notOpened` gives. It may be cancelled, which closes the channel.
    """

    def __init__(self, *args: Any, **details: Any) -> None:
        super().__init__(*args, **details)
        self.outcome: Deferred[Any] = Deferred(lambda _: self.loseConnection())

    def channelOpen(self, specificData: bytes) -> None:
        """Connect the protocol, if somebody still waits for it."""
        if self.outcome.called:
            self.loseConnection()
            return
        super().channelOpen(specificData)
        self.outcome.callback(self.protocol)

    def openFailed(self, reason: Any) -> None:
        """The far side does not open it."""
        if not self.outcome.called:
            self.outcome.errback(self.notOpened(reason))

    def notOpened(self, reason: Any) -> Exception:
        """What `outcome` fails with.

        Args:
            reason: As for `SSHChannel.openFailed`.
        """
        raise NotImplementedError

    def closed(self) -> None:
        """The channel is gone; the protocol hears of it, if it was connected."""
        if self.connected:
            super().closed()
        else:
            self.openFailed(ConnectionLost())
