"""Agreeing on a secret over an open line: X25519, ECDH, finite-field Diffie-Hellman, ML-KEM-768.

Rule: a value of the peer is checked for its exact length and form before the cryptographic library
sees it, and every way in which it can be wrong raises `AgreementError`. A key pair serves one
exchange. Private values come from `entropy`, except where the library makes its own and taking ours
would cost twice the time (the NIST curves) or is not possible (the known groups, encapsulation).
RFC 4253 section 8, RFC 5656 section 4, RFC 7748, RFC 8731 section 3, FIPS 203.
"""

from __future__ import annotations

import warnings
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from limpet.crypto import entropy, groups

try:
    with warnings.catch_warnings():
        # cryptography 48 and later announce that this module will go some day. It is 10 to 20 times
        # as fast as pow(), which takes over on that day.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        from cryptography.hazmat.primitives.asymmetric import dh

        _fastNumbers: Any = dh.DHParameterNumbers
        _fastPublic: Any = dh.DHPublicNumbers
except (ImportError, AttributeError):
    _fastNumbers = _fastPublic = None

X25519_LENGTH = 32
"""Bytes of a public value and of a secret of X25519 (RFC 7748 section 5)."""

MLKEM_PUBLIC_LENGTH = 1184
"""Bytes of an ML-KEM-768 encapsulation key (FIPS 203 table 3)."""

MLKEM_CIPHERTEXT_LENGTH = 1088
"""Bytes of an ML-KEM-768 ciphertext (FIPS 203 table 3)."""

MLKEM_SEED_LENGTH = 64
"""Bytes of the seed that an ML-KEM key pair is made from (FIPS 203 section 7.1)."""

MIN_SET_BITS = 4
"""Bits that have to be set in a public value of Diffie-Hellman (OpenSSH's dh_pub_is_valid)."""

_UNCOMPRESSED = 0x04
"""First byte of a point in uncompressed form (SEC 1 section 2.3.3)."""


class AgreementError(ValueError):
    """The peer's public value is not acceptable."""


class X25519:
    """A key pair of X25519.

    Attributes:
        publicValue: Our public value, 32 bytes.
    """

    __slots__ = ("_private", "publicValue")

    def __init__(self) -> None:
        self._private = X25519PrivateKey.from_private_bytes(entropy.randomBytes(X25519_LENGTH))
        self.publicValue = self._private.public_key().public_bytes_raw()

    def agree(self, peerValue: bytes) -> bytes:
        """The shared secret, 32 bytes.

        Raises:
            AgreementError: The value has another length, or is a point of low order, for which the
                secret would be zero (RFC 8731 section 3).
        """
        if len(peerValue) != X25519_LENGTH:
            raise AgreementError(f"an X25519 value of {len(peerValue)} bytes")
        try:
            secret = self._private.exchange(X25519PublicKey.from_public_bytes(peerValue))
        except ValueError:
            raise AgreementError("an X25519 value of low order") from None
        # OpenSSL has refused it by now; a library that does not must not get through here.
        if not any(secret):
            raise AgreementError("an X25519 value of low order")
        return secret


CURVES: dict[str, ec.EllipticCurve] = {
    "nistp256": ec.SECP256R1(),
    "nistp384": ec.SECP384R1(),
    "nistp521": ec.SECP521R1(),
}
"""The curves of RFC 5656 section 10.1 that every implementation has to know."""


class ECDH:
    """A key pair on one of `CURVES`.

    Attributes:
        publicValue: Our point in uncompressed form.
    """

    __slots__ = ("_curve", "_length", "_private", "publicValue")

    def __init__(self, curveName: str) -> None:
        self._curve = CURVES[curveName]
        self._length = 1 + 2 * ((self._curve.key_size + 7) // 8)
        self._private = ec.generate_private_key(self._curve)
        self.publicValue = self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    def agree(self, peerValue: bytes) -> bytes:
        """The shared secret: the x coordinate, as long as a coordinate of the curve.

        Raises:
            AgreementError: The point is not in uncompressed form, or not on the curve. Compressed
                points are allowed by RFC 5656 but nobody sends them.
        """
        if len(peerValue) != self._length or peerValue[0] != _UNCOMPRESSED:
            raise AgreementError("a point that is not in this curve's uncompressed form")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, peerValue)
            return self._private.exchange(ec.ECDH(), point)
        except ValueError:
            raise AgreementError("a point that is not on the curve") from None


