"""Messages of programs that share a connection: their bytes, and answers that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core import multiplexing
from limpet.core.multiplexing import (
    Reply,
    Request,
    SessionWish,
    Target,
    parseHello,
    parseReply,
    parseRequest,
)
from limpet.core.sshconfig import ForwardSpec, parseForward
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
        assert [reader.string() for _ in range(2)] == [b"", b"web"]
        # PROTOCOL.mux says that it were a string; OpenSSH reads a number.
        assert reader.u32() == 80
        reader.end()

    @pytest.mark.parametrize(
        ("letter", "text", "fields"),
        [
            ("L", "80:web:81", (1, b"", 80, b"web", 81)),
            ("L", ":80:web:81", (1, b"*", 80, b"web", 81)),
            ("R", "a:80:web:81", (2, b"a", 80, b"web", 81)),
            ("R", "/s:/t", (2, b"/s", 0xFFFFFFFE, b"/t", 0xFFFFFFFE)),
            ("D", "1080", (3, b"", 1080, b"socks", 0)),
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
        for read in (parseReply, parseHello, parseRequest):
            try:
                read(data)
            except WireError:
                continue

    def test_a_master_says_them(self) -> None:
        for said, reply in (
            (multiplexing.reply(multiplexing.OK, 5), Reply(multiplexing.OK, 5)),
            (multiplexing.reply(multiplexing.ALIVE, 5, 77), Reply(multiplexing.ALIVE, 5, 77)),
            (
                multiplexing.refusal(multiplexing.FAILURE, 6, "no\udc80"),
                Reply(multiplexing.FAILURE, 6, 0, b"no\\udc80"),
            ),
        ):
            assert parseReply(said) == reply


NEW = multiplexing.NEW_SESSION
OPEN = multiplexing.OPEN_FORWARD


class TestWhatAMasterReads:
    """What a client's side says, read by a master's."""

    def test_a_session(self) -> None:
        wish = SessionWish(b"ls", True, True, True, 126, b"xterm", (b"A=1", b"B=2"))
        found = parseRequest(multiplexing.newSession(7, wish))
        assert found == Request(NEW, 7, session=wish)
        assert found.descriptors == 3
        assert parseRequest(multiplexing.newSession(7, SessionWish())).session == SessionWish()

    def test_a_connection(self) -> None:
        found = parseRequest(multiplexing.newStdioForward(3, b"web", 80))
        assert found.target == Target(b"web", 80)
        assert found.descriptors == 2
        path = u32(multiplexing.NEW_STDIO_FORWARD) + u32(3) + NS(b"") + NS(b"/s") + u32(0xFFFFFFFE)
        assert parseRequest(path).target == Target(path=b"/s")

    @pytest.mark.parametrize("kind", [0x10000004, 0x10000005, 0x10000009, 0x1000000F])
    def test_what_says_nothing_more(self, kind: int) -> None:
        assert parseRequest(multiplexing.request(kind, 3)) == Request(kind, 3)

    def test_what_is_not_known_has_a_number(self) -> None:
        assert parseRequest(u32(0x20000001) + u32(3) + b"more") == Request(0x20000001, 3)

    @pytest.mark.parametrize(
        ("letter", "text"),
        [
            ("L", "80:web:81"),
            ("L", "[::1]:80:web:81"),
            ("L", "/s:web:81"),
            ("R", "a:80:web:81"),
            ("R", "/s:/t"),
            ("R", "0:web:81"),
            ("R", "1080"),
            ("D", "1080"),
            ("D", "127.0.0.1:1080"),
        ],
    )
    def test_a_forwarding(self, letter: str, text: str) -> None:
        spec = parseForward(text, dynamic=letter == "D", remote=letter == "R")
        found = parseRequest(multiplexing.forward(OPEN, 9, letter, spec))
        assert found == Request(OPEN, 9, letter=letter, spec=spec)

    def test_every_address_has_a_name(self) -> None:
        spec = parseForward(":80:web:81")
        assert parseRequest(multiplexing.forward(OPEN, 9, "L", spec)).spec == ForwardSpec(
            "*", 80, "web", 81
        )

    @pytest.mark.parametrize(
        "message",
        [
            u32(NEW),
            u32(NEW) + u32(5),
            multiplexing.hello(),
            multiplexing.request(multiplexing.ALIVE_CHECK, 1) + b"x",
            multiplexing.newSession(1, SessionWish()) + b"\0\0\0\x09short",
            multiplexing.newSession(1, SessionWish(environment=(b"",) * 4097)),
            multiplexing.newStdioForward(3, b"web", 0),
            multiplexing.newStdioForward(3, b"web", 70000),
            multiplexing.newStdioForward(3, b"", 80),
            u32(OPEN) + u32(9) + u32(4) + (NS(b"") + u32(80)) * 2,
            u32(OPEN) + u32(9) + u32(1) + NS(b"") + u32(80) + NS(b"web") + u32(0),
            u32(OPEN) + u32(9) + u32(1) + NS(b"") + u32(80) + NS(b"") + u32(80),
            u32(OPEN) + u32(9) + u32(1) + NS(b"") + u32(65536) + NS(b"web") + u32(80),
            u32(OPEN) + u32(9) + u32(1) + NS(b"") + u32(0xFFFFFFFE) + NS(b"web") + u32(80),
            u32(OPEN) + u32(9) + u32(1) + NS(b"a\0b") + u32(80) + NS(b"web") + u32(80),
            u32(OPEN) + u32(9) + u32(1) + NS(b"\xff") + u32(80) + NS(b"web") + u32(80),
        ],
    )
    def test_what_is_none(self, message: bytes) -> None:
        with pytest.raises(WireError):
            parseRequest(message)
