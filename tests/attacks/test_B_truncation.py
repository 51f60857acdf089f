"""attacks.md, B13 and M6: every message of a client's cut short, lengthened, with absurd lengths.

A whole server answers each of them; what must never happen is an error that nobody foresaw, and a
program that nobody asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from limpet.core.authentication import PublicKeyFields, encodePublicKey
from limpet.ssh.keys import Key
from limpet.wire import numbers as n
from limpet.wire.fields import NS, Reader, u32
from tests.pair.attacker import Attacker

KEY = Key.generate("ed25519")
_REQUEST = NS(b"alice") + NS(b"ssh-connection")
_CHANNEL = u32(0)
_REASONS = {2, 3, 7, 11, 14}

BEFORE_LOGIN = {
    "disconnect": (n.MSG_DISCONNECT, u32(11) + NS(b"bye") + NS(b"")),
    "ignore": (n.MSG_IGNORE, NS(b"abc")),
    "unimplemented": (n.MSG_UNIMPLEMENTED, u32(3)),
    "debug": (n.MSG_DEBUG, b"\1" + NS(b"abc") + NS(b"")),
    "none": (n.MSG_USERAUTH_REQUEST, _REQUEST + NS(b"none")),
    "password": (n.MSG_USERAUTH_REQUEST, _REQUEST + NS(b"password") + b"\0" + NS(b"wrong")),
    "change": (
        n.MSG_USERAUTH_REQUEST,
        _REQUEST + NS(b"password") + b"\1" + NS(b"old") + NS(b"new"),
    ),
    "publickey": (
        n.MSG_USERAUTH_REQUEST,
        _REQUEST
        + NS(b"publickey")
        + encodePublicKey(PublicKeyFields(b"ssh-ed25519", KEY.public().blob(), KEY.sign(b"x"))),
    ),
    "interactive": (
        n.MSG_USERAUTH_REQUEST,
        _REQUEST + NS(b"keyboard-interactive") + NS(b"") + NS(b"x"),
    ),
    "answers": (n.MSG_USERAUTH_INFO_RESPONSE, u32(1) + NS(b"x")),
    "service": (n.MSG_SERVICE_REQUEST, NS(b"ssh-userauth")),
}

AFTER_LOGIN = {
    "global": (n.MSG_GLOBAL_REQUEST, NS(b"tcpip-forward") + b"\1" + NS(b"") + u32(0)),
    "open": (
        n.MSG_CHANNEL_OPEN,
        NS(b"session") + struct.pack(">3L", 3, 1 << 20, 32768),
    ),
    "adjust": (n.MSG_CHANNEL_WINDOW_ADJUST, _CHANNEL + u32(1)),
    "data": (n.MSG_CHANNEL_DATA, _CHANNEL + NS(b"abc")),
    "extended": (n.MSG_CHANNEL_EXTENDED_DATA, _CHANNEL + u32(1) + NS(b"abc")),
    "eof": (n.MSG_CHANNEL_EOF, _CHANNEL),
    "close": (n.MSG_CHANNEL_CLOSE, _CHANNEL),
    "success": (n.MSG_CHANNEL_SUCCESS, _CHANNEL),
    "pty": (
        n.MSG_CHANNEL_REQUEST,
        _CHANNEL
        + NS(b"pty-req")
        + b"\1"
        + NS(b"x")
        + struct.pack(">4L", 1, 1, 1, 1)
        + NS(b"\1\0\0\0\3\0"),
    ),
    "ping": (n.MSG_PING, NS(b"abc")),
}


@pytest.fixture
def surprises() -> Iterator[list[Any]]:
    """What was logged as an error."""
    kept: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] >= LogLevel.error:
            kept.append(event)

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    yield kept
    globalLogPublisher.removeObserver(observer)


def variants(payload: bytes) -> Iterator[bytes]:
    """Each beginning of it, one byte more, and each four bytes of it as a length of 4 GiB."""
    for end in range(len(payload)):
        yield payload[:end]
    yield payload + b"\0"
    for at in range(len(payload) - 3):
        yield payload[:at] + b"\xff\xff\xff\xff" + payload[at + 4 :]


def assertForeseen(attacker: Attacker, number: int, variant: bytes) -> None:
    """The connection lives, or ended with words that say what is wrong."""
    attacker.run(2)
    if not attacker.ended:
        return
    said = [payload for heard, payload in attacker.take() if heard == n.MSG_DISCONNECT]
    for payload in said:
        reader = Reader(payload)
        assert reader.u32() in _REASONS, variant
        assert reader.string() != b"internal error", variant
    assert said or number == n.MSG_DISCONNECT, variant


@pytest.mark.parametrize("name", BEFORE_LOGIN)
def test_B13_messagesBeforeALogin(name: str, surprises: list[Any]) -> None:
    number, payload = BEFORE_LOGIN[name]
    attacker: Attacker | None = None
    for variant in variants(payload):
        if attacker is None or attacker.ended:
            attacker = Attacker()
            attacker.service()
            attacker.pump()
        attacker.send(number, variant)
        assertForeseen(attacker, number, variant)
        assert attacker.avatars == []
    assert surprises == []


@pytest.mark.parametrize("name", AFTER_LOGIN)
def test_B13_messagesAfterALogin(name: str, surprises: list[Any]) -> None:
    number, payload = AFTER_LOGIN[name]
    for variant in variants(payload):
        attacker = Attacker().login()
        attacker.open()
        attacker.pump()
        attacker.send(number, variant)
        assertForeseen(attacker, number, variant)
        assert attacker.avatars[0].programs == []
    # That a channel is refused is an error in the log, and meant so.
    assert [e for e in surprises if "not opened" not in e.get("log_format", "")] == []


def test_B13_everyTruncationOfAKeyExchange(surprises: list[Any]) -> None:
    sent: list[tuple[int, bytes]] = []
    whole = Attacker()
    sendNow = whole.client._sendNow

    def keep(number: int, payload: bytes, data: bytes = b"") -> None:
        sent.append((number, payload + data))
        sendNow(number, payload, data)

    # A second exchange of keys shows what the first one consists of.
    whole.login()
    whole.client._sendNow = keep  # type: ignore[method-assign, assignment]
    whole.client.sendKexInit()
    whole.pump()
    assert [number for number, _ in sent] == [n.MSG_KEXINIT, 30, n.MSG_NEWKEYS]
    for number, payload in sent[:2]:
        for end in range(0, len(payload), 7):
            attacker = Attacker().login()
            if number == 30:
                attacker.send(*sent[0])
            attacker.send(number, payload[:end])
            attacker.pump()
            assert attacker.server.violation is not None, (number, end)
    assert surprises == []


@pytest.mark.parametrize("field", ["method", "service", "user", "name", "environment"])
@pytest.mark.parametrize(
    "text", ["١٢", "1_0", " 7 ", "\u2028", "\x85", "%d%s{}", "ﬁ", "\ud800"], ids=range(8)
)
def test_M6_textsAreBytes(field: str, text: str, surprises: list[Any]) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    attacker = Attacker()
    attacker.service()
    if field in ("method", "service", "user"):
        values = {"user": b"alice", "to": b"ssh-connection", "method": b"none"}
        values[{"service": "to"}.get(field, field)] = raw
        attacker.request(**values)
        attacker.run(2)
        assert attacker.numbers()[-1] in (n.MSG_USERAUTH_FAILURE, n.MSG_DISCONNECT)
    else:
        attacker.password()
        attacker.open()
        if field == "name":
            attacker.ask(0, raw)
        else:
            attacker.ask(0, b"env", NS(raw) + NS(raw))
        attacker.pump()
        assert attacker.numbers()[-1] == n.MSG_CHANNEL_FAILURE
    assert surprises == []
