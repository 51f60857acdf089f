"""`limpet.ssh.session`: a program from its request to its end, in memory."""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from limpet.error import ConchError
from limpet.interfaces import (
    EnvironmentVariableNotPermitted,
    ISession,
    ISessionSetEnv,
    ISubsystemProgram,
)
from limpet.ssh.session import (
    SUPPORTED_SIGNALS,
    SSHSession,
    SSHSessionProcessProtocol,
    packRequest_pty_req,
    packRequest_window_change,
    wrapProcessProtocol,
    wrapProtocol,
)
from limpet.ssh.session.channel import MAX_ENVIRONMENT_BYTES, MAX_ENVIRONMENT_VARIABLES
from limpet.ssh.session.signals import namelessSignal, signalNumber
from limpet.wire.fields import NS, u32
from limpet.wire.requests import BreakRequest, Environment
from tests.unit.ssh.doubles import (
    LoggingTestCase,
    RecordingConnection,
    dataMessage,
    opened,
    requestMessage,
    started,
)


class Child:
    """A child process, as its transport: keeps what is done to it, in words."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.calls: list[str] = []
        self.signals: list[int] = []
        self.exited = False
        proto.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.calls.append(f"write {data.decode()}")

    def loseConnection(self) -> None:
        self.calls.append("lose")

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.calls.append("register")
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.calls.append("unregister")

    def signalProcess(self, number: int) -> None:
        if self.exited:
            raise ProcessExitedAlready()
        self.signals.append(number)

    def end(self, exitCode: int | None = 0, number: int | None = None, status: int = 0) -> None:
        """The child closes its outputs and ends."""
        self.exited = True
        for descriptor in (0, 1, 2):
            self.proto.childConnectionLost(descriptor)
        self.proto.processEnded(Failure(ProcessTerminated(exitCode, number, status)))


@implementer(ISession, ISessionSetEnv)
class User:
    """An avatar that is its own session: every shell or command is a `Child`."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.child: Any = None
        self.onStart: Any = None

    def getPty(self, term: bytes, windowSize: Any, modes: Any) -> None:
        self.events.append((term, windowSize, modes))

    def setEnv(self, name: bytes, value: bytes) -> None:
        if name == b"SECRET":
            raise EnvironmentVariableNotPermitted()
        self.events.append((name, value))

    def openShell(self, proto: Any) -> None:
        self.execCommand(proto, b"")

    def execCommand(self, proto: Any, command: bytes) -> None:
        if command == b"refused":
            raise ConchError("not for you")
        if command == b"bug":
            raise RuntimeError("bug")
        if command != b"later":
            self.child = Child(proto)
        self.proto = proto
        if self.onStart is not None:
            self.onStart(self.child)

    def windowChanged(self, newWindowSize: Any) -> None:
        self.events.append(newWindowSize)

    def eofReceived(self) -> None:
        self.events.append("eof")

    def closed(self) -> None:
        self.events.append("closed")


class Base(LoggingTestCase):
    """A session that the peer has opened."""

    window = 2**20

    def setUp(self) -> None:
        self.connection: RecordingConnection = started()
        self.user = User()
        self.session: SSHSession = opened(
            self.connection,
            SSHSession(localWindow=20, avatar=self.user),
            channelType=b"session",
            window=self.window,
        )

    def request(self, name: bytes, data: bytes = b"") -> list[str]:
        """Let the peer ask for something; what was sent since the last look."""
        self.connection.ssh_CHANNEL_REQUEST(requestMessage(0, name, data))
        said: list[str] = self.connection.transport.sent()
        return said

    def execute(self, command: bytes = b"command") -> list[str]:
        return self.request(b"exec", NS(command))


