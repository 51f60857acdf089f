"""How the process keeps the memory of its largest reads, from one read to the next.

glibc takes a block of 128 KiB or more from the kernel and gives it back when it is freed, until a
whole block of such a size has once been freed: from then on it keeps blocks up to that size. What
Python reads into is cut to what was read before it is freed, which does not count. So each large
read cost three calls of the kernel and a fault for every page (mallopt(3), M_MMAP_THRESHOLD).
"""

from __future__ import annotations

import functools

KEPT_BLOCK = 1048576
"""The size up to which blocks are kept, in bytes: four times what is read at a time."""


@functools.cache
def keepLargeBlocks() -> None:
    """Have the C library keep blocks of up to `KEPT_BLOCK` bytes for the next read.

    Called where a connection or a child turns out to be a busy one; the first call does it.
    """
    bytes(KEPT_BLOCK)
