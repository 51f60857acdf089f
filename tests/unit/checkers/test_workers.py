"""Checks in threads: a bounded number, each source in its turn, none for who has left."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import defer

from limpet.checkers.workers import FairWorkers, sourceOf


class Threads:
    """Stands in for the reactor's threads: a function runs when a test says so."""

    def __init__(self) -> None:
        self.started: list[tuple[str, defer.Deferred[Any]]] = []

    def deferToThreadPool(
        self, reactor: Any, pool: Any, function: Any, *arguments: Any
    ) -> defer.Deferred[Any]:
        assert pool == "pool"
        ended: defer.Deferred[Any] = defer.Deferred()
        ended.addCallback(lambda _: function(*arguments))
        self.started.append((arguments[0], ended))
        return ended

    def names(self) -> str:
        return "".join(name for name, _ in self.started)

    def end(self, position: int) -> None:
        self.started[position][1].callback(None)


class Reactor:
    def getThreadPool(self) -> str:
        return "pool"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads()
    monkeypatch.setattr("twisted.internet.threads.deferToThreadPool", threads.deferToThreadPool)
    monkeypatch.setattr("limpet.checkers.workers.getReactor", Reactor)
    return threads


def upper(name: str) -> str:
    return name.upper()


def test_resultsAndFailuresComeBack(threads: Threads) -> None:
    workers = FairWorkers()
    out: list[Any] = []
    workers.run("s", upper, "a").addBoth(out.append)
    workers.run("s", int, "b").addBoth(out.append)
    threads.end(0)
    threads.end(1)
    assert out[0] == "A"
    assert out[1].check(ValueError)


def test_neverMoreThanAllowed(threads: Threads) -> None:
    workers = FairWorkers(maxRunning=3, maxRunningPerSource=2)
    for name in "abcd":
        workers.run("first", upper, name)
    assert threads.names() == "ab"
    for name in "wxyz":
        workers.run("second", upper, name)
    assert threads.names() == "abw"
    threads.end(0)
    assert threads.names() in ("abwc", "abwx")


def test_eachSourceInItsTurn(threads: Threads) -> None:
    workers = FairWorkers(maxRunning=1, maxRunningPerSource=1)
    for number in range(100):
        workers.run("greedy", upper, "g")
        del number
    workers.run("modest", upper, "m")
    workers.run("other", upper, "o")
    for position in range(6):
        threads.end(position)
    assert threads.names() == "ggmogg" + "g"


def test_aCheckThatIsCancelledIsNeverMade(threads: Threads) -> None:
    workers = FairWorkers(maxRunning=1)
    workers.run("a", upper, "1")
    gone = workers.run("a", upper, "2")
    out: list[Any] = []
    gone.addErrback(lambda failure: out.append(failure.check(defer.CancelledError)))
    workers.run("b", upper, "3")
    gone.cancel()
    threads.end(0)
    threads.end(1)
    assert threads.names() == "13"
    assert out == [defer.CancelledError]
    assert not workers._waiting
    assert not workers._running


def test_aResultForWhoHasLeftIsDropped(threads: Threads) -> None:
    workers = FairWorkers(maxRunning=1)
    out: list[Any] = []
    running = workers.run("a", upper, "1")
    running.addErrback(lambda failure: out.append(failure.check(defer.CancelledError)))
    running.cancel()
    workers.run("a", upper, "2").addCallback(out.append)
    threads.end(0)
    threads.end(1)
    assert out == [defer.CancelledError, "2"]


def test_sourceIsThePeersAddress() -> None:
    class Context:
        peerHost = "192.0.2.1"

    class Credentials:
        context: Any = None

    shown = Credentials()
    assert sourceOf(shown) is None
    shown.context = Context()
    assert sourceOf(shown) == "192.0.2.1"
    assert sourceOf(object()) is None
