"""puttygen: its key files load here, and it reads the OpenSSH files that we write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.ssh.keys import createKeyFiles
from tests.interop.peers import requirePeer
from tests.keymaking import allKeys

TIMEOUT_SECONDS = 60


def puttygen(*arguments: str | Path) -> bytes:
    """What puttygen prints."""
    return subprocess.run(
        [requirePeer("puttygen"), *map(str, arguments)],
        check=True,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
    ).stdout


@pytest.mark.parametrize("key", allKeys(), ids=repr)
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("secret", ["", "correct horse"])
def test_ourKeysThroughItsFiles(tmp_path: Path, key: Key, version: int, secret: str) -> None:
    createKeyFiles(key, tmp_path / "key", comment="me@here")
    (tmp_path / "secret").write_text(secret)
    puttygen(
        *(tmp_path / "key", "-P", "--new-passphrase", tmp_path / "secret", "-O", "private"),
        *("--ppk-param", f"version={version},memory=64,passes=2", "-o", tmp_path / "key.ppk"),
    )
    found = Key.fromFile(tmp_path / "key.ppk", passphrase=secret)
    assert found == key
    assert found.comment == b"me@here"
    with pytest.raises(BadKeyError):
        Key.fromFile(tmp_path / "key.ppk", passphrase="wrong")


@pytest.mark.parametrize("function", ["argon2id", "argon2i", "argon2d"])
def test_itsKeyDerivations(tmp_path: Path, function: str) -> None:
    key = allKeys()[0]
    createKeyFiles(key, tmp_path / "key")
    (tmp_path / "secret").write_text("x")
    puttygen(
        *(tmp_path / "key", "-P", "--new-passphrase", tmp_path / "secret", "-O", "private"),
        *("--ppk-param", f"kdf={function},memory=64,passes=3,parallelism=2"),
        *("-o", tmp_path / "key.ppk"),
    )
    assert Key.fromFile(tmp_path / "key.ppk", passphrase="x") == key


@pytest.mark.parametrize("key", allKeys(), ids=repr)
def test_fingerprintsAgree(tmp_path: Path, key: Key) -> None:
    createKeyFiles(key, tmp_path / "key")
    assert key.displayFingerprint().encode() in puttygen("-l", tmp_path / "key.pub")
