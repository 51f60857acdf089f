"""What only POSIX systems have, in one place: elsewhere a module is None, and a flag 0.

Rule: who needs none of it to be imported is imported anywhere. A client connects without; a server,
a terminal, and local trees of files do not work without, and find out when they are used.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "O_BINARY",
    "O_CLOEXEC",
    "O_DIRECTORY",
    "O_NOCTTY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "fcntl",
    "lockWithoutWaiting",
    "termios",
    "userNumber",
]

fcntl: Any
termios: Any
try:
    import fcntl
    import termios
except ImportError:
    fcntl = termios = None

O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
O_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
O_NOCTTY: int = getattr(os, "O_NOCTTY", 0)
O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
O_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)

O_BINARY: int = getattr(os, "O_BINARY", 0)
"""The one flag that only Windows has: without it, its files end at a Ctrl-Z."""


def userNumber() -> int | None:
    """The number of the user that this process is; None where users have none."""
    return os.getuid() if hasattr(os, "getuid") else None


def lockWithoutWaiting(descriptor: int) -> None:
    """Lock an open file for this process.

    Raises:
        OSError: Another has it, or this file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
