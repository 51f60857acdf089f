"""Attacks on the order of messages: every number in every phase, and key exchanges gone wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import defer

from limpet.core.errors import LimitExceeded
from limpet.core.packets import PacketSender
from limpet.core.phases import PHASES, Phase, Verdict
from limpet.core.rekey import RekeyPolicy
from limpet.ssh.transport import SSHClientTransport
from limpet.testing import MemoryTransport, Pair
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32
from tests.pair.test_transport import Client, Recorder, Server, connected


class Mute(SSHClientTransport):
    """A client that does nothing by itself once the connection is secure."""

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        return defer.succeed(True)


def serverAlone(**settings: Any) -> tuple[Server, MemoryTransport]:
    """A server that has only been connected to, and what it writes to."""
    from twisted.internet.task import Clock

    server = Server()
    for name, value in settings.items():
        setattr(server, name, value)
    transport = MemoryTransport("server", Clock(), 1)
    server.makeConnection(transport)
    return server, transport


def plainPacket(number: int, body: bytes = b"", sequence: int = 0) -> bytes:
    sender = PacketSender()
    sender.sequence = sequence
    return bytes(sender.pack(number, body))


def clientKexInit(**settings: Any) -> bytes:
    """A client's identification and KEXINIT as they go over the wire."""
    from twisted.internet.task import Clock

    client = Mute()
    for name, value in settings.items():
        setattr(client, name, value)
    transport = MemoryTransport("client", Clock(), 1)
    client.makeConnection(transport)
    return bytes(transport.written)


def inKexInit() -> tuple[Server, MemoryTransport]:
    server, transport = serverAlone()
    server.dataReceived(b"SSH-2.0-x\r\n")
    return server, transport


def inExchange() -> tuple[Server, MemoryTransport]:
    server, transport = serverAlone()
    server.dataReceived(clientKexInit())
    assert server.phase is Phase.EXCHANGE
    return server, transport


def inNewKeys() -> tuple[Server, MemoryTransport]:
    client, server = Client(), Server()
    client.verdict = defer.Deferred()
    pair = Pair(client, server)
    pair.pump()
    assert server.phase is Phase.NEWKEYS
    return server, pair.serverTransport


EXPECTED = {
    inKexInit: {n.MSG_DISCONNECT, n.MSG_KEXINIT},
    inExchange: {n.MSG_DISCONNECT, n.MSG_KEX_ECDH_INIT},
    inNewKeys: {n.MSG_DISCONNECT, n.MSG_NEWKEYS},
}


@pytest.mark.parametrize("body", [b"", bytes(64)], ids=["empty", "zeros"])
@pytest.mark.parametrize("state", EXPECTED, ids=lambda state: state.__name__)
def test_C2_strictKexTakesOnlyTheOneMessage(
    state: Callable[[], tuple[Server, MemoryTransport]], body: bytes
) -> None:
    for number in range(256):
        server, transport = state()
        sequence = server.incomingPacketSequence
        server.dataReceived(plainPacket(number, body, sequence))
        if number in EXPECTED[state]:
            continue
        assert transport.disconnecting, number
        assert server.violation is not None
        assert server.service is None
        # Nothing that follows is looked at, however well it is formed.
        server.dataReceived(plainPacket(n.MSG_IGNORE, NS(b""), sequence + 1))


def encrypted() -> Pair:
    pair = Pair(Mute(), Server())
    pair.pump()
    assert pair.server.phase is Phase.SERVICE
    return pair


@pytest.mark.parametrize("body", [b"", bytes(64)], ids=["empty", "zeros"])
def test_E1_beforeAuthenticationNothingOfTheConnectionIsTaken(body: bytes) -> None:
    for number in range(256):
        pair = encrypted()
        pair.client._sendNow(number, body)
        pair.pump()
        verdict = PHASES[Phase.SERVICE][False][number]
        assert pair.server.service is None, number
        if verdict is Verdict.VIOLATION:
            assert pair.server.violation is not None, number
            assert pair.server.violation.reasonCode == 2
    forbidden = PHASES[Phase.SERVICE][False]
    for number in (*range(80, 83), *range(90, 101), 50, 51, 52, 60, 61, 192, 193):
        assert forbidden[number] is Verdict.VIOLATION


def test_E2_messagesOfTheOtherRoleAreViolations() -> None:
    server = PHASES[Phase.AUTHENTICATION][False]
    for number in (51, 52, 53, 60, 6):
        assert server[number] is Verdict.VIOLATION
    client = PHASES[Phase.AUTHENTICATION][True]
    for number in (50, 61, 5):
        assert client[number] is Verdict.VIOLATION


