"""Prompt connections: in order, their failure told once; those that a program made become such."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import ClientFactory

from benchmarks.servers import freePort
from limpet.server.listening import listen
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import Key
from limpet.ssh.transport import SSHClientTransport, SSHServerTransport
from limpet.streams import AcceptedConnection, DialledConnection, dial, makePrompt
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


class Greeting(SSHServerTransport):
    """A server's SSH on a connection that Twisted's own `listenTCP` accepted."""

    lost: Any = None

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason
        super().connectionLost(reason)


class Applications(SSHFactory):
    """A program's own factory, which listens as every Twisted program does."""

    protocol = Greeting
    noisy = False
    made: Any = None

    def buildProtocol(self, addr: Any) -> Any:
        self.made = super().buildProtocol(addr)
        return self.made


def test_what_listenTCP_and_connectTCP_made_becomes_prompt(driver: Driver) -> None:
    """SSH on a transport of the program's own: the same object, with the shorter way."""

    class Client(SSHClientTransport):
        def verifyHostKey(self, hostKey: bytes, fingerprint: Any) -> Deferred[bool]:
            return succeed(True)

        def connectionSecure(self) -> None:
            self.isSecure = True

    class Clients(Dialler):
        def buildProtocol(self, addr: Any) -> Any:
            self.made.append(Client())
            return self.made[-1]

    factory, dialling = Applications(), Clients()
    key = Key.generate("ed25519")
    factory.privateKeys = {key.sshType(): key}
    factory.publicKeys = {key.sshType(): key.public()}
    port = driver.reactor.listenTCP(0, factory, interface="127.0.0.1")
    driver.reactor.connectTCP("127.0.0.1", port.getHost().port, dialling)
    driver.until(lambda: dialling.made and getattr(dialling.made[0], "isSecure", False))
    near: Any = dialling.made[0]
    far = factory.made
    assert (type(near.transport), type(far.transport)) == (DialledConnection, AcceptedConnection)
    for each in (near, far):
        assert each.transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    near.transport.loseConnection()
    driver.until(lambda: far.lost is not None)
    port.stopListening()


def test_a_transport_with_something_to_send_keeps_its_ways(driver: Driver) -> None:
    accepting, dialling = Dialler(), Dialler()
    port = driver.reactor.listenTCP(0, accepting, interface="127.0.0.1")
    driver.reactor.connectTCP("127.0.0.1", port.getHost().port, dialling)
    driver.until(lambda: dialling.made and accepting.made)
    near: Any = dialling.made[0]
    far = accepting.made[0]
    near.transport.write(b"first ")
    makePrompt(near.transport)
    kinds = [type(near.transport)]
    driver.until(lambda: far.received == [b"first "])
    makePrompt(near.transport)
    near.transport.write(b"second")
    driver.until(lambda: b"".join(far.received) == b"first second")
    kinds.append(type(near.transport))
    assert kinds == [tcp.Client, DialledConnection]
    near.transport.loseConnection()
    driver.until(lambda: far.lost is not None)
    port.stopListening()


def test_a_subclass_of_a_program_is_left_alone(driver: Driver) -> None:
    class Own(tcp.Server):
        """What a program's own port makes."""

    own = Own.__new__(Own)
    makePrompt(own)
    assert type(own) is Own
    makePrompt(None)
