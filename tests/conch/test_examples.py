"""Programs as Twisted's documentation tells to write them, run on Limpet, with real clients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import freePort
from limpet.ssh.keys import FingerprintFormats, Key, createKeyFiles
from tests.conch.programs import Clients, environment, started

APPLICATIONS = Path(__file__).with_name("applications")
RUN_ON_LIMPET = (sys.executable, "-m", "limpet.conch", "--")
SIZE = 3_000_000


@pytest.fixture(scope="module")
def hostKey() -> Key:
    return Key.generate("ed25519")


@pytest.fixture(scope="module")
def clients(hostKey: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """The simple server, and who may log in there."""
    directory = tmp_path_factory.mktemp("simple")
    createKeyFiles(hostKey, directory / "hostKey")
    port = freePort()
    command: list[str | Path] = [*RUN_ON_LIMPET, APPLICATIONS / "simpleServer.py", str(port)]
    with started([*command, directory / "hostKey"], directory, port) as program:
        yield Clients(port, "user", directory, password="password")
        program.assertWell()


class TestServer:
    def test_aShellEchoes(self, clients: Clients) -> None:
        done = clients.ssh(options=["-tt"], stdin=b"limpet\r\x04")
        assert done.stdout == b"welcome\r\nlimpet\r\n", done.stderr

    def test_aCommandWithItsEnvironmentAndBothOutputs(self, clients: Clients) -> None:
        done = clients.ssh("greet", options=["-o", "SetEnv=LC_NAME=ann"])
        assert (done.returncode, done.stdout) == (0, b"hello, ann\n")
        assert done.stderr == b"and goodbye\n"

    def test_allOutputAndItsStatusArrive(self, clients: Clients) -> None:
        done = clients.ssh("count 50000")
        assert done.stdout == b"".join(b"%d\n" % number for number in range(50000))
        assert done.returncode == 3

    def test_anUnknownCommandIsRefused(self, clients: Clients) -> None:
        done = clients.ssh("unknown")
        assert done.returncode == 255
        assert b"exec request failed" in done.stderr

    def test_itsFilesAreInMemory(self, clients: Clients, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(os.urandom(SIZE))
        done = clients.sftp(
            f"put {tmp_path}/here there",
            "mkdir folder",
            "rename there folder/moved",
            "ls -l folder",
            f"get folder/moved {tmp_path}/back",
            "rm folder/moved",
            "rmdir folder",
            "-rm folder/moved",
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()
        assert f"{SIZE}".encode() in done.stdout
        assert b"moved" in done.stdout

    def test_aFileThatIsNotThere(self, clients: Clients, tmp_path: Path) -> None:
        done = clients.sftp(f"get nowhere {tmp_path}/back")
        assert done.returncode == 1
        assert b"not found" in done.stderr


class TestClient:
    def run(
        self, clients: Clients, key: Key, command: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        program = [*RUN_ON_LIMPET, str(APPLICATIONS / "simpleClient.py"), str(clients.port)]
        shown = key.fingerprint(FingerprintFormats.SHA256_BASE64)
        return subprocess.run(
            [*program, "user", "password", shown, command],
            input=stdin,
            capture_output=True,
            env=environment(clients.directory),
            timeout=60,
        )

    def test_aCommandAndItsStatus(self, clients: Clients, hostKey: Key) -> None:
        done = self.run(clients, hostKey, "count 1000", stdin=b"nobody reads this")
        assert done.stdout == b"".join(b"%d\n" % number for number in range(1000)), done.stderr
        assert done.returncode == 3

    def test_aRefusedCommand(self, clients: Clients, hostKey: Key) -> None:
        done = self.run(clients, hostKey, "unknown")
        assert b"channel request failed" in done.stderr
        assert done.returncode == 255

    def test_anotherHostKey(self, clients: Clients) -> None:
        done = self.run(clients, Key.generate("ed25519"), "count 1")
        assert (done.returncode, done.stdout) == (255, b"")
