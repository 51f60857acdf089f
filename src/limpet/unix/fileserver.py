"""Starting the process that serves one SFTP session as the session's user.

Rule: the reactor's process never touches a file for a client. The worker is a fresh interpreter, or
forked from one (`limpet.unix.nursery`), with none of our memory, keys and descriptors in it; one
that root starts becomes the user by itself (`limpet.files.worker`), as the user may not be able to
read where Limpet is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpet.descriptors import Gatherer
from limpet.files.worker import START
from limpet.unix.accounts import Account, NotPermitted
from limpet.unix.nursery import Nursery, Unavailable
from limpet.unix.process import ChildProcess
from limpet.unix.spawning import UMASK, SpawnFailed
from limpet.wire.sftp import DRAFT_SYMLINK_CLIENTS

SOURCE = str(Path(__file__).resolve().parents[2])
"""Where the worker finds the package."""

KEPT_VARIABLES = ("TZ",)
"""What the worker takes over of our environment: times in listings are the server's."""


@dataclass(frozen=True)
class FilePolicy:
    """What the server allows with files.

    Attributes:
        offered: Whether there is an sftp subsystem at all.
        root: A directory that clients cannot leave; %h, %u and %% stand for the home, the name of
            the user and a percent sign. None for all that the user may reach.
        readOnly: Whether nothing may be changed.
    """

    offered: bool = True
    root: str | None = None
    readOnly: bool = False

    @property
    def isConfining(self) -> bool:
        """Whether a shell beside it would make nonsense of it."""
        return self.root is not None or self.readOnly


def rootFor(policy: FilePolicy, account: Account) -> str | None:
    """The directory that confines `account`, or None."""
    if policy.root is None:
        return None
    tokens = {"h": account.home, "u": account.name, "%": "%"}
    pieces = policy.root.split("%")
    found = pieces[0]
    index = 1
    while index < len(pieces):
        piece = pieces[index]
        if piece:
            found += tokens[piece[0]] + piece[1:]
        else:
            # Two percent signs: what follows the second one is text.
            index += 1
            found += "%" + (pieces[index] if index < len(pieces) else "")
        index += 1
    return found


def workerOptions(
    account: Account, policy: FilePolicy, clientVersion: bytes = b""
) -> dict[str, str]:
    """What the worker is told.

    Args:
        account: Whom it serves.
        policy: What it may do.
        clientVersion: The client's identification string.

    Raises:
        NotPermitted: This process cannot become `account`.
    """
    options = {"home": account.home}
    root = rootFor(policy, account)
    if root is not None:
        options["root"] = root
    if policy.readOnly:
        options["readOnly"] = "yes"
    if clientVersion.startswith(DRAFT_SYMLINK_CLIENTS):
        options["linkFirst"] = "yes"
    if os.geteuid() == 0:
        options["uid"], options["gid"] = str(account.uid), str(account.gid)
        options["groups"] = ",".join(map(str, account.groups))
    elif account.uid != os.geteuid():
        raise NotPermitted(f"{account.name} is not the user that this server runs as")
    return options


def makeNursery(reactor: Any) -> Nursery:
    """What forks the workers of a server with many sessions."""
    return Nursery(reactor, _environment(), SOURCE, UMASK)


def spawnFileServer(
    reactor: Any,
    proto: Any,
    options: dict[str, str],
    gatherer: Gatherer | None = None,
    nursery: Nursery | None = None,
) -> ChildProcess:
    """Start a worker with pipes for its input and output; what it complains of goes to our stderr.

    Args:
        reactor: Runs the pipes.
        proto: Its IProcessProtocol.
        options: What it is told.
        gatherer: The transport that its output ends up on.
        nursery: Where it is forked, if it can be.

    Returns:
        The child; nothing has been called on `proto` yet, `start` does that.

    Raises:
        SpawnFailed: It did not start.
    """
    if nursery is not None:
        with suppress(Unavailable, OSError):
            return nursery.spawn(proto, options, gatherer)
    fds: list[int] = []
    try:
        for _ in range(2):
            fds.extend(os.pipe())
        stdinRead, stdinWrite, stdoutRead, stdoutWrite = fds
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-c", START, SOURCE),
                *(f"{name}={value}" for name, value in options.items()),
            ],
            stdin=stdinRead,
            stdout=stdoutWrite,
            env=_environment(),
            cwd="/",
            close_fds=True,
            restore_signals=True,
            start_new_session=True,
            umask=UMASK,
        )
    except (OSError, ValueError) as failure:
        # ValueError is what an argument that no process can be given comes to, by a NUL.
        for fd in fds:
            os.close(fd)
        reason = getattr(failure, "strerror", None) or failure
        raise SpawnFailed(f"the sftp worker: {reason}") from failure
    os.close(stdinRead)
    os.close(stdoutWrite)
    return ChildProcess(reactor, proto, process, stdinWrite, {1: stdoutRead}, gatherer=gatherer)


def _environment() -> dict[str, str]:
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    for name in KEPT_VARIABLES:
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment
