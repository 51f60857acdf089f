"""A client and a server that forward, joined in memory; the sockets at both ends are real.

Rule: the SSH messages move when the test lets time pass (`Tunnel.until`), and each of them can be
seen in `Tunnel.pair.log`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IHostnameResolver
from twisted.internet.protocol import ClientFactory, Protocol
from zope.interface import implementer

from limpet.avatar import ConchUser
from limpet.client.forwards import Forwards
from limpet.ssh.connection import SSHConnection
from limpet.streams import dial
from limpet.tunnels.listening import Listener, listenOn
from limpet.tunnels.serving import ForwardingPolicy, ForwardingService
from limpet.unix.sockets import UnixSockets
from limpet.wire.fields import Reader
from limpet.wire.numbers import MSG_CHANNEL_OPEN_FAILURE
from tests.unit.ssh.doubles import Pair
from tests.unit.unix.driving import Driver


@implementer(IHostnameResolver)
class Names:
    """Knows the names of a test's, and counts how often each was looked up."""

    def __init__(self) -> None:
        self.addresses = {"localhost": ["127.0.0.1", "::1"]}
        self.asked: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append(hostName)
        resolutionReceiver.resolutionBegan(self)
        for address in self.addresses.get(hostName, []):
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return self


EVERYTHING = ForwardingPolicy(local=True, remote=True, unix=True)


@implementer(IHalfCloseableProtocol)
class End(Protocol):
    """A program at one end of a tunnel; keeps what it gets, and how it ends.

    Attributes:
        received: What came.
        ended: Whether the other side has said that no more comes.
        lost: Why the connection is gone; None while it is there.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.lost: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        """Ours to know."""

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


class Ends(ClientFactory):
    """Makes `End`s, and keeps them."""

    noisy = False

    def __init__(self, make: Callable[[], End] = End) -> None:
        self.made: list[End] = []
        self.failures: list[Any] = []
        self._make = make

    def buildProtocol(self, addr: Any) -> Protocol:
        self.made.append(self._make())
        return self.made[-1]

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.failures.append(reason)


class User(ConchUser):
    """Somebody who may forward as far as a policy goes."""

    def __init__(self, reactor: Any, policy: ForwardingPolicy, lowestPort: int) -> None:
        super().__init__()
        self.service = ForwardingService(
            reactor, policy, "alice", lambda: self.conn, UnixSockets(reactor), lowestPort
        )
        self.channelLookup[b"direct-tcpip"] = self.service.openTcp
        self.channelLookup[b"direct-streamlocal@openssh.com"] = self.service.openUnix

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        answer = self.service.gotGlobalRequest(requestType, data)
        return 0 if answer is None else answer


class Tunnel:
    """A client that forwards through a server.

    Args:
        driver: Its reactor runs the sockets.
        policy: What the server allows.
        lowestPort: The lowest port that the user may listen on.
    """

    def __init__(
        self, driver: Driver, policy: ForwardingPolicy = EVERYTHING, lowestPort: int = 1
    ) -> None:
        self.driver = driver
        self.reactor = driver.reactor
        self.names = Names()
        self.reactor.installNameResolver(self.names)
        self.client, self.server = SSHConnection(), SSHConnection()
        self.user = User(self.reactor, policy, lowestPort)
        self.pair = Pair(self.client, self.server)
        self.server.transport.avatar = self.user
        self.user.conn = self.server
        self.told: list[str] = []
        self.forwards = Forwards(self.reactor, self.client, tell=self.told.append)
        self._ports: list[Listener] = []
        self.paused = False
        """Set by a test: no SSH message moves."""

    def until(self, condition: Callable[[], object], what: str = "what was waited for") -> None:
        """Let sockets and messages move until the condition holds."""

        def moved() -> object:
            if not self.paused:
                self.pair.deliver()
            return condition()

        self.driver.until(moved, what)

    def result(self, deferred: Any) -> Any:
        """What the Deferred fires with; raises what it fails with."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.until(lambda: results, "the result")
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def turn(self, count: int = 10) -> None:
        """Let things move for a while in which nothing need happen."""
        for _ in range(count):
            self.pair.deliver()
            self.reactor.iterate(0.002)

    def target(self, address: str = "127.0.0.1") -> tuple[Ends, int]:
        """Something to connect to, and its port."""
        ends = Ends()
        listener = listenOn(self.reactor, [address], 0, ends)
        self._ports.append(listener)
        return ends, listener.port

    def connect(self, port: int, host: str = "127.0.0.1") -> End:
        """A program that connects to a port of this machine."""
        ends = Ends()
        dial(self.reactor, host, port, ends)
        self.until(lambda: ends.made or ends.failures, "the connection")
        assert ends.made, ends.failures
        end = ends.made[0]
        self.until(lambda: end.transport is not None)
        return end

    def refusals(self) -> list[tuple[str, int, bytes]]:
        """Who said that a channel does not open, the reason and the words."""
        found = []
        for who, number, payload in self.pair.log:
            if number == MSG_CHANNEL_OPEN_FAILURE:
                reader = Reader(payload)
                reader.u32()
                found.append((who, reader.u32(), reader.string()))
        return found

    def close(self) -> None:
        """End everything, and check that nothing is left."""
        for listener in self._ports:
            listener.stopListening()
        self.forwards.close()
        self.client.serviceStopped()
        self.server.serviceStopped()
        self.user.service.close()
        self.driver.turn()
        self.driver.until(lambda: not self.openSockets(), "the end of all sockets")
        assert not list(self.reactor.getDelayedCalls())
        assert not self.pair.clock.getDelayedCalls()

    def openSockets(self) -> list[Any]:
        """What the reactor still reads or writes, its own waker aside."""
        watched = [*self.reactor.getReaders(), *self.reactor.getWriters()]
        return [each for each in watched if each is not self.reactor.waker]


def requireIPv6() -> None:
    """Skip the running test on a machine whose loopback has no IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")
