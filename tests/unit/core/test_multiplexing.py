"""Messages of programs that share a connection: their bytes, and answers that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core import multiplexing
from limpet.core.multiplexing import Reply, SessionWish, parseHello, parseReply
from limpet.core.sshconfig import parseForward
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader, u32


class TestRequests:
    def test_the_greeting(self) -> None:
        assert parseHello(multiplexing.hello()) == multiplexing.VERSION
        # Extensions may follow, and none is known.
        assert parseHello(multiplexing.hello() + NS(b"info") + NS(b"0")) == multiplexing.VERSION
        with pytest.raises(WireError, match="greeting"):
            parseHello(u32(multiplexing.OK) + u32(4))

    def test_a_session(self) -> None:
        wish = SessionWish(b"ls", True, False, True, 126, b"xterm", (b"A=1", b"B=2"))
        reader = Reader(multiplexing.newSession(7, wish))
        assert [reader.u32() for _ in range(2)] == [multiplexing.NEW_SESSION, 7]
        assert reader.string() == b""
        assert [reader.u32() for _ in range(5)] == [1, 0, 0, 1, 126]
        assert [reader.string() for _ in range(4)] == [b"xterm", b"ls", b"A=1", b"B=2"]
        reader.end()

    def test_a_connection(self) -> None:
        reader = Reader(multiplexing.newStdioForward(3, b"web", 80))
        assert [reader.u32() for _ in range(2)] == [multiplexing.NEW_STDIO_FORWARD, 3]
        assert [reader.string() for _ in range(3)] == [b"", b"web", b"80"]
        reader.end()

    @pytest.mark.parametrize(
        ("letter", "text", "fields"),
        [
            ("L", "80:web:81", (1, b"", 80, b"web", 81)),
            ("L", ":80:web:81", (1, b"*", 80, b"web", 81)),
            ("R", "a:80:web:81", (2, b"a", 80, b"web", 81)),
            ("R", "/s:/t", (2, b"/s", 0xFFFFFFFE, b"/t", 0xFFFFFFFE)),
            ("D", "1080", (3, b"", 1080, b"", 0)),
        ],
    )
    def test_a_forwarding(
        self, letter: str, text: str, fields: tuple[int, bytes, int, bytes, int]
    ) -> None:
        spec = parseForward(text, dynamic=letter == "D")
        reader = Reader(multiplexing.forward(multiplexing.OPEN_FORWARD, 9, letter, spec))
        assert [reader.u32(), reader.u32()] == [multiplexing.OPEN_FORWARD, 9]
        found = (reader.u32(), reader.string(), reader.u32(), reader.string(), reader.u32())
        assert found == fields
        reader.end()


class TestAnswers:
    @pytest.mark.parametrize(
        ("message", "reply"),
        [
            (u32(0x80000001) + u32(5), Reply(multiplexing.OK, 5)),
            (u32(0x80000003) + u32(5) + NS(b"no"), Reply(multiplexing.FAILURE, 5, 0, b"no")),
            (u32(0x80000004) + u32(2) + u32(255), Reply(multiplexing.EXIT_MESSAGE, 2, 255)),
            (u32(0x80000008) + u32(2), Reply(multiplexing.TTY_ALLOC_FAIL, 2)),
        ],
    )
    def test_what_they_say(self, message: bytes, reply: Reply) -> None:
        assert parseReply(message) == reply

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            u32(0x80000001),
            u32(0x80000001) + u32(5) + b"\0",
            u32(0x80000006) + u32(5),
            u32(0x80000002) + u32(5) + u32(9) + b"short",
            u32(0x8000000F) + u32(5),
            u32(multiplexing.NEW_SESSION) + u32(5),
        ],
    )
    def test_what_is_none(self, message: bytes) -> None:
        with pytest.raises(WireError):
            parseReply(message)

    @given(st.binary(max_size=40))
    def test_anything(self, data: bytes) -> None:
        for read in (parseReply, parseHello):
            try:
                read(data)
            except WireError:
                continue