class TestProgram(Base):
    def test_a_command_from_beginning_to_end(self) -> None:
        assert self.execute() == ["SUCCESS"]
        child = self.user.child
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"input"))
        child.proto.childDataReceived(1, b"out")
        child.proto.childDataReceived(2, b"err")
        self.connection.ssh_CHANNEL_EOF(u32(0))
        assert child.calls[-1] == "unregister"
        child.end(3)
        assert child.calls == ["register", "write input", "unregister", "lose"]
        assert self.user.events == ["eof"]
        *_, status, close = self.connection.transport.packets
        assert status[1].endswith(NS(b"exit-status") + b"\0" + u32(3))
        assert self.connection.transport.sent() == [
            "DATA out",
            "EXTENDED_DATA err",
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.user.events == ["eof", "closed"]

    def test_one_that_ends_before_its_request_is_answered(self) -> None:
        def run(child: Child) -> None:
            child.proto.outReceived(b"out")
            child.end()

        self.user.onStart = run
        assert self.execute() == ["SUCCESS", "DATA out", "EOF", "REQUEST exit-status", "CLOSE"]

    def test_one_that_is_connected_later_gets_the_early_input(self) -> None:
        assert self.execute(b"later") == ["SUCCESS"]
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"early"))
        child = Child(self.user.proto)
        assert child.calls == ["register", "write early"]

    def test_a_refusal_leaves_room_for_another_try(self) -> None:
        assert self.execute(b"refused") == ["FAILURE"]
        assert self.logged() == 0
        assert self.execute(b"bug") == ["FAILURE"]
        assert self.logged(RuntimeError) == 1
        assert self.session.client is None
        assert self.execute() == ["SUCCESS"]

    def test_one_program_per_session(self) -> None:
        assert self.request(b"shell") == ["SUCCESS"]
        first = self.session.client
        for name, data in ((b"shell", b""), (b"exec", NS(b"x")), (b"subsystem", NS(b"sftp"))):
            assert self.request(name, data) == ["FAILURE"]
        assert self.session.client is first

    def test_a_coroutine_is_refused_and_told(self) -> None:
        """Nobody would run it, and the client would wait for ever."""

        async def begin(proto: Any, command: bytes = b"") -> None: ...

        with patch.object(self.user, "execCommand", begin):
            assert self.execute() == ["FAILURE"]
        with patch.object(self.user, "openShell", begin):
            assert self.request(b"shell") == ["FAILURE"]
        assert self.logged(TypeError) == 2

    def test_bodies_that_do_not_parse_are_refused_quietly(self) -> None:
        for name in (b"exec", b"subsystem", b"pty-req", b"env", b"window-change", b"signal"):
            assert self.request(name, b"\0\0\0\7x") == ["FAILURE"]
        assert self.logged() == 0

    def test_nobody_home(self) -> None:
        # An avatar that has no sessions, and a session that nobody logged in for.
        self.session.avatar = object()
        assert self.execute() == ["FAILURE"]
        # As usual for a server of files only, to which clients send their variables.
        assert self.logged() == 0

    def test_agent_and_x11_are_refused(self) -> None:
        assert self.request(b"auth-agent-req@openssh.com") == ["FAILURE"]
        assert self.request(b"x11-req", b"\0") == ["FAILURE"]


class TestInput(Base):
    def test_before_there_is_a_program_one_window_of_it_waits(self) -> None:
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"0123456789"))
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"0123456789"))
        assert self.connection.transport.sent() == []
        assert self.session.buf == b"01234567890123456789"
        assert self.execute() == ["WINDOW_ADJUST", "SUCCESS"]
        assert self.user.child.calls == ["register", "write 01234567890123456789"]
        assert self.session.buf == b""

    def test_it_is_not_mixed_with_output_that_waits(self) -> None:
        self.session.write(b"greeting")
        self.session.remoteWindowLeft = 0
        self.session.write(b"waits")
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"early"))
        self.execute()
        assert "write early" in self.user.child.calls
        self.session.addWindowBytes(100)
        assert self.connection.transport.sent() == ["DATA waits"]

    def test_a_slow_child_withholds_window(self) -> None:
        self.execute()
        producer = self.user.child.producer
        producer.pauseProducing()
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, bytes(20)))
        assert self.connection.transport.sent() == []
        producer.resumeProducing()
        assert self.connection.transport.sent() == ["WINDOW_ADJUST"]

    def test_a_child_that_is_full_of_early_input_keeps_the_window(self) -> None:
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"early"))
        write = Child.write

        def writeAndFill(child: Child, data: bytes) -> None:
            write(child, data)
            child.producer.pauseProducing()

        self.patch(Child, "write", writeAndFill)  # type: ignore[no-untyped-call]
        self.execute()
        assert self.session.inputPaused

    def test_a_child_that_closes_its_input_does_not_end_the_session(self) -> None:
        self.execute()
        self.user.child.producer.stopProducing()
        self.user.child.proto.inConnectionLost()
        assert self.connection.transport.sent() == []

    def test_standard_error_of_a_client(self) -> None:
        self.execute()
        self.session.extReceived(1, b"ignored")
        self.session.extReceived(2, b"ignored")
        assert self.user.child.calls == ["register"]

    def test_eof_without_a_program(self) -> None:
        self.connection.ssh_CHANNEL_EOF(u32(0))
        assert self.connection.transport.sent() == []


