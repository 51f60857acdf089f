"""limpet.testing: the network that applications' tests log in through."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import defer, error
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

import limpet
from limpet.client.errors import AuthenticationFailed, ConnectFailed, ConnectionEnded
from limpet.client.programs import Terminal
from limpet.ssh.keys import Key
from limpet.testing import MemoryNetwork, randomPortions, singleBytes, whole
from limpet.testing.network import StillWaiting
from tests.pair.stack import OUTPUT_SIZE, makeFactory, pattern

PASSWORD = "correct horse"


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.mark.parametrize("portions", [whole, singleBytes, randomPortions(7)])
def test_aCommandIsRun(portions: Any) -> None:
    network = MemoryNetwork(portions=portions)
    client = network.logIn(makeFactory(), "alice", password=PASSWORD)
    result = network.result(client.run("both 1000"))
    assert result.stdout == pattern(1000, b"out")
    assert result.stderr == pattern(1000, b"err")
    assert result.exitStatus == 7


def test_aWrongPasswordSaysSo(network: MemoryNetwork) -> None:
    with pytest.raises(AuthenticationFailed, match="password"):
        network.logIn(makeFactory(), "alice", password="wrong")


def test_aKeyThatNobodyKnows(network: MemoryNetwork) -> None:
    with pytest.raises(AuthenticationFailed):
        network.logIn(makeFactory(), "alice", keys=[Key.generate("ed25519")])


def test_aShellIsTalkedTo(network: MemoryNetwork) -> None:
    client = network.logIn(makeFactory(), "alice", password=PASSWORD)
    shell = network.result(client.start(terminal=Terminal(rows=30)))
    shell.write(b"what is said ")
    assert network.result(shell.read()) == b"what is said "
    shell.write(b"comes back")
    shell.writeEOF()
    assert network.result(shell.readAll()) == b"comes back"
    assert network.result(shell.wait()).exitStatus == 0


def test_whatDoesNotComeIsNotWaitedForForever(network: MemoryNetwork) -> None:
    with pytest.raises(StillWaiting, match="60 seconds"):
        network.result(defer.Deferred())
    assert network.seconds() >= 60


def test_timePassesForWhatIsWaitedFor(network: MemoryNetwork) -> None:
    later: defer.Deferred[str] = defer.Deferred()
    network.callLater(20, later.callback, "it came")
    assert network.result(later) == "it came"
    assert 20 <= network.seconds() < 21


def test_theNetworkFails(network: MemoryNetwork) -> None:
    client = network.logIn(makeFactory(), "alice", password=PASSWORD)
    running = network.result(client.start("echo"))
    network.cut()
    with pytest.raises(ConnectionEnded):
        network.result(running.wait())


def test_aCoroutineIsRun(network: MemoryNetwork) -> None:
    client = network.logIn(makeFactory(), "alice", password=PASSWORD)

    async def twice() -> list[int | None]:
        return [(await client.run(f"exit {number}")).exitStatus for number in (4, 5)]

    assert network.result(twice()) == [4, 5]


def test_severalUsersAtOneServer(network: MemoryNetwork) -> None:
    factory = makeFactory()
    first = network.logIn(factory, "alice", password=PASSWORD)
    second = network.logIn(factory, "alice", password=PASSWORD)
    both = defer.gatherResults([first.run("exit 1"), second.run(f"both {OUTPUT_SIZE}")])
    one, other = network.result(both)
    assert one.exitStatus == 1
    assert len(other.stdout) == OUTPUT_SIZE


def test_placesAreToldApart(network: MemoryNetwork) -> None:
    network.listen(makeFactory(), "one.test")
    network.listen(makeFactory(), "one.test", 2222)

    def connectTo(place: str) -> Any:
        return network.result(
            limpet.connect(
                place,
                password=PASSWORD,
                hostKeys=lambda *ignored: True,
                configFiles=(),
                only=True,
                reactor=network,
            )
        )

    for place in ("alice@one.test", "ssh://alice@one.test:2222"):
        assert network.result(connectTo(place).run("exit 3")).exitStatus == 3
    with pytest.raises(ConnectFailed, match="refused"):
        connectTo("ssh://alice@one.test:23")


class Attempt(ClientFactory):
    """A client's connection as its factory sees it."""

    protocol = Protocol

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.failures.append(reason)


class Listener(Protocol):
    """The other end."""

    lost: Failure | None = None
    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class TestConnectors:
    def test_a_connection_that_came_about_is_ended(self) -> None:
        """Its factory was told that it had failed, and it went on."""
        server = Listener()
        network = MemoryNetwork(lambda host, port: server)
        factory = Attempt()
        connector = network.connectTCP("host", 22, factory)
        network.advance(0)
        (pair,) = network.pairs
        pair.clientTransport.write(b"the last words")
        connector.disconnect()
        pair.pump()
        assert server.received == b"the last words"
        assert server.lost is not None
        assert not factory.failures
        connector.disconnect()

    def test_an_attempt_is_given_up_once(self) -> None:
        network = MemoryNetwork(lambda host, port: None)
        factory = Attempt()
        connector = network.connectTCP("host", 22, factory)
        connector.disconnect()
        connector.disconnect()
        assert [failure.check(error.UserError) for failure in factory.failures] == [error.UserError]

    def test_one_that_failed_is_not_given_up(self) -> None:
        network = MemoryNetwork()
        factory = Attempt()
        connector = network.connectTCP("host", 22, factory)
        network.advance(0)
        connector.disconnect()
        assert len(factory.failures) == 1
