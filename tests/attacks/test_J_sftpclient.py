"""attacks.md group J: what a hostile server may try on a client that transfers files."""

from __future__ import annotations

import io
import itertools
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from twisted.internet.defer import Deferred

from limpet.client.filecopy import CopyFailed, Progress, SuspiciousName, copying, remotetree
from limpet.client.filecopy.pump import Contradiction
from limpet.client.sftpshell import CommandError, Shell, shell
from limpet.scripts.messages import Messages
from limpet.scripts.progressbar import Meter
from limpet.scripts.transferoptions import Usage, parseCp, parseSFTP
from limpet.ssh.filetransfer.base import SFTPError
from limpet.wire import sftp
from limpet.wire.fields import NS, u32, u64
from tests.pair.sftpserver import MemoryServer

EVIL_NAMES = [
    b"../evil",
    b"..",
    b"",
    b".",
    b"/etc/evil",
    b"/",
    b"a/b",
    b"ok/../../evil",
    b"nul\0evil",
    b"../../../../../../tmp/evil",
]
ID = b"\xff\xff\xff\xff"
"""Stands for the request's id in what a hook returns."""

FILE_ATTRS = sftp.packAttrs({"size": 5, "permissions": 0o100644})
DIRECTORY_ATTRS = sftp.packAttrs({"permissions": 0o40755})
LINK_ATTRS = sftp.packAttrs({"permissions": 0o120777})


def listing(*entries: tuple[bytes, bytes]) -> bytes:
    """A reply to READDIR: names with their packed attributes."""
    body = b"".join(NS(name) + NS(b"longname") + attrs for name, attrs in entries)
    return sftp.packFrame(sftp.FXP_NAME, ID + u32(len(entries)) + body)


def answering(kind: int, replies: list[bytes]) -> Callable[[int, list[Any]], bytes | None]:
    """A hook: the first requests of a kind get these replies, all others the server's own."""

    def hook(asked: int, fields: list[Any]) -> bytes | None:
        return replies.pop(0) if asked == kind and replies else None

    return hook


