"""Other people's clients: plink, dbclient, AsyncSSH, Paramiko, Conch's own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from limpet.ssh.keys import Key, createKeyFiles
from tests.interop.host import IS_LIMPET, Host, environmentFor
from tests.interop.peers import requireModule, requirePeer

CLIENT_SECONDS = 60.0
DATA = os.urandom(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
Result = TypeVar("Result")


def fingerprint(host: Host) -> str:
    command = [requirePeer("ssh-keygen"), "-lf", str(host.work.hostKey.with_suffix(".pub"))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


def runTool(host: Host, command: list[str], data: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run a client with a HOME of its own: (status, output, error output)."""
    done = subprocess.run(
        command,
        input=data,
        capture_output=True,
        timeout=CLIENT_SECONDS,
        env=environmentFor(host),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def plink(host: Host, tmp_path: Path) -> list[str]:
    key = tmp_path / "key.ppk"
    command = [requirePeer("puttygen"), str(host.work.clientKey), "-O", "private", "-o", str(key)]
    subprocess.run(command, check=True, timeout=CLIENT_SECONDS, env=environmentFor(host))
    return [
        *(requirePeer("plink"), "-ssh", "-batch", "-noagent", "-P", str(host.port)),
        *("-i", str(key), "-hostkey", fingerprint(host), host.destination),
    ]


@pytest.fixture
def dbclient(host: Host, tmp_path: Path) -> list[str]:
    key = tmp_path / "key.dropbear"
    convert = [requirePeer("dropbearconvert"), "openssh", "dropbear", str(host.work.clientKey)]
    subprocess.run([*convert, str(key)], check=True, capture_output=True, timeout=CLIENT_SECONDS)
    return [
        *(requirePeer("dbclient"), "-y", "-T", "-p", str(host.port), "-i", str(key)),
        host.destination,
    ]


@pytest.fixture
def conch(host: Host) -> list[str]:
    requireModule("twisted.conch")
    program = Path(__file__).with_name("conchClient.py")
    keys = [str(host.work.clientKey), str(host.knownHosts)]
    return [sys.executable, str(program), str(host.port), host.user, *keys]


@pytest.mark.parametrize("client", ["plink", "dbclient", "conch"])
class TestPrograms:
    @pytest.fixture
    def command(self, client: str, request: pytest.FixtureRequest) -> list[str]:
        command: list[str] = request.getfixturevalue(client)
        return command

    def test_output_and_status(self, host: Host, command: list[str], client: str) -> None:
        status, out, err = runTool(host, [*command, "echo out; echo err >&2; exit 3"])
        assert (status, out) == (3, b"out\n")
        assert client == "conch" or b"err\n" in err  # Conch's endpoint drops error output

    def test_three_megabytes_both_ways(self, host: Host, command: list[str], client: str) -> None:
        status, out, _ = runTool(host, [*command, "sha256sum; exit 7"], DATA)
        assert (status, out.split()[:1]) == (7, [DIGEST.encode()])
        source = host.work.directory / "three-megabytes"
        source.write_bytes(DATA)
        status, out, _ = runTool(host, [*command, f"cat {source}"])
        assert (status, hashlib.sha256(out).hexdigest()) == (0, DIGEST)


def test_plink_hears_every_status(host: Host, plink: list[str]) -> None:
    # It closes the channel when it has heard EOF: the status has to be on its way by then.
    for _ in range(20):
        assert runTool(host, [*plink, "sha256sum; exit 7"], DATA)[0] == 7


def test_plink_with_a_terminal(host: Host, plink: list[str]) -> None:
    _, out, _ = runTool(host, [*plink[:-1], "-t", plink[-1], "tty && stty size && echo $TERM"])
    assert out.startswith(b"/dev/")


def test_conchs_command_line_client(host: Host) -> None:
    command = [
        *(requirePeer("conch"), "-T", "-p", str(host.port), "-l", host.user),
        *("-i", str(host.work.clientKey), "--known-hosts", str(host.knownHosts)),
        *("127.0.0.1", "echo out; exit 3"),
    ]
    # Its input stays open: at the end of input it stops listening for output.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environmentFor(host)
    ) as client:
        try:
            assert client.wait(CLIENT_SECONDS) == 3
        finally:
            client.kill()
        assert client.stdout
        assert client.stdout.read() == b"out\n"


