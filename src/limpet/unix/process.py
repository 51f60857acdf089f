"""A child process as a Twisted transport: its pipes or its terminal, its signals, its end.

Rule: no byte that the child wrote before it ended is lost, no byte is held without a bound, and
every child is reaped, whether anybody still listens or not.

    proto.makeConnection(child)                       RFC 4254 section 6.5 calls this "the process"
        child.write(data) ──▶ ChildInput ──▶ stdin    pending > 64 KiB: producer.pauseProducing()
        stdout ──▶ ChildOutput(1) ──▶ proto.childDataReceived(1, data) ──▶ outReceived
        stderr ──▶ ChildOutput(2) ──▶ proto.childDataReceived(2, data) ──▶ errReceived
        pidfd  ──▶ ChildExit ──▶ waitpid ──▶ proto.processExited(reason)
    all outputs at their end and the child reaped ──▶ proto.processEnded(reason), once, last

When the session ends follows OpenSSH. Without a terminal it ends when the child has exited *and*
its pipes are closed: a process left in the background that still holds stdout keeps the session
open, because its output would be lost otherwise. With a terminal it ends when the child has exited:
what can be read then is read, up to `DRAIN_LIMIT`, and the terminal is closed, which hangs up
whatever is left on it.

The end of the client's data closes stdin. A terminal has no such end that a program could not undo:
as in OpenSSH nothing is sent to it.

Reaping does not depend on SIGCHLD: where there is `os.pidfd_open` (Linux), the reactor waits for
the child as for any other descriptor; elsewhere Twisted's own handlers are asked.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from subprocess import Popen
from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import (
    IConsumer,
    IProcessTransport,
    IPushProducer,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.descriptors import (
    STDERR,
    STDIN,
    STDOUT,
    ChildExit,
    ChildInput,
    ChildOutput,
    Gatherer,
    setWindowSize,
)

HIGH_WATER = 65536
"""Pending stdin, in bytes, above which the producer is paused."""

HELD_PIECE = 16384
"""A piece of at least so many bytes waits for those that come with it; a smaller one is alone."""

DRAIN_LIMIT = 1048576
"""How much is read from a terminal whose child has exited, in bytes; others may write to it on."""

EXIT_FOLLOWS_SECONDS = 0.1
"""How long the end of the last output waits for the child's exit, which mostly follows at once.

