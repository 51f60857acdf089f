"""SFTP's client: requests as methods that return Deferreds (draft-ietf-secsh-filexfer-02).

Rule: a reply has to belong to a request that is open, and be one that this request can have;
anything else is a broken server, which ends the session and fails every request that is still
open. What a request fails with:

    EOFError               FX_EOF: there is nothing more to read
    NotImplementedError    FX_OP_UNSUPPORTED
    SFTPError              any other code of the server's; FX_BAD_MESSAGE for a reply that is none
    ConnectionLost         the session ended first

Paths go as bytes; text is encoded as UTF-8, with surrogate escapes for bytes that are not.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.core.framing import Pieces
from limpet.interfaces import ISFTPFile
from limpet.ssh.filetransfer.base import FileTransferBase, SFTPError
from limpet.wire import sftp
from limpet.wire.errors import BadField, WireError
from limpet.wire.fields import NS, Reader, u32, u64

Path = bytes | str

_SPAN = struct.Struct(">QL")
_REPLY_HEADER = struct.Struct(">BLL")
_FRAME_AND_ID = struct.Struct(">LBL")

MAX_REQUEST_ID = 2**32

EXPECTED: Mapping[int, int] = {
    sftp.FXP_OPEN: sftp.FXP_HANDLE,
    sftp.FXP_OPENDIR: sftp.FXP_HANDLE,
    sftp.FXP_READ: sftp.FXP_DATA,
    sftp.FXP_READDIR: sftp.FXP_NAME,
    sftp.FXP_REALPATH: sftp.FXP_NAME,
    sftp.FXP_READLINK: sftp.FXP_NAME,
    sftp.FXP_STAT: sftp.FXP_ATTRS,
    sftp.FXP_LSTAT: sftp.FXP_ATTRS,
    sftp.FXP_FSTAT: sftp.FXP_ATTRS,
    sftp.FXP_EXTENDED: sftp.FXP_EXTENDED_REPLY,
}
"""What a request is answered with where it succeeds, if that is not STATUS."""

EXTENDED_EXPECTED: Mapping[bytes, int] = {sftp.EXT_EXPAND_PATH: sftp.FXP_NAME}
"""The same for extended requests, where it is neither STATUS nor EXTENDED_REPLY."""

REPLIES = frozenset(
    {
        sftp.FXP_STATUS,
        sftp.FXP_HANDLE,
        sftp.FXP_DATA,
        sftp.FXP_NAME,
        sftp.FXP_ATTRS,
        sftp.FXP_EXTENDED_REPLY,
    }
)


def pathBytes(path: Path) -> bytes:
    """A path as the server is told it."""
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")


def pathText(path: bytes) -> str:
    """The inverse of `pathBytes`: nothing is lost where the path is not UTF-8."""
    return path.decode("utf-8", "surrogateescape")


class FileTransferClient(FileTransferBase):
    """A protocol that asks an SFTP server. Its transport is a channel with the subsystem `sftp`.

    A request that is cancelled has been sent all the same: its reply is ignored when it comes, and
    a handle in it is closed.

    Args:
        extData: Extensions to announce: name to data, both bytes.

    Attributes:
        serverVersion: The protocol's version, once the server has told it; it is 3.
        serverExtensions: What the server announced then: name to data, both bytes.
        openRequests: The requests that wait for their reply: id to the Deferred of the result.
        symlinkTargetFirst: Whether SYMLINK names the target before the link, as OpenSSH takes it
            and everybody after it. False for a server that keeps to the draft.
    """

    def __init__(self, extData: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__()
        self.extData = dict(extData or {})
        self.serverVersion: int | None = None
        self.serverExtensions: dict[bytes, bytes] = {}
        self.symlinkTargetFirst = True
        self.counter = 0
        self.openRequests: dict[int, defer.Deferred[Any]] = {}
        # What each is answered with where it succeeds; for a READ how much it may bring, and those
        # whose data is wanted as it comes.
        self._expected: dict[int, int] = {}
        self._mostData: dict[int, int] = {}
        self._inPieces: set[int] = set()
        self._ended: Failure | None = None
        self._waitForVersion: list[defer.Deferred[FileTransferClient]] = []

    # ── the session ───────────────────────────────────────────────────────────────────────────

    @property
    def ended(self) -> bool:
        """Whether the session is over, so that every further request fails."""
        return self._ended is not None

    def connectionMade(self) -> None:
        """Begin the session: INIT, uint32 version, then pairs of strings."""
        self.sendPacket(sftp.FXP_INIT, sftp.packHello(sftp.VERSION, self.extData.items()))

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The session is over; every request that is open fails."""
        self.connected = 0
        text = "the SFTP session ended before the server answered"
        self._end(Failure(ConnectionLost(text)))

    def gotServerVersion(self, serverVersion: int, extData: Mapping[bytes, bytes]) -> None:
        """The server has told its version and extensions; for subclasses to override."""

    def supports(self, extension: bytes) -> bool:
        """Whether the server announced `extension` in the version that we speak."""
        data = self.serverExtensions.get(extension)
        return data is not None and data == sftp.EXTENSION_VERSIONS.get(extension, data)

    def whenReady(self) -> defer.Deferred[FileTransferClient]:
        """A Deferred that fires with the client once the server has told version and extensions.

        It fails as a request does where the session ends before.
        """
        if self._ended is not None:
            return defer.fail(self._ended)
        if self.serverVersion is not None:
            return defer.succeed(self)
        waiting: defer.Deferred[FileTransferClient] = defer.Deferred()
        self._waitForVersion.append(waiting)
        return waiting

    def _end(self, failure: Failure) -> None:
        if self._ended is not None:
            return
        self._ended = failure
        self._isOver = True
        requests, self.openRequests = self.openRequests, {}
        self._expected.clear()
        self._mostData.clear()
        self._inPieces.clear()
        self._frames.clear()
        for answer in requests.values():
            answer.errback(failure)
        waiting, self._waitForVersion = self._waitForVersion, []
        for ready in waiting:
            ready.errback(failure)

    def violated(self, why: str) -> None:
        """The server does not keep to the protocol: nothing that it says further is worth anything.

        Every request that is open fails with `why` in an `SFTPError`.
        """
        text = f"the server broke the protocol: {why}"
        self._end(Failure(SFTPError(sftp.FX_BAD_MESSAGE, text)))
        if self.transport is not None:
            self.transport.loseConnection()

    # ── what comes in ─────────────────────────────────────────────────────────────────────────

    def dataReceived(self, data: bytes) -> None:
        """Take what the server sent; in any pieces."""
        if self._ended is not None:
            return
        self._frames.feed(data)
        try:
            while (frame := self._frames.take()) is not None:
                self._frameReceived(frame)
                if self._ended is not None:
                    return
        except WireError as error:
            self.violated(str(error))

    def _frameReceived(self, pieces: list[memoryview]) -> None:
        if len(pieces[0]) < _REPLY_HEADER.size:
            pieces = [memoryview(b"".join(pieces))]
        first = pieces[0]
        if first[0] == sftp.FXP_DATA and len(first) >= _REPLY_HEADER.size:
            # The way of all bulk data: it is copied once, or left where it is.
            _, number, length = _REPLY_HEADER.unpack_from(first)
            limit = self._mostData.pop(number, None)
            if limit is not None and length == sum(map(len, pieces)) - _REPLY_HEADER.size:
                pieces[0] = first[_REPLY_HEADER.size :]
                self._dataReceived(number, pieces, length, limit)
                return
        frame = b"".join(pieces)
        kind = frame[0]
        if kind == sftp.FXP_VERSION:
            self.packet_VERSION(frame[1:])
        elif self.serverVersion is None:
            raise BadField(f"message {kind} before its version")
        elif kind not in REPLIES:
            raise BadField(f"message {kind}, which is no reply")
        else:
            handler: Callable[[bytes], None] = getattr(self, f"packet_{sftp.MESSAGE_NAMES[kind]}")
            handler(frame[1:])

    def _dataReceived(self, number: int, pieces: list[memoryview], length: int, limit: int) -> None:
        if length > limit:
            raise BadField(f"{length} bytes of data, where {limit} were asked for")
        inPieces = number in self._inPieces
        answer = self._closed(number)
        if not length and limit:
            # Who took it for progress would ask for ever.
            error = SFTPError(sftp.FX_BAD_MESSAGE, "the server answered a read with no data")
            answer.errback(error)
        else:
            answer.callback(Pieces(pieces) if inPieces else b"".join(pieces))

    def _requestOf(self, reader: Reader, kind: int) -> tuple[int, int]:
        """The number of the request that a reply belongs to, and what is expected as its reply."""
        number = reader.u32()
        if number not in self.openRequests:
            raise BadField(f"a reply to request {number}, which is not open")
        # An application may have put one there itself: it knows what it waits for.
        expected = self._expected.get(number, kind)
        if kind not in (expected, sftp.FXP_STATUS):
            raise BadField(f"{sftp.MESSAGE_NAMES[kind]} in answer to another request")
        return number, expected

    def _closed(self, number: int) -> defer.Deferred[Any]:
        """The Deferred of a request that is answered now."""
        self._expected.pop(number, None)
        self._mostData.pop(number, None)
        self._inPieces.discard(number)
        return self.openRequests.pop(number)

    def packet_VERSION(self, data: bytes) -> None:
        """VERSION: uint32 version, then pairs of strings, an extension and its data."""
        if self.serverVersion is not None:
            raise BadField("a second version")
        version, extensions = sftp.readHello(data)
        if version != sftp.VERSION:
            raise BadField(f"version {version} of SFTP, where 3 is the highest that was offered")
        self.serverVersion, self.serverExtensions = version, extensions
        self.otherVersion = version
        self.gotServerVersion(version, extensions)
        waiting, self._waitForVersion = self._waitForVersion, []
        for ready in waiting:
            ready.callback(self)

    def packet_STATUS(self, data: bytes) -> None:
        """STATUS: uint32 id, uint32 code; then, but not from old servers, message and language."""
        reader = Reader(data)
        number, expected = self._requestOf(reader, sftp.FXP_STATUS)
        code, message, language = sftp.readStatus(reader)
        if code == sftp.FX_OK and expected in (sftp.FXP_STATUS, sftp.FXP_EXTENDED_REPLY):
            self._closed(number).callback((message, language))
            return
        text, tongue = (raw.decode("utf-8", "backslashreplace") for raw in (message, language))
        error: Exception
        if code == sftp.FX_OK:
            name = sftp.MESSAGE_NAMES[expected]
            text = f"the server says that it succeeded, but sends no {name}"
            error = SFTPError(sftp.FX_BAD_MESSAGE, text)
        elif code == sftp.FX_EOF:
            error = EOFError(text)
        elif code == sftp.FX_OP_UNSUPPORTED:
            error = NotImplementedError(text)
        else:
            error = SFTPError(code, text, tongue)
        self._closed(number).errback(error)

    def packet_HANDLE(self, data: bytes) -> None:
        """HANDLE: uint32 id, string handle."""
        reader = Reader(data)
        number, _ = self._requestOf(reader, sftp.FXP_HANDLE)
        handle = reader.string(sftp.MAX_HANDLE_LENGTH)
        answer = self._closed(number)
        isCancelled = answer.called
        answer.callback(handle)
        if isCancelled:
            self._sendRequest(sftp.FXP_CLOSE, NS(handle)).addErrback(lambda failure: None)

    def packet_DATA(self, data: bytes) -> None:
        """DATA: uint32 id, string data. Here for a READ that `readChunk` did not send."""
        reader = Reader(data)
        number, _ = self._requestOf(reader, sftp.FXP_DATA)
        found = reader.string()
        reader.end()
        self._dataReceived(number, [memoryview(found)], len(found), sftp.MAX_MESSAGE_LENGTH)

    def packet_NAME(self, data: bytes) -> None:
        """NAME: uint32 id, uint32 count, then filename, longname and attrs, `count` times."""
        reader = Reader(data)
        number, _ = self._requestOf(reader, sftp.FXP_NAME)
        names = sftp.readNames(reader)
        self._closed(number).callback(names)

    def packet_ATTRS(self, data: bytes) -> None:
        """ATTRS: uint32 id, attrs."""
        reader = Reader(data)
        number, _ = self._requestOf(reader, sftp.FXP_ATTRS)
        attrs = sftp.readAttrs(reader)
        self._closed(number).callback(attrs)

    def packet_EXTENDED_REPLY(self, data: bytes) -> None:
        """EXTENDED_REPLY: uint32 id, then what the request defines."""
        reader = Reader(data)
        number, _ = self._requestOf(reader, sftp.FXP_EXTENDED_REPLY)
        self._closed(number).callback(reader.rest())

    # ── what goes out ─────────────────────────────────────────────────────────────────────────

    def _open(self, expected: int) -> tuple[int, defer.Deferred[Any]]:
        """A number for a request, and the Deferred of its result."""
        number = self.counter
        while number in self.openRequests:  # after 2**32 requests
            number = (number + 1) % MAX_REQUEST_ID
        self.counter = (number + 1) % MAX_REQUEST_ID
        answer: defer.Deferred[Any] = defer.Deferred()
        self.openRequests[number] = answer
        self._expected[number] = expected
        return number, answer

    def _sendRequest(self, msg: int, data: bytes) -> defer.Deferred[Any]:
        """Send a request.

        Args:
            msg: Its kind, FXP_*.
            data: Its body after the id.
        """
        if self._ended is not None:
            return defer.fail(self._ended)
        number, answer = self._open(EXPECTED.get(msg, sftp.FXP_STATUS))
        self.sendPacket(msg, u32(number) + data)
        return answer

    def extendedRequest(self, request: bytes, data: bytes) -> defer.Deferred[Any]:
        """Send a request of an extension.

        Args:
            request: Its name.
            data: What it carries, encoded.

        Returns:
            A Deferred of the data of the reply, as bytes; of (message, language) where the server
            answers with STATUS.
        """
        if self._ended is not None:
            return defer.fail(self._ended)
        number, answer = self._open(EXTENDED_EXPECTED.get(request, sftp.FXP_EXTENDED_REPLY))
        self.sendPacket(sftp.FXP_EXTENDED, u32(number) + NS(request) + data)
        return answer

    # ── files ─────────────────────────────────────────────────────────────────────────────────

    def openFile(
        self, filename: Path, flags: int, attrs: Mapping[str, Any]
    ) -> defer.Deferred[ClientFile]:
        """Open a file.

        Args:
            filename: Its path.
            flags: The FXF_* bits.
            attrs: Attributes for a new file, as `ISFTPServer` describes them.

        Returns:
            A Deferred of a `ClientFile`.
        """
        body = NS(pathBytes(filename)) + u32(flags) + sftp.packAttrs(attrs)
        answer = self._sendRequest(sftp.FXP_OPEN, body)
        return answer.addCallback(lambda handle: ClientFile(self, handle, filename))

    def removeFile(self, filename: Path) -> defer.Deferred[Any]:
        """Remove a file; not a directory."""
        return self._sendRequest(sftp.FXP_REMOVE, NS(pathBytes(filename)))

    def renameFile(self, oldpath: Path, newpath: Path) -> defer.Deferred[Any]:
        """Move a file; servers refuse where `newpath` exists. See `posixRename`."""
        body = NS(pathBytes(oldpath)) + NS(pathBytes(newpath))
        return self._sendRequest(sftp.FXP_RENAME, body)

    def makeDirectory(
        self, path: Path, attrs: Mapping[str, Any] | None = None
    ) -> defer.Deferred[Any]:
        """Make a directory."""
        body = NS(pathBytes(path)) + sftp.packAttrs(attrs or {})
        return self._sendRequest(sftp.FXP_MKDIR, body)

    def removeDirectory(self, path: Path) -> defer.Deferred[Any]:
        """Remove a directory, which has to be empty."""
        return self._sendRequest(sftp.FXP_RMDIR, NS(pathBytes(path)))

    def openDirectory(self, path: Path) -> defer.Deferred[ClientDirectory]:
        """Open a directory for listing.

        Returns:
            A Deferred of a `ClientDirectory`.
        """
        answer = self._sendRequest(sftp.FXP_OPENDIR, NS(pathBytes(path)))
        return answer.addCallback(lambda handle: ClientDirectory(self, handle, path))

    def getAttrs(self, path: Path, followLinks: object = 0) -> defer.Deferred[dict[str, Any]]:
        """The attributes of `path`; of a symbolic link itself unless `followLinks`."""
        kind = sftp.FXP_STAT if followLinks else sftp.FXP_LSTAT
        return self._sendRequest(kind, NS(pathBytes(path)))

    def setAttrs(self, path: Path, attrs: Mapping[str, Any]) -> defer.Deferred[Any]:
        """Change those attributes of `path` that `attrs` names."""
        return self._sendRequest(sftp.FXP_SETSTAT, NS(pathBytes(path)) + sftp.packAttrs(attrs))

    def readLink(self, path: Path) -> defer.Deferred[str]:
        """What a symbolic link points to, as text (`pathText`)."""
        answer = self._sendRequest(sftp.FXP_READLINK, NS(pathBytes(path)))
        return answer.addCallback(self._onlyName).addCallback(pathText)

    def makeLink(self, linkPath: Path, targetPath: Path) -> defer.Deferred[Any]:
        """Make a symbolic link at `linkPath` that points to `targetPath`."""
        names = [NS(pathBytes(targetPath)), NS(pathBytes(linkPath))]
        if not self.symlinkTargetFirst:
            names.reverse()
        return self._sendRequest(sftp.FXP_SYMLINK, b"".join(names))

    def realPath(self, path: Path) -> defer.Deferred[str]:
        """`path` as an absolute path, as text (`pathText`)."""
        answer = self._sendRequest(sftp.FXP_REALPATH, NS(pathBytes(path)))
        return answer.addCallback(self._onlyName).addCallback(pathText)

    def _onlyName(self, names: list[sftp.Name]) -> bytes:
        if len(names) != 1 or not names[0].filename:
            text = f"the server answered with {len(names)} names, where one was asked for"
            if len(names) == 1:
                text = "the server answered with an empty path"
            raise SFTPError(sftp.FX_BAD_MESSAGE, text)
        return names[0].filename

    # ── OpenSSH's extensions; `supports` tells whether the server has one ─────────────────────

    def posixRename(self, oldpath: Path, newpath: Path) -> defer.Deferred[Any]:
        """Move a file; what is at `newpath` is replaced in one step."""
        body = NS(pathBytes(oldpath)) + NS(pathBytes(newpath))
        return self.extendedRequest(sftp.EXT_POSIX_RENAME, body)

    def hardLink(self, oldpath: Path, newpath: Path) -> defer.Deferred[Any]:
        """Give the file `oldpath` the second name `newpath`."""
        body = NS(pathBytes(oldpath)) + NS(pathBytes(newpath))
        return self.extendedRequest(sftp.EXT_HARDLINK, body)

    def statVFS(self, path: Path) -> defer.Deferred[sftp.StatVfs]:
        """Sizes of the file system that `path` is on."""
        answer = self.extendedRequest(sftp.EXT_STATVFS, NS(pathBytes(path)))
        return answer.addCallback(_decoded, sftp.StatVfs.decode)

    def setLinkAttrs(self, path: Path, attrs: Mapping[str, Any]) -> defer.Deferred[Any]:
        """The same as `setAttrs`, for a symbolic link itself."""
        body = NS(pathBytes(path)) + sftp.packAttrs(attrs)
        return self.extendedRequest(sftp.EXT_LSETSTAT, body)

    def getLimits(self) -> defer.Deferred[sftp.Limits]:
        """The sizes that the server takes."""
        answer = self.extendedRequest(sftp.EXT_LIMITS, b"")
        return answer.addCallback(_decoded, sftp.Limits.decode)

    def expandPath(self, path: Path) -> defer.Deferred[str]:
        """The same as `realPath`, with `~` and `~user` at the start expanded."""
        answer = self.extendedRequest(sftp.EXT_EXPAND_PATH, NS(pathBytes(path)))
        return answer.addCallback(self._onlyName).addCallback(pathText)

    def copyData(
        self, source: ClientFile, offset: int, length: int, target: ClientFile, targetOffset: int
    ) -> defer.Deferred[Any]:
        """Let the server copy from one open file to another.

        Args:
            source: What to read.
            offset: From where, in bytes.
            length: How much; 0 for all up to the end.
            target: What to write to.
            targetOffset: Where in it.
        """
        span = struct.pack(">QQ", offset, length)
        body = source.handle + span + target.handle + u64(targetOffset)
        return self.extendedRequest(sftp.EXT_COPY_DATA, body)

    def getUserNames(
        self, uids: Iterable[int], gids: Iterable[int]
    ) -> defer.Deferred[tuple[list[bytes], list[bytes]]]:
        """The names of users and groups, in the order of the numbers; empty for an unknown one."""
        body = NS(sftp.packIds(uids)) + NS(sftp.packIds(gids))

        def decode(data: bytes) -> tuple[list[bytes], list[bytes]]:
            reader = Reader(data)
            return sftp.readStrings(reader.string()), sftp.readStrings(reader.string())

        return self.extendedRequest(sftp.EXT_USERS_GROUPS, body).addCallback(_decoded, decode)


