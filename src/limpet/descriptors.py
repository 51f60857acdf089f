"""Pipes and terminals under a reactor: read and written at full speed, closed once.

Rule: reads are large once the other side shows that it fills its pipe, writes happen at once while
nothing is pending, and each descriptor is closed exactly once. What it means is the owner's: a
child process has three of them (`limpet.unix.process`), and so have we (`limpet.client.stdio`).
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._memory import keepLargeBlocks

STDIN, STDOUT, STDERR = 0, 1, 2

FIRST_READ_SIZE = 65536
"""How much is read at a time at first, in bytes: what a Linux pipe holds when it is new."""

LARGE_READ_SIZE = 262144
"""How much is read at a time from a child that filled its pipe once, in bytes (measured)."""

LARGE_PIPE_SIZE = 1048576
"""What a busy pipe is enlarged to, in bytes: /proc/sys/fs/pipe-max-size as Linux ships it."""

TERMINAL_READS_PER_TURN = 16
"""How often a terminal is read per turn of the reactor; one read gives 4 KiB at most."""

TERMINAL_READ_IS_FULL = 2048
"""A terminal's read of at least so many bytes is followed by another one at once."""

LOW_WATER = 16384
"""Pending stdin, in bytes, at which a paused producer is resumed."""

WRITEV_PIECES = 64
"""How many pending pieces one writev takes; POSIX promises 16, Linux and the BSDs take 1024."""

PIPE_REST_SECONDS = 0.001
"""How long a pipe of `LARGE_PIPE_SIZE` is left alone in the middle of much data, in seconds.

A pipe counts as writable when one page of it is free, and as readable when one byte is there. A
child that is slower than we are would wake us for each of its reads and writes; what it does within
this time is done with one call instead. It allows 1 GB in a second, more than any session carries.
"""

REST_EVERY = 131072
"""Output, in bytes, after which a small read is taken for a sign of a child that is slower."""

SMALL_READ = 32768
"""A read of fewer bytes is small."""

MAX_WINDOW = 0xFFFF
"""Largest number that a field of a window size holds (struct winsize)."""

_WINSIZE = struct.Struct("HHHH")
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)


class Gatherer(Protocol):
    """A transport that can hold what is written back and send it in one go."""

    def gather(self) -> None:
        """Hold what is written from now on."""

    def release(self) -> None:
        """Send what was held since `gather`."""


class Owner(Protocol):
    """What the descriptors tell, and whom."""

    reactor: Any
    isPaused: bool

    def logPrefix(self) -> str:
        """What identifies the child in a log."""

    def outputReceived(self, name: int, data: bytes) -> None:
        """The child wrote `data` to its descriptor `name`."""

    def outputEnded(self, name: int) -> None:
        """The output `name` is at its end, and closed."""

    def inputDrained(self) -> None:
        """There is room on stdin again."""

    def inputEnded(self) -> None:
        """Stdin is closed, by us or by the child."""

    def reapProcess(self) -> None:
        """The child has exited."""


