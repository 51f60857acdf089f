"""Servers on plain asyncio: where they listen, and the coroutines that are their programs.

    async def greet(program):
        program.write(b"Hello!\n")

    registerAdapter(limpet.aio.sessions(greet), User, ISession)
    listener = await limpet.aio.listen(factory, 2222)

Rule: a program's streams are bounded. What it does not read is withheld from the client by the
channel's window (RFC 4254 section 5.2), and `drain` waits for a client that does not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ProcessTerminated
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.aio.loops import reactor_for
from limpet.client.programs import Terminal
from limpet.interfaces import ISession, ISessionSetEnv
from limpet.ssh.session import wrapProtocol
from limpet.ssh.session.signals import signalNumber

MAX_LINE = 64 * 1024
"""How long a line of a program's input may be, in bytes (asyncio's own limit); twice of that may
wait for a program that does not read."""

FAILED = 1
"""The exit status of a program that raised something, as Python's own."""

# ── Listening ─────────────────────────────────────────────────────────────────────────────────


class Listener:
    """A server that listens; made by `listen`.

    Attributes:
        port: The port that it listens on.
        twisted: The `IListeningPort` below.
    """

    def __init__(self, port: Any) -> None:
        self.port: int = port.getHost().port
        self.twisted = port

    async def serve_forever(self) -> None:
        """Wait until the task is cancelled, by Ctrl-C for one; then listen no more."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def close(self) -> None:
        """Listen no more; connections that there are go on."""
        stopping = self.twisted.stopListening()
        if isinstance(stopping, Deferred):
            await stopping.asFuture(asyncio.get_running_loop())

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


async def listen(factory: Any, port: int = 0, host: str = "127.0.0.1") -> Listener:
    """Listen for clients on the running loop, with a server of your own.

    Args:
        factory: An `SSHFactory`, as docs/server.md makes one.
        port: Where; 0 takes a free one.
        host: At which address: "0.0.0.0" for all of IPv4, "::" for all of IPv6.

    Raises:
        OSError: It cannot listen there.
    """
    reactor = reactor_for(asyncio.get_running_loop())
    try:
        return Listener(reactor.listenTCP(port, factory, interface=host))
    except CannotListenError as failure:
        why = failure.socketError
        raise why if isinstance(why, OSError) else OSError(str(failure)) from None


# ── Programs ──────────────────────────────────────────────────────────────────────────────────


class _Pace(asyncio.ReadTransport):
    """What a stream's reader asks to wait when too much has come: the session."""

    def __init__(self, process: Any) -> None:
        super().__init__()
        self._process = process

    def pause_reading(self) -> None:
        self._process.pauseProducing()

    def resume_reading(self) -> None:
        self._process.resumeProducing()


