"""Forwarding of connections (RFC 4254 section 7, and OpenSSH's streamlocal): Conch's names first.

`messages` has what the messages carry, `client` joins a socket to a channel, `channels` are the
channels of forwarded connections, `streams` gives a channel to any Twisted protocol.
"""

from limpet.ssh.forwarding.channels import (
    SSHConnectForwardingChannel,
    SSHListenClientForwardingChannel,
    SSHListenForwardingChannel,
    SSHListenForwardingFactory,
    SSHListenServerForwardingChannel,
    UnixListenClientForwardingChannel,
    UnixListenServerForwardingChannel,
    openConnectForwardingClient,
)
from limpet.ssh.forwarding.client import SSHForwardingClient
from limpet.ssh.forwarding.messages import (
    packGlobal_tcpip_forward,
    packOpen_direct_tcpip,
    packOpen_forwarded_tcpip,
    unpackGlobal_tcpip_forward,
    unpackOpen_direct_tcpip,
    unpackOpen_forwarded_tcpip,
)

__all__ = [
    "SSHConnectForwardingChannel",
    "SSHForwardingClient",
    "SSHListenClientForwardingChannel",
    "SSHListenForwardingChannel",
    "SSHListenForwardingFactory",
    "SSHListenServerForwardingChannel",
    "UnixListenClientForwardingChannel",
    "UnixListenServerForwardingChannel",
    "openConnectForwardingClient",
    "packGlobal_tcpip_forward",
    "packOpen_direct_tcpip",
    "packOpen_forwarded_tcpip",
    "unpackGlobal_tcpip_forward",
    "unpackOpen_direct_tcpip",
    "unpackOpen_forwarded_tcpip",
]
