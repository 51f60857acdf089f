"""limpet.client.keystrokes: what is typed leaves at an even beat."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from limpet.client.keystrokes import CHAFF, CHAFF_SECONDS, MAX_KEYSTROKE, KeystrokeTiming
from limpet.wire.fields import NS, u32

BEAT = 0.02


class Line:
    """What leaves, and when."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.left: list[tuple[float, bytes | None]] = []
        self.keys = KeystrokeTiming(
            self.clock,
            lambda data: self.left.append((round(self.clock.seconds(), 6), data)),
            lambda: self.left.append((round(self.clock.seconds(), 6), None)),
            BEAT,
        )

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000)):
            self.clock.advance(0.001)

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.left if data is not None]


@pytest.fixture
def line() -> Line:
    return Line()


def test_keysLeaveAtTheBeatWhateverTheirTimes(line: Line) -> None:
    for pause, key in ((0.001, b"a"), (0.033, b"b"), (0.005, b"c"), (0.052, b"d")):
        line.wait(pause)
        line.keys.typed(key)
    line.wait(0.1)
    assert b"".join(line.data) == b"abcd"
    moments = [moment for moment, _ in line.left]
    gaps = {round(after - before, 3) for before, after in zip(moments, moments[1:], strict=False)}
    assert gaps == {BEAT}


def test_chaffLeavesWhereNothingIsTyped(line: Line) -> None:
    line.keys.typed(b"a")
    line.wait(CHAFF_SECONDS[0])
    assert line.data == [b"a"]
    assert len(line.left) >= CHAFF_SECONDS[0] / BEAT - 2


def test_chaffEnds(line: Line) -> None:
    line.keys.typed(b"a")
    line.wait(CHAFF_SECONDS[1] + 2 * BEAT)
    assert not line.clock.getDelayedCalls()
    count = len(line.left)
    line.wait(1)
    assert len(line.left) == count


def test_itsEndCannotBeGuessed() -> None:
    ends = set()
    for _ in range(8):
        line = Line()
        line.keys.typed(b"a")
        line.wait(CHAFF_SECONDS[1] + 2 * BEAT)
        ends.add(line.left[-1][0])
    assert len(ends) > 1


def test_whatIsPastedLeavesAtOnceAndInOrder(line: Line) -> None:
    line.keys.typed(b"a")
    line.keys.typed(b"b" * MAX_KEYSTROKE)
    assert line.left == [(0.0, b"a" + b"b" * MAX_KEYSTROKE)]


def test_whatIsToFollowIsSentBehindIt(line: Line) -> None:
    line.keys.typed(b"exit\r")
    line.keys.flush()
    assert line.data == [b"exit\r"]
    line.keys.flush()
    assert line.data == [b"exit\r"]


def test_nothingLeavesAfterTheEnd(line: Line) -> None:
    line.keys.typed(b"a")
    line.keys.stop()
    line.wait(5)
    assert line.left == []
    assert not line.clock.getDelayedCalls()


def test_chaffIsAsLongAsAKey() -> None:
    ping = b"\xc0" + NS(CHAFF)
    key = b"\x5e" + u32(0) + NS(b"a")
    assert len(ping) == len(key)
