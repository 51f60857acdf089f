"""SFTP workers out of one process that has everything imported (`limpet.files.nursery`).

Rule: a session never waits for it: where the nursery cannot take it up, the worker is started by
itself, as everywhere where there is no nursery. It costs 30 ms of processor time to start Python
and import what a worker needs, and 1 ms to fork one that has.

It is there from the server's start, and made anew by the next session when it is gone. The workers
are children of the nursery and not of this process: their ends and their signals go by the socket
between the two.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.descriptors import ChildExit, Gatherer
from limpet.files.nursery import MAX_MESSAGE, SEPARATOR, START
from limpet.unix.process import UNKNOWN_STATUS, ChildProcess, forgetExit, reasonOf, watchExit

STATUS_NOT_STARTED = 126 << 8
"""The wait status of a worker that could not be forked, as of a program that cannot be run."""

BIRTH_SECONDS = 30.0
"""How long a session waits for its worker before the nursery is given up (ours; it takes 1 ms)."""

LAST_SIGNALS_SECONDS = 0.5
"""How long a server that ends waits until the last signals are on their way (ours)."""


class Unavailable(Exception):
    """The nursery cannot take it up just now."""


class Worker(ChildProcess):
    """A worker of the nursery: its pipes are ours, its process is not our child.

    Attributes:
        pid: 0 until the nursery has told it.
    """

    def __init__(
        self,
        reactor: Any,
        proto: Any,
        stdin: int,
        outputs: Mapping[int, int],
        signal: Callable[[int], None],
        gatherer: Gatherer | None = None,
    ) -> None:
        process: Any = SimpleNamespace(pid=0, returncode=None)
        super().__init__(reactor, proto, process, stdin, outputs, gatherer=gatherer)
        self._signal = signal
        # Runs out when there is no worker in time.
        self.birth: Any = None

    def _watchExit(self) -> ChildExit | None:
        return None

    def _forgetExit(self, pid: int) -> None:
        """Nothing of ours waits for it."""

    def _sendSignal(self, number: int) -> None:
        self._signal(number)

    def reapProcess(self) -> None:
        """The nursery does this."""

    def born(self, pid: int) -> None:
        """The nursery has forked it."""
        self._stopWaiting()
        if self.pid is not None:
            self.pid = self._process.pid = pid

    def ended(self, status: int) -> None:
        """The nursery has reaped it."""
        self._stopWaiting()
        if self.pid is not None:
            self._exited(status, reasonOf(status))

    def _stopWaiting(self) -> None:
        birth, self.birth = self.birth, None
        if birth is not None and birth.active():
            birth.cancel()


@implementer(IReadWriteDescriptor)
class Nursery:
    """The nursery, seen from the server.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        environment: That of the workers.
        source: Where they find the package.
        umask: Theirs.
    """

    _log = ClassLogger()

    def __init__(
        self, reactor: Any, environment: Mapping[str, str], source: str, umask: int
    ) -> None:
        self._reactor = reactor
        self._environment = environment
        self._source = source
        self._umask = umask
        self._numbers = itertools.count(1)
        self._workers: dict[bytes, Worker] = {}
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # What the socket has no room for, in order; a signal that waits already comes once.
        self._waiting: dict[bytes, None] = {}
        self._hasWorked = False
        self._isOver = not hasattr(os, "pidfd_open")

    def begin(self) -> None:
        """Have it ready for the first session, if there can be one."""
        with suppress(Unavailable):
            self._begin()

    def spawn(
        self, proto: Any, options: Mapping[str, str], gatherer: Gatherer | None = None
    ) -> Worker:
        """Have a worker forked.

        Returns:
            It, before anything has been called on `proto`; it may not be there yet.

        Raises:
            Unavailable: There is no nursery, or it has no ear.
            OSError: There are no descriptors for the pipes.
        """
        if self._isOver:
            raise Unavailable
        connection = self._connection or self._begin()
        number = b"%d" % next(self._numbers)
        try:
            fields = [os.fsencode(f"{name}={value}") for name, value in options.items()]
        except UnicodeEncodeError as failure:
            raise Unavailable from failure
        message = SEPARATOR.join((b"start", number, *fields))
        if any(SEPARATOR in field for field in fields) or len(message) > MAX_MESSAGE:
            raise Unavailable
        fds: list[int] = []
        try:
            for _ in range(2):
                fds.extend(os.pipe())
            stdinRead, stdinWrite, stdoutRead, stdoutWrite = fds
            try:
                socket.send_fds(connection, [message], [stdinRead, stdoutWrite])
            except OSError as failure:
                raise Unavailable from failure
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        os.close(stdinRead)
        os.close(stdoutWrite)

        def signal(value: int) -> None:
            self._send(b"signal", number, b"%d" % value)

        worker = Worker(
            self._reactor, proto, stdinWrite, {1: stdoutRead}, signal, gatherer=gatherer
        )
        self._workers[number] = worker
        worker.birth = self._reactor.callLater(BIRTH_SECONDS, self._giveUp)
        return worker

    def _giveUp(self) -> None:
        """It does not fork any more: its sessions end, and the next one gets another."""
        if self._process is not None:
            self._log.error("the process that forks sftp workers does not answer; it is killed")
            # Not by Popen, which would reap it if it has just ended; `_Reaping` does that.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def _begin(self) -> socket.socket:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, self._source],
                stdin=there.fileno(),
                stdout=subprocess.DEVNULL,
                env=dict(self._environment),
                cwd="/",
                close_fds=True,
                restore_signals=True,
                start_new_session=True,
                umask=self._umask,
            )
        except OSError as failure:
            here.close()
            raise Unavailable from failure
        finally:
            there.close()
        here.setblocking(False)
        self._connection = here
        self._hasWorked = False
        self._reactor.addReader(self)
        return here

    def close(self) -> None:
        """Have it end with the last of its workers; none begins any more."""
        self._isOver = True
        if self._connection is None:
            return
        self._send(b"end")
        deadline = time.monotonic() + LAST_SIGNALS_SECONDS
        while self._waiting and (left := deadline - time.monotonic()) > 0:
            ready = select.poll()
            ready.register(self._connection, select.POLLIN | select.POLLOUT)
            for _, event in ready.poll(left * 1000):
                if event & ~select.POLLOUT:
                    self.doRead()
                if event & select.POLLOUT:
                    self.doWrite()

    # IReadWriteDescriptor.

    def fileno(self) -> int:
        return -1 if self._connection is None else self._connection.fileno()

    def logPrefix(self) -> str:
        return "the nursery of SFTP workers"

    def doRead(self) -> None:
        """Take what it tells."""
        assert self._connection is not None  # noqa: S101 the reactor reads nothing else
        try:
            message = self._connection.recv(MAX_MESSAGE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if not message:
            self._lost()
            return
        what, number, value = message.split(SEPARATOR)
        self._hasWorked = True
        if what == b"born":
            self._workers[number].born(int(value))
            return
        worker = self._workers.pop(number)
        if what == b"ended":
            worker.ended(int(value))
        else:
            self._log.error(
                "no sftp worker could be started: {reason}", reason=os.strerror(int(value))
            )
            worker.ended(STATUS_NOT_STARTED)

    def doWrite(self) -> None:
        """Send what has waited."""
        while self._waiting and self._connection is not None:
            message = next(iter(self._waiting))
            try:
                self._connection.send(message)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # One that does not listen any more is found out otherwise, and its workers see the
                # end of their input in any case.
                self._waiting.clear()
                break
            del self._waiting[message]
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw the socket's end."""
        self._lost()

    def _lost(self) -> None:
        """It has ended: as it was told to, or with all of its sessions."""
        connection, self._connection = self._connection, None
        process, self._process = self._process, None
        if connection is None or process is None:
            return
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._waiting.clear()
        connection.close()
        _Reaping(self._reactor, process)
        if not self._isOver:
            self._log.error("the process that forks sftp workers is gone")
        if not self._hasWorked:
            # It would be no better the next time: each worker is started by itself from now on.
            self._isOver = True
        workers, self._workers = self._workers, {}
        for worker in workers.values():
            worker.ended(UNKNOWN_STATUS)

    def _send(self, *fields: bytes) -> None:
        if self._connection is None:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        wasIdle = not self._waiting
        self._waiting[SEPARATOR.join(fields)] = None
        if wasIdle:
            self.doWrite()
            if self._waiting:
                self._reactor.addWriter(self)


class _Reaping:
    """A nursery that is told to end, until it has."""

    def __init__(self, reactor: Any, process: subprocess.Popen[bytes]) -> None:
        self.reactor = reactor
        self._process = process
        self._exit = watchExit(self, process.pid)

    def logPrefix(self) -> str:
        return "the nursery of SFTP workers"

    def reapProcess(self) -> None:
        if self._process.poll() is not None:
            forgetExit(self._exit, self._process.pid)
