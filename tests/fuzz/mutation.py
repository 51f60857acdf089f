"""Making inputs out of others, and keeping those that reach what no other has reached.

Rule: all chance comes from one number, so that what was found can be found again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

SOURCES = str(Path(__file__).parents[2] / "src" / "limpet")

MAX_LENGTH = 65536
"""Longest input that is made, in bytes."""

_NUMBERS = (0, 1, 4, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x40000, 0x7FFFFFFF, 0x80000000)
_HUGE = (0xFFFFFFFF, 0xFFFFFFFE)


class Mutator:
    """Makes inputs.

    Args:
        seeds: Inputs that mean something.
        words: Pieces that mean something.
        number: From which all chance comes.
    """

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], number: int) -> None:
        self.pool: list[bytes] = [b"", *seeds]
        self._words = tuple(words)
        self._chance = random.Random(number)

    def next(self) -> bytes:
        """One more input: one of the pool with a few changes."""
        data = bytearray(self._chance.choice(self.pool))
        for _ in range(1 << self._chance.randrange(4)):
            self._change(data)
        return bytes(data[:MAX_LENGTH])

    def _change(self, data: bytearray) -> None:
        chance = self._chance
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(11)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif kind == 3:
            del data[at : at + chance.randrange(1, 17)]
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            size = chance.randrange(1, 65)
            data[at:at] = data[at : at + size] * chance.randrange(1, 5)
        elif kind == 6:
            # A length, or a count: what the field before the cursor would have to say, or not.
            number = chance.choice((*_NUMBERS, *_HUGE, len(data), max(0, len(data) - at - 4)))
            data[at : at + 4] = number.to_bytes(4, "big")
        elif kind == 7:
            other = chance.choice(self.pool)
            start = chance.randrange(len(other) + 1)
            data[at:] = other[start:]
        elif kind == 8 and self._words:
            data[at:at] = chance.choice(self._words)
        elif kind == 9 and self._words:
            word = chance.choice(self._words)
            data[at : at + len(word)] = word
        elif kind == 10 and data:
            data[at:at] = bytes((data[at % len(data)],)) * chance.randrange(1, 1 << 10)


class Tracer:
    """Counts what runs in Limpet's own lines, and which lines follow which.

    Attributes:
        steps: How many lines ran.
        edges: The pairs of lines.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.edges: set[tuple[int, int, int]] = set()

    def run(self, call: Callable[[], Any]) -> Any:
        """`call`, traced."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return call()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(SOURCES):
            return None
        edges = self.edges
        name = id(code)
        last = 0

        def follow(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                self.steps += 1
                line = frame.f_lineno
                edges.add((name, last, line))
                last = line
            return follow

        return follow
