"""Programs that were written for Conch, started on Limpet, and OpenSSH's clients for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.interop.peers import requirePeer

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
CLIENT_SECONDS = 60.0
POLL_SECONDS = 0.05


def freePort() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a program under test sees: a home of its own, and the sources of this tree."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        **more,
    }


@dataclass
class Program:
    """A program that runs, and what it has printed."""

    process: subprocess.Popen[bytes]
    log: Path

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def assertWell(self) -> None:
        """It runs, and has logged no traceback."""
        assert self.process.poll() is None, self.printed()
        assert "Traceback" not in self.printed(), self.printed()


@contextmanager
def started(
    command: Sequence[str | Path],
    directory: Path,
    port: int,
    more: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Start a program, wait until it listens on `port`, and end it.

    Args:
        command: The program and its arguments.
        directory: Where it runs; its output goes there, too, and it is its home.
        port: On 127.0.0.1.
        more: Further variables of its environment.
    """
    log = directory / f"program-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=directory,
            env=environment(directory, **(more or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(process, log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            assert process.poll() is None, f"it ended:\n{program.printed()}"
            assert time.monotonic() < deadline, f"it does not listen:\n{program.printed()}"
            time.sleep(POLL_SECONDS)
        yield program
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    """Whether somebody listens there; looked up in the kernel's table, no connection is made."""
    wanted = f":{port:04X} "
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            if any(wanted in line and " 0A " in line for line in lines):
                return True
    return False


@dataclass
class Clients:
    """OpenSSH's clients, set up to log in to one server by password or key."""

    port: int
    user: str
    directory: Path
    password: str | None = None
    key: Path | None = None

    def options(self) -> list[str]:
        return [
            *("-F", "none", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
            *("-o", "NumberOfPasswordPrompts=1"),
            *(("-i", str(self.key), "-o", "BatchMode=yes") if self.key else ()),
        ]

    def run(self, *command: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a client; its password comes from a program, as it has no terminal."""
        askpass = self.directory / "askpass"
        askpass.write_text(f"#!/bin/sh\necho '{self.password}'\n")
        askpass.chmod(0o700)
        return subprocess.run(
            [str(part) for part in command],
            input=stdin,
            capture_output=True,
            timeout=CLIENT_SECONDS,
            env=environment(
                self.directory,
                SSH_ASKPASS=str(askpass),
                SSH_ASKPASS_REQUIRE="force",
                DISPLAY=":0",
                TERM=os.environ.get("TERM", "xterm"),
            ),
        )

    def ssh(
        self, *arguments: str, options: Sequence[str] = (), stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh` with a command, or with a shell where there is none."""
        destination = f"{self.user}@127.0.0.1"
        place = ["-p", str(self.port), destination, *arguments]
        return self.run(requirePeer("ssh"), *options, *self.options(), *place, stdin=stdin)

    def sftp(self, *lines: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
        """`sftp` with commands, as if they were typed; it stops at the first that fails."""
        batch = self.directory / "batch"
        batch.write_text("\n".join(lines) + "\n")
        place = ["-P", str(self.port), f"{self.user}@127.0.0.1"]
        # "-b" sets BatchMode, in which no password is asked for; of two words the first one counts.
        chosen = ["-o", "BatchMode=no", *options, *self.options()]
        return self.run(requirePeer("sftp"), *chosen, "-b", batch, *place)