class TestBackPressure(Base):
    window = 4

    def test_a_slow_client_pauses_the_child(self) -> None:
        self.execute()
        child = self.user.child
        child.proto.outReceived(b"12345")
        assert child.calls == ["register", "pause"]
        self.session.addWindowBytes(100)
        assert child.calls == ["register", "pause", "resume"]

    def test_a_full_transport_pauses_the_child(self) -> None:
        self.execute()
        child = self.user.child
        self.connection.pauseProducing()
        child.proto.outReceived(b"12")
        assert child.calls[-1] == "pause"
        self.connection.resumeProducing()
        assert child.calls[-1] == "resume"

    def test_a_child_that_overflows_while_it_starts(self) -> None:
        self.user.onStart = lambda child: child.proto.outReceived(b"123456")
        assert self.execute() == ["SUCCESS", "DATA 1234"]
        assert self.user.child.calls == ["register", "pause"]

    def test_a_child_that_ends_with_output_waiting(self) -> None:
        self.execute()
        self.user.child.proto.outReceived(b"12345678")
        self.user.child.proto.errReceived(b"ab")
        self.user.child.end(0)
        self.user.child.end(0)
        assert self.connection.transport.sent() == ["DATA 1234"]
        self.session.addWindowBytes(4)
        assert self.connection.transport.sent() == ["DATA 5678"]
        self.session.addWindowBytes(2)
        assert self.connection.transport.sent() == [
            "EXTENDED_DATA ab",
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]


class TestTheEndOfReading(Base):
    """eow@openssh.com: the client cannot write what it gets any more."""

    window = 4

    def setUp(self) -> None:
        super().setUp()
        self.execute()
        self.child = self.user.child
        self.child.closeStdout = lambda: self.child.calls.append("closeStdout")
        self.child.calls.clear()

    def test_a_client_that_reads_no_more_closes_the_programs_output(self) -> None:
        self.child.proto.outReceived(b"1234waits for ever")
        assert self.connection.transport.sent() == ["DATA 1234"]
        assert self.request(b"eow@openssh.com") == ["SUCCESS"]
        assert self.child.calls == ["pause", "closeStdout", "resume"]
        self.child.proto.outReceived(b"more")
        self.session.addWindowBytes(2)
        self.child.proto.errReceived(b"ab")
        self.child.end(1)
        assert self.connection.transport.sent() == [
            "EXTENDED_DATA ab",
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]

    def test_standard_error_that_waits_still_comes(self) -> None:
        self.child.proto.outReceived(b"12345")
        self.child.proto.errReceived(b"abc")
        self.request(b"eow@openssh.com")
        self.session.addWindowBytes(3)
        assert self.connection.transport.sent() == ["EXTENDED_DATA abc"]

    def test_a_terminal_stays_open(self) -> None:
        self.child.isTerminal = True
        self.request(b"eow@openssh.com")
        assert self.child.calls == []
        self.child.proto.outReceived(b"1")
        assert self.connection.transport.sent() == []

    def test_a_program_that_comes_after_it_is_told(self) -> None:
        user = User()
        other = opened(
            self.connection, SSHSession(localWindow=20, avatar=user), channelType=b"session"
        )
        self.connection.ssh_CHANNEL_REQUEST(requestMessage(other.id, b"eow@openssh.com"))
        closed: list[str] = []
        Child.closeStdout = lambda child: closed.append("closeStdout")  # type: ignore[attr-defined]
        self.addCleanup(delattr, Child, "closeStdout")
        self.connection.ssh_CHANNEL_REQUEST(requestMessage(other.id, b"exec", NS(b"yes")))
        assert closed == ["closeStdout"]

    def test_a_client_that_says_so_before_and_after_all(self) -> None:
        """Without a program, twice, and when the channel is closed."""
        other = opened(
            self.connection, SSHSession(localWindow=20, avatar=User()), channelType=b"session"
        )
        self.connection.transport.sent()
        for _ in range(2):
            self.connection.ssh_CHANNEL_REQUEST(requestMessage(other.id, b"eow@openssh.com"))
        assert self.connection.transport.sent() == ["SUCCESS", "SUCCESS"]
        self.child.end(0)
        self.request(b"eow@openssh.com")


