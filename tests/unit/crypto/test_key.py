"""`limpet.crypto.key.Key`: what a key is, where it comes from and what it becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa

from limpet.crypto.errors import (
    BadFingerPrintFormat,
    BadKeyError,
    EncryptedKeyError,
    PassphraseNormalizationError,
)
from limpet.crypto.fingerprints import FingerprintFormats
from limpet.crypto.key import MAX_KEY_FILE_SIZE, Key, normalizePassphrase
from limpet.crypto.keyformats import opensshprivate
from limpet.wire.fields import MP, NS
from tests.keymaking import KINDS, allKeys, makeKey, securityKey

KEYS = allKeys()
DSA_KEY = Key(dsa.generate_private_key(1024))

TYPES = {
    "ssh-ed25519": ("Ed25519", 256),
    "ecdsa-sha2-nistp256": ("EC", 256),
    "ecdsa-sha2-nistp384": ("EC", 384),
    "ecdsa-sha2-nistp521": ("EC", 521),
    "ssh-rsa": ("RSA", 2048),
    "ssh-dss": ("DSA", 1024),
}


@pytest.fixture(autouse=True)
def fewRounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encrypt key files with one round of bcrypt, which is a hundred times as fast."""
    monkeypatch.setattr(opensshprivate, "ROUNDS", 1)


@pytest.mark.parametrize("key", [*KEYS, DSA_KEY], ids=repr)
class TestWhatAKeyIs:
    def test_typeAndSize(self, key: Key) -> None:
        assert (key.type(), key.size()) == TYPES[key.sshType().decode()]
        assert key.blob().startswith(NS(key.sshType()))

    def test_theTwoHalves(self, key: Key) -> None:
        public = key.public()
        assert not key.isPublic()
        assert public.isPublic()
        assert public.public() is public
        assert public.blob() == key.blob()

    def test_equality(self, key: Key) -> None:
        again = Key.fromString(key.privateBlob(), "private_blob")
        assert again == key
        assert hash(again) == hash(key)
        assert key.public() == Key.fromString(key.blob())
        assert hash(key.public()) == hash(Key.fromString(key.blob()))
        assert key != key.public()
        assert key != makeKey(number=9)
        assert key != key.blob()
        assert (key == None) is False  # noqa: E711

    def test_reprShowsNothingPrivate(self, key: Key) -> None:
        assert re.fullmatch(
            r"<private [a-z0-9-]+ key, \d+ bits, SHA256:[A-Za-z0-9+/]{43}>", repr(key)
        )
        assert repr(key.public()) == repr(key).replace("private", "public")

    def test_aPublicKeyHasNothingPrivate(self, key: Key) -> None:
        public = key.public()
        with pytest.raises(TypeError):
            public.sign(b"")
        with pytest.raises(TypeError):
            public.privateBlob()
        with pytest.raises(TypeError):
            public.toString("AGENTV3")
        private = {"d", "p", "q", "u", "x", "privateValue", "k"}
        if key.type() == "EC":
            private.discard("x")
        if key.type() == "DSA":
            private -= {"p", "q"}
        assert not private & public.data().keys()
        assert private & key.data().keys()

    def test_fingerprint(self, key: Key) -> None:
        assert re.fullmatch(r"([0-9a-f]{2}:){15}[0-9a-f]{2}", key.fingerprint())
        sha256 = key.fingerprint(FingerprintFormats.SHA256_BASE64)
        assert key.displayFingerprint() == "SHA256:" + sha256.rstrip("=")
        assert key.public().fingerprint() == key.fingerprint()
        with pytest.raises(BadFingerPrintFormat):
            key.fingerprint("sha256")  # type: ignore[arg-type]

    def test_everyFormComesBack(self, key: Key) -> None:
        subtypes = ["v1", "PKCS8"] + ["PEM"] * (key.type() != "Ed25519")
        for subtype in subtypes:
            for passphrase in (None, "hunter2"):
                data = key.toString("openssh", subtype=subtype, passphrase=passphrase)
                assert Key.fromString(data, passphrase=passphrase) == key
        for form in ("line", "RFC4716", "PKCS8"):
            data = key.public().toString("OPENSSH", subtype=form)
            assert Key.fromString(data) == key.public()
        if key.type() in ("RSA", "DSA"):
            for form in ("LSH", "AGENTV3"):
                assert Key.fromString(key.toString(form)) == key
            assert Key.fromString(key.public().toString("lsh")) == key.public()
        else:
            for form in ("LSH", "AGENTV3"):
                with pytest.raises(BadKeyError):
                    key.toString(form)

    def test_anEncryptedKeyNeedsItsPassphrase(self, key: Key) -> None:
        subtypes = ["v1", "PKCS8"] + ["PEM"] * (key.type() != "Ed25519")
        for subtype in subtypes:
            data = key.toString("openssh", subtype=subtype, passphrase="hunter2")
            for missing in (None, b"", ""):
                with pytest.raises(EncryptedKeyError):
                    Key.fromString(data, passphrase=missing)
            with pytest.raises(BadKeyError, match="passphrase is wrong") as caught:
                Key.fromString(data, passphrase="hunter3")
            assert "hunter" not in str(caught.value)

    def test_aPassphraseForAKeyThatIsNotEncrypted(self, key: Key) -> None:
        for data in (
            key.toString("openssh"),
            key.toString("openssh", subtype="PKCS8"),
            key.public().toString("openssh"),
            key.blob(),
        ):
            with pytest.raises(BadKeyError, match="not encrypted"):
                Key.fromString(data, passphrase=b"x")