class DiffieHellman:
    """A key pair in a finite-field group.

    Attributes:
        publicValue: Our public value, a number.
    """

    __slots__ = ("_exponent", "_group", "_numbers", "_private", "publicValue")

    def __init__(self, group: groups.Group) -> None:
        self._group = group
        self._private: Any = None
        self._exponent = 0
        # Of any other group OpenSSL first checks that its prime is one, at 0.2 to 20 seconds.
        if _fastNumbers is not None and groups.isKnown(group):
            self._numbers = _fastNumbers(group.prime, group.generator)
            self._private = self._numbers.parameters().generate_private_key()
            self.publicValue: int = self._private.public_key().public_numbers().y
        else:
            self._exponent = _randomExponent(group.sizeBits)
            self.publicValue = pow(group.generator, self._exponent, group.prime)

    def agree(self, peerValue: int) -> int:
        """The shared secret, a number.

        Raises:
            AgreementError: The value is not between 1 and p-1 (RFC 4253 section 8), or nearly all
                of its bits are zero.
        """
        prime = self._group.prime
        if not 1 < peerValue < prime - 1 or peerValue.bit_count() < MIN_SET_BITS:
            raise AgreementError("a Diffie-Hellman value outside its range")
        if self._private is None:
            return pow(peerValue, self._exponent, prime)
        try:
            public = _fastPublic(peerValue, self._numbers).public_key()
            return int.from_bytes(self._private.exchange(public), "big")
        except ValueError:
            raise AgreementError("a Diffie-Hellman value outside its range") from None


def _randomExponent(sizeBits: int) -> int:
    """A private exponent: twice the bits of the strongest cipher's key, less for small groups.

    RFC 3526 section 8 asks for 320 bits at 2048 and 620 at 8192; in the group of a safe prime
    a short exponent gives nothing away.
    """
    bits = 512 if sizeBits <= 4096 else 640
    return int.from_bytes(entropy.randomBytes(bits // 8), "big") | 1 << (bits - 1)


class MLKEM768:
    """The key pair of the side that decapsulates, the client.

    Attributes:
        publicValue: The encapsulation key, 1184 bytes.
    """

    __slots__ = ("_private", "publicValue")

    def __init__(self) -> None:
        seed = entropy.randomBytes(MLKEM_SEED_LENGTH)
        self._private = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)
        self.publicValue = self._private.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret, 32 bytes; of a ciphertext that was tampered with, some other bytes.

        Raises:
            AgreementError: The ciphertext has another length.
        """
        if len(ciphertext) != MLKEM_CIPHERTEXT_LENGTH:
            raise AgreementError(f"an ML-KEM ciphertext of {len(ciphertext)} bytes")
        return self._private.decapsulate(ciphertext)


def encapsulate(publicValue: bytes) -> tuple[bytes, bytes]:
    """Make a secret for the holder of an ML-KEM-768 key.

    Returns:
        The shared secret, 32 bytes, and the ciphertext that carries it, 1088 bytes.

    Raises:
        AgreementError: The key has another length, or a coefficient of it is not reduced (the
            modulus check of FIPS 203 section 7.2).
    """
    if len(publicValue) != MLKEM_PUBLIC_LENGTH:
        raise AgreementError(f"an ML-KEM key of {len(publicValue)} bytes")
    try:
        return mlkem.MLKEM768PublicKey.from_public_bytes(publicValue).encapsulate()
    except ValueError:
        raise AgreementError("an ML-KEM key that fails its check") from None


def _probeMLKEM() -> bool:
    try:
        mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes(MLKEM_SEED_LENGTH))
    except UnsupportedAlgorithm:
        return False
    return True


HAS_MLKEM = _probeMLKEM()
"""Whether this build of the cryptographic library has ML-KEM; it needs a recent OpenSSL."""
