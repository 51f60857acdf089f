"""The child process as a transport: every byte, every end, nothing left behind."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet import process as twistedProcess
from twisted.internet.interfaces import IConsumer, IProcessTransport, IPushProducer
from zope.interface.verify import verifyObject

from limpet import descriptors
from limpet.unix.process import HIGH_WATER
from limpet.unix.spawning import SpawnFailed, Terminal, spawnWithPipes
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import (
    Driver,
    Producer,
    Recorder,
    driver,
    shellProgram,
)

__all__ = ["driver"]

MANY = 3_000_000


def isRunning(pid: int) -> bool:
    """Whether there is such a process and it is no zombie (in a container nobody may reap it)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def test_outputExitStatusAndOrder(driver: Driver) -> None:
    recorder = driver.run("echo out; echo err >&2; exit 7")
    driver.untilEnd(recorder)
    assert (recorder.out, recorder.err) == (b"out\n", b"err\n")
    assert recorder.reason.check(error.ProcessTerminated)
    assert (recorder.reason.value.exitCode, recorder.reason.value.signal) == (7, None)
    assert recorder.events[0] == "made"
    assert recorder.events[-1] == "ended"
    assert set(recorder.events) == {
        *("made", "out", "err", "inLost", "outLost", "errLost", "exited", "ended")
    }
    assert recorder.afterEnd == []


def test_anExitStatusOfZeroIsProcessDone(driver: Driver) -> None:
    recorder = driver.run("true")
    driver.untilEnd(recorder)
    assert recorder.reason.check(error.ProcessDone)


def test_aKilledChildReportsItsSignal(driver: Driver) -> None:
    recorder = driver.run("kill -USR1 $$")
    driver.untilEnd(recorder)
    assert recorder.reason.value.signal == signal.SIGUSR1
    assert recorder.reason.value.exitCode is None
    assert os.WTERMSIG(recorder.reason.value.status) == signal.SIGUSR1


def test_muchOutputIsCompleteAndReadInLargePieces(driver: Driver) -> None:
    sizes: list[int] = []

    class Sizes(Recorder):
        def outReceived(self, data: bytes) -> None:
            sizes.append(len(data))
            super().outReceived(data)

    recorder = driver.run(f"head -c {MANY} /dev/zero; echo end", Sizes())
    driver.untilEnd(recorder)
    assert len(recorder.out) == MANY + 4
    assert recorder.out.endswith(b"\0end\n")
    assert max(sizes) <= descriptors.LARGE_READ_SIZE


def test_whatWasWrittenBeforeTheEndIsDeliveredToAPausedReader(driver: Driver) -> None:
    class Paused(Recorder):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.transport.pauseProducing()

    recorder = driver.run("echo out; echo err >&2", Paused())
    driver.until(lambda: recorder.transport.pid is None, "the child's exit")
    driver.turn()
    assert (recorder.out, recorder.err, recorder.hasEnded) == (b"", b"", False)
    recorder.transport.resumeProducing()
    driver.untilEnd(recorder)
    assert (recorder.out, recorder.err) == (b"out\n", b"err\n")


def test_aPausedChildIsNotReadAndItsPipeFills(driver: Driver) -> None:
    class PausesAtOnce(Recorder):
        def outReceived(self, data: bytes) -> None:
            super().outReceived(data)
            self.transport.pauseProducing()

    recorder = driver.run("yes", PausesAtOnce())
    driver.until(lambda: recorder.out)
    seen = len(recorder.out)
    driver.turn(10)
    assert len(recorder.out) == seen
    recorder.transport.resumeProducing()
    driver.until(lambda: len(recorder.out) > seen)


def test_restingDoesNotLoseAResume(driver: Driver) -> None:
    recorder = driver.run(f"dd if=/dev/zero bs=1000 count={MANY // 1000} 2>/dev/null; echo end")
    driver.until(lambda: len(recorder.out) > 200_000)
    recorder.transport.pauseProducing()
    driver.turn(5)
    recorder.transport.resumeProducing()
    driver.untilEnd(recorder)
    assert len(recorder.out) == MANY + 4


def test_stdinInOnePieceComesBackComplete(driver: Driver) -> None:
    data = os.urandom(1000) * 2000
    recorder = driver.run("cat")
    recorder.transport.write(data)
    recorder.transport.closeStdin()
    driver.untilEnd(recorder)
    assert recorder.out == data
    assert recorder.reason.check(error.ProcessDone)


def test_aViewIsWrittenAsWellAsBytes(driver: Driver) -> None:
    data = os.urandom(1000) * 500
    recorder = driver.run("cat")
    recorder.transport.write(memoryview(data)[:200_000])
    recorder.transport.writeSequence([data[200_000:300_000], data[300_000:]])
    recorder.transport.closeStdin()
    driver.untilEnd(recorder)
    assert recorder.out == data


