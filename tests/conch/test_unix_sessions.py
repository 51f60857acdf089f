"""Sessions derived from `SSHSessionForUnixConchUser`, as programs do, with OpenSSH's ssh."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.servers import freePort
from limpet.ssh.keys import Key, createKeyFiles
from tests.conch.programs import APPLICATIONS, Clients, started, waitUntil

USERS = ("proxy", "fixed", "both")
MANY = 3_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("sessions")
    port = freePort()
    createKeyFiles(Key.generate("ed25519"), directory / "hostKey")
    command = [
        *(sys.executable, "-m", "limpet.conch", "--"),
        *(str(APPLICATIONS / "unixSessions.py"), str(port), str(directory / "hostKey")),
    ]
    with started(command, directory, port) as running:
        yield Clients(port, "proxy", directory, password="opensesame")
        running.assertWell()


@pytest.fixture(params=USERS)
def clients(server: Clients, request: pytest.FixtureRequest) -> Clients:
    return replace(server, user=request.param)


def test_aCommandAndItsStatus(clients: Clients) -> None:
    done = clients.ssh("echo out; echo err >&2; cat; exit 3", stdin=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\nin\n", b"err\n")


def test_muchOutput(clients: Clients) -> None:
    done = clients.ssh(f"head -c {MANY} /dev/zero; kill -TERM $$")
    assert len(done.stdout) == MANY
    assert done.returncode == 255


@pytest.mark.parametrize("user", ["fixed", "both"])
def test_aShell(server: Clients, user: str) -> None:
    with replace(server, user=user).talking() as terminal:
        terminal.type(b"PS1=; stty -echo; echo $((6*7)) $SHELL; tty\n")
        terminal.expect(b"42 /")
        terminal.expect(b"/dev/pts/")
        terminal.type(b"exit 4\n")
        assert terminal.end()[1] == 4


def test_aShellOfItsOwn(server: Clients) -> None:
    with server.talking() as terminal:
        assert b"you are proxy on /dev/pts/" in terminal.expect(b"\n")
        terminal.expect(b"0 0\r\n")
        terminal.type(b"typed\n")
        assert terminal.end() == (b"typed\r\ntyped\r\n", 0)


@pytest.mark.parametrize(
    ("user", "isRight"),
    [("fixed", lambda home, place: home == place), ("both", lambda home, place: home != place)],
)
def test_itsHome(server: Clients, user: str, isRight: Callable[[str, str], bool]) -> None:
    done = replace(server, user=user).ssh('echo "$HOME"; pwd')
    home, place = done.stdout.decode().splitlines()
    assert home == place
    assert isRight(home, str(server.directory))


def test_whoGoesAwayEndsTheProgram(server: Clients) -> None:
    with server.talking("echo $$; exec cat") as session:
        pid = int(session.expect(b"\n"))
        assert Path(f"/proc/{pid}").exists()
    # The client was killed.
    waitUntil(lambda: not Path(f"/proc/{pid}").exists())
