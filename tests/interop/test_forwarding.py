"""OpenSSH's client through limpet serve: bulk, half-close, many at a time, jumps, and refusals."""

from __future__ import annotations

import copy
import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.servers import Workplace, freePort
from tests.interop.farEnds import (
    BLOCK,
    MANY,
    MEBIBYTE,
    SECONDS,
    SIZE,
    Counter,
    UnixFar,
    connected,
    counting,
    digest,
    talk,
)
from tests.interop.forwardings import (
    BulkTests,
    CrowdTests,
    Forward,
    checkChosenPort,
    checkProxy,
    checkStandardStreams,
    far,
    untilReady,
)
from tests.interop.host import IS_LIMPET, Host, poll, running
from tests.interop.peers import requirePeer

__all__ = ["far"]

ARGUMENTS = ("--allow-forwarding", "local,remote,unix") if IS_LIMPET else ()


@pytest.fixture(scope="module")
def farSocket() -> Iterator[Path]:
    """The path of a `Counter`; it has to be short."""
    path = Path(f"/tmp/limpet-far-{os.getpid()}")
    path.unlink(missing_ok=True)
    with counting(UnixFar(str(path), Counter)):
        yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def sharedHost(work: Workplace) -> Iterator[Host]:
    with running(work, *ARGUMENTS) as host:
        yield host


def loud(host: Host, *options: str) -> list[str]:
    """`ssh` that says why something is refused; of two options of a name the first one counts."""
    ssh, *others = host.sshCommand(*options)
    return [ssh, "-o", "LogLevel=INFO", *others, host.destination]


@contextmanager
def forwarding(host: Host, *options: str, ready: int | Path) -> Iterator[None]:
    """An `ssh -N` with these options, once what it forwards can be connected to."""
    with host.sshProcess("-N", "-o", "ExitOnForwardFailure=yes", *options):
        untilReady(ready)
        yield


@pytest.fixture
def forward(host: Host) -> Forward:
    return functools.partial(forwarding, host)


@pytest.fixture
def many() -> int:
    return MANY


class TestCrowd(CrowdTests):
    """Also through this server."""


class TestBulk(BulkTests):
    def test_local_to_a_socket(self, host: Host, farSocket: Path) -> None:
        port = freePort()
        with (
            forwarding(host, "-L", f"{port}:{farSocket}", ready=port),
            connected(port) as connection,
        ):
            talk(connection, SIZE, SIZE)

    def test_remote_socket(self, host: Host, far: int) -> None:
        path = Path(f"/tmp/limpet-remote-{os.getpid()}")
        with forwarding(host, "-R", f"{path}:127.0.0.1:{far}", ready=path):
            assert path.stat().st_mode & 0o777 == 0o600
            with connected(path) as connection:
                talk(connection, SIZE, SIZE)
        poll(lambda: not path.exists() or not IS_LIMPET, 10.0, "the socket's removal")
        path.unlink(missing_ok=True)

    def test_standard_input_and_output(self, host: Host, far: int) -> None:
        checkStandardStreams([*host.sshCommand("-W", f"127.0.0.1:{far}"), host.destination])


def test_keys_are_exchanged_meanwhile(host: Host, far: int) -> None:
    port = freePort()
    limit = ("-o", "RekeyLimit=1M")
    with (
        forwarding(host, "-L", f"{port}:127.0.0.1:{far}", *limit, ready=port),
        connected(port) as connection,
    ):
        talk(connection, SIZE, SIZE)


@pytest.mark.parametrize("way", ["-L", "-R"])
def test_a_far_end_that_does_not_read_costs_no_memory(host: Host, way: str) -> None:
    """What a program pours in is held back at the program, not in the server."""
    host.ssh("true")
    before = host.residentBytes()
    port = freePort()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        target = listening.getsockname()[1]
        with (
            forwarding(host, way, f"{port}:127.0.0.1:{target}", ready=port),
            connected(port) as connection,
        ):
            poured = pour(connection)
            host.waitUntilNothingMoves()
            assert poured < 200 * MEBIBYTE
            assert host.residentBytes() - before < 32 * MEBIBYTE


