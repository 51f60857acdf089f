"""Payload compression with zlib, one stream per direction (RFC 4253 section 6.2, RFC 1950).

Rule: never more than `limit` bytes come out of one packet, and never a byte of a stream that ended.
"""

from __future__ import annotations

import zlib

LEVEL = 6
"""zlib's own default, and OpenSSH's."""


class CompressionError(Exception):
    """A compressed payload does not inflate, or to more than a packet may hold."""


class Deflater:
    """The compressing end of one direction. The stream lives as long as the keys do."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.compressobj(LEVEL)

    def compress(self, payload: bytes) -> bytes:
        """One payload compressed and flushed, so that it can be inflated by itself."""
        stream = self._stream
        return stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)

    def flush(self, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
        """Nothing: `compress` has flushed. For applications that took this for zlib's own."""
        return b""


class Inflater:
    """The inflating end of one direction."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def decompress(self, payload: bytes, limit: int) -> bytes:
        """One payload inflated.

        Args:
            payload: What `Deflater.compress` of the peer gave.
            limit: The most bytes that may come out.

        Raises:
            CompressionError: this is no zlib data, it ends the stream or continues one that ended,
                it asks for a preset dictionary, it gives nothing, or it gives more than `limit`.
        """
        stream = self._stream
        try:
            inflated = stream.decompress(payload, limit + 1)
        except zlib.error:
            raise CompressionError("the compressed payload is damaged") from None
        if len(inflated) > limit or stream.unconsumed_tail:
            raise CompressionError(f"a payload inflates to more than {limit} bytes")
        if stream.eof:
            raise CompressionError("the compressed stream ended within the connection")
        if not inflated:
            raise CompressionError("a compressed payload is empty")
        return inflated
