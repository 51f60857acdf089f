"""The connection below SSH: bytes in order, producers paused and resumed, the end behind them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from zope.interface.verify import verifyObject

from benchmarks.servers import freePort
from limpet import streams
from limpet.server.listening import ServerPort, listen
from limpet.server.settings import Address
from limpet.streams import GATHER_LIMIT, HIGH_WATER
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import Driver, Producer, driver

__all__ = ["driver"]


class Keeping(Protocol):
    """Keeps what comes in, and why it ended."""

    transport: Any  # an AcceptedConnection; Twisted's half of it has no types

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: Any = None
        self.onData: Callable[[bytes], object] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        if self.onData is not None:
            self.onData(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


class Link:
    """A client's plain socket and the server's protocol at the other end."""

    def __init__(self, driver: Driver, host: str = "127.0.0.1") -> None:
        self.driver = driver
        self.made: list[Keeping] = []
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._build  # type: ignore[method-assign, assignment]
        self.port: ServerPort = listen(driver.reactor, host, 0, factory)
        self.client = self.connect()
        driver.until(lambda: self.made and self.made[0].connected)
        self.protocol = self.made[0]
        self.transport = self.protocol.transport

    def _build(self, address: Any) -> Keeping:
        protocol = Keeping()
        self.made.append(protocol)
        return protocol

    def connect(self) -> socket.socket:
        address = self.port.address()
        client = socket.create_connection((address.host, address.port))
        client.setblocking(False)
        return client

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes at the client."""
        found = b""

        def more() -> bool:
            nonlocal found
            try:
                found += self.client.recv(size - len(found))
            except BlockingIOError:
                return False
            return len(found) >= size

        self.driver.until(more, f"{size} bytes at the client")
        return found

    def atEnd(self) -> bool:
        try:
            return self.client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def fill(self) -> int:
        """Write until the socket is full; what was written."""
        written = 0
        while not self.transport._isFull:
            self.transport.write(bytes(65536))
            written += 65536
        return written

    def close(self) -> None:
        self.client.close()
        self.port.stopListening()  # type: ignore[no-untyped-call]
        for protocol in self.made:
            if protocol.lost is None:
                protocol.transport.abortConnection()
        self.driver.until(lambda: all(p.lost is not None for p in self.made))
        self.driver.turn()


@pytest.fixture
def link(driver: Driver) -> Iterator[Link]:
    link = Link(driver)
    yield link
    link.close()


def test_itProvidesWhatItSays(link: Link) -> None:
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, link.transport)
    assert link.transport.getTcpNoDelay()


def test_whatIsWrittenLeavesAtOnce(link: Link) -> None:
    link.transport.write(b"hello")
    # Without a turn of the reactor.
    link.client.setblocking(True)
    link.client.settimeout(5)
    assert link.client.recv(10) == b"hello"


def test_muchArrivesInOrderAndThenTheEnd(link: Link) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(2_000_000))
    for at in range(0, len(data), 30_000):
        link.transport.write(data[at : at + 30_000])
    link.transport.loseConnection()
    assert link.read(len(data)) == data
    link.driver.until(link.atEnd)
    assert link.protocol.lost.check(ConnectionDone)


