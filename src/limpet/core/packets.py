"""The binary packet protocol: the byte stream into payloads, and messages into packets.

Rule: a length is judged before anything is waited for or allocated, integrity before any byte is
used, and after the first violation nothing comes out any more.

    feed → length → enough bytes? → Opener.open → padding → Inflater → payload
    message → Deflater → Sealer.seal (padding, protection) → packet

RFC 4253 section 6; RFC 4344 section 3.1 (no sequence number twice under one key); OpenSSH's
PROTOCOL sections 1.5 and 1.6.
"""

from __future__ import annotations

from collections import deque
from typing import NoReturn

from limpet.core.errors import (
    CompressionFailure,
    IntegrityFailure,
    LimitExceeded,
    MalformedMessage,
    ProtocolViolation,
)
from limpet.crypto.compression import CompressionError, Deflater, Inflater
from limpet.crypto.sealing import (
    BYTES,
    LENGTH_SIZE,
    MIN_PADDING,
    IntegrityError,
    Opener,
    PlainOpener,
    PlainSealer,
    Sealer,
)

MAX_PACKET_BEFORE_AUTHENTICATION = 35_000
"""Largest packet_length before authentication, in bytes (RFC 4253 section 6.1)."""

MAX_PACKET = 262_144
"""Largest packet_length after authentication, in bytes (OpenSSH's PACKET_MAX_SIZE)."""

VIEW_ABOVE = 4096
"""Shorter bodies are copied rather than viewed: a view has its price too."""

MIN_PACKET_LENGTH = 1 + 1 + MIN_PADDING
"""Least packet_length: the padding's length, a message number, the padding."""

MAX_PIECES = 1024
"""So many pieces of one packet are kept apart; then they are joined, since each costs memory."""

SEQUENCE_MASK = 2**32 - 1
"""Sequence numbers are uint32 (RFC 4253 section 6.4)."""

_NOTHING = memoryview(b"")


