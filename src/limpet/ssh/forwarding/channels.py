"""The channels of forwarded connections, under the names that Conch documents.

Rule: whoever asks for a channel hears that it is open when the far side is connected, and otherwise
why it is not. Who may connect where is decided before: here nothing is allowed or denied.

    accepted socket ─► SSHListenForwardingFactory ─► SSHListenForwardingChannel ─► CHANNEL_OPEN
    CHANNEL_OPEN ─► SSHConnectForwardingChannel.prepareToOpen ─► connected ─► confirmation

RFC 4254 section 7; OpenSSH's PROTOCOL, section 2.4.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from limpet._reactor import getReactor
from limpet.core.outbound import OutboundBuffer
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.ssh.forwarding.client import SSHForwardingClient
from limpet.ssh.forwarding.messages import packOpen_direct_tcpip, unpackOpen_direct_tcpip
from limpet.wire.errors import WireError
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED
from limpet.wire.requests import UnixForward, UnixForwarded

FORWARDING_WINDOW = 2 * 1024 * 1024
"""How much of a forwarded connection a peer may have under way to us, in bytes (OpenSSH's)."""

CROWDED_WINDOW = 256 * 1024
"""The same from `CROWD` channels on, in bytes: so that 512 of them hold 200 MiB at most."""

CROWD = 32
"""Open channels of one connection from which on new ones get the smaller window."""

FORWARDING_MAX_PACKET = 49152
"""The largest piece that one message of it may carry, in bytes; as in sessions."""


def windowFor(connection: Any) -> int:
    """The window of one more forwarded connection."""
    crowd = len(getattr(connection, "channels", ()))
    return FORWARDING_WINDOW if crowd < CROWD else CROWDED_WINDOW


def gathererOf(connection: Any) -> Any:
    """The transport under the SSH connection, or None."""
    return getattr(getattr(connection, "transport", None), "transport", None)


# ── a socket that was accepted here ───────────────────────────────────────────────────────────


class SSHListenForwardingChannel(SSHChannel):
    """A channel for a connection that came in at this side.

    Attributes:
        client: The `SSHForwardingClient` of the connection; there is none once the channel ended.
    """

    client: Any

    def channelOpen(self, specificData: bytes) -> None:
        """The far side is connected; what came meanwhile waits in the channel and goes out now."""

    def openFailed(self, reason: Any) -> None:
        """The far side could not be connected to: the connection here ends."""
        client = self.__dict__.pop("client", None)
        if isinstance(client, SSHForwardingClient):
            client.abort()
        elif client is not None:
            client.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Pass on what the far side sends."""
        if isinstance(self.client, SSHForwardingClient):
            self.client.send(data)
        else:
            self.client.transport.write(data)

    def eofReceived(self) -> None:
        """The far side sends no more."""
        client = self.__dict__.get("client")
        if isinstance(client, SSHForwardingClient):
            client.channelEnded()
        elif client is not None:
            client.transport.loseConnection()

    def closed(self) -> None:
        """The channel is gone, and the connection with it."""
        client = self.__dict__.pop("client", None)
        if isinstance(client, SSHForwardingClient):
            client.channelClosed()
        elif client is not None:
            client.transport.loseConnection()


class SSHListenClientForwardingChannel(SSHListenForwardingChannel):
    """`ssh -L`: a client asks the server to connect somewhere."""

    name = b"direct-tcpip"


class SSHListenServerForwardingChannel(SSHListenForwardingChannel):
    """`ssh -R`: a server tells its client of a connection."""

    name = b"forwarded-tcpip"


class UnixListenClientForwardingChannel(SSHListenForwardingChannel):
    """`ssh -L` to a Unix socket of the server's."""

    name = b"direct-streamlocal@openssh.com"


class UnixListenServerForwardingChannel(SSHListenForwardingChannel):
    """`ssh -R` of a Unix socket of the server's."""

    name = b"forwarded-streamlocal@openssh.com"


class SSHListenForwardingFactory(Factory):
    """Opens a channel for each connection that it is given.

    Args:
        connection: The `SSHConnection`.
        hostport: What the channel is opened with: for `ssh -L` where to connect to, for `ssh -R`
            the address and the port that the client had asked to listen on. For channels of Unix
            sockets the path, as bytes.
        klass: The class of the channels, a `SSHListenForwardingChannel`.
    """

    noisy = False

    def __init__(self, connection: Any, hostport: Any, klass: Any) -> None:
        self.conn = connection
        self.hostport = hostport
        self.klass = klass

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Ask for a channel; the connection is joined to it."""
        channel = self.klass(
            conn=self.conn,
            localWindow=windowFor(self.conn),
            localMaxPacket=FORWARDING_MAX_PACKET,
        )
        client = SSHForwardingClient(channel)
        client.gatherIn(gathererOf(self.conn))
        channel.client = client
        self.conn.openChannel(channel, self.openData(channel.name, addr))
        return client

    def openData(self, channelType: bytes, addr: IAddress | None) -> bytes:
        """What the request for the channel carries."""
        origin = (getattr(addr, "host", ""), getattr(addr, "port", 0))
        if channelType == UnixListenClientForwardingChannel.name:
            return UnixForward(self.hostport, origin[0].encode("utf-8"), origin[1]).encode()
        if channelType == UnixListenServerForwardingChannel.name:
            return UnixForwarded(self.hostport).encode()
        return packOpen_direct_tcpip(self.hostport, origin)


# ── a connection that the other side wants ────────────────────────────────────────────────────


class SSHConnectForwardingChannel(SSHChannel):
    """A channel for a connection that the peer asks this side to make.

    `connectOut` makes it; a subclass may override it. A subclass that has its own `channelOpen` is
    asked the way Conch does it: the channel is open at once, and its `channelOpen`, if it calls
    this one, begins to connect.

    Args:
        hostport: Host and port to connect to.

    Attributes:
        hostport: The same.
        client: The `SSHForwardingClient`, once it is connected.
        clientBuf: What the peer sent before that, in the second of the two ways.
    """

    connectsFirst: ClassVar[bool] = True
    _reactor: Any = None
    _channelOpenDeferred: Deferred[Any] | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "channelOpen" in vars(cls):
            cls.connectsFirst = False

    def __init__(self, hostport: Any, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.hostport = hostport
        self.client: Any = None
        self._earlyInput = OutboundBuffer()
        self._inputIsOver = False
        self._isGone = False

    @property
    def clientBuf(self) -> bytes:
        """A copy of what the peer sent before there was a connection."""
        return bytes(self._earlyInput)

    @clientBuf.setter
    def clientBuf(self, data: bytes) -> None:
        self._earlyInput = OutboundBuffer(data)

    def connectOut(self, protocol: SSHForwardingClient) -> Deferred[Any]:
        """Connect to `hostport`.

        Args:
            protocol: What is to be connected.

        Returns:
            A Deferred that fires with `protocol`, or fails with a `ConchError` or whatever an
            endpoint fails with. It can be cancelled.
        """
        if self._reactor is None:
            self._reactor = getReactor()
        host, port = self.hostport
        # Loaded when a host is connected to: clients never do, and start often.
        from twisted.internet.endpoints import HostnameEndpoint

        endpoint = HostnameEndpoint(self._reactor, host, port)
        connected: Deferred[Any] = endpoint.connect(Factory.forProtocol(lambda: protocol))
        return connected

    def prepareToOpen(self, specificData: bytes) -> Deferred[Any] | None:
        """Connect; the channel is open when that is done."""
        if not self.connectsFirst:
            return None
        return self._begin().addCallbacks(self._connected, self._notConnected)

    def _begin(self) -> Deferred[Any]:
        protocol = SSHForwardingClient(self)
        protocol.gatherIn(gathererOf(self.conn))
        try:
            return self.connectOut(protocol)
        except Exception:  # noqa: BLE001 a host that is none, or an application's own reason
            return fail()

    def _connected(self, client: Any) -> None:
        self.client = client

    def _notConnected(self, failure: Failure) -> Failure:
        if failure.check(ConchError) is not None:
            return failure
        return Failure(ConchError(wordsFor(failure), OPEN_CONNECT_FAILED))

    def channelOpen(self, specificData: bytes) -> None:
        """Connect, if that is not done."""
        if self.client is None and self._channelOpenDeferred is None:
            self._channelOpenDeferred = self._begin()
            self._channelOpenDeferred.addCallbacks(self._setClient, self._close)

    def _setClient(self, client: Any) -> None:
        """The connection is there: send it what waits."""
        self.client = client
        if self._isGone:
            client.channelClosed()
            return
        data, self.clientBuf = self.clientBuf, b""
        if data:
            client.transport.write(data)
            self.resumeProducing()
        if self._inputIsOver:
            client.channelEnded()

    def _close(self, reason: Any) -> None:
        """The connection could not be made."""
        self._log.debug(
            "no connection to {hostport}: {reason}", hostport=self.hostport, reason=str(reason)
        )
        self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Pass on what the peer sends."""
        if isinstance(self.client, SSHForwardingClient):
            self.client.send(data)
        elif self.client is not None:
            self.client.transport.write(data)
        elif not self._isGone:
            self._earlyInput.append(data)
            # No more of it than one window, until there is somebody to take it.
            self.pauseProducing()

    def eofReceived(self) -> None:
        """The peer sends no more."""
        self._inputIsOver = True
        if isinstance(self.client, SSHForwardingClient):
            self.client.channelEnded()
        elif self.client is not None:
            self.client.transport.loseConnection()

    def openFailed(self, reason: Any) -> None:
        """There is no number left for the channel."""
        self.closed()

    def closed(self) -> None:
        """The channel is gone, and the connection with it."""
        self._isGone = True
        self.clientBuf = b""
        if isinstance(self.client, SSHForwardingClient):
            self.client.channelClosed()
        elif self.client is not None:
            self.client.transport.loseConnection()
        elif self._channelOpenDeferred is not None:
            self._channelOpenDeferred.cancel()


def openConnectForwardingClient(
    remoteWindow: int, remoteMaxPacket: int, data: bytes, avatar: Any
) -> SSHConnectForwardingChannel:
    """Make the channel of a direct-tcpip request, for `ConchUser.channelLookup`.

    It connects wherever the client says: an avatar that has this in its table has decided that its
    user may. See `limpet.tunnels` for one with rules.

    Raises:
        ConchError: The request is not one.
    """
    try:
        destination, _ = unpackOpen_direct_tcpip(data)
    except WireError:
        raise ConchError("not a request to connect", OPEN_ADMINISTRATIVELY_PROHIBITED) from None
    return SSHConnectForwardingChannel(
        destination,
        localWindow=windowFor(getattr(avatar, "conn", None)),
        localMaxPacket=FORWARDING_MAX_PACKET,
        remoteWindow=remoteWindow,
        remoteMaxPacket=remoteMaxPacket,
        avatar=avatar,
    )


def wordsFor(failure: Failure) -> str:
    """What a peer is told about a connection that could not be made."""
    error = failure.value
    if isinstance(error, DNSLookupError):
        return "the host's name is not known"
    if isinstance(error, ConnectError) and error.osError is not None:
        if isinstance(error.osError, int):
            return os.strerror(error.osError)
        return str(getattr(error.osError, "strerror", None) or error.osError)
    if isinstance(error, ConnectError):
        return str(error).rstrip(".")
    if isinstance(error, OSError):
        return error.strerror or "connect failed"
    return "connect failed"
