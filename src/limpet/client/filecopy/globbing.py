"""Patterns for remote names: `*`, `?`, `[a-z]`, `[!a-z]` and `\\`, as glob(7) has them.

Rule: a pattern is matched component by component against what the server lists, and only names that
are names (`checkName`) can match; a dot at the start matches a dot alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

from limpet.client.filecopy import names

MAGIC = re.compile(rb"[*?\[\\]")

MAX_MATCHES = 100_000
"""Most paths that one pattern may stand for (ours)."""


def isPattern(path: bytes) -> bool:
    """Whether the path has to be expanded, or at least to lose its backslashes."""
    return MAGIC.search(path) is not None


def quoted(path: bytes) -> bytes:
    """A pattern that matches `path` alone."""
    return MAGIC.sub(rb"\\\g<0>", path)


def unquoted(pattern: bytes) -> bytes:
    """The pattern without its backslashes: what it stands for where nothing matches it."""
    return re.sub(rb"\\(.)", rb"\1", pattern, flags=re.DOTALL)


def hasWildcard(pattern: bytes) -> bool:
    """Whether the pattern can match more than one name."""
    return re.search(rb"[*?\[]", re.sub(rb"\\.", b"", pattern, flags=re.DOTALL)) is not None


def compiled(pattern: bytes) -> re.Pattern[bytes]:
    """A regular expression for one component."""
    return re.compile(_expression(pattern), re.DOTALL)


def _expression(pattern: bytes) -> bytes:
    pieces = [] if pattern[:1] == b"." else [rb"(?!\.)"]
    at = 0
    while at < len(pattern):
        character = pattern[at : at + 1]
        at += 1
        if character == b"*":
            if not pieces or pieces[-1] != b".*":
                pieces.append(b".*")
        elif character == b"?":
            pieces.append(b".")
        elif character == b"[" and (end := _endOfSet(pattern, at)) > 0:
            pieces.append(_set(pattern[at:end]))
            at = end + 1
        else:
            if character == b"\\" and at < len(pattern):
                character = pattern[at : at + 1]
                at += 1
            pieces.append(re.escape(character))
    return b"".join(pieces) + rb"\Z"


def _endOfSet(pattern: bytes, at: int) -> int:
    """Where the `]` of a set is; -1 where it has none, so that its `[` stands for itself."""
    first = at + 1 if pattern[at : at + 1] in (b"!", b"^") else at
    return pattern.find(b"]", first + 1)


def _set(content: bytes) -> bytes:
    negated = content[:1] in (b"!", b"^")
    content = content[1:] if negated else content
    members: set[int] = set()
    at = 0
    while at < len(content):
        low = content[at]
        if content[at + 1 : at + 2] == b"-" and at + 2 < len(content):
            members.update(range(low, content[at + 2] + 1))
            at += 3
        else:
            members.add(low)
            at += 1
    if not members:  # a range that runs backwards
        return b"." if negated else b"(?!)"
    inside = b"".join(b"\\x%02x" % member for member in sorted(members))
    return (b"[^%b]" if negated else b"[%b]") % inside


async def expand(
    pattern: bytes,
    namesIn: Callable[[bytes], Awaitable[Iterable[bytes]]],
    exists: Callable[[bytes], Awaitable[bool]],
) -> list[bytes]:
    """The paths that a pattern stands for, sorted.

    Args:
        pattern: The pattern.
        namesIn: Lists a directory; empty where it is none.
        exists: Whether there is something at a path.
    """
    found = [b"/"] if pattern.startswith(b"/") else [b""]
    parts = [part for part in pattern.split(b"/") if part]
    for part in parts:
        if not hasWildcard(part):
            found = [names.join(path, unquoted(part)) for path in found]
            continue
        expression = compiled(part)
        deeper: list[bytes] = []
        for path in found:
            for name in await namesIn(path):
                if expression.match(name):
                    deeper.append(names.join(path, name))
        found = sorted(deeper)[:MAX_MATCHES]
    if not parts or not hasWildcard(parts[-1]):
        found = [path for path in found if await exists(path)]
    return found
