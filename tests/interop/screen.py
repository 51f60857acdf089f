"""A real terminal to drive programs in: tmux, with a server of the test's own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.interop.peers import requirePeer

PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.05


class Screen:
    """A window of tmux and the program in it."""

    def __init__(self, tmux: str, socket: Path, environment: Mapping[str, str]) -> None:
        self._command = [tmux, "-f", os.devnull, "-S", str(socket)]
        self._environment = dict(environment)

    def call(self, *arguments: str) -> str:
        """Run one command of tmux's."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        if done.returncode and arguments != ("kill-server",):
            raise AssertionError(f"tmux {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def start(self, command: Sequence[str], columns: int = 100, rows: int = 30) -> None:
        """Start a shell that runs the command and says how it ended: [status N]."""
        # Ctrl-C is for the command, and not for the shell around it.
        line = f"trap : INT; {shlex.join(command)}; echo [status $?]; stty -a; exec cat"
        self.call(
            *("new-session", "-d", "-x", str(columns), "-y", str(rows)),
            *("sh", "-c", line),
        )

    def type(self, *keys: str) -> None:
        """Press keys, by the names that tmux gives them; other words are typed letter by letter."""
        self.call("send-keys", *keys)

    def text(self) -> str:
        """What is on the screen."""
        return self.call("capture-pane", "-p", "-J")

    def resize(self, columns: int, rows: int) -> None:
        self.call("resize-window", "-x", str(columns), "-y", str(rows))

    def waitFor(self, pattern: str) -> re.Match[str]:
        """What on the screen matches the pattern, as soon as something does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            text = self.text()
            found = re.search(pattern, text, re.MULTILINE)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} on the screen:\n{text}")
            time.sleep(POLL_SECONDS)

    def status(self) -> int:
        """The exit status of the command, once it has ended."""
        return int(self.waitFor(r"\[status (\d+)\]")[1])

    def isCooked(self) -> bool:
        """Whether the terminal is as a shell wants it, after the command has ended."""
        self.waitFor(r"-?echo\b")
        words = self.text().replace("\n", " ")
        return all(f" {mode}" in words for mode in ("isig", "icanon", "echo", "opost", "icrnl"))


@contextmanager
def openScreen(directory: Path, environment: Mapping[str, str]) -> Iterator[Screen]:
    """A terminal for the time of the block; its programs are hung up at the end."""
    tmux = requirePeer("tmux")
    # A socket's path has to stay below 108 bytes: unix(7).
    socket = Path(f"/tmp/limpet-tmux-{os.getpid()}-{abs(hash(directory)) % 10**8}")
    more = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}
    screen = Screen(tmux, socket, {**environment, **more})
    try:
        yield screen
    finally:
        screen.call("kill-server")
        for path in (socket, Path(f"{socket}.lock")):
            path.unlink(missing_ok=True)
