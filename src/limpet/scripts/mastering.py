"""`limpet ssh` as a master: sharing its connection, asking about it, and going on behind the shell.

Rule: where the connection cannot be shared, that is said, and the session goes on without. What
goes to the background keeps nothing of the terminal's, and what stays in front keeps nothing of the
connection's.

    logged in ─▶ share ─┬─▶ the session, here                       ControlPersist no
                        └─▶ fork ─┬─▶ the master, in the background ControlPersist yes, or a time
                                  └─▶ its first client, in front
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.client.askpass import Askpass, askpassOf
from limpet.client.config import ClientConfig
from limpet.client.connecting import ClientConnection
from limpet.client.controlsocket import AlreadyListening, ControlSocket, NotListening
from limpet.client.forwards import Forwards
from limpet.client.interaction import NobodyToAsk
from limpet.client.mastering import ControlMaster
from limpet.client.terminal import TerminalInterface
from limpet.scripts.messages import STDERR, Loudness, Messages
from limpet.scripts.sharing import runShared
from limpet.scripts.sshoptions import Invocation

BECOMES_MASTER = ("yes", "ask", "auto", "autoask")
ASKS = ("ask", "autoask")

_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCONT)


def share(
    connection: ClientConnection,
    makeForwards: Callable[[], Forwards],
    consent: Consent,
    messages: Messages,
    onTerminate: Callable[[], object],
    lendsAgent: bool,
) -> ControlMaster | None:
    """Share a connection, as its configuration says; None where it does not, or it cannot be."""
    config = connection.config
    if config.controlMaster not in BECOMES_MASTER:
        return None
    if config.controlPath is None:
        messages.say("ControlMaster without a ControlPath: nothing is shared", Loudness.VERBOSE)
        return None
    try:
        control = ControlSocket.make(config.controlPath)
    except NotListening as failure:
        # Whom it is all the same to who shares need not hear that another does.
        isExpected = config.controlMaster.startswith("auto")
        isSaid = not (isExpected and isinstance(failure, AlreadyListening))
        messages.say(str(failure), Loudness.INFO if isSaid else Loudness.VERBOSE)
        return None
    messages.say(f"the connection is shared at {config.controlPath}", Loudness.DEBUG1)
    allow = consent.ask if config.controlMaster in ASKS else None
    return ControlMaster(
        connection, control, makeForwards, allow, messages.say, onTerminate, lendsAgent
    )


class Consent:
    """Asks the person whether somebody may use the connection.

    By the program of SSH_ASKPASS where there is one, as ssh does it; else at the terminal, which
    the session leaves alone meanwhile.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        config: Whether anybody may be asked.
        tell: Shows text.
        lend: Called with True before the terminal is needed, and with False after that.
    """

    def __init__(
        self,
        reactor: Any,
        config: ClientConfig,
        tell: Callable[[str], object],
        lend: Callable[[bool], object],
    ) -> None:
        program = askpassOf(os.environ)
        self._hasProgram = program is not None
        self._interface = TerminalInterface(
            reactor,
            tell,
            mayAsk=not config.batchMode,
            askpass=None if program is None else Askpass(program.program, isPreferred=True),
        )
        self._lend = lend
        self._lock = defer.DeferredLock()

    def ask(self, question: str) -> defer.Deferred[bool]:
        """Whether the answer is yes; nobody who can be asked says no."""
        asked: defer.Deferred[bool] = self._lock.run(self._askNow, question)
        return asked

    def _askNow(self, question: str) -> defer.Deferred[bool]:
        words = f"{question} (yes/no) ".encode("utf-8", "backslashreplace")
        if not self._hasProgram:
            self._lend(True)

        def nobody(failure: Failure) -> bool:
            failure.trap(NobodyToAsk, defer.CancelledError)
            return False

        def over(answer: Any) -> Any:
            if not self._hasProgram:
                self._lend(False)
            return answer

        return self._interface.prompt(words).addErrback(nobody).addBoth(over)

    def abandon(self) -> None:
        """Put the terminal back; what is asked is not allowed."""
        self._interface.abandon()


def goBehind(messages: Messages) -> bool:
    """Fork; False in the process that stays in front, which has nothing left but its three files.

    The one behind has no terminal. It says what it says at `-v` and in a file, and nothing else.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if os.fork():
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        _closeAll(messages.descriptor, lambda number: True)
        return False
    os.setsid()
    leaveStandardFiles(messages)
    _closeAll(messages.descriptor, os.get_inheritable)
    return True


def leaveStandardFiles(messages: Messages) -> None:
    """Leave standard input, output and error to others."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    keepsErrors = messages.descriptor == STDERR and messages.loudness >= Loudness.DEBUG1
    for number in (0, 1) if keepsErrors else (0, 1, STDERR):
        os.dup2(nowhere, number)
    if nowhere > STDERR:
        os.close(nowhere)


def _closeAll(kept: int, isOthers: Callable[[int], bool]) -> None:
    """Close what is open and not this process's, but for the standard files.

    In front that is all of the connection. Behind it is what somebody has left open for this
    program, and waits for the end of: what Python opens itself is not inheritable.
    """
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        numbers = list(range(os.sysconf("SC_OPEN_MAX")))
    for number in numbers:
        with suppress(OSError):
            if number > STDERR and number != kept and isOthers(number):
                os.close(number)


def firstClient(config: ClientConfig, invocation: Invocation, messages: Messages) -> int | None:
    """Do what was asked for as the client of the master that has just gone behind.

    Returns:
        The exit status; None where it is not there any more.
    """
    # Its forwardings are there already.
    config = replace(
        config, controlMaster="no", localForwards=[], remoteForwards=[], dynamicForwards=[]
    )
    return runShared(config, invocation, messages)
