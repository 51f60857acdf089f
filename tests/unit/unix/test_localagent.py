"""`limpet.unix.localagent`: whom an agent asks, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from limpet.core.agentkeys import Approval, HeldKey
from limpet.core.signables import recognise
from limpet.unix.localagent import CONFIRM_SECONDS, askPerson, question
from tests.agents import fileToSign, login
from tests.keymaking import makeKey

KEY = makeKey()


class Process:
    """A program that is running."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    def closeStdin(self) -> None:
        """It reads nothing."""

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


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
    reactor.protocol.processEnded(Failure(reason))
    assert verdicts == [verdict]
    assert not reactor.getDelayedCalls()


def test_who_thinks_too_long_says_no() -> None:
    reactor, verdicts = asked()
    reactor.advance(CONFIRM_SECONDS)
    assert reactor.process.signals == ["KILL"]
    reactor.protocol.processEnded(Failure(ProcessTerminated(signal=9)))
    assert verdicts == [False]


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
