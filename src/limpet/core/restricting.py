"""What the restrictions of a login mean for the messages of the connection protocol.

Rule: this is asked before the application is, so that an avatar that has never heard of
restrictions obeys them as well; and what is not understood is denied.

    CHANNEL_OPEN    ──▶ allowsChannel          direct-tcpip, direct-streamlocal, tun
    GLOBAL_REQUEST  ──▶ allowsGlobalRequest    tcpip-forward, streamlocal-forward
    CHANNEL_REQUEST ──▶ allowsRequest          pty-req, x11-req, auth-agent-req
                    ──▶ forcedRequest          shell, exec, subsystem

The options are those of sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4254 sections 6 and 7.
"""

from __future__ import annotations

from limpet.core.authorizedkeys import Restrictions
from limpet.wire.errors import WireError
from limpet.wire.fields import NS
from limpet.wire.requests import TcpForward, TcpListen

_PROGRAMS = frozenset({b"shell", b"exec", b"subsystem"})


def allowsChannel(restrictions: Restrictions, channelType: bytes, data: bytes) -> bool:
    """Whether a client may open a channel of this type.

    Args:
        restrictions: What its login still allows.
        channelType: The type.
        data: What the message carries for the type.
    """
    if channelType == b"direct-tcpip":
        if not restrictions.permitOpen:
            return restrictions.allowPortForwarding
        try:
            target = TcpForward.decode(data)
        except WireError:
            return False
        return restrictions.mayOpen(target.host, target.port)
    if channelType == b"direct-streamlocal@openssh.com":
        # A list of hosts and ports names no path.
        return restrictions.allowPortForwarding and not restrictions.permitOpen
    if channelType == b"tun@openssh.com":
        return restrictions.allowPortForwarding and not restrictions.permitOpen
    return True


def allowsGlobalRequest(restrictions: Restrictions, requestType: bytes, data: bytes) -> bool:
    """Whether a client may ask for something that is about the whole connection.

    Args:
        restrictions: What its login still allows.
        requestType: The request's name.
        data: What the message carries for the name.
    """
    if requestType == b"tcpip-forward":
        if not restrictions.permitListen:
            return restrictions.allowPortForwarding
        try:
            wanted = TcpListen.decode(data)
        except WireError:
            return False
        return restrictions.mayListen(wanted.address, wanted.port)
    if requestType == b"streamlocal-forward@openssh.com":
        return restrictions.allowPortForwarding and not restrictions.permitListen
    return True


def allowsRequest(restrictions: Restrictions, requestType: bytes) -> bool:
    """Whether a client may ask for something of this name on a channel."""
    if requestType == b"pty-req":
        return restrictions.allowPty
    if requestType == b"x11-req":
        return restrictions.allowX11Forwarding
    if requestType == b"auth-agent-req@openssh.com":
        return restrictions.allowAgentForwarding
    return True


def forcedRequest(
    restrictions: Restrictions, requestType: bytes, data: bytes
) -> tuple[bytes, bytes] | None:
    """What a request to start a program becomes where the login forces a command.

    Args:
        restrictions: What the login still allows.
        requestType: The request's name.
        data: Its body.

    Returns:
        The name and the body of what is asked of the application; None for what is refused.
    """
    command = restrictions.forcedCommand
    if command is None or requestType not in _PROGRAMS:
        return requestType, data
    if requestType == b"subsystem":
        return None
    return b"exec", NS(command)