def test_aSlowChildPausesTheProducerAndResumesIt(driver: Driver) -> None:
    recorder = driver.run("read line; cat >/dev/null; echo done")
    producer = Producer()
    child = recorder.transport
    child.registerProducer(producer, True)
    written = 0
    while not producer.events:
        child.write(bytes(32768))
        written += 32768
        assert written < 4 * 1024 * 1024, "nothing paused the producer"
    assert producer.events == ["pause"]
    assert child._input.pendingBytes > HIGH_WATER
    child.write(b"\n")
    driver.until(lambda: "resume" in producer.events)
    assert producer.events == ["pause", "resume"]
    child.closeStdin()
    driver.untilEnd(recorder)
    assert recorder.out == b"done\n"


def test_aChildThatClosesItsStdinResumesTheProducer(driver: Driver) -> None:
    recorder = driver.run("sleep 0.05; exec <&-; read x <&1; sleep 30")
    producer = Producer()
    recorder.transport.registerProducer(producer, True)
    while not producer.events:
        recorder.transport.write(bytes(65536))
    driver.until(lambda: "inLost" in recorder.events)
    assert producer.events[-1] == "resume"
    recorder.transport.write(b"into nowhere")
    assert recorder.transport._input.pendingBytes == 0


def test_aWriteToAChildThatReadsNoMoreIsNoError(driver: Driver) -> None:
    recorder = driver.run("exec <&-; echo closed; sleep 30")
    driver.until(lambda: recorder.out)
    recorder.transport.write(b"x")
    assert "inLost" not in recorder.events, "not within the call"
    driver.until(lambda: "inLost" in recorder.events)


def test_stdinOfAChildThatExitedIsClosedEvenIfAnotherProcessHoldsIt(driver: Driver) -> None:
    recorder = driver.run("exec 3<&0; sleep 30 <&3 >/dev/null 2>&1 & echo $!")
    driver.untilEnd(recorder)
    os.kill(int(recorder.out), signal.SIGKILL)
    assert recorder.events.index("inLost") < recorder.events.index("ended")


def test_aBackgroundProcessThatHoldsStdoutKeepsTheSession(driver: Driver) -> None:
    recorder = driver.run("sleep 30 & echo $!")
    driver.until(lambda: "exited" in recorder.events)
    driver.turn(5)
    assert not recorder.hasEnded
    os.kill(int(recorder.out), signal.SIGKILL)
    driver.untilEnd(recorder)
    assert recorder.reason.check(error.ProcessDone)


def test_hangingUpEndsTheWaitForABackgroundProcess(driver: Driver) -> None:
    recorder = driver.run("sleep 30 & echo $!")
    driver.until(lambda: "exited" in recorder.events)
    recorder.transport.hangUp()
    driver.untilEnd(recorder)
    os.kill(int(recorder.out), signal.SIGKILL)


def test_processEndedComesOnceAndTheChildIsReaped(driver: Driver) -> None:
    recorder = driver.run("true")
    pid = recorder.transport.pid
    assert pid is not None
    driver.untilEnd(recorder)
    recorder.transport.reapProcess()
    recorder.transport.loseConnection()
    recorder.transport.hangUp()
    driver.turn()
    assert recorder.events.count("ended") == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_aChildThatSomebodyElseHasReapedIsNoSuccess(driver: Driver) -> None:
    """As by a program's own handler of SIGCHLD: its status is lost."""
    recorder = driver.run("echo out; exit 3")
    pid = recorder.transport.pid
    assert pid is not None
    os.waitpid(pid, 0)
    driver.untilEnd(recorder)
    assert recorder.out == b"out\n"
    assert recorder.reason.check(error.ProcessTerminated)
    assert (recorder.reason.value.exitCode, recorder.reason.value.signal) == (None, None)
    assert recorder.transport.status != 0


def test_noDescriptorIsLeft(driver: Driver) -> None:
    before = openDescriptors()
    for command in ("echo x; cat", "exit 3", "kill -9 $$"):
        recorder = driver.run(command)
        recorder.transport.closeStdin()
        driver.untilEnd(recorder)
    terminal = driver.runOnTerminal("echo x")
    driver.untilEnd(terminal)
    assert openDescriptors() <= before


def test_aProtocolThatRaisesStillHasItsChildReaped(driver: Driver) -> None:
    class Broken(Recorder):
        def outReceived(self, data: bytes) -> None:
            raise RuntimeError("a bug")

        def processExited(self, reason: Any) -> None:
            raise RuntimeError("another")

    recorder = driver.run("echo x; exit 2", Broken())
    driver.untilEnd(recorder)
    assert recorder.reason.value.exitCode == 2


