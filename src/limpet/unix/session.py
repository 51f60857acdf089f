"""A session as a user of the system: what the client asks for becomes a process.

Rule: what the login's restrictions say goes before what the client asks. A forced command runs
whatever was asked for, a pseudo-terminal or a variable that is not allowed is refused.

    pty-req, env, window-change ──▶ kept until there is a program
    shell ──▶ the login shell, argv[0] "-sh"        exec ──▶ shell -c command
    either, with a forced internal-sftp ──▶ a word about that, and status 1
    the channel closes ──▶ SIGHUP to the process group, SIGKILL after a grace, reaped in any case

RFC 4254 section 6; the environment is that which sshd(8) describes under LOGIN PROCESS.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.core.authorizedkeys import UNRESTRICTED, Restrictions
from limpet.descriptors import Gatherer
from limpet.error import ConchError
from limpet.interfaces import EnvironmentVariableNotPermitted, ISession, ISessionSetEnv
from limpet.unix.accounts import Account
from limpet.unix.environment import (
    CLIENT_VARIABLES,
    ClientVariables,
    connectionEnvironment,
    isPermitted,
    isValue,
    loginEnvironment,
)
from limpet.unix.fileserver import FilePolicy, spawnFileServer, workerOptions
from limpet.unix.internalsftp import SFTP_ONLY, FileServerOptions, isInternalSftp
from limpet.unix.modes import applyModes
from limpet.unix.process import HANGUP_GRACE_SECONDS, ChildProcess
from limpet.unix.spawning import Program, Terminal, spawnOnTerminal, spawnWithPipes

MAX_TERM = 128
"""Longest terminal type, in bytes; the longest in terminfo has 40."""

MAX_COMMAND = 131072 - 1
"""Longest command, in bytes: what Linux takes as one argument (MAX_ARG_STRLEN, with its NUL)."""

MAX_ORIGINAL_COMMAND = MAX_COMMAND - len("SSH_ORIGINAL_COMMAND=")
"""Longest command, in bytes, that a forced one can be told: a variable is an argument to Linux."""


NO_SHELLS = frozenset({"nologin", "false"})
"""The shells of accounts that nobody is to log in to. With OpenSSH's sftp-server, which the shell
starts, these have no files either."""


@dataclass(frozen=True)
class SessionPolicy:
    """What the server allows in sessions.

    Attributes:
        acceptEnvironment: Names of variables, or prefixes with a trailing b"*", a client may set.
        path: PATH of the sessions; None for the default of the account.
        allowPty: Whether terminals may be had.
        hangupGraceSeconds: How long a program lives on after SIGHUP.
        maxSessions: How many sessions one connection may have at a time.
        files: What may be done by SFTP. Where it confines, there are no shells and commands.
    """

    acceptEnvironment: tuple[bytes, ...] = CLIENT_VARIABLES
    path: str | None = None
    allowPty: bool = True
    hangupGraceSeconds: float = HANGUP_GRACE_SECONDS
    maxSessions: int = 10
    files: FilePolicy = FilePolicy()


class User(Protocol):
    """What a session needs to know of the avatar."""

    account: Account
    policy: SessionPolicy
    reactor: Any
    conn: Any

    def childStarted(self, child: ChildProcess) -> None:
        """A session has started a program."""

    def forwardAgent(self) -> str:
        """Have the client's agent here: the path of its socket. Raises ConchError."""


