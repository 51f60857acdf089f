"""Lines in the style of `ls -l`, as SFTP servers send them beside each name.

Rule: the columns are those that Conch documents, the months' names are English everywhere, and
`longName` is one line that no terminal obeys, whatever the file is called.
"""

from __future__ import annotations

import os
from stat import filemode
from time import localtime, time

__all__ = ["lsLine"]

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

RECENT_SECONDS = 60 * 60 * 24 * 31 * 6
"""A file is shown with its year, and without the hour, once it is older than this."""

_PRINTABLE = bytes(range(0x20, 0x7F)).replace(b"\\", b"")


def lsLine(name: str | bytes, s: os.stat_result) -> str:
    """The line for the file `name`.

    Args:
        name: As it is to be shown; bytes are UTF-8.
        s: Its `os.stat_result`.
    """
    shownName = name if isinstance(name, str) else shown(name)
    return line(shownName, s, str(s.st_uid), str(s.st_gid))


def line(name: str, details: os.stat_result, owner: str, group: str) -> str:
    """The same with names for the owner and the group."""
    mode = filemode(details.st_mode)
    if mode[0] == "?":
        mode = "!" + mode[1:]
    modified = int(details.st_mtime)
    try:
        parts = localtime(modified)
    except (OverflowError, OSError, ValueError):
        parts = localtime(0)
    if modified + RECENT_SECONDS < time() or modified > time() + RECENT_SECONDS:
        when = f" {parts.tm_year}"
    else:
        when = f"{parts.tm_hour:02d}:{parts.tm_min:02d}"
    return (
        f"{mode} {details.st_nlink:4d} {owner:<8s} {group:<8s} {details.st_size:8d} "
        f"{MONTHS[parts.tm_mon - 1]} {parts.tm_mday:02d} {when} {name}"
    )


def longName(name: bytes, details: os.stat_result, owner: str = "", group: str = "") -> bytes:
    """The line for a file of any name, as bytes; numbers where no names are given.

    What could move a terminal's cursor, or end the line, is shown as an escape of Python's.
    """
    text = line(shown(name), details, owner or str(details.st_uid), group or str(details.st_gid))
    return text.encode("utf-8")


def shown(name: bytes) -> str:
    """A name for people: UTF-8 as it is, control characters and all other bytes as escapes.

    By no codec that would have to be imported: in a jail there is nothing to import from.
    """
    if not name.translate(None, _PRINTABLE):
        return name.decode("ascii")
    text = name.decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )
