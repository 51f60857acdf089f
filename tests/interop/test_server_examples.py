"""The server of `examples/` on plain asyncio, driven by OpenSSH's clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import ROOT, Workplace
from tests.interop.peers import requirePeer

SECONDS = 60
NOBODY = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")


@pytest.fixture
def port(work: Workplace, tmp_path: Path) -> Iterator[int]:
    """Where the example listens; its directory is `tmp_path/files`."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "greeting").write_text("hello\n")
    command = [sys.executable, str(ROOT / "examples" / "asyncioServer.py"), "0"]
    command += [str(work.hostKey), str(work.authorizedKeys), str(tmp_path / "files")]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()


def run(work: Workplace, port: int, *arguments: str, input: bytes) -> tuple[int, bytes, bytes]:
    program, *rest = arguments
    letter = "-P" if program == "sftp" else "-p"
    command = [requirePeer(program), "-F", "none", *NOBODY, "-i", str(work.clientKey), "-q"]
    command += ["-o", "BatchMode=yes", letter, str(port), "guest@127.0.0.1", *rest]
    done = subprocess.run(command, input=input, capture_output=True, timeout=SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def test_commandsAndFiles(work: Workplace, port: int, tmp_path: Path) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(200_000))
    assert run(work, port, "ssh", "upper", input=lines) == (0, lines.upper(), b"")
    assert run(work, port, "ssh", "add 1 2 3", input=b"") == (0, b"6\n", b"")
    assert run(work, port, "ssh", "none", input=b"") == (127, b"", b"there is no such command\n")
    assert run(work, port, "ssh", "add x", input=b"")[0] == 1
    assert run(work, port, "ssh", input=b"abc\n")[1].endswith(b"cba\r\n")
    said = run(work, port, "sftp", input=f"get greeting {tmp_path}/back\nls /../..\n".encode())
    assert (tmp_path / "back").read_text() == "hello\n"
    assert said[0] == 0
    log = (tmp_path / "log").read_text()
    assert "'guest' logged in by publickey" in log
    assert log.count("Traceback") == log.count("ValueError") == 1
