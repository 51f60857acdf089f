"""Keys that can be computed from their public half."""

from __future__ import annotations

import secrets

import pytest

from limpet.crypto.weakness import (
    FERMAT_ROUNDS,
    _rocaGroup,
    hasClosePrimes,
    isRocaModulus,
    weaknessOf,
)
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS
from tests.keymaking import allKeys, makeKey

# Of Infineon's library: a prime is k * M + 65537^a mod M, and so is a product of two.
PRODUCT = _rocaGroup()[0]


def rocaModulus(sizeBits: int) -> int:
    factor = secrets.randbits(sizeBits - PRODUCT.bit_length()) | 1 << (
        sizeBits - PRODUCT.bit_length() - 1
    )
    return factor * PRODUCT + pow(65537, secrets.randbits(60), PRODUCT)


@pytest.mark.parametrize("sizeBits", [2048, 3072, 4096])
def test_D13_roca_is_recognised(sizeBits: int) -> None:
    modulus = rocaModulus(sizeBits)
    assert isRocaModulus(modulus)
    told = weaknessOf(NS(b"ssh-rsa") + MP(65537) + MP(modulus))
    assert told is not None
    assert "CVE-2017-15361" in told


def test_what_is_nearly_roca_is_not() -> None:
    """Off by a factor that is no power of 65537 modulo one of the primes."""
    for factor in (2, 3, 6, 12, 1 + PRODUCT // 11):
        assert not isRocaModulus(rocaModulus(2048) * factor)
    assert not any(isRocaModulus(secrets.randbits(2048) | 1) for _ in range(200))


def test_D13_close_primes_are_found() -> None:
    first = secrets.randbits(1024) | 1 << 1023 | 1
    for gap in (0, 2, 1 << 100, 1 << 500):
        modulus = first * (first + gap)
        assert hasClosePrimes(modulus)
        told = weaknessOf(NS(b"ssh-rsa") + MP(65537) + MP(modulus))
        assert told is not None
        assert "close" in told
    assert not hasClosePrimes(first * (first + (1 << 900)))


def test_the_rounds_are_few() -> None:
    """The gap that the last round still finds, and one that none does."""
    first = 1 << 1023 | 1
    # With p = m - d and q = m + d, the number looked for is m, about d * d / (2 * m) from the root.
    reach = 1 << 512
    assert hasClosePrimes(first * (first + 2 * reach))
    assert not hasClosePrimes(first * (first + 2 * reach * 2 * FERMAT_ROUNDS))


def test_honest_keys_are_not_weak() -> None:
    for key in allKeys():
        assert weaknessOf(key.blob()) is None
    assert weaknessOf(makeKey("rsa", 3072).blob()) is None


def test_what_is_no_key() -> None:
    for blob in (b"", NS(b"ssh-rsa"), NS(b"ssh-rsa") + MP(3)):
        with pytest.raises(WireError):
            weaknessOf(blob)
