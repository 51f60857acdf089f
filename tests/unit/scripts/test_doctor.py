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


HOW_TO_START = (
    "to start it on Limpet: python -m limpet.conch -- PROGRAM,"
    " or limpet.install_as_conch() before its first import of Conch"
)


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
        "1 file, 4 uses of Conch: 2 the same, 1 different, 1 missing",
        HOW_TO_START,
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
    assert " of Conch: " in lines[-1] or "no use of twisted.conch" in lines[-1]


def test_aProgramThatInstallsLimpetIsNotToldTo(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text("import limpet\nlimpet.install_as_conch()\nimport twisted.conch.manhole_ssh\n")
    assert doctor(str(path)) == (0, ["1 file, 1 use of Conch: 1 the same, 0 different, 0 missing"])


def test_aModulesPackagesAreNotRun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runsaway").mkdir()
    (tmp_path / "runsaway/__init__.py").write_text("raise RuntimeError('it was run')\n")
    (tmp_path / "runsaway/part.py").write_text("import twisted.conch.error\n")
    (tmp_path / "nowhere").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("runsaway", "runsaway.part"):
        status, lines = doctor(name)
        assert status == 0
        assert " 1 use of Conch: " in lines[0]


def test_aPackageWithoutAFileOfItsOwn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spacious").mkdir()
    (tmp_path / "spacious/part.py").write_text("import twisted.conch.error\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor("spacious")[1][0].startswith("1 file, 1 use of Conch: ")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no.such.module", "there is no file, folder or module 'no.such.module'"),
        ("sys.nothing", "there is no file, folder or module 'sys.nothing'"),
        ("", "the name is empty; give a file, a folder or a module's name"),
        ("sys", "'sys' is a part of Python, or compiled; there is no source to read"),
    ],
)
def test_nothingToRead(target: str, words: str) -> None:
    assert doctor(target) == (2, [f"limpet: {words}"])


def test_aFolderWithoutPython(tmp_path: Path) -> None:
    status, lines = doctor(str(tmp_path))
    assert (status, lines) == (2, [f"limpet: there are no Python files in {str(tmp_path)!r}"])


def test_aFileThatIsNotPython(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("not a program\n")
    status, lines = doctor(str(path))
    assert status == 2
    assert lines[0].startswith(f"{path}: cannot be read: ")
    assert lines[1:] == ["limpet: nothing could be read"]
