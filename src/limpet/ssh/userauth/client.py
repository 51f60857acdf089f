"""The client's side of ssh-userauth: tries what the server takes and the user has.

Rule: a message of the server's is only acted on where it answers what was sent last; everything
else ends the connection. No secret leaves on a transport that is not encrypted, and how often a
server may ask is bounded.

    serviceStarted ── none ──▶ 51 FAILURE ── next method of preferredOrder ──▶ auth_METHOD
                                  ▲                                               │
                                  └── 51 ◀── askForAuth(method, fields) ──────────┤
                                      60 ──▶ ssh_USERAUTH_PK_OK_METHOD ───────────┘
                                      52 ──▶ the service that was wanted

Override `getPublicKey`, `getPrivateKey` (or `signData`), `getPassword` and `getGenericAnswers`.

RFC 4252, RFC 4256, RFC 8308 section 3.1 (server-sig-algs), RFC 8332 section 3.2; OpenSSH's PROTOCOL
section 3.1 (publickey-hostbound) and PROTOCOL.certkeys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.core import authentication
from limpet.core.authentication import PublicKeyFields
from limpet.core.errors import LimitExceeded, UnexpectedMessage
from limpet.crypto.signatures import (
    CERTIFICATE_ALGORITHMS,
    DEFAULT_SIGNATURE_ALGORITHMS,
    HOST_KEY_ALGORITHMS,
)
from limpet.ssh.keys import Key
from limpet.ssh.service import SSHService
from limpet.ssh.userauth.numbers import (
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_RESPONSE,
    MSG_USERAUTH_PK_OK,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader, boolean
from limpet.wire.numbers import (
    DISCONNECT_AUTH_CANCELLED_BY_USER,
    DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE,
)

MAX_KEYS = 64
"""Most keys that are offered; then comes the next method (ours; servers allow far fewer)."""

MAX_ROUNDS = 32
"""Most answers of a server's, those to keys aside, before it is left (ours)."""

MAX_BANNER_LENGTH = authentication.MAX_TEXT_LENGTH
"""Most text of all banners together, in bytes (ours)."""

MAX_METHODS = 32
"""Most methods that are looked at in one answer (ours)."""

HOST_BOUND_EXTENSION = b"publickey-hostbound@openssh.com"
"""What a server announces that takes signatures over its host key, too; version "0"."""

_SHOWN_WHEN_SENT = frozenset(
    {
        authentication.NONE,
        authentication.PUBLIC_KEY,
        authentication.HOST_BOUND,
        authentication.PASSWORD,
        authentication.KEYBOARD_INTERACTIVE,
    }
)
"""Methods of which we know ourselves whether anything was shown. A server that calls nothing at all
a partial success makes no proof of it (attacks.md E19)."""

PREFERRED_ALGORITHMS = (*CERTIFICATE_ALGORITHMS, *DEFAULT_SIGNATURE_ALGORITHMS)
"""What we sign with, the one we like best first; SHA-1 is not among them."""


@runtime_checkable
class OfferedKey(Protocol):
    """What can be offered to a server: a `Key`, or a certificate with what signs for it."""

    def blob(self) -> bytes:
        """The public key or the certificate, as it goes into the request."""

    def sshType(self) -> bytes:
        """The type name that `blob` begins with."""

    def supportedSignatureAlgorithms(self) -> list[bytes]:
        """The names of the algorithms that it may be offered under."""


