"""PuTTY's private key file, .ppk, versions 2 and 3; read only.

    PuTTY-User-Key-File-3: ssh-ed25519
    Encryption: aes256-cbc
    Comment: me@here
    Public-Lines: 2
    AAAAC3NzaC1lZDI1NTE5AAAA...
    Key-Derivation: Argon2id           these five in version 3, where the key is encrypted
    Argon2-Memory: 8192                KiB
    Argon2-Passes: 13
    Argon2-Parallelism: 1
    Argon2-Salt: 5f0a...
    Private-Lines: 1
    AAAAIDUwQe5g...
    Private-MAC: bbd0797f...

Rule: nothing of the private part is used before the MAC over the whole file is right, and what the
file asks for is bounded before it is done.

PuTTY's manual, appendix C, "PPK file format".
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2d, Argon2i, Argon2id

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.keyformats import armor, publicblob
from limpet.crypto.material import KeyMaterial
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader

BEGIN = b"PuTTY-User-Key-File-"

MAX_ARGON2_MEMORY = 262_144
"""Most memory that a file may ask for, in KiB (ours; puttygen asks for 8,192)."""

MAX_ARGON2_WORK = 4_194_304
"""Largest product of memory and passes (ours): a few seconds; puttygen's own is about 100,000."""

MAX_ARGON2_LANES = 64
"""Most parallelism that a file may ask for (ours; puttygen asks for 1)."""

MAX_LINES = 1000
"""Most lines of Base64 of one part (ours; an RSA-16384 key has about 120)."""

_DERIVATIONS: dict[bytes, type[Argon2id] | type[Argon2i] | type[Argon2d]] = {
    b"Argon2id": Argon2id,
    b"Argon2i": Argon2i,
    b"Argon2d": Argon2d,
}

_CIPHER_KEY, _IV, _MAC_KEY = 32, 16, 32


class _File(NamedTuple):
    """The parts of a file as they stand in it."""

    version: int
    keyType: bytes
    encryption: bytes
    comment: bytes
    public: bytes
    private: bytes
    mac: bytes
    derivation: dict[bytes, bytes]


def decode(data: bytes, passphrase: bytes | None) -> KeyMaterial:
    """Read a private key file.

    Raises:
        BadKeyError: It is damaged, holds a key that we do not accept, or the passphrase is wrong.
        EncryptedKeyError: It is encrypted and there is no passphrase.
    """
    file = _parse(data)
    if file.encryption == b"none":
        if passphrase:
            raise BadKeyError("a passphrase for a key that is not encrypted")
        wrong = "the private key file is damaged"
        secret = b""
    elif file.encryption == b"aes256-cbc":
        if not passphrase:
            raise EncryptedKeyError("the key is encrypted and needs its passphrase")
        if not file.private or len(file.private) % 16:
            raise BadKeyError("a private key file whose private part is not whole")
        wrong = "the private key file is damaged or the passphrase is wrong"
        secret = passphrase
    else:
        raise BadKeyError("a private key file with a cipher that we do not know")
    cipherKey, iv, macKey, digest = _derive(file, secret)
    plain = file.private
    if secret:
        plain = Cipher(algorithms.AES(cipherKey), modes.CBC(iv)).decryptor().update(plain)
    parts = (file.keyType, file.encryption, file.comment, file.public, plain)
    mac = hmac.digest(macKey, b"".join(map(NS, parts)), digest)
    if not hmac.compare_digest(mac, file.mac):
        raise BadKeyError(wrong)
    try:
        return _decodeKey(file, plain)
    except BadKeyError:
        raise
    except WireError as error:
        raise BadKeyError(f"a damaged private key: {error}") from None