@implementer(IReadDescriptor)
class ChildOutput:
    """One of the child's outputs, read when the reactor says so."""

    def __init__(self, child: Owner, name: int, fd: int, isTerminal: bool) -> None:
        self.child = child
        self.name = name
        self.fd = fd
        self.isTerminal = isTerminal
        self.readSize = FIRST_READ_SIZE
        self.reading = False
        self.isLarge = False
        self.sinceRest = 0
        self.rest: Any = None

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return self.child.logPrefix()

    def startReading(self) -> None:
        if not self.reading and self.fd >= 0 and self.rest is None:
            self.reading = True
            self.child.reactor.addReader(self)

    def stopReading(self) -> None:
        if self.reading:
            self.reading = False
            self.child.reactor.removeReader(self)

    def doRead(self) -> None:
        if self.isTerminal:
            data, atEnd = self.readTerminal()
        else:
            data, atEnd = self._readPipe()
        if data:
            self.child.outputReceived(self.name, data)
        if atEnd:
            self.atEnd()

    def _readPipe(self) -> tuple[bytes, bool]:
        try:
            data = os.read(self.fd, self.readSize)
        except (BlockingIOError, InterruptedError):
            return b"", False
        except OSError:
            return b"", True
        size = len(data)
        self.sinceRest += size
        if size == FIRST_READ_SIZE == self.readSize:
            # A child that fills its pipe faster than we empty it: fewer, larger turns from now on.
            self._enlarge()
        elif self.sinceRest >= REST_EVERY and 0 < size < SMALL_READ:
            self.sinceRest = 0
            self._enlarge()
            if self.isLarge:
                self.stopReading()
                self.rest = self.child.reactor.callLater(PIPE_REST_SECONDS, self._rested)
        return data, not data

    def _enlarge(self) -> None:
        self.readSize = LARGE_READ_SIZE
        keepLargeBlocks()
        if not self.isLarge:
            self.isLarge = enlargePipe(self.fd)

    def _rested(self) -> None:
        self.rest = None
        if not self.child.isPaused:
            self.startReading()

    def readTerminal(self) -> tuple[bytes, bool]:
        pieces = []
        atEnd = False
        for _ in range(TERMINAL_READS_PER_TURN):
            try:
                data = os.read(self.fd, FIRST_READ_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # EIO is how Linux says that nobody holds the other side any more.
                atEnd = True
                break
            if not data:
                atEnd = True
                break
            pieces.append(data)
            if len(data) < TERMINAL_READ_IS_FULL:
                break
        return b"".join(pieces), atEnd

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw a hang-up without data, or `doRead` raised."""
        self.reading = False
        if self.isTerminal and self.fd >= 0:
            data, _ = self.readTerminal()
            if data:
                self.child.outputReceived(self.name, data)
        self.atEnd()

    def atEnd(self) -> None:
        if self.fd >= 0:
            self.close()
            self.child.outputEnded(self.name)

    def close(self) -> None:
        self.stopReading()
        if self.rest is not None:
            self.rest.cancel()
            self.rest = None
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@implementer(IWriteDescriptor)
class ChildInput:
    """The child's stdin: written at once while nothing is pending, else when there is room."""

    def __init__(self, child: Owner, fd: int) -> None:
        self.child = child
        self.fd = fd
        self.pending: deque[memoryview] = deque()
        self.pendingBytes = 0
        self.closing = False
        self.writing = False
        self.isLarge = False
        self.rest: Any = None

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return self.child.logPrefix()

    def write(self, data: bytes | memoryview) -> None:
        if self.fd < 0 or self.closing or not data:
            return
        size = len(data)
        written = 0
        if not self.pendingBytes:
            try:
                written = os.write(self.fd, data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                # EPIPE: the child reads no more. Told in a turn of its own, not within this call.
                self._startWriting()
                return
            if written == size:
                return
            if written and not self.isLarge and enlargePipe(self.fd):
                self.isLarge = True
                self._startWriting()
            else:
                self._writeLater()
        self.pending.append(memoryview(data)[written:])
        self.pendingBytes += size - written

    def hold(self, data: bytes | memoryview) -> None:
        """Keep `data` for `flush`, which has to follow."""
        if self.fd < 0 or self.closing or not data:
            return
        self.pending.append(memoryview(data))
        self.pendingBytes += len(data)

    def flush(self) -> None:
        """Write what was held, unless there is something that waits for room already."""
        if self.fd < 0 or not self.pending or self.writing or self.rest is not None:
            return
        try:
            written = os.writev(self.fd, self._firstPieces())
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError:
            # EPIPE, as in `write`.
            self._startWriting()
            return
        self._drop(written)
        if not self.pending:
            if self.closing:
                self.lost()
        elif written and not self.isLarge and enlargePipe(self.fd):
            self.isLarge = True
            self._startWriting()
        else:
            self._writeLater()

    def _firstPieces(self) -> list[memoryview]:
        return [self.pending[index] for index in range(min(len(self.pending), WRITEV_PIECES))]

    def doWrite(self) -> None:
        pieces = self._firstPieces()
        if pieces:
            try:
                written = os.writev(self.fd, pieces)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.lost()
                return
            self._drop(written)
            if self.pending and self.isLarge:
                self._stopWriting()
                self._writeLater()
        if not self.pending:
            if self.closing:
                self.lost()
                return
            if not pieces:
                # Asked for by a write that failed.
                self.lost()
                return
            self._stopWriting()
        if self.pendingBytes <= LOW_WATER:
            self.child.inputDrained()

    def _drop(self, count: int) -> None:
        self.pendingBytes -= count
        pending = self.pending
        while count:
            size = len(pending[0])
            if size > count:
                pending[0] = pending[0][count:]
                return
            count -= size
            pending.popleft()

    def _writeLater(self) -> None:
        """Wait until there is room, and with a large pipe until there is room worth the while."""
        if not self.isLarge:
            self._startWriting()
        elif self.rest is None:
            self.rest = self.child.reactor.callLater(PIPE_REST_SECONDS, self._rested)

    def _rested(self) -> None:
        self.rest = None
        self._startWriting()

    def _startWriting(self) -> None:
        if not self.writing:
            self.writing = True
            self.child.reactor.addWriter(self)

    def _stopWriting(self) -> None:
        if self.writing:
            self.writing = False
            self.child.reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw that the child closed its stdin, or `doWrite` raised."""
        self.writing = False
        self.lost()

    def closeWhenDrained(self) -> None:
        """Close after what is pending."""
        if self.fd < 0 or self.closing:
            return
        self.closing = True
        if not self.pending:
            self.lost()

    def lost(self) -> None:
        if self.fd >= 0:
            self.close()
            self.child.inputEnded()

    def close(self) -> None:
        self._stopWriting()
        if self.rest is not None:
            self.rest.cancel()
            self.rest = None
        self.pending.clear()
        self.pendingBytes = 0
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@implementer(IReadDescriptor)
class ChildExit:
    """The child's pidfd, readable once the child has exited."""

    def __init__(self, child: Owner, fd: int) -> None:
        self.child = child
        self.fd = fd
        child.reactor.addReader(self)

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return self.child.logPrefix()

    def doRead(self) -> None:
        self.child.reapProcess()

    def connectionLost(self, reason: Failure) -> None:
        self.child.reapProcess()

    def close(self) -> None:
        self.child.reactor.removeReader(self)
        fd, self.fd = self.fd, -1
        os.close(fd)


def enlargePipe(fd: int) -> bool:
    """Let the pipe hold `LARGE_PIPE_SIZE`; False where the system has no such call or refuses."""
    if _SET_PIPE_SIZE is None:
        return False
    try:
        fcntl.fcntl(fd, _SET_PIPE_SIZE, LARGE_PIPE_SIZE)
    except OSError:
        # Not a pipe but a terminal, or the user's share of pipe memory is used up.
        return False
    return True


def setWindowSize(fd: int, size: Sequence[int]) -> None:
    """Set a terminal's size: rows, columns, width and height in pixels, each clamped."""
    rows, columns, width, height = (min(max(int(number), 0), MAX_WINDOW) for number in size)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, width, height))
