"""A channel whose other end is the standard input and output of this process.

Rule: every byte goes through in order, and nothing is read faster than the other side takes it. How
the program far away ended becomes an exit status; nothing of ours is taken for one.

    standard input ─▶ [escapes] ─▶ channel ─▶ the program
    standard output, error ◀────── channel ◀─ the program, its exit status, CLOSE
                                      └─▶ finished, once all output is written

RFC 4254 sections 6.2 to 6.10; `eow@openssh.com` is in section 2.1 of OpenSSH's PROTOCOL.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from limpet.client.errors import OWN_FAILURE, shown
from limpet.client.escapes import Escape, EscapeReader
from limpet.client.keystrokes import CHAFF, KeystrokeTiming
from limpet.client.stdio import StandardInput, StandardOutput
from limpet.core.windows import GROWN_WINDOW
from limpet.descriptors import STDERR, STDIN, STDOUT
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.streams import gathered
from limpet.wire.fields import NS
from limpet.wire.numbers import EXTENDED_DATA_STDERR
from limpet.wire.requests import (
    BreakRequest,
    Command,
    Environment,
    ExitSignal,
    ExitStatus,
    Geometry,
    TcpForward,
    WindowChange,
    packGeometry,
)

WINDOW = 2 * 1024 * 1024
"""How many bytes the server may have under way to us: OpenSSH's own number."""

MAX_PACKET = 32768
"""The largest piece of data that we take in one message."""

MAX_TYPED = 1048576
"""Typed bytes that wait for the server, above which no more is read from a terminal. Below it, the
terminal is always read: an escape has to be seen while the server takes nothing."""

MAX_UNREAD = 4 * 1024 * 1024
"""Output that a program goes on to send, in bytes, after it was told that nobody reads it, before
its channel is closed (ours): a server that knows no eow@openssh.com would send for ever."""

BREAK_MILLISECONDS = 1000
"""How long a BREAK is to last; what OpenSSH asks for."""

SIGNALLED = 128
"""What a shell adds to a signal's number to make an exit status."""

LAST_STATUS = 255
"""The greatest exit status that a process can have."""


@dataclass
class SessionRequest:
    """What is asked of a session.

    Attributes:
        kind: b"shell", b"exec" or b"subsystem".
        command: The command, or the subsystem's name; nothing for a shell.
        environment: Variables, in order.
        term: The terminal's type; None asks for no terminal.
        geometry: The terminal's size.
        modes: The terminal's modes, encoded.
        forwardsAgent: Whether connections to an agent are asked for.
    """

    kind: bytes = b"shell"
    command: bytes = b""
    environment: Sequence[tuple[bytes, bytes]] = field(default_factory=tuple)
    term: bytes | None = None
    geometry: Geometry = (0, 0, 0, 0)
    modes: bytes = b"\x00"
    forwardsAgent: bool = False


