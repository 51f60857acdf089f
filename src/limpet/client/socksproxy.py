"""`-D`: a SOCKS proxy whose connections are made from the other side.

Rule: a program hears that it is connected when it is, and otherwise why not. One that does not say
in time what it wants is shown out.

    program ─► SocksClient ─► SocksNegotiation ─► direct-tcpip ─► open: "granted", then its data
    server ─► SocksChannel ─► SocksNegotiation ─► a connection from here (ssh -R with a port alone)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from limpet.core.destinations import faultOfHost
from limpet.core.socks import SocksError, SocksNegotiation, Target
from limpet.error import ConchError
from limpet.ssh.forwarding.channels import (
    FORWARDING_MAX_PACKET,
    SSHConnectForwardingChannel,
    SSHListenClientForwardingChannel,
    gathererOf,
    windowFor,
)
from limpet.ssh.forwarding.client import SSHForwardingClient
from limpet.ssh.forwarding.messages import hostText, packOpen_direct_tcpip
from limpet.tunnels.dialing import connectTo
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

NEGOTIATION_SECONDS = 30.0
"""How long a program may take to say what it wants (ours)."""


class _DynamicChannel(SSHListenClientForwardingChannel):
    """The channel that one program asked for."""

    def channelOpen(self, specificData: bytes) -> None:
        self.client.granted()

    def openFailed(self, reason: Any) -> None:
        client = self.__dict__.pop("client", None)
        if client is not None:
            client.refused(reason)


class SocksClient(SSHForwardingClient):
    """One program at the proxy.

    Args:
        factory: Whose connection it is.
        origin: Where the program is.
    """

    def __init__(self, factory: SocksFactory, origin: tuple[str, int]) -> None:
        super().__init__(None)
        self._factory = factory
        self._origin = origin
        self._negotiation: SocksNegotiation | None = SocksNegotiation()
        self._timer = factory.reactor.callLater(NEGOTIATION_SECONDS, self.abort)

    def dataReceived(self, data: bytes) -> None:
        """The program says what it wants, and then what it has to say there."""
        negotiation = self._negotiation
        if self.channel is not None or negotiation is None:
            super().dataReceived(data)
            return
        transport: Any = self.transport
        try:
            answer, target = negotiation.feed(data)
        except SocksError as failure:
            self._negotiation = None
            transport.write(failure.answer)
            self._leave()
            return
        if answer:
            transport.write(answer)
        if target is not None:
            self._open(target, negotiation.rest)

    def _open(self, target: Target, early: bytes) -> None:
        self._stopTimer()
        connection = self._factory.conn
        channel = _DynamicChannel(
            conn=connection,
            localWindow=windowFor(connection),
            localMaxPacket=FORWARDING_MAX_PACKET,
        )
        fault = faultOfHost(target.host, target.port)
        if fault is not None:
            self.refused(ConchError(fault, OPEN_CONNECT_FAILED))
            return
        channel.client = self
        self.joinTo(channel)
        connection.openChannel(
            channel, packOpen_direct_tcpip((target.host, target.port), self._origin)
        )
        if early and self.channel is not None:
            # It waits in the channel, before all that the program sends from now on.
            self.channel.write(early)

    def granted(self) -> None:
        """The far side is connected."""
        negotiation, self._negotiation = self._negotiation, None
        if negotiation is None or self.channel is None:
            return
        transport: Any = self.transport
        transport.write(negotiation.granted())

    def refused(self, reason: Any) -> None:
        """The far side could not be connected to."""
        negotiation, self._negotiation = self._negotiation, None
        code = reason.data if isinstance(reason, ConchError) else OPEN_CONNECT_FAILED
        self._forgetChannel()
        self._isOver = True
        self._factory.failed(reason)
        transport: Any = self.transport
        if negotiation is not None and transport is not None:
            transport.write(negotiation.refused(code))
        if transport is not None:
            self._leave()

    def readConnectionLost(self) -> None:
        """The program sends no more; before it has said what it wants, that is its end."""
        if self.channel is None:
            self._leave()
        super().readConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The program is gone."""
        self._stopTimer()
        super().connectionLost(reason)

    def _stopTimer(self) -> None:
        if self._timer.active():
            self._timer.cancel()


class SocksFactory(Factory):
    """Serves programs that connect to the proxy.

    Args:
        reactor: What their timers run on.
        connection: The `SSHConnection`.
        failed: Called with the reason when the far side could not be connected to.
    """

    noisy = False

    def __init__(self, reactor: Any, connection: Any, failed: Any) -> None:
        self.reactor = reactor
        self.conn = connection
        self.failed = failed

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """The protocol of one program."""
        client = SocksClient(self, (getattr(addr, "host", ""), getattr(addr, "port", 0)))
        client.gatherIn(gathererOf(self.conn))
        return client


class SocksChannel(SSHConnectForwardingChannel):
    """A program at the server's side of `ssh -R PORT`, which is connected from here.

    Args:
        reactor: What connects.
        mayConnect: Whether a host and port may be connected to; None for all (PermitRemoteOpen).
        details: What every channel takes.
    """

    def __init__(
        self,
        reactor: Any,
        mayConnect: Callable[[str, int], bool] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(None, **details)
        self._reactor = reactor
        self._mayConnect = mayConnect
        self._negotiation: SocksNegotiation | None = SocksNegotiation()
        self._timer: Any = None

    def channelOpen(self, specificData: bytes) -> None:
        """The program may say what it wants."""
        self._timer = self._reactor.callLater(NEGOTIATION_SECONDS, self.loseConnection)

    def dataReceived(self, data: bytes) -> None:
        """The program says what it wants, and then what it has to say there."""
        negotiation = self._negotiation
        if negotiation is None or self._channelOpenDeferred is not None:
            super().dataReceived(data)
            return
        try:
            answer, target = negotiation.feed(data)
        except SocksError as failure:
            self._negotiation = None
            self.write(failure.answer)
            self.loseConnection()
            return
        if answer:
            self.write(answer)
        if target is not None:
            self._stopTimer()
            self.hostport = (hostText(target.host), target.port)
            self.clientBuf = negotiation.rest
            self._channelOpenDeferred = self._begin()
            self._channelOpenDeferred.addCallbacks(self._granted, self._refused)

    def connectOut(self, protocol: SSHForwardingClient) -> Deferred[Any]:
        """Connect from here."""
        host, port = self.hostport
        fault = faultOfHost(host.encode("utf-8", "surrogateescape"), port)
        if fault is not None:
            raise ConchError(fault, OPEN_CONNECT_FAILED)
        if self._mayConnect is not None and not self._mayConnect(host, port):
            raise ConchError("not permitted", OPEN_ADMINISTRATIVELY_PROHIBITED)
        return connectTo(self._reactor, host, port, protocol)

    def _granted(self, client: Any) -> None:
        if self._negotiation is not None:
            self.write(self._negotiation.granted())
        self._negotiation = None
        self._setClient(client)

    def _refused(self, failure: Failure) -> None:
        error = failure.value
        negotiation, self._negotiation = self._negotiation, None
        if negotiation is not None and failure.check(CancelledError) is None:
            code = error.data if isinstance(error, ConchError) else OPEN_CONNECT_FAILED
            self.write(negotiation.refused(code))
        self.loseConnection()

    def eofReceived(self) -> None:
        """The program sends no more; before it has said what it wants, that is its end."""
        if self._channelOpenDeferred is None:
            self.loseConnection()
        super().eofReceived()

    def closed(self) -> None:
        """The program is gone."""
        self._stopTimer()
        super().closed()

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
