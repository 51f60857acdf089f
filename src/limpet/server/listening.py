"""The listening socket: it makes prompt connections (`limpet.streams`) out of those it accepts.

Rule: a peer that has reset its connection by the time it is accepted is a connection that ends, and
no error of the port.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp

from limpet.server.settings import Address
from limpet.streams import AcceptedConnection

BACKLOG = 128
"""Connections that may wait to be accepted (Linux's old limit, and OpenSSH's)."""


class ServerPort(tcp.Port):
    """A listening socket that makes prompt connections.

    When the process has no descriptor left, Twisted's accept loop gives up its reserved one to
    refuse the connection and goes on; the port recovers by itself.
    """

    transport = AcceptedConnection

    def createInternetSocket(self) -> socket.socket:
        """A socket that takes what is sent to its own kind of address, and nothing else.

        On Linux `::` would take IPv4's connections, too, so that `0.0.0.0` at the same port could
        not be had, and addresses in the log would be in IPv6's clothes.
        """
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    def address(self) -> Address:
        """Where it listens, with the real port."""
        host, port = self.socket.getsockname()[:2]
        return Address(host, port)


def listen(reactor: Any, host: str, port: int, factory: Any) -> ServerPort:
    """Listen on the numeric address `host`.

    Args:
        reactor: Provides IReactorFDSet.
        host: An IPv4 or IPv6 address.
        port: The port; 0 takes a free one, see `getHost().port`.
        factory: Makes the protocols.

    Raises:
        CannotListenError: The system refuses; `socketError` says why.
    """
    result = ServerPort(port, factory, BACKLOG, host, reactor)
    result.startListening()
    return result


def adopt(reactor: Any, listening: socket.socket, factory: Any) -> ServerPort:
    """Take connections from a socket that listens already.

    Args:
        reactor: Provides IReactorFDSet.
        listening: The socket, not blocking. It is used up.
        factory: Makes the protocols.
    """
    result: ServerPort = ServerPort._fromListeningDescriptor(  # type: ignore[no-untyped-call]
        reactor, listening.fileno(), listening.family, factory
    )
    listening.close()
    result.startListening()
    return result
