"""An SFTP server with its files in memory, for one user who has a key.

    python examples/sftpServer.py PORT HOST_KEY AUTHORIZED_KEYS

Every connection has the same files, a gibibyte in all; they are gone when the program ends.
"""

from __future__ import annotations

import stat
import sys
import time
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as installed
from twisted.python.components import registerAdapter
from zope.interface import implementer

from limpet.avatar import ConchUser
from limpet.checkers import AuthorizedKeysFiles, SSHPublicKeyChecker
from limpet.interfaces import IConchUser, ISFTPFile, ISFTPServer
from limpet.ssh.factory import SSHFactory
from limpet.ssh.filetransfer import (
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    FXF_CREAT,
    FXF_EXCL,
    FXF_TRUNC,
    FileTransferServer,
    SFTPError,
)
from limpet.ssh.keys import Key
from limpet.ssh.session import SSHSession

reactor: Any = installed
FILES: dict[bytes, bytearray] = {b"/welcome.txt": bytearray(b"Hello!\n")}
STARTED = int(time.time())
SPACE = 2**30
"""How many bytes all files may have together: they are this program's memory."""


def attrsOf(path: bytes) -> dict[str, int]:
    if path == b"/":
        return {"permissions": stat.S_IFDIR | 0o755, "atime": STARTED, "mtime": STARTED}
    if path not in FILES:
        raise SFTPError(FX_NO_SUCH_FILE, "there is no such file")
    size = len(FILES[path])
    times = {"atime": STARTED, "mtime": STARTED}
    return {"permissions": stat.S_IFREG | 0o644, "size": size, **times}


@implementer(ISFTPFile)
class MemoryFile:
    def __init__(self, path: bytes) -> None:
        self.path = path
        self.data = FILES[path]

    def close(self) -> None:
        """There is nothing to do."""

    def readChunk(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])  # empty is the end of the file

    def writeChunk(self, offset: int, data: bytes) -> None:
        self._makeRoom(offset + len(data))
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(data)] = data

    def _makeRoom(self, size: int) -> None:
        if size - len(self.data) > SPACE - sum(map(len, FILES.values())):
            # OpenSSH's sftp says "Failure" for all that keeps a write from succeeding; others say
            # what it was.
            raise SFTPError(FX_FAILURE, f"no space left: all files have {SPACE} bytes together")

    def getAttrs(self) -> dict[str, int]:
        return attrsOf(self.path)

    def setAttrs(self, attrs: dict[str, Any]) -> None:
        """Modes and times are of no use here; a size is."""
        size = attrs.get("size", len(self.data))
        self._makeRoom(size)
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))


class Listing(list[tuple[bytes, bytes, dict[str, int]]]):
    def close(self) -> None:
        """There is nothing to do."""


@implementer(ISFTPServer)
class MemoryFiles:
    """All files are in one directory."""

    def __init__(self, avatar: Any) -> None:
        self.avatar = avatar

    def gotVersion(self, otherVersion: int, extData: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return {b"posix-rename@openssh.com": b"1"}

    def realPath(self, path: bytes) -> bytes:
        names = [name for name in path.split(b"/") if name not in (b"", b".", b"..")]
        return b"/" + b"/".join(names)

    def openFile(self, filename: bytes, flags: int, attrs: dict[str, Any]) -> MemoryFile:
        path = self.realPath(filename)
        if path not in FILES:
            if not flags & FXF_CREAT or path.count(b"/") > 1:
                raise SFTPError(FX_NO_SUCH_FILE, "there is no such file")
            FILES[path] = bytearray()
        elif flags & FXF_EXCL:
            raise SFTPError(FX_FAILURE, "the file is there already")
        elif flags & FXF_TRUNC:
            FILES[path].clear()
        return MemoryFile(path)

    async def getAttrs(self, path: bytes, followLinks: bool) -> dict[str, int]:
        # Any method may be a coroutine, or return a Deferred.
        return attrsOf(self.realPath(path))

    def setAttrs(self, path: bytes, attrs: dict[str, Any]) -> None:
        attrsOf(self.realPath(path))
        if self.realPath(path) in FILES:
            MemoryFile(self.realPath(path)).setAttrs(attrs)

    def openDirectory(self, path: bytes) -> Listing:
        if self.realPath(path) != b"/":
            raise SFTPError(FX_NO_SUCH_FILE, "there is no such directory")
        return Listing((path[1:], path[1:], attrsOf(path)) for path in sorted(FILES))

    def removeFile(self, filename: bytes) -> None:
        attrsOf(self.realPath(filename))
        FILES.pop(self.realPath(filename), None)

    def renameFile(self, oldpath: bytes, newpath: bytes) -> None:
        if self.realPath(newpath) in FILES:
            raise SFTPError(FX_FAILURE, "the file is there already")
        attrsOf(self.realPath(oldpath))
        FILES[self.realPath(newpath)] = FILES.pop(self.realPath(oldpath))

    def makeDirectory(self, path: bytes, attrs: dict[str, Any]) -> None:
        raise NotImplementedError("there is one directory only")

    def removeDirectory(self, path: bytes) -> None:
        raise NotImplementedError("there is one directory only")

    def readLink(self, path: bytes) -> bytes:
        raise NotImplementedError("there are no links")

    def makeLink(self, linkPath: bytes, targetPath: bytes) -> None:
        raise NotImplementedError("there are no links")

    def extendedRequest(self, extendedName: bytes, extendedData: bytes) -> None:
        if extendedName != b"posix-rename@openssh.com":
            raise NotImplementedError
        from limpet.wire.fields import getNS

        oldpath, newpath, _ = getNS(extendedData, 2)
        FILES.pop(self.realPath(newpath), None)
        self.renameFile(oldpath, newpath)  # None is success


class User(ConchUser):
    def __init__(self) -> None:
        super().__init__()
        self.channelLookup[b"session"] = SSHSession
        self.subsystemLookup[b"sftp"] = FileTransferServer


registerAdapter(MemoryFiles, User, ISFTPServer)


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IConchUser, User(), lambda: None


def main(port: str, hostKey: str, authorizedKeys: str) -> None:
    factory = SSHFactory()
    key = Key.fromFile(hostKey)
    factory.privateKeys = {key.sshType(): key}
    factory.publicKeys = {key.sshType(): key.public()}
    checker = SSHPublicKeyChecker(AuthorizedKeysFiles([authorizedKeys]))
    factory.portal = Portal(Realm(), [checker])
    reactor.listenTCP(int(port), factory, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print("usage: sftpServer.py PORT HOST_KEY AUTHORIZED_KEYS", file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:4])
