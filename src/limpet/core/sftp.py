"""What every SFTP server shares: handles that cannot be guessed, and how an error is told.

Rule: a handle means one open thing until it is closed, and nothing before or after; an error is
told by one code of version 3 and words that name no path (draft-ietf-secsh-filexfer-02 section 7).
"""

from __future__ import annotations

import errno
import os
from typing import Generic, TypeVar

from limpet.crypto.entropy import randomBytes
from limpet.wire.errors import WireError
from limpet.wire.sftp import (
    FX_BAD_MESSAGE,
    FX_EOF,
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    FX_OP_UNSUPPORTED,
    FX_PERMISSION_DENIED,
)

MAX_HANDLES = 256
"""How many files and directories one client may have open (ours; a file system mounted through
sshfs keeps dozens open)."""

_T = TypeVar("_T")

CODES = {
    errno.ENOENT: FX_NO_SUCH_FILE,
    errno.ENOTDIR: FX_NO_SUCH_FILE,
    errno.ELOOP: FX_NO_SUCH_FILE,
    errno.EBADF: FX_NO_SUCH_FILE,
    errno.EPERM: FX_PERMISSION_DENIED,
    errno.EACCES: FX_PERMISSION_DENIED,
    errno.EFAULT: FX_PERMISSION_DENIED,
    errno.EROFS: FX_PERMISSION_DENIED,
    errno.ENOSYS: FX_OP_UNSUPPORTED,
    errno.EOPNOTSUPP: FX_OP_UNSUPPORTED,
}
"""System errors to codes, as OpenSSH's server has them; all others are FX_FAILURE."""


class HandleTable(Generic[_T]):
    """The open files and directories of one client.

    Args:
        limit: How many may be open at a time.
    """

    def __init__(self, limit: int = MAX_HANDLES) -> None:
        self.limit = limit
        self._open: dict[bytes, _T] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, item: _T) -> bytes:
        """Give `item` a handle: a number never used before, and eight random bytes.

        Raises:
            OSError: EMFILE, so many are open as may be.
        """
        self.checkRoom()
        self._count += 1
        handle = self._count.to_bytes(8, "big") + randomBytes(8)
        self._open[handle] = item
        return handle

    def checkRoom(self) -> None:
        """Raises OSError, EMFILE, where one more would be one too many."""
        if len(self._open) >= self.limit:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def get(self, handle: bytes) -> _T:
        """What the handle means. Raises OSError, EBADF, where it means nothing."""
        try:
            return self._open[handle]
        except KeyError:
            raise _badHandle() from None

    def remove(self, handle: bytes) -> _T:
        """Forget the handle, and return what it meant. Raises OSError as `get` does."""
        try:
            return self._open.pop(handle)
        except KeyError:
            raise _badHandle() from None

    def items(self) -> list[tuple[bytes, _T]]:
        """All handles and what they mean."""
        return list(self._open.items())

    def clear(self) -> list[_T]:
        """Forget all handles, and return what they meant."""
        items = list(self._open.values())
        self._open.clear()
        return items


def _badHandle() -> OSError:
    # Conch's clients look for FX_NO_SUCH_FILE and these words.
    return OSError(errno.EBADF, os.strerror(errno.ENOENT))


def statusOfError(error: BaseException) -> tuple[int, bytes] | None:
    """The code and the words for an error that a file system raised; None for any other kind."""
    if isinstance(error, EOFError):
        return FX_EOF, _words(error, "End of file")
    if isinstance(error, OSError):
        number = error.errno
        if number is None:
            return FX_FAILURE, _words(error, "Failure")
        code = CODES.get(number, FX_FAILURE)
        return code, (error.strerror or os.strerror(number)).encode("utf-8", "backslashreplace")
    if isinstance(error, NotImplementedError):
        return FX_OP_UNSUPPORTED, _words(error, "Operation unsupported")
    if isinstance(error, WireError):
        return FX_BAD_MESSAGE, _words(error, "Bad message")
    return None


def _words(error: BaseException, default: str) -> bytes:
    return (str(error) or default).encode("utf-8", "backslashreplace")
