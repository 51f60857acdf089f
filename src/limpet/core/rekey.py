"""When keys have served long enough: RFC 4253 section 9, RFC 4344 section 3.

Rule: pure arithmetic on counters; the clock and the timers are the transport's. Asking costs a few
comparisons, so it can be done for every packet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

MAX_BYTES = 1 << 30
"""Bytes in either direction under one set of keys (RFC 4253 section 9: a gigabyte)."""

MOST_BYTES = 1 << 36
"""Bytes that no policy goes beyond: 2**32 blocks of 16 bytes (RFC 4344 section 3.2)."""

MOST_BYTES_OF_SMALL_BLOCKS = 1 << 30
"""The same for ciphers with smaller blocks, of which 3DES is one (RFC 4344 section 3.2)."""

MAX_PACKETS = 1 << 31
"""Packets in either direction under one set of keys (RFC 4344 section 3.1)."""

MAX_SECONDS = 3600.0
"""How long one set of keys serves (RFC 4253 section 9: an hour)."""

MAX_REPLY_SECONDS = 60.0
"""How long an exchange of keys may take, from our KEXINIT to the peer's NEWKEYS (ours)."""

MIN_INTERVAL_SECONDS = 10.0
"""How far apart exchanges that the peer starts have to be, on average (ours, attacks.md C11)."""

OVERDUE_FACTOR = 2
"""How many times the volume a peer that does not answer our KEXINIT may use up (ours)."""

OVERDUE_BYTES = 16 << 20
"""Bytes that such a peer may use up in any case (ours): what was on its way before it could know,
which is a window for each busy channel."""


class Counters(Protocol):
    """What a direction has carried since its keys were set: a PacketSender or PacketReceiver."""

    @property
    def bytesSinceKeys(self) -> int: ...

    @property
    def packetsSinceKeys(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RekeyPolicy:
    """How much one set of keys may carry; None lifts our limit of bytes or seconds."""

    maxBytes: int | None = MAX_BYTES
    maxPackets: int = MAX_PACKETS
    maxSeconds: float | None = MAX_SECONDS

    def within(self, smallBlocks: bool) -> RekeyPolicy:
        """The policy as far as the ciphers in use allow it."""
        most = MOST_BYTES_OF_SMALL_BLOCKS if smallBlocks else MOST_BYTES
        if self.maxBytes is not None and self.maxBytes <= most:
            return self
        return replace(self, maxBytes=most)

    def due(self, sent: Counters, received: Counters, secondsSinceKeys: float) -> bool:
        """Whether it is time to send KEXINIT."""
        if self.maxSeconds is not None and secondsSinceKeys >= self.maxSeconds:
            return True
        return self._reached(sent, received, 1, 0)

    def overdue(self, sent: Counters, received: Counters) -> bool:
        """Whether the peer has used up so much without answering our KEXINIT that it must go."""
        return self._reached(sent, received, OVERDUE_FACTOR, OVERDUE_BYTES)

    def _reached(self, sent: Counters, received: Counters, factor: int, more: int) -> bool:
        most = max(sent.packetsSinceKeys, received.packetsSinceKeys)
        # The sequence number has 32 bits, so no factor may carry the count past its end.
        if most >= min(self.maxPackets * factor, 0xFFFFFFFF):
            return True
        if self.maxBytes is None:
            return False
        limit = max(self.maxBytes * factor, self.maxBytes + more)
        return max(sent.bytesSinceKeys, received.bytesSinceKeys) >= limit
