"""Keys in PEM as OpenSSL writes them: PKCS#1, SEC 1, PKCS#8, encrypted or not.

Rule: `cryptography` reads the ASN.1; the key passes through the checks of `material` afterwards.
Before an encrypted key is opened, the work that it asks for is bounded.

RFC 7468 (PEM), RFC 8017 appendix A (RSA), RFC 5915 (EC), RFC 5958 (PKCS#8), RFC 8410 (Ed25519),
RFC 8018 (encryption by passphrase), RFC 7914 section 7 (scrypt).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
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
from limpet.crypto.keyformats import armor
from limpet.crypto.material import (
    PRIVATE_KEY_CLASSES,
    PUBLIC_KEY_CLASSES,
    KeyMaterial,
    PrivateKeyObject,
    PublicKeyObject,
)

MAX_ITERATIONS = 10_000_000
"""Most iterations that an encrypted key may ask for (ours): a few seconds of PBKDF2."""

MAX_SCRYPT_WORK = 1 << 21
"""Largest product of N, r and p of scrypt (ours): 256 MiB of memory."""

MAX_DER_DEPTH = 8
"""How deep the description of an encryption is nested at most; PBES2 needs four levels."""

PKCS8_ENCRYPTED_BEGIN = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
PKCS8_ENCRYPTED_END = b"-----END ENCRYPTED PRIVATE KEY-----"

_ENCRYPTED_MARKS = (b"-----BEGIN ENCRYPTED ", b"\nProc-Type: 4,ENCRYPTED")

_SCRYPT = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_SEQUENCE = 0x30
_INTEGER = 0x02


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
    if text.startswith(PKCS8_ENCRYPTED_BEGIN):
        _checkWork(text)
    try:
        keyObject = load_pem_private_key(text, passphrase, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The words of the library are left out: which check failed is of no use to a person.
        hint = " or the passphrase is wrong" if encrypted else ""
        raise BadKeyError(
            f"the private key is damaged, or weak, or of an unknown kind{hint}"
        ) from None
    if not isinstance(keyObject, PRIVATE_KEY_CLASSES):
        raise BadKeyError("a private key of a kind that SSH has no name for")
    if isinstance(keyObject, rsa.RSAPrivateKey):
        # As with the numbers of any other form, by our own checks.
        parts = keyObject.private_numbers()
        public = parts.public_numbers
        keyObject = material.rsaPrivate(public.n, public.e, parts.d, parts.p, parts.q)
    material.checkKeyObject(keyObject)
    return KeyMaterial(keyObject)


def _checkWork(text: bytes) -> None:
    """Raise BadKeyError where opening an encrypted PKCS#8 key costs too much."""
    lines = armor.unwrap(text, PKCS8_ENCRYPTED_BEGIN, PKCS8_ENCRYPTED_END)
    # EncryptedPrivateKeyInfo: a sequence of the encryption's description and an octet string. The
    # description's integers are iterations, or N, r and p of scrypt, and maybe a key length.
    info = armor.decodeBase64(b"".join(lines))
    numbers = list(_derIntegers(info, MAX_DER_DEPTH))
    if _SCRYPT in info:
        tooMuch = math.prod(numbers[:3]) > MAX_SCRYPT_WORK
    else:
        tooMuch = any(number > MAX_ITERATIONS for number in numbers)
    if tooMuch:
        raise BadKeyError("an encrypted key that asks for more work than we do")


def _derIntegers(data: bytes, depth: int) -> Iterator[int]:
    """All integers in the sequences of `data`, however deep."""
    if not depth:
        raise BadKeyError("a private key whose encryption is described too deeply")
    for tag, body in _derParts(data):
        if tag == _INTEGER:
            yield int.from_bytes(body, "big")
        elif tag == _SEQUENCE:
            yield from _derIntegers(body, depth - 1)


def _derParts(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of the DER values that `data` is made of (ITU-T X.690 section 8.1)."""
    parts = []
    at = 0
    while at < len(data):
        tag, length, at = data[at], int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise BadKeyError("a private key that is not whole")
        parts.append((tag, data[at : at + length]))
        at += length
    return parts


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
