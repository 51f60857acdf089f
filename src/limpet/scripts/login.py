"""One run of `limpet ssh`: a connection of its own, what is forwarded on it, and a session.

Rule: however it ends, the terminal is as it was, and what ended it is told in one line.

    connection ─▶ forwardings ─▶ session at standard input and output ─▶ exit status
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from subprocess import DEVNULL, call
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.client.askpass import askpassOf
from limpet.client.attaching import (
    AttachedChannel,
    AttachedForward,
    AttachedSession,
    SessionRequest,
)
from limpet.client.config import ClientConfig, ConfigError
from limpet.client.connecting import ClientConnection, connect
from limpet.client.errors import OWN_FAILURE, ClientError, RequestRefused, shown
from limpet.client.escapes import Escape, EscapeReader
from limpet.client.interaction import NobodyToAsk
from limpet.client.names import aside
from limpet.client.terminal import (
    RawTerminal,
    TerminalInterface,
    encodedModes,
    isTerminal,
    windowSize,
)
from limpet.descriptors import STDERR, STDIN, STDOUT
from limpet.error import ConchError
from limpet.scripts.messages import Loudness, Messages
from limpet.scripts.sshoptions import Invocation
from limpet.scripts.standard import leave

GOODBYE_SECONDS = 2.0
"""How long the end of the connection may take after the session has ended."""

POST_QUANTUM = (b"mlkem", b"sntrup")
"""What the names of key exchanges begin with, or hold, that withstand a quantum computer."""

FORWARDINGS_CHECK_SECONDS = 0.2
"""How often a client whose session has ended looks whether forwarded connections are left."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Login:
    """One run of the client, from dialling to the exit status.

    Args:
        reactor: What runs it.
        config: What to do.
        invocation: The rest of what was asked for.
        messages: Where the person is told something.

    Attributes:
        finished: Fires with the exit status, when nothing is left to do.
    """

    def __init__(
        self, reactor: Any, config: ClientConfig, invocation: Invocation, messages: Messages
    ) -> None:
        self.finished: defer.Deferred[int] = defer.Deferred()
        self._reactor = reactor
        self._config = config
        self._invocation = invocation
        self._messages = messages
        self._ui = TerminalInterface(
            reactor,
            self._tellText,
            mayAsk=not config.batchMode,
            askpass=askpassOf(os.environ),
            follow=messages.follow,
        )
        self._connecting: defer.Deferred[ClientConnection] | None = None
        self._connection: ClientConnection | None = None
        self._channel: AttachedChannel | None = None
        self._terminal: RawTerminal | None = None
        self._escapes: EscapeReader | None = None
        self._forwards: Any = None
        self._commandLine: TerminalInterface | None = None
        self._lendsAgent = False
        self._isOver = False
        # Where the connection is shared with other programs, and whether this one is behind them.
        self._master: Any = None
        self._consent: Any = None
        self._isBehind = False

    # ── beginning ─────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Take the signals, and connect."""
        for number in ENDING_SIGNALS:
            # What the parent has us ignore (nohup) stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._onSignal(number, partial(self._ended, number))
        self._onSignal(signal.SIGCONT, self._resumed)
        self._onSignal(signal.SIGWINCH, self._resized)
        self._connecting = connect(self._reactor, self._config, self._ui)
        self._connecting.addCallbacks(self._connected, self._notConnected)
        self._connecting.addErrback(self._bug)

    def _onSignal(self, number: signal.Signals, act: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(act))

    def _notConnected(self, reason: Failure) -> None:
        if self._isOver:
            # A signal has given it up, and whatever came of that.
            return
        if not reason.check(ClientError, ConfigError):
            reason.raiseException()
        self._messages.say(reason.getErrorMessage(), Loudness.FATAL)
        self._finish(OWN_FAILURE)

    def _bug(self, reason: Failure) -> None:
        self._restore()
        words = f"this is a bug in Limpet: {reason.type.__name__ if reason.type else ''}: "
        self._messages.say(words + reason.getErrorMessage(), Loudness.FATAL)
        self._messages.say(reason.getTraceback(), Loudness.VERBOSE)
        self._finish(OWN_FAILURE)

    def _connected(self, connection: ClientConnection) -> None:
        config = self._config
        self._connection = connection
        connection.closed.addCallback(self._lost).addErrback(self._bug)
        self._describe(connection)
        self._lendAgent(connection)
        if not (config.localForwards or config.remoteForwards or config.dynamicForwards):
            self._prepare(connection)
            return
        starting = self._startForwards(connection)
        starting.addCallbacks(lambda _: self._prepare(connection), self._notForwarded)
        starting.addErrback(self._bug)

    def _lendAgent(self, connection: ClientConnection) -> None:
        """Let the server ask our agent, where the configuration says so."""
        if not self._config.forwardAgent:
            return
        try:
            connection.lendAgent()
        except RequestRefused as refusal:
            self._tell(str(refusal))
        else:
            self._lendsAgent = True

    def _makeForwards(self, connection: ClientConnection) -> Any:
        """The connection's forwardings, made at their first use."""
        from limpet.client.forwards import Forwards

        config = self._config
        if self._forwards is None:
            self._forwards = Forwards(
                self._reactor,
                connection.connection,
                config.gatewayPorts,
                self._tell,
                config.streamLocalBindUnlink,
                config.streamLocalBindMask,
            )
        return self._forwards

    def _startForwards(self, connection: ClientConnection) -> defer.Deferred[None]:
        config = self._config

        def started(told: list[str]) -> None:
            for text in told:
                self._tell(text)

        starting: defer.Deferred[list[str]] = self._makeForwards(connection).start(config)
        return starting.addCallback(started)

    def _notForwarded(self, reason: Failure) -> None:
        if not reason.check(ClientError):
            reason.raiseException()
        if not self._isOver:
            self._messages.say(reason.getErrorMessage(), Loudness.ERROR)
            self._finish(OWN_FAILURE)

    def _prepare(self, connection: ClientConnection) -> None:
        """Run the LocalCommand, if there is one, and go on when it has ended."""
        command = self._config.localCommand
        if command is None:
            self._proceed()
            return
        from limpet.client.hostkeys import hostKeyName, hostKeyTokens

        tokens = hostKeyTokens(
            self._config, hostKeyName(self._config), connection.transport.hostKeyBlob
        )
        arguments = self._config.arguments(command, tokens | {"T": "NONE"})
        running = aside(self._reactor, partial(call, arguments, stdin=DEVNULL))

        def notRun(reason: Failure) -> None:
            reason.trap(OSError)
            self._tell(f"LocalCommand: {arguments[0]}: {reason.getErrorMessage()}")

        running.addErrback(notRun).addCallback(lambda _: self._proceed()).addErrback(self._bug)

    def _proceed(self) -> None:
        """All is prepared: run what was asked for."""
        if self._isOver:
            return
        self._share()
        if self._isBehind:
            return
        if self._config.forkAfterAuthentication:
            self._goToBackground()
        if self._invocation.forwardTo is not None:
            self._openForward(*self._invocation.forwardTo)
        elif self._config.sessionType != "none":
            self._openSession()

    def _share(self) -> None:
        """Let other programs use the connection, where the configuration says so."""
        config, connection = self._config, self._connection
        if config.controlMaster == "no" or connection is None:
            return
        # Loaded where it is wanted: most sessions share nothing.
        from limpet.scripts.mastering import Consent, firstClient, goBehind, share

        self._consent = Consent(self._reactor, config, self._tellText, self._lendTerminal)
        makeForwards = partial(self._makeForwards, connection)
        self._master = share(
            connection,
            makeForwards,
            self._consent,
            self._messages,
            partial(self._cut, "ended by a program that shares it"),
            self._lendsAgent,
        )
        if self._master is None:
            return
        hasSession = config.sessionType != "none" or self._invocation.forwardTo is not None
        if config.controlPersist is not None:
            if not goBehind(self._messages):
                # In front: what was asked for is the first client's.
                status = 0
                if hasSession:
                    found = firstClient(config, self._invocation, self._messages)
                    status = OWN_FAILURE if found is None else found
                leave(status)
            self._isBehind = True
            # Its threads stayed with the parent.
            self._reactor.threadpool = None
        if config.controlPersist is not None or not hasSession:
            self._master.persist(config.controlPersist or 0, partial(self._finish, 0))

    def _lendTerminal(self, isLent: bool) -> None:
        """Leave the terminal to a question for a while, or take it back."""
        channel = self._channel
        if not isinstance(channel, AttachedSession) or self._terminal is None:
            return
        channel.holdInput(isLent)
        if isLent:
            self._messages.isRaw = False
            self._terminal.restore()
        else:
            self._enterRaw()

    def _describe(self, connection: ClientConnection) -> None:
        transport = connection.transport
        ciphers = transport.currentEncryptions
        names = (transport.kexAlg, transport.keyAlg, ciphers.outCipType, ciphers.outMACType)
        words = ", ".join(shown(name or b"") for name in names if name not in (None, b"none"))
        self._messages.say(
            f"logged in as {self._config.user} on {self._config.hostName}; {words}; "
            f"the server is {shown(transport.otherVersionString)}",
            Loudness.VERBOSE,
        )

        if self._config.warnWeakCrypto and not any(
            word in (transport.kexAlg or b"") for word in POST_QUANTUM
        ):
            self._tell(
                f"keys are exchanged by {shown(transport.kexAlg or b'')}, which a quantum computer"
                " may break one day: what is recorded now could be read then (WarnWeakCrypto)"
            )

    def _goToBackground(self) -> None:
        """Let the shell go on: a child has all that is open, and the parent ends with success."""
        sys.stdout.flush()
        if os.fork():
            os._exit(0)
        os.setsid()
        # Its threads stayed with the parent, and names would wait for them: the next use makes new
        # ones.
        self._reactor.threadpool = None
        if self._master is not None and self._config.sessionType == "none":
            from limpet.scripts.mastering import leaveStandardFiles

            leaveStandardFiles(self._messages)

    # ── what runs on the connection ───────────────────────────────────────────────────────────

    def _openForward(self, host: str, port: int) -> None:
        channel = AttachedForward(self._reactor, self._tell, os.fsencode(host), port)
        self._open(channel, channel.openingData)

    def _openSession(self) -> None:
        request = self._request()
        stdin = None if self._config.stdinNull else STDIN
        hasTerminal = stdin is not None and isTerminal(STDIN)
        if request.term is not None and hasTerminal:
            self._terminal = RawTerminal(STDIN)
            self._escapes = self._makeEscapes()
        self._describeRequest(request)
        channel = AttachedSession(
            self._reactor,
            self._tell,
            request,
            (stdin, STDOUT, STDERR),
            self._escapes,
            self._escaped,
            self._restore,
            self._config.keystrokeMilliseconds / 1000 if hasTerminal else 0.0,
        )
        if self._connection is not None and request.term is not None:
            self._connection.markPackets(atTerminal=True)
        self._open(channel)
        self._enterRaw()

    def _open(self, channel: AttachedChannel, data: bytes = b"") -> None:
        if self._connection is None:
            return
        self._channel = channel
        self._messages.say(f"opening a channel: {shown(channel.name or b'')}", Loudness.DEBUG1)
        channel.finished.addCallbacks(self._sessionEnded, self._notOpened).addErrback(self._bug)
        self._connection.connection.openChannel(channel, data)

    def _notOpened(self, reason: Failure) -> None:
        if not reason.check(ConchError):
            reason.raiseException()
        words = shown(reason.value.value) if isinstance(reason.value, ConchError) else ""
        self._messages.say(f"the server does not open the channel: {words}", Loudness.ERROR)
        self._finish(OWN_FAILURE)

    def _request(self) -> SessionRequest:
        config = self._config
        command = self._invocation.command
        if command is None:
            command = config.remoteCommand
        kind = b"shell" if command is None else b"exec"
        if config.sessionType == "subsystem":
            kind = b"subsystem"
        variables = config.environment(os.environ)
        request = SessionRequest(
            kind=kind,
            command=os.fsencode(command or ""),
            environment=tuple(
                (os.fsencode(name), os.fsencode(value)) for name, value in variables.items()
            ),
            forwardsAgent=self._lendsAgent,
        )
        if self._wantsTerminal(kind):
            request.term = os.fsencode(variables.get("TERM", os.environ.get("TERM", "")))
            source = STDIN if isTerminal(STDIN) else STDOUT
            request.geometry = windowSize(source)
            request.modes = encodedModes(source)
        return request

    def _describeRequest(self, request: SessionRequest) -> None:
        """Say what the session is asked for; of variables the names only, since they hold keys."""
        say = partial(self._messages.say, loudness=Loudness.DEBUG1)
        if request.environment:
            names = b", ".join(name for name, _ in request.environment)
            say(f"sending the variables {shown(names)}")
        if request.term is not None:
            rows, columns = request.geometry[:2]
            say(f"asking for a terminal: {shown(request.term)}, {columns} columns, {rows} rows")
        if request.kind == b"shell":
            say("asking for a shell")
        else:
            kind = "subsystem" if request.kind == b"subsystem" else "command"
            say(f"asking for the {kind} {shown(request.command)!r}")

    def _wantsTerminal(self, kind: bytes) -> bool:
        wanted = self._config.requestTTY
        if wanted == "force":
            return True
        if wanted == "no" or (wanted == "auto" and kind != b"shell"):
            return False
        if not self._config.stdinNull and isTerminal(STDIN):
            return True
        if wanted == "yes":
            self._messages.say("standard input is no terminal, so none is asked for (-tt would)")
        return False

    def _makeEscapes(self) -> EscapeReader | None:
        character = self._config.escapeChar
        if character is None:
            return None
        encoded = os.fsencode(character)
        if len(encoded) != 1:
            self._messages.say(f"the escape character {character!r} is more than one byte")
            return None
        return EscapeReader(encoded)

    # ── the terminal ──────────────────────────────────────────────────────────────────────────

    def _enterRaw(self) -> None:
        if self._terminal is not None and not self._isOver:
            self._terminal.enter()
            self._messages.isRaw = True

    def _restore(self) -> None:
        self._ui.abandon()
        line, self._commandLine = self._commandLine, None
        if line is not None:
            line.abandon()
        if self._consent is not None:
            self._consent.abandon()
        self._messages.isRaw = False
        if self._terminal is not None:
            self._terminal.restore()

    def _resized(self) -> None:
        if isinstance(self._channel, AttachedSession):
            self._channel.resize(windowSize(STDIN if isTerminal(STDIN) else STDOUT))
        if self._master is not None:
            # A client of ours tells by this that its terminal has another size.
            self._master.resized()

    def _resumed(self) -> None:
        """The process was stopped and goes on; a shell may have changed the terminal."""
        if self._connection is None:
            self._ui.resume()
        elif self._channel is not None and self._terminal is not None and self._terminal.isRaw:
            self._enterRaw()
            self._resized()

    def _suspend(self) -> None:
        if self._terminal is None:
            return
        self._terminal.restore()
        # Returns when the process goes on.
        os.kill(os.getpid(), signal.SIGTSTP)
        self._enterRaw()
        self._resized()

    def _escaped(self, escape: Escape) -> None:
        """The person wants something of the client."""
        channel, connection = self._channel, self._connection
        if connection is None or self._escapes is None or not isinstance(channel, AttachedSession):
            return
        if escape is Escape.CLOSE:
            self._messages.write("\n")
            self._cut("closed by an escape")
        elif escape is Escape.SUSPEND:
            self._suspend()
        elif escape is Escape.HELP:
            self._messages.write("\n" + self._escapes.help())
        elif escape is Escape.BREAK:
            channel.sendBreak()
        elif escape is Escape.REKEY:
            connection.transport.sendKexInit()
        elif escape is Escape.LIST:
            self._messages.write("\n" + self._channelList(connection))
        elif escape is Escape.COMMAND:
            self._openCommandLine(connection, channel)
        elif escape in (Escape.LOUDER, Escape.QUIETER):
            self._changeLoudness(1 if escape is Escape.LOUDER else -1)
        else:
            self._tell("this escape is not available")

    def _openCommandLine(self, connection: ClientConnection, channel: AttachedSession) -> None:
        """Ask for one command, as lines are typed elsewhere, and do it."""
        from limpet.client.commandline import PROMPT, CommandLine

        if not self._config.enableEscapeCommandline:
            self._tell("the command line is off; EnableEscapeCommandline yes turns it on")
            return
        forwards = partial(self._makeForwards, connection)
        line = CommandLine(self._reactor, forwards, self._config.permitLocalCommand)
        channel.holdInput(True)
        self._restore()
        asking = TerminalInterface(self._reactor, self._tellText)
        self._commandLine = asking
        typed = asking.ask(PROMPT, echo=True).addCallback(
            lambda answer: line.run(answer.decode("utf-8", "backslashreplace"))
        )

        def done(result: Any) -> Any:
            # Unless the session has ended meanwhile, and the terminal with it.
            if self._commandLine is asking:
                self._commandLine = None
                self._enterRaw()
                channel.holdInput(False)
            return result

        def tell(text: str) -> None:
            for told in text.splitlines():
                self._tell(told)

        def givenUp(reason: Failure) -> None:
            reason.trap(NobodyToAsk, defer.CancelledError)

        typed.addBoth(done).addCallbacks(tell, givenUp).addErrback(self._bug)

    def _changeLoudness(self, step: int) -> None:
        messages = self._messages
        messages.loudness = Loudness(min(max(messages.loudness + step, 1), Loudness.DEBUG3))
        self._tell(f"LogLevel is {messages.loudness.name} now")

    def _channelList(self, connection: ClientConnection) -> str:
        listening = [] if self._forwards is None else self._forwards.open
        lines = [f"  forwarding {forward.words}\n" for forward in listening]
        for number, channel in sorted(connection.connection.channels.items()):
            name = shown(channel.name or b"")
            waits = f", {channel.bufferedBytes} bytes wait" if channel.bufferedBytes else ""
            lines.append(f"  #{number} {name}{waits}\n")
        return "".join(["Open on this connection:\n", *lines])

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _tell(self, text: str) -> None:
        self._messages.say(text)

    def _tellText(self, text: str) -> None:
        """Words of the server's or about it, in lines of their own."""
        if self._messages.loudness >= Loudness.INFO:
            self._messages.write(text)

    def _sessionEnded(self, status: int) -> None:
        """The channel is closed, and all of its output is written."""
        self._messages.say(f"the channel is closed; exit status {status}", Loudness.DEBUG1)
        connection = self._connection
        if connection is not None and connection.transport.ending and not self._knowsStatus():
            # The connection took it along; why, is about to be told.
            return
        self._finish(status)

    def _knowsStatus(self) -> bool:
        channel = self._channel
        return isinstance(channel, AttachedSession) and channel.hasEnded

    def _lost(self, why: ClientError | None) -> None:
        """The connection is gone."""
        if why is not None and not (self._isOver or self._knowsStatus()):
            self._restore()
            self._messages.say(str(why), Loudness.ERROR)
        channel = self._channel
        if channel is None:
            self._finish(OWN_FAILURE)
        elif not self._knowsStatus():
            # What the session still has to write is written first.
            channel.finished.addCallback(lambda _: self._finish(OWN_FAILURE))

    def _ended(self, number: int) -> None:
        """A signal wants us to end."""
        name = signal.Signals(number).name
        if self._commandLine is not None and number == signal.SIGINT:
            # It was meant for the line that is typed, or for the command that it started.
            self._commandLine.abandon()
            return
        if self._connection is None:
            self._isOver = True
            if self._messages.loudness < Loudness.VERBOSE:
                # A question that is given up is no failure that anybody has to hear of.
                self._messages.loudness = Loudness.QUIET
            if self._connecting is not None:
                # It takes an open question along, so that nothing is tried in place of the answer.
                self._connecting.addErrback(lambda _: None)
                self._connecting.cancel()
            self._restore()
            self._messages.say(f"ended by {name}", Loudness.VERBOSE)
            self._over(OWN_FAILURE)
            return
        self._cut(f"ended by {name}")

    def _cut(self, why: str) -> None:
        """End at once, whatever the server does."""
        self._restore()
        if self._channel is not None and self._terminal is not None:
            self._messages.say(f"connection to {self._config.host} {why}")
        self._isOver = True
        if self._master is not None:
            self._master.cut()
        if self._connection is not None:
            self._connection.abort()
        if self._channel is not None:
            self._channel.cut()
        self._over(OWN_FAILURE)

    def _finish(self, status: int) -> None:
        """The session has ended: end the connection, once nobody else uses it."""
        self._restore()
        if self._isOver:
            return
        self._isOver = True
        connection = self._connection
        if connection is None:
            self._over(status)
            return
        self._awaitForwardings(connection, status, isFirst=True)

    def _awaitForwardings(self, connection: ClientConnection, status: int, isFirst: bool) -> None:
        service = connection.connection
        others = len(service.channelsToRemoteChannel)
        if others and service.transport is not None and not connection.transport.ending:
            if isFirst:
                kinds = "forwarded connection(s)"
                if self._master is not None:
                    kinds = "session(s) and connection(s) of others"
                self._tell(f"{others} {kinds} are still open; waiting for them")
            self._reactor.callLater(
                FORWARDINGS_CHECK_SECONDS, self._awaitForwardings, connection, status, False
            )
            return
        if self._master is not None:
            # Nobody begins on a connection that is about to end.
            self._master.stop()
        if self._terminal is not None:
            self._tell(f"connection to {self._config.host} closed")
        self._reactor.callLater(GOODBYE_SECONDS, self._over, status)
        connection.close().addCallback(lambda _: self._over(status))

    def _over(self, status: int) -> None:
        if self._master is None:
            self._leaveWith(status)
        else:
            # What others have not read yet is theirs all the same.
            self._master.close().addCallback(lambda _: self._leaveWith(status))

    def _leaveWith(self, status: int) -> None:
        if not self.finished.called:
            self.finished.callback(status)
