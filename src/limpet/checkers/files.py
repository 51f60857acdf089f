"""Reading a file that says who may log in, as the user that it belongs to.

Rule: such a file counts only if nobody but its user, or root, could have written it; it is opened
with the user's own rights, so that no link leads further than the user could go; and opening it can
neither hang nor read without end.

As root the file is opened with the user's file system identity (setfsuid(2)), which on Linux
belongs to one thread: nothing else in the process notices. Elsewhere root reads no other user's
file.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from limpet.core.authorizedkeys import MAX_FILE_LENGTH

_PIECE_LENGTH = 32 * 1024
"""Bytes asked for at a time: room is taken for all of them, and most files have a few hundred."""

_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "ppc64le": 81, "s390x": 206}
"""Number of the system call setgroups, by machine. glibc's function of that name changes all
threads of a process, the system call only the one that makes it."""


class UnsafeFile(Exception):
    """The file must not be believed; the message says why."""


def readUserFile(
    path: bytes,
    uid: int,
    gid: int,
    groups: Sequence[int] = (),
    home: bytes | None = None,
    strict: bool = True,
    limit: int = MAX_FILE_LENGTH,
) -> bytes:
    """All of a file that belongs to a user. It may block, as file systems do.

    Args:
        path: The file.
        uid: The user, `gid` and `groups` with their groups.
        home: The directory up to which the directories above the file are looked at; None for all.
        strict: Whether owners and modes have to be right (sshd_config(5), StrictModes).
        limit: Most bytes that the file may have.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be opened.
        UnsafeFile: It must not be believed.
    """
    with actingAs(uid, gid, groups):
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = os.open(path, flags)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeFile("not a regular file")
            if strict:
                _checkOwner(found, uid, "the file")
                _checkParents(_realPath(descriptor, path), uid, home)
            return _readAll(descriptor, limit)
        finally:
            os.close(descriptor)


def _readAll(descriptor: int, limit: int) -> bytes:
    pieces: list[bytes] = []
    left = limit + 1
    while left > 0:
        piece = os.read(descriptor, min(left, _PIECE_LENGTH))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        left -= len(piece)
    raise UnsafeFile(f"longer than {limit} bytes")


def _checkOwner(found: os.stat_result, uid: int, what: str) -> None:
    if found.st_uid not in (0, uid):
        raise UnsafeFile(f"{what} belongs to somebody else")
    # In a directory like /tmp others may write, but not put something in our file's place.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and found.st_uid == 0
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise UnsafeFile(f"{what} is writable by others (mode {stat.S_IMODE(found.st_mode):o})")


def _realPath(descriptor: int, path: bytes) -> bytes:
    """The path of the open file, free of links."""
    try:
        # What the kernel has opened, in one call and without a race.
        found = os.readlink(b"/proc/self/fd/%d" % descriptor)
    except OSError:
        found = b""
    return found if os.path.isabs(found) else os.path.realpath(path)


def _checkParents(path: bytes, uid: int, home: bytes | None) -> None:
    """Whoever may write to a directory above the file could put another in its place.

    Args:
        path: The file's path, free of links.
        uid: The user.
        home: Where to stop; None at the root.
    """
    end = None if home is None else home.rstrip(b"/")
    if end is not None and not path.startswith(end + b"/"):
        end = os.path.realpath(end)
    directory = os.path.dirname(path)
    while True:
        _checkOwner(os.stat(directory), uid, f"the directory {os.fsdecode(directory)!r}")
        above = os.path.dirname(directory)
        if directory == end or above == directory:
            return
        directory = above


@contextlib.contextmanager
def actingAs(uid: int, gid: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """Let this thread use files as another user does, if this process is root.

    Where it is not, or is that user, nothing changes.

    Raises:
        UnsafeFile: There is no way to do this for one thread on this system.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    kernel = _kernel()
    if kernel is None:
        raise UnsafeFile("this system cannot open it as its user")
    setgroups, libc = kernel
    before = os.getgroups()
    groupBefore = os.getegid()
    # In this order, since the last step takes away the right to undo the first ones' effects on
    # files, and in the other direction on the way back.
    setgroups([gid, *groups])
    try:
        libc.setfsgid(gid)
        libc.setfsuid(uid)
        # They report no failure; asking for an identity that does not exist tells the present one.
        if libc.setfsuid(-1) != uid or libc.setfsgid(-1) != gid:
            raise UnsafeFile("cannot take on the user's identity")
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(groupBefore)
        setgroups(before)
        if libc.setfsuid(-1) != 0 or libc.setfsgid(-1) != groupBefore:
            # A thread of root's with somebody else's rights must not go on.
            os._exit(70)


@functools.cache
def _kernel() -> tuple[Callable[[Sequence[int]], None], Any] | None:
    """setgroups(2) for one thread, and a C library with setfsuid; None where there is none."""
    number = _SETGROUPS.get(platform.machine())
    if not sys.platform.startswith("linux") or number is None or sys.maxsize < 2**32:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "setfsuid"):
        return None

    def setgroups(groups: Sequence[int]) -> None:
        wanted = list(dict.fromkeys(groups))
        array = (ctypes.c_uint32 * len(wanted))(*wanted)
        if libc.syscall(ctypes.c_long(number), ctypes.c_long(len(wanted)), array) != 0:
            raise OSError(ctypes.get_errno(), "setgroups")

    return setgroups, libc
