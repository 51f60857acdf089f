"""`limpet.files.requests` over `limpet.files.filesystem`: each request, its reply, what it did."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpet.files import filesystem
from limpet.files.beneath import kernelConfines
from limpet.files.filesystem import ConfinedFiles, Files
from limpet.files.requests import FileRequests, SessionOver
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32
from tests.descriptors import sameDescriptors
from tests.sftprequests import FilesAsker, handleOf, names, onlyName, statusOf, textOf

Make = Callable[..., FilesAsker]


@pytest.fixture(params=["own", "confined", "walked"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an asker whose files begin in tmp_path, of each kind."""

    def makeAsker(**options: Any) -> FilesAsker:
        start = os.fsencode(tmp_path)
        if request.param == "own":
            return FilesAsker(Files(start), **options)
        if request.param == "confined" and not kernelConfines():
            pytest.skip("this kernel has no openat2")
        return FilesAsker(ConfinedFiles(start, request.param == "confined"), **options)

    return makeAsker


@pytest.fixture
def asker(make: Make) -> FilesAsker:
    return make()


class TestHello:
    def test_the_version_and_all_extensions_are_told(self, asker: FilesAsker) -> None:
        assert asker.version[0] == sftp.FXP_VERSION
        version, extensions = sftp.readHello(asker.version[1:])
        assert version == 3
        assert extensions == sftp.EXTENSION_VERSIONS
        assert extensions[b"posix-rename@openssh.com"] == b"1"
        assert extensions[b"statvfs@openssh.com"] == b"2"

    def test_a_later_version_gets_ours(self, make: Make) -> None:
        (reply,) = make(hello=False).exchange(bytes([1]) + u32(2**32 - 1))
        assert sftp.readHello(reply[1:])[0] == 3

    @pytest.mark.parametrize(
        "message",
        [
            bytes([1]) + u32(2),
            bytes([1]) + u32(0),
            bytes([1, 0, 0]),
            bytes([1]) + u32(3) + NS(b"half a pair"),
            bytes([sftp.FXP_STAT]) + u32(1) + NS(b"."),
        ],
    )
    def test_anything_else_ends_the_session(self, make: Make, message: bytes) -> None:
        with pytest.raises(SessionOver):
            make(hello=False).exchange(message)

    def test_it_comes_once(self, asker: FilesAsker) -> None:
        with pytest.raises(SessionOver):
            asker.exchange(bytes([1]) + u32(3))


