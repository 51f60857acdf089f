"""What user authentication says and counts, without a socket, a clock or a backend.

Rule: a request is parsed once, completely, into an immutable value; what fails to parse inside a
method's own fields is a failed attempt, not a broken connection, unless the message itself is cut
short. Counting is here, so that no path to a backend can go around it.

    payload of 50 ──▶ parseRequest ──▶ UserAuthRequest ──▶ parsePublicKey / parsePassword / …
                                                            │
    AttemptBudget: requests, failures, key queries ─────────┤
    Factors: what this user has shown so far, and under which restrictions

RFC 4252 (authentication protocol, public keys, passwords), RFC 4256 (keyboard-interactive),
OpenSSH's PROTOCOL section 3.1 (publickey-hostbound-v00@openssh.com).
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from limpet.core.authorizedkeys import Restrictions
from limpet.core.errors import TooManyAttempts
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader, boolean, nameList, u32
from limpet.wire.numbers import MSG_USERAUTH_REQUEST

NONE = b"none"
PUBLIC_KEY = b"publickey"
HOST_BOUND = b"publickey-hostbound-v00@openssh.com"
PASSWORD = b"password"
KEYBOARD_INTERACTIVE = b"keyboard-interactive"

MAX_USER_NAME_LENGTH = 1024
"""Longest user name, in bytes (ours; RFC 4252 has no limit, useradd allows 32)."""

MAX_PASSWORD_LENGTH = 1024
"""Longest password that is tried, in bytes (OpenSSH's; CVE-2016-6515 was a longer one)."""

MAX_REQUESTS = 128
"""Most requests of one connection, of every kind (ours; Go's x/crypto has the same cap)."""

MAX_KEY_QUERIES = 20
"""Most "would this key do?" requests of one connection (ours; dropbear stops at 15)."""

MAX_FAILURES = 6
"""Failed attempts after which the connection ends (OpenSSH's MaxAuthTries)."""

MAX_PROMPTS = 32
"""Most prompts of one MSG_USERAUTH_INFO_REQUEST (ours)."""

MAX_SUBMETHODS = 16
"""Most submethods that a keyboard-interactive request may prefer (ours)."""

MAX_TEXT_LENGTH = 65536
"""Longest text that a server may put before a user: banner, instruction (ours)."""


# ── Requests ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class UserAuthRequest:
    """One MSG_USERAUTH_REQUEST.

    Attributes:
        user: The name to log in under, as sent.
        service: The service to start afterwards.
        method: The method's name, as sent.
        fields: What follows, in the method's own form.
    """

    user: bytes
    service: bytes
    method: bytes
    fields: bytes = field(repr=False)


def parseRequest(payload: bytes) -> UserAuthRequest:
    """Read a MSG_USERAUTH_REQUEST.

        string user, string service, string method, method's fields

    Raises:
        WireError: The message ends before the method's name does.
    """
    reader = Reader(payload)
    return UserAuthRequest(reader.string(), reader.string(), reader.string(), reader.rest())


def isPlausibleUserName(name: bytes) -> bool:
    """Whether `name` may be shown to a backend: UTF-8, 1 to 1024 bytes, no control characters.

    Nothing is normalised: a name that only looks like another one is another name.
    """
    if not 0 < len(name) <= MAX_USER_NAME_LENGTH:
        return False
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if text.isascii():
        return text.isprintable()
    # Cc and Cf: controls and the invisible ones that reorder text; Zl, Zp: line separators.
    return not any(unicodedata.category(character) in _FORBIDDEN for character in text)


_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class PublicKeyFields:
    """The fields of method publickey, or of its host-bound form.

    Attributes:
        algorithm: The name of the algorithm.
        blob: The public key, or certificate.
        signature: The signature, None in a query.
        hostKeyBlob: The server's key that the client means; None in the plain form.
    """

    algorithm: bytes
    blob: bytes
    signature: bytes | None
    hostKeyBlob: bytes | None = None


def parsePublicKey(fields: bytes, hostBound: bool = False) -> PublicKeyFields:
    """Read what follows the method's name (RFC 4252 section 7).

        boolean signed, string algorithm, string blob, [string host key,] [string signature]

    Raises:
        WireError: A field is missing, something follows, or `signed` is neither 0 nor 1. It is part
            of what is signed, so only one way to write it is accepted.
    """
    reader = Reader(fields)
    signed = reader.byte()
    if signed > 1:
        raise WireError("a boolean that is neither 0 nor 1")
    algorithm = reader.string()
    blob = reader.string()
    hostKeyBlob = reader.string() if hostBound else None
    signature = reader.string() if signed else None
    reader.end()
    return PublicKeyFields(algorithm, blob, signature, hostKeyBlob)


def encodePublicKey(fields: PublicKeyFields) -> bytes:
    """Write what follows the method's name; the inverse of `parsePublicKey`."""
    parts = [boolean(fields.signature is not None), NS(fields.algorithm), NS(fields.blob)]
    if fields.hostKeyBlob is not None:
        parts.append(NS(fields.hostKeyBlob))
    if fields.signature is not None:
        parts.append(NS(fields.signature))
    return b"".join(parts)


def signedData(
    sessionId: bytes,
    user: bytes,
    service: bytes,
    algorithm: bytes,
    blob: bytes,
    hostKeyBlob: bytes | None = None,
) -> bytes:
    """What a public key request's signature is over (RFC 4252 section 7).

    Args:
        sessionId: The exchange hash of the connection's first key exchange.
        user: The user's name.
        service: The service to start.
        algorithm: The algorithm's name, as in the request.
        blob: The public key, as in the request.
        hostKeyBlob: The server's host key for the host-bound form, None for the plain one.
    """
    method = PUBLIC_KEY if hostKeyBlob is None else HOST_BOUND
    return b"".join(
        (
            NS(sessionId),
            bytes((MSG_USERAUTH_REQUEST,)),
            NS(user),
            NS(service),
            NS(method),
            boolean(True),
            NS(algorithm),
            NS(blob),
            b"" if hostKeyBlob is None else NS(hostKeyBlob),
        )
    )


@dataclass(frozen=True, slots=True)
class PasswordFields:
    """The fields of method password.

    Attributes:
        password: The password; the old one where it is changed.
        newPassword: What it is to become, None where it is not changed.
    """

    password: bytes = field(repr=False)
    newPassword: bytes | None = field(default=None, repr=False)


def parsePassword(fields: bytes) -> PasswordFields:
    """Read what follows the method's name (RFC 4252 section 8).

        boolean change, string password, [string new password]

    Raises:
        WireError: A field is missing, or something follows.
    """
    reader = Reader(fields)
    change = reader.boolean()
    password = reader.string()
    newPassword = reader.string() if change else None
    reader.end()
    return PasswordFields(password, newPassword)


def isTriablePassword(password: bytes) -> bool:
    """Whether a backend may be asked about `password`: 1 to 1024 bytes, without a NUL.

    An empty password is never right, and a NUL ends the password for every C library.
    """
    return 0 < len(password) <= MAX_PASSWORD_LENGTH and b"\0" not in password


def parseKeyboardInteractive(fields: bytes) -> tuple[bytes, ...]:
    """Read what follows the method's name (RFC 4256 section 3.1); the submethods.

        string language tag (ignored), string submethods

    Raises:
        WireError: A field is missing, something follows, or the names are no list of names.
    """
    reader = Reader(fields)
    reader.string()
    submethods = reader.nameList()
    reader.end()
    if len(submethods) > MAX_SUBMETHODS:
        raise WireError(f"{len(submethods)} submethods")
    return submethods


# ── Answers ───────────────────────────────────────────────────────────────────────────────────


def encodeFailure(methods: Sequence[bytes], partialSuccess: bool = False) -> bytes:
    """A MSG_USERAUTH_FAILURE: name-list of methods that can continue, boolean partial success."""
    return nameList(methods) + boolean(partialSuccess)


def encodeBanner(text: bytes) -> bytes:
    """A MSG_USERAUTH_BANNER: string text, string language tag (empty)."""
    return NS(text) + NS(b"")


def encodeInfoRequest(
    name: bytes, instruction: bytes, prompts: Sequence[tuple[bytes, bool]]
) -> bytes:
    """A MSG_USERAUTH_INFO_REQUEST (RFC 4256 section 3.2).

        string name, string instruction, string language (empty), uint32 n, n × (string, boolean)

    Raises:
        ValueError: More than `MAX_PROMPTS` prompts.
    """
    if len(prompts) > MAX_PROMPTS:
        raise ValueError(f"{len(prompts)} prompts; at most {MAX_PROMPTS}")
    body = b"".join(NS(prompt) + boolean(echo) for prompt, echo in prompts)
    return NS(name) + NS(instruction) + NS(b"") + u32(len(prompts)) + body


def parseInfoRequest(payload: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bool]]]:
    """Read a MSG_USERAUTH_INFO_REQUEST: name, instruction, prompts with their echo.

    Raises:
        WireError: It does not parse, or holds more than `MAX_PROMPTS` prompts.
    """
    reader = Reader(payload)
    name = reader.string(MAX_TEXT_LENGTH)
    instruction = reader.string(MAX_TEXT_LENGTH)
    reader.string()
    count = reader.u32()
    if count > MAX_PROMPTS:
        raise WireError(f"{count} prompts; at most {MAX_PROMPTS}")
    prompts = [(reader.string(MAX_TEXT_LENGTH), reader.boolean()) for _ in range(count)]
    reader.end()
    return name, instruction, prompts


