"""The table of MACs, and HMAC over a packet with its sequence number (RFC 4253 6.4, RFC 6668).

Rule: tags are compared by `Authenticator.check` only, in constant time.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

_U32 = struct.Struct(">L")

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class MacSpec:
    """One MAC algorithm.

    Attributes:
        name: Its name in negotiation.
        keySize: Length of its key, in bytes.
        digestSize: Length of its tag on the wire, in bytes.
        etm: The tag is over the ciphertext (encrypt-then-MAC), not over the plaintext.
        hashName: Its hash as `hashlib` calls it; empty for `none`.
    """

    name: bytes
    keySize: int
    digestSize: int
    etm: bool
    hashName: str


MACS: dict[bytes, MacSpec] = {
    spec.name: spec
    for spec in (
        MacSpec(b"hmac-sha2-256-etm@openssh.com", 32, 32, True, "sha256"),
        MacSpec(b"hmac-sha2-512-etm@openssh.com", 64, 64, True, "sha512"),
        MacSpec(b"hmac-sha2-256", 32, 32, False, "sha256"),
        MacSpec(b"hmac-sha2-512", 64, 64, False, "sha512"),
        # Only for peers that have nothing better; never offered unless asked for.
        MacSpec(b"hmac-sha1-etm@openssh.com", 20, 20, True, "sha1"),
        MacSpec(b"hmac-sha1", 20, 20, False, "sha1"),
        MacSpec(b"hmac-md5", 16, 16, False, "md5"),
        # What holds before the first NEWKEYS; negotiation never chooses it.
        MacSpec(b"none", 0, 0, False, ""),
    )
}
"""Every MAC we have, by name."""


class Authenticator:
    """HMAC with one key.

    Args:
        spec: Which MAC; not `none`.
        key: `spec.keySize` bytes.
    """

    __slots__ = ("_keyed", "size")

    def __init__(self, spec: MacSpec, key: bytes) -> None:
        # Keyed once, copied per packet: that saves hashing the key's two blocks each time.
        self._keyed = HMAC(key, _HASHES[spec.hashName]())
        self.size = spec.digestSize

    def tag(
        self, sequence: int, first: bytes | memoryview, second: bytes | memoryview = b""
    ) -> bytes:
        """The tag of the packet number `sequence` whose bytes are `first` + `second`."""
        state = self._keyed.copy()
        state.update(_U32.pack(sequence))
        state.update(first)
        if second:
            state.update(second)
        return state.finalize()

    def check(
        self,
        tag: bytes | memoryview,
        sequence: int,
        first: bytes | memoryview,
        second: bytes | memoryview = b"",
    ) -> bool:
        """Whether `tag` is the tag of that packet."""
        return hmac.compare_digest(self.tag(sequence, first, second), tag)
