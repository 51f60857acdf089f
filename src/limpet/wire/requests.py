"""The bodies of channel requests and of channel types (RFC 4254 sections 6 and 7, RFC 4335, and
OpenSSH's PROTOCOL, section 2.4).

Rule: a dataclass has the fields of one body in the order of the wire; `encode` and `decode` are
inverse, and `decode` raises a WireError for anything else. Whoever acts on a body checks its
values: here a size of 2**32 - 1 columns is a number like any other. Sizes of terminals are, as
everywhere in Conch's interfaces, tuples (rows, columns, width in pixels, height in pixels); the
wire has the columns first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TypeAlias

from limpet.wire.errors import BadField, Truncated
from limpet.wire.fields import NS, Reader, boolean, u32

Geometry: TypeAlias = tuple[int, int, int, int]
"""(rows, columns, width in pixels, height in pixels)"""

MAX_TERMINAL_MODES = 256
"""How many modes one pty-req may carry: there are only 255 opcodes (RFC 4254 section 8)."""

TTY_OP_END = 0
FIRST_UNDEFINED_OPCODE = 160
"""From here on an opcode's argument has no known length: reading stops (RFC 4254 section 8)."""

_GEOMETRY = struct.Struct(">4L")
_MODE = struct.Struct(">BL")


def packGeometry(geometry: Geometry) -> bytes:
    """A size of a terminal as pty-req and window-change carry it."""
    rows, columns, width, height = geometry
    return _GEOMETRY.pack(columns, rows, width, height)


def readGeometry(reader: Reader) -> Geometry:
    """The size of a terminal, out of four uint32: columns, rows, width, height."""
    columns, rows, width, height = _GEOMETRY.unpack(reader.take(_GEOMETRY.size))
    return rows, columns, width, height


def packModes(modes: list[tuple[int, int]]) -> bytes:
    """Terminal modes as pty-req carries them, with the TTY_OP_END that ends them."""
    return b"".join(_MODE.pack(*mode) for mode in modes) + bytes([TTY_OP_END])


def parseModes(data: bytes) -> list[tuple[int, int]]:
    """The (opcode, value) pairs of encoded terminal modes (RFC 4254 section 8).

    Reading stops at TTY_OP_END and at an opcode that has no definition, as the RFC asks.

    Raises:
        Truncated: The bytes end within a mode.
        BadField: More than `MAX_TERMINAL_MODES` modes.
    """
    modes: list[tuple[int, int]] = []
    offset = 0
    while offset < len(data):
        if data[offset] == TTY_OP_END or data[offset] >= FIRST_UNDEFINED_OPCODE:
            break
        if len(data) - offset < _MODE.size:
            raise Truncated("the terminal modes end within a mode")
        if len(modes) == MAX_TERMINAL_MODES:
            raise BadField(f"more than {MAX_TERMINAL_MODES} terminal modes")
        modes.append(_MODE.unpack_from(data, offset))
        offset += _MODE.size
    return modes


@dataclass(frozen=True)
class PtyRequest:
    """pty-req (RFC 4254 section 6.2).

    Attributes:
        term: The terminal's type, the value of TERM.
        geometry: Its size.
        modes: Its modes, (opcode, value).
    """

    term: bytes
    geometry: Geometry
    modes: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        return NS(self.term) + packGeometry(self.geometry) + NS(packModes(list(self.modes)))

    @classmethod
    def decode(cls, data: bytes) -> PtyRequest:
        reader = Reader(data)
        term = reader.string()
        geometry = readGeometry(reader)
        modes = parseModes(reader.string())
        reader.end()
        return cls(term, geometry, tuple(modes))


@dataclass(frozen=True)
class WindowChange:
    """window-change (RFC 4254 section 6.7)."""

    geometry: Geometry

    def encode(self) -> bytes:
        return packGeometry(self.geometry)

    @classmethod
    def decode(cls, data: bytes) -> WindowChange:
        reader = Reader(data)
        geometry = readGeometry(reader)
        reader.end()
        return cls(geometry)


@dataclass(frozen=True)
class Environment:
    """env (RFC 4254 section 6.4): one variable."""

    name: bytes
    value: bytes

    def encode(self) -> bytes:
        return NS(self.name) + NS(self.value)

    @classmethod
    def decode(cls, data: bytes) -> Environment:
        reader = Reader(data)
        body = cls(reader.string(), reader.string())
        reader.end()
        return body


@dataclass(frozen=True)
class Command:
    """exec (RFC 4254 section 6.5): the command line, as the client wrote it."""

    command: bytes

    def encode(self) -> bytes:
        return NS(self.command)

    @classmethod
    def decode(cls, data: bytes) -> Command:
        reader = Reader(data)
        body = cls(reader.string())
        reader.end()
        return body


@dataclass(frozen=True)
class ExitStatus:
    """exit-status (RFC 4254 section 6.10)."""

    status: int

    def encode(self) -> bytes:
        return u32(self.status)

    @classmethod
    def decode(cls, data: bytes) -> ExitStatus:
        reader = Reader(data)
        body = cls(reader.u32())
        reader.end()
        return body


