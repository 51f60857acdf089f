"""Host keys: made once, loaded with care."""

from __future__ import annotations

import os
import pwd
import stat
import threading
from pathlib import Path

import pytest

from limpet.server import hostkeys
from limpet.server.hostkeys import (
    HostKeyError,
    loadHostKey,
    loadHostKeys,
    ownHostKey,
    stateDirectory,
)
from limpet.ssh.keys import Key, createKeyFiles


def made(path: Path, kind: str = "ed25519", passphrase: str | None = None) -> Path:
    createKeyFiles(Key.generate(kind), path, passphrase=passphrase)
    return path


def test_whereTheStateIs() -> None:
    home = {"HOME": "/home/someone"}
    assert stateDirectory(home) == Path("/home/someone/.local/state/limpet")
    assert stateDirectory({**home, "XDG_STATE_HOME": "/state"}) == Path("/state/limpet")
    assert stateDirectory({**home, "XDG_STATE_HOME": "relative"}) == stateDirectory(home)


def test_whereTheStateIsOfWhoHasNoHome(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a service of systemd's; the root directory is nobody's home."""
    ours = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    for variables in ({}, {"HOME": ""}):
        assert stateDirectory(variables) == ours / ".local/state/limpet"
    monkeypatch.setattr(os, "geteuid", lambda: 987_654_321)
    assert stateDirectory({}) == Path("/.local/state/limpet")


def test_aKeyIsMadeOnceAndPrivate(tmp_path: Path) -> None:
    path = ownHostKey(tmp_path / "deep" / "limpet")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = loadHostKey(path)
    assert loadHostKey(ownHostKey(tmp_path / "deep" / "limpet")) == first
    public = Key.fromFile(path.with_name(path.name + ".pub"))
    assert public == first.public()
    assert sorted(item.name for item in path.parent.iterdir()) == [path.name, path.name + ".pub"]


def test_severalAtOnceAgreeOnOneKey(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    seen: list[Key] = []

    def start() -> None:
        barrier.wait()
        seen.append(loadHostKey(ownHostKey(tmp_path)))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len({key.blob() for key in seen}) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_aDirectoryThatCannotBeWritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostKeyError, match="host key"):
        ownHostKey(tmp_path / "file" / "limpet")


def test_severalKeysByType(tmp_path: Path) -> None:
    paths = [made(tmp_path / "a"), made(tmp_path / "b", "ecdsa")]
    assert list(loadHostKeys(paths)) == [b"ssh-ed25519", b"ecdsa-sha2-nistp256"]
    with pytest.raises(HostKeyError, match="another"):
        loadHostKeys([*paths, made(tmp_path / "c")])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o611])
def test_F5_aKeyThatOthersCanUseIsNotUsed(tmp_path: Path, mode: int) -> None:
    path = made(tmp_path / "key")
    path.chmod(mode)
    with pytest.raises(HostKeyError, match=f"{mode:04o}.*chmod 600"):
        loadHostKey(path)


def test_F5_aKeyOfSomebodyElseIsNotUsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "key")
    owner = path.stat().st_uid
    monkeypatch.setattr(hostkeys, "ROOT", -1)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(HostKeyError, match="another user"):
        loadHostKey(path)


def test_F5_whatIsNoFileIsNotWaitedFor(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/null")):
        with pytest.raises(HostKeyError, match="not a file"):
            loadHostKey(path)


def test_whatIsNoKey(tmp_path: Path) -> None:
    with pytest.raises(HostKeyError, match="No such file"):
        loadHostKey(tmp_path / "none")
    for content in (b"", b"not a key", os.urandom(1000)):
        path = tmp_path / "bad"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(HostKeyError, match="bad"):
            loadHostKey(path)


def test_anEncryptedKeyHasNobodyToAsk(tmp_path: Path) -> None:
    with pytest.raises(HostKeyError, match="encrypted"):
        loadHostKey(made(tmp_path / "key", passphrase="secret"))


def test_aPublicKeyIsNotEnough(tmp_path: Path) -> None:
    path = made(tmp_path / "key").with_name("key.pub")
    # That others may read it is right, and not what is wrong.
    for mode in (0o644, 0o600):
        path.chmod(mode)
        with pytest.raises(HostKeyError, match="this is a public key"):
            loadHostKey(path)


def test_D13_aKeyThatCanBeComputedIsNotUsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostkeys, "weaknessOf", lambda blob: "an RSA key that can be computed")
    with pytest.raises(HostKeyError, match="can be computed; make another one"):
        loadHostKey(made(tmp_path / "key"))


def test_F8_aFileWithoutEndIsNotRead(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * (hostkeys.MAX_KEY_FILE + 1))
    path.chmod(0o600)
    with pytest.raises(HostKeyError, match="larger"):
        loadHostKey(path)
