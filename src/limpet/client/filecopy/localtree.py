"""The files here, as one side of a copy.

Rule: below the root every step goes through a directory descriptor and follows no symbolic link, so
that nothing a server lists, and no link that it made us create, leads out of the root (attack J2).
The root itself is what the person named, and its own links are followed.

Writing: a file gets a hidden name in its directory, and its own by rename(2) once it is complete.
Data goes to the page cache at once, which takes as long as copying it; a disk that has kept us
waiting is written to by a thread from then on. Reading tries the page cache first and goes to a
thread for what is not in it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from twisted.internet import defer

from limpet._posix import O_CLOEXEC, O_DIRECTORY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK
from limpet.client.filecopy import names
from limpet.client.filecopy.offload import SLOW_SECONDS, Offload
from limpet.client.filecopy.problems import CopyProblem
from limpet.client.filecopy.pump import Data
from limpet.client.filecopy.trees import PERMISSION_BITS, Attrs, Entry, TargetPlan
from limpet.core.framing import Pieces

LOCAL_BLOCK = 256 * 1024
"""Bytes of one read where the other side has no opinion (ours)."""

ENTRIES_AT_A_TIME = 256
"""Entries of a directory that are handed on at a time (ours)."""

TEMPORARY_ATTEMPTS = 16

_DIRECTORY = os.O_RDONLY | O_DIRECTORY | O_CLOEXEC
_BELOW = _DIRECTORY | O_NOFOLLOW
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC
_READ = os.O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
_CACHED_ONLY = getattr(os, "RWF_NOWAIT", 0)
_NOT_CACHED = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def attrsOf(status: os.stat_result) -> dict[str, Any]:
    """What stat(2) says, as SFTP's attributes. Times keep their fractions, as floats."""
    return {
        "size": status.st_size,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "permissions": status.st_mode,
        "atime": status.st_atime,
        "mtime": status.st_mtime,
    }


