"""Group I of the attack table: the SFTP worker of `limpet serve`, and the files behind it.

I1 framing, I2 sizes, I3 handles, I4 paths, I5 links and races, I6 leaks, I7 read-only, I8
extensions and attributes, I9 listings, I10 scp. What is said of paths holds for both ways of
staying within a directory, the kernel's and the walk, and for a worker in a chroot.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from limpet.core.sftp import MAX_HANDLES
from limpet.files.beneath import kernelConfines
from limpet.files.filesystem import ConfinedFiles, Files
from limpet.files.requests import READ_ONLY
from limpet.files.worker import STATUS_IDENTITY
from limpet.wire import numbers as n
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32
from tests.attacks.live import LiveServer
from tests.sftprequests import Asker, FilesAsker, WorkerAsker, names, statusOf, textOf

RACE_ROUNDS = 10_000 if os.environ.get("LIMPET_FULL") else 2_000
MEBIBYTE = 1024 * 1024

SECRET = b"not for the client"


class Jail:
    """A directory with a secret beside it, and an asker who is confined there."""

    def __init__(self, top: Path, asker: Asker) -> None:
        self.top = top
        self.inside = top / "user1"
        self.asker = asker


def build(top: Path) -> Path:
    inside = top / "user1"
    (inside / "a" / "b").mkdir(parents=True)
    (inside / "file").write_bytes(b"the client's own")
    (top / "user10").mkdir()
    (top / "user10" / "secret").write_bytes(SECRET)
    (top / "secret").write_bytes(SECRET)
    (inside / "toTop").symlink_to("/")
    (inside / "toSecret").symlink_to(top / "secret")
    (inside / "up").symlink_to("../secret")
    (inside / "toFolder").symlink_to(top / "user10")
    return inside


KINDS = ["kernel", "walk", *(["chroot"] if os.geteuid() == 0 else [])]


@pytest.fixture(params=KINDS)
def jail(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jail]:
    inside = build(tmp_path)
    if request.param == "chroot":
        with WorkerAsker(f"root={inside}", "home=/") as worker:
            yield Jail(tmp_path, worker)
        return
    if request.param == "kernel" and not kernelConfines():
        pytest.skip("this kernel has no openat2")
    files = ConfinedFiles(os.fsencode(inside), request.param == "kernel")
    asker = FilesAsker(files)
    yield Jail(tmp_path, asker)
    assert not asker.bugs


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerAsker]:
    with WorkerAsker(f"home={tmp_path}") as asker:
        yield asker


def fingerprint(top: Path) -> str:
    """A hash of all names, kinds, modes, sizes, times and contents below `top`."""
    digest = hashlib.sha256()
    for directory, folders, files in os.walk(top):
        for name in sorted([*folders, *files, "."]):
            path = os.path.join(directory, name)
            details = os.lstat(path)
            digest.update(
                repr((path, details.st_mode, details.st_uid, details.st_mtime_ns)).encode()
            )
            if stat.S_ISREG(details.st_mode):
                digest.update(Path(path).read_bytes())
            elif stat.S_ISLNK(details.st_mode):
                digest.update(os.readlink(path).encode())
    return digest.hexdigest()


# ── I1 ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, 262145, 2**32 - 1])
def test_I1_aLengthThatIsNotAllowedEndsTheSession(worker: WorkerAsker, length: int) -> None:
    worker.send(u32(length))
    assert worker.receive() == b""
    assert worker.end()[0] != 0


def test_I1_theLongestMessageIsTaken(worker: WorkerAsker) -> None:
    body = u32(7) + NS(b"x" * (262144 - 9))
    (reply,) = worker.exchange(bytes([sftp.FXP_STAT]) + body)
    assert len(body) + 1 == sftp.MAX_MESSAGE_LENGTH
    assert Reader(reply, 5).u32() == sftp.FX_FAILURE


@pytest.mark.parametrize(
    "message",
    [
        bytes([sftp.FXP_STAT]) + u32(1) + NS(b"."),  # before INIT
        bytes([1]) + u32(0),
        bytes([1]) + u32(2),
        bytes([1]),
        bytes([1]) + u32(3) + NS(b"x"),
    ],
)
def test_I1_aSessionBeginsWithINIT(tmp_path: Path, message: bytes) -> None:
    with WorkerAsker(f"home={tmp_path}", hello=False) as asker:
        asker.send(NS(message))
        assert asker.receive() == b""


def test_I1_aSecondINITEndsTheSession(worker: WorkerAsker) -> None:
    worker.send(NS(bytes([1]) + u32(3)))
    assert worker.receive() == b""


# ── I2 ───────────────────────────────────────────────────────────────────────────────────────────


def test_I2_aReadIsClamped(jail: Jail) -> None:
    with (jail.inside / "big").open("wb") as file:
        file.truncate(10 * MEBIBYTE)
    handle = jail.asker.open(b"big")
    for length in (261121, MEBIBYTE, 2**32 - 1):
        assert len(jail.asker.read(handle, 0, length)) == sftp.MAX_DATA_LENGTH


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1, 2**63 - 5])
def test_I2_offsetsThatNoFileHas(jail: Jail, offset: int) -> None:
    handle = jail.asker.open(b"file", sftp.FXF_READ | sftp.FXF_WRITE)
    read = jail.asker.status(sftp.FXP_READ, handle, offset, 2**32 - 1)
    assert read in (sftp.FX_FAILURE, sftp.FX_EOF)
    if offset >= 2**63:
        assert read == sftp.FX_FAILURE
    assert jail.asker.status(sftp.FXP_WRITE, handle, offset, b"0123456789") == sftp.FX_FAILURE
    size = {"size": offset}
    if offset >= 2**63:
        assert jail.asker.status(sftp.FXP_FSETSTAT, handle, size) == sftp.FX_FAILURE
        assert jail.asker.status(sftp.FXP_SETSTAT, b"file", size) == sftp.FX_FAILURE
    assert jail.asker.read(handle) == b"the client's own"


def test_I2_repliesThatNobodyReadsHoldTheRequestsBack(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MEBIBYTE)
    with WorkerAsker(f"home={tmp_path}") as asker:
        handle = asker.open(b"big")
        before = residentBytes(asker.process.pid)
        assert asker.process.stdin is not None
        fd = asker.process.stdin.fileno()
        os.set_blocking(fd, False)
        request = NS(bytes([5]) + sftp.packRequest(sftp.FXP_READ, 1, handle, 0, 2**32 - 1))
        sent = 0
        # A million of them are 38 MB; the pipe and the worker's buffer take a small part.
        for _ in range(1_000_000 * len(request) // 65536):
            try:
                sent += os.write(fd, request * (65536 // len(request)))
            except BlockingIOError:
                break
        assert sent < 2 * MEBIBYTE
        assert residentBytes(asker.process.pid) - before < 8 * MEBIBYTE


def residentBytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# ── I3 ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("isDirectory", [False, True])
def test_I3_handlesAreLimited(jail: Jail, isDirectory: bool) -> None:
    refused = 0
    for _ in range(MAX_HANDLES + 50):
        if isDirectory:
            reply = jail.asker.ask(sftp.FXP_OPENDIR, b"a")
        else:
            reply = jail.asker.ask(sftp.FXP_OPEN, b"file", sftp.FXF_READ, {})
        refused += statusOf(reply) == sftp.FX_FAILURE
    assert refused == 50
    # One that is refused makes no file, either.
    flags = sftp.FXF_WRITE | sftp.FXF_CREAT
    assert jail.asker.status(sftp.FXP_OPEN, b"new", flags, {}) == sftp.FX_FAILURE
    assert not (jail.inside / "new").exists()


def test_I3_handlesThatAreNone(jail: Jail) -> None:
    asker = jail.asker
    closed = asker.open(b"file")
    asker.ask(sftp.FXP_CLOSE, closed)
    mine = asker.open(b"file")
    guessed = (int.from_bytes(mine[:8], "big") + 1).to_bytes(8, "big") + mine[8:]
    for handle in (b"", b"x" * 257, b"x" * 70000, closed, guessed, mine[:-1], mine + b"\0", b"0"):
        for reply in (
            asker.ask(sftp.FXP_READ, handle, 0, 10),
            asker.ask(sftp.FXP_WRITE, handle, 0, b"x"),
            asker.ask(sftp.FXP_FSTAT, handle),
            asker.ask(sftp.FXP_FSETSTAT, handle, {"permissions": 0}),
            asker.ask(sftp.FXP_READDIR, handle),
            asker.ask(sftp.FXP_CLOSE, handle),
            asker.extended(sftp.EXT_FSYNC, handle),
            asker.extended(sftp.EXT_FSTATVFS, handle),
            asker.extended(sftp.EXT_COPY_DATA, handle, 0, 0, mine, 0),
            asker.extended(sftp.EXT_COPY_DATA, mine, 0, 0, handle, 0),
        ):
            assert statusOf(reply) != sftp.FX_OK
    assert asker.read(mine) == b"the client's own"


def test_I3_handlesAreOneSessionsOwn(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    first, second = (FilesAsker(Files(os.fsencode(tmp_path))) for _ in range(2))
    handle = first.open(b"file")
    second.open(b"file")
    assert second.status(sftp.FXP_READ, handle, 0, 1) == sftp.FX_NO_SUCH_FILE


# ── I4 ───────────────────────────────────────────────────────────────────────────────────────────

OUTSIDE = [
    b"../secret",
    b"/../secret",
    b"a/../../secret",
    b"//../secret",
    b"a/b/../../../secret",
    b"../user10/secret",
    b"..",
    b"../user10",
    b"toSecret",
    b"up",
    b"toFolder/secret",
    b"toTop/../secret",
    b"a/..\\..\\secret",
    b"\xc0\xae\xc0\xae/secret",  # `..` in overlong UTF-8
    b"%2e%2e/secret",
    b"../secret\0",
    b"file\0../secret",
    b"\0",
    b"x" * 4097,
    b"a/" * 2049,
    b"",
]


def requestsOn(path: bytes, other: bytes) -> list[tuple[int | bytes, tuple[Any, ...]]]:
    """Every request that takes a path, with `path` as each of its arguments."""
    writing = sftp.FXF_WRITE | sftp.FXF_CREAT
    attrs = {"permissions": 0o777, "atime": 1, "mtime": 1}
    return [
        (sftp.FXP_OPEN, (path, sftp.FXF_READ, {})),
        (sftp.FXP_OPEN, (path, writing, {})),
        (sftp.FXP_OPEN, (path, writing | sftp.FXF_TRUNC, {})),
        (sftp.FXP_OPEN, (path, writing | sftp.FXF_EXCL, {})),
        (sftp.FXP_OPEN, (path, sftp.FXF_WRITE | sftp.FXF_APPEND, {})),
        (sftp.FXP_LSTAT, (path,)),
        (sftp.FXP_STAT, (path,)),
        (sftp.FXP_SETSTAT, (path, attrs)),
        (sftp.FXP_SETSTAT, (path, {"size": 0})),
        (sftp.FXP_OPENDIR, (path,)),
        (sftp.FXP_MKDIR, (path, {})),
        (sftp.FXP_REALPATH, (path,)),
        (sftp.FXP_READLINK, (path,)),
        (sftp.FXP_SYMLINK, (path, other)),
        (sftp.FXP_SYMLINK, (other, path)),
        (sftp.EXT_LSETSTAT, (path, attrs)),
        (sftp.EXT_STATVFS, (path,)),
        (sftp.EXT_EXPAND_PATH, (path,)),
        (sftp.EXT_EXPAND_PATH, (b"~/" + path,)),
        (sftp.EXT_HOME_DIRECTORY, (path,)),
        (sftp.EXT_HARDLINK, (path, other)),
        (sftp.EXT_HARDLINK, (other, path)),
        (sftp.FXP_RENAME, (path, other)),
        (sftp.FXP_RENAME, (other, path)),
        (sftp.EXT_POSIX_RENAME, (path, other)),
        (sftp.EXT_POSIX_RENAME, (other, path)),
        (sftp.FXP_REMOVE, (path,)),
        (sftp.FXP_RMDIR, (path,)),
    ]


def askFor(
    asker: Asker, request: int | bytes, arguments: tuple[Any, ...]
) -> tuple[int, int, bytes]:
    if isinstance(request, int):
        return asker.ask(request, *arguments)
    return asker.extended(request, *arguments)


def test_I4_everyRequestWithAPathIsTried() -> None:
    tried = {request for request, _ in requestsOn(b"", b"")}
    taking = {
        kind
        for kind in sftp.REQUESTS
        if kind
        not in (
            *(sftp.FXP_CLOSE, sftp.FXP_READ, sftp.FXP_WRITE),
            *(sftp.FXP_FSTAT, sftp.FXP_FSETSTAT, sftp.FXP_READDIR),
        )
    }
    ofHandles = {
        *(sftp.EXT_FSTATVFS, sftp.EXT_FSYNC, sftp.EXT_LIMITS),
        *(sftp.EXT_COPY_DATA, sftp.EXT_USERS_GROUPS),
    }
    assert tried == taking | (set(sftp.EXTENDED_REQUESTS) - ofHandles)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: repr(path[:20]))
def test_I4_noPathLeadsOut(jail: Jail, path: bytes) -> None:
    outside = [jail.top / "secret", jail.top / "user10"]
    before = [fingerprint(place) for place in outside], SECRET, (jail.top / "secret").stat()
    parent = told(jail.top.stat())
    for number, (request, arguments) in enumerate(requestsOn(path, b"other%d")):
        values = tuple(
            b"other%d" % number if argument == b"other%d" else argument for argument in arguments
        )
        kind, _, rest = askFor(jail.asker, request, values)
        assert SECRET not in rest
        assert os.fsencode(jail.top) not in rest or request == sftp.FXP_READLINK
        if kind == sftp.FXP_HANDLE:
            handle = Reader(rest).string()
            for follow in (
                (sftp.FXP_READ, (handle, 0, 1000)),
                (sftp.FXP_READDIR, (handle,)),
                (sftp.FXP_WRITE, (handle, 0, b"overwritten")),
            ):
                _, _, answer = jail.asker.ask(follow[0], *follow[1])
                assert SECRET not in answer
                assert b"user10" not in answer
            jail.asker.ask(sftp.FXP_CLOSE, handle)
        if b"\0" in path and path in arguments and request != sftp.EXT_HOME_DIRECTORY:
            assert statusOf((kind, 0, rest)) == sftp.FX_FAILURE
    after = [fingerprint(place) for place in outside], SECRET, (jail.top / "secret").stat()
    assert after[0] == before[0]
    assert after[2].st_mtime_ns == before[2].st_mtime_ns
    assert after[2].st_nlink == before[2].st_nlink == 1
    assert sorted(os.listdir(jail.top)) == ["secret", "user1", "user10"]
    assert told(jail.top.stat()) == parent


def told(details: os.stat_result) -> tuple[int, ...]:
    """What a client could have changed of a directory; reading it changes its atime."""
    return details.st_mode, details.st_uid, details.st_gid, details.st_mtime_ns


def test_I4_aNameThatOnlyLooksLikeAnotherIsItself(jail: Jail) -> None:
    for name in (b"..\\secret", b"\xc0\xae\xc0\xae", b"..."):
        jail.asker.open(name, sftp.FXF_WRITE | sftp.FXF_CREAT)
        assert name in os.listdir(os.fsencode(jail.inside))


# ── I5 ───────────────────────────────────────────────────────────────────────────────────────────


def test_I5_linksMadeByTheClientLeadNowhere(jail: Jail) -> None:
    asker = jail.asker
    for number, target in enumerate(
        [os.fsencode(jail.top / "secret"), b"../secret", b"/../../secret", b"/etc/passwd"]
    ):
        link = b"made%d" % number
        assert asker.status(sftp.FXP_SYMLINK, target, link) == sftp.FX_OK
        assert asker.status(sftp.FXP_OPEN, link, sftp.FXF_READ, {}) == sftp.FX_NO_SUCH_FILE
        assert asker.status(sftp.FXP_STAT, link) == sftp.FX_NO_SUCH_FILE
        # What is linked is the link.
        assert asker.extendedStatus(sftp.EXT_HARDLINK, link, link + b"hard") == sftp.FX_OK
        assert stat.S_ISLNK(asker.attrs(sftp.FXP_LSTAT, link + b"hard")["permissions"])


def test_I5_aLinkThereBeforeLeadsNowhere(jail: Jail) -> None:
    listed = names(jail.asker.listing(b"toTop"))
    assert b"file" in listed
    assert b"secret" not in listed
    assert jail.asker.status(sftp.FXP_OPENDIR, b"toFolder") == sftp.FX_NO_SUCH_FILE
    assert jail.asker.contents(b"toTop/toTop/file") == b"the client's own"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root goes into a jail")
def test_I5_rootFollowsNoLinkOfAUsersIntoTheJail(tmp_path: Path) -> None:
    """sftp-root = "%h/files", and the user has put a link there, to what is closed to them."""
    (tmp_path / "closed" / "open").mkdir(parents=True)
    (tmp_path / "closed" / "open" / "file").write_bytes(b"the client's own")
    (tmp_path / "link").symlink_to("closed")
    (tmp_path / "absolute").symlink_to(f"{tmp_path}/link/open/")
    for root in ("closed/open/", "absolute", "link/../link/open"):
        with WorkerAsker(f"root={tmp_path}/{root}") as asker:
            assert asker.contents(b"/file") == b"the client's own"
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    for root in ("absolute", "link", "link/open"):
        with WorkerAsker(f"root={tmp_path}/{root}", hello=False) as asker:
            status, complaint = asker.end()
        assert status == STATUS_IDENTITY
        assert b"'link' is a link of a user's" in complaint
    (tmp_path / "loop").symlink_to("loop")
    for root in ("loop", "missing", "closed/open/file"):
        with WorkerAsker(f"root={tmp_path}/{root}", hello=False) as asker:
            assert asker.end()[0] == STATUS_IDENTITY


def test_I5_nobodyWinsTheRace(jail: Jail) -> None:
    """A directory and a link to the outside change places all the time while paths lead there."""
    flat = jail.inside / "flat"
    flat.mkdir()
    (flat / "secret").write_bytes(b"the client's own")
    lure = jail.inside / "lure"
    lure.symlink_to(jail.top)
    deep = jail.inside / "deep"
    (deep / "er").mkdir(parents=True)
    (deep / "er" / "secret").write_bytes(b"the client's own")
    done = threading.Event()

    def exchange() -> None:
        spare = jail.inside / "spare"
        while not done.is_set():
            for first in (flat, deep):
                with suppress(FileExistsError, FileNotFoundError):
                    first.rename(spare)
                    lure.rename(first)
                    first.rename(lure)
                    spare.rename(first)

    thread = threading.Thread(target=exchange, daemon=True)
    thread.start()
    asker, opened = jail.asker, 0
    try:
        for _ in range(RACE_ROUNDS // (5 if isinstance(asker, WorkerAsker) else 2)):
            for path in (b"flat/secret", b"deep/er/../../flat/secret"):
                kind, _, rest = asker.ask(sftp.FXP_OPEN, path, sftp.FXF_READ, {})
                if kind != sftp.FXP_HANDLE:
                    continue
                handle = Reader(rest).string()
                assert asker.read(handle) == b"the client's own"
                asker.ask(sftp.FXP_CLOSE, handle)
                opened += 1
            asker.ask(sftp.FXP_SETSTAT, b"flat/secret", {"permissions": 0o604})
            asker.ask(sftp.FXP_MKDIR, b"flat/made", {})
            asker.ask(sftp.FXP_RMDIR, b"flat/made")
    finally:
        done.set()
        thread.join(20)
    assert opened
    assert (jail.top / "secret").stat().st_mode & 0o777 != 0o604
    assert sorted(os.listdir(jail.top)) == ["secret", "user1", "user10"]


# ── I6 ───────────────────────────────────────────────────────────────────────────────────────────


def test_I6_anOpenFileStaysTheFileThatWasOpened(jail: Jail) -> None:
    handle = jail.asker.open(b"file", sftp.FXF_READ | sftp.FXF_WRITE)
    (jail.inside / "file").rename(jail.inside / "moved")
    (jail.inside / "file").symlink_to(jail.top / "secret")
    assert jail.asker.status(sftp.FXP_FSETSTAT, handle, {"permissions": 0o600}) == sftp.FX_OK
    assert jail.asker.status(sftp.FXP_FSETSTAT, handle, {"size": 3}) == sftp.FX_OK
    assert (jail.inside / "moved").read_bytes() == b"the"
    assert (jail.top / "secret").read_bytes() == SECRET


def test_I6_pathsAreTheClients(jail: Jail) -> None:
    asker = jail.asker
    assert asker.path(sftp.FXP_REALPATH, b".") == b"/"
    assert asker.path(sftp.FXP_REALPATH, b"../a/b/..") == b"/a"
    asker.ask(sftp.FXP_SYMLINK, b"/a/b", b"link")
    assert asker.path(sftp.FXP_READLINK, b"link") == b"/a/b"
    assert asker.path(sftp.FXP_REALPATH, b"link") == b"/a/b"


def test_I6_theTopIsItsOwnParent(jail: Jail) -> None:
    jail.top.chmod(0o711)
    jail.inside.chmod(0o755)
    top = jail.asker.attrs(sftp.FXP_STAT, b"/")
    for path in (b"..", b"/..", b"../..", b"a/../.."):
        assert jail.asker.attrs(sftp.FXP_LSTAT, path) == top
        assert jail.asker.attrs(sftp.FXP_STAT, path) == top
    for path in (b"/", b"a/.."):
        dots = {entry.filename: entry.attrs for entry in jail.asker.listing(path)}
        assert dots[b"."]["permissions"] == dots[b".."]["permissions"] == top["permissions"]


def test_I6_whatIsOutsideIsNotToldFromWhatIsNot(jail: Jail) -> None:
    there, missing = os.fsencode(jail.top / "secret"), os.fsencode(jail.top / "missing")
    for request, arguments in requestsOn(there, b"o1"):
        if there not in arguments or request in (sftp.FXP_SYMLINK, sftp.FXP_MKDIR):
            continue
        others = tuple(missing if value == there else value for value in arguments)
        first = askFor(jail.asker, request, arguments)
        second = askFor(jail.asker, request, others)
        assert (first[0], first[2].replace(b"secret", b"")) == (
            second[0],
            second[2].replace(b"missing", b""),
        )


# ── I7 ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def readOnly(tmp_path: Path) -> Iterator[Jail]:
    inside = build(tmp_path)
    with WorkerAsker(f"home={inside}", "readOnly=yes") as asker:
        yield Jail(tmp_path, asker)


def test_I7_nothingIsChanged(readOnly: Jail) -> None:
    asker, before = readOnly.asker, fingerprint(readOnly.top)
    handle = asker.open(b"file")
    refused = 0
    for request, arguments in requestsOn(b"file", b"new"):
        reply = askFor(asker, request, arguments)
        reads = request == sftp.FXP_OPEN and arguments[1] == sftp.FXF_READ
        if request not in READ_ONLY and not reads:
            assert statusOf(reply) == sftp.FX_PERMISSION_DENIED, (request, arguments)
            assert b"read-only" in textOf(reply)
            refused += 1
    for reply in (
        asker.ask(sftp.FXP_WRITE, handle, 0, b"x"),
        asker.ask(sftp.FXP_FSETSTAT, handle, {"size": 0}),
        asker.extended(sftp.EXT_FSYNC, handle),
        asker.extended(sftp.EXT_COPY_DATA, handle, 0, 0, handle, 100),
    ):
        assert statusOf(reply) == sftp.FX_PERMISSION_DENIED
    assert refused > 12
    assert fingerprint(readOnly.top) == before


@pytest.mark.parametrize("flags", range(128))
def test_I7_noFlagsOfOPENChangeAnything(tmp_path: Path, flags: int) -> None:
    inside = build(tmp_path)
    asker = FilesAsker(Files(os.fsencode(inside)), readOnly=True)
    before = fingerprint(tmp_path)
    for path in (b"file", b"new", b"toSecret"):
        opened = asker.status(sftp.FXP_OPEN, path, flags, {"permissions": 0o777, "size": 0})
        if flags & ~sftp.FXF_READ:
            assert opened == sftp.FX_PERMISSION_DENIED
    assert fingerprint(tmp_path) == before


# ── I8 ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [b"", b"x@y", b"\0", b"statvfs@openssh.co", b"x" * 60000])
def test_I8_extensionsThatAreNone(jail: Jail, name: bytes) -> None:
    reply = jail.asker.raw(sftp.FXP_EXTENDED, u32(3) + NS(name) + b"\xff" * 40)
    assert statusOf(reply) == sftp.FX_OP_UNSUPPORTED


def test_I8_countsThatAreNone(jail: Jail) -> None:
    attrs = u32(sftp.ATTR_EXTENDED) + u32(2**32 - 1)
    for kind in (sftp.FXP_SETSTAT, sftp.FXP_MKDIR):
        reply = jail.asker.raw(kind, u32(1) + NS(b"new") + attrs)
        assert statusOf(reply) == sftp.FX_BAD_MESSAGE
    ids = sftp.packIds(range(20000, 25000))
    kind, _, rest = jail.asker.extended(sftp.EXT_USERS_GROUPS, ids, ids)
    assert len(rest) <= sftp.MAX_MESSAGE_LENGTH


def test_I8_noSetIdBitsInAJail(jail: Jail) -> None:
    asker = jail.asker
    flags = sftp.FXF_WRITE | sftp.FXF_CREAT
    handle = asker.open(b"new", flags, {"permissions": 0o7777})
    assert (jail.inside / "new").stat().st_mode & 0o7000 == 0
    asker.ask(sftp.FXP_FSETSTAT, handle, {"permissions": 0o7711})
    assert (jail.inside / "new").stat().st_mode & 0o7777 == 0o711
    asker.ask(sftp.FXP_SETSTAT, b"new", {"permissions": 0o7722})
    assert (jail.inside / "new").stat().st_mode & 0o7777 == 0o722
    asker.extended(sftp.EXT_LSETSTAT, b"new", {"permissions": 0o7733})
    assert (jail.inside / "new").stat().st_mode & 0o7777 == 0o733
    asker.ask(sftp.FXP_MKDIR, b"folder", {"permissions": 0o7755})
    assert (jail.inside / "folder").stat().st_mode & 0o7000 == 0


def test_I8_onlyRegularFilesAreOpened(jail: Jail) -> None:
    os.mkfifo(jail.inside / "fifo")
    special = [b"fifo"]
    if os.geteuid() == 0:
        os.mknod(jail.inside / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        special.append(b"zero")
    for name in special:
        for flags in (1, 2, 3, 2 | 8, 2 | 8 | 16, 4):
            reply = jail.asker.ask(sftp.FXP_OPEN, name, flags, {})
            assert (statusOf(reply), textOf(reply)) == (sftp.FX_FAILURE, b"Not a regular file")
        assert jail.asker.status(sftp.FXP_SETSTAT, name, {"size": 0}) != sftp.FX_OK


def test_I8_aLinkOfTheSystemsLeadsNowhere(tmp_path: Path) -> None:
    """/proc/self/root leads to the process's own top, whatever its text says."""
    for useKernel in (True, False):
        if useKernel and not kernelConfines():
            continue
        asker = FilesAsker(ConfinedFiles(b"/proc/self", useKernel))
        for path in (b"root/etc/passwd", b"cwd/pyproject.toml", b"fd/0"):
            assert asker.status(sftp.FXP_OPEN, path, sftp.FXF_READ, {}) != sftp.FX_OK