@dataclass(frozen=True)
class ExitSignal:
    """exit-signal (RFC 4254 section 6.10).

    Attributes:
        name: The signal's name without "SIG"; b"NAME@domain" for one that the RFC does not list.
        coreDumped: Whether a core image was written.
        message: Words for a person; may be empty.
        language: The language of `message` (RFC 3066); may be empty.
    """

    name: bytes
    coreDumped: bool = False
    message: bytes = b""
    language: bytes = b""

    def encode(self) -> bytes:
        return NS(self.name) + boolean(self.coreDumped) + NS(self.message) + NS(self.language)

    @classmethod
    def decode(cls, data: bytes) -> ExitSignal:
        reader = Reader(data)
        body = cls(reader.string(), reader.boolean(), reader.string(), reader.string())
        reader.end()
        return body


@dataclass(frozen=True)
class SignalRequest:
    """signal (RFC 4254 section 6.9): a name as in `ExitSignal`."""

    name: bytes

    def encode(self) -> bytes:
        return NS(self.name)

    @classmethod
    def decode(cls, data: bytes) -> SignalRequest:
        reader = Reader(data)
        body = cls(reader.string())
        reader.end()
        return body


@dataclass(frozen=True)
class BreakRequest:
    """break (RFC 4335): how long to hold the line, in milliseconds; 0 leaves it to the receiver."""

    milliseconds: int

    def encode(self) -> bytes:
        return u32(self.milliseconds)

    @classmethod
    def decode(cls, data: bytes) -> BreakRequest:
        reader = Reader(data)
        body = cls(reader.u32())
        reader.end()
        return body


@dataclass(frozen=True)
class TcpForward:
    """What opens a direct-tcpip or forwarded-tcpip channel (RFC 4254 section 7.2).

    Attributes:
        host: Where to connect to (direct), or the address that was connected to (forwarded).
        port: The port that belongs to it.
        originHost: Where the connection came from.
        originPort: The port that belongs to it.
    """

    host: bytes
    port: int
    originHost: bytes
    originPort: int

    def encode(self) -> bytes:
        return NS(self.host) + u32(self.port) + NS(self.originHost) + u32(self.originPort)

    @classmethod
    def decode(cls, data: bytes) -> TcpForward:
        reader = Reader(data)
        body = cls(reader.string(), reader.u32(), reader.string(), reader.u32())
        reader.end()
        return body


@dataclass(frozen=True)
class TcpListen:
    """tcpip-forward and cancel-tcpip-forward (RFC 4254 section 7.1)."""

    address: bytes
    port: int

    def encode(self) -> bytes:
        return NS(self.address) + u32(self.port)

    @classmethod
    def decode(cls, data: bytes) -> TcpListen:
        reader = Reader(data)
        body = cls(reader.string(), reader.u32())
        reader.end()
        return body


@dataclass(frozen=True)
class UnixForward:
    """direct-streamlocal@openssh.com: connect to a Unix socket (OpenSSH's PROTOCOL, section 2.4).

    Attributes:
        path: The socket.
        originHost: Reserved; OpenSSH sends where the connection came from.
        originPort: Reserved, likewise.
    """

    path: bytes
    originHost: bytes = b""
    originPort: int = 0

    def encode(self) -> bytes:
        return NS(self.path) + NS(self.originHost) + u32(self.originPort)

    @classmethod
    def decode(cls, data: bytes) -> UnixForward:
        reader = Reader(data)
        body = cls(reader.string(), reader.string(), reader.u32())
        reader.end()
        return body


@dataclass(frozen=True)
class UnixForwarded:
    """forwarded-streamlocal@openssh.com: somebody connected to a Unix socket that was asked for.

    Attributes:
        path: The socket, as the request had it.
        reserved: Empty.
    """

    path: bytes
    reserved: bytes = b""

    def encode(self) -> bytes:
        return NS(self.path) + NS(self.reserved)

    @classmethod
    def decode(cls, data: bytes) -> UnixForwarded:
        reader = Reader(data)
        body = cls(reader.string(), reader.string())
        reader.end()
        return body


@dataclass(frozen=True)
class UnixListen:
    """streamlocal-forward@openssh.com and cancel-streamlocal-forward@openssh.com."""

    path: bytes

    def encode(self) -> bytes:
        return NS(self.path)

    @classmethod
    def decode(cls, data: bytes) -> UnixListen:
        reader = Reader(data)
        body = cls(reader.string())
        reader.end()
        return body


@dataclass(frozen=True)
class X11Request:
    """x11-req (RFC 4254 section 6.3.1).

    Attributes:
        single: Whether only one connection is to be forwarded.
        protocol: The name of the authentication protocol, b"MIT-MAGIC-COOKIE-1".
        cookie: What it needs, in hexadecimal digits; a secret.
        screen: The number of the screen.
    """

    single: bool
    protocol: bytes
    cookie: bytes = field(repr=False)
    screen: int = 0

    def encode(self) -> bytes:
        return boolean(self.single) + NS(self.protocol) + NS(self.cookie) + u32(self.screen)

    @classmethod
    def decode(cls, data: bytes) -> X11Request:
        reader = Reader(data)
        body = cls(reader.boolean(), reader.string(), reader.string(), reader.u32())
        reader.end()
        return body
