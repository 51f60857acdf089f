"""Standard input, output and error: there from the first line of a command on.

Rule: whoever starts a command may have closed them. The next file that is opened would get such a
number, and with it what is meant for standard error; a program that is started would inherit it.
What is closed is /dev/null, as in ssh; where standard output takes nothing, that is told, and ends
the command, like a reader who has gone.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from limpet.client.errors import OWN_FAILURE

STDOUT = 1
STDERR = 2


class OutputLost(Exception):
    """Standard output did not take what was printed.

    It is no `OSError`, so that nobody takes it for one of a file or a connection.

    Attributes:
        errno: Why.
    """

    def __init__(self, failure: OSError) -> None:
        super().__init__(f"standard output: {failure.strerror}")
        self.errno = failure.errno


class _StandardOutput(io.FileIO):
    """Standard output, whose failures are known by their class."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as failure:
            raise OutputLost(failure) from None


def ensureStandardStreams() -> None:
    """Put /dev/null where standard input, output or error is closed; know when output is lost."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if fd > STDERR:
            os.close(fd)
            break
        os.set_inheritable(fd, True)
    # Python has none for what was closed when it started. They last as long as the process.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 see above
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 see above
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(STDOUT, "w", closefd=False)),
        encoding="utf-8" if sys.stdout is None else sys.stdout.encoding,
        errors="strict" if sys.stdout is None else sys.stdout.errors,
        line_buffering=sys.stdout is not None and sys.stdout.isatty(),
    )


def endWithoutOutput(lost: OutputLost, status: int) -> NoReturn:
    """End the process: by SIGPIPE where the reader has gone, as others do; else say why.

    Nothing of it is done in Python's own way, which would try to print what is left once more.
    """
    if lost.errno == errno.EPIPE:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    with suppress(OSError):
        os.write(STDERR, f"limpet: {lost}\n".encode())
    os._exit(status)


def leave(status: int) -> NoReturn:
    """End the process at once: a thread that still looks up a name keeps nobody waiting."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    try:
        sys.stdout.flush()
    except OutputLost as lost:
        endWithoutOutput(lost, OWN_FAILURE)
    os._exit(status)
