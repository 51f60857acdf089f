"""The OpenSSH client: commands, shells with a terminal, multiplexing, refusals."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from signal import SIGKILL
from termios import TIOCSWINSZ

import pytest

from tests.interop.host import IS_LIMPET, Host, poll
from tests.interop.peers import requirePeer

TERMINAL_SECONDS = 30.0


class TestCommands:
    def test_output_error_output_and_status_are_the_commands(self, host: Host) -> None:
        done = host.ssh("echo out; echo err >&2; exit 3")
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")

    @pytest.mark.parametrize("status", [0, 1, 127, 128, 254])
    def test_status(self, host: Host, status: int) -> None:
        assert host.ssh(f"exit {status}").returncode == status

    def test_a_command_that_does_not_exist(self, host: Host) -> None:
        done = host.ssh("/nowhere/to/be/found")
        assert done.returncode == 127
        assert b"/nowhere/to/be/found" in done.stderr

    def test_bytes_of_every_value_pass_both_ways(self, host: Host) -> None:
        data = bytes(range(256)) * 100
        assert host.ssh("cat", input=data).stdout == data

    def test_end_of_input_reaches_the_command_and_its_last_words_come_back(
        self, host: Host
    ) -> None:
        done = host.ssh("wc -c; echo after the end", input=b"x" * 100_000)
        assert done.stdout.split() == [b"100000", b"after", b"the", b"end"]

    def test_stdin_from_a_file(self, host: Host, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        (tmp_path / "data").write_bytes(data)
        with (tmp_path / "data").open("rb") as file:
            done = subprocess.run(
                [*host.sshCommand(), host.destination, "sha256sum"],
                stdin=file,
                capture_output=True,
                timeout=60,
                check=True,
            )
        assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()

    def test_a_command_that_reads_nothing_may_end_before_its_input(self, host: Host) -> None:
        done = host.ssh("exit 5", input=b"x" * 4_000_000)
        assert done.returncode == 5

    def test_output_after_the_main_process_has_ended_is_complete(self, host: Host) -> None:
        # The pipe is inherited by a child that outlives the shell.
        done = host.ssh("(sleep 0.3; head -c 300000 /dev/zero) & exit 4")
        assert (done.returncode, len(done.stdout)) == (4, 300_000)

    def test_a_status_long_after_the_outputs_are_closed(self, host: Host) -> None:
        assert host.ssh("exec >&- 2>&-; sleep 0.5; exit 6").returncode == 6

    def test_a_shell_without_a_terminal(self, host: Host) -> None:
        done = subprocess.run(
            [*host.sshCommand("-T"), host.destination],
            input=b"echo hello from $((40 + 2))\nexit 6\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 6
        assert b"hello from 42\n" in done.stdout

    def test_home_user_and_directory_are_the_accounts(self, host: Host) -> None:
        home = os.path.expanduser("~" + host.user).encode()
        done = host.ssh("echo $HOME $USER $LOGNAME; pwd")
        assert done.stdout == b"%s %s %s\n%s\n" % (
            *(home, host.user.encode(), host.user.encode()),
            os.path.realpath(home),
        )

    def test_ssh_connection_names_both_ends(self, host: Host) -> None:
        done = host.ssh("echo $SSH_CONNECTION")
        assert re.fullmatch(rb"127\.0\.0\.1 \d+ 127\.0\.0\.1 %d\n" % host.port, done.stdout)

    def test_environment_is_taken_by_a_list(self, host: Host) -> None:
        options = ["-oSetEnv=LC_LIMPET=yes GIT_PROTOCOL=version=2 LD_LIMPET=no"]
        done = host.ssh("echo $LC_LIMPET,$GIT_PROTOCOL,$LD_LIMPET", *options)
        assert done.stdout == b"yes,version=2,\n"

    def test_no_descriptor_of_the_server_leaks_into_the_child(self, host: Host) -> None:
        done = host.ssh("exec ls /proc/self/fd")
        # 3 is the directory that ls itself reads.
        assert done.stdout.split() == [b"0", b"1", b"2", b"3"]

    def test_the_command_line_client_can_be_left_by_keepalives(self, host: Host) -> None:
        options = ["-oServerAliveInterval=1", "-oServerAliveCountMax=1"]
        assert host.ssh("sleep 3; echo alive", *options).stdout == b"alive\n"

    def test_children_are_hung_up_when_the_client_vanishes(self, host: Host) -> None:
        # assertWell, after this, waits for the child to be gone.
        with host.sshProcess(command=["echo started; exec sleep 3000"]) as process:
            assert process.stdout
            assert process.stdout.readline() == b"started\n"
            process.kill()
        if not IS_LIMPET:
            host.ssh("pkill -x -f 'sleep 3000'")  # sshd leaves a child without a terminal alone


class TestRefusals:
    def test_a_key_that_is_not_authorised(self, host: Host, otherKey: Path) -> None:
        done = host.ssh("true", key=otherKey)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr

    def test_an_unknown_user_hears_the_same(self, host: Host, otherKey: Path) -> None:
        answers = []
        for user in (host.user, "nobody-of-that-name"):
            command = [*host.sshCommand(key=otherKey), f"{user}@127.0.0.1", "true"]
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
            answers.append((done.returncode, done.stderr.replace(user.encode() + b"@", b"USER@")))
        assert answers[0] == answers[1]

    def test_forwarding_of_agent_and_x11_is_refused_and_the_command_runs(self, host: Host) -> None:
        done = host.ssh("echo ran", "-A", "-X")
        assert (done.returncode, done.stdout) == (0, b"ran\n")

    def test_an_unknown_subsystem_is_refused_with_words(self, host: Host) -> None:
        done = host.ssh("nothing-of-that-name", "-s")
        assert done.returncode != 0
        assert b"subsystem request failed" in done.stderr

    @pytest.mark.skipif(not IS_LIMPET, reason="sshd forwards")
    def test_a_remote_port_is_refused_and_the_command_runs(self, host: Host) -> None:
        done = host.ssh("echo ran", "-R", "0:127.0.0.1:9")
        assert (done.returncode, done.stdout) == (0, b"ran\n")


class TestAlgorithms:
    @pytest.mark.parametrize(
        "cipher",
        [
            "aes128-gcm@openssh.com",
            "aes256-gcm@openssh.com",
            "chacha20-poly1305@openssh.com",
            "aes128-ctr",
            "aes192-ctr",
            "aes256-ctr",
        ],
    )
    def test_cipher(self, host: Host, cipher: str) -> None:
        data = os.urandom(200_000)
        assert host.ssh("cat", "-c", cipher, input=data).stdout == data

    @pytest.mark.parametrize(
        "mac",
        [
            "hmac-sha2-256",
            "hmac-sha2-512",
            "hmac-sha2-256-etm@openssh.com",
            "hmac-sha2-512-etm@openssh.com",
        ],
    )
    def test_mac(self, host: Host, mac: str) -> None:
        data = os.urandom(200_000)
        assert host.ssh("cat", "-c", "aes128-ctr", "-m", mac, input=data).stdout == data

    @pytest.mark.parametrize(
        "kex",
        [
            "mlkem768x25519-sha256",
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
            "ecdh-sha2-nistp256",
            "ecdh-sha2-nistp384",
            "ecdh-sha2-nistp521",
        ],
    )
    def test_key_exchange(self, host: Host, kex: str) -> None:
        query = [requirePeer("ssh"), "-Q", "kex"]
        known = subprocess.run(query, capture_output=True, text=True, check=True)
        if kex not in known.stdout.split():
            pytest.skip(f"this ssh does not know {kex}")
        assert host.ssh("echo yes", "-o", f"KexAlgorithms={kex}").stdout == b"yes\n"

    def test_strict_key_exchange_is_agreed_on(self, host: Host) -> None:
        done = host.ssh("true", "-vvv", "-o", "LogLevel=DEBUG3")
        if b"kex-strict-c-v00@openssh.com" not in done.stderr:
            pytest.skip("this ssh does not know strict key exchange")
        assert b"will use strict KEX ordering" in done.stderr

    def test_the_server_names_its_signature_algorithms(self, host: Host) -> None:
        done = host.ssh("true", "-vv", "-o", "LogLevel=DEBUG2")
        (line,) = re.findall(rb"server-sig-algs=<([^>]*)>", done.stderr)
        names = line.split(b",")
        assert {b"ssh-ed25519", b"rsa-sha2-256", b"rsa-sha2-512"} <= set(names)
        assert b"ssh-rsa" not in names or not IS_LIMPET  # sshd still names it

    def test_compression_that_is_not_offered_is_not_needed(self, host: Host) -> None:
        assert host.ssh("echo yes", "-C").stdout == b"yes\n"


class TestUserKeys:
    @pytest.mark.parametrize(
        "arguments",
        [("-t", "rsa", "-b", "3072"), ("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "521")],
        ids=["rsa", "nistp256", "nistp521"],
    )
    def test_kind(self, host: Host, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        key = tmp_path / "key"
        command = [requirePeer("ssh-keygen"), "-q", *arguments, "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        authorized = host.work.authorizedKeys
        before = authorized.read_bytes()
        authorized.write_bytes(before + key.with_suffix(".pub").read_bytes())
        try:
            assert host.ssh("echo yes", key=key).stdout == b"yes\n"
        finally:
            authorized.write_bytes(before)


class TestWithoutACommand:
    def test_dash_n_stays_until_it_is_ended(self, host: Host) -> None:
        with host.sshProcess("-N", "-v", "-o", "LogLevel=DEBUG1") as process:
            assert process.stderr
            seen = b""
            while b"Entering interactive session" not in seen:
                line = process.stderr.readline()
                assert line, seen
                seen += line
            assert host.ssh("echo beside it").stdout == b"beside it\n"
            assert process.poll() is None
            process.terminate()
            assert process.wait(20) is not None


class TestMultiplexing:
    def test_ten_sessions_at_once_on_one_connection(self, host: Host) -> None:
        count = 10
        with host.master() as through:
            command = "read line; echo $line $((line * 7)); echo $line >&2; exit $line"
            clients = [
                subprocess.Popen(
                    [*host.sshCommand(through), host.destination, command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                for _ in range(count)
            ]
            # None has ended, all wait for their line: they are open together.
            assert [client.poll() for client in clients] == [None] * count
            for number, client in enumerate(clients):
                out, err = client.communicate(b"%d\n" % number, timeout=60)
                expected = (number, b"%d %d\n" % (number, number * 7), b"%d\n" % number)
                assert (client.returncode, out, err) == expected


class Terminal:
    """`ssh -tt` on a pseudo-terminal of this test."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self.descriptor, self.pid = descriptor, pid
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.descriptor, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.descriptor, text)

    def readUntil(self, pattern: bytes) -> re.Match[bytes]:
        """Read until the pattern is there; what comes up to its end is then taken."""
        deadline = time.monotonic() + TERMINAL_SECONDS
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.descriptor], [], [], deadline - time.monotonic())
            try:
                data = os.read(self.descriptor, 65536) if ready else b""
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"{pattern!r} did not come: {self.seen!r}")
            self.seen += data
        self.seen = self.seen[match.end() :]
        return match

    def status(self) -> int:
        poll(lambda: os.waitid(os.P_PID, self.pid, WAIT_BUT_KEEP), 20, "the end of ssh")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


