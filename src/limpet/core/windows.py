"""The arithmetic of a channel's two windows (RFC 4254 section 5.2).

Three rules:

1. A sender never has more than 2**32 - 1 bytes of window; a peer that grants more breaks the
   protocol.
2. A receiver grants again when less than half of its window is left, and then all that is missing:
   few messages, and the sender never waits for a consumer that keeps up. An empty window always
   counts as less than half, or one of a single byte would never open again.
3. Where the consumer is paused, nothing is granted; what is due is granted when it resumes. What
   waits at a paused consumer is therefore bounded by the window.

The numbers themselves stay in the channel's documented attributes; here are only the rules.
"""

from __future__ import annotations

from limpet.core.errors import LimitExceeded

MAX_WINDOW = 2**32 - 1
"""RFC 4254 section 5.2: "the window MUST NOT be increased above 2^32 - 1 bytes"."""

DEFAULT_WINDOW = 131072
"""How many bytes a peer may send on a channel unasked, where the application does not say."""

DEFAULT_MAX_PACKET = 32768
"""The largest piece of data we take in one message, where the application does not say."""

MAX_PIECE = 32768
"""The largest piece of data we send in one message, whatever the peer allows: with it a packet
stays within the 35,000 bytes that every implementation has to take (RFC 4253 section 6.1)."""


def enlarged(left: int, granted: int) -> int:
    """The window to send into after the peer granted `granted` bytes more.

    Raises:
        LimitExceeded: The sum is above `MAX_WINDOW`.
    """
    total = left + granted
    if total > MAX_WINDOW:
        raise LimitExceeded(f"a window of {total} bytes, over {MAX_WINDOW}")
    return total


def creditDue(size: int, left: int) -> int:
    """How many bytes to grant the peer: 0 while half of the window `size` is left."""
    return size - left if left < size // 2 or not left else 0
