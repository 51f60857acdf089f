"""File names as a server tells them: which are names at all, and names made from them.

Rule: what a server lists becomes part of a local path only after `checkName`, so that no list of a
server's names a place outside the directory that is being written (attacks J1, J2).
"""

from __future__ import annotations

import hashlib

from limpet.client.errors import ClientError, shown

MAX_NAME_LENGTH = 255
"""Longest file name, in bytes: NAME_MAX of Linux and of every other common file system."""

TEMPORARY = b".limpet-"
PART = b".limpet-part"
DIGEST_LENGTH = 8


class SuspiciousName(ClientError):
    """A name that no file of a directory can have, such as `..` or `a/b`."""


def checkName(name: bytes) -> bytes:
    """`name`, if it is one component of a path.

    Raises:
        SuspiciousName: It is empty, `.` or `..`, or holds a slash or a NUL.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise SuspiciousName(
            f"the server lists '{shown(name)}', which is no name of a file; it is left alone"
        )
    return name


def baseName(path: bytes) -> bytes:
    """The last component of a path; empty where the path ends in none that is a name."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    return b"" if name in (b".", b"..") else name


def parentOf(path: bytes) -> bytes:
    """The directory that `path` is in: empty for a relative path of one component."""
    head, slash, _ = path.rstrip(b"/").rpartition(b"/")
    return head.rstrip(b"/") or slash


def join(directory: bytes, name: bytes) -> bytes:
    """`name` below `directory`; either may be empty."""
    if not directory or not name:
        return directory or name
    return directory + name if directory.endswith(b"/") else directory + b"/" + name


def temporaryName(name: bytes, token: bytes) -> bytes:
    """The hidden name under which a file is written before it gets the name `name`.

    Args:
        name: The final name.
        token: What makes it differ from others.
    """
    ending = TEMPORARY + token
    return b"." + name[: MAX_NAME_LENGTH - 1 - len(ending)] + ending


def partName(name: bytes) -> bytes:
    """The hidden name that the first part of a file keeps after a copy that was cut short."""
    if len(name) + 1 + len(PART) <= MAX_NAME_LENGTH:
        return b"." + name + PART
    digest = hashlib.sha256(name).hexdigest()[:DIGEST_LENGTH].encode()
    return b"." + name[: MAX_NAME_LENGTH - 2 - len(PART) - DIGEST_LENGTH] + b"-" + digest + PART
