"""Programs that were written for Conch, started on Limpet, and OpenSSH's clients for them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.interop.peers import missing, requirePeer

ROOT = Path(__file__).resolve().parents[2]
APPLICATIONS = Path(__file__).with_name("applications")
"""Programs for Conch that stand here."""
ENVIRONMENT = ROOT / ".venv-applications" / "bin"
"""Where those from PyPI are, and the Python that has them."""
START_SECONDS = 60.0
CLIENT_SECONDS = 60.0
POLL_SECONDS = 0.05


def onLimpet(*program: str | Path, algorithms: str = "default") -> list[str | Path]:
    """The command that runs a program of the applications' environment on Limpet."""
    if not (ENVIRONMENT / "python").exists():
        missing("the environment of applications (script/setup applications)")
    options = ["-m", "limpet.conch", "--algorithms", algorithms]
    return [ENVIRONMENT / "python", *options, "--", *program]


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


def waitUntil(isSo: Callable[[], bool], said: Callable[[], str] = str) -> None:
    """Look now and then; what `said` returns explains a failure."""
    deadline = time.monotonic() + START_SECONDS
    while not isSo():
        assert time.monotonic() < deadline, said()
        time.sleep(POLL_SECONDS)


@dataclass
class Program:
    """A program that runs, and what it has printed."""

    process: subprocess.Popen[bytes]
    log: Path

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def waitFor(self, words: str) -> None:
        """Until it has printed them."""
        waitUntil(lambda: words in self.printed(), self.printed)

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
            env={**environment(directory), **(more or {})},
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


class Conversation:
    """What is typed to a program, and what it answers."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._unread = b""

    def type(self, text: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def expect(self, words: bytes) -> bytes:
        """What comes up to these words; they and what is before them are not seen again."""
        deadline = time.monotonic() + CLIENT_SECONDS
        while words not in self._unread:
            more = self._read(deadline)
            assert more, (words, self._unread)
            self._unread += more
        before, words, self._unread = self._unread.partition(words)
        return before + words

    def end(self) -> tuple[bytes, int]:
        """End the input; all that still comes, and the exit status."""
        rest, _ = self._process.communicate(timeout=CLIENT_SECONDS)
        return self._unread + rest, self._process.returncode

    def _read(self, deadline: float) -> bytes:
        """The next piece; nothing at its end, or when the time is up."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], deadline - time.monotonic())
        return os.read(self._process.stdout.fileno(), 65536) if ready else b""


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

    def environment(self) -> dict[str, str]:
        """What a client sees; its password comes from a program, as it has no terminal."""
        askpass = self.directory / "askpass"
        askpass.write_text(f"#!/bin/sh\necho '{self.password}'\n")
        askpass.chmod(0o700)
        return environment(
            self.directory,
            SSH_ASKPASS=str(askpass),
            SSH_ASKPASS_REQUIRE="force",
            DISPLAY=":0",
            TERM=os.environ.get("TERM", "xterm"),
        )

    def run(self, *command: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a client to its end."""
        return subprocess.run(
            [str(part) for part in command],
            input=stdin,
            capture_output=True,
            timeout=CLIENT_SECONDS,
            env=self.environment(),
        )

    def ssh(
        self, *arguments: str, options: Sequence[str] = (), stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh` with a command, or with a shell where there is none."""
        return self.run(*self.sshCommand(options, arguments), stdin=stdin)

    def sshCommand(self, options: Sequence[str], arguments: Sequence[str]) -> list[str]:
        place = ["-p", str(self.port), f"{self.user}@127.0.0.1"]
        return [requirePeer("ssh"), *options, *self.options(), *place, *arguments]

    @contextmanager
    def talking(self, *arguments: str, options: Sequence[str] = ("-tt",)) -> Iterator[Conversation]:
        """`ssh` with somebody who waits for each answer before typing on."""
        process = subprocess.Popen(
            self.sshCommand(options, arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment(),
        )
        try:
            yield Conversation(process)
        finally:
            process.kill()
            process.communicate()

    def sftp(self, *lines: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
        """`sftp` with commands, as if they were typed; it stops at the first that fails."""
        batch = self.directory / "batch"
        batch.write_text("\n".join(lines) + "\n")
        place = ["-P", str(self.port), f"{self.user}@127.0.0.1"]
        # "-b" sets BatchMode, in which no password is asked for; of two words the first one counts.
        chosen = ["-o", "BatchMode=no", *options, *self.options()]
        return self.run(requirePeer("sftp"), *chosen, "-b", batch, *place)
