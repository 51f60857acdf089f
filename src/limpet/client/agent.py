"""The client and its agent: to log in with, and to lend to a server that was asked to forward it.

Rule: what is forwarded is not the agent but the right to log in with its keys. A server may have
them listed and have logins signed, and nothing else: no other bytes, no keys added or removed, no
lock; and it has only as many connections as are bounded here (attacks.md L7).

    agent ◄── SSHAgentForwardingLocal ◄── one request at a time ◄── SSHAgentForwardingChannel
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet._reactor import getReactor
from limpet.core.agentbinding import Bindings, BindRefused
from limpet.core.framing import FrameReceiver, packFrame
from limpet.core.signables import Use, recognise
from limpet.error import ConchError
from limpet.ssh.agent import AgentBroken, AgentError, AgentRefused
from limpet.ssh.agent import SSHAgentClient as _ProtocolClient
from limpet.ssh.channel import SSHChannel
from limpet.ssh.keys import BadKeyError, Key
from limpet.wire import agent as wire
from limpet.wire.agent import SessionBind, SignRequest
from limpet.wire.errors import WireError
from limpet.wire.numbers import (
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
)

CONNECT_SECONDS = 10.0
"""How long connecting to an agent may take (ours)."""

MAX_SOCKET_PATH = 107
"""Longest path of a socket, in bytes (unix(7): 108 with its NUL; macOS has 104)."""

MAX_FORWARDED_CONNECTIONS = 16
"""Connections to the agent that a server may have open at once (ours)."""

AGENT_VARIABLE = "SSH_AUTH_SOCK"
"""The environment variable that holds the path of the agent's socket."""

CHANNEL_TYPE = b"auth-agent@openssh.com"

FORWARDING_REQUEST = b"auth-agent-req@openssh.com"


class SSHAgentClient(_ProtocolClient):
    """A connection to an agent that hands out its public keys one by one.

    Attributes:
        blobs: The blobs of the keys that were listed and not handed out yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blobs: list[bytes] = []

    def getPublicKeys(self) -> Deferred[None]:
        """List the agent's keys; a Deferred of None that fires when `blobs` has them."""

        def listed(identities: list[tuple[bytes, bytes]]) -> None:
            self.blobs = [blob for blob, _ in identities]

        return self.requestIdentities().addCallback(listed)

    def getPublicKey(self) -> Key | None:
        """The next key, or None; kinds that we do not know are passed over."""
        while self.blobs:
            try:
                return Key.fromString(self.blobs.pop(0), type="blob")
            except BadKeyError:
                continue
        return None


def connectToAgent(reactor: Any, path: str | None = None, protocol: Any = SSHAgentClient) -> Any:
    """Connect to the agent of the person at the client.

    Args:
        reactor: Provides IReactorUNIX and IReactorTime.
        path: The agent's socket; None for the one that SSH_AUTH_SOCK names.
        protocol: Makes the `SSHAgentClient`.

    Returns:
        A Deferred of an `SSHAgentClient`; cancellable. It fails with `AgentBroken`.
    """
    where = os.environ.get(AGENT_VARIABLE) if path is None else path
    if not where:
        return fail(AgentBroken(f"there is no agent: {AGENT_VARIABLE} is not set"))
    if "\0" in where or len(os.fsencode(where)) > MAX_SOCKET_PATH:
        return fail(AgentBroken(f"{where[:MAX_SOCKET_PATH]!r} is no path that a socket can have"))
    # Loaded with the first agent: it takes a fortieth of the start of `limpet ssh`.
    from twisted.internet.endpoints import UNIXClientEndpoint

    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    connecting = UNIXClientEndpoint(reactor, where, CONNECT_SECONDS).connect(factory)

    def connected(agent: _ProtocolClient) -> _ProtocolClient:
        agent.clock = reactor
        return agent

    def failed(reason: Failure) -> Any:
        cause = getattr(reason.value, "osError", None)
        words = os.strerror(cause) if isinstance(cause, int) else reason.getErrorMessage()
        raise AgentBroken(f"the agent at {where} cannot be reached: {words}")

    return connecting.addCallbacks(connected, failed)


