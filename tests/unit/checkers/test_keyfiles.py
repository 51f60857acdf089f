"""Keys in files of the system's users, and in memory."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer

from limpet.checkers import (
    AuthorizedKeysFiles,
    InMemorySSHKeyDB,
    UNIXAuthorizedKeysFiles,
    readAuthorizedKeyFile,
)
from limpet.core.authorizedkeys import AuthorizedKey
from limpet.ssh.keys import Key

FIRST, SECOND = Key.generate("ed25519"), Key.generate("ed25519")


def line(key: Key, options: bytes = b"") -> bytes:
    return options + b"ssh-ed25519 " + base64.b64encode(key.public().blob()) + b" c\n"


class Users:
    """One user, alice."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def getpwnam(self, username: str) -> Any:
        if username != "alice":
            raise KeyError(username)

        class Record:
            pw_dir = str(self.home)

        return Record()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    (directory / ".ssh").mkdir(parents=True)
    for path in (directory, directory / ".ssh"):
        path.chmod(0o700)
    return directory


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def test_bothFiles(home: Path) -> None:
    write(home / ".ssh/authorized_keys", line(FIRST, b"no-pty "))
    write(home / ".ssh/authorized_keys2", line(SECOND))
    keys = AuthorizedKeysFiles(userdb=Users(home)).read(b"alice")
    assert [key.keyBlob for key in keys] == [FIRST.public().blob(), SECOND.public().blob()]
    assert not keys[0].options.restrictions.allowPty


def test_nobodyAndNothing(home: Path) -> None:
    keys = AuthorizedKeysFiles(userdb=Users(home))
    assert keys.read(b"alice") == []
    assert keys.read(b"bob") == []


def test_changedFileIsReadAnew(home: Path) -> None:
    keys = AuthorizedKeysFiles(userdb=Users(home))
    write(home / ".ssh/authorized_keys", line(FIRST))
    assert keys.read(b"alice") == keys.read(b"alice")
    write(home / ".ssh/authorized_keys", line(SECOND))
    assert [key.keyBlob for key in keys.read(b"alice")] == [SECOND.public().blob()]
    (home / ".ssh/authorized_keys").unlink()
    assert keys.read(b"alice") == []


def test_tokensInPaths(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "keys%"
    other.mkdir(mode=0o755)
    write(other / "alice", line(FIRST))
    write(home / "own", line(SECOND))
    files = [str(tmp_path / "keys%%" / "%u"), "own"]
    keys = AuthorizedKeysFiles(files, userdb=Users(home)).read(b"alice")
    assert [key.keyBlob for key in keys] == [FIRST.public().blob(), SECOND.public().blob()]


def test_unknownTokenIsAMistake(home: Path) -> None:
    with pytest.raises(ValueError):
        AuthorizedKeysFiles(["%x"], userdb=Users(home)).read(b"alice")


def test_withoutAThread(home: Path) -> None:
    write(home / ".ssh/authorized_keys", line(FIRST))
    out: list[list[AuthorizedKey]] = []
    keys = AuthorizedKeysFiles(userdb=Users(home), inThread=False)
    keys.getAuthorizedKeys(b"alice").addCallback(out.append)
    assert [key.keyBlob for key in out[0]] == [FIRST.public().blob()]


def test_looseModeIsRefused(home: Path) -> None:
    write(home / ".ssh/authorized_keys", line(FIRST))
    (home / ".ssh/authorized_keys").chmod(0o666)
    assert AuthorizedKeysFiles(userdb=Users(home)).read(b"alice") == []
    assert len(AuthorizedKeysFiles(userdb=Users(home), strict=False).read(b"alice")) == 1


class TestUNIXAuthorizedKeysFiles:
    def test_withRestrictions(self, home: Path) -> None:
        write(home / ".ssh/authorized_keys", line(FIRST, b"restrict "))
        (key,) = UNIXAuthorizedKeysFiles(Users(home)).getAuthorizedKeys(b"alice")
        assert isinstance(key, AuthorizedKey)

    def test_withOwnParser(self, home: Path) -> None:
        """A parser of keys knows nothing of options, so it is not shown keys that have some."""
        write(home / ".ssh/authorized_keys", line(FIRST, b"restrict ") + line(SECOND))
        keys = UNIXAuthorizedKeysFiles(Users(home), parseKey=Key.fromString)
        assert list(keys.getAuthorizedKeys(b"alice")) == [SECOND.public()]


def test_inMemory() -> None:
    keys = InMemorySSHKeyDB({b"alice": [FIRST]})
    assert keys.getAuthorizedKeys(b"alice") == [FIRST]
    assert list(keys.getAuthorizedKeys(b"bob")) == []


def test_readAuthorizedKeyFile() -> None:
    data = b"# x\n" + line(FIRST) + b"rubbish\n" + line(SECOND, b'command="x" ')
    assert list(readAuthorizedKeyFile(io.BytesIO(data))) == [FIRST.public()]
    lines = list(readAuthorizedKeyFile(io.BytesIO(data), lambda text: text))
    assert lines == [line(FIRST).strip()]


def test_threadGivesTheSame(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads, `read` runs elsewhere and its result comes back as it is."""
    calls: list[Any] = []

    def runNow(reactor: Any, pool: Any, function: Any, *args: Any) -> defer.Deferred[Any]:
        calls.append(pool)
        return defer.maybeDeferred(function, *args)

    class Reactor:
        def getThreadPool(self) -> str:
            return "pool"

    monkeypatch.setattr("twisted.internet.threads.deferToThreadPool", runNow)
    monkeypatch.setattr("limpet.checkers.workers.getReactor", Reactor)
    write(home / ".ssh/authorized_keys", line(FIRST))
    out: list[Any] = []
    AuthorizedKeysFiles(userdb=Users(home)).getAuthorizedKeys(b"alice").addCallback(out.append)
    assert calls == ["pool"]
    assert [key.keyBlob for key in out[0]] == [FIRST.public().blob()]
    assert os.geteuid() == os.getuid()