class PacketReceiver:
    """One direction's bytes in, payloads out.

    What is fed is kept as it came, and a packet that lies within one piece is opened where it
    lies; one that straddles pieces is joined when all of it is there. So the cost of a packet
    grows with its size, and not with the number of its pieces or with what else came with it. If
    `next` is called until it gives None after every `feed`, less than one packet is held then.

    Attributes:
        sequence: The number of the NEXT packet, 0 .. 2**32 - 1.
        maxPacketLength: The largest packet_length accepted, in bytes; may be set at any time.
        inflater: Inflates payloads from the next packet on; None while there is no compression.
        bytesSinceKeys: Bytes of whole packets taken in under the present keys.
        failed: A violation was raised; nothing comes out any more.
        viewed: The message number whose large payloads `nextMessage` gives as views; -1 for none.
    """

    __slots__ = (
        "_available",
        "_buffer",
        "_firstSequence",
        "_length",
        "_needed",
        "_offset",
        "_opener",
        "_pieces",
        "bytesSinceKeys",
        "failed",
        "inflater",
        "maxPacketLength",
        "sequence",
        "viewed",
    )

    def __init__(self, maxPacketLength: int = MAX_PACKET_BEFORE_AUTHENTICATION) -> None:
        self.viewed = -1
        self.sequence = 0
        self.maxPacketLength = maxPacketLength
        self.inflater: Inflater | None = None
        self.bytesSinceKeys = 0
        self.failed = False
        self._opener: Opener = PlainOpener()
        # The number of the first packet under the present keys: if it comes round again, a nonce
        # would be used twice.
        self._firstSequence = 0
        # The piece that is being read, how far it is read, the pieces after it, and how many
        # bytes of all that are not read.
        self._buffer = _NOTHING
        self._offset = 0
        self._pieces: deque[bytes | memoryview] = deque()
        self._available = 0
        # packet_length of the packet at `_offset`, or -1 while it is not known; and how many
        # bytes it takes to get on: those of the length field, then those of the packet.
        self._length = -1
        self._needed = self._opener.headerSize

    @property
    def packetsSinceKeys(self) -> int:
        """Packets taken in under the present keys."""
        return (self.sequence - self._firstSequence) & SEQUENCE_MASK

    @property
    def buf(self) -> bytes:
        """What was fed and is not consumed yet (a copy). Setting it replaces all of that."""
        return b"".join((self._buffer[self._offset :], *self._pieces))

    @buf.setter
    def buf(self, data: bytes) -> None:
        # Conch's applications feed by `buf = buf + data`. What is known of the packet that lies
        # there in part must stay known: its first block is decrypted, and cannot be once more.
        held = self.buf
        if held and data.startswith(held):
            self.feed(data[len(held) :])
        else:
            self._clear()
            self.feed(data)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes as they came from the peer. After a violation they are dropped."""
        if self.failed:
            return
        if type(data) is not bytes:
            data = bytes(data)  # the owner of anything else might change it
        if self._available:
            pieces = self._pieces
            pieces.append(data)
            if len(pieces) > MAX_PIECES:
                whole = b"".join(pieces)
                pieces.clear()
                pieces.append(whole)
        else:
            self._buffer = memoryview(data)
            self._offset = 0
        self._available += len(data)

    def next(self) -> bytes | None:
        """The next packet's payload, its message number first; None when more bytes are needed.

        After a violation was raised this returns None for ever.

        Raises:
            LimitExceeded: the length is above `maxPacketLength`, or the sequence numbers are used
                up under the present keys.
            MalformedMessage: the length or the padding is impossible, or the payload empty.
            IntegrityFailure: the packet is not what the holder of the keys sent. Where the length
                is encrypted, an impossible one is such a failure too.
            CompressionFailure: the payload does not inflate, or to more than `maxPacketLength`.
        """
        body = self._openPacket()
        if body is None:
            return None
        message = bytes(body[1 : len(body) - body[0]])
        if self.inflater is not None:
            return self._inflate(self.inflater, message)
        return message

    def nextMessage(self) -> tuple[int, bytes | memoryview] | None:
        """As `next`, but with the message number apart: that saves a copy of the payload.

        The payload is bytes, but for large ones of the message `viewed`: those come as a view,
        which saves the second copy for whoever takes a part of it anyway.
        """
        body = self._openPacket()
        if body is None:
            return None
        if self.inflater is not None:
            message = self._inflate(self.inflater, bytes(body[1 : len(body) - body[0]]))
            return message[0], message[1:]
        end = len(body) - body[0]
        if end > VIEW_ABOVE and body[1] == self.viewed:
            return body[1], memoryview(body)[2:end]
        return body[1], bytes(body[2:end])

    def setKeys(self, opener: Opener, inflater: Inflater | None = None) -> None:
        """Open all packets after the one that came last with `opener`; counters begin anew."""
        self._opener = opener
        self.inflater = inflater
        self.bytesSinceKeys = 0
        self._firstSequence = self.sequence
        # What was learnt of the next packet was learnt with the old keys.
        self._length = -1
        self._needed = opener.headerSize

    def resetSequence(self) -> None:
        """Begin again at zero (strict key exchange). Only right after `setKeys`.

        Raises:
            RuntimeError: a packet was already opened under the present keys.
        """
        if self.sequence != self._firstSequence:
            raise RuntimeError("the sequence number may only be reset right after setKeys")
        self.sequence = self._firstSequence = 0

    def _openPacket(self) -> bytes | memoryview | None:
        """The next packet's body with its padding judged; None when more bytes are needed."""
        if self._available < self._needed:
            return None
        opener = self._opener
        if self._length < 0:
            if len(self._buffer) - self._offset < self._needed:
                self._gather()
            length = opener.length(self.sequence, self._buffer, self._offset)
            if (
                length > self.maxPacketLength
                or length < MIN_PACKET_LENGTH
                or (length + opener.lengthAligned) % opener.blockSize
            ):
                self._refuseLength(length)
                return None
            self._length = length
            self._needed = LENGTH_SIZE + length + opener.tagSize
            if self._available < self._needed:
                return None
        if len(self._buffer) - self._offset < self._needed:
            self._gather()
        try:
            body = opener.open(self.sequence, self._buffer, self._offset, self._length)
        except IntegrityError:
            self._refuseTag()
            return None
        padding = body[0]
        if padding < MIN_PADDING or padding > self._length - 2:
            self._fail(MalformedMessage(f"padding of {padding} in a packet of {self._length}"))
        self._offset += self._needed
        self._available -= self._needed
        if not self._available:
            # An idle connection keeps no piece that it has done with.
            self._buffer = _NOTHING
            self._offset = 0
        self.bytesSinceKeys += self._needed
        self._length = -1
        self._needed = opener.headerSize
        self.sequence = sequence = (self.sequence + 1) & SEQUENCE_MASK
        if sequence == self._firstSequence:
            self._fail(LimitExceeded("sequence numbers used up without new keys"))
        return body

    def _inflate(self, inflater: Inflater, payload: bytes) -> bytes:
        try:
            return inflater.decompress(payload, self.maxPacketLength)
        except CompressionError as error:
            self._fail(CompressionFailure(str(error)))

    def _gather(self) -> None:
        """Make the bytes that are needed lie in one piece, at `_offset`; copy no others."""
        pieces = self._pieces
        rest = self._buffer[self._offset :]
        parts: list[bytes | memoryview] = [rest] if rest else []
        missing = self._needed - len(rest)
        self._offset = 0
        while missing > 0:
            piece = memoryview(pieces.popleft())
            if not parts and len(piece) >= missing:
                self._buffer = piece
                return
            if len(piece) > missing:
                pieces.appendleft(piece[missing:])
                piece = piece[:missing]
            parts.append(piece)
            missing -= len(piece)
        self._buffer = memoryview(b"".join(parts))

    def _clear(self) -> None:
        self._buffer = _NOTHING
        self._offset = 0
        self._available = 0
        self._pieces.clear()
        self._length = -1
        self._needed = self._opener.headerSize

    def _refuseLength(self, length: int) -> None:
        if self._opener.discards:
            self._discard()
        elif self._opener.lengthSecret:
            self._fail(IntegrityFailure())
        elif length > self.maxPacketLength:
            self._fail(
                LimitExceeded(f"bad packet length {length}, over {self.maxPacketLength}"),
            )
        else:
            self._fail(MalformedMessage(f"bad packet length {length}"))

    def _refuseTag(self) -> None:
        if self._opener.discards:
            self._discard()
        else:
            self._fail(IntegrityFailure())

    def _discard(self) -> None:
        """Fail, but only when as many bytes came as the largest packet would have had."""
        tagSize = self._opener.tagSize
        self._opener = _Discarder(LENGTH_SIZE + self.maxPacketLength + tagSize)
        self._length = -1
        self._needed = self._opener.headerSize
        self._openPacket()

    def _fail(self, violation: ProtocolViolation) -> NoReturn:
        self.failed = True
        self._clear()
        raise violation


