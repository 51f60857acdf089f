"""`limpet.crypto.keyformats.opensshprivate`: OpenSSH's own private key file."""

from __future__ import annotations

import base64
import struct

import bcrypt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.key import Key
from limpet.crypto.keyformats import armor, opensshprivate
from limpet.wire.fields import NS, u32
from tests.keymaking import makeKey

KEY = makeKey()
SALT = b"0123456789abcdef"


def plainPart(
    key: Key = KEY, *, checks: bytes = b"chekchek", block: int = 8, padding: bytes | None = None
) -> bytes:
    """What is encrypted in a key file."""
    part = checks + key.privateBlob() + NS(b"a comment")
    return part + (bytes(range(1, -len(part) % block + 1)) if padding is None else padding)


def keyFile(
    sealed: bytes,
    *,
    cipher: bytes = b"none",
    kdf: bytes = b"none",
    kdfOptions: bytes = b"",
    count: int = 1,
    public: bytes = KEY.blob(),
    tail: bytes = b"",
    magic: bytes = opensshprivate.MAGIC,
) -> bytes:
    """A key file with whatever parts."""
    body = magic + NS(cipher) + NS(kdf) + NS(kdfOptions) + u32(count) + NS(public) + NS(sealed)
    return armor.wrap(body + tail, opensshprivate.BEGIN, opensshprivate.END)


def load(data: bytes, passphrase: bytes | None = None) -> Key:
    return Key.fromMaterial(opensshprivate.decode(data, passphrase))


class TestPlain:
    def test_aFileByHand(self) -> None:
        key = load(keyFile(plainPart()))
        assert key == KEY
        assert key.comment == b"a comment"

    def test_whatWeWriteIsWrittenSo(self) -> None:
        data = KEY.toString("openssh", comment="a comment")
        body = base64.b64decode(b"".join(data.splitlines()[1:-1]))
        check = body[body.index(KEY.privateBlob()) - 8 :][:8]
        assert check[:4] == check[4:]
        assert data == keyFile(plainPart(checks=check))

    @pytest.mark.parametrize(
        "sealed",
        [
            b"",
            b"chekchek",
            plainPart(checks=b"chekchok"),
            plainPart(padding=b""),
            plainPart(padding=b"\x01\x02\x04"),
            plainPart()[:-8],
            plainPart() + bytes(range(1, 9)),
            plainPart() + bytes(8),
            plainPart() + b"x",
        ],
    )
    def test_damage(self, sealed: bytes) -> None:
        if sealed == plainPart():
            pytest.skip("this key needs no padding")
        with pytest.raises(BadKeyError):
            load(keyFile(sealed))

    def test_partsThatDoNotFit(self) -> None:
        part = plainPart()
        for data in (
            keyFile(part, count=0),
            keyFile(part, count=2),
            keyFile(part, public=makeKey(number=1).blob()),
            keyFile(part, public=b""),
            keyFile(part, tail=b"\x00"),
            keyFile(part, tail=bytes(16)),
            keyFile(part, cipher=b"rot13"),
            keyFile(part, kdf=b"bcrypt", kdfOptions=NS(SALT) + u32(1)),
            keyFile(part, magic=b"openssh-key-v2\x00"),
            keyFile(part).replace(b"BEGIN", b"BEGUN"),
            keyFile(part).replace(b"END", b"FIN"),
            keyFile(part) + keyFile(part),
            keyFile(part) + b"trailing",
        ):
            with pytest.raises(BadKeyError):
                load(data)

    def test_everyPrefixOfTheBody(self) -> None:
        body = base64.b64decode(b"".join(keyFile(plainPart()).splitlines()[1:-1]))
        for length in range(len(body)):
            with pytest.raises(BadKeyError):
                load(armor.wrap(body[:length], opensshprivate.BEGIN, opensshprivate.END))

    def test_aWholeBlockOfPaddingTooMuch(self) -> None:
        part = plainPart(padding=b"")
        needed = -len(part) % 8
        assert load(keyFile(part + bytes(range(1, needed + 1)))) == KEY
        with pytest.raises(BadKeyError, match="padding"):
            load(keyFile(part + bytes(range(1, needed + 9))))

    def test_lineEndsOfOtherSystems(self) -> None:
        assert load(keyFile(plainPart()).replace(b"\n", b"\r\n")) == KEY

    def test_aSecurityKeyIsForAnAgent(self) -> None:
        fields = NS(b"sk-ssh-ed25519@openssh.com") + KEY.blob()[15:] + NS(b"ssh:") + b"\x01"
        part = b"chekchek" + fields + NS(b"handle") + NS(b"") + NS(b"")
        part += bytes(range(1, -len(part) % 8 + 1))
        with pytest.raises(BadKeyError, match="security key"):
            load(keyFile(part))


