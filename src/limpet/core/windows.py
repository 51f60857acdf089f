"""The arithmetic of a channel's two windows (RFC 4254 section 5.2).

Four rules:

1. A sender never has more than 2**32 - 1 bytes of window; a peer that grants more breaks the
   protocol.
2. A receiver grants again when less than half of its window is left, and then all that is missing:
   few messages, and the sender never waits for a consumer that keeps up. An empty window always
   counts as less than half, or one of a single byte would never open again.
3. Where the consumer is paused, nothing is granted; what is due is granted when it resumes. What
   waits at a paused consumer is therefore bounded by the window.
4. On a long path a sender waits for each grant to arrive: it sends no more than a window in the
   time of a round trip. A receiver that keeps up gives it a larger window then, up to a limit, as
   long as what came in since the last grant says that the path could bring more.

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

GROWN_WINDOW = 15 * 1024 * 1024
"""How far a window grows on a long path. OpenSSH's sender becomes slower where more than 16 MiB may
be under way (measured by the authors of HPN-SSH)."""

LONG_PATH_SECONDS = 0.010
"""A round trip from which on windows grow. Below it 2 MiB do for 200 MB a second, and what was
measured as the path's time is as likely the peer's own."""


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


def grownWindow(size: int, limit: int, taken: int, seconds: float, roundTripSeconds: float) -> int:
    """The size that a window should have from the next grant on: up to twice what it has.

    Args:
        size: What it has, in bytes.
        limit: The most that it may have.
        taken: How many bytes came in since the last grant.
        seconds: How long they took.
        roundTripSeconds: How long a message and its answer take on this path.
    """
    if roundTripSeconds < LONG_PATH_SECONDS:
        return size
    # A window of twice what is under way: one half of it is granted while the other is being sent.
    isShort = 2 * taken * roundTripSeconds > size * seconds
    return max(size, min(2 * size, limit)) if isShort else size
