"""The command behind script/bench: runs everything interleaved and prints tables."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks import clients, fileclients, files, measure, report, tunnel
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
    parser.add_argument(
        "--clients",
        default=",".join(clients.COMMANDS),
        metavar="A,B",
        help=f"compared with each other at {clients.SERVER}, if that is among the servers",
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
    options.clients = [client for client in options.clients.split(",") if client]
    for given, known in (
        (options.servers, COMMANDS),
        (options.suites, measure.SUITES),
        (options.directions, measure.DIRECTIONS),
        (options.clients, clients.COMMANDS),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return options


class Bench:
    """All figures of one call, gathered run by run."""

    def __init__(
        self, options: argparse.Namespace, work: Workplace, servers: list[Server], memory: Path
    ) -> None:
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
        self.clientCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.clientRate: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.clientSession: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.fileClientCpu: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.fileClientRate: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.file = work.directory / "data"
        self._makeFile()
        self.small = files.makeSmallFiles(memory, options.files)

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
        for server in servers:
            if server.name == clients.SERVER:
                self._runClients(number, server, gigabytes)
                if self.options.files:
                    self._runFileClients(number, server, gigabytes)
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

    def _runClients(self, number: int, server: Server, gigabytes: float) -> None:
        turn = number % max(len(self.options.clients), 1)
        names = self.options.clients[turn:] + self.options.clients[:turn]
        for suite in self.options.suites:
            empty = {name: clients.emptySession(self.work, server, name, suite) for name in names}
            for name, cost in empty.items():
                for row, seconds in (
                    ("CPU ms per empty session", cost.cpuSeconds),
                    ("ms per empty session", cost.wallSeconds),
                ):
                    self.clientSession[row].setdefault(name, []).append(seconds * 1000)
            for direction in self.options.directions:
                for name in names:
                    cost = clients.transfer(self.work, server, name, suite, direction, self.file)
                    row = f"{direction}, {suite}"
                    cpu = (cost.cpuSeconds - empty[name].cpuSeconds) / gigabytes
                    rate = gigabytes * 1000 / (cost.wallSeconds - empty[name].wallSeconds)
                    self.clientCpu[row].setdefault(name, []).append(cpu)
                    self.clientRate[row].setdefault(name, []).append(rate)
                    say(
                        f"run {number + 1}: client {row}: {name} {cpu:.3f} CPU s/GB, "
                        f"{rate:.0f} MB/s"
                    )

    def _runFileClients(self, number: int, server: Server, gigabytes: float) -> None:
        suite = (self.options.suites or list(measure.SUITES))[0]
        count = self.options.files
        for name in self.options.clients:
            empty = fileclients.emptySession(self.work, server, name, suite)
            for direction in ("get", "put"):
                large, small = [
                    fileclients.transfer(self.work, server, name, suite, direction, source)
                    for source in (self.file, self.small)
                ]
                cpu = (large.cpuSeconds - empty.cpuSeconds) / gigabytes
                rate = gigabytes * 1000 / (large.wallSeconds - empty.wallSeconds)
                perFile = (small.cpuSeconds - empty.cpuSeconds) * 1000 / count
                perSecond = count / (small.wallSeconds - empty.wallSeconds)
                many = f"{direction} {count} files of {files.SMALL_FILE} bytes"
                for table, row, value in (
                    (self.fileClientCpu, f"{direction}, {suite}: CPU seconds per GB", cpu),
                    (self.fileClientCpu, f"{many}: CPU ms per file", perFile),
                    (self.fileClientRate, f"{direction}, {suite}: MB per second", rate),
                    (self.fileClientRate, f"{many}: files per second", perSecond),
                ):
                    table[row].setdefault(name, []).append(value)
                say(
                    f"run {number + 1}: sftp client {direction}: {name} {cpu:.3f} CPU s/GB, "
                    f"{rate:.0f} MB/s; {perFile:.3f} CPU ms/file, {perSecond:.0f} files/s"
                )

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
        if self.clientCpu:
            tools = self.options.clients
            parts.append(report.table("Client: CPU seconds per GB", self.clientCpu, tools, 2))
            parts.append(report.table("Client: MB per second", self.clientRate, tools, 0))
            parts.append(report.table("Client: session", self.clientSession, tools, 0))
        if self.fileClientCpu:
            tools = self.options.clients
            parts.append(report.table("SFTP client: cost", self.fileClientCpu, tools, 2))
            parts.append(report.table("SFTP client: speed", self.fileClientRate, tools, 0))
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
    with (
        tempfile.TemporaryDirectory(prefix="limpet-bench-") as directory,
        tempfile.TemporaryDirectory(prefix="limpet-bench-", dir=files.quickDirectory()) as memory,
    ):
        work = Workplace(Path(directory))
        servers = startAll(options.servers, work)
        try:
            bench = Bench(options, work, servers, Path(memory))
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
