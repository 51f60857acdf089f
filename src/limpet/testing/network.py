"""A network in memory: time, names and connections for real clients and servers in one process.

    network = MemoryNetwork()
    client = network.logIn(factory, "alice", password="secret")
    assert network.result(client.run("look")).stdout == b"A small room.\n"

Rule: it is a reactor as far as a connection needs one; nothing moves and no time passes but inside
`settle`, `wait` and `result`. What a server does in threads or processes is outside of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet import defer, error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from limpet.client import clients
from limpet.client.clients import Client
from limpet.ssh.keys import Key
from limpet.testing.pair import Pair, Portions, whole

ADDRESS = IPv4Address("TCP", "192.0.2.1", 22)
"""Where names lead that nobody listens under (RFC 5737: an address for documentation)."""

_LISTENERS_NETWORK = "198.18"
"""Where those who listen have their addresses (RFC 2544: set aside for tests)."""

STEP_SECONDS = 0.5
"""By how much time moves while something is waited for."""

_LEAST_STEP_SECONDS = 1e-6

PATIENCE_SECONDS = 60.0
"""How long `result` waits, in the network's own time."""

Answer = Callable[[str, int], Any]
"""From host and port to the server's protocol; None lets the connection hang, an exception is why
it fails."""


class StillWaiting(AssertionError):
    """What was waited for has not come, however much time passed."""


class MemoryConnector:
    """One attempt to connect, and what came of it, as Twisted's IConnector has it."""

    def __init__(self, network: MemoryNetwork, host: str, port: int, factory: Any) -> None:
        self.network, self.host, self.port, self.factory = network, host, port, factory
        self.isGivenUp = False
        self._pair: Pair | None = None
        self._hasFailed = False

    def succeed(self, server: Any) -> None:
        """The other end answers, with this protocol."""
        client = self.factory.buildProtocol(ADDRESS)
        if client is not None:
            network = self.network
            pair = Pair(client, server, network.portions, network, network.latencySeconds)
            self.network.pairs.append(pair)
            self._pair = pair

    def fail(self, reason: Exception) -> None:
        """The other end cannot be reached."""
        self._hasFailed = True
        self.factory.clientConnectionFailed(self, Failure(reason))

    def disconnect(self) -> None:
        """The client gives the attempt up, or ends the connection that came about."""
        if self._pair is not None:
            self._pair.clientTransport.loseConnection()
        elif not self._hasFailed:
            self.isGivenUp = True
            self.fail(error.UserError())


