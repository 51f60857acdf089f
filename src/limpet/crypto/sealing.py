"""How a packet is laid out and protected where cipher and MAC are two algorithms, or none.

    plain            length ‖ body                          before the first NEWKEYS
    encrypt-and-MAC  E(length ‖ body) ‖ MAC(length ‖ body)       RFC 4253 section 6.4
    encrypt-then-MAC length ‖ E(body) ‖ MAC(length ‖ E(body))    OpenSSH's PROTOCOL section 1.5

`body` is the padding's length (1 byte), the message, the padding. Rule: a sealer or an opener sees
every packet of its direction once, in order; its ciphers keep their state from packet to packet.
"""

from __future__ import annotations

import struct
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import CipherContext

from limpet.crypto import entropy
from limpet.crypto.macs import Authenticator

LENGTH_SIZE = 4
"""Size of packet_length, in bytes (RFC 4253 section 6)."""

MIN_PADDING = 4
"""Least padding of a packet, in bytes (RFC 4253 section 6)."""

PLAIN_BLOCK_SIZE = 8
"""What packets are aligned to where the cipher has no larger block (RFC 4253 section 6)."""

BYTES: tuple[bytes, ...] = tuple(bytes((number,)) for number in range(256))
"""Each byte by its number; made once, because packets need two of them."""

U32 = struct.Struct(">L")

_POOL_SIZE = 1024


class IntegrityError(Exception):
    """A packet is not what the holder of the keys sent."""


class Sealer(Protocol):
    """Makes the packets of one direction, under one set of keys."""

    def seal(self, sequence: int, head: bytes, body: bytes | memoryview) -> bytes:
        """The packet of the message `head` + `body`, as it goes onto the wire.

        Args:
            sequence: The packet's number, 0 .. 2**32 - 1.
            head: The message's beginning; the two are joined here, together with the padding.
            body: The rest of the message.
        """
        ...  # pragma: no cover


class Opener(Protocol):
    """Takes apart the packets of one direction, under one set of keys.

    `length` and `open` are called once for each packet, in this order.

    Attributes:
        headerSize: How many bytes of a packet `length` looks at.
        blockSize: What packets are aligned to, in bytes.
        lengthAligned: 4 where the length field counts for the alignment, else 0.
        tagSize: How many bytes follow the 4 + packet_length.
        lengthSecret: The length field is encrypted: what it says is not to be told apart from
            a failed integrity check.
        discards: A failure must not show before as much came as the largest packet has. True for
            CBC with a MAC of the plaintext, where the moment tells plaintext (CVE-2008-5161).
    """

    headerSize: int
    blockSize: int
    lengthAligned: int
    tagSize: int
    lengthSecret: bool
    discards: bool

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """packet_length of the packet that begins at `offset`; any uint32, nothing is checked."""
        ...  # pragma: no cover

    def open(
        self, sequence: int, buffer: memoryview, offset: int, length: int
    ) -> bytes | memoryview:
        """The packet's body: the padding's length (1 byte), the message, the padding.

        Args:
            sequence: The packet's number, 0 .. 2**32 - 1.
            buffer: Holds the whole packet, its tag included.
            offset: Where it begins.
            length: What `length` gave; a judged one.

        Raises:
            IntegrityError: the tag does not belong to this packet.
        """
        ...  # pragma: no cover


class PaddingPool:
    """Random padding, fetched from the system in pieces: one system call for many packets."""

    __slots__ = ("_pool", "_used")

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """`count` random bytes, 0 .. 255, that nobody was given before."""
        start = self._used
        stop = start + count
        if stop > len(self._pool):
            self._pool = entropy.randomBytes(_POOL_SIZE)
            start, stop = 0, count
        self._used = stop
        return self._pool[start:stop]


takePadding = PaddingPool().take
"""The one pool of the process. Padding is no secret, and none of it is used twice."""


class PlainSealer:
    """Packets without protection."""

    __slots__ = ()

    def seal(self, sequence: int, head: bytes, body: bytes | memoryview) -> bytes:
        """See `Sealer.seal`."""
        count = len(head) + len(body)
        padding = MIN_PADDING + -(count + 9) % PLAIN_BLOCK_SIZE
        return b"".join(
            (U32.pack(count + 1 + padding), BYTES[padding], head, body, takePadding(padding))
        )


class PlainOpener:
    """Packets without protection."""

    __slots__ = ()

    headerSize = LENGTH_SIZE
    blockSize = PLAIN_BLOCK_SIZE
    lengthAligned = LENGTH_SIZE
    tagSize = 0
    lengthSecret = False
    discards = False

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """See `Opener.length`."""
        length: int = U32.unpack_from(buffer, offset)[0]
        return length

    def open(self, sequence: int, buffer: memoryview, offset: int, length: int) -> memoryview:
        """See `Opener.open`."""
        start = offset + LENGTH_SIZE
        return buffer[start : start + length]


