"""The groups everybody knows, and the check of the others."""

from __future__ import annotations

import hashlib

import pytest

from limpet.crypto import entropy, groups
from limpet.crypto.groups import Group, checkGroup, isKnown, isSafePrime, knownGroup

SIZES = (2048, 3072, 4096, 6144, 8192)

RFC_3526_GROUP_14 = """
    FFFFFFFF FFFFFFFF C90FDAA2 2168C234 C4C6628B 80DC1CD1 29024E08 8A67CC74 020BBEA6 3B139B22
    514A0879 8E3404DD EF9519B3 CD3A431B 302B0A6D F25F1437 4FE1356D 6D51C245 E485B576 625E7EC6
    F44C42E9 A637ED6B 0BFF5CB6 F406B7ED EE386BFB 5A899FA5 AE9F2411 7C4B1FE6 49286651 ECE45B3D
    C2007CB8 A163BF05 98DA4836 1C55D39A 69163FA8 FD24CF5F 83655D23 DCA3AD96 1C62F356 208552BB
    9ED52907 7096966D 670C354E 4ABC9804 F1746C08 CA18217C 32905E46 2E36CE3B E39E772C 180E8603
    9B2783A2 EC07A28F B5C55DF0 6F4C52C9 DE2BCBF6 95581718 3995497C EA956AE5 15D22618 98FA0510
    15728E5A 8AACAA68 FFFFFFFF FFFFFFFF
"""


class TestKnownGroups:
    def test_group14IsAsPrintedInTheRFC(self) -> None:
        assert knownGroup(2048).prime == int("".join(RFC_3526_GROUP_14.split()), 16)

    @pytest.mark.parametrize(
        ("size", "number"),
        [(1024, 1), (2048, 14), (3072, 15), (4096, 16), (6144, 17), (8192, 18)],
    )
    def test_theyAreThoseOfAsyncSSH(self, size: int, number: int) -> None:
        from asyncssh import kex_dh

        group = knownGroup(size)
        assert group.prime == getattr(kex_dh, f"_group{number}_p")
        assert group.generator == getattr(kex_dh, f"_group{number}_g")

    @pytest.mark.parametrize("size", [1024, *SIZES])
    def test_sizes(self, size: int) -> None:
        assert knownGroup(size).sizeBits == size

    @pytest.mark.parametrize("size", [1024, 2048])
    def test_theyAreSafePrimes(self, size: int) -> None:
        assert isSafePrime(knownGroup(size).prime)

    def test_thereIsNoneOfAnotherSize(self) -> None:
        with pytest.raises(KeyError):
            knownGroup(2047)

    @pytest.mark.parametrize("size", SIZES)
    def test_isKnown(self, size: int) -> None:
        group = knownGroup(size)
        assert isKnown(group)
        assert not isKnown(Group(5, group.prime))
        assert not isKnown(Group(2, group.prime - 2))

    def test_1024BitsCountAsUnknown(self) -> None:
        assert not isKnown(knownGroup(1024))


class TestSafePrimes:
    def test_smallOnes(self) -> None:
        """OEIS A005385, up to 1000."""
        known = [7, 11, 23, 47, 59, 83, 107, 167, 179, 227, 263, 347, 359, 383, 467, 479, 503]
        known += [563, 587, 719, 839, 863, 887, 983]
        assert [number for number in range(6, 1000) if isSafePrime(number)] == known

    def test_aPrimeThatIsNotSafe(self) -> None:
        assert not isSafePrime(2**127 - 1)

    def test_halfOfItHasOnlyLargeFactors(self) -> None:
        """A prime, over a composite that trial division does not find out."""
        assert not isSafePrime(2 * (1009 * 1019) + 1)

    def test_itHasOnlyLargeFactors(self) -> None:
        """A composite over a prime."""
        assert not isSafePrime(1009 * 1187)

    @pytest.mark.parametrize("number", [0, 1, 2, 3, 4, -7, 561, 2465, 2**61, 2**1024 - 1])
    def test_notOne(self, number: int) -> None:
        assert not isSafePrime(number)

    @pytest.mark.parametrize(("base", "deceived"), [(2, True), (3, True), (7, True), (11, False)])
    def test_aStrongPseudoprimeDeceivesOnlyItsOwnBases(
        self, base: int, deceived: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """3215031751 = 151 * 751 * 28351 passes for the bases 2, 3, 5 and 7."""
        monkeypatch.setattr(entropy, "randomBytes", lambda count: (base - 2).to_bytes(count, "big"))
        assert groups._isProbablePrime(3215031751) is deceived

    def test_theBasesAreRandom(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def recorded(count: int) -> bytes:
            asked.append(count)
            return b"\x05" * count

        monkeypatch.setattr(entropy, "randomBytes", recorded)
        assert groups._isProbablePrime(2**127 - 1)
        assert len(asked) == groups.PRIMALITY_ROUNDS

    def test_theVerdictIsRemembered(self) -> None:
        isSafePrime.cache_clear()
        prime = knownGroup(1024).prime
        assert isSafePrime(prime)
        assert isSafePrime(prime)
        assert isSafePrime.cache_info().hits == 1


class TestCheckGroup:
    @pytest.mark.parametrize("size", SIZES)
    def test_knownGroupsPass(self, size: int) -> None:
        assert checkGroup(knownGroup(size)) is None

    @pytest.mark.parametrize("size", [512, 1024, 2047, 8193, 16384])
    def test_sizesOutsideTheLimits(self, size: int) -> None:
        assert "bits" in (checkGroup(Group(2, (1 << size) - 1)) or "")

    @pytest.mark.parametrize("offset", [0, 1, -1, -2])
    def test_generatorsThatGenerateNothing(self, offset: int) -> None:
        prime = knownGroup(2048).prime
        generator = offset if offset >= 0 else prime + 1 + offset
        assert "generator" in (checkGroup(Group(generator, prime)) or "")

    def test_largeUnknownPrimesAreRefusedUnseen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(number: int) -> bool:
            raise AssertionError("a big number was tested")

        monkeypatch.setattr(groups, "isSafePrime", never)
        assert "unknown" in (checkGroup(Group(2, knownGroup(8192).prime - 2)) or "")

    def test_compositesAreRefused(self) -> None:
        assert "safe prime" in (checkGroup(Group(2, knownGroup(2048).prime + 2)) or "")

    def test_aKnownPrimeWithAnotherGeneratorIsChecked(self) -> None:
        assert checkGroup(Group(3, knownGroup(2048).prime)) is None


class TestPi:
    def test_bits(self) -> None:
        """floor(pi * 2^64), and a thousand decimals by their digest."""
        assert groups._pi(64) == 0x3243F6A8885A308D3
        decimals = str(groups._pi(3400) * 10**1000 >> 3400)
        assert decimals.startswith("31415926535897932384626433832795028841971693993751")
        assert decimals.endswith("64201989")
        assert hashlib.sha256(decimals.encode()).hexdigest() == (
            "8a84d58d47f78c42a200ebfbbe7346426d4cdf4f2803d45c3590162865fcc0d2"
        )
