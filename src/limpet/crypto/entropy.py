"""Where every random byte of Limpet comes from: the one seam for tests and recordings."""

from __future__ import annotations

import os


def randomBytes(count: int) -> bytes:
    """`count` bytes from the operating system's generator."""
    return os.urandom(count)
