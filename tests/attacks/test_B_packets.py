"""Attack table, group B and rows M2 and M3, at the level of the binary packet layer.

Which failure shows where: an impossible length in the clear is a protocol error (2); an impossible
length that was decrypted is an integrity failure (5) like any other, because it is the same to us.
"""

from __future__ import annotations

import hmac
import random
import zlib
from collections import Counter
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

import limpet.crypto.aead
from limpet.core.errors import (
    CompressionFailure,
    IntegrityFailure,
    LimitExceeded,
    ProtocolViolation,
)
from limpet.core.packets import (
    MAX_PACKET,
    MAX_PACKET_BEFORE_AUTHENTICATION,
    PacketReceiver,
    PacketSender,
)
from limpet.crypto.compression import Deflater, Inflater
from limpet.crypto.macs import MACS, Authenticator
from limpet.crypto.sealing import EncryptThenMacOpener, IntegrityError
from limpet.wire.numbers import (
    DISCONNECT_COMPRESSION_ERROR,
    DISCONNECT_MAC_ERROR,
    DISCONNECT_PROTOCOL_ERROR,
)
from tests.suites import ALL, FORGEABLE, PLAIN, PROTECTED, Suite, forgeBody, receiveAll

GCM = Suite(b"aes128-gcm@openssh.com", b"none")
CHACHA = Suite(b"chacha20-poly1305@openssh.com", b"none")
FILLER = bytes(2 * MAX_PACKET)


def violationOf(receiver: PacketReceiver, data: bytes) -> ProtocolViolation:
    """The violation that `data` gives; no packet may come out before it or after it."""
    receiver.feed(data)
    with pytest.raises(ProtocolViolation) as caught:
        receiver.next()
    assert receiver.next() is None
    receiver.feed(PLAIN.sender().pack(90, b"session"))
    assert receiver.next() is None
    assert receiver.buf == b""
    return caught.value


# ── B1: length trusted before it is judged ────────────────────────────────────────────────────

BAD_LENGTHS = [0, 1, 4, 5, 11, 35_001, 0x40001, 0x7FFFFFFF, 0xFFFFFFFF]


@pytest.mark.parametrize("length", BAD_LENGTHS)
@pytest.mark.parametrize("limit", [MAX_PACKET_BEFORE_AUTHENTICATION, MAX_PACKET])
@pytest.mark.parametrize("suite", FORGEABLE, ids=str)
def test_B1_lengthIsJudgedBeforeAnythingElseComes(suite: Suite, limit: int, length: int) -> None:
    header = forgeBody(suite, 0, length, b"")[:4]
    violation = violationOf(suite.receiver(limit), header)
    if suite.lengthSecret:
        assert isinstance(violation, IntegrityFailure)
    else:
        assert violation.reasonCode == DISCONNECT_PROTOCOL_ERROR


@pytest.mark.parametrize("limit", [MAX_PACKET_BEFORE_AUTHENTICATION, MAX_PACKET])
@pytest.mark.parametrize("suite", FORGEABLE, ids=str)
def test_B1_theLimitIsExact(suite: Suite, limit: int) -> None:
    block = suite.blockSize
    aligned = suite.opener().lengthAligned
    most = (limit + aligned) // block * block - aligned
    receiver = suite.receiver(limit)
    receiver.feed(forgeBody(suite, 0, most, b"")[:4])
    assert receiver.next() is None
    over = violationOf(suite.receiver(limit), forgeBody(suite, 0, most + block, b"")[:4])
    assert isinstance(over, IntegrityFailure if suite.lengthSecret else LimitExceeded)


# ── B2: padding arithmetic, empty payload ─────────────────────────────────────────────────────


