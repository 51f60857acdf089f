"""`limpet ssh` on a connection that another program has: sessions, forwardings, and -O.

Rule: the master does the work; here are only the exit status and the terminal, which is put back
however it ends.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from limpet.client.config import ClientConfig, ForwardSpec
from limpet.client.errors import OWN_FAILURE
from limpet.client.sharing import Master, SharingFailed
from limpet.client.terminal import RawTerminal, isTerminal
from limpet.core.multiplexing import NO_ESCAPE, SessionWish
from limpet.core.sshconfig import targetOf
from limpet.descriptors import STDERR, STDIN, STDOUT
from limpet.scripts.messages import Loudness, Messages
from limpet.scripts.sshoptions import Invocation

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Ended(BaseException):
    """A signal wants us to end."""


def control(config: ClientConfig, invocation: Invocation, messages: Messages) -> int:
    """Do what -O asks of the master; the exit status."""
    try:
        master = None if config.controlPath is None else Master.at(config.controlPath)
        if master is None:
            where = config.controlPath or "ControlPath (or -S), which is not set"
            messages.say(f"-O {invocation.control}: no master at {where}")
            return OWN_FAILURE
        if invocation.control == "check":
            messages.say(f"the master runs (pid={master.process()})")
        elif invocation.control == "exit":
            master.terminate()
            messages.say("the master was told to end")
        elif invocation.control == "stop":
            master.stopListening()
            messages.say("the master takes no more clients")
        elif invocation.control == "forward":
            for port, _ in _openForwards(master, config):
                # For scripts, which want to know it.
                print(port)
        else:
            for letter, spec in _forwards(config):
                master.closeForward(letter, spec)
    except SharingFailed as failure:
        messages.say(str(failure))
        return OWN_FAILURE
    return 0


def runShared(config: ClientConfig, invocation: Invocation, messages: Messages) -> int | None:
    """Run what was asked for by a master, if there is one; None where there is none.

    Returns:
        The exit status.
    """
    path = config.controlPath
    if path is None or config.controlMaster in ("yes", "ask"):
        return None
    if invocation.forwardTo is None and config.sessionType == "none":
        return None
    master: Master | None = None
    try:
        master = Master.at(path, config.connectTimeout)
        if master is None:
            messages.say(f"no master at {path}", Loudness.DEBUG1)
            return None
        process = master.process()
        if invocation.forwardTo is not None:
            host, port = invocation.forwardTo
            session = master.openStdioForward(os.fsencode(host), port, (STDIN, STDOUT))
            return _waited(master, session, process, None, messages) or 0
        for port, target in _openForwards(master, config):
            messages.say(f"Allocated port {port} for remote forward to {target}")
        wish = _wish(config, invocation, messages)
        with _inputOf(config) as stdin:
            session = master.openSession(wish, (stdin, STDOUT, STDERR))
            if config.forkAfterAuthentication:
                _goToBackground()
            hasTerminal = wish.wantsTerminal and stdin == STDIN and isTerminal(STDIN)
            terminal = RawTerminal(STDIN) if hasTerminal else None
            status = _waited(master, session, process, terminal, messages)
        if terminal is not None:
            messages.say(f"the shared connection to {config.host} is closed")
        elif status is None:
            messages.say(f"the shared connection to {config.host} was lost")
    except SharingFailed as failure:
        if master is not None:
            master.close()
        messages.say(f"{failure}; connecting without it")
        return None
    # A status that a process cannot have must not turn into success.
    return OWN_FAILURE if status is None else status if status <= 255 else OWN_FAILURE


def _goToBackground() -> None:
    """Let the shell go on: the session is under way, and a child waits for its end."""
    if os.fork():
        os._exit(0)
    os.setsid()


def _waited(
    master: Master, session: int, process: int, terminal: RawTerminal | None, messages: Messages
) -> int | None:
    """Wait for the end; meanwhile the terminal is the program's, far away."""

    def ended(*ignored: object) -> None:
        # A second one must not interrupt what puts the terminal back.
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        raise _Ended

    def resized(*ignored: object) -> None:
        # The master asks the terminal itself.
        with suppress(OSError):
            os.kill(process, signal.SIGWINCH)

    def restore() -> None:
        if terminal is not None:
            terminal.restore()
        messages.isRaw = False

    try:
        for number in _ENDING:
            signal.signal(number, ended)
        signal.signal(signal.SIGWINCH, resized)
        if terminal is not None:
            terminal.enter()
            messages.isRaw = True
        return master.wait(session, restore)
    except _Ended:
        return OWN_FAILURE
    except SharingFailed as failure:
        # Too late for a connection of our own: the program would run twice.
        messages.say(str(failure))
        return OWN_FAILURE
    finally:
        restore()
        master.close()


def _wish(config: ClientConfig, invocation: Invocation, messages: Messages) -> SessionWish:
    command = invocation.command
    if command is None:
        command = config.remoteCommand
    wanted = config.requestTTY
    wants = wanted == "force" or (wanted == "yes" or (wanted == "auto" and command is None))
    if wants and wanted != "force" and (config.stdinNull or not isTerminal(STDIN)):
        wants = False
        if wanted == "yes":
            messages.say("standard input is no terminal, so none is asked for (-tt would)")
    variables = config.environment(os.environ)
    escape = os.fsencode(config.escapeChar or "")
    return SessionWish(
        command=os.fsencode(command or ""),
        wantsTerminal=wants,
        wantsAgent=config.forwardAgent,
        isSubsystem=config.sessionType == "subsystem",
        escapeChar=escape[0] if wants and len(escape) == 1 else NO_ESCAPE,
        term=os.fsencode(variables.get("TERM", os.environ.get("TERM", ""))),
        environment=tuple(os.fsencode(f"{name}={value}") for name, value in variables.items()),
    )


@contextmanager
def _inputOf(config: ClientConfig) -> Iterator[int]:
    """Standard input, or nothing in its place."""
    if not config.stdinNull:
        yield STDIN
        return
    with open(os.devnull, "rb") as nothing:
        yield nothing.fileno()


def _forwards(config: ClientConfig) -> Iterator[tuple[str, ForwardSpec]]:
    for letter, specs in (
        ("L", config.localForwards),
        ("R", config.remoteForwards),
        ("D", config.dynamicForwards),
    ):
        for spec in specs:
            yield letter, spec


def _openForwards(master: Master, config: ClientConfig) -> list[tuple[int, str]]:
    """Begin the forwardings of a configuration; the ports that the server chose, and for what."""
    chosen = []
    for letter, spec in _forwards(config):
        port = master.openForward(letter, spec)
        if port is not None:
            chosen.append((port, targetOf(spec)))
    return chosen
