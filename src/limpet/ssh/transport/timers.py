"""The named timers of one connection, on the clock of the reactor that runs it.

Rule: a timer that was started is either stopped or fires once, and `stopAll` leaves none behind. A
connection whose transport has no reactor (in memory, in a test) has no timers until it is given a
clock.

A login starts and stops half a dozen of them, of which none ever fires. So the clock is asked for
one call only, at the time of the earliest, and is left to make it when that one is stopped: what is
due then is looked up.
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
        # When they are due, and what is called then.
        self._pending: dict[str, tuple[float, Callable[[], None]]] = {}
        self._alarm: IDelayedCall | None = None
        self._alarmTime = 0.0
        self._turns: dict[str, IDelayedCall] = {}

    def start(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in `seconds`, in place of what was pending under `name`; 0 is never."""
        clock = self.clock
        if clock is None or seconds <= 0:
            self.stop(name)
            return
        if name in self._turns:
            self.stop(name)
        due = clock.seconds() + seconds
        self._pending[name] = (due, call)
        if self._alarm is None or due < self._alarmTime:
            self._setAlarm(clock, due)

    def soon(self, name: str, call: Callable[[], None]) -> bool:
        """Call `call` in the clock's next turn; False, and nothing done, without a clock."""
        self.stop(name)
        if self.clock is None:
            return False
        self._turns[name] = self.clock.callLater(0, self._turned, name, call)
        return True

    def stop(self, name: str) -> None:
        """Cancel what is pending under `name`, if anything is."""
        self._pending.pop(name, None)
        turn = self._turns.pop(name, None)
        if turn is not None:
            turn.cancel()

    def stopAll(self) -> None:
        """Cancel everything."""
        for name in list(self._turns):
            self.stop(name)
        self._pending.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def isPending(self, name: str) -> bool:
        """Whether a timer of this name runs."""
        return name in self._pending or name in self._turns

    def now(self) -> float:
        """The clock's time in seconds; 0.0 without a clock."""
        return 0.0 if self.clock is None else float(self.clock.seconds())

    def _turned(self, name: str, call: Callable[[], None]) -> None:
        del self._turns[name]
        call()

    def _setAlarm(self, clock: IReactorTime, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarmTime = due
        self._alarm = clock.callLater(max(due - clock.seconds(), 0.0), self._ring)

    def _ring(self) -> None:
        """Call what is due, the earliest first, and set the alarm for what is not."""
        self._alarm = None
        try:
            while self._pending:
                name, (due, call) = min(self._pending.items(), key=lambda timer: timer[1][0])
                if due > self.now():
                    break
                del self._pending[name]
                call()
        finally:
            # One of them may have started another, and have set the alarm later than the earliest.
            if self._pending and self.clock is not None:
                due = min(due for due, _ in self._pending.values())
                if self._alarm is None or due < self._alarmTime:
                    self._setAlarm(self.clock, due)
