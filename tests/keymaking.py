"""Keys, signatures and certificates for tests, also such as nobody honest would make."""

from __future__ import annotations

import functools
import hashlib

from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob, publicblob
from limpet.crypto.material import KeyMaterial, publicOf
from limpet.wire.fields import NS, u32, u64

KINDS: tuple[tuple[str, int | None], ...] = (
    ("ed25519", None),
    ("ecdsa", 256),
    ("ecdsa", 384),
    ("ecdsa", 521),
    ("rsa", 2048),
)
"""What `Key.generate` can make, the smallest RSA key only."""

FOR_EVER = 2**64 - 1

NOW = 1_800_000_000
"""A moment in 2027, in seconds since 1970."""


@functools.cache
def makeKey(kind: str = "ed25519", sizeBits: int | None = None, number: int = 0) -> Key:
    """A private key; the same one for the same arguments within one run of the tests."""
    return Key.generate(kind, sizeBits)


def allKeys() -> list[Key]:
    """One private key of every kind."""
    return [makeKey(kind, size) for kind, size in KINDS]


def securityKey(signer: Key, application: bytes = b"ssh:") -> Key:
    """The public key of a security key whose private half is `signer` (Ed25519 or P-256)."""
    return Key.fromMaterial(KeyMaterial(publicOf(signer._keyObject), application))


def securityKeySignature(
    signer: Key,
    data: bytes,
    *,
    application: bytes = b"ssh:",
    flags: int = 1,
    counter: int = 7,
    tail: bytes = b"",
) -> bytes:
    """What a security key answers when it is asked to sign `data`."""
    message = (
        hashlib.sha256(application).digest()
        + bytes((flags,))
        + u32(counter)
        + hashlib.sha256(data).digest()
    )
    plain = signer.sign(message)
    nameLength = int.from_bytes(plain[:4], "big")
    body = plain[4 + nameLength :]
    name = securityKey(signer, application).sshType()
    return NS(name) + body + bytes((flags,)) + u32(counter) + tail


def options(pairs: dict[bytes, bytes]) -> bytes:
    """Options of a certificate, sorted as they have to be."""
    return b"".join(NS(name) + NS(value) for name, value in sorted(pairs.items()))


def makeCertificate(
    subject: Key,
    authority: Key,
    *,
    kind: int = certificateblob.USER,
    principals: tuple[bytes, ...] = (b"alice",),
    validAfter: int = 0,
    validBefore: int = FOR_EVER,
    criticalOptions: dict[bytes, bytes] | bytes = b"",
    extensions: dict[bytes, bytes] | bytes = b"",
    signatureType: bytes | None = None,
    authorityBlob: bytes | None = None,
    keyId: bytes = b"the key's name",
    tail: bytes = b"",
) -> bytes:
    """A certificate for `subject` that `authority` signed, whatever is in it."""
    public = subject.public()
    critical = criticalOptions if isinstance(criticalOptions, bytes) else options(criticalOptions)
    extra = extensions if isinstance(extensions, bytes) else options(extensions)
    signed = b"".join(
        (
            NS(certificateblob.certificateType(public.sshType())),
            NS(b"nonce-" * 4),
            publicblob.encodeFields(publicOf(public._keyObject), public.application),
            u64(42),
            u32(kind),
            NS(keyId),
            NS(b"".join(NS(name) for name in principals)),
            u64(validAfter),
            u64(validBefore),
            NS(critical),
            NS(extra),
            NS(b""),
            NS(authority.blob() if authorityBlob is None else authorityBlob),
        )
    )
    return signed + NS(authority.sign(signed, signatureType)) + tail
