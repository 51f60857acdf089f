"""attacks.md, V2 to V4: one peer's flood leaves the others their turns, and ends when it ends."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import Portal
from twisted.internet import defer
from zope.interface import implementer

from limpet.ssh.transport.stream import MAX_UNREAD_OUTPUT, MESSAGES_PER_TURN
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32
from tests.pair.attacker import Attacker
from tests.pair.stack import Realm, makeFactory


def flood(attacker: Attacker, count: int) -> bytes:
    """`count` of the smallest messages that are answered, as one piece."""
    for number in range(count):
        attacker.send(n.MSG_PING, NS(b"%d" % number))
    data = bytes(attacker.clientTransport.written)
    attacker.clientTransport.written.clear()
    return data


def test_V4_oneReadIsHandledInTurns() -> None:
    attacker = Attacker().login()
    count = 3 * MESSAGES_PER_TURN + 7
    server = attacker.server
    answered = []
    beginTurn = server._beginTurn

    def observe() -> None:
        answered.append(server.outgoingPacketSequence - before)
        assert not attacker.serverTransport.reading
        beginTurn()

    server._beginTurn = observe
    before = server.outgoingPacketSequence
    server.dataReceived(flood(attacker, count))
    # Twisted's Clock runs what is due at once in a single advance; a reactor, one per turn.
    assert server.outgoingPacketSequence - before == MESSAGES_PER_TURN
    attacker.clock.advance(0)
    assert answered == [turn * MESSAGES_PER_TURN for turn in (1, 2, 3)]
    assert server.outgoingPacketSequence - before == count
    assert attacker.serverTransport.reading
    attacker.pump()
    # All of it, and in order.
    assert attacker.take() == [(n.MSG_PONG, NS(b"%d" % at)) for at in range(count)]


def test_V4_withoutAClockAllIsHandledAtOnce() -> None:
    attacker = Attacker().login()
    attacker.server.clock = None
    count = 2 * MESSAGES_PER_TURN + 7
    attacker.server.dataReceived(flood(attacker, count))
    assert attacker.serverTransport.reading
    attacker.pump()
    assert len(attacker.take()) == count


def test_V6_turnThatIsDueDoesNotOutliveItsConnection() -> None:
    attacker = Attacker().login()
    attacker.server.dataReceived(flood(attacker, 2 * MESSAGES_PER_TURN))
    before = attacker.server.outgoingPacketSequence
    attacker.cut()
    assert attacker.clock.getDelayedCalls() == []
    attacker.clock.advance(0)
    assert attacker.server.outgoingPacketSequence == before


def test_B14_violationInALaterTurnEndsTheRest() -> None:
    attacker = Attacker().login()
    data = flood(attacker, MESSAGES_PER_TURN + 1)
    attacker.send(n.MSG_USERAUTH_SUCCESS)
    attacker.send(n.MSG_PING, NS(b"late"))
    attacker.server.dataReceived(data + bytes(attacker.clientTransport.written))
    attacker.clientTransport.written.clear()
    attacker.pump()
    assert attacker.numbers().count(n.MSG_PONG) == MESSAGES_PER_TURN + 1
    assert attacker.disconnect()[0] == 2


def test_B11_turnsDoNotReadFromAPeerThatDoesNotRead() -> None:
    attacker = Attacker().login()
    attacker.serverTransport.full = True
    body = NS(bytes(30_000))
    for _ in range(MAX_UNREAD_OUTPUT // 30_000 + 8):
        attacker.send(n.MSG_PING, body)
    for _ in range(2 * MESSAGES_PER_TURN):
        attacker.send(n.MSG_IGNORE, NS(b""))
    attacker.carryToServer()
    assert attacker.server.timers.isPending("stall")
    for _ in range(4):
        assert not attacker.serverTransport.reading
        attacker.clock.advance(0)
    attacker.clock.advance(attacker.server.stallSeconds)
    assert attacker.serverTransport.aborted


# ── What comes too late ───────────────────────────────────────────────────────────────────────


@implementer(ICredentialsChecker)
class Slow:
    """Says yes when the test says so."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[tuple[defer.Deferred[Any], bytes]] = []

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        answer: defer.Deferred[Any] = defer.Deferred()
        self.asked.append((answer, credentials.username))
        return answer

    def sayYes(self) -> None:
        for answer, username in self.asked:
            if not answer.called:
                answer.callback(username)


@pytest.mark.parametrize("end", ["violation", "disconnect", "damage", "goodbye"])
def test_E7_loginThatIsDecidedAfterTheEndIsNone(end: str) -> None:
    factory = makeFactory()
    slow = Slow()
    factory.portal = Portal(Realm(), [slow])
    attacker = Attacker(factory)
    attacker.service()
    attacker.password()
    if end == "violation":
        attacker.send(n.MSG_USERAUTH_SUCCESS)
    elif end == "disconnect":
        attacker.send(n.MSG_DISCONNECT, u32(11) + NS(b"") + NS(b""))
    elif end == "damage":
        attacker.clientTransport.write(bytes(64))
    attacker.carryToServer()
    if end == "goodbye":
        attacker.server.loseConnection()
    assert len(slow.asked) == 1
    # The connection still exists: its last words are on their way.
    assert attacker.serverTransport.lost
    assert not attacker.ended
    slow.sayYes()
    assert getattr(attacker.server, "avatar", None) is None
    assert [avatar.loggedOut for avatar in attacker.avatars] == [1] * len(attacker.avatars)
    assert attacker.server.service.name == b"ssh-userauth"
    attacker.pump()
    assert n.MSG_USERAUTH_SUCCESS not in attacker.numbers()
    assert attacker.clock.getDelayedCalls() == []
