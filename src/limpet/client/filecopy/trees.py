"""What both sides of a copy are to it: a tree of files, at a server or here.

Rule: a tree has a root that the person named, and every path in it is relative to that root, made
of names that were checked. Its methods raise `CopyProblem`, or the errors of the side itself.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from twisted.internet import defer

from limpet.client.filecopy.pump import Sink, Source

Attrs = Mapping[str, Any]

PERMISSION_BITS = 0o777
"""What is copied of a mode. Set-user-id, set-group-id and sticky bits are nothing that a server may
hand to files here, nor what a copy should carry there (OpenSSH CVE-2026-35385; attack J3)."""


class Entry(NamedTuple):
    """A name in a directory, and its attributes as far as the listing has them."""

    name: bytes
    attrs: Attrs


class SourceFile(Source, Protocol):
    """A file that is open for reading."""

    async def size(self) -> int | None:
        """Its size now."""

    def close(self) -> None:
        """Close it; nothing is reported."""


class TargetFile(Source, Sink, Protocol):
    """A file that is being written, under a name of its own until it is complete.

    Attributes:
        startsAt: How many bytes of it are there from an earlier copy.
        uncertain: How many bytes at the end of them may have holes.
        serial: Whether it can only be written from the start to the end.
    """

    startsAt: int
    uncertain: int
    serial: bool

    async def restart(self) -> None:
        """Forget what is there: what follows is written from the start."""

    async def commit(self, size: int, attrs: Attrs, sync: bool) -> None:
        """Everything is written: check the size, set `attrs`, and give the file its name."""

    async def publish(self) -> None:
        """The second half of `commit`, for a file that is verified in between."""

    async def abandon(self, solidUntil: int | None) -> bool:
        """Give up. The first `solidUntil` bytes are kept for a resumption, None for nothing.

        Returns whether something was kept. It never raises.
        """


@dataclass(frozen=True)
class TargetPlan:
    """How a file is to be written.

    Attributes:
        mode: Its permission bits where it is new.
        size: The size of what will be written, if it is known.
        resume: Whether to go on where an earlier copy ended.
        atomic: Whether it has another name until it is complete.
        fresh: Whether its directory was made just now, so that nothing can be there.
        named: Whether the person named it, so that links and devices there are what was meant.
    """

    mode: int
    size: int | None = None
    resume: bool = False
    atomic: bool = True
    fresh: bool = False
    named: bool = False


class Tree(Protocol):
    """One side of a copy."""

    root: bytes

    @property
    def blockSize(self) -> int:
        """How many bytes to ask for at a time."""

    @property
    def requests(self) -> int:
        """How many times, before the first is answered."""

    def shown(self, path: bytes) -> bytes:
        """The path as a person would write it."""

    async def attrs(self, path: bytes, follow: bool) -> Attrs:
        """The attributes of a path."""

    def entries(self, path: bytes) -> AsyncIterator[list[Entry]]:
        """The entries of a directory, `.` and `..` aside, some at a time."""

    async def open(self, path: bytes) -> SourceFile:
        """Open a file for reading."""

    async def create(self, path: bytes, plan: TargetPlan) -> TargetFile:
        """Begin to write a file."""

    async def reader(self, file: Any) -> Any:
        """What reads a `TargetFile` of this tree back, before it is published."""

    async def makeDirectory(self, path: bytes, mode: int) -> bool:
        """Make a directory that can be written to; returns whether it is new."""

    async def setAttrs(self, path: bytes, attrs: Attrs) -> None:
        """Set mode and times of a directory."""

    async def readLink(self, path: bytes) -> bytes:
        """What a symbolic link points to."""

    async def makeLink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link; one that is there is replaced."""

    async def realPath(self, path: bytes) -> bytes:
        """The path with its links followed."""


def isDirectory(attrs: Attrs) -> bool:
    return stat.S_ISDIR(attrs.get("permissions", 0))


def isLink(attrs: Attrs) -> bool:
    return stat.S_ISLNK(attrs.get("permissions", 0))


def isRegular(attrs: Attrs) -> bool:
    """Whether it is an ordinary file; one without a type is taken for one, as some servers tell
    none."""
    mode = attrs.get("permissions", 0)
    return stat.S_ISREG(mode) or not stat.S_IFMT(mode)


def hasType(attrs: Attrs) -> bool:
    """Whether the attributes tell what it is."""
    return bool(stat.S_IFMT(attrs.get("permissions", 0)))


def newMode(attrs: Attrs, default: int) -> int:
    """The permission bits for a copy of something with these attributes."""
    mode: int = attrs.get("permissions", default)
    return mode & PERMISSION_BITS


def firing(value: Any) -> defer.Deferred[Any]:
    """`value` as a Deferred, if it is none."""
    return value if isinstance(value, defer.Deferred) else defer.succeed(value)
