"""The smaller forms: `armor`, `privateblob`, `agentv3`, `lsh`, `pem` and the guess between them."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.key import Key
from limpet.crypto.keyformats import agentv3, armor, guessType, lsh, pem, privateblob
from limpet.wire.fields import MP, NS, Reader
from tests.keymaking import allKeys, makeKey

RSA = makeKey("rsa", 2048)
DSA = Key(dsa.generate_private_key(1024))


class TestArmor:
    def test_base64IsReadStrictly(self) -> None:
        assert armor.decodeBase64(b"AAEC") == b"\x00\x01\x02"
        for text in (b"AAE", b"AA EC", b"AAEC\n", b"AA-_", b"AAEC=", "é".encode()):
            with pytest.raises(BadKeyError):
                armor.decodeBase64(text)

    def test_thereAndBack(self) -> None:
        for length in (0, 1, 52, 53, 500):
            block = armor.wrap(bytes(length), b"-BEGIN-", b"-END-")
            assert block.endswith(b"-END-\n")
            assert max(map(len, block.splitlines())) <= armor.LINE_LENGTH
            lines = armor.unwrap(block, b"-BEGIN-", b"-END-")
            assert armor.decodeBase64(b"".join(lines)) == bytes(length)


class TestPrivateBlob:
    @pytest.mark.parametrize("key", [*allKeys(), DSA], ids=repr)
    def test_thereAndBack(self, key: Key) -> None:
        blob = key.privateBlob()
        assert Key.fromMaterial(privateblob.decode(blob)) == key
        for length in range(0, len(blob), 7):
            with pytest.raises(BadKeyError):
                privateblob.decode(blob[:length])
        with pytest.raises(BadKeyError):
            privateblob.decode(blob + b"\x00")

    def test_theFieldsOfRSA(self) -> None:
        reader = Reader(RSA.privateBlob())
        assert reader.string() == b"ssh-rsa"
        n, e, d, inverse, p, q = (reader.mpint() for _ in range(6))
        assert (n, e, d) == (p * q, 65537, RSA.data()["d"])
        assert inverse * q % p == 1

    def test_halvesOfDifferentKeys(self) -> None:
        one, other = makeKey().data(), makeKey(number=1).data()
        for secret, reason in (
            (other["k"] + one["a"], "does not belong"),
            (one["k"] + other["a"], "two copies"),
            (other["k"] + other["a"], "two copies"),
        ):
            with pytest.raises(BadKeyError, match=reason):
                privateblob.decode(NS(b"ssh-ed25519") + NS(one["a"]) + NS(secret))
        with pytest.raises(BadKeyError):
            privateblob.decode(NS(b"ssh-ed25519") + NS(one["a"]) + NS(one["k"]))

    def test_theCurveIsThatOfTheType(self) -> None:
        blob = makeKey("ecdsa", 256).privateBlob()
        with pytest.raises(BadKeyError):
            privateblob.decode(blob.replace(b"sha2-nistp256", b"sha2-nistp384"))

    def test_anUnknownType(self) -> None:
        with pytest.raises(BadKeyError, match="ssh-bad"):
            privateblob.decode(NS(b"ssh-bad"))


class TestAgentV3:
    def test_theFieldsOfRSA(self) -> None:
        reader = Reader(RSA.toString("agentv3"))
        assert reader.string() == b"ssh-rsa"
        e, d, n, inverse, p, q = (reader.mpint() for _ in range(6))
        data = RSA.data()
        assert (e, d, n, inverse, p, q) == tuple(data[name] for name in "ednupq")
        reader.end()

    @pytest.mark.parametrize(
        "data",
        [
            NS(b"ssh-foo") + MP(1) * 5,
            NS(b"ssh-rsa") + MP(1) * 6,
            NS(b"ssh-rsa") + MP(1) * 5,
            NS(b"ssh-dss") + MP(1) * 5,
            RSA.toString("agentv3")[:-1],
            RSA.toString("agentv3") + MP(1),
            b"",
        ],
    )
    def test_whatIsNone(self, data: bytes) -> None:
        with pytest.raises(BadKeyError):
            agentv3.decode(data)


class TestLSH:
    def test_theFormOfAPublicKey(self) -> None:
        text = RSA.public().toString("lsh")
        assert text.startswith(b"{")
        assert base64.b64decode(text[1:-1]).startswith(
            b"(10:public-key(14:rsa-pkcs1-sha1(1:n257:\x00"
        )

    def test_theFormOfAPrivateKey(self) -> None:
        assert RSA.toString("lsh").startswith(b"(11:private-key(9:rsa-pkcs1(1:n257:\x00")
        assert RSA.toString("lsh").endswith(b")))")
        assert DSA.toString("lsh").startswith(b"(11:private-key(3:dsa(1:p129:\x00")

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"(",
            b"(11:private-key",
            b"(11:private-key(9:rsa-pkcs1))",
            b"(11:private-key(7:bad-key(1:p1:2)))",
            b"(10:public-key(9:rsa-pkcs1(1:n1:5)))",
            b"(11:private-key(9:rsa-pkcs1(1:n999999:",
            b"(11:private-key(9:rsa-pkcs1(1:n99:",
            b"(11:private-key(3:dsa" + b"(1:p1:\x05)" * 2 + b"))",
            b"(-1:x",
            b"(1x:x",
            b"(" * 100_000,
            RSA.toString("lsh")[:-1],
            RSA.toString("lsh") + b"x",
        ],
    )
    def test_whatIsNoPrivateKey(self, text: bytes) -> None:
        with pytest.raises(BadKeyError):
            lsh.decodePrivate(text)

    @pytest.mark.parametrize(
        "text",
        [
            b"{}",
            b"{",
            b"{!}",
            b"x",
            b"{" + base64.b64encode(RSA.toString("lsh")) + b"}",
            b"{" + base64.b64encode(b"(10:public-key(7:bad-key(1:p1:2)))") + b"}",
        ],
    )
    def test_whatIsNoPublicKey(self, text: bytes) -> None:
        with pytest.raises(BadKeyError):
            lsh.decodePublic(text)


class TestPEM:
    def test_weakAndForeignKeysAreRefused(self) -> None:
        for keyObject in (
            rsa.generate_private_key(65537, 1024),
            ec.generate_private_key(ec.SECP256K1()),
            x25519.X25519PrivateKey.generate(),
        ):
            private = keyObject.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with pytest.raises(BadKeyError):
                pem.decodePrivate(private, None)
            public = keyObject.public_key().public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            )
            with pytest.raises(BadKeyError):
                pem.decodePublic(public)

    def test_theOlderFormOfARSAPublicKey(self) -> None:
        public = RSA.public()._keyObject
        assert isinstance(public, rsa.RSAPublicKey)
        data = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        assert Key.fromString(data) == RSA.public()

    @pytest.mark.parametrize("subtype", ["PEM", "PKCS8"])
    def test_damage(self, subtype: str) -> None:
        data = makeKey("ecdsa", 256).toString("openssh", subtype=subtype)
        with pytest.raises(BadKeyError):
            pem.decodePrivate(data[:-40], None)
        with pytest.raises(BadKeyError):
            pem.decodePrivate(data.replace(b"A", b"B"), None)
        with pytest.raises(BadKeyError):
            pem.decodePrivate(data.replace(b"PRIVATE KEY", b"FOO KEY"), None)

    @pytest.mark.parametrize(
        "info", [b"DES-EDE3-CBC,01234", b"AES-128-CBC", b"FOO-1,2233", b"", b"AES-128-CBC,"]
    )
    def test_headersOfEncryptionThatMakeNoSense(self, info: bytes) -> None:
        data = RSA.toString("openssh", subtype="PEM", passphrase="x")
        lines = [b"DEK-Info: " + info if b"DEK" in line else line for line in data.splitlines()]
        with pytest.raises(BadKeyError):
            pem.decodePrivate(b"\n".join(lines), b"x")
        with pytest.raises(EncryptedKeyError):
            pem.decodePrivate(b"\n".join(lines), None)


class TestGuess:
    @pytest.mark.parametrize("key", [*allKeys(), DSA], ids=repr)
    def test_everyForm(self, key: Key) -> None:
        public = key.public()
        assert guessType(public.toString("openssh")) == "public_openssh"
        assert guessType(public.toString("openssh", subtype="RFC4716")) == "public_rfc4716"
        assert guessType(public.toString("openssh", subtype="PKCS8")) == "public_pem"
        assert guessType(key.toString("openssh")) == "private_openssh"
        assert guessType(key.toString("openssh", subtype="PKCS8")) == "private_openssh"
        assert guessType(key.blob()) == "blob"
        if key.type() in ("RSA", "DSA"):
            assert guessType(key.toString("agentv3")) == "agentv3"
            assert guessType(key.toString("lsh")) == "private_lsh"
            assert guessType(public.toString("lsh")) == "public_lsh"

    def test_nothing(self) -> None:
        for data in (b"", b"not a key", b"\x00\x00", b"\x01\x00\x00\x07ssh-rsa"):
            assert guessType(data) is None
        assert guessType(NS(b"ssh-rsa") + MP(1)) == "blob"
