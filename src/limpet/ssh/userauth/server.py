"""The server's side of ssh-userauth: requests in, one answer each, and at last a service.

Rule: one request is in flight at a time, and everything that is answered for it comes from its own
context. A login happens in one place, `_succeeded`, and only for the request that is in flight.

    50 ──▶ ssh_USERAUTH_REQUEST ──▶ tryAuth ──▶ auth_METHOD ──▶ portal.login
                  │ in flight: queue (4)               │
                  ▼                                    ├─ avatar ────────────▶ 52, next service
           next in the queue ◀── answered ─────────────┼─ NotEnough… ────────▶ 51 partial success
                                                       ├─ ValidPublicKey ────▶ 60
                                                       └─ any other failure ─▶ (delay) 51

RFC 4252 (the protocol, none, publickey, password), RFC 4256 (keyboard-interactive), OpenSSH's
PROTOCOL section 3.1 (publickey-hostbound-v00@openssh.com).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from twisted.cred.credentials import ISSHPrivateKey, IUsernamePassword
from twisted.cred.error import LoginFailed, Unauthorized, UnauthorizedLogin, UnhandledCredentials
from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall, IReactorCore
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet._reactor import getReactor
from limpet.core import authentication
from limpet.core.authentication import AttemptBudget, Factors, UserAuthRequest
from limpet.core.authorizedkeys import ConflictingRestrictions
from limpet.core.errors import (
    LimitExceeded,
    ProtocolViolation,
    ServiceUnavailable,
    TooManyAttempts,
    UnexpectedMessage,
)
from limpet.core.krl import isCertificate
from limpet.core.signables import plainBlob
from limpet.crypto.fingerprints import displayFingerprint
from limpet.crypto.signatures import (
    CERTIFICATE_ALGORITHMS,
    DEFAULT_SIGNATURE_ALGORITHMS,
    HOST_KEY_ALGORITHMS,
)
from limpet.error import (
    ConchError,
    IgnoreAuthentication,
    NotEnoughAuthentication,
    PasswordChangeRequired,
    ValidPublicKey,
)
from limpet.interfaces import IConchUser, IKeyboardInteractiveCredentials
from limpet.ssh.service import SSHService
from limpet.ssh.userauth.context import (
    AuthenticationContext,
    KeyboardInteractiveCredentials,
    PasswordChangeCredentials,
    PasswordCredentials,
    PublicKeyCredentials,
)
from limpet.ssh.userauth.numbers import (
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_REQUEST,
    MSG_USERAUTH_INFO_RESPONSE,
    MSG_USERAUTH_PASSWD_CHANGEREQ,
    MSG_USERAUTH_PK_OK,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader

MAX_WAITING = 4
"""Most requests that wait while one is answered (ours); clients send one, or `none` and one."""

MAX_ROUNDS = 32
"""Most questions of one keyboard-interactive request (ours)."""

_DELAY_SECRET = os.urandom(32)
"""Keys the delay of failures, so that it tells nothing about a name; new in each process."""

COARSE_SECONDS = 0.001
"""By how much a reactor's timers are late at most, without load: epoll(7) waits milliseconds."""

_GUESSES = (authentication.PASSWORD, authentication.KEYBOARD_INTERACTIVE)

_OWN_PARSERS = frozenset(("auth_publickey", "ssh_USERAUTH_REQUEST"))
"""Methods of which a subclass's own parse the fields of the method publickey."""

_REFUSALS = (ConchError, LoginFailed, Unauthorized, UnhandledCredentials, WireError)


def _named(user: bytes | str | None) -> str:
    """The beginning of a user's name for the log; applications may have set it to text."""
    text = user.decode("utf-8", "backslashreplace") if isinstance(user, bytes) else user or ""
    return text[:64]


