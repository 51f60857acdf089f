"""Group A: attacks on the identification string, as far as the reader decides them.

A2 (slow peers) is a matter of the transport's timers and stands with its tests.
"""

from __future__ import annotations

import pytest

from limpet.core.errors import LimitExceeded, ProtocolViolation, VersionViolation
from limpet.core.identification import IdentificationReader


def refused(data: bytes, isClient: bool, size: int = 1 << 20) -> ProtocolViolation:
    """What the reader says to `data`, fed in pieces of `size` bytes; it must not take all of it."""
    reader = IdentificationReader(isClient)
    for start in range(0, len(data), size):
        try:
            outcome = reader.feed(data[start : start + size])
        except ProtocolViolation as error:
            return error
        assert outcome == (None, b"")
    pytest.fail("the reader took all of it")


class TestA1UnboundedIdentification:
    @pytest.mark.parametrize("size", [1, 100, 1 << 20])
    def test_A1_server_endless_line(self, size: int) -> None:
        error = refused(b"SSH-2.0-" + b"x" * 65536, False, size)
        assert isinstance(error, LimitExceeded)

    def test_A1_server_line_of_256_bytes(self) -> None:
        assert isinstance(refused(b"SSH-2.0-" + b"x" * 246 + b"\r\n", False), LimitExceeded)
        assert isinstance(refused(b"SSH-2.0-" + b"x" * 247, False), LimitExceeded)

    def test_A1_server_takes_no_line_before(self) -> None:
        assert isinstance(refused(b"hello\r\nSSH-2.0-x\r\n", False), VersionViolation)

    def test_A1_server_keeps_nothing_of_what_it_refuses(self) -> None:
        reader = IdentificationReader(False)
        reader.feed(b"SSH-2.0-")
        for _ in range(254 - len(b"SSH-2.0-")):
            assert reader.feed(b"x") == (None, b"")
        with pytest.raises(LimitExceeded):
            reader.feed(b"x")
        assert len(reader._buffer) <= 255

    @pytest.mark.parametrize("size", [1000, 1 << 20])
    def test_A1_client_1025_lines_before(self, size: int) -> None:
        assert isinstance(refused(b"x\n" * 1025 + b"SSH-2.0-x\r\n", True, size), LimitExceeded)
        line, rest = IdentificationReader(True).feed(b"x\n" * 1024 + b"SSH-2.0-x\r\n")
        assert (line, rest) == (b"SSH-2.0-x", b"")

    def test_A1_client_line_of_8193_bytes(self) -> None:
        end = b"\r\nSSH-2.0-x\r\n"
        assert isinstance(refused(b"x" * 8191 + end, True), LimitExceeded)
        assert isinstance(refused(b"x" * 8192, True), LimitExceeded)
        assert IdentificationReader(True).feed(b"x" * 8190 + end)[0] == b"SSH-2.0-x"

    @pytest.mark.parametrize("size", [1000, 1 << 20])
    def test_A1_client_64_KiB_in_all(self, size: int) -> None:
        lines = (b"x" * 8000 + b"\n") * 8
        assert IdentificationReader(True).feed(lines + b"SSH-2.0-x\n")[0] == b"SSH-2.0-x"
        assert isinstance(refused(lines + b"x" * 1600, True, size), LimitExceeded)

    def test_A1_client_long_identification(self) -> None:
        assert isinstance(refused(b"SSH-2.0-" + b"x" * 250, True), LimitExceeded)


class TestA3VersionConfusion:
    @pytest.mark.parametrize("end", [b"\r\n", b"\n"])
    @pytest.mark.parametrize("isClient", [False, True])
    @pytest.mark.parametrize(
        "line",
        [
            b"SSH-1.5-x",
            b"SSH-2.00-x",
            b"SSH-2.0",
            b"SSH-2.0-",
            b"SSH-2.0- comment only",
            b"SSH-2-x",
            b"SSH-2.1-x",
            b"SSH-02.0-x",
            b"SSH- 2.0-x",
            b"SSH--x",
            b"SSH-",
        ],
    )
    def test_A3_other_versions(self, line: bytes, isClient: bool, end: bytes) -> None:
        error = refused(line + end, isClient)
        assert isinstance(error, VersionViolation)
        assert error.reasonCode == 8

    def test_A3_server_refuses_1_99(self) -> None:
        assert isinstance(refused(b"SSH-1.99-x\r\n", False), VersionViolation)

    def test_A3_server_refuses_http_at_its_first_byte(self) -> None:
        assert isinstance(refused(b"GET / HTTP/1.1\r\n\r\n", False, 1), VersionViolation)


class TestA4ControlBytes:
    @pytest.mark.parametrize("isClient", [False, True])
    @pytest.mark.parametrize(
        "middle",
        [
            b"\x1b]0;x\x07",
            b"\x00",
            b"a\x00b",
            b"a\rb",
            b"\r",
            b"\x7f",
            b"\x80",
            b"\xc3\xa9",
            b"a\tb",
        ],
    )
    def test_A4_control_bytes(self, middle: bytes, isClient: bool) -> None:
        error = refused(b"SSH-2.0-x" + middle + b"y\r\n", isClient)
        assert isinstance(error, VersionViolation)

    def test_A4_the_words_of_the_refusal_hold_nothing_of_the_peers(self) -> None:
        for line in (b"SSH-2.0-\x1b]0;owned\x07", b"SSH-\x1b[2J-x", b"SSH-6.6\x07-x"):
            error = refused(line + b"\r\n", False)
            assert error.description.isprintable()
            assert "owned" not in error.description


class TestA5LineEnds:
    @pytest.mark.parametrize("isClient", [False, True])
    def test_A5_only_the_line_end_is_cut_off(self, isClient: bool) -> None:
        for line, end in ((b"SSH-2.0-x", b"\n"), (b"SSH-2.0-x ", b"\r\n"), (b"SSH-2.0-x y", b"\n")):
            assert IdentificationReader(isClient).feed(line + end) == (line, b"")

    @pytest.mark.parametrize("isClient", [False, True])
    def test_A5_two_carriage_returns(self, isClient: bool) -> None:
        assert isinstance(refused(b"SSH-2.0-x\r\r\n", isClient), VersionViolation)

    @pytest.mark.parametrize("size", [1, 2, 7, 100])
    def test_A5_everything_in_one_segment(self, size: int) -> None:
        rest = b"\x00\x00\x04\xfc\x06\x14" + bytes(range(256)) + b"\nSSH-2.0-y\r\n"
        stream = b"SSH-2.0-x\r\n" + rest
        reader = IdentificationReader(False)
        for start in range(0, len(stream), size):
            line, left = reader.feed(stream[start : start + size])
            if line is not None:
                assert line == b"SSH-2.0-x"
                assert left + stream[start + size :] == rest
                return
        pytest.fail("no line")