@pytest.mark.parametrize("padding", [0, 1, 3, "no payload", "length", 255])
@pytest.mark.parametrize("suite", FORGEABLE, ids=str)
def test_B2_impossiblePaddingEndsTheConnection(suite: Suite, padding: int | str) -> None:
    length = 32 - suite.opener().lengthAligned
    said = {"no payload": length - 1, "length": length}.get(str(padding), padding)
    assert isinstance(said, int)
    packet = forgeBody(suite, 0, length, bytes((said,)) + b"\x02" * (length - 1))
    violation = violationOf(suite.receiver(), packet + packet)
    assert violation.reasonCode == DISCONNECT_PROTOCOL_ERROR


@pytest.mark.parametrize("suite", FORGEABLE, ids=str)
def test_B2_theLeastPayloadAndTheMostPaddingAreFine(suite: Suite) -> None:
    length = 32 - suite.opener().lengthAligned
    packet = forgeBody(suite, 0, length, bytes((length - 2,)) + b"\x02" * (length - 1))
    assert receiveAll(suite.receiver(), [packet]) == [b"\x02"]


# ── B3: misaligned length ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suite", FORGEABLE, ids=str)
def test_B3_misalignedLengthIsRefusedThoughTheTagIsRight(suite: Suite) -> None:
    block, aligned = suite.blockSize, suite.opener().lengthAligned
    for length in range(48, 48 + block):
        packet = forgeBody(suite, 0, length, b"\x04" + b"\x02" * (length - 1))
        receiver = suite.receiver()
        if (length + aligned) % block == 0:
            assert receiveAll(receiver, [packet]) == [b"\x02" * (length - 5)]
            continue
        violation = violationOf(receiver, packet[:4])
        expected = DISCONNECT_MAC_ERROR if suite.lengthSecret else DISCONNECT_PROTOCOL_ERROR
        assert violation.reasonCode == expected


