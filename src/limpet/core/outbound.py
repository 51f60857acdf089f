"""Bytes that wait to be sent: appended in any pieces, taken in other pieces, in the same order.

Rule: nothing is lost, reordered or copied more than once on the way; appending and taking cost
time in proportion to the bytes that they handle, never to those that wait.
"""

from __future__ import annotations

from collections import deque

MERGE_BELOW = 4096
"""Pieces shorter than this many bytes are gathered in one chunk: a program that writes byte by byte
then costs its bytes, not an object for each."""


class OutboundBuffer:
    """A queue of bytes: a deque of chunks and an offset into the first.

    `len()` is the number of bytes that wait; `bytes()` is a copy of them all.
    """

    __slots__ = ("_chunks", "_offset", "size")

    def __init__(self, data: bytes = b"") -> None:
        self._chunks: deque[bytes | bytearray] = deque()
        self._offset = 0
        self.size = 0
        self.append(data)

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return self.size > 0

    def __bytes__(self) -> bytes:
        return b"".join(self._chunks)[self._offset :]

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Put `data` at the end. What is not `bytes` is copied, so that its owner may change it."""
        length = len(data)
        if not length:
            return
        self.size += length
        if length < MERGE_BELOW:
            last = self._chunks[-1] if self._chunks else b""
            if isinstance(last, bytearray) and len(last) < MERGE_BELOW:
                last += data
                return
            self._chunks.append(bytearray(data))
        else:
            self._chunks.append(bytes(data))

    def take(self, limit: int) -> bytes:
        """Remove and return the first `limit` bytes, or all there are if they are fewer."""
        limit = min(limit, self.size)
        if limit <= 0:
            return b""
        self.size -= limit
        pieces = []
        wanted = limit
        while wanted:
            head = self._chunks[0]
            start = self._offset
            there = len(head) - start
            if there > wanted:
                self._offset = start + wanted
                pieces.append(memoryview(head)[start : self._offset])
                break
            self._chunks.popleft()
            self._offset = 0
            if not pieces and there == wanted and not start and type(head) is bytes:
                return head
            pieces.append(memoryview(head)[start:])
            wanted -= there
        taken = b"".join(pieces)
        # A bytearray cannot grow while a view of it is alive.
        for piece in pieces:
            piece.release()
        return taken

    def takeView(self, limit: int) -> bytes | memoryview:
        """The same as `take`, without a copy where the bytes are a part of one large chunk."""
        start = self._offset
        if self._chunks and 0 < limit < len(self._chunks[0]) - start:
            head = self._chunks[0]
            if type(head) is bytes:
                self.size -= limit
                self._offset = start + limit
                return memoryview(head)[start : start + limit]
        return self.take(limit)

    def putBack(self, data: bytes) -> None:
        """Put `data` before everything that waits, where it was taken from."""
        if not data:
            return
        if self._offset:
            self._chunks[0] = bytes(memoryview(self._chunks[0])[self._offset :])
            self._offset = 0
        self._chunks.appendleft(data)
        self.size += len(data)

    def find(self, mark: bytes, start: int = 0) -> int:
        """Where `mark` begins for the first time, from `start` on; -1 where it does not."""
        overlap = len(mark) - 1
        position = -self._offset
        # The end of what was searched: a mark may begin in it.
        tail = b""
        for chunk in self._chunks:
            begin = max(start - position, -position, 0)
            if begin < len(chunk):
                if tail:
                    at = (tail + chunk[:overlap]).find(mark)
                    if at >= 0:
                        return position - len(tail) + at
                at = chunk.find(mark, begin)
                if at >= 0:
                    return position + at
                if overlap > 0:
                    tail = (tail + bytes(chunk[max(begin, len(chunk) - overlap) :]))[-overlap:]
            position += len(chunk)
        return -1

    def clear(self) -> None:
        """Forget everything that waits."""
        self._chunks.clear()
        self._offset = 0
        self.size = 0
