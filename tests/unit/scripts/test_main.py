"""The commands as a person meets them: what they say, and the status they end with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from limpet._version import __version__
from limpet.scripts.main import asPattern, main
from tests.unit.scripts.programs import PATIENCE_SECONDS, environmentIn, limpet


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output.strip() == f"limpet {__version__}"


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["keygen", "-h"]])
def test_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_helpLoadsNeitherTwistedNorCryptography(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from limpet.scripts.main import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'twisted', 'zope', 'cryptography', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environmentIn(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout.endswith("[]\n")


def test_asAModule(tmp_path: Path) -> None:
    result = limpet(tmp_path, "--version")
    assert (result.returncode, result.stdout.strip()) == (0, f"limpet {__version__}")


INTERRUPTED_LOADING = """
import os, signal, sys
from limpet.__main__ import start

class Interruption:
    def find_spec(self, name, path=None, target=None):
        if name == "limpet.scripts.main":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, {before})
sys.meta_path.insert(0, Interruption())
sys.argv = ["limpet", "--version"]
start()
"""


@pytest.mark.parametrize(
    ("before", "status"),
    [("signal.default_int_handler", -signal.SIGINT), ("signal.SIG_IGN", 0)],
    ids=["default", "ignored"],
)
def test_anInterruptionBeforeItIsLoaded(tmp_path: Path, before: str, status: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_LOADING.replace("{before}", before)],
        env=environmentIn(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stderr) == (status, "")


CLOSED = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")


def standardOf(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


def isListening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("command", ["serve", "agent"])
def test_H2_whatWasClosedIsNoOtherFileOfOurs(tmp_path: Path, command: str) -> None:
    """Standard error, say, goes to each program that is started; it was the reactor's own."""
    if command == "agent" and os.geteuid() != 0:
        pytest.skip("nobody but root can look into an agent")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    socketPath = tmp_path / "agent"
    arguments = {
        "serve": ["-l", f"127.0.0.1:{port}"],
        "agent": ["-D", "-a", str(socketPath)],
    }[command]
    process = subprocess.Popen(
        [*CLOSED, sys.executable, "-m", "limpet", command, *arguments], env=environmentIn(tmp_path)
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (socketPath.exists() or isListening(port)):
            assert process.poll() is None
            assert time.monotonic() < deadline
        assert standardOf(process.pid) == [os.devnull] * 3
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["serve", "-l", "nowhere"], 2),
        (["keygen", "-l", "-f", "/nowhere"], 2),
        (["ssh", "-Q", "kex"], 0),
        (["sftp", "--help"], 0),
        (["cp", "--help"], 0),
        (["sftp"], 1),
        (["sftp", "-D", "false", ":"], 255),
    ],
)
def test_withoutStandardStreamsItEndsAsItWouldWithThem(
    tmp_path: Path, arguments: list[str], status: int
) -> None:
    result = subprocess.run(
        [*CLOSED, sys.executable, "-m", "limpet", *arguments],
        env=environmentIn(tmp_path),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert result.returncode == status


def printing(home: Path) -> list[tuple[list[str], int]]:
    """Commands that print, and the status of each where it cannot."""
    (home / "program.py").write_text("from twisted.conch.ssh import keys\n")
    limpet(home, "keygen", "-f", str(home / "key"), "-N", "")
    return [
        (["--version"], 1),
        (["--help"], 1),
        (["keygen", "-y", "-f", str(home / "key")], 1),
        (["conch-doctor", str(home / "program.py")], 1),
        (["agent"], 1),
        (["ssh", "--help"], 255),
        (["ssh", "-Q", "kex"], 255),
        (["ssh", "-G", "host"], 255),
        (["cp", "--help"], 255),
    ]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_whatStandardOutputDoesNotTakeIsToldInALine(tmp_path: Path, unbuffered: str) -> None:
    """It was taken for a bug of Limpet's, or not seen at all."""
    for arguments, status in printing(tmp_path):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [sys.executable, "-m", "limpet", *arguments],
                env=environmentIn(tmp_path, PYTHONUNBUFFERED=unbuffered),
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        told = b"limpet: standard output: No space left on device\n"
        assert (arguments, result.returncode, result.stderr) == (arguments, status, told)


def test_aReaderWhoHasGoneEndsItSilentlyAsItEndsOthers(tmp_path: Path) -> None:
    for arguments, _ in printing(tmp_path):
        reading, writing = os.pipe()
        os.close(reading)
        result = subprocess.run(
            [sys.executable, "-m", "limpet", *arguments],
            env=environmentIn(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        os.close(writing)
        outcome = (arguments, result.returncode, result.stderr)
        assert outcome == (arguments, -signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("sftp-server '", '-D "sftp-server \'": No closing quotation'),
        ("/nowhere/sftp-server -e", "cannot start '/nowhere/sftp-server -e' (-D): No such file"),
        (" ", "cannot start '' (-D): it names no program"),
    ],
)
@pytest.mark.parametrize(
    ("name", "status", "arguments"), [("sftp", 255, [":"]), ("cp", 1, ["host:a", "b"])]
)
def test_aServerProgramThatCannotBeStarted(
    tmp_path: Path, name: str, status: int, arguments: list[str], command: str, why: str
) -> None:
    result = limpet(tmp_path, name, "-D", command, *arguments)
    assert result.returncode == status
    assert why in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["ssh", "-p", "22", "-Z", "host"], 255, "option -Z not recognized"),
        (["ssh", "--colour", "host"], 255, "option --colour not recognized"),
        (["ssh", "-p"], 255, "option -p requires argument"),
        (["ssh", "-p", "22"], 255, "no host is named"),
        (["ssh", "-O", "dance", "host"], 255, "-O: 'dance' is none of"),
        (["sftp", "-Z", "host"], 1, "option -Z not recognized"),
        (["sftp", "-q"], 1, "no host is named"),
        (["sftp", "host", "here", "there\x1b[31m"], 1, "there\\x1b[31m: only a"),
        (["cp", "--colour", "a", "b"], 1, "option --colour not recognized"),
        (["cp", "a"], 1, "a source and a target are needed"),
    ],
)
def test_aMistakeIsNamedInOneLine(
    tmp_path: Path, arguments: list[str], status: int, why: str
) -> None:
    """It stood above ten lines of usage."""
    result = limpet(tmp_path, *arguments)
    assert result.returncode == status
    assert result.stderr.startswith(f"limpet: {why}")
    assert result.stderr.endswith(f"; limpet {arguments[0]} --help lists what may be given\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("command", "status"), [("ssh", 255), ("sftp", 1), ("cp", 1)])
def test_whereNothingIsAskedForAllThatThereIsIsShown(
    tmp_path: Path, command: str, status: int
) -> None:
    result = limpet(tmp_path, command)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith(f"usage: limpet {command} [")


def test_anUnknownCommandOrOption(tmp_path: Path) -> None:
    for arguments in (["juggle"], ["serve", "--colour"], ["keygen", "-b", "many"]):
        assert limpet(tmp_path, *arguments).returncode == 2


def test_aFileNamedToTheShellIsNoPattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert asPattern("a%h") == f"{tmp_path}/a%%h"
    assert asPattern("/etc/keys") == "/etc/keys"


def loadedBy(tmp_path: Path, *arguments: str) -> set[str]:
    """The modules that a run of Python loads."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=environmentIn(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


@pytest.mark.parametrize("command", ["ssh", "sftp", "cp"])
def test_whatIsStartedOftenLoadsNoOtherCommands(tmp_path: Path, command: str) -> None:
    """A quarter of the start of `limpet ssh` was what the other commands are read by."""
    loaded = loadedBy(tmp_path, "-m", "limpet", command, "--help")
    if command == "ssh":
        loaded |= loadedBy(tmp_path, "-c", "import limpet.scripts.login")
    assert "limpet.client.connecting" in loaded
    assert not {"click", "limpet.scripts.main", "twisted.internet.endpoints"} & loaded


def test_whatAMasterDoesLoadsNoConnection(tmp_path: Path) -> None:
    """Nearly half of the start of `limpet ssh` is what it connects with itself."""
    path = str(tmp_path / "none")
    loaded = loadedBy(tmp_path, "-m", "limpet", "ssh", "-S", path, "-O", "check", "h")
    assert "limpet.scripts.sharing" in loaded
    assert not {"limpet.client.connecting", "limpet.ssh.channel", "limpet.streams"} & loaded