class TestParamiko:
    @pytest.fixture
    def connection(self, host: Host) -> Any:
        paramiko = requireModule("paramiko")
        client = paramiko.SSHClient()
        client.load_host_keys(str(host.knownHosts))
        client.connect(
            "127.0.0.1",
            host.port,
            host.user,
            key_filename=str(host.work.clientKey),
            allow_agent=False,
            look_for_keys=False,
            timeout=CLIENT_SECONDS,
        )
        yield client
        client.close()

    def test_output_and_status(self, connection: Any) -> None:
        stdin, stdout, stderr = connection.exec_command(
            "echo out; echo err >&2; exit 3", timeout=CLIENT_SECONDS
        )
        assert (stdout.read(), stderr.read()) == (b"out\n", b"err\n")
        assert stdout.channel.recv_exit_status() == 3
        stdin.close()

    def test_three_megabytes_both_ways(self, connection: Any) -> None:
        stdin, stdout, _ = connection.exec_command("cat", timeout=CLIENT_SECONDS)
        received = bytearray()
        for start in range(0, len(DATA), 30_000):
            piece = DATA[start : start + 30_000]
            stdin.write(piece)
            stdin.flush()
            received += stdout.read(len(piece))
        stdin.channel.shutdown_write()
        received += stdout.read()
        assert hashlib.sha256(received).hexdigest() == DIGEST
        assert stdout.channel.recv_exit_status() == 0

    def test_a_shell_with_a_terminal_and_a_resize(self, connection: Any) -> None:
        channel = connection.invoke_shell("vt100", width=91, height=31)
        channel.settimeout(CLIENT_SECONDS)
        channel.sendall(b"stty size\n")
        self.readUntil(channel, b"31 91\r\n")
        channel.resize_pty(width=120, height=44)
        channel.sendall(b"stty size\nexit 4\n")
        self.readUntil(channel, b"44 120\r\n")
        assert channel.recv_exit_status() == 4

    def test_several_attempts_on_one_connection(self, host: Host, tmp_path: Path) -> None:
        # It asks for the service anew before each of them.
        paramiko = requireModule("paramiko")
        client = paramiko.SSHClient()
        client.load_host_keys(str(host.knownHosts))
        wrong = [str(tmp_path / f"wrong{number}") for number in range(2)]
        for path in wrong:
            createKeyFiles(Key.generate(), path)
        client.connect(
            "127.0.0.1",
            host.port,
            host.user,
            key_filename=[*wrong, str(host.work.clientKey)],
            allow_agent=False,
            look_for_keys=False,
            timeout=CLIENT_SECONDS,
        )
        client.close()

    @staticmethod
    def readUntil(channel: Any, text: bytes) -> None:
        seen = b""
        while text not in seen:
            data = channel.recv(65536)
            assert data, seen
            seen += data

    def test_ten_channels_at_once(self, connection: Any) -> None:
        channels = []
        for number in range(10):
            channel = connection.get_transport().open_session(timeout=CLIENT_SECONDS)
            channel.settimeout(CLIENT_SECONDS)
            channel.exec_command(f"read x; echo {number}$x; exit {number}")
            channels.append(channel)
        for number, channel in reversed(list(enumerate(channels))):
            channel.sendall(b"x\n")
            assert channel.makefile("rb").read() == b"%dx\n" % number
            assert channel.recv_exit_status() == number


