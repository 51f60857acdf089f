"""The table of ciphers, and every suite against AsyncSSH's independent packet code."""

from __future__ import annotations

import os
import struct

import pytest
from asyncssh.encryption import get_encryption, get_encryption_params

from limpet.crypto.ciphers import CIPHERS, makeOpener, makeSealer
from limpet.crypto.macs import MACS
from tests.suites import ALL, PROTECTED, Suite, receiveAll

MESSAGES = [b"\x02", b"\x5eabc", b"\x5e" + os.urandom(11), b"\x5e" + os.urandom(30_000), b"\x14"]


class AsyncsshPackets:
    """Packets as `asyncssh.SSHConnection` makes and takes them, without its connection."""

    def __init__(self, suite: Suite) -> None:
        parameters = get_encryption_params(suite.cipher, suite.mac)
        self.etm: bool = parameters[5]
        self.macSize: int = parameters[4]
        self.block = max(8, parameters[2])
        self.aligned = 4 if suite.etm or suite.aead else 0
        self.encryption = get_encryption(
            suite.cipher, suite.key, suite.iv, suite.mac, suite.macKey, self.etm
        )
        self.sequence = 0

    def pack(self, payload: bytes) -> bytes:
        padding = -(5 - self.aligned + len(payload)) % self.block
        if padding < 4:
            padding += self.block
        packet = bytes((padding,)) + payload + os.urandom(padding)
        sealed, mac = self.encryption.encrypt_packet(
            self.sequence, struct.pack(">L", len(packet)), packet
        )
        self.sequence += 1
        return bytes(sealed + mac)

    def open(self, stream: bytes) -> tuple[bytes, bytes]:
        first = stream[: self.block]
        first, header = self.encryption.decrypt_header(self.sequence, first, 4)
        end = 4 + struct.unpack(">L", header)[0]
        mac = stream[end : end + self.macSize]
        packet = self.encryption.decrypt_packet(
            self.sequence, first, stream[self.block : end], 4, mac
        )
        self.sequence += 1
        assert packet is not None
        return bytes(packet[1 : len(packet) - packet[0]]), stream[end + self.macSize :]


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_weOpenWhatAsyncsshSeals(suite: Suite) -> None:
    peer = AsyncsshPackets(suite)
    stream = b"".join(peer.pack(message) for message in MESSAGES)
    assert receiveAll(suite.receiver(), [stream]) == MESSAGES


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_asyncsshOpensWhatWeSeal(suite: Suite) -> None:
    peer, sender = AsyncsshPackets(suite), suite.sender()
    stream = b"".join(sender.pack(message[0], message[1:]) for message in MESSAGES)
    for message in MESSAGES:
        opened, stream = peer.open(stream)
        assert opened == message
    assert stream == b""


@pytest.mark.parametrize("suite", ALL, ids=str)
def test_packetsAreAlignedAndPadded(suite: Suite) -> None:
    opener = suite.opener()
    sealer = suite.sealer()
    for sequence, count in enumerate(range(70)):
        packet = memoryview(sealer.seal(sequence, b"\x5e", bytes(count)))
        length = opener.length(sequence, packet, 0)
        assert len(packet) == 4 + length + opener.tagSize
        assert (length + opener.lengthAligned) % suite.blockSize == 0
        body = opener.open(sequence, packet, 0, length)
        assert len(body) == length
        assert 4 <= body[0] < 4 + suite.blockSize
        assert body[1 : length - body[0]] == b"\x5e" + bytes(count)


@pytest.mark.parametrize("suite", ALL, ids=str)
def test_paddingIsNotRepeated(suite: Suite) -> None:
    opener, sealer = suite.opener(), suite.sealer()
    paddings = set()
    for sequence in range(300):
        packet = memoryview(sealer.seal(sequence, b"\x5e", b""))
        body = opener.open(sequence, packet, 0, opener.length(sequence, packet, 0))
        paddings.add(bytes(body[2:]))
    assert len(paddings) == 300


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_thePayloadIsNotVisible(suite: Suite) -> None:
    packet = suite.sealer().seal(0, b"\x5e", b"plain to see " * 10)
    assert b"plain to see" not in packet


def test_gcmCountsItsNonceOverTheEndOfTheField() -> None:
    """RFC 5647 section 7.1: 64 bits counted up, whatever the fixed field is."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key, iv = bytes(16), b"\xab\xcd\xef\x01" + b"\xff" * 8
    sealer = makeSealer(b"aes128-gcm@openssh.com", b"none", key, iv, b"")
    opener = makeOpener(b"aes128-gcm@openssh.com", b"none", key, iv, b"")
    for nonce in (iv, b"\xab\xcd\xef\x01" + bytes(8), b"\xab\xcd\xef\x01" + bytes(7) + b"\x01"):
        packet = sealer.seal(0, b"\x5e", b"abc")
        body = AESGCM(key).decrypt(nonce, packet[4:], packet[:4])
        assert body[1:5] == b"\x5eabc"
        assert opener.open(0, memoryview(packet), 0, len(packet) - 20) == body


class TestTable:
    def test_whatIsWrongIsRefused(self) -> None:
        for make in (makeSealer, makeOpener):
            with pytest.raises(ValueError, match="no such cipher"):
                make(b"arcfour", b"none", b"", b"", b"")
            with pytest.raises(ValueError, match="no such MAC"):
                make(b"aes128-ctr", b"hmac-sha3", bytes(16), bytes(16), b"")
            with pytest.raises(ValueError, match="takes a key of 16"):
                make(b"aes128-ctr", b"hmac-sha1", bytes(15), bytes(16), bytes(20))
            with pytest.raises(ValueError, match="takes a key of 16"):
                make(b"aes128-gcm@openssh.com", b"none", bytes(16), bytes(16), b"")
            with pytest.raises(ValueError, match="takes a key of 20"):
                make(b"aes128-ctr", b"hmac-sha1", bytes(16), bytes(16), b"")

    def test_aCipherWithoutIntegrityIsRefused(self) -> None:
        for make in (makeSealer, makeOpener):
            with pytest.raises(ValueError, match="protects only half"):
                make(b"aes128-ctr", b"none", bytes(16), bytes(16), b"")
            with pytest.raises(ValueError, match="protects only half"):
                make(b"none", b"hmac-sha1", b"", b"", bytes(20))

    def test_anAeadIgnoresTheMac(self) -> None:
        """RFC 5647 section 5.1; the negotiated MAC may even be empty."""
        key, iv = bytes(16), bytes(12)
        for mac in (b"", b"hmac-sha2-256"):
            sealer = makeSealer(b"aes128-gcm@openssh.com", mac, key, iv, b"")
            opener = makeOpener(b"aes128-gcm@openssh.com", mac, key, iv, b"")
            packet = memoryview(sealer.seal(0, b"\x5e", b""))
            assert opener.open(0, packet, 0, 16)[1] == 0x5E

    def test_errorsHoldNoKeys(self) -> None:
        with pytest.raises(ValueError) as caught:
            makeSealer(b"aes128-ctr", b"hmac-sha1", b"secret", b"secret", b"secret")
        assert "secret" not in str(caught.value)

    def test_namesAreTheirOwnKeys(self) -> None:
        assert all(spec.name == name for name, spec in CIPHERS.items())
        assert {b"none"} == {n for n, s in CIPHERS.items() if not s.keySize}
        assert {b"none"} == {n for n, s in MACS.items() if not s.keySize}
