"""The README's examples, run as they stand there; the server over Twisted's own transport."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import ROOT, Workplace, freePort
from tests.interop.host import Host
from tests.interop.peers import requirePeer

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
SIZE = 30_000_000
SECONDS = 60


@pytest.fixture
def port(work: Workplace, tmp_path: Path) -> Iterator[int]:
    """Where the example listens; only the port and the file of keys are replaced."""
    example = EXAMPLES[1]
    number = freePort()
    keys = "checkers.UNIXAuthorizedKeysFiles()"
    assert keys in example
    assert "tcp:2222:" in example
    example = example.replace("tcp:2222:", f"tcp:{number}:").replace(
        keys, f"checkers.AuthorizedKeysFiles([{str(work.authorizedKeys)!r}])"
    )
    script = tmp_path / "example.py"
    # It says when it listens, so that nobody has to guess.
    script.write_text(
        example.replace(
            "reactor.run()",
            "reactor.callWhenRunning(print, 'listening', flush=True)\nreactor.run()",
        )
    )
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield number
        finally:
            process.terminate()


def run(port: int, work: Workplace, command: str, data: bytes = b"") -> bytes:
    done = subprocess.run(
        [
            *(requirePeer("ssh"), "-F", "none", "-p", str(port), "-i", str(work.clientKey)),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"),
            *(f"{getpass.getuser()}@127.0.0.1", command),
        ],
        input=data,
        stdout=subprocess.PIPE,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout


def test_theExampleLetsUsersIn(port: int, work: Workplace) -> None:
    assert run(port, work, "echo $((6 * 7))") == b"42\n"


def test_theExampleLosesNothing(port: int, work: Workplace) -> None:
    assert run(port, work, f"head -c {SIZE} /dev/zero") == bytes(SIZE)
    sent = os.urandom(SIZE)
    assert (
        run(port, work, "sha256sum", sent).split()[0] == hashlib.sha256(sent).hexdigest().encode()
    )


def test_theExampleOfAClientRunsACommand(host: Host, work: Workplace, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "config").write_text(
        f"Host web1\n  HostName 127.0.0.1\n  Port {host.port}\n"
        f"  User {getpass.getuser()}\n  IdentityFile {work.clientKey}\n"
        f"  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {tmp_path / 'known'}\n"
    )
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[0])
    done = subprocess.run(
        [sys.executable, str(script)],
        env=dict(os.environ, HOME=str(tmp_path), PYTHONPATH=str(ROOT / "src")),
        stdout=subprocess.PIPE,
        timeout=SECONDS,
        check=True,
        text=True,
    )
    assert done.stdout.startswith("Linux ")
    assert done.stdout.endswith(" 0\n")
