"""What is measured of SFTP: one large file and many small ones, there and back, by OpenSSH's sftp.

Rule: the server's processor time is counted, its workers' included; what a session costs in which
nothing is transferred is taken off. The small files are kept in memory, where there is a file
system of that kind: on a disk its journal decides, and decides otherwise each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import CLIENT_SECONDS, SUITES, Cost
from benchmarks.processes import cpuSeconds, waitUntilOnly
from benchmarks.servers import Server, Workplace

SMALL_FILE = 4096
MEMORY = Path("/dev/shm")
EMPTY_SESSIONS = 3


def quickDirectory() -> str | None:
    """Where small files are made: in memory, or where temporary files go."""
    return str(MEMORY) if os.access(MEMORY, os.W_OK | os.X_OK) else None


def makeSmallFiles(directory: Path, count: int) -> Path:
    """A directory with so many files of `SMALL_FILE` bytes."""
    top = directory / "small"
    top.mkdir()
    for number in range(count):
        (top / f"file{number}").write_bytes(bytes(SMALL_FILE))
    return top


def session(work: Workplace, server: Server, suite: str, commands: Sequence[str]) -> Cost:
    """Run commands of sftp's."""
    before = cpuSeconds(server.pid)
    started = time.perf_counter()
    subprocess.run(
        [
            *("sftp", "-q", "-F", "none", "-i", str(work.clientKey), "-P", str(server.port)),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "KexAlgorithms=curve25519-sha256", "-o", "LogLevel=ERROR"),
            *sshOptions(suite),
            *("-b", "-", f"{work.user}@127.0.0.1"),
        ],
        input="".join(f"{command}\n" for command in commands).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=CLIENT_SECONDS,
    )
    wall = time.perf_counter() - started
    waitUntilOnly(server.pid, server.idle)
    return Cost(wall, cpuSeconds(server.pid) - before)


def sshOptions(suite: str) -> list[str]:
    """The suite's options in the form in which sftp takes them."""
    options = iter(SUITES[suite])
    names = {"-c": "Ciphers", "-m": "MACs"}
    return [word for letter in options for word in ("-o", f"{names[letter]}={next(options)}")]


def emptySession(work: Workplace, server: Server, suite: str) -> Cost:
    """The mean cost of a session in which nothing is transferred."""
    costs = [session(work, server, suite, ["pwd"]) for _ in range(EMPTY_SESSIONS)]
    return Cost(
        sum(cost.wallSeconds for cost in costs) / len(costs),
        sum(cost.cpuSeconds for cost in costs) / len(costs),
    )


def transfer(work: Workplace, server: Server, suite: str, direction: str, source: Path) -> Cost:
    """Move a file, or a directory and what is in it; the cost of a session is still in it."""
    target = source.parent / "copy"
    command = "get" if direction == "get" else "put"
    letters = "-R " if source.is_dir() else ""
    try:
        return session(work, server, suite, [f"{command} {letters}{source} {target}"])
    finally:
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
