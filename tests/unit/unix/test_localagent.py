"""`limpet.unix.localagent`: whom an agent asks, and in which words."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import process
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from limpet.core.agentkeys import Approval, HeldKey
from limpet.core.signables import recognise
from limpet.unix.localagent import CONFIRM_SECONDS, askPerson, question
from tests.agents import fileToSign, login
from tests.keymaking import makeKey
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

KEY = makeKey()


class Process:
    """A program that is running."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.exited = self.closed = False

    def closeStdin(self) -> None:
        """It reads nothing."""

    def signalProcess(self, name: str) -> None:
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(name)

    def loseConnection(self) -> None:
        self.closed = True


class Reactor(Clock):
    """Starts no program, and remembers which it would have been."""

    def spawnProcess(self, protocol: Any, executable: str, args: Any, env: Any) -> None:
        self.started = (executable, args, env)
        self.protocol = protocol
        self.process = Process()
        protocol.makeConnection(self.process)


def asked(environment: Any = None) -> tuple[Reactor, list[bool]]:
    reactor = Reactor()
    verdicts: list[bool] = []
    askPerson(reactor, "/bin/askpass", "May I?", environment).addCallback(verdicts.append)
    return reactor, verdicts


def test_the_program_is_told_that_it_is_a_question_of_yes_and_no() -> None:
    reactor, _ = asked({"DISPLAY": ":0"})
    assert reactor.started == (
        "/bin/askpass",
        ["/bin/askpass", "May I?"],
        {"DISPLAY": ":0", "SSH_ASKPASS_PROMPT": "confirm"},
    )


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (ProcessDone(0), True),
        (ProcessTerminated(exitCode=1), False),
        (ProcessTerminated(signal=9), False),
    ],
)
def test_L3_only_a_good_end_is_yes(reason: Exception, verdict: bool) -> None:
    reactor, verdicts = asked()
    reactor.protocol.processExited(Failure(reason))
    assert verdicts == [verdict]
    assert not reactor.getDelayedCalls()


def test_who_thinks_too_long_says_no() -> None:
    reactor, verdicts = asked()
    reactor.advance(CONFIRM_SECONDS)
    assert reactor.process.signals == ["KILL"]
    reactor.protocol.processExited(Failure(ProcessTerminated(signal=9)))
    assert verdicts == [False]


def test_what_it_leaves_behind_keeps_the_answer_from_nobody(driver: Driver, tmp_path: Path) -> None:
    """A program that starts another, which goes on, has answered when it has exited."""
    askpass = tmp_path / "askpass"
    left = tmp_path / "left"
    askpass.write_text(f"#!/bin/sh\nsleep 1000 & echo $! > {left}\nexit 0\n")
    askpass.chmod(0o700)
    verdicts: list[bool] = []
    # As it does where it has its handlers for signals; here none but ours are.
    before = signal.signal(signal.SIGCHLD, lambda *_: process.reapAllProcesses())
    try:
        askPerson(driver.reactor, str(askpass), "May I?").addCallback(verdicts.append)
        driver.until(lambda: verdicts, "the answer")
    finally:
        signal.signal(signal.SIGCHLD, before)
        os.kill(int(left.read_text()), signal.SIGKILL)
    assert verdicts == [True]
    driver.until(lambda: not driver.reactor.getDelayedCalls(), "the end of its pipes")


def test_time_is_up_as_it_has_exited() -> None:
    reactor, verdicts = asked()
    reactor.process.exited = True
    reactor.advance(CONFIRM_SECONDS)
    reactor.protocol.processExited(Failure(ProcessDone(0)))
    assert verdicts == [True]


def test_L3_a_program_that_is_not_there_says_no(driver: Driver, tmp_path: Path) -> None:
    verdicts: list[bool] = []
    with capturedLogs() as events:
        askPerson(driver.reactor, str(tmp_path / "none"), "May I?").addCallback(verdicts.append)
        driver.until(lambda: verdicts, "the answer")
    assert verdicts == [False]
    assert len(events) == 1


def approval(data: bytes, comment: bytes = b"my key") -> Approval:
    return Approval(HeldKey(KEY, comment), None, recognise(data), data)


def test_the_question() -> None:
    key = f"my key ({KEY.displayFingerprint()})"
    assert question(approval(login(KEY))) == f"Allow use of key {key} to log in as alice?"
    assert question(approval(fileToSign())) == f"Allow use of key {key} to sign a file for git?"


def test_the_question_is_one_harmless_line() -> None:
    text = question(approval(login(KEY, user=b"x\n\x1b[2Jroot" + b"y" * 1000), b"\x07bell\xff"))
    assert text.isprintable()
    assert len(text) < 600
