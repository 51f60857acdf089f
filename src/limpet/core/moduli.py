"""The text of /etc/ssh/moduli, and the choice of a group for group exchange.

Rule: lines that are not of the right type, not tested, or not plausible are passed over, as OpenSSH
does; nothing here reads a file. The format is that of moduli(5):

    time  type  tests  tries  size  generator  modulus
    20260505024120  2  6  100  2047  2  F5A1…

RFC 4419 section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from limpet.core.errors import KeyExchangeFailed
from limpet.crypto import entropy
from limpet.crypto.groups import Group, isKnown, knownGroup

Primes = Mapping[int, Sequence[tuple[int, int]]]
"""From the size in bits to the generators and primes of that size."""

_SAFE_PRIME = 2
"""The type of a safe prime (moduli(5))."""

_TEST_COMPOSITE = 0x01
_TESTS_OF_PRIMALITY = ~_TEST_COMPOSITE
"""Of the tests: at least one other than "shown composite" has to be set."""

_KNOWN_SIZES = (2048, 3072, 4096, 6144, 8192)

MAX_UNKNOWN_BITS = 3072
"""Largest prime of its own that a server uses. In a group that OpenSSL does not know an exchange
takes 20 ms at this size, 35 at 4096 bits and 160 at 8192, in which nobody else is served, and the
client says which size it is (attacks.md C16); in the known ones it takes 13 ms at most (ours)."""


def parseModuli(text: str | bytes) -> dict[int, list[tuple[int, int]]]:
    """The groups in the text, in the shape {size in bits: [(generator, prime), …]}."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return parseModuliLines(text.splitlines())


def parseModuliLines(lines: Iterable[str]) -> dict[int, list[tuple[int, int]]]:
    """As `parseModuli`, from lines."""
    primes: dict[int, list[tuple[int, int]]] = {}
    for generator, prime in _entries(lines):
        primes.setdefault(prime.bit_length(), []).append((generator, prime))
    return primes


def _entries(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        fields = line.split()
        if len(fields) != 7 or fields[0].startswith("#"):
            continue
        try:
            kind, tests, tries, size = (int(field) for field in fields[1:5])
            # In hexadecimal both, as OpenSSH writes and reads them.
            generator, prime = int(fields[5], 16), int(fields[6], 16)
        except ValueError:
            continue
        if kind != _SAFE_PRIME or tries < 1:
            continue
        if tests & _TEST_COMPOSITE or not tests & _TESTS_OF_PRIMALITY:
            continue
        # The file gives the size of the number before it, one bit less.
        if prime.bit_length() != size + 1 or not prime & 1 or not 1 < generator < prime - 1:
            continue
        yield generator, prime


def isAffordable(generator: int, prime: int) -> bool:
    """Whether a server may let any client have it compute in this group."""
    return prime.bit_length() <= MAX_UNKNOWN_BITS or isKnown(Group(generator, prime))


def affordable(primes: Primes) -> Primes:
    """The groups that are affordable, and in place of the other sizes the groups of RFC 3526."""
    found = {
        size: [group for group in groups if isAffordable(*group)] for size, groups in primes.items()
    }
    for size in _KNOWN_SIZES:
        if size > MAX_UNKNOWN_BITS:
            group = knownGroup(size)
            found[size] = [(group.generator, group.prime)]
    return {size: groups for size, groups in found.items() if groups}


def choosePrime(primes: Primes, minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
    """A group for a client that asked for these sizes in bits.

    The smallest size that is at least the preferred one is taken, else the largest below it, and
    from that size one of the groups by chance. Where nothing fits, so with no file at all, the
    groups of RFC 3526 serve.

    Returns:
        Generator and prime.

    Raises:
        KeyExchangeFailed: No group of a size from `minimum` to `maximum` is there.
    """
    size = _chooseSize(primes, minimum, preferred, maximum)
    if size is not None and primes[size]:
        candidates = primes[size]
        # 64 bits against a list of some fifty: the lean towards its front is beyond measure.
        generator, prime = candidates[
            int.from_bytes(entropy.randomBytes(8), "big") % len(candidates)
        ]
        return generator, prime
    size = _chooseSize(_KNOWN_SIZES, minimum, preferred, maximum)
    if size is None:
        raise KeyExchangeFailed(f"no group of {minimum} to {maximum} bits")
    group = knownGroup(size)
    return group.generator, group.prime


def _chooseSize(sizes: Iterable[int], minimum: int, preferred: int, maximum: int) -> int | None:
    allowed = sorted(size for size in sizes if minimum <= size <= maximum)
    for size in allowed:
        if size >= preferred:
            return size
    return allowed[-1] if allowed else None
