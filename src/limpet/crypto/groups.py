"""Finite-field groups for Diffie-Hellman: those everybody knows, and a check for the others.

Rule: a group is used by a client only if it is one of the known ones or has passed `checkGroup`.
The known primes are not written down here but computed from their definition in RFC 3526 (and RFC
2409 for the 1024-bit one, which only the legacy profile names):

    p = 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * pi) + c)

which is how RFC 2412 chose them, so that a slip in one of 8192 bits cannot happen.
RFC 2409 section 6.2, RFC 3526, RFC 4419 section 6.2, RFC 8270.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from limpet.crypto import entropy

MIN_PRIME_BITS = 2048
"""Smallest prime of a group exchange (RFC 8270 section 3; OpenSSH's DH_GRP_MIN)."""

MAX_PRIME_BITS = 8192
"""Largest prime of a group exchange (OpenSSH's DH_GRP_MAX)."""

MAX_CHECKED_BITS = 4096
"""Largest prime that we check ourselves: its check takes 0.8 s, that of 8192 bits 6 s (ours)."""

PRIMALITY_ROUNDS = 4
"""Rounds of Miller-Rabin, each with a new random base (ours).

A composite that was made to deceive passes each with a chance of at most 1/4; one that came about
by accident, at these sizes, practically never. The one who could profit from a bad group is the
server, which signs it and knows the secret in any case.
"""

_CHECKED_GROUPS = 64
"""How many verdicts are remembered; an OpenSSH moduli file has some fifty primes of each size."""

_MULTIPLIERS = {
    1024: 129093,
    2048: 124476,
    3072: 1690314,
    4096: 240904,
    6144: 929484,
    8192: 4743158,
}
"""The c of the definition for each size in bits."""

_SMALL_PRIMES = tuple(
    number
    for number in range(3, 1000, 2)
    if all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))
)


@dataclass(frozen=True, slots=True)
class Group:
    """A multiplicative group modulo `prime`, and the element whose powers are exchanged."""

    generator: int
    prime: int

    @property
    def sizeBits(self) -> int:
        """The size of the prime."""
        return self.prime.bit_length()


@functools.cache
def knownGroup(sizeBits: int) -> Group:
    """The group of RFC 3526 of 2048, 3072, 4096, 6144 or 8192 bits, or RFC 2409's of 1024.

    Raises:
        KeyError: There is none of that size.
    """
    multiplier = _MULTIPLIERS[sizeBits]
    middle = (_pi(sizeBits - 130) + multiplier) << 64
    return Group(2, (1 << sizeBits) - (1 << (sizeBits - 64)) - 1 + middle)


def isKnown(group: Group) -> bool:
    """Whether this is a group of RFC 3526. That of 1024 bits counts as unknown."""
    size = group.sizeBits
    return size >= MIN_PRIME_BITS and size in _MULTIPLIERS and group == knownGroup(size)


def checkGroup(group: Group) -> str | None:
    """Say what is wrong with a group that a server has chosen, or None when it is sound.

    Sound is a safe prime of `MIN_PRIME_BITS` to `MAX_PRIME_BITS`, with a generator from 2 to p-2:
    every such element generates all of the group or its subgroup of prime order (p-1)/2. A known
    group costs nothing; another one costs 5 exponentiations the first time it is seen, together 0.1
    to 0.8 seconds for 2048 to 4096 bits, and is refused above `MAX_CHECKED_BITS`.
    """
    size = group.sizeBits
    if not MIN_PRIME_BITS <= size <= MAX_PRIME_BITS:
        return f"a prime of {size} bits, outside {MIN_PRIME_BITS} to {MAX_PRIME_BITS}"
    if not 1 < group.generator < group.prime - 1:
        return "a generator outside 2 to p-2"
    if isKnown(group):
        return None
    if size > MAX_CHECKED_BITS:
        return (
            f"an unknown prime of {size} bits; above {MAX_CHECKED_BITS} only RFC 3526's are taken"
        )
    if not isSafePrime(group.prime):
        return "a modulus that is not a safe prime"
    return None


@functools.lru_cache(maxsize=_CHECKED_GROUPS)
def isSafePrime(number: int) -> bool:
    """Whether `number` and (`number` - 1) / 2 are odd primes, the latter by `PRIMALITY_ROUNDS`."""
    if number < 11:
        return number in (5, 7)
    if number & 3 != 3:
        return False
    half = number >> 1
    for divisor in _SMALL_PRIMES:
        if half == divisor or number == divisor:
            break
        if half % divisor == 0 or number % divisor == 0:
            return False
    # With half prime, one such power shows that number is prime too (Pocklington), and for nearly
    # every number that is not, this alone is the end.
    if pow(2, half, number) not in (1, number - 1):
        return False
    return _isProbablePrime(half)


def _isProbablePrime(number: int) -> bool:
    """Miller-Rabin for an odd number above 3; FIPS 186-5 appendix B.3.1."""
    odd = number - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    length = (number.bit_length() + 7) // 8 + 8
    for _ in range(PRIMALITY_ROUNDS):
        base = 2 + int.from_bytes(entropy.randomBytes(length), "big") % (number - 3)
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _pi(fractionBits: int) -> int:
    """floor(pi * 2^fractionBits), by Machin's formula with bits to spare."""
    spare = 64
    one = 1 << (fractionBits + spare)

    def arctanInverse(number: int) -> int:
        power = total = one // number
        square, odd, sign = number * number, 3, -1
        while power:
            power //= square
            total += sign * (power // odd)
            odd, sign = odd + 2, -sign
        return total

    return 4 * (4 * arctanInverse(5) - arctanInverse(239)) >> spare
