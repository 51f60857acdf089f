"""The command line of `~C`: forwardings that begin and end while a session runs.

Rule: one line is one command, in the letters of ssh(1); whatever comes of it is told in a sentence,
and the session goes on.

    -L 8080:web:80   -R 2222:localhost:22   -D 1080     begin one
    -KL 8080         -KR 2222               -KD 1080    end it; connections that there are go on
    !command                                            run something here (PermitLocalCommand)
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.client.errors import ClientError
from limpet.client.forwards import Forward, Forwards
from limpet.client.names import aside
from limpet.core.sshconfig import BadPlace, ForwardSpec, parseForward, targetOf

PROMPT = b"\nssh> "

HELP = """\
  -L [address:]port:host:hostport   listen here, and have the server connect
  -R [address:]port:host:hostport   have the server listen, and connect from here
  -D [address:]port                 listen here for programs that speak SOCKS
  -KL, -KR, -KD [address:]port      end such a forwarding
  !command                          run a command here (PermitLocalCommand)
"""

LOCAL, REMOTE, DYNAMIC = "L", "R", "D"


class BadCommand(ValueError):
    """A line that is no command; the text says why."""


@dataclass(frozen=True, slots=True)
class ForwardCommand:
    """What is to be done about a forwarding.

    Attributes:
        kind: `LOCAL`, `REMOTE` or `DYNAMIC`.
        spec: Which one; of one that is to end, where it listens.
        ends: Whether it is to end.
    """

    kind: str
    spec: ForwardSpec
    ends: bool = False


@dataclass(frozen=True, slots=True)
class LocalProgram:
    """A command for the shell here."""

    command: str


@dataclass(frozen=True, slots=True)
class HelpWanted:
    """The list of commands."""


Command = ForwardCommand | LocalProgram | HelpWanted


def parseCommand(line: str) -> Command | None:
    """Read a line; None for an empty one.

    Raises:
        BadCommand: It is no command.
    """
    text = line.strip().removeprefix("-")
    if not text:
        return None
    if text[0] in "hH?":
        return HelpWanted()
    if text[0] == "!":
        if not text[1:].strip():
            raise BadCommand("write the command behind the !")
        return LocalProgram(text[1:].strip())
    ends = text[0] == "K"
    kind, place = text[ends : ends + 1], text[ends + 1 :].strip()
    if kind not in (LOCAL, REMOTE, DYNAMIC) or not kind:
        raise BadCommand("that is no command; ? lists them")
    try:
        if ends and "/" not in place:
            return ForwardCommand(kind, parseForward(place, dynamic=True), ends)
        if ends:
            return ForwardCommand(kind, ForwardSpec(None, None, listenPath=place), ends)
        spec = parseForward(place, dynamic=kind == DYNAMIC, remote=kind == REMOTE)
    except BadPlace as failure:
        raise BadCommand(str(failure)) from None
    return ForwardCommand(kind, spec)


class CommandLine:
    """Does what is typed at the command line of one connection.

    Args:
        reactor: In whose threads a local command is waited for.
        forwards: The connection's forwardings.
        mayRun: Whether local commands are permitted (PermitLocalCommand).
        environment: Where SHELL is looked for.
    """

    def __init__(
        self,
        reactor: Any,
        forwards: Callable[[], Forwards],
        mayRun: bool,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._reactor = reactor
        self._forwards = forwards
        self._mayRun = mayRun
        self._environment = environment

    def run(self, line: str) -> defer.Deferred[str]:
        """Do what a line says.

        Returns:
            A Deferred of what is to be told, lines without the last one's end; empty for nothing.
            It does not fail for anything that a person can do wrong.
        """
        try:
            command = parseCommand(line)
        except BadCommand as mistake:
            return defer.succeed(str(mistake))
        if command is None:
            return defer.succeed("")
        if isinstance(command, HelpWanted):
            return defer.succeed(HELP.rstrip("\n"))
        if isinstance(command, LocalProgram):
            return self._runProgram(command.command)
        if command.ends:
            return self._end(command)
        return self._begin(command).addErrback(_told)

    def _begin(self, command: ForwardCommand) -> defer.Deferred[str]:
        forwards, spec = self._forwards(), command.spec
        begin = {LOCAL: forwards.local, REMOTE: forwards.remote, DYNAMIC: forwards.dynamic}

        def begun(forward: Forward) -> str:
            if command.kind == REMOTE and spec.listenPort == 0:
                return f"Allocated port {forward.port} for remote forward to {targetOf(spec)}"
            return f"forwarding {forward.words}"

        return begin[command.kind](spec).addCallback(begun)

    def _end(self, command: ForwardCommand) -> defer.Deferred[str]:
        for forward in self._forwards().open:
            if forward.kind == command.kind and forward.listensAt(command.spec):
                ending: defer.Deferred[Any] = forward.close()
                return ending.addCallback(_noLonger, forward.words)
        return defer.succeed("there is no such forwarding; ~# lists what there is")

    def _runProgram(self, command: str) -> defer.Deferred[str]:
        if not self._mayRun:
            return defer.succeed("commands are not run here; PermitLocalCommand yes allows it")
        shell = self._environment.get("SHELL") or "/bin/sh"
        # By a shell: it is the person at this keyboard who typed it, and nobody else.
        running = aside(self._reactor, subprocess.call, [shell, "-c", command])
        return running.addCallbacks(_ended, _notRun)


def _noLonger(ignored: object, words: str) -> str:
    return f"no longer forwarding {words}"


def _ended(status: int) -> str:
    return "" if status == 0 else f"the command ended with status {status}"


def _notRun(failure: Failure) -> str:
    failure.trap(OSError)
    return f"the shell cannot be started: {failure.getErrorMessage()}"


def _told(failure: Failure) -> str:
    failure.trap(ClientError)
    return failure.getErrorMessage()
