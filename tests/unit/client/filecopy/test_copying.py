"""Copies: complete or not at all, whatever fails at whichever request."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer, task
from twisted.internet.defer import Deferred

from limpet.client.errors import RequestRefused
from limpet.client.filecopy import (
    CopyFailed,
    CopyOptions,
    Progress,
    RemoteFiles,
    copying,
    localtree,
)
from limpet.client.filecopy.offload import atOnce
from limpet.client.filecopy.remotetree import PUT_UNDER_WAY, RemoteTarget, Session
from limpet.wire import sftp
from tests.descriptors import sameDescriptors
from tests.pair.sftpserver import DENIED, FAILURE, UNSUPPORTED, Cut, MemoryServer

DATA = random.Random(7).randbytes(50_000)
SMALL = {f"t/d{i}/f{j}": DATA[: i * 1000 + j] for i in range(3) for j in range(5)}


def problemsOf(server: MemoryServer, copy: Any) -> list[str]:
    """The texts of what went wrong."""
    error = server.failure(copy)
    assert isinstance(error, CopyFailed), error
    return [str(problem) for problem in error.problems]


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def contentsThere(server: MemoryServer, directory: str = "") -> dict[str, bytes]:
    """The same of the server's."""
    above = server.path(directory.encode()).decode() + "/"
    return {
        path.decode("utf-8", "surrogateescape").removeprefix(above): bytes(node.data)
        for path, node in sorted(server.nodes.items())
        if path.decode("utf-8", "surrogateescape").startswith(above) and not node.isDirectory
    }


