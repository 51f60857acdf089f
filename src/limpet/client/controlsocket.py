"""The socket at which a master takes its clients: made, found dead, and removed.

Rule: at its path there is nothing, or a socket that listens already, and nobody but its user and
root may connect. One that lives is never taken away from its master; one whose master is dead is.

    bind .name ─▶ listen ─▶ link to the path ─┬─▶ ours
                                              └─ something is there ─▶ does it answer? ─▶ refused
                                                       └─ no: remove it, and link once more
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from limpet._posix import O_CLOEXEC, fcntl
from limpet.client.agent import MAX_SOCKET_PATH
from limpet.client.errors import ClientError

BACKLOG = 64
"""Clients that may wait to be accepted (OpenSSH's number)."""

MASK = 0o177
"""Nobody but its user may connect."""

_NAME_BYTES = 6


class NotListening(ClientError):
    """No socket for clients came about; the text says why."""


class AlreadyListening(NotListening):
    """Somebody does that already."""


class ControlSocket:
    """A socket that is listened on at a path.

    Attributes:
        path: Where.
        socket: The socket, not blocking.
    """

    def __init__(self, path: str, listening: socket.socket) -> None:
        self.path = path
        self.socket = listening
        self._identity = _identityOf(path)

    @classmethod
    def make(cls, path: str) -> ControlSocket:
        """Listen at a path.

        Raises:
            NotListening: A master is there already, or it cannot be.
        """
        # A socket has a path of any length once it is linked there, and nobody could connect to it.
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise NotListening(
                f"the connection is not shared: {path} is too long for a socket, which may have"
                f" {MAX_SOCKET_PATH} bytes (ControlPath; %C in it is short)"
            )
        passing = os.path.join(os.path.dirname(path), f".{secrets.token_hex(_NAME_BYTES)}")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            _bind(listening, passing)
            try:
                listening.listen(BACKLOG)
                _link(passing, path)
                return cls(path, listening)
            finally:
                with suppress(OSError):
                    os.unlink(passing)
        except NotListening:
            listening.close()
            raise
        except (OSError, ValueError) as failure:
            listening.close()
            why = failure.strerror if isinstance(failure, OSError) else None
            raise NotListening(
                f"the connection is not shared: cannot listen at {path}: {why or failure}"
            ) from None

    def remove(self) -> None:
        """Listen no more, and take the path away, unless it is another's by now."""
        self.socket.close()
        with suppress(OSError):
            if self._identity is not None and _identityOf(self.path) == self._identity:
                os.unlink(self.path)
        self._identity = None


def _bind(listening: socket.socket, path: str) -> None:
    before = os.umask(MASK)
    try:
        listening.bind(path)
    finally:
        os.umask(before)


def _link(passing: str, path: str) -> None:
    """Give a socket that listens its name.

    Raises:
        AlreadyListening: Another one has it, and lives.
        OSError: It cannot be.
    """
    with suppress(FileExistsError):
        os.link(passing, path)
        return
    with _alone(os.path.dirname(path) or "."):
        if not _isDead(path):
            raise AlreadyListening(f"the connection is not shared: {path} is there already")
        with suppress(FileNotFoundError):
            os.unlink(path)
        try:
            os.link(passing, path)
        except FileExistsError:
            raise AlreadyListening(
                f"the connection is not shared: another master has just begun at {path}"
            ) from None


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Have nobody else here clean up in a directory: it might take a new socket for the dead one.

    Raises:
        AlreadyListening: Somebody else does.
    """
    held = os.open(directory, os.O_RDONLY | O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise AlreadyListening(
            f"the connection is not shared: another master begins in {directory}"
        ) from None
    except OSError:
        # A file system that has no locks.
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            os.close(held)


def _isDead(path: str) -> bool:
    """Whether it is a socket that nobody listens on any more, or gone meanwhile."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        # Where its queue is full it lives, and is not waited for.
        asking.setblocking(False)
        return asking.connect_ex(path) in (errno.ECONNREFUSED, errno.ENOENT)


def _identityOf(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