# ── B4: integrity ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_B4_noFlippedBitIsAccepted(suite: Suite) -> None:
    """Every single bit of a packet; the filler makes a receiver that waits for more go on."""
    packet = suite.sender().pack(90, b"session")
    for bit in range(len(packet) * 8):
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        violation = violationOf(suite.receiver(4000), bytes(damaged) + FILLER[:5000])
        if bit >= 32 or suite.lengthSecret:
            assert isinstance(violation, IntegrityFailure)
            assert str(violation) == str(IntegrityFailure())
            assert violation.reasonCode == DISCONNECT_MAC_ERROR
        else:  # a length in the clear that is refused for itself, or whose packet is damaged
            assert violation.reasonCode in (DISCONNECT_PROTOCOL_ERROR, DISCONNECT_MAC_ERROR)


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
@pytest.mark.parametrize("attack", ["duplicate", "swap", "delete", "replay"])
def test_B4_packetsOutOfOrderAreNotAccepted(suite: Suite, attack: str) -> None:
    sender = suite.sender()
    first, second, third = (sender.pack(94, bytes(20)) for _ in range(3))
    receiver = suite.receiver(4000)
    receiver.feed(first)
    assert receiver.next() == b"\x5e" + bytes(20)
    stream = {
        "duplicate": first + second,
        "swap": third + second,
        "delete": third,
        "replay": second + first,
    }[attack]
    if attack == "replay":
        receiver.feed(second)
        assert receiver.next() == b"\x5e" + bytes(20)
        stream = first
    assert isinstance(violationOf(receiver, stream + FILLER[:5000]), IntegrityFailure)


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
@pytest.mark.parametrize("tag", ["zero", "truncated", "missing", "other"])
def test_B4_noOtherTagIsAccepted(suite: Suite, tag: str) -> None:
    sender = suite.sender()
    packet, other = sender.pack(94, bytes(20)), sender.pack(94, bytes(20))
    size = suite.opener().tagSize
    tampered = {
        "zero": packet[:-size] + bytes(size),
        "truncated": packet[: -(size // 2)],  # what follows stands in its place
        "missing": packet[:-size] + other,
        "other": packet[:-size] + other[-size:],
    }[tag]
    violation = violationOf(suite.receiver(4000), tampered + FILLER[:5000])
    assert isinstance(violation, IntegrityFailure)


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_B4_aPlaintextPacketIsNotAcceptedUnderKeys(suite: Suite) -> None:
    packet = PLAIN.sender().pack(94, bytes(20))
    assert violationOf(suite.receiver(4000), packet + FILLER[:5000]).reasonCode in (
        DISCONNECT_PROTOCOL_ERROR,  # the length in the clear does not fit to the block
        DISCONNECT_MAC_ERROR,
    )


class SpyStream:
    """A cipher that notes how many bytes it was given."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.given: list[int] = []
        self.reset_nonce = getattr(stream, "reset_nonce", None)

    def update(self, data: bytes | memoryview) -> bytes:
        self.given.append(len(data))
        return bytes(self.stream.update(data))


def test_B4_chachaDecryptsNothingBeforeTheTagIsChecked() -> None:
    packet = bytearray(CHACHA.sender().pack(94, b"abc"))
    packet[-1] ^= 1
    opener: Any = CHACHA.opener()
    opener._keys.body = spy = SpyStream(opener._keys.body)
    length = opener.length(0, memoryview(packet), 0)
    with pytest.raises(IntegrityError):
        opener.open(0, memoryview(packet), 0, length)
    assert spy.given == [64]  # the zeros that Poly1305's key comes from


def test_B4_encryptThenMacDecryptsNothingBeforeTheTagIsChecked() -> None:
    suite = Suite(b"aes128-ctr", b"hmac-sha2-256-etm@openssh.com")
    packet = bytearray(suite.sender().pack(94, b"abc"))
    packet[-1] ^= 1
    context = Cipher(AES(suite.key), CTR(suite.iv)).decryptor()
    spy: Any = SpyStream(context)
    opener = EncryptThenMacOpener(
        spy, suite.blockSize, Authenticator(MACS[suite.mac], suite.macKey)
    )
    length = opener.length(0, memoryview(packet), 0)
    with pytest.raises(IntegrityError):
        opener.open(0, memoryview(packet), 0, length)
    assert spy.given == []


# ── B5: comparison in constant time ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_B5_tagsAreComparedInConstantTime(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `hmac.compare_digest`, or within OpenSSL for GCM."""
    compared: list[int] = []
    real = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append(len(b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    assert receiveAll(suite.receiver(), [suite.sender().pack(94, b"")]) == [b"\x5e"]
    if not suite.cipher.endswith(b"gcm@openssh.com"):
        assert compared == [suite.opener().tagSize]


# ── B7: sequence wrap, nonce reuse ────────────────────────────────────────────────────────────


def test_B7_wrapInTheInitialExchangeEndsTheConnection() -> None:
    sender, receiver = PacketSender(), PacketReceiver()
    sender.sequence = receiver.sequence = 2**32 - 2
    packet = sender.pack(2, bytes(4))
    receiver.feed(packet)
    assert receiver.next() is not None
    with pytest.raises(LimitExceeded):
        sender.pack(2, bytes(4))
    assert isinstance(violationOf(receiver, packet), LimitExceeded)


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_B7_wrapUnderKeysThatAreNewIsNone(suite: Suite) -> None:
    """Without strict key exchange the numbers run on over 2**32; that is no violation."""
    sender, receiver = PacketSender(), PacketReceiver(4000)
    sender.sequence = receiver.sequence = 2**32 - 2
    sender.setKeys(suite.sealer())
    receiver.setKeys(suite.opener())
    stream = b"".join(sender.pack(94, bytes((n,))) for n in range(4))
    assert receiveAll(receiver, [stream]) == [bytes((94, n)) for n in range(4)]
    assert sender.sequence == receiver.sequence == 2
    assert sender.packetsSinceKeys == receiver.packetsSinceKeys == 4


@pytest.mark.parametrize("suite", [GCM, CHACHA], ids=str)
def test_B7_noSequenceNumberComesTwiceUnderTheSameKeys(suite: Suite) -> None:
    sender, receiver = PacketSender(), PacketReceiver(4000)
    sender.sequence = receiver.sequence = 3
    sealer = suite.sealer()
    sender.setKeys(sealer)
    receiver.setKeys(suite.opener())
    sender.sequence = receiver.sequence = 2**32 - 2
    for number in (2**32 - 2, 2**32 - 1, 0, 1):
        assert sender.sequence == receiver.sequence == number
        receiver.feed(sender.pack(94, b""))
        assert receiver.next() == b"\x5e"
    with pytest.raises(LimitExceeded):
        sender.pack(94, b"")
    # A peer that does not stop is stopped.
    assert isinstance(violationOf(receiver, sealer.seal(2, b"\x5e", b"")), LimitExceeded)
    # With new keys the numbers go on.
    sender.setKeys(suite.sealer())
    sender.pack(94, b"")
    assert sender.sequence == 3


def test_B7_noKeyAndNonceRepeatOverRekeys(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the numbers reset at every rekey (strict) and with them running on."""
    seen: Counter[tuple[bytes, bytes]] = Counter()

    class SpyGcm:
        def __init__(self, key: bytes) -> None:
            self.key = key

        def encrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
            seen[self.key, nonce] += 1
            return data + bytes(16)

    monkeypatch.setattr(limpet.crypto.aead, "AESGCM", SpyGcm)
    for reset in (True, False):
        sender = PacketSender()
        for generation in range(5):
            key = bytes((generation, reset)) * 8
            sender.setKeys(limpet.crypto.aead.GcmSealer(key, bytes(12)))
            if reset:
                sender.resetSequence()
            for _ in range(50):
                sender.pack(94, b"abc")
    assert len(seen) == 2 * 5 * 50
    assert set(seen.values()) == {1}


# ── B9, B10: compression ──────────────────────────────────────────────────────────────────────


def compressedReceiver(limit: int = MAX_PACKET) -> PacketReceiver:
    receiver = GCM.receiver(limit)
    receiver.inflater = Inflater()
    return receiver


@pytest.mark.parametrize("limit", [MAX_PACKET_BEFORE_AUTHENTICATION, MAX_PACKET])
def test_B9_aBombInflatesToNoMoreThanAPacket(limit: int) -> None:
    stream = zlib.compressobj(9)
    bomb = stream.compress(bytes(64 * 2**20)) + stream.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 70_000
    payload = bomb[: limit - 100]
    receiver = compressedReceiver(limit)
    violation = violationOf(receiver, GCM.sender().pack(payload[0], payload[1:]))
    assert isinstance(violation, CompressionFailure)
    assert violation.reasonCode == DISCONNECT_COMPRESSION_ERROR


def test_B9_inflatingStopsAtTheLimit() -> None:
    """zlib itself is told the limit: what is over it is never made."""
    asked: list[int] = []
    inflater: Any = Inflater()
    stream = inflater._stream

    class Spy:
        unconsumed_tail = b""
        eof = False

        def decompress(self, data: bytes, limit: int) -> bytes:
            asked.append(limit)
            return bytes(stream.decompress(data, limit))

    inflater._stream = Spy()
    inflater.decompress(Deflater().compress(b"abc"), 1000)
    assert asked == [1001]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x5e garbage",
        b"\x78\x9c garbage",
        b"\x78\xbb\x00\x00\x00\x01\x00",  # the flag that asks for a preset dictionary
        zlib.compress(b"\x5e finished"),
        zlib.compress(b"\x5e finished") + b"and more",
        Deflater().compress(b""),
    ],
)
def test_B10_whatDoesNotInflateEndsTheConnection(payload: bytes) -> None:
    packet = GCM.sender().pack(payload[0], payload[1:])
    violation = violationOf(compressedReceiver(), packet)
    assert violation.reasonCode == DISCONNECT_COMPRESSION_ERROR


def test_B10_aPacketAfterTheStreamFinishedEndsTheConnection() -> None:
    sender, receiver = GCM.sender(), compressedReceiver()
    stream = zlib.compressobj()
    first = stream.compress(b"\x5eabc") + stream.flush(zlib.Z_SYNC_FLUSH)
    receiver.feed(sender.pack(first[0], first[1:]))
    assert receiver.next() == b"\x5eabc"
    last = stream.compress(b"\x5edef") + stream.flush(zlib.Z_FINISH)
    violation = violationOf(receiver, sender.pack(last[0], last[1:]))
    assert violation.reasonCode == DISCONNECT_COMPRESSION_ERROR


def test_B10_compressionBegunOnePacketTooEarlyEndsTheConnection() -> None:
    sender, receiver = GCM.sender(), compressedReceiver()
    violation = violationOf(receiver, sender.pack(52, b""))
    assert violation.reasonCode == DISCONNECT_COMPRESSION_ERROR


# ── B14: nothing after the end ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_B14_nothingComesAfterABadTag(suite: Suite) -> None:
    sender = suite.sender()
    bad = bytearray(sender.pack(2, bytes(4)))
    bad[-1] ^= 0x80
    valid = sender.pack(90, b"session")
    receiver = suite.receiver(4000)
    assert isinstance(violationOf(receiver, bytes(bad) + valid * 100), IntegrityFailure)
    receiver.feed(valid)
    assert receiver.nextMessage() is None


# ── M2, M3: pieces ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pieceSize", [1448, 65_536, 64 * 2**20])
@pytest.mark.parametrize("payloadSize", [40, 32_768, 250_000])
def test_M2_manyPiecesAreNotCopiedAgainAndAgain(
    payloadSize: int, pieceSize: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted is what is copied to bring packets together: each byte twice at most."""
    count = 8 * 2**20 // (payloadSize + 9)
    sender, receiver = PacketSender(), PacketReceiver(MAX_PACKET)
    stream = b"".join(sender.pack(94, bytes(payloadSize)) for _ in range(count))
    copied = 0
    real = PacketReceiver._gather

    def spy(self: PacketReceiver) -> None:
        nonlocal copied
        before = self._buffer
        real(self)
        if self._buffer.obj is not before.obj and type(self._buffer.obj) is bytes:
            copied += self._needed
            assert len(self._buffer) <= max(pieceSize, self._needed)

    monkeypatch.setattr(PacketReceiver, "_gather", spy)
    received = 0
    for offset in range(0, len(stream), pieceSize):
        receiver.feed(stream[offset : offset + pieceSize])
        while (payload := receiver.next()) is not None:
            assert len(payload) == 1 + payloadSize
            received += 1
    assert received == count
    assert copied <= 2 * len(stream)


def test_M2_aSlowPeerCostsLittleMemory() -> None:
    """A packet that comes byte by byte is held in a bounded number of pieces."""
    receiver: Any = PacketReceiver(MAX_PACKET)
    receiver.feed((MAX_PACKET - 4).to_bytes(4, "big"))
    for _ in range(20_000):
        receiver.feed(b"\x00")
        assert receiver.next() is None
    assert len(receiver._pieces) <= 1025
    assert len(receiver.buf) == 20_004


@pytest.mark.parametrize("suite", ALL, ids=str)
def test_M3_everySegmentationGivesTheSamePackets(suite: Suite) -> None:
    generator = random.Random(str(suite))
    sender = suite.sender()
    messages = [bytes((94,)) + generator.randbytes(generator.randrange(200)) for _ in range(30)]
    stream = b"".join(sender.pack(message[0], message[1:]) for message in messages)
    assert receiveAll(suite.receiver(), [stream]) == messages
    assert receiveAll(suite.receiver(), [bytes((byte,)) for byte in stream]) == messages
    for _ in range(5):
        cuts = sorted(generator.sample(range(len(stream)), 40))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert receiveAll(suite.receiver(), pieces) == messages
