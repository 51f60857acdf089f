"""The ciphers and MACs of a connection as one object, under Conch's name and with its methods.

Rule: no second state. That of a connection is a view: its packets are made by the connection's own
`PacketSender`, so that an application that builds packets itself (it overrides `sendPacket` and
calls `encrypt` and `makeMAC`) shares keys, nonces and counters with everything else that is sent.
One that an application makes by itself, and gives keys by `setKeys`, is independent of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from cryptography.hazmat.primitives.ciphers import CipherContext

from limpet.core.packets import PacketSender
from limpet.crypto.ciphers import BLOCK_CIPHERS, CIPHERS, makeBlockCipher
from limpet.crypto.macs import MACS, Authenticator


class SSHCiphers:
    """Which cipher and MAC each direction uses, and packets protected with them.

    Attributes:
        cipherMap: Name of every cipher we have to its algorithm, the size of its key in bytes, and
            its mode; the first and the last are None where the cipher is an AEAD, or none.
        macMap: Name of every MAC we have to its hash, as `hashlib` makes it; None for b"none".
        outCipType, inCipType: The ciphers' names; b"none" before the first key exchange.
        outMACType, inMACType: The MACs' names; b"none" where the cipher needs none, too.
    """

    cipherMap: ClassVar[Mapping[bytes, tuple[Any, int, Any]]] = {
        name: (algorithm, spec.keySize, mode)
        for name, spec in CIPHERS.items()
        for algorithm, mode in (BLOCK_CIPHERS.get(name, (None, None)),)
    }
    macMap: ClassVar[Mapping[bytes, Callable[..., Any] | None]] = {
        name: getattr(hashlib, spec.hashName) if spec.hashName else None
        for name, spec in MACS.items()
    }

    _sender: PacketSender | None = None
    _encryptor: CipherContext | None = None
    _decryptor: CipherContext | None = None
    _outAuthenticator: Authenticator | None = None
    _inAuthenticator: Authenticator | None = None

    def __init__(self, outCip: bytes, inCip: bytes, outMac: bytes, inMac: bytes) -> None:
        self.outCipType = outCip
        self.inCipType = inCip
        self.outMACType = outMac
        self.inMACType = inMac

    @classmethod
    def ofConnection(
        cls, sender: PacketSender, outCip: bytes, inCip: bytes, outMac: bytes, inMac: bytes
    ) -> SSHCiphers:
        """The view of a connection that has keys; `sender` makes the packets."""
        self = cls(outCip, inCip, outMac, inMac)
        self._sender = sender
        return self

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

    def setKeys(
        self,
        outIV: bytes,
        outKey: bytes,
        inIV: bytes,
        inKey: bytes,
        outInteg: bytes,
        inInteg: bytes,
    ) -> None:
        """Give keys to an object that belongs to no connection.

        Args:
            outIV, outKey: Initial vector and key of the cipher that we send with; of these and all
                the others as many of the first bytes are used as the algorithm takes.
            inIV, inKey: The same for what the peer sends.
            outInteg, inInteg: The keys of the MACs.

        Raises:
            ValueError: A key is too short, or a cipher is an AEAD: those protect whole packets,
                and only a connection makes them.
        """
        self._encryptor = makeBlockCipher(self.outCipType, outKey, outIV, encrypts=True)
        self._decryptor = makeBlockCipher(self.inCipType, inKey, inIV, encrypts=False)
        self._outAuthenticator = _authenticator(self.outMACType, outInteg)
        self._inAuthenticator = _authenticator(self.inMACType, inInteg)

    def encrypt(self, blocks: bytes) -> bytes:
        """Encrypt what we send.

        Args:
            blocks: One whole packet in the clear: length, padding's length, payload, padding. It is
                sealed with whatever cipher and MAC the connection has agreed on, its padding made
                anew. An object of no connection encrypts any number of whole blocks.
        """
        if self._sender is not None:
            return self._sender.protect(blocks)
        return blocks if self._encryptor is None else self._encryptor.update(blocks)

    def decrypt(self, blocks: bytes) -> bytes:
        """Decrypt what the peer sent, for an object of no connection: any number of whole blocks.

        Raises:
            NotImplementedError: The object is a connection's: `getPacket` opens its packets.
        """
        self._refuseForConnection("decrypt")
        return blocks if self._decryptor is None else self._decryptor.update(blocks)

    def makeMAC(self, seqid: int, data: bytes) -> bytes:
        """The MAC of a packet of ours, which follows it on the wire.

        Args:
            seqid: The packet's number.
            data: The packet in the clear.

        Returns:
            Nothing for a connection's object, as `encrypt` has added it.
        """
        if self._sender is not None or self._outAuthenticator is None:
            return b""
        return self._outAuthenticator.tag(seqid, data)

    def verify(self, seqid: int, data: bytes, mac: bytes) -> bool:
        """Whether `mac` belongs to a packet of the peer's, for an object of no connection.

        Args:
            seqid: The packet's number.
            data: The packet in the clear.
            mac: What followed it.

        Raises:
            NotImplementedError: The object is a connection's: `getPacket` opens its packets.
        """
        self._refuseForConnection("verify")
        if self._inAuthenticator is None:
            return mac == b""
        return self._inAuthenticator.check(mac, seqid, data)

    def _refuseForConnection(self, method: str) -> None:
        if self._sender is not None:
            raise NotImplementedError(
                f"{method}: call getPacket() of the transport, which opens packets of every cipher"
            )


def _authenticator(name: bytes, key: bytes) -> Authenticator | None:
    spec = MACS[name]
    if not spec.digestSize:
        return None
    if len(key) < spec.keySize:
        raise ValueError(f"{name!r} takes a key of {spec.keySize} bytes, not {len(key)}")
    return Authenticator(spec, key[: spec.keySize])
