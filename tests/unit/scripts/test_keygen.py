"""`limpet keygen`: keys that ssh-keygen understands, and its words."""

from __future__ import annotations

import getpass
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from limpet.scripts.main import main
from limpet.ssh.keys import Key


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["keygen", *map(str, arguments)])


@pytest.mark.parametrize(
    ("kind", "bits"), [("ed25519", None), ("ecdsa", 384), ("rsa", 2048), ("ED25519", None)]
)
def test_aKeyIsMade(tmp_path: Path, kind: str, bits: int | None) -> None:
    path = tmp_path / "key"
    size = () if bits is None else ("-b", bits)
    result = run("-t", kind, *size, "-f", path, "-N", "", "-C", "a comment")
    assert result.exit_code == 0, result.output
    key = Key.fromFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.public() == Key.fromFile(f"{path}.pub")
    assert path.with_name("key.pub").read_text().rstrip().endswith("a comment")
    assert key.displayFingerprint() in result.output
    if bits is not None:
        assert key.size() == bits


def test_nothingIsSaidOfItWhereThatIsWanted(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for arguments in (("-f", path, "-N", "", "-C", "me@here"), ("-p", "-f", path, "-N", "secret")):
        result = run("-q", *arguments)
        assert (result.exit_code, result.output) == (0, "")
    shown = run("-y", "-f", path, "-P", "secret").output
    assert shown == (tmp_path / "key.pub").read_text()
    assert shown.endswith(" me@here\n")


def test_aFileIsNotWrittenOver(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("precious")
    result = run("-f", path, "-N", "")
    assert result.exit_code == 2
    assert "not written over" in result.output
    assert path.read_text() == "precious"


@pytest.mark.parametrize("arguments", [("-t", "dsa"), ("-t", "rsa", "-b", "512"), ("-l", "-y")])
def test_whatCannotBe(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "-N", "", "-f", tmp_path / "key")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_whatCannotBeMadeAsksForNoPassphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: pytest.fail("asked"))
    for arguments in (("-t", "rsa", "-b", "512"), ("-b", "12"), ("-f", tmp_path / "none" / "key")):
        assert run("-f", tmp_path / "key", *arguments).exit_code == 2


def test_aDirectoryThatIsNotThere(tmp_path: Path) -> None:
    result = run("-N", "", "-f", tmp_path / "none" / "key")
    assert result.exit_code == 2
    assert f"there is no folder {tmp_path / 'none'}" in result.output


class TestPassphrase:
    def test_itIsAskedForTwice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter(["secret", "secret", "one", "other"])
        monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
        path = tmp_path / "key"
        assert run("-f", path).exit_code == 0
        assert Key.fromFile(path, passphrase="secret").isPublic() is False
        assert run("-f", tmp_path / "second").exit_code == 2
        assert not (tmp_path / "second").exists()

    def test_itIsNeverShown(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        made = run("-f", path, "-N", "hunter2")
        shown = run("-y", "-f", path, "-N", "guess4711")
        assert shown.exit_code == 2
        assert "hunter2" not in made.output
        assert "guess4711" not in shown.output

    def test_thePublicKeyOfAnEncryptedOne(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "key"
        run("-f", path, "-N", "secret", "-C", "")
        public = Key.fromFile(f"{path}.pub").toString("OPENSSH").decode()
        assert run("-y", "-f", path, "-N", "secret").output.strip() == public.strip()
        assert run("-y", "-f", path, "-P", "secret").output.strip() == public.strip()
        assert run("-y", "-f", path, "-P", "wrong").exit_code == 2
        monkeypatch.setattr(getpass, "getpass", lambda prompt: "secret")
        assert run("-y", "-f", path).output.strip() == public.strip()

    def test_withoutATerminalNobodyIsAsked(self, tmp_path: Path) -> None:
        """And nothing is read that could be seen."""
        path = tmp_path / "key"
        run("-f", path, "-N", "secret")
        for arguments, option in ((["-y"], "-P"), (["-p", "-P", "secret"], "-N")):
            done = subprocess.run(
                [sys.executable, "-m", "limpet", "keygen", "-f", str(path), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=60,
                check=False,
            )
            told = f"limpet: nobody can be asked for the passphrase; give it with {option}\n"
            assert (done.returncode, done.stderr.decode()) == (2, told)


def test_theFingerprintOfAPublicOrPrivateKey(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run("-f", path, "-N", "secret", "-C", "me@here")
    expected = f"256 {Key.fromFile(f'{path}.pub').displayFingerprint()} me@here (ED25519)"
    assert run("-l", "-f", path).output.strip() == expected
    assert run("-l", "-f", f"{path}.pub").output.strip() == expected


def test_F5_aLooseKeyIsNotShown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run("-f", path, "-N", "")
    path.chmod(0o644)
    result = run("-y", "-f", path)
    assert result.exit_code == 2
    assert "chmod 600" in result.output


def test_aWrongFileIsNotBlamedOnItsMode(tmp_path: Path) -> None:
    run("-f", tmp_path / "key", "-N", "")
    assert "this is a public key already" in run("-y", "-f", tmp_path / "key.pub").output
    (tmp_path / "notes").write_text("notes\n")
    (tmp_path / "notes").chmod(0o644)
    assert "not a key" in run("-y", "-f", tmp_path / "notes").output


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
@pytest.mark.parametrize(("kind", "bits"), [("ed25519", 256), ("ecdsa", 256), ("rsa", 3072)])
def test_sshKeygenReadsItAndSaysTheSame(tmp_path: Path, kind: str, bits: int) -> None:
    path = tmp_path / "key"
    assert run("-t", kind, "-b", bits, "-f", path, "-N", "secret", "-C", "x y").exit_code == 0

    def theirs(*arguments: str) -> str:
        command = ["ssh-keygen", *arguments, "-f", str(path)]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    assert run("-l", "-f", path).output == theirs("-l")
    assert (
        run("-y", "-f", path, "-N", "secret").output.split()[:2]
        == (theirs("-y", "-P", "secret").split()[:2])
    )


class TestChangingThePassphrase:
    def test_theKeyAndItsCommentStay(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        run("-f", path, "-N", "", "-C", "me@here")
        key = Key.fromFile(path)
        for old, new in (("", "first"), ("first", "second"), ("second", "")):
            result = run("-p", "-f", path, "-P", old, "-N", new)
            assert result.exit_code == 0, result.output
            again = Key.fromFile(path, passphrase=new)
            assert again == key
            assert again.comment == b"me@here"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(list(tmp_path.iterdir())) == 2

    def test_theyAreAskedFor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "key"
        run("-f", path, "-N", "old")
        answers = iter(["old", "new", "new"])
        monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
        assert run("-p", "-f", path).exit_code == 0
        assert not Key.fromFile(path, passphrase="new").isPublic()

    @pytest.mark.parametrize("old", ["guess4711", "hunter2"])
    def test_aWrongOneChangesNothing(self, tmp_path: Path, old: str) -> None:
        path = tmp_path / "key"
        run("-f", path, "-N", "right")
        before = path.read_bytes()
        result = run("-p", "-f", path, "-P", old, "-N", "")
        assert result.exit_code == 2
        assert old not in result.output.replace(str(path), "")
        assert path.read_bytes() == before

    def test_aPublicKeyHasNone(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        run("-f", path, "-N", "")
        assert run("-p", "-f", f"{path}.pub", "-N", "x").exit_code == 2
