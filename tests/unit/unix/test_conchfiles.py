"""Files in the server's own process, for servers that derive from Conch's class."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.python.filepath import FilePath
from zope.interface.verify import verifyObject

from limpet.error import ConchError
from limpet.interfaces import ISFTPFile, ISFTPServer
from limpet.unix import SFTPServerForUnixConchUser
from limpet.wire.sftp import FXF_CREAT, FXF_READ, FXF_WRITE

ALL = FXF_READ | FXF_WRITE | FXF_CREAT


class User:
    """An avatar with a home."""

    def __init__(self, home: Path, uid: int) -> None:
        self.home, self.uid = home, uid

    def getHomeDir(self) -> FilePath[str]:
        return FilePath(str(self.home))

    def getUserGroupId(self) -> tuple[int, int]:
        return self.uid, self.uid


@pytest.fixture
def files(tmp_path: Path) -> SFTPServerForUnixConchUser:
    return SFTPServerForUnixConchUser(User(tmp_path, os.geteuid()))


def test_theInterfaces(files: SFTPServerForUnixConchUser) -> None:
    verifyObject(ISFTPServer, files)
    file = files.openFile(b"a", ALL, {})
    verifyObject(ISFTPFile, file)
    file.close()


def test_aFile(files: SFTPServerForUnixConchUser, tmp_path: Path) -> None:
    file = files.openFile(b"a", ALL, {"permissions": 0o640, "mtime": 1000, "atime": 2000})
    file.writeChunk(0, b"hello")
    file.writeChunk(5, b" world")
    assert file.readChunk(3, 100) == b"lo world"
    with pytest.raises(EOFError):
        file.readChunk(11, 1)
    assert file.getAttrs()["size"] == 11
    file.setAttrs({"size": 5})
    file.close()
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_names(files: SFTPServerForUnixConchUser, tmp_path: Path) -> None:
    files.makeDirectory(b"d", {})
    files.openFile(b"d/a", ALL, {}).close()
    files.renameFile(b"d/a", b"d/b")
    files.makeLink(b"l", b"d/b")
    assert files.readLink(b"l") == os.fsencode(tmp_path / "d/b")
    assert stat.S_ISLNK(files.getAttrs(b"l", False)["permissions"])
    assert stat.S_ISREG(files.getAttrs(b"l", True)["permissions"])
    files.setAttrs(b"d/b", {"permissions": 0o600})
    listing = list(files.openDirectory(b"d"))
    assert [name for name, _, _ in listing] == [b"b"]
    assert listing[0][1].startswith(b"-rw-------")
    assert files.realPath(b"l") == os.fsencode(os.path.realpath(tmp_path / "d/b"))
    files.removeFile(b"d/b")
    files.removeDirectory(b"d")
    files.removeFile(b"l")
    assert os.listdir(tmp_path) == []


def test_aSubclassLeadsItsClientsElsewhere(tmp_path: Path) -> None:
    class Jailed(SFTPServerForUnixConchUser):
        def _absPath(self, path: bytes) -> Any:
            return os.path.join(str(tmp_path), os.fsdecode(path).lstrip("/"))

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("mine")
    file = Jailed(User(Path("/"), os.geteuid())).openFile(b"/etc/passwd", FXF_READ, {})
    assert file.readChunk(0, 10) == b"mine"
    file.close()


def test_anotherUsersProcess(tmp_path: Path) -> None:
    with pytest.raises(ConchError, match="another user's"):
        SFTPServerForUnixConchUser(User(tmp_path, os.geteuid() + 1))