def pour(connection: socket.socket) -> int:
    """Send until nothing more is taken; how much that was."""
    poured = 0
    connection.settimeout(1.0)
    try:
        while poured < 200 * MEBIBYTE:
            poured += connection.send(BLOCK)
    except TimeoutError:
        pass
    return poured


def test_nc_that_ends_its_direction(host: Host, far: int) -> None:
    nc = requirePeer("nc")
    port = freePort()
    with forwarding(host, "-L", f"{port}:127.0.0.1:{far}", ready=port):
        done = subprocess.run(
            [nc, "-N", "127.0.0.1", str(port)],
            input=b"0\n" + BLOCK,
            capture_output=True,
            timeout=SECONDS,
        )
    assert done.stdout == b"%d %s\n" % (MEBIBYTE, digest(MEBIBYTE))


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_curl_through_the_proxy(forward: Forward, scheme: str) -> None:
    checkProxy(forward, scheme)


def test_jump_by_way_of_two_hosts(host: Host) -> None:
    jumps = ",".join(f"{host.user}@{name}:{host.port}" for name in ("first", "second"))
    config = host.work.directory / "jump_config"
    # Options on the command line do not hold for the jump hosts; a file's do.
    config.write_text(
        "Host first second\n  HostName 127.0.0.1\n"
        f"Host *\n  IdentityFile {host.work.clientKey}\n  IdentitiesOnly yes\n"
        f"  IdentityAgent none\n  BatchMode yes\n  UserKnownHostsFile {host.knownHosts}\n"
        "  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
    )
    ssh = requirePeer("ssh")
    done = subprocess.run(
        [
            ssh,
            "-F",
            str(config),
            "-J",
            jumps,
            "-p",
            str(host.port),
            host.destination,
            "head -c 5000000 /dev/zero | wc -c; cat",
        ],
        input=BLOCK,
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.stderr == b""
    assert done.stdout == b"5000000\n" + BLOCK


def test_the_port_that_the_server_chooses(host: Host, far: int) -> None:
    checkChosenPort(loud(host, "-N", "-R", f"0:127.0.0.1:{far}"))


def test_a_forwarding_that_is_cancelled(host: Host, far: int) -> None:
    port = freePort()
    with host.master() as through:
        ssh = [*host.sshCommand(through), "-O"]
        for action, works in (("forward", True), ("cancel", False), ("forward", True)):
            subprocess.run(
                [*ssh, action, "-R", f"{port}:127.0.0.1:{far}", host.destination],
                check=True,
                timeout=20,
            )
            if works:
                with connected(port) as connection:
                    talk(connection, 1000, 1000)
            else:
                # `ssh -O cancel` does not wait for the server.
                poll(lambda: not isTaken(port), 10.0, "the end of the listener")


def isTaken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(not IS_LIMPET, reason="sshd listens on what is left")
def test_a_port_that_is_taken(host: Host, far: int) -> None:
    done = subprocess.run(
        [
            *host.sshCommand("-N", "-o", "ExitOnForwardFailure=yes", "-R", f"{far}:127.0.0.1:1"),
            host.destination,
        ],
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 255
    assert b"remote port forwarding failed" in done.stderr


# ── who may not ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not IS_LIMPET, reason="about limpet serve's own log and settings")
class TestRefusals:
    def test_one_line_and_a_reason(self, host: Host) -> None:
        before = host.logText()
        port = freePort()
        done = subprocess.run(
            loud(host, "-W", f"127.0.0.1:{port}"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
        assert done.returncode == 255
        assert b"Connection refused" in done.stderr
        lines = host.logText()[len(before) :].splitlines()
        told = [line for line in lines if f"port {port}" in line]
        assert len(told) == 1
        assert "info" in told[0]

    @pytest.mark.parametrize(
        ("arguments", "target", "reason"),
        [
            ((), "127.0.0.1:{far}", b"administratively prohibited"),
            (("--allow-forwarding", "remote"), "127.0.0.1:{far}", b"administratively prohibited"),
            (
                ("--allow-forwarding", "local", "--permit-open", "192.0.2.1:*"),
                "127.0.0.1:{far}",
                b"administratively prohibited",
            ),
            (
                (
                    "--allow-forwarding",
                    "local",
                    "--permit-open",
                    "*:*",
                    "--permit-open",
                    "!127.0.0.0/8:*",
                ),
                "127.1:{far}",
                b"administratively prohibited",
            ),
            (
                (
                    "--allow-forwarding",
                    "local",
                    "--permit-open",
                    "*:*",
                    "--permit-open",
                    "!127.0.0.0/8:*",
                ),
                "[::ffff:127.0.0.1]:{far}",
                b"administratively prohibited",
            ),
            (
                (
                    "--allow-forwarding",
                    "local",
                    "--permit-open",
                    "*:*",
                    "--permit-open",
                    "!127.0.0.0/8:*",
                ),
                "0.0.0.0:{far}",
                b"administratively prohibited",
            ),
        ],
    )
    def test_G10_where_a_client_may_not_go(
        self, work: Workplace, far: int, arguments: tuple[str, ...], target: str, reason: bytes
    ) -> None:
        with running(work, *arguments) as host:
            done = subprocess.run(
                loud(host, "-W", target.format(far=far)),
                input=b"0\n",
                capture_output=True,
                timeout=SECONDS,
            )
            assert done.returncode == 255
            assert reason in done.stderr
            assert done.stdout == b""
            refusals = [line for line in host.logText().splitlines() if "refused" in line]
            assert len(refusals) == 1, host.logText()

    @pytest.mark.parametrize(
        ("options", "isAllowed"),
        [
            ('permitopen="127.0.0.1:{far}"', True),
            ('permitopen="127.0.0.1:*"', True),
            ('permitopen="127.0.0.1:1"', False),
            ('permitopen="127.0.0.2:*"', False),
            ("no-port-forwarding", False),
            ("restrict", False),
            ("restrict,port-forwarding", True),
        ],
    )
    def test_G12_what_a_key_allows(
        self, work: Workplace, far: int, tmp_path: Path, options: str, isAllowed: bool
    ) -> None:
        key = work.clientKey.with_suffix(".pub").read_text()
        keys = tmp_path / "keys"
        keys.write_text(f"{options.format(far=far)} {key}")
        with runningWithKeys(work, keys) as host:
            done = subprocess.run(
                [*host.sshCommand("-W", f"127.0.0.1:{far}"), host.destination],
                input=b"0\nabc",
                capture_output=True,
                timeout=SECONDS,
            )
            assert (done.returncode == 0) is isAllowed
            assert done.stdout.startswith(b"3 ") is isAllowed

    @pytest.mark.parametrize(
        ("options", "isAllowed"),
        [
            ('permitlisten="localhost:*"', True),
            ('permitlisten="1"', False),
            ("no-port-forwarding", False),
        ],
    )
    def test_G12_where_a_key_may_listen(
        self, work: Workplace, far: int, tmp_path: Path, options: str, isAllowed: bool
    ) -> None:
        key = work.clientKey.with_suffix(".pub").read_text()
        keys = tmp_path / "keys"
        keys.write_text(f"{options} {key}")
        with runningWithKeys(work, keys) as host:
            port = freePort()
            done = host.ssh(
                "echo here", "-o", "ExitOnForwardFailure=yes", "-R", f"{port}:127.0.0.1:{far}"
            )
            assert (done.stdout == b"here\n") is isAllowed

    def test_X11_is_refused_in_words(self, host: Host) -> None:
        before = len(host.logText())
        environment = {**os.environ, "DISPLAY": ":99"}
        done = subprocess.run(
            [*loud(host, "-X"), "echo $DISPLAY"],
            capture_output=True,
            timeout=SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        assert done.stdout == b"\n"
        if shutil.which("xauth"):
            assert b"X11 forwarding request failed" in done.stderr
            assert "X11 is not forwarded here" in host.logText()[before:]


@contextmanager
def runningWithKeys(work: Workplace, keys: Path) -> Iterator[Host]:
    """A server that lets in by these keys."""
    keys.chmod(0o600)
    other = copy.copy(work)
    other.authorizedKeys = keys
    with running(other, *ARGUMENTS) as host:
        yield host
