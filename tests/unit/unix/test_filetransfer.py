"""`limpet.unix.filetransfer`: the system's files behind a `FileTransferServer`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import StringTransport
from twisted.python.filepath import FilePath
from zope.interface.verify import verifyClass

from limpet.files.filesystem import ConfinedFiles, Files
from limpet.interfaces import ISFTPFile, ISFTPServer
from limpet.ssh.filetransfer import FileTransferServer
from limpet.unix import UnixConchUser
from limpet.unix.accounts import Account, NotPermitted
from limpet.unix.filetransfer import SFTPServerForUnixConchUser, UnixSFTPFile, inThread
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32
from tests.sftprequests import Asker, messages, names


class Avatar:
    def __init__(self, home: Path, uid: int | None = None) -> None:
        self.home = home
        self.uid = os.geteuid() if uid is None else uid

    def getHomeDir(self) -> FilePath[str]:
        return FilePath(str(self.home))

    def getUserGroupId(self) -> tuple[int, int]:
        return self.uid, os.getegid()


class Queue:
    """Runs what it is given when the test asks for replies, in another order of things."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        later: Deferred[Any] = Deferred()

        def call() -> None:
            maybeDeferred(function, *arguments).chainDeferred(later)

        self.waiting.append(call)
        return later

    def empty(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class AdapterAsker(Asker):
    def __init__(self, server: SFTPServerForUnixConchUser, queue: Queue | None = None) -> None:
        super().__init__()
        self.queue = queue
        self.server = FileTransferServer(avatar=server)
        self.transport: Any = StringTransport()
        self.server.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        (self.version,) = self.exchange(bytes([1]) + u32(3))

    def exchange(self, message: bytes) -> list[bytes]:
        self.transport.clear()
        self.server.dataReceived(NS(message))
        if self.queue is not None:
            self.queue.empty()
        return messages(self.transport.value())


@pytest.fixture(params=["at once", "later"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., AdapterAsker]:
    def makeAsker(files: Files | None = None, readOnly: bool = False) -> AdapterAsker:
        queue = Queue() if request.param == "later" else None
        run: Any = queue.run if queue is not None else lambda call, *arguments: call(*arguments)
        server = SFTPServerForUnixConchUser(Avatar(tmp_path), files, readOnly, run)
        return AdapterAsker(server, queue)

    return makeAsker


@pytest.fixture
def asker(make: Callable[..., AdapterAsker]) -> AdapterAsker:
    return make()


def test_the_interfaces_are_kept() -> None:
    verifyClass(ISFTPServer, SFTPServerForUnixConchUser)
    verifyClass(ISFTPFile, UnixSFTPFile)


def test_it_is_the_adapter_of_a_user_of_the_system(tmp_path: Path) -> None:
    account = Account("me", os.geteuid(), os.getegid(), (os.getegid(),), str(tmp_path), "/bin/sh")
    user = UnixConchUser(account, reactor=object())
    found = ISFTPServer(user)
    assert isinstance(found, SFTPServerForUnixConchUser)
    assert found.avatar is user


def test_nobody_elses_files_are_served(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted):
        SFTPServerForUnixConchUser(Avatar(tmp_path, os.geteuid() + 1))


def test_files_there_and_back(asker: AdapterAsker, tmp_path: Path) -> None:
    handle = asker.open(b"new", sftp.FXF_READ | sftp.FXF_WRITE | sftp.FXF_CREAT)
    data = os.urandom(200_000)
    assert asker.status(sftp.FXP_WRITE, handle, 0, data) == sftp.FX_OK
    assert asker.read(handle, 0, 261120) == data
    assert asker.status(sftp.FXP_READ, handle, 200_000, 1) == sftp.FX_EOF
    assert asker.status(sftp.FXP_READ, handle, 2**63, 1) == sftp.FX_FAILURE
    assert asker.attrs(sftp.FXP_FSTAT, handle)["size"] == 200_000
    assert asker.status(sftp.FXP_FSETSTAT, handle, {"size": 3, "permissions": 0o600}) == sftp.FX_OK
    assert asker.extendedStatus(sftp.EXT_FSYNC, handle) == sftp.FX_OK
    assert asker.status(sftp.FXP_CLOSE, handle) == sftp.FX_OK
    assert (tmp_path / "new").read_bytes() == data[:3]
    assert asker.status(sftp.FXP_OPEN, b"missing", sftp.FXF_READ, {}) == sftp.FX_NO_SUCH_FILE


def test_names_and_attributes(asker: AdapterAsker, tmp_path: Path) -> None:
    assert asker.status(sftp.FXP_MKDIR, b"folder", {"permissions": 0o700}) == sftp.FX_OK
    (tmp_path / "file").write_bytes(b"x")
    assert asker.status(sftp.FXP_RENAME, b"file", b"folder/moved") == sftp.FX_OK
    assert asker.status(sftp.FXP_SYMLINK, b"folder/moved", b"link") == sftp.FX_OK
    assert asker.path(sftp.FXP_READLINK, b"link") == b"folder/moved"
    assert asker.path(sftp.FXP_REALPATH, b"link") == os.fsencode(
        tmp_path.resolve() / "folder/moved"
    )
    assert asker.attrs(sftp.FXP_STAT, b"link")["size"] == 1
    assert asker.attrs(sftp.FXP_LSTAT, b"link")["size"] == len("folder/moved")
    assert asker.status(sftp.FXP_SETSTAT, b"link", {"permissions": 0o640}) == sftp.FX_OK
    assert (tmp_path / "folder" / "moved").stat().st_mode & 0o777 == 0o640
    assert asker.extendedStatus(sftp.EXT_HARDLINK, b"folder/moved", b"hard") == sftp.FX_OK
    assert asker.extendedStatus(sftp.EXT_POSIX_RENAME, b"hard", b"link") == sftp.FX_OK
    assert asker.extendedStatus(sftp.EXT_LSETSTAT, b"link", {"permissions": 0o600}) == sftp.FX_OK
    assert asker.status(sftp.FXP_REMOVE, b"folder/moved") == sftp.FX_OK
    assert asker.status(sftp.FXP_RMDIR, b"folder") == sftp.FX_OK
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.parametrize("count", [0, 97, 98, 99, 250])
def test_directories_of_any_size(asker: AdapterAsker, tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"f{number}").symlink_to("x")
    found = asker.listing(b".")
    assert names(found) == {b".", b"..", *(b"f%d" % number for number in range(count))}
    assert len(found) == count + 2
    assert all(name.longname.startswith((b"d", b"l")) for name in found)


def test_extensions(asker: AdapterAsker, tmp_path: Path) -> None:
    announced = sftp.readHello(asker.version[1:])[1]
    assert sftp.EXT_COPY_DATA in announced
    (tmp_path / "file").write_bytes(b"0123456789")
    source = asker.open(b"file")
    target = asker.open(b"copy", sftp.FXF_WRITE | sftp.FXF_CREAT)
    assert asker.extendedStatus(sftp.EXT_COPY_DATA, source, 2, 5, target, 1) == sftp.FX_OK
    assert (tmp_path / "copy").read_bytes() == b"\x0023456"
    for reply in (
        asker.extended(sftp.EXT_FSTATVFS, source),
        asker.extended(sftp.EXT_STATVFS, b"."),
    ):
        assert reply[0] == sftp.FXP_EXTENDED_REPLY
        assert sftp.StatVfs.decode(reply[2]).blocks == os.statvfs(tmp_path).f_blocks
    kind, _, rest = asker.extended(sftp.EXT_LIMITS)
    assert sftp.Limits.decode(rest).maxReadLength == 261120
    unknown = asker.raw(sftp.FXP_EXTENDED, u32(1) + NS(b"x@y"))
    assert Reader(unknown[2]).u32() == sftp.FX_OP_UNSUPPORTED
    assert asker.extendedStatus(sftp.EXT_STATVFS, b"a\0b") == sftp.FX_FAILURE
    assert asker.extendedStatus(sftp.EXT_COPY_DATA, source, 0, 0, b"none", 0) != sftp.FX_OK
    assert asker.extendedStatus(sftp.EXT_FSYNC, b"none") == sftp.FX_NO_SUCH_FILE


def test_I7_read_only_changes_nothing(make: Callable[..., AdapterAsker], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    asker = make(readOnly=True)
    handle = asker.open(b"file")
    assert asker.contents(b"file") == b"x"
    refused = [
        asker.status(sftp.FXP_WRITE, handle, 0, b"y"),
        asker.status(sftp.FXP_FSETSTAT, handle, {"size": 0}),
        asker.status(sftp.FXP_SETSTAT, b"file", {"size": 0}),
        asker.status(sftp.FXP_REMOVE, b"file"),
        asker.status(sftp.FXP_RENAME, b"file", b"new"),
        asker.status(sftp.FXP_MKDIR, b"new", {}),
        asker.status(sftp.FXP_RMDIR, b"."),
        asker.status(sftp.FXP_SYMLINK, b"file", b"new"),
        asker.extendedStatus(sftp.EXT_POSIX_RENAME, b"file", b"new"),
        asker.extendedStatus(sftp.EXT_HARDLINK, b"file", b"new"),
        asker.extendedStatus(sftp.EXT_LSETSTAT, b"file", {"permissions": 0}),
        asker.extendedStatus(sftp.EXT_FSYNC, handle),
        asker.extendedStatus(sftp.EXT_COPY_DATA, handle, 0, 0, handle, 5),
        *(asker.status(sftp.FXP_OPEN, b"file", flags, {}) for flags in range(2, 64)),
    ]
    assert set(refused) == {sftp.FX_PERMISSION_DENIED}
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"x"


def test_I4_confined_files_stay_within(make: Callable[..., AdapterAsker], tmp_path: Path) -> None:
    (tmp_path / "jail").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    asker = make(ConfinedFiles(os.fsencode(tmp_path / "jail")))
    assert asker.path(sftp.FXP_REALPATH, b".") == b"/"
    assert asker.status(sftp.FXP_OPEN, b"../secret", sftp.FXF_READ, {}) == sftp.FX_NO_SUCH_FILE


def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    queue = Queue()
    server = SFTPServerForUnixConchUser(Avatar(tmp_path), run=queue.run)
    asker = AdapterAsker(server, queue)
    handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
    asker.queue = None
    write = bytes([6]) + sftp.packRequest(sftp.FXP_WRITE, 1, handle, 0, b"data")
    assert asker.exchange(write) == []
    asker.server.connectionLost()
    queue.empty()
    assert (tmp_path / "new").read_bytes() == b"data"
    # And the descriptor is closed, after that.
    queue.empty()
    assert len(queue.waiting) == 0


def test_calls_are_made_in_a_thread_of_the_reactors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def callInThreadWithCallback(self, onResult: Any, call: Any, *arguments: Any) -> None:
            onResult(True, call(*arguments))

    class Reactor:
        def getThreadPool(self) -> Pool:
            return Pool()

        def callFromThread(self, call: Any, *arguments: Any) -> None:
            call(*arguments)

    monkeypatch.setattr("limpet.unix.filetransfer.getReactor", Reactor)
    results: list[Any] = []
    inThread(max, 1, 2).addCallback(results.append)
    assert results == [2]
