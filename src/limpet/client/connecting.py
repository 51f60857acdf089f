"""From a configuration to a connection that is logged in: dial, verify, authenticate.

Rule: whatever goes wrong is told once, as a `ClientError` that says what happened, what both sides
offered, and which setting changes it; and what was begun is ended, jump hosts included.

    connect(reactor, config)
        way      ProxyJump: connect() to the jump host, then a channel │ ProxyCommand │ TCP
        keys     transport ── verifyHostKey ──▶ HostKeyPolicy ── True ──▶ connectionSecure
        login    ConfiguredUserAuth ── success ──▶ ClientService ──▶ ClientConnection

Three limits of time: ConnectTimeout from the first packet to encryption (what a person takes to
judge a host key does not count), `KEX_SECONDS` where there is none, and for each answer of the
login `limpet.client.authenticating.ANSWER_SECONDS`.

RFC 4251 to 4254; ssh_config(5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer, error
from twisted.internet.address import HostnameAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.client.agent import AgentForwarding, connectToAgent
from limpet.client.authenticating import ConfiguredUserAuth, Credentials
from limpet.client.channeltimeouts import ChannelTimeouts
from limpet.client.config import ClientConfig, WouldWait
from limpet.client.dialing import ProxyProgram, dial, dialByCommand, dialByPassing, markPackets
from limpet.client.errors import (
    ClientError,
    ConnectFailed,
    ConnectionEnded,
    HandshakeFailed,
    HostKeyRefused,
    RequestRefused,
    shown,
)
from limpet.client.hostkeyupdates import HostKeyUpdates
from limpet.client.hostpolicy import HostKeyPolicy, KnownHostsPolicy, describedKey
from limpet.client.interaction import CHOICES, STEPS, asUserInterface, follow
from limpet.client.names import aside, systemLookUp
from limpet.client.tunnel import dialThrough
from limpet.core.errors import (
    ConnectionTimedOut,
    HostKeyRejected,
    NoCommonAlgorithm,
    ProtocolViolation,
)
from limpet.core.kex import KEX_METHODS
from limpet.core.negotiation import readKexInit
from limpet.crypto.ciphers import CIPHERS
from limpet.crypto.macs import MACS
from limpet.crypto.signatures import HOST_KEY_ALGORITHMS
from limpet.error import HostKeyChanged, UserRejectedKey
from limpet.ssh.connection import SSHConnection
from limpet.ssh.hostkeyproofs import HOST_KEYS
from limpet.ssh.service import SSHService
from limpet.ssh.transport import SSHClientTransport
from limpet.wire.numbers import DISCONNECT_BY_APPLICATION

KEX_SECONDS = 60.0
"""How long a server may take to exchange keys where no ConnectTimeout is set (ours)."""

MANY_KEYS = 4
"""Keys that were offered when a server ended the login, from which on they may be why (ours; sshd
allows six failures, and counts other attempts, too)."""

_SERVICE_TIMER = "service"

_SETTINGS = {
    "key exchange": ("KexAlgorithms", frozenset(KEX_METHODS)),
    "host key algorithm": ("HostKeyAlgorithms", frozenset(HOST_KEY_ALGORITHMS)),
    "cipher": ("Ciphers", frozenset(CIPHERS) - {b"none"}),
    "MAC": ("MACs", frozenset(MACS) - {b"none"}),
    "compression": ("Compression", frozenset({b"none", b"zlib@openssh.com"})),
}
"""What was negotiated in vain: the setting that changes it, and all that Limpet has of it."""


_OFFERED = {
    "key exchange": "keyExchanges",
    "host key": "hostKeyAlgorithms",
    "ciphers to the server": "ciphersCS",
    "ciphers from the server": "ciphersSC",
    "MACs to the server": "macsCS",
    "MACs from the server": "macsSC",
    "compression to the server": "compressionsCS",
    "compression from the server": "compressionsSC",
}
"""What a side offers in its KexInit, for a person, and the name of its list."""


class DiallingCancelled(defer.CancelledError, error.ConnectingCancelledError):
    """Cancelled before there was a stream; as an error of Twisted's endpoints, too."""

    def __init__(self, address: IAddress) -> None:
        error.ConnectingCancelledError.__init__(self, address)


