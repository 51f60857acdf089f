"""OpenCanary 0.9, a honeypot: its own key exchange, authentication, host keys and last words.

It waits with its key exchange for the client's version, answers group exchanges by itself, looks at
keys without checking them, has 1024-bit DSA keys, and logs what was tried.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import freePort
from limpet.ssh.keys import Key, createKeyFiles
from tests.conch.programs import ENVIRONMENT, Clients, onLimpet, started

VERSION = "SSH-2.0-OpenSSH_5.1p1 Debian-4"
WITHOUT_LIBSSH = ["-o", "KexAlgorithms=ecdh-sha2-nistp256"]
"""Where "libssh" comes with the version, be it in an algorithm's name, it begins a key exchange
that is under way already, and that ends the connection, as it does on Conch."""
NEW_CONNECTION, VERSIONS, LOGIN = 4000, 4001, 4002
"""What it logs, by its own numbers."""


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("canary")
    port = freePort()
    log = {"class": "logging.FileHandler", "filename": str(directory / "canary.log")}
    settings = {
        "device.node_id": "reef",
        "device.listen_addr": "127.0.0.1",
        "ssh.enabled": True,
        "ssh.port": port,
        "ssh.version": VERSION,
        "ssh.key_path": str(directory),
        "logger": {"class": "PyLogger", "kwargs": {"formatters": {}, "handlers": {"file": log}}},
    }
    (directory / "opencanary.conf").write_text(json.dumps(settings))
    command = onLimpet("twistd", "-noy", ENVIRONMENT / "opencanary.tac", algorithms="legacy")
    with started(command, directory, port) as program:
        yield Clients(port, "root", directory, password="hunter2")
        program.assertWell()


def logged(canary: Clients) -> list[tuple[int, dict[str, Any]]]:
    lines = (canary.directory / "canary.log").read_text().splitlines()
    return [(entry["logtype"], entry["logdata"]) for entry in map(json.loads, lines)]


@pytest.mark.parametrize(
    "options",
    [
        WITHOUT_LIBSSH,
        ["-o", "KexAlgorithms=diffie-hellman-group-exchange-sha256"],
        ["-o", "KexAlgorithms=diffie-hellman-group14-sha1", "-o", "Ciphers=3des-cbc"],
        [*WITHOUT_LIBSSH, "-o", "HostKeyAlgorithms=ssh-rsa"],
    ],
)
def test_aPasswordIsLoggedAndRefused(canary: Clients, options: list[str]) -> None:
    before = len(logged(canary))
    done = canary.ssh("id", options=options)
    assert done.returncode == 255
    assert b"Permission denied (" in done.stderr
    said = logged(canary)[before:]
    assert [kind for kind, _ in said] == [NEW_CONNECTION, VERSIONS, LOGIN]
    assert said[1][1]["LOCALVERSION"] == VERSION
    assert said[2][1]["PASSWORD"] == "hunter2"


def test_aKeyIsRefused(canary: Clients, tmp_path: Path) -> None:
    createKeyFiles(Key.generate("ed25519"), tmp_path / "key")
    stranger = Clients(canary.port, "root", tmp_path, key=tmp_path / "key")
    done = stranger.ssh("id", options=WITHOUT_LIBSSH)
    assert done.returncode == 255
    assert b"Permission denied (" in done.stderr


def test_whatIsNoSSHLearnsNothing(canary: Clients) -> None:
    with socket.create_connection(("127.0.0.1", canary.port), timeout=20) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while more := stranger.recv(4096):
            answer += more
    assert answer.splitlines()[:1] == [VERSION.encode()]
    assert b"bad packet length" not in answer
