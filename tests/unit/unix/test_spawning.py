"""What a started program finds: descriptors, session, identity, directory, terminal."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from limpet.unix.accounts import Account, NotPermitted
from limpet.unix.spawning import Program, SpawnFailed, Terminal, spawnOnTerminal, spawnWithPipes
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import Driver, Recorder, driver, shellProgram

__all__ = ["driver"]


def test_theChildHasThreeDescriptorsAndNoOther(driver: Driver, tmp_path: Path) -> None:
    with open(tmp_path / "open", "w") as other:
        os.set_inheritable(other.fileno(), True)
        recorder = driver.run("ls /proc/self/fd")
        driver.untilEnd(recorder)
    # The fourth is the directory that ls itself reads.
    assert recorder.out.split() == [b"0", b"1", b"2", b"3"]


def test_itLeadsAGroupAndASessionOfItsOwn(driver: Driver) -> None:
    recorder = driver.run("ps -o pid=,pgid=,sid= -p $$")
    driver.untilEnd(recorder)
    pid, group, session = recorder.out.split()
    assert pid == group == session


def test_environmentIsThatOfTheProgramAlone(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMPET_SECRET", "of the server")
    recorder = driver.run("env")
    driver.untilEnd(recorder)
    names = {line.partition(b"=")[0] for line in recorder.out.splitlines()}
    assert names - {b"PWD", b"SHLVL", b"_", b"OLDPWD"} == {
        *(b"HOME", b"USER", b"LOGNAME", b"SHELL", b"PATH")
    }


def test_umaskAndSignals(driver: Driver) -> None:
    recorder = driver.run("umask; grep SigIgn /proc/self/status")
    driver.untilEnd(recorder)
    mask, ignored = recorder.out.splitlines()
    assert int(mask, 8) == 0o022
    assert int(ignored.split()[1], 16) == 0


def test_itStartsAtHome(driver: Driver, tmp_path: Path) -> None:
    account = replace(Account.current(), home=str(tmp_path))
    recorder = Recorder()
    child = spawnWithPipes(driver.reactor, recorder, shellProgram("pwd", account))
    driver.children.append(child)
    child.start()
    driver.untilEnd(recorder)
    assert recorder.out.strip() == os.fsencode(os.path.realpath(tmp_path))
    assert recorder.err == b""


def test_withoutAHomeItStartsAtTheRootAndSaysSo(driver: Driver, tmp_path: Path) -> None:
    account = replace(Account.current(), home=str(tmp_path / "gone"))
    recorder = Recorder()
    child = spawnWithPipes(driver.reactor, recorder, shellProgram("pwd", account))
    driver.children.append(child)
    child.start()
    driver.untilEnd(recorder)
    assert recorder.out == b"/\n"
    assert b"Could not chdir to home directory" in recorder.err


def test_somebodyElseIsRefusedToAnOrdinaryUser(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    account = Account("other", 54321, 54321, (54321,), "/", "/bin/sh")
    before = openDescriptors()
    with pytest.raises(NotPermitted):
        spawnWithPipes(driver.reactor, Recorder(), shellProgram("id", account))
    assert openDescriptors() <= before


def test_anIdentityThatCannotBeTakenOnStartsNothing(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object, **kwargs: object) -> None:
        raise subprocess.SubprocessError("Exception occurred in preexec_fn.")

    monkeypatch.setattr(subprocess, "Popen", failing)
    before = openDescriptors()
    with pytest.raises(SpawnFailed, match="identity"):
        spawnWithPipes(driver.reactor, Recorder(), shellProgram("id"))
    assert openDescriptors() <= before


class TestTerminals:
    def test_theOwnerAndMode(self) -> None:
        terminal = Terminal()
        try:
            terminal.giveTo(Account.current())
            details = os.stat(terminal.name)
            assert details.st_uid == os.geteuid()
            assert not stat.S_IMODE(details.st_mode) & 0o157
        finally:
            terminal.close()

    def test_aTerminalWithoutANameLeavesNothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nameless(fd: int) -> str:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

        monkeypatch.setattr(os, "ttyname", nameless)
        before = openDescriptors()
        with pytest.raises(OSError, match="No such device"):
            Terminal()
        assert openDescriptors() <= before

    def test_aProgramThatIsNotThereLeavesTheTerminalToItsOwner(self, driver: Driver) -> None:
        terminal = Terminal()
        before = openDescriptors()
        program = Program(Account.current(), "/nonexistent", ["x"], {})
        with pytest.raises(SpawnFailed):
            spawnOnTerminal(driver.reactor, Recorder(), program, terminal)
        assert openDescriptors() <= before
        terminal.close()
        terminal.close()
        assert terminal.master == terminal.slave == -1
