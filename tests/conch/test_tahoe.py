"""Tahoe-LAFS 1.20, a distributed file store: its files over SFTP.

One avatar is user and files; directories are handles of its own, every file is first held locally
and uploaded when it is closed, and a session that is no SFTP is told so on standard error.
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import freePort
from limpet.ssh.keys import Key, createKeyFiles
from tests.conch.programs import Clients, environment, onLimpet, started, waitUntil

SIZE = 1_000_000


def tahoe(*arguments: str) -> list[str | Path]:
    return onLimpet("tahoe", *arguments)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("tahoe")
    introducer, node, web, port = (freePort() for _ in range(4))
    createKeyFiles(Key.generate("ed25519"), directory / "hostKey")
    createKeyFiles(Key.generate("ed25519"), directory / "userKey")
    _make(directory, "create-introducer", introducer, "introducer")
    with started(tahoe("run", "--allow-stdin-close", "introducer"), directory, introducer):
        furl = (directory / "introducer/private/introducer.furl").read_text().strip()
        one = ("--shares-needed=1", "--shares-happy=1", "--shares-total=1")
        door = f"--webport=tcp:{web}:interface=127.0.0.1"
        _make(directory, "create-node", node, "node", f"--introducer={furl}", door, *one)
        command = tahoe("run", "--allow-stdin-close", "node")
        with started(command, directory, web):
            root = _newDirectory(web)
        kind, blob = (directory / "userKey.pub").read_text().split()[:2]
        (directory / "node/private/accounts").write_text(f"ann {kind} {blob} {root}\n")
        with (directory / "node/tahoe.cfg").open("a") as settings:
            settings.write(
                f"[sftpd]\nenabled = true\nport = tcp:{port}:interface=127.0.0.1\n"
                f"host_pubkey_file = {directory}/hostKey.pub\n"
                f"host_privkey_file = {directory}/hostKey\naccounts.file = private/accounts\n"
            )
        with started(command, directory, port) as program:
            _newDirectory(web)
            yield Clients(port, "ann", directory, key=directory / "userKey")
            program.assertWell()


def _newDirectory(web: int) -> str:
    """Have the node make a directory, which it can once it has found a place to store it."""
    made: list[str] = []

    def succeeds() -> bool:
        request = urllib.request.Request(f"http://127.0.0.1:{web}/uri?t=mkdir", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                made.append(answer.read().decode())
        except OSError:
            # Refused, or "500 Internal Server Error": there is no storage yet.
            return False
        return True

    waitUntil(succeeds, lambda: "the node stores nothing")
    return made[0]


def _make(directory: Path, command: str, port: int, name: str, *options: str) -> None:
    place = (f"--port=tcp:{port}:interface=127.0.0.1", f"--location=tcp:127.0.0.1:{port}")
    subprocess.run(
        tahoe(command, "--listen=tcp", *place, *options, name),
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )


def test_filesComeBackAsTheyWere(store: Clients, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(os.urandom(SIZE))
    done = store.sftp(
        "mkdir reef",
        f"put {tmp_path}/here limpet",
        "rename limpet reef/barnacle",
        "cd reef",
        "ls -l",
        f"get barnacle {tmp_path}/back",
        "df",
        "rm barnacle",
        "cd ..",
        "rmdir reef",
        "ls -l",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()
    assert str(SIZE).encode() in done.stdout
    assert done.stdout.endswith(b"sftp> ls -l\n")


def test_whatIsMissingIsTold(store: Clients) -> None:
    done = store.sftp("get nothing /dev/null")
    assert done.returncode == 1
    assert b"not found" in done.stderr


@pytest.mark.parametrize("command", [(), ("uname",)])
def test_itHasFilesOnly(store: Clients, command: tuple[str, ...]) -> None:
    done = store.ssh(*command)
    assert done.returncode == 1
    assert b"This server supports only the SFTP protocol." in done.stderr
