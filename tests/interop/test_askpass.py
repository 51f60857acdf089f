"""SSH_ASKPASS against sshd: our commands ask when `ssh` asks, and get in by what it answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.interop.host import Host, running
from tests.interop.peers import requirePeer

PASSPHRASE = "correct horse"
SECONDS = 60.0
LIMPET = [sys.executable, "-m", "limpet"]


class Desk:
    """A person's files, and a program that asks for what is given to it."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host, self.directory = host, directory
        self.program, self.asked = directory / "askpass", directory / "asked"
        self.key = directory / "key"
        command = [requirePeer("ssh-keygen"), "-q", "-t", "ed25519", "-N", PASSPHRASE]
        subprocess.run([*command, "-f", str(self.key)], check=True)
        with host.work.authorizedKeys.open("a") as file:
            file.write(Path(f"{self.key}.pub").read_text())
        self.knownHosts = directory / "known_hosts"
        self.config = directory / "config"
        self.config.write_text(
            f"Host *\n HostName 127.0.0.1\n Port {host.port}\n User {host.user}\n"
            f" IdentityFile {self.key}\n IdentityAgent none\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {self.knownHosts}\n GlobalKnownHostsFile /dev/null\n"
            " PreferredAuthentications publickey\n"
        )

    def answers(self, secret: str = PASSPHRASE, host: str = "yes") -> None:
        self.asked.write_bytes(b"")
        self.program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$1" | head -n 1 >> "{self.asked}"\n'
            f'case "$1" in\n*assphrase*) echo "{secret}";;\n*) echo "{host}";;\nesac\n'
        )
        self.program.chmod(0o700)

    def known(self) -> None:
        self.knownHosts.write_text(self.host.knownHosts.read_text())

    def run(
        self, program: Sequence[str], *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command where there is no terminal."""
        variables = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "SSH_ASKPASS_REQUIRE")
        }
        variables |= {"SSH_ASKPASS": str(self.program)} | environment
        return subprocess.run(
            [*program, "-F", str(self.config), *arguments],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            start_new_session=True,
            check=False,
        )


@pytest.fixture(scope="module")
def server(work: object) -> Iterator[Host]:
    requirePeer("sshd")
    with running(work, name="openssh") as host:  # type: ignore[arg-type]
        yield host


@pytest.fixture
def desk(server: Host, tmp_path: Path) -> Desk:
    desk = Desk(server, tmp_path)
    desk.answers()
    return desk


@pytest.mark.parametrize("display", [{}, {"DISPLAY": ":0"}], ids=["", "display"])
@pytest.mark.parametrize("require", ["", "never", "prefer", "force"])
def test_it_asks_when_ssh_does(desk: Desk, display: dict[str, str], require: str) -> None:
    """The question about the host, which it answers by no."""
    desk.answers(host="no")
    variables = display | ({"SSH_ASKPASS_REQUIRE": require} if require else {})
    asked = []
    for program in ([requirePeer("ssh")], [*LIMPET, "ssh"]):
        desk.asked.write_bytes(b"")
        ended = desk.run(program, "host", "true", **variables)
        assert ended.returncode == 255
        asked.append(len(desk.asked.read_text().splitlines()))
    assert (
        asked[0] == asked[1] == (1 if require == "force" or display and require != "never" else 0)
    )
    assert not desk.knownHosts.exists()


def test_the_host_and_the_passphrase(desk: Desk) -> None:
    ended = desk.run([*LIMPET, "ssh"], "-vvv", "host", "echo in", DISPLAY=":0")
    assert (ended.returncode, ended.stdout) == (0, b"in\n")
    first, second = desk.asked.read_text().splitlines()
    assert first.endswith("is not known here, and nobody vouches for its key.")
    assert second == f"Passphrase for the key {desk.key}: "
    assert PASSPHRASE.encode() not in ended.stderr
    assert "127.0.0.1" in desk.knownHosts.read_text()


def test_a_wrong_passphrase(desk: Desk) -> None:
    desk.known()
    desk.answers(secret="wrong")
    ended = desk.run([*LIMPET, "ssh"], "host", "echo in", SSH_ASKPASS_REQUIRE="force")
    assert (ended.returncode, ended.stdout) == (255, b"")
    assert b"cannot sign" in ended.stderr
    # As often as ssh asks for one (NumberOfPasswordPrompts).
    assert len(desk.asked.read_text().splitlines()) == 3


@pytest.mark.parametrize("command", ["sftp", "cp"])
def test_files(desk: Desk, command: str) -> None:
    desk.known()
    source, copy = desk.directory / "source", desk.directory / "copy"
    source.write_bytes(b"content")
    places = [f"host:{source}", str(copy)]
    ended = desk.run([*LIMPET, command], *places, SSH_ASKPASS_REQUIRE="force")
    assert (ended.returncode, copy.read_bytes()) == (0, b"content"), ended.stderr
    assert len(desk.asked.read_text().splitlines()) == 1


def test_batch_mode(desk: Desk) -> None:
    desk.known()
    arguments = ("-o", "BatchMode=yes", "host", "true")
    ended = desk.run([*LIMPET, "ssh"], *arguments, SSH_ASKPASS_REQUIRE="force")
    assert ended.returncode == 255
    assert not desk.asked.read_text()