class ClientService(SSHConnection):
    """The connection layer of a client: sessions are opened by it, and none at its end.

    Attributes:
        whenReady: Called once when the user is logged in.
        agentForwarding: What is lent of the agent; None for nothing.
        hostKeyUpdates: What is done about further keys that the server offers; None for nothing.
        whenChannelCloses: Called after a channel has closed; None for nobody.
    """

    def __init__(self, whenReady: Callable[[], None]) -> None:
        super().__init__()
        self._whenReady = whenReady
        self.agentForwarding: AgentForwarding | None = None
        self.hostKeyUpdates: HostKeyUpdates | None = None
        self.whenChannelCloses: Callable[[], object] | None = None

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self._whenReady()

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        if requestType == HOST_KEYS and self.hostKeyUpdates is not None:
            return self.hostKeyUpdates.offered(data)
        return super().gotGlobalRequest(requestType, data)

    def channelClosed(self, channel: Any) -> None:
        super().channelClosed(channel)
        if self.whenChannelCloses is not None:
            self.whenChannelCloses()

    def channel_auth_agent_openssh_com(self, windowSize: int, maxPacket: int, data: bytes) -> Any:
        """The server wants to ask the agent; None, which refuses it, where that was not lent."""
        if self.agentForwarding is None:
            return None
        return self.agentForwarding.makeChannel(windowSize, maxPacket, data)


class TimedClientService(ClientService):
    """The same, for connections whose idle channels are closed (ChannelTimeout).

    A class of its own, so that all others do not look at the clock for each message.
    """

    def __init__(self, whenReady: Callable[[], None], reactor: Any, config: ClientConfig) -> None:
        super().__init__(whenReady)
        self._timeouts = ChannelTimeouts(reactor, config.channelTimeouts, self)

    def serviceStarted(self) -> None:
        self._timeouts.start()
        super().serviceStarted()

    def openChannel(self, channel: Any, extra: bytes = b"") -> None:
        super().openChannel(channel, extra)
        self._timeouts.used(channel)

    def sendData(self, channel: Any, data: bytes) -> None:
        self._timeouts.used(channel)
        super().sendData(channel, data)

    def sendExtendedData(self, channel: Any, dataType: int, data: bytes) -> None:
        self._timeouts.used(channel)
        super().sendExtendedData(channel, dataType, data)

    def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
        self._usedBy(packet)
        super().ssh_CHANNEL_DATA(packet)

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        self._usedBy(packet)
        super().ssh_CHANNEL_EXTENDED_DATA(packet)

    def _usedBy(self, packet: bytes) -> None:
        channel = self.channels.get(int.from_bytes(packet[:4], "big"))
        if channel is not None:
            self._timeouts.used(channel)