def test_withoutPidfdTwistedsHandlersReap(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(pid: int, flags: int = 0) -> int:
        raise OSError("no such call")

    monkeypatch.setattr(os, "pidfd_open", none, raising=False)
    recorder = driver.run("exit 5")
    pid = recorder.transport.pid
    assert pid is None or pid in twistedProcess.reapProcessHandlers

    def ended() -> bool:
        twistedProcess.reapAllProcesses()
        return recorder.hasEnded

    driver.until(ended)
    assert recorder.reason.value.exitCode == 5
    assert pid not in twistedProcess.reapProcessHandlers


def test_aStatusThatSomebodyElseCollectedEndsTheSessionAllTheSame(driver: Driver) -> None:
    recorder = driver.run("echo x")
    pid = recorder.transport.pid
    assert pid is not None
    os.waitpid(pid, 0)
    driver.untilEnd(recorder)
    assert recorder.out == b"x\n"


def test_signalsGoToTheGroupByNumberOrName(driver: Driver) -> None:
    recorder = driver.run("trap 'echo usr1' USR1; echo ready; while :; do sleep 0.01; done")
    driver.until(lambda: recorder.out)
    for name in ("USR1", "SIGUSR1", signal.SIGUSR1):
        recorder.out = b""
        recorder.transport.signalProcess(name)
        driver.until(lambda: b"usr1" in recorder.out)
    with pytest.raises(ValueError, match="NOSUCH"):
        recorder.transport.signalProcess("NOSUCH")
    recorder.transport.signalProcess("KILL")
    driver.untilEnd(recorder)
    assert recorder.reason.value.signal == signal.SIGKILL
    with pytest.raises(error.ProcessExitedAlready):
        recorder.transport.signalProcess("TERM")


def test_childDescriptorsByNumber(driver: Driver) -> None:
    recorder = driver.run("cat; echo more; sleep 30")
    recorder.transport.writeToChild(0, b"x")
    with pytest.raises(KeyError):
        recorder.transport.writeToChild(1, b"x")
    driver.until(lambda: recorder.out)
    recorder.transport.closeChildFD(2)
    recorder.transport.closeChildFD(0)
    driver.until(lambda: b"more" in recorder.out)
    assert [e for e in recorder.events if e.endswith("Lost")] == ["errLost", "inLost"]
    recorder.transport.closeChildFD(1)
    assert "outLost" in recorder.events


def test_onlyOneProducer(driver: Driver) -> None:
    recorder = driver.run("cat")
    first, late = Producer(), Producer()
    recorder.transport.registerProducer(first, True)
    with pytest.raises(RuntimeError, match="already"):
        recorder.transport.registerProducer(late, True)
    recorder.transport.unregisterProducer()
    recorder.transport.closeStdin()
    recorder.transport.registerProducer(late, True)
    assert late.events == ["stop"]


def test_itProvidesWhatItSays(driver: Driver) -> None:
    recorder = driver.run("cat")
    for interface in (IProcessTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, recorder.transport)


def test_oneReadIsGathered(driver: Driver) -> None:
    held: list[str] = []

    class Below:
        def gather(self) -> None:
            held.append("gather")

        def release(self) -> None:
            held.append("release")

    class Noting(Recorder):
        def outReceived(self, data: bytes) -> None:
            held.append("data")
            super().outReceived(data)

    recorder = driver.run("echo x", Noting(), gatherer=Below())
    driver.untilEnd(recorder)
    assert held == ["gather", "data", "release"]


def test_aProgramThatIsNotThereLeavesNothing(driver: Driver) -> None:
    before = openDescriptors()
    program = shellProgram("true")
    missing = type(program)(program.account, "/nonexistent/shell", ["x"], program.environment)
    with pytest.raises(SpawnFailed, match="/nonexistent/shell: No such file"):
        spawnWithPipes(driver.reactor, Recorder(), missing)
    assert openDescriptors() <= before


class TestTerminal:
    def test_outputIsTranslatedAndTheEndIsNoError(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("echo x; tty; exit 4")
        driver.untilEnd(recorder)
        lines = recorder.out.split(b"\r\n")
        assert lines[0] == b"x"
        assert lines[1].startswith(b"/dev/")
        assert recorder.reason.value.exitCode == 4
        assert "errLost" not in recorder.events

    def test_muchOutputIsComplete(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("seq 1 60000; exit 1")
        driver.untilEnd(recorder)
        assert recorder.out.count(b"\r\n") == 60000
        assert recorder.out.endswith(b"60000\r\n")

    def test_whatWasWrittenBeforeTheEndReachesAReaderThatWasPaused(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("read x; echo last")
        recorder.transport.pauseProducing()
        recorder.transport.write(b"\n")
        driver.until(lambda: recorder.transport.pid is None, "the child's exit")
        driver.turn()
        assert recorder.out == b""
        recorder.transport.resumeProducing()
        driver.untilEnd(recorder)
        assert recorder.out.endswith(b"last\r\n")

    def test_aBackgroundProcessDoesNotHoldTheSession(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("trap '' HUP; sleep 30 & echo $!; sleep 0.1")
        driver.untilEnd(recorder)
        pid = int(recorder.out.split()[0])
        assert recorder.reason.check(error.ProcessDone)
        os.kill(pid, signal.SIGKILL)

    def test_aProcessThatWritesWithoutEndDoesNotHoldTheSession(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("trap '' HUP; yes & echo pid=$!; sleep 0.1")
        driver.untilEnd(recorder)
        text = recorder.out
        pid = int(text[text.index(b"pid=") + 4 :].split()[0])
        # Its terminal is gone, so that its next write fails.
        driver.until(lambda: not isRunning(pid), "the end of the process in the background")

    def test_theWindowHasASizeAndChangesTellTheProgram(self, driver: Driver) -> None:
        terminal = Terminal()
        terminal.resize(24, 80, 0, 0)
        recorder = driver.runOnTerminal(
            "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done",
            terminal,
        )
        driver.until(lambda: b"ready" in recorder.out)
        recorder.transport.resize(50, 132, 70000, -1)
        driver.untilEnd(recorder)
        assert recorder.out.split(b"\r\n")[0] == b"24 80"
        assert b"50 132" in recorder.out

    def test_itIsTheControllingTerminal(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("echo through >/dev/tty; ps -o tpgid= -p $$; echo $$")
        driver.untilEnd(recorder)
        through, foreground, pid = recorder.out.split()
        assert through == b"through"
        assert foreground == pid

    def test_theEndOfTheClientsDataSendsNothing(self, driver: Driver) -> None:
        recorder = driver.runOnTerminal("cat; echo ended")
        recorder.transport.closeStdin()
        driver.turn(10)
        assert not recorder.hasEnded
        recorder.transport.resize(1, 1, 0, 0)
        recorder.transport.signalProcess("TERM")
        driver.untilEnd(recorder)
        assert b"ended" not in recorder.out

    def test_resizingAChildWithPipesDoesNothing(self, driver: Driver) -> None:
        recorder = driver.run("cat")
        recorder.transport.resize(1, 1, 0, 0)
        recorder.transport.closeStdin()
        driver.untilEnd(recorder)


class Reading:
    """A transport in the middle of a read: what it is given to do waits for the read's end."""

    def __init__(self) -> None:
        self.isReading = True
        self.actions: list[Any] = []

    def gather(self) -> None: ...

    def release(self) -> None: ...

    def whenRead(self, action: Any) -> bool:
        if self.isReading:
            self.actions.append(action)
        return self.isReading

    def finish(self) -> None:
        self.isReading = False
        for action in self.actions:
            action()


def test_whatOneReadBringsIsWrittenAtOnce(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading()
    recorder = driver.run("cat", gatherer=reading)
    written: list[int] = []
    real = os.writev

    def writev(fd: int, pieces: Any) -> int:
        written.append(len(pieces))
        return real(fd, pieces)

    monkeypatch.setattr(os, "writev", writev)
    producer = Producer()
    recorder.transport.registerProducer(producer, True)
    pieces = [bytes([number]) * 20_000 for number in range(3)] + [b"small"]
    for piece in pieces:
        recorder.transport.write(piece)
    assert written == []
    # The end of the input comes with them.
    recorder.transport.closeStdin()
    reading.finish()
    assert written == [4]
    recorder.transport.write(b"too late")
    driver.untilEnd(recorder)
    assert recorder.out == b"".join(pieces)
    assert "pause" not in producer.events


def test_whatWasHeldAndDoesNotFitWaits(driver: Driver) -> None:
    reading = Reading()
    recorder = driver.run("sleep 0.2; cat", gatherer=reading)
    pieces = [os.urandom(200_000) for _ in range(12)]
    for piece in pieces:
        recorder.transport.write(piece)
    reading.finish()
    assert recorder.transport._input.pendingBytes > HIGH_WATER
    recorder.transport.write(b"the end")
    recorder.transport.closeStdin()
    driver.untilEnd(recorder)
    assert recorder.out == b"".join(pieces) + b"the end"


def test_aChildThatIsGoneGetsNothingOfWhatWasHeld(driver: Driver) -> None:
    reading = Reading()
    recorder = driver.run("exec 0<&-; sleep 0.2", gatherer=reading)
    driver.until(lambda: "inLost" in recorder.events or recorder.transport._input.fd < 0)
    recorder.transport.write(bytes(20_000))
    reading.finish()
    driver.untilEnd(recorder)
    assert recorder.reason.check(error.ProcessDone)
