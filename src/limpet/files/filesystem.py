"""What SFTP does to files: by the system's calls, as the user that the process runs as.

Rule: `Files` is all that the user may reach; `ConfinedFiles` is one directory and what is below it,
and every path goes through `Root.open`, so that no name, link or race leads out of it. Only regular
files are opened: a device may do something by being opened, and a FIFO may wait.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from limpet.files.beneath import MAX_LINKS, O_PATH, Root, renameNoReplace
from limpet.wire.sftp import (
    FXF_APPEND,
    FXF_CREAT,
    FXF_EXCL,
    FXF_READ,
    FXF_TRUNC,
    FXF_WRITE,
    STATVFS_NO_SETUID,
    STATVFS_READ_ONLY,
    StatVfs,
)

DEFAULT_MODE = 0o666
"""Mode of a new file whose client names none, before the umask."""

CREATION_BITS = 0o777
"""What of a mode a new file or directory gets: neither set-id bits nor the sticky one."""

COPY_CHUNK = 8 * 1024 * 1024
"""How much one copy_file_range copies, in bytes: a signal is seen between two (ours)."""

READ_CHUNK = 262144
"""How much is copied at a time where copy_file_range cannot, in bytes (ours)."""

MAX_OFFSET = 2**63 - 1
"""The largest offset that the system's calls take."""

_ALWAYS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_NO_COPY_FILE_RANGE = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}
)


def failure(number: int, words: str | None = None) -> OSError:
    """A system error, with words of our own where the system's say too little."""
    return OSError(number, words or os.strerror(number))


def openFlags(flags: int) -> int:
    """The flags of open(2) for the FXF_* bits of OPEN.

    Raises:
        OSError: EINVAL, neither reading nor writing.
    """
    reads, writes = flags & FXF_READ, flags & (FXF_WRITE | FXF_APPEND)
    if not (reads or writes):
        raise failure(errno.EINVAL)
    found = os.O_RDWR if reads and writes else os.O_WRONLY if writes else os.O_RDONLY
    if flags & FXF_APPEND:
        found |= os.O_APPEND
    if flags & FXF_CREAT:
        found |= os.O_CREAT
    if flags & FXF_TRUNC:
        found |= os.O_TRUNC
    if flags & FXF_EXCL:
        found |= os.O_EXCL
    return found


def attrsOf(details: os.stat_result) -> dict[str, int]:
    """The attributes that SFTP tells of a file."""
    return {
        "size": details.st_size,
        "uid": details.st_uid,
        "gid": details.st_gid,
        "permissions": details.st_mode,
        "atime": int(details.st_atime),
        "mtime": int(details.st_mtime),
    }


def readOnlyFlags(flags: int) -> bool:
    """Whether OPEN's FXF_* bits change nothing."""
    return not flags & ~FXF_READ


class Listing:
    """One open directory.

    Args:
        fd: Its descriptor, which belongs to the listing.
        dots: What `.` and `..` are, as they are listed first.
    """

    def __init__(self, fd: int, dots: list[tuple[bytes, os.stat_result | None]]) -> None:
        self.fd = fd
        self._dots = dots
        try:
            self._entries = os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise

    def next(self, count: int) -> list[tuple[bytes, os.stat_result | None]]:
        """Up to `count` more entries, name and details; none at the end.

        An entry that is gone meanwhile is left out; one that may not be looked at has no details.
        """
        found, self._dots = self._dots[:count], self._dots[count:]
        while len(found) < count:
            entry = next(self._entries, None)
            if entry is None:
                break
            details: os.stat_result | None = None
            try:
                details = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                pass
            found.append((os.fsencode(entry.name), details))
        return found

    def close(self) -> None:
        """Close the directory."""
        self._entries.close()
        os.close(self.fd)


