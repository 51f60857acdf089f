"""The moduli file and the choice from it."""

from __future__ import annotations

import pytest

from limpet.core.errors import KeyExchangeFailed
from limpet.core.moduli import (
    MAX_UNKNOWN_BITS,
    affordable,
    choosePrime,
    isAffordable,
    parseModuli,
    parseModuliLines,
)
from limpet.crypto.groups import knownGroup

# Numbers of the right sizes will do: the file is its administrator's, nothing here tests primality.
P2048 = (1 << 2047) + 3
Q2048 = (1 << 2047) + 7
P3072 = (1 << 3071) + 3
P8192 = (1 << 8191) + 3


def line(
    prime: int,
    *,
    kind: int = 2,
    tests: int = 6,
    tries: int = 100,
    size: int | None = None,
    generator: str = "2",
) -> str:
    size = prime.bit_length() - 1 if size is None else size
    return f"20260505024120 {kind} {tests} {tries} {size} {generator} {prime:X}"


class TestParse:
    def test_theShape(self) -> None:
        text = "\n".join(
            ["# Time Type …", "", line(P2048), line(Q2048, generator="5"), line(P3072)]
        )
        expected = {2048: [(2, P2048), (5, Q2048)], 3072: [(2, P3072)]}
        assert parseModuli(text) == expected
        assert parseModuli(text.encode()) == expected
        assert parseModuliLines(text.splitlines()) == expected

    def test_theGeneratorIsHexadecimal(self) -> None:
        assert parseModuli(line(P2048, generator="1F")) == {2048: [(31, P2048)]}

    def test_nothing(self) -> None:
        assert parseModuli("") == {}

    @pytest.mark.parametrize(
        "wrong",
        [
            line(P2048, kind=4),
            line(P2048, tests=0),
            line(P2048, tests=7),
            line(P2048, tests=1),
            line(P2048, tries=0),
            line(P2048, size=2048),
            line(P2048, generator="1"),
            line(P2048, generator="0"),
            line(P2048, generator="-2"),
            line(P2048 - 1),
            line(P2048) + " more",
            line(P2048).rsplit(" ", 1)[0],
            line(P2048) + "G",
            "# " + line(P2048),
            "x" + line(P2048)[1:] + "-",
        ],
    )
    def test_implausibleLinesArePassedOver(self, wrong: str) -> None:
        assert parseModuli(f"{wrong}\n{line(P3072)}") == {3072: [(2, P3072)]}

    def test_bytesThatAreNoTextDoNoHarm(self) -> None:
        assert parseModuli(line(P2048).encode() + b"\xff\x00\n\xff\n") == {}


class TestChoose:
    PRIMES = {2048: [(2, P2048)], 3072: [(2, P3072)], 8192: [(2, P8192)]}

    @pytest.mark.parametrize(
        ("request_", "prime"),
        [
            ((2048, 2048, 8192), P2048),
            ((2048, 2049, 8192), P3072),
            ((2048, 3072, 8192), P3072),
            ((2048, 4096, 8192), P8192),
            ((2048, 4096, 4096), P3072),
            ((3073, 3073, 8192), P8192),
        ],
    )
    def test_theSmallestThatIsLargeEnough(self, request_: tuple[int, int, int], prime: int) -> None:
        assert choosePrime(self.PRIMES, *request_) == (2, prime)

    def test_withoutAFitTheKnownGroupsServe(self) -> None:
        assert choosePrime(self.PRIMES, 4000, 4000, 5000) == (2, knownGroup(4096).prime)
        assert choosePrime({}, 2048, 3072, 8192) == (2, knownGroup(3072).prime)
        assert choosePrime({3072: []}, 2048, 3072, 8192) == (2, knownGroup(3072).prime)

    def test_nothingFits(self) -> None:
        with pytest.raises(KeyExchangeFailed):
            choosePrime(self.PRIMES, 2049, 2049, 2100)

    def test_C16_whatIsCostlyIsLeftToTheKnownGroups(self) -> None:
        odd = (2, (1 << 4095) | 1)
        assert not isAffordable(*odd)
        assert not isAffordable(2, P8192)
        assert isAffordable(2, P3072)
        assert P3072.bit_length() == MAX_UNKNOWN_BITS
        known = knownGroup(8192)
        assert isAffordable(known.generator, known.prime)
        found = affordable({**self.PRIMES, 4096: [odd], 7680: [(2, (1 << 7679) | 1)]})
        assert found == {
            2048: [(2, P2048)],
            3072: [(2, P3072)],
            **{size: [(2, knownGroup(size).prime)] for size in (4096, 6144, 8192)},
        }

    def test_ofOneSizeEachGroupIsTakenAtTimes(self) -> None:
        primes = {2048: [(2, P2048), (5, Q2048)]}
        taken = {choosePrime(primes, 2048, 2048, 2048) for _ in range(100)}
        assert taken == {(2, P2048), (5, Q2048)}
