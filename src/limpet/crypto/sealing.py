"""Packets that carry a MAC of their own, or none: plain, encrypt-and-MAC, encrypt-then-MAC.

RFC 4253 section 6; OpenSSH's PROTOCOL section 1.5 (-etm).
"""

from __future__ import annotations

from typing import Protocol


class IntegrityError(Exception):
    """A packet is not what the holder of the keys sent."""


class Sealer(Protocol):
    """Makes packets of messages, in their order."""

    def seal(self, sequence: int, kind: bytes, payload: bytes, data: bytes) -> bytes | bytearray:
        """The packet of the message `kind` + `payload` + `data`."""


class Opener(Protocol):
    """Takes packets apart, in their order."""
