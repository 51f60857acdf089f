"""Connecting to a host for somebody else: several addresses, judged, in time."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import DeferredSemaphore

from benchmarks.servers import freePort
from limpet import streams
from limpet.error import ConchError
from limpet.tunnels.dialing import MAX_LOOK_UPS, connectTo, lookUp
from limpet.tunnels.listening import listenOn
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED
from tests.pair.tunnels import End, Ends, Names
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


@pytest.fixture
def names(driver: Driver) -> Names:
    made = Names()
    driver.reactor.installNameResolver(made)
    return made


def outcome(driver: Driver, deferred: Any) -> Any:
    """What it fires with, or the exception that it fails with."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    driver.until(lambda: results, "the outcome")
    return getattr(results[0], "value", results[0])


def nothingIsLeft(driver: Driver) -> bool:
    driver.turn()
    watched = [*driver.reactor.getReaders(), *driver.reactor.getWriters()]
    others = [each for each in watched if each is not driver.reactor.waker]
    return not others and not driver.reactor.getDelayedCalls()


def end(driver: Driver, near: End, ends: Ends, listener: Any) -> None:
    driver.until(lambda: ends.made)
    near.transport.loseConnection()
    driver.until(lambda: ends.made[0].ended)
    ends.made[0].transport.loseConnection()
    listener.stopListening()
    driver.until(lambda: nothingIsLeft(driver))


def test_the_next_address_is_tried_at_once_when_one_refuses(driver: Driver, names: Names) -> None:
    ends = Ends()
    listener = listenOn(driver.reactor, ["127.0.0.1"], 0, ends)
    names.addresses["host"] = ["::1", "127.0.0.2", "127.0.0.1"]
    near = outcome(driver, connectTo(driver.reactor, "host", listener.port, End()))
    assert isinstance(near, End)
    assert near.transport.getPeer().host == "127.0.0.1"
    end(driver, near, ends, listener)


