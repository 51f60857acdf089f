"""`limpet ssh` as a program: what goes in and comes out, its letters, its exit statuses."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.processes import treeOf
from benchmarks.servers import Workplace, freePort
from tests.interop.farEnds import connected, connectedToChosen
from tests.interop.host import Host, poll, running
from tests.interop.limpetssh import environment, limpetSsh, run
from tests.interop.peers import requirePeer

MEBIBYTES = 256 if os.environ.get("LIMPET_FULL") else 16
OWN_FAILURE = 255
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module", params=["openssh", "limpet"])
def server(request: pytest.FixtureRequest, work: Workplace) -> Iterator[Host]:
    with running(work, name=request.param) as host:
        yield host


@pytest.fixture(scope="module")
def sshd(work: Workplace) -> Iterator[Host]:
    with running(work, name="openssh") as host:
        yield host


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of bytes that no cipher turns into something regular."""
    path = tmp_path_factory.mktemp("data") / "data"
    block = os.urandom(1024 * 1024)
    with path.open("wb") as file:
        for number in range(MEBIBYTES):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def started(host: Host, *arguments: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `limpet ssh` that goes on; it is ended at the end."""
    process = subprocess.Popen(
        [*limpetSsh(host), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(host, **more),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


@contextmanager
def sleeping(host: Host) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A `limpet ssh` and its command, which does not end by itself; sshd leaves it running."""
    with started(host, host.destination, "echo $$; exec sleep 1000") as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        try:
            yield process, command
        finally:
            with suppress(ProcessLookupError):
                os.kill(command, signal.SIGKILL)


class TestCommands:
    def test_output_errors_and_status(self, server: Host) -> None:
        done = run(server, server.destination, "echo out; echo err >&2; exit 3")
        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)

    @pytest.mark.parametrize("status", [0, 1, 255])
    def test_statuses(self, sshd: Host, status: int) -> None:
        assert run(sshd, sshd.destination, f"exit {status}").returncode == status

    def test_a_signal_is_told_as_a_shell_tells_it(self, server: Host) -> None:
        done = run(server, server.destination, "kill -TERM $$")
        assert done.returncode == 128 + signal.SIGTERM
        assert b"ended by SIGTERM" in done.stderr

    def test_words_are_joined_by_blanks(self, sshd: Host) -> None:
        assert run(sshd, sshd.destination, "echo", "a  b", "'c  d'").stdout == b"a b c  d\n"

    def test_a_file_through_and_back(self, server: Host, data: Path) -> None:
        with data.open("rb") as file:
            done = subprocess.run(
                [*limpetSsh(server), server.destination, "cat"],
                stdin=file,
                capture_output=True,
                env=environment(server),
                timeout=120,
                check=True,
            )
        assert sha256(done.stdout) == sha256(data.read_bytes())

    def test_pipes_that_are_slow_to_be_read(self, sshd: Host, data: Path) -> None:
        """Neither side is read faster than the other takes it, and nothing is lost."""
        size = 8 * 1024 * 1024
        with started(sshd, sshd.destination, f"head -c {size} {data}") as process:
            assert process.stdout is not None
            digest = hashlib.sha256()
            for turn in range(100000):
                piece = os.read(process.stdout.fileno(), 16384)
                if not piece:
                    break
                digest.update(piece)
                if turn < 20:
                    time.sleep(0.01)
            assert process.wait(PATIENCE_SECONDS) == 0
        assert digest.hexdigest() == sha256(data.read_bytes()[:size])

    def test_standard_error_is_apart(self, sshd: Host) -> None:
        count = 300000
        done = run(sshd, sshd.destination, f"head -c {count} /dev/zero >&2; echo done")
        assert done.stdout == b"done\n"
        assert done.stderr == bytes(count)

    def test_input_that_nobody_reads_holds_nothing_up(self, server: Host) -> None:
        done = run(server, server.destination, "exec <&-; echo early", input=bytes(4 * 1024 * 1024))
        assert (done.stdout, done.returncode) == (b"early\n", 0)

    def test_output_that_nobody_reads_ends_the_command(self, server: Host) -> None:
        with started(server, server.destination, "yes") as process:
            assert process.stdout is not None
            assert process.stdout.read(4) == b"y\ny\n"
            process.stdout.close()
            process.stdout = None
            assert process.wait(PATIENCE_SECONDS) != 0

    def test_output_that_cannot_be_written_is_no_success(self, sshd: Host) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*limpetSsh(sshd), sshd.destination, "echo lost"],
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(sshd),
                timeout=60,
                check=False,
            )
        assert done.returncode == OWN_FAILURE
        assert b"No space left on device" in done.stderr

    @pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
    def test_descriptors_that_are_closed(self, sshd: Host, closed: str, tmp_path: Path) -> None:
        """What is opened next must not take their place."""
        mark = tmp_path / "mark"
        command = [*limpetSsh(sshd), sshd.destination, f"cat >/dev/null; echo x; touch {mark}"]
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
            env=environment(sshd),
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        assert mark.exists()

    def test_other_programs_find_their_descriptors_as_they_were(self, sshd: Host) -> None:
        near, far = os.pipe()
        with os.fdopen(near, "rb"), os.fdopen(far, "wb") as end:
            subprocess.run(
                [*limpetSsh(sshd), sshd.destination, "echo x"],
                stdin=subprocess.DEVNULL,
                stdout=end,
                env=environment(sshd),
                timeout=60,
                check=True,
            )
            assert os.get_blocking(end.fileno())


