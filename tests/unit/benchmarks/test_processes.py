"""The accounting that the figures of script/bench stand on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import TICKS_PER_SECOND, cpuSeconds, treeOf, waitUntilOnly

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")

# Spends CPU time in a grandchild, reaps it, and says how much that was; then waits for a line.
PARENT = """
import os, resource, subprocess, sys
burn = "import time; end = time.process_time() + 0.3\\nwhile time.process_time() < end: pass"
subprocess.run([sys.executable, "-c", burn], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, flush=True)
sys.stdin.readline()
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
sys.stdin.readline()
child.kill()
child.wait()
print("reaped", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def goOn(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def test_time_of_a_reaped_grandchild_counts(parent: subprocess.Popen[str]) -> None:
    grandchild = float(line(parent))
    assert grandchild >= 0.3
    assert cpuSeconds(parent.pid) >= grandchild - 2 / TICKS_PER_SECOND


def test_a_living_child_is_of_the_tree_until_it_is_reaped(parent: subprocess.Popen[str]) -> None:
    line(parent)
    goOn(parent)
    child = int(line(parent))
    assert set(treeOf(parent.pid)) == {parent.pid, child}
    goOn(parent)
    assert line(parent) == "reaped"
    waitUntilOnly(parent.pid, {parent.pid})
    assert set(treeOf(parent.pid)) == {parent.pid}


def test_one_that_stays_is_named(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line(parent)
    goOn(parent)
    child = line(parent)
    monkeypatch.setattr("benchmarks.processes.SETTLE_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match=child):
        waitUntilOnly(parent.pid, {parent.pid})


def test_a_process_that_is_gone_has_no_tree() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert treeOf(gone.pid) == {}
    assert os.getpid() in treeOf(os.getpid())
