"""What is measured of clients: one command through each of them, against OpenSSH's sshd.

Rule: the clients do the same with the same server: log in by the same key, run the same command,
move the same file between standard input or output and the command. The kernel counts their
processor time, to the microsecond (wait4); what an empty session costs is taken off the transfers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import CLIENT_SECONDS, EMPTY_SESSIONS, SUITES, Cost, sshCommand
from benchmarks.servers import ROOT, Server, Workplace

SERVER = "openssh"


def limpetCommand(work: Workplace, server: Server, suite: str, command: str) -> list[str]:
    """The command of `ssh`, by another program."""
    return [
        *(sys.executable, "-m", "limpet", "ssh"),
        *sshCommand(work, server, SUITES[suite], command)[1:],
    ]


def opensshCommand(work: Workplace, server: Server, suite: str, command: str) -> list[str]:
    return sshCommand(work, server, SUITES[suite], command)


def asyncsshCommand(work: Workplace, server: Server, suite: str, command: str) -> list[str]:
    options = SUITES[suite]
    cipher = options[options.index("-c") + 1]
    mac = options[options.index("-m") + 1] if "-m" in options else "-"
    return [
        *(sys.executable, "-m", "benchmarks.asyncsshClient"),
        *(str(server.port), work.user, str(work.clientKey), cipher, mac, command),
    ]


COMMANDS: dict[str, Callable[[Workplace, Server, str, str], list[str]]] = {
    "limpet": limpetCommand,
    "openssh": opensshCommand,
    "asyncssh": asyncsshCommand,
}


def run(arguments: Sequence[str], source: Path | None) -> Cost:
    """Run one client to its end.

    Raises:
        RuntimeError: It failed, or took longer than `CLIENT_SECONDS`.
    """
    with open(source or os.devnull, "rb") as stdin:
        started = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
        timer = threading.Timer(CLIENT_SECONDS, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def emptySession(work: Workplace, server: Server, client: str, suite: str) -> Cost:
    """The mean cost of starting the client, logging in and running nothing."""
    command = COMMANDS[client](work, server, suite, ":")
    costs = [run(command, None) for _ in range(EMPTY_SESSIONS)]
    return Cost(
        sum(cost.wallSeconds for cost in costs) / len(costs),
        sum(cost.cpuSeconds for cost in costs) / len(costs),
    )


def transfer(
    work: Workplace, server: Server, client: str, suite: str, direction: str, file: Path
) -> Cost:
    """Move `file` from or to the server; what an empty session costs is still in it."""
    if direction == "download":
        return run(COMMANDS[client](work, server, suite, f"cat {file}"), None)
    return run(COMMANDS[client](work, server, suite, "cat >/dev/null"), file)
