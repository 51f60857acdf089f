"""The ciphers and MACs of a connection as one object, under Conch's name and with its attributes.

Rule: this is a view for applications and for `isEncrypted`. The packets themselves are made by a
`Sealer` and taken apart by an `Opener`, one each per direction.
"""

from __future__ import annotations

from limpet.crypto.ciphers import CIPHERS
from limpet.crypto.macs import MACS


class SSHCiphers:
    """Which cipher and MAC each direction uses.

    Attributes:
        outCipType, inCipType: The ciphers' names; b"none" before the first key exchange.
        outMACType, inMACType: The MACs' names; b"none" where the cipher needs none, too.
    """

    def __init__(self, outCip: bytes, inCip: bytes, outMac: bytes, inMac: bytes) -> None:
        self.outCipType = outCip
        self.inCipType = inCip
        self.outMACType = outMac
        self.inMACType = inMac

    @property
    def encBlockSize(self) -> int:
        """What our packets' length is a multiple of, in bytes."""
        return CIPHERS[self.outCipType].blockSize

    @property
    def decBlockSize(self) -> int:
        """What the peer's packets' length is a multiple of, in bytes."""
        return CIPHERS[self.inCipType].blockSize

    @property
    def verifyDigestSize(self) -> int:
        """The length of the MAC behind each of the peer's packets, in bytes."""
        return MACS[self.inMACType].digestSize

    @property
    def isOutVerified(self) -> bool:
        """Whether the peer can tell that our packets are ours."""
        return CIPHERS[self.outCipType].aead or self.outMACType != b"none"

    @property
    def isInVerified(self) -> bool:
        """Whether we can tell that the peer's packets are the peer's."""
        return CIPHERS[self.inCipType].aead or self.inMACType != b"none"
