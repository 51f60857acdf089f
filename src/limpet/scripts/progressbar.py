"""Progress on a terminal: what is being copied, how fast, and how long it will take.

Rule: drawn ten times a second at most, and only while something is copied; each file has one line,
however narrow the terminal is; names are shown harmless (attacks.md J5). What was copied stays in a
line for a large file, and in one for all.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from limpet.client.errors import shown
from limpet.client.filecopy import Progress
from limpet.client.sftpshell.lines import humanSize

REDRAW_SECONDS = 0.1
PATIENCE_SECONDS = 0.3
"""Nothing is drawn of what takes no longer than this (ours)."""

MAX_BARS = 4
LARGE = 4 * 1024 * 1024
"""From so many bytes on a file has a line of its own that stays (ours)."""

NAME_WIDTH = 32
BAR_WIDTH = 16
FIGURES_WIDTH = 33
"""What `_Figures` writes, at most (but for times of ten hours and more)."""

NARROW = 60
"""Below so many columns there is no bar, and two figures only."""


class _Figures(ProgressColumn):
    """How much has come, how fast it comes, and how long it will take.

    Args:
        isNarrow: Whether there is room for no more than a part and a rate.
    """

    def __init__(self, isNarrow: bool) -> None:
        super().__init__(Column(no_wrap=True))
        self._isNarrow = isNarrow

    def render(self, task: Task) -> Text:
        percentage = f"{task.percentage:3.0f}%" if task.total else "    "
        rate = f"{humanSize(task.speed)}/s" if task.speed else "-"
        if self._isNarrow:
            return Text(f"{percentage} {rate:>7}")
        size = "?" if task.total is None else humanSize(task.total)
        left = "-:--:--" if task.time_remaining is None else _clockTime(task.time_remaining)
        return Text(
            f"{percentage} {humanSize(task.completed)}/{size}".ljust(16) + f"{rate:>8} {left:>8}"
        )


class Meter:
    """Shows progress; an instance is what `CopyOptions.progress` is.

    Args:
        console: Where to draw.
        clock: Tells the time in seconds.
    """

    def __init__(self, console: Console, clock: Any = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._bars: Bars | None = None
        self._tasks: dict[bytes, TaskID] = {}
        self._begun: dict[bytes, tuple[float, int]] = {}
        self._drawn = 0.0
        self._start = 0.0
        self._files = self._bytes = 0

    def begin(self) -> None:
        """A command begins."""
        self._files = self._bytes = 0
        self._start = self._clock()
        self._tasks, self._begun = {}, {}

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        path = progress.path
        if progress.state == "begins":
            self._begun[path] = (now, progress.done)
        elif progress.state in ("ends", "fails"):
            self._ended(progress, now)
        elif now - self._drawn >= REDRAW_SECONDS and now - self._start >= PATIENCE_SECONDS:
            self._draw(progress, now)

    def _draw(self, progress: Progress, now: float) -> None:
        self._drawn = now
        if self._bars is None:
            isNarrow = self._console.width < NARROW
            whole = Column(no_wrap=True, overflow="ellipsis")
            self._bars = Bars(
                TextColumn("{task.fields[label]}", markup=False, table_column=whole),
                *([] if isNarrow else [BarColumn(bar_width=BAR_WIDTH)]),
                _Figures(isNarrow),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._bars.start()
        task = self._tasks.get(progress.path)
        if task is None and len(self._tasks) < MAX_BARS:
            task = self._tasks[progress.path] = self._bars.add_task(
                "", total=progress.size, label=label(progress.path, self._nameWidth())
            )
        if task is not None:
            self._bars.update(task, completed=progress.done, total=progress.size)
        self._bars.refresh()

    def _nameWidth(self) -> int:
        width = self._console.width
        others = BAR_WIDTH + FIGURES_WIDTH + 3 if width >= NARROW else 14
        return max(1, min(NAME_WIDTH, width - others))

    def _ended(self, progress: Progress, now: float) -> None:
        begun, start = self._begun.pop(progress.path, (now, 0))
        task = self._tasks.pop(progress.path, None)
        if task is not None and self._bars is not None:
            self._bars.remove_task(task)
        if progress.state == "fails":
            return
        moved = progress.done - start
        self._files += 1
        self._bytes += moved
        if moved >= LARGE:
            self._print(f"{label(progress.path)}  {summary(moved, now - begun)}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def hide(self) -> None:
        """Something else is about to be printed."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}

    def end(self) -> None:
        """The command is over."""
        self.hide()
        if self._files > 1 or 0 < self._bytes < LARGE:
            files = "1 file" if self._files == 1 else f"{self._files} files"
            self._print(f"{files}, {summary(self._bytes, self._clock() - self._start)}")


def terminalMeter() -> Meter:
    """A meter on standard output."""
    return Meter(Console())


def label(path: bytes, width: int = NAME_WIDTH) -> str:
    """The last part of a path, as wide as every other."""
    name = shown(path.rstrip(b"/").rpartition(b"/")[2] or path)
    if len(name) > width:
        name = name[: width - 1] + "…"
    return name.ljust(width)


def _clockTime(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def summary(size: int, seconds: float) -> str:
    """How much in how long."""
    rate = humanSize(size / seconds) if seconds > 0 else "-"
    return f"{humanSize(size)} in {seconds:.1f} s, {rate}/s"