def _parse(data: bytes) -> _File:
    lines = [line.rstrip(b"\r") for line in data.strip().split(b"\n")]
    fields: dict[bytes, bytes] = {}
    blocks: dict[bytes, bytes] = {}
    at = 0
    while at < len(lines):
        name, colon, value = lines[at].partition(b": ")
        at += 1
        if not colon or name in fields:
            raise BadKeyError("a damaged private key file")
        fields[name] = value
        if name in (b"Public-Lines", b"Private-Lines"):
            count = _number(value, MAX_LINES)
            blocks[name] = armor.decodeBase64(b"".join(lines[at : at + count]))
            at += count
    try:
        (first,) = (name for name in fields if name.startswith(BEGIN))
        version = _number(first.removeprefix(BEGIN), 99)
        if version not in (2, 3):
            raise BadKeyError(f"a PuTTY key file of version {version}; we read 2 and 3")
        return _File(
            version=version,
            keyType=fields[first],
            encryption=fields[b"Encryption"],
            comment=fields[b"Comment"],
            public=blocks[b"Public-Lines"],
            private=blocks[b"Private-Lines"],
            mac=_hex(fields[b"Private-MAC"]),
            derivation=fields,
        )
    except (KeyError, ValueError) as error:
        if isinstance(error, BadKeyError):
            raise
        raise BadKeyError("a private key file without one of its fields") from None


def _number(text: bytes, limit: int) -> int:
    if not text.isdigit() or len(text) > 10 or int(text) > limit:
        raise BadKeyError("a private key file with a number that is none, or too large")
    return int(text)


def _hex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise BadKeyError("a damaged private key file") from None


def _derive(file: _File, secret: bytes) -> tuple[bytes, bytes, bytes, str]:
    """Cipher key, initialisation vector, MAC key, and the MAC's hash."""
    if file.version == 2:
        stretched = b"".join(
            hashlib.sha1(bytes((0, 0, 0, number)) + secret, usedforsecurity=False).digest()
            for number in (0, 1)
        )
        macKey = hashlib.sha1(b"putty-private-key-file-mac-key" + secret, usedforsecurity=False)
        return stretched[:_CIPHER_KEY], bytes(_IV), macKey.digest(), "sha1"
    if not secret:
        return b"", b"", b"", "sha256"
    fields = file.derivation
    derivation = _DERIVATIONS.get(fields.get(b"Key-Derivation", b""))
    if derivation is None:
        raise BadKeyError("a private key file with a key derivation that we do not know")
    try:
        memory = _number(fields[b"Argon2-Memory"], MAX_ARGON2_MEMORY)
        passes = _number(fields[b"Argon2-Passes"], MAX_ARGON2_WORK)
        lanes = _number(fields[b"Argon2-Parallelism"], MAX_ARGON2_LANES)
        salt = _hex(fields[b"Argon2-Salt"])
    except KeyError:
        raise BadKeyError("a private key file without one of its fields") from None
    if memory * passes > MAX_ARGON2_WORK:
        raise BadKeyError("a private key file that asks for more work than we do")
    try:
        derived = derivation(
            salt=salt,
            length=_CIPHER_KEY + _IV + _MAC_KEY,
            iterations=passes,
            lanes=lanes,
            memory_cost=memory,
        ).derive(secret)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKeyError("a private key file with a key derivation that we cannot do") from None
    rest = derived[_CIPHER_KEY:]
    return derived[:_CIPHER_KEY], rest[:_IV], rest[_IV:], "sha256"


def _decodeKey(file: _File, plain: bytes) -> KeyMaterial:
    """Put the halves together; the private part ends in padding where it was encrypted."""
    found = publicblob.decode(file.public)
    public = found.keyObject
    if publicblob.keyType(public, found.application) != file.keyType:
        raise BadKeyError("a private key file whose type and key differ")
    if found.application is not None:
        raise BadKeyError("the private half of this key is in a security key")
    reader = Reader(plain)
    if file.keyType == publicblob.ED25519:
        point = Reader(publicblob.encodeFields(public)).string()
        private: material.PrivateKeyObject = material.ed25519Private(point, reader.string())
    elif file.keyType in publicblob.EC_KEY_TYPES:
        fields = Reader(publicblob.encodeFields(public))
        private = material.ecPrivate(fields.string(), fields.string(), reader.mpint())
    elif isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        d, p, q, _ = (reader.mpint() for _ in range(4))
        private = material.rsaPrivate(numbers.n, numbers.e, d, p, q)
    elif isinstance(public, dsa.DSAPublicKey):
        dsaNumbers = public.public_numbers()
        group = dsaNumbers.parameter_numbers
        private = material.dsaPrivate(group.p, group.q, group.g, dsaNumbers.y, reader.mpint())
    else:
        raise BadKeyError("a private key file with a key of a type that we do not know")
    if reader.remaining >= (16 if file.encryption != b"none" else 1):
        raise BadKeyError("a private key file with something after the key")
    return KeyMaterial(private, comment=file.comment)
