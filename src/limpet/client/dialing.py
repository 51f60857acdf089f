"""The stream below the SSH connection: TCP to one of a name's addresses, or a program's pipes.

Rule: a name's addresses are tried as RFC 8305 says, one a short time after the other, and the first
that answers is taken; a ProxyCommand is started as a list of arguments, never by a shell.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer, error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet import streams
from limpet.client.errors import ConnectFailed

ATTEMPT_DELAY_SECONDS = 0.25
"""How long an address may take before the next one is tried beside it (RFC 8305 section 5)."""

ADDRESS_SECONDS = 120.0
"""How long one address may take where no ConnectTimeout is set; Linux gives up after 127 s."""

_ADDRESS_TYPES = {
    "any": (IPv4Address, IPv6Address),
    "inet": (IPv4Address,),
    "inet6": (IPv6Address,),
}


@implementer(IReactorPluggableNameResolver)
class _Dialler:
    """The reactor, as far as `HostnameEndpoint` needs it.

    It gives addresses of one family only, and connections that are `limpet.streams`' own.
    """

    def __init__(self, reactor: Any, addressTypes: Sequence[type]) -> None:
        self._reactor = reactor
        self._addressTypes = addressTypes
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        """Connect to one address."""
        if isinstance(self._reactor, PosixReactorBase):
            return streams.dial(self._reactor, host, port, factory, timeout, bindAddress)
        return self._reactor.connectTCP(host, port, factory, timeout, bindAddress)

    def installNameResolver(self, resolver: Any) -> Any:
        """Not here."""
        raise NotImplementedError

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Look a name up, for the wanted kinds of address."""
        return self._reactor.nameResolver.resolveHostName(
            resolutionReceiver, hostName, portNumber, self._addressTypes, transportSemantics
        )


def dial(reactor: Any, config: Any, factory: Any) -> defer.Deferred[Any]:
    """Connect by TCP to where `config` says.

    Args:
        reactor: Provides IReactorTCP, IReactorTime and IReactorPluggableNameResolver.
        config: Its hostName, port, addressFamily, bindAddress and connectTimeout count.
        factory: Makes the protocol.

    Returns:
        A Deferred of the connected protocol. It fails with `ConnectFailed`; it may be cancelled.
    """
    endpoint = HostnameEndpoint(
        _Dialler(reactor, _ADDRESS_TYPES[config.addressFamily or "any"]),
        config.hostName,
        config.port,
        timeout=config.connectTimeout or ADDRESS_SECONDS,
        bindAddress=(config.bindAddress, 0) if config.bindAddress else None,
        attemptDelay=ATTEMPT_DELAY_SECONDS,
    )
    where = f"{config.hostName} port {config.port}"

    def failed(reason: Failure) -> Failure:
        return Failure(ConnectFailed(f"cannot connect to {where}: {_why(reason)}", reason))

    dialling: defer.Deferred[Any] = endpoint.connect(factory)
    return dialling.addErrback(failed)


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
    if reason.check(error.ConnectingCancelledError, defer.CancelledError):
        return "given up"
    if reason.check(ValueError, UnicodeError):
        return "that is no name of a host"
    return reason.getErrorMessage()


# ── ProxyCommand ──────────────────────────────────────────────────────────────────────────────


class _Proxy(ProcessProtocol):
    """The program that carries the connection. That it ends shows at the socket."""


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


def dialByCommand(reactor: Any, arguments: Sequence[str], factory: Any) -> defer.Deferred[Any]:
    """Start a program whose standard input and output lead to the server.

    Args:
        reactor: Provides IReactorProcess and IReactorSocket.
        arguments: The program, and what it is given.
        factory: Makes the protocol.

    Returns:
        A Deferred of the connected protocol; it fails with `ConnectFailed`.
    """
    ours, theirs = socket.socketpair()
    adopted = _Adopted(factory)
    try:
        ours.setblocking(False)
        # A socket in place of two pipes: the transport on it is one of Twisted's, with all it can.
        reactor.spawnProcess(
            _Proxy(),
            arguments[0],
            list(arguments),
            env=dict(os.environ),
            childFDs={0: theirs.fileno(), 1: theirs.fileno(), 2: 2},
        )
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, adopted)
    except OSError as failure:
        return defer.fail(
            ConnectFailed(f"cannot start the ProxyCommand {arguments[0]}: {failure.strerror}")
        )
    finally:
        ours.close()
        theirs.close()
    return defer.succeed(adopted.protocol)