class _Input(Protocol):
    """Takes what the client sends."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed_data(data)


class Program:
    """A command or a shell that a client asked for, played by a coroutine; see `sessions`.

    Attributes:
        user: The avatar of who logged in.
        command: The command; None where the client wants a shell.
        environment: The variables that the client sent. Nothing heeds them.
        terminal: The terminal that the client has, with its present size; None for pipes. The
            client leaves it to the program to echo and edit what is typed.
    """

    def __init__(
        self,
        process: Any,
        user: Any,
        command: str | None,
        environment: dict[str, str],
        terminal: Terminal | None,
    ) -> None:
        self.user = user
        self.command = command
        self.environment = environment
        self.terminal = terminal
        self._process = process
        self._input = asyncio.StreamReader(MAX_LINE)
        self._input.set_transport(_Pace(process))
        self._may_write = asyncio.Event()
        self._may_write.set()

    def write(self, data: bytes) -> None:
        """Write `data` to standard output; `drain` now and then where there is much of it."""
        self._process.write(data)

    def write_error(self, data: bytes) -> None:
        """Write `data` to standard error."""
        self._process.errReceived(data)

    async def drain(self) -> None:
        """Wait until the client has taken so much that more may be written."""
        await self._may_write.wait()

    async def read(self, most: int = MAX_LINE) -> bytes:
        """At least one byte of standard input, `most` at most; none at the end."""
        return await self._input.read(most)

    async def read_until(self, mark: bytes) -> bytes:
        """Standard input up to and with the first `mark`, up to its end, or of `MAX_LINE` bytes."""
        try:
            return await self._input.readuntil(mark)
        except asyncio.IncompleteReadError as end:
            return end.partial
        except asyncio.LimitOverrunError as longer:
            # It is the client's to send one, and no mistake of the program's.
            return await self._input.read(longer.consumed)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.read_until(b"\n"):
            yield line

    # What a session asks of who writes to it.

    def pauseProducing(self) -> None:
        """The client does not take what is written."""
        self._may_write.clear()

    def resumeProducing(self) -> None:
        """It does again."""
        self._may_write.set()

    def stopProducing(self) -> None:
        """It never will, as it has gone."""
        self._may_write.set()


@implementer(ISession, ISessionSetEnv)
class _Session:
    """The session of one channel, and its program."""

    _log = ClassLogger()

    def __init__(
        self, handle: Callable[[Program], Coroutine[Any, Any, int | None]], user: Any
    ) -> None:
        self._handle = handle
        self._user = user
        self._environment: dict[str, str] = {}
        self._terminal: Terminal | None = None
        self._program: Program | None = None
        self._task: asyncio.Task[int] | None = None
        self._signal: int | None = None

    def setEnv(self, name: bytes, value: bytes) -> None:
        self._environment[_text(name)] = _text(value)

    def getPty(self, term: bytes, windowSize: Any, modes: list[tuple[int, int]]) -> None:
        self._terminal = Terminal(_text(term), windowSize[0], windowSize[1], tuple(modes))

    def windowChanged(self, newWindowSize: Any) -> None:
        program = self._program
        if program is not None and program.terminal is not None:
            rows, columns = newWindowSize[:2]
            program.terminal = replace(program.terminal, rows=rows, columns=columns)

    def openShell(self, proto: Any) -> None:
        self._start(proto, None)

    def execCommand(self, proto: Any, command: bytes) -> None:
        self._start(proto, _text(command))

    def _start(self, process: Any, command: str | None) -> None:
        program = Program(process, self._user, command, self._environment, self._terminal)
        self._program = program
        process.makeConnection(wrapProtocol(_Input(program._input)))
        process.registerProducer(program, True)
        self._task = asyncio.get_running_loop().create_task(self._play(program))
        # A task that is cancelled before its first step tells nobody else of its end.
        self._task.add_done_callback(partial(self._ended, process))

    async def _play(self, program: Program) -> int:
        try:
            return await self._handle(program) or 0
        except SystemExit as exit:
            # It would end the loop, and with it everybody's sessions.
            if exit.code is None or isinstance(exit.code, int):
                return exit.code or 0
            program.write_error(f"{exit.code}\n".encode("utf-8", "backslashreplace"))
            return FAILED

    def _ended(self, process: Any, task: asyncio.Task[int]) -> None:
        if task.cancelled():
            ended = ProcessTerminated(None if self._signal else FAILED, self._signal)
        elif (error := task.exception()) is not None:
            # A program may raise anything, and ends by it alone.
            self._log.failure("the program of a session failed", Failure(error))
            ended = ProcessTerminated(FAILED)
        else:
            ended = ProcessTerminated(task.result())
        process.unregisterProducer()
        process.processEnded(Failure(ended))

    def signalReceived(self, name: bytes) -> None:
        """The client sends a signal: the program is cancelled, and said to have ended by it.

        Raises:
            ValueError: There is no such signal, or no program.
        """
        self._signal = signalNumber(name)
        if self._signal is None or self._task is None:
            raise ValueError("no such signal, or nobody to send it to")
        self._task.cancel()

    def eofReceived(self) -> None:
        if self._program is not None:
            self._program._input.feed_eof()

    def closed(self) -> None:
        if self._task is not None:
            self._task.cancel()


def sessions(handle: Callable[[Program], Coroutine[Any, Any, int | None]]) -> Callable[[Any], Any]:
    """What makes the `ISession` of an avatar, in which a coroutine plays every shell and command.

    Register it as the adapter of your avatar: `registerAdapter(sessions(handle), User, ISession)`.

    Args:
        handle: A coroutine function. It gets the `Program`, and what it returns is the exit status,
            None being 0. `sys.exit` ends it alone, too. Where it raises, that is logged and the
            status is 1. It is cancelled when the client goes, or sends a signal.
    """
    return lambda user: _Session(handle, user)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
