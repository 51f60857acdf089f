"""A pipe, socket or terminal as the input of a program far away: read only when it has something.

Rule: nothing waits in a read, for that would keep all connections of the reactor waiting. What
Python has read ahead of its file comes first. The file itself is neither changed nor closed.

    resumeProducing ──▶ the reactor watches the descriptor ──▶ doRead ──▶ what one read gives
"""

from __future__ import annotations

import io
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


def watchable(file: Any) -> int | None:
    """The descriptor of a file that may have to be waited for; None for any other.

    Only what reads a descriptor as it is counts: where something is between (gzip, TLS), there may
    be nothing to read though the descriptor has something, and the other way round.
    """
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    if not isinstance(raw, io.FileIO | socket.SocketIO):
        return None
    try:
        number = raw.fileno()
        mode = os.fstat(number).st_mode
        isTerminal = stat.S_ISCHR(mode) and os.isatty(number)
    except (OSError, ValueError):
        return None
    return number if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or isTerminal else None


@implementer(IPushProducer, IReadDescriptor)
class PipeInput:
    """Reads such a file to its end.

    Args:
        reactor: Provides IReactorFDSet.
        file: The file; `watchable` has given its descriptor.
        number: The descriptor.
        size: How much is read at a time, in bytes.
        onData: Takes what was read.
        onEnd: Is told of the end, once, with why where it cannot be read.
    """

    def __init__(
        self,
        reactor: Any,
        file: Any,
        number: int,
        size: int,
        onData: Callable[[bytes], object],
        onEnd: Callable[[Exception | None], object],
    ) -> None:
        self._reactor = reactor
        self._read = file.read1 if isinstance(file, io.BufferedReader) else file.read
        # The reactor watches a descriptor of ours: whoever closes the file cannot take it from it.
        self._number = os.dup(number)
        self._size = size
        self._onData = onData
        self._onEnd = onEnd
        self._isWatched = False
        self._isOver = False

    def resumeProducing(self) -> None:
        """Read what comes."""
        if not (self._isWatched or self._isOver):
            self._isWatched = True
            self._reactor.addReader(self)

    def pauseProducing(self) -> None:
        """Leave there what comes."""
        if self._isWatched:
            self._isWatched = False
            self._reactor.removeReader(self)

    def stopProducing(self) -> None:
        """Read no more, ever; the end is not told."""
        if not self._isOver:
            self.pauseProducing()
            self._isOver = True
            os.close(self._number)

    # What the reactor asks and tells.

    def fileno(self) -> int:
        return self._number

    def logPrefix(self) -> str:
        return "input"

    def doRead(self) -> None:
        try:
            data = self._read(self._size)
            if not data and not os.get_blocking(self._number):
                # Nothing, which another reader may have taken first, or the end: Python tells both
                # alike.
                data = os.read(self._number, self._size)
        except BlockingIOError:
            return
        except Exception as error:  # noqa: BLE001 told to whoever wanted the input
            self._end(error)
            return
        if data:
            self._onData(data)
        else:
            self._end(None)

    def connectionLost(self, reason: Failure) -> None:
        """The other side has hung up, and the reactor has let go; what is left can be read."""
        self._isWatched = False
        self.resumeProducing()
        self.doRead()

    def _end(self, why: Exception | None) -> None:
        if not self._isOver:
            self.stopProducing()
            self._onEnd(why)
