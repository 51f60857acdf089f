"""`limpet.unix.nursery`: workers that are forked, their ends, and doing without."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error

from benchmarks.servers import ROOT
from limpet.files import nursery as forking
from limpet.unix import fileserver
from limpet.unix import nursery as nurseries
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


def test_m5_no_signal_is_lost_when_there_are_many(driver: Driver, nursery: Nursery) -> None:
    recorders = [begin(driver, nursery) for _ in range(20)]
    for recorder in recorders:
        answered(driver, recorder)
    connection, process = nursery._connection, nursery._process
    assert connection is not None
    assert process is not None
    # The least that there is: room for a few messages.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    os.kill(process.pid, signal.SIGSTOP)
    for recorder in recorders:
        # One that is stopped does not end with its input.
        os.kill(recorder.transport.pid or 0, signal.SIGSTOP)
        recorder.transport.killNow()
        recorder.transport.killNow()
    os.kill(process.pid, signal.SIGCONT)
    for recorder in recorders:
        driver.untilEnd(recorder)
        assert recorder.reason.value.signal == signal.SIGKILL
    assert nursery not in driver.reactor.getWriters()


def test_the_last_signals_are_sent_before_the_server_ends(
    driver: Driver, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nurseries, "LAST_SIGNALS_SECONDS", 20.0)
    recorders = [begin(driver, nursery) for _ in range(20)]
    for recorder in recorders:
        answered(driver, recorder)
    connection, process = nursery._connection, nursery._process
    assert connection is not None
    assert process is not None
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    os.kill(process.pid, signal.SIGSTOP)
    pids = [recorder.transport.pid or 0 for recorder in recorders]
    for pid, recorder in zip(pids, recorders, strict=True):
        os.kill(pid, signal.SIGSTOP)
        recorder.transport.killNow()
    assert nursery._waiting
    os.kill(process.pid, signal.SIGCONT)
    nursery.close()
    assert not nursery._waiting
    for recorder in recorders:
        driver.untilEnd(recorder)


def test_a_nursery_that_stands_still_is_given_up(
    driver: Driver, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(driver, begin(driver, nursery))
    assert driver.reactor.getDelayedCalls() == []
    monkeypatch.setattr(nurseries, "BIRTH_SECONDS", 0.05)
    process = nursery._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    recorder = begin(driver, nursery)
    driver.untilEnd(recorder)
    assert recorder.reason.value.exitCode == 255
    monkeypatch.undo()
    again = begin(driver, nursery)
    answered(driver, again)
    driver.until(lambda: process.returncode is not None, "the nursery's end")


def test_its_children_have_a_status_also_where_nobody_wanted_to_know(driver: Driver) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    nursery = makeNursery(driver.reactor)
    try:
        nursery.begin()
    finally:
        signal.signal(signal.SIGCHLD, before)
    first, second = begin(driver, nursery), begin(driver, nursery)
    for recorder in (first, second):
        answered(driver, recorder)
    first.transport.closeStdin()
    driver.untilEnd(first)
    assert first.reason.check(error.ProcessDone)
    third = begin(driver, nursery)
    answered(driver, third)
    assert not second.hasEnded
    nursery.close()


def test_who_may_not_be_signalled_ends_nobody_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there, monkeypatch.context() as container:
        container.setattr(os, "killpg", refuse)
        served = forking.Nursery(there)
        served._pids[b"1"] = 77
        here.send(b"signal\0001\0009")
        here.shutdown(socket.SHUT_WR)
        assert served.run() == 0
    assert "process 77 cannot be sent signal 9: Operation not permitted" in capfd.readouterr().err


@pytest.mark.parametrize("room", [0, 1, 2])
def test_m8_a_nursery_without_descriptors_leaves_no_worker_behind(
    driver: Driver, nursery: Nursery, room: int
) -> None:
    answered(driver, begin(driver, nursery))
    process = nursery._process
    assert process is not None
    place = Path(f"/proc/{process.pid}")
    children = place / "task" / str(process.pid) / "children"
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    # It tells first, and closes what it was given then.
    driver.until(lambda: len(os.listdir(place / "fd")) == 4, "the end of what it was given")
    used = [int(name) for name in os.listdir(place / "fd")]
    # The lowest numbers are taken first, so the limit is on those that are free.
    free = [number for number in range(64) if number not in used][room]
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    recorder = begin(driver, nursery)
    driver.untilEnd(recorder)
    assert recorder.reason.value.exitCode == 126
    assert recorder.out == b""
    assert len(children.read_text().split()) == 1
    driver.until(lambda: len(os.listdir(place / "fd")) == 4, "the end of the others")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
    answered(driver, begin(driver, nursery))


def test_a_fork_that_is_refused_ends_that_session_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = openDescriptors()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there, open(os.devnull) as nothing, monkeypatch.context() as full:
        full.setattr(os, "fork", refuse)
        socket.send_fds(here, [b"start\0001\0home=/"], [nothing.fileno(), nothing.fileno()])
        here.shutdown(socket.SHUT_WR)
        assert forking.Nursery(there).run() == 0
        assert here.recv(100) == b"failed\0001\00011"
    assert openDescriptors() <= before
