"""What runs on top of the transport: user authentication, then the connection.

RFC 4253 section 10.

Rule: a service is given the messages of its own numbers and nothing else; the transport's phase
table decides which numbers reach it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from limpet._logger import ClassLogger


class SSHService:
    """A service on an SSH transport; the base of `SSHUserAuthServer` and `SSHConnection`.

    A message whose number `protocolMessages` names "MSG_CHANNEL_OPEN" goes to the method
    `ssh_CHANNEL_OPEN(payload)`, the payload without its number. A handler may raise
    `ProtocolViolation` or `WireError`: the transport ends the connection.

    Attributes:
        name: The name by which a client asks for the service, for example b"ssh-connection".
        protocolMessages: Message number to the message's name, for all that the service handles.
        transport: The `SSHTransportBase` that carries the service; None until `setService`.
    """

    name: bytes = b""
    protocolMessages: ClassVar[Mapping[int, str]] = {}
    transport: Any = None

    _log = ClassLogger()

    def serviceStarted(self) -> None:
        """The service is active on the transport and may send."""

    def serviceStopped(self) -> None:
        """The service is over: another one took its place, or the connection was lost."""

    def logPrefix(self) -> str:
        """What identifies the service in a log: its name, and the transport's prefix."""
        name = self.name.decode("ascii", "backslashreplace")
        transport = self.transport
        under = transport.logPrefix() if hasattr(transport, "logPrefix") else "no transport"
        return f"SSHService {name} on {under}"

    def packetReceived(self, messageNum: int, packet: bytes) -> Any:
        """Hand one message to the method that its number names.

        Args:
            messageNum: The message's number.
            packet: The payload behind the number.

        Returns:
            What the handler returns. None, after a MSG_UNIMPLEMENTED, where there is no handler.
        """
        handler = self._handlerFor(messageNum)
        if handler is not None:
            return handler(packet)
        if self.transport is not None:
            self.transport.sendUnimplemented()
        return None

    def _handlerFor(self, messageNum: int) -> Callable[[bytes], Any] | None:
        # Looked up on each message, because applications replace handlers on instances.
        name = self.protocolMessages.get(messageNum)
        if name is None:
            return None
        # Interned: the interpreter finds a method by the name that it has met before.
        method = sys.intern("ssh_" + name.removeprefix("MSG_"))
        handler: Callable[[bytes], Any] | None = getattr(self, method, None)
        return handler
