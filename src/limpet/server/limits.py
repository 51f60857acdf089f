"""How many connections a server takes: at a time before login, and in a time from one source.

Rule: what is kept is bounded, and what is refused costs next to nothing. Time is an argument.

    StartupLimit   MaxStartups of sshd_config(5): start:rate:full, random early drop
    SourceLimit    a bucket per source: IPv4 address, IPv6 /64
    Penalties      PerSourcePenalties of sshd_config(5): who fails again and again has to wait
"""

from __future__ import annotations

import functools
import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_SOURCES = 65536
"""How many sources are remembered (sshd's PerSourcePenalties); the least recent is forgotten."""

REMEMBERED_HOSTS = 256
"""Of how many addresses it is remembered what source they count for (ours)."""

IPV6_PREFIX = 64
"""What counts as one source of IPv6: less is one customer's own to vary (ours)."""

BURST_SECONDS = 5.0
"""A source that was quiet may use up what this many seconds allow, at once (ours)."""


FAILED_SECONDS = 5.0
LATE_SECONDS = 10.0
SILENT_SECONDS = 1.0
"""What a connection without a login costs its source, in seconds: one that tried to log in, one
that used up its time, and any other (sshd's authfail, grace-exceeded and noauth)."""

REFUSED_FROM_SECONDS = 15.0
"""Penalties below this have no effect (sshd's min): a person may mistype."""

MAX_PENALTY_SECONDS = 600.0
"""The longest that a source has to wait (sshd's max)."""


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


class Penalties:
    """How long a source has to wait that has connected in vain again and again.

    Each such connection adds to its source's penalty, which time alone makes less. Once it exceeds
    `REFUSED_FROM_SECONDS`, nothing is taken from there until it is over.

    Args:
        maxSources: How many sources are remembered.
    """

    def __init__(self, maxSources: int = MAX_SOURCES) -> None:
        self.maxSources = maxSources
        # Source to when its penalty is over, and whether it is refused until then.
        self._sources: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def admit(self, host: str, now: float) -> bool:
        """Whether a connection from the address `host` is taken at the time `now`, in seconds."""
        source = sourceOf(host)
        if source is None or source not in self._sources:
            return True
        end, isRefused = self._sources[source]
        if now >= end:
            del self._sources[source]
            return True
        return not isRefused

    def add(self, host: str, seconds: float, now: float) -> float:
        """Punish a source; one on this machine itself is not.

        Returns:
            For how long it is refused from now on, in seconds, where that has just begun; else 0.
        """
        source = sourceOf(host)
        if source is None:
            return 0.0
        end, wasRefused = self._sources.pop(source, (now, False))
        if now >= end:
            end, wasRefused = now, False
        end = min(end + seconds, now + MAX_PENALTY_SECONDS)
        isRefused = wasRefused or end - now > REFUSED_FROM_SECONDS
        self._sources[source] = (end, isRefused)
        if len(self._sources) > self.maxSources:
            self._sources.popitem(last=False)
        return end - now if isRefused and not wasRefused else 0.0


# Each connection asks three times.
@functools.lru_cache(maxsize=REMEMBERED_HOSTS)
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