def _decoded(data: Any, decode: Callable[[bytes], Any]) -> Any:
    """The reply to an extended request, read; a server's nonsense fails this request alone."""
    if not isinstance(data, bytes):
        raise SFTPError(sftp.FX_BAD_MESSAGE, "the server answered with a status and no data")
    try:
        return decode(data)
    except WireError as error:
        text = f"the server's reply cannot be read: {error}"
        raise SFTPError(sftp.FX_BAD_MESSAGE, text) from None


@implementer(ISFTPFile)
class ClientFile:
    """A file that is open at the server.

    Args:
        parent: The `FileTransferClient`.
        handle: What the server calls the file.
        name: The path that it was opened by.

    Attributes:
        handle: The same as a string of the wire, with its length, as applications of Conch's know
            it.
    """

    def __init__(self, parent: FileTransferClient, handle: bytes, name: Path = b"") -> None:
        self.parent = parent
        self.handle = NS(handle)
        self.name = name

    def close(self) -> defer.Deferred[Any]:
        """Close it. A failure may be the first word of data that the server could not keep."""
        return self.parent._sendRequest(sftp.FXP_CLOSE, self.handle)

    def readChunk(self, offset: int, length: int) -> defer.Deferred[bytes]:
        """Read up to `length` bytes from `offset`.

        Returns:
            A Deferred of bytes: at least one, and fewer than `length` also where more follow. It
            fails with EOFError where there is nothing at or after `offset`.
        """
        return self._read(offset, length, False)

    def readPieces(self, offset: int, length: int) -> defer.Deferred[Pieces]:
        """The same, for who writes it to a file: in the pieces in which it came, not copied."""
        return self._read(offset, length, True)

    def _read(self, offset: int, length: int, inPieces: bool) -> defer.Deferred[Any]:
        parent = self.parent
        if parent._ended is not None:
            return defer.fail(parent._ended)
        number, answer = parent._open(sftp.FXP_DATA)
        parent._mostData[number] = length
        if inPieces:
            parent._inPieces.add(number)
        body = u32(number) + self.handle + _SPAN.pack(offset, length)
        parent.sendPacket(sftp.FXP_READ, body)
        return answer

    def writeChunk(self, offset: int, chunk: bytes | memoryview) -> defer.Deferred[Any]:
        """Write `chunk` at `offset`."""
        parent = self.parent
        if parent._ended is not None:
            return defer.fail(parent._ended)
        number, answer = parent._open(sftp.FXP_STATUS)
        name = self.handle
        size = len(chunk)
        head = _FRAME_AND_ID.pack(17 + len(name) + size, sftp.FXP_WRITE, number)
        if parent.transport is not None:
            # One join of everything: `sendPacket` would copy the data once more.
            parent.transport.write(b"".join((head, name, _SPAN.pack(offset, size), chunk)))
        return answer

    def getAttrs(self) -> defer.Deferred[dict[str, Any]]:
        """Its attributes."""
        return self.parent._sendRequest(sftp.FXP_FSTAT, self.handle)

    def setAttrs(self, attrs: Mapping[str, Any]) -> defer.Deferred[Any]:
        """Change those attributes that `attrs` names."""
        return self.parent._sendRequest(sftp.FXP_FSETSTAT, self.handle + sftp.packAttrs(attrs))

    def sync(self) -> defer.Deferred[Any]:
        """Let the server write it to its disk (fsync@openssh.com)."""
        return self.parent.extendedRequest(sftp.EXT_FSYNC, self.handle)


