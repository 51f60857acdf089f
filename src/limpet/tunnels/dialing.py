"""Connecting to a host for somebody else: names, several addresses, and who may go where.

Rule: what is connected to is a numeric address that was judged. A name is looked up once, and the
addresses that it gave are what is asked about and what is used, so that it cannot mean something
else a moment later. Names are looked up in turn: the reactor's threads are everybody's.

    name ─► addresses ─► each as what it reaches ─► allowed? ─► tried, a quarter second apart
                                                              ─► the first that answers is it

RFC 8305 (Happy Eyeballs) with the resolver's own order.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredSemaphore, fail, inlineCallbacks, succeed
from twisted.internet.error import ConnectError, UserError
from twisted.internet.interfaces import IAddress, IConnector, IResolutionReceiver
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.core.destinations import reachedAddress
from limpet.error import ConchError
from limpet.ssh.forwarding.channels import wordsFor
from limpet.streams import dial
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

CONNECT_SECONDS = 30.0
"""How long looking up and connecting may take, all attempts together (ours)."""

ATTEMPT_SECONDS = 0.25
"""How long one address has before the next one is tried beside it (RFC 8305 section 5)."""

MAX_ADDRESSES = 8
"""Most addresses of one name that are tried (ours)."""

MAX_LOOK_UPS = 4
"""Names that are looked up at a time (ours): Twisted's pool has ten threads, of which a server's
logins need six (`limpet.checkers.workers`; attacks.md M5)."""

Judge = Callable[[str], bool]
"""Says of a numeric address whether it may be connected to."""


class _Single(ClientFactory):
    """Connects one protocol, and tells how that went."""

    noisy = False

    def __init__(self, attempt: _Attempts) -> None:
        self._attempt = attempt
        self.connector: Any = None
        self.wasConnected = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """The protocol, for the first connection that there is."""
        self.wasConnected = True
        return self._attempt.connected(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """This address does not answer."""
        if not self.wasConnected:
            self._attempt.failed(self, reason)


class _Attempts:
    """All attempts to connect to one host."""

    def __init__(
        self, reactor: Any, addresses: Sequence[str], port: int, protocol: Protocol
    ) -> None:
        self._reactor = reactor
        self._left = list(addresses)
        self._port = port
        self._protocol = protocol
        self._trying: list[_Single] = []
        self._next: Any = None
        self._failure: Failure | None = None
        self._isOver = False
        self.deferred: Deferred[Any] = Deferred(lambda _: self.stop())
        self._limit = reactor.callLater(CONNECT_SECONDS, self._tooLate)

    def tryNext(self) -> None:
        """Try one address more, if there is one."""
        self._next = None
        if self._isOver:
            return
        if not self._left:
            if not self._trying:
                self._finish(self._failure or Failure(ConnectError(string="no address")))
            return
        address = self._left.pop(0)
        single = _Single(self)
        self._trying.append(single)
        if self._left:
            self._next = self._reactor.callLater(ATTEMPT_SECONDS, self.tryNext)
        try:
            single.connector = dial(self._reactor, address, self._port, single, CONNECT_SECONDS)
        except Exception:  # noqa: BLE001 such as no descriptor left: this attempt failed
            self.failed(single, Failure())

    def failed(self, single: _Single, reason: Failure) -> None:
        """One address does not answer: try the next one now."""
        if self._isOver or single not in self._trying:
            return
        self._trying.remove(single)
        # What the first of them said is most likely what the caller can do something about.
        self._failure = self._failure or reason
        if self._next is not None:
            self._next.cancel()
        self.tryNext()

    def connected(self, single: _Single) -> Protocol | None:
        """One address answers."""
        if self._isOver:
            return None
        self._trying.remove(single)
        self.stop()
        protocol = self._protocol
        # When it has its transport, which it gets behind this.
        made = protocol.connectionMade

        def connectionMade() -> None:
            del protocol.connectionMade
            made()  # type: ignore[no-untyped-call]
            self.deferred.callback(protocol)

        protocol.connectionMade = connectionMade  # type: ignore[method-assign]
        return protocol

    def _tooLate(self) -> None:
        self._finish(
            self._failure
            or Failure(ConnectError(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))))
        )

    def _finish(self, failure: Failure) -> None:
        self.stop()
        self.deferred.errback(failure)

    def stop(self) -> None:
        """Give up what is under way."""
        self._isOver = True
        for call in (self._next, self._limit):
            if call is not None and call.active():
                call.cancel()
        trying, self._trying = self._trying, []
        for single in trying:
            if single.connector is not None:
                single.connector.stopConnecting()


def connectTo(
    reactor: Any,
    host: str,
    port: int,
    protocol: Protocol,
    judge: Judge | None = None,
    turns: DeferredSemaphore | None = None,
) -> Deferred[Any]:
    """Connect `protocol` to a host.

    Args:
        reactor: Provides IReactorFDSet, IReactorTime and, for names, IReactorPluggableNameResolver.
        host: A name or a numeric address.
        port: The port.
        protocol: What is to be connected.
        judge: Says which addresses may be used; None for all of them.
        turns: As for `lookUp`.

    Returns:
        A Deferred that fires with `protocol`, or fails with a `ConchError` whose reason is
        OPEN_ADMINISTRATIVELY_PROHIBITED or OPEN_CONNECT_FAILED. It can be cancelled.
    """
    looked = lookUp(reactor, host, port, turns)

    def judged(addresses: Sequence[str]) -> Deferred[Any]:
        reached = list(dict.fromkeys(reachedAddress(address) for address in addresses))
        allowed = [address for address in reached if judge is None or judge(address)]
        if not allowed:
            raise ConchError("not allowed to connect there", OPEN_ADMINISTRATIVELY_PROHIBITED)
        attempts = _Attempts(reactor, allowed[:MAX_ADDRESSES], port, protocol)
        attempts.tryNext()
        return attempts.deferred

    def told(failure: Failure) -> Failure:
        if failure.check(ConchError, UserError) is not None:
            return failure
        return Failure(ConchError(wordsFor(failure), OPEN_CONNECT_FAILED))

    return looked.addCallback(judged).addErrback(told)


@implementer(IResolutionReceiver)
class _Addresses:
    """Gathers what a name stands for.

    Attributes:
        deferred: Fires with the addresses; may be cancelled.
        whenDone: Called when the resolver is done, whoever still waits for it.
    """

    whenDone: Callable[[], object]

    def __init__(self) -> None:
        self.found: list[str] = []
        self._isOver = False
        self.deferred: Deferred[list[str]] = Deferred(lambda _: self._giveUp())

    def _giveUp(self) -> None:
        self._isOver = True

    def resolutionBegan(self, resolution: Any) -> None:
        """The look-up has begun; it cannot be stopped, only not be waited for."""

    def addressResolved(self, address: IAddress) -> None:
        """One address of the name."""
        if isinstance(address, IPv4Address | IPv6Address):
            self.found.append(str(address.host))

    def resolutionComplete(self) -> None:
        """That was all."""
        self.whenDone()
        if self._isOver:
            return
        self._isOver = True
        if self.found:
            self.deferred.callback(self.found)
        else:
            self.deferred.errback(ConchError("the host's name is not known", OPEN_CONNECT_FAILED))


# A reactor's threads are its own.
_turnsOf: WeakKeyDictionary[Any, DeferredSemaphore] = WeakKeyDictionary()


def lookUp(
    reactor: Any, host: str, port: int = 0, turns: DeferredSemaphore | None = None
) -> Deferred[Any]:
    """The numeric addresses of a host.

    Args:
        reactor: Provides IReactorTime and IReactorPluggableNameResolver.
        host: A name or a numeric address.
        port: The port that is meant.
        turns: How many names may be looked up at a time for whom this is, so that somebody else
            has turns, too; a turn lasts as long as the resolver needs, waited for or not.

    Returns:
        A Deferred that fires with a list of them, or fails with a `ConchError`. It can be
        cancelled.
    """
    if isIPAddress(host) or isIPv6Address(host):
        return succeed([host])
    try:
        # What getaddrinfo cannot be asked for, such as a label of 64 letters.
        host.encode("idna")
    except UnicodeError:
        return fail(ConchError("not the name of a host", OPEN_CONNECT_FAILED))
    everybodys = _turnsOf.setdefault(reactor, DeferredSemaphore(MAX_LOOK_UPS))
    deferred: Deferred[Any] = _inTurn(
        [everybodys] if turns is None else [turns, everybodys],
        lambda receiver: reactor.nameResolver.resolveHostName(
            receiver, host, port, transportSemantics="TCP"
        ),
    )
    limit = reactor.callLater(CONNECT_SECONDS, deferred.cancel)

    def done(result: Any) -> Any:
        if limit.active():
            limit.cancel()
        return result

    return deferred.addBoth(done)


@inlineCallbacks
def _inTurn(turns: Sequence[DeferredSemaphore], begin: Callable[[_Addresses], object]) -> Any:
    """What a resolver tells that is begun when all of `turns` have one for it."""
    taken: list[DeferredSemaphore] = []

    def release() -> None:
        while taken:
            taken.pop().release()

    receiver = _Addresses()
    receiver.whenDone = release
    try:
        for each in turns:
            yield each.acquire()
            taken.append(each)
        begin(receiver)
    except BaseException:
        release()
        raise
    return (yield receiver.deferred)
