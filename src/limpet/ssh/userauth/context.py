"""One authentication request while it is answered, and the credentials that carry it to checkers.

Rule: what a request was stays as it is from its arrival to its answer; a checker learns of the
connection from the request's context and from nowhere else, so that two requests never mix.

    SSHUserAuthServer ── AuthenticationContext ──▶ credentials.context ──▶ checker
                                ▲                                            │
                                └── restrict(…), signatureVerified ──────────┘
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from twisted.cred.credentials import ISSHPrivateKey, IUsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import implementer

from limpet.core.authentication import Factors, UserAuthRequest
from limpet.core.authorizedkeys import UNRESTRICTED, Restrictions
from limpet.crypto.signatures import verifySignature
from limpet.interfaces import IKeyboardInteractiveCredentials, IPasswordChangeCredentials
from limpet.wire.errors import WireError

Asker = Callable[[Sequence[tuple[bytes, bool]], bytes, bytes], "Deferred[list[bytes]]"]
"""Asks (prompt, echo) pairs under a name and an instruction; fires with one answer per prompt."""


class AuthenticationContext:
    """One MSG_USERAUTH_REQUEST from its arrival to its answer.

    Attributes:
        request: The request.
        transport: The connection that it came on.
        factors: What the user has shown on this connection before.
        startedAt: When its turn came, or its last answer, in seconds of the connection's clock.
        restrictions: What a login by this request still allows; a checker narrows it by `restrict`.
        signatureVerified: Set by a checker that has verified the request's signature with the key
            that lets the user in; the server verifies it itself where nobody has.
        keyBlob: The public key of a request by public key, else None.
        isQuery: It only asks whether a key would do.
        over: The request is answered or given up; what is still to come for it is dropped.
    """

    def __init__(
        self, request: UserAuthRequest, transport: Any, factors: Factors, startedAt: float
    ) -> None:
        self.request = request
        self.transport = transport
        self.factors = factors
        self.startedAt = startedAt
        self.restrictions: Restrictions = UNRESTRICTED
        self.signatureVerified = False
        self.keyBlob: bytes | None = None
        self.isQuery = False
        self.over = False

    def restrict(self, restrictions: Restrictions) -> None:
        """Allow only what `restrictions` allows as well.

        Raises:
            ConflictingRestrictions: It forces another command than is forced already.
        """
        self.restrictions = self.restrictions & restrictions

    @property
    def peerHost(self) -> str | None:
        """The peer's numeric address; None where it has none, as on a Unix socket."""
        peer = self.transport.getPeer()
        address = getattr(peer, "address", peer)
        host = getattr(address, "host", None)
        return host if isinstance(host, str) else None


@implementer(ISSHPrivateKey)
class PublicKeyCredentials:
    """What a request by public key shows (RFC 4252 section 7).

    Attributes:
        username: The user's name.
        algName: The signature algorithm's name.
        blob: The public key, or certificate.
        sigData: What the signature is over.
        signature: The signature; None asks whether the key would do.
        context: The request; None for credentials that are not from a connection.
    """

    def __init__(
        self,
        username: bytes,
        algName: bytes,
        blob: bytes,
        sigData: bytes | None,
        signature: bytes | None,
        context: AuthenticationContext | None = None,
    ) -> None:
        self.username = username
        self.algName = algName
        self.blob = blob
        self.sigData = sigData
        self.signature = signature
        self.context = context

    def isProven(self) -> bool:
        """Whether they are signed with the key; verified here unless a checker has done so."""
        if self.signature is None:
            return False
        if self.context is not None and self.context.signatureVerified:
            return True
        try:
            return verifySignature(self.blob, self.algName, self.signature, self.sigData or b"")
        except WireError:
            return False


@implementer(IUsernamePassword)
class PasswordCredentials:
    """A user's name and password.

    Attributes:
        context: The request.
    """

    def __init__(
        self, username: bytes, password: bytes, context: AuthenticationContext | None = None
    ) -> None:
        self.username = username
        self.password = password
        self.context = context

    def checkPassword(self, password: bytes) -> bool:
        """Whether `password` is what the user gave; takes the same time for every wrong one."""
        return hmac.compare_digest(self.password, password)


@implementer(IPasswordChangeCredentials)
class PasswordChangeCredentials:
    """A user's name, the password so far, and the new one.

    Attributes:
        context: The request.
    """

    def __init__(
        self,
        username: bytes,
        password: bytes,
        newPassword: bytes,
        context: AuthenticationContext | None = None,
    ) -> None:
        self.username = username
        self.password = password
        self.newPassword = newPassword
        self.context = context


@implementer(IKeyboardInteractiveCredentials)
class KeyboardInteractiveCredentials:
    """A user who can be asked questions.

    Args:
        username: The user's name.
        submethods: What the client prefers.
        asker: Puts the questions.
        context: The request.
    """

    def __init__(
        self,
        username: bytes,
        submethods: tuple[bytes, ...],
        asker: Asker,
        context: AuthenticationContext | None = None,
    ) -> None:
        self.username = username
        self.submethods = submethods
        self.context = context
        self._asker = asker

    def ask(
        self,
        prompts: Sequence[tuple[bytes, bool]],
        name: bytes = b"",
        instruction: bytes = b"",
    ) -> Deferred[list[bytes]]:
        """Ask the user; see `IKeyboardInteractiveCredentials.ask`."""
        return self._asker(prompts, name, instruction)
