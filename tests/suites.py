"""Every cipher with every MAC that it takes, and senders and receivers that share keys."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from limpet.core.packets import MAX_PACKET, PacketReceiver, PacketSender
from limpet.crypto.ciphers import CIPHERS, makeOpener, makeSealer
from limpet.crypto.macs import MACS
from limpet.crypto.sealing import Opener, Sealer


@dataclass(frozen=True)
class Suite:
    """A cipher and a MAC with fixed keys; `str` names it in a test's id."""

    cipher: bytes
    mac: bytes

    @property
    def key(self) -> bytes:
        return bytes(range(1, 1 + CIPHERS[self.cipher].keySize))

    @property
    def iv(self) -> bytes:
        return bytes(range(101, 101 + CIPHERS[self.cipher].ivSize))

    @property
    def macKey(self) -> bytes:
        return bytes(range(51, 51 + MACS[self.mac].keySize))

    @property
    def aead(self) -> bool:
        return CIPHERS[self.cipher].aead

    @property
    def etm(self) -> bool:
        return not self.aead and MACS[self.mac].etm

    @property
    def discards(self) -> bool:
        """A failure shows only after a whole packet's worth of bytes."""
        return b"cbc" in self.cipher and not self.etm

    @property
    def lengthSecret(self) -> bool:
        return self.cipher.startswith(b"chacha20") or (
            not self.aead and not self.etm and self.cipher != b"none"
        )

    @property
    def blockSize(self) -> int:
        return CIPHERS[self.cipher].blockSize

    def sealer(self) -> Sealer:
        return makeSealer(self.cipher, self.mac, self.key, self.iv, self.macKey)

    def opener(self) -> Opener:
        return makeOpener(self.cipher, self.mac, self.key, self.iv, self.macKey)

    def sender(self) -> PacketSender:
        sender = PacketSender()
        sender.setKeys(self.sealer())
        return sender

    def receiver(self, maxPacketLength: int = MAX_PACKET) -> PacketReceiver:
        receiver = PacketReceiver(maxPacketLength)
        receiver.setKeys(self.opener())
        return receiver

    def __str__(self) -> str:
        cipher = self.cipher.decode().removesuffix("@openssh.com")
        mac = self.mac.decode().removesuffix("@openssh.com")
        return cipher if self.aead else f"{cipher}+{mac}"


PLAIN = Suite(b"none", b"none")

PROTECTED = [
    Suite(cipher, mac)
    for cipher, spec in CIPHERS.items()
    for mac in ([b"none"] if spec.aead else MACS)
    if cipher != b"none" and (spec.aead or mac != b"none")
]

ALL = [PLAIN, *PROTECTED]


def forgeBody(suite: Suite, sequence: int, length: int, body: bytes) -> bytes:
    """A packet sealed with the right keys whose length and body are whatever is given.

    Only for suites that do not chain, and for the first packet of a direction. `length` is what
    the length field says; the tag is over that and `body`.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    from limpet.crypto.macs import Authenticator

    header = struct.pack(">L", length)
    if suite.cipher == b"none":
        return header + body
    if suite.cipher.endswith(b"gcm@openssh.com"):
        return header + AESGCM(suite.key).encrypt(suite.iv, body, header)
    if suite.cipher.startswith(b"chacha20"):
        nonce = struct.pack(">QQ", 0, sequence)
        stream = Cipher(ChaCha20(suite.key[:32], nonce), None).encryptor()
        polyKey = stream.update(bytes(64))[:32]
        hidden = Cipher(ChaCha20(suite.key[32:], nonce), None).encryptor().update(header)
        cipher = hidden + stream.update(body)
        return cipher + Poly1305.generate_tag(polyKey, cipher)
    assert suite.cipher.endswith(b"ctr")
    encryptor = Cipher(AES(suite.key), modes.CTR(suite.iv)).encryptor()
    authenticator = Authenticator(MACS[suite.mac], suite.macKey)
    if suite.etm:
        packet = header + encryptor.update(body)
        return packet + authenticator.tag(sequence, packet)
    plain = header + body
    return encryptor.update(plain) + authenticator.tag(sequence, plain)


FORGEABLE = [suite for suite in ALL if b"cbc" not in suite.cipher]


def receiveAll(receiver: PacketReceiver, pieces: Iterable[bytes]) -> list[bytes]:
    """Feed `pieces` one by one, and take out what comes after each."""
    payloads: list[bytes] = []
    for piece in pieces:
        receiver.feed(piece)
        while (payload := receiver.next()) is not None:
            payloads.append(payload)
    return payloads
