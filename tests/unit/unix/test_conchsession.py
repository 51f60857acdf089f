"""Conch's session for a system's user: what a subclass sees of it, and what is left behind."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ProcessExitedAlready

from limpet.core.authorizedkeys import UNRESTRICTED, Restrictions
from limpet.error import ConchError
from limpet.interfaces import ISession
from limpet.ttymodes import ECHO
from limpet.unix import SSHSessionForUnixConchUser, UnixConchUser

SIZE = (24, 80, 0, 0)


class Spawned:
    """What the reactor returns; it has the terminal's server side, as the reactor's own has."""

    def __init__(self, usePTY: Any) -> None:
        self._usePTY = usePTY
        self.done: list[str] = []
        if usePTY:
            os.close(usePTY[1])

    def fileno(self) -> int:
        return int(self._usePTY[0])

    def signalProcess(self, name: str) -> None:
        self.done.append(name)
        if len(self.done) > 3:
            raise ProcessExitedAlready

    def closeStdin(self) -> None:
        self.done.append("closeStdin")

    def loseConnection(self) -> None:
        self.done.append("loseConnection")


class Spawner:
    """A reactor that starts nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def spawnProcess(
        self,
        proto: Any,
        executable: str,
        arguments: Any,
        env: Any,
        path: str,
        *ids: Any,
        usePTY: Any,
    ) -> Spawned:
        self.calls.append((proto, executable, arguments, env, path, *ids))
        return Spawned(usePTY)


class Avatar:
    """A user of an application's own."""

    username = b"ann"
    obeysRestrictions = False
    conn: Any = None
    ids: tuple[int | None, int | None] = (None, None)

    def getUserGroupId(self) -> tuple[int | None, int | None]:
        return self.ids

    def getHomeDir(self) -> str:
        return "/home/ann"

    def getShell(self) -> str:
        return "/bin/zsh"


@pytest.fixture
def reactor() -> Spawner:
    return Spawner()


@pytest.fixture
def session(reactor: Spawner) -> SSHSessionForUnixConchUser:
    return SSHSessionForUnixConchUser(Avatar(), reactor)


def test_itIsASession(session: SSHSessionForUnixConchUser) -> None:
    assert ISession.providedBy(session)
    assert (session.pty, session.ptyTuple) == (None, 0)
    assert set(session.environ) == {"PATH"}


def test_aCommand(session: SSHSessionForUnixConchUser, reactor: Spawner) -> None:
    proto = object()
    session.execCommand(proto, b"id")
    [call] = reactor.calls
    assert call[:3] == (proto, "/bin/zsh", ["zsh", "-c", b"id"])
    assert call[4:] == ("/home/ann", None, None)
    assert call[3]["USER"] == call[3]["LOGNAME"] == "ann"
    assert (call[3]["HOME"], call[3]["SHELL"]) == ("/home/ann", "/bin/zsh")
    with pytest.raises(ConchError):
        session.execCommand(proto, b"id")


def test_aShellWithoutATerminal(session: SSHSessionForUnixConchUser, reactor: Spawner) -> None:
    session.openShell(object())
    assert reactor.calls[0][1:3] == ("/bin/zsh", ["-zsh"])


def test_whatASubclassSetsBeforehandStays(
    session: SSHSessionForUnixConchUser, reactor: Spawner
) -> None:
    session.environ["HOME"] = "/elsewhere"
    session.execCommand(object(), b"id")
    assert reactor.calls[0][3]["HOME"] == "/elsewhere"


def test_anotherUsersIds(session: SSHSessionForUnixConchUser, reactor: Spawner) -> None:
    session.avatar.ids = (os.geteuid() + 1, 7)
    session.execCommand(object(), b"id")
    assert reactor.calls[0][5:] == (os.geteuid() + 1, 7)


def test_ones_own_ids_need_no_change(session: SSHSessionForUnixConchUser, reactor: Spawner) -> None:
    session.avatar.ids = (os.geteuid(), os.getegid())
    session.execCommand(object(), b"id")
    assert reactor.calls[0][5:] == (None, None)


