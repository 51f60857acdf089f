"""The files of a system's user in the server's own process, under Conch's names, to derive from.

Rule: everything is done as the user that the process is. A server of root's serves nobody but root
in this way; for others it has a process of their own (`limpet.unix.fileserver`), where Conch would
change the user of the whole process around each operation.

A subclass confines its clients, or leads them elsewhere, by an `_absPath` of its own.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

from zope.interface import implementer

from limpet.error import ConchError
from limpet.files.filesystem import Files, attrsOf, readInto, writeAll
from limpet.interfaces import ISFTPFile, ISFTPServer
from limpet.ls import longName


@functools.cache
def _everything() -> Files:
    """All files of the system; one for the process, as it holds a descriptor."""
    return Files(b"/")


@implementer(ISFTPServer)
class SFTPServerForUnixConchUser:
    """Serves a user the files that this process may reach, from the home directory on.

    Args:
        avatar: Who: its `getHomeDir()` is a `FilePath`.

    Raises:
        ConchError: The process is not that user's.
    """

    def __init__(self, avatar: Any) -> None:
        self.avatar = avatar
        getIds = getattr(avatar, "getUserGroupId", None)
        if getIds is not None and getIds()[0] != os.geteuid():
            raise ConchError(
                "the process of the server is another user's; UnixSSHRealm serves every user's "
                "files, by a process of the user's own"
            )

    def _absPath(self, path: bytes) -> Any:
        """Where a path of the client's leads: bytes or text."""
        return os.path.join(os.fsencode(self.avatar.getHomeDir().path), path)

    def _at(self, path: bytes) -> bytes:
        return os.fsencode(self._absPath(path))

    def gotVersion(self, otherVersion: int, extData: dict[Any, Any]) -> dict[Any, Any]:
        """We have no extensions but the server's own."""
        return {}

    def openFile(self, filename: bytes, flags: int, attrs: dict[str, Any]) -> UnixSFTPFile:
        """Open a regular file."""
        return UnixSFTPFile(self, self._at(filename), flags, attrs)

    def removeFile(self, filename: bytes) -> None:
        """Remove a file or a link."""
        _everything().removeFile(self._at(filename))

    def renameFile(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename, unless there is something of the new name."""
        _everything().rename(self._at(oldpath), self._at(newpath))

    def makeDirectory(self, path: bytes, attrs: dict[str, Any]) -> None:
        """Make a directory."""
        _everything().makeDirectory(self._at(path), attrs)

    def removeDirectory(self, path: bytes) -> None:
        """Remove an empty directory."""
        _everything().removeDirectory(self._at(path))

    def openDirectory(self, path: bytes) -> UnixSFTPDirectory:
        """Open a directory to list it."""
        return UnixSFTPDirectory(self, self._at(path))

    def getAttrs(self, path: bytes, followLinks: bool) -> dict[str, int]:
        """What is at a path."""
        look = _everything().stat if followLinks else _everything().lstat
        return attrsOf(look(self._at(path)))

    def setAttrs(self, path: bytes, attrs: dict[str, Any]) -> None:
        """Change what `attrs` names."""
        _everything().setAttrs(self._at(path), attrs)

    def readLink(self, path: bytes) -> bytes:
        """Where a link leads."""
        return _everything().readLink(self._at(path))

    def makeLink(self, linkPath: bytes, targetPath: bytes) -> None:
        """Make a symbolic link; both ends of it are paths of the client's."""
        _everything().makeLink(self._at(targetPath), self._at(linkPath))

    def realPath(self, path: bytes) -> bytes:
        """The path that a client may show, links followed as far as there is something."""
        return os.path.realpath(self._at(path))

    def extendedRequest(self, extName: bytes, extData: bytes) -> Any:
        """We know none."""
        raise NotImplementedError


@implementer(ISFTPFile)
class UnixSFTPFile:
    """A file that a client has open.

    Args:
        server: The `SFTPServerForUnixConchUser`.
        filename: The file's path.
        flags: The FXF_* bits of the request.
        attrs: "permissions" for a file that is made; the others are set on it.
    """

    def __init__(
        self,
        server: SFTPServerForUnixConchUser,
        filename: bytes | str,
        flags: int,
        attrs: dict[str, Any],
    ) -> None:
        self.server = server
        self.fd = _everything().openFile(os.fsencode(filename), flags, attrs)
        others = {name: value for name, value in attrs.items() if name != "permissions"}
        if others:
            try:
                self.setAttrs(others)
            except OSError:
                os.close(self.fd)
                raise

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def readChunk(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on. Raises EOFError at the end."""
        buffer = bytearray(length)
        count = readInto(self.fd, offset, memoryview(buffer))
        if not count and length:
            raise EOFError
        return bytes(buffer[:count])

    def writeChunk(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""
        writeAll(self.fd, offset, data)

    def getAttrs(self) -> dict[str, int]:
        """What it is."""
        return attrsOf(os.fstat(self.fd))

    def setAttrs(self, attrs: dict[str, Any]) -> None:
        """Change what `attrs` names."""
        _everything().setFileAttrs(self.fd, attrs)


class UnixSFTPDirectory:
    """The entries of a directory, but for itself and its parent.

    Args:
        server: The `SFTPServerForUnixConchUser`.
        directory: The directory's path.
    """

    def __init__(self, server: SFTPServerForUnixConchUser, directory: bytes | str) -> None:
        self.server = server
        self._listing = _everything().openDirectory(os.fsencode(directory))

    def __iter__(self) -> Iterator[tuple[bytes, bytes, dict[str, int]]]:
        return self

    def __next__(self) -> tuple[bytes, bytes, dict[str, int]]:
        """The next entry: name, line for people, attributes."""
        while True:
            found = self._listing.next(1)
            if not found:
                raise StopIteration
            name, details = found[0]
            if name not in (b".", b".."):
                if details is None:
                    return name, name, {}
                return name, longName(name, details), attrsOf(details)

    next = __next__

    def close(self) -> None:
        """Close it."""
        self._listing.close()
