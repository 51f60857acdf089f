"""`limpet.unix.nursery`: workers that are forked, their ends, and doing without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error

from benchmarks.servers import ROOT
from limpet.unix import fileserver
from limpet.unix.fileserver import makeNursery, spawnFileServer
from limpet.unix.nursery import Nursery, Unavailable, Worker
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import Driver, Recorder, driver
from tests.unit.unix.test_process import isRunning

__all__ = ["driver"]

INIT = b"\0\0\0\5\1\0\0\0\3"
VERSION = b"\2\0\0\0\3"


@pytest.fixture
def nursery(driver: Driver) -> Iterator[Nursery]:
    made = makeNursery(driver.reactor)
    yield made
    made.close()
    for child in driver.children:
        child.hangUp(0.0)
    driver.until(lambda: made.fileno() < 0, "the nursery's end")


def begin(driver: Driver, nursery: Nursery, home: str = "/tmp", **options: str) -> Recorder:
    """A session whose client has said hello."""
    recorder = Recorder()
    child = spawnFileServer(driver.reactor, recorder, {"home": home, **options}, nursery=nursery)
    driver.children.append(child)
    child.start()
    child.write(INIT)
    return recorder


def answered(driver: Driver, recorder: Recorder) -> None:
    driver.until(lambda: recorder.out[4:].startswith(VERSION), "the answer")
    # The two come by different ways.
    driver.until(lambda: recorder.transport.pid, "the process id")


def test_sessions_are_served_and_end_with_their_status(driver: Driver, nursery: Nursery) -> None:
    recorders = [begin(driver, nursery) for _ in range(3)]
    for recorder in recorders:
        answered(driver, recorder)
    assert all(isinstance(recorder.transport, Worker) for recorder in recorders)
    pids = {recorder.transport.pid for recorder in recorders}
    assert len(pids) == 3
    parents = {Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[1] for pid in pids}
    assert len(parents) == 1
    assert parents != {str(os.getpid())}
    recorders[0].transport.write(b"\0\0\0\1\xc9")
    recorders[1].transport.closeStdin()
    for recorder in recorders[:2]:
        driver.untilEnd(recorder)
    assert recorders[0].reason.value.exitCode == 1
    assert recorders[1].reason.check(error.ProcessDone)
    assert not recorders[2].hasEnded
    assert recorders[1].events[-1] == "ended"


def test_a_worker_has_its_pipes_and_nothing_else(driver: Driver, nursery: Nursery) -> None:
    first, second = begin(driver, nursery), begin(driver, nursery)
    for recorder in (first, second):
        answered(driver, recorder)
    for recorder in (first, second):
        place = Path(f"/proc/{recorder.transport.pid}")
        # And the directory that its paths begin in.
        assert sorted(os.listdir(place / "fd")) == ["0", "1", "2", "3"]
        assert os.readlink(place / "fd" / "3") == "/tmp"
        assert all(os.readlink(place / "fd" / end).startswith("pipe:") for end in "01")
        # A session, a process group and an environment of its own.
        fields = (place / "stat").read_text().rsplit(")")[1].split()
        assert {fields[2], fields[3]} == {str(recorder.transport.pid)}
        assert b"HOME=" not in (place / "environ").read_bytes()


@pytest.mark.parametrize("isBorn", [True, False])
def test_signals_reach_it(driver: Driver, nursery: Nursery, isBorn: bool) -> None:
    recorder = begin(driver, nursery)
    if isBorn:
        answered(driver, recorder)
    recorder.transport.signalProcess("KILL")
    driver.untilEnd(recorder)
    assert recorder.reason.value.signal == signal.SIGKILL
    with pytest.raises(error.ProcessExitedAlready):
        recorder.transport.signalProcess("TERM")


def test_a_hung_up_worker_is_gone(driver: Driver, nursery: Nursery) -> None:
    recorder = begin(driver, nursery)
    answered(driver, recorder)
    pid = recorder.transport.pid
    assert pid
    recorder.transport.hangUp()
    driver.untilEnd(recorder)
    assert not os.path.exists(f"/proc/{pid}")


def test_what_cannot_become_its_user_says_so(driver: Driver, nursery: Nursery) -> None:
    recorder = begin(driver, nursery, root="/nowhere/at/all")
    driver.untilEnd(recorder)
    assert recorder.reason.value.exitCode == 126
    assert recorder.out == b""
    answered(driver, begin(driver, nursery))


def test_a_nursery_that_dies_takes_its_sessions_and_is_made_anew(
    driver: Driver, nursery: Nursery
) -> None:
    recorder = begin(driver, nursery)
    answered(driver, recorder)
    process: Any = nursery._process
    pid = recorder.transport.pid
    os.kill(process.pid, signal.SIGKILL)
    driver.untilEnd(recorder)
    assert recorder.reason.value.exitCode == 255
    driver.until(lambda: not isRunning(pid or 0), "the worker's end")
    again = begin(driver, nursery)
    assert isinstance(again.transport, Worker)
    answered(driver, again)
    assert process.returncode == -signal.SIGKILL


def test_without_a_nursery_that_works_each_is_started_by_itself(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Nursery(driver.reactor, fileserver._environment(), "/nowhere", 0o022)
    first = begin(driver, broken)
    driver.untilEnd(first)
    assert first.out == b""
    second = begin(driver, broken)
    assert not isinstance(second.transport, Worker)
    answered(driver, second)
    with monkeypatch.context() as elsewhere:
        elsewhere.delattr(os, "pidfd_open")
        with pytest.raises(Unavailable):
            makeNursery(driver.reactor).spawn(Recorder(), {"home": "/tmp"})


def test_what_is_no_option_leaves_no_descriptor_behind(driver: Driver, nursery: Nursery) -> None:
    answered(driver, begin(driver, nursery))
    before = openDescriptors()
    for options in ({"start": "/a\0b"}, {"start": "/" + "a" * 70_000}):
        with pytest.raises(Unavailable):
            nursery.spawn(Recorder(), options)
    assert openDescriptors() <= before


def test_it_ends_with_its_last_session(driver: Driver) -> None:
    nursery = makeNursery(driver.reactor)
    recorder = begin(driver, nursery)
    answered(driver, recorder)
    process: Any = nursery._process
    nursery.close()
    with pytest.raises(Unavailable):
        nursery.spawn(Recorder(), {"home": "/tmp"})
    driver.turn()
    assert process.poll() is None
    recorder.transport.closeStdin()
    driver.untilEnd(recorder)
    assert recorder.reason.check(error.ProcessDone)
    driver.until(lambda: process.returncode is not None, "the nursery's end")
    assert process.returncode == 0


def test_a_server_that_is_killed_leaves_nothing_behind(driver: Driver) -> None:
    program = (
        "import os, signal; "
        "from tests.unit.unix import test_nursery as here; "
        "driver = here.Driver(); nursery = here.makeNursery(driver.reactor); "
        "recorder = here.begin(driver, nursery); here.answered(driver, recorder); "
        "print(nursery._process.pid, recorder.transport.pid, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    driver.until(lambda: not any(map(isRunning, pids)), "the end of the nursery and its worker")
    assert len(pids) == 2