def test_an_address_that_says_nothing_does_not_keep_the_others_waiting(
    driver: Driver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Ends()
    listener = listenOn(driver.reactor, ["127.0.0.1"], 0, ends)
    names.addresses["host"] = ["192.0.2.1", "127.0.0.1"]
    silent: list[Any] = []

    class Silent:
        def stopConnecting(self) -> None:
            silent.append("stopped")

    def dial(reactor: Any, host: str, *arguments: Any) -> Any:
        return Silent() if host == "192.0.2.1" else streams.dial(reactor, host, *arguments)

    monkeypatch.setattr("limpet.tunnels.dialing.dial", dial)
    near = outcome(driver, connectTo(driver.reactor, "host", listener.port, End()))
    assert near.transport.getPeer().host == "127.0.0.1"
    assert silent == ["stopped"]
    end(driver, near, ends, listener)


def test_all_refuse(driver: Driver, names: Names) -> None:
    names.addresses["host"] = ["127.0.0.1", "127.0.0.2"]
    failure = outcome(driver, connectTo(driver.reactor, "host", freePort(), End()))
    assert isinstance(failure, ConchError)
    assert (failure.value, failure.data) == ("Connection refused", OPEN_CONNECT_FAILED)
    assert nothingIsLeft(driver)


def test_the_judge_sees_what_is_reached_and_only_that_is_tried(
    driver: Driver, names: Names
) -> None:
    judged: list[str] = []

    def judge(address: str) -> bool:
        judged.append(address)
        return address == "127.0.0.3"

    ends = Ends()
    listener = listenOn(driver.reactor, ["127.0.0.1"], 0, ends)
    names.addresses["host"] = ["0.0.0.0", "::ffff:127.0.0.1", "127.0.0.3"]
    failure = outcome(driver, connectTo(driver.reactor, "host", listener.port, End(), judge))
    assert judged == ["127.0.0.1", "127.0.0.3"]
    assert failure.data == OPEN_CONNECT_FAILED
    assert not ends.made
    failure = outcome(driver, connectTo(driver.reactor, "::", listener.port, End(), judge))
    assert failure.data == OPEN_ADMINISTRATIVELY_PROHIBITED
    listener.stopListening()
    driver.until(lambda: nothingIsLeft(driver))


@pytest.mark.parametrize("name", ["x" * 64, "a..b", "\udcff", "unknown"])
def test_names_that_nobody_knows(driver: Driver, names: Names, name: str) -> None:
    failure = outcome(driver, lookUp(driver.reactor, name))
    assert isinstance(failure, ConchError)
    assert failure.data == OPEN_CONNECT_FAILED
    assert nothingIsLeft(driver)


def test_numbers_are_not_looked_up(driver: Driver, names: Names) -> None:
    assert outcome(driver, lookUp(driver.reactor, "192.0.2.1")) == ["192.0.2.1"]
    assert outcome(driver, lookUp(driver.reactor, "2001:db8::1")) == ["2001:db8::1"]
    assert names.asked == []


def test_it_may_be_given_up_while_the_name_is_looked_up(driver: Driver, names: Names) -> None:
    names.resolveHostName = lambda *_, **__: None  # type: ignore[method-assign]
    connecting = connectTo(driver.reactor, "slow", 80, End())
    failures: list[Any] = []
    connecting.addErrback(failures.append)
    connecting.cancel()
    assert failures
    assert nothingIsLeft(driver)


def test_it_may_be_given_up_while_it_connects(driver: Driver, names: Names) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        connecting = connectTo(driver.reactor, "127.0.0.1", listening.getsockname()[1], End())
        connecting.addErrback(lambda _: None)
        connecting.cancel()
    driver.until(lambda: nothingIsLeft(driver))


class Slow:
    """A resolver that says nothing until it is told to."""

    def __init__(self) -> None:
        self.begun: list[Any] = []

    def resolveHostName(self, receiver: Any, name: str, *_: Any, **__: Any) -> Any:
        self.begun.append((name, receiver))
        return receiver


class TestTurns:
    """attacks.md, M5: who has slow names looked up keeps the reactor's threads from nobody."""

    @pytest.fixture
    def slow(self, driver: Driver) -> Slow:
        made = Slow()
        driver.reactor.installNameResolver(made)
        return made

    def test_M5_few_names_at_a_time(self, driver: Driver, slow: Slow) -> None:
        outcomes: list[Any] = []
        for number in range(MAX_LOOK_UPS + 2):
            lookUp(driver.reactor, f"host{number}").addBoth(outcomes.append)
        assert len(slow.begun) == MAX_LOOK_UPS
        slow.begun[0][1].addressResolved(IPv4Address("TCP", "192.0.2.1", 1))
        slow.begun[0][1].resolutionComplete()
        assert outcomes == [["192.0.2.1"]]
        assert slow.begun[-1][0] == f"host{MAX_LOOK_UPS}"
        for _, receiver in slow.begun[1:]:
            receiver.resolutionComplete()
        assert len(slow.begun) == MAX_LOOK_UPS + 2
        slow.begun[-1][1].resolutionComplete()
        assert len(outcomes) == MAX_LOOK_UPS + 2
        assert not driver.reactor.getDelayedCalls()

    def test_M5_each_login_in_its_turn(self, driver: Driver, slow: Slow) -> None:
        turns = DeferredSemaphore(2)
        for _ in range(10):
            lookUp(driver.reactor, "theirs", turns=turns).addErrback(lambda _: None)
        lookUp(driver.reactor, "ours").addErrback(lambda _: None)
        assert [name for name, _ in slow.begun] == ["theirs", "theirs", "ours"]
        for _, receiver in slow.begun:
            receiver.resolutionComplete()
        for at in range(3, 11):
            slow.begun[at][1].resolutionComplete()
        assert turns.tokens == 2

    def test_M5_a_thread_is_busy_though_nobody_waits_for_it(
        self, driver: Driver, slow: Slow
    ) -> None:
        given = [lookUp(driver.reactor, f"host{at}") for at in range(MAX_LOOK_UPS + 1)]
        for each in given:
            each.addErrback(lambda _: None)
        given[0].cancel()
        assert len(slow.begun) == MAX_LOOK_UPS
        # One that has not begun never does.
        given[-1].cancel()
        for _, receiver in slow.begun:
            receiver.resolutionComplete()
        assert len(slow.begun) == MAX_LOOK_UPS
        lookUp(driver.reactor, "another").addErrback(lambda _: None)
        assert slow.begun[-1][0] == "another"
        slow.begun[-1][1].resolutionComplete()
        assert not driver.reactor.getDelayedCalls()
