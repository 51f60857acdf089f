"""Connecting again where ConnectionAttempts says so, and by a program (ProxyCommand)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import Any

import pytest
from twisted.internet import defer, error, protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from limpet.client.config import ClientConfig
from limpet.client.dialing import RETRY_SECONDS, dial, dialByCommand
from limpet.client.errors import ConnectFailed


class Dialling:
    """A dialling under way on a reactor in memory, to a host at one address."""

    def __init__(self, attempts: int) -> None:
        self.reactor = MemoryReactorClock()
        config = ClientConfig("h", "192.0.2.1", connectionAttempts=attempts)
        self.results: list[Any] = []
        self.factory = protocol.Factory.forProtocol(protocol.Protocol)
        self.waiting: defer.Deferred[Any] = dial(self.reactor, config, self.factory)
        self.waiting.addBoth(self.results.append)

    @property
    def tried(self) -> int:
        return len(self.reactor.tcpClients)

    def refuse(self) -> None:
        """The latest attempt is refused."""
        factory = self.reactor.tcpClients[-1][2]
        connector = self.reactor.connectors[-1]
        factory.clientConnectionFailed(connector, Failure(error.ConnectionRefusedError()))


@pytest.mark.parametrize("attempts", [1, 3])
def test_it_is_tried_as_often_as_is_said(attempts: int) -> None:
    dialling = Dialling(attempts)
    for number in range(1, attempts + 1):
        assert (dialling.tried, dialling.results) == (number, [])
        dialling.refuse()
        if number < attempts:
            dialling.reactor.advance(RETRY_SECONDS / 2)
            assert dialling.tried == number
            dialling.reactor.advance(RETRY_SECONDS / 2)
    assert dialling.results[0].check(ConnectFailed)
    assert not dialling.reactor.getDelayedCalls()


def test_it_may_succeed_later() -> None:
    dialling = Dialling(2)
    dialling.refuse()
    dialling.reactor.advance(RETRY_SECONDS)
    made = dialling.reactor.tcpClients[-1][2].buildProtocol(None)
    dialling.reactor.advance(0)
    assert dialling.results == [made]
    assert dialling.tried == 2


def test_it_may_be_given_up_between_two_attempts() -> None:
    dialling = Dialling(9)
    dialling.refuse()
    dialling.waiting.cancel()
    assert dialling.results[0].check(defer.CancelledError)
    dialling.reactor.advance(RETRY_SECONDS * 2)
    assert dialling.tried == 1
    assert not dialling.reactor.getDelayedCalls()


def test_a_program_whose_output_cannot_be_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no descriptor left for it."""

    class Full(Clock):
        def adoptStreamConnection(self, *arguments: Any) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def starting(*arguments: Any, **named: Any) -> Any:
        started.append(start(*arguments, **named))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", starting)
    connecting, program = dialByCommand(Full(), ["sleep", "1000"], None)
    assert program is None
    with started[0] as process:
        try:
            assert process.wait(10) == -signal.SIGHUP
        finally:
            process.kill()
    failures: list[Failure] = []
    connecting.addErrback(failures.append)
    assert "Too many open files" in failures[0].getErrorMessage()
