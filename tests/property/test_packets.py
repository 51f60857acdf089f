"""Properties of the packet layer: any split of the stream gives the same packets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.core.errors import ProtocolViolation
from limpet.core.packets import PacketReceiver, PacketSender
from limpet.crypto.compression import Deflater, Inflater
from tests.suites import ALL, Suite

NEWKEYS = b"\x15"

messages = st.binary(min_size=1, max_size=600).filter(lambda message: message != NEWKEYS)
epochs = st.lists(
    st.tuples(st.sampled_from(ALL), st.booleans(), st.booleans(), st.lists(messages, max_size=6)),
    min_size=1,
    max_size=4,
)
"""Suite, whether payloads are compressed, whether the sequence number is reset, the messages."""

Epoch = tuple[Suite, bool, bool, list[bytes]]


def transmit(transcript: list[Epoch]) -> bytes:
    """The stream: the messages of each epoch, under its keys, with NEWKEYS at its end."""
    sender = PacketSender()
    stream = []
    for suite, compressed, reset, payloads in transcript:
        sender.setKeys(suite.sealer(), Deflater() if compressed else None)
        if reset:
            sender.resetSequence()
        for payload in [*payloads, NEWKEYS]:
            stream.append(sender.pack(payload[0], payload[1:]))
    return b"".join(stream)


def receive(transcript: list[Epoch], pieces: list[bytes]) -> list[bytes]:
    """What comes out, with the keys changed at each NEWKEYS."""
    receiver = PacketReceiver(262_144)
    following = iter(transcript)

    def changeKeys() -> None:
        suite, compressed, reset, _ = next(following)
        receiver.setKeys(suite.opener(), Inflater() if compressed else None)
        if reset:
            receiver.resetSequence()

    changeKeys()
    received = []
    left = len(transcript) - 1
    for piece in pieces:
        receiver.feed(piece)
        while (payload := receiver.next()) is not None:
            received.append(payload)
            if payload == NEWKEYS and left:
                left -= 1
                changeKeys()
    assert receiver.buf == b""
    return received


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in zip(places, places[1:], strict=False)]


@given(epochs, st.lists(st.integers(min_value=0, max_value=20_000), max_size=40))
@settings(max_examples=150, deadline=None)
def test_M3_anySplitOfTheStreamGivesTheSamePackets(
    transcript: list[Epoch], cuts: list[int]
) -> None:
    stream = transmit(transcript)
    expected = [payload for epoch in transcript for payload in [*epoch[3], NEWKEYS]]
    assert receive(transcript, split(stream, cuts)) == expected
    assert receive(transcript, [stream]) == expected
    assert receive(transcript, [stream[i : i + 1] for i in range(len(stream))]) == expected


@given(st.sampled_from(ALL), st.binary(max_size=4000), st.lists(st.integers(1, 500), max_size=20))
@settings(max_examples=300, deadline=None)
def test_anyBytesGivePacketsOrOneViolation(suite: Suite, data: bytes, sizes: list[int]) -> None:
    """Nothing but a ProtocolViolation leaves the receiver, and only one; nothing is kept then."""
    receiver = suite.receiver(1000)
    violations = 0
    offset = 0
    for size in [*sizes, len(data)]:
        receiver.feed(data[offset : offset + size])
        offset += size
        try:
            while (payload := receiver.next()) is not None:
                assert payload
                assert suite.cipher == b"none"
        except ProtocolViolation:
            violations += 1
            assert receiver.buf == b""
    assert violations == receiver.failed


@given(st.sampled_from(ALL), st.binary(max_size=3000), st.binary(max_size=3000))
@settings(max_examples=300, deadline=None)
def test_sealedAndOpenedIsTheSame(suite: Suite, head: bytes, body: bytes) -> None:
    sealer, opener = suite.sealer(), suite.opener()
    for sequence in (0, 1):
        packet = memoryview(sealer.seal(sequence, head, body))
        length = opener.length(sequence, packet, 0)
        opened = bytes(opener.open(sequence, packet, 0, length))
        assert opened[1 : length - opened[0]] == head + body
