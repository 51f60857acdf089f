"""Group H of the attack table: what a session's program is given, and what it leaves behind.

H1 variables and commands, H2 identity and descriptors, H3 orphans and terminals; with them M8, a
server that runs out of descriptors.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from limpet.core.authorizedkeys import Restrictions
from limpet.error import ConchError
from limpet.interfaces import EnvironmentVariableNotPermitted
from limpet.ssh.session import SSHSession
from limpet.unix import UnixConchUser, UnixSession
from limpet.unix.accounts import Account
from limpet.unix.spawning import SpawnFailed, Terminal, spawnWithPipes
from limpet.wire.fields import NS
from tests.unit.scripts.programs import serving
from tests.unit.unix.driving import Driver, Recorder, driver, shellProgram

__all__ = ["driver"]

isRoot = os.geteuid() == 0
needsRoot = pytest.mark.skipif(not isRoot, reason="only root becomes another user")


class Connection:
    """What session and channel need of a connection; keeps what the client would be sent."""

    def __init__(self, restrictions: Restrictions) -> None:
        self.restrictions = restrictions
        self.transport: Any = self
        self.channels: dict[int, Any] = {}
        self.data = b""
        self.requests: list[bytes] = []
        self.closed = False

    def getPeer(self) -> None: ...

    def getHost(self) -> None: ...

    def logPrefix(self) -> str:
        return "a test"

    def sendData(self, channel: Any, data: bytes) -> None:
        self.data += bytes(data)

    def sendExtendedData(self, channel: Any, dataType: int, data: bytes) -> None:
        self.data += bytes(data)

    def sendRequest(self, channel: Any, name: bytes, data: bytes, wantReply: bool = False) -> None:
        self.requests.append(name)

    def sendEOF(self, channel: Any) -> None: ...

    def sendClose(self, channel: Any) -> None:
        self.closed = True


class Login:
    """A user's session channel, on a real reactor and with real programs."""

    def __init__(self, driver: Driver, **restrictions: Any) -> None:
        account = Account.current()
        # A shell that reads no files of the person who runs the tests.
        self.account = Account(
            account.name, account.uid, account.gid, account.groups, "/", "/bin/sh"
        )
        self.driver = driver
        self.user = UnixConchUser(self.account, reactor=driver.reactor)
        self.user.onChildStarted = driver.children.append
        self.connection = Connection(Restrictions(**restrictions))
        self.user.conn = self.connection
        self.channel = self.user.lookupChannel(b"session", 1 << 30, 32768, b"")
        self.channel.conn = self.connection
        assert isinstance(self.channel, SSHSession)

    def env(self, name: bytes, value: bytes) -> int:
        answer: int = self.channel.requestReceived(b"env", NS(name) + NS(value))
        return answer

    def run(self, request: bytes, command: bytes | None = None) -> bytes:
        """All that the program says."""
        body = b"" if command is None else NS(command)
        assert self.channel.requestReceived(request, body) == 1
        if request == b"shell":
            self.channel.eofReceived()
        self.driver.until(lambda: self.connection.closed, "the session's end")
        return self.connection.data