class TestData:
    def test_rsa(self) -> None:
        data = makeKey("rsa", 2048).data()
        assert data["p"] * data["q"] == data["n"]
        assert data["u"] * data["p"] % data["q"] == 1
        assert pow(pow(5, data["e"], data["n"]), data["d"], data["n"]) == 5

    def test_dsa(self) -> None:
        data = DSA_KEY.data()
        assert pow(data["g"], data["x"], data["p"]) == data["y"]

    def test_ec(self) -> None:
        data = makeKey("ecdsa", 384).data()
        assert data["curve"] == b"ecdsa-sha2-nistp384"
        assert sorted(data) == ["curve", "privateValue", "x", "y"]

    def test_ed25519(self) -> None:
        data = makeKey().data()
        assert Key(ed25519.Ed25519PrivateKey.from_private_bytes(data["k"])) == makeKey()
        assert makeKey().public().data() == {"a": data["a"]}

    def test_securityKeys(self) -> None:
        assert sorted(securityKey(makeKey()).data()) == ["a"]
        assert (
            securityKey(makeKey("ecdsa", 256)).data()["curve"]
            == b"sk-ecdsa-sha2-nistp256@openssh.com"
        )


class TestGenerate:
    @pytest.mark.parametrize(("kind", "size"), KINDS)
    def test_kinds(self, kind: str, size: int | None) -> None:
        key = makeKey(kind.upper(), size)
        assert not key.isPublic()
        assert key.verify(key.sign(b"x"), b"x")

    def test_defaults(self) -> None:
        assert Key.generate().sshType() == b"ssh-ed25519"
        assert Key.generate("ecdsa").size() == 256

    def test_keysDiffer(self) -> None:
        assert Key.generate() != Key.generate()

    @pytest.mark.parametrize(
        ("kind", "size"),
        [
            ("rsa", 1024),
            ("rsa", 2047),
            ("rsa", 16385),
            ("ecdsa", 255),
            ("ecdsa", 512),
            ("ed25519", 512),
            ("dsa", 1024),
            ("", None),
        ],
    )
    def test_whatThereIsNot(self, kind: str, size: int) -> None:
        with pytest.raises(ValueError, match="cannot make"):
            Key.generate(kind, size)


class TestFromObject:
    def test_aWeakKey(self) -> None:
        with pytest.raises(BadKeyError):
            Key(rsa.generate_private_key(65537, 1024))

    @pytest.mark.parametrize("other", [None, b"", object()])
    def test_noKey(self, other: object) -> None:
        with pytest.raises(TypeError):
            Key(other)  # type: ignore[arg-type]


class TestFromString:
    def test_text(self) -> None:
        line = makeKey().public().toString("openssh", comment="häuschen")
        key = Key.fromString(line.decode())
        assert key == makeKey().public()
        assert key.comment == "häuschen".encode()

    @pytest.mark.parametrize(
        "data",
        [b"", b"not a key", b"\x00", b"-----", b"\x00\x00\x00\x07", "half \ud800", "byte \udcff"],
    )
    def test_noKey(self, data: bytes | str) -> None:
        with pytest.raises(BadKeyError):
            Key.fromString(data)

    def test_anUnknownForm(self) -> None:
        with pytest.raises(BadKeyError, match="bad_type"):
            Key.fromString(makeKey().blob(), "bad_type")

    def test_tooLong(self) -> None:
        with pytest.raises(BadKeyError, match="longer"):
            Key.fromString(b"ssh-rsa " + b"A" * MAX_KEY_FILE_SIZE)

    def test_theTypeMayBeNamedInAnyCase(self) -> None:
        assert Key.fromString(makeKey().blob(), "BLOB") == makeKey().public()

    def test_theSecretOfTheErrorIsNotTheKey(self) -> None:
        data = makeKey().toString("openssh").replace(b"END", b"FIN")
        with pytest.raises(BadKeyError) as caught:
            Key.fromString(data)
        assert caught.value.__cause__ is None
        for line in data.splitlines()[1:-1]:
            assert line.decode() not in str(caught.value)