class _Discarder(PlainOpener):
    """Takes in a number of bytes, and fails then."""

    __slots__ = ("headerSize",)

    lengthSecret = True

    def __init__(self, count: int) -> None:
        self.headerSize = count

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """No length that is accepted."""
        return 0


class PacketSender:
    """One direction's messages in, packets out.

    Attributes:
        sequence: The number of the NEXT packet, 0 .. 2**32 - 1.
        deflater: Compresses payloads from the next packet on; None while there is no compression.
        bytesSinceKeys: Bytes of packets made under the present keys.
    """

    __slots__ = ("_firstSequence", "_seal", "bytesSinceKeys", "deflater", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.deflater: Deflater | None = None
        self.bytesSinceKeys = 0
        self._seal = PlainSealer().seal
        self._firstSequence = 0

    @property
    def packetsSinceKeys(self) -> int:
        """Packets made under the present keys."""
        return (self.sequence - self._firstSequence) & SEQUENCE_MASK

    def pack(self, messageType: int, payload: bytes, data: bytes | memoryview = b"") -> bytes:
        """Make the packet of one message: `messageType`, then `payload`, then `data`.

        `data` saves the caller of a large message the joining of its head and its body.

        Raises:
            LimitExceeded: the sequence numbers are used up; new keys should have come long ago.
        """
        sequence = self.sequence
        following = (sequence + 1) & SEQUENCE_MASK
        if following == self._firstSequence:
            raise LimitExceeded("sequence numbers used up without new keys")
        if data:
            head = BYTES[messageType] + payload
            body: bytes | memoryview = data
        else:
            head = BYTES[messageType]
            body = payload
        if self.deflater is not None:
            head, body = b"", self.deflater.compress(b"".join((head, body)))
        packet = self._seal(sequence, head, body)
        self.sequence = following
        self.bytesSinceKeys += len(packet)
        return packet

    def protect(self, packet: bytes) -> bytes:
        """Seal a packet that somebody else laid out; whoever did counts `sequence` on as well.

        Args:
            packet: One whole packet in the clear: length, padding's length, payload (compressed if
                payloads are), padding. The padding is made anew, as each cipher wants its own.

        Raises:
            LimitExceeded: the sequence numbers are used up.
            ValueError: this is not one whole packet.
        """
        length = int.from_bytes(packet[:LENGTH_SIZE], "big")
        end = len(packet) - packet[LENGTH_SIZE] if len(packet) > LENGTH_SIZE else 0
        if len(packet) != LENGTH_SIZE + length or end <= LENGTH_SIZE + 1:
            raise ValueError("not one whole packet")
        if (self.sequence + 1) & SEQUENCE_MASK == self._firstSequence:
            raise LimitExceeded("sequence numbers used up without new keys")
        sealed = self._seal(self.sequence, b"", packet[LENGTH_SIZE + 1 : end])
        self.bytesSinceKeys += len(sealed)
        return sealed

    def setKeys(self, sealer: Sealer, deflater: Deflater | None = None) -> None:
        """Seal all packets from the next on with `sealer`; counters begin anew."""
        self._seal = sealer.seal
        self.deflater = deflater
        self.bytesSinceKeys = 0
        self._firstSequence = self.sequence

    def resetSequence(self) -> None:
        """Begin again at zero (strict key exchange). Only right after `setKeys`.

        Raises:
            RuntimeError: a packet was already made under the present keys.
        """
        if self.sequence != self._firstSequence:
            raise RuntimeError("the sequence number may only be reset right after setKeys")
        self.sequence = self._firstSequence = 0