class EncryptAndMacSealer:
    """The MAC is of the plaintext, and the length is encrypted.

    Args:
        encryptor: The cipher, CTR or CBC, at its initial vector.
        blockSize: The cipher's block, in bytes.
        authenticator: The MAC.
    """

    __slots__ = ("_blockSize", "_encrypt", "_tag")

    def __init__(
        self, encryptor: CipherContext, blockSize: int, authenticator: Authenticator
    ) -> None:
        self._encrypt = encryptor.update
        self._blockSize = blockSize
        self._tag = authenticator.tag

    def seal(self, sequence: int, head: bytes, body: bytes | memoryview) -> bytes:
        """See `Sealer.seal`."""
        count = len(head) + len(body)
        padding = MIN_PADDING + -(count + 9) % self._blockSize
        plain = b"".join(
            (U32.pack(count + 1 + padding), BYTES[padding], head, body, takePadding(padding))
        )
        return self._encrypt(plain) + self._tag(sequence, plain)


class EncryptAndMacOpener:
    """The MAC is of the plaintext, and the length is encrypted.

    Args:
        decryptor: The cipher, CTR or CBC, at its initial vector.
        blockSize: The cipher's block, in bytes.
        chained: The cipher is CBC: it can only be decrypted by whole blocks.
        authenticator: The MAC.
    """

    __slots__ = (
        "_check",
        "_decrypt",
        "_first",
        "blockSize",
        "discards",
        "headerSize",
        "tagSize",
    )

    lengthAligned = LENGTH_SIZE
    lengthSecret = True

    def __init__(
        self,
        decryptor: CipherContext,
        blockSize: int,
        chained: bool,
        authenticator: Authenticator,
    ) -> None:
        self._decrypt = decryptor.update
        self._check = authenticator.check
        self._first = b""
        self.blockSize = blockSize
        self.headerSize = blockSize if chained else LENGTH_SIZE
        self.tagSize = authenticator.size
        self.discards = chained

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """See `Opener.length`. Decrypts the first bytes, which `open` then takes from here."""
        self._first = self._decrypt(buffer[offset : offset + self.headerSize])
        length: int = U32.unpack_from(self._first)[0]
        return length

    def open(self, sequence: int, buffer: memoryview, offset: int, length: int) -> bytes:
        """See `Opener.open`."""
        end = offset + LENGTH_SIZE + length
        first = self._first
        rest = self._decrypt(buffer[offset + self.headerSize : end])
        if not self._check(buffer[end : end + self.tagSize], sequence, first, rest):
            raise IntegrityError
        # For CTR the left operand is empty, and then this is `rest` itself, not a copy.
        return first[LENGTH_SIZE:] + rest


class EncryptThenMacSealer:
    """The MAC is of the ciphertext, and the length is in the clear; arguments as above."""

    __slots__ = ("_blockSize", "_encrypt", "_tag")

    def __init__(
        self, encryptor: CipherContext, blockSize: int, authenticator: Authenticator
    ) -> None:
        self._encrypt = encryptor.update
        self._blockSize = blockSize
        self._tag = authenticator.tag

    def seal(self, sequence: int, head: bytes, body: bytes | memoryview) -> bytes:
        """See `Sealer.seal`."""
        count = len(head) + len(body)
        padding = MIN_PADDING + -(count + 5) % self._blockSize
        header = U32.pack(count + 1 + padding)
        cipher = self._encrypt(b"".join((BYTES[padding], head, body, takePadding(padding))))
        return b"".join((header, cipher, self._tag(sequence, header, cipher)))


class EncryptThenMacOpener:
    """The MAC is of the ciphertext, and the length is in the clear; arguments as above."""

    __slots__ = ("_check", "_decrypt", "blockSize", "tagSize")

    headerSize = LENGTH_SIZE
    lengthAligned = 0
    lengthSecret = False
    discards = False

    def __init__(
        self, decryptor: CipherContext, blockSize: int, authenticator: Authenticator
    ) -> None:
        self._decrypt = decryptor.update
        self._check = authenticator.check
        self.blockSize = blockSize
        self.tagSize = authenticator.size

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """See `Opener.length`."""
        length: int = U32.unpack_from(buffer, offset)[0]
        return length

    def open(self, sequence: int, buffer: memoryview, offset: int, length: int) -> bytes:
        """See `Opener.open`. Nothing is decrypted before the tag was checked."""
        end = offset + LENGTH_SIZE + length
        if not self._check(buffer[end : end + self.tagSize], sequence, buffer[offset:end]):
            raise IntegrityError
        return self._decrypt(buffer[offset + LENGTH_SIZE : end])
