"""Numbers to key objects of `cryptography`, with every check that has to come before.

Rule: no key object of a peer or of a file exists that did not pass through here. What is checked:
RSA sizes and exponents, points on their curve and in their one encoding, Ed25519 keys that are
canonical and not of small order, and that the private half of a key belongs to its public half.

RFC 4253 section 6.6 (RSA, DSA), RFC 5656 section 3.1 (ECDSA), RFC 8709 (Ed25519), and
OpenSSH's PROTOCOL.u2f (security keys).
"""

from __future__ import annotations

import hmac
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from limpet.crypto.errors import BadKeyError

MIN_RSA_BITS = 2048
"""Smallest RSA modulus, in bits (NIST SP 800-131A: 112 bits of security)."""

MAX_RSA_BITS = 16384
"""Largest RSA modulus, in bits (OpenSSH's SSHBUF_MAX_BIGNUM): bounds the cost of one signature."""

MAX_RSA_EXPONENT_BITS = 32
"""Largest public exponent, in bits: keeps verification cheap; every real key uses 65537 or less."""

DSA_SUBGROUP_BITS = 160
"""The only subgroup size that ssh-dss has (RFC 4253 section 6.6: r and s are 160 bits each)."""

MIN_DSA_BITS = 1024
MAX_DSA_BITS = 3072
"""Sizes of a DSA modulus; ssh-dss is legacy and only used where it is asked for by name."""

MAX_APPLICATION_LENGTH = 1024
"""Longest application string of a security key, in bytes (ours; real ones are like `ssh:work`)."""

APPLICATION_PREFIX = b"ssh:"
"""How the application of every key made for SSH begins (PROTOCOL.u2f)."""

ED25519_KEY_SIZE = 32

PublicKeyObject: TypeAlias = (
    rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
)
PrivateKeyObject: TypeAlias = (
    rsa.RSAPrivateKey | dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
)
KeyObject: TypeAlias = PublicKeyObject | PrivateKeyObject

# These are abstract base classes, dear to ask about, so the commonest kind stands first.
PUBLIC_KEY_CLASSES = (
    ed25519.Ed25519PublicKey,
    ec.EllipticCurvePublicKey,
    rsa.RSAPublicKey,
    dsa.DSAPublicKey,
)
PRIVATE_KEY_CLASSES = (
    ed25519.Ed25519PrivateKey,
    ec.EllipticCurvePrivateKey,
    rsa.RSAPrivateKey,
    dsa.DSAPrivateKey,
)


class KeyMaterial(NamedTuple):
    """A checked key, as a file or a message held it.

    Attributes:
        keyObject: The public or private key object of `cryptography`.
        application: The application of a security key, None for every other key.
        comment: The comment that stood beside the key, b"" where there was none.
    """

    keyObject: KeyObject
    application: bytes | None = None
    comment: bytes = b""


# ── Curves ────────────────────────────────────────────────────────────────────────────────────


class Curve(NamedTuple):
    """One curve of RFC 5656.

    Attributes:
        name: Its name on the wire, "nistp256".
        curve: The object that names it in `cryptography`.
        order: The order of its base point.
        size: The length of a coordinate, in bytes.
    """

    name: bytes
    curve: ec.EllipticCurve
    order: int
    size: int

    @property
    def keyType(self) -> bytes:
        """The key type on this curve: "ecdsa-sha2-nistp256"."""
        return b"ecdsa-sha2-" + self.name


# The orders are those of SEC 2, sections 2.4.2, 2.5.1 and 2.6.1.
CURVES: dict[bytes, Curve] = {
    curve.name: curve
    for curve in (
        Curve(
            b"nistp256",
            ec.SECP256R1(),
            0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
            32,
        ),
        Curve(
            b"nistp384",
            ec.SECP384R1(),
            0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_C7634D81_F4372DDF_581A0DB2_48B0A77A_ECEC196A_CCC52973,
            48,
        ),
        Curve(
            b"nistp521",
            ec.SECP521R1(),
            0x1FF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFA_51868783_BF2F966B_7FCC0148_F709A5D0_3BB5C9B8_899C47AE_BB6FB71E_91386409,
            66,
        ),
    )
}

_CURVES_BY_CLASS = {type(curve.curve): curve for curve in CURVES.values()}


def curveOf(keyObject: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) -> Curve:
    """The curve of a key object; a curve that SSH has no name for raises BadKeyError."""
    curve = _CURVES_BY_CLASS.get(type(keyObject.curve))
    if curve is None:
        raise BadKeyError(f"SSH has no ECDSA keys on the curve {keyObject.curve.name}")
    return curve


