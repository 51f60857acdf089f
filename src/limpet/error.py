"""The errors that Limpet and applications exchange through its documented interfaces.

Rule: none of these ends a connection by itself; how a peer breaks the protocol is told by
`limpet.core.errors`. The names are those under which Conch documents them.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin

__all__ = [
    "ConchError",
    "HostKeyChanged",
    "IgnoreAuthentication",
    "InvalidEntry",
    "MissingKeyStoreError",
    "NotEnoughAuthentication",
    "PasswordChangeRequired",
    "UnauthorizedLogin",
    "UserRejectedKey",
    "ValidPublicKey",
]


class ConchError(Exception):
    """Something in the SSH protocol did not work out: a channel refused, a request failed.

    Args:
        value: What happened, in words (bytes where they came from, or go to, the peer).
        data: What belongs to it; for a channel that was not opened, the reason code `OPEN_*`.
    """

    def __init__(self, value: Any, data: Any = None) -> None:
        super().__init__(value, data)
        self.value = value
        self.data = data


class NotEnoughAuthentication(Exception):
    """The credentials are good, but the user has to present those of another kind as well.

    A checker that raises it makes the server answer with partial success (RFC 4252 section 5.1).
    """


class ValidPublicKey(UnauthorizedLogin):
    """The key would be accepted, but the request carries no signature.

    A checker of `ISSHPrivateKey` raises it for credentials whose `signature` is None; the server
    then tells the client to come back with a signature (RFC 4252 section 7). It is never a login.
    """


class IgnoreAuthentication(Exception):
    """The application answers this authentication request itself; the server sends nothing."""


class PasswordChangeRequired(UnauthorizedLogin):
    """The password is right, but has expired; the server asks the client for a new one.

    A checker of `IUsernamePassword` raises it; the new password comes back in credentials that
    provide `IPasswordChangeCredentials` (RFC 4252 section 8).

    Args:
        prompt: What the user is told.
    """

    def __init__(self, prompt: bytes = b"Your password has expired.") -> None:
        super().__init__(prompt)
        self.prompt = prompt


class MissingKeyStoreError(Exception):
    """An agent server was asked about keys, and its factory has no `keys` to keep them in."""


class UserRejectedKey(Exception):
    """The person at the client did not accept the server's host key."""


class InvalidEntry(Exception):
    """A line of a known_hosts file is not an entry."""


class HostKeyChanged(Exception):
    """A host shows another key than the one that is recorded for it.

    Args:
        offendingEntry: The recorded entry, an `IKnownHostEntry`.
        path: The file that the entry stands in; None for an entry that is not from a file.
        lineno: The number of the entry's line in that file, from 1.
    """

    def __init__(self, offendingEntry: Any, path: Any = None, lineno: int | None = None) -> None:
        super().__init__(offendingEntry, path, lineno)
        self.offendingEntry = offendingEntry
        self.path = path
        self.lineno = lineno
