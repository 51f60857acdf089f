"""The keys of an agent: added, listed, used, locked away and forgotten.

Rule: a key is kept only with all of its constraints understood, and used only as they allow; a
refusal tells the one who asks nothing but that it is one.

    ADD_IDENTITY ──▶ parseAddition ──▶ HeldKey ──▶ keys[blob]
    SIGN_REQUEST ──▶ signables.recognise ──▶ approve: the key's use, its constraints, the sessions
                     of the connection (agentbinding) ──▶ Approval ──▶ [a person agrees] ──▶ sign

Time is an argument, in seconds since 1970. RFC 9987 section 5.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from limpet.core.agentbinding import Bindings
from limpet.core.signables import SAFE_USES, Signable, Use, plainBlob, recognise
from limpet.crypto.entropy import randomBytes
from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob, privateblob, publicblob
from limpet.crypto.signatures import CERTIFICATE_ALGORITHMS
from limpet.wire.agent import (
    SIGN_RSA_SHA2_256,
    SIGN_RSA_SHA2_512,
    Constraints,
    Destination,
    SignRequest,
)
from limpet.wire.fields import Reader

MAX_KEYS = 1000
"""Most keys that one agent holds (ours)."""

MAX_COMMENT_LENGTH = 1024
"""Longest comment of a key, in bytes (ours)."""

MAX_PASSPHRASE_LENGTH = 1024
"""Longest passphrase that an agent is locked with, in bytes (ours)."""

_SALT_SIZE = 16
_LOCK_COST = {"n": 4096, "r": 8, "p": 1}

_RSA_ALGORITHMS = {
    SIGN_RSA_SHA2_256: b"rsa-sha2-256",
    SIGN_RSA_SHA2_512: b"rsa-sha2-512",
}
_KNOWN_FLAGS = SIGN_RSA_SHA2_256 | SIGN_RSA_SHA2_512


class AgentRefusal(Exception):
    """The agent does not do what was asked; the text is for its own log."""


class HeldKey(NamedTuple):
    """A key that an agent holds. The first two fields are those that Conch documents.

    Attributes:
        key: The private key.
        comment: What people call it.
        certificate: The certificate that it is offered with; b"" for the plain key.
        expiresAt: When it is forgotten, in seconds since 1970; None for never.
        confirm: Whether a person has to agree to each use.
        destinations: Where it may be used; empty for anywhere.
    """

    key: Key
    comment: bytes = b""
    certificate: bytes = b""
    expiresAt: float | None = None
    confirm: bool = False
    destinations: Sequence[Destination] = ()

    @property
    def blob(self) -> bytes:
        """What it is listed and asked for by: the certificate, or the public key."""
        return self.certificate or self.key.blob()


def parseAddition(body: bytes, constrained: bool, now: float) -> HeldKey:
    """Read an ADD_IDENTITY, or an ADD_ID_CONSTRAINED.

        private key, with or without its certificate (`privateblob`), string comment
        [, constraints]

    Raises:
        BadKeyError: No key that we accept.
        WireError: Another form, or a constraint that is not understood.
    """
    reader = Reader(body)
    keyType = Reader(body).string(publicblob.MAX_TYPE_LENGTH)
    certificate = b""
    if keyType in certificateblob.CERTIFICATE_TYPES:
        certificate, found = privateblob.decodeCertified(reader)
    else:
        found = privateblob.decodeFields(reader)
    comment = reader.string(MAX_COMMENT_LENGTH)
    constraints = Constraints()
    if constrained:
        constraints = Constraints.read(reader)
    reader.end()
    lifetime = constraints.lifetimeSeconds
    return HeldKey(
        Key.fromMaterial(found._replace(comment=comment)),
        comment,
        certificate,
        expiresAt=None if lifetime is None else now + lifetime,
        confirm=constraints.confirm,
        destinations=constraints.destinations,
    )


@dataclass(frozen=True)
class Approval:
    """What the agent is ready to sign.

    Attributes:
        held: The key.
        algorithm: By which algorithm.
        what: What it is that is signed, for the person who has to agree.
        data: The bytes.
    """

    held: HeldKey
    algorithm: bytes | None
    what: Signable
    data: bytes

    def sign(self) -> bytes:
        """The signature blob."""
        return self.held.key.sign(self.data, signatureType=self.algorithm)


class KeyStore:
    """The keys of one agent.

    Args:
        keys: Where they are kept: blob to `HeldKey`, or to (key, comment) as Conch documents it.
        uses: What may be signed.
        canConfirm: Whether there is somebody who can be asked. Where nobody is, keys that want to
            be confirmed are refused.
        maxKeys: How many there may be.
        defaultLifetimeSeconds: After which keys are forgotten that come without a lifetime of their
            own; None for never.
    """

    def __init__(
        self,
        keys: MutableMapping[bytes, Any] | None = None,
        *,
        uses: Use = SAFE_USES,
        canConfirm: bool = False,
        maxKeys: int = MAX_KEYS,
        defaultLifetimeSeconds: int | None = None,
    ) -> None:
        self.keys: MutableMapping[bytes, Any] = {} if keys is None else keys
        self.uses = uses
        self.canConfirm = canConfirm
        self.maxKeys = maxKeys
        self.defaultLifetimeSeconds = defaultLifetimeSeconds
        self._lock: tuple[bytes, bytes] | None = None

    @property
    def isLocked(self) -> bool:
        """Whether a passphrase keeps the keys away."""
        return self._lock is not None

    def _held(self, blob: bytes, now: float) -> HeldKey:
        self.forgetExpired(now)
        entry = self.keys.get(blob)
        if self.isLocked or entry is None:
            raise AgentRefusal("the agent is locked" if self.isLocked else "there is no such key")
        return HeldKey(*entry)

    # ── Keys ──────────────────────────────────────────────────────────────────────────────────

    def add(self, body: bytes, constrained: bool, now: float) -> HeldKey:
        """Take a key; one that is held already gets the constraints that it comes with now.

        Raises:
            AgentRefusal: The agent is locked or full, or has nobody who could confirm.
            BadKeyError, WireError: See `parseAddition`.
        """
        self._refuseIfLocked()
        self.forgetExpired(now)
        if len(self.keys) >= self.maxKeys:
            raise AgentRefusal(f"it holds {self.maxKeys} keys already")
        held = parseAddition(body, constrained, now)
        if held.confirm and not self.canConfirm:
            raise AgentRefusal("a key that wants to be confirmed, and nobody to ask")
        if held.expiresAt is None and self.defaultLifetimeSeconds is not None:
            held = held._replace(expiresAt=now + self.defaultLifetimeSeconds)
        self.keys[held.blob] = held
        return held

    def remove(self, blob: bytes, now: float) -> None:
        """Forget a key. Raises AgentRefusal where there is none, or the agent is locked."""
        self._held(blob, now)
        del self.keys[blob]

    def removeAll(self) -> None:
        """Forget all keys. Raises AgentRefusal where the agent is locked."""
        self._refuseIfLocked()
        self.keys.clear()

    def forgetExpired(self, now: float) -> None:
        """Forget the keys whose time is over."""
        over = [
            blob
            for blob, entry in self.keys.items()
            if len(entry) > 3 and entry[3] is not None and entry[3] <= now
        ]
        for blob in over:
            del self.keys[blob]

    def nextExpiry(self) -> float | None:
        """When the next key is to be forgotten; None for never."""
        times = [
            entry[3] for entry in self.keys.values() if len(entry) > 3 and entry[3] is not None
        ]
        return min(times, default=None)

    def identities(self, bindings: Bindings, now: float) -> list[tuple[bytes, bytes]]:
        """(blob, comment) of the keys that the connection may know of; none while locked."""
        self.forgetExpired(now)
        if self.isLocked:
            return []
        found = []
        for blob, entry in self.keys.items():
            held = HeldKey(*entry)
            if bindings.mayList(held.destinations, now):
                found.append((blob, held.comment))
        return found

    # ── Signatures ────────────────────────────────────────────────────────────────────────────

    def approve(self, request: SignRequest, bindings: Bindings, now: float) -> Approval:
        """Judge a sign request; all but what a person has to say.

        Raises:
            AgentRefusal: With the first reason.
        """
        held = self._held(request.blob, now)
        what = recognise(request.data)
        if what.use not in self.uses:
            raise AgentRefusal(f"nothing that may be signed here: {what.use.name}")
        if not bindings.maySignFor(held.destinations, what, now):
            raise AgentRefusal("not for this key, or not on this connection")
        if held.confirm and not self.canConfirm:
            raise AgentRefusal("a key that wants to be confirmed, and nobody to ask")
        algorithm = _algorithm(held, request, what)
        return Approval(held, algorithm, what, request.data)

    # ── The lock ──────────────────────────────────────────────────────────────────────────────

    def _refuseIfLocked(self) -> None:
        if self.isLocked:
            raise AgentRefusal("the agent is locked")

    def lock(self, passphrase: bytes) -> None:
        """Keep the keys away until `unlock`. Raises AgentRefusal if they are so already."""
        self._refuseIfLocked()
        if len(passphrase) > MAX_PASSPHRASE_LENGTH:
            raise AgentRefusal("the passphrase is too long")
        salt = randomBytes(_SALT_SIZE)
        self._lock = salt, _digest(passphrase, salt)

    def unlock(self, passphrase: bytes) -> None:
        """Give the keys free. Raises AgentRefusal where it is not locked, or not by this."""
        if self._lock is None:
            raise AgentRefusal("the agent is not locked")
        salt, digest = self._lock
        if len(passphrase) > MAX_PASSPHRASE_LENGTH or not hmac.compare_digest(
            _digest(passphrase, salt), digest
        ):
            raise AgentRefusal("not the passphrase")
        self._lock = None


def _digest(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, **_LOCK_COST)


def _algorithm(held: HeldKey, request: SignRequest, what: Signable) -> bytes | None:
    """The algorithm to sign with; None for the key's own. SHA-1 is none of them.

    Raises:
        AgentRefusal: The bytes name another key or another algorithm than they are signed with.
    """
    if request.flags & ~_KNOWN_FLAGS or request.flags == _KNOWN_FLAGS:
        raise AgentRefusal("flags that are not known here")
    if what.use is Use.LOGIN:
        # The certificate may be a file of the client's, and only its key be ours.
        if plainBlob(what.keyBlob) != held.key.blob():
            raise AgentRefusal("a login by another key")
    elif what.use is Use.CERTIFICATE and what.keyBlob != held.key.blob():
        raise AgentRefusal("a certificate by another authority")
    byFlags = None
    if held.key.sshType() == publicblob.RSA:
        byFlags = _RSA_ALGORITHMS.get(request.flags)
    if not what.algorithm:
        return byFlags
    named = CERTIFICATE_ALGORITHMS.get(what.algorithm, what.algorithm)
    if byFlags is not None and named != byFlags:
        raise AgentRefusal("a login by another algorithm than is asked for")
    if named not in held.key.supportedSignatureAlgorithms():
        raise AgentRefusal("a login by an algorithm that this key does not sign with")
    return named
