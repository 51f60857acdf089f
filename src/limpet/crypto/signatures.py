"""Signature algorithms: their names, and signatures made and verified.

Rule: a signature counts only under the one algorithm that was agreed on, and the algorithm, the
key's type and the signature's own name have to agree exactly; a family ("any ECDSA") is never
enough. What verifies a signature returns False for every defect of that signature, and
never raises because of one.

SHA-1 (`ssh-rsa`, `ssh-dss`) is only used where it is asked for by name: it is in
`SIGNATURE_ALGORITHMS`, not in `DEFAULT_SIGNATURE_ALGORITHMS`.

RFC 4253 section 6.6, RFC 5656 section 3.1.2, RFC 8332 (RSA with SHA-2), RFC 8709 (Ed25519),
OpenSSH's PROTOCOL.u2f (security keys) and PROTOCOL.certkeys (the names for certificates).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from limpet.crypto import material
from limpet.crypto.errors import BadSignatureAlgorithmError
from limpet.crypto.keyformats import certificateblob, publicblob
from limpet.crypto.keyformats.publicblob import CERTIFICATE_SUFFIX
from limpet.crypto.material import PrivateKeyObject, PublicKeyObject
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS, Reader, u32

FLAG_USER_PRESENT = 0x01
"""The security key was touched (WebAuthn, authenticator data flags)."""

FLAG_USER_VERIFIED = 0x04
"""The security key checked a PIN or a fingerprint."""

MAX_SIGNATURE_LENGTH = 16384
"""Longest signature blob that is looked at, in bytes; RSA-16384 needs 2,071."""


class SignatureAlgorithm(NamedTuple):
    """One public key algorithm.

    Attributes:
        name: Its name on the wire.
        keyType: The type of the keys that it signs with, as their blobs begin.
        digest: The hash of the data, None where the algorithm hashes by itself.
        legacy: Whether it has to be asked for by name.
    """

    name: bytes
    keyType: bytes
    digest: hashes.HashAlgorithm | None
    legacy: bool = False


SIGNATURE_ALGORITHMS: dict[bytes, SignatureAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        SignatureAlgorithm(publicblob.ED25519, publicblob.ED25519, None),
        SignatureAlgorithm(b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", hashes.SHA256()),
        SignatureAlgorithm(b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384", hashes.SHA384()),
        SignatureAlgorithm(b"ecdsa-sha2-nistp521", b"ecdsa-sha2-nistp521", hashes.SHA512()),
        SignatureAlgorithm(publicblob.SK_ED25519, publicblob.SK_ED25519, None),
        SignatureAlgorithm(publicblob.SK_ECDSA, publicblob.SK_ECDSA, hashes.SHA256()),
        SignatureAlgorithm(b"rsa-sha2-512", publicblob.RSA, hashes.SHA512()),
        SignatureAlgorithm(b"rsa-sha2-256", publicblob.RSA, hashes.SHA256()),
        SignatureAlgorithm(publicblob.RSA, publicblob.RSA, hashes.SHA1(), legacy=True),
        SignatureAlgorithm(publicblob.DSA, publicblob.DSA, hashes.SHA1(), legacy=True),
    )
}
"""Every signature algorithm by name, the one we like best first."""

DEFAULT_SIGNATURE_ALGORITHMS: tuple[bytes, ...] = tuple(
    name for name, algorithm in SIGNATURE_ALGORITHMS.items() if not algorithm.legacy
)
"""What is accepted where nobody says otherwise; fit for `server-sig-algs` (RFC 8308)."""

CERTIFICATE_ALGORITHMS: dict[bytes, bytes] = {
    (name.removesuffix(b"@openssh.com") + CERTIFICATE_SUFFIX): name
    for name, algorithm in SIGNATURE_ALGORITHMS.items()
    if not algorithm.legacy
}
"""Algorithm with a certificate (PROTOCOL.certkeys) to the name that its signatures have."""

HOST_KEY_ALGORITHMS: dict[bytes, bytes] = {
    name: algorithm.keyType for name, algorithm in SIGNATURE_ALGORITHMS.items()
} | {
    name: certificateblob.certificateType(SIGNATURE_ALGORITHMS[plain].keyType)
    for name, plain in CERTIFICATE_ALGORITHMS.items()
}
"""Each host key algorithm, plain and with certificates, to the type of the blob that it uses."""


def algorithmsFor(keyType: bytes) -> list[bytes]:
    """The names of all algorithms, legacy ones too, that keys of `keyType` sign with."""
    return [
        name for name, algorithm in SIGNATURE_ALGORITHMS.items() if algorithm.keyType == keyType
    ]


_BY_KEY_TYPE: dict[bytes, bytes] = {
    keyType: algorithmsFor(keyType)[0] for keyType in publicblob.KEY_TYPES
}


def defaultAlgorithm(keyType: bytes) -> bytes:
    """The algorithm that a key of `keyType` signs with when none is named; SHA-2 for RSA."""
    return _BY_KEY_TYPE[keyType]


# ── Making signatures ─────────────────────────────────────────────────────────────────────────


def makeSignature(private: PrivateKeyObject, name: bytes, data: bytes) -> bytes:
    """Sign `data`; the whole signature blob, string algorithm and string signature.

    Args:
        private: The key.
        name: The algorithm; a certificate's algorithm stands for the one of its key.
        data: What is signed.

    Raises:
        BadSignatureAlgorithmError: The key cannot sign with that algorithm.
        RuntimeError: An RSA signature came out wrong and was withheld.
    """
    name = CERTIFICATE_ALGORITHMS.get(name, name)
    # The common case first: it needs neither the table nor the type of the key.
    if name == publicblob.ED25519 and isinstance(private, ed25519.Ed25519PrivateKey):
        return _ED25519_PREFIX + private.sign(data)
    algorithm = SIGNATURE_ALGORITHMS.get(name)
    keyType = publicblob.keyType(private)
    if algorithm is None or algorithm.keyType != keyType or algorithm.digest is None:
        raise BadSignatureAlgorithmError(
            f"a key of type {keyType.decode('ascii')} cannot sign with {publicblob.shown(name)}"
        )
    return NS(name) + NS(_signWith(private, algorithm.digest, data))


_ED25519_PREFIX = NS(publicblob.ED25519) + u32(64)


def _signWith(private: PrivateKeyObject, digest: hashes.HashAlgorithm, data: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        signature = private.sign(data, padding.PKCS1v15(), digest)
        # One faulty CRT computation gives the peer a factor of the modulus, so none leaves.
        try:
            private.public_key().verify(signature, data, padding.PKCS1v15(), digest)
        except InvalidSignature:
            raise RuntimeError("an RSA signature came out wrong and was withheld") from None
        return signature
    if isinstance(private, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(digest)))
        return MP(r) + MP(s)
    if isinstance(private, dsa.DSAPrivateKey):
        r, s = decode_dss_signature(private.sign(data, digest))
        half = material.DSA_SUBGROUP_BITS // 8
        return r.to_bytes(half, "big") + s.to_bytes(half, "big")
    raise TypeError("Ed25519 keys do not sign a digest")


# ── Verifying signatures ──────────────────────────────────────────────────────────────────────


def checkSignature(
    public: PublicKeyObject,
    application: bytes | None,
    name: bytes,
    signature: bytes,
    data: bytes,
    *,
    requireUserPresence: bool = True,
    requireUserVerification: bool = False,
) -> bool:
    """Whether `signature` is one over `data` by this key, made with exactly the algorithm `name`.

    Args:
        public: The key.
        application: The application of a security key, None for every other key.
        name: The algorithm (not a certificate's).
        signature: The whole signature blob: string algorithm, string signature, and for security
            keys byte flags and uint32 counter.
        data: What was signed.
        requireUserPresence: Whether a security key has to have been touched.
        requireUserVerification: Whether a security key has to have checked its user.
    """
    algorithm = SIGNATURE_ALGORITHMS.get(name)
    if algorithm is None or algorithm.keyType != publicblob.keyType(public, application):
        return False
    if len(signature) > MAX_SIGNATURE_LENGTH:
        return False
    reader = Reader(signature)
    try:
        if reader.string() != name:
            return False
        body = reader.string()
        if application is not None:
            flags = reader.byte()
            counter = reader.u32()
            if requireUserPresence and not flags & FLAG_USER_PRESENT:
                return False
            if requireUserVerification and not flags & FLAG_USER_VERIFIED:
                return False
            data = (
                hashlib.sha256(application).digest()
                + bytes((flags,))
                + u32(counter)
                + hashlib.sha256(data).digest()
            )
        reader.end()
        return _verifyWith(public, algorithm.digest, body, data)
    except (WireError, InvalidSignature):
        return False


def _verifyWith(
    public: PublicKeyObject, digest: hashes.HashAlgorithm | None, body: bytes, data: bytes
) -> bool:
    """True, or False, or InvalidSignature or WireError, which mean the same as False."""
    if isinstance(public, ed25519.Ed25519PublicKey):
        if len(body) != 64:
            return False
        public.verify(body, data)
        return True
    if digest is None:
        return False
    if isinstance(public, rsa.RSAPublicKey):
        size = (public.key_size + 7) // 8
        # PuTTY strips leading zeros; a longer signature has no such excuse.
        if len(body) > size:
            return False
        public.verify(body.rjust(size, b"\x00"), data, padding.PKCS1v15(), digest)
        return True
    if isinstance(public, ec.EllipticCurvePublicKey):
        curve = material.curveOf(public)
        reader = Reader(body)
        r = reader.mpint(curve.order.bit_length())
        s = reader.mpint(curve.order.bit_length())
        reader.end()
        if not (0 < r < curve.order and 0 < s < curve.order):
            return False
        public.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
        return True
    half = material.DSA_SUBGROUP_BITS // 8
    if len(body) != 2 * half:
        return False
    r, s = int.from_bytes(body[:half], "big"), int.from_bytes(body[half:], "big")
    public.verify(encode_dss_signature(r, s), data, digest)
    return True


def nameOf(signature: bytes) -> bytes:
    """The algorithm that a signature blob says it was made with, b"" where it says nothing."""
    try:
        return Reader(signature[: 4 + publicblob.MAX_TYPE_LENGTH]).string()
    except WireError:
        return b""


def verifySignature(
    keyBlob: bytes,
    algorithm: bytes,
    signature: bytes,
    data: bytes,
    *,
    requireUserPresence: bool = True,
    requireUserVerification: bool = False,
) -> bool:
    """Whether `signature` over `data` is by the key in `keyBlob`, with exactly `algorithm`.

    This is about the signature only: whether the key may be trusted, or the certificate and who
    signed that, is for somebody else to say.

    Args:
        keyBlob: A public key, or a certificate where `algorithm` is one for certificates.
        algorithm: The algorithm that was agreed on, a key of `HOST_KEY_ALGORITHMS`.
        signature: The whole signature blob.
        data: What was signed.
        requireUserPresence: Whether a security key has to have been touched.
        requireUserVerification: Whether a security key has to have checked its user.

    Raises:
        BadKeyError: `keyBlob` is no key that we accept; a WireError.
    """
    plain = CERTIFICATE_ALGORITHMS.get(algorithm)
    if plain is None:
        found = publicblob.decode(keyBlob)
    else:
        found = certificateblob.decode(keyBlob).key
    return checkSignature(
        material.publicOf(found.keyObject),
        found.application,
        algorithm if plain is None else plain,
        signature,
        data,
        requireUserPresence=requireUserPresence,
        requireUserVerification=requireUserVerification,
    )
