"""Standard input, output and error: there from the first line of a command on.

Rule: whoever starts a command may have closed them. The next file that is opened would get such a
number, and with it what is meant for standard error; a program that is started would inherit it.
"""

from __future__ import annotations

import os
import sys

STDERR = 2


def ensureStandardStreams() -> None:
    """Put /dev/null where standard input, output or error is closed."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if fd > STDERR:
            os.close(fd)
            break
        os.set_inheritable(fd, True)
    # Python has none for what was closed when it started. They last as long as the process.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 see above
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 see above
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 see above