class TestTerminal:
    def size(self, fd: int) -> tuple[int, ...]:
        return struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))

    def test_itIsReadyForASubclass(self, session: SSHSessionForUnixConchUser) -> None:
        session.getPty(b"xterm", SIZE, [(ECHO, 0)])
        assert isinstance(session.ptyTuple, tuple)
        master, slave, name = session.ptyTuple
        assert os.ttyname(slave) == name == session.environ["SSH_TTY"]
        assert session.environ["TERM"] == "xterm"
        assert (session.winSize, session.modes) == (SIZE, [(ECHO, 0)])
        assert self.size(master) == SIZE
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
        session.closed()

    def test_aProgramHasItAndItsSizeFollows(self, session: SSHSessionForUnixConchUser) -> None:
        session.getPty(b"xterm", SIZE, [])
        session.openShell(object())
        session.windowChanged((50, 132, 1, 2))
        session.setModes()
        assert self.size(session.pty.fileno()) == (50, 132, 1, 2)
        master = session.pty.fileno()
        session.closed()
        os.close(master)  # It is the reactor's, and still open.

    def test_thereIsOne(self, session: SSHSessionForUnixConchUser) -> None:
        session.getPty(b"xterm", SIZE, [])
        with pytest.raises(ConchError):
            session.getPty(b"xterm", SIZE, [])
        session.closed()

    def test_withoutAProgramItIsClosed(self, session: SSHSessionForUnixConchUser) -> None:
        session.getPty(b"xterm", SIZE, [])
        assert isinstance(session.ptyTuple, tuple)
        master, slave, _ = session.ptyTuple
        session.closed()
        for fd in (master, slave):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
        session.closed()

    def test_whatASubclassGaveAwayIsNotClosed(self, session: SSHSessionForUnixConchUser) -> None:
        session.getPty(b"xterm", SIZE, [])
        assert isinstance(session.ptyTuple, tuple)
        master, slave, _ = session.ptyTuple
        os.close(slave)
        other = os.open(os.devnull, os.O_RDONLY)  # Most likely by the same number.
        session.closed()
        for fd in (master, other):
            os.close(fd)


class TestTheEnd:
    def test_theProgramIsHungUp(self, session: SSHSessionForUnixConchUser) -> None:
        session.execCommand(object(), b"cat")
        session.eofReceived()
        session.closed()
        assert session.pty.done == ["closeStdin", "HUP", "loseConnection"]

    def test_oneThatHasEndedAlready(self, session: SSHSessionForUnixConchUser) -> None:
        session.execCommand(object(), b"cat")
        session.closed()
        session.closed()
        assert session.pty.done[-1] == "loseConnection"

    def test_oneThatHasBecomeAnotherUsers(
        self, session: SSHSessionForUnixConchUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by sudo, where the server is not root's: it may not be hung up, but hears the end."""

        def refuse(name: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        session.execCommand(object(), b"sudo cat")
        monkeypatch.setattr(session.pty, "signalProcess", refuse)
        session.closed()
        assert session.pty.done == ["loseConnection"]

    def test_beforeAProgram(self, session: SSHSessionForUnixConchUser) -> None:
        session.eofReceived()
        session.closed()


class TestRestrictions:
    """A key that allows less: whoever says that sessions obey gets none that does not."""

    def avatar(self, obeys: bool, restrictions: Restrictions | None) -> Avatar:
        avatar = Avatar()
        avatar.obeysRestrictions = obeys
        avatar.conn = SimpleNamespace(transport=SimpleNamespace(restrictions=restrictions))
        return avatar

    def test_aForcedCommandIsNotPassedBy(self, reactor: Spawner) -> None:
        forced = Restrictions(forcedCommand=b"true")
        with pytest.raises(ConchError, match="restricted"):
            SSHSessionForUnixConchUser(self.avatar(True, forced), reactor)
        # The connection does it for these.
        SSHSessionForUnixConchUser(self.avatar(False, forced), reactor)

    def test_anAvatarThatSaysNothingLeavesItToItsConnection(self, reactor: Spawner) -> None:
        connection = self.avatar(False, Restrictions(forcedCommand=b"true")).conn
        SSHSessionForUnixConchUser(SimpleNamespace(conn=connection), reactor)

    @pytest.mark.parametrize("restrictions", [None, UNRESTRICTED])
    def test_withoutAny(self, reactor: Spawner, restrictions: Restrictions | None) -> None:
        SSHSessionForUnixConchUser(self.avatar(True, restrictions), reactor)

    def test_anAvatarThatIsItsOwnSession(self) -> None:
        class Both(UnixConchUser, SSHSessionForUnixConchUser):
            pass

        assert UnixConchUser.obeysRestrictions
        assert not Both.obeysRestrictions
