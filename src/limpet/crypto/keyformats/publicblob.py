"""The public key as it is in messages: a type name, then the fields of that type.

    ssh-rsa                              mpint e, mpint n                     RFC 4253 section 6.6
    ssh-dss                              mpint p, q, g, y                     RFC 4253 section 6.6
    ecdsa-sha2-nistp256 (384, 521)       string curve, string point           RFC 5656 section 3.1
    ssh-ed25519                          string key                           RFC 8709 section 4
    sk-ssh-ed25519@openssh.com           string key, string application       PROTOCOL.u2f
    sk-ecdsa-sha2-nistp256@openssh.com   string curve, point, application     PROTOCOL.u2f

Rule: a blob is used up exactly, and a key has one blob, so that equal blobs are equal keys.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError
from limpet.crypto.material import KeyMaterial, KeyObject
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS, Reader

RSA = b"ssh-rsa"
DSA = b"ssh-dss"
ED25519 = b"ssh-ed25519"
SK_ED25519 = b"sk-ssh-ed25519@openssh.com"
SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"

EC_KEY_TYPES: dict[bytes, bytes] = {curve.keyType: name for name, curve in material.CURVES.items()}
"""Key type to the name of its curve."""

KEY_TYPES: frozenset[bytes] = frozenset({RSA, DSA, ED25519, SK_ED25519, SK_ECDSA, *EC_KEY_TYPES})
"""Every key type that a blob of ours can begin with."""

CERTIFICATE_SUFFIX = b"-cert-v01@openssh.com"

MAX_BLOB_LENGTH = 16384
"""Longest public key blob, in bytes (OpenSSH's SSH_MAX_PUBKEY_BYTES); RSA-16384 needs 2,069."""

MAX_TYPE_LENGTH = 64


def decode(blob: bytes) -> KeyMaterial:
    """Read a public key blob.

    Raises:
        BadKeyError: The blob is no key of a type that we know, or a key that we do not accept.
    """
    if len(blob) > MAX_BLOB_LENGTH:
        raise BadKeyError(f"a public key of {len(blob)} bytes")
    reader = Reader(blob)
    try:
        keyType = reader.string(MAX_TYPE_LENGTH)
        found = decodeFields(keyType, reader)
        reader.end()
    except BadKeyError:
        raise
    except WireError as error:
        raise BadKeyError(f"a damaged public key: {error}") from None
    return found


def decodeFields(keyType: bytes, reader: Reader) -> KeyMaterial:
    """Read what follows the type name in a blob, and leave the reader behind it.

    Certificates hold the fields of their key in this form too.

    Raises:
        BadKeyError: An unknown type, or a key that we do not accept.
        WireError: The fields are not there.
    """
    if keyType == ED25519:
        return KeyMaterial(material.ed25519Public(reader.string()))
    if keyType in EC_KEY_TYPES:
        return KeyMaterial(_ecPublic(EC_KEY_TYPES[keyType], reader))
    if keyType == RSA:
        e, n = reader.mpint(), reader.mpint()
        return KeyMaterial(material.rsaPublic(n, e))
    if keyType == SK_ED25519:
        public = material.ed25519Public(reader.string())
        return KeyMaterial(public, material.checkApplication(reader.string()))
    if keyType == SK_ECDSA:
        point = _ecPublic(b"nistp256", reader)
        return KeyMaterial(point, material.checkApplication(reader.string()))
    if keyType == DSA:
        p, q, g, y = (reader.mpint() for _ in range(4))
        return KeyMaterial(material.dsaPublic(p, q, g, y))
    if keyType.endswith(CERTIFICATE_SUFFIX):
        raise BadKeyError("a certificate where a plain public key is expected")
    raise BadKeyError(f"a key of a type that we do not know: {shown(keyType)}")


def _ecPublic(curveName: bytes, reader: Reader) -> ec.EllipticCurvePublicKey:
    if reader.string(MAX_TYPE_LENGTH) != curveName:
        raise BadKeyError("an ECDSA key whose type and curve differ")
    return material.ecPublic(curveName, reader.string())


def encode(keyObject: KeyObject, application: bytes | None = None) -> bytes:
    """The public key blob of a key object; `application` makes it that of a security key."""
    return NS(keyType(keyObject, application)) + encodeFields(keyObject, application)


def encodeFields(keyObject: KeyObject, application: bytes | None = None) -> bytes:
    """What follows the type name in the blob of a key object."""
    public = material.publicOf(keyObject)
    if isinstance(public, ed25519.Ed25519PublicKey):
        fields = NS(material.ed25519Point(public))
    elif isinstance(public, ec.EllipticCurvePublicKey):
        fields = NS(material.curveOf(public).name) + NS(material.ecPoint(public))
    elif isinstance(public, rsa.RSAPublicKey):
        rsaNumbers = public.public_numbers()
        return MP(rsaNumbers.e) + MP(rsaNumbers.n)
    else:
        dsaNumbers = public.public_numbers()
        group = dsaNumbers.parameter_numbers
        return MP(group.p) + MP(group.q) + MP(group.g) + MP(dsaNumbers.y)
    return fields if application is None else fields + NS(application)


def keyType(keyObject: KeyObject, application: bytes | None = None) -> bytes:
    """The type name that the blob of a key object begins with."""
    public = material.publicOf(keyObject)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return ED25519 if application is None else SK_ED25519
    if isinstance(public, ec.EllipticCurvePublicKey):
        return material.curveOf(public).keyType if application is None else SK_ECDSA
    return RSA if isinstance(public, rsa.RSAPublicKey) else DSA


def shown(name: bytes) -> str:
    """A name from a peer as it may stand in a message: at most 64 bytes, only printable ASCII."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}"
        for byte in name[:MAX_TYPE_LENGTH]
    )