def encodeInfoResponse(answers: Sequence[bytes]) -> bytes:
    """A MSG_USERAUTH_INFO_RESPONSE (RFC 4256 section 3.4): uint32 n, n × string."""
    return u32(len(answers)) + b"".join(NS(answer) for answer in answers)


def parseInfoResponse(payload: bytes, expected: int) -> list[bytes]:
    """Read a MSG_USERAUTH_INFO_RESPONSE to a request of `expected` prompts.

    Raises:
        WireError: It does not parse, or does not have one answer per prompt.
    """
    reader = Reader(payload)
    count = reader.u32()
    # Before anything is taken: the count alone makes nothing happen.
    if count != expected:
        raise WireError(f"{count} answers to {expected} prompts")
    answers = [reader.string() for _ in range(count)]
    reader.end()
    return answers


def sanitised(text: bytes) -> bytes:
    """A peer's text so that a terminal takes it as text: UTF-8 with line ends and tabs, no more.

    Other control characters, and bytes that are not UTF-8, are shown as escapes.
    """
    decoded = text.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    shown = (
        character
        if character in "\n\t" or unicodedata.category(character) not in _FORBIDDEN
        else character.encode("unicode_escape").decode("ascii")
        for character in decoded
    )
    return "".join(shown).encode("utf-8")


