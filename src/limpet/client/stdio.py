"""Standard input and output at full speed: large reads, writes at once, and a brake both ways.

Rule: not one of the descriptors that other programs share with us is made non-blocking. Each is
opened anew through /proc/self/fd, so that the flag is ours alone; where that cannot be (a socket,
another user's terminal, another system), the flag is set and put back at the end.

    standard input ── pause, resume ◀── the channel's output waits
    standard output ── full ──▶ the channel gives no more window ── room ──▶ it does again

Files and /dev/null, which no poll can watch, are read a piece per turn of the reactor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from limpet.descriptors import LARGE_READ_SIZE, ChildInput, ChildOutput

HIGH_WATER = 1048576
"""Pending output, in bytes, above which whoever writes is asked to stop: half a window."""


class OwnDescriptor:
    """A descriptor of ours for one of the standard ones, non-blocking and safe to close.

    Args:
        number: The standard descriptor.
        forReading: Which way it is used.

    Attributes:
        fd: Ours.
        canBePolled: Whether a reactor can watch it; false for files and /dev/null.
        isTerminal: Whether it is a terminal.
    """

    def __init__(self, number: int, forReading: bool) -> None:
        kind = os.fstat(number).st_mode
        self.isTerminal = stat.S_ISCHR(kind) and os.isatty(number)
        self.canBePolled = (
            stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or self.isTerminal or _isOddDevice(number)
        )
        self._shared = -1
        self.fd = self._reopen(number, forReading) if self.canBePolled else os.dup(number)

    def _reopen(self, number: int, forReading: bool) -> int:
        access = os.O_RDONLY if forReading else os.O_WRONLY
        flags = access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{number}", flags)
        fd = os.dup(number)
        if os.get_blocking(fd):
            os.set_blocking(fd, False)
            # Another descriptor of the same, as `fd` is closed by whoever it is given to.
            self._shared = number
        return fd

    def release(self) -> None:
        """Put back what other programs see."""
        if self._shared >= 0:
            with suppress(OSError):
                os.set_blocking(self._shared, True)
            self._shared = -1


def _isOddDevice(number: int) -> bool:
    """A character device that is neither a terminal nor one that is always ready."""
    status = os.fstat(number)
    if not stat.S_ISCHR(status.st_mode):
        return False
    # /dev/mem and its sisters (major 1: null, zero, full, random) have no poll that epoll takes.
    return os.major(status.st_rdev) != 1


@implementer(IPushProducer)
class StandardInput:
    """Reads standard input, or another descriptor, until its end.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        onData: Takes what was read.
        onEnd: Is told of the end, once.
        number: The descriptor.
    """

    def __init__(
        self,
        reactor: Any,
        onData: Callable[[bytes], object],
        onEnd: Callable[[], object],
        number: int = 0,
    ) -> None:
        self.reactor = reactor
        self.isPaused = True
        self._onData = onData
        self._onEnd = onEnd
        self._isOver = False
        self._turn: Any = None
        self._own = OwnDescriptor(number, forReading=True)
        self._reader: ChildOutput | None = None
        if self._own.canBePolled:
            self._reader = ChildOutput(self, number, self._own.fd, self._own.isTerminal)

    def resumeProducing(self) -> None:
        """Read on."""
        if not self.isPaused or self._isOver:
            return
        self.isPaused = False
        if self._reader is not None:
            self._reader.startReading()
        elif self._turn is None:
            self._turn = self.reactor.callLater(0, self._readFile)

    def pauseProducing(self) -> None:
        """Read no more for now."""
        if self.isPaused or self._isOver:
            return
        self.isPaused = True
        if self._reader is not None:
            self._reader.stopReading()

    def stopProducing(self) -> None:
        """Read no more, ever; the end is not told."""
        self._close()

    def _readFile(self) -> None:
        self._turn = None
        if self.isPaused or self._isOver:
            return
        try:
            data = os.read(self._own.fd, LARGE_READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self.outputEnded(0)
            return
        self._onData(data)
        if not (self.isPaused or self._isOver) and self._turn is None:
            self._turn = self.reactor.callLater(0, self._readFile)

    def _close(self) -> bool:
        if self._isOver:
            return False
        self._isOver = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._own.release()
        if self._reader is not None:
            self._reader.close()
        else:
            os.close(self._own.fd)
        return True

    # What the descriptor tells.

    def logPrefix(self) -> str:
        return "standard input"

    def outputReceived(self, name: int, data: bytes) -> None:
        self._onData(data)

    def outputEnded(self, name: int) -> None:
        if self._close():
            self._onEnd()

    def inputDrained(self) -> None:
        """Of a writer only."""

    def inputEnded(self) -> None:
        """Of a writer only."""

    def reapProcess(self) -> None:
        """Of a process only."""


class StandardOutput:
    """Writes to standard output or error, in order, never waiting for whoever reads it.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        number: The descriptor.
        onRoom: Is told when there is room again after `isFull`, and when nobody reads any more.

    Attributes:
        isBroken: Whether nobody reads it any more; what is written then is dropped.
    """

    def __init__(self, reactor: Any, number: int, onRoom: Callable[[], object]) -> None:
        self.reactor = reactor
        self.isPaused = False
        self.isBroken = False
        self._onRoom = onRoom
        self._finished: Callable[[], object] | None = None
        self._own = OwnDescriptor(number, forReading=False)
        self._writer = ChildInput(self, self._own.fd)
        self._isFile = not self._own.canBePolled
        self._isOver = False

    def write(self, data: bytes) -> None:
        """Write now what can be written now, and the rest as soon as it can be."""
        if self._isFile:
            self._writeFile(data)
        else:
            self._writer.write(data)

    def _writeFile(self, data: bytes) -> None:
        if self._isOver:
            return
        try:
            written = os.write(self._own.fd, data)
            while written < len(data):
                # A file takes less than all of it only where it is about to take nothing.
                written += os.write(self._own.fd, memoryview(data)[written:])
        except OSError as failure:
            self._writer.close()
            self._end(failure)

    @property
    def isFull(self) -> bool:
        """Whether so much is pending that no more should be written."""
        return self._writer.pendingBytes > HIGH_WATER

    def finish(self, finished: Callable[[], object]) -> None:
        """Call `finished` once all that was written is out, or cannot get out any more."""
        if self._isOver:
            finished()
            return
        self._finished = finished
        self._writer.closeWhenDrained()

    def close(self) -> None:
        """Stop at once; what is pending is lost."""
        self._writer.close()
        self._end(None)

    def _end(self, failure: OSError | None) -> None:
        if self._isOver:
            return
        self._isOver = True
        self._own.release()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished()
            return
        self.isBroken = True
        self.error = failure
        self._onRoom()

    error: OSError | None = None
    """Why a file takes no more (a full disk); None where its reader went away."""

    def complaint(self) -> str | None:
        """What a person should know about why it broke; None where a reader just went away."""
        if self.error is None or self.error.errno == errno.EPIPE:
            return None
        return self.error.strerror

    # What the descriptor tells.

    def logPrefix(self) -> str:
        return "standard output"

    def inputDrained(self) -> None:
        self._onRoom()

    def inputEnded(self) -> None:
        self._end(None)

    def outputReceived(self, name: int, data: bytes) -> None:
        """Of a reader only."""

    def outputEnded(self, name: int) -> None:
        """Of a reader only."""

    def reapProcess(self) -> None:
        """Of a process only."""
