"""Lines that the shell prints: listings in short and long form, sizes, tables.

Rule: names are shown as `limpet.client.errors.shown` shows them, so that no name moves the cursor,
and a column is as wide as what is seen of it.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping, Sequence
from typing import Any

from limpet.client.errors import shown
from limpet.wire.sftp import StatVfs

UNITS = "BKMGTPE"
RECENT_SECONDS = 60 * 60 * 24 * 365 // 2
"""Older files are shown with their year instead of the hour, as ls does."""

GAP = 2


def humanSize(size: float) -> str:
    """A size in at most four characters before its unit: 1.5K, 23M."""
    if size < 1024:
        return f"{int(size)}B"
    power = 0
    while size >= 1023.5 and power < len(UNITS) - 1:
        size /= 1024
        power += 1
    return f"{size:.1f}{UNITS[power]}" if size < 9.95 else f"{size:.0f}{UNITS[power]}"


def columns(names: Sequence[str], width: int) -> list[str]:
    """Names side by side, sorted down the columns, in lines of at most `width`."""
    if not names:
        return []
    longest = max(len(name) for name in names) + GAP
    count = max(1, (width + GAP) // longest)
    height = -(-len(names) // count)
    lines = []
    for row in range(height):
        cells = names[row::height]
        lines.append("".join(name.ljust(longest) for name in cells).rstrip())
    return lines


def longLine(
    name: bytes, attrs: Mapping[str, Any], owner: str, group: str, *, human: bool, now: float
) -> str:
    """A line of `ls -l`; the protocol tells no number of links."""
    mode = stat.filemode(attrs["permissions"]) if "permissions" in attrs else "?" * 10
    size = attrs.get("size", 0)
    text = humanSize(size) if human else str(size)
    return f"{mode} {'?':>4} {owner:<8} {group:<8} {text:>12} {_when(attrs, now)} {shown(name)}"


def _when(attrs: Mapping[str, Any], now: float) -> str:
    if "mtime" not in attrs:
        return " " * 12
    then = time.localtime(attrs["mtime"])
    recent = now - RECENT_SECONDS < attrs["mtime"] <= now + 86400
    return time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", then)


def usage(sizes: StatVfs, *, human: bool, inodes: bool) -> list[str]:
    """The table of `df`, with its head."""
    if inodes:
        used = sizes.files - sizes.ffree
        head = ("Inodes", "Used", "Avail", "(root)", "%Capacity")
        numbers = (sizes.files, used, sizes.favail, sizes.ffree)
        texts = [str(number) for number in numbers]
        whole = sizes.files
    else:
        used = sizes.blocks - sizes.bfree
        head = ("Size", "Used", "Avail", "(root)", "%Capacity")
        unit = sizes.frsize or sizes.bsize
        counts = (sizes.blocks, used, sizes.bavail, sizes.bfree)
        texts = [humanSize(n * unit) if human else str(n * unit // 1024) for n in counts]
        whole = sizes.blocks
    percent = f"{100 * used // whole}%" if whole else "-"
    widths = [13] * 4 + [10]
    return [
        "".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in (head, [*texts, percent])
    ]