def sessionBind(transport: Any, isForwarding: bool) -> SessionBind | None:
    """What binds a connection to an agent to the SSH session of `transport`.

    Args:
        transport: An `SSHClientTransport` whose keys are exchanged.
        isForwarding: Whether the agent is lent to the server, rather than asked to log in there.

    Returns:
        The binding; None where the session has not got that far.
    """
    blob = getattr(transport, "hostKeyBlob", None)
    sessionId = getattr(transport, "sessionID", None)
    signature = getattr(transport, "hostKeySignature", None)
    if not (blob and sessionId and signature):
        return None
    return SessionBind(blob, sessionId, signature, isForwarding)


def bindToSession(agent: _ProtocolClient, transport: Any, isForwarding: bool) -> Deferred[bool]:
    """Tell `agent` to which SSH session the connection to it belongs.

    Keys that may be used for certain destinations only can be used after this.

    Returns:
        A Deferred of whether the agent knows of such things; it fails with `AgentBroken`.
    """
    bind = sessionBind(transport, isForwarding)
    if bind is None:
        return succeed(False)

    def refused(reason: Failure) -> bool:
        reason.trap(AgentRefused)
        return False

    return agent.bindSession(bind).addCallbacks(lambda _: True, refused)


# ── Forwarding ────────────────────────────────────────────────────────────────────────────────


class SSHAgentForwardingLocal(_ProtocolClient):
    """The connection to the local agent on behalf of one channel."""

    channel: SSHAgentForwardingChannel | None = None

    def _end(self, why: str) -> None:
        super()._end(why)
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.loseConnection()


class SSHAgentForwardingChannel(SSHChannel):
    """A connection of the server's to the agent of the person at the client.

    Attributes:
        agentPath: The agent's socket; None for the one that SSH_AUTH_SOCK names.
        reactor: Connects to it; None for the global one.
        connect: What connects to it: `connectToAgent`, or like it.
        whenEnded: Called once when the channel is over.
    """

    name = CHANNEL_TYPE
    agentPath: str | None = None
    reactor: Any = None
    connect: Any = staticmethod(connectToAgent)
    whenEnded: Any = None

    _log = ClassLogger()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frames = FrameReceiver(wire.MAX_MESSAGE_LENGTH)
        self._isBusy = False
        self._hasAskedAll = False
        self._local: SSHAgentForwardingLocal | None = None
        self._bindings = Bindings()

    # ── The local agent ───────────────────────────────────────────────────────────────────────

    def prepareToOpen(self, specificData: bytes) -> Any:
        """Connect to the agent, before the server is told that the channel is open."""
        reactor = getReactor() if self.reactor is None else self.reactor
        connecting = self.connect(reactor, self.agentPath, SSHAgentForwardingLocal)
        return connecting.addCallback(self._connected).addErrback(self._failed)

    def _connected(self, local: SSHAgentForwardingLocal) -> Any:
        self._local = local
        local.channel = self
        transport = getattr(self.conn, "transport", None)
        bind = sessionBind(transport, isForwarding=True)
        if bind is not None:
            try:
                self._bindings.bind(bind)
            except BindRefused:
                # A kind of host key that cannot be verified: such a server gets no keys.
                raise ConchError("not for this host", OPEN_ADMINISTRATIVELY_PROHIBITED) from None
        return bindToSession(local, transport, isForwarding=True)

    def _failed(self, reason: Failure) -> Any:
        self._closeLocal()
        self._ended()
        if reason.check(AgentError) is None:
            return reason
        self._log.info("{why}", why=reason.getErrorMessage())
        raise ConchError("the agent cannot be reached", OPEN_CONNECT_FAILED)

    def _closeLocal(self) -> None:
        local, self._local = self._local, None
        if local is not None:
            local.channel = None
            local.disconnect()

    # ── Requests of the server's ──────────────────────────────────────────────────────────────

    def dataReceived(self, data: bytes) -> None:
        """Take requests."""
        self._frames.feed(data)
        self._work()

    def _work(self) -> None:
        while not self._isBusy and self._local is not None and not self.localClosed:
            try:
                message = self._frames.next()
            except WireError as error:
                self._log.info("a forwarded agent was cut off: {error}", error=str(error))
                self.loseConnection()
                return
            if message is None:
                break
            if not self._mayForward(message[0], message[1:]):
                self._answer(bytes((wire.AGENT_FAILURE,)))
                continue
            answer = self._local.sendRequest(message[0], message[1:])
            answer.addCallbacks(self._answered, self._notAnswered)
            self._isBusy = not answer.called
            answer.addBoth(self._goOn)
        if self._isBusy:
            self.pauseProducing()
            return
        self.resumeProducing()
        if self._hasAskedAll and not self.localClosed:
            self.loseConnection()

    def _goOn(self, ignored: Any) -> None:
        if self._isBusy:
            self._isBusy = False
            self._work()

    def _answered(self, message: bytes) -> None:
        self._answer(message or bytes((wire.AGENT_SUCCESS,)))

    def _notAnswered(self, reason: Failure) -> None:
        reason.trap(AgentError)
        if reason.check(AgentBroken):
            self.loseConnection()
        else:
            self._answer(bytes((wire.AGENT_FAILURE,)))

    def _answer(self, message: bytes) -> None:
        self.write(packFrame(message))

    def _mayForward(self, kind: int, body: bytes) -> bool:
        """Whether the agent is asked on behalf of somebody at the server."""
        if kind == wire.AGENTC_REQUEST_IDENTITIES:
            return not body and not self._bindings.failed
        try:
            if kind == wire.AGENTC_SIGN_REQUEST:
                what = recognise(SignRequest.decode(body).data)
                return what.use is Use.LOGIN and self._bindings.maySign(what)
            if kind == wire.AGENTC_EXTENSION:
                name, contents = wire.decodeExtension(body)
                if name == wire.EXTENSION_SESSION_BIND:
                    self._bindings.bind(SessionBind.decode(contents))
                    return True
                return name == wire.EXTENSION_QUERY
        except (WireError, BindRefused):
            if kind == wire.AGENTC_EXTENSION:
                self._bindings.failed = True
        return False

    # ── The end ───────────────────────────────────────────────────────────────────────────────

    def eofReceived(self) -> None:
        """The server asks nothing more; what it has asked is answered first."""
        self._hasAskedAll = True
        self._work()

    def openFailed(self, reason: Any) -> None:
        """The channel did not come about after all."""
        self._closeLocal()
        self._ended()

    def closed(self) -> None:
        """The channel is closed: so is the connection to the agent."""
        self._frames.clear()
        self._closeLocal()
        self._ended()

    def _ended(self) -> None:
        tell, self.whenEnded = self.whenEnded, None
        if tell is not None:
            tell()


