"""The data types of RFC 4251 section 5: encoders, decoders, and a bounds-checked cursor.

Rule: nothing here ever returns fewer bytes than a length field promised; a short buffer raises
`Truncated`. `NS`, `getNS`, `MP`, `getMP` and `ffs` keep the names under which Conch documents them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

from limpet.wire.errors import BadField, TrailingBytes, Truncated

MAX_NAME_LENGTH = 64
"""Longest algorithm or method name, in bytes (RFC 4251 section 6)."""

MAX_MPINT_BITS = 16384
"""Largest multiple-precision integer read from a peer, in bits (OpenSSH's SSHBUF_MAX_BIGNUM)."""

_U32 = struct.Struct(">L")
_U64 = struct.Struct(">Q")

_PRINTABLE = bytes(range(0x21, 0x7F))

_T = TypeVar("_T")


def NS(value: bytes | str) -> bytes:
    """Encode a string: a uint32 length, then that many bytes. Text is encoded as UTF-8."""
    if isinstance(value, str):
        value = value.encode("utf-8")
    return _U32.pack(len(value)) + value


def getNS(data: bytes, count: int = 1) -> tuple[bytes, ...]:
    """Decode `count` strings from the front of `data`.

    Returns the strings followed by what is left of `data`, `count` + 1 items in all.

    Raises:
        Truncated: `data` ends within one of the strings.
    """
    reader = Reader(data)
    return (*(reader.string() for _ in range(count)), reader.rest())


def MP(number: int) -> bytes:
    """Encode a non-negative multiple-precision integer (mpint).

    Raises:
        ValueError: `number` is negative; no SSH message that we send carries such a number.
    """
    if number < 0:
        raise ValueError("an mpint that we send is never negative")
    # One bit more than the number has, so that its sign bit is always clear; zero is empty.
    body = number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b""
    return _U32.pack(len(body)) + body


def getMP(data: bytes, count: int = 1) -> tuple[int | bytes, ...]:
    """Decode `count` mpints from the front of `data`; the last item is what is left of it.

    Raises:
        Truncated: `data` ends within one of the numbers.
        BadField: a number is negative, not minimal, or longer than `MAX_MPINT_BITS`.
    """
    reader = Reader(data)
    numbers: list[int | bytes] = [reader.mpint() for _ in range(count)]
    return (*numbers, reader.rest())


def ffs(preferred: Sequence[_T], offered: Sequence[_T]) -> _T | None:
    """The first element of `preferred` that is in `offered`, or None: RFC 4253 section 7.1."""
    available = set(offered)
    for item in preferred:
        if item in available:
            return item
    return None


def u32(number: int) -> bytes:
    """Encode a uint32, big-endian. Raises struct.error outside 0 .. 2**32 - 1."""
    return _U32.pack(number)


def u64(number: int) -> bytes:
    """Encode a uint64, big-endian. Raises struct.error outside 0 .. 2**64 - 1."""
    return _U64.pack(number)


def boolean(value: object) -> bytes:
    """Encode a boolean by its truth: one byte, 0x00 or 0x01."""
    return b"\x01" if value else b"\x00"


def nameList(names: Iterable[bytes]) -> bytes:
    """Encode a name-list: the names joined by commas, as one string."""
    return NS(b",".join(names))


class Reader:
    """A cursor over one message's bytes; each method takes one field and moves past it.

    Args:
        data: The message, or the part of it that is left to read.
        offset: Where to begin, in bytes.
    """

    __slots__ = ("_data", "_end", "offset")

    def __init__(self, data: bytes | memoryview, offset: int = 0) -> None:
        self._data = bytes(data)
        self._end = len(self._data)
        if not 0 <= offset <= self._end:
            raise Truncated(f"offset {offset} is outside a message of {self._end} bytes")
        self.offset = offset

    @property
    def remaining(self) -> int:
        """How many bytes have not been read."""
        return self._end - self.offset

    def take(self, count: int) -> bytes:
        """The next `count` bytes as they are."""
        start = self.offset
        stop = start + count
        if count < 0 or stop > self._end:
            raise Truncated(f"{count} bytes promised, {self._end - start} there")
        self.offset = stop
        return self._data[start:stop]

    def byte(self) -> int:
        """One byte as a number, 0 .. 255."""
        return self.take(1)[0]

    def boolean(self) -> bool:
        """One byte; any value but zero is true (RFC 4251 section 5)."""
        return self.take(1) != b"\x00"

    def u32(self) -> int:
        """A uint32."""
        number: int = _U32.unpack(self.take(4))[0]
        return number

    def u64(self) -> int:
        """A uint64."""
        number: int = _U64.unpack(self.take(8))[0]
        return number

    def string(self, limit: int | None = None) -> bytes:
        """A string; longer than `limit` bytes (where one is given) raises BadField."""
        # Written out, not by u32 and take: there are thirty strings in a login.
        start = self.offset + 4
        if start > self._end:
            raise Truncated(f"4 bytes promised, {self._end - self.offset} there")
        length: int = _U32.unpack_from(self._data, self.offset)[0]
        self.offset = start
        if limit is not None and length > limit:
            raise BadField(f"a string of {length} bytes where at most {limit} are allowed")
        stop = start + length
        if stop > self._end:
            raise Truncated(f"{length} bytes promised, {self._end - start} there")
        self.offset = stop
        return self._data[start:stop]

    def text(self, limit: int | None = None) -> str:
        """A string that has to be valid UTF-8, decoded. Raises BadField where it is not."""
        raw = self.string(limit)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadField(f"not UTF-8 at byte {error.start}") from None

    def mpint(self, limitBits: int = MAX_MPINT_BITS) -> int:
        """A non-negative, minimally encoded mpint of at most `limitBits` bits."""
        raw = self.string(limitBits // 8 + 1)
        if not raw:
            return 0
        if raw[0] & 0x80:
            raise BadField("a negative mpint")
        if raw[0] == 0 and (len(raw) == 1 or not raw[1] & 0x80):
            raise BadField("an mpint with leading zeros")
        number = int.from_bytes(raw, "big")
        if number.bit_length() > limitBits:
            raise BadField(f"an mpint of {number.bit_length()} bits, over {limitBits}")
        return number

    def nameList(self) -> tuple[bytes, ...]:
        """A name-list. Names are 1 to 64 printable ASCII bytes (RFC 4251 section 6)."""
        raw = self.string()
        if not raw:
            return ()
        if raw.translate(None, _PRINTABLE):
            raise BadField("a name with a byte that is not printable ASCII")
        names = tuple(raw.split(b","))
        for name in names:
            if not 0 < len(name) <= MAX_NAME_LENGTH:
                raise BadField(f"a name of {len(name)} bytes in a name-list")
        return names

    def rest(self) -> bytes:
        """All that is left; the cursor is at the end afterwards."""
        return self.take(self.remaining)

    def end(self) -> None:
        """Assert that the message is used up. Raises TrailingBytes where it is not."""
        if self.offset != self._end:
            raise TrailingBytes(f"{self._end - self.offset} bytes after the last field")
