"""The numbers of a key by name, as Conch's `Key.data` documents them.

Rule: for programs that take keys apart; nothing in Limpet does. What a private key gives is secret.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from limpet.crypto import material
from limpet.crypto.material import KeyObject


def numbersOf(keyObject: KeyObject, sshType: bytes) -> dict[str, Any]:
    """The numbers of a key object.

    Args:
        keyObject: The key.
        sshType: Its type in SSH, which an EC key has as its "curve".
    """
    public = material.publicOf(keyObject)
    numbers: dict[str, Any]
    if isinstance(public, rsa.RSAPublicKey):
        rsaNumbers = public.public_numbers()
        numbers = {"n": rsaNumbers.n, "e": rsaNumbers.e}
        if isinstance(keyObject, rsa.RSAPrivateKey):
            parts = material.rsaParts(keyObject)
            # The names are those of SSH's older private key form: p is the prime that is inverted.
            numbers |= {
                "d": parts.d,
                "p": parts.smaller,
                "q": parts.larger,
                "u": parts.smallerInverse,
            }
    elif isinstance(public, dsa.DSAPublicKey):
        dsaNumbers = public.public_numbers()
        group = dsaNumbers.parameter_numbers
        numbers = {"y": dsaNumbers.y, "g": group.g, "p": group.p, "q": group.q}
        if isinstance(keyObject, dsa.DSAPrivateKey):
            numbers["x"] = keyObject.private_numbers().x
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        numbers = {"x": point.x, "y": point.y, "curve": sshType}
        if isinstance(keyObject, ec.EllipticCurvePrivateKey):
            numbers["privateValue"] = keyObject.private_numbers().private_value
    else:
        numbers = {"a": material.ed25519Point(public)}
        if isinstance(keyObject, ed25519.Ed25519PrivateKey):
            numbers["k"] = material.ed25519Seed(keyObject)
    return numbers