class AgentForwarding:
    """What a client lends of its agent on one connection: nothing until a session asked for it.

    Args:
        reactor: Connects to the agent.
        path: The agent's socket; None for the one that SSH_AUTH_SOCK names.
        maxConnections: How many the server may have open at once.

    Attributes:
        isAllowed: Whether the server was asked to forward the agent. Set it before
            `FORWARDING_REQUEST` is sent.
    """

    def __init__(
        self,
        reactor: Any,
        path: str | None = None,
        maxConnections: int = MAX_FORWARDED_CONNECTIONS,
    ) -> None:
        self._reactor = reactor
        self.path = path
        self.maxConnections = maxConnections
        self.isAllowed = False
        self._open = 0

    def makeChannel(
        self, windowSize: int, maxPacket: int, data: bytes
    ) -> SSHAgentForwardingChannel:
        """The channel that the server asks for; for a method `channel_auth_agent_openssh_com`.

        Raises:
            ConchError: Nobody lent the server an agent, or it has too many channels already.
        """
        if not self.isAllowed:
            raise ConchError("the agent is not forwarded", OPEN_ADMINISTRATIVELY_PROHIBITED)
        if self._open >= self.maxConnections:
            raise ConchError("too many connections to the agent", OPEN_RESOURCE_SHORTAGE)
        channel = SSHAgentForwardingChannel(remoteWindow=windowSize, remoteMaxPacket=maxPacket)
        channel.agentPath = self.path
        channel.reactor = self._reactor
        channel.whenEnded = self._channelEnded
        self._open += 1
        return channel

    def _channelEnded(self) -> None:
        self._open -= 1
