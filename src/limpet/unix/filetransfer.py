"""The system's files as an `ISFTPServer`, for programs that put a `FileTransferServer` before them.

Rule: no call waits for a disk in the reactor's thread, and none is made as anybody but the user
that this process runs as. `limpet serve` does not use this: it has a process for each session
(`limpet.unix.fileserver`), which is quicker and can be of any user.

    avatar.subsystemLookup[b"sftp"] = FileTransferServer       the adapter to ISFTPServer is this
    SFTPServerForUnixConchUser(avatar, ConfinedFiles(b"/srv/files"), readOnly=True)
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.components import registerAdapter
from zope.interface import implementer

from limpet._reactor import getReactor
from limpet.core.sftp import MAX_HANDLES
from limpet.files.filesystem import (
    Files,
    Listing,
    attrsOf,
    copyData,
    failure,
    readOnlyFlags,
    statVfsOf,
    writeAll,
)
from limpet.interfaces import ISFTPFile, ISFTPServer
from limpet.ls import longName
from limpet.unix.accounts import NotPermitted
from limpet.unix.realm import UnixConchUser
from limpet.wire import sftp
from limpet.wire.fields import Reader

ENTRIES_AT_A_TIME = 100
"""How many entries of a directory one turn in a thread fetches."""

EXTENSIONS = (
    sftp.EXT_POSIX_RENAME,
    sftp.EXT_STATVFS,
    sftp.EXT_FSTATVFS,
    sftp.EXT_HARDLINK,
    sftp.EXT_FSYNC,
    sftp.EXT_LSETSTAT,
    sftp.EXT_LIMITS,
    sftp.EXT_COPY_DATA,
)
"""What is announced; the requests that have a handle come to the open file."""

Run = Callable[..., Any]
"""Calls a function with arguments somewhere where it may wait; gives its result or a Deferred."""


def inThread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Call it in a thread of the reactor's pool."""
    reactor = getReactor()
    later: Deferred[Any] = deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)
    return later


def _bytes(path: str | bytes) -> bytes:
    return os.fsencode(path)


