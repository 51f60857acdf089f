"""The avatar from which Conch applications derive their own: channels and subsystems by name.

Rule: what is not in the two tables does not exist for the peer.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from limpet.error import ConchError
from limpet.interfaces import IConchUser
from limpet.wire.numbers import OPEN_UNKNOWN_CHANNEL_TYPE

__all__ = ["ConchUser"]


@implementer(IConchUser)
class ConchUser:
    """A logged-in user.

    Attributes:
        channelLookup: Channel type (bytes) to what makes the channel: called with the keywords
            `remoteWindow`, `remoteMaxPacket`, `data` and `avatar`.
        subsystemLookup: Subsystem name (bytes) to what makes its protocol: called with the whole
            body of the request and the keyword `avatar`.
        conn: The `SSHConnection` of this login; set by the connection when it starts.
        obeysRestrictions: Whether its sessions run the forced command of
            `conn.transport.restrictions` themselves, knowing what the client asked for. For others
            the connection puts the forced command in the place of every request for a program.
    """

    conn: Any = None
    obeysRestrictions = False

    def __init__(self) -> None:
        self.channelLookup: dict[bytes, Any] = {}
        self.subsystemLookup: dict[bytes, Any] = {}

    def lookupChannel(
        self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes
    ) -> Any:
        """Make the channel that the client asks for; see `IConchUser.lookupChannel`.

        Raises:
            ConchError: There is no such type here.
        """
        make = self.channelLookup.get(channelType)
        if make is None:
            raise ConchError("unknown channel", OPEN_UNKNOWN_CHANNEL_TYPE)
        return make(remoteWindow=windowSize, remoteMaxPacket=maxPacket, data=data, avatar=self)

    def lookupSubsystem(self, subsystem: bytes, data: bytes) -> Any:
        """Make the protocol of a subsystem, or None; see `IConchUser.lookupSubsystem`."""
        make = self.subsystemLookup.get(subsystem)
        return None if make is None else make(data, avatar=self)

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        """Call the method `global_NAME(data)`, with each - of the name as _; 0 without one."""
        try:
            name = requestType.decode("ascii").replace("-", "_")
        except UnicodeDecodeError:
            return 0
        handler = getattr(self, "global_" + name, None)
        return 0 if handler is None else handler(data)
