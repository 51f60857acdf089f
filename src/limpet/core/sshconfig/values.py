"""The values of ssh_config(5): flags, numbers, times, amounts, lists of algorithms.

Rule: a value is read when its line is, whether or not the line's block applies, so that a slip is
told before the day it matters. Each reader takes a line's arguments and returns the value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from limpet.core.patterns import matchPatternList
from limpet.core.sshconfig.canonical import isDomain
from limpet.core.sshconfig.places import BadPlace, parseForward, parseJumps, parsePort

MAX_SECONDS = 2**31 - 1
"""Longest time (what OpenSSH's int holds)."""

MAX_AMOUNT = 2**63 - 1
"""Largest number of bytes (what OpenSSH's int64 holds)."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}


class BadValue(ValueError):
    """A value that its keyword does not take; the message says what it does."""


Reader = Callable[[Sequence[str]], Any]


def one(read: Callable[[str], Any]) -> Reader:
    """A reader of exactly one argument."""

    def reader(arguments: Sequence[str]) -> Any:
        if not arguments or not arguments[0]:
            raise BadValue("the value is missing")
        if len(arguments) > 1:
            raise BadValue(
                f"one value is expected, and there is more: {arguments[1]!r}; "
                "a value with spaces has to stand in quotes"
            )
        return read(arguments[0])

    return reader


def many(read: Callable[[str], Any]) -> Reader:
    """A reader of one or more arguments."""

    def reader(arguments: Sequence[str]) -> Any:
        if not arguments or not all(arguments):
            raise BadValue("the value is missing")
        return tuple(read(argument) for argument in arguments)

    return reader


def choice(*names: str, **others: str) -> Callable[[str], str]:
    """One of `names` in any case; `others` are further spellings of them."""
    table = {name.lower(): name for name in names} | others

    def read(text: str) -> str:
        found = table.get(text.lower())
        if found is None:
            raise BadValue(f"{text!r} is none of {', '.join(names)}")
        return found

    return read


_YES_NO = choice("yes", "no", true="yes", false="no")


def flag(text: str) -> bool:
    """yes, no, true or false."""
    return _YES_NO(text) == "yes"


def text(value: str) -> str:
    """Any text."""
    return value


def integer(value: str) -> int:
    """A whole number."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise BadValue(f"{value!r} is not a whole number")
    number = int(value)
    if not -MAX_SECONDS <= number <= MAX_SECONDS:
        raise BadValue(f"{value!r} is too large")
    return number


def port(value: str) -> int:
    """A port."""
    try:
        return parsePort(value)
    except BadPlace as failure:
        raise BadValue(str(failure)) from None


def time(value: str) -> int:
    """Seconds: a number, or numbers with units, "1h30m"; of "1.5" the whole ones."""
    total = 0
    digits = ""
    whole, point, fraction = value.lower().removesuffix("s").rpartition(".")
    if point and whole[-1:].isdigit() and fraction.isascii() and fraction.isdigit():
        value = whole
    for char in value.lower():
        if char.isascii() and char.isdigit():
            digits += char
        elif char in _UNITS and digits:
            total += int(digits) * _UNITS[char]
            digits = ""
        else:
            raise BadValue(f"{value!r} is not a time; write for example 90, 30s, 5m or 1h30m")
        if len(digits) > 10:
            raise BadValue(f"{value!r} is too long a time")
    total += int(digits or 0)
    if total > MAX_SECONDS:
        raise BadValue(f"{value!r} is too long a time")
    return total


def timeOrNone(value: str) -> int | None:
    """Seconds, or None for "none"."""
    return None if value == "none" else time(value)


def amount(value: str) -> int:
    """Bytes: a number with K, M, G behind it or not."""
    digits, factor = value, 1
    if value[-1:].lower() in _SIZES:
        digits, factor = value[:-1], _SIZES[value[-1].lower()]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise BadValue(f"{value!r} is not an amount; write for example 512M or 1G")
    number = int(digits) * factor
    if number > MAX_AMOUNT:
        raise BadValue(f"{value!r} is too much")
    return number


def rekeyLimit(arguments: Sequence[str]) -> tuple[int, int]:
    """Bytes and seconds; 0 where the default stays."""
    if not 1 <= len(arguments) <= 2:
        raise BadValue("write an amount, and after it a time if wanted: RekeyLimit 1G 1h")
    limit = 0 if arguments[0].lower() == "default" else amount(arguments[0])
    if 0 < limit < 16:
        raise BadValue(f"{arguments[0]!r} is too little")
    seconds = 0
    if len(arguments) == 2 and arguments[1].lower() != "none":
        seconds = time(arguments[1])
    return limit, seconds


def escapeChar(value: str) -> str:
    """One character, "^" and a letter for a control character, or "none"."""
    if value == "none" or len(value) == 1:
        return value
    if len(value) == 2 and value[0] == "^" and 64 <= ord(value[1].upper()) < 128:
        return chr(ord(value[1]) & 31)
    raise BadValue(f"{value!r} is not one character, ^ and a letter, or none")


def jumps(value: str) -> Any:
    """The hosts of a ProxyJump."""
    try:
        return parseJumps(value)
    except BadPlace as failure:
        raise BadValue(str(failure)) from None


def forward(remote: bool) -> Reader:
    """A reader of a LocalForward or RemoteForward: where to listen, and what to connect to."""

    def reader(arguments: Sequence[str]) -> Any:
        if not 1 <= len(arguments) <= 2 or (len(arguments) == 1 and not remote):
            raise BadValue("write where to listen and what to connect to: 8080 localhost:80")
        try:
            return parseForward(":".join(arguments), remote=remote)
        except BadPlace as failure:
            raise BadValue(str(failure)) from None

    return reader


def dynamicForward(value: str) -> Any:
    """A DynamicForward: [address:]port."""
    try:
        return parseForward(value, dynamic=True)
    except BadPlace as failure:
        raise BadValue(str(failure)) from None


def permittedTargets(arguments: Sequence[str]) -> tuple[tuple[str, int | None], ...] | None:
    """Hosts and ports, None for any port; None for "any", and nothing for "none".

    A host may be "*", which stands for every host and is no pattern.
    """
    if list(arguments) == ["any"]:
        return None
    if list(arguments) == ["none"]:
        return ()
    if not arguments:
        raise BadValue("the value is missing")
    found: list[tuple[str, int | None]] = []
    for argument in arguments:
        host, colon, digits = argument.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""
        if not (host and colon):
            raise BadValue(f"{argument!r} is not host:port")
        found.append((host.lower(), None if digits == "*" else port(digits)))
    return tuple(found)


def noneOrMany(read: Callable[[str], Any]) -> Reader:
    """A reader of one or more arguments; of none for "none", which stands alone."""
    several = many(read)

    def reader(arguments: Sequence[str]) -> Any:
        if any(argument.lower() == "none" for argument in arguments):
            if len(arguments) > 1:
                raise BadValue("none stands alone")
            return ()
        return several(arguments)

    return reader


def domain(value: str) -> str:
    """A domain, in lower case and without a dot at its end."""
    name = value.lower().removesuffix(".")
    if not isDomain(name):
        raise BadValue(f"{value!r} is not a domain such as example.com")
    return name


def cnameRule(value: str) -> tuple[str, str]:
    """Which names may be aliases, and of which others: two lists of patterns."""
    if value == "*":
        return "*", "*"
    sources, _, targets = value.lower().partition(":")
    if not sources or not targets:
        raise BadValue(f"{value!r} is not a rule such as *.a.example.com:*.b.example.com")
    return sources, targets


TRAFFIC_CLASSES = (
    {"ef": 0xB8, "le": 0x04, "va": 0xB0}
    | {f"cs{number}": number << 5 for number in range(8)}
    | {f"af{high}{low}": high << 5 | low << 3 for high in range(1, 5) for low in range(1, 4)}
)
"""Names of traffic classes (RFC 2474, 2597, 3246, 5865, 8622), as the byte in the packet."""

_RETIRED_CLASSES = ("lowdelay", "throughput", "reliability")
"""Names that OpenSSH reads, and leaves to the system since."""


def trafficClass(value: str) -> int | None:
    """The byte that packets are marked with; None to leave it to the system."""
    name = value.lower()
    if name == "none" or name in _RETIRED_CLASSES:
        return None
    if name in TRAFFIC_CLASSES:
        return TRAFFIC_CLASSES[name]
    try:
        isNumber = len(name) <= 4 and name.isascii() and name.isalnum()
        number = int(name, 16 if name.startswith("0x") else 10) if isNumber else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 255:
        raise BadValue(f"{value!r} is no traffic class such as af21, cs1, ef, none or a number")
    return number


def trafficClasses(arguments: Sequence[str]) -> tuple[int | None, int | None]:
    """The traffic class of sessions at a terminal, and that of all others."""
    if not 1 <= len(arguments) <= 2:
        raise BadValue("write one traffic class, or two: for terminals, and for the rest")
    return trafficClass(arguments[0]), trafficClass(arguments[-1])


def channelTimeout(value: str) -> tuple[str, int]:
    """A pattern of channel types, and the seconds after which idle ones close; 0 for never."""
    kind, equals, text = value.partition("=")
    if not kind or not equals:
        raise BadValue(f"{value!r} is not type=time, such as session=5m")
    return kind, time(text)


def assignments(arguments: Sequence[str]) -> tuple[str, ...]:
    """NAME=value, one or more."""
    if not arguments:
        raise BadValue("the value is missing")
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if not name or not equals:
            raise BadValue(f"{argument!r} is not NAME=value")
    return tuple(arguments)


def preferred(
    wanted: str, default: Sequence[bytes], known: Collection[bytes]
) -> tuple[list[bytes], list[str]]:
    """The algorithms that a list asks for, in its order, of those that Limpet has.

    Args:
        wanted: Names joined by commas in place of the default; or +names to have them too, -names
            (patterns) to go without, ^names to have them first.
        default: What is offered without a list.
        known: All that can be offered.

    Returns:
        The names, and the names in the list that Limpet does not have.
    """
    sign = wanted[:1] if wanted[:1] in ("+", "-", "^") else ""
    body = wanted[len(sign) :]
    names = [name.encode("utf-8", "surrogateescape") for name in body.split(",") if name]
    if sign == "-":
        patterns = body.encode("utf-8", "surrogateescape")
        return [name for name in default if not matchPatternList(patterns, name)], []
    missing = [name.decode("utf-8", "backslashreplace") for name in names if name not in known]
    have = [name for name in names if name in known]
    if sign == "+":
        have = [*default, *have]
    elif sign == "^":
        have = [*have, *default]
    return list(dict.fromkeys(have)), missing