def ecPublic(curveName: bytes, point: bytes) -> ec.EllipticCurvePublicKey:
    """A public key from the name of its curve and an uncompressed point (SEC 1, 2.3.3)."""
    curve = CURVES.get(curveName)
    if curve is None:
        raise BadKeyError("an ECDSA key on a curve that we do not know")
    # cryptography reads compressed points too; RFC 5656 allows them, no peer sends them, and one
    # encoding per key keeps comparison of blobs a comparison of keys.
    if len(point) != 1 + 2 * curve.size or point[0] != 4:
        raise BadKeyError("an ECDSA point that is not an uncompressed point of its curve")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve.curve, point)
    except ValueError:
        raise BadKeyError("an ECDSA point that is not on its curve") from None


def ecPrivate(curveName: bytes, point: bytes, scalar: int) -> ec.EllipticCurvePrivateKey:
    """A private key from its scalar; it has to belong to `point`."""
    public = ecPublic(curveName, point)
    curve = CURVES[curveName]
    if not 0 < scalar < curve.order:
        raise BadKeyError("an ECDSA private number outside the range of its curve")
    private = ec.derive_private_key(scalar, curve.curve)
    if ecPoint(private.public_key()) != ecPoint(public):
        raise BadKeyError("the private half of an ECDSA key does not belong to its public half")
    return private


def ecPoint(public: ec.EllipticCurvePublicKey) -> bytes:
    """The uncompressed encoding of a public key's point."""
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


# ── Ed25519 ───────────────────────────────────────────────────────────────────────────────────

_FIELD_PRIME = 2**255 - 19

# y-coordinates of the eight points whose order divides 8 (each x sign has its own encoding, and
# both are refused). Anybody can make signatures that verify under such a "key".
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "little",
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            "little",
        ),
    }
)


def ed25519Public(raw: bytes) -> ed25519.Ed25519PublicKey:
    """A public key from its 32 bytes, which have to be canonical and not of small order."""
    if len(raw) != ED25519_KEY_SIZE:
        raise BadKeyError(f"an Ed25519 public key of {len(raw)} bytes instead of 32")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME:
        raise BadKeyError("an Ed25519 public key that is not canonically encoded")
    if y in _SMALL_ORDER_Y:
        raise BadKeyError("an Ed25519 public key of small order")
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def ed25519Private(public: bytes, seed: bytes) -> ed25519.Ed25519PrivateKey:
    """A private key from its 32-byte seed; it has to belong to `public`."""
    if len(seed) != ED25519_KEY_SIZE:
        raise BadKeyError(f"an Ed25519 private key of {len(seed)} bytes instead of 32")
    private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    if not hmac.compare_digest(ed25519Point(private.public_key()), public):
        raise BadKeyError("the private half of an Ed25519 key does not belong to its public half")
    return private


