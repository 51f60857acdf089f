"""What forwardings have to do, whoever's client asks for them and whoever's server makes them.

A module with these tests gives them two fixtures: `forward`, which runs a client with some options
for the time of a block, and `many`, the connections that its server takes at a time.
"""

from __future__ import annotations

import hashlib
import re
import socket
import socketserver
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Any, Protocol

import pytest

from benchmarks.servers import freePort
from tests.interop.farEnds import (
    BLOCK,
    MEBIBYTE,
    SECONDS,
    SIZE,
    Counter,
    TcpFar,
    connected,
    connectedToChosen,
    counting,
    digest,
    talk,
    throughSocks,
)
from tests.interop.host import poll
from tests.interop.peers import requirePeer


class Forward(Protocol):
    """Runs a client."""

    def __call__(self, *options: str, ready: int | Path) -> AbstractContextManager[Any]:
        """Run it with these options; the block begins when `ready` can be connected to."""


@pytest.fixture(scope="module")
def far() -> Iterator[int]:
    """The port of a `Counter`."""
    server = TcpFar(("127.0.0.1", 0), Counter)
    with counting(server):
        yield server.server_address[1]


def untilReady(ready: int | Path, check: Callable[[], object] = lambda: None) -> None:
    """Wait until what a client forwards can be connected to.

    Args:
        ready: A port of this machine, or a socket.
        check: Called between the attempts; raises where there is nothing to wait for.
    """

    def answers() -> bool:
        check()
        try:
            connected(ready).close()
        except OSError:
            return False
        return True

    poll(answers, 20.0, "the forwarding")


class BulkTests:
    """Much data, both ways at once, and each direction ended by itself."""

    def test_local(self, forward: Forward, far: int) -> None:
        port = freePort()
        with (
            forward("-L", f"{port}:localhost:{far}", ready=port),
            connected(port) as connection,
        ):
            talk(connection, SIZE, SIZE)

    def test_remote(self, forward: Forward, far: int) -> None:
        port = freePort()
        with (
            forward("-R", f"{port}:127.0.0.1:{far}", ready=port),
            connected(port) as connection,
        ):
            talk(connection, SIZE, SIZE)

    def test_dynamic(self, forward: Forward, far: int) -> None:
        port = freePort()
        with (
            forward("-D", str(port), ready=port),
            throughSocks(port, far) as connection,
        ):
            talk(connection, SIZE, SIZE)


class CrowdTests:
    """Many connections at a time."""

    @pytest.mark.parametrize("way", ["-L", "-R", "-D"])
    def test_many_at_a_time(self, forward: Forward, far: int, way: str, many: int) -> None:
        port = freePort()
        specification = str(port) if way == "-D" else f"{port}:127.0.0.1:{far}"
        with forward(way, specification, ready=port), ExitStack() as stack:
            connections = []
            for _ in range(many):
                made = throughSocks(port, far) if way == "-D" else connected(port)
                connections.append(stack.enter_context(made))
            for number, connection in enumerate(connections):
                connection.sendall(b"%d\n" % number + b"x" * 50_000)
            for connection in connections:
                connection.shutdown(socket.SHUT_WR)
            expected = hashlib.sha256(b"x" * 50_000).hexdigest().encode()
            for number, connection in enumerate(connections):
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
                assert answer == BLOCK[:number] + b"50000 " + expected + b"\n"


def checkStandardStreams(command: Sequence[str], **more: Any) -> None:
    """Send and receive much by a client whose standard streams lead to a `Counter` (-W)."""
    up = b"%d\n" % SIZE + BLOCK * (SIZE // MEBIBYTE)
    done = subprocess.run(command, input=up, capture_output=True, timeout=SECONDS, **more)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout[:SIZE]).hexdigest().encode() == digest(SIZE)
    assert done.stdout[SIZE:] == b"%d %s\n" % (SIZE, digest(SIZE))


class Page(socketserver.StreamRequestHandler):
    """Answers any request with a page."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1048576\r\n\r\n" + BLOCK)


def checkProxy(forward: Forward, scheme: str) -> None:
    """Fetch a page by way of a client's SOCKS proxy (-D)."""
    curl = requirePeer("curl")
    port = freePort()
    server = TcpFar(("127.0.0.1", 0), Page)
    with counting(server), forward("-D", str(port), ready=port):
        proxy, target = f"{scheme}://127.0.0.1:{port}", server.server_address[1]
        done = subprocess.run(
            [curl, "-sS", "-4", "-x", proxy, f"http://localhost:{target}/"],
            capture_output=True,
            timeout=SECONDS,
        )
    assert done.stdout == BLOCK, done.stderr


def checkChosenPort(command: Sequence[str], **more: Any) -> None:
    """Talk by the port of the server's choice (-R 0) that a client tells of."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    with process:
        try:
            assert process.stderr
            with connectedToChosen(_portTold(process.stderr)) as connection:
                talk(connection, 100_000, 100_000)
        finally:
            process.kill()


def _portTold(errors: IO[bytes]) -> int:
    while line := errors.readline():
        found = re.search(rb"llocated port (\d+)", line)
        if found:
            return int(found[1])
    raise AssertionError("no port was told")
