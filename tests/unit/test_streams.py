"""TCP connections: those dialled are in order and prompt, and their failure is told once."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import ClientFactory

from benchmarks.servers import freePort
from limpet.server.listening import listen
from limpet.ssh.connection import SSHConnection
from limpet.streams import DialledConnection, dial
from tests.pair.stack import Client, makeFactory
from tests.unit.server.test_listening import Keeping
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


class Dialler(ClientFactory):
    """Makes one `Keeping`, or keeps why there is none."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Keeping] = []
        self.failed: list[Any] = []

    def buildProtocol(self, addr: Any) -> Keeping:
        self.made.append(Keeping())
        return self.made[-1]

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.failed.append(reason)


def test_bytes_go_both_ways_and_the_end_is_told(driver: Driver) -> None:
    accepting, dialling = Dialler(), Dialler()
    port = listen(driver.reactor, "127.0.0.1", 0, accepting)
    dial(driver.reactor, "127.0.0.1", port.address().port, dialling)
    driver.until(lambda: dialling.made and accepting.made)
    near, far = dialling.made[0], accepting.made[0]
    assert type(near.transport) is DialledConnection
    assert near.transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    data = bytes(range(256)) * 4096
    near.transport.write(data)
    far.transport.write(data[::-1])
    driver.until(lambda: b"".join(far.received) == data and b"".join(near.received) == data[::-1])
    far.transport.loseConnection()
    driver.until(lambda: near.lost is not None and far.lost is not None)
    port.stopListening()  # type: ignore[no-untyped-call]


def test_what_is_written_between_gather_and_release_leaves_together(driver: Driver) -> None:
    accepting, dialling = Dialler(), Dialler()
    port = listen(driver.reactor, "127.0.0.1", 0, accepting)
    dial(driver.reactor, "127.0.0.1", port.address().port, dialling)
    driver.until(lambda: dialling.made and accepting.made)
    near, far = dialling.made[0], accepting.made[0]
    near.transport.gather()
    near.transport.write(b"one ")
    near.transport.write(b"two")
    assert near.transport._pendingBytes == 7
    near.transport.release()
    assert near.transport._pendingBytes == 0
    driver.until(lambda: far.received == [b"one two"])
    near.transport.abortConnection()
    driver.until(lambda: far.lost is not None)
    port.stopListening()  # type: ignore[no-untyped-call]


def test_a_refused_connection_fails_once(driver: Driver) -> None:
    dialling = Dialler()
    dial(driver.reactor, "127.0.0.1", freePort(), dialling)
    driver.until(lambda: dialling.failed)
    assert [reason.check(ConnectionRefusedError) for reason in dialling.failed] == [
        ConnectionRefusedError
    ]
    assert dialling.made == []


def test_a_producer_that_is_pulled_from_is_asked_until_it_has_no_more(driver: Driver) -> None:
    accepting, dialling = Dialler(), Dialler()
    port = listen(driver.reactor, "127.0.0.1", 0, accepting)
    dial(driver.reactor, "127.0.0.1", port.address().port, dialling)
    driver.until(lambda: dialling.made and accepting.made)
    near, far = dialling.made[0], accepting.made[0]

    class Producer:
        left = 50

        def resumeProducing(self) -> None:
            if self.left:
                self.left -= 1
                near.transport.write(b"small enough to leave at once")
            else:
                near.transport.unregisterProducer()
                near.transport.loseConnection()

        def stopProducing(self) -> None:
            """Nothing to stop."""

    near.transport.registerProducer(Producer(), False)
    driver.until(lambda: far.lost is not None)
    assert b"".join(far.received) == b"small enough to leave at once" * 50
    port.stopListening()  # type: ignore[no-untyped-call]


def test_what_waits_for_the_end_of_a_read_comes_after_all_of_it(driver: Driver) -> None:
    accepting, dialling = Dialler(), Dialler()
    port = listen(driver.reactor, "127.0.0.1", 0, accepting)
    dial(driver.reactor, "127.0.0.1", port.address().port, dialling)
    driver.until(lambda: dialling.made and accepting.made)
    near, far = dialling.made[0], accepting.made[0]
    assert not far.transport.whenRead(lambda: None)
    events: list[str] = []

    def dataReceived(data: bytes) -> None:
        assert far.transport.whenRead(lambda: events.append("after"))
        events.append(data.decode())

    far.dataReceived = dataReceived  # type: ignore[method-assign]
    for word in ("one", "two"):
        near.transport.write(word.encode())
        driver.until(lambda: events[-2:] == [word, "after"])  # noqa: B023 called at once
    near.transport.loseConnection()
    driver.until(lambda: far.lost is not None)
    port.stopListening()  # type: ignore[no-untyped-call]


def test_a_programs_own_connection_sends_small_pieces_at_once_after_the_login(
    driver: Driver,
) -> None:
    """Where Twisted's `listenTCP` and `connectTCP` made them: a letter typed waits for nothing."""
    dialling = Dialler()
    client: Any = Client([])
    dialling.buildProtocol = lambda addr: client  # type: ignore[method-assign]
    servers: list[Any] = []
    factory: Any = makeFactory()

    class Remembered(factory.protocol):  # type: ignore[misc]
        def connectionMade(self) -> None:
            servers.append(self)
            super().connectionMade()

    factory.protocol = Remembered
    port = driver.reactor.listenTCP(0, factory, interface="127.0.0.1")
    driver.reactor.connectTCP("127.0.0.1", port.getHost().port, dialling)

    def delays() -> list[bool]:
        option = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return [not each.transport.socket.getsockopt(*option) for each in (client, servers[0])]

    driver.until(lambda: servers and client.connected)
    assert delays() == [True, True]
    driver.until(lambda: all(isinstance(e.service, SSHConnection) for e in (client, servers[0])))
    assert delays() == [False, False]
    client.transport.loseConnection()
    driver.until(lambda: not servers[0].transport.connected)
    port.stopListening()