class TestTheEndOfAProgram(Base):
    def ended(self, reason: Any) -> list[bytes]:
        """The bodies of the statuses that were sent; the channel is closed afterwards."""
        self.execute()
        self.user.proto.processEnded(reason)
        self.user.proto.processEnded(reason)
        packets = self.connection.transport.packets
        assert [number for number, _ in packets].count(97) == 1
        assert packets[-1][0] == 97
        return [payload[4:] for number, payload in packets if number == 98]

    def test_status_zero(self) -> None:
        expected = [NS(b"exit-status") + b"\0" + u32(0)]
        assert self.ended(Failure(ProcessDone(0))) == expected

    def test_a_status_beyond_a_byte(self) -> None:
        reason = Failure(ProcessTerminated(-1, None, None))
        assert self.ended(reason) == [NS(b"exit-status") + b"\0" + u32(0xFFFFFFFF)]

    def test_a_status_that_is_none(self) -> None:
        class Odd:
            value = type("Error", (), {"exitCode": "odd"})

        assert self.ended(Odd()) == [NS(b"exit-status") + b"\0" + u32(255)]

    def test_a_signal_wins_over_a_status(self) -> None:
        reason = Failure(ProcessTerminated(1, signal.SIGTERM, 0x80))
        assert self.ended(reason) == [
            NS(b"exit-signal") + b"\0" + NS(b"TERM") + b"\1" + NS(b"") + NS(b"")
        ]

    def test_a_signal_of_this_machine(self) -> None:
        reason = Failure(ProcessTerminated(None, signal.SIGBUS, None))
        name = f"BUS@{sys.platform}".encode()
        assert self.ended(reason) == [
            NS(b"exit-signal") + b"\0" + NS(name) + b"\0" + NS(b"") + NS(b"")
        ]

    def test_a_signal_without_a_name(self) -> None:
        for number in (35, 63, 4711):
            self.setUp()
            (body,) = self.ended(Failure(ProcessTerminated(None, number, None)))
            assert str(number).encode() + b"@" + sys.platform.encode() in body

    def test_without_a_reason(self) -> None:
        assert self.ended(None) == []

    def test_a_reason_that_knows_nothing(self) -> None:
        assert self.ended(Failure(RuntimeError("lost"))) == []

    def test_a_terminal_closes_no_outputs_and_eof_is_sent_all_the_same(self) -> None:
        self.execute()
        self.user.proto.processEnded(Failure(ProcessDone(0)))
        assert self.connection.transport.sent() == ["EOF", "REQUEST exit-status", "CLOSE"]

    def test_without_a_connection(self) -> None:
        session = SSHSession()
        proto = SSHSessionProcessProtocol(session)
        proto.outConnectionLost()
        proto.errConnectionLost()
        proto.processEnded(Failure(ProcessDone(0)))
        proto.connectionLost()
        assert session.closing

    def test_after_the_client_has_gone(self) -> None:
        self.execute()
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.connection.transport.sent() == ["CLOSE"]
        assert self.user.child.calls[:3] == ["register", "unregister", "lose"]
        self.user.child.proto.outReceived(b"late")
        self.user.child.end()
        self.session.eofReceived()
        self.session.loseConnection()
        self.session.closed()
        assert self.connection.transport.sent() == []
        assert self.session.bufferedBytes == 0

    def test_the_session_is_told_even_if_the_program_cannot_be(self) -> None:
        self.execute()

        def fail() -> None:
            raise RuntimeError("bug")

        self.user.child.loseConnection = fail
        with pytest.raises(RuntimeError):
            self.session.closed()
        assert self.user.events == ["closed"]


