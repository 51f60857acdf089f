"""A program that runs far away, as a program here uses it: written to, read from, waited for.

Rule: bytes in, bytes out, each once and in order. What nobody reads is withheld from the server
once `HIGH_WATER` bytes wait, so that memory stays bounded; and nothing waits for ever without a
reason: a read that only the other, unread output holds up fails, and says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import IO, Any

from twisted.internet import defer

from limpet.client.errors import ClientError, CommandFailed, ConnectionEnded, shown
from limpet.client.pipeinput import PipeInput, watchable
from limpet.client.programs import Ending, Program, ProgramChannel
from limpet.core.outbound import OutboundBuffer

HIGH_WATER = 1 << 20
"""Bytes that wait to be read above which the server gets no more window (ours)."""

MAX_UNREAD = 16 << 20
"""Most bytes of one output that wait while somebody reads the other one (ours)."""

READ_SIZE = 65536
"""How much of a file is sent at a time, in bytes."""

STDOUT = "stdout"
"""For `stderr`: the same as standard output, in the order in which the server sends both."""

DISCARD = "discard"
"""For `stderr`: nowhere."""


@dataclass(frozen=True)
class Result:
    """What a command did.

    Attributes:
        command: The command.
        stdout: What it wrote to standard output.
        stderr: What it wrote to standard error.
        exitStatus: Its exit status; None where a signal ended it, or the server does not say.
        exitSignal: The signal that ended it, "TERM"; None where none did.
    """

    command: str
    stdout: bytes
    stderr: bytes
    exitStatus: int | None
    exitSignal: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended with status 0."""
        return self.exitStatus == 0

    def check(self) -> Result:
        """This result; CommandFailed where the command did not succeed."""
        if self.succeeded:
            return self
        raise CommandFailed(
            describeEnding(self.command, self.exitStatus, self.exitSignal, self.stderr), self
        )


def describeEnding(
    command: str, exitStatus: int | None, exitSignal: str | None, stderr: bytes = b""
) -> str:
    """One line on how a command ended, with the last line of its errors."""
    if exitSignal is not None:
        how = f"was ended by signal {exitSignal}"
    elif exitStatus is not None:
        how = f"ended with status {exitStatus}"
    else:
        how = "ended, and the server did not say how"
    said = shown(stderr.strip().rpartition(b"\n")[2][:200])
    text = f"{command} {how}"
    return f"{text}: {said}" if said else text


class _Output:
    """One output: what has come and was not read yet."""

    def __init__(self) -> None:
        self.waiting = OutboundBuffer()
        self.ended = False
        self.reader: defer.Deferred[None] | None = None

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self.waiting.size

    def take(self, most: int = -1) -> bytes:
        """All that waits, or `most` bytes of it."""
        return self.waiting.take(self.waiting.size if most < 0 else most)


