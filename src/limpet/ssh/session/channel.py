"""The session channel: what a client asks for on it, and who serves that (RFC 4254 section 6).

Rule: a request is answered with 1 or 0 and never raises; what an application raises is logged once.
One session runs one program: after the first shell, command or subsystem the others are refused.

    pty-req, env ─► ISession(avatar)     shell, exec ─► ISession.openShell, execCommand
    subsystem ────► avatar.lookupSubsystem
    data, EOF ────► client.transport, ISession.eofReceived
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessExitedAlready

from limpet.core.outbound import OutboundBuffer
from limpet.error import ConchError
from limpet.interfaces import (
    EnvironmentVariableNotPermitted,
    ISession,
    ISessionSetEnv,
    ISubsystemProgram,
)
from limpet.ssh.channel import SSHChannel
from limpet.ssh.session.process import (
    END_OF_WRITE,
    SSHSessionProcessProtocol,
    SubsystemProcessProtocol,
)
from limpet.ssh.session.requests import parseRequest_pty_req, parseRequest_window_change
from limpet.ssh.session.signals import signalNumber
from limpet.ssh.session.wrappers import wrapProcessProtocol, wrapProtocol
from limpet.wire.errors import BadField, WireError
from limpet.wire.fields import getNS
from limpet.wire.numbers import EXTENDED_DATA_STDERR
from limpet.wire.requests import (
    BreakRequest,
    Command,
    Environment,
    Geometry,
    SignalRequest,
    X11Request,
)

MAX_ENVIRONMENT_VARIABLES = 64
"""How many environment variables a client may set in one session."""

MAX_ENVIRONMENT_BYTES = 65536
"""How long their names and values may be, all together."""

MAX_TERM_LENGTH = 256
"""How long the type of a terminal may be, in bytes."""

AGENT_REQUEST = b"auth-agent-req@openssh.com"
"""OpenSSH's request to forward an agent; its name makes no name of a method."""

MAX_TERMINAL_SIZE = 65535
"""The largest number of rows, columns or pixels: the kernel keeps each in 16 bits (struct
winsize)."""


