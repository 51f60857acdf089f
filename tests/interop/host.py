"""A server under test with its keys, and the OpenSSH client set up for it.

`LIMPET_INTEROP_SERVER=openssh` puts OpenSSH's sshd in Limpet's place: a test that fails there too
is wrong itself.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processes import cpuSeconds, treeOf
from benchmarks.servers import Server, Workplace, start
from tests.interop.peers import requirePeer

SERVER_NAME = os.environ.get("LIMPET_INTEROP_SERVER", "limpet").replace("sshd", "openssh")
IS_LIMPET = SERVER_NAME == "limpet"
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.1
PAGE_BYTES = resource.getpagesize()


def poll(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)


class Host:
    """One running server and how to reach it."""

    def __init__(self, work: Workplace, server: Server) -> None:
        self.work, self.server = work, server
        self.knownHosts = work.directory / f"known_hosts-{server.port}"
        # Conch looks a host up by its name alone, without the port.
        lines = [
            f"{name} {' '.join(key.read_text().split()[:2])}"
            for key in work.directory.glob("*ostKey*.pub")
            for name in (f"[127.0.0.1]:{server.port}", "127.0.0.1")
        ]
        self.logSeen = 0
        self.knownHosts.write_text("\n".join(lines) + "\n")

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def user(self) -> str:
        return self.work.user

    # ── the OpenSSH client ───────────────────────────────────────────────────────────────────────

    def sshCommand(self, *options: str, key: Path | None = None) -> list[str]:
        """`ssh` with everything but the destination; the user's own configuration is not read."""
        return [
            *(requirePeer("ssh"), "-F", "none", "-p", str(self.port)),
            *("-i", str(key or self.work.clientKey)),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.knownHosts}"),
            *("-o", "ConnectTimeout=20", "-o", "LogLevel=ERROR"),
            *options,
        ]

    @property
    def destination(self) -> str:
        return f"{self.user}@127.0.0.1"

    def ssh(
        self,
        command: str,
        *options: str,
        input: bytes = b"",
        seconds: float = COMMAND_SECONDS,
        key: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end; status, output and error output are the client's."""
        return subprocess.run(
            [*self.sshCommand(*options, key=key), self.destination, command],
            input=input,
            capture_output=True,
            timeout=seconds,
            check=False,
        )

    @contextmanager
    def sshProcess(
        self,
        *options: str,
        command: Sequence[str] = (),
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A client that keeps running; killed at the end with its process group."""
        process = subprocess.Popen(
            [*self.sshCommand(*options), self.destination, *command],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

    @contextmanager
    def master(self) -> Iterator[str]:
        """A ControlMaster connection; gives the options that make `ssh` use it."""
        # A socket's path has to stay below 108 bytes: unix(7).
        socket = Path(f"/tmp/limpet-mux-{os.getpid()}-{self.port}")
        with self.sshProcess("-M", "-S", str(socket), "-N"):
            poll(socket.exists, 20, "the master connection")
            try:
                yield f"-oControlPath={socket}"
            finally:
                socket.unlink(missing_ok=True)

    # ── what the server itself is doing ──────────────────────────────────────────────────────────

    def residentBytes(self) -> int:
        """Resident memory of the server's own processes, not of the commands it runs."""
        names = {}
        for pid in treeOf(self.server.pid):
            try:
                name = Path(f"/proc/{pid}/comm").read_text()
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except FileNotFoundError:
                continue
            names[pid] = (name, pages)
        own = names[self.server.pid][0]
        return PAGE_BYTES * sum(pages for name, pages in names.values() if name == own)

    def cpu(self) -> float:
        """CPU seconds of the server and of everything it started."""
        return cpuSeconds(self.server.pid)

    def waitUntilIdle(self, seconds: float = 20.0) -> None:
        """Wait until every process that a session started is gone and reaped."""
        poll(
            lambda: set(treeOf(self.server.pid)) <= self.server.idle,
            seconds,
            "the end and reaping of all children of the server",
        )

    def waitUntilNothingMoves(self, seconds: float = 60.0) -> None:
        """Wait until server and children have used no CPU time for a second."""
        quiet, last = 0.0, self.cpu()
        deadline = time.monotonic() + seconds
        while quiet < 1.0:
            if time.monotonic() > deadline:
                raise AssertionError(f"the server was still busy after {seconds} s")
            time.sleep(POLL_SECONDS)
            now = self.cpu()
            quiet = quiet + POLL_SECONDS if now - last < 0.011 else 0.0
            last = now

    def assertWell(self) -> None:
        """It runs, everything it started is reaped, and its log shows no traceback."""
        assert self.server.process.poll() is None, self.logText()
        self.waitUntilIdle()
        log, seen = self.logText(), self.logSeen
        self.logSeen = len(log)  # what one test left there is not the next one's fault
        assert "Traceback (most recent call last)" not in log[seen:], log[seen:]

    def logText(self) -> str:
        return self.server.log.read_text(errors="replace")


@contextmanager
def running(work: Workplace, *arguments: str, name: str = SERVER_NAME) -> Iterator[Host]:
    """A server for the time of the block; what it started and left behind is killed at the end."""
    if name == "openssh":
        requirePeer("sshd")
    server = start(name, work, arguments)
    try:
        yield Host(work, server)
    finally:
        left = set(treeOf(server.pid)) - {server.pid}
        server.stop()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def environmentFor(host: Host, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for tools that start `ssh` themselves: a HOME of its own."""
    return {**os.environ, "HOME": str(host.work.directory), "LC_ALL": "C", **(extra or {})}