# ── I9 ───────────────────────────────────────────────────────────────────────────────────────────


def test_I9_aLargeDirectoryIsListedInPieces(tmp_path: Path) -> None:
    for number in range(5000):
        os.symlink("x", tmp_path / f"{number:0200d}")
    with WorkerAsker(f"home={tmp_path}") as asker:
        before = residentBytes(asker.process.pid)
        assert len(asker.listing(b".")) == 5002
        assert residentBytes(asker.process.pid) - before < 4 * MEBIBYTE


def test_I9_namesOfAllKindsKeepTheirBytesAndMoveNoCursor(jail: Jail) -> None:
    # A file's name has at most 255 bytes, whichever they are, but NUL and slash.
    odd = [bytes([byte]) * 3 for byte in range(1, 256) if byte != 0x2F]
    odd += [
        b"a\nb",
        b"\x1b]0;title\x07",
        b"\xff" * 255,
        "\u202e".encode() * 85,
        b"-rf",
        b"\xc2\x9b",
    ]
    odd.remove(b"...")
    for name in [*odd, b"..."]:
        jail.asker.ask(sftp.FXP_MKDIR, name, {})
    found = {entry.filename: entry for entry in jail.asker.listing(b"/")}
    assert set(odd) <= set(found)
    for entry in found.values():
        shown = entry.longname.decode("utf-8")
        assert shown.isprintable(), shown