# ── Counting ──────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class AttemptBudget:
    """How much one connection may try. Each method raises TooManyAttempts where it is used up.

    Attributes:
        maxFailures: Failures after which the connection ends.
        maxKeyQueries: Queries allowed.
        maxRequests: Requests allowed, all kinds together.
        failures: Failed attempts so far.
        keyQueries: Public key queries so far.
        requests: Requests so far.
    """

    maxFailures: int = MAX_FAILURES
    maxKeyQueries: int = MAX_KEY_QUERIES
    maxRequests: int = MAX_REQUESTS
    failures: int = 0
    keyQueries: int = 0
    requests: int = 0

    def countRequest(self) -> None:
        """A request came, of whatever kind."""
        self.requests += 1
        if self.requests > self.maxRequests:
            raise TooManyAttempts("too many authentication requests")

    def countKeyQuery(self) -> None:
        """A request asks whether a key would do."""
        self.keyQueries += 1
        if self.keyQueries > self.maxKeyQueries:
            raise TooManyAttempts("too many public keys offered")

    def countFailure(self) -> None:
        """A request failed; not called for the first `none` and for queries."""
        self.failures += 1
        if self.failures >= self.maxFailures:
            raise TooManyAttempts("too many authentication failures")


@dataclass(slots=True)
class Factors:
    """What one user has shown on this connection for one service, of the factors of a login.

    A request for another user or service begins with new ones (RFC 4252 section 5).

    Attributes:
        user: The user's name.
        service: The service to start.
        methods: Methods that succeeded, in order.
        restrictions: What all of them together still allow.
        completed: For checkers: avatar id to the kinds of credentials that it was shown with.
    """

    user: bytes
    service: bytes
    methods: list[bytes] = field(default_factory=list)
    restrictions: Restrictions = field(default_factory=Restrictions)
    completed: dict[object, list[object]] = field(default_factory=dict)

    def isFor(self, request: UserAuthRequest) -> bool:
        """Whether `request` goes on with the same user and service."""
        return request.user == self.user and request.service == self.service


# ── Equal time ────────────────────────────────────────────────────────────────────────────────

MIN_FAILURE_DELAY = 0.005
"""Shortest time from a request to its failure, in seconds (OpenSSH's)."""

_DELAY_SPREAD = 0.004

MAX_FAILURE_DELAY = 5.0
"""What takes longer than this, in seconds, is not delayed any further (OpenSSH's)."""


def failureDelay(secret: bytes, user: bytes) -> float:
    """How long a failure for `user` takes at least, 5 to 9 ms, the same each time for one name.

    The spread is a keyed function of the name: who measures cannot average it away, and cannot tell
    it from what a lookup takes.

    Args:
        secret: Random bytes that the peer does not know.
        user: The name, whether or not there is such a user.
    """
    digest = hmac.digest(secret, user, hashlib.sha256)
    return MIN_FAILURE_DELAY + _DELAY_SPREAD * int.from_bytes(digest[:4], "big") / 2**32


def remainingDelay(target: float, elapsed: float) -> float:
    """How long to wait still, in seconds, if an answer is due at `target` and `elapsed` is over.

    Past the target the next due time is twice as late, and so on: what takes longer is rounded up
    to a step, instead of being answered at the moment that it is done.
    """
    if elapsed >= MAX_FAILURE_DELAY:
        return 0.0
    while target < elapsed:
        target *= 2
    return target - elapsed
