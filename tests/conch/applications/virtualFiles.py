"""Files that exist in memory only, as an `ISFTPServer` of Conch: what an application brings along.

Written as Twisted documents its interfaces, and imported from `twisted.conch`.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from typing import Any

from twisted.conch import ls
from twisted.conch.interfaces import ISFTPFile, ISFTPServer
from twisted.conch.ssh.filetransfer import (
    FX_FAILURE,
    FX_FILE_ALREADY_EXISTS,
    FX_NO_SUCH_FILE,
    FX_PERMISSION_DENIED,
    FXF_CREAT,
    FXF_EXCL,
    FXF_TRUNC,
    SFTPError,
)
from zope.interface import implementer


class Directory:
    """A directory: name to what is in it."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Any] = {}
        self.attributes = {
            "permissions": stat.S_IFDIR | 0o755,
            "size": 0,
            "uid": 7,
            "gid": 7,
            "atime": int(time.time()),
            "mtime": int(time.time()),
        }


class File:
    """A file and its bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.attributes = {
            "permissions": stat.S_IFREG | 0o644,
            "size": 0,
            "uid": 7,
            "gid": 7,
            "atime": int(time.time()),
            "mtime": int(time.time()),
        }


@implementer(ISFTPFile)
class OpenFile:
    """A file that a client has open."""

    def __init__(self, file: File) -> None:
        self.file = file

    def close(self) -> None:
        pass

    def readChunk(self, offset: int, length: int) -> bytes:
        data = bytes(self.file.data[offset : offset + length])
        if not data:
            raise EOFError
        return data

    def writeChunk(self, offset: int, data: bytes) -> None:
        missing = offset - len(self.file.data)
        if missing > 0:
            self.file.data.extend(bytes(missing))
        self.file.data[offset : offset + len(data)] = data
        self.file.attributes["size"] = len(self.file.data)

    def getAttrs(self) -> dict[str, int]:
        return self.file.attributes

    def setAttrs(self, attrs: dict[str, int]) -> None:
        self.file.attributes.update(attrs)


class OpenDirectory:
    """The entries of a directory, as they are given to a client, and no ISFTPFile."""

    def __init__(self, entries: list[tuple[bytes, bytes, dict[str, int]]]) -> None:
        self.entries = iter(entries)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.entries)

    next = __next__

    def close(self) -> None:
        pass


class _Status:
    """What `lsLine` takes: attributes in the form of os.stat's."""

    def __init__(self, attributes: dict[str, int]) -> None:
        self.st_mode = attributes["permissions"]
        self.st_size = attributes["size"]
        self.st_uid = attributes["uid"]
        self.st_gid = attributes["gid"]
        self.st_mtime = attributes["mtime"]
        self.st_nlink = 1


@implementer(ISFTPServer)
class VirtualFiles:
    """All that one user sees."""

    def __init__(self, avatar: Any) -> None:
        self.avatar = avatar
        self.root: Directory = avatar.files

    def gotVersion(self, otherVersion: int, extData: dict[Any, Any]) -> dict[Any, Any]:
        return {}

    def openFile(self, filename: bytes, flags: int, attrs: dict[str, int]) -> OpenFile:
        parent, name = self._split(filename)
        found = parent.entries.get(name)
        if isinstance(found, Directory):
            raise SFTPError(FX_FAILURE, "a directory")
        if found is None:
            if not flags & FXF_CREAT:
                raise SFTPError(FX_NO_SUCH_FILE, "no such file")
            found = parent.entries[name] = File()
        elif flags & FXF_EXCL:
            raise SFTPError(FX_FILE_ALREADY_EXISTS, "exists")
        if flags & FXF_TRUNC:
            found.data.clear()
        return OpenFile(found)

    def removeFile(self, filename: bytes) -> None:
        parent, name = self._split(filename)
        if not isinstance(parent.entries.get(name), File):
            raise SFTPError(FX_NO_SUCH_FILE, "no such file")
        del parent.entries[name]

    def renameFile(self, oldpath: bytes, newpath: bytes) -> None:
        moved = self._find(oldpath)
        target, newName = self._split(newpath)
        source, oldName = self._split(oldpath)
        del source.entries[oldName]
        target.entries[newName] = moved

    def makeDirectory(self, path: bytes, attrs: dict[str, int]) -> None:
        parent, name = self._split(path)
        parent.entries[name] = Directory()

    def removeDirectory(self, path: bytes) -> None:
        parent, name = self._split(path)
        found = parent.entries.get(name)
        if not isinstance(found, Directory) or found.entries:
            raise SFTPError(FX_FAILURE, "not an empty directory")
        del parent.entries[name]

    def openDirectory(self, path: bytes) -> OpenDirectory:
        found = self._find(path)
        if not isinstance(found, Directory):
            raise SFTPError(FX_FAILURE, "not a directory")
        entries = []
        for name, entry in found.entries.items():
            line = ls.lsLine(name, _Status(entry.attributes))
            longName = line if isinstance(line, bytes) else line.encode("utf-8")
            entries.append((name, longName, entry.attributes))
        return OpenDirectory(entries)

    def getAttrs(self, path: bytes, followLinks: bool) -> dict[str, int]:
        attributes: dict[str, int] = self._find(path).attributes
        return attributes

    def setAttrs(self, path: bytes, attrs: dict[str, int]) -> None:
        self._find(path).attributes.update(attrs)

    def readLink(self, path: bytes) -> bytes:
        raise SFTPError(FX_PERMISSION_DENIED, "there are no links here")

    def makeLink(self, linkPath: bytes, targetPath: bytes) -> None:
        raise SFTPError(FX_PERMISSION_DENIED, "there are no links here")

    def realPath(self, path: bytes) -> bytes:
        return b"/" + b"/".join(self._parts(path))

    def extendedRequest(self, extendedName: bytes, extendedData: bytes) -> Any:
        raise NotImplementedError

    @staticmethod
    def _parts(path: bytes) -> list[bytes]:
        parts: list[bytes] = []
        for part in path.split(b"/"):
            if part == b"..":
                parts = parts[:-1]
            elif part not in (b"", b"."):
                parts.append(part)
        return parts

    def _find(self, path: bytes) -> Any:
        found: Any = self.root
        for part in self._parts(path):
            found = getattr(found, "entries", {}).get(part)
            if found is None:
                raise SFTPError(FX_NO_SUCH_FILE, "no such file")
        return found

    def _split(self, path: bytes) -> tuple[Directory, bytes]:
        parts = self._parts(path)
        if not parts:
            raise SFTPError(FX_FAILURE, "that is the root")
        parent = self._find(b"/".join(parts[:-1]))
        if not isinstance(parent, Directory):
            raise SFTPError(FX_NO_SUCH_FILE, "no such directory")
        return parent, parts[-1]
