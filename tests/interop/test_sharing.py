"""`limpet ssh` on the connection of an `ssh` that is a master (ControlMaster, ControlPath)."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.servers import Workplace, freePort
from tests.interop.host import Host, poll, running
from tests.interop.limpetssh import environment, limpetSsh, run
from tests.interop.screen import openScreen

TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def sshd(work: Workplace) -> Iterator[Host]:
    with running(work, name="openssh") as host:
        yield host


@pytest.fixture
def master(sshd: Host, tmp_path: Path) -> Iterator[Path]:
    """The socket of a master that runs."""
    path = tmp_path / "master"
    # A master lets through what it would send itself, and nothing else.
    variables = ("-o", "SendEnv=LC_*")
    command = [*sshd.sshCommand(*variables), "-M", "-S", str(path), "-N", sshd.destination]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        poll(path.is_socket, TIMEOUT_SECONDS, "a master")
        yield path
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)


def ports(host: Host, path: Path) -> tuple[str, str]:
    """The client's ports of two commands on one socket; the same where they share a connection."""
    found = [
        run(host, "-S", str(path), host.destination, "echo $SSH_CONNECTION").stdout.split()[1]
        for _ in range(2)
    ]
    return found[0].decode(), found[1].decode()


class TestSessions:
    def test_commands_share_the_connection(self, sshd: Host, master: Path) -> None:
        one, other = ports(sshd, master)
        assert one == other
        one, other = ports(sshd, master.parent / "none")
        assert one != other

    def test_input_output_errors_and_status(self, sshd: Host, master: Path) -> None:
        data = os.urandom(3_000_000)
        done = run(
            *(sshd, "-S", str(master), sshd.destination, "cat; echo problem >&2; exit 7"),
            input=data,
        )
        assert (done.returncode, done.stdout) == (7, data)
        assert done.stderr == b"problem\n"
        done = run(sshd, "-S", str(master), "-n", sshd.destination, "cat; kill -9 $$", input=b"x")
        assert (done.returncode, done.stdout) == (255, b"")

    def test_a_subsystem_and_variables(self, sshd: Host, master: Path) -> None:
        hello = bytes.fromhex("00000005 01 00000003")
        with subprocess.Popen(
            [*limpetSsh(sshd, "-S", str(master), "-s"), sshd.destination, "sftp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(sshd),
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(hello)
            process.stdin.flush()
            # The server does not wait for the end of the input.
            assert process.stdout.read(9)[4:] == bytes.fromhex("02 00000003")
            process.stdin.close()
            assert process.wait(TIMEOUT_SECONDS) == 0
        given = ("-o", "SetEnv=LC_LIMPET=here")
        done = run(sshd, "-S", str(master), *given, sshd.destination, "echo $LC_LIMPET")
        assert done.stdout == b"here\n"

    def test_a_connection_to_somewhere_else(self, sshd: Host, master: Path) -> None:
        done = run(sshd, "-S", str(master), "-W", f"127.0.0.1:{sshd.port}", sshd.destination)
        assert done.stdout.startswith(b"SSH-2.0-")
        # By the master, and not by a connection of its own after a refusal.
        assert done.stderr == b""

    def test_a_terminal(self, sshd: Host, master: Path, tmp_path: Path) -> None:
        with openScreen(tmp_path, environment(sshd)) as screen:
            screen.start(
                [
                    *limpetSsh(sshd, "-t", "-S", str(master)),
                    *(sshd.destination, "PS1='ready> ' exec sh"),
                ]
            )
            screen.waitFor("ready> $")
            screen.type("stty size; tty | cut -c1-8", "Enter")
            screen.waitFor(r"^30 100$")
            screen.waitFor(r"^/dev/pts")
            screen.resize(60, 40)
            screen.type("sleep 1; stty size", "Enter")
            screen.waitFor(r"^40 60$")
            screen.type("exit 6", "Enter")
            assert screen.status() == 6
            assert screen.isCooked()
            assert "shared connection" in screen.text()

    def test_the_configuration_names_it(self, sshd: Host, master: Path) -> None:
        path = str(master)
        done = run(
            *(sshd, "-o", "ControlMaster=auto", "-o", f"ControlPath={path}"),
            *(sshd.destination, "echo $SSH_CONNECTION"),
        )
        assert done.stdout.split()[1].decode() == ports(sshd, master)[0]
        # "yes" wants to be the master itself, and uses none.
        done = run(
            *(sshd, "-o", "ControlMaster=yes", "-o", f"ControlPath={path}"),
            *(sshd.destination, "echo $SSH_CONNECTION"),
        )
        assert done.stdout.split()[1].decode() != ports(sshd, master)[0]


class TestForwardings:
    def test_they_are_the_masters(self, sshd: Host, master: Path) -> None:
        port = freePort()
        spec = f"{port}:127.0.0.1:{sshd.port}"

        def answers() -> bool:
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as through,
            ):
                return through.recv(4) == b"SSH-"
            return False

        assert not answers()
        for command, works in (("forward", True), ("cancel", False)):
            asked = run(sshd, "-S", str(master), "-O", command, "-L", spec, sshd.destination)
            assert asked.returncode == 0, asked.stderr
            assert answers() is works
        assert run(sshd, "-S", str(master), "-L", spec, sshd.destination, "true").returncode == 0
        assert answers()
        remote = ("-R", f"0:127.0.0.1:{sshd.port}")
        done = run(sshd, "-S", str(master), *remote, sshd.destination, "true")
        assert b"Allocated port" in done.stderr


class TestControl:
    def test_check_and_exit(self, sshd: Host, master: Path) -> None:
        done = run(sshd, "-S", str(master), "-O", "check", sshd.destination)
        assert done.returncode == 0
        assert b"pid=" in done.stderr
        assert run(sshd, "-S", str(master), "-O", "stop", sshd.destination).returncode == 0
        poll(lambda: not master.exists(), TIMEOUT_SECONDS, "the end of the socket")
        done = run(sshd, "-S", str(master), "-O", "check", sshd.destination)
        assert done.returncode == 255
        assert b"no master" in done.stderr

    def test_exit(self, sshd: Host, master: Path) -> None:
        assert run(sshd, "-S", str(master), "-O", "exit", sshd.destination).returncode == 0
        poll(lambda: not master.exists(), TIMEOUT_SECONDS, "the end of the master")

    def test_a_command_that_there_is_not(self, sshd: Host) -> None:
        done = run(sshd, "-O", "dance", sshd.destination)
        assert done.returncode == 255
        assert b"check, exit, stop" in done.stderr


class TestWhatIsNoMaster:
    @pytest.mark.parametrize("says", [b"", b"\0\0\0\x08\0\0\0\x01\0\0\0\x05", b"HTTP/1.1 400\r\n"])
    def test_a_connection_of_its_own_is_made(self, sshd: Host, tmp_path: Path, says: bytes) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(says)

            thread = threading.Thread(target=answer)
            thread.start()
            done = run(sshd, "-S", str(path), sshd.destination, "echo on")
            thread.join()
        assert (done.returncode, done.stdout) == (0, b"on\n")
        assert b"connecting without it" in done.stderr
