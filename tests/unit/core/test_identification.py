"""Identification strings: which are taken, and that the pieces in which they come do not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.errors import LimitExceeded, ProtocolViolation, VersionViolation
from limpet.core.identification import MAX_LINE_LENGTH, IdentificationReader

GOOD = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10"


def read(data: bytes, isClient: bool = False) -> tuple[bytes | None, bytes]:
    return IdentificationReader(isClient).feed(data)


class TestALine:
    @pytest.mark.parametrize("isClient", [False, True])
    @pytest.mark.parametrize("end", [b"\r\n", b"\n"])
    def test_itComesWithoutItsEndAndWithWhatFollows(self, isClient: bool, end: bytes) -> None:
        assert read(GOOD + end + b"\x00\x00\x01\x14", isClient) == (GOOD, b"\x00\x00\x01\x14")

    def test_nothingUntilItsEndIsThere(self) -> None:
        reader = IdentificationReader(False)
        for byte in GOOD + b"\r":
            assert reader.feed(bytes((byte,))) == (None, b"")
        assert reader.feed(b"\nrest") == (GOOD, b"rest")

    def test_whatFollowsMayHoldLinesOfItsOwn(self) -> None:
        assert read(b"SSH-2.0-x\r\nSSH-2.0-y\r\n") == (b"SSH-2.0-x", b"SSH-2.0-y\r\n")

    @pytest.mark.parametrize(
        "line", [b"SSH-2.0-x ", b"SSH-2.0-x  two words", b"SSH-2.0-a-b-c", b"SSH-2.0--"]
    )
    def test_unusualOnesThatAreAllowed(self, line: bytes) -> None:
        assert read(line + b"\r\n") == (line, b"")

    def test_theLongestIs255WithItsEnd(self) -> None:
        line = b"SSH-2.0-" + b"x" * (MAX_LINE_LENGTH - 10)
        assert read(line + b"\r\n") == (line, b"")
        with pytest.raises(LimitExceeded):
            read(line + b"x\r\n")

    def test_versionsCanBeGiven(self) -> None:
        reader = IdentificationReader(False, versions=(b"1.99", b"2.0"))
        assert reader.feed(b"SSH-1.99-x\n") == (b"SSH-1.99-x", b"")

    def test_aClientTakes199(self) -> None:
        assert read(b"SSH-1.99-x\n", isClient=True) == (b"SSH-1.99-x", b"")


class TestLinesBefore:
    def test_aClientPassesThemOver(self) -> None:
        reader = IdentificationReader(True)
        assert reader.feed(b"Welcome\r\n\nS\nSSH\n ssh-2\n" + GOOD + b"\r\nrest") == (GOOD, b"rest")
        assert reader.earlierLines == 5

    def test_aServerDoesNotWaitForTheirEnd(self) -> None:
        for start in (b"G", b"\n", b"ssh-2.0", b"SSH2", b" SSH-2.0-x"):
            with pytest.raises(VersionViolation):
                read(start)

    def test_aServerWaitsWhereItStillCanBeOne(self) -> None:
        for start in (b"", b"S", b"SS", b"SSH", b"SSH-", b"SSH-2.0-x"):
            assert read(start) == (None, b"")


STREAMS = st.one_of(
    st.binary(max_size=600),
    st.lists(
        st.sampled_from([b"SSH-", b"2.0", b"-", b"x", b"\r", b"\n", b"1.99", b" ", b"\x00", b"y"]),
        max_size=14,
    ).map(b"".join),
)


class TestPieces:
    @given(stream=STREAMS, isClient=st.booleans(), sizes=st.lists(st.integers(1, 9)))
    def test_theyDoNotMatter(self, stream: bytes, isClient: bool, sizes: list[int]) -> None:
        whole = self.outcome([stream], isClient)
        pieces, start = [], 0
        for size in sizes:
            pieces.append(stream[start : start + size])
            start += size
        assert self.outcome([*pieces, stream[start:]], isClient) == whole

    def outcome(self, pieces: list[bytes], isClient: bool) -> object:
        reader = IdentificationReader(isClient)
        line: bytes | None = None
        rest = b""
        for piece in pieces:
            if line is not None:
                rest += piece
                continue
            try:
                line, rest = reader.feed(piece)
            except ProtocolViolation as error:
                return type(error)
        return line, rest