def everythingBelow(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


class Place:
    """A target within a directory whose other content must not change."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory / "outside"
        self.outside.mkdir()
        (self.outside / "precious").write_bytes(b"mine")
        self.target = directory / "in" / "target"
        self.target.mkdir(parents=True)
        self.directory = directory

    def assertNothingOutside(self) -> None:
        found = {
            name for name in everythingBelow(self.directory) if not name.startswith("in/target")
        }
        assert found == {"outside", "outside/precious", "in"}
        assert (self.outside / "precious").read_bytes() == b"mine"
        assert not Path("/tmp/evil").exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestNames:
    @pytest.mark.parametrize("name", EVIL_NAMES)
    @pytest.mark.parametrize(
        "attrs", [FILE_ATTRS, DIRECTORY_ATTRS, LINK_ATTRS], ids=["file", "directory", "link"]
    )
    @pytest.mark.parametrize("links", ["copy", "follow"])
    def test_J2_a_listed_name_that_is_no_name(
        self, place: Place, name: bytes, attrs: bytes, links: Any
    ) -> None:
        server = MemoryServer({"t/good": b"fine"})
        files = server.files()
        entries = [(name, attrs), (b"good", FILE_ATTRS)]
        server.hook = answering(sftp.FXP_READDIR, [listing(*entries)])
        copy = files.get("t", place.target, recursive=True, links=links)
        if name in (b".", b".."):
            server.result(copy)  # every server lists them; they are nothing to copy
        else:
            error = server.failure(copy)
            assert isinstance(error, CopyFailed)
            assert "no name of a file" in str(error)
        assert everythingBelow(place.target) == {"t", "t/good"}
        place.assertNothingOutside()

    def test_J2_a_link_then_a_directory_of_the_same_name(self, place: Place) -> None:
        """The link leads out; what comes after it under its name must not follow it."""
        server = MemoryServer({"t/x/evil": b"evil!", "t/good": b"fine"})
        files = server.files()
        replies = [listing((b"x", LINK_ATTRS), (b"x", DIRECTORY_ATTRS), (b"good", FILE_ATTRS))]
        inner = answering(sftp.FXP_READDIR, replies)

        def hook(kind: int, fields: list[Any]) -> bytes | None:
            if kind == sftp.FXP_READLINK:
                outside = os.fsencode(place.outside)
                return sftp.packFrame(sftp.FXP_NAME, ID + u32(1) + NS(outside) + NS(b"") + u32(0))
            return inner(kind, fields)

        server.hook = hook
        error = server.failure(files.get("t", place.target, recursive=True, links="copy"))
        assert isinstance(error, CopyFailed)
        assert "cannot make the directory" in str(error)
        assert everythingBelow(place.target) == {"t", "t/x", "t/good"}
        place.assertNothingOutside()

    def test_J2_a_link_then_a_file_of_the_same_name(self, place: Place) -> None:
        server = MemoryServer({"t/x": b"evil!"})
        files = server.files()
        inner = answering(
            sftp.FXP_READDIR, [listing((b"x", LINK_ATTRS)), listing((b"x", FILE_ATTRS))]
        )

        def hook(kind: int, fields: list[Any]) -> bytes | None:
            if kind == sftp.FXP_READLINK:
                precious = os.fsencode(place.outside / "precious")
                return sftp.packFrame(sftp.FXP_NAME, ID + u32(1) + NS(precious) + NS(b"") + u32(0))
            return inner(kind, fields)

        server.hook = hook
        server.result(files.get("t", place.target, recursive=True, links="copy"))
        # The file took the link's place; it was not written through it.
        assert not (place.target / "t" / "x").is_symlink()
        assert (place.target / "t" / "x").read_bytes() == b"evil!"
        place.assertNothingOutside()

    def test_J2_local_links_within_the_target_are_not_followed(self, place: Place) -> None:
        server = MemoryServer({"t/d/evil": b"evil!", "t/f": b"new"})
        (place.target / "t").mkdir()
        (place.target / "t" / "d").symlink_to(place.outside)
        (place.target / "t" / "f").symlink_to(place.outside / "precious")
        (place.target / "t" / ".f.limpet-part").symlink_to(place.outside / "new")
        error = server.failure(server.files().get("t", place.target, recursive=True))
        assert isinstance(error, CopyFailed)
        assert (place.target / "t" / "f").read_bytes() == b"new"
        assert not (place.target / "t" / "f").is_symlink()
        place.assertNothingOutside()

    def test_J2_resuming_follows_no_link_either(self, place: Place) -> None:
        server = MemoryServer({"t/f": b"mine and evil"})
        (place.target / "t").mkdir()
        (place.target / "t" / ".f.limpet-part").symlink_to(place.outside / "precious")
        error = server.failure(server.files().get("t", place.target, recursive=True, resume=True))
        assert isinstance(error, CopyFailed)
        assert "is no file" in str(error)
        place.assertNothingOutside()

    @pytest.mark.parametrize("name", [b"a/b", b"/etc/passwd", b"../x", b"x\0y"])
    def test_J2_a_pattern_is_matched_by_names_only(self, name: bytes) -> None:
        server = MemoryServer({"t/good": b""})
        files = server.files()
        server.hook = answering(sftp.FXP_READDIR, [listing((name, FILE_ATTRS))])
        assert isinstance(server.failure(files.glob("t/*")), SuspiciousName)

    @pytest.mark.parametrize("name", [b"../x", b"a/b", b"/home/u/keep"])
    def test_J2_removing_a_tree_removes_nothing_else(self, name: bytes) -> None:
        server = MemoryServer({"t/good": b"", "keep": b"", "x": b""})
        files = server.files()
        server.hook = answering(sftp.FXP_READDIR, [listing((name, FILE_ATTRS))])
        assert isinstance(server.failure(files.removeTree("t")), SuspiciousName)
        assert sftp.FXP_REMOVE not in server.asked

    @pytest.mark.parametrize("source", ["..", "/", ".", "d/..", "../.."])
    def test_J1_what_was_asked_for_decides_the_name_not_the_server(
        self, place: Place, source: str
    ) -> None:
        """A source without a name of its own goes into the target itself."""
        server = MemoryServer({"d/f": b"x"})
        server.hook = answering(sftp.FXP_READDIR, [listing((b"f", FILE_ATTRS))])
        files = server.files()
        error = server.failure(files.get(source, place.target, recursive=True))
        assert isinstance(error, CopyFailed)  # there is no such file where it says it is
        place.assertNothingOutside()

    def test_J1_the_old_protocol_is_not_spoken(self) -> None:
        """There are no C and D records, and no shell at the other side sees a path."""
        with pytest.raises(Usage, match="is not spoken"):
            parseCp(["-O", "h:a", "b"])


class TestModesAndSizes:
    @pytest.mark.parametrize("mode", [0o104755, 0o102755, 0o101777, 0o107777])
    def test_J3_no_bits_beyond_the_permissions(self, place: Place, mode: int) -> None:
        server = MemoryServer({"t/f": b"x"})
        for path in (b"t", b"t/f"):
            node = server.nodes[server.path(path)]
            kind = stat.S_IFMT(node.attrs["permissions"])
            node.attrs["permissions"] = kind | stat.S_IMODE(mode)
        files = server.files()
        server.result(files.get("t", place.target, recursive=True, preserve=True))
        server.result(files.get("t/f", place.target / "g"))
        for copied in place.target.rglob("*"):
            assert stat.S_IMODE(copied.stat().st_mode) & 0o7000 == 0, copied

    @pytest.mark.parametrize("size", [2**63, 2**63 - 1, 2**64 - 1, 10**15])
    def test_J3_sizes_that_no_file_has(self, place: Place, size: int) -> None:
        server = MemoryServer({"f": b"x" * 5000})
        attrs = u32(sftp.ATTR_SIZE) + u64(size)
        server.hook = lambda kind, _: (
            sftp.packFrame(sftp.FXP_ATTRS, ID + attrs)
            if kind in (sftp.FXP_STAT, sftp.FXP_FSTAT)
            else None
        )
        error = server.failure(server.files().get("f", place.target / "f"))
        assert isinstance(error, CopyFailed)
        assert everythingBelow(place.target) == set()

    @pytest.mark.parametrize("text", ["-1", "1_0", "٣", "+1", " 1", "0x10", "1e3", "", "9" * 10])
    def test_J3_numbers_are_plain_digits(self, text: str) -> None:
        for arguments in (["-l", text, "h:"], ["-R", text, "h:"], [f"-Xbuffer={text}", "h:"]):
            with pytest.raises(Usage):
                parseSFTP(arguments)

    @pytest.mark.parametrize("text", ["-1", "1_0", "٣", "0o644", "8", "99999", "77777"])
    def test_J3_modes_are_plain_digits(self, text: str) -> None:
        server = MemoryServer({"f": b""})
        shell = server.result(_shell(server))
        with pytest.raises(CommandError):
            server.result(_run(shell, f"chmod '{text}' f"))
        assert sftp.FXP_SETSTAT not in server.asked


def _shell(server: MemoryServer, out: Any = None) -> Any:
    return Deferred.fromCoroutine(Shell.start(server.files(), out or (lambda text: None)))


def _run(shell: Shell, line: str) -> Any:
    return Deferred.fromCoroutine(shell.run(line))


NAMES_BOMB = sftp.packFrame(sftp.FXP_NAME, ID + u32(2**32 - 1))
REPLIES: dict[str, tuple[int, bytes]] = {
    "a reply to no request": (sftp.FXP_STAT, sftp.packFrame(101, u32(77) + u32(0))),
    "data for stat": (sftp.FXP_STAT, sftp.packFrame(103, ID + NS(b"x"))),
    "a handle for stat": (sftp.FXP_STAT, sftp.packFrame(102, ID + NS(b"x"))),
    "attributes for open": (sftp.FXP_OPEN, sftp.packFrame(105, ID + u32(0))),
    "names for read": (sftp.FXP_READ, sftp.packFrame(104, ID + u32(0))),
    "more data than asked for": (sftp.FXP_READ, sftp.packFrame(103, ID + NS(bytes(5000)))),
    "data longer than it is": (sftp.FXP_READ, sftp.packFrame(103, ID + u32(4000) + b"x")),
    "data shorter than it is": (sftp.FXP_READ, sftp.packFrame(103, ID + NS(b"x") + b"yz")),
    "a huge handle": (sftp.FXP_OPEN, sftp.packFrame(102, ID + NS(bytes(257)))),
    "2**32-1 names": (sftp.FXP_READDIR, NAMES_BOMB),
    "2**32-1 extended attributes": (
        sftp.FXP_STAT,
        sftp.packFrame(105, ID + u32(0x80000000) + u32(2**32 - 1)),
    ),
    "flags of another version": (sftp.FXP_STAT, sftp.packFrame(105, ID + u32(0x10))),
    "a truncated reply": (sftp.FXP_STAT, sftp.packFrame(105, ID + u32(1) + b"abc")),
    "a reply of no kind": (sftp.FXP_STAT, sftp.packFrame(99, ID)),
    "a request": (sftp.FXP_STAT, sftp.packFrame(3, ID + NS(b"f") + u32(1) + u32(0))),
    "a second version": (sftp.FXP_STAT, sftp.packFrame(2, u32(3))),
    "no id": (sftp.FXP_STAT, sftp.packFrame(101, b"ab")),
    "an empty message": (sftp.FXP_STAT, struct.pack(">L", 0)),
    "a message of 4 GiB": (sftp.FXP_STAT, struct.pack(">L", 2**32 - 2)),
    "a message beyond the limit": (sftp.FXP_STAT, struct.pack(">L", 256 * 1024 + 1)),
}
EMPTY: dict[str, tuple[int, bytes]] = {
    "no data": (sftp.FXP_READ, sftp.packFrame(103, ID + NS(b""))),
    "no names": (sftp.FXP_READDIR, sftp.packFrame(104, ID + u32(0))),
    "success without data": (sftp.FXP_READ, sftp.packFrame(101, ID + u32(0) + NS(b"") + NS(b""))),
    "success without a handle": (
        sftp.FXP_OPEN,
        sftp.packFrame(101, ID + u32(0) + NS(b"") + NS(b"")),
    ),
    "success without attributes": (
        sftp.FXP_STAT,
        sftp.packFrame(101, ID + u32(0) + NS(b"") + NS(b"")),
    ),
}


class TestReplies:
    @pytest.mark.parametrize("what", REPLIES)
    def test_J4_a_reply_that_cannot_be_ends_the_session(self, place: Place, what: str) -> None:
        server = MemoryServer({"t/f": b"x" * 9000})
        files = server.files()
        kind, reply = REPLIES[what]
        server.hook = lambda asked, _: reply if asked == kind else None
        error = server.failure(files.get("t", place.target, recursive=True))
        assert isinstance(error, CopyFailed)
        assert "the server broke the protocol" in str(error)
        assert server.disconnecting
        assert not (place.target / "t" / "f").exists()
        # All that comes after it is not looked at.
        for _ in range(1000):
            server.client.dataReceived(sftp.packFrame(101, u32(1) + u32(0)))
        assert isinstance(server.failure(files.stat("f")), SFTPError)
        assert server.client.openRequests == {}

    @pytest.mark.parametrize("what", EMPTY)
    def test_J4_answers_without_progress_are_errors_not_loops(
        self, place: Place, what: str
    ) -> None:
        server = MemoryServer({"t/f": b"x" * 9000})
        files = server.files()
        kind, reply = EMPTY[what]
        server.hook = lambda asked, _: reply if asked == kind else None
        error = server.failure(files.get("t", place.target, recursive=True))
        assert isinstance(error, CopyFailed)
        assert len(server.asked) < 30
        assert not (place.target / "t" / "f").exists()

    def test_J4_a_hundred_thousand_unknown_ids_cost_nothing(self) -> None:
        server = MemoryServer()
        client = server.connect()
        flood = b"".join(sftp.packFrame(101, u32(number) + u32(0)) for number in range(100_000))
        client.dataReceived(flood)
        assert server.disconnecting
        assert client.openRequests == {}
        assert client._frames.pending == 0

    @pytest.mark.parametrize("version", [0, 1, 2, 4, 6, 2**32 - 1])
    def test_J4_another_version_is_refused(self, version: int) -> None:
        server = MemoryServer()
        server.client.makeConnection(server)  # type: ignore[no-untyped-call]
        waiting = server.client.whenReady()
        server.client.dataReceived(sftp.packFrame(2, u32(version)))
        error = server.failure(waiting)
        assert "version" in str(error)
        assert server.disconnecting

    def test_J4_extensions_without_number(self) -> None:
        server = MemoryServer()
        server.client.makeConnection(server)  # type: ignore[no-untyped-call]
        pairs = [(b"e%d" % number, b"1") for number in range(1000)]
        server.client.dataReceived(sftp.packFrame(2, sftp.packHello(3, pairs)))
        assert server.disconnecting

    @pytest.mark.parametrize("names", [[], [(b"", b"", {})], [(b"a", b"", {}), (b"b", b"", {})]])
    def test_J4_an_empty_realpath_is_no_path(self, names: Any) -> None:
        server = MemoryServer()
        client = server.connect()
        reply = sftp.packFrame(104, ID + sftp.packNames(0, names)[4:])
        server.hook = lambda kind, _: reply
        for ask in (client.realPath, client.readLink, client.expandPath):
            assert isinstance(server.failure(ask(b"x")), SFTPError)

    def test_J4_a_directory_without_an_end_is_left_when_the_person_wants(
        self, place: Place
    ) -> None:
        """It cannot fill the memory: files are copied as they are listed."""
        server = MemoryServer({"t/f": b"x"})
        files = server.files()
        server.hook = lambda kind, _: (
            listing((b"f", FILE_ATTRS)) if kind == sftp.FXP_READDIR else None
        )
        copy = files.get("t", place.target, recursive=True)
        with pytest.raises(AssertionError, match="more than"):
            server.run(steps=3000)
        assert len(server.client.openRequests) < 100
        copy.cancel()
        assert isinstance(server.failure(copy), CopyFailed)
        assert everythingBelow(place.target) <= {"t", "t/f"}

    def test_J4_a_list_without_an_end_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (remotetree, shell):
            monkeypatch.setattr(module, "MAX_LISTED", 1000)
        server = MemoryServer({"t/f": b"x"})
        talk = server.result(_shell(server))
        files = server.files()
        server.hook = lambda kind, _: (
            listing((b"f", FILE_ATTRS)) if kind == sftp.FXP_READDIR else None
        )
        for list_ in (files.listDirectory("t"), files.glob("t/*"), files.removeTree("t")):
            assert "more than 1000 entries" in str(server.failure(list_))
        assert "more than 1000 entries" in str(server.failure(_run(talk, "ls t")))
        assert server.openHandles == 0

    @pytest.mark.parametrize(
        ("entry", "options", "words"),
        [
            ((b"%d", DIRECTORY_ATTRS), {}, "more than 1000 directories"),
            ((b"a/b", FILE_ATTRS), {}, "too much in it cannot be copied"),
            ((b"%d", LINK_ATTRS), {"links": "skip"}, "too much in it cannot be copied"),
        ],
        ids=["directories", "no names", "links"],
    )
    def test_J4_a_tree_without_an_end_is_given_up(
        self,
        place: Place,
        monkeypatch: pytest.MonkeyPatch,
        entry: tuple[bytes, bytes],
        options: dict[str, Any],
        words: str,
    ) -> None:
        """What a copy remembers of a directory is bounded, whatever a server lists."""
        monkeypatch.setattr(copying, "MAX_LISTED", 1000)
        monkeypatch.setattr(copying, "MAX_PROBLEMS", 1000)
        server = MemoryServer({"t/f": b"x"})
        files = server.files()
        numbers = itertools.count()

        def hook(kind: int, fields: list[Any]) -> bytes | None:
            if kind != sftp.FXP_READDIR:
                return None
            name, attrs = entry
            name = name.replace(b"%d", b"%d" % next(numbers))
            return listing((name, attrs))

        server.hook = hook
        failed: Any = server.failure(files.get("t", place.target, recursive=True, **options))
        assert words in str(failed.problems[-1])
        assert len(failed.problems) + len(failed.result.skipped) <= 1001
        assert server.openHandles == 0
        place.assertNothingOutside()

    def test_J4_a_tree_without_a_bottom_is_given_up(self, place: Place) -> None:
        server = MemoryServer({"t/d/": None})
        files = server.files()
        count = [0]

        def hook(kind: int, fields: list[Any]) -> bytes | None:
            if kind == sftp.FXP_OPENDIR:
                count[0] = 0
                return sftp.packFrame(sftp.FXP_HANDLE, ID + NS(b"h"))
            if kind == sftp.FXP_READDIR and not count[0]:
                count[0] = 1
                return listing((b"d", DIRECTORY_ATTRS))
            if kind == sftp.FXP_READDIR:
                return sftp.packFrame(101, ID + u32(sftp.FX_EOF) + NS(b"") + NS(b""))
            return None

        server.hook = hook
        error = server.failure(files.get("t", place.target, recursive=True))
        assert "deeper than 64 levels" in str(error)
        assert "deeper than 2048 levels" in str(server.failure(files.removeTree("t")))

    def test_J4_data_behind_the_end_is_a_contradiction(self, place: Place) -> None:
        server = MemoryServer({"f": b"x" * 20_000})
        first = [True]

        def hook(kind: int, fields: list[Any]) -> bytes | None:
            if kind == sftp.FXP_READ and fields[1] == 0:
                return sftp.packFrame(101, ID + u32(sftp.FX_EOF) + NS(b"") + NS(b""))
            return None

        server.hook = hook
        error = server.failure(server.files().get("f", place.target / "f"))
        assert isinstance(error, CopyFailed)
        assert isinstance(error.problems[0].cause, Contradiction)
        assert everythingBelow(place.target) == set()
        assert first


HOSTILE = [
    b"\x1b[2J\x1b]0;title\x07evil",
    b"cr\rover",
    b"bell\x07",
    "bidi\u202egpj.exe".encode(),
    b"bad\xff\xfeutf8",
    b"line\nbreak",
    b"\x9b31m",
    b"del\x7f\x08\x08",
]


def assertHarmless(text: str) -> None:
    """Nothing in it but printable characters and line ends."""
    for character in text:
        assert character.isprintable() or character == "\n", repr(text)


@pytest.mark.parametrize("name", HOSTILE)
class TestTerminal:
    def test_J5_names_in_listings(self, name: bytes) -> None:
        server = MemoryServer()
        server.add(b"d/" + name, b"")
        printed: list[str] = []
        shell = server.result(_shell(server, printed.append))
        for line in ("ls d", "ls -l d", "ls -1 d", "ls d/*", "ls -la d/*"):
            server.result(_run(shell, line))
        assert len(printed) >= 5
        for text in printed:
            assertHarmless(text)

    def test_J5_names_and_owners_that_the_server_makes_up(self, name: bytes) -> None:
        server = MemoryServer({"f": b""})
        printed: list[str] = []
        shell = server.result(_shell(server, printed.append))
        users = NS(NS(name)) + NS(NS(name))
        server.hook = lambda kind, fields: (
            sftp.packFrame(201, ID + users)
            if kind == sftp.FXP_EXTENDED and fields[0] == sftp.EXT_USERS_GROUPS
            else None
        )
        server.result(_run(shell, "ls -l f"))
        long = NS(b"f") + NS(b"-rw-rw-rw- 1 " + name + b" " + name + b" 3 now f") + FILE_ATTRS
        server.hook = answering(sftp.FXP_READDIR, [sftp.packFrame(104, ID + u32(1) + long)])
        server.client.serverExtensions.clear()
        server.result(_run(shell, "ls -l ."))
        for text in printed:
            assertHarmless(text)

    def test_J5_names_and_words_in_errors(self, name: bytes, place: Place) -> None:
        server = MemoryServer()
        server.add(b"t/" + name, b"x")
        files = server.files()
        reply = sftp.packFrame(101, ID + u32(4) + NS(b"words " + name) + NS(b""))
        server.hook = lambda kind, _: reply if kind == sftp.FXP_OPEN else None
        error = server.failure(files.get("t", place.target, recursive=True))
        assert isinstance(error, CopyFailed)
        for problem in error.problems:
            assertHarmless(str(problem))
        shell = server.result(_shell(server))
        with pytest.raises(CommandError) as failed:
            server.result(_run(shell, "get t/*"))
        assertHarmless(str(failed.value))

    def test_J5_names_in_progress(self, name: bytes) -> None:
        drawn = io.StringIO()
        now = [0.0]
        console = Console(file=drawn, width=200, color_system=None, force_terminal=False)
        meter = Meter(console, lambda: now[0])
        meter.begin()
        for state, done in (("begins", 0), ("goes on", 6 << 20), ("ends", 9 << 20)):
            now[0] += 1
            meter(Progress(b"d/" + name, b"x", done, 9 << 20, state))
        meter.end()
        assert drawn.getvalue()
        assertHarmless(drawn.getvalue())

    def test_J5_what_the_servers_side_says_on_standard_error(
        self, name: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Messages().say(name.decode("utf-8", "backslashreplace"))
        assertHarmless(capfd.readouterr().err)

    def test_J5_working_directories(self, name: bytes) -> None:
        server = MemoryServer()
        printed: list[str] = []
        shell = server.result(_shell(server, printed.append))
        shell.directory = b"/" + name
        server.result(_run(shell, "pwd"))
        assertHarmless(printed[0])
