"""A reactor of a test's own, turned by the test until something has happened or time is up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import ProcessProtocol

from limpet.unix.accounts import Account
from limpet.unix.environment import loginEnvironment
from limpet.unix.process import ChildProcess
from limpet.unix.spawning import Program, Terminal, spawnOnTerminal, spawnWithPipes

PATIENCE_SECONDS = 20.0


class Driver:
    """The reactor, and the children that were started on it."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.children: list[ChildProcess] = []

    def until(self, condition: Callable[[], object], what: str = "what was waited for") -> None:
        """Turn until the condition holds; AssertionError when that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen")
            self.reactor.iterate(0.05)

    def untilEnd(self, recorder: Recorder) -> None:
        """Turn until the child has ended."""
        self.until(lambda: recorder.hasEnded, "the child's end")

    def turn(self, count: int = 3) -> None:
        """A few turns in which nothing need happen."""
        for _ in range(count):
            self.reactor.iterate(0)

    def run(self, command: str, proto: Recorder | None = None, **kwargs: Any) -> Recorder:
        """Start `sh -c command` with pipes; the recorder's `transport` is the child."""
        recorder = Recorder() if proto is None else proto
        child = spawnWithPipes(self.reactor, recorder, shellProgram(command), **kwargs)
        self.children.append(child)
        child.start()
        return recorder

    def runOnTerminal(self, command: str, terminal: Terminal | None = None) -> Recorder:
        """Start `sh -c command` on a terminal."""
        recorder = Recorder()
        terminal = Terminal() if terminal is None else terminal
        child = spawnOnTerminal(self.reactor, recorder, shellProgram(command), terminal)
        self.children.append(child)
        child.start()
        return recorder

    def close(self) -> None:
        for child in self.children:
            child.hangUp(0.0)
        self.until(
            lambda: all(child.pid is None for child in self.children), "the last child's end"
        )
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        self.reactor.removeAll()
        for descriptor in (self.reactor.waker.i, self.reactor.waker.o):
            os.close(descriptor)
        self.reactor._poller.close()


def shellProgram(command: str, account: Account | None = None) -> Program:
    account = Account.current() if account is None else account
    return Program(account, "/bin/sh", ["sh", "-c", command], loginEnvironment(account))


class Recorder(ProcessProtocol):
    """Keeps what a child writes, and in which order things happen."""

    transport: ChildProcess

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.events: list[str] = []
        self.reason: Any = None
        self.afterEnd: list[str] = []

    def _note(self, event: str) -> None:
        if self.reason is not None:
            self.afterEnd.append(event)
        if not self.events or self.events[-1] != event:
            self.events.append(event)

    def connectionMade(self) -> None:
        self._note("made")

    def outReceived(self, data: bytes) -> None:
        self._note("out")
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self._note("err")
        self.err += data

    def inConnectionLost(self) -> None:
        self._note("inLost")

    def outConnectionLost(self) -> None:
        self._note("outLost")

    def errConnectionLost(self) -> None:
        self._note("errLost")

    def processExited(self, reason: Any) -> None:
        self._note("exited")

    def processEnded(self, reason: Any) -> None:
        self._note("ended")
        self.reason = reason

    @property
    def hasEnded(self) -> bool:
        return self.reason is not None


class Producer:
    """Counts how it is paused and resumed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


@pytest.fixture
def driver() -> Iterator[Driver]:
    """A reactor for one test; nothing it started outlives the test."""
    driver = Driver()
    try:
        yield driver
    finally:
        driver.close()