class SSHSession(SSHChannel):
    """A session.

    Attributes:
        client: What the client's data goes to: an object whose `transport` is written to. None
            until a program runs.
        session: The user's `ISession`; adapted from the avatar when it is first needed.
        buf: What the client sent before a program ran. (The base class's `buf`, the output that
            waits, has no name here.)
    """

    name = b"session"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client: Any = None
        self.session: Any = None
        self._earlyInput = OutboundBuffer()
        self._inputWaits = False
        self._outputUnwanted = False
        self._environmentCount = 0
        self._environmentBytes = 0

    @property
    def buf(self) -> bytes:
        """A copy of what the client sent before a program ran."""
        return bytes(self._earlyInput)

    @buf.setter
    def buf(self, data: bytes) -> None:
        self._earlyInput = OutboundBuffer(data)

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def _userSession(self) -> Any:
        """The user's `ISession`, the same one for all requests of this channel."""
        if self.session is None:
            self.session = ISession(self.avatar, None)
            if self.session is None:
                raise ConchError(f"there is no ISession for {type(self.avatar).__name__}")
        return self.session

    def _attempt(self, what: str, action: Callable[[], object]) -> int:
        """Whether `action` went well: 1; else 0, with what it raised in the log.

        A body that does not parse is the client's fault and no matter for the log; a ConchError is
        meant as a refusal and needs no traceback.
        """
        try:
            action()
        except (WireError, EnvironmentVariableNotPermitted):
            return 0
        except ConchError as refusal:
            if self._mayLogRefusal():
                self._log.info("{what} refused: {why}", what=what, why=refusal.value)
            return 0
        except Exception:  # noqa: BLE001 an application refuses by raising anything
            if self._mayLogRefusal():
                self._log.failure("{what} refused", what=what)
            return 0
        return 1

    def _mayLogRefusal(self) -> bool:
        """Whether the connection has room for it in the log."""
        ask = getattr(self.conn, "mayLogRefusal", None)
        return ask is None or ask()

    def request_subsystem(self, data: bytes) -> int:
        """Start a subsystem. Body: string name, and what the subsystem makes of the rest."""
        if self.client is not None:
            return 0
        return self._attempt("subsystem", lambda: self._startSubsystem(data)) and int(
            self.client is not None
        )

    def _startSubsystem(self, data: bytes) -> None:
        name = getNS(data)[0]
        subsystem = self.avatar.lookupSubsystem(name, data)
        if not subsystem:
            return
        if ISubsystemProgram.providedBy(subsystem):
            child = SSHSessionProcessProtocol(self)
            subsystem.start(self._userSession(), child)  # type: ignore[no-untyped-call]
            self._programRuns(child)
            return
        program = SubsystemProcessProtocol(self)
        wrapProcessProtocol(subsystem).makeConnection(program)
        program.makeConnection(wrapProtocol(subsystem))  # type: ignore[no-untyped-call]
        self._programRuns(program)

    def request_shell(self, data: bytes) -> int:
        """Start the user's shell. Body: nothing."""
        if self.client is not None:
            return 0

        def start() -> None:
            program = SSHSessionProcessProtocol(self)
            _refuseCoroutine(self._userSession().openShell(program))
            self._programRuns(program)

        return self._attempt("shell", start)

    def request_exec(self, data: bytes) -> int:
        """Start a command. Body: string command."""
        if self.client is not None:
            return 0

        def start() -> None:
            command = Command.decode(data).command
            program = SSHSessionProcessProtocol(self)
            _refuseCoroutine(self._userSession().execCommand(program, command))
            self._programRuns(program)

        return self._attempt("exec", start)

    def _programRuns(self, program: SSHSessionProcessProtocol) -> None:
        self.client = program
        if not self.areWriting:
            # It wrote more than can go out before we knew whom to pause.
            self.stopWriting()
        if self._outputUnwanted:
            program.outputUnwanted()
        if self.inputEnded:
            # Behind what came before the program; there was nobody to tell then.
            self.eofReceived()

    def request_pty_req(self, data: bytes) -> int:
        """Prepare a pseudo-terminal.

        Body: string TERM, uint32 columns, rows, width, height, string modes.
        """

        def start() -> None:
            term, geometry, modes = parseRequest_pty_req(data)
            if len(term) > MAX_TERM_LENGTH or b"\0" in term:
                raise BadField("not the name of a terminal")
            self._userSession().getPty(term, _clamped(geometry), modes)

        return self._attempt("pty-req", start)

    def request_env(self, data: bytes) -> int:
        """Set an environment variable. Body: string name, string value."""

        def start() -> None:
            body = Environment.decode(data)
            session = self._userSession()
            takesEnvironment: bool = ISessionSetEnv.providedBy(session)
            if not takesEnvironment:
                raise EnvironmentVariableNotPermitted("the session takes no environment")
            if not body.name or b"=" in body.name or b"\0" in body.name + body.value:
                raise BadField("not an environment variable")
            self._environmentCount += 1
            self._environmentBytes += len(body.name) + len(body.value)
            if (
                self._environmentCount > MAX_ENVIRONMENT_VARIABLES
                or self._environmentBytes > MAX_ENVIRONMENT_BYTES
            ):
                raise EnvironmentVariableNotPermitted("too many environment variables")
            session.setEnv(body.name, body.value)

        return self._attempt("env", start)

    def request_window_change(self, data: bytes) -> int:
        """The client's window has another size. Body: uint32 columns, rows, width, height."""

        def start() -> None:
            geometry = _clamped(parseRequest_window_change(data))
            try:
                self._userSession().windowChanged(geometry)
            except NotImplementedError:
                # That of Twisted's manhole; the terminal behind it would know what to do.
                terminal = self._terminalProtocol()
                if terminal is None:
                    raise BadField("the session takes no change of its window") from None
                terminal.terminalSize(geometry[1], geometry[0])

        return self._attempt("window-change", start)

    def _terminalProtocol(self) -> Any:
        """The `ITerminalProtocol` that takes our input, where one does; else None."""
        write = getattr(getattr(self.client, "transport", None), "write", None)
        terminal = getattr(getattr(write, "__self__", None), "terminalProtocol", None)
        return terminal if hasattr(terminal, "terminalSize") else None

    def request_signal(self, data: bytes) -> int:
        """Send the program a signal. Body: string name, without "SIG" (RFC 4254 section 6.9).

        A session that has a method `signalReceived(name)` decides by itself. Otherwise the signal
        goes to the process, if there is one and no forced command stands in its place.
        """

        def start() -> None:
            name = SignalRequest.decode(data).name
            number = signalNumber(name)
            if number is None or self.client is None:
                raise BadField("no such signal, or nobody to send it to")
            decide = getattr(self.session, "signalReceived", None)
            if decide is not None:
                decide(name)
                return
            send = getattr(getattr(self.client, "transport", None), "signalProcess", None)
            restrictions = getattr(getattr(self.conn, "transport", None), "restrictions", None)
            if send is None or getattr(restrictions, "forcedCommand", None) is not None:
                raise BadField("this program takes no signals")
            try:
                send(number)
            except ProcessExitedAlready:
                raise BadField("the program has exited") from None
            except PermissionError:
                # As one that has become root's (sudo), where the server is not.
                raise BadField("the program is another user's") from None

        return self._attempt("signal", start)

    def requestReceived(self, requestType: bytes, data: bytes) -> Any:
        """The client asks for something; `auth-agent-req@openssh.com` is `request_agent` here, and
        `eow@openssh.com` is `request_eow`."""
        if requestType == AGENT_REQUEST:
            return self.request_agent(data)
        if requestType == END_OF_WRITE:
            return self.request_eow(data)
        return super().requestReceived(requestType, data)

    def request_eow(self, data: bytes) -> int:
        """Nobody reads the program's output any more, as in `ssh host yes | head`. Body: nothing.

        It is told as by any pipe whose reader has gone. Its standard error and its status still go
        to the client, which would never grant window for the output that waited before them.
        """
        self._outbound.clear()
        self.write = self._writeNothing  # type: ignore[method-assign]
        self._outputUnwanted = True
        if isinstance(self.client, SSHSessionProcessProtocol):
            self.client.outputUnwanted()
        self._resumeOutput()
        return 1

    def _writeNothing(self, data: bytes | str) -> None:
        """What `write` is when nobody reads it."""

    def request_agent(self, data: bytes) -> int:
        """Lend the program the client's agent. Body: nothing (OpenSSH's PROTOCOL.agent).

        A session that has a method `agentForwardingRequested()` does so; otherwise it is refused.
        """

        def start() -> None:
            decide = getattr(self._userSession(), "agentForwardingRequested", None)
            if decide is None:
                raise BadField("no agents here")
            decide()

        return self._attempt("agent forwarding", start)

    def request_break(self, data: bytes) -> int:
        """Send the program a break. Body: uint32 milliseconds (RFC 4335).

        A session that has a method `breakReceived(milliseconds)` decides; otherwise it is refused.
        """

        def start() -> None:
            milliseconds = BreakRequest.decode(data).milliseconds
            decide = getattr(self.session, "breakReceived", None)
            if decide is None or self.client is None:
                raise BadField("no break here")
            decide(milliseconds)

        return self._attempt("break", start)

    def request_x11_req(self, data: bytes) -> int:
        """Forward the display to the client.

        Body: boolean single connection, string protocol, string cookie, uint32 screen (RFC 4254
        section 6.3.1). A session that has a method `x11Requested(single, protocol, cookie, screen)`
        decides; otherwise it is refused.
        """

        def start() -> None:
            body = X11Request.decode(data)
            decide = getattr(self._userSession(), "x11Requested", None)
            if decide is None:
                raise ConchError("X11 is not forwarded here")
            decide(body.single, body.protocol, body.cookie, body.screen)

        return self._attempt("x11-req", start)

    # ── the client's data ─────────────────────────────────────────────────────────────────────

    def dataReceived(self, data: bytes) -> None:
        """Give the program its input; keep it while there is no program yet."""
        transport = getattr(self.client, "transport", None)
        if transport is None:
            if self.localClosed:
                return
            self._earlyInput.append(data)
            # Nobody takes it yet, so that no more of it than one window may come.
            self._inputWaits = True
            self.pauseProducing()
            return
        if self._inputWaits:
            self.inputWanted()
        transport.write(data)

    def inputWanted(self) -> None:
        """There is a program now, and what came before it is delivered."""
        if self._inputWaits:
            self._inputWaits = False
            self.resumeProducing()

    def extReceived(self, dataType: int, data: bytes) -> None:
        """Standard error, from a client: to the program's `writeErr`, where it has one."""
        if dataType != EXTENDED_DATA_STDERR:
            if self._mayLogRefusal():
                self._log.warn("extended data of type {dataType} dropped", dataType=dataType)
            return
        writeErr = getattr(getattr(self.client, "transport", None), "writeErr", None)
        if writeErr is not None:
            writeErr(data)

    def eofReceived(self) -> None:
        """The client sends no more: tell what runs, a subsystem itself, else the session.

        A session that a variable or a terminal was asked of has begun nothing, so that it cannot
        end the subsystem.
        """
        if isinstance(self.client, SSHSessionProcessProtocol):
            self.client.uncouple()
        if isinstance(self.client, SubsystemProcessProtocol):
            if not self.client.inputEnded():
                self.client.sendNormalEnd()
                self.conn.sendClose(self)
        elif self.session is not None:
            try:
                self.session.eofReceived()
            except NotImplementedError:  # that of Twisted's manhole
                self.conn.sendClose(self)
        elif self.client is not None:
            self.conn.sendClose(self)

    # ── output ────────────────────────────────────────────────────────────────────────────────

    def stopWriting(self) -> None:
        """Output waits: stop reading what the program writes."""
        pause = getattr(getattr(self.client, "transport", None), "pauseProducing", None)
        if pause is not None:
            pause()

    def startWriting(self) -> None:
        """What waits is about to go out: read again what the program writes."""
        resume = getattr(getattr(self.client, "transport", None), "resumeProducing", None)
        if resume is not None:
            resume()

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _loseClient(self) -> None:
        client = self.client
        if isinstance(client, SSHSessionProcessProtocol):
            client.uncouple()
        transport = getattr(client, "transport", None)
        if transport is not None:
            transport.loseConnection()

    def loseConnection(self) -> None:
        """End the program, and close the channel behind all that was written."""
        self._loseClient()
        super().loseConnection()

    def dropOutput(self) -> None:
        """Give up what waits, what came before a program included: none will run any more."""
        super().dropOutput()
        self._earlyInput.clear()

    def closed(self) -> None:
        """The channel is closed: end the program, tell the session."""
        self._earlyInput.clear()
        try:
            self._loseClient()
        finally:
            if self.session is not None:
                self.session.closed()


def _refuseCoroutine(started: object) -> None:
    """Whoever writes `async def openShell` means well, and nobody would run it.

    Raises:
        TypeError: It is a coroutine.
    """
    if inspect.iscoroutine(started):
        started.close()
        raise TypeError(
            f"{started.__qualname__} must start what it starts and return: begin the coroutine in"
            " it as a task, or let limpet.aio.sessions do so"
        )


def _clamped(geometry: Geometry) -> Geometry:
    """The size of a terminal, each number at most `MAX_TERMINAL_SIZE`."""
    rows, columns, width, height = (min(number, MAX_TERMINAL_SIZE) for number in geometry)
    return rows, columns, width, height