class TestPreparations(Base):
    def test_a_terminal(self) -> None:
        modes = struct.pack(">BLB", 53, 1, 0)
        body = packRequest_pty_req(b"xterm", (24, 80, 0, 2**32 - 1), modes)
        assert self.request(b"pty-req", body) == ["SUCCESS"]
        assert self.request(b"window-change", packRequest_window_change((2**31, 2, 3, 4))) == [
            "SUCCESS"
        ]
        assert self.user.events == [
            (b"xterm", (24, 80, 0, 65535), [(53, 1)]),
            (65535, 2, 3, 4),
        ]

    def test_a_terminal_without_a_name(self) -> None:
        for term in (b"x" * 257, b"x\0y"):
            body = packRequest_pty_req(term, (1, 1, 1, 1), b"")
            assert self.request(b"pty-req", body) == ["FAILURE"]

    def test_environment(self) -> None:
        assert self.request(b"env", Environment(b"LANG", b"C").encode()) == ["SUCCESS"]
        for name, value in ((b"SECRET", b""), (b"", b"x"), (b"A=B", b""), (b"A", b"\0")):
            assert self.request(b"env", Environment(name, value).encode()) == ["FAILURE"]
        assert self.user.events == [(b"LANG", b"C")]
        assert self.logged() == 0

    def test_so_many_variables(self) -> None:
        body = Environment(b"LANG", b"C").encode()
        for _ in range(MAX_ENVIRONMENT_VARIABLES):
            assert self.request(b"env", body) == ["SUCCESS"]
        assert self.request(b"env", body) == ["FAILURE"]

    def test_so_long_ones(self) -> None:
        body = Environment(b"LANG", bytes(MAX_ENVIRONMENT_BYTES).replace(b"\0", b"x")).encode()
        assert self.request(b"env", body) == ["FAILURE"]


def _denied(number: int) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class TestSignals(Base):
    def send(self, name: bytes) -> list[str]:
        return self.request(b"signal", NS(name))

    def test_to_the_process(self) -> None:
        assert self.send(b"INT") == ["FAILURE"]
        self.execute()
        assert self.send(b"INT") == ["SUCCESS"]
        assert self.user.child.signals == [signal.SIGINT]

    def test_only_those_of_the_rfc(self) -> None:
        self.execute()
        for name in (b"STOP", b"SIGINT", b"BUS@linux", b"", b"\xff", b"9"):
            assert self.send(name) == ["FAILURE"]
        assert self.user.child.signals == []

    def test_a_session_may_decide(self) -> None:
        received: list[bytes] = []
        self.user.signalReceived = received.append  # type: ignore[attr-defined]
        self.execute()
        assert self.send(b"TERM") == ["SUCCESS"]
        assert received == [b"TERM"]
        assert self.user.child.signals == []

    def test_not_to_a_process_that_has_exited(self) -> None:
        self.execute()
        self.user.child.exited = True
        assert self.send(b"TERM") == ["FAILURE"]
        assert self.logged() == 0

    def test_not_to_a_process_of_another_user(self) -> None:
        """As a command that is run by sudo: a refusal, and no bug for the log."""
        self.execute()
        self.user.child.signalProcess = _denied
        assert self.send(b"TERM") == ["FAILURE"]
        assert self.logged() == 0

    def test_a_break(self) -> None:
        received: list[int] = []
        self.execute()
        assert self.request(b"break", BreakRequest(500).encode()) == ["FAILURE"]
        self.user.breakReceived = received.append  # type: ignore[attr-defined]
        assert self.request(b"break", BreakRequest(500).encode()) == ["SUCCESS"]
        assert received == [500]

    def test_names_and_numbers(self) -> None:
        for name in SUPPORTED_SIGNALS:
            assert signalNumber(name.encode()) == getattr(signal, "SIG" + name)
        assert namelessSignal(4711) == f"SIG4711@{sys.platform}"
        assert namelessSignal(signal.SIGRTMIN + 1).startswith("SIGRT")


class Subsystem(Protocol):
    """Says hello, repeats what it gets in upper case, ends at "quit"."""

    lost: Sequence[Any] = ()

    def connectionMade(self) -> None:
        self.lost = []
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data.upper())
        if data == b"quit":
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.lost = [*self.lost, reason.type]
        assert self.transport is not None
        self.transport.loseConnection()


