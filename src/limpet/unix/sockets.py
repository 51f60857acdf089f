"""Unix sockets for one user: connected to, and made, with that user's rights and no others.

Rule: a server of root touches no path itself. A process that is the user does it and hands the
socket over; so the user reaches by forwarding what they reach from a shell, and nothing else.
Nobody waits for that process: on a file system of the user's own not even SIGKILL need end it.

    connect, listen, remove ─► the account is this process's own: at once, here
                            └► otherwise: a child as the user ─► descriptor over a socket pair

OpenSSH's PROTOCOL, section 2.4; attack table G12.
"""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet import unix
from twisted.internet.defer import Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.error import ConchError
from limpet.ssh.forwarding.channels import wordsFor
from limpet.streams import PromptConnection
from limpet.unix.accounts import Account, makeIdentityCheck
from limpet.unix.ports import adoptPort
from limpet.unix.process import forgetExit, watchExit
from limpet.wire.numbers import OPEN_CONNECT_FAILED

CONNECT, LISTEN, REMOVE = "connect", "listen", "remove"

HANDOVER_SECONDS = 10.0
"""How long the child that is the user may take (ours)."""

MAX_HANDOVERS = 4
"""Children of one login at a time (ours), those that have answered and not ended included; what
more is asked for waits."""

BACKLOG = 128
"""Connections that may wait to be accepted, as on the server's own port."""

MASK = 0o177
"""A socket that is listened on is for its owner alone (OpenSSH's StreamLocalBindMask)."""


def perform(action: str, path: bytes) -> socket.socket | None:
    """Connect to, make or remove one Unix socket with the rights of this process.

    Returns:
        The socket; None for "remove".

    Raises:
        OSError: It cannot be done.
    """
    if action == REMOVE:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        if action == CONNECT:
            made.connect(path)
        else:
            mask = os.umask(MASK)
            try:
                made.bind(path)
            finally:
                os.umask(mask)
            made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


class UnixConnection(PromptConnection, unix.Server):
    """One connection to a Unix socket."""


class UnixSockets:
    """Makes Unix sockets as one account.

    Args:
        reactor: Provides IReactorSocket and IReactorTime.
        account: Whose rights count; None for those of this process.
    """

    def __init__(self, reactor: Any, account: Account | None = None) -> None:
        self._reactor = reactor
        self._account = account
        self._turns = DeferredSemaphore(MAX_HANDOVERS)

    def connect(self, path: bytes, protocol: Protocol) -> Deferred[Any]:
        """Connect `protocol` to the socket `path`.

        Returns:
            A Deferred that fires with `protocol`, or fails with a `ConchError`.
        """

        def join(fd: int) -> Protocol:
            factory = Factory.forProtocol(lambda: protocol)
            try:
                os.set_blocking(fd, False)
                UnixConnection._fromConnectedSocket(  # type: ignore[no-untyped-call]
                    fd, factory, self._reactor
                )
            finally:
                os.close(fd)
            return protocol

        return self._have(CONNECT, path).addCallback(join).addErrback(_toldToPeer)

    def listen(self, path: bytes, factory: Factory) -> Deferred[Any]:
        """Make the socket `path` and accept connections on it.

        Returns:
            A Deferred that fires with a `UnixPort`, or fails with a `ConchError`.
        """

        def accept(fd: int) -> UnixPort:
            # Not adoptStreamPort, which sets the mode of the path to 0666, and unlinks it as root.
            with socket.socket(fileno=fd) as made:
                port = adoptPort(self._reactor, made, factory)
            return UnixPort(self, path, port)

        return self._have(LISTEN, path).addCallback(accept).addErrback(_toldToPeer)

    def remove(self, path: bytes) -> None:
        """Remove the socket `path`, if it is one and still there."""
        self._have(REMOVE, path).addErrback(lambda _: None)

    def _have(self, action: str, path: bytes) -> Deferred[Any]:
        if self._account is None or self._account.isCurrent():
            try:
                made = perform(action, path)
            except OSError:
                return fail()
            return succeed(None if made is None else made.detach())
        account = self._account

        def begin(_: object) -> Deferred[Any]:
            try:
                handover = _Handover(self._reactor, account, action, path, self._turns.release)
            except OSError:
                self._turns.release()
                raise
            return handover.deferred

        turn: Deferred[Any] = self._turns.acquire()
        return turn.addCallback(begin)


