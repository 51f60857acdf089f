"""The command behind script/bench: runs everything interleaved and prints tables."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks import files, measure, report, tunnel
from benchmarks.servers import BULK_SERVERS, COMMANDS, Server, Workplace, startAll

GIGABYTE = 1e9
MEBIBYTE = 1024 * 1024


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument(
        "--servers",
        default="limpet,openssh,asyncssh,limpet-factory,conch,conch-unix",
        metavar="A,B",
    )
    parser.add_argument("--suites", default=",".join(measure.SUITES), metavar="A,B")
    parser.add_argument("--directions", default=",".join(measure.DIRECTIONS), metavar="A,B")
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs (default 3)")
    parser.add_argument("--mebibytes", type=int, default=1024, help="per transfer (default 1024)")
    parser.add_argument("--connections", type=int, default=900, help="per run and server; 0: none")
    parser.add_argument(
        "--files", type=int, default=1000, help="small files by SFTP, after a large one; 0: no SFTP"
    )
    parser.add_argument("--no-tunnels", action="store_true", help="nothing through ssh -L")
    parser.add_argument(
        "--quick", action="store_true", help="1 run, 256 MiB, 300 connections, 300 files"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.runs, options.mebibytes, options.connections = 1, 256, 300
        options.files = min(options.files, 300)
    options.connections -= options.connections % measure.KNOCKERS
    options.servers = options.servers.split(",")
    options.suites = [suite for suite in options.suites.split(",") if suite]
    options.directions = options.directions.split(",")
    for given, known in (
        (options.servers, COMMANDS),
        (options.suites, measure.SUITES),
        (options.directions, measure.DIRECTIONS),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return options


class Bench:
    """All figures of one call, gathered run by run."""

    def __init__(self, options: argparse.Namespace, work: Workplace, servers: list[Server]) -> None:
        self.options, self.work, self.servers = options, work, servers
        self.cpuPerGigabyte: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.megabytesPerSecond: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.sessionCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.connectionRate: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.connectionCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.sftpCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.sftpRate: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.filesCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.filesRate: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.tunnelCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.tunnelRate: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.file = work.directory / "data"
        self._makeFile()
        self.small = files.makeSmallFiles(work.directory, options.files)

    def _makeFile(self) -> None:
        block = bytes(range(256)) * (MEBIBYTE // 256)
        with self.file.open("wb") as file:
            for _ in range(self.options.mebibytes):
                file.write(block)

    def run(self, number: int) -> None:
        """One run over everything; the order of the servers turns by one each run."""
        turn = number % len(self.servers)
        servers = self.servers[turn:] + self.servers[:turn]
        gigabytes = self.options.mebibytes * MEBIBYTE / GIGABYTE
        for suite in self.options.suites:
            bulk = [server for server in servers if server.name in BULK_SERVERS]
            empty = {server.name: measure.emptySession(self.work, server, suite) for server in bulk}
            for name, cost in empty.items():
                sessions = self.sessionCpu["CPU ms per empty session"]
                sessions.setdefault(name, []).append(cost.cpuSeconds * 1000)
            for direction in self.options.directions:
                for server in bulk:
                    cost = measure.transfer(self.work, server, suite, direction, self.file)
                    row, name = f"{direction}, {suite}", server.name
                    cpu = (cost.cpuSeconds - empty[name].cpuSeconds) / gigabytes
                    rate = gigabytes * 1000 / (cost.wallSeconds - empty[name].wallSeconds)
                    self.cpuPerGigabyte[row].setdefault(name, []).append(cpu)
                    self.megabytesPerSecond[row].setdefault(name, []).append(rate)
                    say(f"run {number + 1}: {row}: {name} {cpu:.3f} CPU s/GB, {rate:.0f} MB/s")
        if self.options.files:
            for server in servers:
                if server.name in BULK_SERVERS:
                    self._runFiles(number, server, gigabytes)
        if not self.options.no_tunnels:
            self._runTunnels(number, servers, gigabytes)
        if self.options.connections:
            for server in servers:
                count = self.options.connections
                cost = measure.connections(self.work, server, count)
                cpu, rate = cost.cpuSeconds * 1000 / count, count / cost.wallSeconds
                self.connectionCpu["CPU ms per connection"].setdefault(server.name, []).append(cpu)
                self.connectionRate["connections per second"].setdefault(server.name, []).append(
                    rate
                )
                say(f"run {number + 1}: {server.name} {cpu:.3f} CPU ms, {rate:.0f} connections/s")

    def _runFiles(self, number: int, server: Server, gigabytes: float) -> None:
        suite = (self.options.suites or list(measure.SUITES))[0]
        count, name = self.options.files, server.name
        empty = files.emptySession(self.work, server, suite)
        for direction in ("get", "put"):
            cost = files.transfer(self.work, server, suite, direction, self.file)
            cpu = (cost.cpuSeconds - empty.cpuSeconds) / gigabytes
            rate = gigabytes * 1000 / (cost.wallSeconds - empty.wallSeconds)
            self.sftpCpu[f"{direction}, {suite}"].setdefault(name, []).append(cpu)
            self.sftpRate[f"{direction}, {suite}"].setdefault(name, []).append(rate)
            cost = files.transfer(self.work, server, suite, direction, self.small)
            perFile = (cost.cpuSeconds - empty.cpuSeconds) * 1000 / count
            perSecond = count / (cost.wallSeconds - empty.wallSeconds)
            row = f"{direction} {count} files of {files.SMALL_FILE} bytes"
            self.filesCpu[row].setdefault(name, []).append(perFile)
            self.filesRate[row].setdefault(name, []).append(perSecond)
            say(
                f"run {number + 1}: sftp {direction}: {name} {cpu:.3f} CPU s/GB, {rate:.0f} MB/s; "
                f"{perFile:.3f} CPU ms/file, {perSecond:.0f} files/s"
            )

    def _runTunnels(self, number: int, servers: list[Server], gigabytes: float) -> None:
        suite = (self.options.suites or list(measure.SUITES))[0]
        for client, server in tunnel.pairs(servers):
            for direction in self.options.directions:
                cost = tunnel.transfer(self.work, server, client, suite, direction, self.file)
                for end, name, seconds in (
                    ("server", server.name, cost.serverSeconds),
                    ("client", client, cost.clientSeconds),
                ):
                    other = client if end == "server" else server.name
                    if other != "openssh":
                        continue
                    row = f"{direction}, {suite}, {end}"
                    self.tunnelCpu[row].setdefault(name, []).append(seconds / gigabytes)
                row = f"{direction}, {suite}, {client} → {server.name}"
                rate = gigabytes * 1000 / cost.wallSeconds
                self.tunnelRate[row].setdefault("MB/s", []).append(rate)
                say(
                    f"run {number + 1}: ssh -L: {row}: "
                    f"{cost.serverSeconds / gigabytes:.3f} CPU s/GB of the server, "
                    f"{cost.clientSeconds / gigabytes:.3f} of the client, {rate:.0f} MB/s"
                )

    def text(self) -> str:
        names = [server.name for server in self.servers]
        bulk = [name for name in names if name in BULK_SERVERS]
        parts = []
        if self.options.suites:
            parts.append(report.table("CPU seconds per GB", self.cpuPerGigabyte, bulk, 2))
            parts.append(report.table("MB per second", self.megabytesPerSecond, bulk, 0))
            parts.append(report.table("Session", self.sessionCpu, bulk, 1))
        if self.options.files:
            parts.append(report.table("SFTP: CPU seconds per GB", self.sftpCpu, bulk, 2))
            parts.append(report.table("SFTP: MB per second", self.sftpRate, bulk, 0))
            parts.append(report.table("SFTP: CPU ms per file", self.filesCpu, bulk, 3))
            parts.append(report.table("SFTP: files per second", self.filesRate, bulk, 0))
        if self.tunnelCpu:
            ends = [name for name in tunnel.SERVERS if name in bulk]
            parts.append(report.table("ssh -L: CPU seconds per GB", self.tunnelCpu, ends, 2))
            parts.append(report.table("ssh -L: MB per second", self.tunnelRate, ["MB/s"], 0))
        if self.options.connections:
            parts.append(report.table("Connections", self.connectionCpu, names, 2))
            parts.append(report.table("Connections", self.connectionRate, names, 0))
        return "\n\n".join(parts)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as directory:
        work = Workplace(Path(directory))
        servers = startAll(options.servers, work)
        try:
            bench = Bench(options, work, servers)
            for number in range(options.runs):
                bench.run(number)
        finally:
            for server in servers:
                server.stop()
    print(f"`{shlex.join(['script/bench', *arguments])}`")
    print(
        f"\n{report.machine()}; {options.mebibytes} MiB per transfer, "
        f"medians of {options.runs} interleaved run(s) (least–greatest)\n"
    )
    print(bench.text())


if __name__ == "__main__":
    main(sys.argv[1:])
