"""Forwarding with sockets: connecting, listening, and a server's rules about both.

`dialing` connects to hosts, `listening` listens on ports, `serving` is what a server does for a
login. The channels themselves are in `limpet.ssh.forwarding`.
"""

from limpet.tunnels.serving import ForwardingPolicy, ForwardingService

__all__ = ["ForwardingPolicy", "ForwardingService"]