class ClientConnection:
    """A connection that is logged in.

    Attributes:
        connection: Its `SSHConnection`, on which channels are opened.
        transport: Its `SSHClientTransport`.
        reactor: What it runs on.
        config: What it was made from.
        via: The connection that carries it, to a jump host; or None.
        provedIdentity: Whether the server asked for anything that proves who the user is. Where it
            did not, what looks like a prompt of ours may be the server's (attacks.md E19).
        whyClosed: Why it ended; None while it lasts, and where this end closed it.
    """

    def __init__(self, attempt: _Attempt, transport: ClientTransport) -> None:
        self.connection: SSHConnection = attempt.service
        self.transport = transport
        self.reactor = attempt.reactor
        self.config = attempt.config
        self.via = attempt.via
        self._reactor = attempt.reactor
        self._service = attempt.service
        self.provedIdentity = False
        self.whyClosed: ClientError | None = None
        self._closing = False
        self._over = False
        self._waiting: list[defer.Deferred[ClientError | None]] = []

    @property
    def closed(self) -> defer.Deferred[ClientError | None]:
        """A new Deferred that fires when the connection is over; it never fails.

        It fires with `whyClosed`: None where this end closed it, else a `ClientError`.
        """
        if self._over:
            return defer.succeed(self.whyClosed)
        waiting: defer.Deferred[ClientError | None] = defer.Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting

    def close(self) -> defer.Deferred[ClientError | None]:
        """End the connection, when what was written has left; and that to the jump host.

        Returns:
            As `closed`.
        """
        if not self.transport.ending:
            # What is ending already ends for another reason.
            self._closing = True
        self.transport.loseConnection()
        return self.closed

    def markPackets(self, atTerminal: bool) -> None:
        """Mark what is sent from here on as IPQoS says.

        Args:
            atTerminal: Whether somebody types at a terminal and waits for the answer.
        """
        wanted = self.config.ipQoS[0 if atTerminal else 1]
        if wanted is not None:
            markPackets(self.transport.transport, wanted)

    def lendAgent(self) -> None:
        """Let the server have the agent, as far as `limpet.client.agent` lends it.

        It takes it when a session sends `FORWARDING_REQUEST`, and not before. May be called again.

        Raises:
            RequestRefused: There is no agent, or the server is one that lets everybody in: it might
                have the person type what is meant for another (attacks.md E19).
        """
        path = self.config.forwardAgentPath or self.config.identityAgent
        if path is None:
            raise RequestRefused(
                "there is no agent to forward: SSH_AUTH_SOCK is not set. `ssh-agent` and"
                " `limpet agent` start one"
            )
        if not self.provedIdentity:
            raise RequestRefused(
                "the agent is not forwarded: the server let us in without any proof of who we are"
            )
        if self._service.agentForwarding is None:
            self._service.agentForwarding = AgentForwarding(self._reactor, path)
        self._service.agentForwarding.isAllowed = True

    def abort(self) -> None:
        """Cut the connection at once."""
        self._closing = True
        self.transport.abortConnection()

    def _forget(self, waiting: defer.Deferred[Any]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _lost(self, why: ClientError) -> None:
        """The transport is gone."""
        self._over = True
        self.whyClosed = None if self._closing else why
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(self.whyClosed)
        if self.via is not None:
            self.via.close()


class BorrowedConnection:
    """A connection that carries another one, and is its owner's: it goes on behind that one's end.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._lent = connection
        self.connection = connection.connection
        self.config = connection.config
        self.via = connection.via

    @property
    def closed(self) -> defer.Deferred[ClientError | None]:
        """As `ClientConnection.closed`."""
        return self._lent.closed

    def close(self) -> None:
        """What it carried has ended."""


class ClientTransport(SSHClientTransport):
    """The transport of one attempt, which is told everything.

    Attributes:
        serverSaid: Reason and text of the server's MSG_DISCONNECT, once it came.
        creator: What made the connection for an endpoint; None for other connections.
    """

    serverSaid: tuple[int, bytes] | None = None
    creator: Any = None

    def __init__(self, attempt: _Attempt) -> None:
        config = attempt.config
        lists = config.algorithms
        self.supportedKeyExchanges = list(lists.keyExchanges)
        self.supportedCiphers = list(lists.ciphers)
        self.supportedMACs = list(lists.macs)
        self.supportedCompressions = list(lists.compressions)
        self.supportedPublicKeys = attempt.hostKeyAlgorithms
        self.rekeyPolicy = config.rekeyPolicy
        if config.versionAddendum is not None:
            self.ourVersionString += b" " + config.versionAddendum.encode("ascii")
        self.keepaliveSeconds = config.serverAliveInterval
        self.keepaliveMisses = config.serverAliveCountMax
        self.clock = attempt.reactor
        self._attempt = attempt

    def connectionMade(self) -> None:
        if self.clock is None:
            self.clock = self._attempt.reactor
        keepAlive = getattr(self.transport, "setTcpKeepAlive", None)
        if keepAlive is not None:
            keepAlive(self._attempt.config.tcpKeepAlive)
        self._attempt.connected(self)
        super().connectionMade()

    def ssh_KEXINIT(self, packet: bytes) -> None:
        if self.sessionID is None:
            self._attempt.identified(self)
        super().ssh_KEXINIT(packet)
        self._attempt.negotiated(self)

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        return self._attempt.verify(self, pubKey)

    def connectionSecure(self) -> None:
        self._attempt.secured(self)

    def setService(self, service: SSHService) -> None:
        """The server has accepted what was asked for; from here on the service minds the time."""
        self.timers.stop(_SERVICE_TIMER)
        super().setService(service)

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        self.serverSaid = (reasonCode, description)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._attempt.lost(self, reason)

    def loseConnection(self) -> None:
        """Say goodbye as `ssh` does, and close the connection after what was written."""
        self._lastWordsSeconds = self.lingerSeconds
        self.sendDisconnect(DISCONNECT_BY_APPLICATION, b"disconnected by user")

    def abortConnection(self) -> None:
        """Cut the connection without a word."""
        self._abort()


class _Factory:
    """Makes the transports of an attempt; more than one only where two addresses answer at once."""

    noisy = False

    def __init__(self, attempt: _Attempt) -> None:
        self._attempt = attempt

    def doStart(self) -> None:
        """Nothing to do."""

    def doStop(self) -> None:
        """Nothing to do."""

    def buildProtocol(self, address: Any) -> ClientTransport:
        return ClientTransport(self._attempt)


class _Attempt:
    """One connection from the first packet to the login, and after that its end."""

    _log = ClassLogger()

    def __init__(
        self,
        reactor: Any,
        config: ClientConfig,
        ui: Any,
        credentials: Credentials,
        hostKeys: HostKeyPolicy,
        via: ClientConnection | BorrowedConnection | None,
    ) -> None:
        self.reactor = reactor
        self.config = config
        self.ui = ui
        self.credentials = credentials
        self.hostKeys = hostKeys
        self.via = via
        self.service = (
            TimedClientService(self._ready, reactor, config)
            if any(seconds for _, seconds in config.channelTimeouts)
            else ClientService(self._ready)
        )
        if config.updateHostKeys != "no" and isinstance(hostKeys, KnownHostsPolicy):
            self.service.hostKeyUpdates = HostKeyUpdates(config, ui, self.service)
        self.result: defer.Deferred[ClientConnection] = defer.Deferred(self._cancelled)
        self.hostKeyAlgorithms: list[bytes] = []
        self._transport: ClientTransport | None = None
        self._auth: ConfiguredUserAuth | None = None
        self._client: ClientConnection | None = None
        self._dialling: defer.Deferred[Any] | None = None
        self._program: ProxyProgram | None = None
        self._refusal: Exception | None = None
        self._timedOut = False
        self._finished = False
        self._timer: Any = None

    @property
    def where(self) -> str:
        """The host, as errors name it."""
        port = "" if self.config.port == 22 else f" port {self.config.port}"
        return f"{self.config.hostName}{port}"

    def begin(self) -> defer.Deferred[ClientConnection]:
        """Find out which host keys to ask for, and dial."""
        self._dialling = defer.maybeDeferred(self.hostKeys.algorithms, self.config)
        self._dialling.addCallback(list).addCallbacks(self._dial, self._notJudged)
        self._dialling.addErrback(self._notBegun)
        return self.result

    def _notJudged(self, reason: Failure) -> None:
        if isinstance(reason.value, ClientError):
            self._fail(reason.value)
        elif not reason.check(defer.CancelledError):
            # A policy that breaks vouches for nobody.
            self._log.failure("a policy for host keys is broken", reason)
            self._fail(HostKeyRefused(f"the host key of {self.where} cannot be judged"))

    def _notBegun(self, reason: Failure) -> None:
        if not self._finished:
            self._finished = True
            self.result.errback(reason)

    def _dial(self, algorithms: list[bytes]) -> None:
        config, factory = self.config, _Factory(self)
        self.hostKeyAlgorithms = algorithms
        if config.proxyArguments is None and not _isHostName(config.hostName):
            self._fail(
                ConnectFailed(
                    f"cannot connect to {shown(self.where)}: that is no name of a host; between two"
                    " dots stand 1 to 63 characters"
                )
            )
            return
        self._startTimer()
        if self.via is not None:
            self.follow(STEPS, f"connecting through {self.via.config.host}")
            dialling = dialThrough(
                self.reactor,
                self.via.connection,
                self.via.config.host,
                config.hostName,
                config.port,
                factory,
            )
        elif config.proxyArguments is not None:
            self.follow(STEPS, f"starting the ProxyCommand {config.proxyCommand}")
            program = config.proxyArguments
            if config.proxyUseFdpass:
                made = dialByPassing(self.reactor, program, factory)
            else:
                made = dialByCommand(self.reactor, program, factory, config.proxyIsSilent)
            dialling, self._program = made
        else:
            dialling = dial(self.reactor, config, factory, self.follow)
        self._dialling = dialling
        dialling.addErrback(self._notDialled)

    # ── Steps ─────────────────────────────────────────────────────────────────────────────────

    def follow(self, level: int, text: str) -> None:
        """Tell whoever follows of a step, with the host that it concerns."""
        follow(self.ui, level, f"{shown(self.config.host)}: {text}")

    def identified(self, transport: ClientTransport) -> None:
        """The server has said what it is."""
        self.follow(STEPS, f"the server is {shown(transport.otherVersionString)}")
        self.follow(STEPS, f"we are {shown(transport.ourVersionString)}")

    def negotiated(self, transport: ClientTransport) -> None:
        """A key exchange has begun, the first or a later one."""
        suite = transport._suite
        if suite is None:
            return
        if transport.sessionID is not None:
            self.follow(STEPS, f"keys are exchanged anew, by {shown(suite.kex)}")
            return
        for side, packet in (
            ("we offer", transport.ourKexInitPayload),
            ("the server offers", transport.otherKexInitPayload),
        ):
            offer = readKexInit(packet)
            for kind, field in _OFFERED.items():
                names = ",".join(map(shown, getattr(offer, field)))
                self.follow(CHOICES, f"{side}, {kind}: {names}")
        strict = ", strictly" if suite.strict else ""
        self.follow(
            STEPS,
            f"keys are exchanged by {shown(suite.kex)}{strict}; the host signs by"
            f" {shown(suite.hostKeyAlgorithm)}",
        )
        for way, cipher, mac, compression in (
            ("to the server", suite.cipherCS, suite.macCS, suite.compressionCS),
            ("from the server", suite.cipherSC, suite.macSC, suite.compressionSC),
        ):
            self.follow(
                STEPS,
                f"{way}: cipher {shown(cipher)}, MAC {shown(mac) or 'of the cipher'}, compression"
                f" {shown(compression)}",
            )

    # ── Time ──────────────────────────────────────────────────────────────────────────────────

    def _startTimer(self) -> None:
        seconds = self.config.connectTimeout
        if seconds:
            self._timer = self.reactor.callLater(seconds, self._tooLate)

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _tooLate(self) -> None:
        self._timer = None
        self._timedOut = True
        self._giveUp()

    def _giveUp(self) -> None:
        """End whatever is under way; the end of it is told in its own way."""
        if self._transport is not None:
            self._transport.abortConnection()
        elif self._dialling is not None:
            self._dialling.cancel()

    def _cancelled(self, result: defer.Deferred[Any]) -> None:
        self._finished = True
        self._stopTimer()
        isDialling = self._transport is None
        self._giveUp()
        if self.via is not None:
            self.via.close()
        if isDialling:
            name = self.config.hostName.encode("utf-8")
            result.errback(DiallingCancelled(HostnameAddress(name, self.config.port)))

    # ── What the transport tells ──────────────────────────────────────────────────────────────

    def _notDialled(self, reason: Failure) -> None:
        if self._timedOut:
            seconds = self.config.connectTimeout
            self._fail(
                ConnectFailed(
                    f"cannot connect to {self.where}: no answer within {seconds:g} s"
                    " (ConnectTimeout)"
                )
            )
        elif isinstance(reason.value, ClientError):
            self._fail(reason.value)
        else:
            self._fail(ConnectFailed(f"cannot connect to {self.where}: {_words(reason)}"))

    def connected(self, transport: ClientTransport) -> None:
        """A stream is there."""
        if self._transport is None:
            self._transport = transport
            transport.kexTimeoutSeconds = self.config.connectTimeout or KEX_SECONDS

    def verify(self, transport: ClientTransport, keyBlob: bytes) -> defer.Deferred[bool]:
        """Ask the policy about the host key; what keeps it from saying yes is the failure."""
        self._stopTimer()
        transport.timers.stop("kex")
        self.follow(STEPS, f"its host key is {describedKey(keyBlob)}")
        judging: defer.Deferred[Any] = defer.maybeDeferred(
            self.hostKeys.verify, self.config, self._address(transport), keyBlob, self.ui
        )

        def judged(verdict: object) -> bool:
            if verdict is not True:
                raise HostKeyRefused(f"nobody vouches for the host key of {self.where}")
            self.follow(STEPS, "the host key is accepted")
            transport.timers.start("kex", transport.kexTimeoutSeconds, transport._kexTimedOut)
            return True

        def refused(reason: Failure) -> Failure:
            if reason.check(defer.CancelledError):
                return reason
            if isinstance(reason.value, ClientError | HostKeyChanged | UserRejectedKey):
                self._refusal = reason.value
            else:
                self._log.failure("a host key could not be judged", reason)
                self._refusal = HostKeyRefused(f"the host key of {self.where} cannot be judged")
            return Failure(HostKeyRejected("host key verification failed"))

        return judging.addCallback(judged).addErrback(refused)

    def _address(self, transport: ClientTransport) -> str | None:
        if self.via is not None or self.config.proxyArguments is not None:
            return None
        host = getattr(transport.transport.getPeer(), "host", None)
        return host if isinstance(host, str) else None

    def secured(self, transport: ClientTransport) -> None:
        """The server is who it should be: log in."""
        self._stopTimer()
        self.follow(STEPS, f"the connection is encrypted; logging in as {self.config.user}")
        self._auth = ConfiguredUserAuth(
            self.config, self.service, self.credentials, self.ui, self._agentConnector(transport)
        )
        transport.requestService(self._auth)
        transport.timers.start(_SERVICE_TIMER, KEX_SECONDS, transport._kexTimedOut)

    def _agentConnector(self, transport: ClientTransport) -> Any:
        path = self.config.identityAgent
        if path is None:
            return None
        return lambda: connectToAgent(self.reactor, path)

    def _ready(self) -> None:
        """The server let the user in."""
        transport, auth = self._transport, self._auth
        if transport is None or auth is None or self._finished:
            return
        self._finished = True
        self._client = ClientConnection(self, transport)
        self._client.markPackets(atTerminal=False)
        self._client.provedIdentity = auth.provedIdentity
        self._dropAgent()
        self.result.callback(self._client)

    def _dropAgent(self) -> None:
        """An agent is asked while the user logs in, and no longer."""
        if self._auth is not None:
            self._auth.dropAgent()

    def lost(self, transport: ClientTransport, reason: Failure) -> None:
        """The transport is gone, at whatever point."""
        if transport is not self._transport:
            return
        self._dropAgent()
        if self._program is not None:
            self._program.end()
        isWithAll = reason.check(error.ConnectionLost) and not reason.check(error.ConnectionAborted)
        if self.via is not None and isWithAll:
            # It is about to be known why.
            self.via.closed.addCallback(lambda why: self._ended(transport, reason, why))
        else:
            self._ended(transport, reason, None)

    def _ended(
        self, transport: ClientTransport, reason: Failure, onTheWay: ClientError | None
    ) -> None:
        """Tell why; `onTheWay` is why the jump host's connection ended, if it took this along."""
        if onTheWay is not None and self.via is not None:
            onTheWay.onTheWay(self.via.config.host)
        if self._client is not None:
            self._client._lost(onTheWay or _whyEnded(self.where, transport, reason))
        elif onTheWay is None or self._refusal is not None:
            self._fail(self._whyNotConnected(transport, reason))
        else:
            failure = HandshakeFailed(f"{self.where} is not reached: {onTheWay}", reason)
            failure.jump = onTheWay.jump
            self._fail(failure)

    def _fail(self, why: Exception) -> None:
        if self._finished:
            return
        self._finished = True
        self._stopTimer()
        if self.via is not None:
            self.via.close()
        self.result.errback(why)

    # ── In words ──────────────────────────────────────────────────────────────────────────────

    def _whyNotConnected(self, transport: ClientTransport, reason: Failure) -> Exception:
        said = _serverSaid(transport)
        if self._refusal is not None:
            return self._refusal
        if self._timedOut:
            seconds = self.config.connectTimeout
            return HandshakeFailed(
                f"{self.where} was reached, but no encrypted connection came about within"
                f" {seconds:g} s (ConnectTimeout)"
            )
        if self._auth is not None and self._auth.lastAuth:
            why = said or _violationText(transport)
            if said and len(self._auth.triedPublicKeys) >= MANY_KEYS:
                why += (
                    f"\n  it was offered {len(self._auth.triedPublicKeys)} keys; IdentitiesOnly yes"
                    " offers only those that IdentityFile names"
                )
            return self._auth.failure(why)
        if said:
            return HandshakeFailed(f"{self.where}: {said}")
        violation = transport.violation
        if isinstance(violation, NoCommonAlgorithm):
            return HandshakeFailed(f"{self.where}: {_adviceFor(violation)}")
        if isinstance(violation, ConnectionTimedOut):
            return HandshakeFailed(
                f"{self.where} was reached, but does not answer as an SSH server does:"
                f" {violation.description}"
            )
        if violation is not None:
            return HandshakeFailed(f"{self.where}: {shown(violation.description)}")
        if not transport.gotVersion and self._program is not None:
            return HandshakeFailed(
                f"the ProxyCommand for {self.where} ended before any server said anything:"
                f" {shown(self.config.proxyCommand or '')}",
                reason,
            )
        if not transport.gotVersion:
            return HandshakeFailed(
                f"{self.where} closed the connection before it said anything: it may be no SSH"
                " server, have too many connections (MaxStartups), or not want this address",
                reason,
            )
        return HandshakeFailed(
            f"{self.where} closed the connection while keys were exchanged", reason
        )


def _isHostName(name: str) -> bool:
    """Whether a resolver takes it; of its failure at one that it does not take nobody hears."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _words(reason: Failure) -> str:
    return reason.getErrorMessage() or (reason.type.__name__ if reason.type else "an error")


def _serverSaid(transport: ClientTransport) -> str:
    """What the server said in MSG_DISCONNECT, for a person; empty where it said nothing."""
    if transport.serverSaid is None:
        return ""
    code, text = transport.serverSaid
    return f'the server ended the connection: "{shown(text)}" (reason {code})'


def _violationText(transport: ClientTransport) -> str:
    violation: ProtocolViolation | None = transport.violation
    return "" if violation is None else shown(violation.description)


def _adviceFor(violation: NoCommonAlgorithm) -> str:
    """What both sides offered, and the setting that would bring them together, if one does."""
    kind = violation.kind.partition(" (")[0]
    setting, known = _SETTINGS.get(kind, ("", frozenset()))
    able = [name for name in violation.theirs if name in known and name not in violation.ours]
    if able and setting == "Compression":
        return f"{violation}; Compression {'yes' if able[0] != b'none' else 'no'} would do"
    if able:
        names = ",".join(name.decode("ascii") for name in able[:3])
        return f"{violation}; {setting} +{names} allows what the server has"
    return f"{violation}; Limpet has nothing of what the server offers"


def _whyEnded(where: str, transport: ClientTransport, reason: Failure) -> ClientError:
    """Why a connection ended that was logged in."""
    said = _serverSaid(transport)
    if said and transport.serverSaid is not None:
        if transport.serverSaid[0] == DISCONNECT_BY_APPLICATION:
            return ConnectionEnded(
                f"{where} ended the connection: {shown(transport.serverSaid[1])}"
            )
        return ConnectionEnded(f"{where}: {said}")
    violation = transport.violation
    if isinstance(violation, ConnectionTimedOut):
        return ConnectionEnded(f"{where} does not answer any more ({violation.description})")
    if violation is not None:
        return ConnectionEnded(f"{where} broke the protocol: {shown(violation.description)}")
    if reason.check(error.ConnectionDone):
        return ConnectionEnded(f"{where} closed the connection")
    return ConnectionEnded(f"the connection to {where} was lost: {_words(reason)}")


# ── The way there ─────────────────────────────────────────────────────────────────────────────


def connect(
    reactor: Any,
    config: ClientConfig,
    ui: Any = None,
    *,
    credentials: Credentials | None = None,
    hostKeys: HostKeyPolicy | None = None,
    through: ClientConnection | None = None,
) -> defer.Deferred[ClientConnection]:
    """Connect as `config` says, through its jump hosts, and log in.

    Args:
        reactor: Provides IReactorTCP, IReactorTime and IReactorPluggableNameResolver; for a
            ProxyCommand also IReactorProcess and IReactorSocket.
        config: What to do, from `limpet.client.config.loadClientConfig`.
        ui: Whom to ask, an `IUserInterface`; None for nobody.
        credentials: What to log in with beside what `config` names; for the last host only.
        hostKeys: Who vouches for the last host's key; None for the user's known_hosts.
        through: A connection to go through, in the place of what `config` says of the way
            (ProxyJump, ProxyCommand). It goes on when this one ends.

    Returns:
        A Deferred of the `ClientConnection`. It fails with a `ClientError`, and may be cancelled,
        which ends everything that was begun.
    """
    face = asUserInterface(ui)
    policy = hostKeys if hostKeys is not None else KnownHostsPolicy(reactor)
    given = credentials if credentials is not None else Credentials()
    if through is not None:
        return _Attempt(reactor, config, face, given, policy, BorrowedConnection(through)).begin()
    return _connect(reactor, config, face, given, policy)


@defer.inlineCallbacks
def _connect(
    reactor: Any, config: ClientConfig, ui: Any, credentials: Credentials, hostKeys: HostKeyPolicy
) -> Any:
    via = None
    try:
        jump = config.forJump(mayWait=False)
        isKnown = jump is None or not jump.wantsLookUps
    except WouldWait:
        isKnown = False
    if not isKnown:
        jump = yield aside(reactor, config.forJump, systemLookUp)
    if jump is not None:
        try:
            via = yield _connect(reactor, jump, ui, Credentials(), KnownHostsPolicy(reactor))
        except ClientError as failure:
            failure.onTheWay(jump.host)
            raise
    attempt = _Attempt(reactor, config, ui, credentials, hostKeys, via)
    return (yield attempt.begin())