WAIT_BUT_KEEP = os.WEXITED | os.WNOHANG | os.WNOWAIT


@contextmanager
def terminal(host: Host, *command: str) -> Iterator[Terminal]:
    arguments = [*host.sshCommand("-tt"), host.destination, *command]
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(arguments[0], arguments)
    screen = Terminal(descriptor, pid)
    try:
        yield screen
    finally:
        try:
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has ended and status() has seen it
        os.close(descriptor)


class TestTerminal:
    def test_a_shell_knows_its_size_and_hears_of_a_new_one(self, host: Host) -> None:
        with terminal(host, "exec sh -i") as screen:
            screen.resize(30, 100)
            screen.type(b"PS1=; stty size; echo ready-$((1+1))\n")
            screen.readUntil(rb"ready-2\r\n")
            screen.resize(50, 132)
            # The change travels on its own: ask until it has arrived.
            screen.type(
                b"until [ \"$(stty size)\" = '50 132' ]; do sleep 0.1; done; echo is-$((50))\n"
            )
            screen.readUntil(rb"is-50\r\n")
            screen.type(b"exit 9\n")
            assert screen.status() == 9

    def test_the_first_size_is_that_of_the_client(self, host: Host) -> None:
        # pty.fork leaves 0 × 0; the inner terminal of script(1)-like nesting sets its own.
        inner = "stty rows 33 cols 77; exec " + " ".join(
            f"'{part}'" for part in [*host.sshCommand("-tt"), host.destination, "stty size; tty"]
        )
        pid, descriptor = pty.fork()
        if pid == 0:
            os.execv("/bin/sh", ["sh", "-c", inner])
        screen = Terminal(descriptor, pid)
        try:
            screen.readUntil(rb"33 77\r\n/dev/")
            assert screen.status() == 0
        finally:
            os.close(descriptor)

    def test_term_is_passed_on(self, host: Host) -> None:
        with terminal(host, "echo TERM=$TERM.") as screen:
            screen.readUntil(rb"TERM=xterm-256color\.\r\n")
            assert screen.status() == 0

    def test_the_interrupt_key_reaches_the_foreground_process(self, host: Host) -> None:
        with terminal(
            host, "trap 'echo trap''ped; exit 8' INT; echo go; while :; do sleep 0.1; done"
        ) as (screen):
            screen.readUntil(rb"go\r\n")
            screen.type(b"\x03")
            screen.readUntil(rb"trapped\r\n")
            assert screen.status() == 8

    def test_a_shell_whose_client_vanishes_is_hung_up(self, host: Host) -> None:
        with terminal(host, "echo go; exec sleep 3000") as screen:
            screen.readUntil(rb"go\r\n")
        host.waitUntilIdle()

    def test_a_login_shell_is_started(self, host: Host) -> None:
        with terminal(host) as screen:
            screen.type(b"echo name-is-$0.\n")
            screen.readUntil(rb"name-is--\w+\.\r\n")
            screen.type(b"exit\n")
            assert screen.status() == 0

    def test_tmux_draws_through_it(self, host: Host) -> None:
        requirePeer("tmux")
        name = f"limpet-{host.port}"
        with terminal(
            host, f"exec tmux -L {name} -f /dev/null new-session 'echo in-tm''ux; read x'"
        ) as (screen):
            screen.resize(40, 90)
            try:
                screen.readUntil(rb"in-tmux")
                screen.type(b"\n")
                screen.readUntil(rb"\[exited\]")
            finally:
                subprocess.run(
                    ["tmux", "-L", name, "kill-server"], capture_output=True, check=False
                )
