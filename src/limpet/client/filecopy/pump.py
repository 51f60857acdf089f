"""Moving the bytes of one file: many reads and writes under way, none lost, memory bounded.

Rule: a byte counts as moved when its write is acknowledged. What is under way, from the moment at
which it is asked for to that acknowledgement, is taken from a `Budget` that all files of a session
share. Reads may come back short anywhere; the rest is asked for again.

    source.read ──► Deferred of bytes ──► sink.write ──► acknowledged ──► the next read

The number of requests grows by one with each block that arrives, as OpenSSH's does: it takes what
the path can hold, and a short file costs no request past its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.core.framing import Pieces

FIRST_REQUESTS = 4
"""How many blocks are asked for before the first has arrived, where the size is known (ours)."""

Data = bytes | memoryview | Pieces


class Source(Protocol):
    """What can be read at any offset."""

    def read(self, offset: int, length: int) -> Data | defer.Deferred[Any]:
        """Up to `length` bytes, at least one; EOFError where the file ends before that."""


class Sink(Protocol):
    """What can be written at any offset."""

    def write(self, offset: int, data: Data) -> defer.Deferred[Any] | None:
        """Write all of `data`; None where that is done."""


class Budget:
    """How many bytes may be under way at a time.

    Args:
        limit: The number of bytes. One block is always allowed, even where it is larger.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, size: int) -> bool:
        """Take `size` bytes, if they are there."""
        if self.used and self.used + size > self.limit:
            return False
        self.used += size
        return True

    def giveBack(self, size: int) -> None:
        """Give bytes back; who waits for some is called."""
        self.used -= size
        for _ in range(len(self._waiting)):
            if self.used >= self.limit:
                break
            self._waiting.popleft()()

    def wait(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, when bytes were given back."""
        self._waiting.append(wake)


class Pace:
    """A bound on the rate of a session: when the next block may be asked for.

    Args:
        clock: A reactor, or a Clock.
        bytesPerSecond: The rate.
    """

    def __init__(self, clock: Any, bytesPerSecond: int) -> None:
        self._clock = clock
        self._rate = bytesPerSecond
        self._free = clock.seconds()

    def take(self, size: int) -> None:
        """A block of `size` bytes is asked for now."""
        self._free = max(self._free, self._clock.seconds()) + size / self._rate

    def delaySeconds(self) -> float:
        """How long to wait before the next one."""
        delay: float = self._free - self._clock.seconds()
        return max(delay, 0.0)

    def wakeIn(self, seconds: float, wake: Callable[[], None]) -> Any:
        return self._clock.callLater(seconds, wake)


class Contradiction(Exception):
    """The source says two things about one place of the file."""


class Pump:
    """Moves one file.

    Args:
        source: Where from.
        sink: Where to; it gets each byte once, in any order.
        expected: The file's size, as far as it is known. A file that a read shows to be longer is
            read to its end; one that turns out shorter ends `early`.
        start: The offset to begin at.
        block: How much to ask for at a time, in bytes.
        requests: How many blocks may be under way.
        budget: What the session allows to be under way.
        moved: Called with the number of bytes moved so far, `start` included.
        pace: The rate that must not be exceeded.

    Attributes:
        early: Whether the source ended before `expected`.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        expected: int | None,
        block: int,
        requests: int,
        budget: Budget,
        start: int = 0,
        moved: Callable[[int], None] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._source, self._sink = source, sink
        # A size of 0 is what the files of /proc tell.
        self._expected = expected or None
        self._block, self._requests, self._budget = block, requests, budget
        self._allowed = min(FIRST_REQUESTS if self._expected else 1, requests)
        self._moved, self._pace = moved, pace
        self._start = self._next = self._highest = start
        self._done = start
        self._rest: deque[tuple[int, int]] = deque()
        # Offset to length of what is under way, and the Deferred that it waits for.
        self._underWay: dict[int, int] = {}
        self._waitsFor: dict[int, defer.Deferred[Any]] = {}
        # Where something was asked for, and not moved.
        self._holes: list[int] = []
        self._endsAt: int | None = None
        self._filling = False
        self._failed = False
        self._waiting = False
        self._wake: Any = None
        self.early = False
        self._finished: defer.Deferred[int] = defer.Deferred(lambda _: self._cancel())

    def run(self) -> defer.Deferred[int]:
        """Begin.

        Returns:
            A Deferred of the offset at which the file ends. It fails with what a read or a write
            failed with, once nothing is under way any more. Cancelling stops it.
        """
        self._fill()
        return self._finished

    @property
    def solidUntil(self) -> int:
        """Up to which offset everything is moved, without a hole."""
        rest = (offset for offset, _ in self._rest)
        return min([*self._underWay, *rest, *self._holes, self._next, self._highest])

    # ── asking ────────────────────────────────────────────────────────────────────────────────

    def _range(self) -> tuple[int, int] | None:
        """What to ask for next. Always a whole block: its end tells whether the file has grown."""
        if self._rest:
            return self._rest[0]
        if self._endsAt is not None:
            return None
        if self._expected is not None and self._next >= self._expected:
            return None
        return self._next, self._block

    def _fill(self) -> None:
        """Ask for as much as may be under way; end where nothing is left to ask for."""
        if self._filling:
            return  # the loop below goes on
        self._filling = True
        try:
            while not self._failed and len(self._underWay) < self._allowed:
                wanted = self._range()
                if wanted is None:
                    break
                if self._mustWait(wanted[1]):
                    break
                if self._rest:
                    self._rest.popleft()
                else:
                    self._next += wanted[1]
                self._ask(*wanted)
        finally:
            self._filling = False
        if not self._underWay and (self._failed or not (self._waiting or self._wake)):
            self._end()

    def _mustWait(self, length: int) -> bool:
        if self._pace is not None:
            if self._wake is not None:
                return True
            delay = self._pace.delaySeconds()
            if delay > 0:
                self._wake = self._pace.wakeIn(delay, self._wakeUp)
                return True
        if self._waiting:
            return True
        if not self._budget.take(length):
            self._waiting = True
            self._budget.wait(self._budgetFree)
            return True
        if self._pace is not None:
            self._pace.take(length)
        return False

    def _budgetFree(self) -> None:
        self._waiting = False
        self._fill()

    def _wakeUp(self) -> None:
        self._wake = None
        self._fill()

    def _ask(self, offset: int, length: int) -> None:
        self._underWay[offset] = length
        try:
            data = self._source.read(offset, length)
        except Exception as error:  # noqa: BLE001 whatever a read fails with fails the copy
            self._readFailed(Failure(error), offset)
            return
        if isinstance(data, defer.Deferred):
            self._waitsFor[offset] = data
            data.addCallbacks(
                self._dataArrived, self._readFailed, callbackArgs=(offset,), errbackArgs=(offset,)
            )
            data.addErrback(self._readFailed, offset)
        else:
            self._dataArrived(data, offset)

    # ── moving ────────────────────────────────────────────────────────────────────────────────

    def _dataArrived(self, data: Data, offset: int) -> None:
        length = self._underWay[offset]
        self._waitsFor.pop(offset, None)
        size = len(data)
        if self._failed:
            self._holes.append(offset)
            self._blockDone(offset)
            return
        end = offset + size
        self._highest = max(self._highest, end)
        if not 0 < size <= length:
            text = f"{size} bytes where {length} were asked for"
            self._readFailed(Failure(Contradiction(text)), offset)
            return
        if self._expected is not None and end > self._expected:
            self._expected = None  # it has grown: its end is where a read finds it
        if size < length and end != self._expected:
            self._rest.append((end, length - size))
        if self._allowed < self._requests:
            self._allowed += 1
        try:
            written = self._sink.write(offset, data)
        except Exception as error:  # noqa: BLE001 whatever a write fails with fails the copy
            self._blockFailed(Failure(error), offset)
            return
        if written is None:
            self._blockWritten(None, offset, size)
        else:
            self._waitsFor[offset] = written
            written.addCallbacks(
                self._blockWritten,
                self._blockFailed,
                callbackArgs=(offset, size),
                errbackArgs=(offset,),
            )
            written.addErrback(self._blockFailed, offset)

    def _blockWritten(self, _: Any, offset: int, size: int) -> None:
        self._done += size
        if self._moved is not None and not self._failed:
            self._moved(self._done)
        self._blockDone(offset)

    def _readFailed(self, failure: Failure, offset: int) -> None:
        if failure.check(EOFError) and not self._failed:
            self._endsAt = offset if self._endsAt is None else min(self._endsAt, offset)
            self._rest = deque(item for item in self._rest if item[0] < self._endsAt)
            self._blockDone(offset)
        else:
            self._blockFailed(failure, offset)

    def _blockFailed(self, failure: Failure, offset: int) -> None:
        self._holes.append(offset)
        self._fail(failure)
        self._blockDone(offset)

    def _blockDone(self, offset: int) -> None:
        self._waitsFor.pop(offset, None)
        length = self._underWay.pop(offset, 0)
        self._budget.giveBack(length)
        self._fill()

    # ── ending ────────────────────────────────────────────────────────────────────────────────

    def _fail(self, failure: Failure) -> None:
        if self._failed:
            return
        self._failed = True
        self._failure = failure
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None

    def _cancel(self) -> None:
        self._fail(Failure(defer.CancelledError()))
        for waiting in list(self._waitsFor.values()):
            waiting.cancel()
        self._fill()

    def _end(self) -> None:
        if self._finished.called:
            return
        if self._failed:
            self._finished.errback(self._failure)
            return
        end = self._highest if self._endsAt is None else self._endsAt
        if end < self._highest or self._done != end:
            text = f"it ends at {end}, and {self._done} bytes up to {self._highest} came from it"
            self._finished.errback(Failure(Contradiction(text)))
            return
        self.early = self._expected is not None and end < self._expected
        self._finished.callback(end)
