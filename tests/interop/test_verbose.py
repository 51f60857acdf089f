"""`limpet ssh -v` against sshd: every step that a person needs who looks for what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import Workplace
from limpet.aio import Key
from tests.interop.host import Host, environmentFor, running
from tests.interop.peers import requirePeer

SECONDS = 60.0

STEPS = r"""
the configuration is in {config}
web: connecting to 127\.0\.0\.1 port {port}
web: connected to 127\.0\.0\.1
web: the server is SSH-2\.0-OpenSSH_.*
web: we are SSH-2\.0-Limpet_.*
web: keys are exchanged by [a-z0-9-@.]+, strictly; the host signs by ssh-ed25519
web: to the server: cipher aes\S+, MAC .*, compression none
web: from the server: cipher aes\S+, MAC .*, compression none
web: its host key is Ed25519 {fingerprint}
web: it is known: {knownHosts}:1
web: the host key is accepted
web: the connection is encrypted; logging in as {user}
web: the server takes: publickey
web: trying key {other} \(Ed25519 SHA256:\S+\)
web: refused
web: the server takes: publickey
web: trying key {key} \(Ed25519 SHA256:\S+\)
web: the server takes it; signing by ssh-ed25519
web: the server lets us in, by publickey\S*
logged in as .*
sending the variables LC_SECRET
asking for the command 'exit 3'
opening a channel: session
the channel is closed; exit status 3
"""


@pytest.fixture(scope="module")
def server(work: Workplace) -> Iterator[Host]:
    requirePeer("sshd")
    with running(work, name="openssh") as host:
        yield host


def verbose(host: Host, otherKey: Path, tmp_path: Path, letters: str) -> tuple[str, str]:
    """What a login by the second of two keys says; and a pattern of it."""
    config = tmp_path / "config"
    config.write_text(
        f"Host web\n HostName 127.0.0.1\n Port {host.port}\n User {host.user}\n"
        f" IdentityFile {otherKey}\n IdentityFile {host.work.clientKey}\n IdentityAgent none\n"
        f" UserKnownHostsFile {host.knownHosts}\n GlobalKnownHostsFile /dev/null\n"
        " SendEnv LC_SECRET\n"
    )
    command = [sys.executable, "-m", "limpet", "ssh", "-F", str(config), letters, "web", "exit 3"]
    ended = subprocess.run(
        command,
        env=environmentFor(host, {"LC_SECRET": "hunter2"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 3
    assert b"hunter2" not in ended.stderr
    pattern = STEPS.format(
        config=re.escape(str(config)),
        port=host.port,
        user=host.user,
        key=re.escape(str(host.work.clientKey)),
        other=re.escape(str(otherKey)),
        knownHosts=re.escape(str(host.knownHosts)),
        fingerprint=re.escape(Key.fromFile(f"{host.work.hostKey}.pub").displayFingerprint()),
    )
    return ended.stderr.decode(), pattern


def test_steps(server: Host, otherKey: Path, tmp_path: Path) -> None:
    said, pattern = verbose(server, otherKey, tmp_path, "-v")
    lines = said.splitlines()
    for line in pattern.strip().splitlines():
        assert lines, f"nothing is left for {line}"
        assert re.fullmatch(f"limpet: {line}", lines.pop(0))
    assert len(lines) <= 1, "only the goodbye may follow"


@pytest.mark.parametrize("letters", ["-vv", "-vvv"])
def test_choices(server: Host, otherKey: Path, tmp_path: Path, letters: str) -> None:
    said, pattern = verbose(server, otherKey, tmp_path, letters)
    assert "limpet: web: we offer, key exchange: mlkem768x25519-sha256," in said
    assert "limpet: web: the server offers, ciphers to the server: " in said
    assert "limpet: web: the server says: server-sig-algs=ssh-ed25519," in said
    assert ("limpet: web: identityfile " in said.lower()) is (letters == "-vvv")
    # What -v says is there, too, in the same order.
    lines = iter(said.splitlines())
    for line in pattern.strip().splitlines():
        assert any(re.fullmatch(f"limpet: {line}", each) for each in lines), line