def test_aSequenceIsSentAsOne(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    link.transport.writeSequence([b"a" * 1000, b"", b"b" * 1000, b"c"])
    assert link.read(2001) == b"a" * 1000 + b"b" * 1000 + b"c"


def test_whatIsGatheredWaitsForTheRelease(link: Link) -> None:
    link.transport.gather()
    link.transport.gather()
    link.transport.write(b"one")
    link.transport.write(b"two")
    link.transport.release()
    link.driver.turn()
    assert not link.transport._isFull
    with pytest.raises(BlockingIOError):
        link.client.recv(10)
    link.transport.release()
    assert link.read(6) == b"onetwo"


def test_whatIsGatheredIsBounded(link: Link) -> None:
    link.transport.gather()
    for _ in range(8):
        link.transport.write(bytes(GATHER_LIMIT // 4))
        assert link.transport._pendingBytes < GATHER_LIMIT or link.transport._isFull
    link.transport.release()
    assert len(link.read(2 * GATHER_LIMIT)) == 2 * GATHER_LIMIT


def test_anAnswerLeavesAfterTheReadThatItAnswers(link: Link) -> None:
    seen: list[int] = []

    def answer(data: bytes) -> None:
        link.transport.write(b"x" * 10)
        link.transport.write(b"y" * 10)
        seen.append(link.transport._pendingBytes)

    link.protocol.onData = answer
    link.client.send(b"question")
    assert link.read(20) == b"x" * 10 + b"y" * 10
    assert seen == [20]


def test_aFullSocketPausesTheProducerAndResumesItWhenAllIsSent(link: Link) -> None:
    producer = Producer()
    link.transport.registerProducer(producer, True)
    written = link.fill()
    while link.transport._pendingBytes <= HIGH_WATER:
        assert producer.events == []
        link.transport.write(bytes(10_000))
        written += 10_000
    assert producer.events == ["pause"]
    link.transport.write(bytes(10_000))
    assert producer.events == ["pause"]
    link.read(written + 10_000)
    link.driver.until(lambda: len(producer.events) == 2)
    assert producer.events == ["pause", "resume"]
    assert not link.transport._isFull


def test_aPullProducerIsAskedWhenAllIsSent(link: Link) -> None:
    producer = Producer()
    link.transport.registerProducer(producer, False)
    link.driver.until(lambda: producer.events)
    assert set(producer.events) == {"resume"}
    link.transport.unregisterProducer()


def test_theEndWaitsForAProducer(link: Link) -> None:
    producer = Producer()
    link.transport.registerProducer(producer, True)
    written = link.fill() + HIGH_WATER + 1
    link.transport.write(bytes(HIGH_WATER + 1))
    link.transport.loseConnection()
    link.transport.unregisterProducer()
    link.read(written)
    link.driver.until(link.atEnd)


def test_M1_anAbortDoesNotWaitForAPeerThatDoesNotRead(link: Link) -> None:
    producer = Producer()
    link.transport.registerProducer(producer, True)
    link.fill()
    link.transport.abortConnection()
    link.transport.write(b"too late")
    link.driver.until(lambda: link.protocol.lost is not None)
    assert link.protocol.lost.check(ConnectionAborted)
    assert link.transport._pendingBytes == 0
    link.transport.write(b"far too late")
    assert link.transport._pendingBytes == 0


def test_aPeerThatIsGoneIsNoticedOutsideOfWrite(link: Link) -> None:
    link.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    link.client.close()
    link.transport.write(b"x")
    link.transport.write(b"x")
    assert link.protocol.lost is None
    link.driver.until(lambda: link.protocol.lost is not None)


def test_aBugOfTheProtocolsEndsItsOwnConnection(link: Link) -> None:
    def bug(data: bytes) -> None:
        link.transport.write(b"before")
        raise RuntimeError("a bug")

    link.protocol.onData = bug
    second = link.connect()
    link.client.send(b"x")
    link.driver.until(lambda: link.protocol.lost is not None)
    assert isinstance(link.protocol.lost.value, RuntimeError)
    link.driver.until(lambda: len(link.made) == 2)
    link.made[1].transport.write(b"alive")
    second.setblocking(True)
    second.settimeout(5)
    assert second.recv(10) == b"alive"
    second.close()


def test_aPausedConnectionIsNotRead(link: Link) -> None:
    link.transport.pauseProducing()
    link.client.send(b"x")
    link.driver.turn(5)
    assert link.protocol.received == []
    link.transport.resumeProducing()
    link.driver.until(lambda: link.protocol.received == [b"x"])


def test_readsGrowWithAPeerThatSendsMuch(link: Link) -> None:
    def send() -> bool:
        with suppress(BlockingIOError):
            link.client.send(bytes(1 << 20))
        return bool(link.transport._readSize == streams.LARGE_READ_SIZE)

    link.driver.until(send)
    link.driver.turn(200)
    link.client.send(b"x")
    link.driver.until(lambda: link.transport._readSize == streams.SMALL_READ_SIZE)


def test_halfAConnectionIsClosed(link: Link) -> None:
    link.transport.write(b"last")
    link.transport.loseWriteConnection()
    assert link.read(4) == b"last"
    link.driver.until(link.atEnd)
    link.client.send(b"still")
    link.driver.until(lambda: link.protocol.received == [b"still"])
    link.transport.write(b"into nowhere")
    assert link.transport._pendingBytes == 0


def test_anIPv6Address(driver: Driver) -> None:
    try:
        link = Link(driver, "::1")
    except CannotListenError:
        pytest.skip("no IPv6 here")
    assert link.port.address().host == "::1"
    assert str(Address("::1", 5)) == "[::1]:5"
    assert link.transport.getPeer().host == "::1"
    link.close()


def test_bothKindsOfAddressAtOnePort(driver: Driver) -> None:
    factory = Factory()
    factory.noisy = False
    try:
        first = listen(driver.reactor, "::", freePort(), factory)
    except CannotListenError:
        pytest.skip("no IPv6 here")
    try:
        second = listen(driver.reactor, "0.0.0.0", first.address().port, factory)
        second.stopListening()  # type: ignore[no-untyped-call]
    finally:
        first.stopListening()  # type: ignore[no-untyped-call]


def test_aTakenPort(driver: Driver, link: Link) -> None:
    address = link.port.address()
    with pytest.raises(CannotListenError):
        listen(driver.reactor, address.host, address.port, Factory())


def test_noDescriptorIsLeft(driver: Driver) -> None:
    Link(driver).close()
    before = openDescriptors()
    for _ in range(3):
        Link(driver).close()
    assert openDescriptors() <= before


def test_tlsIsNotForThisTransport(link: Link) -> None:
    with pytest.raises(NotImplementedError):
        link.transport.startTLS(None)
