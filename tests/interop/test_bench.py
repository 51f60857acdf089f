"""script/bench still runs: a small round over all its parts, without looking at the figures."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.servers import ROOT
from tests.interop.host import IS_LIMPET, SERVER_NAME
from tests.interop.peers import requireModule, requirePeer

BENCH_SECONDS = 120.0


def test_a_small_round() -> None:
    requirePeer("ssh")
    requireModule("asyncssh")
    servers = [SERVER_NAME, "asyncssh", *(["limpet-factory", "conch"] if IS_LIMPET else [])]
    size = ["--runs", "1", "--mebibytes", "8", "--connections", "6", "--suites", "aes128-gcm"]
    size += ["--files", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--servers", ",".join(servers), *size],
        capture_output=True,
        text=True,
        timeout=BENCH_SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for row in (
        "download, aes128-gcm",
        "upload, aes128-gcm",
        "CPU ms per connection",
        "get, aes128-gcm",
        *(("download, aes128-gcm, server", "upload, aes128-gcm, server") if IS_LIMPET else ()),
    ):
        assert f"| {row} |" in done.stdout


def test_a_small_round_of_clients() -> None:
    requirePeer("ssh")
    requirePeer("sshd")
    requireModule("asyncssh")
    arguments = ["--servers", "openssh", "--suites", "aes128-gcm", "--runs", "1"]
    arguments += ["--mebibytes", "8", "--connections", "0", "--files", "3", "--no-tunnels"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        timeout=BENCH_SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head = "| Client: CPU seconds per GB | limpet | openssh | asyncssh | limpet ÷ openssh |"
    assert head in done.stdout
    assert done.stdout.count("| download, aes128-gcm |") == 4
    assert "| SFTP client: cost | limpet | openssh | asyncssh |" in done.stdout
    assert "| get 3 files of 4096 bytes: files per second |" in done.stdout
