"""What becomes of connections: which are taken, how long they count, what a reload changes."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure

from limpet.core.negotiation import ALL_MODERN, DEFAULT, PROFILES
from limpet.server.factory import ServeFactory, ServeTransport
from limpet.server.settings import ALGORITHM_PROFILES, Settings
from limpet.ssh.keys import Key
from limpet.ssh.userauth import SSHUserAuthServer
from limpet.wire.fields import NS

KEY = Key.generate("ed25519")
PEER = IPv4Address("TCP", "192.0.2.1", 40000)


class Rig:
    """A factory, and the connections that come to it."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = Settings(**settings)
        self.portal: Any = Portal(None)  # type: ignore[arg-type]
        self.factory = ServeFactory(self.clock, self.settings, {KEY.sshType(): KEY}, self.portal)
        self.factory.doStart()  # type: ignore[no-untyped-call]

    def connect(self, peer: IPv4Address | IPv6Address = PEER) -> ServeTransport | None:
        protocol: ServeTransport | None = self.factory.buildProtocol(peer)
        if protocol is not None:
            transport: Any = StringTransportWithDisconnection(peerAddress=peer)
            transport.reactor = self.clock
            transport.protocol = protocol
            transport.abortConnection = transport.loseConnection
            protocol.makeConnection(transport)
        return protocol


class Service:
    """A service of that name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.channels: dict[int, Any] = {}
        self.transport: Any = None

    def serviceStarted(self) -> None: ...

    def serviceStopped(self) -> None: ...


def lost(connection: ServeTransport) -> None:
    connection.connectionLost(Failure(ConnectionError("gone")))


def test_aConnectionCountsUntilTheLogin() -> None:
    rig = Rig()
    connection: Any = rig.connect()
    assert rig.factory.startups.pending == 1
    assert rig.factory.connections == {connection}
    connection.setService(Service(b"ssh-userauth"))
    assert rig.factory.startups.pending == 1
    connection.avatar = object()
    connection.setService(Service(b"ssh-connection"))
    assert rig.factory.startups.pending == 0
    lost(connection)
    assert rig.factory.startups.pending == 0
    assert rig.factory.connections == set()


def test_aConnectionThatIsGoneWithoutALoginCountsNoMore() -> None:
    rig = Rig()
    connection = rig.connect()
    assert connection is not None
    lost(connection)
    assert rig.factory.startups.pending == 0
    assert rig.clock.getDelayedCalls() == []


def test_tooManyWithoutALoginAreNotTaken() -> None:
    rig = Rig(maxStartups="2")
    first, second, third = rig.connect(), rig.connect(), rig.connect()
    assert first is not None
    assert second is not None
    assert third is None
    lost(first)
    assert rig.connect() is not None


def test_tooManyFromOneSourceAreNotTaken() -> None:
    rig = Rig(handshakesPerSecond=1.0, maxStartups="100")
    taken = [rig.connect() for _ in range(20)]
    assert sum(item is not None for item in taken) == 5
    assert rig.connect(IPv4Address("TCP", "192.0.2.2", 1)) is not None
    rig.clock.advance(1)
    assert rig.connect() is not None
    assert rig.connect() is None


class TestPenalties:
    """What becomes of a source whose connections end without a login."""

    def inVain(self, rig: Rig, times: int, method: bytes = b"", peer: IPv4Address = PEER) -> None:
        for _ in range(times):
            connection: Any = rig.connect(peer)
            assert connection is not None
            if method:
                connection.service = Service(b"ssh-userauth")
                connection.service.hasTried = method != b"none"
            lost(connection)

    def test_E12_whoFailsToLogInAgainAndAgainHasToWait(self) -> None:
        rig = Rig()
        self.inVain(rig, 4, b"publickey")
        assert rig.connect() is None
        assert rig.connect(IPv4Address("TCP", "192.0.2.2", 1)) is not None
        rig.clock.advance(20)
        assert rig.connect() is not None

    def test_whoSaysNothingHasToWaitLater(self) -> None:
        for method in (b"", b"none"):
            rig = Rig()
            self.inVain(rig, 15, method)
            assert rig.connect() is not None
            self.inVain(rig, 1, method)
            assert rig.connect() is None

    def test_A2_whoUsesUpTheTimeHasToWaitSooner(self) -> None:
        rig = Rig(loginGraceSeconds=3.0)
        silent = [rig.connect() for _ in range(2)]
        rig.clock.advance(3.0)
        for connection in silent:
            assert connection is not None
            lost(connection)
        assert rig.connect() is None

    def test_aLoginCostsNothing(self) -> None:
        rig = Rig()
        for _ in range(50):
            connection: Any = rig.connect()
            connection.avatar = object()
            connection.setService(Service(b"ssh-connection"))
            lost(connection)
            rig.clock.advance(0.1)
        assert rig.connect() is not None

    def test_whoIsExemptAndWhereNobodyHasToWait(self) -> None:
        for rig in (Rig(penalties=False), Rig(exempt=("198.51.100.7", "192.0.2.0/24"))):
            self.inVain(rig, 10, b"publickey")
            rig.clock.advance(1)
            assert rig.connect() is not None
        exempt = Rig(exempt=("192.0.2.0/24",), handshakesPerSecond=1.0, maxStartups="100")
        assert all(exempt.connect() for _ in range(50))

    def test_whoIsExemptHoweverTheNetworkIsWritten(self) -> None:
        for network in ("192.0.2.0/255.255.255.0", "::ffff:192.0.2.0/120"):
            rig = Rig(exempt=(network, "fe80::1%é"), handshakesPerSecond=1.0)
            assert all(rig.connect() for _ in range(9))

    def test_E12_aQuestionAfterTheGuessesMakesThemNoCheaper(self) -> None:
        rig = Rig()
        for _ in range(4):
            connection: Any = rig.connect()
            assert connection is not None
            connection.isEncrypted = lambda direction: True
            connection.sendPacket = lambda number, body: None
            service: Any = SSHUserAuthServer()
            service.failuresTakeTime = False
            service.transport = connection
            connection.service = service
            service.serviceStarted()
            for method in (b"hostbased", b"none"):
                packet = NS(b"alice") + NS(b"ssh-connection") + NS(method)
                service.ssh_USERAUTH_REQUEST(packet)
            assert service.method == b"none"
            lost(connection)
        assert rig.connect() is None

    def test_aServerThatEndsBlamesNobody(self) -> None:
        rig = Rig()
        connections = [rig.connect() for _ in range(6)]
        rig.factory.isClosing = True
        for connection in connections:
            assert connection is not None
            lost(connection)
        assert len(rig.factory.penalties) == 0


def test_theLogHasAnAddressWithoutIPv6sClothes() -> None:
    """As a socket of a service manager's gives it, which takes both kinds."""
    for given, shown in (("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")):
        connection: Any = Rig().connect(IPv6Address("TCP", given, 40000))
        assert connection.logPrefix() == f"{shown}:40000"


