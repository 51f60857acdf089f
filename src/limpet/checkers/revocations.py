"""Files of keys that let nobody in any more: looked at on each login, read when they have changed.

Rule: what cannot be read revokes everything. A list that is missing, cut short or not understood
may hold the very key that is shown. A long one is read in a thread, so that who publishes a list
stops no connection.

    checker ── judge(blob) ──▶ RevokedKeysFile ── changed? ──▶ read, parse ──▶ the answer
                                              └── unreadable: True, and the log says why
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from limpet._logger import ClassLogger
from limpet.checkers.workers import checks
from limpet.core import keyblocklist, revokedkeys
from limpet.core.keyblocklist import BlocklistError, KeyBlocklist
from limpet.core.revokedkeys import (
    IN_PLACE_LENGTH,
    Revocations,
    RevokedKeysError,
    parseRevokedKeys,
)

SETTLED_SECONDS = 2.0
"""A file that was changed less than this before it was read is read again the next time: clocks of
file systems are coarse, and a second change may leave the same time (ours)."""

READ_SIZE = 1 << 20

_T = TypeVar("_T")


class UnusableList(Exception):
    """A list that cannot be used; the text names its file and says why."""


class _Version(NamedTuple):
    """By what a file's change is noticed."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Version:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class RevokedKeysFile:
    """One file of keys that are revoked, in any form.

    Args:
        path: The file.
        parse: Makes of its bytes what answers; raises ValueError where it cannot.
        limit: Most bytes that it may have.
        now: Seconds since 1970.
    """

    _log = ClassLogger()

    def __init__(
        self,
        path: str,
        parse: Callable[[bytes], Revocations] = parseRevokedKeys,
        limit: int = revokedkeys.MAX_FILE_LENGTH,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._parse = parse
        self._limit = limit
        self._now = now
        self._held: tuple[_Version, Revocations] | None = None
        self._reading = Lock()
        self._told: str | None = None

    def judge(self, blob: bytes) -> Deferred[bool]:
        """What `isRevoked` says. A long list that has changed is read in a thread."""
        return self._aside(self.isRevoked, blob)

    def prepare(self) -> Deferred[Revocations]:
        """What `load` returns or raises. A long list that has changed is read in a thread."""
        return self._aside(self.load)

    def _aside(self, function: Callable[..., _T], *arguments: Any) -> Deferred[_T]:
        if self._isLong():
            return checks.run(("revocations", self._path), function, *arguments)
        return maybeDeferred(function, *arguments)

    def _isLong(self) -> bool:
        """Whether there is much to read now."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return self._current(found) is None and found.st_size > IN_PLACE_LENGTH

    def _current(self, found: os.stat_result) -> Revocations | None:
        """What was read before, where the file is still the same."""
        held = self._held
        return held[1] if held is not None and held[0] == _Version.of(found) else None

    def isRevoked(self, blob: bytes) -> bool:
        """Whether a key or certificate may not be used; so for all where the file is of no use.

        Raises:
            BadKeyError: The blob is damaged.
        """
        try:
            found = self.load()
        except UnusableList as failure:
            if str(failure) != self._told:
                self._log.error("nobody is let in by a key: {reason}", reason=str(failure))
                self._told = str(failure)
            return True
        self._told = None
        return found.isRevoked(blob)

    def load(self) -> Revocations:
        """What the file says now.

        Raises:
            UnusableList: Nobody knows.
        """
        try:
            known = self._current(os.stat(self._path))
            if known is not None:
                return known
            with self._reading:
                # Another thread may have read it by now.
                known = self._current(os.stat(self._path))
                return self._read() if known is None else known
        except OSError as failure:
            raise UnusableList(f"{self._path}: {failure.strerror}") from None
        except (RevokedKeysError, BlocklistError) as failure:
            raise UnusableList(f"{self._path}: {failure}") from None

    def _read(self) -> Revocations:
        self._held = None
        # Not to wait for the writer of a FIFO that somebody put there.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise RevokedKeysError("not a file")
            data = self._readAll(descriptor)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if _Version.of(before) != _Version.of(after):
            raise RevokedKeysError("changed while it was read")
        found = self._parse(data)
        if self._now() - after.st_ctime >= SETTLED_SECONDS:
            self._held = _Version.of(after), found
        return found

    def _readAll(self, descriptor: int) -> bytes:
        pieces: list[bytes] = []
        left = self._limit + 1
        while left > 0:
            piece = os.read(descriptor, min(left, READ_SIZE))
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            left -= len(piece)
        raise RevokedKeysError(f"more than {self._limit} bytes")


def blocklistFile(path: str) -> RevokedKeysFile:
    """A list of keys whose private half is known, as badkeys has it (`KeyBlocklist`)."""
    return RevokedKeysFile(path, KeyBlocklist, keyblocklist.MAX_LENGTH)