A client that has heard EOF after sending its own may close the channel, as PuTTY does, and an exit
status that is not on its way by then is lost.
"""

UNKNOWN_STATUS = 255 << 8
"""The wait status of a child whose real one nobody knows: a failure."""

HANGUP_GRACE_SECONDS = 5.0
"""How long a child may live on after SIGHUP before SIGKILL."""


@implementer(IProcessTransport, IConsumer, IPushProducer)
class ChildProcess:
    """A running child and its descriptors: the transport of `proto`.

    The child has to lead a process group of its own (`start_new_session`), because signals go to
    the whole group. The descriptors belong to this object from here on.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        proto: An IProcessProtocol.
        process: The started child.
        stdin: Write end of the child's stdin, or a duplicate of the terminal's master side.
        outputs: Read ends, by the number under which the child knows them: 1, 2.
        isTerminal: The descriptors are a terminal's master side.
        gatherer: What is held back while one read's output is passed on: the transport that it
            ends up on, so that 256 KiB make one system call there and not eight.

    Attributes:
        pid: The child's process id; None when it has been reaped.
        status: The wait status once it has been reaped.
        isPaused: Nobody wants output now: neither stdout nor stderr is read.
        whenEnded: Called with this object after `processEnded`, for whoever keeps a list.
    """

    whenEnded: Callable[[ChildProcess], object] | None = None

    _log = ClassLogger()

    def __init__(
        self,
        reactor: Any,
        proto: Any,
        process: Popen[bytes],
        stdin: int,
        outputs: Mapping[int, int],
        isTerminal: bool = False,
        gatherer: Gatherer | None = None,
    ) -> None:
        self.reactor = reactor
        self.proto = proto
        self.pid: int | None = process.pid
        self.status: int | None = None
        self.isTerminal = isTerminal
        self.gatherer = gatherer
        self._process = process
        self.isPaused = False
        self._isHolding = False
        self._ended = False
        self._drained = 0
        self._reason: Failure | None = None
        self._killTimer: Any = None
        self._lastOutput: int | None = None
        self._lastOutputTimer: Any = None
        self._producer: Any = None
        self._producerPaused = False
        self._streaming = True
        for fd in (stdin, *outputs.values()):
            os.set_blocking(fd, False)
        self._input = ChildInput(self, stdin)
        self._outputs = {
            name: ChildOutput(self, name, fd, isTerminal) for name, fd in outputs.items()
        }
        self._exit = self._watchExit()

    def start(self) -> None:
        """Connect the protocol, then begin to read."""
        self._call(self.proto.makeConnection, self)
        if not self.isPaused:
            self._startReading()
        if self._exit is None and self.status is None:
            # It may have exited before Twisted's handlers knew of it.
            self.reapProcess()

    def logPrefix(self) -> str:
        return f"child {self._process.pid}"

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.status is None else f"ended with status {self.status}"
        return f"<{type(self).__name__} {state}>"

    # The child's end.

    def reapProcess(self) -> None:
        """Collect the child's exit status if it has exited."""
        if self.pid is None:
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except InterruptedError:
            return
        except ChildProcessError:
            # Somebody else in this program collected it; there is no way to learn its status, and
            # nobody is to take it for a success.
            self._exited(UNKNOWN_STATUS, error.ProcessTerminated())
            return
        if pid:
            self._exited(status, reasonOf(status))

    def _watchExit(self) -> ChildExit | None:
        return watchExit(self, self._process.pid)

    def _forgetExit(self, pid: int) -> None:
        forgetExit(self._exit, pid)
        self._exit = None

    def _exited(self, status: int, reason: Exception) -> None:
        pid, self.pid = self.pid, None
        self.status = status
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if pid is not None:
            self._forgetExit(pid)
        if self._killTimer is not None:
            self._killTimer.cancel()
            self._killTimer = None
        self._reason = Failure(reason)
        self._input.lost()
        self._endLastOutput()
        self._call(self.proto.processExited, self._reason)
        self._drainTerminal()
        self._endIfDone()

    def _drainTerminal(self) -> None:
        """Read what is left on the terminal of a child that has exited, then close it."""
        if not self.isTerminal or self.status is None:
            return
        output = self._outputs.get(STDOUT)
        while output is not None and output.fd >= 0 and not self.isPaused:
            data, atEnd = output.readTerminal()
            if data:
                self._drained += len(data)
                self.outputReceived(STDOUT, data)
            if atEnd or not data or self._drained >= DRAIN_LIMIT:
                output.atEnd()

    def _endIfDone(self) -> None:
        if self._ended or self.status is None or self._outputs:
            return
        self._ended = True
        self.unregisterProducer()
        self._call(self.proto.processEnded, self._reason)
        if self.whenEnded is not None:
            self.whenEnded(self)

    def outputReceived(self, name: int, data: bytes) -> None:
        """Pass on what the child wrote to `name`; called by the outputs."""
        gatherer = self.gatherer
        if gatherer is None:
            self._call(self.proto.childDataReceived, name, data)
            return
        gatherer.gather()
        try:
            self._call(self.proto.childDataReceived, name, data)
        finally:
            gatherer.release()

    def outputEnded(self, name: int) -> None:
        """An output has come to its end and is closed; called by the outputs.

        The protocol hears of the last one when the child has exited, or `EXIT_FOLLOWS_SECONDS`
        later.
        """
        if self._outputs.pop(name, None) is None:
            return
        if self._outputs or self.status is not None:
            self._call(self.proto.childConnectionLost, name)
            self._endIfDone()
        else:
            self._lastOutput = name
            self._lastOutputTimer = self.reactor.callLater(
                EXIT_FOLLOWS_SECONDS, self._endLastOutput
            )

    def _endLastOutput(self) -> None:
        """Tell the protocol that the last output has ended, if that has waited."""
        name, self._lastOutput = self._lastOutput, None
        timer, self._lastOutputTimer = self._lastOutputTimer, None
        if timer is not None and timer.active():
            timer.cancel()
        if name is not None:
            self._call(self.proto.childConnectionLost, name)

    def inputEnded(self) -> None:
        """Stdin is closed, by us or by the child; called by the input."""
        self.inputDrained()
        self._call(self.proto.childConnectionLost, STDIN)

    def inputDrained(self) -> None:
        """There is room on stdin again; called by the input."""
        if self._producer is not None and (self._producerPaused or not self._streaming):
            self._producerPaused = False
            self._call(self._producer.resumeProducing)

    def _call(self, callback: Any, *args: Any) -> None:
        try:
            callback(*args)
        except Exception:  # noqa: BLE001 a protocol's bug must not leave the child unreaped
            self._log.failure("the protocol of {child} failed", child=self.logPrefix())

    # IProcessTransport, ITransport and IConsumer: towards the child.

    def write(self, data: bytes | memoryview) -> None:
        """Write to stdin; what does not fit waits. Nothing happens once stdin is closed.

        What one read of the connection brings goes in one call: the child is woken once for it.
        """
        if self._isHolding or (len(data) >= HELD_PIECE and self._heldWhileReading()):
            self._input.hold(data)
            return
        self._input.write(data)
        self._pauseAboveHighWater()

    def _heldWhileReading(self) -> bool:
        whenRead = getattr(self.gatherer, "whenRead", None)
        self._isHolding = whenRead is not None and whenRead(self._passOn)
        return self._isHolding

    def _passOn(self) -> None:
        self._isHolding = False
        self._input.flush()
        self._pauseAboveHighWater()

    def _pauseAboveHighWater(self) -> None:
        if self._input.pendingBytes > HIGH_WATER and self._producer is not None:
            if not self._producerPaused:
                self._producerPaused = True
                self._producer.pauseProducing()

    def writeSequence(self, seq: Iterable[bytes | memoryview]) -> None:
        """Write the pieces to stdin, one after the other."""
        self.write(b"".join(seq))

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Write to the child's descriptor `childFD`. Raises KeyError for any but stdin."""
        if childFD != STDIN:
            raise KeyError(childFD)
        self.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause `producer` while more than `HIGH_WATER` bytes wait for the child to read.

        Raises:
            RuntimeError: There is a producer already.
        """
        if self._producer is not None:
            raise RuntimeError(f"{self!r} already has a producer")
        if self._input.fd < 0 or self._input.closing:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None
        self._producerPaused = False

    def closeStdin(self) -> None:
        """Close stdin after what is pending; of a terminal, only our writing to it."""
        self._input.closeWhenDrained()

    def closeStdout(self) -> None:
        """Read stdout no more; the child gets SIGPIPE if it writes on."""
        self._closeOutput(STDOUT)

    def closeStderr(self) -> None:
        """Read stderr no more."""
        self._closeOutput(STDERR)

    def _closeOutput(self, name: int) -> None:
        output = self._outputs.get(name)
        if output is not None:
            output.atEnd()
            self._endLastOutput()  # we closed it: there is no exit to wait for

    def closeChildFD(self, descriptor: int) -> None:
        """Close one of the pipes by the number under which the child knows it."""
        if descriptor == STDIN:
            self.closeStdin()
        else:
            self._closeOutput(descriptor)

    def loseConnection(self) -> None:
        """Close all pipes, stdin after what is pending. The child lives on; see `hangUp`."""
        self.closeStdin()
        self.closeStdout()
        self.closeStderr()

    def signalProcess(self, signalID: str | int) -> None:
        """Send a signal to the child's process group.

        Args:
            signalID: A number, or a name with or without "SIG": "TERM", "HUP", "INT", "USR1".

        Raises:
            ProcessExitedAlready: The child has been reaped.
            ValueError: There is no such signal.
        """
        number = _signalNumber(signalID)
        if self.pid is None:
            raise error.ProcessExitedAlready()
        try:
            self._sendSignal(number)
        except ProcessLookupError:
            raise error.ProcessExitedAlready() from None

    def _sendSignal(self, number: int) -> None:
        assert self.pid is not None  # noqa: S101 the caller has looked
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # Not yet, or no longer, the leader of a group.
            os.kill(self.pid, number)

    def resize(self, rows: int, columns: int, width: int, height: int) -> None:
        """Set the size of the child's terminal, in characters and pixels; the kernel tells it."""
        output = self._outputs.get(STDOUT)
        if self.isTerminal and output is not None and output.fd >= 0:
            setWindowSize(output.fd, (rows, columns, width, height))

    def hangUp(self, graceSeconds: float = HANGUP_GRACE_SECONDS) -> None:
        """The client is gone: close everything, SIGHUP, and SIGKILL after the grace.

        The child is reaped also when nobody listens any more. May be called again.
        """
        if self._killTimer is None and self.pid is not None:
            self._killTimer = self.reactor.callLater(graceSeconds, self._kill)
            try:
                self.signalProcess(signal.SIGHUP)
                # One that is stopped does not see SIGHUP before it goes on.
                self.signalProcess(signal.SIGCONT)
            except (error.ProcessExitedAlready, PermissionError):
                pass
        self._input.lost()
        self.closeStdout()
        self.closeStderr()

    def _kill(self) -> None:
        self._killTimer = None
        try:
            self.signalProcess(signal.SIGKILL)
        except error.ProcessExitedAlready:
            pass
        except PermissionError:
            self._log.warn(
                "{child} may not be killed: it runs as another user", child=self.logPrefix()
            )

    def killNow(self) -> None:
        """SIGKILL at once, for a server that ends."""
        if self._killTimer is not None:
            self._killTimer.cancel()
        self._kill()

    # IPushProducer: from the child.

    def pauseProducing(self) -> None:
        """Read neither stdout nor stderr until `resumeProducing`."""
        self.isPaused = True
        for output in self._outputs.values():
            output.stopReading()

    def resumeProducing(self) -> None:
        """Read again."""
        if not self.isPaused:
            return
        self.isPaused = False
        if self.status is not None and self.isTerminal:
            # In a turn of its own: whoever resumes us is in the middle of sending.
            self.reactor.callLater(0, self._drainTerminal)
        else:
            self._startReading()

    def stopProducing(self) -> None:
        """Nobody wants the output any more."""
        self.loseConnection()

    def _startReading(self) -> None:
        for output in tuple(self._outputs.values()):
            output.startReading()

    def getPeer(self) -> Any:
        """The child, for logs."""
        return self

    def getHost(self) -> Any:
        """The child, for logs."""
        return self


