"""What a person runs: the scripts are there, strict, and say what they do not know."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
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


CI_TESTS = """
import os, pathlib, pytest

assert os.environ["CI"] == "true"

@pytest.mark.parametrize("number", range(10))
def test(number):
    name = pathlib.Path(__file__).stem
    seen = pathlib.Path(f"seen-{name}-{number}")
    if name in os.environ["FAILING"] and (os.environ["AGAIN"] == "yes" or not seen.exists()):
        seen.touch()
        raise AssertionError
"""


@pytest.mark.parametrize(
    ("failing", "again", "lint", "status"),
    [
        ("none", "no", "true", 0),
        ("none", "no", "false", 1),
        ("test_a", "no", "true", 0),
        ("test_a", "yes", "true", 1),
        # Too many, or too far apart, to be chance.
        ("test_a test_b", "no", "true", 1),
        # No failure of a test: what could not be collected.
        ("collection", "no", "true", 2),
    ],
)
def test_ci_runs_lint_and_tests_and_a_few_failed_ones_again(
    tmp_path: Path, failing: str, again: str, lint: str, status: int
) -> None:
    files = {
        "script/lint": f"#!/bin/sh\n{lint}\n",
        "script/test": '#!/bin/sh\nexec .venv/bin/python -m pytest -q "$@"\n',
        ".venv/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "test_a.py": CI_TESTS,
        "test_b.py": CI_TESTS if failing != "collection" else "1 / 0\n",
        "pytest.ini": "[pytest]\n",
    }
    done = runCI(tmp_path, files, FAILING=failing, AGAIN=again)
    assert done.returncode == status, done.stdout
    named = "passed only when run once more" in done.stdout
    assert named is (failing == "test_a" and again == "no")
    if named:
        assert done.stdout.rstrip().endswith("test_a.py::test[9]")


@pytest.mark.parametrize(("count", "status"), [(3, 0), (4, 1)])
def test_ci_takes_failures_in_three_files_for_chance(
    tmp_path: Path, count: int, status: int
) -> None:
    text = CI_TESTS.replace("range(10)", "range(1)")
    files = {
        "script/lint": "#!/bin/sh\n",
        "script/test": '#!/bin/sh\nexec .venv/bin/python -m pytest -q "$@"\n',
        ".venv/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "pytest.ini": "[pytest]\n",
        **{f"test_{number}.py": text for number in range(count)},
    }
    names = " ".join(f"test_{number}" for number in range(count))
    assert runCI(tmp_path, files, FAILING=names, AGAIN="no").returncode == status


def runCI(place: Path, files: Mapping[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/run` in a project of these files."""
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (place / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", place / ".ci")
    return subprocess.run(
        [place / ".ci" / "run"],
        env={"PATH": os.environ["PATH"], **more},
        capture_output=True,
        text=True,
        check=False,
    )


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
