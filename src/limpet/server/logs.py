"""The server's log: one line per event on standard error, whatever is in it.

Rule: what came from a peer cannot make a line, move the cursor or end the line that it is in; all
that is not printable is written as an escape (attack table M7). Nothing here knows a secret.
Whoever reads the log, or does not, never keeps the server waiting.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
    globalLogBeginner,
)
from zope.interface import implementer

from limpet.error import ConchError

MAX_LINE = 2000
"""Longest text of one line, in characters; longer ones are cut."""

MAX_LINE_BYTES = select.PIPE_BUF
"""Longest line, in bytes: what a pipe that can be written to takes at once (pipe(7))."""


def escaped(text: str) -> str:
    """`text` on one line: everything that is not printable as \\n, \\x1b, \\u202e."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as `2026-01-31T23:59:59Z info text`.

    Args:
        stream: Where to.
        isVerbose: Whether each line names the class that logs, and a failure comes with all of its
            traceback, in the same line.
    """

    def __init__(self, stream: TextIO, isVerbose: bool = False) -> None:
        self.stream = stream
        self.isVerbose = isVerbose
        self._descriptor = _descriptorOf(stream)
        self._room = _roomIn(self._descriptor)
        self._lost = 0

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        moment = time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.get("log_time", time.time()))
        )
        level = getattr(event.get("log_level"), "name", "info")
        text = _formatted(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}: {self._shown(failure)}" if text else self._shown(failure)
        if self.isVerbose:
            text = f"{event.get('log_namespace', '-')}: {text}"
        if self._lost and self._write(f"{moment} warn {self._lost} lines are missing here"):
            self._lost = 0
        if not self._write(f"{moment} {level} {escaped(text[:MAX_LINE])}"):
            self._lost += 1

    def _write(self, line: str) -> bool:
        """Write a line; False where that would mean to wait for a reader."""
        # A terminal that somebody has stopped by Ctrl-S, or a pipe whose reader looks elsewhere.
        if self._room is not None and not self._room.poll(0):
            return False
        try:
            if self._descriptor is None:
                self.stream.write(_cut(line) + "\n")
            else:
                # Past the stream's buffer: what a full disk does not take would stay in it, and
                # fail once more at the program's end.
                os.write(self._descriptor, f"{_cut(line)}\n".encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            # Nobody reads the log any more; that does not end sessions.
            return True
        return True

    def _shown(self, failure: Any) -> str:
        if isinstance(failure.value, ConchError) and not self.isVerbose:
            return _words(failure.value.value)
        kind = getattr(failure.type, "__name__", str(failure.type))
        text = f"{kind}: {failure.getErrorMessage()}"
        if self.isVerbose:
            return f"{text}: {failure.getTraceback()}"
        frames = failure.frames
        if frames:
            method, filename, line = frames[-1][:3]
            text += f" ({os.path.basename(filename)}:{line} in {method})"
        return text


def _descriptorOf(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        # One in memory.
        return None


def _roomIn(descriptor: int | None) -> select.poll | None:
    """What tells whether a line can be written at once; None for what is in memory."""
    if descriptor is None:
        return None
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return room


def _cut(line: str) -> str:
    data = line.encode("utf-8", "backslashreplace")
    return (
        line if len(data) < MAX_LINE_BYTES else data[: MAX_LINE_BYTES - 1].decode(errors="ignore")
    )


def _words(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _formatted(event: LogEvent) -> str:
    """The event's words. `str.format_map` does for nearly all of them what `formatEvent` does, at a
    tenth of its cost, which a server pays for each login."""
    words = event.get("log_format")
    if type(words) is str and "log_flattened" not in event:
        try:
            return words.format_map(event)
        except Exception:  # noqa: BLE001 - such as `{name()}`; `formatEvent` knows what to do
            pass
    return formatEvent(event)


@implementer(ILogFilterPredicate)
class _OurOwn:
    """Of other packages only what is at least a warning."""

    def __call__(self, event: LogEvent) -> Any:
        level = event.get("log_level", LogLevel.info)
        if level >= LogLevel.warn or str(event.get("log_namespace", "")).startswith("limpet"):
            return PredicateResult.maybe
        return PredicateResult.no


def startLogging(stream: TextIO, level: str = "info") -> LogLevelFilterPredicate:
    """Log to `stream` from now on.

    Returns:
        What holds the level; its `setLogLevelForNamespace` changes it.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    observer = LineObserver(stream, isVerbose=level == "debug")
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(observer, [_OurOwn(), levels])],
        discardBuffer=True,
        redirectStandardIO=False,
    )
    return levels