def watchExit(child: Any, pid: int) -> ChildExit | None:
    """Have a child's `reapProcess` called when it has exited.

    Args:
        child: Has `reactor`, `logPrefix` and `reapProcess`.
        pid: Its process.

    Returns:
        What watches it, for `forgetExit`.
    """
    try:
        return ChildExit(child, os.pidfd_open(pid))
    except (AttributeError, OSError):
        # Not Linux, or no descriptor to spare.
        from twisted.internet import process as twistedProcess

        twistedProcess.reapProcessHandlers[pid] = child
        return None


def forgetExit(watching: ChildExit | None, pid: int) -> None:
    """The child is reaped: watch it no longer."""
    if watching is not None:
        watching.close()
        return
    from twisted.internet import process as twistedProcess

    twistedProcess.reapProcessHandlers.pop(pid, None)


def reasonOf(status: int) -> Exception:
    """What a wait status is called in Twisted."""
    if os.WIFSIGNALED(status):
        return error.ProcessTerminated(signal=os.WTERMSIG(status), status=status)
    exitCode = os.WEXITSTATUS(status)
    if exitCode:
        return error.ProcessTerminated(exitCode=exitCode, status=status)
    return error.ProcessDone(status)


def _signalNumber(signalID: str | int) -> int:
    if isinstance(signalID, int):
        return int(signalID)
    name = signalID if signalID.startswith("SIG") else "SIG" + signalID
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise ValueError(f"no signal of the name {signalID!r}") from None
