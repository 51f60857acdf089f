"""What is measured of SFTP clients: a large file and many small ones, by each, against sshd.

Rule: as in `benchmarks.clients`: the same server, the same key, the same files; the kernel counts
the client's processor time, that of the `ssh` which OpenSSH's sftp starts included; a session in
which nothing is transferred is taken off.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.clients import SERVER, run
from benchmarks.files import sshOptions
from benchmarks.measure import SUITES, Cost
from benchmarks.servers import Server, Workplace

EMPTY_SESSIONS = 3


def letters(work: Workplace, server: Server, suite: str) -> list[str]:
    """The arguments of sftp(1), which ours takes, too."""
    return [
        *("-q", "-F", "none", "-i", str(work.clientKey), "-P", str(server.port)),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "KexAlgorithms=curve25519-sha256", "-o", "LogLevel=ERROR"),
        *(*sshOptions(suite), "-b", "-", f"{work.user}@127.0.0.1"),
    ]


def limpetCommand(work: Workplace, server: Server, suite: str) -> list[str]:
    return [sys.executable, "-m", "limpet", "sftp", *letters(work, server, suite)]


def opensshCommand(work: Workplace, server: Server, suite: str) -> list[str]:
    return ["sftp", *letters(work, server, suite)]


def asyncsshCommand(work: Workplace, server: Server, suite: str) -> list[str]:
    options = SUITES[suite]
    cipher = options[options.index("-c") + 1]
    mac = options[options.index("-m") + 1] if "-m" in options else "-"
    place = [str(server.port), work.user, str(work.clientKey)]
    return [sys.executable, "-m", "benchmarks.asyncsshFiles", *place, cipher, mac]


COMMANDS: dict[str, Callable[[Workplace, Server, str], list[str]]] = {
    "limpet": limpetCommand,
    "openssh": opensshCommand,
    "asyncssh": asyncsshCommand,
}


def session(work: Workplace, server: Server, client: str, suite: str, line: str) -> Cost:
    """Let a client run one command."""
    commands = work.directory / "commands"
    commands.write_text(line + "\n", encoding="utf-8")
    return run(COMMANDS[client](work, server, suite), commands)


def emptySession(work: Workplace, server: Server, client: str, suite: str) -> Cost:
    """The mean cost of starting the client, logging in and transferring nothing."""
    costs = [session(work, server, client, suite, "pwd") for _ in range(EMPTY_SESSIONS)]
    return Cost(
        sum(cost.wallSeconds for cost in costs) / len(costs),
        sum(cost.cpuSeconds for cost in costs) / len(costs),
    )


def transfer(
    work: Workplace, server: Server, client: str, suite: str, direction: str, source: Path
) -> Cost:
    """Move a file, or a directory and what is in it; the cost of a session is still in it.

    Raises:
        RuntimeError: What came of it is not what it was made from.
    """
    target = source.parent / "copy"
    recursive = "-R " if source.is_dir() else ""
    try:
        cost = session(work, server, client, suite, f"{direction} {recursive}{source} {target}")
        if not _looksRight(source, target):
            raise RuntimeError(f"{client}: {direction} of {source} went wrong")
        return cost
    finally:
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _looksRight(source: Path, target: Path) -> bool:
    if source.is_dir():
        return len(list(source.iterdir())) == len(list(target.iterdir()))
    return source.stat().st_size == target.stat().st_size


__all__ = ["COMMANDS", "SERVER", "emptySession", "session", "transfer"]
