"""The messages of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it.

Rule: both sides pack and read a message by the same table, so that they cannot disagree on it.
Names and paths are bytes. Attributes are a dictionary with any of the keys "size", "uid", "gid",
"permissions", "atime", "mtime" (integers; times in seconds since 1970) and "ext_NAME" (bytes).
What follows the last field of a request is ignored, as OpenSSH does it: libssh2 appends to RENAME.

    frame    uint32 length, byte kind, body
    request  uint32 id, then the fields of `REQUESTS[kind]`
    reply    uint32 id, then what `packStatus`, `packData`, … say
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from limpet.wire.errors import BadField
from limpet.wire.fields import NS, Reader, u32, u64

# ── Kinds of messages (section 3) ─────────────────────────────────────────────────────────────

FXP_INIT = 1
FXP_VERSION = 2
FXP_OPEN = 3
FXP_CLOSE = 4
FXP_READ = 5
FXP_WRITE = 6
FXP_LSTAT = 7
FXP_FSTAT = 8
FXP_SETSTAT = 9
FXP_FSETSTAT = 10
FXP_OPENDIR = 11
FXP_READDIR = 12
FXP_REMOVE = 13
FXP_MKDIR = 14
FXP_RMDIR = 15
FXP_REALPATH = 16
FXP_STAT = 17
FXP_RENAME = 18
FXP_READLINK = 19
FXP_SYMLINK = 20
FXP_STATUS = 101
FXP_HANDLE = 102
FXP_DATA = 103
FXP_NAME = 104
FXP_ATTRS = 105
FXP_EXTENDED = 200
FXP_EXTENDED_REPLY = 201

MESSAGE_NAMES: dict[int, str] = {
    FXP_INIT: "INIT",
    FXP_VERSION: "VERSION",
    FXP_OPEN: "OPEN",
    FXP_CLOSE: "CLOSE",
    FXP_READ: "READ",
    FXP_WRITE: "WRITE",
    FXP_LSTAT: "LSTAT",
    FXP_FSTAT: "FSTAT",
    FXP_SETSTAT: "SETSTAT",
    FXP_FSETSTAT: "FSETSTAT",
    FXP_OPENDIR: "OPENDIR",
    FXP_READDIR: "READDIR",
    FXP_REMOVE: "REMOVE",
    FXP_MKDIR: "MKDIR",
    FXP_RMDIR: "RMDIR",
    FXP_REALPATH: "REALPATH",
    FXP_STAT: "STAT",
    FXP_RENAME: "RENAME",
    FXP_READLINK: "READLINK",
    FXP_SYMLINK: "SYMLINK",
    FXP_STATUS: "STATUS",
    FXP_HANDLE: "HANDLE",
    FXP_DATA: "DATA",
    FXP_NAME: "NAME",
    FXP_ATTRS: "ATTRS",
    FXP_EXTENDED: "EXTENDED",
    FXP_EXTENDED_REPLY: "EXTENDED_REPLY",
}

# ── Codes of STATUS (section 7) ───────────────────────────────────────────────────────────────

FX_OK = 0
FX_EOF = 1
FX_NO_SUCH_FILE = 2
FX_PERMISSION_DENIED = 3
FX_FAILURE = 4
FX_BAD_MESSAGE = 5
FX_NO_CONNECTION = 6
FX_CONNECTION_LOST = 7
FX_OP_UNSUPPORTED = 8
FX_FILE_ALREADY_EXISTS = 11
"""From version 6 on; version 3 has FX_FAILURE for it, and some clients know no other."""

STATUS_TEXTS: dict[int, bytes] = {
    FX_OK: b"Success",
    FX_EOF: b"End of file",
    FX_NO_SUCH_FILE: b"No such file",
    FX_PERMISSION_DENIED: b"Permission denied",
    FX_FAILURE: b"Failure",
    FX_BAD_MESSAGE: b"Bad message",
    FX_NO_CONNECTION: b"No connection",
    FX_CONNECTION_LOST: b"Connection lost",
    FX_OP_UNSUPPORTED: b"Operation unsupported",
    FX_FILE_ALREADY_EXISTS: b"File already exists",
}

# ── Flags of OPEN (section 6.3) and of attributes (section 5) ─────────────────────────────────

FXF_READ = 0x01
FXF_WRITE = 0x02
FXF_APPEND = 0x04
FXF_CREAT = 0x08
FXF_TRUNC = 0x10
FXF_EXCL = 0x20
FXF_TEXT = 0x40
"""From version 4 on."""

ATTR_SIZE = 0x01
ATTR_UIDGID = 0x02
ATTR_PERMISSIONS = 0x04
ATTR_ACMODTIME = 0x08
ATTR_EXTENDED = 0x80000000

# ── Limits ────────────────────────────────────────────────────────────────────────────────────

VERSION = 3

MAX_MESSAGE_LENGTH = 256 * 1024
"""Longest message, its length field aside, in bytes (OpenSSH's SFTP_MAX_MSG_LENGTH)."""

MAX_DATA_LENGTH = MAX_MESSAGE_LENGTH - 1024
"""Most bytes of a file in one message: what is left beside the longest header (OpenSSH's)."""

MAX_HANDLE_LENGTH = 256
"""Longest handle, in bytes (section 6.3)."""

MAX_EXTENDED_ATTRIBUTES = 64
"""Most extended attributes of one file, and most extensions that one side announces (ours)."""

# ── Extensions (OpenSSH's PROTOCOL, sections 4.3 to 4.12) ─────────────────────────────────────

EXT_POSIX_RENAME = b"posix-rename@openssh.com"
EXT_STATVFS = b"statvfs@openssh.com"
EXT_FSTATVFS = b"fstatvfs@openssh.com"
EXT_HARDLINK = b"hardlink@openssh.com"
EXT_FSYNC = b"fsync@openssh.com"
EXT_LSETSTAT = b"lsetstat@openssh.com"
EXT_LIMITS = b"limits@openssh.com"
EXT_EXPAND_PATH = b"expand-path@openssh.com"
EXT_COPY_DATA = b"copy-data"
EXT_HOME_DIRECTORY = b"home-directory"
EXT_USERS_GROUPS = b"users-groups-by-id@openssh.com"

EXTENSION_VERSIONS: dict[bytes, bytes] = {
    EXT_POSIX_RENAME: b"1",
    EXT_STATVFS: b"2",
    EXT_FSTATVFS: b"2",
    EXT_HARDLINK: b"1",
    EXT_FSYNC: b"1",
    EXT_LSETSTAT: b"1",
    EXT_LIMITS: b"1",
    EXT_EXPAND_PATH: b"1",
    EXT_COPY_DATA: b"1",
    EXT_HOME_DIRECTORY: b"1",
    EXT_USERS_GROUPS: b"1",
}
"""The data with which each is announced in VERSION."""

DRAFT_SYMLINK_CLIENTS = (
    b"SSH-2.0-AsyncSSH",
    b"SSH-2.0-Twisted",
    b"SSH-2.0-libssh_",
    b"SSH-2.0-libssh-",
)
"""Clients that send SYMLINK to us in the draft's order, link then target. OpenSSH sends the target
first, and nearly everybody followed, some only where the server calls itself OpenSSH."""

# ── Fields ────────────────────────────────────────────────────────────────────────────────────

STRING, U32, U64, ATTRS = "string", "u32", "u64", "attrs"

REQUESTS: Mapping[int, tuple[str, ...]] = {
    FXP_OPEN: (STRING, U32, ATTRS),  # filename, FXF_* flags, attributes of a new file
    FXP_CLOSE: (STRING,),  # handle
    FXP_READ: (STRING, U64, U32),  # handle, offset, length
    FXP_WRITE: (STRING, U64, STRING),  # handle, offset, data
    FXP_LSTAT: (STRING,),  # path
    FXP_FSTAT: (STRING,),  # handle
    FXP_SETSTAT: (STRING, ATTRS),  # path, attributes
    FXP_FSETSTAT: (STRING, ATTRS),  # handle, attributes
    FXP_OPENDIR: (STRING,),  # path
    FXP_READDIR: (STRING,),  # handle
    FXP_REMOVE: (STRING,),  # path
    FXP_MKDIR: (STRING, ATTRS),  # path, attributes
    FXP_RMDIR: (STRING,),  # path
    FXP_REALPATH: (STRING,),  # path
    FXP_STAT: (STRING,),  # path
    FXP_RENAME: (STRING, STRING),  # old path, new path
    FXP_READLINK: (STRING,),  # path
    FXP_SYMLINK: (STRING, STRING),  # target, link: see DRAFT_SYMLINK_CLIENTS
}
"""What each request has after its id. EXTENDED has a string, its name, and `EXTENDED_REQUESTS`."""

EXTENDED_REQUESTS: Mapping[bytes, tuple[str, ...]] = {
    EXT_POSIX_RENAME: (STRING, STRING),  # old path, new path
    EXT_STATVFS: (STRING,),  # path
    EXT_FSTATVFS: (STRING,),  # handle
    EXT_HARDLINK: (STRING, STRING),  # old path, new path
    EXT_FSYNC: (STRING,),  # handle
    EXT_LSETSTAT: (STRING, ATTRS),  # path, attributes
    EXT_LIMITS: (),
    EXT_EXPAND_PATH: (STRING,),  # path
    # handle, offset, length (0: to the end), handle to write to, offset there
    EXT_COPY_DATA: (STRING, U64, U64, STRING, U64),
    EXT_HOME_DIRECTORY: (STRING,),  # user name; empty for one's own
    EXT_USERS_GROUPS: (STRING, STRING),  # uint32 user ids, uint32 group ids, each as one string
}

_ID_AND_LENGTH = struct.Struct(">LL")
_FRAME = struct.Struct(">LB")
_STATUS = struct.Struct(">LLL")


class StatVfs(NamedTuple):
    """The reply to statvfs and fstatvfs: eleven uint64, named as in statvfs(3)."""

    bsize: int
    frsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    favail: int
    fsid: int
    flag: int
    namemax: int

    def encode(self) -> bytes:
        return _STATVFS.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> StatVfs:
        return cls(*_STATVFS.unpack(Reader(data).take(_STATVFS.size)))


_STATVFS = struct.Struct(">11Q")

STATVFS_READ_ONLY = 1
STATVFS_NO_SETUID = 2


class Limits(NamedTuple):
    """The reply to limits: four uint64; 0 stands for a limit that is not told.

    Attributes:
        maxPacketLength: The longest message.
        maxReadLength: Most bytes that one READ is answered with.
        maxWriteLength: Most bytes that one WRITE may carry.
        maxOpenHandles: How many handles may be open at a time.
    """

    maxPacketLength: int
    maxReadLength: int
    maxWriteLength: int
    maxOpenHandles: int

    def encode(self) -> bytes:
        return _LIMITS.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> Limits:
        return cls(*_LIMITS.unpack(Reader(data).take(_LIMITS.size)))


_LIMITS = struct.Struct(">4Q")


class Name(NamedTuple):
    """One entry of NAME.

    Attributes:
        filename: The name.
        longname: A line in the style of `ls -l`.
        attrs: Its attributes.
    """

    filename: bytes
    longname: bytes
    attrs: Mapping[str, Any]


# ── Attributes ────────────────────────────────────────────────────────────────────────────────


def packAttrs(attrs: Mapping[str, Any]) -> bytes:
    """Encode attributes. Of the pairs uid and gid, atime and mtime only both together are sent.

    Raises:
        struct.error: A number is outside its type's range.
    """
    flags = 0
    body = b""
    if attrs.get("size") is not None:
        flags |= ATTR_SIZE
        body += u64(attrs["size"])
    if attrs.get("uid") is not None and attrs.get("gid") is not None:
        flags |= ATTR_UIDGID
        body += _ID_AND_LENGTH.pack(attrs["uid"], attrs["gid"])
    if attrs.get("permissions") is not None:
        flags |= ATTR_PERMISSIONS
        body += u32(attrs["permissions"])
    if attrs.get("atime") is not None and attrs.get("mtime") is not None:
        flags |= ATTR_ACMODTIME
        body += _ID_AND_LENGTH.pack(_seconds(attrs["atime"]), _seconds(attrs["mtime"]))
    extended = [(name, value) for name, value in attrs.items() if name.startswith("ext_")]
    if extended:
        flags |= ATTR_EXTENDED
        body += u32(len(extended))
        for name, value in extended:
            body += NS(name[4:].encode("utf-8", "surrogateescape")) + NS(value)
    return u32(flags) + body


def _seconds(time: float) -> int:
    """A time as the uint32 of the wire, which knows none before 1970 and none after 2106."""
    return min(max(int(time), 0), 2**32 - 1)


def readAttrs(reader: Reader) -> dict[str, Any]:
    """Read attributes.

    Raises:
        BadField: More than `MAX_EXTENDED_ATTRIBUTES` extended ones, or flags of another version,
            whose fields have no known length.
        Truncated: The message ends within them.
    """
    flags = reader.u32()
    if flags & ~(ATTR_SIZE | ATTR_UIDGID | ATTR_PERMISSIONS | ATTR_ACMODTIME | ATTR_EXTENDED):
        raise BadField(f"attribute flags {flags:#x}, of another version")
    attrs: dict[str, Any] = {}
    if flags & ATTR_SIZE:
        attrs["size"] = reader.u64()
    if flags & ATTR_UIDGID:
        attrs["uid"], attrs["gid"] = reader.u32(), reader.u32()
    if flags & ATTR_PERMISSIONS:
        attrs["permissions"] = reader.u32()
    if flags & ATTR_ACMODTIME:
        attrs["atime"], attrs["mtime"] = reader.u32(), reader.u32()
    if flags & ATTR_EXTENDED:
        count = reader.u32()
        if count > MAX_EXTENDED_ATTRIBUTES:
            raise BadField(f"{count} extended attributes, over {MAX_EXTENDED_ATTRIBUTES}")
        for _ in range(count):
            name = reader.string().decode("utf-8", "surrogateescape")
            attrs[f"ext_{name}"] = reader.string()
    return attrs


# ── Messages ──────────────────────────────────────────────────────────────────────────────────


def packFrame(kind: int, body: bytes) -> bytes:
    """A message as it goes over the channel."""
    return _FRAME.pack(len(body) + 1, kind) + body


def packHello(version: int, extensions: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The body of INIT and of VERSION: uint32 version, then pairs of strings, name and data."""
    return u32(version) + b"".join(NS(name) + NS(data) for name, data in extensions)


def readHello(body: bytes) -> tuple[int, dict[bytes, bytes]]:
    """The version and the extensions, name to data, of INIT or VERSION.

    Raises:
        BadField: More than `MAX_EXTENDED_ATTRIBUTES` extensions.
    """
    reader = Reader(body)
    version = reader.u32()
    extensions: dict[bytes, bytes] = {}
    while reader.remaining:
        if len(extensions) == MAX_EXTENDED_ATTRIBUTES:
            raise BadField(f"more than {MAX_EXTENDED_ATTRIBUTES} extensions")
        name = reader.string()
        extensions[name] = reader.string()
    return version, extensions


def packFields(fields: Sequence[str], values: Sequence[Any]) -> bytes:
    """Encode `values` as the fields of `REQUESTS` and `EXTENDED_REQUESTS` say."""
    return b"".join(_PACK[field](value) for field, value in zip(fields, values, strict=True))


def readFields(fields: Sequence[str], reader: Reader) -> list[Any]:
    """The inverse of `packFields`; what follows them stays in the reader."""
    return [_READ[field](reader) for field in fields]


def packRequest(kind: int, requestId: int, *values: Any) -> bytes:
    """The body of a request of `REQUESTS`."""
    return u32(requestId) + packFields(REQUESTS[kind], values)


def packExtended(requestId: int, name: bytes, *values: Any) -> bytes:
    """The body of an EXTENDED request of `EXTENDED_REQUESTS`."""
    return u32(requestId) + NS(name) + packFields(EXTENDED_REQUESTS[name], values)


_PACK: Mapping[str, Any] = {STRING: NS, U32: u32, U64: u64, ATTRS: packAttrs}
_READ: Mapping[str, Any] = {
    STRING: Reader.string,
    U32: Reader.u32,
    U64: Reader.u64,
    ATTRS: readAttrs,
}


def packStatus(requestId: int, code: int, message: bytes = b"", language: bytes = b"") -> bytes:
    """The body of STATUS; without a message, the text of `STATUS_TEXTS`."""
    if not message:
        message = STATUS_TEXTS.get(code, b"Failure")
    return _STATUS.pack(requestId, code, len(message)) + message + NS(language)


def readStatus(reader: Reader) -> tuple[int, bytes, bytes]:
    """The code, message and language of STATUS, after its id. Old servers send the code alone."""
    code = reader.u32()
    message = reader.string() if reader.remaining else b""
    language = reader.string() if reader.remaining else b""
    return code, message, language


def packData(requestId: int, data: bytes) -> bytes:
    """The body of DATA, and of HANDLE."""
    return _ID_AND_LENGTH.pack(requestId, len(data)) + data


def packNames(requestId: int, names: Sequence[tuple[bytes, bytes, Mapping[str, Any]]]) -> bytes:
    """The body of NAME: triples of filename, longname and attributes."""
    pieces = [_ID_AND_LENGTH.pack(requestId, len(names))]
    for filename, longname, attrs in names:
        pieces += (NS(filename), NS(longname), packAttrs(attrs))
    return b"".join(pieces)


def readNames(reader: Reader) -> list[Name]:
    """The entries of NAME, after its id.

    Raises:
        Truncated: It promises more than it has.
    """
    count = reader.u32()
    names: list[Name] = []
    for _ in range(count):
        names.append(Name(reader.string(), reader.string(), readAttrs(reader)))
    return names


def packIds(ids: Iterable[int]) -> bytes:
    """User or group ids as users-groups-by-id carries them in one string."""
    return b"".join(map(u32, ids))


def readIds(data: bytes) -> list[int]:
    """The inverse of `packIds`."""
    reader = Reader(data)
    ids = []
    while reader.remaining:
        ids.append(reader.u32())
    return ids


def packStrings(strings: Iterable[bytes]) -> bytes:
    """Strings within a string: one of the two of the reply to users-groups-by-id."""
    return b"".join(map(NS, strings))


def readStrings(data: bytes) -> list[bytes]:
    """The inverse of `packStrings`."""
    reader = Reader(data)
    strings = []
    while reader.remaining:
        strings.append(reader.string())
    return strings
