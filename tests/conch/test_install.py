"""Limpet in the place of Conch for a whole process: which names lead where, and what is refused."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import freePort
from limpet.dropin import REPLACED, limpetsName
from limpet.ssh.keys import Key, createKeyFiles
from tests.conch.programs import Clients, environment, started

RUN_ON_LIMPET = (sys.executable, "-m", "limpet.conch")

PIPS_LONG_START = "#!/bin/sh\n'''exec' /a/python \"$0\" \"$@\"\n' '''\n"
"""How a command begins that pip has installed where the path of Python is too long for a line."""


def python(code: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own: what it does to imports stays there."""
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code, *arguments],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestNames:
    def test_partsOfAModuleFollowIt(self) -> None:
        name = "twisted.conch.ssh.transport.base"
        assert limpetsName(name) == "limpet.ssh.transport.base"

    @pytest.mark.parametrize(
        "name",
        [
            "twisted.conch",
            "twisted.conch.ssh",
            "twisted.conch.ssh.keysmith",
            "twisted.conch.manhole_ssh",
            "twisted.conch.insults.insults",
            "twisted.conch.scripts.conch",
            "twisted.internet.error",
            "limpet.ssh.keys",
        ],
    )
    def test_otherNamesStayWhatTheyAre(self, name: str) -> None:
        assert limpetsName(name) is None

    def test_everyModuleIsTheSameUnderBothNames(self, tmp_path: Path) -> None:
        code = """
import importlib, json, sys
import limpet
limpet.install_as_conch()
for theirs, ours in json.loads(sys.argv[1]).items():
    module = importlib.import_module(theirs)
    assert module is importlib.import_module(ours), theirs
    assert module is sys.modules[theirs]
    package, _, name = theirs.rpartition(".")
    assert getattr(sys.modules[package], name) is module, theirs
    assert module.__name__ == ours == module.__spec__.name, module.__spec__
    assert module.__spec__._initializing is False
assert "twisted.internet.reactor" not in sys.modules
"""
        done = python(code, tmp_path, json.dumps(dict(REPLACED)))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_aNameThatWasNotImportedFirstIsFoundAsWell(self, tmp_path: Path) -> None:
        code = """
import limpet
limpet.install_as_conch()
from twisted.conch import avatar, error
from twisted.conch.ssh import keys, transport
from twisted.conch.ssh.transport import base
import twisted.conch.ssh.session as session
import limpet.avatar, limpet.ssh.transport.base
assert avatar.ConchUser is limpet.avatar.ConchUser
assert base is limpet.ssh.transport.base
from importlib import reload
assert reload(error) is error
"""
        done = python(code, tmp_path)
        assert done.returncode == 0, done.stderr

    def test_whatTwistedKeepsRunsOnLimpet(self, tmp_path: Path) -> None:
        code = """
import limpet
limpet.install_as_conch()
from twisted.conch import manhole_ssh, manhole_tap, tap
import twisted.conch.insults.insults, twisted.conch.recvline, twisted.conch.telnet
import limpet.ssh.factory, limpet.ssh.session, limpet.avatar
assert issubclass(manhole_ssh.ConchFactory, limpet.ssh.factory.SSHFactory)
assert issubclass(manhole_ssh.TerminalUser, limpet.avatar.ConchUser)
assert "twisted/conch/manhole_ssh.py" in manhole_ssh.__file__
"""
        done = python(code, tmp_path)
        assert done.returncode == 0, done.stderr


