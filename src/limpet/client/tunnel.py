"""A connection inside a connection: the way through a jump host (RFC 4254 section 7.2).

Rule: to the protocol on top the channel is a transport as any other: its producer is paused, its
end told once; a channel that fails ends the inner connection, and an inner connection that ends
closes the channel. `ConnectionDone` says that the channel alone is closed, `ConnectionLost` that
the connection to the jump host is gone with it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.address import HostnameAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from limpet.client.errors import ConnectFailed, shown
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.wire.fields import NS, u32

WINDOW = 2 << 20
"""What the server may have under way to us (the same for every bulk channel of the client)."""

MAX_PACKET = 65536
"""Largest piece of data we take."""

ORIGIN = (b"127.0.0.1", 65535)
"""What direct-tcpip tells of where the connection comes from; there is no such place (ssh sends the
same)."""


class TunnelChannel(SSHChannel):
    """A direct-tcpip channel that carries a protocol of our own.

    Args:
        reactor: What the protocol's timers run on.
        jumpHost: The name of the server, for a person.
        host: Where it is to connect to, by a name that it knows.
        port: The port there.
        factory: Makes the protocol.

    Attributes:
        connected: A Deferred that fires with the protocol once it is connected.
    """

    name = b"direct-tcpip"

    def __init__(self, reactor: Any, jumpHost: str, host: str, port: int, factory: Any) -> None:
        super().__init__(localWindow=WINDOW, localMaxPacket=MAX_PACKET)
        self.reactor = reactor
        self._jumpHost = shown(jumpHost)
        self._destination = HostnameAddress(host.encode("idna"), port)
        self._factory = factory
        self._protocol: Any = None
        self._ended = False
        self._isClosedByPeer = False
        self.connected: defer.Deferred[Any] = defer.Deferred(lambda _: self.loseConnection())

    def openRequest(self) -> bytes:
        """What the request to open it carries: host, port, and from where and which port."""
        host, port = self._destination.hostname, self._destination.port
        return NS(host) + u32(port) + NS(ORIGIN[0]) + u32(ORIGIN[1])

    def channelOpen(self, specificData: bytes) -> None:
        if self.connected.called:
            self.loseConnection()
            return
        self._protocol = self._factory.buildProtocol(self._destination)
        if self._protocol is None:
            self.loseConnection()
            return
        self._protocol.makeConnection(self)
        self.connected.callback(self._protocol)

    def openFailed(self, reason: Any) -> None:
        if self.connected.called:
            return
        place = f"{self._destination.hostname.decode('ascii')} port {self._destination.port}"
        if isinstance(reason, ConchError):
            # `limpet serve` names the place, too.
            why = shown(reason.value).removeprefix(f"{place}: ")
            said = f"the jump host {self._jumpHost} does not connect to it: {why}"
        else:
            said = f"the connection to the jump host {self._jumpHost} was lost"
        self.connected.errback(ConnectFailed(f"cannot connect to {place}: {said}"))

    def dataReceived(self, data: bytes) -> None:
        if not self._ended:
            self._protocol.dataReceived(data)

    def eofReceived(self) -> None:
        self._end(ConnectionDone())
        self.loseConnection()

    def closeReceived(self) -> None:
        self._isClosedByPeer = True
        super().closeReceived()

    def closed(self) -> None:
        if not self.connected.called:
            self.connected.errback(
                ConnectFailed(f"the connection through the jump host {self._jumpHost} is gone")
            )
        self._end(ConnectionDone() if self._isClosedByPeer else ConnectionLost())

    def _end(self, reason: Exception) -> None:
        if self._protocol is None or self._ended:
            return
        self._ended = True
        self._protocol.connectionLost(Failure(reason))

    def getPeer(self) -> IAddress:
        """Where the server was asked to connect to."""
        return self._destination


def dialThrough(
    reactor: Any, connection: Any, jumpHost: str, host: str, port: int, factory: Any
) -> defer.Deferred[Any]:
    """Connect to `host` from the far end of `connection`, an `SSHConnection` to `jumpHost`.

    Returns:
        A Deferred of the connected protocol; it fails with `ConnectFailed`, and may be cancelled.
    """
    channel = TunnelChannel(reactor, jumpHost, host, port, factory)
    connection.openChannel(channel, channel.openRequest())
    return channel.connected
