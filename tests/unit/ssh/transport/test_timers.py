"""The timers of one connection: each at its time, and one call of the clock for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from limpet.ssh.transport.timers import Timers


class Rig:
    """Timers that note when they fire."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.fired: list[tuple[float, str]] = []

    def start(self, name: str, seconds: float) -> None:
        self.timers.start(name, seconds, lambda: self.fired.append((self.clock.seconds(), name)))


def test_each_fires_once_at_its_time() -> None:
    rig = Rig()
    rig.start("late", 30)
    rig.start("early", 10)
    rig.start("between", 20)
    for _ in range(40):
        rig.clock.advance(1)
    assert rig.fired == [(10, "early"), (20, "between"), (30, "late")]
    assert not rig.clock.getDelayedCalls()


def test_what_is_stopped_or_begun_again_does_not_fire() -> None:
    rig = Rig()
    rig.start("stopped", 10)
    rig.start("again", 10)
    rig.clock.advance(5)
    rig.timers.stop("stopped")
    rig.start("again", 10)
    assert rig.timers.isPending("again")
    assert not rig.timers.isPending("stopped")
    for _ in range(20):
        rig.clock.advance(1)
    assert rig.fired == [(15, "again")]


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_is_never(seconds: float) -> None:
    rig = Rig()
    rig.start("a", 10)
    rig.start("a", seconds)
    rig.clock.advance(100)
    assert rig.fired == []


def test_without_a_clock_nothing_begins() -> None:
    timers = Timers()
    timers.start("a", 1, lambda: None)
    assert not timers.isPending("a")
    assert not timers.soon("a", lambda: None)
    timers.stopAll()
    assert timers.now() == 0.0


def test_many_ask_the_clock_once() -> None:
    rig = Rig()
    rig.start("a", 10)
    for name in "bcdef":
        rig.start(name, 20)
        rig.timers.stop(name)
    assert len(rig.clock.getDelayedCalls()) == 1
    rig.timers.stopAll()
    assert not rig.clock.getDelayedCalls()


def test_soon_is_the_next_turn_and_goes_by_its_name() -> None:
    rig = Rig()
    rig.start("turn", 10)
    assert rig.timers.soon("turn", lambda: rig.fired.append((rig.clock.seconds(), "turn")))
    assert rig.timers.isPending("turn")
    rig.clock.advance(0)
    assert rig.fired == [(0, "turn")]
    rig.clock.advance(20)
    assert rig.fired == [(0, "turn")]
    rig.timers.soon("turn", lambda: rig.fired.append((0, "never")))
    rig.timers.stop("turn")
    rig.clock.advance(1)
    assert len(rig.fired) == 1


def test_what_is_called_may_start_stop_and_raise() -> None:
    rig = Rig()

    def first() -> None:
        rig.timers.stop("second")
        rig.start("first", 5)
        raise RuntimeError("a bug")

    rig.timers.start("first", 10, first)
    rig.start("second", 10)
    rig.start("third", 12)
    with pytest.raises(RuntimeError):
        rig.clock.advance(10)
    for _ in range(10):
        rig.clock.advance(1)
    assert rig.fired == [(12, "third"), (15, "first")]


def test_one_that_ends_the_connection_ends_the_others() -> None:
    rig = Rig()
    rig.timers.start("end", 10, rig.timers.stopAll)
    rig.start("other", 10)
    rig.clock.advance(10)
    assert rig.fired == []
    assert not rig.clock.getDelayedCalls()


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 20), st.integers(0, 5)), max_size=30)
)
def test_whatever_is_done_each_fires_when_it_is_due(steps: list[tuple[str, int, int]]) -> None:
    rig = Rig()
    due: dict[str, float] = {}
    expected: list[tuple[float, str]] = []

    def go(seconds: int) -> None:
        for _ in range(seconds):
            rig.clock.advance(1)
            now = rig.clock.seconds()
            expected.extend(sorted((now, name) for name, at in due.items() if at == now))
            for name in [name for name, at in due.items() if at == now]:
                del due[name]

    for name, seconds, pause in steps:
        rig.start(name, seconds)
        due.pop(name, None)
        if seconds:
            due[name] = rig.clock.seconds() + seconds
        go(pause)
    go(30)
    assert sorted(rig.fired) == expected
    assert not rig.clock.getDelayedCalls()


def test_a_timer_that_starts_itself_again_holds_up_no_other() -> None:
    clock = Clock()
    timers = Timers(clock)
    fired: list[tuple[str, float]] = []

    def again() -> None:
        fired.append(("keepalive", clock.seconds()))
        timers.start("keepalive", 60.0, again)

    timers.start("keepalive", 10.0, again)
    timers.start("kex", 12.0, lambda: fired.append(("kex", clock.seconds())))
    clock.pump([1.0] * 80)
    assert fired == [("keepalive", 10.0), ("kex", 12.0), ("keepalive", 70.0)]
    timers.stopAll()
    assert clock.getDelayedCalls() == []
