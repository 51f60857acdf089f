"""Using a connection that another program has already: an `ssh` with ControlMaster.

Rule: our descriptors are passed to no other user but root: whoever has them reads what is typed.
What the master refuses is told, and then a connection of our own is made.

    connect ─▶ HELLO ─▶ request ─▶ answer          blocking, in a program that does nothing else
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from limpet.client.errors import ClientError, shown
from limpet.core import multiplexing
from limpet.core.multiplexing import Reply, SessionWish
from limpet.core.sshconfig import ForwardSpec
from limpet.wire.errors import WireError
from limpet.wire.fields import NS

HELLO_SECONDS = 10.0
"""How long a master may take to answer at first, where no ConnectTimeout is set (ours)."""

ALSO_TRUSTED = (0,)
"""Users beside our own who may have our descriptors: root has them anyway."""

MAX_PROCESS = 2**31 - 1
"""The highest number of a process that kill(2) takes."""

_TIME = struct.Struct("@ll")
_PEER_CREDENTIALS = struct.Struct("3i")


class SharingFailed(ClientError):
    """The master does not do what it was asked for; the text says why."""


class MasterGone(SharingFailed):
    """The master has ended."""

    def __init__(self) -> None:
        super().__init__("the master is gone")


class Master:
    """A master, as its client sees it.

    Args:
        connection: Connected to its socket.
        timeoutSeconds: How long it may take to say who it is.
    """

    def __init__(self, connection: socket.socket, timeoutSeconds: float = HELLO_SECONDS) -> None:
        self._connection = connection
        self._number = 0
        connection.settimeout(timeoutSeconds)
        self._send(multiplexing.hello())
        try:
            version = multiplexing.parseHello(self._receive())
        except WireError as failure:
            raise SharingFailed(f"what listens there is no master: {failure}") from None
        if version != multiplexing.VERSION:
            raise SharingFailed(f"the master speaks version {version} of its protocol")
        connection.settimeout(None)

    @classmethod
    def at(cls, path: str, timeoutSeconds: float | None = None) -> Master | None:
        """The master that listens at a path; None where there is none.

        Raises:
            SharingFailed: Something is there that is no master of ours.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        seconds = timeoutSeconds or HELLO_SECONDS
        try:
            # The queue of a master that is stopped may be full. With a timeout of Python's there
            # would be no waiting for a place in it at all.
            _limitSending(connection, seconds)
            connection.connect(path)
            _limitSending(connection, 0)
            _checkOwner(connection, path)
            return cls(connection, seconds)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            return None
        except OSError as failure:
            connection.close()
            why = "no answer in time" if _isTimeout(failure) else failure.strerror or str(failure)
            raise SharingFailed(f"the master at {path}: {why}") from None
        except SharingFailed as failure:
            connection.close()
            raise SharingFailed(f"the master at {path}: {failure}") from None

    def close(self) -> None:
        """Leave the master alone."""
        self._connection.close()

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def process(self) -> int:
        """The number of the master's process."""
        number = self._ask(multiplexing.ALIVE, multiplexing.request(multiplexing.ALIVE_CHECK, 0))
        if not 0 < number <= MAX_PROCESS:
            # 0 would be this program's own group, to which signals are sent later.
            raise SharingFailed(f"the master says that it is process {number}")
        return number

    def terminate(self) -> None:
        """Have the master end, with all that it carries."""
        # Some end before they have answered.
        with suppress(MasterGone):
            self._ask(multiplexing.OK, multiplexing.request(multiplexing.TERMINATE, 0))

    def stopListening(self) -> None:
        """Have the master take no more clients."""
        self._ask(multiplexing.OK, multiplexing.request(multiplexing.STOP_LISTENING, 0))

    def openForward(self, letter: str, spec: ForwardSpec) -> int | None:
        """Begin a forwarding; the port that the server chose, None where it had no choice."""
        message = multiplexing.forward(multiplexing.OPEN_FORWARD, 0, letter, spec)
        reply = self._answer(message)
        if reply.kind == multiplexing.REMOTE_PORT:
            return reply.value
        _demand(reply, multiplexing.OK)
        return None

    def closeForward(self, letter: str, spec: ForwardSpec) -> None:
        """End a forwarding."""
        message = multiplexing.forward(multiplexing.CLOSE_FORWARD, 0, letter, spec)
        self._ask(multiplexing.OK, message)

    def openSession(self, wish: SessionWish, descriptors: Sequence[int]) -> int:
        """Begin a session at standard input, output and error; its number."""
        return self._begin(multiplexing.newSession(0, wish), descriptors)

    def openStdioForward(self, host: bytes, port: int, descriptors: Sequence[int]) -> int:
        """Connect standard input and output to somewhere; the number of that."""
        return self._begin(multiplexing.newStdioForward(0, host, port), descriptors)

    def wait(self, session: int, onTerminalRefused: Callable[[], object]) -> int | None:
        """Wait for the end of a session; its exit status, None where the master does not say."""
        status = None
        while True:
            try:
                reply = multiplexing.parseReply(self._receive())
            except (OSError, SharingFailed):
                return status
            except WireError as failure:
                raise SharingFailed(f"the master breaks its protocol: {failure}") from None
            if reply.kind in (multiplexing.FAILURE, multiplexing.PERMISSION_DENIED):
                raise SharingFailed(f"the master: {shown(reply.reason)}")
            if reply.number != session:
                raise SharingFailed("the master speaks of a session that is not ours")
            if reply.kind == multiplexing.EXIT_MESSAGE:
                status = reply.value
            elif reply.kind == multiplexing.TTY_ALLOC_FAIL:
                onTerminalRefused()

    # ── bytes ─────────────────────────────────────────────────────────────────────────────────

    def _begin(self, message: bytes, descriptors: Sequence[int]) -> int:
        self._send(self._numbered(message))
        for descriptor in descriptors:
            try:
                socket.send_fds(self._connection, [b"\0"], [descriptor])
            except (BrokenPipeError, ConnectionResetError):
                raise MasterGone from None
            except OSError as failure:
                text = f"what it needs cannot be passed to the master: {failure.strerror}"
                raise SharingFailed(text) from None
        return _demand(self._reply(), multiplexing.SESSION_OPENED).value

    def _ask(self, kind: int, message: bytes) -> int:
        return _demand(self._answer(message), kind).value

    def _answer(self, message: bytes) -> Reply:
        self._send(self._numbered(message))
        return self._reply()

    def _numbered(self, message: bytes) -> bytes:
        """The message with a number of its own, which stands behind its kind."""
        self._number += 1
        return message[:4] + self._number.to_bytes(4, "big") + message[8:]

    def _reply(self) -> Reply:
        try:
            reply = multiplexing.parseReply(self._receive())
        except WireError as failure:
            raise SharingFailed(f"the master breaks its protocol: {failure}") from None
        except OSError:
            raise MasterGone from None
        if reply.number != self._number:
            raise SharingFailed("the master answers something that it was not asked")
        return reply

    def _send(self, message: bytes) -> None:
        try:
            self._connection.sendall(NS(message))
        except (BrokenPipeError, ConnectionResetError):
            raise MasterGone from None

    def _receive(self) -> bytes:
        length = int.from_bytes(self._exactly(4), "big")
        if length > multiplexing.MAX_MESSAGE:
            raise SharingFailed(f"the master says {length} bytes at once")
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            piece = self._connection.recv(count)
            if not piece:
                raise MasterGone
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


def _demand(reply: Reply, kind: int) -> Reply:
    if reply.kind in (multiplexing.FAILURE, multiplexing.PERMISSION_DENIED):
        raise SharingFailed(f"the master refuses: {shown(reply.reason)}")
    if reply.kind != kind:
        raise SharingFailed("the master answers something else")
    return reply


def _isTimeout(failure: OSError) -> bool:
    return isinstance(failure, TimeoutError) or failure.errno == errno.EAGAIN


def _limitSending(connection: socket.socket, seconds: float) -> None:
    """Bound how long the system lets a connection wait to connect or to send; 0 for no bound."""
    whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(whole, part))


def userOf(connection: socket.socket) -> int | None:
    """Who is at the other end of a Unix socket; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    return int(_PEER_CREDENTIALS.unpack(packed)[1])


def _checkOwner(connection: socket.socket, path: str) -> None:
    """Raise SharingFailed where whoever listens is neither this user nor root."""
    owner = userOf(connection)
    if owner is None:
        with suppress(OSError):
            owner = os.stat(path).st_uid
    if owner not in (os.getuid(), *ALSO_TRUSTED):
        raise SharingFailed("it belongs to somebody else, who would read what is typed")
