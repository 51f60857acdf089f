"""What `limpet serve` makes of a connection: limits before it, accounting while it lasts.

Rule: a connection counts as one without a login from its accept until somebody is logged in or it
is gone, exactly once; a refused one costs no transport.
"""

from __future__ import annotations

from typing import Any

from limpet._logger import ClassLogger
from limpet.core.negotiation import PROFILES
from limpet.core.patterns import canonicalNetwork, matchAddressList, plainAddress
from limpet.server.limits import (
    FAILED_SECONDS,
    LATE_SECONDS,
    SILENT_SECONDS,
    Penalties,
    SourceLimit,
)
from limpet.server.settings import Settings
from limpet.ssh.connection import SSHConnection
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import Key
from limpet.ssh.transport import SSHServerTransport
from limpet.streams import gathered

REFUSAL_LINE_SECONDS = 1.0
"""At most one line about refused connections is logged in this time."""


class ServeTransport(SSHServerTransport):
    """One connection of `limpet serve`."""

    _isStarting = False
    _isLate = False
    _peerName = "-"
    _peerHost = ""

    def connectionAdmitted(self) -> None:
        """The factory counts this connection as one without a login."""
        self._isStarting = True

    def setService(self, service: Any) -> None:
        """A login is complete when the service behind user authentication starts."""
        if isinstance(service, SSHConnection):
            service.maxSessions = self.factory.settings.maxSessions
        super().setService(service)
        avatar = getattr(self, "avatar", None)
        if avatar is not None and service.name != b"ssh-userauth":
            self._started()

    def logPrefix(self) -> str:
        """The peer, by which a person finds the lines of one connection."""
        return self._peerName

    def makeConnection(self, transport: Any) -> None:
        """Take the transport, and keep the peer's name for when it is gone."""
        peer = transport.getPeer()
        self._peerHost = plainAddress(str(getattr(peer, "host", "")))
        self._peerName = f"{self._peerHost or '?'}:{getattr(peer, 'port', '?')}"
        # Our identification and our KEXINIT leave in one segment.
        with gathered(transport):
            super().makeConnection(transport)

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is gone."""
        if self._isStarting:
            self.factory.cameInVain(self._peerHost, self._penaltySeconds())
        self._started()
        self.factory.connections.discard(self)
        super().connectionLost(reason)

    def _penaltySeconds(self) -> float:
        """What a connection without a login costs, by what its peer made of it."""
        if self._isLate:
            return LATE_SECONDS
        # `none` only asks which methods there are.
        return FAILED_SECONDS if getattr(self.service, "hasTried", False) else SILENT_SECONDS

    def _graceOver(self) -> None:
        self._isLate = True
        super()._graceOver()

    def _started(self) -> None:
        if self._isStarting:
            self._isStarting = False
            self.factory.startups.done()

    def isIdle(self) -> bool:
        """Whether nothing runs on this connection that somebody would miss."""
        return not getattr(self.service, "channels", None)


class ServeFactory(SSHFactory):
    """Makes the connections of one server.

    Args:
        reactor: Tells the time.
        settings: What to serve by.
        hostKeys: Key type to private key.
        portal: Logs users in.

    Attributes:
        connections: All that are open.
        startups: Limits those without a login.
        sources: Limits how many come from one source in a time.
        penalties: Has those wait that come in vain.
        isClosing: Whether no more are taken.
    """

    protocol = ServeTransport
    announcesHostKeys = True
    noisy = False

    _log = ClassLogger()

    def __init__(
        self, reactor: Any, settings: Settings, hostKeys: dict[bytes, Key], portal: Any
    ) -> None:
        self._reactor = reactor
        self.connections: set[ServeTransport] = set()
        self.isClosing = False
        self._refusals = 0
        self._nextRefusalLine = 0.0
        self.startups = settings.startupLimit()
        self.sources = SourceLimit(settings.handshakesPerSecond)
        self.penalties = Penalties()
        self.bannerText: str | None = None
        self.configure(settings, hostKeys, portal)

    def configure(self, settings: Settings, hostKeys: dict[bytes, Key], portal: Any) -> None:
        """Serve connections from now on by these; those that are open stay as they are."""
        pending = self.startups.pending
        self.startups = settings.startupLimit()
        self.startups.pending = pending
        if settings.handshakesPerSecond != self.sources.perSecond:
            self.sources = SourceLimit(settings.handshakesPerSecond)
        self.settings = settings
        self._exempt = ",".join(map(canonicalNetwork, settings.exempt)).encode("ascii")
        self.portal = portal
        self.privateKeys = dict(hostKeys)
        self.publicKeys = {kind: key.public() for kind, key in hostKeys.items()}
        self.algorithms = PROFILES[settings.algorithms]
        self.bannerText = settings.banner or None
        self.primes = None

    def buildProtocol(self, addr: Any) -> Any:
        """The transport of one connection; None for one that is not taken."""
        host = plainAddress(str(getattr(addr, "host", "")))
        if self.isClosing:
            return None
        if not self._isExempt(host):
            now = self._reactor.seconds()
            if self.settings.penalties and not self.penalties.admit(host, now):
                self._refused(host, "too many connections from there without a login")
                return None
            if not self.sources.admit(host, now):
                self._refused(host, "too many connections from there")
                return None
        if not self.startups.admit():
            self._refused(host, "too many connections wait for a login")
            return None
        transport: ServeTransport | None = None
        try:
            transport = super().buildProtocol(addr)
        finally:
            if transport is None:
                self.startups.done()
        if transport is not None:
            transport.loginGraceSeconds = self.settings.loginGraceSeconds
            transport.keepaliveSeconds = self.settings.keepaliveSeconds
            transport.connectionAdmitted()
            self.connections.add(transport)
        return transport

    def cameInVain(self, host: str, seconds: float) -> None:
        """A connection from there ended without a login, which costs so much."""
        if not self.settings.penalties or self.isClosing or self._isExempt(host):
            return
        refused = self.penalties.add(host, seconds, self._reactor.seconds())
        if refused:
            self._log.warn(
                "{host}: nothing is taken from there for {seconds} s, after connections in vain",
                host=host,
                seconds=round(refused),
            )

    def _isExempt(self, host: str) -> bool:
        return bool(self._exempt) and matchAddressList(self._exempt, host)

    def _refused(self, host: str, reason: str) -> None:
        # A flood of connections is not to become a flood of lines.
        self._refusals += 1
        now = self._reactor.seconds()
        if now >= self._nextRefusalLine:
            self._nextRefusalLine = now + REFUSAL_LINE_SECONDS
            count, self._refusals = self._refusals, 0
            self._log.info(
                "{host}: refused, {reason}; {count} since the last such line",
                host=host,
                reason=reason,
                count=count,
            )
