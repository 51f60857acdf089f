"""Starting a session's program: pipes or a terminal, credentials, and nothing else inherited.

Rule: the child has the three standard descriptors and no other, a process group and session of its
own, default signal handling, and the identity of its account, checked after it was taken on. Where
nothing has to be done between fork and exec, nothing is: `subprocess` then uses vfork.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpet.descriptors import Gatherer, setWindowSize
from limpet.unix.accounts import Account, NotPermitted, makeIdentityCheck
from limpet.unix.process import ChildProcess

UMASK = 0o022
"""The file mode mask of a session, until the user's shell sets another."""

TERMINAL_MODE = 0o620
"""Mode of a terminal that belongs to its user and the group tty, who may write to it (mesg(1))."""

TERMINAL_MODE_ALONE = 0o600
"""Mode of a terminal on a system without the group tty."""


class SpawnFailed(Exception):
    """The program could not be started; the text says why."""


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes:
        account: Who runs it.
        executable: The file to execute.
        argv: Its arguments, argv[0] included.
        environment: All of its environment.
    """

    account: Account
    executable: str
    argv: Sequence[bytes | str]
    environment: Mapping[bytes, bytes]


class Terminal:
    """A pseudo-terminal: both sides, until the child has one of them.

    Attributes:
        master: The server's side.
        slave: The child's side; -1 once the child is started.
        name: The path of the child's side: "/dev/pts/3".
    """

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        try:
            self.name = os.ttyname(self.slave)
        except OSError:
            # As in a container whose /dev/pts is another one than that of /dev/ptmx.
            self.close()
            raise

    def giveTo(self, account: Account) -> None:
        """Make the account the owner, with the mode that mesg(1) expects. Only root can."""
        self.giveToIds(account.uid, account.gid)

    def giveToIds(self, uid: int, gid: int) -> None:
        """The same for a user who has no account."""
        if os.geteuid() != 0:
            return
        try:
            import grp

            group, mode = grp.getgrnam("tty").gr_gid, TERMINAL_MODE
        except KeyError:
            group, mode = gid, TERMINAL_MODE_ALONE
        details = os.fstat(self.slave)
        if (details.st_uid, details.st_gid) != (uid, group):
            os.fchown(self.slave, uid, group)
        if stat.S_IMODE(details.st_mode) != mode:
            os.fchmod(self.slave, mode)

    def resize(self, rows: int, columns: int, width: int, height: int) -> None:
        """Set the window's size, in characters and pixels; the kernel tells the program."""
        setWindowSize(self.master, (rows, columns, width, height))

    def close(self) -> None:
        """Close what is still ours. May be called again."""
        for side in ("master", "slave"):
            fd = getattr(self, side)
            if fd >= 0:
                setattr(self, side, -1)
                os.close(fd)


def passOnNoIgnoredSignals() -> None:
    """Have the signals that this process was started to ignore do nothing to it, and be as usual in
    its sessions: what is ignored stays so in every program that is started, what is handled does
    not. A shell has SIGQUIT ignored by what it starts in the background.
    """
    for number in signal.valid_signals():
        # Python has two ignored itself, which subprocess puts back.
        if number not in _PYTHONS and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)


def spawnWithPipes(
    reactor: Any, proto: Any, program: Program, gatherer: Gatherer | None = None
) -> ChildProcess:
    """Start `program` with a pipe for each of its three standard descriptors.

    Returns:
        The child; nothing has been called on `proto` yet, `start` does that.

    Raises:
        SpawnFailed: It did not start.
    """
    fds: list[int] = []
    try:
        for _ in range(3):
            fds.extend(os.pipe())
        stdinRead, stdinWrite, stdoutRead, stdoutWrite, stderrRead, stderrWrite = fds
        process = _start(program, stdinRead, stdoutWrite, stderrWrite, terminal=False)
    except OSError as failure:
        _closeAll(fds)
        raise SpawnFailed(f"{program.executable}: {failure.strerror}") from failure
    except BaseException:
        _closeAll(fds)
        raise
    _closeAll((stdinRead, stdoutWrite, stderrWrite))
    return ChildProcess(
        reactor, proto, process, stdinWrite, {1: stdoutRead, 2: stderrRead}, gatherer=gatherer
    )


def spawnOnTerminal(
    reactor: Any,
    proto: Any,
    program: Program,
    terminal: Terminal,
    gatherer: Gatherer | None = None,
) -> ChildProcess:
    """Start `program` with `terminal` as its controlling terminal.

    The child's side of `terminal` is closed here, and the server's belongs to the `ChildProcess`.

    Raises:
        SpawnFailed: It did not start; the terminal is still open.
    """
    slave = terminal.slave
    try:
        duplicate = os.dup(terminal.master)
    except OSError as failure:
        raise SpawnFailed(f"no terminal: {failure.strerror}") from failure
    try:
        process = _start(program, slave, slave, slave, terminal=True)
    except OSError as failure:
        os.close(duplicate)
        raise SpawnFailed(f"{program.executable}: {failure.strerror}") from failure
    except BaseException:
        os.close(duplicate)
        raise
    terminal.slave = -1
    os.close(slave)
    return ChildProcess(
        reactor,
        proto,
        process,
        duplicate,
        {1: terminal.master},
        isTerminal=True,
        gatherer=gatherer,
    )


def _start(
    program: Program, stdin: int, stdout: int, stderr: int, terminal: bool
) -> subprocess.Popen[bytes]:
    account = program.account
    identity: dict[str, Any] = {}
    cwd: str | None = account.home
    prepare: Callable[[], None] | None = None
    notice = homeNotice(account)
    if account.isCurrent():
        if not _mayEnter(account.home):
            # Said before the program starts, so that it comes before all that the program says.
            os.write(stderr, notice)
            cwd = "/"
        if terminal:
            prepare = _takeTerminal
    else:
        if os.geteuid() != 0:
            raise NotPermitted(f"{account.name} is not the user that this server runs as")
        identity = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
        # The home is entered as the user, who alone may be allowed to.
        cwd = "/"
        prepare = _makePreparation(account, notice, terminal)
    try:
        return subprocess.Popen(
            list(program.argv),
            executable=program.executable,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=program.environment,
            cwd=cwd,
            close_fds=True,
            restore_signals=True,
            start_new_session=True,
            umask=UMASK,
            preexec_fn=prepare,
            **identity,
        )
    except subprocess.SubprocessError as failure:
        raise SpawnFailed(f"{account.name}: the identity could not be taken on") from failure


def _takeTerminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _makePreparation(account: Account, notice: bytes, terminal: bool) -> Callable[[], None]:
    check = makeIdentityCheck(account)
    home = account.home

    def prepare() -> None:
        if terminal:
            _takeTerminal()
        check()
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        try:
            os.chdir(home)
        except OSError:
            os.write(2, notice)

    return prepare


def homeNotice(account: Account) -> bytes:
    """What is said where the home directory cannot be entered."""
    return f"Could not chdir to home directory {account.home}\r\n".encode(
        "utf-8", "surrogateescape"
    )


def _mayEnter(directory: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(directory).st_mode) and os.access(directory, os.X_OK)
    except OSError:
        return False


def _closeAll(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
