"""What a session makes of a client's wishes and a login's restrictions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from zope.interface.verify import verifyObject

from limpet.core.authorizedkeys import Restrictions
from limpet.error import ConchError
from limpet.interfaces import EnvironmentVariableNotPermitted, ISession, ISessionSetEnv
from limpet.ssh.address import SSHTransportAddress
from limpet.unix import session as sessionModule
from limpet.unix.accounts import Account
from limpet.unix.session import (
    MAX_COMMAND,
    MAX_ORIGINAL_COMMAND,
    SessionPolicy,
    UnixSession,
)
from limpet.unix.spawning import Program, SpawnFailed
from tests.descriptors import openDescriptors

SOMEONE = Account("someone", 1000, 1000, (1000,), "/home/someone", "/usr/bin/zsh")


class FakeTransport:
    """The SSH transport below the connection."""

    def __init__(self, restrictions: Restrictions | None) -> None:
        if restrictions is not None:
            self.restrictions = restrictions
        self.transport: Any = None

    def getPeer(self) -> SSHTransportAddress:
        return SSHTransportAddress(IPv4Address("TCP", "192.0.2.1", 40000))

    def getHost(self) -> SSHTransportAddress:
        return SSHTransportAddress(IPv4Address("TCP", "192.0.2.2", 22))


class FakeConnection:
    def __init__(self, restrictions: Restrictions | None) -> None:
        self.transport = FakeTransport(restrictions)


class FakeUser:
    def __init__(self, restrictions: Restrictions | None, policy: SessionPolicy) -> None:
        self.account = SOMEONE
        self.policy = policy
        self.reactor: Any = None
        self.conn: Any = FakeConnection(restrictions)
        self.started: list[Any] = []

    def childStarted(self, child: Any) -> None:
        self.started.append(child)

    def forwardAgent(self) -> str:
        return "/tmp/agent"


class FakeChild:
    def __init__(self, program: Program, terminal: Any, gatherer: Any) -> None:
        self.program = program
        self.terminal = terminal
        self.gatherer = gatherer
        self.calls: list[Any] = []

    def start(self) -> None:
        self.calls.append("start")

    def closeStdin(self) -> None:
        self.calls.append("closeStdin")

    def resize(self, *size: int) -> None:
        self.calls.append(size)

    def hangUp(self, graceSeconds: float) -> None:
        self.calls.append(("hangUp", graceSeconds))


@pytest.fixture(autouse=True)
def noProcesses(monkeypatch: pytest.MonkeyPatch) -> None:
    def withPipes(reactor: Any, proto: Any, program: Program, gatherer: Any = None) -> FakeChild:
        return FakeChild(program, None, gatherer)

    def onTerminal(
        reactor: Any, proto: Any, program: Program, terminal: Any, gatherer: Any = None
    ) -> FakeChild:
        child = FakeChild(program, terminal.name, gatherer)
        terminal.close()
        return child

    monkeypatch.setattr(sessionModule, "spawnWithPipes", withPipes)
    monkeypatch.setattr(sessionModule, "spawnOnTerminal", onTerminal)


@pytest.fixture(autouse=True)
def nothingLeaks() -> Iterator[None]:
    before = openDescriptors()
    yield
    assert openDescriptors() <= before


def make(restrictions: Restrictions | None = None, **policy: Any) -> UnixSession:
    return UnixSession(FakeUser(restrictions, SessionPolicy(**policy)))


def programOf(session: UnixSession) -> Program:
    child: Any = session.child
    assert isinstance(child, FakeChild)
    return child.program


def test_itProvidesWhatItSays() -> None:
    session = make()
    assert verifyObject(ISession, session)
    assert verifyObject(ISessionSetEnv, session)


def test_aShellIsALoginShell() -> None:
    session = make()
    session.openShell(object())
    program = programOf(session)
    assert (program.executable, list(program.argv)) == ("/usr/bin/zsh", ["-zsh"])
    assert program.account is SOMEONE
    assert b"TERM" not in program.environment
    assert program.environment[b"SSH_CONNECTION"] == b"192.0.2.1 40000 192.0.2.2 22"
    child: Any = session.child
    assert child.calls == ["start"]
    user: Any = session.avatar
    assert user.started == [child]


def test_aCommandGoesToTheShellAsOneArgument() -> None:
    session = make()
    session.execCommand(object(), b"echo \xff; rm -rf 'x'")
    assert list(programOf(session).argv) == ["zsh", "-c", b"echo \xff; rm -rf 'x'"]
    assert b"SSH_ORIGINAL_COMMAND" not in programOf(session).environment


def test_aForcedCommandRunsWhateverIsAsked() -> None:
    forced = Restrictions(forcedCommand=b"only this")
    session = make(forced)
    session.execCommand(object(), b"something else; `x`")
    assert list(programOf(session).argv) == ["zsh", "-c", b"only this"]
    assert programOf(session).environment[b"SSH_ORIGINAL_COMMAND"] == b"something else; `x`"
    shell = make(forced)
    shell.openShell(object())
    assert list(programOf(shell).argv) == ["zsh", "-c", b"only this"]
    assert b"SSH_ORIGINAL_COMMAND" not in programOf(shell).environment


@pytest.mark.parametrize("command", [b"a\0b", b"x" * (MAX_COMMAND + 1)])
def test_aCommandThatNoShellCanBeGivenIsRefused(command: bytes) -> None:
    session = make()
    with pytest.raises(ConchError):
        session.execCommand(object(), command)
    assert session.child is None


@pytest.mark.parametrize("command", [b"a\0b", b"x" * (MAX_ORIGINAL_COMMAND + 1)])
def test_aCommandThatAForcedOneCannotBeToldIsRefused(command: bytes) -> None:
    """A part of it was told, or nothing, or the system would not start it."""
    session = make(Restrictions(forcedCommand=b"only this"))
    with pytest.raises(ConchError):
        session.execCommand(object(), command)
    assert session.child is None


def test_theLongestCommandThatIsTakenCanBeRun() -> None:
    """Linux takes no longer argument and no longer variable, its name included."""
    environment = {b"SSH_ORIGINAL_COMMAND": b"x" * MAX_ORIGINAL_COMMAND}
    arguments: list[bytes | str] = ["sh", "-c", b"#" * MAX_COMMAND]
    assert subprocess.run(arguments, env=environment, check=False).returncode == 0
    environment = {b"SSH_ORIGINAL_COMMAND": b"x" * (MAX_ORIGINAL_COMMAND + 1)}
    with pytest.raises(OSError, match="too long"):
        subprocess.run(arguments, env=environment, check=False)


def test_oneSessionRunsOneProgram() -> None:
    session = make()
    session.openShell(object())
    child = session.child
    with pytest.raises(ConchError):
        session.execCommand(object(), b"x")
    assert session.child is child


def test_variablesAreSetWithinTheList() -> None:
    session = make()
    session.setEnv(b"LC_ALL", b"C.UTF-8")
    for name in (b"LD_PRELOAD", b"PATH", b"HOME"):
        with pytest.raises(EnvironmentVariableNotPermitted):
            session.setEnv(name, b"x")
    session.openShell(object())
    environment = programOf(session).environment
    assert environment[b"LC_ALL"] == b"C.UTF-8"
    assert environment[b"HOME"] == b"/home/someone"


def test_evenAListOfEverythingDoesNotReplaceTheAccount() -> None:
    session = make(acceptEnvironment=(b"*",))
    session.setEnv(b"HOME", b"/elsewhere")
    session.setEnv(b"SSH_CONNECTION", b"forged")
    session.openShell(object())
    assert programOf(session).environment[b"HOME"] == b"/home/someone"
    assert programOf(session).environment[b"SSH_CONNECTION"].startswith(b"192.0.2.1")


def test_variablesOfAKeyAreSetWithinTheList() -> None:
    wishes = ((b"LC_X", b"key"), (b"LD_PRELOAD", b"/evil.so"), (b"LC_Y", b"a\nb"))
    session = make(Restrictions(environment=wishes))
    session.openShell(object())
    environment = programOf(session).environment
    assert environment[b"LC_X"] == b"key"
    assert not {b"LD_PRELOAD", b"LC_Y"} & set(environment)


class TestTerminal:
    def test_aTerminalWithItsTypeAndName(self) -> None:
        session = make()
        session.setEnv(b"TERM", b"other")
        session.getPty(b"xterm-256color", (24, 80, 0, 0), [(53, 0)])
        session.windowChanged((50, 132, 0, 0))
        session.openShell(object())
        child: Any = session.child
        environment = programOf(session).environment
        assert environment[b"TERM"] == b"xterm-256color"
        assert environment[b"SSH_TTY"] == os.fsencode(child.terminal)
        session.windowChanged((1, 2, 3, 4))
        assert child.calls == ["start", (1, 2, 3, 4)]

    @pytest.mark.parametrize("term", [b"x\nLD_PRELOAD=/evil", b"x" * 500, b""])
    def test_aTypeThatIsNoneIsLeftOut(self, term: bytes) -> None:
        session = make()
        session.getPty(term, (24, 80, 0, 0), [])
        session.openShell(object())
        assert b"TERM" not in programOf(session).environment

    @pytest.mark.parametrize(
        ("restrictions", "policy"),
        [(Restrictions(allowPty=False), {}), (None, {"allowPty": False})],
    )
    def test_noTerminalWhereNoneIsAllowed(
        self, restrictions: Restrictions | None, policy: dict[str, Any]
    ) -> None:
        session = make(restrictions, **policy)
        with pytest.raises(ConchError, match="no pseudo-terminal"):
            session.getPty(b"xterm", (24, 80, 0, 0), [])
        session.openShell(object())
        child: Any = session.child
        assert child.terminal is None

    def test_aTerminalComesOnceAndBeforeTheProgram(self) -> None:
        session = make()
        session.getPty(b"xterm", (24, 80, 0, 0), [])
        with pytest.raises(ConchError):
            session.getPty(b"xterm", (24, 80, 0, 0), [])
        session.openShell(object())
        with pytest.raises(ConchError):
            session.getPty(b"xterm", (24, 80, 0, 0), [])

    def test_aProgramThatDoesNotStartLeavesTheTerminalToClosed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(*args: Any) -> None:
            raise SpawnFailed("no such shell")

        monkeypatch.setattr(sessionModule, "spawnOnTerminal", failing)
        session = make()
        session.getPty(b"xterm", (24, 80, 0, 0), [])
        with pytest.raises(SpawnFailed):
            session.openShell(object())
        session.closed()


class TestEnd:
    def test_theEndOfTheClientsDataClosesStdin(self) -> None:
        session = make()
        session.eofReceived()
        session.openShell(object())
        session.eofReceived()
        child: Any = session.child
        assert child.calls == ["start", "closeStdin"]

    def test_closedHangsUpAndMayComeAgain(self) -> None:
        session = make(hangupGraceSeconds=7.0)
        session.openShell(object())
        session.closed()
        session.closed()
        child: Any = session.child
        assert child.calls == ["start", ("hangUp", 7.0), ("hangUp", 7.0)]

    def test_nothingStartsAfterTheEnd(self) -> None:
        session = make()
        session.getPty(b"xterm", (24, 80, 0, 0), [])
        session.closed()
        with pytest.raises(ConchError):
            session.openShell(object())
        with pytest.raises(ConchError):
            session.getPty(b"xterm", (24, 80, 0, 0), [])
        session.windowChanged((1, 2, 3, 4))


def test_outputIsGatheredWhereTheTransportBelowCanDoThat() -> None:
    session = make()

    class Below:
        def gather(self) -> None: ...

        def release(self) -> None: ...

    below = Below()
    session.avatar.conn.transport.transport = below
    session.openShell(object())
    child: Any = session.child
    assert child.gatherer is below
    other = make()
    other.openShell(object())
    stock: Any = other.child
    assert stock.gatherer is None


def test_aUserWithoutAConnectionIsUnrestricted() -> None:
    session = make()
    session.avatar.conn = None
    session.openShell(object())
    assert b"SSH_CLIENT" not in programOf(session).environment
