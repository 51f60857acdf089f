"""What is measured of forwarding: one connection through `ssh -L`, there and back.

Rule: the processor time of both ends of the tunnel is counted, and of nothing else: what sends and
receives at its mouths runs in this process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CLIENT_SECONDS, SUITES
from benchmarks.processes import cpuSeconds
from benchmarks.servers import ROOT, Server, Workplace, freePort

SERVERS = ("limpet", "openssh")
CLIENTS = ("limpet", "openssh")

CHUNK = 1 << 20
START_SECONDS = 20.0


@dataclass(frozen=True)
class TunnelCost:
    """One transfer: seconds on the wall, and CPU seconds of the server and of the client."""

    wallSeconds: float
    serverSeconds: float
    clientSeconds: float


def clientCommand(client: str, work: Workplace, server: Server, suite: str) -> list[str]:
    """The client without its forwarding and its destination; both know the same options."""
    program = ["ssh"] if client == "openssh" else [sys.executable, "-m", "limpet", "ssh"]
    return [
        *program,
        *("-F", "none", "-N", "-q", "-i", str(work.clientKey), "-p", str(server.port)),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "KexAlgorithms=curve25519-sha256", "-o", "ExitOnForwardFailure=yes"),
        *SUITES[suite],
    ]


def transfer(
    work: Workplace, server: Server, client: str, suite: str, direction: str, file: Path
) -> TunnelCost:
    """Move `file` through a tunnel that stands already."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = freePort()
        target = f"{port}:127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            [*clientCommand(client, work, server, suite), "-L", target, f"{work.user}@127.0.0.1"],
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        try:
            near = _connected(port, process)
            far, _ = listening.accept()
            with near, far:
                source, sink = (far, near) if direction == "download" else (near, far)
                before = cpuSeconds(server.pid), cpuSeconds(process.pid)
                started = time.perf_counter()
                _move(file, source, sink)
                wall = time.perf_counter() - started
                after = cpuSeconds(server.pid), cpuSeconds(process.pid)
        finally:
            process.kill()
            process.wait()
    return TunnelCost(wall, after[0] - before[0], after[1] - before[1])


def _connected(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no tunnel: {process.args!r}") from None
            time.sleep(0.05)


def _move(file: Path, source: socket.socket, sink: socket.socket) -> None:
    def send() -> None:
        with file.open("rb") as content:
            source.sendfile(content)
        source.shutdown(socket.SHUT_WR)

    for each in (source, sink):
        each.settimeout(CLIENT_SECONDS)
    sender = threading.Thread(target=send)
    sender.start()
    room, got = bytearray(CHUNK), 0
    while count := sink.recv_into(room):
        got += count
    sender.join()
    if got != file.stat().st_size:
        raise RuntimeError(f"{got} bytes came out of the tunnel, of {file.stat().st_size}")


def pairs(servers: Sequence[Server]) -> list[tuple[str, Server]]:
    """Each end of Limpet's with the other end of OpenSSH's, and OpenSSH with itself."""
    known = {server.name: server for server in servers if server.name in SERVERS}
    return [
        (client, server)
        for client in CLIENTS
        for name, server in known.items()
        if "openssh" in (client, name)
    ]