class SSHUserAuthServer(SSHService):
    """The service in which a client shows who its user is.

    Methods are `auth_NAME(fields)`, for the names in `interfaceToMethod` and for `none`; each
    returns a Deferred of what `Portal.login` gives, (interface, avatar, logout). A method that
    answers the client by itself fails with `IgnoreAuthentication`.

    Attributes:
        loginTimeout: Seconds from the service's start to a login. The transport's own
            `loginGraceSeconds` runs from the connection's start; this one only where it is shorter.
        attemptsBeforeDisconnect: Failed attempts with which the connection ends.
        maxKeyQueries, maxRequests: The other two budgets, see `AttemptBudget`.
        passwordDelay: Seconds that a failure of a password takes at least.
        failuresTakeTime: Whether every failure takes a few milliseconds more than it would, the
            same for known and unknown users.
        bannerText: What the client is shown before anything else; None asks the factory, whose
            `bannerText` may be missing.
        takesHostBoundKeys: Whether the transport offers OpenSSH's form of publickey, whose
            signature covers the host key; not, unless it says so, for a subclass with an
            `auth_publickey` or `ssh_USERAUTH_REQUEST` of its own.
        interfaceToMethod: Kinds of credentials that a portal may take, to the method's name.
        clock: What the delays run on; None takes the transport's, else the reactor.
        supportedAuthentications: The methods that this connection can use, set at the start.
        authenticatedWith: Methods that have succeeded towards the login.
        loginAttempts: Failed attempts so far.
        user, nextService, method: Of the request that is in flight, or was last.
        hasTried: Whether any request was of another method than `none`.
        portal: The factory's `Portal`.
    """

    name = b"ssh-userauth"
    loginTimeout: float = 60
    attemptsBeforeDisconnect = authentication.MAX_FAILURES
    maxKeyQueries = authentication.MAX_KEY_QUERIES
    maxRequests = authentication.MAX_REQUESTS
    passwordDelay: float = 1
    failuresTakeTime = True
    bannerText: bytes | str | None = None
    clock: Any = None

    takesHostBoundKeys: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take no host-bound keys where a subclass parses requests itself: it knows of none."""
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "takesHostBoundKeys" not in own and _OWN_PARSERS.intersection(own):
            cls.takesHostBoundKeys = False

    interfaceToMethod: ClassVar[dict[Any, bytes]] = {
        ISSHPrivateKey: authentication.PUBLIC_KEY,
        IUsernamePassword: authentication.PASSWORD,
        IKeyboardInteractiveCredentials: authentication.KEYBOARD_INTERACTIVE,
    }

    protocolMessages: ClassVar[Mapping[int, str]] = {
        MSG_USERAUTH_REQUEST: "MSG_USERAUTH_REQUEST",
        MSG_USERAUTH_INFO_RESPONSE: "MSG_USERAUTH_INFO_RESPONSE",
    }

    _over = False
    _context: AuthenticationContext | None = None
    _login: defer.Deferred[Any] | None = None
    _question: tuple[defer.Deferred[list[bytes]], int] | None = None
    _answerMayCross: bool = False
    _delayed: IDelayedCall | None = None
    _cancelLoginTimeout: IDelayedCall | None = None

    user: bytes | None = None
    nextService: bytes | None = None
    method: bytes = b""
    hasTried = False

    _log = ClassLogger()

    # ── Start and end ─────────────────────────────────────────────────────────────────────────

    def serviceStarted(self) -> None:
        """Find out what the portal takes, and start the clock if the transport's is longer."""
        self.portal = self.transport.factory.portal
        self.loginAttempts = 0
        self.user = None
        self.nextService = None
        self.method = b""
        self.hasTried = False
        self.authenticatedWith: list[bytes] = []
        self._budget = AttemptBudget(
            self.attemptsBeforeDisconnect, self.maxKeyQueries, self.maxRequests
        )
        self._factors: Factors | None = None
        self._rounds = 0
        self._waiting: deque[UserAuthRequest] = deque()
        self._over = False
        self._noneSeen = False
        self._bannerSent = False
        private = self.transport.isEncrypted("in")
        self.supportedAuthentications: list[bytes] = []
        for interface in self.portal.listCredentialsInterfaces():
            method = self.interfaceToMethod.get(interface)
            if method is None or method in self.supportedAuthentications:
                continue
            # What a password is asked for in the clear is known to everybody on the way.
            if method == authentication.PUBLIC_KEY or private:
                self.supportedAuthentications.append(method)
        grace = getattr(self.transport, "loginGraceSeconds", None)
        if grace is None or self.loginTimeout < grace:
            self._cancelLoginTimeout = self._now().callLater(
                self.loginTimeout, self.timeoutAuthentication
            )

    def serviceStopped(self) -> None:
        """Drop what is in flight and what waits; called once somebody is logged in, too."""
        self._over = True
        if self._cancelLoginTimeout is not None:
            self._cancelLoginTimeout.cancel()
            self._cancelLoginTimeout = None
        self._drop()
        self._waiting = deque()

    def timeoutAuthentication(self) -> None:
        """Nobody logged in within `loginTimeout`."""
        self._cancelLoginTimeout = None
        self._giveUp(TooManyAttempts("you took too long"))

    def _now(self) -> Any:
        """The clock."""
        if self.clock is not None:
            return self.clock
        clock = getattr(self.transport, "clock", None)
        return clock if clock is not None else getReactor()

    def _giveUp(self, violation: ProtocolViolation) -> None:
        """End the connection, from outside of a message's handler as well."""
        if self._over:
            return
        self._over = True
        self._drop()
        self._waiting.clear()
        self.transport.sendDisconnect(
            violation.reasonCode, violation.description.encode("ascii", "replace")
        )

    def _drop(self) -> None:
        """Forget the request in flight: cancel what can be, and let nothing late reach anybody."""
        context, self._context = self._context, None
        login, self._login = self._login, None
        question, self._question = self._question, None
        delayed, self._delayed = self._delayed, None
        if context is not None:
            context.over = True
        if delayed is not None:
            delayed.cancel()
        if question is not None:
            question[0].errback(UnauthorizedLogin("the conversation was given up"))
        if login is not None:
            login.cancel()

    # ── Requests ──────────────────────────────────────────────────────────────────────────────

    def ssh_USERAUTH_REQUEST(self, packet: bytes) -> defer.Deferred[Any] | None:
        """MSG_USERAUTH_REQUEST: string user, string service, string method, method's fields.

        Returns:
            A Deferred that fires with None once the request has been answered, or None where it
            waits or the connection ends. Nothing is to be gained by cancelling it.

        Raises:
            WireError: The message is cut short.
            LimitExceeded: More than `MAX_WAITING` requests wait already.
        """
        request = authentication.parseRequest(packet)
        if self._over:
            return None
        self._answerMayCross = False
        try:
            self._budget.countRequest()
            self._endConversation()
        except TooManyAttempts as violation:
            self._giveUp(violation)
            return None
        if self._context is not None:
            if len(self._waiting) >= MAX_WAITING:
                raise LimitExceeded("too many authentication requests at once")
            self._waiting.append(request)
            return None
        return self._begin(request)

    def _endConversation(self) -> None:
        """End a conversation because another request came; raises TooManyAttempts.

        It has no answer of its own then (RFC 4256 section 3.1), but is counted.
        """
        if self._context is not None and self.method == authentication.KEYBOARD_INTERACTIVE:
            self._drop()
            self._countFailure()

    def _begin(self, request: UserAuthRequest) -> defer.Deferred[Any] | None:
        """Answer one request; nothing is in flight."""
        try:
            self._checkService(request.service)
        except ServiceUnavailable as violation:
            self._giveUp(violation)
            return None
        if self._factors is None or not self._factors.isFor(request):
            # Another user, or another service: what was shown before counts for nothing.
            self._factors = Factors(request.user, request.service)
            self.authenticatedWith = self._factors.methods
        self.user = request.user
        self.nextService = request.service
        self.method = _plainMethod(request.method)
        self.hasTried = self.hasTried or self.method != authentication.NONE
        context = AuthenticationContext(
            request, self.transport, self._factors, self._now().seconds()
        )
        self._context = context
        self._rounds = 0
        self._sendBannerOnce()
        answered: defer.Deferred[Any] = defer.Deferred()
        answered.addCallback(self._succeeded, context)
        answered.addErrback(self._ebMaybeBadAuth)
        answered.addErrback(self._slowly, context)
        answered.addErrback(self._ebBadAuth)
        answered.addErrback(self._ebUnexpected)
        answered.addCallback(self._next, context)
        self._login = login = self._start(request)
        login.addBoth(self._relay, context, answered)
        return answered

    def _checkService(self, service: bytes) -> None:
        services = getattr(self.transport.factory, "services", None)
        if service == self.name or (isinstance(services, Mapping) and service not in services):
            raise ServiceUnavailable("the service to be started does not exist")

    def _start(self, request: UserAuthRequest) -> defer.Deferred[Any]:
        if not authentication.isPlausibleUserName(request.user):
            return defer.fail(UnauthorizedLogin("not the name of a user"))
        return defer.maybeDeferred(self.tryAuth, request.method, request.user, request.fields)

    def _relay(
        self, result: Any, context: AuthenticationContext, answered: defer.Deferred[Any]
    ) -> None:
        """Hand on what became of a request, unless nobody waits for it any more."""
        if not (context.over or getattr(self.transport, "ending", False)):
            self._login = None
            answered.callback(result)
        elif not isinstance(result, Failure):
            _logOut(result)

    def _next(self, ignored: Any, context: AuthenticationContext) -> None:
        """The request has its answer; take the next one that waits."""
        context.over = True
        if self._context is context:
            self._context = None
            self._login = None
            question = self._question
            if question is not None:
                # The checker knew enough before the user had answered.
                question[0].addErrback(lambda why: None)
                question[0].cancel()
            try:
                while self._waiting and self._context is None and not self._over:
                    self._begin(self._waiting.popleft())
                    if self._waiting:
                        self._endConversation()
            except TooManyAttempts as violation:
                self._giveUp(violation)

    def tryAuth(self, kind: bytes, user: bytes, data: bytes) -> defer.Deferred[Any]:
        """Try one method.

        Args:
            kind: The method's name, as sent.
            user: The user's name.
            data: The method's fields.

        Returns:
            A Deferred of what `Portal.login` gives; it fails with ConchError for a method that
            there is not, or that has succeeded already.
        """
        name = _plainMethod(kind)
        if name != kind and not self.takesHostBoundKeys:
            return defer.fail(ConchError("unsupported authentication, failing"))
        if name != authentication.NONE and name not in self.supportedAuthentications:
            return defer.fail(ConchError("unsupported authentication, failing"))
        if name in self.authenticatedWith:
            return defer.fail(ConchError("this method has succeeded already"))
        # The name is one of a handful of our own by now, never one that the peer made up.
        method = sys.intern("auth_" + name.decode("ascii").replace("-", "_"))
        handler = getattr(self, method, None)
        if handler is None:
            return defer.fail(ConchError("bad auth type"))
        result: defer.Deferred[Any] | None = handler(data)
        if result is None:
            return defer.fail(ConchError("the method gave no result"))
        return result

    # ── Answers ───────────────────────────────────────────────────────────────────────────────

    def _succeeded(self, result: Any, context: AuthenticationContext) -> Any:
        """The portal let the user in; the only place where a login comes about."""
        try:
            restrictions = context.factors.restrictions & context.restrictions
        except ConflictingRestrictions as error:
            _logOut(result)
            raise UnauthorizedLogin(str(error)) from None
        self.transport.restrictions = restrictions
        return self._cbFinishedAuth(result)

    def _cbFinishedAuth(self, result: tuple[Any, Any, Any]) -> None:
        """Tell the client that it is logged in, and start the service that it asked for.

        Args:
            result: What `Portal.login` gave: the interface, the avatar, and what logs it out.

        Raises:
            ConchError: There is no such service; nobody is logged in.
        """
        _interface, avatar, logout = result
        transport = self.transport
        transport.avatar = avatar
        transport.logoutFunction = logout
        service = transport.factory.getService(transport, self.nextService)
        if not service:
            transport.avatar = None
            transport.logoutFunction = None
            logout()
            raise ConchError("the service to be started does not exist")
        self._log.info(
            "{prefix}: {user!r} logged in by {method}{key}",
            prefix=transport.logPrefix() if hasattr(transport, "logPrefix") else "SSH",
            user=_named(self.user),
            method=b",".join([*self.authenticatedWith, self.method]).decode("ascii"),
            key=self._provenKey(),
        )
        self._over = True
        transport.sendPacket(MSG_USERAUTH_SUCCESS, b"")
        transport.setService(service())

    def _provenKey(self) -> str:
        """For the log, the key that the request in flight has proven to hold: of a certificate,
        the one in it."""
        context = self._context
        if context is None or context.keyBlob is None or not context.signatureVerified:
            return ""
        blob = context.keyBlob
        return f" with {displayFingerprint(plainBlob(blob) if isCertificate(blob) else blob)}"

    def _ebMaybeBadAuth(self, reason: Failure) -> None:
        """The credentials are good but not enough: partial success (RFC 4252 section 5.1)."""
        reason.trap(NotEnoughAuthentication)
        context = self._context
        if context is None:
            # An application answers requests by itself, and looks after `authenticatedWith`.
            if not self._over:
                self.authenticatedWith.append(self.method)
                self._sendFailure(partialSuccess=True)
            return
        try:
            context.factors.restrictions = context.factors.restrictions & context.restrictions
        except ConflictingRestrictions as error:
            raise UnauthorizedLogin(str(error)) from None
        if self.method not in context.factors.methods:
            context.factors.methods.append(self.method)
        self._sendFailure(partialSuccess=True)

    def _slowly(self, reason: Failure, context: AuthenticationContext) -> Any:
        """Let a failure take its time, so that how long it took says nothing about the user."""
        if (
            not self.failuresTakeTime
            or isinstance(reason.value, IgnoreAuthentication)
            or self.method == authentication.NONE
            or context.over
        ):
            return reason
        target = authentication.failureDelay(_DELAY_SECRET, context.request.user)
        elapsed = self._now().seconds() - context.startedAt
        # The failure of a guess comes a fixed time after it was made: that time, plus ours.
        if self.method in _GUESSES and elapsed <= self.passwordDelay + target:
            target += self.passwordDelay
        return self._after(authentication.remainingDelay(target, elapsed), reason)

    def _after(self, seconds: float, result: Any) -> Any:
        """`result`, in that many seconds; forgotten if the request is dropped before.

        A reactor waits in whole milliseconds from when it begins to wait, and so would add to each
        answer what the work before it has taken: the time of a file that was read, or of a
        signature that was looked at. The last millisecond is therefore gone through turn by turn.
        """
        if seconds <= 0:
            return result
        later: defer.Deferred[Any] = defer.Deferred()
        clock = self._now()
        end = clock.seconds() + seconds
        coarse = COARSE_SECONDS if IReactorCore.providedBy(clock) else 0.0

        def fire() -> None:
            if coarse and clock.seconds() < end:
                self._delayed = clock.callLater(0, fire)
                return
            self._delayed = None
            later.callback(result)

        self._delayed = clock.callLater(max(seconds - coarse, 0.0), fire)
        return later

    def _ebBadAuth(self, reason: Failure) -> None:
        """The request failed: count it, and tell the client what it can try."""
        if isinstance(reason.value, IgnoreAuthentication):
            return
        self._logFailure(reason)
        try:
            if not self._isFree():
                self._countFailure()
        except TooManyAttempts as violation:
            self._giveUp(violation)
            return
        self._sendFailure()

    def _isFree(self) -> bool:
        """Whether a failure of the request in flight costs no attempt: first none, key queries."""
        if self.method == authentication.NONE:
            first = not self._noneSeen
            self._noneSeen = True
            return first
        return self._isQuery()

    def _isQuery(self) -> bool:
        return self._context is not None and self._context.isQuery

    def _countFailure(self) -> None:
        self.loginAttempts += 1
        self._budget.countFailure()

    def _sendFailure(self, partialSuccess: bool = False) -> None:
        methods = [m for m in self.supportedAuthentications if m not in self.authenticatedWith]
        self.transport.sendPacket(
            MSG_USERAUTH_FAILURE, authentication.encodeFailure(methods, partialSuccess)
        )

    def _logFailure(self, reason: Failure) -> None:
        """Log a failed request; for an error that no checker should raise, say where it was.

        Never its message and never a variable: a checker's error may hold the password.
        """
        if self.method == authentication.NONE and isinstance(reason.value, UnauthorizedLogin):
            return
        if isinstance(reason.value, _REFUSALS):
            if not self._isQuery():
                self._log.info(
                    "{prefix}: {method} failed for {user!r}",
                    prefix=self.logPrefix(),
                    method=self.method.decode("ascii", "backslashreplace")[:64],
                    user=_named(self.user),
                )
            return
        where = traceback.format_list(traceback.extract_tb(reason.getTracebackObject()))
        self._log.error(
            "{prefix}: {error} while checking {method}, which therefore failed\n{where}",
            prefix=self.logPrefix(),
            error=reason.type.__name__ if reason.type is not None else "an error",
            method=self.method.decode("ascii", "backslashreplace")[:64],
            where="".join(where),
        )

    def _ebUnexpected(self, reason: Failure) -> None:
        """An answer could not be given, which is an error of ours: the connection ends."""
        self._log.failure("{prefix}: cannot answer", failure=reason, prefix=self.logPrefix())
        self._giveUp(ProtocolViolation("internal error"))

    # ── Banner ────────────────────────────────────────────────────────────────────────────────

    def getBanner(self) -> bytes | None:
        """What the client is shown before its first request is answered; None for nothing."""
        text = self.bannerText
        if text is None:
            text = getattr(self.transport.factory, "bannerText", None)
        if isinstance(text, str):
            text = text.encode("utf-8")
        return text

    def sendBanner(self, text: bytes) -> None:
        """Show the client a text, any time before it is logged in (RFC 4252 section 5.4).

        Args:
            text: UTF-8; line ends are sent as CR LF.
        """
        lines = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self.transport.sendPacket(MSG_USERAUTH_BANNER, authentication.encodeBanner(lines))

    def _sendBannerOnce(self) -> None:
        if self._bannerSent:
            return
        self._bannerSent = True
        text = self.getBanner()
        if text:
            self.sendBanner(text)

    # ── none ──────────────────────────────────────────────────────────────────────────────────

    def auth_none(self, packet: bytes) -> defer.Deferred[Any]:
        """Method none: nobody gets in by it, and its failure tells which methods there are.

        To be overridden where everybody may log in.
        """
        return defer.fail(UnauthorizedLogin("nothing was shown"))

    # ── publickey ─────────────────────────────────────────────────────────────────────────────

    def auth_publickey(self, packet: bytes) -> defer.Deferred[Any]:
        """Method publickey, and its host-bound form (RFC 4252 section 7).

        boolean signed, string algorithm, string blob, [string host key,] [string signature]
        """
        context = self._current()
        hostBound = context.request.method == authentication.HOST_BOUND
        try:
            fields = authentication.parsePublicKey(packet, hostBound)
        except WireError as error:
            return defer.fail(error)
        if fields.signature is None:
            try:
                self._budget.countKeyQuery()
            except TooManyAttempts as violation:
                self._giveUp(violation)
                return defer.fail(IgnoreAuthentication())
            context.isQuery = True
        if not self._acceptsAlgorithm(fields.algorithm, fields.blob):
            return defer.fail(UnauthorizedLogin("not an algorithm for this key, or not accepted"))
        if hostBound and fields.hostKeyBlob != self.transport.hostKeyBlob:
            return defer.fail(UnauthorizedLogin("made for another host"))
        context.keyBlob = fields.blob
        data = authentication.signedData(
            self.transport.sessionID,
            context.request.user,
            context.request.service,
            fields.algorithm,
            fields.blob,
            fields.hostKeyBlob,
        )
        credentials = PublicKeyCredentials(
            context.request.user, fields.algorithm, fields.blob, data, fields.signature, context
        )
        login = defer.maybeDeferred(self.portal.login, credentials, None, IConchUser)
        if fields.signature is None:
            login.addCallback(self._neverByQuery)
            login.addErrback(lambda why: why if context.over else self._ebCheckKey(why, packet[1:]))
        else:
            login.addCallbacks(
                self._onlySigned,
                self._ebOnlySigned,
                callbackArgs=(credentials,),
                errbackArgs=(credentials,),
            )
        return login

    def _acceptsAlgorithm(self, algorithm: bytes, blob: bytes) -> bool:
        """Whether we take signatures by `algorithm`, and `blob` is what it signs with."""
        accepted = getattr(self.transport, "userAuthAlgorithms", DEFAULT_SIGNATURE_ALGORITHMS)
        if CERTIFICATE_ALGORITHMS.get(algorithm, algorithm) not in accepted:
            return False
        try:
            keyType = Reader(blob).string()
        except WireError:
            return False
        return HOST_KEY_ALGORITHMS.get(algorithm) == keyType

    def _neverByQuery(self, result: Any) -> Any:
        """A checker let somebody in who signed nothing: it can only mean that the key would do."""
        _logOut(result)
        raise ValidPublicKey()

    def _ebCheckKey(self, reason: Failure, packet: bytes) -> Failure:
        """The key would do: answer the query with MSG_USERAUTH_PK_OK.

        Args:
            reason: Why the portal let nobody in.
            packet: The method's fields from the algorithm's name on.
        """
        # Nothing was shown yet, so that nothing can have succeeded in part either.
        reason.trap(ValidPublicKey, NotEnoughAuthentication)
        fields = Reader(packet)
        body = NS(fields.string()) + NS(fields.string())
        self.transport.sendPacket(MSG_USERAUTH_PK_OK, body)
        return Failure(IgnoreAuthentication())

    def _onlySigned(self, result: Any, credentials: PublicKeyCredentials) -> Any:
        """Let the login pass only with a signature that has been verified."""
        try:
            self._requireSignature(credentials)
        except UnauthorizedLogin:
            _logOut(result)
            raise
        return result

    def _ebOnlySigned(self, reason: Failure, credentials: PublicKeyCredentials) -> Failure:
        """The same for a success that is not enough."""
        if isinstance(reason.value, NotEnoughAuthentication):
            self._requireSignature(credentials)
        if isinstance(reason.value, ValidPublicKey):
            return Failure(UnauthorizedLogin("the signature was not looked at"))
        return reason

    def _requireSignature(self, credentials: PublicKeyCredentials) -> None:
        if not credentials.isProven():
            raise UnauthorizedLogin("the signature is wrong")

    # ── password ──────────────────────────────────────────────────────────────────────────────

    def auth_password(self, packet: bytes) -> defer.Deferred[Any]:
        """Method password (RFC 4252 section 8).

        boolean change, string password, [string new password]
        """
        context = self._current()
        try:
            fields = authentication.parsePassword(packet)
        except WireError as error:
            return self._holdBack(defer.fail(error), context)
        passwords = [p for p in (fields.password, fields.newPassword) if p is not None]
        if not all(authentication.isTriablePassword(password) for password in passwords):
            return self._holdBack(defer.fail(UnauthorizedLogin("not a password")), context)
        user = context.request.user
        credentials: Any
        if fields.newPassword is None:
            credentials = PasswordCredentials(user, fields.password, context)
        else:
            credentials = PasswordChangeCredentials(
                user, fields.password, fields.newPassword, context
            )
        login = defer.maybeDeferred(self.portal.login, credentials, None, IConchUser)
        login.addErrback(self._ebChangeRequired, context)
        return self._holdBack(login, context)

    def _ebChangeRequired(self, reason: Failure, context: AuthenticationContext) -> Failure:
        """The password has expired: MSG_USERAUTH_PASSWD_CHANGEREQ, string prompt, string tag."""
        error = reason.value
        if context.over or not isinstance(error, PasswordChangeRequired):
            return reason
        self.transport.sendPacket(MSG_USERAUTH_PASSWD_CHANGEREQ, NS(error.prompt) + NS(b""))
        return Failure(IgnoreAuthentication())

    def _holdBack(
        self, login: defer.Deferred[Any], context: AuthenticationContext
    ) -> defer.Deferred[Any]:
        """`login`, with its failure slowed down unless the request has been given up."""
        return login.addErrback(lambda why: why if context.over else self._ebPassword(why))

    def _ebPassword(self, reason: Failure) -> Any:
        """Hold a failure back until `passwordDelay` after the request came.

        Returns:
            A Deferred that fails with `reason`, or `reason` where the time is over.
        """
        context = self._context
        if context is None or isinstance(
            reason.value, IgnoreAuthentication | NotEnoughAuthentication
        ):
            return reason
        elapsed = self._now().seconds() - context.startedAt
        return self._after(self.passwordDelay - elapsed, reason)

    # ── keyboard-interactive ──────────────────────────────────────────────────────────────────

    def auth_keyboard_interactive(self, packet: bytes) -> defer.Deferred[Any]:
        """Method keyboard-interactive (RFC 4256): string language tag, string submethods."""
        context = self._current()
        try:
            submethods = authentication.parseKeyboardInteractive(packet)
        except WireError as error:
            return defer.fail(error)

        def ask(
            prompts: Sequence[tuple[bytes, bool]], name: bytes, instruction: bytes
        ) -> defer.Deferred[list[bytes]]:
            return self._ask(context, prompts, name, instruction)

        credentials = KeyboardInteractiveCredentials(context.request.user, submethods, ask, context)
        return defer.maybeDeferred(self.portal.login, credentials, None, IConchUser)

    def _ask(
        self,
        context: AuthenticationContext,
        prompts: Sequence[tuple[bytes, bool]],
        name: bytes,
        instruction: bytes,
    ) -> defer.Deferred[list[bytes]]:
        """Put one set of questions to the client of the request in flight."""
        if context.over or self._context is not context:
            return defer.fail(UnauthorizedLogin("the conversation was given up"))
        if self._question is not None:
            raise RuntimeError("the user has not answered the last question yet")
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            return defer.fail(UnauthorizedLogin("too many questions"))
        body = authentication.encodeInfoRequest(name, instruction, prompts)
        answered: defer.Deferred[list[bytes]] = defer.Deferred(self._unask)
        self._question = (answered, len(prompts))
        self.transport.sendPacket(MSG_USERAUTH_INFO_REQUEST, body)
        return answered

    def _unask(self, answered: defer.Deferred[list[bytes]]) -> None:
        """The answer is not wanted any more; it may be on its way already."""
        if self._question is not None and self._question[0] is answered:
            self._question = None
            self._answerMayCross = True

    def ssh_USERAUTH_INFO_RESPONSE(self, packet: bytes) -> None:
        """MSG_USERAUTH_INFO_RESPONSE: uint32 n, n × string.

        Raises:
            UnexpectedMessage: Nothing was asked.
        """
        if self._over:
            return
        if self._question is None:
            if not self._answerMayCross:
                raise UnexpectedMessage("an answer where nothing was asked")
            self._answerMayCross = False
            return
        (answered, count), self._question = self._question, None
        if self._context is not None:
            # How long the user took to type is not part of how long the check takes.
            self._context.startedAt = self._now().seconds()
        try:
            answers = authentication.parseInfoResponse(packet, count)
        except WireError:
            answered.errback(UnauthorizedLogin("not an answer to the question"))
            return
        if any(len(answer) > authentication.MAX_PASSWORD_LENGTH for answer in answers):
            answered.errback(UnauthorizedLogin("an answer that is too long"))
            return
        answered.callback(answers)

    def _current(self) -> AuthenticationContext:
        """The context of the request in flight.

        Raises:
            RuntimeError: A method was called without a request.
        """
        if self._context is None:
            raise RuntimeError("there is no request in flight")
        return self._context


def _plainMethod(method: bytes) -> bytes:
    """The method under the name that it is counted and offered by."""
    return authentication.PUBLIC_KEY if method == authentication.HOST_BOUND else method


def _logOut(result: Any) -> None:
    """Log out an avatar that came too late, or that nobody may have."""
    if isinstance(result, tuple) and len(result) == 3 and callable(result[2]):
        result[2]()