class MemoryNetwork(Clock):
    """Time, names and connections in memory.

    Args:
        answers: Who answers where `listen` has put nobody; without it nobody does.
        addresses: What every other name stands for.
        portions: How the bytes of each connection are cut: `whole`, `singleBytes` or
            `randomPortions(seed)`. A server that is right does the same with all of them.
        latencySeconds: How long bytes are on their way, in either direction.

    Attributes:
        answers: As given; may be changed.
        pairs: The connections that came about, oldest first.
        connectors: All attempts.
    """

    def __init__(
        self,
        answers: Answer | None = None,
        addresses: Sequence[IPv4Address | IPv6Address] = (ADDRESS,),
        portions: Portions = whole,
        latencySeconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.addresses = tuple(addresses)
        self.portions = portions
        self.latencySeconds = latencySeconds
        self.nameResolver = self
        self.pairs: list[Pair] = []
        self.connectors: list[MemoryConnector] = []
        self.answers = answers
        self._named: dict[str, str] = {}
        self._listening: dict[tuple[str, int], Any] = {}

    # ── servers and logins ────────────────────────────────────────────────────────────────────

    def listen(self, factory: Any, host: str = "server.test", port: int = 22) -> None:
        """Let a factory (`SSHFactory`, or one's own) answer whoever connects there."""
        number = len(self._named) + 1
        address = self._named.setdefault(host, f"{_LISTENERS_NETWORK}.{number >> 8}.{number & 255}")
        factory.doStart()
        self._listening[address, port] = factory

    def logIn(
        self,
        factory: Any,
        user: str,
        *,
        password: str | bytes | None = None,
        keys: Iterable[Key] = (),
        answer: Callable[[bytes, bytes, list[tuple[bytes, bool]]], Any] | None = None,
        **options: object,
    ) -> Client:
        """Log in at a factory's server, with a real key exchange and real authentication.

        Args:
            factory: An `SSHFactory`, with its host keys and its portal.
            user: The name to log in under.
            password, keys, answer: As for `limpet.connect`; nothing else is tried, and no file of
                whoever runs the test is read.
            options: More of ssh_config(5), such as `Ciphers="aes128-ctr"`.

        Returns:
            The client. Its Deferreds fire inside `settle`, `wait` and `result`.

        Raises:
            ClientError: The login failed; the text says how.
        """
        host = f"server{len(self._listening) + 1}.test"
        self.listen(factory, host)
        connecting = clients.connect(
            host,
            user=user,
            password=password,
            keys=keys,
            answer=answer,
            hostKeys=lambda *ignored: True,
            options={"IdentityAgent": "none", **options},
            configFiles=(),
            only=True,
            reactor=self,
        )
        client: Client = self.result(connecting)
        return client

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(1000):
            self.advance(0)
            before = [pair.operations for pair in self.pairs]
            for pair in list(self.pairs):
                pair.pump()
            calls = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
            if not calls and before == [pair.operations for pair in self.pairs]:
                return
        raise AssertionError("the connections do not come to rest")

    def wait(self, seconds: float) -> None:
        """Let time pass, and everything happen that comes due."""
        end = self.seconds() + seconds
        self.settle()
        while self.seconds() < end:
            due = min((call.getTime() for call in self.getDelayedCalls()), default=end)
            # At least so much that no rounding keeps the time where it is.
            self.advance(max(_LEAST_STEP_SECONDS, min(due, end) - self.seconds()))
            self.settle()

    def result(self, awaited: Any, patienceSeconds: float = PATIENCE_SECONDS) -> Any:
        """What a Deferred fires with or a coroutine returns, once all has happened for that.

        Args:
            awaited: The Deferred or coroutine; its failure is raised.
            patienceSeconds: How long to wait for it, in the network's own time.

        Raises:
            StillWaiting: It has not fired by then.
        """
        pending = awaited
        if inspect.iscoroutine(awaited):
            pending = defer.Deferred.fromCoroutine(awaited)
        outcomes: list[Any] = []
        pending.addBoth(outcomes.append)
        end = self.seconds() + patienceSeconds
        self.settle()
        while not outcomes and self.seconds() < end:
            self.wait(STEP_SECONDS)
        if not outcomes:
            raise StillWaiting(f"nothing has come in {patienceSeconds:g} seconds")
        if isinstance(outcomes[0], Failure):
            outcomes[0].raiseException()
        return outcomes[0]

    def cut(self) -> None:
        """The network fails: every connection is lost, with whatever was on its way."""
        for pair in self.pairs:
            pair.cut()

    # ── what a connection asks of a reactor ───────────────────────────────────────────────────

    def resolveHostName(
        self,
        receiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> None:
        """Name the addresses of a host (IHostnameResolver)."""
        receiver.resolutionBegan(None)
        wanted = tuple(addressTypes or (IPv4Address, IPv6Address))
        own = self._named.get(hostName)
        for address in self.addresses if own is None else [IPv4Address("TCP", own, portNumber)]:
            if isinstance(address, wanted):
                receiver.addressResolved(type(address)("TCP", address.host, portNumber))
        receiver.resolutionComplete()

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> MemoryConnector:
        """Connect; the other end answers in the next turn (IReactorTCP)."""
        connector = MemoryConnector(self, host, port, factory)
        self.connectors.append(connector)
        self.callLater(0, self._answer, connector)
        return connector

    def _answer(self, connector: MemoryConnector) -> None:
        if connector.isGivenUp:
            return
        try:
            answer = self._protocolAt(connector.host, connector.port)
        except Exception as reason:  # noqa: BLE001 that is how a test says that it fails
            connector.fail(reason)
            return
        if answer is not None:
            connector.succeed(answer)

    def _protocolAt(self, host: str, port: int) -> Any:
        factory = self._listening.get((host, port))
        if factory is not None:
            return factory.buildProtocol(ADDRESS)
        if self.answers is None:
            raise error.ConnectionRefusedError()
        return self.answers(host, port)
