"""Moving bytes: nothing lost whatever the pieces, nothing but the budget under way."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import defer, task

from limpet.client.filecopy.pump import Budget, Contradiction, Data, Pace, Pump

CONTENT = random.Random(1).randbytes(5000)


class Slow:
    """A source and a sink whose answers come when the test wants, in any order."""

    def __init__(self, content: bytes, seed: int = 0, short: int = 0) -> None:
        self.content = content
        self.random = random.Random(seed)
        self.short = short
        self.waiting: list[tuple[defer.Deferred[Any], Any]] = []
        self.written: dict[int, bytes] = {}
        self.most = 0
        self.asked: list[tuple[int, int]] = []
        self.failReadAt: int | None = None
        self.failWriteAt: int | None = None

    def read(self, offset: int, length: int) -> defer.Deferred[Any]:
        self.asked.append((offset, length))
        data: Any = self.content[offset : offset + length]
        if self.short and len(data) > 1:
            data = data[: self.random.randint(1, min(self.short, len(data)))]
        if not data:
            data = EOFError()
        if self.failReadAt is not None and offset >= self.failReadAt:
            data = OSError("read")
        return self._later(data)

    def write(self, offset: int, data: Data) -> defer.Deferred[Any]:
        assert offset not in self.written
        self.written[offset] = bytes(data)
        failed = self.failWriteAt is not None and offset >= self.failWriteAt
        return self._later(OSError("write") if failed else None)

    def _later(self, result: Any) -> defer.Deferred[Any]:
        answer: defer.Deferred[Any] = defer.Deferred()
        self.waiting.append((answer, result))
        self.most = max(self.most, len(self.waiting))
        return answer

    def step(self) -> None:
        """One answer, at random."""
        answer, result = self.waiting.pop(self.random.randrange(len(self.waiting)))
        if isinstance(result, Exception):
            answer.errback(result)
        else:
            answer.callback(result)

    def whole(self) -> bytes:
        data = bytearray(len(self.content) * 2)
        end = 0
        for offset, piece in self.written.items():
            data[offset : offset + len(piece)] = piece
            end = max(end, offset + len(piece))
        return bytes(data[:end])


def run(slow: Slow, **options: Any) -> Any:
    """Pump to the end; the result or the exception."""
    given: dict[str, Any] = {
        "expected": len(slow.content),
        "block": 100,
        "requests": 8,
        "budget": Budget(800),
    }
    pump = Pump(slow, slow, **{**given, **options})
    results: list[Any] = []
    pump.run().addCallbacks(results.append, lambda failure: results.append(failure.value))
    while not results:
        slow.step()
    assert not slow.waiting
    assert pump._budget.used == 0
    return results[0]


@settings(deadline=None)
@given(
    st.integers(0, 5000),
    st.integers(0, 60),
    st.integers(1, 300),
    st.integers(1, 12),
    st.integers(1, 2000),
    st.sampled_from(["known", "unknown", "too small", "too large"]),
    st.integers(0, 5),
)
def test_every_byte_arrives_once(
    size: int, short: int, block: int, requests: int, budget: int, told: str, seed: int
) -> None:
    slow = Slow(CONTENT[:size], seed, short)
    expected = {"known": size, "unknown": None, "too small": size // 2, "too large": size + 50}
    result = run(
        slow, expected=expected[told], block=block, requests=requests, budget=Budget(budget)
    )
    # What was added to a file since its size was told is seen where a block reaches beyond it.
    assert result == size or (told == "too small" and result == size // 2)
    assert slow.whole() == CONTENT[:result]
    # One block beyond the budget at most, and that is when nothing else is under way.
    assert slow.most <= requests


def test_a_file_of_known_size_is_not_read_past_its_end() -> None:
    slow = Slow(CONTENT[:1000])
    assert run(slow) == 1000
    assert max(offset for offset, _ in slow.asked) == 900


def test_it_begins_where_it_is_told() -> None:
    slow = Slow(CONTENT[:1000])
    told: list[int] = []
    assert run(slow, start=950, moved=told.append) == 1000
    assert slow.written == {950: CONTENT[950:1000]}
    assert told == [1000]


def test_a_file_that_ends_early_says_so() -> None:
    slow = Slow(CONTENT[:250])
    pump = Pump(slow, slow, expected=1000, block=100, requests=4, budget=Budget(1000))
    done = pump.run()
    while slow.waiting:
        slow.step()
    assert pump.early
    done.addCallback(lambda end: end == 250 or pytest.fail(str(end)))


def test_a_failure_waits_for_what_is_under_way_and_tells_how_far_all_is_there() -> None:
    for seed in range(20):
        slow = Slow(CONTENT, seed)
        slow.failReadAt = 1500
        pump = Pump(slow, slow, expected=5000, block=100, requests=8, budget=Budget(10000))
        results: list[Any] = []
        pump.run().addErrback(results.append)
        while slow.waiting:
            assert not results
            slow.step()
        assert results[0].check(OSError)
        assert pump.solidUntil <= 1500
        solid = pump.solidUntil
        assert slow.whole()[:solid] == CONTENT[:solid]


def test_a_write_that_fails_fails_the_copy() -> None:
    slow = Slow(CONTENT)
    slow.failWriteAt = 700
    assert str(run(slow)) == "write"


def test_a_source_that_raises_at_once() -> None:
    class Broken:
        def read(self, offset: int, length: int) -> bytes:
            raise OSError("at once")

    slow = Slow(b"")
    pump = Pump(Broken(), slow, expected=10, block=10, requests=2, budget=Budget(100))
    results: list[Any] = []
    pump.run().addErrback(lambda failure: results.append(str(failure.value)))
    assert results == ["at once"]


def test_cancelling_stops_everything() -> None:
    slow = Slow(CONTENT)
    budget = Budget(1000)
    pump = Pump(slow, slow, expected=5000, block=100, requests=8, budget=budget)
    done = pump.run()
    results: list[Any] = []
    done.addErrback(lambda failure: results.append(failure.value))
    slow.step()
    done.cancel()
    assert isinstance(results[0], defer.CancelledError)
    assert budget.used == 0


def test_answers_that_contradict_one_another() -> None:
    class TooMuch(Slow):
        def read(self, offset: int, length: int) -> defer.Deferred[Any]:
            return self._later(bytes(length + 1))

    assert isinstance(run(TooMuch(CONTENT)), Contradiction)

    class EndsTwice(Slow):
        def read(self, offset: int, length: int) -> defer.Deferred[Any]:
            return self._later(EOFError() if offset == 0 else bytes(length))

    assert isinstance(run(EndsTwice(CONTENT), expected=300), Contradiction)


def test_several_share_a_budget_and_all_end() -> None:
    budget = Budget(350)
    slow = Slow(CONTENT[:2000])
    others = [Slow(CONTENT[:2000], seed) for seed in range(5)]
    results: list[Any] = []
    for each in others:
        each.waiting = slow.waiting
        pump = Pump(each, each, expected=2000, block=100, requests=8, budget=budget)
        pump.run().addBoth(results.append)
    while slow.waiting:
        assert budget.used <= 350
        slow.step()
    assert results == [2000] * 5
    assert all(each.whole() == CONTENT[:2000] for each in others)


def test_the_number_of_requests_grows_with_what_arrives() -> None:
    slow = Slow(CONTENT)
    pump = Pump(slow, slow, expected=None, block=10, requests=8, budget=Budget(10000))
    pump.run().addErrback(lambda failure: None)
    under = []
    for _ in range(100):
        slow.step()
        under.append(len(slow.waiting))
    assert under[0] <= 2
    assert max(under) == 8


def test_a_pace_is_kept() -> None:
    clock = task.Clock()
    slow = Slow(CONTENT[:1000])
    pump = Pump(
        slow, slow, expected=1000, block=100, requests=8, budget=Budget(10000),
        pace=Pace(clock, 100),
    )  # fmt: skip
    results: list[Any] = []
    pump.run().addBoth(results.append)
    seconds = 0
    while not results:
        while slow.waiting:
            slow.step()
        clock.advance(1)
        seconds += 1
    assert results == [1000]
    assert 9 <= seconds <= 11
