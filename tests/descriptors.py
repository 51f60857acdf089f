"""Which descriptors this process has open, told apart from those that tests before have forgotten.

What an earlier test left in a cycle is closed by the garbage collector whenever it happens to run,
so two plain listings of `/proc/self/fd` may differ for no fault of the code between them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def openDescriptors() -> set[int]:
    """This process's open descriptors, after the collector has closed the forgotten ones.

    To be compared by `<=`: what one round of the collector frees may hold what the next one closes,
    so that a descriptor of an earlier test may still go away later.
    """
    gc.collect()
    return _listed()


@contextmanager
def sameDescriptors() -> Iterator[set[int]]:
    """A block that opens nothing it does not close; gives what was open before it.

    The collector rests meanwhile: what the block opens must be closed by it, or with the last
    reference to it, and nobody else's descriptor goes away.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        before = _listed()
        yield before
        now = _listed()
    finally:
        if collecting:
            gc.enable()
    assert now <= before, f"opened and left: {now - before}"


def _listed() -> set[int]:
    """The descriptors that outlive the listing itself."""
    with os.scandir("/proc/self/fd") as entries:
        found = {int(entry.name) for entry in entries}
    return {fd for fd in found if _isOpen(fd)}


def _isOpen(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
