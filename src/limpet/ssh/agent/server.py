"""An agent: the server's end of the protocol.

Rule: one request at a time, each answered once, in order. What is malformed, unknown or not allowed
is answered FAILURE; what is no message at all ends that connection, and the agent lives.

    REQUEST_IDENTITIES, SIGN_REQUEST, EXTENSION      for everybody who is connected
    ADD_…, REMOVE_…, LOCK, UNLOCK                    not for one to whom the agent is forwarded

A request is handled by the method `agentc_<NAME>(data)`, which may return a Deferred; it answers by
`sendResponse`. The keys are in `factory.keyStore`, or in `factory.keys` as Conch documents it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.core.agentbinding import Bindings, BindRefused
from limpet.core.agentkeys import AgentRefusal, Approval, KeyStore
from limpet.core.framing import FrameReceiver, packFrame
from limpet.core.signables import Use
from limpet.crypto.errors import BadKeyError
from limpet.error import MissingKeyStoreError
from limpet.wire import agent as wire
from limpet.wire.agent import SessionBind, SignRequest
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, u32

REQUESTS_PER_TURN = 8
"""Requests of one connection that are answered before others get their turn (ours)."""

UNLOCK_STEP_SECONDS = 0.1
MAX_UNLOCK_SECONDS = 10.0
"""A wrong passphrase is answered so much later with each one before it, up to the second number
(OpenSSH's)."""

MAX_UNLOCKS_WAITING = 16
"""Passphrases that may wait for the one before them (ours); more are refused."""

NOT_WHEN_FORWARDED = frozenset(
    {
        wire.AGENTC_ADD_IDENTITY,
        wire.AGENTC_ADD_ID_CONSTRAINED,
        wire.AGENTC_REMOVE_IDENTITY,
        wire.AGENTC_REMOVE_ALL_IDENTITIES,
        wire.AGENTC_REMOVE_RSA_IDENTITY,
        wire.AGENTC_REMOVE_ALL_RSA_IDENTITIES,
        wire.AGENTC_LOCK,
        wire.AGENTC_UNLOCK,
    }
)
"""What only those on the agent's own machine may ask."""

EXTENSIONS = (wire.EXTENSION_QUERY, wire.EXTENSION_SESSION_BIND)


@implementer(IPushProducer)
class SSHAgentServer(Protocol):
    """One connection to the agent.

    Attributes:
        factory: Has the keys: an `SSHAgentFactory`; or, as Conch documents it, anything with a
            dictionary `keys` of blob to (key, comment). Such a one signs whatever it is asked to.
        bindings: The SSH sessions to which the connection belongs.
    """

    factory: Any = None
    _log: ClassVar[Logger] = ClassLogger()

    def __init__(self) -> None:
        self._frames = FrameReceiver(wire.MAX_MESSAGE_LENGTH)
        self._isBusy = False
        self._isWorking = False
        self._isFull = False
        self._isOver = False
        self._turn: Any = None
        self.bindings = Bindings()

    # ── The stream ────────────────────────────────────────────────────────────────────────────

    def connectionMade(self) -> None:
        """Ask to be paused while a client does not read its answers."""
        register = getattr(self.transport, "registerProducer", None)
        if register is not None:
            register(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Take requests."""
        self._frames.feed(data)
        self._work()

    def _work(self) -> None:
        """Answer what waits, until it has to wait for something itself."""
        self._turn = None
        if self._isWorking:
            return
        self._isWorking = True
        try:
            self._answerWaiting()
        except WireError as error:
            self._log.info("an agent's client was cut off: {error}", error=str(error))
            self._isOver = True
            self._frames.clear()
            if self.transport is not None:
                self.transport.loseConnection()
        finally:
            self._isWorking = False
        self._readOrNot()

    def _answerWaiting(self) -> None:
        """The loop of `_work`. Raises a WireError where what comes next is no message at all."""
        handled = 0
        while not (self._isBusy or self._isFull or self._isOver or self._turn):
            message = self._frames.next()
            if message is None:
                return
            self._dispatch(message[0], message[1:])
            handled += 1
            if handled == REQUESTS_PER_TURN and self._clock is not None:
                self._turn = self._clock.callLater(0, self._work)

    def _readOrNot(self) -> None:
        """Read from the client only when something can be made of it."""
        if self.transport is None or self._isOver:
            return
        waits = self._isBusy or self._isFull or self._turn is not None
        toggle = getattr(self.transport, "pauseProducing" if waits else "resumeProducing", None)
        if toggle is not None:
            toggle()

    def pauseProducing(self) -> None:
        """The client does not read: no more answers for now."""
        self._isFull = True
        self._readOrNot()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._isFull = False
        self._work()

    def stopProducing(self) -> None:
        """Nobody reads any more."""
        self._isOver = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone; what it asked is not answered."""
        self._isOver = True
        self._frames.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    # ── Requests ──────────────────────────────────────────────────────────────────────────────

    @property
    def _clock(self) -> Any:
        return getattr(self.factory, "clock", None) or getattr(self.transport, "reactor", None)

    def _now(self) -> float:
        clock = self._clock
        return time.time() if clock is None else float(clock.seconds())

    @property
    def keyStore(self) -> KeyStore:
        """The agent's keys.

        Raises:
            MissingKeyStoreError: The factory has none.
        """
        store = getattr(self.factory, "keyStore", None)
        if isinstance(store, KeyStore):
            return store
        keys = getattr(self.factory, "keys", None)
        if keys is None:
            raise MissingKeyStoreError("the agent's factory has neither keyStore nor keys")
        return KeyStore(keys, uses=~Use(0))

    def _dispatch(self, kind: int, data: bytes) -> None:
        # An agent without a place for keys is a mistake of its author's, whatever it is asked.
        self.keyStore  # noqa: B018
        name = wire.REQUEST_NAMES.get(kind, "")
        handler: Callable[[bytes], Any] | None = getattr(self, "agentc_" + name, None)
        if handler is None or (self.bindings.isForwarded and kind in NOT_WHEN_FORWARDED):
            self.sendResponse(wire.AGENT_FAILURE, b"")
            return
        self._isBusy = True
        result = maybeDeferred(handler, data)
        result.addErrback(self._refused, name)
        result.addBoth(self._handled)

    def _refused(self, reason: Failure, name: str) -> None:
        """A request was not granted: FAILURE, and in the log what only we may know."""
        if reason.check(WireError, BadKeyError, AgentRefusal) is None:
            self._log.failure("the agent failed at {name}", reason, name=name)
        else:
            self._log.debug("{name} refused: {why}", name=name, why=reason.getErrorMessage())
        self.sendResponse(wire.AGENT_FAILURE, b"")

    def _handled(self, ignored: Any) -> None:
        self._isBusy = False
        if not self._isWorking:
            self._work()

    def sendResponse(self, reqType: int, data: bytes) -> None:
        """Answer the request that is being handled.

        Args:
            reqType: The number of the answer, `AGENT_*`.
            data: Its body.
        """
        if self.transport is not None and not self._isOver:
            self.transport.write(packFrame(bytes((reqType,)) + data))

    def _success(self) -> None:
        self.sendResponse(wire.AGENT_SUCCESS, b"")

    # ── Keys ──────────────────────────────────────────────────────────────────────────────────

    def agentc_REQUEST_IDENTITIES(self, data: bytes) -> None:
        """List the keys. Body: nothing."""
        listed: list[tuple[bytes, bytes]] = []
        room = wire.MAX_MESSAGE_LENGTH - 5  # the message's type, and how many there are
        for blob, comment in self.keyStore.identities(self.bindings, self._now()):
            room -= 8 + len(blob) + len(comment)
            if room < 0:
                # Certificates may be long. What no client would take is not sent.
                break
            listed.append((blob, comment))
        self.sendResponse(wire.AGENT_IDENTITIES_ANSWER, wire.encodeIdentities(listed))

    def agentc_SIGN_REQUEST(self, data: bytes) -> Deferred[None] | None:
        """Sign. Body: string key blob, string data, uint32 flags."""
        request = SignRequest.decode(data)
        approval = self._approve(request)
        if not approval.held.confirm:
            self._sendSignature(approval)
            return None
        asking = maybeDeferred(self.factory.confirm, approval)
        return asking.addCallback(self._confirmed, request)

    def _approve(self, request: SignRequest) -> Approval:
        return self.keyStore.approve(request, self.bindings, self._now())

    def _confirmed(self, verdict: object, request: SignRequest) -> None:
        if verdict is not True:
            raise AgentRefusal("the person did not agree")
        if not self._isOver:
            # That may have taken long: the key may be gone or locked away by now.
            self._sendSignature(self._approve(request))

    def _sendSignature(self, approval: Approval) -> None:
        self.sendResponse(wire.AGENT_SIGN_RESPONSE, NS(approval.sign()))

    def agentc_ADD_IDENTITY(self, data: bytes) -> None:
        """Take a key. Body: see `limpet.core.agentkeys.parseAddition`."""
        self._add(data, constrained=False)

    def agentc_ADD_ID_CONSTRAINED(self, data: bytes) -> None:
        """Take a key with constraints. Body: see `limpet.core.agentkeys.parseAddition`."""
        self._add(data, constrained=True)

    def _add(self, data: bytes, constrained: bool) -> None:
        self.keyStore.add(data, constrained, self._now())
        changed = getattr(self.factory, "keysChanged", None)
        if changed is not None:
            changed()
        self._success()

    def agentc_REMOVE_IDENTITY(self, data: bytes) -> None:
        """Forget a key. Body: string key blob."""
        self.keyStore.remove(wire.readOneString(data), self._now())
        self._success()

    def agentc_REMOVE_ALL_IDENTITIES(self, data: bytes) -> None:
        """Forget all keys. Body: nothing."""
        self.keyStore.removeAll()
        self._success()

    # Keys of SSH 1. There are none, so that all of them are easily listed and forgotten.

    def agentc_REQUEST_RSA_IDENTITIES(self, data: bytes) -> None:
        """List the keys of SSH 1."""
        self.sendResponse(wire.AGENT_RSA_IDENTITIES_ANSWER, u32(0))

    def agentc_REMOVE_RSA_IDENTITY(self, data: bytes) -> None:
        """Forget a key of SSH 1."""
        self._success()

    def agentc_REMOVE_ALL_RSA_IDENTITIES(self, data: bytes) -> None:
        """Forget all keys of SSH 1."""
        self._success()

    # ── The lock ──────────────────────────────────────────────────────────────────────────────

    def agentc_LOCK(self, data: bytes) -> None:
        """Keep the keys away. Body: string passphrase."""
        if getattr(self.factory, "unlock", None) is None:
            raise AgentRefusal("this agent cannot be unlocked")
        self.keyStore.lock(wire.readOneString(data))
        self._success()

    def agentc_UNLOCK(self, data: bytes) -> Deferred[None]:
        """Give the keys free. Body: string passphrase."""
        unlock = getattr(self.factory, "unlock", None)
        if unlock is None:
            raise AgentRefusal("this agent cannot be locked")
        done: Deferred[None] = unlock(wire.readOneString(data))
        return done.addCallback(lambda _: self._success())

    # ── Extensions ────────────────────────────────────────────────────────────────────────────

    def agentc_EXTENSION(self, data: bytes) -> None:
        """Something beyond the protocol itself. Body: string name, contents."""
        name, contents = wire.decodeExtension(data)
        if name == wire.EXTENSION_QUERY:
            names = b"".join(map(NS, EXTENSIONS))
            self.sendResponse(wire.AGENT_EXTENSION_RESPONSE, NS(name) + names)
        elif name == wire.EXTENSION_SESSION_BIND:
            self._bind(contents)
        else:
            raise AgentRefusal("an extension that is not known here")

    def _bind(self, contents: bytes) -> None:
        try:
            self.bindings.bind(SessionBind.decode(contents))
        except (BindRefused, WireError) as refusal:
            # Not to be forgotten: one who goes on after this is not who they seem to be.
            self.bindings.failed = True
            self._log.info("a connection to the agent is spoilt: {why}", why=str(refusal))
            self.sendResponse(wire.AGENT_EXTENSION_FAILURE, b"")
        else:
            self._success()


class SSHAgentFactory(Factory):
    """An agent.

    Args:
        clock: Tells the time, and forgets keys when theirs is over.
        keyStore: The keys; None for none yet.
        confirm: Asks a person about the use of a key: called with an `Approval`, returns True or
            a Deferred of it. Without it, keys that want to be confirmed are refused.
    """

    protocol = SSHAgentServer
    noisy = False

    def __init__(
        self,
        clock: Any,
        keyStore: KeyStore | None = None,
        confirm: Callable[[Approval], Any] | None = None,
    ) -> None:
        self.clock = clock
        self.keyStore = KeyStore() if keyStore is None else keyStore
        self.confirm = confirm
        self.keyStore.canConfirm = confirm is not None
        self._timer: Any = None
        self._wrongUnlocks = 0
        self._unlocking = DeferredLock()

    @property
    def keys(self) -> Any:
        """The keys by blob, as Conch documents it."""
        return self.keyStore.keys

    def keysChanged(self) -> None:
        """A key was added: see to it that it is forgotten in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        expiry = self.keyStore.nextExpiry()
        if expiry is not None:
            delay = max(0.0, expiry - float(self.clock.seconds()))
            self._timer = self.clock.callLater(delay, self._forget)

    def _forget(self) -> None:
        self._timer = None
        self.keyStore.forgetExpired(float(self.clock.seconds()))
        self.keysChanged()

    def stopFactory(self) -> None:
        """The agent ends: forget all keys."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.keyStore.keys.clear()

    def unlock(self, passphrase: bytes) -> Deferred[None]:
        """Unlock the key store, one attempt after the other, wrong ones slower and slower.

        Returns:
            A Deferred of None; it fails with `AgentRefusal`.
        """
        if len(self._unlocking.waiting) >= MAX_UNLOCKS_WAITING:
            raise AgentRefusal("too many attempts at the same time")
        done: Deferred[None] = self._unlocking.run(self._tryUnlock, passphrase)
        return done

    def _tryUnlock(self, passphrase: bytes) -> Deferred[None]:
        try:
            self.keyStore.unlock(passphrase)
        except AgentRefusal as refusal:
            if not self.keyStore.isLocked:
                raise
            self._wrongUnlocks += 1
            seconds = min(self._wrongUnlocks * UNLOCK_STEP_SECONDS, MAX_UNLOCK_SECONDS)
            late: Deferred[None] = Deferred()
            self.clock.callLater(seconds, late.errback, Failure(refusal))
            return late
        self._wrongUnlocks = 0
        return succeed(None)