class TestAsyncSSH:
    def inside(
        self, host: Host, conversation: Callable[[Any], Awaitable[Result]], **options: Any
    ) -> Result:
        """Run the conversation on a connection of AsyncSSH and give its result."""
        asyncssh = requireModule("asyncssh")

        async def run() -> Result:
            async with asyncssh.connect(
                "127.0.0.1",
                host.port,
                username=host.user,
                client_keys=[str(host.work.clientKey)],
                known_hosts=str(host.knownHosts),
                agent_path=None,
                config=None,
                **options,
            ) as connection:
                return await conversation(connection)

        return asyncio.run(asyncio.wait_for(run(), CLIENT_SECONDS))

    def test_output_and_status(self, host: Host) -> None:
        async def conversation(connection: Any) -> Any:
            return await connection.run("echo out; echo err >&2; exit 3")

        result = self.inside(host, conversation)
        assert (result.exit_status, result.stdout, result.stderr) == (3, "out\n", "err\n")

    def test_three_megabytes_both_ways(self, host: Host) -> None:
        async def conversation(connection: Any) -> Any:
            return await connection.run("cat", input=DATA, encoding=None)

        assert hashlib.sha256(self.inside(host, conversation).stdout).hexdigest() == DIGEST

    @pytest.mark.parametrize("name", ["TERM", "KILL", "HUP", "SEGV"])
    def test_a_killed_child_reports_its_signal(self, host: Host, name: str) -> None:
        async def conversation(connection: Any) -> Any:
            return await connection.run(f"echo before; kill -{name} $$; sleep 60")

        result = self.inside(host, conversation)
        assert result.exit_signal[0] == name
        assert result.stdout == "before\n"

    @pytest.mark.skipif(not IS_LIMPET, reason="sshd 9.2 signals only what it finds")
    def test_the_client_can_signal_the_child(self, host: Host) -> None:
        async def conversation(connection: Any) -> Any:
            process = await connection.create_process("echo go; exec sleep 60")
            await process.stdout.readline()
            process.send_signal("INT")
            return await process.wait()

        assert self.inside(host, conversation).exit_signal[0] == "INT"

    def test_a_terminal_that_changes_size(self, host: Host) -> None:
        async def conversation(connection: Any) -> Any:
            process = await connection.create_process(
                "stty size; read x; stty size; exit 2", term_type="vt100", term_size=(91, 31)
            )
            first = await process.stdout.readline()
            process.change_terminal_size(120, 44)
            process.stdin.write("\n")
            rest = await process.stdout.read()
            return first, rest, (await process.wait()).exit_status

        first, rest, status = self.inside(host, conversation)
        assert (first.strip(), rest.split()[-2:], status) == ("31 91", ["44", "120"], 2)

    @pytest.mark.parametrize(
        "kex",
        [
            *("mlkem768x25519-sha256", "curve25519-sha256", "ecdh-sha2-nistp256"),
            *("ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        ],
    )
    def test_key_exchange(self, host: Host, kex: str) -> None:
        if kex.startswith("mlkem") and not IS_LIMPET:
            pytest.skip("sshd 9.2 has no ML-KEM")

        async def conversation(connection: Any) -> Any:
            return (await connection.run("echo yes")).stdout

        assert self.inside(host, conversation, kex_algs=[kex]) == "yes\n"

    def test_rekeying_from_the_client_every_100_kilobytes(self, host: Host) -> None:
        async def conversation(connection: Any) -> Any:
            return await connection.run("cat", input=DATA, encoding=None)

        result = self.inside(host, conversation, rekey_bytes=100_000)
        assert hashlib.sha256(result.stdout).hexdigest() == DIGEST

    def test_a_hundred_sessions_at_once_on_ten_connections(self, host: Host) -> None:
        async def conversation(connection: Any) -> list[tuple[int, str]]:
            async def session(number: int) -> tuple[int, str]:
                done = await connection.run(
                    f"head -c {number * 1000} /dev/zero | wc -c; exit {number}"
                )
                return done.exit_status, done.stdout.strip()

            return await asyncio.gather(*(session(number) for number in range(10)))

        for _ in range(10):
            results = self.inside(host, conversation)
            assert results == [(number, str(number * 1000)) for number in range(10)]