class TestOneFile:
    @pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 50_000])
    def test_there_and_back(self, tmp_path: Path, size: int) -> None:
        server = MemoryServer()
        files = server.files()
        (tmp_path / "a").write_bytes(DATA[:size])
        result = server.result(files.put(tmp_path / "a", "b", verify=True))
        assert (result.files, result.bytesMoved) == (1, size)
        assert server.content("b") == DATA[:size]
        server.result(files.get("b", tmp_path / "c", verify=True))
        assert (tmp_path / "c").read_bytes() == DATA[:size]
        assert server.openHandles == 0
        assert server.names() == {"b"}
        assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}

    @pytest.mark.parametrize("mostRead", [1, 1000, 4095])
    def test_a_server_that_answers_with_less_than_was_asked(
        self, tmp_path: Path, mostRead: int
    ) -> None:
        server = MemoryServer({"f": DATA[:9000]}, mostRead=mostRead)
        server.result(server.files().get("f", tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == DATA[:9000]

    def test_sizes_that_the_server_allows_are_kept(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA}, limits=sftp.Limits(40_000, 5000, 3000, 0))
        sizes: dict[int, set[int]] = {sftp.FXP_READ: set(), sftp.FXP_WRITE: set()}

        def hook(kind: int, fields: list[Any]) -> None:
            if kind in sizes:
                sizes[kind].add(fields[2] if kind == sftp.FXP_READ else len(fields[2]))

        server.hook = hook
        files = server.files()
        server.result(files.get("f", tmp_path / "f"))
        server.result(files.put(tmp_path / "f", "g"))
        server.result(Deferred.fromCoroutine(files.relay(b"f", files, b"", b"h", _options())))
        assert server.content("g") == server.content("h") == DATA
        assert max(sizes[sftp.FXP_READ]) == 5000
        assert max(sizes[sftp.FXP_WRITE]) == 3000

    def test_a_server_without_limits_gets_what_every_server_takes(self) -> None:
        files = MemoryServer(extensions=()).files()
        assert (files.session.readSize, files.session.writeSize) == (32768, 32768)

    def test_limits_beyond_the_protocol_are_not_used(self) -> None:
        files = MemoryServer(limits=sftp.Limits(0, 2**63, 2**32, 7)).files()
        assert files.session.readSize == files.session.writeSize == sftp.MAX_DATA_LENGTH
        assert files.session.filesAtATime == 3

    def test_the_target_may_be_a_directory(self, tmp_path: Path) -> None:
        server = MemoryServer({"d/": None, "f": b"x"})
        files = server.files()
        server.result(files.get("f", tmp_path))
        server.result(files.put(tmp_path / "f", "d"))
        assert server.content("d/f") == b"x"

    def test_a_file_without_a_size_is_read_to_its_end(self, tmp_path: Path) -> None:
        """Files of /proc tell 0."""
        server = MemoryServer({"f": DATA[:9000]})
        server.hook = _replyingTo(sftp.FXP_STAT, {"size": 0, "permissions": 0o100444})
        server.result(server.files().get("f", tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == DATA[:9000]

    def test_a_file_that_ends_before_its_announced_size_is_not_taken_for_whole(
        self, tmp_path: Path
    ) -> None:
        server = MemoryServer({"f": DATA[:9000]})
        attrs = {"size": 20_000, "permissions": 0o100644}
        lie = _replyingTo(sftp.FXP_STAT, attrs)
        lieAgain = _replyingTo(sftp.FXP_FSTAT, attrs)
        server.hook = lambda kind, fields: lie(kind, fields) or lieAgain(kind, fields)
        problem = problemsOf(server, server.files().get("f", tmp_path / "f"))
        assert problem == ["f: it ended after 9000 bytes, where 20000 were announced"]
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_shrank_meanwhile_is_taken_as_it_is(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA[:9000]})
        server.hook = _replyingTo(sftp.FXP_STAT, {"size": 20_000, "permissions": 0o100644})
        server.result(server.files().get("f", tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == DATA[:9000]

    def test_one_that_grew_is_copied_whole(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA[:9000]})
        server.hook = _replyingTo(sftp.FXP_STAT, {"size": 5000, "permissions": 0o100644})
        server.result(server.files().get("f", tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == DATA[:9000]

    def test_directories_and_missing_files_are_told(self, tmp_path: Path) -> None:
        server = MemoryServer({"d/": None})
        files = server.files()
        assert "-r (recursive)" in problemsOf(server, files.get("d", tmp_path))[0]
        assert problemsOf(server, files.get("no", tmp_path)) == [
            "no: the server says: No such file"
        ]
        text = problemsOf(server, files.put(tmp_path / "no"))[0]
        assert text.endswith("no: No such file or directory")

    def test_a_slash_at_the_end_means_a_directory_that_is_there(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": b"x", "d/g": b"y"})
        files = server.files()
        for copy in (
            files.get("f", f"{tmp_path}/new/"),
            files.put(__file__, "new/"),
            files.copy("f", "new/"),
        ):
            assert problemsOf(server, copy)[0].endswith("new/: there is no such directory")
        assert list(tmp_path.iterdir()) == []
        server.result(files.get("d", f"{tmp_path}/new/", recursive=True))
        assert (tmp_path / "new" / "g").read_bytes() == b"y"

    def test_a_target_that_cannot_be_looked_at(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": b"x"})
        files = server.files()
        server.hook = failingAt(1, DENIED)
        told: list[Any] = []
        error = server.failure(files.put(__file__, "new", problem=told.append))
        assert isinstance(error, CopyFailed)
        assert str(error) == "new: the server says: Permission denied"
        assert told == error.problems

    def test_a_server_that_speaks_something_else(self) -> None:
        server = MemoryServer()
        server.client.makeConnection(server)  # type: ignore[no-untyped-call]
        starting = Deferred.fromCoroutine(Session(server.client).start())
        server.client.dataReceived(b"Welcome to web1!\n")
        error = server.failure(starting)
        assert isinstance(error, RequestRefused)
        assert "Does a start-up file at the server print something?" in str(error)

    def test_a_connection_that_is_lost_is_told_once(self, tmp_path: Path) -> None:
        server = MemoryServer(SMALL)
        files = server.files()
        server.hook = failingAt(12, Cut())
        problems = problemsOf(server, files.get("t", tmp_path, recursive=True))
        assert len(problems) == 1
        assert problems[0].endswith("the connection to the server is gone")

    def test_progress_tells_every_block(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA[:10_000]})
        told: list[Progress] = []
        server.result(server.files().get("f", tmp_path / "g", progress=told.append))
        assert [(each.state, each.done) for each in told] == [
            ("begins", 0),
            ("goes on", 4096),
            ("goes on", 8192),
            ("goes on", 10_000),
            ("ends", 10_000),
        ]
        assert {(each.path, each.size) for each in told} == {(b"f", 10_000)}


def _options(**fields: Any) -> Any:
    return CopyOptions(**fields)


def _replyingTo(kind: int, attrs: dict[str, Any]) -> Callable[[int, list[Any]], bytes | None]:
    """A hook that answers requests of a kind with these attributes."""
    body = b"\xff\xff\xff\xff" + sftp.packAttrs(attrs)
    return lambda asked, _: sftp.packFrame(sftp.FXP_ATTRS, body) if asked == kind else None


class TestModesAndTimes:
    def test_a_new_file_gets_the_mode_below_the_umask(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": b"x"})
        server.nodes[server.path(b"f")].change({"permissions": 0o775})
        before = os.umask(0o027)
        try:
            server.result(server.files().get("f", tmp_path / "f"))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o750

    def test_a_file_that_is_there_keeps_its_mode(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": b"new"})
        files = server.files()
        (tmp_path / "f").write_bytes(b"old")
        (tmp_path / "f").chmod(0o600)
        server.result(files.get("f", tmp_path / "f"))
        assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
        server.nodes[server.path(b"f")].change({"permissions": 0o640})
        server.result(files.put(tmp_path / "f", "f"))
        assert stat.S_IMODE(server.nodes[server.path(b"f")].attrs["permissions"]) == 0o640

    def test_preserved_both_ways(self, tmp_path: Path) -> None:
        server = MemoryServer({"t/f": b"x"})
        files = server.files()
        server.nodes[server.path(b"t/f")].change({"permissions": 0o444})
        server.nodes[server.path(b"t")].change({"permissions": 0o555})
        server.result(files.get("t", tmp_path / "t", recursive=True, preserve=True))
        for path, mode in ((tmp_path / "t", 0o555), (tmp_path / "t" / "f", 0o444)):
            status = path.stat()
            assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (mode, 1_000_000_000)
        server.result(files.put(tmp_path / "t", "u", recursive=True, preserve=True))
        for name, mode in ((b"u", 0o555), (b"u/f", 0o444)):
            attrs = server.nodes[server.path(name)].attrs
            assert (attrs["permissions"] & 0o777, attrs["mtime"]) == (mode, 1_000_000_000)


class TestReplacing:
    @pytest.mark.parametrize("extensions", [(sftp.EXT_POSIX_RENAME,), ()])
    def test_what_is_there_is_replaced(self, tmp_path: Path, extensions: tuple[bytes, ...]) -> None:
        server = MemoryServer({"f": b"old and longer"}, extensions=extensions)
        (tmp_path / "f").write_bytes(b"new")
        server.result(server.files().put(tmp_path / "f", "f"))
        assert server.content("f") == b"new"
        assert server.names() == {"f"}

    def test_what_a_link_leads_to_is_replaced_not_the_link(self, tmp_path: Path) -> None:
        server = MemoryServer({"d/f": b"old", "l": "->d/f"})
        files = server.files()
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "f").write_bytes(b"new")
        (tmp_path / "link").symlink_to("real/f")
        server.result(files.put(tmp_path / "link", "l"))
        assert server.content("d/f") == b"new"
        assert server.nodes[server.path(b"l")].isLink
        server.add("g", b"newer")
        server.result(files.get("g", tmp_path / "link"))
        assert (tmp_path / "real" / "f").read_bytes() == b"newer"
        assert (tmp_path / "link").is_symlink()

    def test_a_device_that_was_named_is_written_to(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA})
        files = server.files()
        server.result(files.get("f", "/dev/null"))
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

        os.mkfifo(tmp_path / "pipe")
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        server.result(files.get("f", tmp_path / "pipe"))
        received = b""
        while piece := os.read(reader, 65536):
            received += piece
        os.close(reader)
        assert received == DATA

    @pytest.mark.parametrize("waitsIn", ["open", "_writeAll"])
    def test_a_pipe_that_nobody_reads_holds_up_no_cancellation(
        self, tmp_path: Path, waitsIn: str
    ) -> None:
        def offload(function: Any, *arguments: Any) -> Deferred[Any]:
            if function.__name__ != waitsIn:
                return atOnce(function, *arguments)
            waiting.append((Deferred(), function, arguments))
            return waiting[0][0]

        os.mkfifo(tmp_path / "pipe")
        server = MemoryServer({"f": b"data"})
        files = RemoteFiles(server.files().session, offload)
        waiting: list[tuple[Deferred[Any], Any, Any]] = []
        with sameDescriptors():
            reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
            copy = files.get("f", tmp_path / "pipe")
            server.run()
            assert len(waiting) == 1
            copy.cancel()
            assert isinstance(server.failure(copy), CopyFailed)
            answer, function, arguments = waiting[0]
            answer.callback(function(*arguments))
            os.close(reader)
            del copy, answer, function, arguments
            waiting.clear()

    def test_in_place_where_that_is_asked_for(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": b"old and longer"})
        files = server.files()
        (tmp_path / "f").write_bytes(b"new")
        inode = (tmp_path / "f").stat().st_ino
        server.result(files.put(tmp_path / "f", "f", atomic=False))
        assert server.content("f") == b"new"
        server.add("g", b"12")
        server.result(files.get("g", tmp_path / "f", atomic=False))
        assert (tmp_path / "f").read_bytes() == b"12"
        assert (tmp_path / "f").stat().st_ino == inode

    def test_somebody_elses_part_is_left_alone(self, tmp_path: Path) -> None:
        server = MemoryServer({".f.limpet-part": b"theirs"})
        files = server.files()
        (tmp_path / "f").write_bytes(b"mine")
        (tmp_path / ".g.limpet-part").write_bytes(b"theirs")
        server.result(files.put(tmp_path / "f", "f"))
        server.result(files.get("f", tmp_path / "g"))
        assert server.names() == {"f", ".f.limpet-part"}
        assert server.content(".f.limpet-part") == b"theirs"
        assert (tmp_path / "g").read_bytes() == b"mine"
        assert (tmp_path / ".g.limpet-part").read_bytes() == b"theirs"


class TestTrees:
    def test_there_and_back(self, tmp_path: Path) -> None:
        odd = {b"t/new\nline": b"1", b"t/bad\xff": b"2", b"t/" + b"n" * 255: b"3", b"t/empty": b""}
        server = MemoryServer({**SMALL, "t/hollow/": None})
        for name, content in odd.items():
            server.add(name, content)
        files = server.files()
        result = server.result(files.get("t", tmp_path, recursive=True))
        assert (result.files, result.directories) == (19, 5)
        expected = contentsThere(server, "t")
        assert contents(tmp_path / "t") == expected
        assert (tmp_path / "t" / "hollow").is_dir()
        server.result(files.put(tmp_path / "t", "u", recursive=True, verify=True))
        assert contentsThere(server, "u") == expected
        server.result(files.copy("t", "v", recursive=True))
        assert contentsThere(server, "v") == expected
        assert server.openHandles == 0

    def test_into_a_tree_that_is_there(self, tmp_path: Path) -> None:
        server = MemoryServer(SMALL)
        files = server.files()
        server.result(files.get("t", tmp_path, recursive=True))
        (tmp_path / "t" / "d0" / "f0").write_bytes(b"changed")
        (tmp_path / "t" / "mine").write_bytes(b"stays")
        server.result(files.get("t", tmp_path, recursive=True))
        assert contents(tmp_path / "t") == {**contentsThere(server, "t"), "mine": b"stays"}

    @pytest.mark.parametrize("links", ["follow", "copy", "skip"])
    def test_links(self, tmp_path: Path, links: Any) -> None:
        server = MemoryServer({"t/f": b"x", "t/l": "->f", "t/e": "->d", "t/d/g": b"y"})
        files = server.files()
        result = server.result(files.get("t", tmp_path, recursive=True, links=links))
        here = tmp_path / "t"
        server.result(files.put(here, "u", recursive=True, links=links))
        if links == "copy":
            assert os.readlink(here / "l") == "f"
            assert server.nodes[server.path(b"u/e")].data == b"d"
            assert result.links == 2
            server.result(files.put(here, "u", recursive=True, links=links))
            server.result(files.get("u", tmp_path / "t", recursive=True, links=links))
        elif links == "follow":
            assert contents(here) == {"f": b"x", "l": b"x", "d/g": b"y", "e/g": b"y"}
            assert contentsThere(server, "u") == contents(here)
        else:
            assert contents(here) == {"f": b"x", "d/g": b"y"}
            assert sorted(result.skipped) == [b"t/e", b"t/l"]

    def test_links_that_lead_nowhere_or_back(self, tmp_path: Path) -> None:
        server = MemoryServer({"t/f": b"x", "t/gone": "->no", "t/d/up": "->..", "t/self": "->."})
        problems = problemsOf(server, server.files().get("t", tmp_path, recursive=True))
        assert sorted(problems) == [
            "t/d/up: it is a link to a directory above it",
            "t/gone: it is a link to nothing",
            "t/self: it is a link to a directory above it",
        ]
        assert contents(tmp_path / "t") == {"f": b"x"}

    def test_a_file_that_cannot_be_read_does_not_keep_the_others(self, tmp_path: Path) -> None:
        server = MemoryServer(SMALL)

        def hook(kind: int, fields: list[Any]) -> None:
            if kind == sftp.FXP_OPEN and fields[0] == b"t/d1/f2":
                raise DENIED

        server.hook = hook
        told: list[Any] = []
        error = server.failure(
            server.files().get("t", tmp_path, recursive=True, problem=told.append)
        )
        assert isinstance(error, CopyFailed)
        assert str(error) == "t/d1/f2: the server says: Permission denied"
        assert told == error.problems
        assert error.result.files == 14
        expected = contentsThere(server, "t")
        del expected["d1/f2"]
        assert contents(tmp_path / "t") == expected

    def test_too_deep(self, tmp_path: Path) -> None:
        server = MemoryServer({"t/" + "d/" * 70: None})
        problems = problemsOf(server, server.files().get("t", tmp_path, recursive=True))
        assert len(problems) == 1
        assert problems[0].endswith("it is deeper than 64 levels")

    def test_several_files_are_open_at_a_time_but_not_more(self, tmp_path: Path) -> None:
        server = MemoryServer({f"t/f{i:03}": DATA[:10] for i in range(100)})
        most = [0]

        def hook(kind: int, fields: list[Any]) -> None:
            most[0] = max(most[0], server.openHandles)

        server.hook = hook
        files = server.files()
        files.session.filesAtATime = 5
        server.result(files.get("t", tmp_path, recursive=True))
        assert len(contents(tmp_path)) == 100
        assert most[0] == 6  # and the directory


def everyRequest(server: MemoryServer, copy: Callable[[RemoteFiles], Any]) -> int:
    """How many requests a copy takes where nothing goes wrong."""
    files = server.files()
    before = len(server.asked)
    server.result(copy(files))
    return len(server.asked) - before


FAULTS = {"denied": DENIED, "failure": FAILURE, "unsupported": UNSUPPORTED, "cut": Cut()}


class TestFaultAtEveryRequest:
    """The n-th request fails, for every n: an error, or all is there; never a half file."""

    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("size", [0, 3000, 20_000])
    def test_get(self, tmp_path: Path, fault: str, size: int) -> None:
        count = everyRequest(
            MemoryServer({"f": DATA[:size]}), lambda files: files.get("f", tmp_path / "f0")
        )
        assert count >= 3
        for number in range(1, count + 1):
            server = MemoryServer({"f": DATA[:size]})
            files = server.files()
            server.hook = failingAt(number, FAULTS[fault])
            target = tmp_path / f"f{number}"
            assertWholeOrNothing(
                server,
                files.get("f", target, preserve=True),
                partial(contentHere, target),
                DATA[:size],
            )
        assert all(not path.name.startswith(".") for path in tmp_path.iterdir())

    @pytest.mark.parametrize("extensions", [(sftp.EXT_POSIX_RENAME,), ()])
    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("before", [None, b"old"])
    def test_put(
        self, tmp_path: Path, fault: str, before: bytes | None, extensions: tuple[bytes, ...]
    ) -> None:
        (tmp_path / "f").write_bytes(DATA)
        tree = {} if before is None else {"f": before}
        count = everyRequest(
            MemoryServer(tree, extensions), lambda files: files.put(tmp_path / "f", "f")
        )
        for number in range(1, count + 1):
            server = MemoryServer(tree, extensions)
            files = server.files()
            server.hook = failingAt(number, FAULTS[fault])
            assertWholeOrNothing(
                server,
                files.put(tmp_path / "f", "f", preserve=True, sync=True),
                partial(contentThere, server, "f"),
                DATA,
                # Without posix-rename the old file has to go first.
                before if extensions else (before, None),
            )

    @pytest.mark.parametrize("fault", FAULTS)
    def test_tree(self, tmp_path: Path, fault: str) -> None:
        """What is there under its name is whole, whichever files failed."""
        tree = {f"t/f{number}": DATA[: number * 1500] for number in range(6)}
        count = everyRequest(
            MemoryServer(tree), lambda files: files.get("t", tmp_path / "t0", recursive=True)
        )
        for number in range(1, count + 1):
            server = MemoryServer(tree)
            files = server.files()
            server.hook = failingAt(number, FAULTS[fault])
            target = tmp_path / f"t{number}"
            try:
                server.result(files.get("t", target, recursive=True))
            except CopyFailed:
                pass
            else:
                assert len(contents(target)) == 6
            for name, content in contents(target).items():
                assert content == tree[f"t/{name}"], (number, name)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_copy_at_the_server(self, fault: str) -> None:
        tree = {"f": DATA}
        count = everyRequest(MemoryServer(tree), lambda files: files.copy("f", "g"))
        for number in range(1, count + 1):
            server = MemoryServer(tree)
            files = server.files()
            server.hook = failingAt(number, FAULTS[fault])
            assertWholeOrNothing(
                server,
                files.copy("f", "g"),
                partial(contentThere, server, "g"),
                DATA,
            )


def contentHere(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def contentThere(server: MemoryServer, name: str) -> bytes | None:
    return server.content(name) if name in server.names() else None


def failingAt(number: int, fault: Exception) -> Callable[[int, list[Any]], None]:
    """A hook that raises at the n-th request from now on."""
    count = [0]

    def hook(kind: int, fields: list[Any]) -> None:
        count[0] += 1
        if count[0] == number:
            raise fault

    return hook


def assertWholeOrNothing(
    server: MemoryServer,
    copy: Any,
    there: Callable[[], bytes | None],
    data: bytes,
    before: Any = None,
) -> None:
    try:
        server.result(copy)
        assert there() == data
    except Exception:  # noqa: BLE001 any error is one; what counts is what is there
        old = before if isinstance(before, tuple) else (before,)
        assert there() in (*old, data)
    if not server.isCut:
        # What was begun is tidied up, whatever failed; unless that failed.
        assert len(server.names()) <= 3


class TestLocalFaults:
    def test_the_disk_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = MemoryServer({"f": DATA})

        def full(descriptor: int, views: list[memoryview], offset: int) -> int:
            if offset >= 20_000:
                raise OSError(28, "No space left on device")
            return write(descriptor, views, offset)

        write = os.pwritev
        monkeypatch.setattr(os, "pwritev", full)
        problems = problemsOf(server, server.files().get("f", tmp_path / "f"))
        assert problems == [f"{tmp_path}/f: cannot be written: No space left on device"]
        assert list(tmp_path.iterdir()) == []
        assert server.openHandles == 0

    def test_a_write_may_take_less_than_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = MemoryServer({"f": DATA})
        write = os.pwritev
        monkeypatch.setattr(os, "pwritev", lambda fd, views, at: write(fd, [views[0][:1000]], at))
        server.result(server.files().get("f", tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == DATA

    @pytest.mark.parametrize("isFull", [False, True])
    def test_a_disk_that_tells_at_the_end_only(
        self, isFull: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As NFS does, whose close(2) releases the descriptor and fails; once is enough."""

        def closing(descriptor: int) -> None:
            isFile = stat.S_ISREG(os.fstat(descriptor).st_mode)
            close(descriptor)
            if isFile:
                raise OSError(122, "Disk quota exceeded")

        def full(descriptor: int, views: list[memoryview], offset: int) -> int:
            raise OSError(28, "No space left on device")

        server = MemoryServer({"f": DATA})
        close = os.close
        with sameDescriptors(), monkeypatch.context() as patched:
            patched.setattr(os, "close", closing)
            if isFull:
                patched.setattr(os, "pwritev", full)
            problems = problemsOf(server, server.files().get("f", tmp_path / "f"))
        why = "No space left on device" if isFull else "Disk quota exceeded"
        assert problems == [f"{tmp_path}/f: cannot be written: {why}"]
        assert list(tmp_path.iterdir()) == []

    def test_who_is_told_of_progress_and_always_fails_leaves_nothing_open(
        self, tmp_path: Path
    ) -> None:
        def tell(progress: Progress) -> None:
            raise OSError(32, "Broken pipe")

        server = MemoryServer({"f": DATA})
        with sameDescriptors():
            problems = problemsOf(server, server.files().get("f", tmp_path / "f", progress=tell))
        assert problems == ["f: Broken pipe"]
        assert list(tmp_path.iterdir()) == []
        assert server.openHandles == 0

    def test_a_slow_disk_is_written_to_by_threads_from_then_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offload(function: Any, *arguments: Any) -> defer.Deferred[Any]:
            byThreads.append(function)
            return atOnce(function, *arguments)

        def write(descriptor: int, views: list[memoryview], offset: int) -> int:
            clock.advance(1.0 if offset == 8192 else 0.001)
            return reallyWrite(descriptor, views, offset)

        clock = task.Clock()
        monkeypatch.setattr("limpet.client.filecopy.localtree.time.monotonic", clock.seconds)
        reallyWrite = os.pwritev
        monkeypatch.setattr(os, "pwritev", write)
        byThreads: list[Any] = []
        server = MemoryServer({"f": DATA})
        files = RemoteFiles(server.files().session, offload)
        server.result(files.get("f", tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == DATA
        before = 8192 // 4096 + 1
        assert len(byThreads) == -(-len(DATA) // 4096) - before

    def test_a_disk_that_drops_a_write_is_found_out_by_the_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = MemoryServer({"f": DATA, "old": b""})
        write = os.pwritev
        monkeypatch.setattr(
            os,
            "pwritev",
            lambda fd, views, at: sum(map(len, views)) if at > 49_000 else write(fd, views, at),
        )
        problems = problemsOf(server, server.files().get("f", tmp_path / "f"))
        assert problems == [f"{tmp_path}/f: 49152 bytes are there after 50000 were written"]
        assert list(tmp_path.iterdir()) == []

    def test_a_local_read_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(descriptor: int, offset: int, length: int) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(localtree, "readCached", lambda *_: None)
        monkeypatch.setattr(localtree, "readFrom", broken)
        (tmp_path / "f").write_bytes(DATA)
        server = MemoryServer()
        problems = problemsOf(server, server.files().put(tmp_path / "f", "f"))
        assert problems == [f"{tmp_path}/f: Input/output error"]
        assert server.names() == set()

    def test_a_full_disk_at_the_server(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(DATA)
        server = MemoryServer()

        def hook(kind: int, fields: list[Any]) -> None:
            if kind == sftp.FXP_WRITE and fields[1] > 20_000:
                raise FAILURE

        server.hook = hook
        problems = problemsOf(server, server.files().put(tmp_path / "f", "f"))
        assert problems == ["f: cannot be written: the server says: Failure"]
        assert server.names() == set()
        assert server.openHandles == 0

    def test_what_was_written_is_not_what_is_there(self, tmp_path: Path) -> None:
        """verify finds what no acknowledgement tells."""
        (tmp_path / "f").write_bytes(DATA)
        server = MemoryServer({"f": b"old"})

        def hook(kind: int, fields: list[Any]) -> None:
            if kind == sftp.FXP_WRITE and fields[1] == 8192:
                fields[2] = b"x" * len(fields[2])

        server.hook = hook
        problems = problemsOf(server, server.files().put(tmp_path / "f", "f", verify=True))
        assert problems == ["f: what was written is not what was read: not kept"]
        assert server.content("f") == b"old"
        assert server.names() == {"f"}

    def test_a_server_that_drops_a_write_is_found_out_by_the_size(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(DATA)
        server = MemoryServer()

        def hook(kind: int, fields: list[Any]) -> bytes | None:
            if kind == sftp.FXP_WRITE and fields[1] == 49152:
                return sftp.packFrame(101, sftp.packStatus(2**32 - 1, 0))
            return None

        server.hook = hook
        problems = problemsOf(server, server.files().put(tmp_path / "f", "f"))
        assert "the server has 49152 bytes of it after 50000 were written" in problems[0]
        assert server.names() == set()


class TestResuming:
    """A copy that was cut goes on, and what comes of it is the same."""

    @pytest.mark.parametrize("seed", range(12))
    def test_get_after_a_cut_at_any_point(
        self, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "COMPARED_BEFORE_RESUMING", 5000)
        chance = random.Random(seed)
        target = tmp_path / "f"
        for _ in range(50):
            server = MemoryServer({"f": DATA}, mostRead=chance.choice([4096, 700]))
            files = server.files()
            server.hook = failingAt(chance.randint(2, 12), Cut())
            try:
                result = server.result(files.get("f", target, resume=True))
                break
            except CopyFailed:
                assert not target.exists()
        assert target.read_bytes() == DATA
        assert result.bytesMoved < len(DATA)
        assert [path.name for path in tmp_path.iterdir()] == ["f"]

    @pytest.mark.parametrize("seed", range(12))
    def test_put_after_a_cut_at_any_point(
        self, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "COMPARED_BEFORE_RESUMING", 5000)
        monkeypatch.setattr(RemoteTarget, "uncertain", 10_000)
        chance = random.Random(seed)
        (tmp_path / "f").write_bytes(DATA)
        before: dict[bytes, Any] = {}
        for _ in range(80):
            server = MemoryServer()
            server.nodes.update(before)
            files = server.files()
            server.hook = failingAt(chance.randint(3, 20), Cut())
            try:
                server.result(files.put(tmp_path / "f", "f", resume=True))
                break
            except CopyFailed:
                before = server.nodes
                assert "f" not in server.names()
        assert server.content("f") == DATA
        assert server.names() == {"f"}

    def test_only_what_is_certainly_there_is_not_sent_again(self, tmp_path: Path) -> None:
        """A server may have written what was under way in any order."""
        size = PUT_UNDER_WAY + 400_000
        data = random.Random(3).randbytes(size)
        (tmp_path / "f").write_bytes(data)
        holes = bytearray(data[:-1000])
        holes[size - PUT_UNDER_WAY : size - PUT_UNDER_WAY + 50_000] = bytes(50_000)
        server = MemoryServer({".f.limpet-part": bytes(holes)})
        files = server.files()
        result = server.result(files.put(tmp_path / "f", "f", resume=True))
        assert server.content("f") == data
        assert result.bytesMoved == PUT_UNDER_WAY + 1000

    def test_a_part_of_something_else_is_not_gone_on_with(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA})
        (tmp_path / ".f.limpet-part").write_bytes(DATA[:20_000] + b"X" + DATA[20_001:30_000])
        result = server.result(server.files().get("f", tmp_path / "f", resume=True))
        assert (tmp_path / "f").read_bytes() == DATA
        assert result.bytesMoved == len(DATA)

    def test_a_shorter_file_of_another_program_is_gone_on_with(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA, "g": DATA[:30_000]})
        files = server.files()
        (tmp_path / "f").write_bytes(DATA[:30_000])
        result = server.result(files.get("f", tmp_path / "f", resume=True))
        assert (tmp_path / "f").read_bytes() == DATA
        assert result.bytesMoved == 20_000
        server.result(files.put(tmp_path / "f", "g", resume=True))
        assert server.content("g") == DATA

    @pytest.mark.parametrize("fault", [Cut(), FAILURE])
    def test_what_is_something_else_stays_until_the_copy_is_complete(
        self, tmp_path: Path, fault: Exception
    ) -> None:
        other = b"somebody's own file" * 100
        part = ".f.limpet-part"
        ends = set()
        for number in range(1, 40):
            directory = tmp_path / str(number)
            directory.mkdir()
            (directory / "f").write_bytes(other)
            server = MemoryServer({"f": DATA})
            server.hook = failingAt(number, fault)
            with suppress(Exception):
                server.result(server.files().get("f", directory / "f", resume=True))
            there = contents(directory)
            assert other in there.values() or there == {"f": DATA}
            ends.add(there == {"f": DATA})

            server = MemoryServer({"f": other})
            server.hook = failingAt(number, fault)
            (directory / "source").write_bytes(DATA)
            with suppress(Exception):
                server.result(server.files().put(directory / "source", "f", resume=True))
            kept = {}
            for name in ("f", part):
                with suppress(KeyError):
                    kept[name] = server.content(name)
            assert other in kept.values() or kept == {"f": DATA}
        assert ends == {True, False}

    def test_what_is_whole_already_moves_nothing(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA})
        (tmp_path / "f").write_bytes(DATA)
        result = server.result(server.files().get("f", tmp_path / "f", resume=True))
        assert result.bytesMoved == 0
        assert (tmp_path / "f").read_bytes() == DATA

    def test_a_longer_file_is_not_touched(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA, "g": DATA + b"more"})
        files = server.files()
        (tmp_path / "f").write_bytes(DATA + b"more")
        text = problemsOf(server, files.get("f", tmp_path / "f", resume=True))[0]
        assert "it has 50004 bytes, more than the 50000 to be copied" in text
        assert (tmp_path / "f").read_bytes() == DATA + b"more"
        (tmp_path / "f").write_bytes(DATA)
        assert "50004" in problemsOf(server, files.put(tmp_path / "f", "g", resume=True))[0]
        assert server.content("g") == DATA + b"more"

    def test_a_cut_keeps_the_part_where_that_is_wanted(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA})
        files = server.files()
        server.hook = failingAt(9, Cut())
        text = problemsOf(server, files.get("f", tmp_path / "f", keepPart=True))[0]
        assert text == "f: the connection to the server is gone; what there is was kept"
        part = (tmp_path / ".f.limpet-part").read_bytes()
        assert part
        assert DATA.startswith(part)

    def test_cancelling_tidies_up(self, tmp_path: Path) -> None:
        server = MemoryServer({"f": DATA})
        files = server.files()
        copy = files.get("f", tmp_path / "f")
        with pytest.raises(AssertionError):
            server.run(steps=9)
        copy.cancel()
        assert problemsOf(server, copy) == ["f: interrupted"]
        assert list(tmp_path.iterdir()) == []
        server.run()
        assert server.openHandles == 0


class TestTheRestOfTheSurface:
    def test_looking_and_changing(self, tmp_path: Path) -> None:
        server = MemoryServer({"d/f": b"text", "l": "->d"})
        files = server.files()
        assert {entry.name for entry in server.result(files.listDirectory())} == {"d", "l"}
        entries = {entry.name: entry for entry in server.result(files.listDirectory("."))}
        assert entries["d"].isDirectory
        assert entries["l"].isLink
        assert server.result(files.listDirectory("d"))[0].size == 4
        assert server.result(files.exists("d/f"))
        assert not server.result(files.exists("d/g"))
        assert server.result(files.isDirectory("l"))
        assert not server.result(files.isDirectory("no"))
        assert server.result(files.realPath("l/f")) == "/home/u/d/f"
        assert server.result(files.stat("d/f"))["size"] == 4
        server.result(files.makeDirectory("e"))
        server.result(files.rename("d/f", "e/f"))
        server.result(files.makeLink("m", "e/f"))
        assert server.result(files.readLink("m")) == "e/f"
        server.result(files.changeMode("e/f", 0o600))
        assert server.result(files.stat("m"))["permissions"] & 0o777 == 0o600
        server.result(files.removeTree("e"))
        server.result(files.remove("m"))
        server.result(files.removeDirectory("d"))
        assert server.names() == {"l"}
        assert server.result(files.statVFS()).namemax == 255
        files.close()
        assert server.disconnecting

    def test_whole_files(self) -> None:
        server = MemoryServer({"f": DATA})
        files = server.files()
        assert server.result(files.read("f")) == DATA
        server.result(files.write("g", DATA[:5000]))
        assert server.content("g") == DATA[:5000]
        server.result(files.write("g", b""))
        assert server.content("g") == b""
        assert server.result(files.read("g")) == b""
        assert server.openHandles == 0

    def test_copies_at_the_server_move_no_bytes(self) -> None:
        server = MemoryServer({"f": DATA, "d/": None})
        files = server.files()
        server.result(files.copy("f", "d"))
        assert server.content("d/f") == DATA
        assert not {sftp.FXP_READ, sftp.FXP_WRITE} & set(server.asked)

    def test_without_copy_data_they_go_through_here(self) -> None:
        server = MemoryServer({"f": DATA}, extensions=())
        server.result(server.files().copy("f", "g"))
        assert server.content("g") == DATA

    def test_between_two_servers(self) -> None:
        one, two = MemoryServer(SMALL), MemoryServer()
        first, second = one.files(), two.files()
        results: list[Any] = []
        relay = first.relay(b"t", second, b"", b"u", _options(recursive=True))
        Deferred.fromCoroutine(relay).addBoth(results.append)
        while not results:
            one.run()
            two.run()
        assert contentsThere(two, "u") == contentsThere(one, "t")
