"""Progress: what is drawn when, and what stays."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from limpet.client.filecopy import Progress
from limpet.scripts.progressbar import Meter, label, summary


class Screen:
    """A meter with a clock, and what it draws."""

    def __init__(self, width: int = 120) -> None:
        self.now = 0.0
        self.drawn = io.StringIO()
        console = Console(file=self.drawn, width=width, force_terminal=True, color_system=None)
        self.meter = Meter(console, lambda: self.now)
        self.meter.begin()

    def tell(self, state: str, done: int, size: int | None = 10 << 20, path: bytes = b"f") -> None:
        self.meter(Progress(path, b"t", done, size, state))


def test_short_copies_draw_nothing_but_a_line() -> None:
    screen = Screen()
    screen.tell("begins", 0, 100)
    screen.tell("goes on", 100, 100)
    screen.tell("ends", 100, 100)
    assert screen.drawn.getvalue() == ""
    screen.now = 0.1
    screen.meter.end()
    assert screen.drawn.getvalue() == "1 file, 100B in 0.1 s, 1000B/s\n"


def test_long_ones_draw_ten_times_a_second_at_most() -> None:
    screen = Screen()
    screen.tell("begins", 0)
    lengths = set()
    for step in range(1000):
        screen.now += 0.001
        screen.tell("goes on", step * 10_000)
        lengths.add(len(screen.drawn.getvalue()))
    assert 5 <= len(lengths) - 1 <= 9
    assert "%" in screen.drawn.getvalue()
    screen.tell("ends", 10 << 20)
    screen.meter.end()
    assert "10M in 1.0 s, 10M/s" in screen.drawn.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_file_has_one_line_however_narrow_the_terminal_is(width: int) -> None:
    screen = Screen(width)
    path = b"a-rather-long-name-of-a-file-that-goes-on.tar.gz"
    screen.tell("begins", 0, 999 << 30, path=path)
    for step in range(1, 30):
        screen.now += 0.2
        screen.tell("goes on", step << 20, 999 << 30, path=path)
    drawn = screen.drawn.getvalue()
    assert "\n" not in drawn
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", drawn.rpartition("\x1b[2K")[2])
    assert len(last) <= width
    assert last.startswith("a-")
    assert "%" in last
    assert "/s" in last
    if width >= 80:
        assert "29M/999G" in last


def test_what_was_there_before_does_not_count_for_the_rate() -> None:
    screen = Screen()
    screen.tell("begins", 9 << 20)
    screen.now = 1
    screen.tell("ends", 10 << 20)
    screen.meter.end()
    assert "1.0M in 1.0 s" in screen.drawn.getvalue()


def test_failures_are_not_counted() -> None:
    screen = Screen()
    for path in (b"a", b"b", b"c"):
        screen.tell("begins", 0, path=path)
    screen.tell("ends", 1, path=b"a")
    screen.tell("fails", 5, path=b"b")
    screen.tell("ends", 1, path=b"c")
    screen.now = 1
    screen.meter.end()
    assert screen.drawn.getvalue().startswith("2 files, 2B")


def test_labels_are_all_as_wide() -> None:
    assert len(label(b"d/f")) == len(label(b"x" * 100)) == 32
    assert label(b"d/f").strip() == "f"
    assert summary(0, 0) == "0B in 0.0 s, -/s"
