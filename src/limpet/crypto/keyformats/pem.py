"""Keys in PEM as OpenSSL writes them: PKCS#1, SEC 1, PKCS#8, encrypted or not.

Rule: `cryptography` reads the ASN.1; the key passes through the checks of `material` afterwards.

RFC 7468 (PEM), RFC 8017 appendix A (RSA), RFC 5915 (EC), RFC 5958 (PKCS#8), RFC 8410 (Ed25519).
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.material import (
    PRIVATE_KEY_CLASSES,
    PUBLIC_KEY_CLASSES,
    KeyMaterial,
    PrivateKeyObject,
    PublicKeyObject,
)

_ENCRYPTED_MARKS = (b"-----BEGIN ENCRYPTED ", b"\nProc-Type: 4,ENCRYPTED")


def decodePrivate(data: bytes, passphrase: bytes | None) -> KeyMaterial:
    """Read a private key.

    Raises:
        BadKeyError: It is damaged, one that we do not accept, or the passphrase is wrong.
        EncryptedKeyError: It is encrypted and there is no passphrase.
    """
    text = _normalLines(data)
    encrypted = any(mark in text for mark in _ENCRYPTED_MARKS)
    if encrypted and not passphrase:
        raise EncryptedKeyError("the key is encrypted and needs its passphrase")
    if passphrase and not encrypted:
        raise BadKeyError("a passphrase for a key that is not encrypted")
    try:
        keyObject = load_pem_private_key(text, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The words of the library are left out: which check failed is of no use to a person.
        hint = " or the passphrase is wrong" if encrypted else ""
        raise BadKeyError(
            f"the private key is damaged, or weak, or of an unknown kind{hint}"
        ) from None
    if not isinstance(keyObject, PRIVATE_KEY_CLASSES):
        raise BadKeyError("a private key of a kind that SSH has no name for")
    material.checkKeyObject(keyObject)
    return KeyMaterial(keyObject)


def decodePublic(data: bytes) -> KeyMaterial:
    """Read a public key: SubjectPublicKeyInfo, or RSA's own form.

    Raises:
        BadKeyError: It is damaged, or one that we do not accept.
    """
    try:
        keyObject = load_pem_public_key(_normalLines(data))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKeyError("the public key is damaged, or of an unknown kind") from None
    if not isinstance(keyObject, PUBLIC_KEY_CLASSES):
        raise BadKeyError("a public key of a kind that SSH has no name for")
    material.checkKeyObject(keyObject)
    return KeyMaterial(keyObject)


def _normalLines(data: bytes) -> bytes:
    """The file with plain line ends and without white space around its lines."""
    return b"\n".join(line.strip() for line in data.strip().splitlines()) + b"\n"


def encodePrivate(private: PrivateKeyObject, passphrase: bytes | None, *, pkcs8: bool) -> bytes:
    """A private key file in PKCS#8, or in the older form of its family.

    The encryption of the older form is weak (one MD5 between the passphrase and the key); it is
    there for programs that read nothing else.

    Raises:
        ValueError: An Ed25519 key, which has no older form.
    """
    if not pkcs8 and isinstance(private, ed25519.Ed25519PrivateKey):
        raise ValueError("there is no PEM form of its own for Ed25519; PKCS8 and v1 have one")
    form = PrivateFormat.PKCS8 if pkcs8 else PrivateFormat.TraditionalOpenSSL
    encryption: KeySerializationEncryption = (
        BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    )
    return private.private_bytes(Encoding.PEM, form, encryption)


def encodePublic(public: PublicKeyObject) -> bytes:
    """A public key file with the key as SubjectPublicKeyInfo."""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
