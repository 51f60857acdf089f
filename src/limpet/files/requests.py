"""SFTP requests, answered one after the other from the system's files.

Rule: every request gets exactly one reply, and the replies go out in the requests' order. What does
not parse is answered with BAD_MESSAGE; only where there is no id to answer to, or where a message
stands where it may not, does the session end. In a read-only session a request is served if
`READ_ONLY` names it, so that one that is added later changes nothing unless somebody says so.

    INIT → VERSION, then requests. READ and WRITE, which carry the data, are copied once: from the
    file into the output's buffer, and from the input's buffer into the file.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import struct
from collections.abc import Callable, Mapping
from typing import Any

from limpet.core.sftp import HandleTable, statusOfError
from limpet.files.filesystem import (
    Files,
    Listing,
    attrsOf,
    copyData,
    failure,
    readInto,
    readOnlyFlags,
    statVfsOf,
    writeAll,
)
from limpet.ls import longName, shown
from limpet.wire.errors import BadField, WireError
from limpet.wire.fields import NS, Reader
from limpet.wire.sftp import (
    EXT_COPY_DATA,
    EXT_EXPAND_PATH,
    EXT_FSTATVFS,
    EXT_FSYNC,
    EXT_HARDLINK,
    EXT_HOME_DIRECTORY,
    EXT_LIMITS,
    EXT_LSETSTAT,
    EXT_POSIX_RENAME,
    EXT_STATVFS,
    EXT_USERS_GROUPS,
    EXTENDED_REQUESTS,
    EXTENSION_VERSIONS,
    FX_EOF,
    FX_FAILURE,
    FX_OK,
    FX_OP_UNSUPPORTED,
    FXP_ATTRS,
    FXP_CLOSE,
    FXP_DATA,
    FXP_EXTENDED,
    FXP_EXTENDED_REPLY,
    FXP_FSETSTAT,
    FXP_FSTAT,
    FXP_HANDLE,
    FXP_INIT,
    FXP_LSTAT,
    FXP_MKDIR,
    FXP_NAME,
    FXP_OPEN,
    FXP_OPENDIR,
    FXP_READ,
    FXP_READDIR,
    FXP_READLINK,
    FXP_REALPATH,
    FXP_REMOVE,
    FXP_RENAME,
    FXP_RMDIR,
    FXP_SETSTAT,
    FXP_STAT,
    FXP_STATUS,
    FXP_SYMLINK,
    FXP_VERSION,
    FXP_WRITE,
    MAX_DATA_LENGTH,
    MAX_HANDLE_LENGTH,
    MAX_MESSAGE_LENGTH,
    MESSAGE_NAMES,
    REQUESTS,
    VERSION,
    Limits,
    packAttrs,
    packHello,
    packNames,
    packStatus,
    packStrings,
    readFields,
    readHello,
    readIds,
)

NAMES_PER_REPLY = 100
"""How many entries of a directory one NAME has (OpenSSH's)."""

OUTPUT_SIZE = 2 * MAX_MESSAGE_LENGTH
"""How much output is gathered before it is written, in bytes: one READ always fits behind another
(ours)."""

READ_ONLY: frozenset[int | bytes] = frozenset(
    {
        FXP_CLOSE,
        FXP_READ,
        FXP_LSTAT,
        FXP_FSTAT,
        FXP_OPENDIR,
        FXP_READDIR,
        FXP_REALPATH,
        FXP_STAT,
        FXP_READLINK,
        EXT_STATVFS,
        EXT_FSTATVFS,
        EXT_LIMITS,
        EXT_EXPAND_PATH,
        EXT_HOME_DIRECTORY,
        EXT_USERS_GROUPS,
    }
)
"""What a read-only session serves; OPEN as well, for reading an existing file."""

_READ_RANGE = struct.Struct(">QL")
_DATA = struct.Struct(">LBLL")
_HEAD = struct.Struct(">LB")

REQUEST_NAMES: Mapping[str, int | bytes] = {
    **{MESSAGE_NAMES[kind].lower(): kind for kind in REQUESTS},
    **{name.partition(b"@")[0].decode(): name for name in EXTENSION_VERSIONS},
}
"""The requests, as sftp-server(8) names them for its options -P and -p."""

Reply = tuple[int, bytes]
"""The kind of a reply, and its body after the id."""


class SessionOver(Exception):
    """The client broke the protocol where no reply can say so; the text says how."""


class FileRequests:
    """One client's session.

    Args:
        files: The files.
        write: Writes all of a memoryview to the client, and may wait as long as that takes.
        readOnly: Whether nothing may be changed.
        linkFirst: Whether this client sends SYMLINK in the draft's order.
        forbidden: Names of requests (`REQUEST_NAMES`) that are answered with PERMISSION_DENIED.
        report: Told of a bug, with its exception.
    """

    def __init__(
        self,
        files: Files,
        write: Callable[[memoryview], object],
        readOnly: bool = False,
        linkFirst: bool = False,
        forbidden: frozenset[str] = frozenset(),
        report: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.files = files
        self.readOnly = readOnly
        self.linkFirst = linkFirst
        self.forbidden = frozenset(REQUEST_NAMES[name] for name in forbidden)
        self._write = write
        self._report = report
        self.handles: HandleTable[int | Listing] = HandleTable()
        self._hasVersion = False
        self._owners: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._output = bytearray(OUTPUT_SIZE)
        self._view = memoryview(self._output)
        self._end = 0

    # ── messages in, replies out ──────────────────────────────────────────────────────────────

    def received(self, message: memoryview) -> None:
        """Answer one message, without its length field.

        Raises:
            SessionOver: There is no way to answer it.
        """
        kind = message[0]
        if not self._hasVersion:
            self._hello(kind, message)
            return
        if kind == FXP_INIT or len(message) < 5:
            raise SessionOver("a second INIT" if kind == FXP_INIT else "a message without an id")
        requestId = int.from_bytes(message[1:5], "big")
        try:
            if kind in self.forbidden:
                raise _forbidden()
            if kind == FXP_READ:
                self._read(requestId, message)
                return
            if kind == FXP_WRITE:
                replyKind, body = self._writeData(message)
            else:
                replyKind, body = self._answer(kind, bytes(message[5:]))
        except Exception as error:  # noqa: BLE001 every request gets its reply
            status = statusOfError(error)
            if status is None:
                if self._report is not None:
                    self._report(error)
                status = FX_FAILURE, b"The server failed"
            self._send(FXP_STATUS, packStatus(requestId, *status))
            return
        if replyKind == FXP_STATUS and not body:
            self._send(FXP_STATUS, packStatus(requestId, FX_OK))
        else:
            self._send(replyKind, message[1:5].tobytes() + body)

    def _hello(self, kind: int, message: memoryview) -> None:
        if kind != FXP_INIT:
            raise SessionOver("a request before INIT")
        try:
            version, _ = readHello(bytes(message[1:]))
        except WireError as error:
            raise SessionOver(f"INIT: {error}") from None
        if version < VERSION:
            raise SessionOver(f"version {version}, where {VERSION} is the oldest that is spoken")
        self._hasVersion = True
        served = {
            name: data for name, data in EXTENSION_VERSIONS.items() if name not in self.forbidden
        }
        self._send(FXP_VERSION, packHello(VERSION, served.items()))

    def _send(self, kind: int, body: bytes) -> None:
        size = len(body) + 5
        if self._end + size > OUTPUT_SIZE:
            self.flush()
        end = self._end
        _HEAD.pack_into(self._output, end, len(body) + 1, kind)
        self._view[end + 5 : end + size] = body
        self._end = end + size

    def flush(self) -> None:
        """Write what was gathered."""
        end, self._end = self._end, 0
        if end:
            self._write(self._view[:end])

    def close(self) -> None:
        """Close all that is open."""
        for item in self.handles.clear():
            _closeItem(item)

    # ── the data ──────────────────────────────────────────────────────────────────────────────

    def _read(self, requestId: int, message: memoryview) -> None:
        handle, stop = _handleOf(message)
        if len(message) < stop + 12:
            raise BadField("READ without an offset and a length")
        offset, length = _READ_RANGE.unpack_from(message, stop)
        fd = self._file(handle)
        length = min(length, MAX_DATA_LENGTH)
        start = self._end + 13
        if start + length > OUTPUT_SIZE:
            self.flush()
            start = 13
        count = readInto(fd, offset, self._view[start : start + length]) if length else 0
        if not count:
            self._send(FXP_STATUS, packStatus(requestId, FX_EOF))
            return
        _DATA.pack_into(self._output, start - 13, count + 9, FXP_DATA, requestId, count)
        self._end = start + count

    def _writeData(self, message: memoryview) -> Reply:
        self._checkMayChange(FXP_WRITE)
        handle, stop = _handleOf(message)
        if len(message) < stop + 12:
            raise BadField("WRITE without an offset and data")
        offset, length = _READ_RANGE.unpack_from(message, stop)
        data = message[stop + 12 : stop + 12 + length]
        if len(data) != length:
            raise BadField("WRITE with less data than it promises")
        writeAll(self._file(handle), offset, data)
        return FXP_STATUS, b""

    def _file(self, handle: bytes) -> int:
        item = self.handles.get(handle)
        if not isinstance(item, int):
            raise failure(errno.EINVAL, "Not a file's handle")
        return item

    # ── all other requests ────────────────────────────────────────────────────────────────────

    def _answer(self, kind: int, body: bytes) -> Reply:
        reader = Reader(body)
        name: int | bytes = kind
        if kind == FXP_EXTENDED:
            name = reader.string()
            if name in self.forbidden:
                raise _forbidden()
            fields = EXTENDED_REQUESTS.get(name)
        else:
            fields = REQUESTS.get(kind)
        if fields is None:
            return FXP_STATUS, packStatus(0, FX_OP_UNSUPPORTED)[4:]
        values = readFields(fields, reader)
        if kind == FXP_OPEN:
            return self._openFile(*values)
        self._checkMayChange(name)
        for value in values:
            if isinstance(value, bytes) and name not in _TAKES_ANY_BYTES and b"\0" in value:
                raise failure(errno.EINVAL)
        return _HANDLERS[name](self, *values)

    def _checkMayChange(self, name: int | bytes) -> None:
        if self.readOnly and name not in READ_ONLY:
            raise failure(errno.EROFS, "Permission denied: the server is read-only")

    def _openFile(self, path: bytes, flags: int, attrs: dict[str, Any]) -> Reply:
        if self.readOnly and not readOnlyFlags(flags):
            self._checkMayChange(FXP_OPEN)
        if b"\0" in path:
            raise failure(errno.EINVAL)
        self.handles.checkRoom()
        return FXP_HANDLE, NS(self.handles.add(self.files.openFile(path, flags, attrs)))

    def _close(self, handle: bytes) -> Reply:
        _closeItem(self.handles.remove(handle))
        return FXP_STATUS, b""

    def _stat(self, path: bytes) -> Reply:
        return FXP_ATTRS, packAttrs(attrsOf(self.files.stat(path)))

    def _lstat(self, path: bytes) -> Reply:
        return FXP_ATTRS, packAttrs(attrsOf(self.files.lstat(path)))

    def _fstat(self, handle: bytes) -> Reply:
        item = self.handles.get(handle)
        fd = item if isinstance(item, int) else item.fd
        return FXP_ATTRS, packAttrs(attrsOf(os.fstat(fd)))

    def _setStat(self, path: bytes, attrs: dict[str, Any]) -> Reply:
        self.files.setAttrs(path, attrs)
        return FXP_STATUS, b""

    def _lsetStat(self, path: bytes, attrs: dict[str, Any]) -> Reply:
        self.files.setLinkAttrs(path, attrs)
        return FXP_STATUS, b""

    def _fsetStat(self, handle: bytes, attrs: dict[str, Any]) -> Reply:
        self.files.setFileAttrs(self._file(handle), attrs)
        return FXP_STATUS, b""

    def _openDirectory(self, path: bytes) -> Reply:
        self.handles.checkRoom()
        return FXP_HANDLE, NS(self.handles.add(self.files.openDirectory(path)))

    def _readDirectory(self, handle: bytes) -> Reply:
        listing = self.handles.get(handle)
        if not isinstance(listing, Listing):
            raise failure(errno.EINVAL, "Not a directory's handle")
        entries = listing.next(NAMES_PER_REPLY)
        if not entries:
            return FXP_STATUS, packStatus(0, FX_EOF)[4:]
        names = [
            (name, self._longName(name, details), _attrs(details)) for name, details in entries
        ]
        return FXP_NAME, packNames(0, names)[4:]

    def _longName(self, name: bytes, details: os.stat_result | None) -> bytes:
        if details is None:
            return b"?---------    ? ?        ?               ? " + shown(name).encode()
        owner = self._ownerName(details.st_uid)
        return longName(name, details, owner, self._groupName(details.st_gid))

    def _ownerName(self, uid: int) -> str:
        return self._nameOf(uid, self._owners, _userName)

    def _groupName(self, gid: int) -> str:
        return self._nameOf(gid, self._groups, _groupName)

    def _nameOf(self, number: int, known: dict[int, str], ask: Callable[[int], str]) -> str:
        if not self.files.mayLookUp:
            return ""
        name = known.get(number)
        if name is None:
            if len(known) >= MAX_KNOWN_NAMES:
                known.clear()
            name = known[number] = ask(number)
        return name

    def _removeFile(self, path: bytes) -> Reply:
        self.files.removeFile(path)
        return FXP_STATUS, b""

    def _makeDirectory(self, path: bytes, attrs: dict[str, Any]) -> Reply:
        self.files.makeDirectory(path, attrs)
        return FXP_STATUS, b""

    def _removeDirectory(self, path: bytes) -> Reply:
        self.files.removeDirectory(path)
        return FXP_STATUS, b""

    def _realPath(self, path: bytes) -> Reply:
        return FXP_NAME, _oneName(self.files.realPath(path))

    def _rename(self, old: bytes, new: bytes) -> Reply:
        self.files.rename(old, new)
        return FXP_STATUS, b""

    def _readLink(self, path: bytes) -> Reply:
        return FXP_NAME, _oneName(self.files.readLink(path))

    def _makeLink(self, first: bytes, second: bytes) -> Reply:
        target, link = (second, first) if self.linkFirst else (first, second)
        self.files.makeLink(target, link)
        return FXP_STATUS, b""

    # ── extensions ────────────────────────────────────────────────────────────────────────────

    def _replace(self, old: bytes, new: bytes) -> Reply:
        self.files.replace(old, new)
        return FXP_STATUS, b""

    def _hardLink(self, old: bytes, new: bytes) -> Reply:
        self.files.hardLink(old, new)
        return FXP_STATUS, b""

    def _statVfs(self, path: bytes) -> Reply:
        return FXP_EXTENDED_REPLY, self.files.statVfs(path).encode()

    def _fstatVfs(self, handle: bytes) -> Reply:
        item = self.handles.get(handle)
        fd = item if isinstance(item, int) else item.fd
        return FXP_EXTENDED_REPLY, statVfsOf(fd).encode()

    def _fsync(self, handle: bytes) -> Reply:
        os.fsync(self._file(handle))
        return FXP_STATUS, b""

    def _limits(self) -> Reply:
        limits = Limits(MAX_MESSAGE_LENGTH, MAX_DATA_LENGTH, MAX_DATA_LENGTH, self.handles.limit)
        return FXP_EXTENDED_REPLY, limits.encode()

    def _expandPath(self, path: bytes) -> Reply:
        return FXP_NAME, _oneName(self.files.expandPath(path))

    def _homeDirectory(self, user: bytes) -> Reply:
        return FXP_NAME, _oneName(self.files.homeOf(user))

    def _copyData(
        self, source: bytes, offset: int, length: int, target: bytes, targetOffset: int
    ) -> Reply:
        copyData(self._file(source), offset, length, self._file(target), targetOffset)
        return FXP_STATUS, b""

    def _usersGroups(self, users: bytes, groups: bytes) -> Reply:
        owners = [self._ownerName(uid).encode() for uid in readIds(users)]
        names = [self._groupName(gid).encode() for gid in readIds(groups)]
        body = NS(packStrings(owners)) + NS(packStrings(names))
        if len(body) > MAX_DATA_LENGTH:
            raise failure(errno.EMSGSIZE)
        return FXP_EXTENDED_REPLY, body


MAX_KNOWN_NAMES = 1024
"""How many names of users, and of groups, are remembered (ours)."""

_TAKES_ANY_BYTES: frozenset[int | bytes] = frozenset(
    {
        FXP_CLOSE,
        FXP_FSTAT,
        FXP_FSETSTAT,
        FXP_READDIR,
        EXT_FSTATVFS,
        EXT_FSYNC,
        EXT_COPY_DATA,
        EXT_USERS_GROUPS,
    }
)
"""The requests whose strings are handles or numbers. In all others a NUL would cut a path short."""

_HANDLERS: dict[int | bytes, Callable[..., Reply]] = {
    FXP_CLOSE: FileRequests._close,
    FXP_LSTAT: FileRequests._lstat,
    FXP_FSTAT: FileRequests._fstat,
    FXP_SETSTAT: FileRequests._setStat,
    FXP_FSETSTAT: FileRequests._fsetStat,
    FXP_OPENDIR: FileRequests._openDirectory,
    FXP_READDIR: FileRequests._readDirectory,
    FXP_REMOVE: FileRequests._removeFile,
    FXP_MKDIR: FileRequests._makeDirectory,
    FXP_RMDIR: FileRequests._removeDirectory,
    FXP_REALPATH: FileRequests._realPath,
    FXP_STAT: FileRequests._stat,
    FXP_RENAME: FileRequests._rename,
    FXP_READLINK: FileRequests._readLink,
    FXP_SYMLINK: FileRequests._makeLink,
    EXT_POSIX_RENAME: FileRequests._replace,
    EXT_STATVFS: FileRequests._statVfs,
    EXT_FSTATVFS: FileRequests._fstatVfs,
    EXT_HARDLINK: FileRequests._hardLink,
    EXT_FSYNC: FileRequests._fsync,
    EXT_LSETSTAT: FileRequests._lsetStat,
    EXT_LIMITS: FileRequests._limits,
    EXT_EXPAND_PATH: FileRequests._expandPath,
    EXT_COPY_DATA: FileRequests._copyData,
    EXT_HOME_DIRECTORY: FileRequests._homeDirectory,
    EXT_USERS_GROUPS: FileRequests._usersGroups,
}


def _forbidden() -> OSError:
    return failure(errno.EACCES, "Permission denied: this login may not ask for that")


def _handleOf(message: memoryview) -> tuple[bytes, int]:
    """The handle of READ or WRITE, and where it ends."""
    if len(message) < 9:
        raise BadField("a request without a handle")
    stop = 9 + int.from_bytes(message[5:9], "big")
    if stop > min(len(message), 9 + MAX_HANDLE_LENGTH):
        raise BadField("a handle that is longer than its message, or than any handle")
    return bytes(message[9:stop]), stop


def _closeItem(item: int | Listing) -> None:
    if isinstance(item, int):
        os.close(item)
    else:
        item.close()


def _attrs(details: os.stat_result | None) -> dict[str, int]:
    return {} if details is None else attrsOf(details)


def _oneName(path: bytes) -> bytes:
    """The body of a NAME with one entry, after its id."""
    return packNames(0, [(path, shown(path).encode(), {})])[4:]


def _userName(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _groupName(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