def currentUmask() -> int:
    """The process's umask; there is no way to read it but to set it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


class LocalTree:
    """Files below a directory here.

    Args:
        root: The directory; a file, or what will be one, where only the empty path is used.
        offload: Where to run what blocks.
    """

    requests = 64

    def __init__(self, root: bytes, offload: Offload) -> None:
        self.root = root
        self.blockSize = LOCAL_BLOCK
        self._offload = offload
        self._umask = currentUmask()
        # The directory that was used last, and its descriptor.
        self._opened: tuple[bytes, int] | None = None
        # Whether the tree was made for one file, with which it is closed.
        self.isOfOneFile = False
        # Whether the disk has kept us waiting.
        self.isSlow = False

    def close(self) -> None:
        """Close what is open."""
        if self._opened is not None:
            os.close(self._opened[1])
            self._opened = None

    def shown(self, path: bytes) -> bytes:
        return names.join(self.root, path) or b"."

    # ── finding the place ─────────────────────────────────────────────────────────────────────

    def directory(self, path: bytes) -> int:
        """A descriptor of the directory `path`, which belongs to the tree.

        Raises:
            OSError: It is not there, or a component is a link (ELOOP, ENOTDIR).
        """
        if self._opened is not None:
            if self._opened[0] == path:
                return self._opened[1]
            self.close()
        descriptor = os.open(self.root or b".", _DIRECTORY)
        try:
            for name in filter(None, path.split(b"/")):
                deeper = os.open(names.checkName(name), _BELOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
        except BaseException:
            os.close(descriptor)
            raise
        self._opened = path, descriptor
        return descriptor

    def _place(self, path: bytes) -> tuple[int, bytes]:
        """A descriptor of the directory that `path` is in, and its name in there."""
        parent, _, name = path.rpartition(b"/")
        return self.directory(parent), names.checkName(name)

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def attrs(self, path: bytes, follow: bool) -> Attrs:
        return attrsOf(os.stat(self.shown(path), follow_symlinks=follow))

    async def entries(self, path: bytes) -> AsyncIterator[list[Entry]]:
        batch: list[Entry] = []
        with os.scandir(self.shown(path)) as found:
            for item in found:
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it went away meanwhile
                batch.append(Entry(item.name, attrsOf(status)))
                if len(batch) == ENTRIES_AT_A_TIME:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def open(self, path: bytes) -> LocalSource:
        descriptor = os.open(self.shown(path), _READ)
        return LocalSource(descriptor, self._offload)

    async def reader(self, file: LocalTarget) -> LocalTarget:
        return file

    async def readLink(self, path: bytes) -> bytes:
        return os.readlink(self.shown(path))

    async def realPath(self, path: bytes) -> bytes:
        return os.path.realpath(self.shown(path))

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    async def makeDirectory(self, path: bytes, mode: int) -> bool:
        try:
            if not path:
                os.mkdir(self.root, mode | 0o700)
            else:
                parent, name = self._place(path)
                os.mkdir(name, mode | 0o700, dir_fd=parent)
            return True
        except FileExistsError:
            self.directory(path)  # raises where it is no directory, or a link to one
            return False

    async def setAttrs(self, path: bytes, attrs: Attrs) -> None:
        self.close()
        _setAttrs(self.directory(path), attrs)

    async def makeLink(self, path: bytes, target: bytes) -> None:
        parent, name = self._place(path)
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise
            temporary = names.temporaryName(name, secrets.token_hex(4).encode())
            os.symlink(target, temporary, dir_fd=parent)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)

    async def create(self, path: bytes, plan: TargetPlan) -> LocalTarget:
        if plan.named:
            special = await self._special(path)
            if special is not None:
                return special
        tree, path = self._throughLinks(path) if plan.named else (self, path)
        parent, name = tree._place(path)
        mode = plan.mode & ~self._umask
        there = _statusAt(name, parent)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, "")
        if there is not None and stat.S_ISREG(there.st_mode):
            mode = there.st_mode & PERMISSION_BITS
        elif there is not None and not stat.S_ISLNK(there.st_mode):
            raise CopyProblem(self.shown(path), "it is there already, and is no file")
        if not plan.atomic:
            flags = os.O_RDWR | os.O_CREAT | O_NOFOLLOW | O_CLOEXEC
            flags |= 0 if plan.resume else os.O_TRUNC
            descriptor = os.open(name, flags, mode | 0o600, dir_fd=parent)
            size = os.fstat(descriptor).st_size
            return LocalTarget(tree, path, None, descriptor, size, self._offload)
        if plan.resume:
            return tree._resumed(path, plan, there, mode)
        temporary = names.partName(name)
        for _ in range(TEMPORARY_ATTEMPTS):
            with suppress(FileExistsError):
                descriptor = os.open(temporary, _NEW, mode | 0o600, dir_fd=parent)
                target = LocalTarget(tree, path, temporary, descriptor, 0, self._offload)
                target.mode = mode
                return target
            # Taken, perhaps by somebody who is writing to it.
            temporary = names.temporaryName(name, secrets.token_hex(8).encode())
        raise FileExistsError(errno.EEXIST, "")

    async def _special(self, path: bytes) -> LocalTarget | None:
        """A device or a pipe that the person named, links to it included (/dev/stdout): it is
        written to as it is, and never replaced."""
        whole = self.shown(path)
        try:
            mode = os.stat(whole).st_mode
        except OSError:
            return None
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return None
        descriptor = await self._openedSpecial(whole)
        return LocalTarget(self, path, None, descriptor, 0, self._offload)

    def _openedSpecial(self, whole: bytes) -> defer.Deferred[int]:
        """Open what may be a pipe, which waits for its reader; who is cancelled waits no more."""

        def opened(result: Any) -> None:
            if not answer.called:
                answer.callback(result)
            elif isinstance(result, int):
                os.close(result)

        answer: defer.Deferred[int] = defer.Deferred()
        flags = os.O_WRONLY | O_CLOEXEC | O_NOCTTY
        self._offload(os.open, whole, flags).addBoth(opened)
        return answer

    def _throughLinks(self, path: bytes) -> tuple[LocalTree, bytes]:
        """The place that a link which the person named leads to: it is what is meant."""
        whole = self.shown(path)
        if not os.path.islink(whole):
            return self, path
        real = os.path.realpath(whole)
        tree = LocalTree(os.path.dirname(real), self._offload)
        tree.isOfOneFile = True
        return tree, os.path.basename(real)

    def _resumed(
        self, path: bytes, plan: TargetPlan, there: os.stat_result | None, mode: int
    ) -> LocalTarget:
        """What an earlier copy left: its part, or a file that is shorter than it should be."""
        parent, name = self._place(path)
        part = names.partName(name)
        wasFinal = False
        status = _statusAt(part, parent)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise CopyProblem(self.shown(path), "its part is there already, and is no file")
        if status is None and there is not None and stat.S_ISREG(there.st_mode):
            if plan.size is not None and there.st_size > plan.size:
                text = f"it has {there.st_size} bytes, more than the {plan.size} to be copied"
                raise CopyProblem(self.shown(path), f"cannot be resumed: {text}")
            os.rename(name, part, src_dir_fd=parent, dst_dir_fd=parent)
            wasFinal = True
        flags = os.O_RDWR | os.O_CREAT | O_NOFOLLOW | O_CLOEXEC
        descriptor = os.open(part, flags, mode | 0o600, dir_fd=parent)
        size = os.fstat(descriptor).st_size
        if plan.size is not None and size > plan.size:
            os.ftruncate(descriptor, 0)
            size = 0
        target = LocalTarget(self, path, part, descriptor, size, self._offload)
        target.mode = mode
        target.wasFinal = wasFinal
        return target


def _statusAt(name: bytes, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _setAttrs(descriptor: int, attrs: Attrs) -> None:
    """Set those of mode and times that are there."""
    if attrs.get("permissions") is not None:
        os.fchmod(descriptor, attrs["permissions"] & PERMISSION_BITS)
    if attrs.get("atime") is not None and attrs.get("mtime") is not None:
        os.utime(descriptor, (attrs["atime"], attrs["mtime"]))


def readFrom(descriptor: int, offset: int, length: int) -> Data:
    """Read up to `length` bytes; waits for the disk. Raises EOFError at the end."""
    data = os.pread(descriptor, length, offset)
    if not data:
        raise EOFError
    return data


def readCached(descriptor: int, offset: int, length: int) -> Data | None:
    """The same from the page cache alone; None where that would have to wait for the disk."""
    if not _CACHED_ONLY:
        return None
    buffer = bytearray(length)
    try:
        size = os.preadv(descriptor, [buffer], offset, _CACHED_ONLY)
    except OSError as error:
        if error.errno in _NOT_CACHED:
            return None
        raise
    if not size:
        raise EOFError
    return memoryview(buffer)[:size]


class LocalSource:
    """A file here that is open for reading."""

    def __init__(self, descriptor: int, offload: Offload) -> None:
        self._descriptor = descriptor
        self._offload = offload
        # Threads that are reading: the descriptor is theirs, too, even where nobody waits for them.
        self._readers = 0
        self._closing = False

    async def size(self) -> int | None:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> Data | defer.Deferred[Any]:
        data = readCached(self._descriptor, offset, length)
        if data is not None:
            return data
        self._readers += 1
        # A Deferred of its own: cancelling it does not end the thread.
        answer: defer.Deferred[Any] = defer.Deferred()
        done = self._offload(readFrom, self._descriptor, offset, length)
        done.addBoth(self._readDone, answer)
        return answer

    def _readDone(self, result: Any, answer: defer.Deferred[Any]) -> None:
        self._readers -= 1
        self._closeIfIdle()
        answer.callback(result)

    def close(self) -> None:
        self._closing = True
        self._closeIfIdle()

    def _closeIfIdle(self) -> None:
        if self._closing and not self._readers:
            os.close(self._descriptor)


class LocalTarget:
    """A file here that is being written.

    Args:
        tree: Where it is.
        path: Its place in there, once it is complete.
        temporary: Its name until then; None where it is written in place.
        descriptor: The file.
        startsAt: How many bytes of it are there.
        offload: Where to run what blocks.

    Attributes:
        wasFinal: Whether the part is the file itself, which was there under its final name.
    """

    uncertain = 0

    def __init__(
        self,
        tree: LocalTree,
        path: bytes,
        temporary: bytes | None,
        descriptor: int,
        startsAt: int,
        offload: Offload,
    ) -> None:
        self._tree, self._path, self._temporary = tree, path, temporary
        self._descriptor = descriptor
        self._offload = offload
        self._queue: list[tuple[int, Data, defer.Deferred[Any]]] = []
        self._busy = False
        self._isAbandoned = False
        self._whenIdle: list[defer.Deferred[None]] = []
        self.startsAt = startsAt
        self.wasFinal = False
        self.mode: int | None = None
        self.serial = not stat.S_ISREG(os.fstat(descriptor).st_mode)

    def read(self, offset: int, length: int) -> Data | defer.Deferred[Any]:
        return self._offload(readFrom, self._descriptor, offset, length)

    def write(self, offset: int, data: Data) -> defer.Deferred[Any] | None:
        if not (self._busy or self.serial or self._tree.isSlow):
            started = time.monotonic()
            self._writeAll([(offset, data)])
            if time.monotonic() - started > SLOW_SECONDS:
                self._tree.isSlow = True
            return None
        written: defer.Deferred[Any] = defer.Deferred()
        self._queue.append((offset, data, written))
        if not self._busy:
            self._writeQueue()
        return written

    def _writeQueue(self) -> None:
        """Write all that waits, in one thread."""
        queue, self._queue = self._queue, []
        self._busy = True
        done = self._offload(self._writeAll, [(offset, data) for offset, data, _ in queue])
        done.addBoth(self._queueWritten, queue)

    def _queueWritten(self, result: Any, queue: list[Any]) -> None:
        self._busy = False
        # The next thread begins before those who wait are told, and queue more.
        if self._queue:
            self._writeQueue()
        for _, _, written in queue:
            written.callback(result)
        if not self._busy and self._isAbandoned:
            self._giveUp()
        if not self._busy:
            waiting, self._whenIdle = self._whenIdle, []
            for idle in waiting:
                idle.callback(None)

    async def _untilIdle(self) -> None:
        """Wait for the thread that writes: what it works on cannot be closed."""
        while self._busy:
            idle: defer.Deferred[None] = defer.Deferred()
            self._whenIdle.append(idle)
            await idle

    def _writeAll(self, pieces: list[tuple[int, Data]]) -> None:
        for offset, data in pieces:
            size = len(data)
            written = self._writeOnce(
                data.views if isinstance(data, Pieces) else [memoryview(data)], offset
            )
            while written < size:
                rest = memoryview(bytes(data))[written:]
                written += self._writeOnce([rest], offset + written)

    def _writeOnce(self, views: list[memoryview], offset: int) -> int:
        if self.serial:
            return os.writev(self._descriptor, views)
        return os.pwritev(self._descriptor, views, offset)

    async def restart(self) -> None:
        if self.wasFinal and self._temporary is not None:
            # It is something else, and stays what it is until the copy is complete.
            parent, name = self._tree._place(self._path)
            os.rename(self._temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            self.wasFinal = False
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC
            fresh = os.open(self._temporary, flags, 0o600, dir_fd=parent)
            os.dup2(fresh, self._descriptor, inheritable=False)
            os.close(fresh)
        else:
            os.ftruncate(self._descriptor, 0)
        self.startsAt = 0

    async def commit(self, size: int, attrs: Attrs, sync: bool) -> None:
        if not self.serial:
            there = os.fstat(self._descriptor).st_size
            if there > size and self._temporary is None:
                os.ftruncate(self._descriptor, size)
            elif there != size:
                text = f"{there} bytes are there after {size} were written"
                raise CopyProblem(self._tree.shown(self._path), text)
            if self.mode is not None and attrs.get("permissions") is None:
                os.fchmod(self._descriptor, self.mode)
            _setAttrs(self._descriptor, attrs)
            if sync:
                await self._offload(os.fsync, self._descriptor)

    async def publish(self) -> None:
        self._close()
        if self._temporary is not None:
            parent, name = self._tree._place(self._path)
            os.rename(self._temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        self._leaveTree()

    def _leaveTree(self) -> None:
        if self._tree.isOfOneFile:
            self._tree.close()

    async def abandon(self, solidUntil: int | None) -> bool:
        kept = False
        if self.serial:
            # A pipe's reader may never go on: the thread that waits for it closes it, if any.
            self._isAbandoned = True
            if not self._busy:
                self._giveUp()
            return False
        await self._untilIdle()
        try:
            if self._temporary is not None:
                parent, name = self._tree._place(self._path)
                if solidUntil or self.wasFinal:
                    if solidUntil:
                        os.ftruncate(self._descriptor, solidUntil)
                    part = names.partName(name)
                    if part != self._temporary:
                        os.rename(self._temporary, part, src_dir_fd=parent, dst_dir_fd=parent)
                    kept = True
                else:
                    os.unlink(self._temporary, dir_fd=parent)
        except OSError:
            kept = False  # what made it fail may keep it from being tidied up, too
        self._giveUp()
        self._leaveTree()
        return kept

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # Where it fails, as on NFS, it is closed all the same: a second time would close what
            # somebody else has opened since.
            os.close(descriptor)

    def _giveUp(self) -> None:
        """Close it where something else went wrong, which is what is told."""
        with suppress(OSError):
            self._close()