@implementer(ISFTPServer)
class SFTPServerForUnixConchUser:
    """The files of the user that this process runs as; the adapter of `UnixConchUser`.

    Args:
        avatar: The user.
        files: Which files: a `limpet.files.filesystem.Files` or `ConfinedFiles`; None for all that
            the user may reach, beginning at the home.
        readOnly: Whether nothing may be changed.
        run: Where the calls are made that may wait.

    Raises:
        NotPermitted: The process is somebody else, who may see other files than the user.
    """

    def __init__(
        self,
        avatar: Any,
        files: Files | None = None,
        readOnly: bool = False,
        run: Run = inThread,
    ) -> None:
        self.avatar = avatar
        if files is None:
            if avatar.getUserGroupId()[0] != os.geteuid():
                raise NotPermitted("the files of other users are served by processes of theirs")
            home = getattr(avatar.getHomeDir(), "path", avatar.getHomeDir())
            files = Files(_bytes(home))
        self.files = files
        self.readOnly = readOnly
        self.run = run

    def _change(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.checkMayChange()
        return self.run(function, *arguments)

    def checkMayChange(self) -> None:
        """Raises OSError, EROFS, where nothing may be changed."""
        if self.readOnly:
            raise failure(errno.EROFS, "Permission denied: the server is read-only")

    def gotVersion(self, otherVersion: int, extData: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Announce `EXTENSIONS`."""
        return {name: sftp.EXTENSION_VERSIONS[name] for name in EXTENSIONS}

    def openFile(self, filename: bytes, flags: int, attrs: Mapping[str, Any]) -> Any:
        """Open a regular file; see `ISFTPServer.openFile`."""
        if not readOnlyFlags(flags):
            self.checkMayChange()
        return self.run(UnixSFTPFile, self, filename, flags, attrs)

    def removeFile(self, filename: bytes) -> Any:
        return self._change(self.files.removeFile, filename)

    def renameFile(self, oldpath: bytes, newpath: bytes) -> Any:
        return self._change(self.files.rename, oldpath, newpath)

    def makeDirectory(self, path: bytes, attrs: Mapping[str, Any]) -> Any:
        return self._change(self.files.makeDirectory, path, attrs)

    def removeDirectory(self, path: bytes) -> Any:
        return self._change(self.files.removeDirectory, path)

    def openDirectory(self, path: bytes) -> Any:
        return self.run(UnixSFTPDirectory, self, path)

    def getAttrs(self, path: bytes, followLinks: bool) -> Any:
        look = self.files.stat if followLinks else self.files.lstat
        return self.run(lambda: attrsOf(look(path)))

    def setAttrs(self, path: bytes, attrs: Mapping[str, Any]) -> Any:
        return self._change(self.files.setAttrs, path, attrs)

    def readLink(self, path: bytes) -> Any:
        return self.run(self.files.readLink, path)

    def makeLink(self, linkPath: bytes, targetPath: bytes) -> Any:
        return self._change(self.files.makeLink, targetPath, linkPath)

    def realPath(self, path: bytes) -> Any:
        return self.run(self.files.realPath, path)

    def extendedRequest(self, extendedName: bytes, extendedData: bytes) -> Any:
        """Serve OpenSSH's extensions; see `ISFTPServer.extendedRequest`."""
        fields = sftp.EXTENDED_REQUESTS.get(extendedName)
        serve = _EXTENDED.get(extendedName)
        if fields is None or serve is None:
            raise NotImplementedError
        values = sftp.readFields(fields, Reader(extendedData))
        if any(isinstance(value, bytes) and b"\0" in value for value in values):
            raise failure(errno.EINVAL)
        return serve(self, *values)

    def _replace(self, old: bytes, new: bytes) -> Any:
        return self._change(self.files.replace, old, new)

    def _hardLink(self, old: bytes, new: bytes) -> Any:
        return self._change(self.files.hardLink, old, new)

    def _lsetStat(self, path: bytes, attrs: Mapping[str, Any]) -> Any:
        return self._change(self.files.setLinkAttrs, path, attrs)

    def _statVfs(self, path: bytes) -> Any:
        return self.run(lambda: self.files.statVfs(path).encode())

    def _limits(self) -> bytes:
        length = sftp.MAX_DATA_LENGTH
        return sftp.Limits(sftp.MAX_MESSAGE_LENGTH, length, length, MAX_HANDLES).encode()


@implementer(ISFTPFile)
class UnixSFTPFile:
    """An open file of the system's.

    Args:
        server: Whose it is.
        filename: Its path.
        flags: FXF_*.
        attrs: Those of a new file.

    Attributes:
        fd: Its descriptor.
    """

    def __init__(
        self,
        server: SFTPServerForUnixConchUser,
        filename: bytes,
        flags: int,
        attrs: Mapping[str, Any],
    ) -> None:
        self.server = server
        self.fd = server.files.openFile(filename, flags, attrs)

    def close(self) -> Any:
        # It may wait: a file server writes what it has kept back.
        return self.server.run(os.close, self.fd)

    def readChunk(self, offset: int, length: int) -> Any:
        return self.server.run(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        if offset > 2**63 - 1:
            raise failure(errno.EINVAL)
        data = os.pread(self.fd, length, offset)
        if not data:
            raise EOFError
        return data

    def writeChunk(self, offset: int, data: bytes) -> Any:
        return self.server._change(writeAll, self.fd, offset, data)

    def getAttrs(self) -> Any:
        return self.server.run(lambda: attrsOf(os.fstat(self.fd)))

    def setAttrs(self, attrs: Mapping[str, Any]) -> Any:
        return self.server._change(self.server.files.setFileAttrs, self.fd, attrs)

    # Extensions; `FileTransferServer` calls them where they are there.

    def sync(self) -> Any:
        """Write to the disk what the system keeps back (fsync)."""
        return self.server._change(os.fsync, self.fd)

    def statVfs(self) -> Any:
        """How full the file system is, as `limpet.wire.sftp.StatVfs`."""
        return self.server.run(statVfsOf, self.fd)

    def copyData(self, offset: int, length: int, target: Any, targetOffset: int) -> Any:
        """Copy a part of it, 0 for all, to another open file."""
        return self.server._change(copyData, self.fd, offset, length, target.fd, targetOffset)


class UnixSFTPDirectory:
    """An open directory: an iterator over its entries, some of which are Deferreds.

    A Deferred that comes at the end fails with StopIteration.

    Args:
        server: Whose it is.
        path: Its path.
    """

    def __init__(self, server: SFTPServerForUnixConchUser, path: bytes) -> None:
        self.server = server
        self._listing: Listing = server.files.openDirectory(path)
        self._entries: deque[tuple[bytes, bytes, dict[str, int]]] = deque()

    def __iter__(self) -> UnixSFTPDirectory:
        return self

    def __next__(self) -> Any:
        if self._entries:
            return self._entries.popleft()
        found = self.server.run(self._fetch)
        if isinstance(found, Deferred):
            return found.addCallback(self._first)
        return self._first(found)

    def _fetch(self) -> list[tuple[bytes, bytes, dict[str, int]]]:
        entries = []
        for name, details in self._listing.next(ENTRIES_AT_A_TIME):
            if details is not None:
                entries.append((name, longName(name, details), attrsOf(details)))
            else:
                entries.append((name, name, {}))
        return entries

    def _first(self, entries: list[tuple[bytes, bytes, dict[str, int]]]) -> Any:
        if not entries:
            raise StopIteration
        self._entries.extend(entries)
        return self._entries.popleft()

    def close(self) -> Any:
        return self.server.run(self._listing.close)


_EXTENDED: dict[bytes, Callable[..., Any]] = {
    sftp.EXT_POSIX_RENAME: SFTPServerForUnixConchUser._replace,
    sftp.EXT_HARDLINK: SFTPServerForUnixConchUser._hardLink,
    sftp.EXT_LSETSTAT: SFTPServerForUnixConchUser._lsetStat,
    sftp.EXT_STATVFS: SFTPServerForUnixConchUser._statVfs,
    sftp.EXT_LIMITS: SFTPServerForUnixConchUser._limits,
}

registerAdapter(SFTPServerForUnixConchUser, UnixConchUser, ISFTPServer)