class ClientDirectory:
    """A directory that is open for listing at the server.

    Args:
        parent: The `FileTransferClient`.
        handle: What the server calls the directory.
        name: The path that it was opened by.
    """

    def __init__(self, parent: FileTransferClient, handle: bytes, name: Path = b"") -> None:
        self.parent = parent
        self.handle = NS(handle)
        self.name = name
        self.filesCache: list[sftp.Name] | None = []

    def read(self) -> defer.Deferred[list[sftp.Name]]:
        """Some entries more.

        Returns:
            A Deferred of a list of (filename, longname, attrs), never empty. It fails with EOFError
            once all were read.
        """
        answer = self.parent._sendRequest(sftp.FXP_READDIR, self.handle)
        return answer.addCallback(self._notEmpty)

    def _notEmpty(self, names: list[sftp.Name]) -> list[sftp.Name]:
        if not names:
            text = "the server answered with no names, which is not the end of a directory either"
            raise SFTPError(sftp.FX_BAD_MESSAGE, text)
        return names

    def close(self) -> defer.Deferred[Any]:
        """Close it."""
        return self.parent._sendRequest(sftp.FXP_CLOSE, self.handle)

    # Deprecated in Conch itself, and still documented.

    def __iter__(self) -> ClientDirectory:
        return self

    def __next__(self) -> Any:
        """An entry that was read already, or a Deferred of one."""
        warnings.warn("use ClientDirectory.read()", DeprecationWarning, stacklevel=2)
        if self.filesCache:
            return self.filesCache.pop(0)
        if self.filesCache is None:
            raise StopIteration
        return self.read().addCallbacks(self._keepEntries, self._endOfEntries)

    next = __next__

    def _keepEntries(self, names: list[sftp.Name]) -> sftp.Name:
        self.filesCache = names[1:]
        return names[0]

    def _endOfEntries(self, failure: Failure) -> Failure:
        failure.trap(EOFError)
        self.filesCache = None
        return failure


__all__ = ["ClientDirectory", "ClientFile", "FileTransferClient", "pathBytes", "pathText"]
