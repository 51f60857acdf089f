"""Frames of a uint32 length and that many bytes: what SFTP and the agent protocol are made of.

Rule: a frame is taken out once and copied once, however the stream was cut; no more is kept than
one frame and what came with it, and a length that is not allowed raises before its bytes are waited
for. draft-ietf-secsh-filexfer-02 section 3, draft-ietf-sshm-ssh-agent section 3.
"""

from __future__ import annotations

import struct

from limpet.wire.errors import BadField

_LENGTH = struct.Struct(">L")

COMPACT_ABOVE = 65536
"""Once so many bytes at the front of the buffer were taken, they are removed from it. Removing them
after each frame would cost time in proportion to what waits behind it."""


class FrameReceiver:
    """Cuts a stream into frames.

    Args:
        maxLength: The longest frame, its length field aside, in bytes.
        minLength: The shortest.
    """

    __slots__ = ("_buffer", "_offset", "maxLength", "minLength")

    def __init__(self, maxLength: int, minLength: int = 1) -> None:
        self.maxLength = maxLength
        self.minLength = minLength
        self._buffer = bytearray()
        self._offset = 0

    @property
    def pending(self) -> int:
        """How many bytes wait, in whole frames and in a part of one."""
        return len(self._buffer) - self._offset

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add what came in."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next frame, without its length; None while it is not complete.

        Raises:
            BadField: Its length is not allowed. There is no way to go on after that.
        """
        buffer = self._buffer
        start = self._offset + 4
        if len(buffer) < start:
            self._compact()
            return None
        length: int = _LENGTH.unpack_from(buffer, self._offset)[0]
        if not self.minLength <= length <= self.maxLength:
            allowed = f"{self.minLength} to {self.maxLength}"
            raise BadField(f"a message of {length} bytes, where {allowed} are allowed")
        stop = start + length
        if len(buffer) < stop:
            self._compact()
            return None
        with memoryview(buffer) as view:
            frame = bytes(view[start:stop])
        self._offset = stop
        if stop >= COMPACT_ABOVE:
            self._compact()
        return frame

    def clear(self) -> None:
        """Forget what waits."""
        self._buffer = bytearray()
        self._offset = 0

    def _compact(self) -> None:
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0


def packFrame(body: bytes) -> bytes:
    """A frame of `body`."""
    return _LENGTH.pack(len(body)) + body
