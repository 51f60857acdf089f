"""What is measured: bulk transfer through the OpenSSH client, and connections per second."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpuSeconds, waitUntilOnly
from benchmarks.servers import ROOT, Server, Workplace

KNOCKERS = 3  # client processes at once: enough to keep a server on one core busy
CLIENT_SECONDS = 300.0
EMPTY_SESSIONS = 5

# name → options of the OpenSSH client
SUITES: dict[str, tuple[str, ...]] = {
    "aes128-gcm": ("-c", "aes128-gcm@openssh.com"),
    "chacha20-poly1305": ("-c", "chacha20-poly1305@openssh.com"),
    "aes128-ctr+etm": ("-c", "aes128-ctr", "-m", "hmac-sha2-256-etm@openssh.com"),
}
DIRECTIONS = ("download", "upload")


@dataclass(frozen=True)
class Cost:
    """One measurement: seconds on the wall, and CPU seconds of the server alone."""

    wallSeconds: float
    cpuSeconds: float


def sshCommand(work: Workplace, server: Server, options: Sequence[str], command: str) -> list[str]:
    return [
        *("ssh", "-F", "none", "-T", "-q", "-i", str(work.clientKey), "-p", str(server.port)),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "KexAlgorithms=curve25519-sha256", "-o", "HostKeyAlgorithms=ssh-ed25519"),
        *options,
        f"{work.user}@127.0.0.1",
        command,
    ]


def _shellTimes(file: Path) -> float:
    """Seconds in what bash's `times` wrote: the shell's and its children's user and system time."""
    text = file.read_text(encoding="ascii")
    times = re.findall(r"(\d+)m([\d.]+)s", text)
    if len(times) != 4:
        raise ValueError(f"not the output of times: {text!r}")
    return sum(60 * int(minutes) + float(seconds) for minutes, seconds in times)


def _session(
    work: Workplace, server: Server, options: Sequence[str], command: str, source: Path | None
) -> Cost:
    """Run one command through `ssh`; the command's own CPU time is taken off the tree's."""
    times = work.directory / "times"
    times.unlink(missing_ok=True)
    script = f"LC_ALL=C exec bash -c '{command}; times >{times}'"
    before = cpuSeconds(server.pid)
    started = time.perf_counter()
    with open(source or "/dev/null", "rb") as stdin:
        subprocess.run(
            sshCommand(work, server, options, script),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=CLIENT_SECONDS,
        )
    wall = time.perf_counter() - started
    waitUntilOnly(server.pid, server.idle)
    return Cost(wall, cpuSeconds(server.pid) - before - _shellTimes(times))


def emptySession(work: Workplace, server: Server, suite: str) -> Cost:
    """The mean cost of logging in and running nothing, which every transfer contains."""
    costs = [_session(work, server, SUITES[suite], ":", None) for _ in range(EMPTY_SESSIONS)]
    return Cost(
        sum(cost.wallSeconds for cost in costs) / len(costs),
        sum(cost.cpuSeconds for cost in costs) / len(costs),
    )


def transfer(work: Workplace, server: Server, suite: str, direction: str, file: Path) -> Cost:
    """Move `file` from or to the server; what an empty session costs is still in it."""
    if direction == "download":
        return _session(work, server, SUITES[suite], f"cat {file}", None)
    return _session(work, server, SUITES[suite], "cat >/dev/null", file)


def connections(work: Workplace, server: Server, count: int) -> Cost:
    """`count` logins, a multiple of `KNOCKERS`, by as many client processes.

    They have loaded their libraries before it counts.
    """
    command = [sys.executable, "-m", "benchmarks.knocker", "127.0.0.1", str(server.port)]
    command += [work.user, str(work.clientKey), str(count // KNOCKERS)]
    clients = []
    try:
        for _ in range(KNOCKERS):
            client = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            clients.append(client)
        for client in clients:
            os.read(client.stdout.fileno(), 16)  # type: ignore[union-attr]
        before = cpuSeconds(server.pid)
        started = time.perf_counter()
        for client in clients:
            client.stdin.close()  # type: ignore[union-attr]
        failed = [client.wait(CLIENT_SECONDS) for client in clients]
        wall = time.perf_counter() - started
    finally:
        for client in clients:
            client.kill()
    if any(failed):
        raise RuntimeError(f"{server.name}: a client failed")
    waitUntilOnly(server.pid, server.idle)
    return Cost(wall, cpuSeconds(server.pid) - before)
