"""A client and a server joined in memory: their bytes go through here, in portions of any size.

Rule: nothing moves until the test calls `pump`, time moves by `Clock.advance` only, and what either
side raises out of `dataReceived` is raised out of `pump`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IConsumer, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

Portions = Callable[[bytes], Iterator[bytes]]
"""Cuts what one side wrote into the pieces in which the other receives it."""


def whole(data: bytes) -> Iterator[bytes]:
    """All at once."""
    yield data


def singleBytes(data: bytes) -> Iterator[bytes]:
    """Byte by byte."""
    for at in range(len(data)):
        yield data[at : at + 1]


def randomPortions(seed: int, most: int = 4000) -> Portions:
    """Pieces of 1 to `most` bytes, the same ones for the same seed."""
    generator = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = generator.randint(1, most)
            yield data[at : at + size]
            at += size

    return cut


@implementer(ITransport, IConsumer)
class MemoryTransport:
    """One end's transport. What is written waits until `Pair.pump` carries it over."""

    disconnecting = False

    def __init__(self, name: str, clock: Clock, port: int) -> None:
        self.name = name
        self.reactor = clock
        self.port = port
        self.written = bytearray()
        self.underWay: deque[tuple[float, bytes]] = deque()
        self.lost = False
        self.aborted = False
        self.reading = True
        self.producer: Any = None
        self.highWater = 65536
        self.producerPaused = False
        self.full = False
        """Set by a test: the peer does not read, nothing leaves."""

    def write(self, data: bytes) -> None:
        if self.lost or self.aborted:
            return
        self.written += data
        if self.producer is not None and len(self.written) > self.highWater:
            if not self.producerPaused:
                self.producerPaused = True
                self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def drained(self) -> None:
        """All that was written has left."""
        if self.producerPaused and self.producer is not None:
            self.producerPaused = False
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self.lost = True
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = True
        self.written.clear()
        self.underWay.clear()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError(f"{self.producer!r} is registered already")
        if not streaming:
            raise RuntimeError("producers that are asked for each piece are not served here")
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def getPeer(self) -> IAddress:
        return IPv4Address("TCP", "127.0.0.1", 40000 + self.port)

    def getHost(self) -> IAddress:
        return IPv4Address("TCP", "127.0.0.1", 40000 - self.port)


class Pair:
    """Both ends of one connection.

    Args:
        client: The client's protocol; `server` likewise.
        portions: How each side's bytes are cut.
        clock: What the timers of both run on.
        latencySeconds: How long bytes are on their way, by the clock.
    """

    def __init__(
        self,
        client: Any,
        server: Any,
        portions: Portions = whole,
        clock: Clock | None = None,
        latencySeconds: float = 0.0,
    ) -> None:
        self.clock = clock if clock is not None else Clock()
        self.client = client
        self.server = server
        self.portions = portions
        self.clientTransport = MemoryTransport("client", self.clock, 1)
        self.serverTransport = MemoryTransport("server", self.clock, 2)
        self.latencySeconds = latencySeconds
        self.ended: set[str] = set()
        self.operations = 0
        self.failAt: int | None = None
        """The number of the delivery before which the connection is cut; None never cuts it."""
        server.makeConnection(self.serverTransport)
        client.makeConnection(self.clientTransport)

    def carryToServer(self) -> None:
        """Carry what the client wrote, and no answer."""
        self._carry(self.clientTransport, self.server, self.serverTransport)

    def pump(self, rounds: int = 100_000) -> None:
        """Carry bytes both ways until nothing moves any more."""
        for _ in range(rounds):
            moved = self._carry(self.clientTransport, self.server, self.serverTransport)
            moved = self._carry(self.serverTransport, self.client, self.clientTransport) or moved
            if not moved and not self._turn():
                break
        else:
            raise AssertionError("the pair does not come to rest")

    def _turn(self) -> bool:
        """Let the reactor's next turn come, without any time; False if nobody waits for it."""
        now = self.clock.seconds()
        waits = any(call.getTime() <= now for call in self.clock.getDelayedCalls())
        if waits:
            self.clock.advance(0)
        return waits

    def _carry(self, source: MemoryTransport, protocol: Any, sink: MemoryTransport) -> bool:
        moved = False
        if source.written and not source.full and sink.reading:
            self._depart(source)
            moved = True
        arrived = self.clock.seconds()
        while source.underWay and source.underWay[0][0] <= arrived and sink.reading:
            self.operations += 1
            if self.failAt is not None and self.operations >= self.failAt:
                self.cut()
                return False
            _, piece = source.underWay.popleft()
            if not self.ended:
                protocol.dataReceived(piece)
            moved = True
        if (source.lost or source.aborted) and not source.written and not source.underWay:
            moved = self._end() or moved
        return moved

    def _depart(self, source: MemoryTransport) -> None:
        data = bytes(source.written)
        source.written.clear()
        arrival = self.clock.seconds() + self.latencySeconds
        source.underWay.extend((arrival, piece) for piece in self.portions(data))
        if self.latencySeconds:
            # So that whoever waits sees that there is something to wait for.
            self.clock.callLater(self.latencySeconds, lambda: None)
        source.drained()

    def _end(self) -> bool:
        if self.ended:
            return False
        self.ended = {"client", "server", "both"}
        reason = Failure(error.ConnectionDone())
        self.client.connectionLost(reason)
        self.server.connectionLost(reason)
        return True

    def cut(self) -> None:
        """The network fails: both ends lose the connection, whatever was on its way."""
        for transport in (self.clientTransport, self.serverTransport):
            transport.written.clear()
            transport.underWay.clear()
        if not self.ended:
            self.ended = {"client", "server", "both"}
            reason = Failure(error.ConnectionLost())
            self.client.connectionLost(reason)
            self.server.connectionLost(reason)
