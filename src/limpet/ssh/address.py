"""The address of one end of an SSH connection: that of the transport below, marked as SSH."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from zope.interface import implementer


@implementer(IAddress)
class SSHTransportAddress:
    """What `getPeer` and `getHost` of an SSH transport and of its channels return.

    Args:
        address: The address of the transport that carries SSH: an IPv4Address, a UNIXAddress.
    """

    def __init__(self, address: IAddress) -> None:
        self.address = address

    def __repr__(self) -> str:
        return f"SSHTransportAddress({self.address!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SSHTransportAddress):
            return NotImplemented
        return bool(self.address == other.address)

    def __hash__(self) -> int:
        return hash(("SSH", self.address))