@implementer(ISession, ISessionSetEnv)
class UnixSession:
    """One session of one user; the adapter of `UnixConchUser` to `ISession`.

    Args:
        avatar: The user.

    Attributes:
        child: The program, once it runs.
    """

    _log = ClassLogger()

    def __init__(self, avatar: User) -> None:
        self.avatar = avatar
        self.child: ChildProcess | None = None
        self._terminal: Terminal | None = None
        self._term = b""
        self._isClosed = False
        self._agentPath = ""
        self._variables = ClientVariables(avatar.policy.acceptEnvironment)

    @property
    def restrictions(self) -> Restrictions:
        """What the way this user logged in still allows."""
        transport = getattr(self.avatar.conn, "transport", None)
        found = getattr(transport, "restrictions", None)
        return UNRESTRICTED if found is None else found

    # Before the program.

    def setEnv(self, name: bytes, value: bytes) -> None:
        """Set one variable of the program to come; see `ISessionSetEnv.setEnv`."""
        if not self._variables.set(name, value):
            raise EnvironmentVariableNotPermitted("not in the list of what a client may set")

    def getPty(
        self, term: bytes, windowSize: Sequence[int], modes: Iterable[tuple[int, int]]
    ) -> None:
        """Open the pseudo-terminal of the program to come; see `ISession.getPty`.

        Raises:
            ConchError: The login or the server does not allow one, or there is one already.
        """
        policy = self.avatar.policy
        if not (policy.allowPty and self.restrictions.allowPty) or policy.files.isConfining:
            raise ConchError("no pseudo-terminal is allowed for this login")
        if self._terminal is not None or self.child is not None or self._isClosed:
            raise ConchError("a pseudo-terminal comes once, and before the program")
        terminal = Terminal()
        try:
            terminal.giveTo(self.avatar.account)
            rows, columns, width, height = windowSize
            terminal.resize(rows, columns, width, height)
            applyModes(terminal.slave, modes)
        except BaseException:
            terminal.close()
            raise
        self._terminal = terminal
        self._term = term if len(term) <= MAX_TERM and isValue(term) else b""

    def windowChanged(self, newWindowSize: Sequence[int]) -> None:
        """Tell the terminal its new size: rows, columns, width and height in pixels."""
        rows, columns, width, height = newWindowSize
        if self.child is not None:
            self.child.resize(rows, columns, width, height)
        elif self._terminal is not None:
            self._terminal.resize(rows, columns, width, height)

    def agentForwardingRequested(self) -> None:
        """Let the program to come use the client's agent.

        Raises:
            ConchError: The login or the server does not allow that, or the program runs already.
        """
        if not self.restrictions.allowAgentForwarding:
            raise ConchError("this login may not forward an agent")
        self._checkFree()
        self._agentPath = self.avatar.forwardAgent()

    # The program.

    def openShell(self, proto: Any) -> None:
        """Start the login shell, or the forced command."""
        self._start(proto, None)

    def execCommand(self, proto: Any, command: bytes) -> None:
        """Have the user's shell run `command`, or the forced command."""
        self._start(proto, command)

    def _start(self, proto: Any, asked: bytes | None) -> None:
        self._checkFree()
        if self.avatar.policy.files.isConfining:
            raise ConchError("this server is for files only")
        forced = self.restrictions.forcedCommand
        command = asked if forced is None else forced
        _checkCommand(command, MAX_COMMAND)
        environment = self._environment()
        if forced is not None and asked is not None:
            # A part of it, or none, could be taken for another wish.
            _checkCommand(asked, MAX_ORIGINAL_COMMAND)
            environment[b"SSH_ORIGINAL_COMMAND"] = asked
        account = self.avatar.account
        executable = account.shell
        argv: list[bytes | str]
        if forced is not None and isInternalSftp(forced):
            executable, argv = "/bin/sh", ["sh", "-c", f"echo '{SFTP_ONLY}'; exit 1"]
        elif command is None:
            argv = ["-" + account.shellName]
        else:
            argv = [account.shellName, "-c", command]
        program = Program(account, executable, argv, environment)
        terminal = self._terminal
        reactor, gatherer = self.avatar.reactor, self._gatherer()
        if terminal is None:
            child = spawnWithPipes(reactor, proto, program, gatherer)
        else:
            child = spawnOnTerminal(reactor, proto, program, terminal, gatherer)
            self._terminal = None
        self._run(child)

    def _checkFree(self) -> None:
        if self.child is not None or self._isClosed:
            raise ConchError("one session runs one program")

    def _run(self, child: ChildProcess) -> None:
        self.child = child
        self.avatar.childStarted(child)
        child.start()

    def startFileServer(self, proto: Any, forced: FileServerOptions | None = None) -> None:
        """Start what serves the sftp subsystem.

        Args:
            proto: Its process protocol.
            forced: What the login's key says beyond the policy, if it is for files only.

        Raises:
            ConchError: The account is closed, by a shell that lets nobody in, and the server or the
                login is not for files only, where no shell is needed.
        """
        self._checkFree()
        isForFiles = forced is not None or self.avatar.policy.files.isConfining
        if self.avatar.account.shellName in NO_SHELLS and not isForFiles:
            raise ConchError("the account has no shell, and so no files")
        transport = getattr(self.avatar.conn, "transport", None)
        version = getattr(transport, "otherVersionString", b"") or b""
        account = self.avatar.account
        options = workerOptions(account, self.avatar.policy.files, version)
        if forced is not None:
            options.update(forced.forWorker(account))
        self._run(
            spawnFileServer(
                self.avatar.reactor,
                proto,
                options,
                self._gatherer(),
                getattr(self.avatar, "nursery", None),
            )
        )

    def _environment(self) -> dict[bytes, bytes]:
        policy, account = self.avatar.policy, self.avatar.account
        environment = dict(self._variables.values)
        for name, value in self.restrictions.environment:
            # The file is the user's own: it may set no more than the client itself.
            if isPermitted(name, policy.acceptEnvironment) and isValue(value):
                environment[name] = value
        environment.update(loginEnvironment(account, policy.path))
        if self._agentPath:
            environment[b"SSH_AUTH_SOCK"] = os.fsencode(self._agentPath)
        transport = getattr(self.avatar.conn, "transport", None)
        if transport is not None:
            peer, host = transport.getPeer(), transport.getHost()
            environment.update(
                connectionEnvironment(
                    getattr(peer, "address", peer), getattr(host, "address", host)
                )
            )
        if self._terminal is not None:
            environment[b"SSH_TTY"] = os.fsencode(self._terminal.name)
            if self._term:
                environment[b"TERM"] = self._term
        return environment

    def _gatherer(self) -> Gatherer | None:
        below = getattr(getattr(self.avatar.conn, "transport", None), "transport", None)
        return below if hasattr(below, "gather") and hasattr(below, "release") else None

    # The end.

    def eofReceived(self) -> None:
        """The client sends no more: the program's stdin ends."""
        if self.child is not None:
            self.child.closeStdin()

    def closed(self) -> None:
        """The channel is closed: what still runs is hung up. May be called again."""
        self._isClosed = True
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None
        if self.child is not None:
            self.child.hangUp(self.avatar.policy.hangupGraceSeconds)


def _checkCommand(command: bytes | None, limit: int) -> None:
    """Raise ConchError where the system could not pass a command on."""
    if command is not None and (b"\0" in command or len(command) > limit):
        raise ConchError("a command that no shell can be given")