def test_noneIsTakenWhileClosing() -> None:
    rig = Rig()
    rig.factory.isClosing = True
    assert rig.connect() is None
    assert rig.factory.startups.pending == 0


def test_aConnectionThatCannotBeMadeDoesNotCount() -> None:
    rig = Rig()

    def broken() -> None:
        raise RuntimeError("a bug")

    rig.factory.protocol = broken  # type: ignore[assignment]
    try:
        rig.connect()
    except RuntimeError:
        pass
    else:
        raise AssertionError("the bug went unseen")
    assert rig.factory.startups.pending == 0


def test_settingsReachTheConnection() -> None:
    rig = Rig(loginGraceSeconds=7.0, keepaliveSeconds=11.0, banner="Keep out.")
    connection: Any = rig.connect()
    assert connection.loginGraceSeconds == 7.0
    assert connection.keepaliveSeconds == 11.0
    assert rig.factory.bannerText == "Keep out."
    assert connection.logPrefix() == "192.0.2.1:40000"
    rig.clock.advance(7.1)
    assert not connection.transport.connected


def test_aReloadConcernsNewConnectionsOnly() -> None:
    rig = Rig()
    before: Any = rig.connect()
    other = Key.generate("ed25519")
    rig.factory.configure(
        Settings(algorithms="modern", maxStartups="7"), {other.sshType(): other}, rig.portal
    )
    after: Any = rig.connect()
    assert rig.factory.startups.start == 7
    assert rig.factory.startups.pending == 2
    assert list(before.supportedKeyExchanges) == list(DEFAULT.keyExchanges)
    assert set(after.supportedKeyExchanges) > set(DEFAULT.keyExchanges)
    assert set(after.supportedKeyExchanges) <= set(ALL_MODERN.keyExchanges)
    assert rig.factory.publicKeys[b"ssh-ed25519"] == other.public()


def test_everyProfileThatMayBeNamedIsThere() -> None:
    assert set(PROFILES) == set(ALGORITHM_PROFILES)


def test_idleIsAConnectionWithoutChannels() -> None:
    rig = Rig()
    connection: Any = rig.connect()
    assert connection.isIdle()
    connection.avatar = object()
    service = Service(b"ssh-connection")
    connection.setService(service)
    assert connection.isIdle()
    service.channels[0] = object()
    assert not connection.isIdle()
