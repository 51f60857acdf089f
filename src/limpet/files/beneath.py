"""Opening a path that is not to lead out of a directory, whoever changes what is in it meanwhile.

Rule: the directory is the path's root, as after chroot(2): an absolute path, an absolute symbolic
link and `..` at the top all stay in it. The kernel resolves the path where it can, with openat2 and
RESOLVE_IN_ROOT (Linux 5.6); elsewhere each component is opened from the descriptor of the one
before it, no link is followed but by us, and `..` goes back to a descriptor that we hold.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import weakref
from collections import deque
from typing import Any

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

SYS_OPENAT2 = 437
"""The same number on all architectures but Alpha."""

MAX_LINKS = 40
"""How many symbolic links one path may go through (path_resolution(7))."""

MAX_RETRIES = 256
"""How often a path is resolved anew because something was renamed meanwhile: the kernel then says
EAGAIN rather than risk an escape."""

RENAME_NOREPLACE = 1

O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _library() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None


_libc = _library()


def _systemError() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _openat2(root: int, path: bytes, flags: int, mode: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    for _ in range(MAX_RETRIES):
        fd: int = _libc.syscall(
            ctypes.c_long(SYS_OPENAT2),
            ctypes.c_int(root),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    raise _systemError()


def kernelConfines() -> bool:
    """Whether this kernel has openat2."""
    if not sys.platform.startswith("linux") or _libc is None:
        return False
    root = os.open("/", O_PATH | os.O_DIRECTORY)
    try:
        os.close(_openat2(root, b"/", O_PATH | os.O_DIRECTORY, 0))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


class Root:
    """A directory from which paths are opened.

    Args:
        directory: Its path.
        useKernel: Whether to use openat2; None to find out.

    Attributes:
        fd: Its descriptor.
    """

    def __init__(self, directory: bytes, useKernel: bool | None = None) -> None:
        self.fd = os.open(directory, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._useKernel = kernelConfines() if useKernel is None else useKernel
        # A server that makes one for each login has no place to close it at.
        self._close = weakref.finalize(self, os.close, self.fd)

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """Open `path`, which begins at the root whether it starts with a slash or not.

        Args:
            path: Without NUL.
            flags: As for os.open. A symbolic link at the end is followed, but for O_NOFOLLOW.
            mode: Of a new file.

        Raises:
            OSError: As os.open does; ELOOP where the last component became a link meanwhile.
        """
        if b"\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._useKernel:
            return _openat2(self.fd, path or b".", flags, mode if flags & os.O_CREAT else 0)
        return self._walk(path, flags, mode)

    def name(self) -> bytes:
        """Where the root is now."""
        return os.readlink(b"/proc/self/fd/%d" % self.fd)

    def close(self) -> None:
        """Close the root's descriptor, which also goes with the last reference to the root."""
        self._close()

    def _walk(self, path: bytes, flags: int, mode: int) -> int:
        pending = deque(_components(path))
        stack: list[int] = []
        links = 0
        try:
            while pending:
                name = pending.popleft()
                here = stack[-1] if stack else self.fd
                if name == b"..":
                    if stack:
                        os.close(stack.pop())
                    continue
                isLast = not pending
                if isLast and flags & (os.O_NOFOLLOW | os.O_EXCL):
                    return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=here)
                try:
                    fd = os.open(name, O_PATH | os.O_NOFOLLOW, dir_fd=here)
                except FileNotFoundError:
                    if isLast and flags & os.O_CREAT:
                        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=here)
                    raise
                kind = os.fstat(fd).st_mode
                if stat.S_ISDIR(kind) and not isLast:
                    stack.append(fd)
                    continue
                target = os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(kind) else None
                os.close(fd)
                if target is not None:
                    links += 1
                    if links > MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if target.startswith(b"/"):
                        _closeAll(stack)
                    pending.extendleft(reversed(_components(target)))
                elif isLast:
                    return self._openLast(name, flags, mode, here)
                else:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return os.open(
                b".", flags & ~os.O_NOFOLLOW, mode, dir_fd=stack[-1] if stack else self.fd
            )
        finally:
            _closeAll(stack)

    def _openLast(self, name: bytes, flags: int, mode: int, here: int) -> int:
        fd = os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=here)
        # With O_PATH a link that was put there meanwhile is opened itself, which nobody asked for.
        if flags & O_PATH and stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return fd


def _components(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _closeAll(stack: list[int]) -> None:
    while stack:
        os.close(stack.pop())


def renameNoReplace(source: bytes, sourceDir: int, target: bytes, targetDir: int) -> None:
    """Rename, unless there is something of the new name.

    Raises:
        OSError: EEXIST where there is.
    """
    renameat2 = getattr(_libc, "renameat2", None)
    if renameat2 is not None:
        done = renameat2(
            ctypes.c_int(sourceDir),
            ctypes.c_char_p(source),
            ctypes.c_int(targetDir),
            ctypes.c_char_p(target),
            ctypes.c_uint(RENAME_NOREPLACE),
        )
        if done == 0:
            return
        if ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL):
            raise _systemError()
    details = os.stat(source, dir_fd=sourceDir, follow_symlinks=False)
    if stat.S_ISDIR(details.st_mode):
        # A directory can only replace an empty one, which loses nothing.
        try:
            os.stat(target, dir_fd=targetDir, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=sourceDir, dst_dir_fd=targetDir)
            return
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.link(source, target, src_dir_fd=sourceDir, dst_dir_fd=targetDir, follow_symlinks=False)
    os.unlink(source, dir_fd=sourceDir)
