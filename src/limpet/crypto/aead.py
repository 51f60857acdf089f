"""Packets protected by one algorithm: AES-GCM, and ChaCha20 with Poly1305 in OpenSSH's form.

    AES-GCM    length ‖ E(body) ‖ tag      the length is associated data (RFC 5647 section 7)
    ChaCha20   E'(length) ‖ E(body) ‖ tag  two keys (OpenSSH's PROTOCOL.chacha20poly1305)

Rule: no nonce comes twice under a key. For GCM the counter here sees to that, for ChaCha20 the
packet layer, which never gives a sequence number twice under the same keys.
"""

from __future__ import annotations

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

from limpet.crypto.sealing import (
    BYTES,
    LENGTH_SIZE,
    MIN_PADDING,
    PLAIN_BLOCK_SIZE,
    U32,
    IntegrityError,
    takePadding,
)

TAG_SIZE = 16
"""Size of either algorithm's tag, in bytes."""

GCM_BLOCK_SIZE = 16
"""What AES-GCM packets are aligned to, in bytes (RFC 5647 section 7.2)."""

_GCM_NONCE = struct.Struct(">LQ")  # fixed field, invocation counter: RFC 5647 section 7.1
_COUNTER_MASK = 2**64 - 1

_CHACHA_NONCE = struct.Struct(">QQ")  # block counter (zero, so its byte order is moot), number
_CHACHA_KEY_SIZE = 32
_POLY_KEY_SIZE = 32
_KEY_BLOCK = bytes(64)
"""What block 0 of the key stream is laid over; its first 32 bytes are Poly1305's key."""


class GcmSealer:
    """AES-GCM, sending.

    Args:
        key: 16 or 32 bytes.
        iv: 12 bytes; its last 8 count up by one with every packet.
    """

    __slots__ = ("_counter", "_encrypt", "_fixed")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._encrypt = AESGCM(key).encrypt
        self._fixed, self._counter = _GCM_NONCE.unpack(iv)

    def seal(self, sequence: int, head: bytes, body: bytes | memoryview) -> bytes:
        """See `Sealer.seal`."""
        count = len(head) + len(body)
        padding = MIN_PADDING + -(count + 5) % GCM_BLOCK_SIZE
        header = U32.pack(count + 1 + padding)
        nonce = _GCM_NONCE.pack(self._fixed, self._counter)
        self._counter = (self._counter + 1) & _COUNTER_MASK
        plain = b"".join((BYTES[padding], head, body, takePadding(padding)))
        return header + self._encrypt(nonce, plain, header)


class GcmOpener:
    """AES-GCM, receiving; arguments as above."""

    __slots__ = ("_counter", "_decrypt", "_fixed")

    headerSize = LENGTH_SIZE
    blockSize = GCM_BLOCK_SIZE
    lengthAligned = 0
    tagSize = TAG_SIZE
    lengthSecret = False
    discards = False

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._decrypt = AESGCM(key).decrypt
        self._fixed, self._counter = _GCM_NONCE.unpack(iv)

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """See `Opener.length`."""
        length: int = U32.unpack_from(buffer, offset)[0]
        return length

    def open(self, sequence: int, buffer: memoryview, offset: int, length: int) -> bytes:
        """See `Opener.open`."""
        start = offset + LENGTH_SIZE
        nonce = _GCM_NONCE.pack(self._fixed, self._counter)
        self._counter = (self._counter + 1) & _COUNTER_MASK
        try:
            return self._decrypt(
                nonce, buffer[start : start + length + TAG_SIZE], buffer[offset:start]
            )
        except InvalidTag:
            raise IntegrityError from None


class _ChaChaKeys:
    """The two key streams: 32 bytes of the key are for the body, the other 32 for the length."""

    __slots__ = ("body", "length")

    def __init__(self, key: bytes) -> None:
        # ChaCha20 is its own inverse, so that an encryptor serves both directions. Making one
        # costs ten times as much as resetting it.
        nonce = bytes(16)
        self.body = Cipher(ChaCha20(key[:_CHACHA_KEY_SIZE], nonce), None).encryptor()
        self.length = Cipher(ChaCha20(key[_CHACHA_KEY_SIZE:], nonce), None).encryptor()


class ChaChaSealer:
    """chacha20-poly1305@openssh.com, sending.

    Args:
        key: 64 bytes.
    """

    __slots__ = ("_keys",)

    def __init__(self, key: bytes) -> None:
        self._keys = _ChaChaKeys(key)

    def seal(self, sequence: int, head: bytes, body: bytes | memoryview) -> bytes:
        """See `Sealer.seal`."""
        count = len(head) + len(body)
        padding = MIN_PADDING + -(count + 5) % PLAIN_BLOCK_SIZE
        nonce = _CHACHA_NONCE.pack(0, sequence)
        keys = self._keys
        keys.length.reset_nonce(nonce)
        header = keys.length.update(U32.pack(count + 1 + padding))
        keys.body.reset_nonce(nonce)
        # One pass gives both Poly1305's key (over the zeros) and the ciphertext.
        stream = memoryview(
            keys.body.update(
                b"".join((_KEY_BLOCK, BYTES[padding], head, body, takePadding(padding)))
            )
        )
        cipher = stream[len(_KEY_BLOCK) :]
        poly = Poly1305(stream[:_POLY_KEY_SIZE])
        poly.update(header)
        poly.update(cipher)
        return b"".join((header, cipher, poly.finalize()))


class ChaChaOpener:
    """chacha20-poly1305@openssh.com, receiving; arguments as above."""

    __slots__ = ("_keys",)

    headerSize = LENGTH_SIZE
    blockSize = PLAIN_BLOCK_SIZE
    lengthAligned = 0
    tagSize = TAG_SIZE
    lengthSecret = True
    discards = False

    def __init__(self, key: bytes) -> None:
        self._keys = _ChaChaKeys(key)

    def length(self, sequence: int, buffer: memoryview, offset: int) -> int:
        """See `Opener.length`."""
        stream = self._keys.length
        stream.reset_nonce(_CHACHA_NONCE.pack(0, sequence))
        length: int = U32.unpack(stream.update(buffer[offset : offset + LENGTH_SIZE]))[0]
        return length

    def open(self, sequence: int, buffer: memoryview, offset: int, length: int) -> bytes:
        """See `Opener.open`. Nothing is decrypted before the tag was checked."""
        start = offset + LENGTH_SIZE
        end = start + length
        stream = self._keys.body
        stream.reset_nonce(_CHACHA_NONCE.pack(0, sequence))
        polyKey = stream.update(_KEY_BLOCK)[:_POLY_KEY_SIZE]
        tag = Poly1305.generate_tag(polyKey, buffer[offset:end])
        if not hmac.compare_digest(tag, buffer[end : end + TAG_SIZE]):
            raise IntegrityError
        return stream.update(buffer[start:end])
