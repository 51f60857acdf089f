"""An SFTP server in front of an application's `ISFTPServer`.

Rule: every request gets exactly one reply, whenever the application has it; where it takes long,
the client waits before we do. So no more than `maxOutstanding` requests are unanswered, no request
is taken while replies wait to be sent, and meanwhile the channel grants no window. What is done to
one file is finished before the file is closed.

    dataReceived → FrameReceiver → packet_OPEN … → ISFTPServer, ISFTPFile → STATUS, HANDLE, DATA …
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.core.sftp import MAX_HANDLES, HandleTable, statusOfError
from limpet.interfaces import ISFTPServer
from limpet.ssh.filetransfer.base import FileTransferBase, SFTPError
from limpet.wire import sftp
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader

MAX_OUTSTANDING = 64
"""How many requests of one client may be unanswered (attack table I2; what OpenSSH's client has
under way by default)."""

MAX_OUTSTANDING_BYTES = 4 * 1024 * 1024
"""How many bytes of files the requests may be about that are unanswered (ours): enough for a second
of a slow path, while 64 reads of the longest kind would be four times as much."""

NAMES_PER_REPLY = 100
"""How many entries of a directory one NAME has (OpenSSH's)."""

NAMES_LENGTH = sftp.MAX_DATA_LENGTH // 2
"""How long one NAME gets before it is sent as it is, in bytes: the entry that comes next has the
other half (ours)."""

FILE_EXTENSIONS = {
    sftp.EXT_FSYNC: "sync",
    sftp.EXT_FSTATVFS: "statVfs",
    sftp.EXT_COPY_DATA: "copyData",
}
"""Extensions that name a file by its handle, and the method of an `ISFTPFile` that serves each,
where it has one: sync(), statVfs(), copyData(offset, length, targetFile, targetOffset)."""


class OpenFile:
    """One open file or directory of the application's.

    Args:
        item: The `ISFTPFile`, or what `openDirectory` returned.

    Attributes:
        item: The same.
        pending: How many requests to it are unanswered.
    """

    def __init__(self, item: Any) -> None:
        self.item = item
        self.pending = 0
        self._whenDone: Callable[[], object] | None = None

    def started(self) -> None:
        """A request to it is under way."""
        self.pending += 1

    def finished(self) -> None:
        """A request to it is answered; the last one lets it be closed."""
        self.pending -= 1
        whenDone = self._whenDone
        if not self.pending and whenDone is not None:
            self._whenDone = None
            whenDone()

    def afterPending(self, action: Callable[[], object]) -> None:
        """Call `action` once no request to it is under way."""
        if self.pending:
            self._whenDone = action
        else:
            action()


class OpenDirectory(OpenFile):
    """One open directory, whose entries are taken one after the other.

    Attributes:
        entries: An iterator over them.
        waiting: Requests for more of them that came while one is under way.
        isBusy: Whether one is under way.
        isCatchingUp: Whether those that waited are being answered.
    """

    def __init__(self, item: Any) -> None:
        super().__init__(item)
        self.entries: Iterator[Any] = iter(item)
        self.waiting: deque[Callable[[], object]] = deque()
        self.isBusy = False
        self.isCatchingUp = False
        self.failure: Failure | None = None


@implementer(IHalfCloseableProtocol)
class FileTransferServer(FileTransferBase):
    """Serves the sftp subsystem of one session.

    Args:
        data: What the subsystem request carried; not used.
        avatar: The logged-in user, who is adapted to `ISFTPServer`.

    Attributes:
        client: The `ISFTPServer`.
        avatar: The user.
        openFiles: Handle to `ISFTPFile`, of the files that are open; a copy.
        openDirs: Handle to what `openDirectory` returned, likewise.
        maxOutstanding: How many requests may be unanswered.
        maxOutstandingBytes: How many bytes they may read and write, all together.
    """

    maxOutstanding = MAX_OUTSTANDING
    maxOutstandingBytes = MAX_OUTSTANDING_BYTES

    def __init__(self, data: Any = None, avatar: Any = None) -> None:
        super().__init__()
        self.avatar = avatar
        self.client: Any = ISFTPServer(avatar)
        self._handles: HandleTable[OpenFile] = HandleTable(MAX_HANDLES)
        self._outstanding = 0
        self._outstandingBytes = 0
        self._greeting = False
        self._outputWaits = False
        self._inputHeld = False
        self._inputEnded = False
        self._isLost = False

    @property
    def openFiles(self) -> dict[bytes, Any]:
        """Handle to `ISFTPFile`."""
        return {
            handle: entry.item
            for handle, entry in self._handles.items()
            if not isinstance(entry, OpenDirectory)
        }

    @property
    def openDirs(self) -> dict[bytes, Any]:
        """Handle to what `openDirectory` returned."""
        return {
            handle: entry.item
            for handle, entry in self._handles.items()
            if isinstance(entry, OpenDirectory)
        }

    # ── the pace ──────────────────────────────────────────────────────────────────────────────

    def connectionMade(self) -> None:
        """Mind how fast the client takes replies, where the transport tells."""
        register = getattr(self.transport, "registerProducer", None)
        if register is not None:
            register(self, True)

    def pauseProducing(self) -> None:
        """Replies wait to be sent: take no more requests."""
        self._outputWaits = True
        self._holdInput()

    def resumeProducing(self) -> None:
        """Replies go out again."""
        self._outputWaits = False
        self._goOn()

    def stopProducing(self) -> None:
        """Nobody takes replies any more."""
        self._outputWaits = True

    def mayContinue(self) -> bool:
        """Whether one more request may be taken."""
        return not (
            self._outputWaits
            or self._greeting
            or self._outstanding >= self.maxOutstanding
            or self._outstandingBytes >= self.maxOutstandingBytes
        )

    def _holdInput(self) -> None:
        if not self._inputHeld:
            self._inputHeld = True
            pause = getattr(self.transport, "pauseProducing", None)
            if pause is not None:
                pause()

    def _goOn(self) -> None:
        if self._isOver or not self.mayContinue():
            return
        self._handleFrames()
        if self._inputHeld and self.mayContinue():
            self._inputHeld = False
            resume = getattr(self.transport, "resumeProducing", None)
            if resume is not None:
                resume()
        self._endIfAnswered()

    def readConnectionLost(self) -> None:
        """The client asks no more; what it has asked is answered before the session ends."""
        self._inputEnded = True
        self._goOn()

    def writeConnectionLost(self) -> None:
        """Nobody takes replies any more; `connectionLost` follows."""

    def _endIfAnswered(self) -> None:
        if self._inputEnded and not self._isOver and self._outstanding <= 0 and self.mayContinue():
            self._isOver = True
            if self.transport is not None:
                self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if not self._isOver and not self.mayContinue():
            self._holdInput()

    # ── requests and replies ──────────────────────────────────────────────────────────────────

    def messageReceived(self, kind: int, data: bytes) -> None:
        """Hand a message to its method; whatever is wrong with it is answered where it can be."""
        if kind == sftp.FXP_INIT:
            self.packet_INIT(data)
            return
        if len(data) < 4:
            self.violated("a message without an id")
            return
        requestId = data[:4]
        name = self.packetTypes.get(kind)
        handler = getattr(self, f"packet_{name}", None)
        self._outstanding += 1
        if handler is None or name == "VERSION":
            self._sendStatus(requestId, sftp.FX_OP_UNSUPPORTED, b"Operation unsupported")
            return
        try:
            handler(data)
        except Exception:  # noqa: BLE001 every request gets its reply
            self._ebStatus(Failure(), requestId)

    def _reply(self, kind: int, body: bytes) -> None:
        """Send the one reply to a request."""
        self._outstanding -= 1
        if not self._isLost:
            self.sendPacket(kind, body)
        if (self._inputHeld or self._inputEnded) and not self._isEmptying:
            self._goOn()

    def _sendStatus(self, requestId: bytes, code: int, message: Any = b"", lang: Any = b"") -> None:
        """Answer with STATUS.

        Args:
            requestId: The request's id, as the four bytes of the wire.
            code: FX_*.
            message: What happened, for people.
            lang: The language of the message.
        """
        number = int.from_bytes(requestId, "big")
        self._reply(sftp.FXP_STATUS, sftp.packStatus(number, code, _text(message), _text(lang)))

    def _ebStatus(self, failure: Failure, requestId: bytes, msg: bytes = b"request failed") -> None:
        """Answer with the STATUS that a failure means; log what is a bug, as often as one may."""
        error = failure.value
        if isinstance(error, SFTPError):
            self._sendStatus(requestId, error.code, error.message, error.lang)
            return
        status = None if error is None else statusOfError(error)
        if status is None:
            ask = getattr(self._connection(), "mayLogRefusal", None)
            if ask is None or ask():
                self._log.failure("an SFTP request failed", failure)
            status = sftp.FX_FAILURE, msg
        self._sendStatus(requestId, *status)

    def _cbStatus(self, result: Any, requestId: bytes, msg: bytes = b"request succeeded") -> None:
        """Answer that it went well."""
        self._sendStatus(requestId, sftp.FX_OK, msg)

    def _serve(
        self,
        requestId: bytes,
        what: bytes,
        answer: Callable[[Any], object],
        entries: Sequence[OpenFile],
        call: Callable[..., Any],
        *arguments: Any,
        size: int = 0,
    ) -> None:
        """Ask the application, and answer now or when it has the result.

        Args:
            requestId: The request's id.
            what: What failed, for the STATUS of a bug.
            answer: Called with the result; sends the reply.
            entries: The open files that it concerns, which are not closed meanwhile.
            call: The application's method, with its `arguments`.
            size: How many bytes of a file it reads or writes.
        """
        try:
            result = call(*arguments)
        except Exception:  # noqa: BLE001 an application fails by raising
            self._ebStatus(Failure(), requestId, what)
            return
        if not isinstance(result, Deferred | Coroutine):
            self._answer(requestId, what, answer, result)
            return
        for entry in entries:
            entry.started()
        self._outstandingBytes += size
        later = _asDeferred(result)
        if size:
            later.addBoth(self._bytesDone, size)
        later.addCallbacks(
            lambda value: self._answer(requestId, what, answer, value),
            lambda failure: self._ebStatus(failure, requestId, what),
        )
        if entries:
            later.addBoth(lambda _: _finished(entries))
        later.addErrback(lambda failure: self._log.failure("an SFTP reply failed", failure))

    def _bytesDone(self, result: Any, size: int) -> Any:
        self._outstandingBytes -= size
        return result

    def _answer(
        self, requestId: bytes, what: bytes, answer: Callable[[Any], object], result: Any
    ) -> None:
        try:
            answer(result)
        except Exception:  # noqa: BLE001 a result of the wrong shape is the application's bug
            self._ebStatus(Failure(), requestId, what)

    def _okTo(self, requestId: bytes, message: bytes) -> Callable[[Any], object]:
        return lambda result: self._cbStatus(result, requestId, message)

    # ── INIT ──────────────────────────────────────────────────────────────────────────────────

    def packet_INIT(self, data: bytes) -> None:
        """The client says hello. Body: uint32 version, then pairs of strings, name and data."""
        if self.otherVersion is not None:
            self.violated("a second INIT")
            return
        try:
            version, extensions = sftp.readHello(data)
        except WireError as error:
            self.violated(f"INIT: {error}")
            return
        if version < min(self.versions):
            self.violated(f"version {version}, where {min(self.versions)} is the oldest spoken")
            return
        self.otherVersion = version
        self.version = max(known for known in self.versions if known <= version)
        self._greeting = True
        later = maybeDeferred(self.client.gotVersion, version, extensions)
        later.addCallbacks(self._sendVersion, self._noVersion)
        later.addErrback(self._noVersion)

    def _sendVersion(self, announced: Mapping[Any, Any] | None) -> None:
        pairs = [(_text(name), _text(value)) for name, value in (announced or {}).items()]
        self._greeting = False
        if not self._isLost:
            self.sendPacket(sftp.FXP_VERSION, sftp.packHello(self.version, pairs))
        if not self._isEmptying:
            self._goOn()

    def _noVersion(self, failure: Failure) -> None:
        self._log.failure("the SFTP session cannot begin", failure)
        self.violated("there are no files for it")

    # ── files ─────────────────────────────────────────────────────────────────────────────────

    def packet_OPEN(self, data: bytes) -> None:
        """Open a file. Body: uint32 id, string filename, uint32 flags, attrs."""
        requestId, filename, flags, attrs = _parse(sftp.FXP_OPEN, data)
        _checkPath(filename)
        self._handles.checkRoom()
        self._serve(
            requestId,
            b"open failed",
            lambda file: self._cbOpenFile(file, requestId),
            (),
            self.client.openFile,
            filename,
            flags,
            attrs,
        )

    def _cbOpenFile(self, file: Any, requestId: bytes) -> None:
        self._keep(OpenFile(file), requestId)

    def _keep(self, entry: OpenFile, requestId: bytes) -> None:
        """Give what was opened a handle; close it where nobody can use that any more."""
        if self._isLost:
            self._closeUnasked(entry)
            self._outstanding -= 1
            return
        try:
            handle = self._handles.add(entry)
        except OSError:
            self._closeUnasked(entry)
            raise
        self._reply(sftp.FXP_HANDLE, requestId + NS(handle))

    def _closeUnasked(self, entry: OpenFile) -> None:
        """Close what the client did not close, once nothing is done to it."""

        def close() -> None:
            later = maybeDeferred(_closeItem, entry.item)
            later.addErrback(lambda failure: self._log.failure("closing a file failed", failure))

        entry.afterPending(close)

    def packet_CLOSE(self, data: bytes) -> None:
        """Close a file or a directory. Body: uint32 id, string handle."""
        requestId, handle = _parse(sftp.FXP_CLOSE, data)
        entry = self._handles.remove(handle)
        entry.afterPending(
            lambda: self._serve(
                requestId,
                b"close failed",
                self._okTo(requestId, b"file closed"),
                (),
                _closeItem,
                entry.item,
            )
        )

    def _file(self, handle: bytes) -> OpenFile:
        entry = self._handles.get(handle)
        if isinstance(entry, OpenDirectory):
            raise SFTPError(sftp.FX_FAILURE, "not a file's handle")
        return entry

    def packet_READ(self, data: bytes) -> None:
        """Read a part of a file. Body: uint32 id, string handle, uint64 offset, uint32 length."""
        requestId, handle, offset, length = _parse(sftp.FXP_READ, data)
        entry = self._file(handle)
        length = min(length, sftp.MAX_DATA_LENGTH)
        self._serve(
            requestId,
            b"read failed",
            lambda chunk: self._cbRead(chunk, requestId, length),
            (entry,),
            entry.item.readChunk,
            offset,
            length,
            size=length,
        )

    def _cbRead(self, chunk: bytes, requestId: bytes, length: int) -> None:
        if not chunk:
            raise EOFError
        if len(chunk) > length:
            chunk = chunk[:length]
        self._reply(sftp.FXP_DATA, requestId + NS(bytes(chunk)))

    def packet_WRITE(self, data: bytes) -> None:
        """Write to a file. Body: uint32 id, string handle, uint64 offset, string data."""
        requestId, handle, offset, written = _parse(sftp.FXP_WRITE, data)
        entry = self._file(handle)
        self._serve(
            requestId,
            b"write failed",
            self._okTo(requestId, b"write succeeded"),
            (entry,),
            entry.item.writeChunk,
            offset,
            written,
            size=len(written),
        )

    # ── directories ───────────────────────────────────────────────────────────────────────────

    def packet_OPENDIR(self, data: bytes) -> None:
        """Open a directory to list it. Body: uint32 id, string path."""
        requestId, path = _parse(sftp.FXP_OPENDIR, data)
        _checkPath(path)
        self._handles.checkRoom()
        self._serve(
            requestId,
            b"opendir failed",
            lambda found: self._cbOpenDirectory(found, requestId),
            (),
            self.client.openDirectory,
            path,
        )

    def _cbOpenDirectory(self, found: Any, requestId: bytes) -> None:
        self._keep(OpenDirectory(found), requestId)

    def packet_READDIR(self, data: bytes) -> None:
        """List more of a directory. Body: uint32 id, string handle."""
        requestId, handle = _parse(sftp.FXP_READDIR, data)
        entry = self._handles.get(handle)
        if not isinstance(entry, OpenDirectory):
            raise SFTPError(sftp.FX_FAILURE, "not a directory's handle")
        entry.started()
        if entry.isBusy:
            entry.waiting.append(lambda: self._listMore(requestId, entry))
        else:
            self._listMore(requestId, entry)

    def _listMore(self, requestId: bytes, entry: OpenDirectory) -> None:
        entry.isBusy = True
        later = self._scanDirectory(entry)
        later.addCallback(lambda names: self._sendDirectory(requestId, entry, names))
        later.addErrback(lambda failure: self._log.failure("listing a directory failed", failure))

    @inlineCallbacks
    def _scanDirectory(self, entry: OpenDirectory) -> Generator[Deferred[Any], Any, list[bytes]]:
        """Take entries until there are enough of them; where one is a Deferred, wait for it."""
        names: list[bytes] = []
        length = 0
        while len(names) < NAMES_PER_REPLY and length < NAMES_LENGTH and entry.failure is None:
            try:
                item = next(entry.entries)
                if isinstance(item, Deferred | Coroutine):
                    item = yield _asDeferred(item)
                names.append(_packName(item))
            except StopIteration:
                break
            except Exception:  # noqa: BLE001 told once what was found before it is
                entry.failure = Failure()
                break
            length += len(names[-1])
        return names

    def _sendDirectory(self, requestId: bytes, entry: OpenDirectory, names: list[bytes]) -> None:
        if names:
            count = len(names).to_bytes(4, "big")
            self._reply(sftp.FXP_NAME, requestId + count + b"".join(names))
        elif entry.failure is not None:
            failure, entry.failure = entry.failure, None
            self._ebStatus(failure, requestId, b"scan failed")
        else:
            self._sendStatus(requestId, sftp.FX_EOF, b"End of file")
        entry.isBusy = False
        entry.finished()
        if entry.isCatchingUp:
            return
        # In a loop: each that is answered at once may have let in another one behind it.
        entry.isCatchingUp = True
        while entry.waiting and not entry.isBusy:
            entry.waiting.popleft()()
        entry.isCatchingUp = False

    # ── attributes ────────────────────────────────────────────────────────────────────────────

    def packet_STAT(self, data: bytes, followLinks: bool = True) -> None:
        """Ask what a path is. Body: uint32 id, string path."""
        requestId, path = _parse(sftp.FXP_STAT, data)
        _checkPath(path)
        self._serve(
            requestId,
            b"stat failed" if followLinks else b"lstat failed",
            lambda attrs: self._cbStat(attrs, requestId),
            (),
            self.client.getAttrs,
            path,
            followLinks,
        )

    def packet_LSTAT(self, data: bytes) -> None:
        """Ask what a path is, and of a link, the link itself. Body: uint32 id, string path."""
        self.packet_STAT(data, False)

    def packet_FSTAT(self, data: bytes) -> None:
        """Ask what an open file is. Body: uint32 id, string handle."""
        requestId, handle = _parse(sftp.FXP_FSTAT, data)
        entry = self._file(handle)
        self._serve(
            requestId,
            b"fstat failed",
            lambda attrs: self._cbStat(attrs, requestId),
            (entry,),
            entry.item.getAttrs,
        )

    def _cbStat(self, attrs: Mapping[str, Any], requestId: bytes) -> None:
        self._reply(sftp.FXP_ATTRS, requestId + self._packAttributes(attrs))

    def packet_SETSTAT(self, data: bytes) -> None:
        """Change the attributes of a path. Body: uint32 id, string path, attrs."""
        requestId, path, attrs = _parse(sftp.FXP_SETSTAT, data)
        self._onPaths(requestId, b"setstat", self.client.setAttrs, path, attrs)

    def packet_FSETSTAT(self, data: bytes) -> None:
        """Change the attributes of an open file. Body: uint32 id, string handle, attrs."""
        requestId, handle, attrs = _parse(sftp.FXP_FSETSTAT, data)
        entry = self._file(handle)
        self._serve(
            requestId,
            b"fsetstat failed",
            self._okTo(requestId, b"fsetstat succeeded"),
            (entry,),
            entry.item.setAttrs,
            attrs,
        )

    # ── names ─────────────────────────────────────────────────────────────────────────────────

    def _onPaths(
        self, requestId: bytes, what: bytes, call: Callable[..., Any], *arguments: Any
    ) -> None:
        """Have the application do something of which there is nothing to tell but success."""
        for argument in arguments:
            if isinstance(argument, bytes):
                _checkPath(argument)
        answer = self._okTo(requestId, what + b" succeeded")
        self._serve(requestId, what + b" failed", answer, (), call, *arguments)

    def packet_REMOVE(self, data: bytes) -> None:
        """Remove a file. Body: uint32 id, string filename."""
        requestId, filename = _parse(sftp.FXP_REMOVE, data)
        self._onPaths(requestId, b"remove", self.client.removeFile, filename)

    def packet_RENAME(self, data: bytes) -> None:
        """Rename. Body: uint32 id, string old path, string new path."""
        requestId, old, new = _parse(sftp.FXP_RENAME, data)
        self._onPaths(requestId, b"rename", self.client.renameFile, old, new)

    def packet_MKDIR(self, data: bytes) -> None:
        """Make a directory. Body: uint32 id, string path, attrs."""
        requestId, path, attrs = _parse(sftp.FXP_MKDIR, data)
        self._onPaths(requestId, b"mkdir", self.client.makeDirectory, path, attrs)

    def packet_RMDIR(self, data: bytes) -> None:
        """Remove a directory. Body: uint32 id, string path."""
        requestId, path = _parse(sftp.FXP_RMDIR, data)
        self._onPaths(requestId, b"rmdir", self.client.removeDirectory, path)

    def packet_READLINK(self, data: bytes) -> None:
        """Ask where a link points. Body: uint32 id, string path."""
        requestId, path = _parse(sftp.FXP_READLINK, data)
        self._askPath(requestId, b"readlink failed", self.client.readLink, path)

    def packet_REALPATH(self, data: bytes) -> None:
        """Ask for the absolute path. Body: uint32 id, string path."""
        requestId, path = _parse(sftp.FXP_REALPATH, data)
        self._askPath(requestId, b"realpath failed", self.client.realPath, path)

    def _askPath(
        self, requestId: bytes, what: bytes, call: Callable[..., Any], path: bytes
    ) -> None:
        _checkPath(path)
        self._serve(
            requestId, what, lambda found: self._cbReadLink(found, requestId), (), call, path
        )

    def _cbReadLink(self, found: Any, requestId: bytes) -> None:
        entry = _packName((found, found, {}))
        self._reply(sftp.FXP_NAME, requestId + (1).to_bytes(4, "big") + entry)

    def packet_SYMLINK(self, data: bytes) -> None:
        """Make a symbolic link. Body: uint32 id, string target, string link.

        The other way round, as the draft has it, from those clients that are known to mean it.
        """
        requestId, target, link = _parse(sftp.FXP_SYMLINK, data)
        if self._clientVersion().startswith(sftp.DRAFT_SYMLINK_CLIENTS):
            target, link = link, target
        self._onPaths(requestId, b"symlink", self.client.makeLink, link, target)

    def _clientVersion(self) -> bytes:
        """What the client's SSH side calls itself; empty where there is none."""
        below = getattr(self._connection(), "transport", None)
        version: bytes = getattr(below, "otherVersionString", b"") or b""
        return version

    def _connection(self) -> Any:
        """The `SSHConnection` of the session; None where there is none."""
        return getattr(getattr(self.transport, "session", None), "conn", None)

    # ── extensions ────────────────────────────────────────────────────────────────────────────

    def packet_EXTENDED(self, data: bytes) -> None:
        """Serve what the protocol itself has not. Body: uint32 id, string name, data."""
        reader = Reader(data, 4)
        requestId, name = data[:4], reader.string()
        if self._extendedOnFile(requestId, name, data[reader.offset :]):
            return
        self._serve(
            requestId,
            b"extended " + name[:64] + b" failed",
            lambda answer: self._cbExtended(answer, requestId),
            (),
            self.client.extendedRequest,
            name,
            reader.rest(),
        )

    def _extendedOnFile(self, requestId: bytes, name: bytes, data: bytes) -> bool:
        """Serve one of OpenSSH's extensions that name a file by its handle.

        Returns:
            Whether it is one of them, and the file has the method for it.
        """
        method = FILE_EXTENSIONS.get(name)
        if method is None:
            return False
        values = sftp.readFields(sftp.EXTENDED_REQUESTS[name], Reader(data))
        entry = self._handles.get(values[0])
        call = getattr(entry.item, method, None)
        if call is None:
            return False
        arguments, entries = values[1:], [entry]
        if name == sftp.EXT_COPY_DATA:
            target = self._file(values[3])
            arguments[2] = target.item
            entries.append(target)
        self._serve(
            requestId,
            b"extended " + name + b" failed",
            lambda answer: self._cbExtended(answer, requestId),
            entries,
            call,
            *arguments,
        )
        return True

    def _cbExtended(self, answer: Any, requestId: bytes) -> None:
        if isinstance(answer, sftp.StatVfs):
            answer = answer.encode()
        # None: it succeeded, and there is nothing to say, as with most of OpenSSH's extensions.
        if answer is None:
            self._sendStatus(requestId, sftp.FX_OK)
        else:
            self._reply(sftp.FXP_EXTENDED_REPLY, requestId + answer)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def connectionLost(self, reason: Any = None) -> None:
        """The session is over: close what is open, each when nothing is done to it any more."""
        self._isOver = self._isLost = True
        self._frames.clear()
        for entry in self._handles.clear():
            self._closeUnasked(entry)


def _parse(kind: int, data: bytes) -> list[Any]:
    """The request's id, as four bytes, and its fields."""
    return [data[:4], *sftp.readFields(sftp.REQUESTS[kind], Reader(data, 4))]


def _checkPath(path: bytes) -> None:
    """A NUL would end the path for the system and not for the application."""
    if b"\0" in path:
        raise SFTPError(sftp.FX_FAILURE, "a path with a NUL byte")


def _text(value: Any) -> bytes:
    """Text or bytes as the bytes of the wire."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value)


def _packName(triple: Any) -> bytes:
    filename, longname, attrs = triple
    return NS(_text(filename)) + NS(_text(longname)) + sftp.packAttrs(attrs or {})


def _finished(entries: Sequence[OpenFile]) -> None:
    for entry in entries:
        entry.finished()


def _closeItem(item: Any) -> Any:
    close = getattr(item, "close", None)
    return None if close is None else close()


def _asDeferred(result: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(result) if inspect.iscoroutine(result) else result