@pytest.mark.parametrize("number", [n.MSG_EXT_INFO, n.MSG_SERVICE_REQUEST, n.MSG_USERAUTH_REQUEST])
def test_C4_nothingInjectedBeforeTheKeysSurvives(number: int) -> None:
    server, transport = inExchange()
    server.dataReceived(plainPacket(number, NS(b"ssh-userauth"), 1))
    assert server.violation is not None
    assert transport.disconnecting


def test_C1_terrapinPrefixTruncationFails() -> None:
    """An IGNORE slipped in before KEXINIT, and the first encrypted packet taken away."""
    client, server = Mute(), Server()
    pair = Pair(client, server)
    banner, _, rest = bytes(pair.clientTransport.written).partition(b"\r\n")
    pair.clientTransport.written[:] = banner + b"\r\n" + plainPacket(2, NS(b"x")) + rest
    pair.pump()
    assert server.violation is not None
    assert pair.ended


def test_C1_strictMayBeRequired() -> None:
    server, transport = serverAlone(requireStrictKeyExchange=True)
    stream = clientKexInit()
    lax = stream.replace(b"kex-strict-c-v00@openssh.com", b"kex-struct-c-v00@openssh.com")
    assert lax != stream
    server.dataReceived(lax)
    assert server.violation is not None
    assert server.violation.reasonCode == 3


def test_C1_sequenceNumbersBeginAgainAtEveryNewKeys() -> None:
    pair = connected()
    for _ in range(3):
        pair.client.sendKexInit()
        pair.pump()
        for end in (pair.client, pair.server):
            # At most the extension info and the service's start have passed since.
            assert end.incomingPacketSequence <= 1
            assert end.outgoingPacketSequence <= 1


def test_C6_newKeysTwice() -> None:
    pair = encrypted()
    pair.client._sendNow(n.MSG_NEWKEYS, b"")
    pair.pump()
    assert pair.server.violation is not None


def test_C6_newKeysWithABody() -> None:
    server, _ = inNewKeys()
    server.dataReceived(plainPacket(n.MSG_NEWKEYS, b"x", server.incomingPacketSequence))
    assert server.violation is not None


@pytest.mark.parametrize("number", [31, 33])
def test_C7_aServersMessagesSentToAServer(number: int) -> None:
    server, _ = inExchange()
    server.dataReceived(plainPacket(number, bytes(300), 1))
    assert server.violation is not None


def test_C8_secondKexInit() -> None:
    server, _ = serverAlone()
    stream = clientKexInit()
    _, _, kexInit = stream.partition(b"\r\n")
    server.dataReceived(stream + kexInit)
    assert server.violation is not None


def test_C10_dataDuringAnExchangeOfThePeers() -> None:
    pair = connected()
    pair.client.sendKexInit()
    pair.carryToServer()
    pair.client._sendNow(200, b"x")
    pair.pump()
    assert pair.server.violation is not None


def test_C10_whatWaitsIsBounded() -> None:
    pair = connected()
    pair.clientTransport.full = True
    pair.server.sendKexInit()
    for _ in range(3000):
        pair.server.sendPacket(200, bytes(1000))
    assert pair.server.violation is not None
    assert pair.serverTransport.disconnecting


def test_C10_anExchangeThatIsNotAnsweredEnds() -> None:
    pair = connected()
    pair.clientTransport.full = True
    pair.server.sendKexInit()
    pair.clock.advance(61)
    assert pair.server.violation is not None


def test_B8_trafficBeforeAuthenticationIsBounded() -> None:
    pair = encrypted()
    pair.server.rekeyPolicy = RekeyPolicy(maxBytes=100_000)
    pair.server._checkReceivedAt = 0
    for _ in range(20):
        pair.client._sendNow(n.MSG_IGNORE, NS(bytes(20_000)))
    pair.pump()
    assert isinstance(pair.server.violation, LimitExceeded)


def test_B8_aPeerThatIgnoresOurKexInitIsLeft() -> None:
    pair = connected(rekeyPolicy=RekeyPolicy(maxBytes=1 << 20))
    pair.client.rekeyPolicy = RekeyPolicy(maxBytes=None, maxSeconds=None)
    pair.client.ssh_KEXINIT = lambda packet: None
    for _ in range(1000):
        pair.client._sendNow(200, bytes(32768))
        pair.pump()
        if pair.ended:
            break
    assert isinstance(pair.server.violation, LimitExceeded)
    assert pair.server.violation.description.startswith("the peer does not take part")


def test_C11_rekeyFloodIsStopped() -> None:
    pair = connected()
    exchanges = 0
    for _ in range(1000):
        exchanges += 1
        if pair.ended:
            break
        pair.client.sendKexInit()
        pair.pump()
    else:
        raise AssertionError("a thousand key exchanges in a row")
    assert exchanges < 30
    assert pair.server.violation is not None


