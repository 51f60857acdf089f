"""`limpet keygen -F`, `-R`, `-H` and `-l` do with known_hosts what ssh-keygen does."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from limpet.core.knownhosts import hashName, parseKnownHosts
from limpet.scripts.main import main
from tests.keymaking import makeKey

KEY = makeKey().public().toString("OPENSSH").strip()
EC = makeKey("ecdsa", 256).public().toString("OPENSSH").strip()

LINES = (
    b"# a comment",
    b"a.example,192.0.2.1 " + KEY + b" with words",
    b"[b.example]:2222 " + EC,
    b"*.wild,!no.wild " + KEY,
    b"a.example " + EC,
    b"@cert-authority *.ca " + KEY,
    b"@revoked rev.example " + KEY,
    hashName(b"a.example", bytes(20)) + b" " + KEY,
    b"",
)

HOSTS = (
    "a.example",
    "192.0.2.1",
    "[b.example]:2222",
    "b.example",
    "x.wild",
    "no.wild",
    "x.ca",
    "rev.example",
    "nowhere",
)

withSshKeygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "known_hosts"
    made.write_bytes(b"\n".join(LINES) + b"\n")
    made.chmod(0o640)
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["keygen", *map(str, arguments)])


def theirs(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)


@withSshKeygen
@pytest.mark.parametrize("more", [(), ("-l",)])
@pytest.mark.parametrize("host", HOSTS)
def test_findingIsAsItIsThere(path: Path, host: str, more: tuple[str, ...]) -> None:
    result = run("-F", host, *more, "-f", path)
    expected = theirs("-F", host, *more, "-f", path)
    assert result.stdout_bytes == expected.stdout
    assert result.exit_code == expected.returncode


@withSshKeygen
@pytest.mark.parametrize("host", HOSTS)
def test_removingIsAsItIsThere(path: Path, host: str) -> None:
    before = path.read_bytes()
    other = path.with_name("other")
    shutil.copy(path, other)
    expected = theirs("-R", host, "-f", other)
    result = run("-R", host, "-f", path)
    assert result.exit_code == expected.returncode == 0
    assert path.read_bytes() == other.read_bytes()
    assert result.stdout_bytes.replace(b"known_hosts", b"other") == expected.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    old = path.with_name("known_hosts.old")
    assert old.exists() == (path.read_bytes() != before)
    if old.exists():
        assert old.read_bytes() == before


@withSshKeygen
def test_fingerprintsAreAsTheyAreThere(path: Path) -> None:
    expected = theirs("-l", "-f", path).stdout.splitlines()
    mine = run("-l", "-f", path).stdout_bytes.splitlines()
    # ssh-keygen leaves out lines with markers.
    assert [line for line in mine if b" *.ca " not in line and b" rev." not in line] == expected


def test_hashingHidesNamesAndKeepsTheRest(path: Path) -> None:
    result = run("-H", "-f", path)
    assert result.exit_code == 0
    assert "*.wild,!no.wild" in result.stderr
    data = path.read_bytes()
    assert b"a.example" not in data
    for line in (LINES[0], LINES[3], LINES[5], LINES[6], LINES[7]):
        assert line in data
    entries, problems = parseKnownHosts(data)
    assert problems == []
    for host, count in ((b"a.example", 3), (b"192.0.2.1", 1), (b"[b.example]:2222", 1)):
        assert sum(entry.matchesHost(host) for entry in entries) == count
    again = run("-H", "-f", path)
    assert "nothing to hash" in again.output
    assert path.read_bytes() == data


def test_aLineThatCannotBeReadStays(path: Path) -> None:
    path.write_bytes(b"garbage \xff\x1b\n" + LINES[1])
    assert run("-R", "a.example", "-f", path).exit_code == 0
    assert path.read_bytes() == b"garbage \xff\x1b\n"


def test_aLinkStaysALink(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    assert run("-R", "a.example", "-f", link).exit_code == 0
    assert link.is_symlink()
    assert b"\na.example" not in path.read_bytes()


def test_aFileThatCannotBeReplacedIsAsItWas(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    result = run("-R", "a.example", "-f", path)
    assert result.exit_code == 2
    assert path.read_bytes() == before
    assert not list(path.parent.glob("known_hosts.?*[!d]"))


@pytest.mark.parametrize("option", ["-F", "-R"])
def test_aFileThatIsNotThere(tmp_path: Path, option: str) -> None:
    result = run(option, "a", "-f", tmp_path / "none")
    assert result.exit_code == 2
    assert "there is no such file" in result.output


def test_onlyOneThingAtOnce(path: Path) -> None:
    for arguments in (("-F", "a", "-R", "a"), ("-R", "a", "-H"), ("-l", "-p"), ("-y", "-H")):
        assert run(*arguments, "-f", path).exit_code == 2


def test_noLineActsOnATerminal(path: Path) -> None:
    path.write_bytes(b"a " + KEY + b" \x1b[2J\n")
    for more in ((), ("-l",)):
        assert "\x1b" not in run("-F", "a", *more, "-f", path).output
    assert "\x1b" not in run("-l", "-f", path).output
