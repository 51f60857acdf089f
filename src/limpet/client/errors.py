"""How a client fails, told to a person: what happened, what both sides offered, what to change.

    ClientError
    ├── ConnectFailed          nothing answers there, or it is not reached in time
    ├── HandshakeFailed        it answers, and the two sides cannot agree on how to talk
    ├── HostKeyRefused         it is not who it should be, or nobody can say so
    ├── AuthenticationFailed   it does not let the user in
    ├── ConnectionEnded        it was there, and is gone
    ├── RequestRefused         it does not do what was asked of it: no such command, no terminal
    ├── CommandFailed          the command ran, and failed; only where that was asked to be an error
    └── CommandTimedOut        the command took longer than it may

Rule: the text of an error is fit for a terminal: what comes from the peer is escaped, and it holds
no secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limpet.error import ConchError

OWN_FAILURE = 255
"""Exit status of a client where it is not that of the command."""

MAX_PEER_TEXT = 400
"""Most characters of the peer's that an error quotes (ours)."""


def shown(text: bytes | str) -> str:
    """Words of the peer's as one line that no terminal acts on."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    return text if len(text) <= MAX_PEER_TEXT else text[:MAX_PEER_TEXT] + "…"


def told(text: str) -> bytes:
    """Words of ours as an `IUserInterface` takes them, whatever names of files are in them."""
    return text.encode("utf-8", "backslashreplace")


class ClientError(Exception):
    """Something that a client was asked to do did not work out; its text is for a person.

    Attributes:
        result: What a command had done by then, a `limpet.client.processes.Result`; None where it
            was not about a command.
        cause: What Twisted says about a connection that failed, a Failure; None where it is not
            from there.
        jump: The host on the way that it is about, as the configuration calls it; None where it
            is about the last one.
    """

    result: Any = None
    cause: Any = None
    jump: str | None = None

    def onTheWay(self, jump: str) -> None:
        """Say that this is about a host on the way, unless it is said already."""
        if self.jump is None:
            self.jump = jump
            self.args = (f"jump host {shown(jump)}: {self}", *self.args[1:])


class ConnectFailed(ClientError):
    """The host cannot be reached."""

    def __init__(self, message: str, cause: Any = None) -> None:
        super().__init__(message)
        self.cause = cause


class HandshakeFailed(ClientError):
    """The host was reached, and no encrypted connection came about."""

    def __init__(self, message: str, cause: Any = None) -> None:
        super().__init__(message)
        self.cause = cause


class HostKeyRefused(ClientError):
    """The host's key is not the one that it should have, or nobody vouches for it."""


class AuthenticationFailed(ClientError):
    """The server does not let the user in.

    Attributes:
        methods: The methods that the server would have taken at the end, as bytes.
        tried: What was tried, a line each, in order.
    """

    def __init__(
        self, message: Any = "", methods: Sequence[bytes] = (), tried: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.methods = tuple(methods)
        self.tried = tuple(tried)


class ConnectionEnded(ClientError):
    """The connection is over, and something still needed it."""


class RequestRefused(ClientError, ConchError):
    """The server refuses what was asked of it on a connection that goes on.

    It is a ConchError, too, since that is what Conch has for it, with the value and data that it
    has there: the peer's words and reason where it gave any.

    Args:
        message: What to tell a person.
        cause: What the connection said.
    """

    def __init__(self, message: str, cause: ConchError | None = None) -> None:
        value, data = (message, None) if cause is None else (cause.value, cause.data)
        ConchError.__init__(self, value, data)
        self.message = message

    def __str__(self) -> str:
        return self.message


class CommandFailed(ClientError):
    """A command ended with another status than 0."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class CommandTimedOut(ClientError):
    """A command was given up because it took too long."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result
