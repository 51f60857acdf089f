"""`limpet.ssh.keys`: the names that Conch documents, and the files that keys live in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from limpet.crypto.key import Key as CryptoKey
from limpet.ssh import keys
from limpet.ssh.keys import Key, createKeyFiles, isPrivateToOwner, loadOrCreateKey
from tests.keymaking import makeKey


def test_conchsNames() -> None:
    for name in (
        "BadFingerPrintFormat",
        "BadKeyError",
        "BadSignatureAlgorithmError",
        "EncryptedKeyError",
        "FingerprintFormats",
        "Key",
        "PassphraseNormalizationError",
    ):
        assert name in keys.__all__
        assert hasattr(keys, name)
    for name in [
        "application",
        "blob",
        "data",
        "fingerprint",
        "fromFile",
        "fromString",
        "isPublic",
        "isSecurityKey",
        "privateBlob",
        "public",
        "sign",
        "size",
        "sshType",
        "supportedSignatureAlgorithms",
        "toString",
        "type",
        "verify",
    ]:
        assert hasattr(Key, name)
    assert Key is CryptoKey


class TestCreateKeyFiles:
    def test_bothFiles(self, tmp_path: Path) -> None:
        path = tmp_path / "id"
        createKeyFiles(makeKey(), path, comment="me@here")
        assert Key.fromFile(path) == makeKey()
        assert Key.fromFile(tmp_path / "id.pub") == makeKey().public()
        assert (tmp_path / "id.pub").read_bytes().endswith(b" me@here\n")

    def test_modes(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            createKeyFiles(makeKey(), tmp_path / "id")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "id").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "id.pub").stat().st_mode) == 0o644
        assert isPrivateToOwner(tmp_path / "id")
        assert not isPrivateToOwner(tmp_path / "id.pub")

    def test_encrypted(self, tmp_path: Path) -> None:
        createKeyFiles(makeKey(), tmp_path / "id", passphrase="x")
        with pytest.raises(keys.EncryptedKeyError):
            Key.fromFile(tmp_path / "id")
        assert Key.fromFile(tmp_path / "id", passphrase="x") == makeKey()

    @pytest.mark.parametrize("existing", ["id", "id.pub"])
    def test_nothingIsWrittenOver(self, tmp_path: Path, existing: str) -> None:
        (tmp_path / existing).write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            createKeyFiles(makeKey(), tmp_path / "id")
        assert [path.name for path in tmp_path.iterdir()] == [existing]
        assert (tmp_path / existing).read_bytes() == b"precious"

    def test_aPublicKey(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError):
            createKeyFiles(makeKey().public(), tmp_path / "id")
        assert list(tmp_path.iterdir()) == []


class TestLoadOrCreate:
    def test_theSameKeyEachTime(self, tmp_path: Path) -> None:
        first = loadOrCreateKey(tmp_path / "host")
        assert first.sshType() == b"ssh-ed25519"
        assert isPrivateToOwner(tmp_path / "host")
        assert loadOrCreateKey(tmp_path / "host", "rsa") == first

    def test_theKindAndTheSize(self, tmp_path: Path) -> None:
        assert loadOrCreateKey(tmp_path / "host", "ecdsa", 384).size() == 384

    def test_somebodyElseIsFaster(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = makeKey(number=1)

        def generate(kind: str, sizeBits: int | None) -> Key:
            createKeyFiles(other, tmp_path / "host")
            return makeKey()

        monkeypatch.setattr(Key, "generate", generate)
        assert loadOrCreateKey(tmp_path / "host") == other

    def test_whatCannotBeUsed(self, tmp_path: Path) -> None:
        (tmp_path / "host").write_bytes(makeKey().public().toString("openssh"))
        with pytest.raises(keys.BadKeyError, match="public key"):
            loadOrCreateKey(tmp_path / "host")
        (tmp_path / "host").write_bytes(b"rubbish")
        with pytest.raises(keys.BadKeyError):
            loadOrCreateKey(tmp_path / "host")
        assert (tmp_path / "host").read_bytes() == b"rubbish"
        with pytest.raises(FileNotFoundError):
            loadOrCreateKey(tmp_path / "no" / "such" / "directory")

    def test_aPublicFileAlone(self, tmp_path: Path) -> None:
        (tmp_path / "host.pub").write_bytes(b"old")
        with pytest.raises(FileExistsError):
            loadOrCreateKey(tmp_path / "host")
