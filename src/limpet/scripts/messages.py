"""What a client's command says to the person who runs it: on standard error or in a file.

Rule: one line at a time, whole and harmless to a terminal, raw or not; how much is said is ssh's
LogLevel. Nothing here knows a secret.
"""

from __future__ import annotations

import os
from contextlib import suppress
from enum import IntEnum
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

from limpet.client.config import ClientConfig
from limpet.client.terminal import shownText

STDERR = 2


class Loudness(IntEnum):
    """ssh_config's LogLevel."""

    QUIET = 0
    FATAL = 1
    ERROR = 2
    INFO = 3
    VERBOSE = 4
    DEBUG1 = 5
    DEBUG2 = 6
    DEBUG3 = 7


_FROM_LOG = {
    LogLevel.critical: Loudness.ERROR,
    LogLevel.error: Loudness.INFO,
    LogLevel.warn: Loudness.INFO,
    LogLevel.info: Loudness.DEBUG1,
    LogLevel.debug: Loudness.DEBUG3,
}
"""How loud a client has to be for an event of the library's log; what it means for the person is
told without the log."""


@implementer(ILogObserver)
class Messages:
    """Says things, down to a loudness.

    Args:
        prefix: What each line begins with.
        loudness: How much is said.

    Attributes:
        isRaw: Whether standard error is a terminal that does not go to a line's start by itself.
    """

    def __init__(self, prefix: str = "limpet: ", loudness: Loudness = Loudness.INFO) -> None:
        self.prefix = prefix
        self.loudness = loudness
        self.isRaw = False
        self._fd = STDERR

    @property
    def descriptor(self) -> int:
        """Where it is said."""
        return self._fd

    def writeTo(self, path: str) -> None:
        """Say everything in a file from now on, behind what is in it.

        Raises:
            OSError: It cannot be opened.
        """
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def __call__(self, event: LogEvent) -> None:
        """An event of the library's log."""
        level = _FROM_LOG.get(event.get("log_level", LogLevel.info), Loudness.DEBUG1)
        if level > self.loudness:
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            kind = getattr(failure.type, "__name__", str(failure.type))
            text = f"{text}: {kind}: {failure.getErrorMessage()}"
            if self.loudness >= Loudness.DEBUG2:
                text = f"{text}\n{failure.getTraceback()}"
        self.say(text, level)

    def follow(self, level: int, text: str) -> None:
        """A step of a client, at the level of an `IFollower`."""
        self.say(text, Loudness(Loudness.VERBOSE + level))

    def sayHow(self, config: ClientConfig) -> None:
        """Say what the configuration came from, and at the loudest what it is."""
        for path in config.filesRead:
            self.say(f"the configuration is in {path}", Loudness.DEBUG1)
        if self.loudness >= Loudness.DEBUG3:
            from limpet.client.listing import configLines

            for line in configLines(config):
                self.say(f"{config.host}: {line}", Loudness.DEBUG3)

    def say(self, text: str, loudness: Loudness = Loudness.INFO) -> None:
        """Say `text`, if it is loud enough, each line of it behind the prefix."""
        if loudness > self.loudness or self.loudness == Loudness.QUIET:
            return
        lines = shownText(text).rstrip("\n").split("\n")
        self.write("".join(f"{self.prefix}{line}\n" for line in lines))

    def sayUsage(self, mistake: str, command: str, usage: str) -> None:
        """Say what is wrong with the arguments, or all that may be given where nothing was."""
        if mistake:
            self.say(f"{mistake}; limpet {command} --help lists what may be given")
        else:
            self.write(usage)

    def write(self, text: str) -> None:
        """Write `text` as it is, whatever the loudness; it ends with a line's end."""
        if self.isRaw and self._fd == STDERR:
            text = text.replace("\n", "\r\n")
        data = text.encode("utf-8", "backslashreplace")
        # Where nobody can be told, nobody is.
        with suppress(OSError):
            while data:
                data = data[os.write(self._fd, data) :]


def startLogging(messages: Messages) -> None:
    """Send the library's log to `messages`, and what was logged before to nobody."""
    beginner: Any = globalLogBeginner
    beginner.beginLoggingTo([messages], discardBuffer=True, redirectStandardIO=False)
