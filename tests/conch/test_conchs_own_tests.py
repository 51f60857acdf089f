"""The tests of the installed Twisted Conch, unchanged, against Limpet's modules.

Of the modules in `EXPECTED` each test of Conch is a test here, so that a failing one is named. A
difference that Limpet means to keep stands in `DIFFERENCES` with its reason, and is shown to be one
still. Of all other modules the table in docs/migrating-from-conch.md says how many pass and why not
more; so many have to.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "migrating-from-conch.md"
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


SLOW = frozenset(
    (
        "test_ckeygen",
        "test_conch",
        "test_endpoints",
        "test_keys",
        "test_manhole",
        "test_recvline",
        "test_transport",
        "test_userauth",
    )
)
"""Modules that take more than three seconds; run with LIMPET_FULL=1."""


@functools.cache
def outcomes(module: str) -> dict[str, tuple[str, str]]:
    """{test: (outcome, detail)} of one of Conch's test modules, run in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(RUNNER), module],
            cwd=directory,
            env={
                "PYTHONPATH": str(ROOT / "src"),
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "HOME": "/nonexistent",
                "PROFILE": "legacy",
            },
            capture_output=True,
            text=True,
            timeout=290,
        )
    results: dict[str, tuple[str, str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            name, outcome = said["id"], said["outcome"]
            # One that left something behind is told twice; what went wrong counts.
            if name not in results or outcome in ("failed", "error"):
                results[name] = (outcome, said["detail"])
    if not results:
        pytest.fail(f"{module} did not run:\n{done.stderr[-4000:]}")
    return results


def table() -> list[tuple[str, int, int]]:
    """(module, tests that pass, tests) of the table."""
    rows = re.findall(r"^\| `(test_\w+)` \| (\d+) of (\d+) \|", TABLE.read_text(), re.MULTILINE)
    return [(module, int(passed), int(count)) for module, passed, count in rows]


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


@pytest.mark.parametrize(("module", "passed", "count"), table())
def test_asManyPassAsTheTableSays(module: str, passed: int, count: int) -> None:
    if module in SLOW and not os.environ.get("LIMPET_FULL"):
        pytest.skip("takes long: LIMPET_FULL=1 runs it")
    found = outcomes(f"twisted.conch.test.{module}")
    # From 3.13 on Python has no `crypt`, and Conch no such checks.
    lacking = sum("without crypt module" in detail for _, detail in found.values())
    assert sum(outcome == "passed" for outcome, _ in found.values()) + lacking >= passed
    assert len(found) >= count


def test_theTableNamesEveryModule() -> None:
    assert len(table()) > 20
    assert {f"twisted.conch.test.{module}" for module, _, _ in table()} >= set(EXPECTED)
