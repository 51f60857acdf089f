"""The command line of `~C`: what a line means, and what comes of it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from twisted.internet import defer

from limpet.client import commandline
from limpet.client.commandline import (
    HELP,
    BadCommand,
    CommandLine,
    ForwardCommand,
    HelpWanted,
    LocalProgram,
    parseCommand,
)
from limpet.client.forwards import Forward, ForwardFailed
from limpet.core.sshconfig import ForwardSpec, parseForward


class TestLines:
    @pytest.mark.parametrize(
        ("line", "command"),
        [
            ("-L 8080:web:80", ForwardCommand("L", parseForward("8080:web:80"))),
            ("L8080:web:80", ForwardCommand("L", parseForward("8080:web:80"))),
            ("  -R[::1]:2222:h:22 ", ForwardCommand("R", parseForward("[::1]:2222:h:22"))),
            ("-R 0", ForwardCommand("R", parseForward("0", remote=True))),
            ("-D 1080", ForwardCommand("D", parseForward("1080", dynamic=True))),
            ("-KL 8080", ForwardCommand("L", parseForward("8080", dynamic=True), True)),
            ("-KR a:80", ForwardCommand("R", parseForward("a:80", dynamic=True), True)),
            ("KD1080", ForwardCommand("D", parseForward("1080", dynamic=True), True)),
            ("-KL /s", ForwardCommand("L", ForwardSpec(None, None, listenPath="/s"), True)),
            ("!ls -l", LocalProgram("ls -l")),
            ("?", HelpWanted()),
            ("-h", HelpWanted()),
            ("", None),
            (" - ", None),
        ],
    )
    def test_commands(self, line: str, command: object) -> None:
        assert parseCommand(line) == command

    @pytest.mark.parametrize(
        "line", ["x", "-X 1", "-K", "-KX 1", "-L", "-L 1", "-D x", "-KL", "-KL 1:b:2", "!", "-l 1"]
    )
    def test_what_is_none(self, line: str) -> None:
        with pytest.raises(BadCommand):
            parseCommand(line)


class Forwarding:
    """Begins forwardings, but for those to the port 1."""

    def __init__(self) -> None:
        self.open: list[Forward] = []

    def _begin(self, kind: str, spec: ForwardSpec) -> defer.Deferred[Forward]:
        if spec.targetPort == 1:
            return defer.fail(ForwardFailed("no such luck"))
        forward = Forward(f"{kind} {spec.listenPort}", spec.listenPort or 4711, lambda: None)
        forward.kind, forward.spec = kind, spec
        self.open.append(forward)
        return defer.succeed(forward)

    def local(self, spec: ForwardSpec) -> defer.Deferred[Forward]:
        return self._begin("L", spec)

    def remote(self, spec: ForwardSpec) -> defer.Deferred[Forward]:
        return self._begin("R", spec)

    def dynamic(self, spec: ForwardSpec) -> defer.Deferred[Forward]:
        return self._begin("D", spec)


class World:
    def __init__(self, mayRun: bool = False) -> None:
        self.forwards = Forwarding()
        given: Any = self.forwards
        self.line = CommandLine(None, lambda: given, mayRun, {"SHELL": "/bin/zsh"})

    def run(self, text: str) -> str:
        told: list[str] = []
        self.line.run(text).addCallback(told.append)
        return told[0]


class TestForwardings:
    def test_begin(self) -> None:
        world = World()
        assert world.run("-L 8080:web:80") == "forwarding L 8080"
        assert world.run("-D 1080") == "forwarding D 1080"
        assert world.run("-R 0:a:2") == "Allocated port 4711 for remote forward to a:2"

    def test_end(self) -> None:
        world = World()
        for command in ("-L 8080:web:80", "-L x:8080:web:80", "-R 0:a:2"):
            world.run(command)
        ours, theirs, remote = world.forwards.open
        assert world.run("-KD 8080").startswith("there is no such forwarding")
        assert world.run("-KL x:8080") == "no longer forwarding L 8080"
        assert (ours._stop is None, theirs._stop is None) == (False, True)
        assert world.run("-KR 4711") == "no longer forwarding R 0"
        assert remote._stop is None

    def test_what_fails_is_told(self) -> None:
        assert World().run("-L 8080:web:1") == "no such luck"
        assert "not a forwarding" in World().run("-L 8080")


class TestPrograms:
    def test_are_for_the_shell_where_that_is_permitted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(reactor: Any, function: Any, arguments: list[str]) -> defer.Deferred[int]:
            assert function is subprocess.call
            assert arguments == ["/bin/zsh", "-c", "ls | wc"]
            return defer.succeed(3)

        monkeypatch.setattr(commandline, "aside", run)
        assert "PermitLocalCommand" in World().run("!ls | wc")
        assert World(mayRun=True).run("!ls | wc") == "the command ended with status 3"

    def test_a_shell_that_is_not_there_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            commandline, "aside", lambda *ignored: defer.fail(FileNotFoundError(2, "no zsh"))
        )
        assert "no zsh" in World(mayRun=True).run("!ls")


def test_help() -> None:
    assert World().run("?") == HELP.rstrip("\n")
    assert World().run("") == ""
