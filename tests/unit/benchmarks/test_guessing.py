"""The measurement of what a refusal's time tells: its arithmetic, and that it runs."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.guessing import LIMIT, welch

ROOT = Path(__file__).resolve().parents[3]


def test_welch() -> None:
    # Without the largest of twenty: means 9 and 10, variances 30 + 1/3 and so on, by hand.
    first = [float(number) for number in range(20)]
    second = [number + 1.0 for number in first]
    variance = sum((number - 9) ** 2 for number in range(19)) / 18
    assert welch(first, second) == pytest.approx(-1 / (2 * variance / 19) ** 0.5)
    assert welch(first, first) == 0


def test_E14_a_difference_is_found_and_none_is_not() -> None:
    chance = random.Random(1)
    known, unknown, slower = (
        [chance.gauss(mean, 1.0) for _ in range(2000)] for mean in (10.0, 10.0, 10.3)
    )
    assert abs(welch(known, unknown)) < LIMIT
    assert abs(welch(known, slower)) > LIMIT


def test_it_asks_in_every_way() -> None:
    """What the times are is not looked at here."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guessing", "--samples", "3"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 6
