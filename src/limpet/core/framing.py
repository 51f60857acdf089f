"""Frames of a uint32 length and that many bytes: what SFTP and the agent protocol are made of.

Rule: what is fed is kept as it came, and a frame is copied once when it is taken out, or not at all
(`take`), however the stream was cut. No more is kept than one frame and what came with it, and a
length that is not allowed raises before its bytes are waited for.
draft-ietf-secsh-filexfer-02 section 3, draft-ietf-sshm-ssh-agent section 3.
"""

from __future__ import annotations

import struct
from collections import deque

from limpet.wire.errors import BadField

_LENGTH = struct.Struct(">L")

MAX_PIECES = 256
"""So many pieces of a stream are kept apart (ours); then they are joined, since each costs memory,
and a system call takes no more than 1024 of them."""


class FrameReceiver:
    """Cuts a stream into frames.

    Args:
        maxLength: The longest frame, its length field aside, in bytes.
        minLength: The shortest.

    Attributes:
        pending: How many bytes wait, in whole frames and in a part of one.
    """

    __slots__ = ("_length", "_offset", "_piece", "_pieces", "maxLength", "minLength", "pending")

    def __init__(self, maxLength: int, minLength: int = 1) -> None:
        self.maxLength = maxLength
        self.minLength = minLength
        self.clear()

    def clear(self) -> None:
        """Forget what waits."""
        # The piece that is being cut, how far it is, the pieces after it, and the length of the
        # frame at that place, or -1 while it is not known.
        self._piece = b""
        self._offset = 0
        self._pieces: deque[bytes] = deque()
        self._length = -1
        self.pending = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add what came in."""
        if type(data) is not bytes:
            data = bytes(data)  # the owner of anything else might change it
        if self.pending:
            pieces = self._pieces
            pieces.append(data)
            if len(pieces) > MAX_PIECES:
                whole = b"".join(pieces)
                pieces.clear()
                pieces.append(whole)
        else:
            self._piece = data
            self._offset = 0
        self.pending += len(data)

    def next(self) -> bytes | None:
        """The next frame, without its length; None while it is not complete.

        Raises:
            BadField: Its length is not allowed. There is no way to go on after that.
        """
        if not self._isComplete():
            return None
        start = self._offset
        stop = start + self._length
        if stop >= len(self._piece):
            return b"".join(self._cut())
        frame = self._piece[start:stop]
        self.pending -= self._length
        self._offset = stop
        self._length = -1
        return frame

    def take(self) -> list[memoryview] | None:
        """The same without a copy, in the pieces in which it came: one at least, none empty."""
        return self._cut() if self._isComplete() else None

    def _isComplete(self) -> bool:
        """Whether all of the next frame is there; then its length is known."""
        if self._length < 0:
            if self.pending < 4:
                return False
            while len(self._piece) - self._offset < 4:
                self._piece = self._piece[self._offset :] + self._pieces.popleft()
                self._offset = 0
            length: int = _LENGTH.unpack_from(self._piece, self._offset)[0]
            if not self.minLength <= length <= self.maxLength:
                allowed = f"{self.minLength} to {self.maxLength}"
                raise BadField(f"a message of {length} bytes, where {allowed} are allowed")
            self._length = length
            self._offset += 4
            self.pending -= 4
        return self.pending >= self._length

    def _cut(self) -> list[memoryview]:
        """Take the frame at this place out; all of it is there."""
        missing, self._length = self._length, -1
        self.pending -= missing
        piece, start = self._piece, self._offset
        found: list[memoryview] = []
        while True:
            part = memoryview(piece)[start : start + missing]
            if part:
                found.append(part)
            missing -= len(part)
            start += len(part)
            if not missing:
                break
            piece, start = self._pieces.popleft(), 0
        if start == len(piece):
            # Nothing that was taken out stays here.
            piece, start = (self._pieces.popleft() if self._pieces else b""), 0
        self._piece, self._offset = piece, start
        return found


class Pieces:
    """Bytes as they came, in several pieces; `bytes` of it joins them.

    Args:
        views: The pieces.
    """

    __slots__ = ("_length", "views")

    def __init__(self, views: list[memoryview]) -> None:
        self.views = views
        self._length = sum(map(len, views))

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self.views)


def packFrame(body: bytes) -> bytes:
    """A frame of `body`."""
    return _LENGTH.pack(len(body)) + body
