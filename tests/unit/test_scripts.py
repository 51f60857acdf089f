"""What a person runs: the scripts are there, strict, and say what they do not know."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / "script").iterdir(), ROOT / ".ci" / "run"])


def test_they_are_complete() -> None:
    names = {"setup", "server", "test", "lint", "bench", "isolated", "run"}
    assert {script.name for script in SCRIPTS} >= names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_is_executable_bash_that_stops_at_the_first_failure(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_ci_runs_lint_and_test_with_every_peer_present() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = text.split("export CI=true")[1].split()
    assert commands == ["script/lint", "script/test", "--maxfail=20"]


def test_setup_names_a_part_that_it_does_not_know() -> None:
    done = subprocess.run(
        [ROOT / "script" / "setup", "kitchen"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "unknown part 'kitchen'" in done.stderr


def test_isolated_runs_a_command_and_passes_its_status_on() -> None:
    done = subprocess.run(
        [ROOT / "script" / "isolated", "bash", "-c", 'printf "<%s>" "$@"; exit 7', "-", "a b", "c"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, b"<a b><c>")


@pytest.mark.skipif(
    os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="takes a mount namespace of its own, as root",
)
def test_isolated_gives_the_account_an_empty_home_and_takes_it_away_again() -> None:
    done = subprocess.run(
        [ROOT / "script" / "isolated", "bash", "-c", "echo ~root; echo $HOME; ls -A ~root; id -un"],
        capture_output=True,
        check=True,
        text=True,
    )
    account, home, user = done.stdout.split()
    assert account == home != os.path.expanduser("~root")
    assert user == "root"
    assert not Path(home).exists()