class TestOwnFailures:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["-p", "1", "127.0.0.1", "true"], b"refused"),
            (["-z", "127.0.0.1"], b"option -z not recognized"),
            ([], b"no host is named"),
            (["-F", "/nonexistent/config", "127.0.0.1"], b"/nonexistent/config"),
            (["-o", "Nonsense=yes", "127.0.0.1"], b"Nonsense"),
            (["--", "-oProxyCommand=touch /tmp/x"], b"begins with a dash"),
            (["-s", "127.0.0.1"], b"subsystem"),
            (["-f", "127.0.0.1"], b"-f needs a command"),
            (["-o", "RemoteCommand=x", "127.0.0.1", "y"], b"RemoteCommand"),
            (["-Q", "nothing"], b"cipher"),
        ],
    )
    def test_they_end_with_255_and_words(
        self, sshd: Host, arguments: list[str], words: bytes
    ) -> None:
        command = limpetSsh(sshd)[:4]
        where = [] if "-F" in arguments else ["-F", "none"]
        done = subprocess.run(
            [*command, *where, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment(sshd),
            timeout=60,
            check=False,
        )
        assert done.returncode == OWN_FAILURE
        assert words in done.stderr
        assert b"Traceback" not in done.stderr
        assert b"bug" not in done.stderr

    def test_a_key_that_nobody_knows(self, sshd: Host, otherKey: Path) -> None:
        done = run(sshd, sshd.destination, "true", key=otherKey)
        assert done.returncode == OWN_FAILURE
        assert b"publickey" in done.stderr

    def test_a_host_key_that_changed(self, sshd: Host, tmp_path: Path) -> None:
        known = tmp_path / "known_hosts"
        other = tmp_path / "other"
        keygen = requirePeer("ssh-keygen")
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
        public = other.with_suffix(".pub").read_text()
        known.write_text(f"[127.0.0.1]:{sshd.port} {public}")
        done = subprocess.run(
            [*limpetSsh(sshd, "-o", f"UserKnownHostsFile={known}"), sshd.destination, "echo no"],
            capture_output=True,
            env=environment(sshd),
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (OWN_FAILURE, b"")
        assert str(known).encode() in done.stderr

    def test_quiet_says_nothing(self, sshd: Host) -> None:
        done = subprocess.run(
            [*limpetSsh(sshd, "-q", "-p", "1"), "127.0.0.1", "true"],
            capture_output=True,
            env=environment(sshd),
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (OWN_FAILURE, b"")

    def test_a_server_that_goes_away(self, sshd: Host) -> None:
        with sleeping(sshd) as (process, command):
            # Without its command, whose end would be told.
            for pid in set(treeOf(sshd.server.pid)) - sshd.server.idle - {command}:
                os.kill(pid, signal.SIGKILL)
            _, said = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == OWN_FAILURE
            assert b"127.0.0.1" in said

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_signal_ends_it(self, sshd: Host, number: signal.Signals) -> None:
        with sleeping(sshd) as (process, _):
            process.send_signal(number)
            assert process.wait(PATIENCE_SECONDS) == OWN_FAILURE


class TestLetters:
    def test_n_reads_nothing(self, sshd: Host) -> None:
        assert run(sshd, "-n", sshd.destination, "cat", input=b"unread").stdout == b""

    def test_N_runs_nothing(self, sshd: Host) -> None:
        with started(sshd, "-N", "-v", sshd.destination) as process:
            assert process.stderr is not None
            assert any(b"logged in" in line for line in process.stderr)
            assert process.poll() is None
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == OWN_FAILURE

    @pytest.mark.parametrize(
        ("letters", "answer"),
        [([], b"not a tty\n"), (["-t"], b"not a tty\n"), (["-tt"], b"/dev/"), (["-T"], b"not")],
    )
    def test_t_and_T(self, sshd: Host, letters: list[str], answer: bytes) -> None:
        if answer == b"/dev/" and os.geteuid() != 0:
            pytest.skip("sshd gives no terminal where it cannot give it away")
        assert run(sshd, *letters, sshd.destination, "tty").stdout.startswith(answer)

    def test_v_tells_of_the_connection(self, sshd: Host) -> None:
        done = run(sshd, "-v", sshd.destination, "true")
        assert re.search(rb"logged in as .*aes.*OpenSSH", done.stderr)

    def test_E_puts_it_in_a_file(self, sshd: Host, tmp_path: Path) -> None:
        log = tmp_path / "log"
        done = run(sshd, "-v", "-E", str(log), sshd.destination, "true")
        assert (done.returncode, done.stderr) == (0, b"")
        assert "logged in" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600

    def test_V(self, sshd: Host) -> None:
        done = run(sshd, "-V")
        assert done.returncode == 0
        assert done.stderr.startswith(b"Limpet_")

    def test_C_compresses(self, server: Host) -> None:
        done = run(server, "-C", server.destination, "head -c 300000 /dev/zero")
        assert done.stdout == bytes(300000)

    @pytest.mark.parametrize(("letter", "host"), [("-4", "127.0.0.1"), ("-4", "localhost")])
    def test_4(self, sshd: Host, letter: str, host: str) -> None:
        alias = ["-o", "HostKeyAlias=127.0.0.1"]
        assert run(sshd, letter, *alias, f"{sshd.user}@{host}", "echo x").stdout == b"x\n"

    def test_6_finds_no_way_to_what_listens_on_4(self, sshd: Host) -> None:
        assert run(sshd, "-6", f"{sshd.user}@127.0.0.1", "true").returncode == OWN_FAILURE

    def test_b_binds(self, sshd: Host) -> None:
        done = run(sshd, "-b", "127.0.0.9", sshd.destination, "echo $SSH_CONNECTION")
        assert done.stdout.startswith(b"127.0.0.9 ")

    def test_l_and_o(self, sshd: Host) -> None:
        done = run(sshd, "-l", sshd.user, "-o", "SetEnv=LANG=xx", "127.0.0.1", "echo $LANG")
        assert done.stdout == b"xx\n"

    def test_F_reads_a_configuration(self, sshd: Host, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text(
            f"""
            Host web
                HostName 127.0.0.1
                Port {sshd.port}
                User {sshd.user}
                IdentityFile {sshd.work.clientKey}
                UserKnownHostsFile {sshd.knownHosts}
                SendEnv LC_WORDS
                RemoteCommand echo from the file $LC_WORDS
            """
        )
        done = subprocess.run(
            [*limpetSsh(sshd)[:4], "-F", str(config), "web"],
            capture_output=True,
            env=environment(sshd, LC_WORDS="and here"),
            timeout=60,
            check=False,
        )
        assert done.stdout == b"from the file and here\n"

    def test_J_goes_through_another(self, sshd: Host, work: Workplace, tmp_path: Path) -> None:
        """The jump host's own settings come from the file, as for ssh."""
        with running(work, name="openssh") as inner:
            known = tmp_path / "known_hosts"
            known.write_text(sshd.knownHosts.read_text() + inner.knownHosts.read_text())
            config = tmp_path / "config"
            config.write_text(
                f"""
                Host *
                    HostName 127.0.0.1
                    User {sshd.user}
                    IdentityFile {sshd.work.clientKey}
                    UserKnownHostsFile {known}
                Host jump
                    Port {sshd.port}
                Host inner
                    Port {inner.port}
                """
            )
            done = subprocess.run(
                [
                    *(*limpetSsh(sshd)[:4], "-F", str(config), "-J", "jump", "inner"),
                    "echo ${SSH_CONNECTION##* }",
                ],
                capture_output=True,
                env=environment(sshd),
                timeout=60,
                check=False,
            )
        assert done.stdout == b"%d\n" % inner.port

    def test_s_is_a_subsystem(self, work: Workplace) -> None:
        with running(work, name="limpet") as host:
            # SSH_FXP_INIT of version 3, and the server's answer.
            done = run(host, "-s", host.destination, "sftp", input=b"\0\0\0\5\1\0\0\0\3")
        assert done.stdout[4:9] == b"\2\0\0\0\3"

    def test_W_is_a_connection(self, sshd: Host) -> None:
        done = run(sshd, "-W", f"127.0.0.1:{sshd.port}", sshd.destination)
        assert done.stdout.startswith(b"SSH-2.0-OpenSSH")
        refused = run(sshd, "-W", "127.0.0.1:1", sshd.destination)
        assert refused.returncode == OWN_FAILURE
        assert b"refused" in refused.stderr

    def test_ssh_goes_through_W(self, sshd: Host) -> None:
        """As the ProxyCommand of OpenSSH's own client."""
        proxy = " ".join(limpetSsh(sshd, "-W", "%h:%p", sshd.destination))
        done = subprocess.run(
            [*sshd.sshCommand("-o", f"ProxyCommand={proxy}"), sshd.destination, "echo through"],
            capture_output=True,
            env=environment(sshd),
            timeout=60,
            check=False,
        )
        assert done.stdout == b"through\n"

    def test_f_leaves_it_in_the_background(self, sshd: Host, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        begun = time.monotonic()
        done = subprocess.run(
            [*limpetSsh(sshd, "-f"), sshd.destination, f"sleep 2; touch {mark}"],
            env=environment(sshd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        assert not mark.exists(), time.monotonic() - begun
        poll(mark.exists, 20, "what runs in the background")

    def test_Q_lists(self, sshd: Host) -> None:
        assert b"mlkem768x25519-sha256\n" in run(sshd, "-Q", "kex").stdout

    def test_G_prints_the_configuration(self, sshd: Host) -> None:
        assert b"\nport %d\n" % sshd.port in run(sshd, "-G", "web").stdout


class TestForwards:
    def test_L_R_and_D(self, sshd: Host) -> None:
        local, dynamic = freePort(), freePort()
        target = f"127.0.0.1:{sshd.port}"
        letters = ["-L", f"{local}:{target}", "-R", f"0:{target}", "-D", str(dynamic)]
        with started(sshd, *letters, sshd.destination, "echo go; cat") as process:
            assert process.stderr is not None
            assert process.stdout is not None
            chosen = re.search(rb"Allocated port (\d+)", process.stderr.readline())
            assert chosen is not None
            assert process.stdout.readline() == b"go\n"
            assert greeting(connected(local)).startswith(b"SSH-2.0-OpenSSH")
            assert greeting(connectedToChosen(int(chosen[1]))).startswith(b"SSH-2.0-OpenSSH")
            request = b"\5\1\0\5\1\0\1\x7f\0\0\1" + sshd.port.to_bytes(2, "big")
            assert b"SSH-2.0-OpenSSH" in greeting(connected(dynamic), request)

    def test_a_port_that_is_taken(self, sshd: Host) -> None:
        letters = ["-L", f"127.0.0.1:{sshd.port}:x:1"]
        done = run(sshd, *letters, sshd.destination, "echo on")
        assert (done.returncode, done.stdout) == (0, b"on\n")
        assert b"Address already in use" in done.stderr
        done = run(sshd, *letters, "-o", "ExitOnForwardFailure=yes", sshd.destination, "echo on")
        assert (done.returncode, done.stdout) == (OWN_FAILURE, b"")

    def test_a_connection_outlives_the_session(self, sshd: Host) -> None:
        local = freePort()
        letters = ["-L", f"{local}:127.0.0.1:{sshd.port}"]
        with started(sshd, *letters, sshd.destination, "echo go; cat") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            with socket.create_connection(("127.0.0.1", local), timeout=20) as through:
                assert through.recv(8) == b"SSH-2.0-"
                process.stdin.close()
                process.stdin = None
                assert process.stderr is not None
                assert b"still open" in process.stderr.readline()
                through.sendall(b"SSH-2.0-test\r\n")
                assert through.recv(8)
            assert process.wait(PATIENCE_SECONDS) == 0

    def test_A_lends_the_agent(self, sshd: Host, tmp_path: Path) -> None:
        requirePeer("ssh-agent")
        path = f"/tmp/limpet-agent-{os.getpid()}"
        agent = subprocess.Popen(
            [requirePeer("ssh-agent"), "-D", "-a", path], stdout=subprocess.DEVNULL
        )
        try:
            poll(lambda: os.path.exists(path), 20, "the agent")
            add = [requirePeer("ssh-add"), "-q", str(sshd.work.clientKey)]
            subprocess.run(add, env={"SSH_AUTH_SOCK": path}, check=True)
            for letters, status in ((["-A"], 0), ([], 2)):
                done = subprocess.run(
                    [
                        *limpetSsh(sshd, *letters, "-o", f"IdentityAgent={path}"),
                        *(sshd.destination, "ssh-add -l"),
                    ],
                    capture_output=True,
                    env=environment(sshd),
                    timeout=60,
                    check=False,
                )
                assert done.returncode == status, done.stderr
                assert (b"ED25519" in done.stdout) == (status == 0)
        finally:
            agent.terminate()
            agent.wait(PATIENCE_SECONDS)
            Path(path).unlink(missing_ok=True)


def greeting(connection: socket.socket, request: bytes = b"") -> bytes:
    """What is said first at a connection, after a request; it is closed."""
    with connection:
        connection.sendall(request)
        found = b""
        while b"OpenSSH" not in found:
            piece = connection.recv(1000)
            if not piece:
                break
            found += piece
        return found


def test_in_the_background_names_are_looked_up(sshd: Host, tmp_path: Path) -> None:
    """The threads that looked up the host's name were the parent's."""
    port, mark = freePort(), tmp_path / "log"
    with socket.socket() as far:
        far.bind(("127.0.0.1", 0))
        far.listen()
        target = far.getsockname()[1]
        done = subprocess.run(
            [
                *limpetSsh(sshd, "-f", "-N", "-4", "-E", str(mark), "-o", "HostName=localhost"),
                *("-o", f"HostKeyAlias=[127.0.0.1]:{sshd.port}"),
                *("-R", f"127.0.0.1:{port}:localhost:{target}", sshd.destination),
            ],
            env=environment(sshd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, mark.read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far.settimeout(10)
                reached, _ = far.accept()
                with reached:
                    reached.sendall(b"here")
                    assert near.recv(100) == b"here"
        finally:
            for pid in withArgument(str(mark)):
                os.kill(pid, signal.SIGTERM)


def withArgument(argument: str) -> list[int]:
    """The processes that were started with an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if argument in path.read_text("utf-8", "surrogateescape").split("\0"):
                found.append(int(path.parent.name))
    return found


class TestTools:
    """Programs that start `ssh` themselves take `limpet ssh` in its place."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        source = tmp_path / "source"
        source.mkdir()
        for number in range(50):
            (source / f"file{number}").write_bytes(os.urandom(number * 1000))
        return source

    @staticmethod
    def contents(tree: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tree.iterdir()}

    def run(self, host: Host, *command: str, **more: str) -> None:
        subprocess.run(
            command,
            env=environment(host, **more),
            timeout=60,
            check=True,
            stdin=subprocess.DEVNULL,
        )

    def test_rsync(self, sshd: Host, tree: Path, tmp_path: Path) -> None:
        rsync = [requirePeer("rsync"), "-a", "-e", " ".join(limpetSsh(sshd))]
        self.run(sshd, *rsync, f"{tree}/", f"127.0.0.1:{tmp_path}/there/")
        self.run(sshd, *rsync, f"127.0.0.1:{tmp_path}/there/", f"{tmp_path}/back/")
        assert self.contents(tmp_path / "back") == self.contents(tree)

    def test_git(self, sshd: Host, tmp_path: Path) -> None:
        """git asks by -G whether it is an ssh that it knows."""
        git = requirePeer("git")
        more = {"GIT_SSH_COMMAND": " ".join(limpetSsh(sshd)), "GIT_CONFIG_GLOBAL": os.devnull}
        there = tmp_path / "there"
        self.run(sshd, git, "init", "-q", str(there))
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        self.run(
            sshd, git, "-C", str(there), *author, "commit", "-q", "--allow-empty", "-m", "first"
        )
        url = f"ssh://{sshd.user}@127.0.0.1:{sshd.port}{there}"
        self.run(sshd, git, "clone", "-q", url, str(tmp_path / "here"), **more)
        assert (tmp_path / "here" / ".git").is_dir()

    def test_scp(self, sshd: Host, tree: Path, tmp_path: Path) -> None:
        program = tmp_path / "ssh"
        program.write_text(f'#!/bin/sh\nexec {" ".join(limpetSsh(sshd))} "$@"\n')
        program.chmod(0o700)
        scp = [requirePeer("scp"), "-O", "-q", "-r", "-S", str(program)]
        self.run(sshd, *scp, f"127.0.0.1:{tree}", f"{tmp_path}/copy")
        assert self.contents(tmp_path / "copy") == self.contents(tree)
