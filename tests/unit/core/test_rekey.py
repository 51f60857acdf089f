"""When a rekey is due."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from limpet.core.rekey import OVERDUE_BYTES, RekeyPolicy


@dataclass
class Direction:
    bytesSinceKeys: int = 0
    packetsSinceKeys: int = 0


NOTHING = Direction()


class TestDue:
    def test_theDefaults(self) -> None:
        policy = RekeyPolicy()
        assert (policy.maxBytes, policy.maxPackets, policy.maxSeconds) == (2**30, 2**31, 3600)

    def test_freshKeys(self) -> None:
        assert not RekeyPolicy().due(NOTHING, NOTHING, 0.0)

    @pytest.mark.parametrize(
        "used", [Direction(bytesSinceKeys=1000), Direction(packetsSinceKeys=10)]
    )
    def test_eitherDirectionCounts(self, used: Direction) -> None:
        policy = RekeyPolicy(maxBytes=1000, maxPackets=10)
        assert policy.due(used, NOTHING, 0.0)
        assert policy.due(NOTHING, used, 0.0)

    def test_oneLessIsNotYet(self) -> None:
        policy = RekeyPolicy(maxBytes=1000, maxPackets=10, maxSeconds=60)
        almost = Direction(999, 9)
        assert not policy.due(almost, almost, 59.9)

    def test_time(self) -> None:
        assert RekeyPolicy(maxSeconds=60).due(NOTHING, NOTHING, 60.0)

    def test_noneLiftsALimit(self) -> None:
        policy = RekeyPolicy(maxBytes=None, maxSeconds=None)
        assert not policy.due(Direction(bytesSinceKeys=2**60), NOTHING, 1e9)
        assert policy.due(Direction(packetsSinceKeys=2**31), NOTHING, 0.0)


class TestWithin:
    """RFC 4344 section 3.2: so much, and no more, whatever somebody has configured."""

    @pytest.mark.parametrize("configured", [None, 2**40])
    @pytest.mark.parametrize(("smallBlocks", "most"), [(False, 2**36), (True, 2**30)])
    def test_B7_noMoreThanTheCipherAllows(
        self, configured: int | None, smallBlocks: bool, most: int
    ) -> None:
        policy = RekeyPolicy(maxBytes=configured, maxSeconds=None).within(smallBlocks)
        assert not policy.due(Direction(bytesSinceKeys=most - 1), NOTHING, 1e9)
        assert policy.due(NOTHING, Direction(bytesSinceKeys=most), 0.0)

    def test_lessIsLeftAsItIs(self) -> None:
        assert RekeyPolicy().within(True) == RekeyPolicy()


class TestOverdue:
    def test_twiceTheVolume(self) -> None:
        policy = RekeyPolicy(maxBytes=2**30, maxPackets=10)
        assert not policy.overdue(Direction(2**31 - 1, 19), Direction(2**31 - 1, 19))
        assert policy.overdue(Direction(bytesSinceKeys=2**31), NOTHING)
        assert policy.overdue(NOTHING, Direction(packetsSinceKeys=20))

    def test_aSmallLimitLeavesRoomForWhatIsOnItsWay(self) -> None:
        policy = RekeyPolicy(maxBytes=1000)
        assert not policy.overdue(NOTHING, Direction(999 + OVERDUE_BYTES))
        assert policy.overdue(NOTHING, Direction(1000 + OVERDUE_BYTES))

    def test_theSequenceNumberNeverWraps(self) -> None:
        """Row B7: twice 2^31 packets would be one more than the counter has room for."""
        assert RekeyPolicy(maxBytes=None).overdue(Direction(packetsSinceKeys=2**32 - 1), NOTHING)
