"""attacks.md, A2, B11 and E18: who is slow, says nothing, or does not read, at every stage."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from limpet.core.packets import PacketSender
from limpet.ssh.transport.stream import MAX_UNREAD_OUTPUT
from limpet.testing import MemoryTransport
from limpet.wire import numbers as n
from limpet.wire.fields import NS, boolean
from limpet.wire.messages import KexInit
from tests.pair.attacker import Attacker
from tests.pair.stack import makeFactory

GRACE = 60.0
"""What a server gives a login, in seconds; nothing prolongs it."""

VERSION = b"SSH-2.0-slow\r\n"
KEXINIT = KexInit(
    bytes(16),
    (b"curve25519-sha256",),
    (b"ssh-ed25519",),
    *((b"aes128-ctr",),) * 2,
    *((b"hmac-sha2-256",),) * 2,
    *((b"none",),) * 2,
)


class Alone:
    """A server, and a client that is bytes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.server: Any = makeFactory().buildProtocol(None)
        self.transport = MemoryTransport("server", self.clock, 22)
        self.server.makeConnection(self.transport)

    def drip(self, data: bytes, seconds: float) -> None:
        """A byte every so many seconds, until the time for a login is all but over."""
        at = 0
        while self.clock.seconds() + seconds < GRACE:
            self.clock.advance(seconds)
            self.server.dataReceived(data[at : at + 1])
            at += 1
            assert not self.transport.aborted
        assert at < len(data)

    def assertOverInTime(self) -> None:
        self.clock.advance(GRACE - self.clock.seconds() - 0.01)
        assert not self.transport.aborted
        self.clock.advance(0.01)
        assert self.transport.aborted
        self.server.connectionLost()
        assert self.clock.getDelayedCalls() == []


def plain(message: int, body: bytes) -> bytes:
    return PacketSender().pack(message, body)


@pytest.mark.parametrize("seconds", [10.0, 1.0])
def test_A2_a_byte_at_a_time_of_the_identification(seconds: float) -> None:
    alone = Alone()
    alone.drip(b"SSH-2.0-" + b"s" * 100, seconds)
    alone.assertOverInTime()


@pytest.mark.parametrize("seconds", [10.0, 1.0])
def test_A2_a_byte_at_a_time_of_the_kexinit(seconds: float) -> None:
    alone = Alone()
    alone.server.dataReceived(VERSION)
    alone.drip(plain(n.MSG_KEXINIT, KEXINIT.encode()), seconds)
    alone.assertOverInTime()


@pytest.mark.parametrize("seconds", [10.0, 1.0])
def test_A2_a_byte_at_a_time_of_the_exchange(seconds: float) -> None:
    alone = Alone()
    sender = PacketSender()
    alone.server.dataReceived(VERSION + sender.pack(n.MSG_KEXINIT, KEXINIT.encode()))
    alone.drip(sender.pack(n.MSG_KEX_ECDH_INIT, NS(bytes(3000))), seconds)
    alone.assertOverInTime()


@pytest.mark.parametrize("stage", ["new keys", "service", "query", "password", "partial packet"])
def test_A2_E18_the_time_is_over_at_each_stage_of_a_login(stage: str) -> None:
    """And nothing comes of what was under way."""
    attacker = Attacker()
    if stage != "new keys":
        attacker.service()
        attacker.pump()
    if stage == "query":
        attacker.request(b"none")
        attacker.pump()
    elif stage == "password":
        attacker.password(b"wrong")
        attacker.carryToServer()
    elif stage == "partial packet":
        attacker.password()
        written = attacker.clientTransport.written
        attacker.server.dataReceived(bytes(written[:-1]))
        written.clear()
    attacker.clock.advance(GRACE - attacker.clock.seconds() - 0.01)
    assert not attacker.serverTransport.aborted
    attacker.clock.advance(0.01)
    assert attacker.serverTransport.aborted
    assert attacker.avatars == []
    attacker.pump()
    attacker.clock.advance(GRACE)
    assert attacker.avatars == []
    assert attacker.clock.getDelayedCalls() == []


def test_A2_whoever_is_logged_in_may_be_silent() -> None:
    attacker = Attacker().login()
    attacker.clock.advance(10 * GRACE)
    assert not attacker.serverTransport.aborted


# ── B11 ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stage", ["new keys", "service"])
def test_B11_no_pong_before_the_login(stage: str) -> None:
    attacker = Attacker()
    if stage == "service":
        attacker.service()
    attacker.send(n.MSG_PING, NS(b"x"))
    attacker.pump()
    assert n.MSG_PONG not in attacker.numbers()
    assert attacker.disconnect()[0] == n.DISCONNECT_PROTOCOL_ERROR


def test_B11_no_pong_within_a_key_exchange() -> None:
    attacker = Attacker().login()
    attacker.client.sendKexInit()
    attacker.send(n.MSG_PING, NS(b"x"))
    attacker.pump()
    assert n.MSG_PONG not in attacker.numbers()
    assert attacker.disconnect()[0] == n.DISCONNECT_PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (n.MSG_PING, NS(bytes(1000))),
        (n.MSG_GLOBAL_REQUEST, NS(b"unknown@example") + boolean(True)),
        (n.MSG_CHANNEL_OPEN, NS(b"unknown@example") + bytes(12)),
    ],
    ids=["ping", "global request", "channel open"],
)
def test_B11_answers_that_nobody_reads_are_bounded(number: int, body: bytes) -> None:
    attacker = Attacker().login()
    transport = attacker.serverTransport
    transport.full = True
    for _ in range(100):
        for _ in range(1000):
            attacker.send(number, body)
        attacker.carryToServer()
        attacker.clock.advance(0)
        if not transport.reading:
            break
    assert not transport.reading
    assert len(transport.written) < 2 * MAX_UNREAD_OUTPUT
    attacker.clock.advance(attacker.server.stallSeconds)
    assert transport.aborted