class AttachedChannel(SSHChannel):
    """What a session and a direct connection have in common: the way of the bytes.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        tell: Takes one line for the person, without its end.
        descriptors: Standard input, output and error; None as the first for an input that is at its
            end.

    Attributes:
        finished: Fires with the exit status once the channel is closed and all output is written;
            or fails with ConchError if it never opened.
    """

    def __init__(
        self,
        reactor: Any,
        tell: Callable[[str], object],
        descriptors: tuple[int | None, int, int] = (STDIN, STDOUT, STDERR),
    ) -> None:
        super().__init__(localWindow=WINDOW, localMaxPacket=MAX_PACKET)
        self.localWindowLimit = GROWN_WINDOW
        self.finished: defer.Deferred[int] = defer.Deferred()
        self._reactor = reactor
        self._tell = tell
        self._descriptors = descriptors
        self._stdin: StandardInput | None = None
        self._stdout: StandardOutput | None = None
        self._stderr: StandardOutput | None = None
        self._unread = 0
        # Nobody reads our output any more; and whether that is a fault, such as a full disk.
        self._isBroken = False
        self._isIncomplete = False

    # ── opening ───────────────────────────────────────────────────────────────────────────────

    def channelOpen(self, specificData: bytes) -> None:
        self.start()

    def start(self) -> None:
        """Let the bytes flow."""
        source, target, errors = self._descriptors
        self._stdout = StandardOutput(self._reactor, target, self._room)
        self._stderr = StandardOutput(self._reactor, errors, self._room)
        if source is None:
            self.inputFinished()
            return
        self._stdin = StandardInput(self._reactor, self.typed, self.inputFinished, source)
        self.brakeInput()
        self._stdin.resumeProducing()

    def brakeInput(self) -> None:
        """Have the input stop while the channel's output waits."""
        self.registerProducer(self._stdin, True)

    def openFailed(self, reason: Any) -> None:
        failure = reason.value if isinstance(reason, Failure) else reason
        if self.finished.called:
            return
        if isinstance(failure, ConnectionLost) or not isinstance(failure, ConchError):
            self.finished.callback(OWN_FAILURE)
        else:
            self.finished.errback(failure)

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def dataReceived(self, data: bytes) -> None:
        out = self._stdout
        if self._isBroken or out is None:
            self._dropUnread(len(data))
            return
        out.write(data)
        if out.isFull:
            self.pauseProducing()

    def extReceived(self, dataType: int, data: bytes) -> None:
        errors = self._stderr
        if dataType == EXTENDED_DATA_STDERR and errors is not None and not errors.isBroken:
            errors.write(data)
            if errors.isFull:
                self.pauseProducing()

    def _room(self) -> None:
        """There is room in an output again, or nobody reads it any more."""
        out, errors = self._stdout, self._stderr
        if out is None or errors is None:
            return
        if out.isBroken and not self._isBroken:
            self._isBroken = True
            complaint = out.complaint()
            if complaint is not None:
                self._isIncomplete = True
                self._tell(f"standard output: {complaint}")
            self.outputBroken()
        if not (out.isFull or errors.isFull):
            self.resumeProducing()

    def outputBroken(self) -> None:
        """Nobody reads what the server sends."""
        if self.conn is not None and not self.localClosed:
            self.conn.sendRequest(self, b"eow@openssh.com", b"")

    def _dropUnread(self, count: int) -> None:
        self._unread += count
        if self._unread > MAX_UNREAD:
            self.abortConnection()

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def typed(self, data: bytes) -> None:
        """Standard input gave `data`: what becomes of it leaves in one piece."""
        with gathered(getattr(self.conn.transport, "transport", None)):
            self.write(data)

    def inputFinished(self) -> None:
        """Standard input is at its end."""
        if self.conn is not None:
            self.unregisterProducer()
            self.conn.sendEOF(self)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def closed(self) -> None:
        if self._stdin is not None:
            self._stdin.stopProducing()
        waiting = [out for out in (self._stdout, self._stderr) if out is not None]
        left = len(waiting)

        def written() -> None:
            nonlocal left
            left -= 1
            if not left and not self.finished.called:
                # Success would say that all of the output is where it was wanted.
                status = self.exitStatus()
                self.finished.callback(status or (OWN_FAILURE if self._isIncomplete else 0))

        for out in waiting:
            out.finish(written)
        if not waiting and not self.finished.called:
            self.finished.callback(OWN_FAILURE)

    def cut(self) -> None:
        """End at once, whatever waits."""
        if self._stdin is not None:
            self._stdin.stopProducing()
        for out in (self._stdout, self._stderr):
            if out is not None:
                out.close()
        if not self.finished.called:
            self.finished.callback(OWN_FAILURE)

    def exitStatus(self) -> int:
        """The status that the client ends with."""
        return 0


