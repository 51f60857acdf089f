"""What configurations and command lines say of hosts: destinations, jump hosts, forwardings.

Rule: a name that could mean something to a shell, a file path or an option parser is refused here,
before it is put in place of any token (attacks.md K3).
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_NAME_LENGTH = 255
"""Longest host or user name, in characters (RFC 1035 for hosts; ours for users)."""

MAX_JUMPS = 16
"""Most hosts of one ProxyJump (ours)."""

_NOT_IN_HOSTS = frozenset("'`\"$\\;&<>|(){}[],*?!#/@=^~")
_NOT_IN_USERS = frozenset("'`\"$;&<>|(){}")


class BadPlace(ValueError):
    """A host, user, port or forwarding that is not one; the message says why."""


@dataclass(frozen=True, slots=True)
class JumpHost:
    """A host on the way.

    Attributes:
        user: Who logs in there; None for whom its own configuration says.
        host: Its name as it was written; its own configuration may give it another.
        port: Its port; None for what its own configuration says.
    """

    user: str | None
    host: str
    port: int | None = None

    def __str__(self) -> str:
        user = "" if self.user is None else f"{self.user}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{user}{host}" if self.port is None else f"{user}{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ForwardSpec:
    """One forwarding: who listens where, and what is connected to.

    Attributes:
        listenHost: The address to listen at; None where none was given: loopback, unless
            GatewayPorts says otherwise. "" and "*" mean every address.
        listenPort: The port to listen at; None with `listenPath`. 0 lets the server choose, in a
            remote forwarding.
        targetHost: The host to connect to, None with `targetPath` and where the client of the
            forwarding says in the SOCKS protocol what it wants (a dynamic forwarding).
        targetPort: Its port, likewise.
        listenPath: The Unix socket to listen at, else None.
        targetPath: The Unix socket to connect to, else None.
    """

    listenHost: str | None
    listenPort: int | None
    targetHost: str | None = None
    targetPort: int | None = None
    listenPath: str | None = None
    targetPath: str | None = None

    @property
    def isDynamic(self) -> bool:
        """Whether the target is told in the SOCKS protocol."""
        return self.targetHost is None and self.targetPath is None


def targetOf(spec: ForwardSpec) -> str:
    """Where a forwarding leads, in one word."""
    if spec.targetPath is not None:
        return spec.targetPath
    if spec.targetHost is None:
        return "SOCKS"
    host = f"[{spec.targetHost}]" if ":" in spec.targetHost else spec.targetHost
    return f"{host}:{spec.targetPort}"


def checkHost(name: str) -> str:
    """`name` if it can be the name of a host.

    Raises:
        BadPlace: It is empty, too long, begins with a dash, or holds what no name has.
    """
    _checkName(name, "host name", _NOT_IN_HOSTS)
    if name in (".", ".."):
        raise BadPlace(f"{name!r} is not a host name")
    before, percent, _ = name.partition("%")
    if percent and ":" not in before:
        # Only the scope of an IPv6 address begins with one; nothing here is decoded.
        raise BadPlace(f"{name!r} is not a host name: it holds '%'")
    return name


def checkUser(name: str, allowSpaces: bool = False) -> str:
    """`name` if it can be the name of a user.

    Args:
        name: The name.
        allowSpaces: Whether there may be spaces in it, as in a name that somebody wrote into a
            configuration file of their own.

    Raises:
        BadPlace: As for hosts; a backslash may stand in it (DOMAIN\\user), not at its end.
    """
    _checkName(name.replace(" ", "_") if allowSpaces else name, "user name", _NOT_IN_USERS)
    if name.endswith("\\"):
        raise BadPlace(f"{name!r} is not a user name: it ends with a backslash")
    return name


def _checkName(name: str, what: str, forbidden: frozenset[str]) -> None:
    if not name:
        raise BadPlace(f"the {what} is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise BadPlace(f"the {what} is longer than {MAX_NAME_LENGTH} characters")
    if name.startswith("-"):
        raise BadPlace(f"{name!r} is not a {what}: it begins with a dash")
    for char in name:
        if char in forbidden or char.isspace() or not char.isprintable():
            raise BadPlace(f"{name!r} is not a {what}: it holds {char!r}")


def parsePort(text: str) -> int:
    """The number of a port.

    Raises:
        BadPlace: It is not 1 to 65535.
    """
    number = _port(text)
    if not number:
        raise BadPlace(f"{text!r} is not a port (1 to 65535)")
    return number


def _port(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        return None
    return int(text)


def parseDestination(text: str) -> JumpHost:
    """Read [user@]host or ssh://[user@]host[:port], as `ssh` takes it as its first argument.

    Without `ssh://`, everything behind the last @ is the host, an IPv6 address with or without
    brackets.

    Raises:
        BadPlace: It is neither.
    """
    if text.startswith("ssh://"):
        return _jump(text)
    user, at, host = text.rpartition("@")
    return JumpHost(checkUser(user) if at else None, checkHost(_unbracketed(host)))


def parseJumps(text: str) -> tuple[JumpHost, ...]:
    """Read the hosts of a ProxyJump, nearest first: [user@]host[:port] or ssh:// joined by commas.

    Returns:
        The hosts; none for "none".

    Raises:
        BadPlace: One is not that, or there are more than `MAX_JUMPS`.
    """
    if text.lower() == "none":
        return ()
    parts = text.split(",")
    if len(parts) > MAX_JUMPS:
        raise BadPlace(f"more than {MAX_JUMPS} jump hosts")
    return tuple(_jump(part) for part in parts)


def _jump(text: str) -> JumpHost:
    rest = text
    if text.startswith("ssh://"):
        rest = text.removeprefix("ssh://").removesuffix("/")
    user, at, place = rest.rpartition("@")
    host, port = _hostAndPort(place)
    return JumpHost(checkUser(user) if at else None, checkHost(host), port)


def _hostAndPort(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadPlace(f"{place!r}: the bracket does not close before the port")
        return host, parsePort(rest[1:]) if rest else None
    if place.count(":") == 1:
        host, _, port = place.partition(":")
        return host, parsePort(port)
    return place, None


def _unbracketed(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


# ── Forwardings ───────────────────────────────────────────────────────────────────────────────


def parseForward(text: str, *, dynamic: bool = False, remote: bool = False) -> ForwardSpec:
    """Read a forwarding as `-L`, `-R` and `-D` take it, and the configuration with a blank.

    [bind_address:]port:host:hostport, with a path in place of either end; of a dynamic forwarding
    only the first part, likewise of a remote one whose target SOCKS tells. An IPv6 address stands
    in brackets.

    Raises:
        BadPlace: It is not a forwarding.
    """
    fields = _fields(text)
    if fields is None or not 1 <= len(fields) <= 4:
        raise _badForward(text)
    paths = ["/" in field for field in fields]
    if dynamic or (remote and len(fields) <= 2 and not any(paths)):
        if len(fields) > 2 or any(paths):
            raise _badForward(text)
        host = fields[0] if len(fields) == 2 else None
        return ForwardSpec(host, _listenPort(fields[-1], remote, text))
    if len(fields) == 2 and all(paths):
        return ForwardSpec(None, None, listenPath=fields[0], targetPath=fields[1])
    if len(fields) in (2, 3) and paths[-1] and not any(paths[:-1]):
        host = fields[0] if len(fields) == 3 else None
        port = _listenPort(fields[-2], remote, text)
        return ForwardSpec(host, port, targetPath=fields[-1])
    if len(fields) == 3 and paths[0] and not any(paths[1:]):
        return ForwardSpec(None, None, *_target(fields[1:], text), listenPath=fields[0])
    if len(fields) >= 3 and not any(paths):
        host = fields[0] if len(fields) == 4 else None
        port = _listenPort(fields[-3], remote, text)
        return ForwardSpec(host, port, *_target(fields[-2:], text))
    raise _badForward(text)


def _fields(text: str) -> list[str] | None:
    """The parts between colons; those in brackets, or behind a backslash, keep theirs."""
    found: list[str] = []
    word = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "[" and not word:
            end = text.find("]", at)
            if end < 0:
                return None
            word = text[at + 1 : end]
            at = end + 1
            if at < len(text) and text[at] != ":":
                return None
            continue
        if char == "\\" and text[at + 1 : at + 2] in (":", "\\"):
            at += 1
            word += text[at]
        elif char == ":":
            found.append(word)
            word = ""
        else:
            word += char
        at += 1
    return [*found, word]


def _target(fields: list[str], text: str) -> tuple[str, int]:
    host, port = fields
    number = _port(port)
    if not host or not number:
        raise _badForward(text)
    return host, number


def _listenPort(text: str, remote: bool, whole: str) -> int:
    number = _port(text)
    if number is None or (number == 0 and not remote):
        raise _badForward(whole)
    return number


def _badForward(text: str) -> BadPlace:
    return BadPlace(f"{text!r} is not a forwarding; write [address:]port:host:hostport")
