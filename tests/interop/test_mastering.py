"""`limpet ssh` as a master (ControlMaster): OpenSSH's `ssh`, and ours, on its connection."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.servers import Workplace, freePort
from tests.interop.host import Host, poll, running
from tests.interop.limpetssh import SRC, environment, limpetSsh, run
from tests.interop.peers import requirePeer
from tests.interop.screen import openScreen

TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def sshd(work: Workplace) -> Iterator[Host]:
    with running(work, name="openssh") as host:
        yield host


@contextmanager
def mastering(
    host: Host, path: Path, *options: str, command: Sequence[str] = (), **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`limpet ssh -M`, once its socket is there."""
    process = subprocess.Popen(
        [*limpetSsh(host, "-M", "-S", str(path), *options), host.destination, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(host, **more),
        start_new_session=True,
    )
    try:
        poll(path.is_socket, TIMEOUT_SECONDS, "a master")
        yield process
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


@pytest.fixture
def master(sshd: Host, tmp_path: Path) -> Iterator[Path]:
    """The socket of a master of ours that runs."""
    path = tmp_path / "master"
    with mastering(sshd, path, "-N", "-o", "SendEnv=LC_*"):
        yield path


def ssh(path: Path, *arguments: str, input: bytes = b"", **more: str) -> Done:
    """Run OpenSSH's `ssh` on the connection at a socket, and on no other."""
    return subprocess.run(
        [*sshCommand(path), *arguments],
        input=input,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, **more},
        check=False,
    )


Done = subprocess.CompletedProcess[bytes]


def sshCommand(path: Path) -> list[str]:
    # Without a master nothing is reached by this name.
    return [requirePeer("ssh"), "-F", "none", "-S", str(path), "-o", "ProxyCommand=false"]