class RemoteProcess:
    """A program that was started.

    Args:
        program: What to run.
        closed: The connection's own end: gives a Deferred of why it ended.
        stderr: Where its errors go: None for an output of their own, `STDOUT` or `DISCARD`.
        input: All that it is to read, then its input ends; None leaves that to `write`.

    Attributes:
        program: What runs.
        channel: Its channel.
        ending: How it ended; None while it runs.
    """

    def __init__(
        self,
        program: Program,
        closed: Callable[[], defer.Deferred[ClientError | None]],
        stderr: str | None = None,
        input: bytes | IO[bytes] | None = None,
    ) -> None:
        self.program = program
        self.channel = ProgramChannel(program, self)
        self.ending: Ending | None = None
        self.started: defer.Deferred[RemoteProcess] = defer.Deferred(lambda _: self.abort())
        self._closedConnection = closed
        self._stderr = stderr
        self._input = input
        self._out = _Output()
        self._err = _Output()
        self._unlimited = False
        self._failure: ClientError | None = None
        self._waiting: list[defer.Deferred[Any]] = []
        self._writers: list[defer.Deferred[None]] = []

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def write(self, data: bytes) -> None:
        """Send `data` to the program's standard input; what cannot go at once waits in memory.

        Wait for `drained` now and then where there is much of it.
        """
        self.channel.write(data)

    def drained(self) -> defer.Deferred[None]:
        """A Deferred that fires when nothing of what was written waits in memory any more.

        It fails with `ConnectionEnded` where it never will.
        """
        if not self.channel.bufferedBytes:
            return defer.succeed(None)
        if self.ending is not None:
            return defer.fail(self._failure or ConnectionEnded(f"{self.program} has ended"))
        waiting: defer.Deferred[None] = defer.Deferred(self._writers.remove)
        self._writers.append(waiting)
        return waiting

    def writeEOF(self) -> None:
        """The program's standard input is at its end, behind all that was written."""
        self.channel.sendEOF()

    def sendFile(self, file: IO[bytes]) -> None:
        """Send a file's bytes, as fast as the program takes them, and then the end of its input.

        A pipe, a socket or a terminal is read when it has something, and must not be closed before
        its end; any other file is read in the reactor's own thread, so that it should not have to
        be waited for. Where it cannot be read, the program is given up, and `wait` fails.
        """
        reactor = getattr(getattr(self.channel.conn, "transport", None), "clock", None)
        number = watchable(file) if hasattr(reactor, "addReader") else None
        if number is None:
            self.channel.registerProducer(_FileProducer(file, self), False)
            return
        pipe = PipeInput(reactor, file, number, READ_SIZE, self.channel.write, self._pipeEnded)
        pipe.resumeProducing()
        self.channel.registerProducer(pipe, True)

    def _pipeEnded(self, why: Exception | None) -> None:
        self.channel.unregisterProducer()
        if why is None:
            self.channel.sendEOF()
        else:
            self.inputFailed(why)

    def inputFailed(self, why: Exception) -> None:
        """What it was to read cannot be read: half of it is not what was meant."""
        self._failure = ClientError(f"the input of {self.program} cannot be read: {why}")
        self._failure.__cause__ = why
        self.abort()

    def signal(self, name: str) -> None:
        """Send the program a signal, "TERM"; servers need not pass it on (OpenSSH does)."""
        self.channel.sendSignal(name)

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        self.channel.resize(rows, columns)

    def close(self) -> None:
        """Close the channel, behind what was written: the server hangs up on the program."""
        self.channel.loseConnection()

    def abort(self) -> None:
        """Close the channel at once; what still waits is given up."""
        self.channel.abortConnection()

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def read(self, most: int = -1) -> defer.Deferred[bytes]:
        """What the program wrote to standard output.

        Args:
            most: How many bytes at most; any number where it is negative.

        Returns:
            A Deferred of at least one byte; of none at the end of the output. It fails with a
            `ClientError` where the connection ended first.
        """
        return self._read(self._out, most)

    def readError(self, most: int = -1) -> defer.Deferred[bytes]:
        """What it wrote to standard error; as `read`."""
        return self._read(self._err, most)

    async def readAll(self) -> bytes:
        """All that it still writes to standard output."""
        chunks = []
        try:
            while chunk := await self.read():
                chunks.append(chunk)
        except BaseException:
            # Cancelled, or the connection is gone: what came can still be read.
            self.unread(b"".join(chunks))
            raise
        return b"".join(chunks)

    async def readUntil(self, mark: bytes, most: int = HIGH_WATER) -> bytes:
        """Standard output up to and with the first `mark`; or up to its end, where there is none.

        Raises:
            ValueError: There is none within `most` bytes; nothing of them is lost.
        """
        out = self._out
        searched = 0
        while True:
            at = out.waiting.find(mark, searched)
            if at >= 0:
                return self._taken(out, at + len(mark))
            before = out.size
            if before > most:
                raise ValueError(f"no {mark!r} within {most} bytes")
            # Nothing is taken meanwhile: who is cancelled here loses nothing.
            await self._arrival(out)
            if out.size == before:
                return self._taken(out, -1)
            searched = max(0, before - len(mark) + 1)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The lines of standard output, with their ends."""
        return self._lines()

    async def _lines(self) -> AsyncIterator[bytes]:
        while line := await self.readUntil(b"\n"):
            yield line

    def unread(self, data: bytes) -> None:
        """Put back what was read of standard output last; the next read gives it again."""
        self._out.waiting.putBack(data)

    def unreadError(self, data: bytes) -> None:
        """The same of standard error."""
        self._err.waiting.putBack(data)

    def _read(self, output: _Output, most: int) -> defer.Deferred[bytes]:
        if output.size and output.reader is None:
            return defer.succeed(self._taken(output, most))
        if most == 0 and self._failure is None:
            return defer.succeed(b"")
        return self._arrival(output).addCallback(lambda ignored: self._taken(output, most))

    def _taken(self, output: _Output, most: int) -> bytes:
        data = output.take(most)
        self._regulate()
        return data

    def _arrival(self, output: _Output) -> defer.Deferred[None]:
        """Fires when more has come, or when no more will."""
        if output.reader is not None:
            raise RuntimeError("somebody waits for this output already")
        if self._failure is not None:
            return defer.fail(self._failure)
        if output.ended:
            return defer.succeed(None)

        def cancelled(ignored: Any) -> None:
            output.reader = None

        output.reader = reading = defer.Deferred[None](cancelled)
        self._regulate()
        return reading

    def _regulate(self) -> None:
        """Let the server send as long as somebody reads."""
        if self._unlimited:
            return
        out, err = self._out, self._err
        full = out.size + err.size >= HIGH_WATER
        for output, other, name in ((out, err, "stderr"), (err, out, "stdout")):
            if output.reader is None:
                continue
            # Both come over one window: who reads one has to be sent the other as well.
            if other.size < MAX_UNREAD:
                full = False
                continue
            reader, output.reader = output.reader, None
            reader.errback(
                ClientError(
                    f"{MAX_UNREAD >> 20} MiB of {name} are unread, and nothing else comes before"
                    " them: read both outputs, or start the program with stderr=STDOUT or DISCARD"
                )
            )
        if full:
            self.channel.pauseProducing()
        else:
            self.channel.resumeProducing()

    def collect(self) -> None:
        """Take everything that comes, whether or not somebody reads it."""
        self._unlimited = True
        self.channel.resumeProducing()

    def wait(self) -> defer.Deferred[Ending]:
        """How it ended, once it has.

        Output that nobody reads holds a program up: read it first, or `collect` it.

        Returns:
            A Deferred of the `Ending`; it fails with a `ClientError` where the connection ended
            before the server said.
        """
        if self._failure is not None:
            return defer.fail(self._failure)
        if self.ending is not None and not self.ending.lost:
            return defer.succeed(self.ending)
        waiting: defer.Deferred[Ending] = defer.Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def result(self) -> Result:
        """What was collected, and how it ended so far."""
        ending = self.ending or Ending()
        return Result(
            self.program.command.decode("utf-8", "backslashreplace"),
            self._out.take(),
            self._err.take(),
            ending.exitStatus,
            ending.exitSignal,
        )

    # ── what the channel tells ────────────────────────────────────────────────────────────────

    def programAsked(self) -> None:
        source, self._input = self._input, None
        if isinstance(source, bytes):
            if source:
                self.write(source)
            self.writeEOF()
        elif source is not None:
            self.sendFile(source)

    def programStarted(self) -> None:
        self.started.callback(self)

    def programRefused(self, why: ClientError) -> None:
        self._failure = why
        self.ending = Ending()
        if not self.started.called:
            self.started.errback(why)
        self._endAll()

    def outputReceived(self, data: bytes) -> None:
        self._take(self._out, data)

    def errorReceived(self, data: bytes) -> None:
        if self._stderr == STDOUT:
            self._take(self._out, data)
        elif self._stderr != DISCARD:
            self._take(self._err, data)

    def _take(self, output: _Output, data: bytes) -> None:
        output.waiting.append(data)
        self._wake(output)
        self._regulate()

    def _wake(self, output: _Output) -> None:
        reader, output.reader = output.reader, None
        if reader is not None:
            reader.callback(None)

    def outputEnded(self) -> None:
        """Told before `programEnded`, which knows whether this is a true end."""
        if self.channel.inputEnded:
            self._endOutputs()

    def _endOutputs(self) -> None:
        for output in (self._out, self._err):
            output.ended = True
            self._wake(output)

    def outputPaused(self, paused: bool) -> None:
        if not paused:
            writers, self._writers = self._writers, []
            for writer in writers:
                writer.callback(None)

    def programEnded(self, ending: Ending) -> None:
        self.ending = ending
        if ending.lost:
            # Why, the connection knows in a moment.
            self._closedConnection().addCallback(self._lost)
            return
        if not self.started.called:
            self.started.errback(ConnectionEnded(f"{self.program} was given up"))
        self._endOutputs()
        self._endAll()

    def _lost(self, why: ClientError | None) -> None:
        text = f"the connection ended while {self.program} ran"
        self._failure = ConnectionEnded(f"{text}: {why}" if why is not None else text)
        if not self.started.called:
            self.started.errback(self._failure)
        self._endAll()

    def _endAll(self) -> None:
        """Answer everybody who waits."""
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if self._failure is not None:
                deferred.errback(self._failure)
            else:
                deferred.callback(self.ending)
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.errback(self._failure or ConnectionEnded(f"{self.program} has ended"))
        for output in (self._out, self._err):
            reader, output.reader = output.reader, None
            if reader is not None:
                if self._failure is not None:
                    reader.errback(self._failure)
                else:
                    reader.callback(None)


class _FileProducer:
    """Sends a file, a piece whenever the channel asks (IPullProducer)."""

    def __init__(self, file: IO[bytes], process: RemoteProcess) -> None:
        self._file = file
        self._process = process

    def resumeProducing(self) -> None:
        channel = self._process.channel
        try:
            data = self._file.read(READ_SIZE)
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"it gives {type(data).__name__} where it should give bytes")
        except Exception as error:  # noqa: BLE001 a file is anything that has a method `read`
            channel.unregisterProducer()
            self._process.inputFailed(error)
            return
        if data:
            channel.write(bytes(data))
        else:
            channel.unregisterProducer()
            channel.sendEOF()

    def stopProducing(self) -> None:
        """The channel is closed."""
