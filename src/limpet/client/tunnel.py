"""A connection inside a connection: the way through a jump host (RFC 4254 section 7.2).

Rule: to the protocol on top the channel is a transport as any other: its producer is paused, its
end told once; a channel that fails ends the inner connection, and an inner connection that ends
closes the channel. `ConnectionDone` says that the channel alone is closed, `ConnectionLost` that
the connection to the jump host is gone with it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.address import HostnameAddress

from limpet.client.errors import ConnectFailed, shown
from limpet.error import ConchError
from limpet.ssh.forwarding.messages import packOpen_direct_tcpip
from limpet.ssh.forwarding.streams import OutgoingStream

ORIGIN = ("127.0.0.1", 65535)
"""What direct-tcpip tells of where the connection comes from; there is no such place (ssh sends the
same)."""


class TunnelChannel(OutgoingStream):
    """A channel to a host behind the jump host.

    Args:
        protocol: What is to be connected.
        jumpHost: The name of the server, for a person.
        destination: Where it is to connect to, by a name that it knows.
        reactor: What the protocol's timers run on.
    """

    def __init__(
        self, protocol: Any, jumpHost: str, destination: HostnameAddress, reactor: Any
    ) -> None:
        super().__init__(protocol, b"direct-tcpip", destination, reactor=reactor)
        self._jumpHost = shown(jumpHost)
        self._place = f"{destination.hostname.decode('ascii')} port {destination.port}"

    def notOpened(self, reason: Any) -> Exception:
        """What to tell a person."""
        if isinstance(reason, ConchError):
            # `limpet serve` names the place, too.
            why = shown(reason.value).removeprefix(f"{self._place}: ")
            said = f"the jump host {self._jumpHost} does not connect to it: {why}"
        else:
            said = f"the connection to the jump host {self._jumpHost} was lost"
        return ConnectFailed(f"cannot connect to {self._place}: {said}")


def dialThrough(
    reactor: Any, connection: Any, jumpHost: str, host: str, port: int, factory: Any
) -> defer.Deferred[Any]:
    """Connect to `host` from the far end of `connection`, an `SSHConnection` to `jumpHost`.

    Returns:
        A Deferred of the connected protocol; it fails with `ConnectFailed`, and may be cancelled.
    """
    destination = HostnameAddress(host.encode("idna"), port)
    channel = TunnelChannel(factory.buildProtocol(destination), jumpHost, destination, reactor)
    connection.openChannel(channel, packOpen_direct_tcpip((destination.hostname, port), ORIGIN))
    return channel.outcome
