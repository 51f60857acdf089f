"""The process that SFTP workers are forked from: it has imported all that they need, and no more.

Rule: it holds nothing that a user may not see, as it is a fresh interpreter that was told nothing;
it reads no file and becomes nobody. A child of it has its own two pipes and nothing else of it.

    python -I -S -c START SRC           with a SOCK_SEQPACKET socket to the server as descriptor 0

    server ──▶ "start" NUMBER key=value …, and two descriptors      a session begins
    server ──▶ "signal" NUMBER SIGNAL                               to the worker's process group
    server ──▶ "end"                                                no session begins any more
    nursery ──▶ "born" NUMBER PID
    nursery ──▶ "ended" NUMBER STATUS                               a wait status; it is reaped
    nursery ──▶ "failed" NUMBER ERRNO                               there is no such worker

Fields are separated by NUL bytes. Signals are sent here, where a number can belong to no other
process, because it has not been reaped. Told to end, or left by the server, the nursery ends when
its last worker has, as these do when their input ends.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket

from limpet.files import worker

START = worker.START.replace("limpet.files.worker", "limpet.files.nursery")
"""What the interpreter runs."""

MAX_MESSAGE = 65536
"""Longest message, in bytes: one packet of the socket."""

SEPARATOR = b"\0"
"""Stands between the fields of a message; no option can hold it, nor could an argument."""

SERVER = 0
"""The descriptor of the socket."""


def main(arguments: list[str]) -> int:
    """Serve the server; returns the exit status."""
    del arguments
    connection = socket.socket(fileno=SERVER)
    # Whoever started the server may have ignored it, which is inherited: no status would be left.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # What is here now stays as it is: the children share its memory.
    gc.freeze()
    return Nursery(connection).run()


class Nursery:
    """The loop.

    Args:
        connection: To the server.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._children: dict[int, tuple[bytes, int]] = {}
        self._pids: dict[bytes, int] = {}
        self._isEnding = False

    def run(self) -> int:
        """Fork and reap until the server goes."""
        server = self._connection.fileno()
        while not self._isEnding or self._children:
            for descriptor, _ in self._poll.poll():
                if descriptor == server:
                    self._serve()
                else:
                    self._reap(descriptor)
        return 0

    def _serve(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._connection, MAX_MESSAGE, 2)
        except ConnectionError:
            message, descriptors = b"", []
        if not message:
            self._isEnding = True
            self._poll.unregister(self._connection)
            return
        what, *fields = message.split(SEPARATOR)
        try:
            if what == b"start":
                self._start(fields[0], fields[1:], descriptors)
            elif what == b"end":
                self._isEnding = True
            elif fields[0] in self._pids:
                self._signal(self._pids[fields[0]], int(fields[1]))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, number: bytes, options: list[bytes], descriptors: list[int]) -> None:
        if len(descriptors) != 2:
            # The system drops those that there is no room for.
            self._tell(b"failed", number, errno.EMFILE)
            return
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(b"failed", number, error.errno or 0)
            return
        if not pid:
            self._becomeWorker(options, descriptors)
        try:
            watching = os.pidfd_open(pid)
        except OSError as error:
            # It would end without anybody's notice.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._tell(b"failed", number, error.errno or 0)
            return
        self._children[watching] = (number, pid)
        self._pids[number] = pid
        self._poll.register(watching, select.POLLIN)
        self._tell(b"born", number, pid)

    def _becomeWorker(self, options: list[bytes], descriptors: list[int]) -> None:
        status = worker.STATUS_IDENTITY
        try:
            os.setsid()
            for descriptor, place in zip(descriptors, (worker.INPUT, worker.OUTPUT), strict=True):
                os.dup2(descriptor, place)
            self._connection.detach()
            for descriptor in (*descriptors, *self._children):
                os.close(descriptor)
            status = worker.main([os.fsdecode(option) for option in options])
        except BaseException as error:  # noqa: BLE001 nothing of the nursery may go on here
            worker.complain(f"failed: {type(error).__name__}: {error}")
        finally:
            os._exit(status)

    def _signal(self, pid: int, number: int) -> None:
        try:
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                # It has not come to its own group yet; it is there, as nobody has reaped it.
                os.kill(pid, number)
        except OSError as error:
            # Root itself may be forbidden it, in a container. The others' sessions go on.
            worker.complain(f"process {pid} cannot be sent signal {number}: {error.strerror}")

    def _reap(self, watching: int) -> None:
        number, pid = self._children.pop(watching)
        self._poll.unregister(watching)
        os.close(watching)
        del self._pids[number]
        self._tell(b"ended", number, os.waitpid(pid, 0)[1])

    def _tell(self, what: bytes, number: bytes, value: int) -> None:
        try:
            self._connection.send(SEPARATOR.join((what, number, b"%d" % value)))
        except OSError:
            # The server has gone: the next turn sees it.
            return
