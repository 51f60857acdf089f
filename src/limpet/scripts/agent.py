"""`limpet agent`: keep keys in memory and sign with them, for `ssh`, `git` and `limpet ssh`.

Rule: what it prints is what a shell is to evaluate, and nothing else; the keys leave this process
neither in a core file nor by a debugger of the same user's.

    limpet agent ─fork─▶ the agent: socket ─▶ a line for the shell, through a pipe ─▶ on its own
               └▶ prints the line, ends
"""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from limpet.scripts.mistakes import Mistake
from limpet.scripts.reactors import commandReactor
from limpet.scripts.serve import forbidCoreDumps
from limpet.scripts.standard import OutputLost
from limpet.server.logs import startLogging
from limpet.unix.localagent import LocalAgent

_PR_SET_DUMPABLE = 4

MAX_LINE = 8192
"""More than the line for the shell ever is, in bytes."""


def run(path: str | None, lifetime: str | None, inForeground: bool, command: Sequence[str]) -> None:
    """Be an agent until a signal comes, or `command` ends.

    Args:
        path: Where the socket is to be; None for a place of its own.
        lifetime: How long keys are kept that come without a lifetime, as for ssh-agent: "1h30m".
        inForeground: Whether to be the agent, rather than to leave one behind.
        command: A program to run with the agent, and its arguments.
    """
    seconds = None if lifetime is None else parseLifetime(lifetime)
    executable = None
    if command[:1] == ("-k",):
        raise Mistake("there is no option -k; an agent ends by: kill $SSH_AGENT_PID")
    if command and command[0].startswith("-"):
        raise Mistake(f"there is no option {command[0]}; limpet agent --help shows those there are")
    if command:
        executable = shutil.which(command[0])
        if executable is None:
            raise Mistake(f"there is no program {command[0]}")
    if not command and not inForeground:
        # Before there is a reactor, whose descriptors would be shared.
        ready = _leaveBehind()
    else:
        ready = _sayHere
    startLogging(sys.stderr, "warn")
    forbidCoreDumps()
    forbidDebuggers()
    reactor = commandReactor()
    try:
        agent = LocalAgent(reactor, seconds, os.environ.get("SSH_ASKPASS"), path)
    except OSError as failure:
        hint = "; remove it, if no agent is behind it" if failure.errno == errno.EADDRINUSE else ""
        words = f"{failure.strerror}{hint}"
        raise Mistake(f"there can be no socket {path or ''}: {words}") from None
    sys.exit(_serve(reactor, agent, executable, command, ready))


def _serve(
    reactor: Any,
    agent: LocalAgent,
    executable: str | None,
    command: Sequence[str],
    ready: Callable[[str], None],
) -> int:
    """Run the agent to its end; the exit status."""
    status = 0

    def ended(code: int) -> None:
        nonlocal status
        status = code
        if reactor.running:
            reactor.stop()

    try:
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(ended, 0))
        if executable is None:
            ready(agent.path)
        else:
            # Ctrl-C is meant for the command.
            signal.signal(signal.SIGINT, lambda *_: None)
            environment = {**os.environ, "SSH_AUTH_SOCK": agent.path}
            reactor.callWhenRunning(_start, reactor, executable, command, environment, ended)
        reactor.run()
    finally:
        agent.close()
    return status


def lineFor(path: str, pid: int) -> str:
    """What a shell is told."""
    return (
        f"SSH_AUTH_SOCK={shlex.quote(path)}; export SSH_AUTH_SOCK;"
        f" SSH_AGENT_PID={pid}; export SSH_AGENT_PID;\n"
    )


def _sayHere(path: str) -> None:
    click.echo(lineFor(path, os.getpid()), nl=False)
    sys.stdout.flush()


def _leaveBehind() -> Callable[[str], None]:
    """Split in two: in the agent, return what tells the other one; in the other one, end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with open(reading, encoding="utf-8", errors="surrogateescape") as pipe:
            line = pipe.read(MAX_LINE)
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except OutputLost:
            # Nobody knows of it, so that nobody would ever end it.
            os.kill(pid, signal.SIGTERM)
            raise
        # An agent that did not come about has said why.
        status = 0 if line else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os._exit(status)
    os.close(reading)
    os.setsid()

    def ready(path: str) -> None:
        with open(writing, "w", encoding="utf-8", errors="surrogateescape") as pipe:
            pipe.write(lineFor(path, os.getpid()))
        # It is to keep no file system from being unmounted.
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.close(nothing)

    return ready


class _Command(ProcessProtocol):
    """The program that the agent is for."""

    def __init__(self, ended: Callable[[int], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:
        error = reason.value
        if not isinstance(error, ProcessTerminated):
            self._ended(0)
        elif error.signal is not None:
            self._ended(128 + error.signal)
        else:
            self._ended(error.exitCode or 1)


def _start(
    reactor: Any, executable: str, command: Sequence[str], environment: Any, ended: Any
) -> None:
    fds = {0: 0, 1: 1, 2: 2}
    reactor.spawnProcess(_Command(ended), executable, command, environment, childFDs=fds)


def forbidDebuggers() -> None:
    """Keep other processes of the same user from reading this one's memory, where that is known."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def parseLifetime(text: str) -> int:
    """Seconds of a time as sshd_config(5) has it: "90", "1h30m".

    Raises:
        Mistake: It is none, or nothing.
    """
    seconds, digits = 0, ""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    for letter in text.lower():
        if letter.isascii() and letter.isdigit() and len(digits) < 10:
            digits += letter
        elif digits and letter in units:
            seconds += int(digits) * units[letter]
            digits = ""
        else:
            raise Mistake(f"{text!r} is no time; write for example 90, 30m or 1h30m")
    seconds += int(digits or 0)
    if not 0 < seconds < 2**32:
        raise Mistake(f"{text!r} is no time that a key could be kept for")
    return seconds