def ed25519Point(public: ed25519.Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def ed25519Seed(private: ed25519.Ed25519PrivateKey) -> bytes:
    """The 32 secret bytes of a private key."""
    return private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


# ── RSA ───────────────────────────────────────────────────────────────────────────────────────


def checkRSA(n: int, e: int) -> None:
    """Raise BadKeyError where a modulus or a public exponent is not one that we accept."""
    bits = n.bit_length()
    if bits < MIN_RSA_BITS:
        raise BadKeyError(f"an RSA key of {bits} bits; {MIN_RSA_BITS} bits are the least we accept")
    if bits > MAX_RSA_BITS:
        raise BadKeyError(f"an RSA key of {bits} bits; {MAX_RSA_BITS} bits are the most we accept")
    if not n & 1:
        raise BadKeyError("an RSA key with an even modulus")
    if e < 3 or not e & 1 or e.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise BadKeyError("an RSA key with a public exponent that is even, too small or too large")


def rsaPublic(n: int, e: int) -> rsa.RSAPublicKey:
    """A public key from its modulus and exponent."""
    checkRSA(n, e)
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise BadKeyError("an RSA key whose numbers do not fit together") from None


def rsaPrivate(n: int, e: int, d: int, p: int, q: int) -> rsa.RSAPrivateKey:
    """A private key from its numbers; the coefficients are computed, never believed.

    Whether p and q are primes is not looked into: OpenSSL's test of that takes half a second for
    3072 bits, and two minutes for 14,000. With numbers that are none the signatures come out
    wrong, and such are withheld (`signatures.makeSignature`).
    """
    checkRSA(n, e)
    if p < 3 or q < 3 or p == q or p * q != n:
        raise BadKeyError("an RSA key whose primes do not give its modulus")
    if not 1 < d < n:
        raise BadKeyError("an RSA key with a private exponent outside its range")
    if (e * d - 1) % (p - 1) or (e * d - 1) % (q - 1):
        raise BadKeyError("an RSA key whose private exponent does not belong to its primes")
    # A file may have the primes in either order; the coefficient below is for the larger first.
    if p < q:
        p, q = q, p
    try:
        numbers = rsa.RSAPrivateNumbers(
            p=p,
            q=q,
            d=d,
            dmp1=d % (p - 1),
            dmq1=d % (q - 1),
            iqmp=pow(q, -1, p),
            public_numbers=rsa.RSAPublicNumbers(e, n),
        )
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError:
        raise BadKeyError("an RSA key whose private numbers do not fit together") from None


class RSAParts(NamedTuple):
    """The numbers of an RSA private key, the larger prime first; all but n and e are secrets."""

    n: int
    e: int
    d: int
    larger: int
    smaller: int

    @property
    def smallerInverse(self) -> int:
        """The inverse of the smaller prime modulo the larger one."""
        return pow(self.smaller, -1, self.larger)


def rsaParts(private: rsa.RSAPrivateKey) -> RSAParts:
    """The numbers of a private key in an order that does not depend on the file it came from."""
    numbers = private.private_numbers()
    smaller, larger = sorted((numbers.p, numbers.q))
    public = numbers.public_numbers
    return RSAParts(public.n, public.e, numbers.d, larger, smaller)


# ── DSA, legacy ───────────────────────────────────────────────────────────────────────────────


def checkDSA(p: int, q: int, g: int, y: int) -> None:
    """Raise BadKeyError where the numbers of a DSA key are not those of an ssh-dss key."""
    if not MIN_DSA_BITS <= p.bit_length() <= MAX_DSA_BITS or not p & 1:
        raise BadKeyError(f"a DSA key of {p.bit_length()} bits; {MIN_DSA_BITS} are expected")
    if q.bit_length() != DSA_SUBGROUP_BITS:
        raise BadKeyError("a DSA key with a subgroup that ssh-dss does not have")
    if not 1 < g < p - 1 or not 1 < y < p - 1 or pow(y, q, p) != 1:
        raise BadKeyError("a DSA key whose numbers do not fit together")


def dsaPublic(p: int, q: int, g: int, y: int) -> dsa.DSAPublicKey:
    """A public key from its group and its public number."""
    checkDSA(p, q, g, y)
    try:
        return dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadKeyError("a DSA key that cannot be used here") from None


def dsaPrivate(p: int, q: int, g: int, y: int, x: int) -> dsa.DSAPrivateKey:
    """A private key from its group, its public and its private number."""
    checkDSA(p, q, g, y)
    if not 0 < x < q or pow(g, x, p) != y:
        raise BadKeyError("the private half of a DSA key does not belong to its public half")
    numbers = dsa.DSAPrivateNumbers(x, dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)))
    try:
        return numbers.private_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadKeyError("a DSA key that cannot be used here") from None


# ── Any key ───────────────────────────────────────────────────────────────────────────────────


def checkApplication(application: bytes) -> bytes:
    """`application` itself, where a security key for SSH may have it. Else raises BadKeyError."""
    if len(application) > MAX_APPLICATION_LENGTH or not application.startswith(APPLICATION_PREFIX):
        raise BadKeyError("a security key that was not made for SSH")
    return application


def publicOf(keyObject: KeyObject) -> PublicKeyObject:
    """The public half of a key object; a public key is its own."""
    if isinstance(keyObject, PUBLIC_KEY_CLASSES):
        return keyObject
    return keyObject.public_key()


def checkKeyObject(keyObject: KeyObject) -> None:
    """Put a key object that was made elsewhere through the checks of this module.

    Raises:
        BadKeyError: The key is too weak or damaged.
        TypeError: It is no key object that SSH has a use for.
    """
    if not isinstance(keyObject, PUBLIC_KEY_CLASSES + PRIVATE_KEY_CLASSES):
        raise TypeError(f"not an RSA, DSA, EC or Ed25519 key object: {type(keyObject).__name__}")
    public = publicOf(keyObject)
    if isinstance(public, rsa.RSAPublicKey):
        rsaNumbers = public.public_numbers()
        checkRSA(rsaNumbers.n, rsaNumbers.e)
    elif isinstance(public, dsa.DSAPublicKey):
        dsaNumbers = public.public_numbers()
        group = dsaNumbers.parameter_numbers
        checkDSA(group.p, group.q, group.g, dsaNumbers.y)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        curveOf(public)
    else:
        ed25519Public(ed25519Point(public))