def test_C11_noRekeyBeforeAuthentication() -> None:
    pair = encrypted()
    pair.client.sendKexInit()
    pair.pump()
    assert pair.server.violation is not None


@pytest.mark.parametrize("position", ["third", "after login"])
def test_C5_extInfoOutOfItsPlace(position: str) -> None:
    pair = encrypted() if position == "third" else connected()
    end = pair.client if position == "third" else pair.server
    other = pair.server if position == "third" else pair.client
    end.sendIgnore(b"")
    for _ in range(3):
        end._sendNow(n.MSG_EXT_INFO, u32(0))
    pair.pump()
    assert other.violation is not None


def test_C5_extInfoCountIsChecked() -> None:
    pair = encrypted()
    pair.client._sendNow(n.MSG_EXT_INFO, b"\xff\xff\xff\xff")
    pair.pump()
    assert pair.server.violation is not None


def test_B12_unknownMessagesAreAnsweredWithTheirNumberAndCapped() -> None:
    pair = connected()
    seen: list[int] = []
    pair.client.receiveUnimplemented = seen.append
    expected = pair.client.outgoingPacketSequence
    pair.client._sendNow(25, b"")
    pair.pump()
    assert seen == [expected]
    for _ in range(1100):
        pair.client._sendNow(25, b"")
    pair.pump()
    assert pair.server.violation is not None


def test_B12_unimplementedIsNeverAnswered() -> None:
    pair = connected()
    pair.client._sendNow(n.MSG_UNIMPLEMENTED, u32(4_000_000_000))
    before = pair.server.outgoingPacketSequence
    pair.pump()
    assert pair.server.outgoingPacketSequence == before
    assert not pair.ended


def test_B14_nothingIsDispatchedAfterDisconnect() -> None:
    pair = connected()
    pair.client._sendNow(n.MSG_DISCONNECT, u32(11) + NS(b"bye") + NS(b""))
    pair.client._sendNow(200, b"too late")
    pair.pump()
    service = pair.server.service
    assert service is None
    assert pair.server.errors == [(11, b"bye")]


def test_B14_nothingIsDispatchedAfterAViolation() -> None:
    pair = connected()
    recorder = pair.server.service
    pair.client._sendNow(n.MSG_SERVICE_ACCEPT, NS(b"x"))
    pair.client._sendNow(200, b"too late")
    pair.server.service.protocolMessages = {6: "MSG_RECORD", 200: "MSG_RECORD"}
    pair.server._enterPhase(Phase.CONNECTION)
    pair.pump()
    assert recorder.received == []
    assert pair.server.violation is not None


def test_B11_aPeerThatDoesNotReadIsNotReadFrom() -> None:
    pair = connected()
    server = pair.server
    server.service.protocolMessages = Recorder.protocolMessages
    pair.serverTransport.full = True
    server._enterPhase(Phase.CONNECTION)
    stalled = 0
    for _ in range(200):
        pair.client._sendNow(n.MSG_PING, NS(bytes(30000)))
        pair.pump()
        stalled = len(pair.serverTransport.written)
    assert stalled < 2 << 20
    assert not pair.serverTransport.reading
    pair.clock.advance(61)
    assert pair.serverTransport.aborted


def test_B11_aPeerThatReadsAgainIsReadFromAgain() -> None:
    pair = connected()
    pair.client._countUnread = lambda size: None  # this client never stops reading
    pair.serverTransport.full = True
    pair.server._enterPhase(Phase.CONNECTION)
    for _ in range(100):
        pair.client._sendNow(n.MSG_PING, NS(bytes(30000)))
        pair.pump()
    assert not pair.serverTransport.reading
    pair.client._enterPhase(Phase.CONNECTION)
    pair.serverTransport.full = False
    pair.pump()
    assert pair.serverTransport.reading
    pair.clock.advance(120)
    assert not pair.serverTransport.aborted


@pytest.mark.parametrize("client", [True, False])
def test_C2_everyPhaseHasAVerdictForEveryNumber(client: bool) -> None:
    for phase in Phase:
        row = PHASES[phase][client]
        assert len(row) == 256
        assert row[n.MSG_DISCONNECT] is Verdict.ACCEPT
        assert row[0] is Verdict.VIOLATION


def test_V6_aHandlersBugEndsItsOwnConnectionOnly() -> None:
    first, second = connected(), connected()

    def broken(packet: bytes) -> None:
        raise KeyError("a bug")

    first.server.service.ssh_RECORD = broken
    first.client.sendPacket(200, b"x")
    first.pump()
    assert first.ended
    second.client.sendPacket(200, b"x")
    second.pump()
    assert second.server.service.received == [b"x"]