class TestMessages:
    @pytest.mark.parametrize("kind", sorted({*sftp.REQUESTS, sftp.FXP_EXTENDED}))
    @pytest.mark.parametrize("rest", [b"", b"\0\0\0", u32(2**32 - 1), u32(9) + b"short"])
    def test_one_that_does_not_parse_is_answered(
        self, asker: FilesAsker, kind: int, rest: bytes
    ) -> None:
        assert statusOf(asker.raw(kind, u32(77) + rest)) == sftp.FX_BAD_MESSAGE
        assert not asker.bugs

    @pytest.mark.parametrize("kind", [0, 2, 21, 101, 105, 199, 201, 255])
    def test_one_of_another_kind_is_not_supported(self, asker: FilesAsker, kind: int) -> None:
        assert statusOf(asker.raw(kind, u32(5) + b"anything")) == sftp.FX_OP_UNSUPPORTED

    def test_one_without_an_id_ends_the_session(self, asker: FilesAsker) -> None:
        with pytest.raises(SessionOver):
            asker.exchange(bytes([sftp.FXP_STAT]) + b"\0\0\0")

    def test_bytes_behind_a_request_are_ignored(self, asker: FilesAsker) -> None:
        body = sftp.packRequest(sftp.FXP_STAT, 3, b".") + b"libssh2"
        assert asker.raw(sftp.FXP_STAT, body)[0] == sftp.FXP_ATTRS

    def test_a_bug_is_reported_and_answered(
        self, asker: FilesAsker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asker.requests.files, "stat", lambda path: 1 // 0)
        reply = asker.ask(sftp.FXP_STAT, b".")
        assert (statusOf(reply), textOf(reply)) == (sftp.FX_FAILURE, b"The server failed")
        assert [type(bug) for bug in asker.bugs] == [ZeroDivisionError]

    def test_replies_are_gathered_and_go_out_in_order(self, tmp_path: Path) -> None:
        sent: list[bytes] = []
        requests = FileRequests(Files(os.fsencode(tmp_path)), lambda view: sent.append(bytes(view)))
        requests.received(memoryview(bytes([1]) + u32(3)))
        for number in range(5):
            body = sftp.packRequest(sftp.FXP_STAT, number, b".")
            requests.received(memoryview(bytes([sftp.FXP_STAT]) + body))
        assert not sent
        requests.flush()
        assert len(sent) == 1

    def test_more_than_the_output_holds_goes_out_before(self, tmp_path: Path) -> None:
        (tmp_path / "big").write_bytes(bytes(range(256)) * 1024)
        sent = bytearray()
        requests = FileRequests(Files(os.fsencode(tmp_path)), sent.extend)
        requests.received(memoryview(bytes([1]) + u32(3)))
        requests.received(
            memoryview(bytes([3]) + sftp.packRequest(3, 1, b"big", sftp.FXF_READ, {}))
        )
        requests.flush()
        handle = bytes(sent[-16:])
        sent.clear()
        for number in range(5):
            body = sftp.packRequest(sftp.FXP_READ, number, handle, number, 200000)
            requests.received(memoryview(bytes([sftp.FXP_READ]) + body))
        requests.flush()
        stream, expected = bytes(sent), bytes(range(256)) * 1024
        for number in range(5):
            length, kind, requestId, size = struct.unpack_from(">LBLL", stream)
            assert (kind, requestId, size, length) == (103, number, 200000, 200009)
            assert stream[13 : 13 + size] == expected[number : number + size]
            stream = stream[13 + size :]
        assert not stream


class TestFiles:
    def test_write_read_and_close(self, asker: FilesAsker, tmp_path: Path) -> None:
        handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT, {"permissions": 0o640})
        assert asker.status(sftp.FXP_WRITE, handle, 0, b"hello ") == sftp.FX_OK
        assert asker.status(sftp.FXP_WRITE, handle, 6, b"world") == sftp.FX_OK
        assert asker.attrs(sftp.FXP_FSTAT, handle)["size"] == 11
        assert asker.status(sftp.FXP_CLOSE, handle) == sftp.FX_OK
        assert asker.status(sftp.FXP_CLOSE, handle) == sftp.FX_NO_SUCH_FILE
        assert (tmp_path / "new").read_bytes() == b"hello world"
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
        assert asker.contents(b"new") == b"hello world"

    def test_reading_at_and_behind_the_end_is_eof(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        handle = asker.open(b"file")
        assert asker.read(handle, 1, 100) == b"bc"
        for offset in (3, 4, 2**62):
            assert asker.status(sftp.FXP_READ, handle, offset, 10) == sftp.FX_EOF

    def test_short_writes_are_continued(
        self, asker: FilesAsker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
        handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
        assert asker.status(sftp.FXP_WRITE, handle, 2, b"0123456789") == sftp.FX_OK
        assert (tmp_path / "new").read_bytes() == b"\0\x000123456789"

    def test_a_full_disk_is_told(self, asker: FilesAsker, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(fd: int, data: bytes, offset: int) -> int:
            raise OSError(28, os.strerror(28))

        handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
        monkeypatch.setattr(os, "pwrite", full)
        reply = asker.ask(sftp.FXP_WRITE, handle, 0, b"x")
        assert statusOf(reply) == sftp.FX_FAILURE
        assert textOf(reply) == b"No space left on device"

    def test_open_flags(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        exclusive = sftp.FXF_WRITE | sftp.FXF_CREAT | sftp.FXF_EXCL
        assert asker.status(sftp.FXP_OPEN, b"file", exclusive, {}) == sftp.FX_FAILURE
        assert asker.status(sftp.FXP_OPEN, b"missing", sftp.FXF_WRITE, {}) == sftp.FX_NO_SUCH_FILE
        assert asker.status(sftp.FXP_OPEN, b"file", 0, {}) == sftp.FX_FAILURE
        handle = asker.open(b"file", sftp.FXF_WRITE | sftp.FXF_APPEND)
        assert asker.status(sftp.FXP_WRITE, handle, 0, b"def") == sftp.FX_OK
        assert (tmp_path / "file").read_bytes() == b"abcdef"
        asker.open(b"file", sftp.FXF_WRITE | sftp.FXF_TRUNC)
        assert (tmp_path / "file").read_bytes() == b""

    def test_a_directory_is_no_file(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        assert asker.status(sftp.FXP_OPEN, b"folder", sftp.FXF_READ, {}) == sftp.FX_FAILURE
        handle = asker.openDirectory(b"folder")
        assert asker.status(sftp.FXP_READ, handle, 0, 1) == sftp.FX_FAILURE
        assert asker.status(sftp.FXP_WRITE, handle, 0, b"x") == sftp.FX_FAILURE
        assert asker.status(sftp.FXP_FSETSTAT, handle, {}) == sftp.FX_FAILURE
        assert stat.S_ISDIR(asker.attrs(sftp.FXP_FSTAT, handle)["permissions"])
        assert asker.status(sftp.FXP_OPENDIR, b"missing") == sftp.FX_NO_SUCH_FILE

    def test_a_failed_open_leaves_no_descriptor(self, asker: FilesAsker, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with sameDescriptors():
            assert asker.status(sftp.FXP_OPEN, b"fifo", sftp.FXF_READ, {}) == sftp.FX_FAILURE

    def test_what_takes_a_files_place_is_looked_at_once_more(
        self, asker: FilesAsker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(path: bytes) -> None:
            raise FileNotFoundError(2, "not yet")

        os.mkfifo(tmp_path / "fifo")
        monkeypatch.setattr(asker.requests.files, "stat", missing)
        with sameDescriptors():
            reply = asker.ask(sftp.FXP_OPEN, b"fifo", sftp.FXF_READ, {})
        assert textOf(reply) == b"Not a regular file"


class TestAttributes:
    def test_stat_and_lstat(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        os.utime(tmp_path / "file", (1000, 2000))
        (tmp_path / "link").symlink_to("file")
        found = asker.attrs(sftp.FXP_STAT, b"link")
        assert found["size"] == 3
        assert (found["atime"], found["mtime"]) == (1000, 2000)
        assert (found["uid"], found["gid"]) == (os.getuid(), os.getgid())
        assert stat.S_ISREG(found["permissions"])
        assert stat.S_ISLNK(asker.attrs(sftp.FXP_LSTAT, b"link")["permissions"])
        assert asker.status(sftp.FXP_STAT, b"missing") == sftp.FX_NO_SUCH_FILE
        assert asker.status(sftp.FXP_STAT, b"") == sftp.FX_NO_SUCH_FILE

    @pytest.mark.parametrize("ofHandle", [False, True])
    def test_they_are_set(self, asker: FilesAsker, tmp_path: Path, ofHandle: bool) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"abcdef")
        (tmp_path / "link").symlink_to("file")
        attrs = {
            "size": 4,
            "uid": os.getuid(),
            "gid": os.getgid(),
            "permissions": 0o100604,
            "atime": 11,
            "mtime": 22,
        }
        if ofHandle:
            handle = asker.open(b"file", sftp.FXF_READ | sftp.FXF_WRITE)
            assert asker.status(sftp.FXP_FSETSTAT, handle, attrs) == sftp.FX_OK
        else:
            assert asker.status(sftp.FXP_SETSTAT, b"link", attrs) == sftp.FX_OK
        details = path.stat()
        assert path.read_bytes() == b"abcd"
        assert details.st_mode & 0o7777 == 0o604
        assert (details.st_atime, details.st_mtime) == (11, 22)

    def test_lsetstat_changes_the_link_itself(self, asker: FilesAsker, tmp_path: Path) -> None:
        path, link = tmp_path / "file", tmp_path / "link"
        path.write_bytes(b"x")
        os.utime(path, (5, 5))
        link.symlink_to("file")
        times = {"atime": 11, "mtime": 22, "uid": os.getuid(), "gid": os.getgid()}
        assert asker.extendedStatus(sftp.EXT_LSETSTAT, b"link", times) == sftp.FX_OK
        assert link.lstat().st_mtime == 22
        assert path.stat().st_mtime == 5
        mode = {"permissions": 0o600}
        refused = asker.extendedStatus(sftp.EXT_LSETSTAT, b"link", mode)
        assert refused == sftp.FX_OP_UNSUPPORTED
        assert asker.extendedStatus(sftp.EXT_LSETSTAT, b"file", mode) == sftp.FX_OK
        assert path.stat().st_mode & 0o777 == 0o600
        assert asker.extendedStatus(sftp.EXT_LSETSTAT, b"file", {"size": 0}) == sftp.FX_FAILURE

    def test_set_id_bits_are_the_owners_own_matter(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        for files, expected in [
            (Files(os.fsencode(tmp_path)), 0o2775),
            (ConfinedFiles(os.fsencode(tmp_path)), 0o775),
        ]:
            asker = FilesAsker(files)
            mode = {"permissions": 0o42775}
            assert asker.status(sftp.FXP_SETSTAT, b"folder", mode) == sftp.FX_OK
            assert (tmp_path / "folder").stat().st_mode & 0o7777 == expected


class TestNames:
    def test_directories(self, asker: FilesAsker, tmp_path: Path) -> None:
        assert asker.status(sftp.FXP_MKDIR, b"d", {"permissions": 0o4750}) == sftp.FX_OK
        assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o750
        assert asker.status(sftp.FXP_MKDIR, b"d", {}) == sftp.FX_FAILURE
        (tmp_path / "d" / "x").write_bytes(b"")
        assert asker.status(sftp.FXP_RMDIR, b"d") == sftp.FX_FAILURE
        assert asker.status(sftp.FXP_REMOVE, b"d/x") == sftp.FX_OK
        assert asker.status(sftp.FXP_RMDIR, b"d") == sftp.FX_OK
        assert not (tmp_path / "d").exists()
        assert asker.status(sftp.FXP_RMDIR, b"d") == sftp.FX_NO_SUCH_FILE

    def test_rename_replaces_nothing(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"a")
        (tmp_path / "b").write_bytes(b"b")
        assert asker.status(sftp.FXP_RENAME, b"a", b"b") == sftp.FX_FAILURE
        assert (tmp_path / "b").read_bytes() == b"b"
        assert asker.status(sftp.FXP_RENAME, b"a", b"c") == sftp.FX_OK
        assert (tmp_path / "c").read_bytes() == b"a"

    def test_posix_rename_replaces(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"a")
        (tmp_path / "b").write_bytes(b"b")
        assert asker.extendedStatus(sftp.EXT_POSIX_RENAME, b"a", b"b") == sftp.FX_OK
        assert (tmp_path / "b").read_bytes() == b"a"
        assert not (tmp_path / "a").exists()

    def test_links(self, asker: FilesAsker, tmp_path: Path) -> None:
        assert asker.status(sftp.FXP_SYMLINK, b"not/there", b"link") == sftp.FX_OK
        assert os.readlink(tmp_path / "link") == "not/there"
        assert asker.path(sftp.FXP_READLINK, b"link") == b"not/there"
        assert asker.status(sftp.FXP_SYMLINK, b"x", b"link") == sftp.FX_FAILURE
        (tmp_path / "file").write_bytes(b"x")
        assert asker.status(sftp.FXP_READLINK, b"file") == sftp.FX_FAILURE
        assert asker.extendedStatus(sftp.EXT_HARDLINK, b"file", b"hard") == sftp.FX_OK
        assert (tmp_path / "hard").samefile(tmp_path / "file")

    def test_a_client_of_the_drafts_sends_the_link_first(self, make: Make, tmp_path: Path) -> None:
        asker = make(linkFirst=True)
        assert asker.status(sftp.FXP_SYMLINK, b"link", b"target") == sftp.FX_OK
        assert os.readlink(tmp_path / "link") == "target"

    def test_real_paths(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "d" / "e").mkdir(parents=True)
        (tmp_path / "link").symlink_to("d/e")
        top = asker.path(sftp.FXP_REALPATH, b".")
        assert top == asker.path(sftp.FXP_REALPATH, b"")
        assert os.path.isabs(top)
        for path, expected in [
            (b"d/./e/../e", b"d/e"),
            (b"link", b"d/e"),
            (b"link/new", b"d/e/new"),
            (b"new", b"new"),
            (top + b"//d", b"d"),
        ]:
            assert asker.path(sftp.FXP_REALPATH, path) == os.path.join(top, expected)
        assert asker.status(sftp.FXP_REALPATH, b"missing/new") == sftp.FX_NO_SUCH_FILE

    def test_a_link_to_nothing_is_what_it_would_lead_to(
        self, asker: FilesAsker, tmp_path: Path
    ) -> None:
        top = asker.path(sftp.FXP_REALPATH, b".")
        (tmp_path / "d").mkdir()
        (tmp_path / "l").symlink_to("d/first")
        (tmp_path / "d" / "first").symlink_to("../second")
        (tmp_path / "second").symlink_to(os.path.join(os.fsdecode(top), "d/new"))
        (tmp_path / "far").symlink_to("missing/new")
        assert asker.path(sftp.FXP_REALPATH, b"l") == os.path.join(top, b"d/new")
        assert asker.status(sftp.FXP_REALPATH, b"far") == sftp.FX_NO_SUCH_FILE
        handle = asker.open(b"l", sftp.FXF_WRITE | sftp.FXF_CREAT)
        assert asker.status(sftp.FXP_CLOSE, handle) == sftp.FX_OK
        assert (tmp_path / "d" / "new").is_file()

    def test_the_names_of_a_directory_itself_are_left_alone(
        self, asker: FilesAsker, tmp_path: Path
    ) -> None:
        (tmp_path / "d").mkdir()
        for path in (b"/", b".", b"..", b"d/..", b"d/."):
            assert asker.status(sftp.FXP_RMDIR, path) != sftp.FX_OK
            assert asker.status(sftp.FXP_REMOVE, path) != sftp.FX_OK
            assert asker.status(sftp.FXP_RENAME, path, b"other") != sftp.FX_OK
            assert asker.status(sftp.FXP_MKDIR, path, {}) != sftp.FX_OK
        assert (tmp_path / "d").is_dir()


class TestListings:
    def test_all_names_in_pieces(self, asker: FilesAsker, tmp_path: Path) -> None:
        expected = {b"file%d" % number for number in range(250)}
        for name in expected:
            (tmp_path / os.fsdecode(name)).write_bytes(b"")
        found = asker.listing(b".")
        assert names(found) == expected | {b".", b".."}
        assert all("permissions" in name.attrs for name in found)

    def test_names_are_bytes(self, asker: FilesAsker, tmp_path: Path) -> None:
        odd = {b"a\nb", b"\xff\xfe", b"\x1b[31m", b"x" * 255, "ä€".encode()}
        for name in odd:
            with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
                pass
        found = {name.filename: name for name in asker.listing(b".")}
        assert odd <= set(found)
        for entry in found.values():
            assert not any(byte < 32 or byte == 127 for byte in entry.longname)
        assert asker.attrs(sftp.FXP_STAT, b"\xff\xfe")["size"] == 0

    def test_a_longname_looks_like_ls(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        (tmp_path / "file").chmod(0o640)
        (line,) = (entry.longname for entry in asker.listing(b".") if entry.filename == b"file")
        fields = line.split()
        assert fields[0] == b"-rw-r-----"
        assert fields[4] == b"3"
        assert fields[-1] == b"file"

    def test_an_entry_that_is_gone_is_left_out(self, asker: FilesAsker, tmp_path: Path) -> None:
        for number in range(3):
            (tmp_path / f"f{number}").write_bytes(b"")
        handle = asker.openDirectory(b".")
        (tmp_path / "f1").unlink()
        kind, _, rest = asker.ask(sftp.FXP_READDIR, handle)
        assert kind == sftp.FXP_NAME
        assert b"f1" not in names(sftp.readNames(Reader(rest)))


class TestExtensions:
    def test_limits(self, asker: FilesAsker) -> None:
        kind, _, rest = asker.extended(sftp.EXT_LIMITS)
        assert kind == sftp.FXP_EXTENDED_REPLY
        limits = sftp.Limits.decode(rest)
        assert limits == (262144, 261120, 261120, asker.requests.handles.limit)

    def test_statvfs(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        expected = os.statvfs(tmp_path)
        handle = asker.open(b"file")
        for reply in (
            asker.extended(sftp.EXT_STATVFS, b"file"),
            asker.extended(sftp.EXT_FSTATVFS, handle),
        ):
            assert reply[0] == sftp.FXP_EXTENDED_REPLY
            found = sftp.StatVfs.decode(reply[2])
            assert (found.bsize, found.blocks) == (expected.f_bsize, expected.f_blocks)
            assert found.namemax == expected.f_namemax

    def test_fsync(self, asker: FilesAsker) -> None:
        handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
        assert asker.extendedStatus(sftp.EXT_FSYNC, handle) == sftp.FX_OK
        assert asker.extendedStatus(sftp.EXT_FSYNC, b"none") == sftp.FX_NO_SUCH_FILE

    def test_home_and_expansion(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        top = asker.path(sftp.FXP_REALPATH, b".")
        assert onlyName(asker.extended(sftp.EXT_HOME_DIRECTORY, b"")) == top
        for path, expected in [(b"~", b""), (b"~/d", b"d"), (b"d", b"d")]:
            found = onlyName(asker.extended(sftp.EXT_EXPAND_PATH, path))
            assert found.rstrip(b"/") == os.path.join(top, expected).rstrip(b"/")
        for user in (b"no such user", b"a\0b"):
            assert asker.extendedStatus(sftp.EXT_HOME_DIRECTORY, user) != sftp.FX_OK
            assert asker.extendedStatus(sftp.EXT_EXPAND_PATH, b"~" + user) != sftp.FX_OK

    def test_names_of_users_and_groups(self, asker: FilesAsker) -> None:
        import grp
        import pwd

        users, groups = sftp.packIds([0, 2**31]), sftp.packIds([0])
        kind, _, rest = asker.extended(sftp.EXT_USERS_GROUPS, users, groups)
        assert kind == sftp.FXP_EXTENDED_REPLY
        reader = Reader(rest)
        assert sftp.readStrings(reader.string()) == [pwd.getpwuid(0).pw_name.encode(), b""]
        assert sftp.readStrings(reader.string()) == [grp.getgrgid(0).gr_name.encode()]

    @pytest.mark.parametrize("inKernel", [True, False])
    def test_copy_data(
        self, asker: FilesAsker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inKernel: bool
    ) -> None:
        if not inKernel:
            monkeypatch.setattr("limpet.files.filesystem.sys.platform", "other")
        monkeypatch.setattr(filesystem, "COPY_CHUNK", 1000)
        monkeypatch.setattr(filesystem, "READ_CHUNK", 1000)
        data = os.urandom(2500)
        (tmp_path / "from").write_bytes(data)
        source = asker.open(b"from")
        target = asker.open(b"to", sftp.FXF_WRITE | sftp.FXF_CREAT)
        for offset, length, at in [(0, 0, 0), (100, 50, 3000), (2400, 10**12, 4000), (9999, 0, 1)]:
            done = asker.extendedStatus(sftp.EXT_COPY_DATA, source, offset, length, target, at)
            assert done == sftp.FX_OK
        expected = bytearray(4100)
        expected[:2500], expected[3000:3050], expected[4000:] = data, data[100:150], data[2400:]
        assert (tmp_path / "to").read_bytes() == expected

    def test_copies_within_a_file_may_not_overlap(self, asker: FilesAsker, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"0123456789")
        flags = sftp.FXF_READ | sftp.FXF_WRITE
        first, second = asker.open(b"file", flags), asker.open(b"file", flags)
        for target in (first, second):
            for offset, length, at in [(0, 0, 5), (0, 5, 4), (4, 5, 0), (0, 0, 0)]:
                done = asker.extendedStatus(sftp.EXT_COPY_DATA, first, offset, length, target, at)
                assert done == sftp.FX_FAILURE
        assert asker.extendedStatus(sftp.EXT_COPY_DATA, first, 0, 5, second, 10) == sftp.FX_OK
        assert (tmp_path / "file").read_bytes() == b"012345678901234"

    def test_one_that_is_not_known(self, asker: FilesAsker) -> None:
        body = u32(1) + NS(b"unknown@example.com") + b"data"
        assert statusOf(asker.raw(sftp.FXP_EXTENDED, body)) == sftp.FX_OP_UNSUPPORTED


def test_handles_are_closed_with_the_session(tmp_path: Path) -> None:
    files = Files(os.fsencode(tmp_path))
    with sameDescriptors() as before:
        asker = FilesAsker(files)
        asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
        asker.openDirectory(b".")
        assert len(os.listdir("/proc/self/fd")) > len(before) + 2
        asker.requests.close()


def test_handles_of_two_sessions_differ(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    first, second = (FilesAsker(Files(os.fsencode(tmp_path))) for _ in range(2))
    assert handleOf(first.ask(sftp.FXP_OPEN, b"file", 1, {})) != second.open(b"file")


def test_no_descriptor_outlives_the_session(make: Make) -> None:
    with sameDescriptors():
        asker = make()
        asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
        asker.openDirectory(b".")
        del asker
