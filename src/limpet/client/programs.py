"""A session channel that runs one program far away: a command, a shell, a subsystem.

Rule: what is asked for is asked for at once, without waiting for answers in between; the first
refusal is the reason for all of it. How the program ended is only what the server says: an exit
status, a signal, or nothing. That the connection broke is never one of these.

    channelOpen → env … → [pty-req] → exec │ shell │ subsystem → receiver.programAsked()
        receiver.programStarted()
        receiver.outputReceived(data) │ errorReceived(data) │ outputEnded()
        receiver.programEnded(Ending)          once, as the last; or programRefused(error) instead

RFC 4254 section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.client.errors import ClientError, ConnectionEnded, RequestRefused, shown
from limpet.core.windows import GROWN_WINDOW
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.wire.fields import NS
from limpet.wire.numbers import EXTENDED_DATA_STDERR
from limpet.wire.requests import (
    BreakRequest,
    Environment,
    ExitSignal,
    ExitStatus,
    Geometry,
    PtyRequest,
    SignalRequest,
    WindowChange,
)

WINDOW = 2 << 20
"""How many bytes the server may have under way to us (OpenSSH's number)."""

MAX_PACKET = 65536
"""Largest piece of data that we take in one message; servers of ours use it."""

EXEC = b"exec"
SHELL = b"shell"
SUBSYSTEM = b"subsystem"

AGENT_REQUEST = b"auth-agent-req@openssh.com"
"""Asks to have the agent forwarded; a server that does not is as good as one without agents."""


@dataclass(frozen=True)
class Terminal:
    """A terminal for a program.

    Attributes:
        term: Its type, the value of TERM.
        rows: How many lines it has.
        columns: How many characters fit into one.
        modes: (opcode, value), RFC 4254 section 8; none leaves them to the server.
    """

    term: str = "xterm-256color"
    rows: int = 24
    columns: int = 80
    modes: tuple[tuple[int, int], ...] = ()

    @property
    def geometry(self) -> Geometry:
        """The size as messages have it; in pixels it is not known."""
        return (self.rows, self.columns, 0, 0)


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes:
        kind: EXEC, SHELL or SUBSYSTEM.
        command: The command line, or the subsystem's name; nothing for a shell.
        environment: Variables to set; most servers take few of them (AcceptEnv).
        terminal: The terminal to run it in; None for pipes.
        forwardsAgent: Whether it is to have the agent, which was lent to the server before.
    """

    kind: bytes = SHELL
    command: bytes = b""
    environment: Mapping[bytes, bytes] = field(default_factory=dict)
    terminal: Terminal | None = None
    forwardsAgent: bool = False

    def __str__(self) -> str:
        if self.kind == EXEC:
            return f"the command {shown(self.command)!r}"
        if self.kind == SUBSYSTEM:
            return f"the subsystem {shown(self.command)}"
        return "a shell"


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        exitStatus: Its exit status; None where the server said none.
        exitSignal: The signal that ended it, "TERM"; None where none did.
        coreDumped: Whether it left a core file.
        message: What the server said about it.
        lost: Whether the connection was gone before the server said anything.
        closed: Whether this end closed the channel first.
    """

    exitStatus: int | None = None
    exitSignal: str | None = None
    coreDumped: bool = False
    message: str = ""
    lost: bool = False
    closed: bool = False


class Receiver(Protocol):
    """Whom a `ProgramChannel` tells."""

    def programAsked(self) -> None:
        """It was asked for: what is written from now on comes behind that. Earlier it would be lost
        on servers that take no input for nothing (OpenSSH)."""

    def programStarted(self) -> None:
        """The server has started it."""

    def programRefused(self, why: ClientError) -> None:
        """It does not come about; nothing else is told any more."""

    def outputReceived(self, data: bytes) -> None:
        """Standard output; it may come before `programStarted`."""

    def errorReceived(self, data: bytes) -> None:
        """Standard error."""

    def outputEnded(self) -> None:
        """Neither output has any more."""

    def programEnded(self, ending: Ending) -> None:
        """It is over, and so is the channel."""

    def outputPaused(self, paused: bool) -> None:
        """What is written to it has begun to wait, or waits no longer."""


class ProgramChannel(SSHChannel):
    """A session for one program.

    Args:
        program: What to run.
        receiver: Whom to tell.
    """

    name = b"session"

    def __init__(self, program: Program, receiver: Receiver) -> None:
        super().__init__(localWindow=WINDOW, localMaxPacket=MAX_PACKET)
        self.localWindowLimit = GROWN_WINDOW
        self.program = program
        self._receiver = receiver
        self._isStarted = False
        self._isRefused = False
        self._isClosedByPeer = False
        self._isClosedByUs = False
        self._endOfOutput = False
        self._status: int | None = None
        self._signal: ExitSignal | None = None

    # ── opening ───────────────────────────────────────────────────────────────────────────────

    def channelOpen(self, specificData: bytes) -> None:
        program, connection = self.program, self.conn
        if program.forwardsAgent:
            connection.sendRequest(self, AGENT_REQUEST, b"")
        for name, value in program.environment.items():
            connection.sendRequest(self, b"env", Environment(name, value).encode())
        asked = []
        terminal = program.terminal
        if terminal is not None:
            pty = PtyRequest(terminal.term.encode("utf-8"), terminal.geometry, terminal.modes)
            asked.append(
                self._asked(
                    connection.sendRequest(self, b"pty-req", pty.encode(), wantReply=True),
                    "a terminal (PermitTTY)",
                )
            )
        body = b"" if program.kind == SHELL else NS(program.command)
        asked.append(
            self._asked(
                connection.sendRequest(self, program.kind, body, wantReply=True), str(program)
            )
        )
        asked[-1].addCallback(self._started)
        self._receiver.programAsked()

    def _asked(self, answer: defer.Deferred[Any], what: str) -> defer.Deferred[Any]:
        return answer.addCallbacks(lambda ignored: True, lambda why: self._refused(what, why))

    def _refused(self, what: str, why: Failure) -> bool:
        if self._isRefused or self.localClosed or self.remoteClosed:
            # Closed instead of answered: `closed` says why.
            return False
        self._isRefused = True
        self.conn.sendClose(self)
        cause = why.value if isinstance(why.value, ConchError) else None
        self._receiver.programRefused(RequestRefused(f"the server refuses {what}", cause))
        return False

    def _started(self, accepted: bool) -> None:
        if accepted and not self._isRefused and not self._isStarted:
            self._isStarted = True
            self._receiver.programStarted()

    def openFailed(self, reason: Any) -> None:
        self._isRefused = True
        if isinstance(reason, ConchError):
            self._receiver.programRefused(
                RequestRefused(
                    f"the server opens no session for {self.program}: {shown(reason.value)}"
                    " (MaxSessions)",
                    reason,
                )
            )
        else:
            self._receiver.programRefused(
                ConnectionEnded(f"the connection ended before the server started {self.program}")
            )

    # ── what comes ────────────────────────────────────────────────────────────────────────────

    def dataReceived(self, data: bytes) -> None:
        if not self._isRefused:
            self._receiver.outputReceived(data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        if dataType == EXTENDED_DATA_STDERR and not self._isRefused:
            self._receiver.errorReceived(data)

    def eofReceived(self) -> None:
        self._endOutput()

    def _endOutput(self) -> None:
        if not self._endOfOutput and not self._isRefused:
            self._endOfOutput = True
            self._receiver.outputEnded()

    def request_exit_status(self, data: bytes) -> bool:
        """exit-status: uint32 status; the first counts, and none after we closed the channel."""
        if self._status is None and not self.localClosed:
            self._status = ExitStatus.decode(data).status
        return True

    def request_exit_signal(self, data: bytes) -> bool:
        """exit-signal: string name, boolean core dumped, string message, string language."""
        if self._signal is None and not self.localClosed:
            self._signal = ExitSignal.decode(data)
        return True

    def closeReceived(self) -> None:
        self._isClosedByPeer = True
        super().closeReceived()

    def closed(self) -> None:
        if self._isRefused:
            return
        if not self._isStarted and self._isClosedByPeer and not self._isClosedByUs:
            if self._status is None and self._signal is None:
                self._isRefused = True
                self._receiver.programRefused(
                    RequestRefused(f"the server closes the session instead of {self.program}")
                )
                return
        self._endOutput()
        said = self._signal
        known = self._status is not None or said is not None
        self._receiver.programEnded(
            Ending(
                exitStatus=self._status,
                exitSignal=None if said is None else shown(said.name),
                coreDumped=said is not None and said.coreDumped,
                message="" if said is None else shown(said.message),
                lost=not known and not self._isClosedByPeer and not self._isClosedByUs,
                closed=self._isClosedByUs,
            )
        )

    # ── what goes ─────────────────────────────────────────────────────────────────────────────

    def stopWriting(self) -> None:
        self._receiver.outputPaused(True)

    def startWriting(self) -> None:
        self._receiver.outputPaused(False)

    def sendEOF(self) -> None:
        """No more input for the program comes."""
        self.conn.sendEOF(self)

    def sendSignal(self, name: str) -> None:
        """Send the program a signal, "TERM"; servers need not pass it on, and do not say."""
        body = SignalRequest(name.removeprefix("SIG").encode("utf-8"))
        self.conn.sendRequest(self, b"signal", body.encode())

    def sendBreak(self, milliseconds: int = 0) -> None:
        """Send a BREAK to the program's line (RFC 4335)."""
        self.conn.sendRequest(self, b"break", BreakRequest(milliseconds).encode())

    def resize(self, rows: int, columns: int) -> None:
        """The terminal has another size."""
        self.conn.sendRequest(self, b"window-change", WindowChange((rows, columns, 0, 0)).encode())

    def loseConnection(self) -> None:
        if not self._isClosedByPeer:
            self._isClosedByUs = True
        super().loseConnection()
