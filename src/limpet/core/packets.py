"""The binary packet protocol: the byte stream into payloads, and messages into packets.

Rule: a length is judged before anything is waited for or allocated, integrity before any byte is
used, and after the first violation nothing comes out any more.

    feed → length → enough bytes? → Opener.open → padding → Inflater → payload
    message → Deflater → padding → Sealer.seal → packet

RFC 4253 section 6; RFC 4344 section 3 (when keys are used up); OpenSSH's PROTOCOL section 1.5 to 1.7.
"""

from __future__ import annotations

from limpet.crypto.compression import Deflater, Inflater
from limpet.crypto.sealing import Opener, Sealer

MAX_PACKET_BEFORE_AUTHENTICATION = 35_000
"""Largest packet_length before authentication, in bytes (RFC 4253 section 6.1)."""

MAX_PACKET = 262_144
"""Largest packet_length after authentication, in bytes (OpenSSH's PACKET_MAX_SIZE)."""


class PacketReceiver:
    """One direction's bytes in, payloads out.

    Attributes:
        sequence: The number of the NEXT packet, 0 .. 2**32 - 1.
        maxPacketLength: The largest packet_length accepted, in bytes; may be set at any time.
        inflater: Inflates payloads from the next packet on; None while there is no compression.
        bytesSinceKeys: Bytes of whole packets taken in under the present keys.
    """

    def __init__(self, maxPacketLength: int = MAX_PACKET_BEFORE_AUTHENTICATION) -> None:
        self.sequence = 0
        self.maxPacketLength = maxPacketLength
        self.inflater: Inflater | None = None
        self.bytesSinceKeys = 0

    @property
    def packetsSinceKeys(self) -> int:
        """Packets taken in under the present keys."""
        raise NotImplementedError

    @property
    def buf(self) -> bytes:
        """What was fed and is not consumed yet (a copy). Setting it replaces all of that."""
        raise NotImplementedError

    @buf.setter
    def buf(self, data: bytes) -> None:
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        """Append bytes as they came from the peer. After a violation they are dropped."""
        raise NotImplementedError

    def next(self) -> bytes | None:
        """The next packet's payload, its message number first; None when more bytes are needed.

        After a violation was raised this returns None for ever.

        Raises:
            LimitExceeded: the length is above `maxPacketLength`; the sequence is used up.
            MalformedMessage: the length or the padding is impossible, or the payload empty.
            IntegrityFailure: the packet is not what the holder of the keys sent.
            CompressionFailure: the payload does not inflate, or to more than `maxPacketLength`.
        """
        raise NotImplementedError

    def setKeys(self, opener: Opener, inflater: Inflater | None = None) -> None:
        """Open all packets after the one that came last with `opener`; counters begin anew."""
        raise NotImplementedError

    def resetSequence(self) -> None:
        """Begin again at zero (strict key exchange). Only right after `setKeys`.

        Raises:
            RuntimeError: a packet was already opened under the present keys.
        """
        raise NotImplementedError


class PacketSender:
    """One direction's messages in, packets out.

    Attributes:
        sequence: The number of the NEXT packet, 0 .. 2**32 - 1.
        deflater: Compresses payloads from the next packet on; None while there is no compression.
        bytesSinceKeys: Bytes of packets made under the present keys.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.deflater: Deflater | None = None
        self.bytesSinceKeys = 0

    @property
    def packetsSinceKeys(self) -> int:
        """Packets made under the present keys."""
        raise NotImplementedError

    def pack(self, messageType: int, payload: bytes, data: bytes = b"") -> bytes | bytearray:
        """Make the packet of one message: `messageType`, then `payload`, then `data`.

        `data` saves the caller of a large message the joining of its head and its body.

        Raises:
            LimitExceeded: the sequence numbers are used up; new keys should have come long ago.
        """
        raise NotImplementedError

    def setKeys(self, sealer: Sealer, deflater: Deflater | None = None) -> None:
        """Seal all packets from the next on with `sealer`; counters begin anew."""
        raise NotImplementedError

    def resetSequence(self) -> None:
        """Begin again at zero (strict key exchange). Only right after `setKeys`.

        Raises:
            RuntimeError: a packet was already made under the present keys.
        """
        raise NotImplementedError
