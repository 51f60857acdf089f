"""Listening sockets of forwarding: where a client, or a user at this machine, asked for one.

Rule: one that was asked for without an address, or with one that is not to be had, is for this
machine alone.

    address asked for        with gateway ports         without
    ""  *                    all addresses              loopback
    0.0.0.0  ::              all of that family         loopback
    localhost                loopback                   loopback
    127.0.0.1  ::1           that one                   that one
    another                  that one                   loopback

RFC 4254 section 7.1; ssh_config(5) and sshd_config(5), GatewayPorts.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError

from limpet.streams import AcceptedConnection

BACKLOG = 128
"""Connections that may wait to be accepted, as on the server's own port."""

_TAKEN = (errno.EADDRINUSE, errno.EACCES)

_CHOICES = 16
"""How often to let the system choose a port until it is free on every address: it looks at one."""

LOOPBACK = ("127.0.0.1", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::")


class ForwardedPort(tcp.Port):
    """A listening socket; one for IPv6 leaves IPv4 to another."""

    transport = AcceptedConnection

    def createInternetSocket(self) -> socket.socket:
        """A socket that does not take the other family's connections."""
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made


def addressesFor(asked: str, gatewayPorts: bool) -> Sequence[str]:
    """The addresses to bind for the one that was asked for; a name is returned as it is."""
    if asked in LOOPBACK:
        return (asked,)
    if asked == "localhost" or not gatewayPorts:
        return LOOPBACK
    if asked in ("", "*"):
        return EVERY_ADDRESS
    return (asked,)


class Listener:
    """Sockets that listen for one request: for one port, mostly on two addresses.

    Attributes:
        port: The port that they have.
    """

    def __init__(self, ports: Sequence[Any]) -> None:
        self._ports = tuple(ports)
        self.port: int = self._ports[0].getHost().port

    def stopListening(self) -> None:
        """Accept no more."""
        for port in self._ports:
            port.stopListening()

    def addresses(self) -> list[tuple[str, int]]:
        """Where they listen."""
        return [(port.getHost().host, port.getHost().port) for port in self._ports]


def listenOn(reactor: Any, addresses: Sequence[str], port: int, factory: Any) -> Listener:
    """Listen on numeric addresses, all with the same port.

    Args:
        reactor: Provides IReactorFDSet.
        addresses: Where. A machine may not have all of them, such as those of IPv6; one on which
            the port is taken is a failure, or callers would reach this or that by chance.
        port: The port; 0 takes one that is free on all of them.
        factory: Makes the protocols.

    Raises:
        CannotListenError: One of them is taken, or none is to be had.
    """
    for _ in range(1 if port else _CHOICES):
        ports: list[ForwardedPort] = []
        absent: CannotListenError | None = None
        taken: CannotListenError | None = None
        chosen = port
        for address in addresses:
            made = ForwardedPort(chosen, factory, BACKLOG, address, reactor)
            try:
                made.startListening()
            except CannotListenError as error:
                if getattr(error.socketError, "errno", None) in _TAKEN:
                    taken = error
                    break
                absent = absent or error
                continue
            ports.append(made)
            chosen = made.getHost().port  # type: ignore[no-untyped-call]
        if ports and taken is None:
            return Listener(ports)
        for other in ports:
            other.stopListening()  # type: ignore[no-untyped-call]
    raise taken or absent or CannotListenError(None, port, OSError("no address"))