class UnixPort:
    """A socket that is listened on.

    Args:
        sockets: Who made it.
        path: Where.
        port: Twisted's port.
    """

    def __init__(self, sockets: UnixSockets, path: bytes, port: Any) -> None:
        self._sockets = sockets
        self._path = path
        self._port = port

    def stopListening(self) -> Any:
        """Accept no more, and remove the socket."""
        self._sockets.remove(self._path)
        return self._port.stopListening()


@implementer(IReadDescriptor)
class _Handover:
    """One child that is the user for as long as it takes, and what it sends.

    Args:
        reactor: What it runs on.
        account: Who the child is.
        action: What it does.
        path: Where.
        whenReaped: Called when nothing is left of the child, which may be later than its answer.
    """

    def __init__(
        self,
        reactor: Any,
        account: Account,
        action: str,
        path: bytes,
        whenReaped: Callable[[], object],
    ) -> None:
        self.reactor = reactor
        self._whenReaped = whenReaped
        self._socket, theirs = socket.socketpair()
        self.deferred: Deferred[Any] = Deferred(lambda _: self._close())
        with theirs:
            try:
                self._pid = os.fork()
            except OSError:
                self._socket.close()
                raise
            if not self._pid:
                _beTheUser(account, action, path, theirs)
        self._exit = watchExit(self, self._pid)
        self._isReaped = False
        self._socket.setblocking(False)
        self._limit = reactor.callLater(HANDOVER_SECONDS, self._ended, errno.ETIMEDOUT)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "handover"

    def doRead(self) -> None:
        """Take the answer: a number, and with 0 mostly a descriptor."""
        fds = array.array("i")
        try:
            data, control, _, _ = self._socket.recvmsg(
                16, socket.CMSG_SPACE(fds.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except BlockingIOError:
            return
        except OSError:
            data, control = b"", []
        for level, kind, content in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if data == b"0":
            self._close()
            self.deferred.callback(fds[0] if fds else None)
            return
        for fd in fds:
            os.close(fd)
        self._ended(int(data) if data.isdigit() else errno.EIO)

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives it up."""
        if self._socket.fileno() >= 0:
            self._ended(errno.EIO)

    def _ended(self, number: int) -> None:
        self._close()
        self.deferred.errback(Failure(OSError(number, os.strerror(number))))

    def _close(self) -> None:
        if self._limit.active():
            self._limit.cancel()
        self.reactor.removeReader(self)
        self._socket.close()
        if not self._isReaped:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self.reapProcess()

    def reapProcess(self) -> None:
        """The child has exited, or may have."""
        try:
            pid, _ = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:
            # Somebody else in this program collected it.
            pid = self._pid
        if pid and not self._isReaped:
            self._isReaped = True
            forgetExit(self._exit, pid)
            self._whenReaped()


def _beTheUser(account: Account, action: str, path: bytes, control: socket.socket) -> None:
    """The child: become the user, do it, hand it over, and never return."""
    try:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        makeIdentityCheck(account)()
        os.chdir("/")
        made = perform(action, path)
        if made is None:
            control.send(b"0")
        else:
            socket.send_fds(control, [b"0"], [made.fileno()])
    except OSError as failure:
        control.send(b"%d" % (failure.errno or errno.EIO))
    finally:
        # Without the parent's own cleaning up, and whatever went wrong.
        os._exit(0)


def _toldToPeer(failure: Failure) -> Failure:
    if failure.check(ConchError) is not None:
        return failure
    return Failure(ConchError(wordsFor(failure), OPEN_CONNECT_FAILED))
