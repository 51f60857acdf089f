"""The named timers of one connection, on the clock of the reactor that runs it.

Rule: a timer that was started is either stopped or fires once, and `stopAll` leaves none behind. A
connection whose transport has no reactor (in memory, in a test) has no timers until it is given a
clock.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timers:
    """The timers of one connection, each under a name.

    Attributes:
        clock: What they run on; None means that starting one does nothing.
    """

    def __init__(self, clock: IReactorTime | None = None) -> None:
        self.clock = clock
        self._pending: dict[str, IDelayedCall] = {}

    def start(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in `seconds`, in place of what was pending under `name`."""
        self.stop(name)
        if self.clock is not None and seconds > 0:
            self._pending[name] = self.clock.callLater(seconds, self._fire, name, call)

    def soon(self, name: str, call: Callable[[], None]) -> bool:
        """Call `call` in the clock's next turn; False, and nothing done, without a clock."""
        self.stop(name)
        if self.clock is None:
            return False
        self._pending[name] = self.clock.callLater(0, self._fire, name, call)
        return True

    def stop(self, name: str) -> None:
        """Cancel what is pending under `name`, if anything is."""
        pending = self._pending.pop(name, None)
        if pending is not None:
            pending.cancel()

    def stopAll(self) -> None:
        """Cancel everything."""
        for name in list(self._pending):
            self.stop(name)

    def isPending(self, name: str) -> bool:
        """Whether a timer of this name runs."""
        return name in self._pending

    def now(self) -> float:
        """The clock's time in seconds; 0.0 without a clock."""
        return 0.0 if self.clock is None else float(self.clock.seconds())

    def _fire(self, name: str, call: Callable[[], None]) -> None:
        del self._pending[name]
        call()
