"""Private and public keys in PEM as OpenSSL writes them: PKCS#1, SEC 1, PKCS#8, encrypted or not.

Rule: `cryptography` reads the ASN.1; the key passes through the checks of `material` afterwards.

RFC 7468 (PEM), RFC 8017 appendix A (RSA), RFC 5915 (EC), RFC 5958 (PKCS#8), RFC 8410 (Ed25519).
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.material import PRIVATE_KEY_CLASSES, KeyMaterial

_ENCRYPTED_MARKS = (b"ENCRYPTED", b"Proc-Type:")


def decodePrivate(data: bytes, passphrase: bytes | None) -> KeyMaterial:
    """Read a private key in PEM."""
    encrypted = any(mark in data[:256] for mark in _ENCRYPTED_MARKS)
    if encrypted and not passphrase:
        raise EncryptedKeyError("the key is encrypted and needs its passphrase")
    if passphrase and not encrypted:
        raise BadKeyError("a passphrase for a key that is not encrypted")
    try:
        keyObject = load_pem_private_key(data.strip() + b"\n", passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        hint = " (or the passphrase is wrong)" if encrypted else ""
        raise BadKeyError(f"a damaged private key{hint}") from None
    if not isinstance(keyObject, PRIVATE_KEY_CLASSES):
        raise BadKeyError("a private key of a kind that SSH has no name for")
    material.checkKeyObject(keyObject)
    return KeyMaterial(keyObject)