class TestSubsystems(Base):
    def setUp(self) -> None:
        super().setUp()
        self.subsystem: Any = Subsystem()
        self.lookedUp: list[Any] = []

        def lookupSubsystem(name: bytes, data: bytes) -> Any:
            self.lookedUp.append((name, data))
            return self.subsystem

        self.user.lookupSubsystem = lookupSubsystem  # type: ignore[attr-defined]

    def start(self) -> list[str]:
        return self.request(b"subsystem", NS(b"echo") + b"more")

    def test_it_gets_the_whole_request_and_speaks_behind_the_answer(self) -> None:
        assert self.start() == ["SUCCESS", "DATA hello"]
        assert self.lookedUp == [(b"echo", NS(b"echo") + b"more")]
        assert self.session.client.transport.proto is self.subsystem
        assert self.session.session is None

    def test_there_is_none(self) -> None:
        self.subsystem = None
        assert self.start() == ["FAILURE"]
        assert self.session.client is None

    def test_it_ends_by_itself_as_a_program_does(self) -> None:
        self.start()
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"quit"))
        assert self.connection.transport.sent() == [
            "DATA QUIT",
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]
        assert len(self.subsystem.lost) == 1

    def test_it_ends_with_the_clients_data_but_loses_none_of_its_own(self) -> None:
        self.start()
        self.session.remoteWindowLeft = 0
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"ab"))
        self.connection.ssh_CHANNEL_EOF(u32(0))
        assert self.connection.transport.sent() == []
        self.session.addWindowBytes(2)
        assert self.connection.transport.sent() == [
            "DATA AB",
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]

    def test_it_is_told_once_that_the_client_has_gone(self) -> None:
        self.start()
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert len(self.subsystem.lost) == 1
        assert self.connection.transport.sent() == ["CLOSE"]

    def test_a_process_protocol_is_one_too(self) -> None:
        class Process(ProcessProtocol):
            got = b""
            ended = 0

            def outReceived(self, data: bytes) -> None:
                self.got += data

            def processEnded(self, reason: Failure) -> None:
                self.ended += 1

        self.subsystem = Process()
        assert self.start() == ["SUCCESS"]
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"data"))
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert (self.subsystem.got, self.subsystem.ended) == (b"data", 1)

    def test_a_program_of_the_sessions_own_is_started_like_any_other(self) -> None:
        @implementer(ISubsystemProgram)
        class Program:
            def start(self, session: Any, proto: Any) -> None:
                self.session = session
                self.child = Child(proto)

        self.subsystem = program = Program()
        assert self.start() == ["SUCCESS"]
        assert program.session is self.session.session
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"data"))
        assert program.child.calls == ["register", "write data"]
        program.child.proto.processEnded(Failure(ProcessDone(0)))
        assert self.connection.transport.sent() == ["EOF", "REQUEST exit-status", "CLOSE"]

    def test_one_that_does_not_start_is_refused(self) -> None:
        @implementer(ISubsystemProgram)
        class Program:
            def start(self, session: Any, proto: Any) -> None:
                raise ConchError("not for you")

        self.subsystem = Program()
        assert self.start() == ["FAILURE"]
        assert self.session.client is None

    def test_signals_do_not_reach_it(self) -> None:
        self.start()
        assert self.request(b"signal", NS(b"TERM")) == ["FAILURE"]

    def test_it_may_register_as_a_producer_and_pause_the_client(self) -> None:
        self.start()
        transport = self.subsystem.transport
        assert verifyObject(ITransport, transport)
        assert verifyObject(IConsumer, transport)
        assert verifyObject(IPushProducer, transport)
        calls: list[str] = []

        class Producer:
            def pauseProducing(self) -> None:
                calls.append("pause")

            def resumeProducing(self) -> None:
                calls.append("resume")

            def stopProducing(self) -> None:
                calls.append("stop")

        transport.registerProducer(Producer(), True)
        self.connection.pauseProducing()
        transport.write(b"x")
        self.connection.resumeProducing()
        transport.unregisterProducer()
        assert calls == ["pause", "resume"]
        transport.pauseProducing()
        assert self.session.inputPaused
        transport.stopProducing()
        assert not self.session.inputPaused


class TestTheUsualIdiom(Base):
    """What applications write in a `request_shell` of their own."""

    def test_a_protocol_as_a_shell(self) -> None:
        proto = Subsystem()

        def request_shell(data: bytes) -> bool:
            transport = SSHSessionProcessProtocol(self.session)
            proto.makeConnection(transport)  # type: ignore[no-untyped-call]
            transport.makeConnection(wrapProtocol(proto))  # type: ignore[no-untyped-call]
            self.session.client = transport
            return True

        self.session.request_shell = request_shell  # type: ignore[method-assign]
        assert self.request(b"shell") == ["SUCCESS", "DATA hello"]
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"ab"))
        assert self.connection.transport.sent() == ["DATA AB"]
        proto.transport.processEnded(Failure(ProcessDone(0)))  # type: ignore[union-attr]
        assert self.connection.transport.sent() == ["EOF", "REQUEST exit-status", "CLOSE"]

    def test_what_is_no_stream_protocol_is_not_wrapped(self) -> None:
        process = ProcessProtocol()
        assert wrapProcessProtocol(process) is process