def test_I9_oneReplyFitsWhateverTheNames(tmp_path: Path) -> None:
    for number in range(120):
        name = b"\x01" * 250 + b"%05d" % number
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    asker = FilesAsker(Files(os.fsencode(tmp_path)))
    handle = asker.openDirectory(b".")
    (reply,) = asker.exchange(bytes([12]) + sftp.packRequest(12, 1, handle))
    assert 1000 < len(reply) <= sftp.MAX_MESSAGE_LENGTH


# ── a whole server ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[LiveServer]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    server = LiveServer(state, ("--sftp-root", str(build(tmp_path))))
    yield server
    server.stop()


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[LiveServer]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    server = LiveServer(state, ("--read-only",))
    yield server
    server.stop()


@pytest.mark.parametrize(
    "command", [b"scp -t ../../x", b"scp -f `id`", b"id", b"sftp-server", b"internal-sftp"]
)
def test_I10_aServerForFilesRunsNoCommand(confined: LiveServer, command: bytes) -> None:
    someone = confined.loggedIn()
    someone.session(0)
    assert not someone.asked(b"exec", NS(command))
    assert not someone.asked(b"shell")
    assert not someone.asked(b"pty-req", NS(b"xterm") + u32(80) + u32(24) + u32(0) * 2 + NS(b"\0"))
    assert someone.asked(b"subsystem", NS(b"sftp"))
    someone.close()
    confined.assertAtRest()


