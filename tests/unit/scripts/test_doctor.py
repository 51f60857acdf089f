"""`limpet conch-doctor`: its lines, its summary and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from limpet.scripts.main import main

PROGRAM = """\
from twisted.conch.ssh import keys, transport
transport.SSHCiphers._getMAC(b"", b"")
keys.Key.sign
"""


def doctor(*arguments: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(main, ["conch-doctor", *arguments])
    return done.exit_code, done.output.splitlines()


def test_aLineForEachThing(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    status, lines = doctor(str(path))
    assert status == 1
    assert lines == [
        f"{path}:2: missing: ssh.transport.SSHCiphers._getMAC: `limpet.crypto.macs.Authenticator`",
        f"{path}:3: differs: ssh.keys.Key.sign: "
        "an RSA key signs with SHA-512 unless `signatureType` says so",
        "1 file: of the uses of Conch 2 are the same, 1 differ, 1 are missing",
    ]


def test_whatIsTheSameOnRequest(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    _, lines = doctor("--all", str(path))
    assert f"{path}:1: same: ssh.keys" in lines


@pytest.mark.parametrize("name", ["limpet.ssh.factory", "limpet.doctor"])
def test_aModuleByItsName(name: str) -> None:
    status, lines = doctor(name)
    assert status == 0
    assert "of the uses of Conch" in lines[-1] or "no use of twisted.conch" in lines[-1]


def test_nothingOfThatName() -> None:
    status, lines = doctor("no.such.module")
    assert status == 2
    assert lines == ["limpet: there is no file, folder or module 'no.such.module'"]
