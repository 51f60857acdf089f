"""Sockets from a service manager, and what it is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from limpet.server import supervisor
from limpet.server.supervisor import BadSocket, Supervisor, takeSockets
from tests.unit.scripts.programs import PATIENCE_SECONDS, environmentIn


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE_SECONDS)
        yield listening


class TestTelling:
    def test_whatIsSaid(self, manager: socket.socket) -> None:
        environment = {"NOTIFY_SOCKET": str(manager.getsockname()), "HOME": "/"}
        told = Supervisor(environment)
        assert environment == {"HOME": "/"}
        told.ready("listening on 127.0.0.1:22")
        told.reloading()
        told.ready()
        told.stopping()
        assert manager.recv(500) == b"READY=1\nSTATUS=listening on 127.0.0.1:22"
        assert manager.recv(500).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(500) == b"READY=1"
        assert manager.recv(500) == b"STOPPING=1"

    def test_aNameThatIsInNoFileSystem(self) -> None:
        name = f"limpet-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind("\0" + name)
            Supervisor({"NOTIFY_SOCKET": "@" + name}).ready()
            assert listening.recv(100) == b"READY=1"

    @pytest.mark.parametrize("path", ["", "/nowhere", "relative", "x" * 200, "/a\0b"])
    def test_nobodyIsThere(self, path: str) -> None:
        Supervisor({"NOTIFY_SOCKET": path} if path else {}).ready()


class TestSockets:
    def test_oneThatListens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        name = listening.getsockname()
        monkeypatch.setattr(supervisor, "FIRST_DESCRIPTOR", listening.detach())
        environment = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "a",
            "HOME": "/",
        }
        (found,) = takeSockets(environment)
        assert environment == {"HOME": "/"}
        with found:
            assert found.getsockname() == name
            assert not found.getblocking()
            assert not found.get_inheritable()

    @pytest.mark.parametrize(
        "environment",
        [
            {},
            {"LISTEN_FDS": "1"},
            {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
            {"LISTEN_PID": str(os.getpid())},
            {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        ],
    )
    def test_whatIsForSomebodyElse(self, environment: dict[str, str]) -> None:
        assert takeSockets(environment) == []

    @pytest.mark.parametrize("count", ["x", "-1", "65", "1_0", "٣", "9" * 5000])
    def test_whatIsNoNumber(self, count: str) -> None:
        with pytest.raises(BadSocket, match="LISTEN_FDS"):
            takeSockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})

    def test_whatCannotBeListenedOn(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        kinds = [
            socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        ]
        numbers = [kind.detach() for kind in kinds]
        numbers += [os.open(tmp_path, os.O_RDONLY), 9999]
        for number in numbers:
            monkeypatch.setattr(supervisor, "FIRST_DESCRIPTOR", number)
            with pytest.raises(BadSocket, match=str(number)):
                takeSockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
        os.close(numbers[3])


def test_aServerOnASocketThatItWasGiven(manager: socket.socket, tmp_path: Path) -> None:
    """From READY=1 on it answers there, and nowhere else; at the end it says so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        # What a manager does between fork and exec.
        start = (
            "import os, sys;"
            f"os.dup2({listening.fileno()}, 3);"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            "os.execv(sys.executable, [sys.executable, '-m', 'limpet', 'serve'])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", start],
            env=environmentIn(tmp_path, NOTIFY_SOCKET=str(manager.getsockname())),
            pass_fds=(listening.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    try:
        assert manager.recv(500) == f"READY=1\nSTATUS=listening on 127.0.0.1:{port}".encode()
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
            assert client.recv(8) == b"SSH-2.0-"
        process.terminate()
        assert manager.recv(500) == b"STOPPING=1"
        said = process.communicate(timeout=PATIENCE_SECONDS)[0]
        assert process.returncode == 0
        assert said.count("listening on") == 1
        assert f"127.0.0.1:{port}" in said
    finally:
        process.kill()
        process.wait()
