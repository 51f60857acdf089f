"""A session whose programs the reactor starts, under Conch's name, to derive from.

Rule: what a subclass reads and sets is Conch's: `environ`, `ptyTuple`, `winSize`, `modes`, `pty`. A
program becomes its user between fork and exec; this process stays who it is, where Conch changes
its effective user around what a session does, for all threads at once.

    getPty ──▶ ptyTuple, environ        openShell, execCommand ──▶ reactor.spawnProcess ──▶ pty

`limpet.unix.UnixSession` is what `UnixConchUser` has without being asked: it obeys the restrictions
of keys, ends whole process groups, and passes bytes on with less work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet._reactor import getReactor
from limpet.core.authorizedkeys import UNRESTRICTED
from limpet.descriptors import setWindowSize
from limpet.error import ConchError
from limpet.interfaces import ISession
from limpet.unix.environment import ROOT_PATH, USER_PATH, connectionEnvironment
from limpet.unix.modes import applyModes
from limpet.unix.spawning import Terminal


@implementer(ISession)
class SSHSessionForUnixConchUser:
    """One session of one user.

    Args:
        avatar: The user: `username`, `getUserGroupId()`, `getHomeDir()` and `getShell()`. Ids that
            are None let programs run as this process does.
        reactor: What starts programs.

    Attributes:
        environ: The environment of programs, text to text.
        ptyTuple: The terminal that the client asked for, as `spawnProcess` takes it for `usePTY`:
            both descriptors and the path. 0 where there is none.
        winSize: Its rows, columns, width and height.
        modes: Its modes, pairs of opcode and value.
        pty: The program's process transport, once it runs; a subclass that starts programs sets it.

    Raises:
        ConchError: The key that the user logged in with allows less than everything, which a
            subclass would not know of. The avatar of an application's own, without
            `obeysRestrictions`, has that done by its connection.
    """

    _log = ClassLogger()

    def __init__(self, avatar: Any, reactor: Any = None) -> None:
        transport = getattr(getattr(avatar, "conn", None), "transport", None)
        restrictions = getattr(transport, "restrictions", None)
        isRestricted = restrictions not in (None, UNRESTRICTED)
        if isRestricted and getattr(avatar, "obeysRestrictions", False):
            raise ConchError("the key of this login is restricted, which these sessions ignore")
        self._reactor = getReactor() if reactor is None else reactor
        self.avatar = avatar
        self.environ = {"PATH": ROOT_PATH if os.geteuid() == 0 else USER_PATH}
        self.pty: Any = None
        self.ptyTuple: tuple[int, int, str] | int = 0
        self.winSize: Sequence[int] = (0, 0, 0, 0)
        self.modes: list[tuple[int, int]] = []
        self._terminal: Terminal | None = None
        self._device = -1

    def __init_subclass__(cls) -> None:
        # An avatar that is its own session, derived from UnixConchUser and from this.
        super().__init_subclass__()
        if "obeysRestrictions" not in cls.__dict__:
            cls.obeysRestrictions = False  # type: ignore[attr-defined]

    # Before the program.

    def getPty(
        self, term: bytes, windowSize: Sequence[int], modes: Iterable[tuple[int, int]]
    ) -> None:
        """Open the pseudo-terminal of the program to come; see `ISession.getPty`.

        Raises:
            ConchError: There is one already.
        """
        if self.ptyTuple:
            raise ConchError("a session has one pseudo-terminal")
        terminal = Terminal()
        try:
            self._device = os.fstat(terminal.slave).st_rdev
            self.winSize, self.modes = windowSize, list(modes)
            setWindowSize(terminal.master, windowSize)
            applyModes(terminal.slave, self.modes)
        except BaseException:
            terminal.close()
            raise
        self._terminal = terminal
        self.ptyTuple = (terminal.master, terminal.slave, terminal.name)
        self.environ["TERM"] = os.fsdecode(term)
        self.environ["SSH_TTY"] = terminal.name

    def getPtyOwnership(self) -> None:
        """Make the user the owner of the terminal. Only root can."""
        uid, gid = self.avatar.getUserGroupId()
        if self._terminal is not None and uid is not None:
            self._terminal.giveToIds(uid, gid)

    def windowChanged(self, winSize: Sequence[int]) -> None:
        """Tell the terminal its new size: rows, columns, width and height in pixels."""
        self.winSize = winSize
        if self.pty is not None and self.ptyTuple:
            setWindowSize(self.pty.fileno(), winSize)

    def setModes(self) -> None:
        """Set the terminal's modes again; `getPty` has done so."""
        if self.pty is not None and self.ptyTuple:
            applyModes(self.pty.fileno(), self.modes)

    def addUTMPEntry(self, loggedIn: int = 1) -> None:
        """Record the login with the system: nothing is recorded. A subclass may."""

    # The program.

    def openShell(self, proto: Any) -> None:
        """Start the login shell, on a terminal or on pipes."""
        shell = self._shell()
        self._start(proto, shell, ["-" + PurePath(shell).name])

    def execCommand(self, proto: Any, cmd: bytes) -> None:
        """Have the user's shell run a command."""
        shell = self._shell()
        self._start(proto, shell, [PurePath(shell).name, "-c", cmd])

    def _shell(self) -> str:
        return os.fsdecode(self.avatar.getShell()) or "/bin/sh"

    def _start(self, proto: Any, executable: str, arguments: list[str | bytes]) -> None:
        if self.pty is not None:
            raise ConchError("one session runs one program")
        uid, gid = self.avatar.getUserGroupId()
        if uid is None or uid == os.geteuid():
            # Who this process is already; who is not root cannot even become himself.
            uid = gid = None
        home = self.avatar.getHomeDir()
        home = os.fsdecode(getattr(home, "path", home))
        name = os.fsdecode(self.avatar.username)
        defaults = {"USER": name, "LOGNAME": name, "HOME": home, "SHELL": self._shell()}
        self.environ.update(self._addresses())
        self.environ = {**defaults, **self.environ}
        self.getPtyOwnership()
        self.pty = self._reactor.spawnProcess(
            proto, executable, arguments, self.environ, home, uid, gid, usePTY=self.ptyTuple
        )
        if self.ptyTuple:
            self.addUTMPEntry()
        below: Any = getattr(getattr(self.avatar.conn, "transport", None), "transport", None)
        if hasattr(below, "setTcpNoDelay"):
            below.setTcpNoDelay(True)

    def _addresses(self) -> dict[str, str]:
        transport = getattr(self.avatar.conn, "transport", None)
        if transport is None:
            return {}
        peer, host = transport.getPeer(), transport.getHost()
        found = connectionEnvironment(
            getattr(peer, "address", peer), getattr(host, "address", host)
        )
        return {name.decode(): value.decode() for name, value in found.items()}

    # The end.

    def eofReceived(self) -> None:
        """The client sends no more: the program's stdin ends."""
        if self.pty is not None:
            self.pty.closeStdin()

    def closed(self) -> None:
        """The channel is closed: the program is hung up. May be called again."""
        if self.pty is not None:
            # Not allowed is it for a program that has become root's (sudo), where we are not.
            with suppress(ProcessExitedAlready, PermissionError):
                self.pty.signalProcess("HUP")
            self.pty.loseConnection()
            if self.ptyTuple:
                self.addUTMPEntry(0)
        self._closeUnused()
        self.ptyTuple = 0

    def _closeUnused(self) -> None:
        """Close the terminal, unless a program was given it: the reactor has it then."""
        terminal, self._terminal = self._terminal, None
        if terminal is None or self.pty is not None:
            return
        # A subclass may have started a program without a word; its descriptors are another's now.
        with suppress(OSError):
            if os.fstat(terminal.slave).st_rdev == self._device:
                terminal.close()