class TestRefusal:
    @pytest.mark.parametrize(
        "first", ["twisted.conch.ssh.keys", "twisted.conch.error", "twisted.conch.manhole_ssh"]
    )
    def test_conchThatIsLoadedAlready(self, tmp_path: Path, first: str) -> None:
        code = f"""
import {first}, sys
import limpet
before = list(sys.meta_path)
try:
    limpet.install_as_conch()
except limpet.ConchAlreadyLoaded as error:
    print(error)
assert sys.meta_path == before
"""
        done = python(code, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "twisted.conch." in done.stdout
        assert "before anything imports twisted.conch" in done.stdout

    def test_whatStaysTwistedsIsNoReason(self, tmp_path: Path) -> None:
        code = """
import twisted.conch, twisted.conch.insults.insults, twisted.conch.telnet
import limpet
limpet.install_as_conch()
limpet.install_as_conch()
import sys
assert sum(type(finder).__name__ == "ConchFinder" for finder in sys.meta_path) == 1
import limpet.ssh.keys, twisted.conch.ssh.keys
limpet.install_as_conch()
"""
        done = python(code, tmp_path)
        assert done.returncode == 0, done.stderr


class TestAlgorithms:
    def test_aProfileIsWhatAllTransportsOffer(self, tmp_path: Path) -> None:
        code = """
import limpet
limpet.install_as_conch(algorithms="legacy")
from twisted.conch.ssh import transport
assert b"diffie-hellman-group1-sha1" in transport.SSHServerTransport.supportedKeyExchanges
assert b"3des-cbc" in transport.SSHClientTransport.supportedCiphers
assert b"hmac-md5" in transport.SSHTransportBase.supportedMACs
assert b"ssh-dss" in transport.SSHServerTransport.supportedPublicKeys
assert b"ssh-rsa" in transport.SSHServerTransport.userAuthAlgorithms
"""
        done = python(code, tmp_path)
        assert done.returncode == 0, done.stderr

    def test_thereIsNoSuchProfile(self, tmp_path: Path) -> None:
        code = """
import limpet
limpet.install_as_conch(algorithms="oldest")
"""
        done = python(code, tmp_path)
        assert "default, hardened, legacy, modern" in done.stderr.splitlines()[-1]


class TestCommand:
    def run(self, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUN_ON_LIMPET, *arguments],
            env=environment(home),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_aFileRunsAsIfStartedItself(self, tmp_path: Path) -> None:
        (tmp_path / "neighbour.py").write_text("value = 5\n")
        (tmp_path / "program.py").write_text(
            "import sys, neighbour\n"
            "from twisted.conch.ssh import keys\n"
            "print(__name__, keys.__name__, sys.argv[1:])\n"
            "sys.exit(neighbour.value)\n"
        )
        done = self.run(tmp_path.parent, "--", str(tmp_path / "program.py"), "-x", "--", "y")
        assert done.stdout == "__main__ limpet.ssh.keys ['-x', '--', 'y']\n"
        assert (done.returncode, done.stderr) == (5, "")

    def test_aModule(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(
            "import sys, twisted.conch.error as e\nprint(e.__name__, sys.argv[1:])\n"
        )
        done = self.run(tmp_path, "-m", "program", "--help")
        assert (done.returncode, done.stdout) == (0, "limpet.error ['--help']\n")

    def test_aProfile(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(
            "from twisted.conch.ssh.transport import SSHTransportBase\n"
            "print(SSHTransportBase.supportedKeyExchanges)\n"
        )
        done = self.run(tmp_path, "--algorithms", "hardened", "program.py")
        assert done.stdout == "[b'mlkem768x25519-sha256']\n"

    def test_nothingOfThatName(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "no-such-program")
        assert done.returncode == 127
        assert done.stderr == "limpet.conch: there is no program 'no-such-program'\n"

    def test_aModuleThatIsNotThere(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "-m", "nosuch.module")
        assert done.returncode == 127
        assert done.stderr == "limpet.conch: there is no module 'nosuch.module'\n"

    def test_aModuleThatLacksAnother(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text("import nosuch\n")
        done = self.run(tmp_path, "-m", "program")
        assert done.returncode == 1
        assert done.stderr.endswith("ModuleNotFoundError: No module named 'nosuch'\n")

    @pytest.mark.parametrize("content", [b"\x7fELF\0\0", b"#!/bin/sh\nexec twistd conch\n"])
    def test_aProgramThatIsNotPythons(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "program").write_bytes(content)
        done = self.run(tmp_path, "--", "./program")
        assert done.returncode == 126
        assert done.stderr.startswith("limpet.conch: ./program is not written in Python; ")

    @pytest.mark.parametrize("start", ["", "#!/usr/bin/env python3\n", PIPS_LONG_START])
    def test_aProgramThatIs(self, tmp_path: Path, start: str) -> None:
        (tmp_path / "program").write_text(start + "print(1)\n")
        done = self.run(tmp_path, "--", "./program")
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr

    def test_aFolder(self, tmp_path: Path) -> None:
        (tmp_path / "program").mkdir()
        done = self.run(tmp_path, "--", "./program")
        assert done.stderr == "limpet.conch: ./program is a folder without a __main__.py\n"
        (tmp_path / "program/__main__.py").write_text("print(1)\n")
        done = self.run(tmp_path, "--", "./program")
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr

    @pytest.mark.parametrize("arguments", [(), ("--",), ("-m",), ("--algorithms", "legacy")])
    def test_withoutAProgramItTellsHow(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        done = self.run(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "python -m limpet.conch -- twistd -n conch" in done.stderr

    def test_twistdRunsTheConchServerOfTwisted(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "--", "twistd", "conch", "--help")
        assert done.returncode == 0, done.stderr
        assert "--moduli" in done.stdout


@pytest.fixture(scope="module")
def manhole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """`twistd manhole`, as Twisted ships it."""
    directory = tmp_path_factory.mktemp("manhole")
    port = freePort()
    (directory / "passwd").write_text("admin:opensesame\n")
    command: list[str | Path] = [
        *(*RUN_ON_LIMPET, "--", "twistd", "-n", "--pidfile=", "manhole"),
        *("--passwd", "passwd", "--sshPort", f"tcp:{port}:interface=127.0.0.1"),
        *("--sshKeyDir", directory, "--sshKeySize", "2048", "--telnetPort", ""),
    ]
    with started(command, directory, port) as program:
        yield Clients(port, "admin", directory, password="opensesame")
        program.assertWell()


class TestManhole:
    """All of Twisted's terminal protocols on Limpet's sessions."""

    def test_expressionsAreEvaluated(self, manhole: Clients) -> None:
        typed = b"6 * 7\rimport sys\r'limpet.ssh' in sys.modules\r\x04"
        done = manhole.ssh(options=["-tt"], stdin=typed)
        assert b"42" in done.stdout, done.stderr
        assert b"True" in done.stdout

    def test_aWrongPasswordIsRefused(self, manhole: Clients) -> None:
        stranger = Clients(manhole.port, "admin", manhole.directory, password="wrong")
        done = stranger.ssh(options=["-tt"])
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr

    def test_aCommandIsNotRun(self, manhole: Clients) -> None:
        done = manhole.ssh("true")
        assert done.returncode == 255
        assert b"exec request failed" in done.stderr


@pytest.fixture(scope="module")
def unixServer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """`twistd conch`, Twisted's server for the accounts of the machine."""
    account = pwd.getpwuid(os.getuid())
    home = Path(account.pw_dir)
    if not home.is_relative_to(tempfile.gettempdir()):
        pytest.skip("logs in as this account, whose home is a person's own: run it by script/test")
    directory = tmp_path_factory.mktemp("twistd")
    (directory / "keys").mkdir()
    createKeyFiles(Key.generate("ed25519"), directory / "keys/ssh_host_ed25519_key")
    createKeyFiles(Key.generate("ed25519"), directory / "userKey")
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    authorized = home / ".ssh/authorized_keys"
    authorized.write_bytes((directory / "userKey.pub").read_bytes())
    authorized.chmod(0o600)
    port = freePort()
    command: list[str | Path] = [
        *(*RUN_ON_LIMPET, "--", "twistd", "-n", "--pidfile=", "conch"),
        *("--port", f"tcp:{port}:interface=127.0.0.1", "--data", directory / "keys"),
    ]
    try:
        with started(command, directory, port) as program:
            yield Clients(port, account.pw_name, directory, key=directory / "userKey")
            program.assertWell()
    finally:
        authorized.unlink()


class TestTwistdConch:
    def test_aCommandAndItsStatus(self, unixServer: Clients) -> None:
        done = unixServer.ssh("echo out; echo err >&2; exit 3")
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")

    def test_aTerminal(self, unixServer: Clients) -> None:
        done = unixServer.ssh("tty", options=["-tt"])
        assert (done.returncode, done.stdout[:9]) == (0, b"/dev/pts/"), done.stderr

    def test_files(self, unixServer: Clients, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(bytes(range(256)) * 1000)
        done = unixServer.sftp(
            f"put {tmp_path}/here {tmp_path}/there", f"get {tmp_path}/there {tmp_path}/back"
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()


class TestTwistedsCommands:
    """The commands that come with Conch, on Limpet's client."""

    def run(self, server: Clients, *program: str) -> subprocess.CompletedProcess[bytes]:
        hostKey = (server.directory / "keys/ssh_host_ed25519_key.pub").read_text()
        known = server.directory / ".ssh/known_hosts"
        known.parent.mkdir(mode=0o700, exist_ok=True)
        known.write_text(f"127.0.0.1 {hostKey}[127.0.0.1]:{server.port} {hostKey}")
        return subprocess.run(
            [*RUN_ON_LIMPET, "--", *program],
            env=environment(server.directory),
            cwd=server.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )

    def login(self, server: Clients) -> list[str]:
        return ["-i", str(server.key), "-p", str(server.port)]

    def test_conch(self, unixServer: Clients, tmp_path: Path) -> None:
        command = f"echo done > {tmp_path}/file; exit 4"
        destination = f"{unixServer.user}@127.0.0.1"
        done = self.run(unixServer, "conch", *self.login(unixServer), destination, command)
        assert done.returncode == 4, done.stderr
        assert (tmp_path / "file").read_text() == "done\n"

    def test_cftp(self, unixServer: Clients, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(bytes(range(256)) * 1000)
        batch = unixServer.directory / "cftpBatch"
        # Its `get` takes names, no paths.
        batch.write_text(f"put {tmp_path}/here there\nget there back\nrm there\n")
        options = [*self.login(unixServer), "-b", str(batch)]
        done = self.run(unixServer, "cftp", *options, f"{unixServer.user}@127.0.0.1")
        assert done.returncode == 0, done.stderr
        back = unixServer.directory / "back"
        assert back.read_bytes() == (tmp_path / "here").read_bytes()

    @pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
    def test_ckeygen(self, unixServer: Clients, tmp_path: Path, kind: str) -> None:
        options = ["-t", kind, "-f", str(tmp_path / "key"), "--no-passphrase"]
        done = self.run(unixServer, "ckeygen", *options)
        assert done.returncode == 0, done.stderr
        assert not Key.fromFile(tmp_path / "key").isPublic()
