"""The server's side of SOCKS."""

from __future__ import annotations

import pytest

from limpet.core.socks import MAX_REQUEST, SocksError, SocksNegotiation, Target

GREETING = b"\5\1\0"
NAME = b"\5\1\0\3\x0bexample.org\0\x50"


def negotiated(data: bytes, pieces: int = 0) -> tuple[bytes, Target | None, bytes]:
    """Answer, target and rest, when `data` comes in pieces of a size (0: at once)."""
    negotiation = SocksNegotiation()
    answers, found = b"", None
    step = pieces or len(data)
    for at in range(0, len(data), step):
        if found is not None:
            negotiation.rest += data[at : at + step]
            continue
        answer, found = negotiation.feed(data[at : at + step])
        answers += answer
    return answers, found, negotiation.rest


@pytest.mark.parametrize("pieces", [0, 1, 3])
@pytest.mark.parametrize(
    ("data", "answer", "target"),
    [
        (b"\4\1\0\x50\x7f\0\0\1user\0", b"", Target(b"127.0.0.1", 80)),
        (b"\4\1\0\x50\0\0\0\1user\0example.org\0", b"", Target(b"example.org", 80)),
        (GREETING + NAME, b"\5\0", Target(b"example.org", 80)),
        (b"\5\2\2\0" + NAME, b"\5\0", Target(b"example.org", 80)),
        (GREETING + b"\5\1\0\1\x7f\0\0\1\1\xbb", b"\5\0", Target(b"127.0.0.1", 443)),
        (GREETING + b"\5\1\0\4" + bytes(15) + b"\1\0\x16", b"\5\0", Target(b"::1", 22)),
    ],
)
def test_requests(data: bytes, answer: bytes, target: Target, pieces: int) -> None:
    assert negotiated(data + b"GET /", pieces) == (answer, target, b"GET /")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\5\1\2",
        b"\5\0",
        b"\4\2\0\x50\x7f\0\0\1\0",
        GREETING + b"\5\2\0\1" + bytes(6),
        GREETING + b"\5\1\0\2" + bytes(6),
        GREETING + b"\4\1\0\1" + bytes(6),
        b"\4\1\0\x50\x7f\0\0\1" + b"u" * MAX_REQUEST,
        b"\4\1\0\x50\0\0\0\1\0" + b"h" * MAX_REQUEST,
    ],
)
@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_what_cannot_be_served(data: bytes, pieces: int) -> None:
    with pytest.raises(SocksError):
        negotiated(data, pieces)


def test_answers() -> None:
    four, five = SocksNegotiation(), SocksNegotiation()
    four.feed(b"\4\1\0\x50\x7f\0\0\1\0")
    five.feed(GREETING + NAME)
    assert four.granted() == b"\0\x5a" + bytes(6)
    assert four.refused(2) == b"\0\x5b" + bytes(6)
    assert five.granted() == b"\5\0\0\1" + bytes(6)
    assert [five.refused(reason)[1] for reason in (1, 2, 4)] == [2, 5, 1]


def test_nothing_yet() -> None:
    assert SocksNegotiation().feed(b"") == (b"", None)
