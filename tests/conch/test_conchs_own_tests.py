"""The tests of the installed Twisted Conch, unchanged, against Limpet's modules.

Each test of Conch is a test here, so that a failing one is named. A difference that Limpet means to
keep stands in `DIFFERENCES` with its reason, and is shown to be one still.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_under_limpet.py")

EXPECTED = {
    "twisted.conch.test.test_connection": 30,
    "twisted.conch.test.test_channel": 14,
    "twisted.conch.test.test_session": 53,
    "twisted.conch.test.test_forwarding": 1,
}
"""Conch's test modules, and how many tests each has at least."""

DIFFERENCES: dict[str, str] = {}
"""Test of Conch to the reason why Limpet does otherwise."""


@functools.cache
def outcomes(module: str) -> dict[str, tuple[str, str]]:
    """{test: (outcome, detail)} of one of Conch's test modules, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(RUNNER), module],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            results[said["id"]] = (said["outcome"], said["detail"])
    if not results:
        pytest.fail(f"{module} did not run:\n{done.stderr[-4000:]}")
    return results


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test here for each of Conch's."""
    if "conchTest" in metafunc.fixturenames:
        metafunc.parametrize(
            ("module", "conchTest"),
            [(module, name) for module in EXPECTED for name in sorted(outcomes(module))],
            ids=lambda value: value.removeprefix("twisted.conch.test."),
        )


def test_it_passes(module: str, conchTest: str) -> None:
    outcome, detail = outcomes(module)[conchTest]
    if conchTest in DIFFERENCES:
        assert outcome in ("failed", "error"), f"no difference any more: {conchTest}"
        pytest.xfail(DIFFERENCES[conchTest])
    assert outcome == "passed", detail


@pytest.mark.parametrize("module", sorted(EXPECTED))
def test_all_of_them_were_run(module: str) -> None:
    assert len(outcomes(module)) >= EXPECTED[module]
    assert set(DIFFERENCES) <= {name for each in EXPECTED for name in outcomes(each)}
