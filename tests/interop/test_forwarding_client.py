"""limpet ssh through the servers of others: the forwardings that OpenSSH's client has."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

import limpet.aio
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
    connectedToChosen,
    counting,
    talk,
    throughSocks,
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
from tests.interop.host import Host, running
from tests.interop.limpetssh import environment, limpetSsh
from tests.interop.peers import requirePeer
from tests.interop.test_client_peers import serving

__all__ = ["far"]

ANY_KEY = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=none")


@pytest.fixture(scope="module", params=["openssh", "dropbear", "limpet"])
def sharedHost(request: pytest.FixtureRequest, work: Workplace) -> Iterator[Host]:
    with ExitStack() as stack:
        if request.param == "dropbear":
            requirePeer("dropbear")
            yield Host(work, stack.enter_context(serving("client-dropbear", work)))
        elif request.param == "limpet":
            arguments = ("--allow-forwarding", "local,remote,unix")
            yield stack.enter_context(running(work, *arguments, name="limpet"))
        else:
            yield stack.enter_context(running(work, name="openssh"))


@pytest.fixture
def host(sharedHost: Host) -> Host:
    """The module's server, which runs."""
    assert sharedHost.server.process.poll() is None, sharedHost.logText()
    return sharedHost


@contextmanager
def forwarding(host: Host, *options: str, ready: int | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `limpet ssh -N` with these options, once what it forwards can be connected to."""
    process = subprocess.Popen(
        [
            *limpetSsh(host, *ANY_KEY, "-N", "-o", "ExitOnForwardFailure=yes", *options),
            host.destination,
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(host),
        start_new_session=True,
    )

    def isAlive() -> None:
        if process.poll() is not None and process.stderr:
            raise AssertionError(process.stderr.read())

    try:
        untilReady(ready, isAlive)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
        if process.stderr:
            process.stderr.close()


def run(
    host: Host, *options: str, command: str = "", input: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """`limpet ssh` with these options, to its end."""
    return subprocess.run(
        [*limpetSsh(host, *ANY_KEY, *options), host.destination, *([command] if command else [])],
        input=input,
        capture_output=True,
        timeout=SECONDS,
        env=environment(host),
        start_new_session=True,
    )


def isClosed(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def hasSockets(host: Host) -> bool:
    """Whether the server forwards Unix sockets."""
    return "dropbear" not in host.server.name


@pytest.fixture
def forward(host: Host) -> Forward:
    return functools.partial(forwarding, host)


@pytest.fixture
def many(host: Host) -> int:
    return 40 if "dropbear" in host.server.name else MANY


class TestCrowd(CrowdTests):
    """Also by this client."""


class TestBulk(BulkTests):
    def test_remote_dynamic(self, host: Host, far: int) -> None:
        port = freePort()
        with (
            forwarding(host, "-R", str(port), ready=port),
            throughSocks(port, far) as connection,
        ):
            talk(connection, SIZE, SIZE)

    def test_sockets(self, host: Host) -> None:
        if not hasSockets(host):
            pytest.skip("Dropbear's server forwards no Unix sockets")
        here, there, path = (Path(f"/tmp/limpet-{name}-{os.getpid()}") for name in "abc")
        for each in (here, there, path):
            each.unlink(missing_ok=True)
        with (
            counting(UnixFar(str(path), Counter)),
            forwarding(host, "-L", f"{here}:{path}", "-R", f"{there}:{path}", ready=here),
        ):
            for each in (here, there):
                with connected(each) as connection:
                    talk(connection, SIZE // 4, SIZE // 4)
        for each in (here, there, path):
            each.unlink(missing_ok=True)

    def test_standard_input_and_output(self, host: Host, far: int) -> None:
        command = [*limpetSsh(host, *ANY_KEY, "-W", f"127.0.0.1:{far}"), host.destination]
        checkStandardStreams(command, env=environment(host), start_new_session=True)


def test_several_at_once_and_a_command(host: Host, far: int) -> None:
    """Forwardings stand before the command runs, and end with it."""
    ports = [freePort() for _ in range(3)]
    forwards = [word for port in ports[:2] for word in ("-L", f"{port}:127.0.0.1:{far}")]
    command = " && ".join(f"(echo 0; echo abc) | nc -N 127.0.0.1 {port}" for port in ports[2:])
    requirePeer("nc")
    done = run(host, *forwards, "-R", f"{ports[2]}:127.0.0.1:{far}", command=command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"4 ")
    for port in ports:
        with pytest.raises(OSError):
            connected(port)


def test_the_port_that_the_server_chooses(host: Host, far: int) -> None:
    command = [*limpetSsh(host, *ANY_KEY, "-N", "-R", f"0:127.0.0.1:{far}"), host.destination]
    checkChosenPort(command, env=environment(host))


@pytest.mark.parametrize("way", ["-L", "-R"])
def test_a_port_that_is_taken(host: Host, far: int, way: str) -> None:
    taken = f"127.0.0.1:{far}:127.0.0.1:1"
    done = run(host, "-o", "ExitOnForwardFailure=yes", way, taken, command="echo here")
    if way == "-R" and "dropbear" in host.server.name and done.returncode == 0:
        pytest.skip("this Dropbear takes a port twice")
    assert done.returncode == 255
    assert done.stdout == b""
    assert f"port {far}".encode() in done.stderr
    done = run(host, way, taken, command="echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n")
    assert f"port {far}".encode() in done.stderr


def test_a_target_that_refuses_is_told(host: Host) -> None:
    port, nobody = freePort(), freePort()
    with forwarding(
        host, "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:127.0.0.1:{nobody}", ready=port
    ) as process:
        with connected(port) as connection, suppress(ConnectionError):
            assert connection.recv(1) == b""
        assert process.stderr
        assert b"not made" in process.stderr.readline()


def test_jump_by_way_of_two_hosts(host: Host) -> None:
    config = host.work.directory / "limpet_jump_config"
    config.write_text(
        f"Host first second last\n  HostName 127.0.0.1\n  Port {host.port}\n  User {host.user}\n"
        f"  IdentityFile {host.work.clientKey}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        "  BatchMode yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n"
        "Host last\n  ProxyJump first,second\n"
    )
    command = [
        *limpetSsh(host)[:4],
        "-F",
        str(config),
        "last",
        "head -c 5000000 /dev/zero | wc -c; cat",
    ]
    done = subprocess.run(
        command, input=BLOCK, capture_output=True, timeout=SECONDS, env=environment(host)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"5000000\n" + BLOCK


@pytest.mark.parametrize("scheme", ["socks4", "socks5h"])
def test_curl_through_the_proxy(forward: Forward, scheme: str) -> None:
    checkProxy(forward, scheme)


def test_plain_asyncio(host: Host, far: int) -> None:
    """`limpet.aio` forwards both ways; what listens here ends with the connection."""
    ports: list[int] = []

    async def main() -> None:
        connecting = limpet.aio.connect(
            "127.0.0.1",
            port=host.port,
            user=host.user,
            keys=[host.work.clientKey],
            host_keys=lambda *_: True,
            config_files=(),
            only=True,
        )
        async with connecting as client:
            local = await client.forward_local(f"0:127.0.0.1:{far}")
            socks = await client.forward_socks("0")
            remote = await client.forward_remote(f"0:127.0.0.1:{far}")
            ports.extend((local.port, socks.port, remote.port))
            for forward in (local, remote):
                with await asyncio.to_thread(connectedToChosen, forward.port) as connection:
                    await asyncio.to_thread(talk, connection, MEBIBYTE, MEBIBYTE)
            with await asyncio.to_thread(throughSocks, socks.port, far) as connection:
                await asyncio.to_thread(talk, connection, MEBIBYTE, MEBIBYTE)
            await remote.close()

    asyncio.run(asyncio.wait_for(main(), SECONDS))
    # What listened here is gone. What the server listened on is the server's business.
    assert isClosed(ports[0])
    assert isClosed(ports[1])
