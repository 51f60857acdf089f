"""OpenSSH's own private key file, "openssh-key-v1".

    "openssh-key-v1" NUL
    string   cipher          none, aes256-ctr, ...
    string   kdf             none or bcrypt
    string   kdf options     string salt, uint32 rounds; empty for none
    uint32   number of keys  1
    string   public key      its blob
    string   private part    encrypted
    byte[]   tag             of an authenticated cipher

    private part:  uint32 check, uint32 check (the same), private key, string comment,
                   and the bytes 1, 2, 3 ... up to a whole block

Rule: what a file asks for is bounded before it is done: its length, the rounds of its key
derivation. What we encrypt, we encrypt with aes256-ctr and bcrypt.

OpenSSH's PROTOCOL.key.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

import bcrypt
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

from limpet.crypto.entropy import randomBytes
from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.keyformats import armor, privateblob, publicblob
from limpet.crypto.material import KeyMaterial, PrivateKeyObject
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader, u32

BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
END = b"-----END OPENSSH PRIVATE KEY-----"
MAGIC = b"openssh-key-v1\x00"

ROUNDS = 24
"""Rounds of bcrypt for what we write (ssh-keygen's default since OpenSSH 9.4)."""

MAX_ROUNDS = 2048
"""Most rounds of bcrypt that a file may ask for (ours): about ten seconds; each 16 cost 0.1 s."""

MAX_SALT_LENGTH = 64
"""Longest salt of a file, in bytes (ours; real ones have 16)."""

SALT_LENGTH = 16

TAG_LENGTH = 16


class FileCipher(NamedTuple):
    """A cipher of key files.

    Attributes:
        keySize: Bytes of key.
        ivSize: Bytes of initialisation vector, derived with the key.
        blockSize: The private part is padded to a multiple of this.
        mode: "ctr", "cbc", "3des", "gcm", "chacha" or "none".
    """

    keySize: int
    ivSize: int
    blockSize: int
    mode: str


CIPHERS: dict[bytes, FileCipher] = {
    b"none": FileCipher(0, 0, 8, "none"),
    b"aes128-ctr": FileCipher(16, 16, 16, "ctr"),
    b"aes192-ctr": FileCipher(24, 16, 16, "ctr"),
    b"aes256-ctr": FileCipher(32, 16, 16, "ctr"),
    b"aes128-cbc": FileCipher(16, 16, 16, "cbc"),
    b"aes192-cbc": FileCipher(24, 16, 16, "cbc"),
    b"aes256-cbc": FileCipher(32, 16, 16, "cbc"),
    b"3des-cbc": FileCipher(24, 8, 8, "3des"),
    b"aes128-gcm@openssh.com": FileCipher(16, 12, 16, "gcm"),
    b"aes256-gcm@openssh.com": FileCipher(32, 12, 16, "gcm"),
    b"chacha20-poly1305@openssh.com": FileCipher(64, 0, 8, "chacha"),
}


def decode(data: bytes, passphrase: bytes | None) -> KeyMaterial:
    """Read a private key file.

    Raises:
        BadKeyError: It is damaged, holds a key that we do not accept, or the passphrase is wrong.
        EncryptedKeyError: It is encrypted and there is no passphrase.
    """
    body = armor.decodeBase64(b"".join(armor.unwrap(data, BEGIN, END)))
    try:
        return _decodeBody(body, passphrase)
    except BadKeyError:
        raise
    except WireError as error:
        raise BadKeyError(f"a damaged private key file: {error}") from None


def publicBlob(data: bytes) -> bytes:
    """The public key of a private key file, which needs no passphrase: it is not encrypted.

    Nothing vouches for it but the file; the private part holds it too, and `decode` compares.

    Raises:
        BadKeyError: It is not such a file.
    """
    body = armor.decodeBase64(b"".join(armor.unwrap(data, BEGIN, END)))
    if not body.startswith(MAGIC):
        raise BadKeyError("a private key file of another version than openssh-key-v1")
    try:
        reader = Reader(body, len(MAGIC))
        for _ in range(3):  # cipher, kdf, kdf options
            reader.string()
        keyCount = reader.u32()
        if keyCount != 1:
            raise BadKeyError(f"a private key file with {keyCount} keys; one is expected")
        return reader.string()
    except WireError as error:
        raise BadKeyError(f"a damaged private key file: {error}") from None


def _decodeBody(body: bytes, passphrase: bytes | None) -> KeyMaterial:
    if not body.startswith(MAGIC):
        raise BadKeyError("a private key file of another version than openssh-key-v1")
    reader = Reader(body, len(MAGIC))
    cipherName = reader.string(publicblob.MAX_TYPE_LENGTH)
    kdfName = reader.string(publicblob.MAX_TYPE_LENGTH)
    kdfOptions = reader.string()
    keyCount = reader.u32()
    if keyCount != 1:
        raise BadKeyError(f"a private key file with {keyCount} keys; one is expected")
    publicKey = reader.string()
    sealed = reader.string()
    tag = reader.rest()

    cipher = CIPHERS.get(cipherName)
    if cipher is None:
        name = publicblob.shown(cipherName)
        raise BadKeyError(f"a private key file with a cipher that we do not know: {name}")
    if (cipher.mode == "none") != (kdfName == b"none"):
        raise BadKeyError("a private key file that is neither encrypted nor plain")
    if len(tag) != (TAG_LENGTH if cipher.mode in ("gcm", "chacha") else 0):
        raise BadKeyError("a private key file with a tag of the wrong length")
    if not sealed or len(sealed) % cipher.blockSize:
        raise BadKeyError("a private key file whose private part is not whole")
    if cipher.mode == "none":
        if passphrase:
            raise BadKeyError("a passphrase for a key that is not encrypted")
        plain = sealed
    else:
        if not passphrase:
            raise EncryptedKeyError("the key is encrypted and needs its passphrase")
        key, iv = _derive(cipher, kdfName, kdfOptions, passphrase)
        plain = _open(cipher, key, iv, sealed, tag)
    return _decodePrivatePart(plain, publicKey, cipher)


def _decodePrivatePart(plain: bytes, publicKey: bytes, cipher: FileCipher) -> KeyMaterial:
    reader = Reader(plain)
    if not hmac.compare_digest(reader.take(4), reader.take(4)):
        hint = "" if cipher.mode == "none" else " or the passphrase is wrong"
        raise BadKeyError(f"the private key file is damaged{hint}")
    found = privateblob.decodeFields(reader)
    comment = reader.string()
    padding = reader.rest()
    if len(padding) >= cipher.blockSize or padding != bytes(range(1, len(padding) + 1)):
        raise BadKeyError("a private key file with damaged padding")
    if publicblob.encode(found.keyObject) != publicKey:
        raise BadKeyError("a private key file whose halves belong to different keys")
    return found._replace(comment=comment)


def encode(
    private: PrivateKeyObject, comment: bytes = b"", passphrase: bytes | None = None
) -> bytes:
    """A private key file; encrypted with aes256-ctr and bcrypt where there is a passphrase."""
    cipherName = b"aes256-ctr" if passphrase else b"none"
    cipher = CIPHERS[cipherName]
    check = randomBytes(4)
    plain = check + check + privateblob.encode(private) + NS(comment)
    plain += bytes(range(1, -len(plain) % cipher.blockSize + 1))
    if passphrase:
        kdfName = b"bcrypt"
        kdfOptions = NS(randomBytes(SALT_LENGTH)) + u32(ROUNDS)
        key, iv = _derive(cipher, kdfName, kdfOptions, passphrase)
        encryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
        sealed = encryptor.update(plain) + encryptor.finalize()
    else:
        kdfName, kdfOptions, sealed = b"none", b"", plain
    body = b"".join(
        (
            MAGIC,
            NS(cipherName),
            NS(kdfName),
            NS(kdfOptions),
            u32(1),
            NS(publicblob.encode(private)),
            NS(sealed),
        )
    )
    return armor.wrap(body, BEGIN, END)


def _derive(
    cipher: FileCipher, kdfName: bytes, kdfOptions: bytes, passphrase: bytes
) -> tuple[bytes, bytes]:
    """Key and initialisation vector from the passphrase."""
    if kdfName != b"bcrypt":
        name = publicblob.shown(kdfName)
        raise BadKeyError(f"a private key file with a key derivation that we do not know: {name}")
    reader = Reader(kdfOptions)
    salt = reader.string(MAX_SALT_LENGTH)
    rounds = reader.u32()
    reader.end()
    if not salt:
        raise BadKeyError("a private key file without a salt")
    if not 0 < rounds <= MAX_ROUNDS:
        raise BadKeyError(
            f"a private key file that asks for {rounds} rounds; {MAX_ROUNDS} are the most we do"
        )
    derived = bcrypt.kdf(
        passphrase, salt, cipher.keySize + cipher.ivSize, rounds, ignore_few_rounds=True
    )
    return derived[: cipher.keySize], derived[cipher.keySize :]


def _open(cipher: FileCipher, key: bytes, iv: bytes, sealed: bytes, tag: bytes) -> bytes:
    """Decrypt the private part."""
    wrong = "the private key file is damaged or the passphrase is wrong"
    if cipher.mode == "gcm":
        try:
            return AESGCM(key).decrypt(iv, sealed + tag, None)
        except InvalidTag:
            raise BadKeyError(wrong) from None
    if cipher.mode == "chacha":
        # As a packet with sequence number zero and no length field (PROTOCOL.chacha20poly1305):
        # the first half of the key is the payload's; block 0 of its stream is Poly1305's key.
        nonce = bytes(8)
        stream = Cipher(algorithms.ChaCha20(key[:32], bytes(8) + nonce), None).encryptor()
        authenticator = stream.update(bytes(64))[:32]
        try:
            Poly1305.verify_tag(authenticator, sealed, tag)
        except InvalidSignature:
            raise BadKeyError(wrong) from None
        return stream.update(sealed)
    if cipher.mode == "ctr":
        decryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor()
    elif cipher.mode == "cbc":
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    else:
        decryptor = Cipher(TripleDES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(sealed) + decryptor.finalize()