class TestEncrypted:
    """Each cipher against another way to compute it."""

    def sealed(self, cipher: bytes, keySize: int, ivSize: int) -> tuple[bytes, bytes, bytes]:
        derived = bcrypt.kdf(b"pw", SALT, keySize + ivSize, 1, ignore_few_rounds=True)
        block = 8 if cipher.startswith((b"3des", b"chacha")) else 16
        return derived[:keySize], derived[keySize:], plainPart(block=block)

    def check(self, cipher: bytes, sealed: bytes, tag: bytes = b"") -> None:
        options = NS(SALT) + u32(1)
        data = keyFile(sealed, cipher=cipher, kdf=b"bcrypt", kdfOptions=options, tail=tag)
        assert load(data, b"pw") == KEY
        with pytest.raises(EncryptedKeyError):
            load(data)
        with pytest.raises(BadKeyError, match="passphrase is wrong"):
            load(data, b"pv")
        for changed in (sealed[:1] + bytes((sealed[1] ^ 1,)) + sealed[2:],):
            damaged = keyFile(changed, cipher=cipher, kdf=b"bcrypt", kdfOptions=options, tail=tag)
            with pytest.raises(BadKeyError):
                load(damaged, b"pw")

    @pytest.mark.parametrize("bits", [128, 192, 256])
    def test_ctr(self, bits: int) -> None:
        name = f"aes{bits}-ctr".encode()
        key, iv, part = self.sealed(name, bits // 8, 16)
        self.check(name, Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(part))

    @pytest.mark.parametrize("bits", [128, 192, 256])
    def test_cbc(self, bits: int) -> None:
        name = f"aes{bits}-cbc".encode()
        key, iv, part = self.sealed(name, bits // 8, 16)
        self.check(name, Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(part))

    @pytest.mark.parametrize("bits", [128, 256])
    def test_gcm(self, bits: int) -> None:
        name = f"aes{bits}-gcm@openssh.com".encode()
        key, iv, part = self.sealed(name, bits // 8, 12)
        whole = AESGCM(key).encrypt(iv, part, None)
        self.check(name, whole[:-16], whole[-16:])

    def test_whatWeWrite(self) -> None:
        data = KEY.toString("openssh", passphrase="pw")
        body = base64.b64decode(b"".join(data.splitlines()[1:-1]))
        rest = body[len(opensshprivate.MAGIC) :]
        assert rest.startswith(NS(b"aes256-ctr") + NS(b"bcrypt") + u32(24) + u32(16))
        salt, rounds = struct.unpack_from(">16sL", rest, len(NS(b"aes256-ctrbcrypt")) + 12)
        assert rounds == opensshprivate.ROUNDS == 24
        again = KEY.toString("openssh", passphrase="pw")
        assert salt not in base64.b64decode(b"".join(again.splitlines()[1:-1]))
        assert KEY.privateBlob() not in body
        assert load(data, b"pw") == KEY


class TestPublicHalf:
    def test_itNeedsNoPassphrase(self) -> None:
        data = KEY.toString("openssh", passphrase=b"locked")
        assert opensshprivate.publicBlob(data) == KEY.blob()

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            keyFile(plainPart(), magic=b"openssh-key-v2\x00"),
            keyFile(plainPart(), count=2),
            armor.wrap(opensshprivate.MAGIC, opensshprivate.BEGIN, opensshprivate.END),
        ],
    )
    def test_damage(self, data: bytes) -> None:
        with pytest.raises(BadKeyError):
            opensshprivate.publicBlob(data)