class TestFromFile:
    def test_aFile(self, tmp_path: Path) -> None:
        path = tmp_path / "id"
        path.write_bytes(makeKey().toString("openssh", passphrase=b"x"))
        for name in (path, str(path), bytes(path)):
            assert Key.fromFile(name, passphrase=b"x") == makeKey()
        with pytest.raises(EncryptedKeyError):
            Key.fromFile(path)
        with pytest.raises(BadKeyError):
            Key.fromFile(path, "bad_type")

    def test_noFile(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Key.fromFile(tmp_path / "nothing")

    def test_aFileWithoutEnd(self) -> None:
        with pytest.raises(BadKeyError, match="longer"):
            Key.fromFile("/dev/zero")


class TestToString:
    def test_extraIsCommentOrPassphrase(self) -> None:
        key = makeKey()
        assert key.public().toString("openssh", "me@here").endswith(b" me@here")
        with pytest.raises(EncryptedKeyError):
            Key.fromString(key.toString("openssh", "secret"))

    def test_noCommentUnlessOneIsGiven(self) -> None:
        key = Key.fromString(makeKey().public().toString("openssh", comment="me@here"))
        assert key.toString("openssh").count(b" ") == 1
        assert key.toString("openssh", comment=key.comment).endswith(b" me@here")

    def test_aCommentIsOneLine(self) -> None:
        for comment in ("a\nssh-ed25519 AAAA", b"a\rb"):
            with pytest.raises(ValueError, match="one line"):
                makeKey().public().toString("openssh", comment=comment)

    def test_aPrivateKeyKeepsItsComment(self) -> None:
        data = makeKey().toString("openssh", comment="me@here")
        assert Key.fromString(data).comment == b"me@here"

    def test_formsThatThereAreNot(self) -> None:
        with pytest.raises(BadKeyError, match="bad_type"):
            makeKey().toString("bad_type")
        for subtype in ("v2", "line", "RFC4716"):
            with pytest.raises(ValueError, match=subtype):
                makeKey().toString("openssh", subtype=subtype)
        for subtype in ("v1", "PEM"):
            with pytest.raises(ValueError, match=subtype):
                makeKey().public().toString("openssh", subtype=subtype)
        with pytest.raises(ValueError, match="Ed25519"):
            makeKey().toString("openssh", subtype="PEM")
        with pytest.raises(ValueError, match="PKCS8"):
            securityKey(makeKey()).toString("openssh", subtype="PKCS8")

    def test_passphrasesWhereThereIsNoEncryption(self) -> None:
        with pytest.raises(ValueError, match="public"):
            makeKey().public().toString("openssh", passphrase="x")
        for form in ("LSH", "AGENTV3"):
            with pytest.raises(ValueError, match="cannot be encrypted"):
                makeKey("rsa", 2048).toString(form, passphrase="x")


class TestPassphrases:
    def test_bytesAreLeftAlone(self) -> None:
        assert normalizePassphrase(b"\xff\x00") == b"\xff\x00"
        assert normalizePassphrase(None) is None

    def test_textInItsComposedForm(self) -> None:
        assert normalizePassphrase("u\u0308") == "\u00fc".encode()
        data = makeKey().toString("openssh", passphrase="verschlu\u0308sselt")
        assert Key.fromString(data, passphrase="verschl\u00fcsselt".encode()) == makeKey()

    @pytest.mark.parametrize("passphrase", ["unassigned \uffff", "half \ud800"])
    def test_textWithoutAStableForm(self, passphrase: str) -> None:
        with pytest.raises(PassphraseNormalizationError) as caught:
            Key.fromString(makeKey().toString("openssh"), passphrase=passphrase)
        assert passphrase not in str(caught.value)


class TestVerify:
    def test_sha1HasToBeNamed(self) -> None:
        key = makeKey("rsa", 2048)
        signature = key.sign(b"x", b"ssh-rsa")
        assert not key.verify(signature, b"x")
        assert key.verify(signature, b"x", b"ssh-rsa")
        assert not key.verify(key.sign(b"x"), b"x", b"ssh-rsa")

    def test_numbersThatAreNoSignature(self) -> None:
        key = makeKey("ecdsa", 256)
        for body in (MP(1) + MP(1), MP(0) + MP(0), b""):
            assert not key.verify(NS(key.sshType()) + NS(body), b"x")
