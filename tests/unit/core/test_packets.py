"""The binary packet protocol: framing, counters, key changes, compression, the failed state."""

from __future__ import annotations

import sys

import pytest

from limpet.core.errors import (
    CompressionFailure,
    IntegrityFailure,
    LimitExceeded,
    MalformedMessage,
    ProtocolViolation,
)
from limpet.core.packets import (
    MAX_PACKET,
    MAX_PACKET_BEFORE_AUTHENTICATION,
    MAX_PIECES,
    PacketReceiver,
    PacketSender,
)
from limpet.crypto.compression import Deflater, Inflater
from tests.suites import ALL, PLAIN, PROTECTED, Suite, receiveAll

GCM = Suite(b"aes128-gcm@openssh.com", b"none")
CTR = Suite(b"aes256-ctr", b"hmac-sha2-256")
CBC = Suite(b"aes128-cbc", b"hmac-sha1")
CHACHA = Suite(b"chacha20-poly1305@openssh.com", b"none")


@pytest.mark.parametrize("suite", ALL, ids=str)
class TestEverySuite:
    def test_messagesComeOutAsTheyWentIn(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        messages = [bytes((n,)) + bytes(range(n)) for n in range(1, 80)]
        stream = b"".join(sender.pack(message[0], message[1:]) for message in messages)
        assert receiveAll(receiver, [stream]) == messages
        assert receiver.sequence == sender.sequence == 79
        assert receiver.bytesSinceKeys == sender.bytesSinceKeys == len(stream)
        assert receiver.packetsSinceKeys == sender.packetsSinceKeys == 79
        assert receiver.buf == b""

    def test_oneByteAtATime(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        stream = sender.pack(94, b"first") + sender.pack(94, b"second" * 100)
        pieces = [stream[i : i + 1] for i in range(len(stream))]
        assert receiveAll(receiver, pieces) == [b"\x5efirst", b"\x5e" + b"second" * 100]

    def test_headAndDataAreOneMessage(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        stream = sender.pack(94, b"head", b"data") + sender.pack(94, b"", memoryview(b"view"))
        assert receiveAll(receiver, [stream]) == [b"\x5eheaddata", b"\x5eview"]

    def test_nextMessageTakesTheNumberOff(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        receiver.feed(sender.pack(94, b"abc") + sender.pack(2, b""))
        assert receiver.nextMessage() == (94, b"abc")
        assert receiver.nextMessage() == (2, b"")
        assert receiver.nextMessage() is None

    def test_theLargestPacketIsTaken(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        payload = bytes(MAX_PACKET - 64)
        assert receiveAll(receiver, [sender.pack(94, payload)]) == [b"\x5e" + payload]

    def test_compressedPayloads(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        sender.setKeys(suite.sealer(), Deflater())
        receiver.setKeys(suite.opener(), Inflater())
        stream = sender.pack(94, b"head", b"again " * 1000) + sender.pack(94, b"again " * 1000)
        assert len(stream) < 1000
        receiver.feed(stream)
        assert receiver.next() == b"\x5ehead" + b"again " * 1000
        assert receiver.nextMessage() == (94, b"again " * 1000)

    def test_whatComesOutIsBytes(self, suite: Suite) -> None:
        sender, receiver = suite.sender(), suite.receiver()
        packet = sender.pack(94, b"abc")
        assert type(packet) is bytes  # Twisted's transports take nothing else
        receiver.feed(packet)
        assert type(receiver.next()) is bytes


class TestFeeding:
    def test_nothingComesBeforeTheWholePacketIsThere(self) -> None:
        sender, receiver = GCM.sender(), GCM.receiver()
        packet = sender.pack(94, b"abc")
        for piece in (packet[:3], packet[3:4], packet[4:-1]):
            receiver.feed(piece)
            assert receiver.next() is None
            assert receiver.sequence == 0
            assert receiver.bytesSinceKeys == 0
        receiver.feed(packet[-1:])
        assert receiver.next() == b"\x5eabc"
        assert receiver.next() is None

    def test_aBufferThatItsOwnerChangesIsCopied(self) -> None:
        sender, receiver = GCM.sender(), GCM.receiver()
        data = bytearray(sender.pack(94, b"abc"))
        receiver.feed(data)
        data[:] = bytes(len(data))
        assert receiver.next() == b"\x5eabc"

    def test_nothingFedIsNothing(self) -> None:
        sender, receiver = PLAIN.sender(), PLAIN.receiver()
        packet = sender.pack(94, b"abc")
        assert receiveAll(receiver, [b"", packet[:5], b"", packet[5:], b""]) == [b"\x5eabc"]

    def test_piecesFedWithoutTakingArePackedTogether(self) -> None:
        sender, receiver = GCM.sender(), GCM.receiver()
        stream = b"".join(sender.pack(94, bytes((n,))) for n in range(200))
        assert len(stream) > 3 * MAX_PIECES
        for offset in range(len(stream)):
            receiver.feed(stream[offset : offset + 1])
        assert receiver.buf == stream
        assert receiveAll(receiver, [b""]) == [bytes((94, n)) for n in range(200)]

    def test_aPieceThatHoldsTheEndOfOnePacketAndManyMore(self) -> None:
        sender, receiver = CTR.sender(), CTR.receiver()
        first = sender.pack(94, bytes(5000))
        rest = b"".join(sender.pack(94, bytes((n,))) for n in range(100))
        stream = first + rest
        got = receiveAll(receiver, [stream[:2], stream[2:4999], stream[4999:]])
        assert got == [b"\x5e" + bytes(5000), *(bytes((94, n)) for n in range(100))]

    def test_anIdleReceiverKeepsNoPiece(self) -> None:
        """A large piece would stay in memory as long as the connection."""
        sender, receiver = GCM.sender(), GCM.receiver()
        piece = sender.pack(94, bytes(1000))
        before = sys.getrefcount(piece)
        receiver.feed(piece)
        assert sys.getrefcount(piece) > before
        assert receiver.next() is not None
        assert sys.getrefcount(piece) == before


class TestBuf:
    def test_itIsWhatIsNotConsumed(self) -> None:
        sender, receiver = PLAIN.sender(), PLAIN.receiver()
        first, second = sender.pack(94, b"abc"), sender.pack(94, b"def")
        receiver.feed(first + second[:3])
        assert receiver.buf == first + second[:3]
        assert receiver.next() == b"\x5eabc"
        assert receiver.buf == second[:3]
        receiver.feed(second[3:])
        assert receiver.buf == second

    def test_settingItReplacesAll(self) -> None:
        sender, receiver = PLAIN.sender(), PLAIN.receiver()
        receiver.feed(b"\x00\x00\x00\x0cwhatever")
        assert receiver.next() is None
        receiver.buf = sender.pack(94, b"abc")
        assert receiver.next() == b"\x5eabc"
        receiver.buf = b""
        assert receiver.next() is None


class TestKeys:
    def test_newKeysHoldFromTheNextPacketOn(self) -> None:
        """All three packets are in one segment; the second is not touched with the old keys."""
        sender, receiver = PacketSender(), PacketReceiver()
        stream = sender.pack(21, b"")
        for suite in (CTR, CHACHA, CBC, GCM):
            sender.setKeys(suite.sealer())
            stream += sender.pack(94, b"under " + suite.cipher) + sender.pack(21, b"")
        receiver.feed(stream)
        assert receiver.next() == b"\x15"
        for suite in (CTR, CHACHA, CBC, GCM):
            receiver.setKeys(suite.opener())
            assert receiver.next() == b"\x5eunder " + suite.cipher
            assert receiver.next() == b"\x15"
        assert receiver.next() is None

    def test_aLengthLearntWithOldKeysIsForgotten(self) -> None:
        sender, receiver = CTR.sender(), PacketReceiver()
        packet = sender.pack(94, b"abc")
        receiver.feed(b"\x00\x00\x00\x0c")
        assert receiver.next() is None
        receiver.buf = b""
        receiver.setKeys(CTR.opener())
        receiver.feed(packet)
        assert receiver.next() == b"\x5eabc"

    def test_countersBeginAnew(self) -> None:
        sender, receiver = PLAIN.sender(), PLAIN.receiver()
        receiver.feed(sender.pack(94, b"abc"))
        receiver.next()
        sender.setKeys(GCM.sealer())
        receiver.setKeys(GCM.opener())
        for end in (sender, receiver):
            assert (end.sequence, end.packetsSinceKeys, end.bytesSinceKeys) == (1, 0, 0)
        packet = sender.pack(94, b"abc")
        receiver.feed(packet)
        receiver.next()
        for end in (sender, receiver):
            assert (end.sequence, end.packetsSinceKeys, end.bytesSinceKeys) == (2, 1, len(packet))

    def test_resetSequenceBeginsAtZero(self) -> None:
        sender, receiver = PLAIN.sender(), PLAIN.receiver()
        receiver.feed(sender.pack(21, b""))
        receiver.next()
        sender.setKeys(CHACHA.sealer())
        sender.resetSequence()
        receiver.setKeys(CHACHA.opener())
        receiver.resetSequence()
        assert sender.sequence == receiver.sequence == 0
        receiver.feed(sender.pack(94, b"abc"))
        assert receiver.next() == b"\x5eabc"
        assert sender.packetsSinceKeys == receiver.packetsSinceKeys == 1

    def test_resetSequenceUnderUsedKeysIsRefused(self) -> None:
        """The same nonces would come again."""
        sender, receiver = CHACHA.sender(), CHACHA.receiver()
        receiver.feed(sender.pack(94, b"abc"))
        receiver.next()
        with pytest.raises(RuntimeError):
            sender.resetSequence()
        with pytest.raises(RuntimeError):
            receiver.resetSequence()

    def test_newKeysEndCompression(self) -> None:
        sender, receiver = PacketSender(), PacketReceiver()
        sender.deflater, receiver.inflater = Deflater(), Inflater()
        receiver.feed(sender.pack(94, b"abc"))
        assert receiver.next() == b"\x5eabc"
        sender.setKeys(GCM.sealer())
        receiver.setKeys(GCM.opener())
        assert sender.deflater is None
        assert receiver.inflater is None

    def test_compressionMayBeginLater(self) -> None:
        """zlib@openssh.com begins after authentication, under the keys that are there."""
        sender, receiver = GCM.sender(), GCM.receiver()
        stream = sender.pack(52, b"")
        sender.deflater = Deflater()
        stream += sender.pack(94, b"abc " * 100)
        receiver.feed(stream)
        assert receiver.next() == b"\x34"
        receiver.inflater = Inflater()
        assert receiver.next() == b"\x5e" + b"abc " * 100


class TestLimits:
    def test_theLimitIsOfTheLengthField(self) -> None:
        receiver = PacketReceiver()
        length = (MAX_PACKET_BEFORE_AUTHENTICATION + 4) // 8 * 8 - 4
        body = b"\x04" + bytes(length - 1)
        receiver.feed(length.to_bytes(4, "big") + body)
        assert receiver.next() == bytes(length - 5)
        receiver.feed((length + 8).to_bytes(4, "big"))
        with pytest.raises(LimitExceeded, match=str(length + 8)):
            receiver.next()

    def test_theLimitMayBeRaised(self) -> None:
        sender, receiver = PLAIN.sender(), PacketReceiver()
        receiver.maxPacketLength = MAX_PACKET
        receiver.feed(sender.pack(94, bytes(100_000)))
        assert receiver.next() == b"\x5e" + bytes(100_000)

    def test_theLimitHoldsForWhatIsInflated(self) -> None:
        sender = PacketSender()
        sender.deflater = Deflater()
        receiver = PacketReceiver()
        receiver.inflater = Inflater()
        receiver.feed(sender.pack(94, bytes(MAX_PACKET_BEFORE_AUTHENTICATION - 1)))
        assert receiver.next() == b"\x5e" + bytes(MAX_PACKET_BEFORE_AUTHENTICATION - 1)
        receiver.feed(sender.pack(94, bytes(MAX_PACKET_BEFORE_AUTHENTICATION)))
        with pytest.raises(CompressionFailure):
            receiver.next()


class TestFailed:
    @pytest.mark.parametrize(
        ("data", "violation"),
        [
            (b"\xff\xff\xff\xff", LimitExceeded),
            (b"\x00\x00\x00\x04", MalformedMessage),
            (b"\x00\x00\x00\x0d", MalformedMessage),
            (b"\x00\x00\x00\x0c\x03" + bytes(11), MalformedMessage),
        ],
    )
    def test_itRaisesOnceAndIsSilentThen(
        self, data: bytes, violation: type[ProtocolViolation]
    ) -> None:
        receiver = PacketReceiver()
        receiver.feed(data + PLAIN.sender().pack(94, b"abc"))
        assert not receiver.failed
        with pytest.raises(violation):
            receiver.next()
        assert receiver.failed
        assert receiver.next() is None
        assert receiver.nextMessage() is None
        receiver.feed(PLAIN.sender().pack(94, b"abc"))
        receiver.buf = PLAIN.sender().pack(94, b"abc")
        assert receiver.next() is None
        assert receiver.buf == b""

    def test_aFailureOfChainedCiphersShowsOnlyAfterAWholePacket(self) -> None:
        """CVE-2008-5161: whether a length was possible must not show in when it fails."""
        limit = 1000
        total = 4 + limit + CBC.opener().tagSize
        sender = CBC.sender()
        good = sender.pack(94, b"abc")
        for damaged in (b"\x55" * 16, good[:-1] + bytes((good[-1] ^ 1,)), good[:20] + good):
            receiver = CBC.receiver(limit)
            for offset in range(total - 1):
                receiver.feed(damaged[offset : offset + 1] or b"\x00")
                assert receiver.next() is None
            receiver.feed(b"\x00")
            with pytest.raises(IntegrityFailure):
                receiver.next()
            assert receiver.next() is None


@pytest.mark.parametrize("suite", PROTECTED, ids=str)
def test_theSequenceNumberIsProtected(suite: Suite) -> None:
    """GCM counts by itself; all the others take the packet's number into account."""
    sender, receiver = suite.sender(), suite.receiver(1000)
    sender.sequence = 1
    receiver.feed(sender.pack(94, b"abc") + bytes(2000))
    if suite.cipher.endswith(b"gcm@openssh.com"):
        assert receiver.next() == b"\x5eabc"
    else:
        with pytest.raises(IntegrityFailure):
            receiver.next()
