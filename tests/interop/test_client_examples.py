"""The client's programs in `examples/`, each run as a person would run it."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import Workplace, freePort
from tests.interop.host import Host, running
from tests.interop.peers import requireModule, requirePeer
from tests.interop.sshServers import CODE, PASSWORD, USER
from tests.interop.test_client_peers import peerCalled

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCS = Path(__file__).parents[2] / "docs"
SECONDS = 60


@pytest.fixture(scope="module")
def home(work: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory with the key, as a user has it."""
    directory = tmp_path_factory.mktemp("home")
    ssh = directory / ".ssh"
    ssh.mkdir(mode=0o700)
    key = ssh / "id_ed25519"
    key.write_bytes(work.clientKey.read_bytes())
    key.chmod(0o600)
    return directory


def configure(home: Path, host: Host, **more: str) -> None:
    """Tell `~/.ssh` of the host "server"; and of "gone", where nobody listens."""
    ssh = home / ".ssh"
    (ssh / "known_hosts").write_text(host.knownHosts.read_text())
    settings = {"HostName": "127.0.0.1", "Port": str(host.port), "User": host.user} | more
    lines = ["Host server", *(f"  {name} {value}" for name, value in settings.items())]
    lines += ["Host gone", "  HostName 127.0.0.1", f"  Port {freePort()}", "Host *"]
    lines += ["  IdentityAgent none"]
    (ssh / "config").write_text("\n".join(lines) + "\n")


def run(
    home: Path, name: str, *arguments: object, input: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        input=input,
        capture_output=True,
        timeout=SECONDS,
        env={**os.environ, "HOME": str(home)},
        check=False,
    )


def test_runCommand(home: Path, host: Host) -> None:
    configure(home, host)
    done = run(home, "runCommand.py", "server", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)
    done = run(home, "runCommand.py", "gone", "true")
    assert b"connection refused" in done.stderr
    assert b"Traceback" not in done.stderr


BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "client.md").read_text(), re.DOTALL)


def test_theDocumentsFirstProgram(home: Path, host: Host, tmp_path: Path) -> None:
    configure(home, host)
    program = tmp_path / "program.py"
    program.write_text(BLOCKS[0].replace('"web1"', '"server"'))
    done = run(home, str(program))
    assert done.stdout.startswith(b"Filesystem"), done.stderr
    assert done.stdout.endswith(b" 0\n")


def test_theDocumentsEndpoint(home: Path, host: Host, tmp_path: Path) -> None:
    configure(home, host)
    program = tmp_path / "program.py"
    block = next(block for block in BLOCKS if "NewConnection.configured" in block)
    program.write_text(
        "from twisted.internet import reactor\n"
        "from twisted.internet.protocol import Factory, Protocol\n"
        + block.replace('"web1"', '"server"').replace("uptime", "echo hello")
        + "class Printer(Protocol):\n"
        "    def dataReceived(self, data): print(data)\n"
        "    def connectionLost(self, reason): print(reason.type.__name__); reactor.stop()\n"
        "endpoint.connect(Factory.forProtocol(Printer))\n"
        "reactor.run()\n"
    )
    assert run(home, str(program)).stdout == b"b'hello\\n'\nCommandSucceeded\n"


def test_manyHosts(home: Path, host: Host) -> None:
    configure(home, host)
    done = run(home, "manyHosts.py", "echo $((6*7))", "server", "gone", "server")
    lines = sorted(done.stdout.decode().splitlines())
    assert lines[0].startswith("gone: cannot connect to 127.0.0.1 port")
    assert lines[1:] == ["server: 42", "server: 42"]
    assert done.returncode == 1


def test_conversation(home: Path, host: Host) -> None:
    configure(home, host)
    done = run(home, "conversation.py", "server")
    assert done.stdout.decode().splitlines() == [
        "1 + 1 = 2",
        "6 * 7 = 42",
        "1000 / 8 = 125",
        "sh ended with status 0",
    ]


def test_copyStream(home: Path, host: Host, tmp_path: Path) -> None:
    configure(home, host)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(1 << 20) * 5)
    done = run(home, "copyStream.py", "server", "gzip -c -1", source, target)
    assert (done.returncode, done.stderr) == (0, b"")
    assert gzip.decompress(target.read_bytes()) == source.read_bytes()


def test_commandEndpoint(home: Path, host: Host) -> None:
    """It reads no configuration: another port than 22 it reaches by a forwarding of the test's."""
    configure(home, host)
    program = (EXAMPLES / "commandEndpoint.py").read_text()
    own = home / "commandEndpoint.py"
    own.write_text(program.replace("host.encode(),", f"host.encode(), port={host.port},"))
    done = run(home, str(own), host.user, "127.0.0.1", "echo hello; exit 3")
    assert done.stdout == b"hello\nit ended with status 3, signal None\n"
    assert run(home, str(own), host.user, "127.0.0.1", "true").stdout == b"it succeeded\n"


def test_filesAndForwarding(home: Path, host: Host, tmp_path: Path) -> None:
    requirePeer("sshd")
    with running(host.work, name="openssh") as sshd:
        configure(home, sshd)
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(b"the file")
        inner = f"127.0.0.1:{host.port}"
        done = run(home, "filesAndForwarding.py", "server", source, target, inner)
    assert target.read_bytes() == b"the file"
    assert done.stdout.startswith(b"SSH-2.0-")


@pytest.fixture
def askingPort(work: Workplace) -> Iterator[int]:
    requireModule("asyncssh")
    with peerCalled("asyncssh", work) as peer:
        yield peer.port


def test_secondFactor(home: Path, host: Host, askingPort: int) -> None:
    configure(home, host, Port=str(askingPort), User=USER, StrictHostKeyChecking="accept-new")
    # Without a terminal, both are read from standard input.
    typed = f"{PASSWORD}\n{CODE}\n".encode()
    done = run(home, "secondFactor.py", "server", "echo in", input=typed)
    assert done.stdout.endswith(b"in\n"), done.stderr
    assert b"Two questions" in done.stdout


SYNCHRONOUS, THREADS, QUESTION, _ = re.findall(
    r"```python\n(.*?)```",
    (DOCS / "migrating-from-asyncssh-and-paramiko.md").read_text(),
    re.DOTALL,
)


def test_programsWithoutAsyncio(home: Path, host: Host, tmp_path: Path) -> None:
    configure(home, host)
    program = tmp_path / "program.py"
    files = SYNCHRONOUS.replace('"motd"', repr(str(tmp_path / "motd")))
    program.write_text(files.replace('"web1"', '"server"'))
    done = run(home, str(program))
    assert (done.stdout[:5], done.stdout[-3:], done.stderr) == (b"Linux", b" 0\n", b"")
    assert (tmp_path / "motd").read_bytes() == b"hello\n"
    program.write_text(THREADS.replace('"web1"', '"server"'))
    done = run(home, str(program))
    assert (done.stdout, done.stderr) == (b"".join(b"%d\n" % n for n in range(8)), b"")


def test_aQuestionInTheMiddle(home: Path, host: Host, tmp_path: Path) -> None:
    configure(home, host)
    sudo = "sudo -p 'password: ' id"
    assert sudo in QUESTION
    asking = "stty -echo; printf 'password: '; read word; echo $word; exit 3"
    lines = "".join(f"        {line}\n" for line in QUESTION.splitlines())
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\nfrom limpet import aio\nasync def main():\n"
        '    async with aio.connect("server") as client:\n'
        + lines.replace(sudo, asking)
        + "asyncio.run(main())\n"
    )
    done = run(home, str(program))
    assert (done.stdout.split(), done.stderr) == ([b"secret", b"3"], b"")
