"""What a service manager hands over, and what it is told: sd_listen_fds(3) and sd_notify(3).

Rule: without one, nothing here does anything; and of one that is not there any more nobody is told.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import MutableMapping
from contextlib import suppress

FIRST_DESCRIPTOR = 3
"""The number of the first socket that is handed over; the others follow."""

MAX_SOCKETS = 64
"""Most sockets that are taken (ours)."""


class BadSocket(Exception):
    """What was handed over cannot be listened on; the text says why."""


def takeSockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that this process was started with; none without a service manager.

    Args:
        environment: Where it says so. What it says is removed: it is about this process alone.

    Raises:
        BadSocket: One is no TCP socket that listens.
    """
    process, count, _ = (
        environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if process != str(os.getpid()) or not count:
        return []
    if not count.isascii() or not count.isdigit() or len(count) > 3 or int(count) > MAX_SOCKETS:
        raise BadSocket(f"LISTEN_FDS={count} is no number of sockets up to {MAX_SOCKETS}")
    return [_takeSocket(FIRST_DESCRIPTOR + number) for number in range(int(count))]


def _takeSocket(descriptor: int) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise BadSocket(f"descriptor {descriptor} is no socket")
        taken = socket.socket(fileno=descriptor)
    except OSError as failure:
        raise BadSocket(f"descriptor {descriptor}: {failure.strerror}") from None
    isStream = taken.type == socket.SOCK_STREAM
    if taken.family not in (socket.AF_INET, socket.AF_INET6) or not isStream:
        raise BadSocket(f"descriptor {descriptor} is no TCP socket")
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise BadSocket(f"descriptor {descriptor} does not listen; Accept= has to be no")
    taken.setblocking(False)
    taken.set_inheritable(False)
    return taken


class Supervisor:
    """The service manager, if there is one.

    Args:
        environment: Where it says how to be told. What it says is removed, so that no session is
            taken for the server.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        # An @ stands for the NUL of a name that is in no file system.
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def ready(self, status: str = "") -> None:
        """Connections are taken; or are again, by new settings."""
        self._tell("READY=1", *((f"STATUS={status}",) if status else ()))

    def reloading(self) -> None:
        """Settings are being read again; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """No more connections are taken, and the process ends after its sessions."""
        self._tell("STOPPING=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as told,
        ):
            told.sendto("\n".join(lines).encode("utf-8"), self._address)
