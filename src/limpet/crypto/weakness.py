"""Keys of the right form and size that can be computed from their public half all the same.

Rule: only what arithmetic proves is called weak here; keys that are known because somebody has
published them are a list's matter (`limpet.core.keyblocklist`).

    ROCA           CVE-2017-15361: prime numbers from a small group, made by Infineon's chips
    close primes   CVE-2022-26320: two prime numbers that begin alike, found from their square root
"""

from __future__ import annotations

import functools
import math

from limpet.crypto.keyformats import publicblob
from limpet.wire.fields import Reader

FERMAT_ROUNDS = 100
"""How many numbers from the square root on are tried: real keys have ended within 20, and honest
ones are further away than all computers reach."""

ROCA_GENERATOR = 65537

ROCA_LARGEST_PRIME = 167
"""Up to which primes the modulus of the smallest vulnerable keys goes; those of larger keys go
further, but have these among them."""


def weaknessOf(blob: bytes) -> str | None:
    """Why a public key must not be trusted; None where nothing is known against it.

    Args:
        blob: The plain public key, as it is in messages.

    Raises:
        WireError: It is damaged.
    """
    reader = Reader(blob)
    if reader.string() != publicblob.RSA:
        return None
    reader.mpint()
    modulus = reader.mpint()
    if isRocaModulus(modulus):
        return "an RSA key of a faulty security chip, which can be computed (ROCA, CVE-2017-15361)"
    if hasClosePrimes(modulus):
        return "an RSA key whose two primes are so close that they can be found"
    return None


def hasClosePrimes(modulus: int) -> bool:
    """Whether Fermat's method finds a factor in a few rounds."""
    middle = math.isqrt(modulus)
    if middle * middle == modulus:
        return True
    for candidate in range(middle + 1, middle + 1 + FERMAT_ROUNDS):
        rest = candidate * candidate - modulus
        root = math.isqrt(rest)
        if root * root == rest:
            return True
    return False


def isRocaModulus(modulus: int) -> bool:
    """Whether `modulus` is a power of 65537 modulo the product of the first primes.

    Of random numbers fewer than one in 2^100 is. A power of a number of smooth order is recognised
    part by part: raised to the order without one prime power q, it is one of q elements.
    """
    product, order, parts = _rocaGroup()
    residue = modulus % product
    if pow(residue, order, product) != 1:
        return False
    return all(pow(residue, order // size, product) in elements for size, elements in parts)


@functools.cache
def _rocaGroup() -> tuple[int, int, tuple[tuple[int, frozenset[int]], ...]]:
    """The product of the primes, the order of 65537 there, and for each prime power q of the order
    the q elements of that order's subgroup."""
    numbers = range(2, ROCA_LARGEST_PRIME + 1)
    primes = [n for n in numbers if all(n % d for d in range(2, math.isqrt(n) + 1))]
    product = math.prod(primes)
    order = math.lcm(*(_orderModulo(prime) for prime in primes))
    parts = []
    for prime in primes:
        size = 1
        while order % (size * prime) == 0:
            size *= prime
        if size > 1:
            base = pow(ROCA_GENERATOR, order // size, product)
            elements, element = set(), 1
            for _ in range(size):
                elements.add(element)
                element = element * base % product
            parts.append((size, frozenset(elements)))
    return product, order, tuple(parts)


def _orderModulo(prime: int) -> int:
    order, element = 1, ROCA_GENERATOR % prime
    while element != 1:
        element = element * ROCA_GENERATOR % prime
        order += 1
    return order
