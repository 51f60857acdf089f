"""Limits of connections: the arithmetic of MaxStartups and of the buckets."""

from __future__ import annotations

import pytest

from limpet.server.limits import (
    BURST_SECONDS,
    MAX_PENALTY_SECONDS,
    Penalties,
    SourceLimit,
    StartupLimit,
    sourceOf,
)


class TestStartups:
    def test_belowTheStartAllAreTaken(self) -> None:
        limit = StartupLimit(2, 30, 4, draw=lambda: 0.0)
        assert [limit.admit(), limit.admit(), limit.admit()] == [True, True, False]

    def test_betweenAPartIsDroppedAndAtFullAll(self) -> None:
        drawn = 0.29
        limit = StartupLimit(10, 30, 100, draw=lambda: drawn)
        limit.pending = 10
        assert not limit.admit()
        drawn = 0.30
        assert limit.admit()
        limit.pending = 55
        # Half of the way: 30 % and half of the other 70 %.
        drawn = 0.649
        assert not limit.admit()
        drawn = 0.651
        assert limit.admit()
        limit.pending = 100
        drawn = 0.999
        assert not limit.admit()

    def test_doneMakesRoom(self) -> None:
        limit = StartupLimit.parse("1")
        assert limit.admit()
        assert not limit.admit()
        limit.done()
        assert limit.admit()

    def test_reading(self) -> None:
        limit = StartupLimit.parse("5:50:20")
        assert (limit.start, limit.rate, limit.full) == (5, 50, 20)

    @pytest.mark.parametrize(
        "text",
        ["", "a", "1:2", "10:30:5", "0:30:100", "10:0:100", "10:101:100", "-1", "١٠", "1:2:3:4"],
    )
    def test_whatIsNone(self, text: str) -> None:
        with pytest.raises(ValueError, match="10:30:100"):
            StartupLimit.parse(text)


class TestSources:
    def test_aBurstThenTheRate(self) -> None:
        limit = SourceLimit(2.0)
        burst = int(2 * BURST_SECONDS)
        assert [limit.admit("192.0.2.1", 0.0) for _ in range(burst + 1)] == [True] * burst + [False]
        assert limit.admit("192.0.2.1", 0.5)
        assert not limit.admit("192.0.2.1", 0.5)
        assert limit.admit("192.0.2.2", 0.5)

    def test_aClockThatGoesBackGivesNothing(self) -> None:
        limit = SourceLimit(0.1)
        assert limit.admit("192.0.2.1", 100.0)
        assert not limit.admit("192.0.2.1", 0.0)

    def test_noLimit(self) -> None:
        limit = SourceLimit(0)
        assert all(limit.admit("192.0.2.1", 0.0) for _ in range(1000))
        assert len(limit) == 0

    def test_thisMachineItselfIsExempt(self) -> None:
        limit = SourceLimit(1.0)
        assert all(limit.admit("127.0.0.1", 0.0) for _ in range(100))
        strict = SourceLimit(1.0, exemptLoopback=False)
        assert not all(strict.admit("127.0.0.1", 0.0) for _ in range(100))

    def test_whatIsRememberedIsBounded(self) -> None:
        limit = SourceLimit(1.0, maxSources=100)
        for number in range(1000):
            limit.admit(f"10.0.{number // 250}.{number % 250}", 0.0)
        assert len(limit) == 100

    @pytest.mark.parametrize(
        ("host", "source"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("127.9.9.9", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("not an address", "not an address"),
        ],
    )
    def test_whatCountsAsOneSource(self, host: str, source: str | None) -> None:
        assert sourceOf(host) == source


HOST = "192.0.2.1"


class TestPenalties:
    def test_aFewMistakesCostNothing(self) -> None:
        penalties = Penalties()
        for _ in range(3):
            assert penalties.add(HOST, 5.0, 0.0) == 0.0
            assert penalties.admit(HOST, 0.0)

    def test_manyCostWhatTheyAddUpTo(self) -> None:
        penalties = Penalties()
        told = [penalties.add(HOST, 5.0, 0.0) for _ in range(5)]
        assert told == [0.0, 0.0, 0.0, 20.0, 0.0]
        assert not penalties.admit(HOST, 24.9)
        assert penalties.admit("192.0.2.2", 0.0)
        assert penalties.admit(HOST, 25.0)
        assert len(penalties) == 0

    def test_refusedOnceItIsRefusedToTheEnd(self) -> None:
        """Also while less than the threshold is left, and longer for what is added meanwhile."""
        penalties = Penalties()
        penalties.add(HOST, 16.0, 0.0)
        assert not penalties.admit(HOST, 15.0)
        assert penalties.add(HOST, 5.0, 15.0) == 0.0
        assert not penalties.admit(HOST, 20.9)
        assert penalties.admit(HOST, 21.0)

    def test_timeMakesThemLess(self) -> None:
        penalties = Penalties()
        for now in range(0, 1000, 5):
            assert penalties.add(HOST, 5.0, float(now)) == 0.0
            assert penalties.admit(HOST, float(now))

    def test_thereIsALongest(self) -> None:
        penalties = Penalties()
        for _ in range(1000):
            penalties.add(HOST, 10.0, 0.0)
        assert not penalties.admit(HOST, MAX_PENALTY_SECONDS - 1)
        assert penalties.admit(HOST, MAX_PENALTY_SECONDS)

    def test_aNetworkOfIPv6IsOneSourceAndThisMachineNone(self) -> None:
        penalties = Penalties()
        penalties.add("2001:db8::1", 100.0, 0.0)
        assert not penalties.admit("2001:db8::2", 0.0)
        assert penalties.admit("2001:db8:0:1::1", 0.0)
        for host in ("127.0.0.1", "::1"):
            assert penalties.add(host, 100.0, 0.0) == 0.0
            assert penalties.admit(host, 0.0)

    def test_whatIsRememberedIsBounded(self) -> None:
        penalties = Penalties(maxSources=100)
        for number in range(1000):
            penalties.add(f"10.0.{number // 250}.{number % 250}", 100.0, 0.0)
        assert len(penalties) == 100
        assert not penalties.admit("10.0.3.249", 0.0)
