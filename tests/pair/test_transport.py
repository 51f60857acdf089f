"""The transport's two ends against each other: key exchanges, rekeying, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import defer

from limpet.core.kex import KEX_METHODS
from limpet.core.negotiation import LEGACY
from limpet.core.phases import Phase
from limpet.core.rekey import RekeyPolicy
from limpet.crypto.groups import knownGroup
from limpet.ssh.keys import Key
from limpet.ssh.service import SSHService
from limpet.ssh.transport import SSHClientTransport, SSHServerTransport
from limpet.testing import Pair, Portions, randomPortions, singleBytes, whole
from limpet.wire.fields import NS

HOST_KEY = Key.generate("ed25519")


class Recorder(SSHService):
    """A service that keeps what it is given."""

    name = b"recorder@limpet.test"
    protocolMessages = {200: "MSG_RECORD"}

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.events: list[str] = []

    def serviceStarted(self) -> None:
        self.events.append("started")

    def serviceStopped(self) -> None:
        self.events.append("stopped")

    def ssh_RECORD(self, packet: bytes) -> None:
        self.received.append(packet)


class Factory:
    """As much of a factory as the transport asks for."""

    def __init__(self, *keys: Key) -> None:
        keys = keys or (HOST_KEY,)
        self.privateKeys = {key.sshType(): key for key in keys}
        self.publicKeys = {key.sshType(): key.public() for key in keys}

    def getService(self, transport: Any, name: bytes) -> Any:
        return {Recorder.name: Recorder}.get(name)

    def getDHPrime(self, bits: int) -> tuple[int, int]:
        group = knownGroup(2048)
        return group.generator, group.prime


class Client(SSHClientTransport):
    """A client that accepts the one host key and asks for the recorder."""

    def __init__(self) -> None:
        self.secured = 0
        self.judged: list[bytes] = []
        self.verdict: Any = True
        self.errors: list[tuple[int, bytes]] = []

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        self.judged.append(pubKey)
        if isinstance(self.verdict, defer.Deferred):
            return self.verdict
        if isinstance(self.verdict, Exception):
            return defer.fail(self.verdict)
        return defer.succeed(self.verdict)

    def connectionSecure(self) -> None:
        self.secured += 1
        self.requestService(Recorder())

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        self.errors.append((reasonCode, description))


class Server(SSHServerTransport):
    """A server that remembers why it was left."""

    def __init__(self, *keys: Key) -> None:
        self.factory = Factory(*keys)
        self.errors: list[tuple[int, bytes]] = []

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        self.errors.append((reasonCode, description))


def connected(portions: Portions = whole, **settings: Any) -> Pair:
    client, server = Client(), Server()
    server.supportedPublicKeys = [b"ssh-ed25519"]
    for end in (client, server):
        for name, value in settings.items():
            setattr(end, name, value)
    pair = Pair(client, server, portions)
    pair.pump()
    return pair


def assertWorks(pair: Pair) -> None:
    """Messages go both ways and arrive whole and in order."""
    client, server = pair.client, pair.server
    assert client.service is not None
    assert server.service is not None
    sent = [bytes([number]) * size for number, size in enumerate((1, 7, 1000, 32768))]
    for end, other in ((client, server), (server, client)):
        before = len(other.service.received)
        for body in sent:
            end.sendPacket(200, body)
        pair.pump()
        assert other.service.received[before:] == sent


@pytest.mark.parametrize("kex", sorted(KEX_METHODS), ids=bytes.decode)
def test_everyKeyExchange(kex: bytes) -> None:
    pair = connected(supportedKeyExchanges=[kex])
    assert pair.client.kexAlg == pair.server.kexAlg == kex
    assert pair.client.sessionID == pair.server.sessionID
    assert pair.client.hostKeyBlob == HOST_KEY.public().blob()
    assertWorks(pair)


@pytest.mark.parametrize("cipher", LEGACY.ciphers, ids=bytes.decode)
@pytest.mark.parametrize("mac", LEGACY.macs, ids=bytes.decode)
def test_everyCipherAndMAC(cipher: bytes, mac: bytes) -> None:
    pair = connected(supportedCiphers=[cipher], supportedMACs=[mac])
    assert pair.client.isEncrypted("both")
    assert pair.server.isVerified("both")
    assertWorks(pair)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_everyHostKey(kind: str) -> None:
    key = Key.generate(kind)
    legacy = [b"ssh-rsa"] if kind == "rsa" else []
    for algorithm in key.supportedSignatureAlgorithms() + legacy:
        client, server = Client(), Server(key)
        client.supportedPublicKeys = server.supportedPublicKeys = [algorithm]
        pair = Pair(client, server)
        pair.pump()
        assert client.keyAlg == algorithm
        assertWorks(pair)


@pytest.mark.parametrize(
    "portions", [whole, singleBytes, randomPortions(1), randomPortions(2, 40)], ids=str
)
def test_portionsDoNotMatter(portions: Portions) -> None:
    assertWorks(connected(portions))


def test_compressionBegins() -> None:
    pair = connected(supportedCompressions=[b"zlib@openssh.com"])
    assertWorks(pair)
    assert pair.client.outgoingCompression is not None
    assert pair.server.incomingCompression is not None
    pair.server.sendKexInit()
    pair.pump()
    assertWorks(pair)


@pytest.mark.parametrize("starter", ["client", "server", "both"])
def test_rekey(starter: str) -> None:
    pair = connected()
    for _ in range(5):
        session = pair.client.sessionID
        if starter in ("client", "both"):
            pair.client.sendKexInit()
        if starter in ("server", "both"):
            pair.server.sendKexInit()
        pair.client.sendPacket(200, b"held by the client")
        pair.server.sendPacket(200, b"held by the server")
        pair.pump()
        assert pair.client.sessionID == session
        assert pair.server.service.received[-1] == b"held by the client"
        assert pair.client.service.received[-1] == b"held by the server"
        assertWorks(pair)
    assert pair.client.secured == 1
    assert len(pair.client.judged) == 1


def test_rekeyByVolume() -> None:
    pair = connected(rekeyPolicy=RekeyPolicy(maxBytes=1 << 20))
    keys = pair.client._keysSince
    exchanges = []
    original = pair.server._newKeys
    pair.server._newKeys = lambda: (exchanges.append(1), original())  # type: ignore[func-returns-value]
    for number in range(160):
        pair.client.sendPacket(200, bytes([number]) * 32768)
        pair.pump()
    assert len(exchanges) >= 4
    assert [body[0] for body in pair.server.service.received] == list(range(160))
    assert keys == 0.0


@pytest.mark.parametrize(("cipher", "most"), [(b"aes128-ctr", 1 << 36), (b"3des-cbc", 1 << 30)])
def test_B7_aPolicyWithoutLimitsRekeysWhenTheCipherHasTo(cipher: bytes, most: int) -> None:
    policy = RekeyPolicy(maxBytes=None, maxSeconds=None)
    pair = connected(supportedCiphers=[cipher], rekeyPolicy=policy)
    for already, isDue in ((most - (1 << 25), False), (most, True)):
        pair.client._sender.bytesSinceKeys = pair.client._checkSentAt = already
        pair.client.sendPacket(200, b"one more")
        assert (pair.client._blockedByKeyExchange is not None) is isDue
    pair.pump()
    assertWorks(pair)


def test_rekeyByTime() -> None:
    pair = connected()
    old = pair.client._keysSince
    pair.clock.advance(3601)
    pair.pump()
    assert pair.client._keysSince > old
    assertWorks(pair)


def test_aPingIsAnsweredByItsData(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = connected()
    answers: list[bytes] = []
    monkeypatch.setattr(pair.client, "ssh_PONG", answers.append)
    pair.client.sendPing(b"a sign")
    pair.pump()
    assert answers == [NS(b"a sign")]
    assertWorks(pair)


def test_nothingElseIsSentDuringAnExchange() -> None:
    pair = connected()
    client = pair.client
    client.sendKexInit()
    length = len(pair.clientTransport.written)
    client.sendIgnore(b"x")
    client.sendDebug(b"x")
    client.sendPacket(200, b"x")
    assert len(pair.clientTransport.written) == length
    pair.pump()
    assert pair.server.service.received == [b"x"]


def test_nothingLeavesBeforeTheHostKeyIsVerified() -> None:
    client, server = Client(), Server()
    client.verdict = defer.Deferred()
    verdict = client.verdict
    pair = Pair(client, server)
    pair.pump()
    assert client.secured == 0
    assert not client.isEncrypted("both")
    assert server.phase in (Phase.NEWKEYS, Phase.NEWKEYS_LENIENT)
    verdict.callback(True)
    pair.pump()
    assert client.secured == 1
    assertWorks(pair)


class Later:
    """Awaitable, and no Deferred: an asyncio.Future, for one."""

    def __await__(self) -> Any:
        yield


@pytest.mark.parametrize(
    "verdict", [False, None, 0, ValueError("no"), KeyError("x"), Later()], ids=type
)
def test_K1_anythingButYesRefusesTheHostKey(verdict: object) -> None:
    client, server = Client(), Server()
    client.verdict = verdict
    pair = Pair(client, server)
    pair.pump()
    assert client.secured == 0
    assert server.service is None
    assert server.errors[0][0] == 9
    assert pair.ended


def test_hostKeyVerificationCancelledWhenTheConnectionIsLost() -> None:
    cancelled: list[object] = []
    client, server = Client(), Server()
    client.verdict = defer.Deferred(cancelled.append)
    pair = Pair(client, server)
    pair.pump()
    pair.cut()
    assert len(cancelled) == 1
    assert pair.clock.getDelayedCalls() == []


def test_C12_hostKeyMayNotChange() -> None:
    pair = connected()
    other = Key.generate("ed25519")
    pair.server._keptHostKey = (b"ssh-ed25519", other, other.public())
    pair.client.sendKexInit()
    pair.pump()
    assert pair.ended
    assert pair.client.violation.reasonCode == 3
    assert "host key changed" in pair.client.violation.description


def test_aFactorysNewHostKeysAreForNewConnections() -> None:
    """As after a SIGHUP: those that are open keep the key with which they began."""
    pair = connected()
    pair.server.factory.privateKeys = {}
    pair.server.factory.publicKeys = {}
    pair.client.sendKexInit()
    pair.pump()
    assertWorks(pair)


def test_nothingInCommonSaysWhatBothOffer() -> None:
    client, server = Client(), Server()
    client.supportedCiphers = [b"aes128-ctr"]
    server.supportedCiphers = [b"aes256-ctr"]
    pair = Pair(client, server)
    pair.pump()
    for end in (client, server):
        assert end.violation is not None
        assert end.violation.reasonCode == 3
        assert "aes128-ctr" in end.violation.description
        assert "aes256-ctr" in end.violation.description
    assert pair.ended


def test_A2_E18_graceTimerIsAbsolute() -> None:
    client, server = Client(), Server()
    pair = Pair(client, server)
    for _ in range(59):
        pair.clock.advance(1)
        server.dataReceived(b"")
    assert not pair.serverTransport.aborted
    pair.clock.advance(1)
    assert pair.serverTransport.aborted


def test_noTimerSurvivesTheConnection() -> None:
    pair = connected(keepaliveSeconds=5.0)
    assert pair.clock.getDelayedCalls()
    pair.client.loseConnection()
    pair.pump()
    assert pair.ended
    assert pair.clock.getDelayedCalls() == []
    assert pair.server.service is None


def test_V6_aKeyExchangeOnAConnectionThatIsOverBeginsNothing() -> None:
    pair = connected()
    pair.cut()
    for end in (pair.client, pair.server):
        end.sendKexInit()
    assert pair.clock.getDelayedCalls() == []


def test_M1_lastWordsAreCutAfterTwoSeconds() -> None:
    pair = connected()
    pair.clientTransport.full = True
    pair.client.sendDisconnect(2, b"a violation")
    pair.clock.advance(1.9)
    assert not pair.clientTransport.aborted
    pair.clock.advance(0.2)
    assert pair.clientTransport.aborted


def test_whatWasWrittenMayTakeAMinuteToLeave() -> None:
    pair = connected()
    pair.clientTransport.full = True
    pair.client.sendPacket(200, b"written before")
    recorder = pair.server.service
    pair.client.loseConnection()
    pair.clock.advance(59)
    assert not pair.clientTransport.aborted
    pair.clientTransport.full = False
    pair.pump()
    assert recorder.received == [b"written before"]
    assert pair.ended


def test_whatWasWrittenDuringAKeyExchangeLeavesBeforeTheLastWords() -> None:
    pair = connected()
    recorder = pair.server.service
    pair.client.sendKexInit()
    pair.client.sendPacket(200, b"written before")
    pair.client.loseConnection()
    pair.client.sendPacket(200, b"written after")
    pair.pump()
    assert recorder.received == [b"written before"]
    assert pair.ended
    assert pair.clock.getDelayedCalls() == []


def test_aKeyExchangeThatNeverEndsHoldsUpNoEnd() -> None:
    pair = connected()
    pair.clientTransport.full = True
    pair.client.sendKexInit()
    pair.client.loseConnection()
    pair.clock.advance(59)
    assert not pair.clientTransport.aborted
    pair.clock.pump([1, 1, 1])
    assert pair.clientTransport.aborted


def test_B11_aPeerThatReadsAgainIsReadAgainAlsoWithoutAClock() -> None:
    """A transport of somebody's own need not have a reactor."""
    pair = connected()
    pair.server.clock = None
    pair.serverTransport.full = True
    pair.server.pauseProducing()
    for _ in range(40):
        pair.server.sendIgnore(bytes(32768))
    assert not pair.serverTransport.reading
    pair.serverTransport.full = False
    pair.server.resumeProducing()
    assert pair.serverTransport.reading
    assertWorks(pair)


def test_aPeerThatNeverReadsIsCutAfterAMinute() -> None:
    pair = connected()
    pair.clientTransport.full = True
    pair.client.loseConnection()
    pair.clock.advance(61)
    assert pair.clientTransport.aborted


def test_connectionCutAtEveryDelivery() -> None:
    total = connected(randomPortions(3, 300)).operations
    assert total > 10
    for failAt in range(1, total + 1):
        client, server = Client(), Server()
        pair = Pair(client, server, randomPortions(3, 300))
        pair.failAt = failAt
        pair.pump()
        assert pair.ended
        assert pair.clock.getDelayedCalls() == []
