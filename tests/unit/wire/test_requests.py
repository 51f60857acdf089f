"""`limpet.wire.requests`: bodies of requests, against bytes written by hand from the RFC."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.wire.errors import BadField, TrailingBytes, Truncated, WireError
from limpet.wire.requests import (
    MAX_TERMINAL_MODES,
    BreakRequest,
    Command,
    Environment,
    ExitSignal,
    ExitStatus,
    PtyRequest,
    SignalRequest,
    TcpForward,
    TcpListen,
    UnixForward,
    UnixForwarded,
    UnixListen,
    WindowChange,
    X11Request,
    packModes,
    parseModes,
)

EXAMPLES: list[tuple[Any, bytes]] = [
    (
        PtyRequest(b"xterm", (24, 80, 640, 480), ((53, 1), (128, 38400))),
        b"\0\0\0\x05xterm"
        b"\0\0\0\x50\0\0\0\x18\0\0\x02\x80\0\0\x01\xe0"
        b"\0\0\0\x0b\x35\0\0\0\x01\x80\0\0\x96\0\0",
    ),
    (WindowChange((24, 80, 640, 480)), b"\0\0\0\x50\0\0\0\x18\0\0\x02\x80\0\0\x01\xe0"),
    (Environment(b"LANG", b"C"), b"\0\0\0\x04LANG\0\0\0\x01C"),
    (Command(b"ls -l"), b"\0\0\0\x05ls -l"),
    (ExitStatus(2**32 - 1), b"\xff\xff\xff\xff"),
    (
        ExitSignal(b"TERM", True, b"bye", b"en"),
        b"\0\0\0\x04TERM\x01\0\0\0\x03bye\0\0\0\x02en",
    ),
    (SignalRequest(b"INT"), b"\0\0\0\x03INT"),
    (BreakRequest(500), b"\0\0\x01\xf4"),
    (
        TcpForward(b"host", 80, b"::1", 1024),
        b"\0\0\0\x04host\0\0\0\x50\0\0\0\x03::1\0\0\x04\0",
    ),
    (TcpListen(b"", 0), b"\0\0\0\0\0\0\0\0"),
    (UnixForward(b"/s", b"h", 1), b"\0\0\0\x02/s\0\0\0\x01h\0\0\0\x01"),
    (UnixForwarded(b"/s"), b"\0\0\0\x02/s\0\0\0\0"),
    (UnixListen(b"/s"), b"\0\0\0\x02/s"),
    (X11Request(True, b"p", b"c", 2), b"\x01\0\0\0\x01p\0\0\0\x01c\0\0\0\x02"),
]


@pytest.mark.parametrize(("body", "encoded"), EXAMPLES, ids=lambda value: type(value).__name__)
class TestBodies:
    def test_encode(self, body: Any, encoded: bytes) -> None:
        assert body.encode() == encoded

    def test_decode(self, body: Any, encoded: bytes) -> None:
        assert type(body).decode(encoded) == body

    def test_every_truncation_is_seen(self, body: Any, encoded: bytes) -> None:
        for length in range(len(encoded)):
            with pytest.raises(WireError):
                type(body).decode(encoded[:length])

    def test_a_trailing_byte_is_seen(self, body: Any, encoded: bytes) -> None:
        with pytest.raises(TrailingBytes):
            type(body).decode(encoded + b"\0")


class TestModes:
    def test_a_lone_end_is_nothing(self) -> None:
        assert parseModes(b"\0") == []
        assert parseModes(b"") == []

    def test_reading_stops_at_the_end(self) -> None:
        assert parseModes(struct.pack(">BLB", 3, 8, 0) + b"anything") == [(3, 8)]

    def test_reading_stops_at_an_undefined_opcode(self) -> None:
        assert parseModes(struct.pack(">BLB", 3, 8, 160) + b"\1") == [(3, 8)]

    def test_no_end_is_needed(self) -> None:
        assert parseModes(struct.pack(">BL", 159, 7)) == [(159, 7)]

    def test_a_mode_that_ends_early(self) -> None:
        with pytest.raises(Truncated):
            parseModes(struct.pack(">BL", 3, 8)[:-1])

    def test_too_many(self) -> None:
        mode = struct.pack(">BL", 3, 8)
        assert len(parseModes(mode * MAX_TERMINAL_MODES)) == MAX_TERMINAL_MODES
        with pytest.raises(BadField):
            parseModes(mode * (MAX_TERMINAL_MODES + 1))

    @given(st.lists(st.tuples(st.integers(1, 159), st.integers(0, 2**32 - 1)), max_size=50))
    def test_any_modes_come_back(self, modes: list[tuple[int, int]]) -> None:
        assert parseModes(packModes(modes)) == modes


@given(st.binary(max_size=200))
def test_no_bytes_make_a_decoder_raise_anything_else(data: bytes) -> None:
    for body, _ in EXAMPLES:
        try:
            again = type(body).decode(data)
        except WireError:
            continue
        assert type(body).decode(again.encode()) == again


def test_a_cookie_of_X11_is_not_shown() -> None:
    assert "secret" not in repr(X11Request(False, b"MIT-MAGIC-COOKIE-1", b"secret"))
