"""What is typed leaves at an even beat, so that nobody on the way learns anything from its timing.

Between keystrokes lie pauses that tell which keys they were. Here they leave at the next beat of an
interval, however they come; and for a while after the last of them, of a length that nobody can
guess, something of the same size leaves at each beat that has nothing to send.

Rule: nothing is kept longer than an interval, nothing changes its order, and more at once than a
keyboard gives (what is pasted, an answer of the terminal's) leaves at once.

ssh_config(5), ObscureKeystrokeTiming; OpenSSH's PROTOCOL section 1.9 (ping@openssh.com).
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

from twisted.internet.interfaces import IDelayedCall, IReactorTime

MAX_KEYSTROKE = 32
"""Most bytes at a time that are taken for keys (ours): a function key has up to eight of them."""

CHAFF_SECONDS = (1.0, 3.0)
"""How long something leaves at each beat after the last key: at random between these (OpenSSH's
1024 ms and up to 2048 more)."""

CHAFF = b"PING!"
"""What a PING carries to be as long as a message with one key in it: byte, uint32 length and five
bytes against byte, uint32 channel, uint32 length and one."""

_random = SystemRandom()


class KeystrokeTiming:
    """Sends keys at the beat.

    Args:
        clock: Tells the time.
        send: Sends what was typed.
        sendChaff: Sends something of a key's size that means nothing.
        intervalSeconds: From one beat to the next.
    """

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[bytes], object],
        sendChaff: Callable[[], object],
        intervalSeconds: float,
    ) -> None:
        self._clock = clock
        self._send = send
        self._sendChaff = sendChaff
        self._intervalSeconds = intervalSeconds
        self._waiting = b""
        self._chaffUntil = 0.0
        self._beat: IDelayedCall | None = None

    def typed(self, data: bytes) -> None:
        """Take what was typed; it leaves at the next beat, or now where it is no key."""
        self._waiting += data
        if len(self._waiting) > MAX_KEYSTROKE:
            self.flush()
            return
        self._chaffUntil = self._clock.seconds() + _random.uniform(*CHAFF_SECONDS)
        if self._beat is None:
            self._beat = self._clock.callLater(self._intervalSeconds, self._tick)

    def flush(self) -> None:
        """Send what waits, now: something else is to follow it."""
        waiting, self._waiting = self._waiting, b""
        if waiting:
            self._send(waiting)

    def stop(self) -> None:
        """Send nothing any more, ever; what waits is dropped."""
        self._waiting = b""
        self._chaffUntil = 0.0
        beat, self._beat = self._beat, None
        if beat is not None:
            beat.cancel()

    def _tick(self) -> None:
        self._beat = None
        if self._waiting:
            self.flush()
        elif self._clock.seconds() < self._chaffUntil:
            self._sendChaff()
        else:
            return
        self._beat = self._clock.callLater(self._intervalSeconds, self._tick)
