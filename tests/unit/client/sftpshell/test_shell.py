"""The commands, each against a server in memory."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from limpet.client.filecopy import Progress
from limpet.client.sftpshell import CommandError, LeaveShell, Shell
from limpet.client.sftpshell.shell import ALIASES, COMMANDS
from limpet.wire import sftp
from tests.pair.sftpserver import DENIED, Cut, MemoryServer

DATA = random.Random(5).randbytes(20_000)


class Talk:
    """A shell and what it prints."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.printed: list[str] = []
        starting = Deferred.fromCoroutine(Shell.start(server.files(), self.printed.append))
        self.shell: Shell = server.result(starting)

    def __call__(self, line: str | bytes) -> str:
        """Run a line; what it printed."""
        self.printed.clear()
        self.server.result(Deferred.fromCoroutine(self.shell.run(line)))
        return "".join(self.printed)

    def error(self, line: str) -> str:
        """The words with which it fails."""
        with pytest.raises(CommandError) as failed:
            self(line)
        return str(failed.value)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """An empty current directory."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_every_command_has_a_method_and_every_alias_a_command() -> None:
    for name in COMMANDS:
        assert callable(getattr(Shell, "do" + name.title()))
    assert set(ALIASES.values()) <= set(COMMANDS)


def test_empty_lines_and_comments_do_nothing() -> None:
    talk = Talk(MemoryServer())
    assert talk("") == talk("   # comment") == ""


def test_mistakes_are_told() -> None:
    talk = Talk(MemoryServer())
    assert "there is no command 'frobnicate'" in talk.error("frobnicate")
    assert "usage: get [-afpRV] remote [local]" in talk.error("get")
    assert "there is no -x" in talk.error("get -x a")
    assert "has no second one" in talk.error("get 'a")
    assert "nothing matches no*" in talk.error("rm no*")


@pytest.mark.parametrize("line", ["bye", "exit", "QUIT"])
def test_leaving(line: str) -> None:
    with pytest.raises(LeaveShell):
        Talk(MemoryServer())(line)


def test_help_and_version() -> None:
    talk = Talk(MemoryServer())
    everything = talk("help")
    for name in COMMANDS:
        assert f"{name} " in everything
    assert talk("? mget").startswith("get [-afpRV]")
    assert "no command" in talk.error("help nothing")
    assert talk("version") == "SFTP version 3\n"


class TestDirectories:
    def test_remote(self) -> None:
        talk = Talk(MemoryServer({"d/e/": None, "f": b"", "l": "->d"}))
        assert talk("pwd") == "Remote working directory: /home/u\n"
        talk("cd d")
        talk("cd e/..")
        assert talk("pwd") == "Remote working directory: /home/u/d\n"
        talk("cd /home/u/l/e")
        assert talk("pwd") == "Remote working directory: /home/u/d/e\n"
        talk("cd")
        talk("cd d*")
        assert talk("pwd") == "Remote working directory: /home/u/d\n"
        talk("cd ~")
        assert "is no directory" in talk.error("cd f")
        assert talk.error("cd nothing").startswith("/home/u/nothing: the server says: No such")

    def test_made_and_removed(self) -> None:
        server = MemoryServer()
        talk = Talk(server)
        talk("mkdir d")
        talk("mkdir -p a/b/c")
        talk("mkdir -p a/b/c")
        assert server.names("a/b") == {"c"}
        assert talk.error("mkdir d") == "/home/u/d: it is there already"
        assert talk.error("mkdir nowhere/d").startswith("/home/u/nowhere/d: the server says")
        talk("rmdir d a/b/c")
        assert server.names() == {"a"}
        assert talk.error("rmdir a") == "/home/u/a: it is not empty"

    def test_local(self, here: Path) -> None:
        talk = Talk(MemoryServer())
        talk("lmkdir sub")
        talk("lcd sub")
        assert talk("lpwd") == f"Local working directory: {here}/sub\n"
        (here / "sub" / "file").touch()
        assert talk("lls") == "file\n"
        assert "file" in talk("lls -l f*")
        assert "lcd: nowhere: No such file" in talk.error("lcd nowhere")
        assert "File exists" in talk.error("lmkdir ../sub")
        assert "lls: " in talk.error("lls nothing")
        before = os.umask(0o022)
        try:
            assert talk("lumask 27") == "Local umask: 027\n"
        finally:
            assert os.umask(before) == 0o027


class TestListing:
    def test_short(self) -> None:
        server = MemoryServer({"b": b"1", "a": b"22", ".h": b"", "d/x": b"", "d/y": b""})
        talk = Talk(server)
        talk.shell.width = 40
        assert talk("ls") == "a  b  d\n"
        assert talk("ls -1") == "a\nb\nd\n"
        assert talk("ls -r1") == "d\nb\na\n"
        assert talk("ls -1a").split() == [".", "..", ".h", "a", "b", "d"]
        assert talk("ls -1S") == "a\nb\nd\n"
        server.nodes[server.path(b"b")].attrs["mtime"] += 1
        assert talk("ls -1t").startswith("b\n")
        assert talk("ls d") == "x  y\n"
        assert talk("ls d/*") == "d/x  d/y\n"
        assert talk("ls /home/u/d/x") == "d/x\n"
        assert talk("dir *") == "a  b\n\nd:\nx  y\n"
        assert "No such file" in talk.error("ls nothing")
        assert server.openHandles == 0

    def test_long_has_names_where_the_server_tells_them(self) -> None:
        talk = Talk(MemoryServer({"a": bytes(5000)}))
        assert "u1000    g1000            5000" in talk("ls -l")
        assert "1000     1000             5000" in talk("ls -n")
        assert "4.9K" in talk("ls -lh a")
        without = Talk(MemoryServer({"a": b""}, extensions=()))
        assert "1000     1000 " in without("ls -l")

    def test_df(self) -> None:
        assert "75%" in Talk(MemoryServer())("df -h")
        assert "80%" in Talk(MemoryServer())("df -i .")
        error = Talk(MemoryServer(extensions=())).error("df")
        assert error == "df: the server does not support statvfs@openssh.com"


class TestChanging:
    def test_names(self) -> None:
        server = MemoryServer({"a": b"1", "b": b"2", "c d": b"3", "t/x": b""})
        talk = Talk(server)
        talk("rename a 'e f'")
        talk("mv b c\\ d")
        assert server.names() == {"e f", "c d", "t"}
        assert server.content("c d") == b"2"
        talk("ln 'c d' hard")
        talk("ln -s 'c d' soft")
        talk("symlink nowhere soft2")
        assert server.nodes[server.path(b"soft")].data == b"c d"
        talk("copy hard copied")
        assert server.content("copied") == b"2"
        talk("rm soft* copied")
        assert server.names() == {"e f", "c d", "t", "hard"}
        assert "Failure" in talk.error("rm t")
        talk("rm -r t")
        assert "t" not in server.names()
        assert "No such file" in talk.error("rename no x")

    def test_attributes(self) -> None:
        server = MemoryServer({"a": b"", "b": b"", "l": "->a"})
        talk = Talk(server)
        talk("chmod 600 a b")
        assert server.nodes[server.path(b"a")].attrs["permissions"] == 0o100600
        talk("chown 7 *")
        talk("chgrp 8 a")
        attrs = server.nodes[server.path(b"a")].attrs
        assert (attrs["uid"], attrs["gid"]) == (7, 8)
        talk("chown -h 9 l")
        assert server.nodes[server.path(b"l")].attrs["uid"] == 9
        assert server.nodes[server.path(b"a")].attrs["uid"] == 7
        assert "is no octal number" in talk.error("chmod 9 a")
        assert "is no number" in talk.error("chown root a")
        assert "does not support" in Talk(MemoryServer(extensions=())).error("chmod -h 600 a")


class TestCopying:
    def test_get_and_put(self, here: Path) -> None:
        server = MemoryServer({"a": DATA, "d/b": b"b"})
        talk = Talk(server)
        talk("get a")
        assert (here / "a").read_bytes() == DATA
        talk("get d/b x")
        talk("cd d")
        talk("put a c")
        talk("put x")
        assert server.content("d/c") == DATA
        assert server.content("d/x") == b"b"
        assert "No such file" in talk.error("get nothing")
        assert "nothing: No such file" in talk.error("put nothing")

    def test_several(self, here: Path) -> None:
        server = MemoryServer({"a1": b"1", "a2": b"2", "d/": None})
        talk = Talk(server)
        talk("mget a?")
        assert (here / "a2").read_bytes() == b"2"
        talk("put a* d")
        assert server.names("d") == {"a1", "a2"}
        assert "2 files match" in talk.error("get a* new")
        assert "2 files match" in talk.error("put a* new")
        assert "nothing matches z*" in talk.error("put z*")
        (here / "a*").write_bytes(b"star")
        talk("put 'a*'")
        assert server.content("a*") == b"star"

    def test_one_that_fails_does_not_keep_the_others(self, here: Path) -> None:
        server = MemoryServer({"a1": b"1", "a2": b"2", "a3": b"3"})
        talk = Talk(server)

        def hook(kind: int, fields: list[Any]) -> None:
            if kind == sftp.FXP_OPEN and fields[0].endswith((b"a1", b"a2")):
                raise DENIED

        server.hook = hook
        told: list[str] = []
        talk.shell.told = told.append
        assert talk.error("get *") == "2 files were not copied, or not as asked"
        assert told[0] == "/home/u/a1: the server says: Permission denied"
        assert len(told) == 2
        assert (here / "a3").read_bytes() == b"3"

    def test_a_failure_is_told_once(self, here: Path) -> None:
        talk = Talk(MemoryServer({}))
        told: list[str] = []
        talk.shell.told = told.append
        for line, wasTold in (("get none", True), ("put none", True), ("rmdir none", False)):
            told.clear()
            with pytest.raises(CommandError) as failed:
                talk(line)
            assert failed.value.wasTold is wasTold
            assert told == ([str(failed.value)] if wasTold else [])

    def test_trees(self, here: Path) -> None:
        server = MemoryServer({"t/f": b"1", "t/s/g": b"2", "t/l": "->f"})
        talk = Talk(server)
        assert "copy it with -r" in talk.error("get t")
        assert talk("get -R t") == "/home/u/t/l: skipped, it is no ordinary file\n"
        assert (here / "t" / "s" / "g").read_bytes() == b"2"
        talk("put -rp t u")
        assert server.names("u") == {"f", "s"}
        talk.shell.recursive = True
        talk("get t v")
        assert (here / "v" / "f").read_bytes() == b"1"

    def test_resuming(self, here: Path) -> None:
        server = MemoryServer({"a": DATA})
        (here / "a").write_bytes(DATA[:9000])
        talk = Talk(server)
        told: list[Progress] = []
        talk.shell.progress = told.append
        talk.shell.showsProgress = True
        talk("reget a")
        assert (here / "a").read_bytes() == DATA
        assert told[0].done == 9000
        server.add("b", DATA[:9000])
        talk("reput a b")
        assert server.content("b") == DATA
        talk("get -a a")

    def test_progress_is_a_switch(self) -> None:
        talk = Talk(MemoryServer())
        assert talk("progress") == "Progress is shown\n"
        assert talk("progress") == "Progress is not shown\n"

    def test_the_end_of_the_connection_is_told(self, here: Path) -> None:
        server = MemoryServer({"a": DATA})
        talk = Talk(server)

        def hook(kind: int, fields: list[Any]) -> None:
            if kind == sftp.FXP_READ and fields[1] > 8000:
                raise Cut

        server.hook = hook
        error = talk.error("get a")
        assert error == "/home/u/a: the connection to the server is gone; what there is was kept"
        assert {path.name for path in here.iterdir()} == {".a.limpet-part"}


def test_local_commands(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    talk = Talk(MemoryServer())
    talk("!echo hello; exit 0")
    assert capfd.readouterr().out == "hello\n"
    assert "status 3" in talk.error("!exit 3")
