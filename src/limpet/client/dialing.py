"""The stream below the SSH connection: TCP to one of a name's addresses, or a program's pipes.

Rule: a name's addresses are tried as RFC 8305 says, one a short time after the other and the two
families in turn; the first that answers is taken, and the others are given up. A ProxyCommand is
started as a list of arguments, never by a shell.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet import defer, error, task
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet import streams
from limpet.client.config import ClientConfig
from limpet.client.errors import ConnectFailed
from limpet.client.interaction import CHOICES, STEPS
from limpet.client.names import addressOfInterface, aside

ATTEMPT_DELAY_SECONDS = 0.25
"""How long an address may take before the next one is tried beside it (RFC 8305 section 5)."""

ADDRESS_SECONDS = 120.0
"""How long one address may take where no ConnectTimeout is set; Linux gives up after 127 s."""

RETRY_SECONDS = 1.0
"""How long after one of several ConnectionAttempts the next one is made (OpenSSH's number)."""

MAX_ADDRESSES = 32
"""Most addresses of one name that are tried (ours)."""

REAP_SECONDS = 0.2
"""How often a ProxyCommand that is to end is looked for (ours)."""

REAP_ATTEMPTS = 25
"""How often, before it is killed."""

_ADDRESS_TYPES = {
    "any": (IPv4Address, IPv6Address),
    "inet": (IPv4Address,),
    "inet6": (IPv6Address,),
}


Follow = Callable[[int, str], object]
"""Is told of a step, with its level; see `limpet.client.interaction.IFollower`."""


def _nobody(level: int, text: str) -> None:
    """Nobody wants to hear of steps."""


# ── TCP ───────────────────────────────────────────────────────────────────────────────────────


@defer.inlineCallbacks
def dial(reactor: Any, config: ClientConfig, factory: Any, follow: Follow = _nobody) -> Any:
    """Connect by TCP to where `config` says.

    Args:
        reactor: Provides IReactorTCP, IReactorTime and IReactorPluggableNameResolver.
        config: Its hostName, port, addressFamily, bindAddress, connectTimeout and
            connectionAttempts count.
        factory: Makes the protocol, by `buildProtocol`.
        follow: Is told of each address that is tried, and of what comes of it.

    Returns:
        A Deferred of the connected protocol. It fails with `ConnectFailed`; it may be cancelled.
    """
    for left in reversed(range(max(1, config.connectionAttempts))):
        try:
            return (yield _dialOnce(reactor, config, factory, follow))
        except ConnectFailed:
            if not left:
                raise
        yield task.deferLater(reactor, RETRY_SECONDS)


def _dialOnce(
    reactor: Any, config: ClientConfig, factory: Any, follow: Follow
) -> defer.Deferred[Any]:
    race = _Race(reactor, config, factory, follow)
    _resolve(reactor, config).addCallbacks(race.start, race.fail)
    return race.winner


def _resolve(reactor: Any, config: ClientConfig) -> defer.Deferred[list[Any]]:
    """The addresses of the host, those of the two families in turn."""
    resolved: defer.Deferred[list[Any]] = defer.Deferred()
    found: list[Any] = []

    @implementer(IResolutionReceiver)
    class Receiver:
        def resolutionBegan(self, resolutionInProgress: Any) -> None:
            """It cannot be stopped; what comes of it is dropped."""

        def addressResolved(self, address: Any) -> None:
            found.append(address)

        def resolutionComplete(self) -> None:
            if not resolved.called:
                resolved.callback(inTurn(found))

    reactor.nameResolver.resolveHostName(
        Receiver(), config.hostName, config.port, _ADDRESS_TYPES[config.addressFamily], "TCP"
    )
    return resolved


def inTurn(addresses: Sequence[Any]) -> list[Any]:
    """Addresses so that the two families take turns, in the resolver's order (RFC 8305, 4)."""
    if not addresses:
        return []
    first = [address for address in addresses if type(address) is type(addresses[0])]
    second = [address for address in addresses if type(address) is not type(addresses[0])]
    mixed = []
    while first or second:
        mixed += first[:1] + second[:1]
        del first[:1], second[:1]
    return mixed[:MAX_ADDRESSES]


class _Race:
    """Attempts to connect to several addresses of one host, of which one is to come about."""

    def __init__(self, reactor: Any, config: ClientConfig, factory: Any, follow: Follow) -> None:
        self.winner: defer.Deferred[Any] = defer.Deferred(self._cancelled)
        self._factory = factory
        self._reactor = reactor
        self._config = config
        self._follow = follow
        self._left: list[Any] = []
        self._bindAddresses: dict[type, str | None] = {}
        self._attempts: list[Any] = []
        self._failures: list[Failure] = []
        self._next: Any = None
        self._isOver = False

    def start(self, addresses: list[Any]) -> None:
        """The name has been looked up."""
        found = ", ".join(address.host for address in addresses) or "none"
        self._follow(CHOICES, f"addresses of {self._config.hostName}: {found}")
        self._left = addresses
        if not addresses:
            self.fail(Failure(error.DNSLookupError()))
        elif self._config.bindInterface is not None:
            self._startFrom(self._config.bindInterface)
        else:
            self._tryNext()

    def _startFrom(self, interface: str) -> None:
        """Try the addresses of the family that the interface has an address of (BindInterface)."""
        for kind, family in ((IPv4Address, "inet"), (IPv6Address, "inet6")):
            address = addressOfInterface(interface, family)
            if address is None:
                self._left = [one for one in self._left if not isinstance(one, kind)]
            self._bindAddresses[kind] = address
        if self._left:
            self._tryNext()
        else:
            why = f"the interface {interface} (BindInterface) has no address to come from"
            self.fail(Failure(ConnectFailed(why)))

    def _tryNext(self) -> None:
        self._stopWaiting()
        if self._isOver or not self._left:
            return
        address = self._left.pop(0)
        config = self._config
        self._follow(STEPS, f"connecting to {address.host} port {address.port}")
        attempt = _AddressFactory(self, address.host)
        self._attempts.append(attempt)
        seconds = config.connectTimeout or ADDRESS_SECONDS
        bindAddress = self._bindAddresses.get(type(address), config.bindAddress)
        bind = (bindAddress, 0) if bindAddress else None
        connect = self._reactor.connectTCP
        arguments = (address.host, address.port, attempt, seconds, bind)
        if isinstance(self._reactor, PosixReactorBase):
            attempt.connector = streams.dial(self._reactor, *arguments)
        else:
            attempt.connector = connect(*arguments)
        if self._left and not self._isOver:
            self._next = self._reactor.callLater(ATTEMPT_DELAY_SECONDS, self._tryNext)

    def _stopWaiting(self) -> None:
        waiting, self._next = self._next, None
        if waiting is not None and waiting.active():
            waiting.cancel()

    def attemptFailed(self, attempt: _AddressFactory, reason: Failure) -> None:
        """One address does not answer: try the next at once."""
        self._attempts.remove(attempt)
        if self._isOver:
            return
        self._follow(STEPS, f"{attempt.host}: {_why(reason)}")
        self._failures.append(reason)
        if self._left:
            self._tryNext()
        elif not self._attempts:
            # The first address is the one that the system likes best.
            self.fail(self._failures[0])

    def connected(self, attempt: _AddressFactory, address: Any) -> Any:
        """An address answers: the protocol for it, None where another one was quicker."""
        if self._isOver:
            return None
        self._attempts.remove(attempt)
        self._giveUp()
        self._follow(STEPS, f"connected to {attempt.host}")
        protocol = self._factory.buildProtocol(address)
        # The caller hears of it once Twisted has connected it.
        self._reactor.callLater(0, self._announce, protocol)
        return protocol

    def _announce(self, protocol: Any) -> None:
        if not self.winner.called:
            self.winner.callback(protocol)

    def _giveUp(self) -> None:
        self._isOver = True
        self._stopWaiting()
        attempts, self._left = list(self._attempts), []
        for attempt in attempts:
            attempt.connector.disconnect()

    def _cancelled(self, ignored: Any) -> None:
        self._giveUp()

    def fail(self, reason: Failure) -> None:
        """None of the addresses answers, or there is none."""
        if self.winner.called:
            return
        self._giveUp()
        where = f"{self._config.hostName} port {self._config.port}"
        why = _why(reason)
        name, colon, port = self._config.hostName.partition(":")
        if reason.check(error.DNSLookupError) and colon and port.isdecimal():
            why += f"; for a port write -p {port} {name}, or ssh://{name}:{port}"
        self.winner.errback(ConnectFailed(f"cannot connect to {where}: {why}", reason))


class _AddressFactory:
    """What Twisted asks about one attempt."""

    noisy = False
    connector: Any = None

    def __init__(self, race: _Race, host: str) -> None:
        self.host = host
        self._race = race

    def doStart(self) -> None:
        """Nothing to do."""

    def doStop(self) -> None:
        """Nothing to do."""

    def startedConnecting(self, connector: Any) -> None:
        """Nothing to do."""

    def buildProtocol(self, address: Any) -> Any:
        return self._race.connected(self, address)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._race.attemptFailed(self, reason)

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """The protocol has heard of it."""


def _why(reason: Failure) -> str:
    """What kept a connection from being made, and what a person may do about it."""
    if reason.check(error.DNSLookupError):
        return "there is no such host, or its name cannot be looked up"
    if reason.check(error.ConnectionRefusedError):
        return "connection refused: nothing listens there (is the port right?)"
    if reason.check(error.TimeoutError, error.TCPTimedOutError):
        return "no answer in time (ConnectTimeout)"
    if reason.check(error.NoRouteError):
        return "there is no way to that address"
    if reason.check(error.ConnectBindError):
        return f"this end's address cannot be used (BindAddress): {reason.getErrorMessage()}"
    return reason.getErrorMessage()


def markPackets(transport: Any, trafficClass: int) -> None:
    """Have what a TCP connection sends marked (RFC 2474); of other streams nothing is marked.

    Args:
        transport: What the connection's protocol has for a transport.
        trafficClass: The byte: six bits of class, and two that the system sets itself.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket):
        return
    # What a system or a family does not have is not worth a connection.
    with suppress(OSError):
        if handle.family == socket.AF_INET6:
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, trafficClass)
        elif handle.family == socket.AF_INET:
            handle.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, trafficClass)


# ── ProxyCommand ──────────────────────────────────────────────────────────────────────────────


class _Adopted:
    """Makes the one protocol of a socket that is connected already."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.protocol: Any = None

    def doStart(self) -> None:
        """Nothing to do."""

    def doStop(self) -> None:
        """Nothing to do."""

    def buildProtocol(self, address: Any) -> Any:
        self.protocol = self._factory.buildProtocol(address)
        return self.protocol


def dialByCommand(
    reactor: Any, arguments: Sequence[str], factory: Any, isSilent: bool = False
) -> tuple[defer.Deferred[Any], ProxyProgram | None]:
    """Start a program whose standard input and output lead to the server.

    Args:
        reactor: Provides IReactorSocket.
        arguments: The program, and what it is given.
        factory: Makes the protocol.
        isSilent: Whether what it says on standard error is dropped.

    Returns:
        A Deferred of the connected protocol, which fails with `ConnectFailed`; and the program, to
        be ended with the connection.
    """
    ours, theirs = socket.socketpair()
    adopted = _Adopted(factory)
    program: ProxyProgram | None = None
    try:
        # A socket in place of two pipes: the transport on it is one of Twisted's, with all it can.
        program = ProxyProgram(
            reactor,
            subprocess.Popen(
                list(arguments),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL if isSilent else None,
            ),
        )
        ours.setblocking(False)
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, adopted)
    except (OSError, ValueError) as failure:
        if program is not None:
            program.end()
        why = getattr(failure, "strerror", None) or str(failure)
        cannot = ConnectFailed(f"cannot start the ProxyCommand {arguments[0]}: {why}")
        return defer.fail(cannot), None
    finally:
        ours.close()
        theirs.close()
    return defer.succeed(adopted.protocol), program


