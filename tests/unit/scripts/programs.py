"""Running `limpet` as a program of its own, with a home and state that belong to the test."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SRC = Path(__file__).resolve().parents[3] / "src"
PATIENCE_SECONDS = 30.0


def environmentIn(home: Path, **more: str) -> dict[str, str]:
    """An environment in which `home` is home and state directory."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SRC),
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        **more,
    }


def limpet(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "limpet", *arguments],
        env=environmentIn(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


class Serving:
    """A running `limpet serve`.

    Attributes:
        said: What it printed when it started.
        port: Where it listens.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._log: list[str] = []
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=self._collect, args=(stream,), daemon=True).start()
        self.said = self.waitFor(r"log in with.*\n")
        found = re.search(r"listening on\s+\S*:(\d+)", self.said)
        assert found is not None, self.said
        self.port = int(found[1])

    def _collect(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._lines.put(line)
        self._lines.put(None)

    def waitFor(self, pattern: str) -> str:
        """All that was printed, once it has a match for the pattern."""
        while not re.search(pattern, "".join(self._log)):
            try:
                line = self._lines.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                line = None
            if line is None and self.process.poll() is not None:
                raise AssertionError(f"no {pattern!r} in {''.join(self._log)!r}")
            self._log.append(line or "")
        return "".join(self._log)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def serving(
    home: Path, *arguments: str, prefix: tuple[str, ...] = (), more: Mapping[str, str] | None = None
) -> Iterator[Serving]:
    """A server on a free port of 127.0.0.1 for as long as the block lasts."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "limpet", "serve", "-l", "127.0.0.1:0", *arguments],
        env=environmentIn(home, **(more or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Serving(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_SECONDS)