class SSHUserAuthClient(SSHService):
    """Logs a user in, and starts `instance` once that has worked.

    Args:
        user: The name to log in under.
        instance: The service to start, an `SSHConnection`.

    Attributes:
        preferredOrder: Methods in the order in which they are tried, as bytes or text.
        triesOthers: Whether those that are not in it, but have an `auth_METHOD`, are tried last.
        requireRealAuthentication: Whether a server that lets the user in before anything was shown
            is left. It may be after something that looks like a prompt of ours (attacks.md E19).
        authenticatedWith: Methods that succeeded, but were not enough.
        triedPublicKeys: Keys that were offered.
        lastPublicKey: The key that was offered last.
        signatureAlgorithm: The algorithm that `signData` has to sign with.
        lastAuth: The method that was tried last.
        banner: What the server wanted shown, as `bannerReceived` had it, all together.
        provedIdentity: Whether anything has been shown that the server could have checked.
        submethods: What is asked for in keyboard-interactive, joined by commas; the server decides.
    """

    name = b"ssh-userauth"
    submethods: bytes = b""
    preferredOrder: list[bytes] = [
        authentication.PUBLIC_KEY,
        authentication.PASSWORD,
        authentication.KEYBOARD_INTERACTIVE,
    ]
    triesOthers = True
    requireRealAuthentication = False

    protocolMessages: ClassVar[Mapping[int, str]] = {
        MSG_USERAUTH_FAILURE: "MSG_USERAUTH_FAILURE",
        MSG_USERAUTH_SUCCESS: "MSG_USERAUTH_SUCCESS",
        MSG_USERAUTH_BANNER: "MSG_USERAUTH_BANNER",
        MSG_USERAUTH_PK_OK: "MSG_USERAUTH_PK_OK",
    }

    _log = ClassLogger()

    def __init__(self, user: bytes | str, instance: SSHService) -> None:
        self.user = user.encode("utf-8") if isinstance(user, str) else user
        self.instance = instance
        self.authenticatedWith: list[bytes] = []
        self.triedPublicKeys: list[Any] = []
        self.lastPublicKey: Any = None
        self.signatureAlgorithm = b""
        self.lastAuth = b""
        self.banner = b""
        self.provedIdentity = False
        self._bannerBytes = 0
        self._rounds = 0
        self._unusable: set[bytes] = set()
        self._trying = b""
        self._wasAsked = False
        self._awaiting = False
        self._over = False
        self._oldPassword = b""
        self._pending: defer.Deferred[Any] | None = None

    # ── Start and end ─────────────────────────────────────────────────────────────────────────

    def serviceStarted(self) -> None:
        """Ask for nothing, to learn which methods the server takes."""
        self.authenticatedWith = []
        self.triedPublicKeys = []
        self.lastPublicKey = None
        self.askForAuth(authentication.NONE, b"")

    def serviceStopped(self) -> None:
        """Let go of what somebody is still being asked."""
        self._over = True
        self._awaiting = False
        self._oldPassword = b""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()

    def askForAuth(self, kind: bytes, extraData: bytes) -> None:
        """Send a MSG_USERAUTH_REQUEST.

        Args:
            kind: The method's name.
            extraData: The method's fields.
        """
        if self._over:
            return
        self.lastAuth = kind
        self._awaiting = True
        self.transport.sendPacket(
            MSG_USERAUTH_REQUEST, NS(self.user) + NS(self.instance.name) + NS(kind) + extraData
        )

    def tryAuth(self, kind: bytes) -> Any:
        """Try one method.

        Args:
            kind: The method's name, as the server gave it.

        Returns:
            True if something was sent or is being asked for, or a Deferred of that; else False.
        """
        if kind not in self._known():
            return False
        handler = getattr(self, "auth_" + kind.decode("ascii").replace("-", "_"), None)
        if not handler:
            return False
        self._trying = kind
        return handler()

    def _known(self) -> list[bytes]:
        """Methods by the names that are ours; a server's name never becomes an attribute's."""
        names = (kind for kind in self.preferredOrder if kind.isascii())
        known = [name.encode("ascii") if isinstance(name, str) else name for name in names]
        if self.triesOthers:
            own = (name.removeprefix("auth_") for name in dir(type(self)) if name[:5] == "auth_")
            others = (name.replace("_", "-").encode("ascii", "replace") for name in own)
            known += [kind for kind in others if kind not in (*known, authentication.NONE)]
        return known

    # ── What the server says ──────────────────────────────────────────────────────────────────

    def ssh_USERAUTH_SUCCESS(self, packet: bytes) -> None:
        """MSG_USERAUTH_SUCCESS, without fields: start the service that was wanted.

        Raises:
            UnexpectedMessage: Nothing was asked.
        """
        self._expect()
        Reader(packet).end()
        if self.requireRealAuthentication and not self.provedIdentity:
            self._leave(
                DISCONNECT_AUTH_CANCELLED_BY_USER, b"logged in without having shown anything"
            )
            return
        self._over = True
        self.transport.setService(self.instance)

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> defer.Deferred[Any] | None:
        """MSG_USERAUTH_FAILURE: name-list of methods that can continue, boolean partial success.

        Raises:
            UnexpectedMessage: Nothing was asked.
        """
        self._expect()
        reader = Reader(packet)
        methods = reader.nameList()[:MAX_METHODS]
        partialSuccess = reader.boolean()
        reader.end()
        if partialSuccess:
            if self.lastAuth not in _SHOWN_WHEN_SENT:
                self.provedIdentity = True
            hostBound = self.lastAuth == authentication.HOST_BOUND
            self.authenticatedWith.append(authentication.PUBLIC_KEY if hostBound else self.lastAuth)
        elif self.lastAuth == authentication.KEYBOARD_INTERACTIVE and not self._wasAsked:
            # A server that asks nothing will not do so the next time either.
            self._unusable.add(self.lastAuth)
        candidates = [
            method
            for method in self._known()
            if method in methods
            # A server may want two keys, one after the other, but not one password twice.
            and (method == authentication.PUBLIC_KEY or method not in self.authenticatedWith)
            and method not in self._unusable
        ]
        return self._cbUserauthFailure(None, iter(candidates))

    def _cbUserauthFailure(
        self, result: Any, iterator: Iterator[bytes]
    ) -> defer.Deferred[Any] | None:
        """Try the next method of `iterator`, unless `result` says that one is being tried."""
        if result or self._over:
            return None
        method = next(iterator, None)
        if method is None:
            self._leave(
                DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE,
                b"no more authentication methods available",
            )
            return None
        trying = self._hold(defer.maybeDeferred(self.tryAuth, method))
        trying.addErrback(self._ebMethod)
        return trying.addCallback(self._cbUserauthFailure, iterator)

    def ssh_USERAUTH_PK_OK(self, packet: bytes) -> Any:
        """Message 60: the middle of the method that was tried last.

        Raises:
            UnexpectedMessage: Nothing was asked, or by a method that has no middle.
        """
        self._expect()
        handler = {
            authentication.PUBLIC_KEY: self.ssh_USERAUTH_PK_OK_publickey,
            authentication.HOST_BOUND: self.ssh_USERAUTH_PK_OK_publickey,
            authentication.PASSWORD: self.ssh_USERAUTH_PK_OK_password,
            authentication.KEYBOARD_INTERACTIVE: self.ssh_USERAUTH_PK_OK_keyboard_interactive,
        }.get(self.lastAuth)
        if handler is None:
            raise UnexpectedMessage("message 60 answers nothing that was asked")
        return handler(packet)

    def ssh_USERAUTH_BANNER(self, packet: bytes) -> None:
        """MSG_USERAUTH_BANNER: string text, string language tag.

        Raises:
            LimitExceeded: The server has sent more than `MAX_BANNER_LENGTH` bytes of them.
        """
        reader = Reader(packet)
        text = reader.string()
        reader.string()
        reader.end()
        self._bannerBytes += max(len(text), 64)
        if self._bannerBytes > MAX_BANNER_LENGTH:
            raise LimitExceeded("too much text before the login")
        shown = authentication.sanitised(text)
        self.banner += shown
        self.bannerReceived(shown)

    def bannerReceived(self, text: bytes) -> None:
        """The server wants `text` shown; UTF-8 without control characters. To be overridden."""

    def _expect(self) -> None:
        """Take one answer of the server's, if it answers something."""
        if not self._awaiting or self._over:
            raise UnexpectedMessage("an answer where nothing was asked")
        self._awaiting = False
        if not self.lastAuth.startswith(authentication.PUBLIC_KEY):
            self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise LimitExceeded("the server goes on asking")

    def _hold(self, pending: defer.Deferred[Any]) -> defer.Deferred[Any]:
        """Remember what somebody is being asked, so that the end of the connection ends it."""
        # One that was called may wait for another Deferred; to cancel one that is done is nothing.
        self._pending = pending
        return pending

    def _leave(self, reason: int, description: bytes) -> None:
        if not self._over:
            self._over = True
            self.transport.sendDisconnect(reason, description)

    def _ebMethod(self, reason: Failure) -> bool:
        """A method failed on our side, which only means that it cannot be used."""
        if not self._over:
            # The error's own words stay out of the log: they may hold what was typed.
            self._log.warn(
                "{prefix}: {method} cannot be used: {error}",
                prefix=self.logPrefix(),
                method=self._trying.decode("ascii", "replace"),
                error=reason.type.__name__ if reason.type is not None else "an error",
            )
        return False

    def _ebAuth(self, ignored: Any, *args: Any) -> None:
        """What the method needed could not be had: do without it, and hear what else there is."""
        self._unusable.add(self._trying)
        if not self._over:
            self.askForAuth(authentication.NONE, b"")

    # ── publickey ─────────────────────────────────────────────────────────────────────────────

    def auth_publickey(self) -> defer.Deferred[Any]:
        """Offer the next key.

        Returns:
            A Deferred of whether there was one.
        """
        return defer.maybeDeferred(self.getPublicKey).addCallback(self._cbGetPublicKey)

    def _cbGetPublicKey(self, publicKey: Any) -> Any:
        """Ask whether `publicKey` would do; False where there is none.

        A key that can sign nothing that the server takes is passed over for the next.
        """
        if not isinstance(publicKey, OfferedKey):
            return False
        self.lastPublicKey = publicKey
        self.triedPublicKeys.append(publicKey)
        if len(self.triedPublicKeys) > MAX_KEYS:
            return False
        algorithm = self.chooseAlgorithm(publicKey)
        if algorithm is None:
            return self.auth_publickey()
        self.signatureAlgorithm = algorithm
        self._askForKey(None)
        return True

    def _boundHostKey(self) -> bytes | None:
        """The host key that a request is bound to; None for a server that knows nothing of that.

        A signature that is bound to one host is of no use to another one.
        """
        if self._extensions().get(HOST_BOUND_EXTENSION) != b"0":
            return None
        return getattr(self.transport, "hostKeyBlob", None) or None

    def _extensions(self) -> Mapping[bytes, bytes]:
        """What the server said in MSG_EXT_INFO."""
        extensions: Mapping[bytes, bytes] = getattr(self.transport, "peerExtensions", {})
        return extensions

    def _askForKey(self, signature: bytes | None) -> None:
        """Offer the last key; with `signature`, show that we have it."""
        hostKey = self._boundHostKey()
        fields = PublicKeyFields(
            self.signatureAlgorithm, self.lastPublicKey.blob(), signature, hostKey
        )
        self.askForAuth(
            authentication.PUBLIC_KEY if hostKey is None else authentication.HOST_BOUND,
            authentication.encodePublicKey(fields),
        )

    def chooseAlgorithm(self, publicKey: OfferedKey) -> bytes | None:
        """The signature algorithm for a key; None where the server takes none of its own.

        A server that does not say what it takes is offered RSA with SHA-2 (RFC 8332); SHA-1 is
        never used. To be overridden for a server that knows nothing else.
        """
        able = publicKey.supportedSignatureAlgorithms()
        ours = [name for name in PREFERRED_ALGORITHMS if name in able]
        said = self._extensions().get(b"server-sig-algs")
        if said is not None:
            theirs = set(said.split(b","))
            # RSA keys aside there is one algorithm per key, and servers forget to list it; of
            # certificates they list what signs.
            ours = [
                name
                for name in ours
                if name in theirs or CERTIFICATE_ALGORITHMS.get(name) in theirs
            ] or [name for name in ours if not name.startswith(b"rsa-")]
        return ours[0] if ours else None

    def ssh_USERAUTH_PK_OK_publickey(self, packet: bytes) -> defer.Deferred[Any] | None:
        """MSG_USERAUTH_PK_OK: string algorithm, string key; sign, and ask again.

        Raises:
            UnexpectedMessage: It is about another key than the one that was offered.
        """
        reader = Reader(packet)
        algorithm, blob = reader.string(), reader.string()
        reader.end()
        publicKey = self.lastPublicKey
        if publicKey is None or blob != publicKey.blob():
            raise UnexpectedMessage("the server accepts a key that was not offered")
        if algorithm != self.signatureAlgorithm and (
            HOST_KEY_ALGORITHMS.get(algorithm) != publicKey.sshType()
        ):
            raise UnexpectedMessage("the server accepts an algorithm that was not offered")
        data = authentication.signedData(
            self.transport.sessionID,
            self.user,
            self.instance.name,
            self.signatureAlgorithm,
            blob,
            self._boundHostKey(),
        )
        signing = self.signData(publicKey, data)
        if signing is None:
            self.askForAuth(authentication.NONE, b"")
            return None
        return self._hold(signing).addCallback(self._cbSignedData).addErrback(self._ebSigning)

    def _ebSigning(self, reason: Failure) -> None:
        if not self._over:
            self._ebMethod(reason)
            self.askForAuth(authentication.NONE, b"")

    def _cbSignedData(self, signature: bytes) -> None:
        """Send the request again, with its signature.

        Raises:
            ValueError: The signature is by another algorithm than was offered.
        """
        if self._over:
            return
        try:
            made = Reader(signature).string()
        except WireError:
            made = b""
        wanted = self.signatureAlgorithm
        if made != CERTIFICATE_ALGORITHMS.get(wanted, wanted):
            raise ValueError("a signature by another algorithm than was asked for")
        self.provedIdentity = True
        self._askForKey(signature)

    def signData(self, publicKey: Any, signData: bytes) -> defer.Deferred[bytes] | None:
        """Sign with the private key of `publicKey`, by `signatureAlgorithm`.

        To be overridden where the key is elsewhere: in an agent.

        Returns:
            A Deferred of the signature blob; None where there is no private key.
        """
        key = self.getPrivateKey()
        if not key:
            return None
        return key.addCallback(self._cbSignData, signData)

    def _cbSignData(self, privateKey: Key, signData: bytes) -> bytes:
        return privateKey.sign(signData, signatureType=self.signatureAlgorithm)

    # ── password ──────────────────────────────────────────────────────────────────────────────

    def auth_password(self) -> bool:
        """Ask for a password and send it; False where nobody can be asked, or the line is open."""
        if not self.transport.isEncrypted("out"):
            return False
        asking = self.getPassword()
        if not asking:
            return False
        self._hold(asking).addCallbacks(self._cbPassword, self._ebAuth)
        return True

    def _cbPassword(self, password: bytes) -> None:
        """Send a password: boolean change (false), string password."""
        self._sendPassword(boolean(False) + NS(password))

    def ssh_USERAUTH_PK_OK_password(self, packet: bytes) -> Any:
        """MSG_USERAUTH_PASSWD_CHANGEREQ: string prompt, string language tag.

        Asks for the old password, then for the new one.
        """
        reader = Reader(packet)
        prompt = authentication.sanitised(reader.string(authentication.MAX_TEXT_LENGTH))
        reader.string()
        reader.end()
        asking = self.getPassword(prompt + b"\nOld password: " if prompt else b"Old password: ")
        if not asking:
            return self._ebAuth(None)
        self._hold(asking).addCallback(self._setOldPass)
        return asking.addErrback(self._ebAuth)

    def _setOldPass(self, password: bytes) -> Any:
        self._oldPassword = password
        asking = self.getPassword(b"New password: ")
        if not asking:
            return self._ebAuth(None)
        return asking.addCallback(self._setNewPass)

    def _setNewPass(self, password: bytes) -> None:
        """Send both: boolean change (true), string old password, string new password."""
        old, self._oldPassword = self._oldPassword, b""
        self._sendPassword(boolean(True) + NS(old) + NS(password))

    def _sendPassword(self, fields: bytes) -> None:
        if self._over or not self.transport.isEncrypted("out"):
            return
        self.provedIdentity = True
        self.askForAuth(authentication.PASSWORD, fields)

    # ── keyboard-interactive ──────────────────────────────────────────────────────────────────

    def auth_keyboard_interactive(self) -> bool:
        """Ask to be asked (RFC 4256): string language tag, which is empty, string submethods."""
        if not self.transport.isEncrypted("out"):
            return False
        self._wasAsked = False
        self.askForAuth(authentication.KEYBOARD_INTERACTIVE, NS(b"") + NS(self.submethods))
        return True

    def ssh_USERAUTH_PK_OK_keyboard_interactive(self, packet: bytes) -> Any:
        """MSG_USERAUTH_INFO_REQUEST: name, instruction, tag, uint32 n, n × (prompt, echo)."""
        name, instruction, prompts = authentication.parseInfoRequest(packet)
        self._wasAsked = True
        asking = self.getGenericAnswers(
            authentication.sanitised(name),
            authentication.sanitised(instruction),
            [(authentication.sanitised(prompt), echo) for prompt, echo in prompts],
        )
        if not asking:
            return self._ebAuth(None)
        self._hold(asking).addCallback(self._cbGenericAnswers, len(prompts))
        return asking.addErrback(self._ebAuth)

    def _cbGenericAnswers(self, responses: list[bytes], expected: int | None = None) -> None:
        """Send the answers.

        Raises:
            ValueError: There is not one for each prompt.
        """
        if self._over or not self.transport.isEncrypted("out"):
            return
        if expected is not None and len(responses) != expected:
            raise ValueError(f"{len(responses)} answers to {expected} prompts")
        if responses:
            self.provedIdentity = True
        self._awaiting = True
        self.transport.sendPacket(
            MSG_USERAUTH_INFO_RESPONSE, authentication.encodeInfoResponse(responses)
        )

    # ── What the user has ─────────────────────────────────────────────────────────────────────

    def getPublicKey(self) -> Any:
        """The next public key to offer: a `Key`, None for no more, or a Deferred of either.

        `triedPublicKeys` holds those that were offered. To be overridden; this one has none.
        """
        return None

    def getPrivateKey(self) -> defer.Deferred[Key] | None:
        """The private key of `lastPublicKey`, as a Deferred of a `Key`. To be overridden."""
        return None

    def getPassword(self, prompt: bytes | None = None) -> defer.Deferred[bytes] | None:
        """A password.

        Args:
            prompt: What the user is to be asked; None for the usual.

        Returns:
            A Deferred of the password's bytes; it fails where the user gives none. None where
            nobody can be asked (any more); this one never can.
        """
        return None

    def getGenericAnswers(
        self, name: bytes, instruction: bytes, prompts: list[tuple[bytes, bool]]
    ) -> defer.Deferred[list[bytes]] | None:
        """Answers to questions of the server's own.

        Args:
            name: A title, may be empty; like all the texts here without control characters.
            instruction: A text above the questions, may be empty.
            prompts: The questions, and whether what is typed may be shown.

        Returns:
            A Deferred of a list with one answer, as bytes, per question. None where nobody can be
            asked; this one never can.
        """
        return None
