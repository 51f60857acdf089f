"""How many connections a server takes: at a time before login, and in a time from one source.

Rule: what is kept is bounded, and what is refused costs next to nothing. Time is an argument.

    StartupLimit   MaxStartups of sshd_config(5): start:rate:full, random early drop
    SourceLimit    a bucket per source: IPv4 address, IPv6 /64
"""

from __future__ import annotations

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_SOURCES = 65536
"""How many sources are remembered (sshd's PerSourcePenalties); the least recent is forgotten."""

IPV6_PREFIX = 64
"""What counts as one source of IPv6: less is one customer's own to vary (ours)."""

BURST_SECONDS = 5.0
"""A source that was quiet may use up what this many seconds allow, at once (ours)."""


@dataclass
class StartupLimit:
    """How many connections may be without a login at a time.

    Below `start` all are taken; from there on a part is dropped at random, `rate` percent at first
    and rising in a straight line, until at `full` all are.

    Attributes:
        start, rate, full: As above; "10:30:100".
        pending: How many there are.
        draw: Gives a number in [0, 1); another one for tests.
    """

    start: int = 10
    rate: int = 30
    full: int = 100
    pending: int = 0
    draw: Callable[[], float] = field(default=random.SystemRandom().random, repr=False)

    def admit(self) -> bool:
        """Whether one more is taken; it then counts until `done`."""
        if self.draw() < self._dropProbability():
            return False
        self.pending += 1
        return True

    def done(self) -> None:
        """One of them is logged in, or gone."""
        self.pending -= 1

    def _dropProbability(self) -> float:
        if self.pending < self.start:
            return 0.0
        if self.pending >= self.full or self.rate >= 100:
            return 1.0
        share = (self.pending - self.start) / (self.full - self.start)
        return (self.rate + (100 - self.rate) * share) / 100

    @classmethod
    def parse(cls, text: str) -> StartupLimit:
        """Read "start:rate:full", or one number for a plain limit.

        Raises:
            ValueError: It is neither; the message says what is expected.
        """
        parts = text.split(":")
        if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in parts):
            raise ValueError(f"{text!r} is not start:rate:full, for example 10:30:100")
        numbers = [int(part) for part in parts]
        if len(numbers) == 1:
            numbers = [numbers[0], 100, numbers[0]]
        if len(numbers) != 3 or not 0 < numbers[0] <= numbers[2] or not 0 < numbers[1] <= 100:
            raise ValueError(f"{text!r} is not start:rate:full, for example 10:30:100")
        start, rate, full = numbers
        return cls(start, rate, full)


class SourceLimit:
    """How many connections per second one source may make.

    Args:
        perSecond: How many in the long run; 0 for no limit.
        exemptLoopback: Whether connections from this machine itself are not counted.
        maxSources: How many sources are remembered.
    """

    def __init__(
        self, perSecond: float, exemptLoopback: bool = True, maxSources: int = MAX_SOURCES
    ) -> None:
        self.perSecond = perSecond
        self.exemptLoopback = exemptLoopback
        self.maxSources = maxSources
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def admit(self, host: str, now: float) -> bool:
        """Whether a connection from the address `host` is taken at the time `now`, in seconds."""
        if self.perSecond <= 0:
            return True
        source = sourceOf(host)
        if source is None:
            if self.exemptLoopback:
                return True
            source = "loopback"
        full = max(self.perSecond * BURST_SECONDS, 1.0)
        tokens, since = self._buckets.pop(source, (full, now))
        tokens = min(full, tokens + max(now - since, 0.0) * self.perSecond)
        taken = tokens >= 1.0
        self._buckets[source] = (tokens - 1.0 if taken else tokens, now)
        if len(self._buckets) > self.maxSources:
            self._buckets.popitem(last=False)
        return taken


def sourceOf(host: str) -> str | None:
    """What counts as one source for the address `host`; None for this machine itself."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            if address.is_loopback:
                return None
            return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
        address = mapped
    return None if address.is_loopback else str(address)