class Files:
    """All files that the process's user may reach. Paths are bytes; those that do not begin with a
    slash begin at `start`.

    Args:
        start: A directory.
        mayLookUp: See below.
        home: The user's home; None where it is `start`.

    Attributes:
        start: The same, as the client sees it.
        mayLookUp: Whether names of users and groups may be asked of the system. Not after chroot,
            where the system's configuration is not the system's.
        home: What "~" stands for.
    """

    modeBits = 0o7777
    """What of a mode SETSTAT sets."""

    def __init__(self, start: bytes, mayLookUp: bool = True, home: bytes | None = None) -> None:
        self.start = start
        self.home = start if home is None else home
        self.mayLookUp = mayLookUp
        self._startFd = self._openStart(start)

    def _openStart(self, start: bytes) -> int:
        fd = os.open(start, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # A server that makes one for each login has no place to close it at.
        weakref.finalize(self, os.close, fd)
        return fd

    # ── where a path leads ────────────────────────────────────────────────────────────────────

    @contextmanager
    def _entry(self, path: bytes) -> Iterator[tuple[bytes, int]]:
        """A name and a directory's descriptor, for what is done to the name itself."""
        yield path, self._startFd

    def _open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """Open `path`, links followed."""
        return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=self._startFd)

    @contextmanager
    def _located(self, path: bytes) -> Iterator[int]:
        """A descriptor that stands for what is at `path`, without having opened it."""
        fd = self._open(path, O_PATH)
        try:
            yield fd
        finally:
            os.close(fd)

    def realPath(self, path: bytes) -> bytes:
        """`path` as an absolute one, links followed; only its last component may be missing.

        A link to nothing stands for what it would lead to, which is where opening it makes a file.
        """
        whole = os.path.join(self.start, path)
        for _ in range(MAX_LINKS + 1):
            try:
                return os.path.realpath(whole, strict=True)
            except FileNotFoundError:
                parent, name = os.path.split(whole.rstrip(b"/"))
                if name in (b"", b".", b".."):
                    raise
            parent = os.path.realpath(parent, strict=True)
            whole = os.path.join(parent, name)
            try:
                whole = os.path.join(parent, os.readlink(whole))
            except OSError:
                return whole
        raise failure(errno.ELOOP)

    def expandPath(self, path: bytes) -> bytes:
        """The same for a path that may begin with ~ or ~user."""
        if path.startswith(b"~"):
            name, _, rest = path[1:].partition(b"/")
            path = os.path.join(self.homeOf(name), rest) if rest else self.homeOf(name)
        return self.realPath(path)

    def homeOf(self, user: bytes) -> bytes:
        """The home directory of a user; one's own for an empty name.

        Raises:
            OSError: ENOENT, there is no such user, or nobody may be asked about.
        """
        if not user:
            return self.home
        try:
            if not self.mayLookUp:
                raise KeyError(user)
            return os.fsencode(pwd.getpwnam(os.fsdecode(user)).pw_dir)
        except (KeyError, ValueError):
            raise failure(errno.ENOENT) from None

    # ── files ─────────────────────────────────────────────────────────────────────────────────

    def openFile(self, path: bytes, flags: int, attrs: Mapping[str, Any]) -> int:
        """Open a regular file, by the FXF_* bits of `flags`; a new one gets "permissions"."""
        systemFlags = openFlags(flags) | _ALWAYS
        mode = attrs.get("permissions", DEFAULT_MODE) & CREATION_BITS
        try:
            details: os.stat_result | None = self.stat(path)
        except FileNotFoundError:
            details = None
        if details is not None:
            _checkRegular(details)
        fd = self._open(path, systemFlags, mode)
        try:
            _checkRegular(os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def openDirectory(self, path: bytes) -> Listing:
        """Open a directory to list it."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS)
        dots = [(b".", _detailsOrNone(os.stat, fd)), (b"..", self._parentOf(path, fd))]
        return Listing(fd, dots)

    def _parentOf(self, path: bytes, fd: int) -> os.stat_result | None:
        return _detailsOrNone(lambda parent: os.stat(b"..", dir_fd=parent), fd)

    # ── attributes ────────────────────────────────────────────────────────────────────────────

    def stat(self, path: bytes) -> os.stat_result:
        """What `path` is, links followed."""
        return os.stat(path, dir_fd=self._startFd)

    def lstat(self, path: bytes) -> os.stat_result:
        """What `path` is; of a link, the link itself."""
        with self._entry(path) as (name, directory):
            return os.stat(name, dir_fd=directory, follow_symlinks=False)

    @contextmanager
    def _followed(self, path: bytes) -> Iterator[tuple[bytes, int | None]]:
        """A path and a directory's descriptor, for calls that follow links."""
        yield path, self._startFd

    def setAttrs(self, path: bytes, attrs: Mapping[str, Any]) -> None:
        """Change what `attrs` names, the size first, until something fails."""
        if "size" in attrs:
            fd = self._open(path, os.O_WRONLY | _ALWAYS)
            try:
                _checkRegular(os.fstat(fd))
                os.ftruncate(fd, _offset(attrs["size"]))
            finally:
                os.close(fd)
        with self._followed(path) as (name, directory):
            if "uid" in attrs and "gid" in attrs:
                os.chown(name, attrs["uid"], attrs["gid"], dir_fd=directory)
            if "permissions" in attrs:
                os.chmod(name, attrs["permissions"] & self.modeBits, dir_fd=directory)
            if "atime" in attrs and "mtime" in attrs:
                os.utime(name, (attrs["atime"], attrs["mtime"]), dir_fd=directory)

    def setLinkAttrs(self, path: bytes, attrs: Mapping[str, Any]) -> None:
        """Change what `attrs` names of `path`; of a link, the link itself (lsetstat).

        Raises:
            OSError: EINVAL for the size, EOPNOTSUPP for the mode of a link, which has none.
        """
        if "size" in attrs:
            raise failure(errno.EINVAL)
        with self._entry(path) as (name, directory):
            if "permissions" in attrs:
                details = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISLNK(details.st_mode):
                    raise failure(errno.EOPNOTSUPP)
                self.setAttrs(path, {"permissions": attrs["permissions"]})
            if "uid" in attrs and "gid" in attrs:
                os.chown(name, attrs["uid"], attrs["gid"], dir_fd=directory, follow_symlinks=False)
            if "atime" in attrs and "mtime" in attrs:
                times = (attrs["atime"], attrs["mtime"])
                os.utime(name, times, dir_fd=directory, follow_symlinks=False)

    def setFileAttrs(self, fd: int, attrs: Mapping[str, Any]) -> None:
        """Change what `attrs` names of an open file."""
        if "size" in attrs:
            os.ftruncate(fd, _offset(attrs["size"]))
        if "uid" in attrs and "gid" in attrs:
            os.fchown(fd, attrs["uid"], attrs["gid"])
        if "permissions" in attrs:
            os.fchmod(fd, attrs["permissions"] & self.modeBits)
        if "atime" in attrs and "mtime" in attrs:
            os.utime(fd, (attrs["atime"], attrs["mtime"]))

    def statVfs(self, path: bytes) -> StatVfs:
        """How full the file system of `path` is."""
        with self._located(path) as fd:
            return statVfsOf(fd)

    # ── names ─────────────────────────────────────────────────────────────────────────────────

    def makeDirectory(self, path: bytes, attrs: Mapping[str, Any]) -> None:
        """Make a directory."""
        mode = attrs.get("permissions", CREATION_BITS) & CREATION_BITS
        with self._entry(path) as (name, directory):
            os.mkdir(name, mode, dir_fd=directory)

    def removeDirectory(self, path: bytes) -> None:
        """Remove an empty directory."""
        with self._entry(path) as (name, directory):
            os.rmdir(name, dir_fd=directory)

    def removeFile(self, path: bytes) -> None:
        """Remove a file or a link."""
        with self._entry(path) as (name, directory):
            os.unlink(name, dir_fd=directory)

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename. Raises OSError, EEXIST, where there is something of the new name."""
        with self._entry(old) as (name, directory), self._entry(new) as (newName, newDirectory):
            renameNoReplace(name, directory, newName, newDirectory)

    def replace(self, old: bytes, new: bytes) -> None:
        """Rename in place of what there may be (rename(2))."""
        with self._entry(old) as (name, directory), self._entry(new) as (newName, newDirectory):
            os.rename(name, newName, src_dir_fd=directory, dst_dir_fd=newDirectory)

    def hardLink(self, old: bytes, new: bytes) -> None:
        """Give a file another name; of a link, the link itself."""
        with self._entry(old) as (name, directory), self._entry(new) as (newName, newDirectory):
            os.link(
                name,
                newName,
                src_dir_fd=directory,
                dst_dir_fd=newDirectory,
                follow_symlinks=False,
            )

    def makeLink(self, target: bytes, link: bytes) -> None:
        """Make a symbolic link. Its target is a text, and need not exist."""
        with self._entry(link) as (name, directory):
            os.symlink(target, name, dir_fd=directory)

    def readLink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        with self._entry(path) as (name, directory):
            return os.readlink(name, dir_fd=directory)


class ConfinedFiles(Files):
    """One directory and what is below it; to the client, that is all there is, and `/` its top.

    Args:
        root: The directory.
        useKernel: Whether the kernel resolves paths; None where it can.
    """

    modeBits = 0o777

    def __init__(self, root: bytes, useKernel: bool | None = None) -> None:
        self._root = Root(root, useKernel)
        super().__init__(b"/")

    def _openStart(self, start: bytes) -> int:
        return self._root.fd

    @contextmanager
    def _entry(self, path: bytes) -> Iterator[tuple[bytes, int]]:
        parent, name = _split(path)
        directory = self._root.open(parent, O_PATH | os.O_DIRECTORY)
        try:
            yield name, directory
        finally:
            os.close(directory)

    def _open(self, path: bytes, flags: int, mode: int = 0) -> int:
        return self._root.open(_nonEmpty(path), flags | os.O_CLOEXEC, mode)

    @contextmanager
    def _followed(self, path: bytes) -> Iterator[tuple[bytes, int | None]]:
        with self._located(path) as fd:
            # Calls that change something do not take such a descriptor, but its name.
            yield b"/proc/self/fd/%d" % fd, None

    def stat(self, path: bytes) -> os.stat_result:
        with self._located(path) as fd:
            return os.fstat(fd)

    def _parentOf(self, path: bytes, fd: int) -> os.stat_result | None:
        # Not from the descriptor: the parent of the top is outside.
        return _detailsOrNone(self.stat, path + b"/..")

    def realPath(self, path: bytes) -> bytes:
        for _ in range(MAX_LINKS + 1):
            try:
                with self._located(path or b"/") as fd:
                    return self._virtual(fd)
            except FileNotFoundError:
                parent, name = _split(path)
                if name == b".":
                    raise
            with self._located(parent) as fd:
                above = self._virtual(fd)
                try:
                    path = os.path.join(above, os.readlink(name, dir_fd=fd))
                except OSError:
                    return os.path.join(above, name)
        raise failure(errno.ELOOP)

    def _virtual(self, fd: int) -> bytes:
        """The path below the root of what a descriptor stands for."""
        top, here = self._root.name(), os.readlink(b"/proc/self/fd/%d" % fd)
        if here == top:
            return b"/"
        if top != b"/":
            if not here.startswith(top + b"/"):
                # Moved out of the root, or removed, since it was opened.
                raise failure(errno.ENOENT)
            here = here[len(top) :]
        return here

    def homeOf(self, user: bytes) -> bytes:
        if user:
            raise failure(errno.ENOENT)
        return b"/"


def statVfsOf(fd: int) -> StatVfs:
    """The same for a descriptor."""
    found = os.fstatvfs(fd)
    flags = 0
    if found.f_flag & os.ST_RDONLY:
        flags |= STATVFS_READ_ONLY
    if found.f_flag & os.ST_NOSUID:
        flags |= STATVFS_NO_SETUID
    return StatVfs(
        bsize=found.f_bsize,
        frsize=found.f_frsize,
        blocks=found.f_blocks,
        bfree=found.f_bfree,
        bavail=found.f_bavail,
        files=found.f_files,
        ffree=found.f_ffree,
        favail=found.f_favail,
        fsid=found.f_fsid & (2**64 - 1),
        flag=flags,
        namemax=found.f_namemax,
    )


def readInto(fd: int, offset: int, target: memoryview) -> int:
    """Read into `target` from `offset`; returns how much, 0 at the end of the file."""
    return os.preadv(fd, [target], _offset(offset))


def writeAll(fd: int, offset: int, data: bytes | memoryview) -> None:
    """Write all of `data` at `offset`, whatever number of calls it takes."""
    size = len(data)
    if offset > MAX_OFFSET - size:
        raise failure(errno.EFBIG)
    written = os.pwrite(fd, data, offset)
    while written < size:
        written += os.pwrite(fd, data[written:], offset + written)


def copyData(source: int, offset: int, length: int, target: int, targetOffset: int) -> None:
    """Copy within the server (copy-data).

    Args:
        source: The descriptor to read.
        offset: Where to begin there.
        length: How much; 0 for all up to the end as it is now.
        target: The descriptor to write.
        targetOffset: Where to begin there.

    Raises:
        OSError: EINVAL where both are one file and the ranges overlap.
    """
    details, targetDetails = os.fstat(source), os.fstat(target)
    there = max(details.st_size - _offset(offset), 0)
    length = min(length, there) if length else there
    if _offset(targetOffset) > MAX_OFFSET - length:
        raise failure(errno.EFBIG)
    if os.path.samestat(details, targetDetails):
        if offset < targetOffset + length and targetOffset < offset + length:
            raise failure(errno.EINVAL, "The ranges overlap")
    done = 0
    useKernel = sys.platform.startswith("linux")
    while done < length:
        if useKernel:
            chunk = min(length - done, COPY_CHUNK)
            try:
                copied = os.copy_file_range(
                    source, target, chunk, offset + done, targetOffset + done
                )
            except OSError as refusal:
                if refusal.errno not in _NO_COPY_FILE_RANGE:
                    raise
                useKernel = False
                continue
        else:
            data = os.pread(source, min(length - done, READ_CHUNK), offset + done)
            writeAll(target, targetOffset + done, data)
            copied = len(data)
        if not copied:
            return
        done += copied


def _offset(number: int) -> int:
    if number > MAX_OFFSET:
        raise failure(errno.EINVAL)
    return number


def _checkRegular(details: os.stat_result) -> None:
    if stat.S_ISDIR(details.st_mode):
        raise failure(errno.EISDIR)
    if not stat.S_ISREG(details.st_mode):
        raise failure(errno.EINVAL, "Not a regular file")


def _detailsOrNone(look: Any, what: Any) -> os.stat_result | None:
    try:
        details: os.stat_result = look(what)
    except OSError:
        return None
    return details


def _nonEmpty(path: bytes) -> bytes:
    if not path:
        raise failure(errno.ENOENT)
    return path


def _split(path: bytes) -> tuple[bytes, bytes]:
    """The directory of the last component, and that component.

    `.`, `..` and the top have no name that could be removed or replaced: for them it is `.` in the
    directory itself, to which the system does nothing of the kind.
    """
    parent, slash, name = _nonEmpty(path).rstrip(b"/").rpartition(b"/")
    if name in (b"", b".", b".."):
        return path, b"."
    return parent + slash or b"/", name