class AttachedSession(AttachedChannel):
    """A shell, a command or a subsystem at our standard input and output.

    Args:
        request: What is asked of the server.
        escapes: Takes the escapes out of what is typed; None for an input that has none.
        onEscape: Is told of each escape.
        onTerminalRefused: Is told that the server gives no terminal.
        beatSeconds: The beat at which keys leave, `limpet.client.keystrokes`; 0 for none.

    Attributes:
        status: The exit status, once the server has said it.
        signal: The signal that ended the command, likewise.
        started: Fires with None once the server has started what was asked for; fails with
            ConchError where it has not.
    """

    name = b"session"

    def __init__(
        self,
        reactor: Any,
        tell: Callable[[str], object],
        request: SessionRequest,
        descriptors: tuple[int | None, int, int] = (STDIN, STDOUT, STDERR),
        escapes: EscapeReader | None = None,
        onEscape: Callable[[Escape], object] | None = None,
        onTerminalRefused: Callable[[], object] | None = None,
        beatSeconds: float = 0.0,
    ) -> None:
        super().__init__(reactor, tell, descriptors)
        self.request = request
        self.status: int | None = None
        self.signal: ExitSignal | None = None
        self.wasRefused = False
        self._escapes = escapes
        self._onEscape = onEscape
        self._onTerminalRefused = onTerminalRefused
        self._isHeld = False
        self._beatSeconds = beatSeconds
        self._keys: KeystrokeTiming | None = None

    def channelOpen(self, specificData: bytes) -> None:
        """Ask for everything at once, and do not wait for the answers: they come in order."""
        request, send = self.request, self.conn.sendRequest
        if request.forwardsAgent:
            asked = send(self, b"auth-agent-req@openssh.com", b"", wantReply=1)
            asked.addErrback(lambda _: self._tell("the server does not forward the agent"))
        if request.term is not None:
            body = NS(request.term) + packGeometry(request.geometry) + NS(request.modes)
            send(self, b"pty-req", body, wantReply=1).addErrback(self._terminalRefused)
        for name, value in request.environment:
            send(self, b"env", Environment(name, value).encode())
        body = b"" if request.kind == b"shell" else Command(request.command).encode()
        send(self, request.kind, body, wantReply=1).addErrback(self._refused)
        transport = self.conn.transport
        hasPing = getattr(transport, "peerExtensions", {}).get(b"ping@openssh.com") == b"0"
        if self._beatSeconds and hasPing and request.term is not None:
            self._keys = KeystrokeTiming(
                self._reactor, self.write, lambda: transport.sendPing(CHAFF), self._beatSeconds
            )
        self.start()

    def _terminalRefused(self, failure: Failure) -> None:
        if self.localClosed or self.remoteClosed:
            return
        self._tell("the server gives no terminal")
        if self._onTerminalRefused is not None:
            self._onTerminalRefused()

    def _refused(self, failure: Failure) -> None:
        # The channel that closes for another reason fails what waits for an answer as well.
        if self.localClosed or self.remoteClosed:
            return
        self.wasRefused = True
        what = {b"shell": "a shell", b"exec": "the command"}.get(self.request.kind)
        self._tell(
            f"the server does not start {what or 'the subsystem ' + shown(self.request.command)}"
        )
        self.abortConnection()

    def brakeInput(self) -> None:
        if self._escapes is None:
            super().brakeInput()

    def typed(self, data: bytes) -> None:
        if self._escapes is None:
            super().typed(data)
            return
        for found in self._escapes.feed(data):
            if isinstance(found, bytes):
                if self._keys is not None:
                    self._keys.typed(found)
                else:
                    self.write(found)
            elif self._onEscape is not None:
                self._flushKeys()
                self._onEscape(found)
        if self.bufferedBytes > MAX_TYPED and self._stdin is not None:
            self._stdin.pauseProducing()

    def _flushKeys(self) -> None:
        if self._keys is not None:
            self._keys.flush()

    def inputFinished(self) -> None:
        self._flushKeys()
        super().inputFinished()

    def closed(self) -> None:
        if self._keys is not None:
            self._keys.stop()
        super().closed()

    def cut(self) -> None:
        """End at once, whatever waits."""
        if self._keys is not None:
            self._keys.stop()
        super().cut()

    def startWriting(self) -> None:
        if self._escapes is not None and self._stdin is not None and not self._isHeld:
            self._stdin.resumeProducing()

    def holdInput(self, holds: bool) -> None:
        """Leave what is typed to somebody else for a while, or take it again."""
        self._isHeld = holds
        if self._stdin is None:
            return
        if holds:
            self._stdin.pauseProducing()
        elif self.bufferedBytes <= MAX_TYPED:
            self._stdin.resumeProducing()

    # ── what the person asks for meanwhile ────────────────────────────────────────────────────

    def resize(self, geometry: Geometry) -> None:
        """The terminal has another size now."""
        if self.conn is not None and not self.localClosed and self.request.term is not None:
            self.conn.sendRequest(self, b"window-change", WindowChange(geometry).encode())

    def sendBreak(self) -> None:
        """Send a BREAK (RFC 4335)."""
        asked = self.conn.sendRequest(
            self, b"break", BreakRequest(BREAK_MILLISECONDS).encode(), wantReply=1
        )
        if asked is not None:
            asked.addErrback(lambda _: self._tell("the server does not send a BREAK"))

    # ── how it ended ──────────────────────────────────────────────────────────────────────────

    def request_exit_status(self, data: bytes) -> bool:
        """The program's exit status. Payload: uint32."""
        self.status = ExitStatus.decode(data).status
        return True

    def request_exit_signal(self, data: bytes) -> bool:
        """A signal ended the program. Payload: string name, boolean core, string, string."""
        self.signal = ExitSignal.decode(data)
        return True

    @property
    def hasEnded(self) -> bool:
        """Whether the server has said how the command ended."""
        return self.status is not None or self.signal is not None

    def exitStatus(self) -> int:
        if self.status is not None:
            # A status that a process cannot have must not turn into success.
            return self.status if self.status <= LAST_STATUS else self.status & 255 or OWN_FAILURE
        if self.signal is not None:
            name = shown(self.signal.name)
            if not self._isBroken:
                words = f": {shown(self.signal.message)}" if self.signal.message else ""
                core = ", core dumped" if self.signal.coreDumped else ""
                self._tell(f"the command was ended by SIG{name}{core}{words}")
            number = getattr(signal, f"SIG{name}", None)
            return SIGNALLED + number if isinstance(number, signal.Signals) else OWN_FAILURE
        return OWN_FAILURE


class AttachedForward(AttachedChannel):
    """A connection from the server to somewhere else, at our standard input and output (-W).

    Args:
        host: Where the server is to connect to.
        port: The port there.
    """

    name = b"direct-tcpip"

    def __init__(
        self,
        reactor: Any,
        tell: Callable[[str], object],
        host: bytes,
        port: int,
        descriptors: tuple[int | None, int, int] = (STDIN, STDOUT, STDERR),
    ) -> None:
        super().__init__(reactor, tell, descriptors)
        self.openingData = TcpForward(host, port, b"127.0.0.1", 65535).encode()

    def eofReceived(self) -> None:
        """Nothing more comes from there; whoever reads our output is to see it, too."""
        if self._stdout is not None:
            self._stdout.finish(self._endOutput)

    def _endOutput(self) -> None:
        _, target, _ = self._descriptors
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), target)

    def outputBroken(self) -> None:
        self.abortConnection()
