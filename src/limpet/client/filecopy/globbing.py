"""Patterns for remote names: `*`, `?`, `[a-z]`, `[!a-z]` and `\\`, as glob(7) has them.

Rule: a pattern is matched component by component against what the server lists, and only names that
are names (`checkName`) can match; a dot at the start matches a dot alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator

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


class Component:
    """One component of a pattern, to be held against names.

    It costs at most length times length: a server chooses the names, and a regular expression of a
    few `*` would take years for one of them (attacks.md F7).

    Args:
        pattern: The component.
    """

    def __init__(self, pattern: bytes) -> None:
        self._takesHidden = pattern[:1] == b"."
        # What each place of a name may be; None for any number of places.
        self._places = list(_places(pattern))

    def match(self, name: bytes) -> bool:
        """Whether the name, all of it, is as the pattern says."""
        if name[:1] == b"." and not self._takesHidden:
            return False
        places = self._places
        at = seen = resume = 0
        star = -1
        while seen < len(name):
            place = places[at] if at < len(places) else _NOTHING
            if place is None:
                star, resume = at, seen
                at += 1
            elif name[seen] in place:
                at += 1
                seen += 1
            elif star >= 0:
                # What an earlier star could have taken, the latest one can take too.
                resume += 1
                seen, at = resume, star + 1
            else:
                return False
        return all(place is None for place in places[at:])


_ALL = frozenset(range(256))
_NOTHING: frozenset[int] = frozenset()


def _places(pattern: bytes) -> Iterator[frozenset[int] | None]:
    at = 0
    while at < len(pattern):
        character = pattern[at : at + 1]
        at += 1
        if character == b"*":
            yield None
        elif character == b"?":
            yield _ALL
        elif character == b"[" and (end := _endOfSet(pattern, at)) > 0:
            yield _set(pattern[at:end])
            at = end + 1
        else:
            if character == b"\\" and at < len(pattern):
                character = pattern[at : at + 1]
                at += 1
            yield frozenset(character)


def _endOfSet(pattern: bytes, at: int) -> int:
    """Where the `]` of a set is; -1 where it has none, so that its `[` stands for itself."""
    first = at + 1 if pattern[at : at + 1] in (b"!", b"^") else at
    return pattern.find(b"]", first + 1)


def _set(content: bytes) -> frozenset[int]:
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
    return _ALL - members if negated else frozenset(members)


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
        component = Component(part)
        deeper: list[bytes] = []
        for path in found:
            for name in await namesIn(path):
                if component.match(name):
                    deeper.append(names.join(path, name))
        found = sorted(deeper)[:MAX_MATCHES]
    if not parts or not hasWildcard(parts[-1]):
        found = [path for path in found if await exists(path)]
    return found