class TestSessionsOfOpenSSH:
    def test_input_output_errors_and_status(self, master: Path) -> None:
        data = os.urandom(3_000_000)
        done = ssh(master, "host", "cat; echo problem >&2; exit 7", input=data)
        assert (done.returncode, done.stdout, done.stderr) == (7, data, b"problem\n")
        done = ssh(master, "-n", "host", "cat", input=b"x")
        assert (done.returncode, done.stdout) == (0, b"")
        done = ssh(master, "host", "kill -9 $$")
        assert done.returncode == 128 + 9
        assert b"SIGKILL" in done.stderr

    def test_a_file_is_read_and_written(self, master: Path, tmp_path: Path) -> None:
        data = os.urandom(500_000)
        (tmp_path / "in").write_bytes(data)
        with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
            subprocess.run(
                [*sshCommand(master), "host", "cat"],
                stdin=source,
                stdout=target,
                timeout=TIMEOUT_SECONDS,
                check=True,
            )
        assert (tmp_path / "out").read_bytes() == data

    def test_a_subsystem_and_variables(self, master: Path) -> None:
        done = ssh(
            *(master, "-o", "SendEnv=LC_LIMPET", "-o", "SetEnv=OTHER=no", "host"),
            "echo $LC_LIMPET,$OTHER",
            LC_LIMPET="here",
        )
        # A master lets through what it would send itself, and nothing else.
        assert done.stdout == b"here,\n"
        done = subprocess.run(
            [
                *(requirePeer("sftp"), "-F", "none", "-o", f"ControlPath={master}", "-b", "-"),
                *("-o", "ProxyCommand=false", "host"),
            ],
            input=b"pwd\n",
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
        assert b"Remote working directory" in done.stdout

    def test_ten_at_once(self, sshd: Host, master: Path) -> None:
        processes = [
            subprocess.Popen(
                [*sshCommand(master), "host", "cat; exit $(wc -c < /dev/null)"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(9)
        ]
        # One does not read what it asks for, and stops nobody else.
        slow = subprocess.Popen(
            [*sshCommand(master), "host", "head -c 9000000 /dev/zero; sleep 1000"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            for number, process in enumerate(processes):
                data = bytes([number]) * 400_000
                out, _ = process.communicate(data, timeout=TIMEOUT_SECONDS)
                assert (process.returncode, out) == (0, data)
        finally:
            for process in (*processes, slow):
                process.kill()
                process.communicate()

    def test_a_terminal(self, sshd: Host, master: Path, tmp_path: Path) -> None:
        with openScreen(tmp_path, environment(sshd)) as screen:
            screen.start(["env", "TERM=vt220", *sshCommand(master), "-tt", "host"])
            screen.type("PS1='rea''dy> '", "Enter")
            screen.waitFor("ready> $")
            screen.type("stty size; tty | cut -c1-8; echo $TERM", "Enter")
            screen.waitFor(r"^30 100$")
            screen.waitFor(r"^/dev/pts")
            screen.waitFor(r"^vt220")
            screen.resize(60, 40)
            screen.type("sleep 1; stty size", "Enter")
            screen.waitFor(r"^40 60$")
            screen.type("Enter", "~", "#")
            screen.waitFor("Open on this connection")
            screen.type("Enter", "exit 6", "Enter")
            assert screen.status() == 6
            assert screen.isCooked()

    def test_at_the_terminal_of_a_master_in_the_background(
        self, sshd: Host, tmp_path: Path
    ) -> None:
        path = tmp_path / "m"
        begin = shlex.join([*limpetSsh(sshd, "-MN", "-S", str(path)), sshd.destination])
        session = shlex.join([*sshCommand(path), "-tt", "host", "PS1='ready> ' exec sh"])
        wait = f"until test -S {path}; do sleep 0.1; done"
        with openScreen(tmp_path, environment(sshd)) as screen:
            # A group of its own in the background, as in any shell at a terminal.
            screen.start(["sh", "-c", f"set -m; {begin} & {wait}; {session}; kill %1; exit 5"])
            screen.waitFor("ready> $")
            screen.type("echo $((6 * 7))", "Enter")
            screen.waitFor("^42$")
            screen.type("exit", "Enter")
            assert screen.status() == 5

    def test_the_escape_ends_that_session_alone(
        self, sshd: Host, master: Path, tmp_path: Path
    ) -> None:
        with openScreen(tmp_path, environment(sshd)) as screen:
            screen.start([*sshCommand(master), "-t", "host", "echo begun; exec sleep 1000"])
            screen.waitFor("begun")
            screen.type("Enter", "~", ".")
            assert screen.status() == 255
            assert screen.isCooked()
        assert ssh(master, "host", "echo on").stdout == b"on\n"

    def test_a_client_that_is_killed_takes_its_channel_along(
        self, master: Path, tmp_path: Path
    ) -> None:
        mark = tmp_path / "ended"
        process = subprocess.Popen(
            [*sshCommand(master), "host", f"trap 'echo > {mark}; exit' HUP PIPE; echo on; cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.read(3) == b"on\n"
            before = len(descriptorsOf(master))
            process.kill()
            process.wait()
        poll(lambda: len(descriptorsOf(master)) < before, TIMEOUT_SECONDS, "closed descriptors")
        assert ssh(master, "host", "echo on").stdout == b"on\n"

    def test_nothing_that_was_passed_stays_open(self, master: Path) -> None:
        assert ssh(master, "host", "true").returncode == 0
        before = sorted(descriptorsOf(master))
        for _ in range(3):
            assert ssh(master, "host", "true").returncode == 0
            assert ssh(master, "-O", "check", "host").returncode == 0
        poll(lambda: sorted(descriptorsOf(master)) == before, TIMEOUT_SECONDS, "the same files")


def descriptorsOf(path: Path) -> list[str]:
    """The numbers of the files that the master at a path has open."""
    done = ssh(path, "-O", "check", "host")
    number = int(done.stderr.split(b"pid=")[1].split(b")")[0])
    return os.listdir(f"/proc/{number}/fd")


class TestOtherRequestsOfOpenSSH:
    def test_a_connection_to_somewhere_else(self, sshd: Host, master: Path) -> None:
        done = ssh(master, "-W", f"127.0.0.1:{sshd.port}", "host", input=b"nonsense\r\n")
        assert done.stdout.startswith(b"SSH-2.0-")
        assert done.returncode == 0
        done = ssh(master, "-W", "127.0.0.1:1", "host")
        assert done.returncode == 255
        assert b"does not open the channel" in done.stderr

    def test_forwardings(self, sshd: Host, master: Path) -> None:
        port = freePort()
        local = f"{port}:127.0.0.1:{sshd.port}"
        assert not answers(port)
        for command, works in (("forward", True), ("forward", True), ("cancel", False)):
            done = ssh(master, "-O", command, "-L", local, "host")
            assert (done.returncode, done.stderr) == (0, b"")
            assert answers(port) is works
        done = ssh(master, "-O", "cancel", "-L", local, "host")
        assert b"there is no such forwarding" in done.stderr
        for command, works in (("forward", True), ("cancel", False)):
            done = ssh(master, "-O", command, "-R", local, "host")
            assert (done.returncode, done.stderr) == (0, b"")
            assert answers(port) is works
        done = ssh(master, "-O", "forward", "-R", f"0:127.0.0.1:{sshd.port}", "host")
        assert answers(int(done.stdout))
        again = ssh(master, "-O", "forward", "-R", f"0:127.0.0.1:{sshd.port}", "host")
        assert again.stdout == done.stdout

    def test_forwardings_of_other_kinds(self, sshd: Host, master: Path, tmp_path: Path) -> None:
        done = ssh(master, "-O", "forward", "-D", str(port := freePort()), "host")
        assert (done.returncode, done.stderr) == (0, b"")
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as through:
            through.sendall(b"\4\1" + sshd.port.to_bytes(2, "big") + bytes((127, 0, 0, 1, 0)))
            assert through.recv(8, socket.MSG_WAITALL)[1] == 90
            assert through.recv(4, socket.MSG_WAITALL) == b"SSH-"
        done = ssh(master, "-O", "forward", "-R", f"0:{tmp_path}/none", "host")
        assert done.returncode == 0
        path = tmp_path / "listening"
        done = ssh(master, "-O", "forward", "-L", f"{path}:127.0.0.1:{sshd.port}", "host")
        assert (done.returncode, done.stderr) == (0, b"")
        with socket.socket(socket.AF_UNIX) as through:
            through.connect(str(path))
            assert through.recv(4, socket.MSG_WAITALL) == b"SSH-"

    def test_one_that_cannot_be(self, master: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = ssh(master, "-O", "forward", "-L", f"127.0.0.1:{port}:h:1", "host")
        assert done.returncode == 255
        assert b"cannot listen on" in done.stderr

    def test_what_there_is_not(self, master: Path) -> None:
        done = ssh(master, "-O", "proxy", "host")
        assert done.returncode == 255
        assert ssh(master, "-O", "check", "host").returncode == 0

    def test_check_stop_and_exit(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        with mastering(sshd, path, "-N") as process:
            done = ssh(path, "-O", "check", "host")
            assert done.stderr.split() == [b"Master", b"running", b"(pid=%d)" % process.pid]
            assert path.stat().st_mode & 0o777 == 0o600
            assert os.listdir(tmp_path) == ["m"]
            assert ssh(path, "-O", "exit", "host").returncode == 0
            assert process.wait(TIMEOUT_SECONDS) == 255
            assert not path.exists()
        with (
            mastering(sshd, path, "-N") as process,
            subprocess.Popen(
                [*sshCommand(path), "host", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as session,
        ):
            assert session.stdin is not None
            assert session.stdout is not None
            session.stdin.write(b"x")
            session.stdin.flush()
            assert session.stdout.read(1) == b"x"
            assert ssh(path, "-O", "stop", "host").returncode == 0
            assert not path.exists()
            # Whoever is there goes on, and with the last of them the master ends.
            assert process.poll() is None
            assert session.communicate(b"y")[0] == b"y"
            assert process.wait(TIMEOUT_SECONDS) == 0


def answers(port: int) -> bool:
    """Whether the server is reached at a port of this machine's."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as through,
    ):
        return through.recv(4) == b"SSH-"
    return False


class TestOurClients:
    def test_sessions_and_requests(self, sshd: Host, master: Path) -> None:
        data = os.urandom(1_000_000)
        done = run(
            *(sshd, "-S", str(master), "-o", "ProxyCommand=false"),
            *("host", "cat; echo problem >&2; exit 7"),
            input=data,
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, data, b"problem\n")
        done = run(
            *(sshd, "-S", str(master), "-o", "ProxyCommand=false"),
            *("-W", f"127.0.0.1:{sshd.port}", "host"),
            input=b"x\r\n",
        )
        assert done.stdout.startswith(b"SSH-2.0-")
        assert done.stderr == b""
        port = freePort()
        spec = f"{port}:127.0.0.1:{sshd.port}"
        for command, works in (("forward", True), ("cancel", False)):
            assert run(sshd, "-S", str(master), "-O", command, "-L", spec, "h").returncode == 0
            assert answers(port) is works
        done = run(
            sshd, "-S", str(master), "-O", "forward", "-R", f"0:{spec[len(str(port)) + 1 :]}", "h"
        )
        assert answers(int(done.stdout))
        for command in ("check", "stop"):
            assert run(sshd, "-S", str(master), "-O", command, "h").returncode == 0
        poll(lambda: not master.exists(), TIMEOUT_SECONDS, "the end of the socket")

    def test_auto_begins_where_there_is_none(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        auto = ("-o", "ControlMaster=auto", "-o", f"ControlPath={path}")
        command = "echo $SSH_CONNECTION; cat"
        with subprocess.Popen(
            [*limpetSsh(sshd, *auto), sshd.destination, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(sshd),
        ) as first:
            assert first.stdin is not None
            assert first.stdout is not None
            where = first.stdout.readline()
            second = run(sshd, *auto, sshd.destination, command)
            assert (second.returncode, second.stdout) == (0, where)
            with subprocess.Popen(
                [*sshCommand(path), "host", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as third:
                assert third.stdin is not None
                assert third.stdout is not None
                third.stdin.write(b"x")
                third.stdin.flush()
                assert third.stdout.read(1) == b"x"
                first.stdin.close()
                # The first one's own session has ended, and waits for the others'.
                assert first.stderr is not None
                assert b"of others are still open" in first.stderr.readline()
                assert third.communicate(b"y")[0] == b"y"
            assert first.wait(TIMEOUT_SECONDS) == 0
        assert not path.exists()


class TestPersisting:
    def test_the_master_goes_on_behind(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        options = (
            *("-o", "ControlMaster=auto", "-o", f"ControlPath={path}"),
            *("-o", "ControlPersist=2"),
        )
        first = run(
            sshd, *options, sshd.destination, "echo $SSH_CONNECTION; cat; exit 3", input=b"data"
        )
        assert first.returncode == 3
        where, _, rest = first.stdout.partition(b"\n")
        assert (rest, first.stderr) == (b"data", b"")
        assert path.is_socket()
        again = run(sshd, *options, sshd.destination, "echo $SSH_CONNECTION; sleep 2.5")
        assert again.stdout.strip() == where
        # The time begins when the last one has ended.
        assert ssh(path, "host", "echo on").stdout == b"on\n"
        poll(lambda: not path.exists(), TIMEOUT_SECONDS, "the end of the master")

    def test_what_it_began_with_goes_on(self, sshd: Host, tmp_path: Path) -> None:
        path, port = tmp_path / "m", freePort()
        done = run(
            *(sshd, "-M", "-S", str(path), "-o", "ControlPersist=60", "-N"),
            *("-L", f"{port}:127.0.0.1:{sshd.port}", sshd.destination),
        )
        # It holds none of the standard files, or this would not have ended.
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert answers(port)
        assert ssh(path, "-O", "exit", "host").returncode == 0
        poll(lambda: not path.exists(), TIMEOUT_SECONDS, "the end of the master")

    def test_stopped_it_ends_with_the_last_session(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        options = ("-M", "-S", str(path), "-o", "ControlPersist=60")
        assert run(sshd, *options, sshd.destination, "true").returncode == 0
        done = ssh(path, "-O", "check", "host")
        number = int(done.stderr.split(b"pid=")[1].split(b")")[0])
        assert ssh(path, "-O", "stop", "host").returncode == 0
        poll(lambda: not isRunning(number), TIMEOUT_SECONDS, "the end of the master")

    def test_a_terminal_stays_in_front(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        options = ("-M", "-S", str(path), "-o", "ControlPersist=60", "-t")
        with openScreen(tmp_path, environment(sshd)) as screen:
            screen.start([*limpetSsh(sshd, *options), sshd.destination, "PS1='ready> ' exec sh"])
            screen.waitFor("ready> $")
            screen.resize(60, 40)
            screen.type("sleep 1; stty size", "Enter")
            screen.waitFor(r"^40 60$")
            screen.type("exit 6", "Enter")
            assert screen.status() == 6
            assert screen.isCooked()
        # Nor does the end of the terminal end it.
        assert ssh(path, "host", "echo on").stdout == b"on\n"
        assert ssh(path, "-O", "exit", "host").returncode == 0

    def test_a_command_in_the_background(self, sshd: Host, tmp_path: Path) -> None:
        path, mark = tmp_path / "m", tmp_path / "mark"
        options = ("-M", "-S", str(path), "-o", "ControlPersist=60", "-f")
        done = run(sshd, *options, sshd.destination, f"exec >&- 2>&-; sleep 1; echo > {mark}")
        assert done.returncode == 0
        poll(mark.exists, TIMEOUT_SECONDS, "what the command does")
        assert ssh(path, "-O", "exit", "host").returncode == 0

    def test_nobody_waits_for_what_it_was_left(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        proxy = f"ProxyCommand={requirePeer('nc')} 127.0.0.1 {sshd.port}"
        options = ("-M", "-S", str(path), "-o", "ControlPersist=60", "-o", proxy)
        reader, writer = os.pipe()
        try:
            # Its errors, and a pipe that nobody told it of, are at their end when it has ended.
            done = subprocess.run(
                [*limpetSsh(sshd, *options), sshd.destination, "echo on"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                env=environment(sshd),
                pass_fds=(writer,),
                check=False,
            )
            os.close(writer)
            os.set_blocking(reader, False)
            assert os.read(reader, 1) == b""
        finally:
            os.close(reader)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"on\n", b"")
        assert ssh(path, "-O", "exit", "host").returncode == 0


def isRunning(number: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class TestSockets:
    def test_a_living_one_is_left_alone(self, sshd: Host, master: Path) -> None:
        done = run(sshd, "-M", "-S", str(master), sshd.destination, "echo by itself")
        assert (done.returncode, done.stdout) == (0, b"by itself\n")
        assert b"is there already" in done.stderr
        assert ssh(master, "-O", "check", "host").returncode == 0

    def test_a_dead_one_is_replaced(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        with mastering(sshd, path, "-N") as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert path.is_socket()
        with mastering(sshd, path, "-N"):
            poll(
                lambda: ssh(path, "-O", "check", "host").returncode == 0,
                TIMEOUT_SECONDS,
                "a master in its place",
            )
            assert ssh(path, "host", "echo on").stdout == b"on\n"

    def test_what_is_no_socket_is_left_alone(self, sshd: Host, tmp_path: Path) -> None:
        (tmp_path / "m").write_text("precious")
        done = run(sshd, "-M", "-S", str(tmp_path / "m"), sshd.destination, "echo by itself")
        assert (done.returncode, done.stdout) == (0, b"by itself\n")
        assert (tmp_path / "m").read_text() == "precious"
        assert b"is there already" in done.stderr

    @pytest.mark.parametrize("whose", ["ssh", "limpet"])
    def test_the_connection_is_lost(self, sshd: Host, master: Path, whose: str) -> None:
        ours = limpetSsh(sshd, "-S", str(master))
        with subprocess.Popen(
            [
                *(sshCommand(master) if whose == "ssh" else ours),
                "host",
                "echo on; echo $PPID; exec cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(sshd),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"on\n"
            os.kill(int(process.stdout.readline()), signal.SIGKILL)
            assert process.wait(TIMEOUT_SECONDS) == 255
            if whose == "limpet":
                assert b"the shared connection to host was lost" in process.stderr.read()
        poll(lambda: not master.exists(), TIMEOUT_SECONDS, "the end of the master")


class TestAsking:
    @pytest.mark.parametrize(("answer", "status"), [("yes", 0), ("no", 255)])
    def test_by_a_program(self, sshd: Host, tmp_path: Path, answer: str, status: int) -> None:
        program = tmp_path / "askpass"
        program.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\necho {answer}\n')
        program.chmod(0o755)
        path = tmp_path / "m"
        variables = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
        with mastering(sshd, path, "-N", "-M", **variables):
            assert ssh(path, "-O", "check", "host").returncode == 0
            assert not (tmp_path / "asked").exists()
            done = ssh(path, "host", "echo on")
            assert done.returncode == status
            assert done.stdout == (b"" if status else b"on\n")
            asked = (tmp_path / "asked").read_text()
            assert "Allow a shared session on 127.0.0.1?" in asked

    def test_nobody_is_there(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        with mastering(sshd, path, "-N", "-M"):
            done = ssh(path, "host", "echo on")
            assert (done.returncode, done.stdout) == (255, b"")
            assert b"not allowed" in done.stderr

    def test_at_the_terminal_of_a_session(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        with openScreen(tmp_path, environment(sshd)) as screen:
            screen.start(
                [
                    *limpetSsh(sshd, "-MM", "-t", "-S", str(path)),
                    *(sshd.destination, "PS1='ready> ' exec sh"),
                ]
            )
            screen.waitFor("ready> $")
            with subprocess.Popen(
                [*sshCommand(path), "host", "echo on"], stdout=subprocess.PIPE
            ) as process:
                screen.waitFor("Allow a shared session")
                screen.type("yes", "Enter")
                out, _ = process.communicate(timeout=TIMEOUT_SECONDS)
                assert out == b"on\n"
            screen.type("echo still $((6 * 7))", "Enter")
            screen.waitFor("^still 42$")
            screen.type("exit", "Enter")
            assert screen.status() == 0
            assert screen.isCooked()


class TestFiles:
    """`limpet sftp` and `limpet cp` use a master, and become none, as OpenSSH's."""

    def copy(self, path: Path, *arguments: str) -> Done:
        return subprocess.run(
            [
                *(sys.executable, "-m", "limpet", *arguments[:1], "-F", "none"),
                *("-o", f"ControlPath={path}", "-o", "ProxyCommand=false"),
                *("-o", "ControlMaster=auto", *arguments[1:]),
            ],
            input=b"pwd\n",
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env={**os.environ, "PYTHONPATH": str(SRC)},
            check=False,
        )

    def test_they_go_through_it(self, master: Path, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        (tmp_path / "in").write_bytes(data)
        done = self.copy(master, "cp", f"{tmp_path}/in", f"host:{tmp_path}/there")
        assert (done.returncode, done.stderr) == (0, b"")
        done = self.copy(master, "cp", f"host:{tmp_path}/there", f"{tmp_path}/back")
        assert (done.returncode, done.stderr) == (0, b"")
        assert (tmp_path / "back").read_bytes() == data
        done = self.copy(master, "sftp", "host")
        assert done.returncode == 0
        assert b"Remote working directory" in done.stdout

    def test_and_through_that_of_ssh(self, sshd: Host, tmp_path: Path) -> None:
        with sshd.master() as option:
            path = Path(option.partition("=")[2])
            done = self.copy(path, "sftp", "host")
            assert done.returncode == 0
            assert b"Remote working directory" in done.stdout

    def test_without_one_they_become_none(self, tmp_path: Path) -> None:
        done = self.copy(tmp_path / "m", "sftp", "host")
        assert done.returncode == 255
        assert b"ProxyCommand" in done.stderr
        assert os.listdir(tmp_path) == []

    def test_what_the_master_refuses_is_told(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "m"
        with mastering(sshd, path, "-N", "-M"):
            done = self.copy(path, "sftp", "host")
        assert done.returncode == 255
        assert b"not allowed; connecting without it" in done.stderr