HOSTILE_VARIABLES = [
    (b"LD_PRELOAD", b"/tmp/evil.so"),
    (b"LD_LIBRARY_PATH", b"/tmp"),
    (b"BASH_ENV", b"/tmp/evil"),
    (b"ENV", b"/tmp/evil"),
    (b"BASH_FUNC_ls%%", b"() { :; }"),
    (b"BASH_FUNC_x()", b"() { :; }"),
    (b"PATH", b"/tmp"),
    (b"IFS", b"x"),
    (b"HOME", b"/tmp"),
    (b"SHELL", b"/tmp/evil"),
    (b"PYTHONPATH", b"/tmp"),
    (b"GIT_SSH_COMMAND", b"evil"),
    (b"GIT_EXEC_PATH", b"/tmp"),
    (b"SSH_ORIGINAL_COMMAND", b"forged"),
    (b"SSH_CONNECTION", b"forged"),
    (b"LC_ALL\0LD_PRELOAD", b"x"),
    (b"LC_A=LD_PRELOAD", b"x"),
    (b"LC_ALL", b"C\nLD_PRELOAD=/tmp/evil.so"),
    (b"LC_ALL", b"C\0D"),
    (b"", b"x"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE_VARIABLES)
def test_H1_variablesOfAClientAreRefusedUnlessListed(
    driver: Driver, name: bytes, value: bytes
) -> None:
    login = Login(driver)
    assert login.env(name, value) == 0
    assert login.env(b"LC_MESSAGES", b"C") == 1
    lines = login.run(b"exec", b"env").splitlines()
    assert b"LC_MESSAGES=C" in lines
    # What the server itself sets is there, but not the client's value of it.
    assert name + b"=" + value not in lines
    assert not any(b"evil" in line or b"forged" in line for line in lines)


@pytest.mark.parametrize(
    "asked",
    [
        *(b"id; touch EVIL", b"`touch EVIL`", b"$(touch EVIL)", b"'; touch EVIL; '"),
        *(b"x\ntouch EVIL", b"scp -t /", b"/usr/lib/openssh/sftp-server", b"", b"-c 'touch EVIL'"),
    ],
)
def test_H1_aForcedCommandWinsOverEveryCommand(
    driver: Driver, tmp_path: Path, asked: bytes
) -> None:
    evil = tmp_path / "EVIL"
    asked = asked.replace(b"EVIL", os.fsencode(evil))
    login = Login(driver, forcedCommand=b'printf "forced:%s" "$SSH_ORIGINAL_COMMAND"')
    assert login.run(b"exec", asked) == b"forced:" + asked
    assert not evil.exists()


def test_H1_aForcedCommandWinsOverShellAndSubsystem(driver: Driver) -> None:
    login = Login(driver, forcedCommand=b"echo forced")
    login.user.subsystemLookup[b"other"] = lambda data, avatar: Recorder()
    assert login.channel.requestReceived(b"subsystem", NS(b"other")) == 0
    assert login.run(b"shell") == b"forced\n"
    login = Login(driver, forcedCommand=b'echo "forced:$SSH_ORIGINAL_COMMAND"')
    login.user.subsystemLookup[b"sftp"] = lambda data, avatar: Recorder()
    assert login.run(b"subsystem", b"sftp") == b"forced:internal-sftp\n"


@pytest.mark.parametrize("options", [b"", b" -R", b" -x"])
@pytest.mark.parametrize(("kind", "command"), [(b"shell", None), (b"exec", b"id; touch x")])
def test_H1_aLoginForFilesOnlyRunsNothing(
    driver: Driver, options: bytes, kind: bytes, command: bytes | None
) -> None:
    login = Login(driver, forcedCommand=b"internal-sftp" + options)
    assert login.run(kind, command) == b"This service allows sftp connections only.\n"


def test_H1_aSecondProgramOnTheChannelIsRefused(driver: Driver) -> None:
    login = Login(driver, forcedCommand=b"echo forced; cat")
    assert login.channel.requestReceived(b"shell", b"") == 1
    assert login.channel.requestReceived(b"exec", NS(b"id")) == 0
    assert login.channel.requestReceived(b"subsystem", NS(b"sftp")) == 0
    login.channel.eofReceived()
    driver.until(lambda: login.connection.closed)
    assert login.connection.data == b"forced\n"


def test_H1_noTerminalWhereTheKeyForbidsIt(driver: Driver) -> None:
    login = Login(driver, allowPty=False)
    asked = NS(b"xterm") + bytes(16) + NS(b"\0")
    assert login.channel.requestReceived(b"pty-req", asked) == 0
    session: Any = login.channel.session
    with pytest.raises(ConchError, match="no pseudo-terminal"):
        session.getPty(b"xterm", (1, 1, 0, 0), [])
    assert login.run(b"exec", b"tty; test -t 0 || echo none").endswith(b"none\n")


def test_H1_signalsDoNotReachAForcedCommand(driver: Driver) -> None:
    login = Login(driver, forcedCommand=b"echo ready; cat; echo unharmed")
    assert login.channel.requestReceived(b"shell", b"") == 1
    driver.until(lambda: login.connection.data)
    assert login.channel.requestReceived(b"signal", NS(b"KILL")) == 0
    login.channel.eofReceived()
    driver.until(lambda: login.connection.closed)
    assert login.connection.data == b"ready\nunharmed\n"


def test_H1_sessionsShareNoVariables(driver: Driver) -> None:
    user = UnixConchUser(Account.current(), reactor=driver.reactor)
    first, second = UnixSession(user), UnixSession(user)
    first.setEnv(b"LC_ALL", b"first")
    with pytest.raises(EnvironmentVariableNotPermitted):
        second.setEnv(b"LD_PRELOAD", b"x")
    assert second._variables.values == {}


STATUS = "cat /proc/self/status; echo end; ls -l /proc/self/fd; umask; ulimit -c"


@needsRoot
def test_H2_theChildIsItsAccountAndNothingMore(driver: Driver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    account = Account("nobody-of-a-test", 54321, 54322, (54322, 54323), "/", "/bin/sh")
    with ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.set_inheritable(True)
        hostKey = held.enter_context(secret.open())
        os.set_inheritable(hostKey.fileno(), True)
        other = driver.run("cat")
        recorder = Recorder()
        program = shellProgram(STATUS, account)
        child = spawnWithPipes(driver.reactor, recorder, program)
        driver.children.append(child)
        child.start()
        driver.untilEnd(recorder)
        other.transport.closeStdin()
    text = recorder.out.decode()
    status = dict(line.split(":", 1) for line in text.split("end\n")[0].splitlines())
    assert status["Uid"].split() == ["54321"] * 4
    assert status["Gid"].split() == ["54322"] * 4
    assert sorted(status["Groups"].split()) == ["54322", "54323"]
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    listed = [line.split() for line in text.split("end\n")[1].splitlines()]
    descriptors = {words[8]: words[10] for words in listed if len(words) > 10}
    assert set(descriptors) - {"3"} == {"0", "1", "2"}
    assert all(target.startswith("pipe:") for name, target in descriptors.items() if name != "3")
    assert [words[0] for words in listed[-2:]] == ["0022", "0"]


@needsRoot
def test_H2_theHomeIsEnteredAsTheUser(driver: Driver, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    account = Account("nobody-of-a-test", 54321, 54322, (54322,), str(closed), "/bin/sh")
    recorder = Recorder()
    child = spawnWithPipes(driver.reactor, recorder, shellProgram("pwd", account))
    driver.children.append(child)
    child.start()
    driver.untilEnd(recorder)
    assert recorder.out == b"/\n"
    assert b"Could not chdir" in recorder.err


@needsRoot
def test_H2_aChildThatIsNotItsAccountNeverRuns(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    tmp_path.chmod(0o777)
    account = Account("nobody-of-a-test", 54321, 54322, (54322,), "/", "/bin/sh")
    monkeypatch.setattr(os, "getresgid", lambda: (54322, 54322, 0))
    with pytest.raises(SpawnFailed, match="identity"):
        spawnWithPipes(driver.reactor, Recorder(), shellProgram(f"touch {ran}", account))
    assert not ran.exists()


def isRunning(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def test_H3_aProgramThatIgnoresTheHangUpIsKilledAndReaped(driver: Driver) -> None:
    recorder = driver.run("trap '' HUP TERM; sleep 60 & echo $! $$; while :; do sleep 0.05; done")
    driver.until(lambda: recorder.out)
    pids = [int(word) for word in recorder.out.split()]
    recorder.transport.hangUp(0.2)
    driver.until(lambda: recorder.hasEnded)
    assert recorder.reason.value.signal == signal.SIGKILL
    for pid in pids:
        driver.until(lambda pid=pid: not isRunning(pid))  # type: ignore[misc]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_H3_aProgramThatHeedsTheHangUpIsNotKilled(driver: Driver) -> None:
    # The shell says on its error output, which is closed by then, that its own child was hung up.
    command = "exec 2>/dev/null; trap 'exit 9' HUP; echo ready; while :; do sleep 0.01; done"
    recorder = driver.run(command)
    driver.until(lambda: recorder.out)
    recorder.transport.hangUp(60.0)
    driver.until(lambda: recorder.hasEnded)
    assert recorder.reason.value.exitCode == 9
    assert driver.reactor.getDelayedCalls() == []


def test_H3_aStoppedProgramIsHungUp(driver: Driver) -> None:
    recorder = driver.run("echo ready; kill -STOP $$; sleep 60")
    driver.until(lambda: recorder.out)
    pid = recorder.transport.pid

    def stopped() -> bool:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"T"

    driver.until(stopped)
    recorder.transport.hangUp(60.0)
    driver.until(lambda: recorder.hasEnded)
    assert recorder.reason.value.signal == signal.SIGHUP


def test_H3_theEndOfTheChannelHangsUpWhatRuns(driver: Driver) -> None:
    login = Login(driver)
    assert login.channel.requestReceived(b"exec", NS(b"echo $$; exec sleep 60")) == 1
    driver.until(lambda: login.connection.data)
    pid = int(login.connection.data)
    login.channel.closed()
    driver.until(lambda: not login.user.children, "the program's end")
    assert not isRunning(pid)


def test_H3_theEndOfTheConnectionHangsUpWhatRuns(driver: Driver) -> None:
    login = Login(driver)
    assert login.channel.requestReceived(b"exec", NS(b"echo $$; exec sleep 60")) == 1
    driver.until(lambda: login.connection.data)
    login.user.logout()
    driver.until(lambda: not login.user.children, "the program's end")


def test_H3_theTerminalBelongsToItsUserAndGoesWithTheSession(driver: Driver) -> None:
    terminal = Terminal()
    terminal.giveTo(Account.current())
    details = os.stat(terminal.name)
    assert details.st_uid == os.geteuid()
    assert stat.S_IMODE(details.st_mode) in (0o620, 0o600)
    master = terminal.master
    recorder = driver.runOnTerminal("sleep 60", terminal)
    recorder.transport.hangUp(0.2)
    driver.until(lambda: recorder.hasEnded)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(master)


def test_H3_aTerminalThatNoProgramEverGotIsClosed(driver: Driver) -> None:
    login = Login(driver)
    session: Any = login.channel._userSession()
    session.getPty(b"xterm", (24, 80, 0, 0), [])
    master = session._terminal.master
    login.channel.closed()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(master)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
    return False


def test_M8_aServerWithoutDescriptorsRecovers(tmp_path: Path) -> None:
    settings = tmp_path / "limpet.toml"
    settings.write_text('max-startups = "1000"\n')
    limit = 64
    prefix = ("/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2 * limit
    with (
        serving(tmp_path, "--config", str(settings), prefix=prefix) as server,
        ExitStack() as clients,
    ):
        for _ in range(2 * limit):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            clients.enter_context(client)
        clients.close()

        def greeted() -> bool:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
                try:
                    return client.recv(8) == b"SSH-2.0-"
                except OSError:
                    return False

        assert within(20.0, greeted)
        assert server.process.poll() is None
