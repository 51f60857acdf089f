"""The client of an agent: it asks for signatures by keys that it never sees.

Rule: an agent answers in order, one answer per request. An agent that answers anything else, too
much, or not in time is broken, and the connection to it ends: every request then fails once.

    AgentError(ConchError)
    ├── AgentRefused      the agent said no
    └── AgentBroken       it said nothing, nonsense, or is gone
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.core.framing import FrameReceiver, packFrame
from limpet.error import ConchError
from limpet.wire import agent as wire
from limpet.wire.agent import Constraints, SessionBind, SignRequest
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader

ANSWER_SECONDS = 30.0
"""How long an agent may think about a request that needs nobody (ours)."""

SIGN_SECONDS = 300.0
"""How long it may take to sign: a person may have to confirm it, or to touch a key (ours)."""

_ASKS_A_PERSON = frozenset({wire.AGENTC_SIGN_REQUEST, wire.AGENTC_UNLOCK})

_SUCCESS = bytes((wire.AGENT_SUCCESS,))

_RSA_NAMES = frozenset({b"ssh-rsa", b"ssh-rsa-cert-v01@openssh.com"})

_T = TypeVar("_T")


class AgentError(ConchError):
    """The agent did not do what it was asked."""

    def __str__(self) -> str:
        return str(self.value)


class AgentRefused(AgentError):
    """The agent said no; it does not say why."""


class AgentBroken(AgentError):
    """The agent answered what it was not asked, nothing in time, or is gone."""


class SSHAgentClient(Protocol):
    """One connection to an agent.

    Every method that asks returns a Deferred that fails with an `AgentError`; cancelling it gives
    up waiting, and the agent's answer is then thrown away.

    Attributes:
        clock: Tells the time for the limits on answers; None means the reactor that the transport
            has, and no limits for one that has none.
    """

    clock: Any = None
    _log: ClassVar[Logger] = ClassLogger()

    def __init__(self) -> None:
        self._frames = FrameReceiver(wire.MAX_MESSAGE_LENGTH)
        self._pending: deque[tuple[Deferred[bytes], float]] = deque()
        self._timer: Any = None
        self._isOver: str | None = None

    # ── Requests and answers ──────────────────────────────────────────────────────────────────

    def sendRequest(self, reqType: int, data: bytes) -> Deferred[bytes]:
        """Ask for anything.

        Args:
            reqType: The number of the request, `AGENTC_*`.
            data: Its body.

        Returns:
            A Deferred of the answer: b"" for SUCCESS, else the whole message, type byte first.
            FAILURE fails it.
        """
        if self._isOver is not None:
            return fail(AgentBroken(self._isOver))
        if len(data) + 1 > wire.MAX_MESSAGE_LENGTH:
            return fail(AgentRefused(f"{len(data)} bytes are more than any agent takes"))
        limit = SIGN_SECONDS if reqType in _ASKS_A_PERSON else ANSWER_SECONDS
        answer: Deferred[bytes] = Deferred()
        self._pending.append((answer, limit))
        self._write(packFrame(bytes((reqType,)) + data))
        self._watch()
        return answer

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """Take answers."""
        self._frames.feed(data)
        while self._isOver is None:
            try:
                message = self._frames.next()
            except WireError as error:
                self._break(f"the agent does not speak the agent protocol: {error}")
                return
            if message is None:
                return
            if not self._pending:
                self._break("the agent answered without being asked")
                return
            answer, _ = self._pending.popleft()
            self._stopWatching()
            self._watch()
            kind = message[0]
            if kind in (wire.AGENT_FAILURE, wire.AGENT_EXTENSION_FAILURE):
                answer.errback(AgentRefused("the agent refuses"))
            elif message == _SUCCESS:
                answer.callback(b"")
            else:
                answer.callback(message)

    def _watch(self) -> None:
        """Limit the time for the answer that is to come next."""
        clock = self.clock or getattr(self.transport, "reactor", None)
        if self._timer is None and self._pending and clock is not None:
            self._timer = clock.callLater(self._pending[0][1], self._timedOut)

    def _stopWatching(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _timedOut(self) -> None:
        self._timer = None
        self._break("the agent did not answer in time")

    def _break(self, why: str) -> None:
        """The connection is of no use any more."""
        self._end(why)
        transport = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()

    def _end(self, why: str) -> None:
        if self._isOver is not None:
            return
        self._isOver = why
        self._stopWatching()
        self._frames.clear()
        waiting, self._pending = self._pending, deque()
        for answer, _ in waiting:
            answer.errback(AgentBroken(why))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The agent is gone: whoever still waits for an answer is told."""
        self._end("the connection to the agent was lost")

    def disconnect(self) -> None:
        """End the connection; what was asked fails."""
        self._end("the connection to the agent was closed")
        if self.transport is not None:
            self.transport.loseConnection()

    def _ask(self, reqType: int, data: bytes, expected: int, read: Callable[[bytes], _T]) -> Any:
        """Ask, and read the body of the answer, whose type has to be `expected`."""

        def answered(message: bytes) -> _T:
            if message[:1] != bytes((expected,)):
                self._break("the agent answered something else than it was asked")
                raise AgentBroken("the agent answered something else than it was asked")
            try:
                return read(message[1:])
            except WireError as error:
                self._break(f"the agent's answer is damaged: {error}")
                raise AgentBroken(f"the agent's answer is damaged: {error}") from None

        return self.sendRequest(reqType, data).addCallback(answered)

    def _tell(self, reqType: int, data: bytes) -> Deferred[None]:
        """Ask for something that has no answer but SUCCESS."""

        def answered(message: bytes) -> None:
            if message:
                self._break("the agent answered something else than it was asked")
                raise AgentBroken("the agent answered something else than it was asked")

        return self.sendRequest(reqType, data).addCallback(answered)

    # ── Keys and signatures ───────────────────────────────────────────────────────────────────

    def requestIdentities(self) -> Deferred[list[tuple[bytes, bytes]]]:
        """The agent's keys, as a Deferred of a list of (blob, comment)."""
        answer: Deferred[list[tuple[bytes, bytes]]] = self._ask(
            wire.AGENTC_REQUEST_IDENTITIES,
            b"",
            wire.AGENT_IDENTITIES_ANSWER,
            wire.decodeIdentities,
        )
        return answer

    def signData(self, blob: bytes, data: bytes, flags: int | None = None) -> Deferred[bytes]:
        """Have `data` signed.

        Args:
            blob: The public key, or certificate, as the agent lists it.
            data: What is to be signed. Agents may refuse what is neither a login, nor a file's
                signature, nor a certificate.
            flags: `limpet.wire.agent.SIGN_*`; None means SHA-512 with RSA keys. An explicit 0 means
                SHA-1 with RSA keys, which agents and servers refuse.

        Returns:
            A Deferred of the signature blob.
        """
        if flags is None:
            flags = wire.SIGN_RSA_SHA2_512 if _typeOf(blob) in _RSA_NAMES else 0
        request = SignRequest(blob, data, flags)
        answer: Deferred[bytes] = self._ask(
            wire.AGENTC_SIGN_REQUEST,
            request.encode(),
            wire.AGENT_SIGN_RESPONSE,
            wire.readOneString,
        )
        return answer

    def addIdentity(
        self, blob: bytes, comment: bytes = b"", constraints: Constraints | None = None
    ) -> Deferred[None]:
        """Give the agent a private key.

        Args:
            blob: The key as `Key.privateBlob` gives it.
            comment: What people call it.
            constraints: What limits its use; all of them are sent, and an agent that does not know
                one refuses the key.

        Returns:
            A Deferred of None.
        """
        body = blob + NS(comment)
        if constraints:
            return self._tell(wire.AGENTC_ADD_ID_CONSTRAINED, body + constraints.encode())
        return self._tell(wire.AGENTC_ADD_IDENTITY, body)

    def removeIdentity(self, blob: bytes) -> Deferred[None]:
        """Have the key forgotten whose public half, or certificate, is `blob`."""
        return self._tell(wire.AGENTC_REMOVE_IDENTITY, NS(blob))

    def removeAllIdentities(self) -> Deferred[None]:
        """Have all keys forgotten."""
        return self._tell(wire.AGENTC_REMOVE_ALL_IDENTITIES, b"")

    def lock(self, passphrase: bytes) -> Deferred[None]:
        """Keep the agent from using its keys until `unlock` with the same passphrase."""
        return self._tell(wire.AGENTC_LOCK, NS(passphrase))

    def unlock(self, passphrase: bytes) -> Deferred[None]:
        """Let a locked agent use its keys again."""
        return self._tell(wire.AGENTC_UNLOCK, NS(passphrase))

    # ── Extensions ────────────────────────────────────────────────────────────────────────────

    def queryExtensions(self) -> Deferred[list[bytes]]:
        """The names of the extensions that the agent has, as a Deferred of a list.

        Agents of before the RFC answer SUCCESS, and the names behind it.
        """

        def answered(message: bytes) -> list[bytes]:
            try:
                return _extensionNames(message)
            except WireError as error:
                self._break(f"the agent's answer is damaged: {error}")
                raise AgentBroken(f"the agent's answer is damaged: {error}") from None

        body = wire.encodeExtension(wire.EXTENSION_QUERY)
        return self.sendRequest(wire.AGENTC_EXTENSION, body).addCallback(answered)

    def bindSession(self, bind: SessionBind) -> Deferred[None]:
        """Say to which SSH session this connection belongs (OpenSSH's PROTOCOL.agent section 1).

        Returns:
            A Deferred of None; it fails with `AgentRefused` where the agent does not know of that.
        """
        body = wire.encodeExtension(wire.EXTENSION_SESSION_BIND, bind.encode())
        return self._tell(wire.AGENTC_EXTENSION, body)


def _typeOf(blob: bytes) -> bytes:
    try:
        return Reader(blob).string()
    except WireError:
        return b""


def _extensionNames(message: bytes) -> list[bytes]:
    reader = Reader(message)
    if message and reader.byte() != wire.AGENT_SUCCESS:
        reader = Reader(message)
        if reader.byte() != wire.AGENT_EXTENSION_RESPONSE:
            raise WireError("an answer to something else")
        if reader.string() != wire.EXTENSION_QUERY:
            raise WireError("an answer to another extension")
    names = []
    while reader.remaining:
        names.append(reader.string())
    return names
