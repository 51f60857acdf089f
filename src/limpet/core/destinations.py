"""Where forwarding may lead, and where may be listened for a client: lists of rules.

Rule: what no rule allows is denied, and an exclusion beats every permission. An exclusion looks at
the addresses that are really connected to, not only at the name that was asked for, so that no
name, and no other way to write an address, leads around it.

    [!][USER@]HOST:PORT     HOST a name or address with * and ?, a network 10.0.0.0/8, or [::1]
                            PORT a number, a range 8000-8099, or *
    [!][USER@]/PATH         a Unix socket, with * and ?

Addresses are compared as what they reach: `::ffff:10.0.0.1` is 10.0.0.1, and `0.0.0.0` and `::`,
to which the system connects by way of the loopback, are 127.0.0.1 and ::1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from limpet.core.patterns import (
    MAX_PATTERN_LENGTH,
    canonicalNetwork,
    matchAddressList,
    matchPattern,
    parseAddress,
)

MAX_RULES = 256
"""Most rules of one list (ours)."""

MAX_HOST_LENGTH = 255
"""Longest name of a host, in bytes (RFC 1035 section 2.3.4)."""

MAX_SOCKET_PATH = 107
"""Longest path of a Unix socket, in bytes (Linux's unix(7), without the NUL)."""

MAX_PORT = 65535


class BadRule(ValueError):
    """A rule that is not of the form; the message says what is wrong with it."""


@dataclass(frozen=True)
class Rule:
    """One line of a list.

    Attributes:
        excludes: Whether what matches is denied.
        user: A pattern of the user's name.
        host: A pattern of a host, a network or an address; empty for a rule of sockets.
        lowest: The lowest port.
        highest: The highest port.
        path: A pattern of a socket's path; empty for a rule of hosts.
    """

    excludes: bool
    user: bytes
    host: bytes = b""
    lowest: int = 0
    highest: int = MAX_PORT
    path: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read one rule.

        Raises:
            BadRule: It is not one.
        """
        body = text.strip()
        if len(_bytes(body)) > MAX_PATTERN_LENGTH:
            # Such a pattern matches nothing, and so would exclude nothing either.
            raise BadRule(f"a rule of more than {MAX_PATTERN_LENGTH} bytes")
        excludes = body.startswith("!")
        if excludes:
            body = body[1:]
        user, at, place = body.rpartition("@")
        # A path may have an @ in it; a user's name has no slash.
        if at and "/" in user:
            user, place = "", body
        if body.startswith("!") or place.startswith("!"):
            # No host's name has one, so that such a rule would exclude nothing.
            raise BadRule(f"{text!r}: one ! stands at a rule's beginning, and none elsewhere")
        name = _bytes(user) or b"*"
        if place.startswith("/"):
            return cls(excludes, name, path=_bytes(place))
        host, colon, port = place.rpartition(":")
        if not colon or not host:
            raise BadRule(f"{text!r} is neither HOST:PORT nor the path of a socket")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise BadRule(f"{text!r}: write an IPv6 address in brackets, [::1]:80")
        if "/" in host:
            try:
                host = canonicalNetwork(host)
            except ValueError:
                raise BadRule(f"{text!r}: {host} is not a network, such as 10.0.0.0/8") from None
        if port == "*":
            lowest, highest = 0, MAX_PORT
        else:
            first, dash, last = port.partition("-")
            lowest = _port(text, first)
            highest = _port(text, last) if dash else lowest
            if highest < lowest:
                raise BadRule(f"{text!r}: the range of ports is empty")
        return cls(excludes, name, _bytes(host.lower()), lowest, highest)

    def matchesHost(self, host: bytes, address: str | None) -> bool:
        """Whether this is about the host of that name, or at that numeric address."""
        if not self.host:
            return False
        if matchPattern(self.host, host.lower()):
            return True
        return address is not None and matchAddressList(self.host, address)


def _bytes(text: str) -> bytes:
    """A rule's part as what it is held against: what a person typed, whatever the encoding."""
    return text.encode("utf-8", "surrogateescape")


def _port(text: str, digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= MAX_PORT):
        raise BadRule(f"{text!r}: a port is a number up to {MAX_PORT}, a range of them, or *")
    return int(digits)


class Destinations:
    """A list of rules, and what it says of one user.

    Args:
        rules: The rules, in any order.

    Raises:
        BadRule: One is not of the form, or there are more than `MAX_RULES`.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self.rules = tuple(Rule.parse(text) for text in rules)
        if len(self.rules) > MAX_RULES:
            raise BadRule(f"more than {MAX_RULES} rules")

    def allowsName(self, user: bytes, host: bytes, port: int) -> bool:
        """Whether some address of `host` might be allowed: asked before its name is looked up."""
        hits = [rule for rule in self._rulesFor(user, port) if rule.matchesHost(host, None)]
        if any(rule.excludes for rule in hits):
            return False
        # A rule that names addresses can only be asked when they are known.
        return bool(hits) or any(
            not rule.excludes and rule.host and not _isName(rule.host)
            for rule in self._rulesFor(user, port)
        )

    def allowsAddress(self, user: bytes, host: bytes, address: str, port: int) -> bool:
        """Whether `address`, to which `host` led, may be connected to or listened on."""
        found = False
        for rule in self._rulesFor(user, port):
            if rule.matchesHost(host, address):
                if rule.excludes:
                    return False
                found = True
        return found

    def allowsPath(self, user: bytes, path: bytes) -> bool:
        """Whether the Unix socket `path` may be used."""
        found = False
        for rule in self.rules:
            if rule.path and matchPattern(rule.user, user) and matchPattern(rule.path, path):
                if rule.excludes:
                    return False
                found = True
        return found

    def _rulesFor(self, user: bytes, port: int) -> list[Rule]:
        return [
            rule
            for rule in self.rules
            if rule.lowest <= port <= rule.highest and matchPattern(rule.user, user)
        ]


def _isName(host: bytes) -> bool:
    """Whether a pattern can only be meant for names: it has a letter that no address has."""
    return not frozenset(b"0123456789abcdef.:*?/").issuperset(host)


EVERYWHERE = Destinations(("*:*", "/*"))
"""Everything that can be named."""


def reachedAddress(address: str) -> str:
    """The address that connecting to the numeric `address` reaches, in its usual form.

    An IPv6 address keeps its scope.
    """
    parsed = parseAddress(address)
    if parsed is None:
        return address
    if parsed.is_unspecified:
        return "127.0.0.1" if parsed.version == 4 else "::1"
    _, percent, scope = address.partition("%")
    return f"{parsed}{percent}{scope}" if parsed.version == 6 else str(parsed)


def faultOfHost(host: bytes, port: int) -> str | None:
    """Why nothing can be connected to at that host and port; None if it may be tried."""
    if not 0 < port <= MAX_PORT:
        return f"{port} is not a port"
    if not host or len(host) > MAX_HOST_LENGTH:
        return "not the name of a host"
    if any(byte <= 32 or byte == 127 for byte in host) or b"/" in host or b"@" in host:
        return "not the name of a host"
    return None


def faultOfPath(path: bytes) -> str | None:
    """Why `path` cannot be the path of a socket; None if it may be tried."""
    if b"\0" in path:
        return "a path with a NUL"
    if not path.startswith(b"/"):
        return "a path that does not begin at /"
    if len(path) > MAX_SOCKET_PATH:
        return f"a path of more than {MAX_SOCKET_PATH} bytes"
    if b".." in path.split(b"/"):
        return "a path with .. in it"
    return None
