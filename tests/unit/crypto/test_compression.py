"""Payload compression: what goes in comes out packet by packet, and never more than the limit."""

from __future__ import annotations

import zlib

import pytest

from limpet.crypto.compression import CompressionError, Deflater, Inflater


def test_eachPayloadComesOutByItself() -> None:
    deflater, inflater = Deflater(), Inflater()
    for payload in (b"\x5e" + b"again and " * 50, b"\x02", bytes(range(256)) * 100):
        assert inflater.decompress(deflater.compress(payload), 35_000) == payload


def test_theStreamLearnsFromEarlierPayloads() -> None:
    deflater = Deflater()
    payload = bytes(range(256))
    assert len(deflater.compress(payload)) > 10 * len(deflater.compress(payload))


def test_itInflatesWhatIsFlushedPartially() -> None:
    """OpenSSH flushes with Z_PARTIAL_FLUSH, not with Z_SYNC_FLUSH."""
    stream, inflater = zlib.compressobj(), Inflater()
    for payload in (b"first payload", b"second payload"):
        packet = stream.compress(payload) + stream.flush(zlib.Z_PARTIAL_FLUSH)
        assert inflater.decompress(packet, 100) == payload


def test_exactlyTheLimitIsAllowed() -> None:
    assert Inflater().decompress(Deflater().compress(bytes(5000)), 5000) == bytes(5000)
    with pytest.raises(CompressionError, match="more than 4999"):
        Inflater().decompress(Deflater().compress(bytes(5000)), 4999)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b"no zlib at all", "damaged"),
        (zlib.compress(b"x"), "ended"),
        (zlib.compress(b"x") + b"more", "ended"),
        (b"", "empty"),
        (Deflater().compress(b""), "empty"),
    ],
)
def test_damagedInputIsRefused(packet: bytes, message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        Inflater().decompress(packet, 1000)


def test_aPresetDictionaryIsRefused() -> None:
    stream = zlib.compressobj(zdict=b"dictionary")
    packet = stream.compress(b"dictionary") + stream.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(CompressionError, match="damaged"):
        Inflater().decompress(packet, 1000)