def dialByPassing(
    reactor: Any, arguments: Sequence[str], factory: Any
) -> tuple[defer.Deferred[Any], ProxyProgram | None]:
    """Start a program that connects, and passes the connection here (ProxyUseFdpass).

    Args, and what it returns: as for `dialByCommand`; the program has nothing to do after that.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(list(arguments), stdin=theirs.fileno(), stdout=theirs.fileno())
    except (OSError, ValueError) as failure:
        ours.close()
        why = getattr(failure, "strerror", None) or str(failure)
        cannot = ConnectFailed(f"cannot start the ProxyCommand {arguments[0]}: {why}")
        return defer.fail(cannot), None
    finally:
        theirs.close()
    adopted = _Adopted(factory)
    program = ProxyProgram(reactor, process)

    def passed(connection: socket.socket) -> Any:
        with connection:
            connection.setblocking(False)
            # As a copy, which is the reactor's.
            reactor.adoptStreamConnection(connection.fileno(), connection.family, adopted)
        return adopted.protocol

    def notPassed(reason: Failure) -> Failure:
        program.end()
        why = reason.getErrorMessage()
        return Failure(
            ConnectFailed(f"the ProxyCommand {arguments[0]} passed no connection: {why}")
        )

    def over(result: Any) -> Any:
        ours.close()
        return result

    # In a thread: nobody knows how long it takes to connect. Where it ends, so does the wait.
    receiving: defer.Deferred[Any] = aside(reactor, _receive, ours)
    waiting: defer.Deferred[Any] = defer.Deferred(lambda _: program.end())
    receiving.addBoth(over).addCallbacks(passed, notPassed)
    receiving.addBoth(lambda result: None if waiting.called else waiting.callback(result))
    return waiting, program


def _receive(connection: socket.socket) -> socket.socket:
    """The connection that somebody passes; waits for it. Raises OSError where none comes."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    if not descriptors:
        raise OSError("it ended")
    for other in descriptors[1:]:
        os.close(other)
    return socket.socket(fileno=descriptors[0])


class ProxyProgram:
    """A ProxyCommand that runs."""

    def __init__(self, reactor: Any, process: subprocess.Popen[bytes]) -> None:
        self._reactor = reactor
        self._process = process

    def end(self) -> None:
        """Its connection is over: hang up on it, and see to it that it ends."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)
            self._reap(REAP_ATTEMPTS)

    def _reap(self, left: int) -> None:
        if self._process.poll() is not None:
            return
        if not left:
            self._process.kill()
        if left >= 0:
            self._reactor.callLater(REAP_SECONDS, self._reap, left - 1)
