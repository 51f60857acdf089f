"""The environment of a session's program: what the server says, and the little that a client may.

Rule: nothing of the server's own environment is passed on, and a client sets only what the
allow-list names; everything else is refused (CVE-2014-2532: a prefix is compared, and a name has
only the characters of a name).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from limpet.core.patterns import plainAddress
from limpet.unix.accounts import Account

CLIENT_VARIABLES: tuple[bytes, ...] = (b"LANG", b"LC_*", b"TERM", b"GIT_PROTOCOL")
"""What a client may set unless the settings say otherwise; a trailing * stands for any ending."""

MAX_VARIABLES = 64
"""How many variables a client may set in one session (attack table G8)."""

MAX_VARIABLES_SIZE = 65536
"""How large a client's variables may be together, in bytes (attack table G8)."""

MAX_VARIABLE_NAME = 256
"""Longest name of a variable, in bytes."""

USER_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"
"""PATH of an ordinary user's session."""

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of root's session."""

_NAME_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


def isPermitted(name: bytes, allowed: Iterable[bytes]) -> bool:
    """Whether `allowed` names the variable `name`, which also has to be a plain shell name."""
    if not 0 < len(name) <= MAX_VARIABLE_NAME or not _NAME_BYTES.issuperset(name):
        return False
    if name[:1].isdigit():
        return False
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith(b"*") else name == pattern
        for pattern in allowed
    )


def isValue(value: bytes) -> bool:
    """Whether `value` may be a variable's value: no NUL, and no line break to forge a line with."""
    return not any(byte in value for byte in b"\0\n\r")


def loginEnvironment(account: Account, path: str | None = None) -> dict[bytes, bytes]:
    """What every session of `account` starts with."""
    default = ROOT_PATH if account.uid == 0 else USER_PATH
    variables = {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "PATH": path or default,
    }
    return {
        name.encode(): value.encode("utf-8", "surrogateescape") for name, value in variables.items()
    }


def connectionEnvironment(peer: object, host: object) -> dict[bytes, bytes]:
    """SSH_CLIENT and SSH_CONNECTION, where both addresses are those of TCP or UDP.

    Args:
        peer: The client's address, with `host` and `port`.
        host: The server's own address.
    """
    try:
        client = (plainAddress(str(peer.host)), str(int(peer.port)))  # type: ignore[attr-defined]
        server = (plainAddress(str(host.host)), str(int(host.port)))  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return {}
    return {
        b"SSH_CLIENT": " ".join((*client, server[1])).encode(),
        b"SSH_CONNECTION": " ".join((*client, *server)).encode(),
    }


class ClientVariables:
    """What one client asked to be set, within the limits.

    Args:
        allowed: The allow-list, names or prefixes with a trailing b"*".
    """

    def __init__(self, allowed: Iterable[bytes] = CLIENT_VARIABLES) -> None:
        self.allowed = tuple(allowed)
        self.values: dict[bytes, bytes] = {}

    def set(self, name: bytes, value: bytes) -> bool:
        """Set one variable; False where it is not permitted or one too many."""
        if not isPermitted(name, self.allowed) or not isValue(value):
            return False
        others: Mapping[bytes, bytes] = {
            key: item for key, item in self.values.items() if key != name
        }
        size = sum(len(key) + len(item) + 2 for key, item in others.items())
        if len(others) >= MAX_VARIABLES or size + len(name) + len(value) + 2 > MAX_VARIABLES_SIZE:
            return False
        self.values[name] = value
        return True