def test_I10_norDoesAReadOnlyOne(reading: LiveServer) -> None:
    someone = reading.loggedIn()
    someone.session(0)
    assert not someone.asked(b"exec", NS(b"touch x"))
    assert not someone.asked(b"shell")
    someone.close()
    reading.assertAtRest()


def test_I2_aClientWhoTakesNothingGetsNoWindow(confined: LiveServer, tmp_path: Path) -> None:
    """A million READs whose replies nobody takes: the server stops to grant window."""
    with (tmp_path / "user1" / "big").open("wb") as file:
        file.truncate(MEBIBYTE)
    someone = confined.loggedIn()
    someone.session(0, window=100_000)
    assert someone.asked(b"subsystem", NS(b"sftp"))
    hello = NS(bytes([1]) + u32(3))
    opening = NS(bytes([3]) + sftp.packRequest(3, 1, b"big", sftp.FXF_READ, {}))
    someone.send(n.MSG_CHANNEL_DATA, u32(0) + NS(hello + opening))
    replied = b""
    while b"\x66\0\0\0\1\0\0\0\x10" not in replied:
        replied += someone.expect(n.MSG_CHANNEL_DATA)[1][8:]
    handle = replied[-16:]
    before = residentBytes(confined.process.pid)
    request = NS(bytes([5]) + sftp.packRequest(5, 1, handle, 0, 2**32 - 1))
    piece = request * (32768 // len(request))
    granted, sent = 2 * MEBIBYTE, len(hello + opening)
    for _ in range(1_000_000 * len(request) // len(piece)):
        if granted - sent < len(piece):
            someone.ping()
            granted += sum(
                int.from_bytes(payload[4:8], "big")
                for number, payload in someone.take()
                if number == n.MSG_CHANNEL_WINDOW_ADJUST
            )
            someone._seen = 0
            if granted - sent < len(piece):
                break
        someone.send(n.MSG_CHANNEL_DATA, u32(0) + NS(piece))
        sent += len(piece)
    else:
        raise AssertionError("all of it was taken")
    assert sent < 8 * MEBIBYTE
    assert residentBytes(confined.process.pid) - before < 16 * MEBIBYTE
    someone.close()
    confined.assertAtRest()


def test_I3_aWorkerGoesWithItsSession(confined: LiveServer) -> None:
    someone = confined.loggedIn()
    for number in range(3):
        someone.session(number)
        assert someone.asked(b"subsystem", NS(b"sftp"), number)
    confined.waitUntil(lambda: len(confined.children()) == 3, "three workers")
    someone.reset()
    confined.assertAtRest()
