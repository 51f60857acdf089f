"""Lending a connection to other programs: the master's side of ControlMaster.

Rule: a client can do no more than end itself. What it says is bounded and read to its end or
refused; what it passes is closed whatever happens; its session is a channel like any other, so that
one who does not read stops that channel and nobody else; and when it goes, its channel goes.

    ControlSocket ─▶ ControlMaster ─▶ ControlClient ─┬─▶ SharedSession    its three descriptors
                                                     ├─▶ SharedForward    its two (-W)
                                                     └─▶ Forwards         -L, -R, -D of all clients

OpenSSH's PROTOCOL.mux, version 4, without its proxy mode. The sessions are in
`limpet.client.sharedsessions`, the bytes of the messages in `limpet.core.multiplexing`.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet._posix import fcntl, termios
from limpet.client.attaching import AttachedChannel
from limpet.client.config import ClientConfig
from limpet.client.controlsocket import ControlSocket
from limpet.client.errors import shown
from limpet.client.forwards import Forward, ForwardFailed, Forwards
from limpet.client.sharedsessions import (
    Descriptors,
    Refused,
    SharedForward,
    SharedSession,
    sessionRequest,
)
from limpet.client.sharing import ALSO_TRUSTED, userOf
from limpet.core import multiplexing
from limpet.core.multiplexing import (
    FAILURE,
    MAX_MESSAGE,
    PERMISSION_DENIED,
    Request,
    parseRequest,
)
from limpet.core.sshconfig import ForwardSpec
from limpet.error import ConchError
from limpet.wire.errors import WireError
from limpet.wire.fields import NS

MAX_CLIENTS = 128
"""Clients at once (ours): each has up to seven descriptors, and 1024 is a common limit."""

MAX_DESCRIPTORS = 3
"""Most descriptors that a client may have passed and not got anything for: those of a session."""

MAX_WAITING = MAX_MESSAGE + 65536
"""Most bytes of a client that wait until it has its answer (ours): a message, and one read."""

READ_SIZE = 65536

ACCEPTS_PER_TURN = 16
"""Clients that are accepted before others get their turn (ours)."""

PATIENCE_SECONDS = 1.0
"""How long nobody is accepted once there are no descriptors left (ours)."""

_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

AWAITED = object()
"""What was asked for has begun, and is answered later."""

Allow = Callable[[str], "defer.Deferred[bool]"]
"""Asks the person a question, which says of itself that yes allows it."""


class NotAllowed(Exception):
    """The person said no."""


# ── one client ────────────────────────────────────────────────────────────────────────────────


@implementer(IReadDescriptor)
class ControlClient:
    """One connection to the master's socket.

    Args:
        master: Whose client it is.
        connection: The accepted socket.
    """

    _log = ClassLogger()

    def __init__(self, master: ControlMaster, connection: socket.socket) -> None:
        self.reactor = master.reactor
        self._master = master
        self._socket = connection
        self._received = bytearray()
        self._passed: list[int] = []
        self._isGreeted = False
        # A request whose descriptors are awaited, and one whose answer is.
        self._incomplete: Request | None = None
        self._isBusy = False
        self._isWorking = False
        self._asking: defer.Deferred[Any] | None = None
        self._channel: AttachedChannel | None = None
        self._number = 0
        self._descriptors = Descriptors()
        self._isOver = False
        connection.setblocking(False)
        self.reactor.addReader(self)
        self._send(multiplexing.hello())

    def tell(self, text: str) -> object:
        """Take a sentence for whoever started the master."""
        return self._master.tell(text)

    # ── bytes and descriptors ─────────────────────────────────────────────────────────────────

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "control client"

    def doRead(self) -> None:
        """Take what the client says and passes."""
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        try:
            data, control, flags, _ = self._socket.recvmsg(READ_SIZE, space, _CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.end()
            return
        for level, kind, content in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._passed += numbers
                if not _CLOSE_ON_EXEC:
                    for number in numbers:
                        os.set_inheritable(number, False)
        if not data:
            self.end()
            return
        if flags & socket.MSG_CTRUNC or len(self._passed) > MAX_DESCRIPTORS:
            self._broken("more descriptors than there is any use for, or that can be taken")
            return
        self._received += data
        if len(self._received) > MAX_WAITING:
            self._broken("it says more than it waits for answers")
            return
        self._work()

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw that the client is gone."""
        self.end()

    def _work(self) -> None:
        """Do what it asks, a request at a time."""
        if self._isWorking:
            # What was answered at once: those who are at it go on.
            return
        self._isWorking = True
        try:
            while not (self._isBusy or self._isOver):
                request = self._next()
                if request is None:
                    break
                self._do(request)
            if self._passed and not (self._received or self._incomplete or self._isOver):
                self._broken("descriptors that belong to nothing")
        except WireError as failure:
            self._broken(str(failure))
        finally:
            self._isWorking = False

    def _next(self) -> Request | None:
        """The next request with all that belongs to it, once it is there."""
        request = self._incomplete
        while request is None:
            message = self._message()
            if message is None:
                return None
            if self._isGreeted:
                request = parseRequest(message)
            elif multiplexing.parseHello(message) == multiplexing.VERSION:
                self._isGreeted = True
            else:
                raise WireError("another version of the protocol")
        self._incomplete = request
        # Each comes with one byte.
        count = request.descriptors
        if len(self._received) < count:
            return None
        if len(self._passed) < count:
            self._answer(multiplexing.refusal(FAILURE, request.number, "descriptors are missing"))
            raise WireError("descriptors are missing")
        del self._received[:count]
        self._incomplete = None
        return request

    def _message(self) -> bytes | None:
        received = self._received
        if len(received) < 4:
            return None
        length = int.from_bytes(received[:4], "big")
        if length > MAX_MESSAGE:
            raise WireError(f"a message of {length} bytes")
        if len(received) < 4 + length:
            return None
        message = bytes(received[4 : 4 + length])
        del received[: 4 + length]
        return message

    def _answer(self, message: bytes) -> None:
        if not self._isOver:
            self._send(message)

    def _send(self, message: bytes) -> None:
        """Send a message: it fits into what the system keeps of one who reads now and then."""
        data = NS(message)
        try:
            sent = self._socket.send(data)
        except OSError:
            sent = -1
        if sent != len(data):
            self.end()

    def _broken(self, why: str) -> None:
        self._log.info("a client of the shared connection is ended: {why}", why=why)
        self.end()

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def _do(self, request: Request) -> None:
        kind, number = request.kind, request.number
        if kind == multiplexing.ALIVE_CHECK:
            self._answer(multiplexing.reply(multiplexing.ALIVE, number, os.getpid()))
        elif kind == multiplexing.NEW_SESSION:
            self._ask(request, "Allow a shared session on", self._openSession)
        elif kind == multiplexing.NEW_STDIO_FORWARD and request.target is not None:
            place = request.target.path or b"%b:%d" % request.target[:2]
            self._ask(request, f"Allow a connection to {shown(place)} from", self._openForward)
        elif kind == multiplexing.OPEN_FORWARD:
            self._beginForwarding(request)
        elif kind == multiplexing.CLOSE_FORWARD:
            self._endForwarding(request)
        elif kind == multiplexing.STOP_LISTENING:
            self._ask(request, "Let no more programs share the connection to", self._stop)
        elif kind == multiplexing.TERMINATE:
            self._ask(request, "End the shared connection to", self._terminate)
        else:
            why = "this master does not do that"
            if kind == multiplexing.PROXY:
                why = "this master has no proxy mode"
            self._answer(multiplexing.refusal(FAILURE, number, why))

    def _ask(
        self,
        request: Request,
        question: str,
        act: Callable[[Request, Descriptors], object],
    ) -> None:
        """Do something once the person allows it, if anybody is to be asked."""
        # They are this request's: the next one's are not to be taken for them.
        descriptors = Descriptors(self._passed[: request.descriptors])
        del self._passed[: request.descriptors]
        self._isBusy = True

        def judged(isAllowed: bool) -> Any:
            if self._isOver:
                raise Refused("the client is gone")
            if not isAllowed:
                raise NotAllowed
            self._asking = None
            return act(request, descriptors)

        def failed(failure: Failure) -> None:
            descriptors.close()
            self._asking = None
            kind, words = FAILURE, "a bug in Limpet"
            if failure.check(NotAllowed):
                kind, words = PERMISSION_DENIED, "not allowed"
            elif failure.check(ForwardFailed, Refused, defer.CancelledError):
                words = failure.getErrorMessage()
            else:
                self._log.failure("a request of a shared connection's client failed", failure)
            self._answer(multiplexing.refusal(kind, request.number, words))
            self._isBusy = False

        def done(isAwaited: object) -> None:
            # A session is answered when the server has opened it.
            if isAwaited is not AWAITED:
                self._isBusy = False
            self._work()

        asking = self._asking = self._master.allows(question)
        asking.addCallback(judged).addErrback(failed).addCallback(done)

    def _stop(self, request: Request, _: Descriptors) -> None:
        self._answer(multiplexing.reply(multiplexing.OK, request.number))
        self._master.stop()

    def _terminate(self, request: Request, _: Descriptors) -> None:
        self._answer(multiplexing.reply(multiplexing.OK, request.number))
        self._master.onTerminate()

    # ── sessions ──────────────────────────────────────────────────────────────────────────────

    def _openSession(self, request: Request, descriptors: Descriptors) -> object:
        wish, master = request.session, self._master
        self._check(descriptors)
        if wish is None:
            raise Refused("there is no session")
        forwardsAgent = wish.wantsAgent and master.lendsAgent
        asked = sessionRequest(master.config, wish, forwardsAgent, descriptors)
        if wish.wantsTerminal:
            leaveOwnTerminal(descriptors[0])
            master.markPackets(atTerminal=True)
        beat = master.config.keystrokeMilliseconds / 1000
        channel = SharedSession(self, asked, descriptors, wish.escapeChar, beat)
        return self._begin(request, channel, descriptors)

    def _openForward(self, request: Request, descriptors: Descriptors) -> object:
        self._check(descriptors)
        if request.target is None:
            raise Refused("there is no target")
        try:
            descriptors.add(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as failure:
            raise Refused(f"{os.devnull}: {failure.strerror}") from None
        channel = SharedForward(self, request.target, descriptors)
        return self._begin(request, channel, descriptors, channel.openingData)

    def _check(self, descriptors: Descriptors) -> None:
        if self._channel is not None:
            raise Refused("this client has a session already")
        descriptors.prepare()

    def _begin(
        self,
        request: Request,
        channel: AttachedChannel,
        descriptors: Descriptors,
        data: bytes = b"",
    ) -> object:
        self._channel, self._number, self._descriptors = channel, request.number, descriptors
        channel.finished.addCallbacks(partial(self._finished, channel), self._notOpened)
        channel.finished.addErrback(self._failed)
        self._master.service.openChannel(channel, data)
        return AWAITED

    def opened(self, channel: AttachedChannel) -> bool:
        """The server has opened the channel; False where nobody wants it any more."""
        number = channel.id or 0
        self._answer(multiplexing.reply(multiplexing.SESSION_OPENED, self._number, number))
        if self._isOver:
            return False
        self._isBusy = False
        # What it says next is looked at once the channel is under way.
        self.reactor.callLater(0, self._work)
        return True

    def terminalRefused(self) -> None:
        """The server gives no terminal."""
        if self._channel is not None:
            self._answer(multiplexing.reply(multiplexing.TTY_ALLOC_FAIL, self._channel.id or 0))

    def notStarted(self, failure: OSError) -> None:
        """What was passed cannot be read or written."""
        self.tell(f"a shared session does not begin: {failure.strerror}")
        self.end()

    def _notOpened(self, reason: Failure) -> None:
        words = "the server does not open the channel"
        if isinstance(reason.value, ConchError):
            words = f"{words}: {shown(reason.value.value)}"
        self._channel = None
        self._answer(multiplexing.refusal(FAILURE, self._number, words))
        self.end()

    def _finished(self, channel: AttachedChannel, status: int) -> None:
        """The channel is closed, and all of its output is written."""
        self._channel = None
        if isinstance(channel, SharedSession) and channel.hasEnded:
            self._answer(multiplexing.reply(multiplexing.EXIT_MESSAGE, channel.id or 0, status))
        self.end()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("a session of a shared connection failed", failure)
        self.end()

    def resized(self) -> None:
        """The terminal may have another size now."""
        if isinstance(self._channel, SharedSession):
            self._channel.resized()

    def listing(self) -> str:
        """What is open on the connection."""
        return self._master.listing()

    @property
    def hasSession(self) -> bool:
        """Whether a channel of it is open, or its output is still being written."""
        return self._channel is not None

    # ── forwardings ───────────────────────────────────────────────────────────────────────────

    def _beginForwarding(self, request: Request) -> None:
        spec, number = request.spec, request.number
        if spec is None:
            return
        found = self._master.findForward(request.letter, spec)
        if found is not None:
            self._answer(_opened(number, request.letter, spec, found))
            return

        def open(*_: object) -> Any:
            begin = {"L": self._forwards.local, "R": self._forwards.remote}.get(
                request.letter, self._forwards.dynamic
            )
            return begin(spec).addCallback(
                lambda made: self._answer(_opened(number, request.letter, spec, made))
            )

        self._ask(request, f"Open the forwarding -{request.letter} {_words(spec)} on", open)

    def _endForwarding(self, request: Request) -> None:
        if request.spec is None:
            return
        found = self._master.findForward(request.letter, request.spec)
        if found is None:
            why = "there is no such forwarding"
            self._answer(multiplexing.refusal(FAILURE, request.number, why))
            return
        self._isBusy = True

        def closed(_: object) -> None:
            self._isBusy = False
            self._answer(multiplexing.reply(multiplexing.OK, request.number))
            self._work()

        found.close().addCallback(closed)

    @property
    def _forwards(self) -> Forwards:
        return self._master.makeForwards()

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def end(self) -> None:
        """The client is gone, or is to go; its channel goes with it. May be called again."""
        if self._isOver:
            return
        self._isOver = True
        self.reactor.removeReader(self)
        self._socket.close()
        if self._asking is not None:
            # Nobody is bothered with what nobody waits for any more.
            self._asking.cancel()
        passed, self._passed = self._passed, []
        for descriptor in passed:
            os.close(descriptor)
        channel = self._channel
        if channel is not None:
            channel.abortConnection()
            channel.cut()
        self._descriptors.close()
        self._master.ended(self)


def leaveOwnTerminal(descriptor: int) -> None:
    """Read this process's own terminal, in the background, as any other's.

    As long as it is the controlling terminal, whoever reads it from the background is stopped, and
    with the master all that it carries (a master that was begun with `&`, and a session there).
    """
    try:
        isBehind = os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        # No terminal, or another one.
        return
    if isBehind and hasattr(termios, "TIOCNOTTY"):
        with suppress(OSError):
            fcntl.ioctl(descriptor, termios.TIOCNOTTY)


def _opened(number: int, letter: str, spec: ForwardSpec, forward: Forward) -> bytes:
    if letter == "R" and spec.listenPort == 0:
        return multiplexing.reply(multiplexing.REMOTE_PORT, number, forward.port)
    return multiplexing.reply(multiplexing.OK, number)


def _words(spec: ForwardSpec) -> str:
    target = "" if spec.isDynamic else f" to {spec.targetPath or spec.targetHost}"
    if spec.targetPort is not None:
        target += f" port {spec.targetPort}"
    place = spec.listenPath or f"{spec.listenHost or 'port'} {spec.listenPort}"
    return shown(place + target)


# ── all of them ───────────────────────────────────────────────────────────────────────────────


@implementer(IReadDescriptor)
class ControlMaster:
    """A connection that is lent, at a socket.

    Args:
        connection: The `ClientConnection`.
        control: Where clients come.
        makeForwards: Gives the forwardings of the connection.
        allow: Asks the person about each request; None where none is to be asked.
        tell: Takes a sentence for whoever started the master.
        onTerminate: Called where a client wants the connection to end.
        lendsAgent: Whether clients may have the agent lent to their sessions.

    Attributes:
        service: The `SSHConnection`.
        markPackets: As the `ClientConnection` has it (IPQoS).
        isListening: Whether more clients are taken.
    """

    _log = ClassLogger()

    def __init__(
        self,
        connection: Any,
        control: ControlSocket,
        makeForwards: Callable[[], Forwards],
        allow: Allow | None = None,
        tell: Callable[[str], object] = lambda text: None,
        onTerminate: Callable[[], object] = lambda: None,
        lendsAgent: bool = False,
    ) -> None:
        self.reactor = connection.reactor
        self.config: ClientConfig = connection.config
        self.service = connection.connection
        self.markPackets = connection.markPackets
        self.makeForwards = makeForwards
        self.tell = tell
        self.onTerminate = onTerminate
        self.lendsAgent = lendsAgent
        self.isListening = True
        self._allow = allow
        self._control = control
        self._clients: set[ControlClient] = set()
        self._closing: defer.Deferred[None] | None = None
        self._pause: Any = None
        self._persistSeconds: int | None = None
        self._onIdle: Callable[[], object] | None = None
        self._idle: Any = None
        self.reactor.addReader(self)

    # ── clients come ──────────────────────────────────────────────────────────────────────────

    def fileno(self) -> int:
        return self._control.socket.fileno()

    def logPrefix(self) -> str:
        return "control socket"

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the socket up."""
        self.stop()

    def doRead(self) -> None:
        """Take those who wait."""
        for _ in range(ACCEPTS_PER_TURN):
            if not self.isListening:
                return
            try:
                connection, _address = self._control.socket.accept()
            except OSError as failure:
                if failure.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    self._waitForDescriptors()
                return
            user = userOf(connection)
            if user not in (None, os.getuid(), *ALSO_TRUSTED):
                # The socket's mode has kept them out already, where the system heeds that.
                self._log.info("user {user} may not share the connection", user=user)
                connection.close()
            elif len(self._clients) >= MAX_CLIENTS:
                self._log.info("no more than {count} share the connection", count=MAX_CLIENTS)
                connection.close()
            else:
                client = ControlClient(self, connection)
                if client.fileno() >= 0:
                    self._clients.add(client)

    def _waitForDescriptors(self) -> None:
        """Leave those who wait waiting for a moment: the reactor would ask at every turn."""

        def resume() -> None:
            self._pause = None
            self.reactor.addReader(self)

        self.reactor.removeReader(self)
        self._pause = self.reactor.callLater(PATIENCE_SECONDS, resume)

    def allows(self, question: str) -> defer.Deferred[bool]:
        """Whether a request may be done, about which a question begins so."""
        if self._allow is None:
            return defer.succeed(True)
        return self._allow(f"{question} {shown(self.config.host)}?")

    def findForward(self, letter: str, spec: ForwardSpec) -> Forward | None:
        """The forwarding that does just that, if there is one."""
        wanted = _canonical(spec)
        for forward in self.makeForwards().open:
            if forward.kind == letter and forward.spec and _canonical(forward.spec) == wanted:
                return forward
        return None

    def resized(self) -> None:
        """A client says that its terminal has another size, but not which it is."""
        for client in tuple(self._clients):
            client.resized()

    @property
    def sessions(self) -> int:
        """How many clients have something open, or still written."""
        return sum(client.hasSession for client in self._clients)

    def listing(self) -> str:
        """What is open on the connection, for a person."""
        lines = [f"  forwarding {forward.words}\n" for forward in self.makeForwards().open]
        for number, channel in sorted(self.service.channels.items()):
            lines.append(f"  #{number} {shown(channel.name or b'')}\n")
        return "".join(["Open on this connection:\n", *lines])

    # ── with nothing to do ────────────────────────────────────────────────────────────────────

    def persist(self, seconds: int, onIdle: Callable[[], object]) -> None:
        """Call `onIdle` once nothing has been done on the connection for so long.

        Args:
            seconds: How long; 0 for ever, or until no more clients are taken.
            onIdle: What then.
        """
        self._persistSeconds, self._onIdle = seconds, onIdle
        self.service.whenChannelCloses = self._look
        self._look()

    def _look(self) -> None:
        """Something may have come to its end: let the time begin anew, if nothing is left."""
        self._stopClock()
        if self._onIdle is None or self._clients or self.service.channels:
            return
        if not self.isListening:
            self._idle = self.reactor.callLater(0, self._isIdle)
        elif self._persistSeconds:
            self._idle = self.reactor.callLater(self._persistSeconds, self._isIdle)

    def _isIdle(self) -> None:
        self._idle = None
        if self._clients or self.service.channels:
            self._look()
        elif self._onIdle is not None:
            onIdle, self._onIdle = self._onIdle, None
            onIdle()

    def _stopClock(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.cancel()

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def ended(self, client: ControlClient) -> None:
        """A client is gone; what it had may still be written."""
        self._clients.discard(client)
        if self._closing is not None and not self._clients:
            closing, self._closing = self._closing, None
            closing.callback(None)
        self._look()

    def stop(self) -> None:
        """Take no more clients; those that there are go on."""
        if not self.isListening:
            return
        self.isListening = False
        self.reactor.removeReader(self)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._control.remove()
        self._look()

    def cut(self) -> None:
        """End all clients at once, whatever waits."""
        self._onIdle = None
        self.stop()
        for client in tuple(self._clients):
            client.end()

    def close(self) -> defer.Deferred[None]:
        """Take no more clients, and end those that have no session.

        Returns:
            A Deferred that fires when the output of all the others is written; it never fails.
        """
        self._onIdle = None
        self.stop()
        self._stopClock()
        for client in tuple(self._clients):
            if not client.hasSession:
                client.end()
        if not self._clients:
            return defer.succeed(None)
        if self._closing is None:
            self._closing = defer.Deferred()
        return self._closing


def _canonical(spec: ForwardSpec) -> tuple[object, ...]:
    """What makes two forwardings the same: "" and "*" are both every address."""
    host = "*" if spec.listenHost == "" else spec.listenHost
    return host, spec.listenPort, spec.listenPath, spec.targetHost, spec.targetPort, spec.targetPath
