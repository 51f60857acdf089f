"""The messages that a connection sees rarely, as frozen values that encode and decode themselves.

Rule: `encode` gives, and `decode` takes, what follows the message number; the number itself is the
class attribute `number`. A message sent for every piece of data is never made a dataclass.
RFC 4253 sections 7.1, 10 and 11; RFC 8308 section 2.3.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, TypeAlias, cast

from limpet.wire import numbers
from limpet.wire.errors import BadField
from limpet.wire.fields import MAX_NAME_LENGTH, NS, Reader, boolean, nameList, u32

COOKIE_LENGTH = 16
"""Bytes of randomness at the front of MSG_KEXINIT (RFC 4253 section 7.1)."""

_Names: TypeAlias = tuple[bytes, ...]
_Lists: TypeAlias = tuple[
    _Names, _Names, _Names, _Names, _Names, _Names, _Names, _Names, _Names, _Names
]

_CACHEABLE_LENGTH = 4096
"""Longest KEXINIT body whose lists are remembered; what OpenSSH 10 sends has about 1,500 bytes."""

_CACHED_BODIES = 32
"""How many different bodies are remembered: at most 32 × 4 KiB, and the names cut out of them."""

_CACHED_LISTS = 64
"""How many of our own lists are remembered in their encoding."""


@dataclass(frozen=True, slots=True)
class KexInit:
    """MSG_KEXINIT: what one side offers, RFC 4253 section 7.1.

    The exchange hash covers the bytes as they were received, not an encoding of this value.
    """

    number: ClassVar[int] = numbers.MSG_KEXINIT

    cookie: bytes
    keyExchanges: tuple[bytes, ...]
    hostKeyAlgorithms: tuple[bytes, ...]
    ciphersCS: tuple[bytes, ...]
    ciphersSC: tuple[bytes, ...]
    macsCS: tuple[bytes, ...]
    macsSC: tuple[bytes, ...]
    compressionsCS: tuple[bytes, ...]
    compressionsSC: tuple[bytes, ...]
    languagesCS: tuple[bytes, ...] = ()
    languagesSC: tuple[bytes, ...] = ()
    firstKexPacketFollows: bool = False
    reserved: int = 0

    def encode(self) -> bytes:
        """Cookie, ten name-lists, boolean first_kex_packet_follows, uint32 reserved."""
        lists = (
            self.keyExchanges,
            self.hostKeyAlgorithms,
            self.ciphersCS,
            self.ciphersSC,
            self.macsCS,
            self.macsSC,
            self.compressionsCS,
            self.compressionsSC,
            self.languagesCS,
            self.languagesSC,
        )
        return b"".join(
            (
                self.cookie,
                *map(_encodeNames, lists),
                boolean(self.firstKexPacketFollows),
                u32(self.reserved),
            )
        )

    @classmethod
    def decode(cls, body: bytes) -> KexInit:
        """Read the message.

        `reserved` may have any value, as RFC 4253 leaves it to future extensions.

        Raises:
            WireError: The body is shorter or longer than its fields, or a name is none.
        """
        cookie = Reader(body).take(COOKIE_LENGTH)
        offered = bytes(body[COOKIE_LENGTH:])
        # Peers that run the same program differ in their cookie only, so most bodies are known.
        read = _readOffer if len(offered) <= _CACHEABLE_LENGTH else _readOffer.__wrapped__
        names, follows, reserved = read(offered)
        return cls(cookie, *names, follows, reserved)


@functools.lru_cache(maxsize=_CACHED_LISTS)
def _encodeNames(names: tuple[bytes, ...]) -> bytes:
    """A name-list of ours; every connection of a server offers the same."""
    return nameList(names)


@functools.lru_cache(maxsize=_CACHED_BODIES)
def _readOffer(offered: bytes) -> tuple[_Lists, bool, int]:
    """What follows the cookie: the ten lists, the boolean, the reserved field."""
    reader = Reader(offered)
    names = tuple(reader.nameList() for _ in range(10))
    follows = reader.boolean()
    reserved = reader.u32()
    reader.end()
    return cast(_Lists, names), follows, reserved


@dataclass(frozen=True, slots=True)
class Disconnect:
    """MSG_DISCONNECT: the sender ends the connection, RFC 4253 section 11.1."""

    number: ClassVar[int] = numbers.MSG_DISCONNECT

    reasonCode: int
    description: bytes
    language: bytes = b""

    def encode(self) -> bytes:
        """uint32 reason code, string description, string language tag."""
        return u32(self.reasonCode) + NS(self.description) + NS(self.language)

    @classmethod
    def decode(cls, body: bytes) -> Disconnect:
        """Read the message; old peers leave the language tag out, and some add bytes to it."""
        reader = Reader(body)
        reasonCode = reader.u32()
        description = reader.string()
        return cls(reasonCode, description, reader.string() if reader.remaining else b"")


@dataclass(frozen=True, slots=True)
class Unimplemented:
    """MSG_UNIMPLEMENTED: a packet was not understood, RFC 4253 section 11.4."""

    number: ClassVar[int] = numbers.MSG_UNIMPLEMENTED

    sequence: int

    def encode(self) -> bytes:
        """uint32 sequence number of the rejected packet."""
        return u32(self.sequence)

    @classmethod
    def decode(cls, body: bytes) -> Unimplemented:
        """Read the message. Raises WireError where it is not exactly one uint32."""
        reader = Reader(body)
        message = cls(reader.u32())
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Debug:
    """MSG_DEBUG: words for a person, RFC 4253 section 11.3."""

    number: ClassVar[int] = numbers.MSG_DEBUG

    alwaysDisplay: bool
    message: bytes
    language: bytes = b""

    def encode(self) -> bytes:
        """boolean always_display, string message, string language tag."""
        return boolean(self.alwaysDisplay) + NS(self.message) + NS(self.language)

    @classmethod
    def decode(cls, body: bytes) -> Debug:
        """Read the message; the language tag may be missing, as in MSG_DISCONNECT."""
        reader = Reader(body)
        alwaysDisplay = reader.boolean()
        message = reader.string()
        return cls(alwaysDisplay, message, reader.string() if reader.remaining else b"")


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """MSG_SERVICE_REQUEST: the client asks for a service, RFC 4253 section 10."""

    number: ClassVar[int] = numbers.MSG_SERVICE_REQUEST

    name: bytes

    def encode(self) -> bytes:
        """string service name."""
        return NS(self.name)

    @classmethod
    def decode(cls, body: bytes) -> ServiceRequest:
        """Read the message. Raises WireError where it is not exactly one name."""
        return cls(_readName(body))


@dataclass(frozen=True, slots=True)
class ServiceAccept:
    """MSG_SERVICE_ACCEPT: the server starts the service asked for, RFC 4253 section 10."""

    number: ClassVar[int] = numbers.MSG_SERVICE_ACCEPT

    name: bytes

    def encode(self) -> bytes:
        """string service name."""
        return NS(self.name)

    @classmethod
    def decode(cls, body: bytes) -> ServiceAccept:
        """Read the message. Raises WireError where it is not exactly one name."""
        return cls(_readName(body))


def _readName(body: bytes) -> bytes:
    reader = Reader(body)
    name = reader.string(MAX_NAME_LENGTH)
    reader.end()
    return name


@dataclass(frozen=True, slots=True)
class ExtInfo:
    """MSG_EXT_INFO: extensions that the sender knows, RFC 8308 section 2.3.

    A later message replaces an earlier one as a whole (section 2.4), hence a mapping and no list.
    """

    number: ClassVar[int] = numbers.MSG_EXT_INFO

    extensions: Mapping[bytes, bytes]

    def encode(self) -> bytes:
        """uint32 count, then that many times string name, string value."""
        pairs = (NS(name) + NS(value) for name, value in self.extensions.items())
        return u32(len(self.extensions)) + b"".join(pairs)

    @classmethod
    def decode(cls, body: bytes) -> ExtInfo:
        """Read the message; of a name that comes twice the first value counts.

        Raises:
            WireError: The count promises more than the body holds, bytes are left over, or a name
                is not 1 to 64 bytes long.
        """
        reader = Reader(body)
        count = reader.u32()
        if count * 8 > reader.remaining:
            raise BadField(f"{count} extensions promised in {reader.remaining} bytes")
        extensions: dict[bytes, bytes] = {}
        for _ in range(count):
            name = reader.string(MAX_NAME_LENGTH)
            if not name:
                raise BadField("an extension without a name")
            extensions.setdefault(name, reader.string())
        reader.end()
        return cls(MappingProxyType(extensions))
