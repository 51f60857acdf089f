"""CPU time of a process tree, read from /proc (Linux).

A process that ends hands its times to the parent that reaps it, so the sum over the living
members of the tree of (own + reaped children's) time only grows and loses nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the command's closing parenthesis: proc(5).
PPID, UTIME, CSTIME = 1, 11, 14
SETTLE_SECONDS = 10.0
POLL_SECONDS = 0.01


def _statFields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def treeOf(root: int) -> dict[int, list[str]]:
    """{pid: stat fields} of `root` and all its living descendants."""
    stats = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _statFields(int(entry))):
            stats[int(entry)] = fields
    tree = {root: stats[root]} if root in stats else {}
    grew = True
    while grew:
        grew = False
        for pid, fields in stats.items():
            if pid not in tree and int(fields[PPID]) in tree:
                tree[pid] = fields
                grew = True
    return tree


def cpuSeconds(root: int) -> float:
    """User and system time of the tree so far, in seconds (the kernel counts in 10 ms)."""
    ticks = sum(sum(map(int, fields[UTIME : CSTIME + 1])) for fields in treeOf(root).values())
    return ticks / TICKS_PER_SECOND


def waitUntilOnly(root: int, members: set[int]) -> None:
    """Wait until the tree has no members but these: everything a connection started is reaped.

    Raises:
        TimeoutError: others still live after `SETTLE_SECONDS`.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while extra := set(treeOf(root)) - members:
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(extra)} of server {root} did not end")
        time.sleep(POLL_SECONDS)
