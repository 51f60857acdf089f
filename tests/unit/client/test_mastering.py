"""A master and its clients: what they get, and that nobody but themselves suffers from them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet.task import Clock

from limpet.client import mastering
from limpet.client.config import loadClientConfig
from limpet.client.connecting import ClientService
from limpet.client.controlsocket import ControlSocket
from limpet.client.forwards import Forwards
from limpet.client.mastering import ControlMaster
from limpet.core import multiplexing
from limpet.core.multiplexing import SessionWish
from limpet.core.sshconfig import ForwardSpec, parseForward
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.numbers import (
    EXTENDED_DATA_STDERR,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
)
from tests.descriptors import openDescriptors
from tests.unit.ssh.doubles import RecordingTransport
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

HELLO = NS(multiplexing.hello())
ALIVE = NS(multiplexing.request(multiplexing.ALIVE_CHECK, 1))


SAID = [
    HELLO,
    ALIVE,
    NS(multiplexing.newSession(5, SessionWish(b"c"))),
    NS(multiplexing.newStdioForward(5, b"web", 80)),
    NS(multiplexing.forward(multiplexing.CLOSE_FORWARD, 3, "L", ForwardSpec(None, 1, "web", 80))),
    NS(multiplexing.request(multiplexing.PROXY, 2)),
    b"\0",
]
"""What hypothesis puts together."""


class Program:
    """A client of a master: a socket, and three pipes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(bench.path)
        self.socket.setblocking(False)
        self.stdin, self.keyboard = os.pipe()
        self.screen, self.stdout = os.pipe()
        self.errorScreen, self.stderr = os.pipe()
        os.set_blocking(self.screen, False)
        os.set_blocking(self.errorScreen, False)
        self.heard = b""
        self.isOver = False
        bench.programs.append(self)

    def say(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(messages))

    def hand(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            socket.send_fds(self.socket, [b"\0"], [descriptor])

    def listen(self) -> bytes:
        """All that the master has said."""
        with suppress(BlockingIOError):
            while not self.isOver:
                piece = self.socket.recv(65536)
                self.heard += piece
                self.isOver = not piece
        return self.heard

    def answers(self) -> list[bytes]:
        """The messages, the greeting aside."""
        reader = Reader(self.listen())
        found = []
        while reader.remaining:
            found.append(reader.string())
        assert not found or found[0] == multiplexing.hello()
        return found[1:]

    def until(self, *answers: bytes) -> None:
        """Turn until the master has said just this."""
        self.bench.driver.until(lambda: len(self.answers()) >= len(answers), "an answer")
        assert self.answers() == list(answers)

    def untilEnd(self) -> None:
        self.bench.driver.until(lambda: self.listen() is None or self.isOver, "the end")

    def begin(self, wish: SessionWish | None = None) -> None:
        """Ask for a session, and pass what it needs."""
        wish = wish or SessionWish(b"command")
        self.say(HELLO, NS(multiplexing.newSession(5, wish)))
        self.hand(self.stdin, self.stdout, self.stderr)

    def seen(self, fd: int) -> bytes:
        found = b""
        with suppress(BlockingIOError):
            while piece := os.read(fd, 65536):
                found += piece
        return found

    def close(self) -> None:
        self.socket.close()
        for fd in (
            *(self.stdin, self.stdout, self.stderr),
            *(self.keyboard, self.screen, self.errorScreen),
        ):
            with suppress(OSError):
                os.close(fd)


class Bench:
    """A master on a connection whose server is the test."""

    def __init__(self, driver: Driver, directory: Path) -> None:
        self.driver = driver
        self.path = str(directory / "m")
        self.transport = RecordingTransport()
        self.transport.isClient = True
        self.service = ClientService(lambda: None)
        self.service.transport = self.transport
        self.service.serviceStarted()
        config = loadClientConfig(
            "web",
            overrides=[("SendEnv", "LC_*"), ("SetEnv", "OURS=1"), ("GatewayPorts", "no")],
            files=(),
        )
        self.marked: list[bool] = []
        self.connection: Any = SimpleNamespace(
            reactor=driver.reactor,
            connection=self.service,
            config=config,
            markPackets=lambda atTerminal: self.marked.append(atTerminal),
        )
        self.forwards = Forwards(driver.reactor, self.service)
        self.told: list[str] = []
        self.terminated = 0
        self.programs: list[Program] = []
        self.master = self.make()

    def make(self, allow: Any = None, lendsAgent: bool = False) -> ControlMaster:
        return ControlMaster(
            self.connection,
            ControlSocket.make(self.path),
            lambda: self.forwards,
            allow,
            self.told.append,
            self.terminate,
            lendsAgent,
        )

    def again(self, **more: Any) -> None:
        """Another master in its place."""
        self.master.cut()
        self.master = self.make(**more)

    def terminate(self) -> None:
        self.terminated += 1

    # What the server says.

    def hear(self, number: int, payload: bytes) -> None:
        self.service.packetReceived(number, payload)

    def confirm(self, number: int = 0) -> None:
        """The server opens the channel that was asked for."""
        asked = [payload for kind, payload in self.transport.packets if kind == MSG_CHANNEL_OPEN]
        self.driver.until(lambda: number in self.service.channels, "a channel")
        assert len(asked) <= len(self.transport.packets)
        self.hear(MSG_CHANNEL_OPEN_CONFIRMATION, struct.pack(">4L", number, 7, 1 << 20, 32768))

    def end(self, status: int, number: int = 0) -> None:
        body = u32(number) + NS(b"exit-status") + b"\0" + u32(status)
        self.hear(MSG_CHANNEL_REQUEST, body)
        self.hear(MSG_CHANNEL_EOF, u32(number))
        self.hear(MSG_CHANNEL_CLOSE, u32(number))

    def requests(self) -> list[tuple[bytes, bytes]]:
        found = []
        for number, payload in self.transport.packets:
            if number == MSG_CHANNEL_REQUEST:
                reader = Reader(payload)
                reader.u32()
                name = reader.string()
                reader.boolean()
                found.append((name, reader.rest()))
        return found

    def numbers(self) -> list[int]:
        return [number for number, _ in self.transport.packets]

    def close(self) -> None:
        self.master.cut()
        for program in self.programs:
            program.close()


@pytest.fixture
def bench(driver: Driver, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(driver, tmp_path)
    yield bench
    bench.close()


OPENED = multiplexing.reply(multiplexing.SESSION_OPENED, 5, 0)


class TestSessions:
    def test_from_request_to_status(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.confirm()
        program.until(OPENED)
        assert bench.requests() == [(b"env", NS(b"OURS") + NS(b"1")), (b"exec", NS(b"command"))]
        os.write(program.keyboard, b"typed")
        bench.driver.until(lambda: MSG_CHANNEL_DATA in bench.numbers(), "what was typed")
        bench.hear(MSG_CHANNEL_DATA, u32(0) + NS(b"printed"))
        assert program.seen(program.screen) == b"printed"
        bench.end(6)
        program.until(OPENED, multiplexing.reply(multiplexing.EXIT_MESSAGE, 0, 6))
        program.untilEnd()
        # What it passed is closed, and so are the connection and all that was opened for it.
        assert openDescriptors() <= before
        assert bench.master.sessions == 0

    @pytest.mark.parametrize(
        ("wish", "kind", "body"),
        [
            (SessionWish(), b"shell", b""),
            (SessionWish(b"sftp", isSubsystem=True), b"subsystem", NS(b"sftp")),
        ],
    )
    def test_other_kinds(self, bench: Bench, wish: SessionWish, kind: bytes, body: bytes) -> None:
        program = Program(bench)
        program.begin(wish)
        bench.confirm()
        assert bench.requests()[-1] == (kind, body)

    def test_variables_are_those_that_the_master_would_send(self, bench: Bench) -> None:
        program = Program(bench)
        given = (b"LC_A=x=y", b"PATH=/evil", b"LC_B", b"=z")
        program.begin(SessionWish(b"c", environment=given))
        bench.confirm()
        names = [body for name, body in bench.requests() if name == b"env"]
        assert names == [NS(b"OURS") + NS(b"1"), NS(b"LC_A") + NS(b"x=y")]

    @pytest.mark.parametrize("lends", [True, False])
    def test_the_agent_is_lent_where_the_master_lends_it(self, bench: Bench, lends: bool) -> None:
        bench.again(lendsAgent=lends)
        program = Program(bench)
        program.begin(SessionWish(b"c", wantsAgent=True))
        bench.confirm()
        names = [name for name, _ in bench.requests()]
        assert (b"auth-agent-req@openssh.com" in names) is lends

    def test_a_terminal_that_is_refused(self, bench: Bench) -> None:
        program = Program(bench)
        program.begin(SessionWish(b"c", wantsTerminal=True, term=b"vt100"))
        bench.confirm()
        name, body = bench.requests()[0]
        assert (name, Reader(body).string()) == (b"pty-req", b"vt100")
        assert bench.marked == [True]
        bench.hear(MSG_CHANNEL_FAILURE, u32(0))
        program.until(OPENED, multiplexing.reply(multiplexing.TTY_ALLOC_FAIL, 0))
        assert b"gives no terminal\r\n" in program.seen(program.errorScreen)

    def test_a_server_that_opens_none(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.driver.until(lambda: bench.service.channels, "a channel")
        refusal = u32(0) + u32(1) + NS(b"full") + NS(b"")
        bench.hear(MSG_CHANNEL_OPEN_FAILURE, refusal)
        why = "the server does not open the channel: full"
        program.until(multiplexing.refusal(multiplexing.FAILURE, 5, why))
        program.untilEnd()
        assert openDescriptors() <= before

    def test_a_signal_is_told_to_the_client(self, bench: Bench) -> None:
        program = Program(bench)
        program.begin()
        bench.confirm()
        body = NS(b"KILL") + b"\0" + NS(b"") + NS(b"")
        bench.hear(MSG_CHANNEL_REQUEST, u32(0) + NS(b"exit-signal") + b"\0" + body)
        bench.hear(MSG_CHANNEL_CLOSE, u32(0))
        program.until(OPENED, multiplexing.reply(multiplexing.EXIT_MESSAGE, 0, 137))
        assert b"SIGKILL" in program.seen(program.errorScreen)
        assert bench.told == []

    def test_what_is_asked_meanwhile_waits(self, bench: Bench) -> None:
        program = Program(bench)
        program.begin()
        program.say(ALIVE)
        bench.driver.until(lambda: bench.service.channels, "a channel")
        bench.driver.turn()
        assert program.answers() == []
        bench.confirm()
        program.until(OPENED, multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()))

    def test_a_socket_never_waits(self, bench: Bench) -> None:
        program = Program(bench)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            number = theirs.fileno()
            program.say(HELLO, NS(multiplexing.newSession(5, SessionWish())))
            program.hand(program.stdin, number, number)
            bench.confirm()
            program.until(OPENED)
            for _ in range(100):
                errors = u32(0) + u32(EXTENDED_DATA_STDERR) + NS(bytes(20000))
                bench.hear(MSG_CHANNEL_EXTENDED_DATA, errors)
            # The output is at its end, the errors in the same socket are not.
            bench.end(0)
            bench.driver.turn()
            assert bench.master.sessions == 1
            assert not os.get_blocking(number)
            program.socket.shutdown(socket.SHUT_RDWR)
            bench.driver.until(lambda: os.get_blocking(number), "the socket as it was")

    def test_one_at_a_time(self, bench: Bench) -> None:
        program = Program(bench)
        program.begin()
        bench.confirm()
        program.until(OPENED)
        program.say(ALIVE, NS(multiplexing.newSession(6, SessionWish())))
        program.hand(program.stdin, program.stdout, program.stderr)
        program.until(
            OPENED,
            multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()),
            multiplexing.refusal(multiplexing.FAILURE, 6, "this client has a session already"),
        )
        bench.end(0)
        program.untilEnd()

    def test_nobody_waits_for_one_who_does_not_read(self, bench: Bench) -> None:
        slow, quick = Program(bench), Program(bench)
        slow.begin()
        bench.confirm(0)
        quick.begin()
        bench.confirm(1)
        for _ in range(100):
            bench.hear(MSG_CHANNEL_DATA, u32(0) + NS(bytes(20000)))
        bench.hear(MSG_CHANNEL_DATA, u32(1) + NS(b"quick"))
        assert quick.seen(quick.screen) == b"quick"
        # Its output is written before it hears of its end, however long that takes.
        bench.end(3, 0)
        closing = bench.master.close()
        bench.end(0, 1)
        quick.untilEnd()
        assert len(slow.answers()) == 1
        assert not closing.called
        count = 0
        while count < 2_000_000:
            bench.driver.turn()
            count += len(slow.seen(slow.screen))
        slow.until(OPENED, multiplexing.reply(multiplexing.EXIT_MESSAGE, 0, 3))
        bench.driver.until(lambda: closing.called, "the end of the last")

    def test_in_pieces(self, bench: Bench) -> None:
        program = Program(bench)
        wish = SessionWish(b"command", environment=(b"LC_A=1",))
        for byte in HELLO + ALIVE + NS(multiplexing.newSession(5, wish)):
            program.say(bytes((byte,)))
            bench.driver.turn(1)
        for descriptor in (program.stdin, program.stdout, program.stderr):
            bench.driver.turn(1)
            program.hand(descriptor)
        bench.confirm()
        program.until(multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()), OPENED)
        assert bench.requests()[-1] == (b"exec", NS(b"command"))


class TestClientsThatGo:
    def test_its_channel_is_closed(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.confirm()
        program.until(OPENED)
        program.socket.shutdown(socket.SHUT_RDWR)
        bench.driver.until(lambda: MSG_CHANNEL_CLOSE in bench.numbers(), "a closed channel")
        assert openDescriptors() <= before
        # What comes for it meanwhile goes nowhere.
        bench.hear(MSG_CHANNEL_DATA, u32(0) + NS(b"late"))
        bench.end(0)
        assert program.seen(program.screen) == b""

    def test_nothing_is_begun_for_one_who_went_before(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.driver.until(lambda: bench.service.channels, "a channel")
        program.socket.shutdown(socket.SHUT_RDWR)
        bench.driver.until(lambda: openDescriptors() <= before, "closed descriptors")
        bench.confirm()
        assert bench.requests() == []
        assert MSG_CHANNEL_CLOSE in bench.numbers()

    def test_nor_for_one_who_cannot_be_told(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.driver.until(lambda: bench.service.channels, "a channel")
        program.socket.shutdown(socket.SHUT_RD)
        bench.confirm()
        assert bench.requests() == []
        assert MSG_CHANNEL_CLOSE in bench.numbers()
        assert openDescriptors() <= before

    def test_the_connection_goes(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.confirm()
        bench.hear(MSG_CHANNEL_DATA, u32(0) + NS(b"the last"))
        bench.service.serviceStopped()
        program.untilEnd()
        # It is told nothing that it could take for the program's end.
        assert program.answers() == [OPENED]
        assert program.seen(program.screen) == b"the last"
        assert openDescriptors() <= before


class TestNonsense:
    @pytest.mark.parametrize(
        "said",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            u32(multiplexing.MAX_MESSAGE + 1),
            NS(b""),
            ALIVE,
            NS(u32(multiplexing.HELLO) + u32(3)),
            HELLO + NS(u32(multiplexing.NEW_SESSION)),
            HELLO + NS(multiplexing.request(multiplexing.ALIVE_CHECK, 1) + b"x"),
            HELLO + HELLO,
            HELLO + NS(multiplexing.newSession(5, SessionWish())) + b"\0\0\0",
        ],
    )
    def test_it_ends_that_client_alone(self, bench: Bench, said: bytes) -> None:
        other, program = Program(bench), Program(bench)
        program.say(said)
        program.untilEnd()
        other.say(HELLO, ALIVE)
        other.until(multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()))

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from(SAID),
                st.integers(0, 3),
            ),
            max_size=8,
        )
    )
    def test_anything(self, bench: Bench, said: list[bytes | int]) -> None:
        before = openDescriptors()
        program = Program(bench)
        with suppress(BrokenPipeError, ConnectionResetError):
            for one in said:
                if isinstance(one, bytes):
                    program.say(one)
                else:
                    program.hand(*[program.stdin] * one)
                bench.driver.turn(1)
        program.close()
        bench.driver.turn()
        for number in tuple(bench.service.channels):
            bench.hear(MSG_CHANNEL_OPEN_FAILURE, u32(number) + u32(1) + NS(b"") + NS(b""))
        bench.driver.until(lambda: not bench.master._clients, "the end of the client")
        assert openDescriptors() <= before

    @pytest.mark.parametrize("count", [1, 4, 9])
    def test_descriptors_that_belong_to_nothing(self, bench: Bench, count: int) -> None:
        program = Program(bench)
        before = openDescriptors()
        socket.send_fds(program.socket, [HELLO], [program.stdin] * count)
        program.untilEnd()
        assert openDescriptors() <= before

    def test_descriptors_of_which_one_byte_brings_many(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.say(HELLO, NS(multiplexing.newSession(5, SessionWish())))
        program.hand(program.stdin, program.stdout)
        socket.send_fds(program.socket, [b"\0"], [program.stderr] * 9)
        program.untilEnd()
        assert bench.service.channels == {}
        assert openDescriptors() <= before

    def test_descriptors_of_which_one_is_missing(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.say(HELLO, NS(multiplexing.newSession(5, SessionWish())))
        program.hand(program.stdin, program.stdout)
        program.say(b"\0")
        program.until(multiplexing.refusal(multiplexing.FAILURE, 5, "descriptors are missing"))
        program.untilEnd()
        assert openDescriptors() <= before

    def test_descriptors_that_no_bytes_go_through(self, bench: Bench) -> None:
        program = Program(bench)
        event = os.eventfd(0)
        program.say(HELLO, NS(multiplexing.newSession(5, SessionWish())))
        program.hand(event, program.stdout, program.stderr)
        os.close(event)
        why = "one of the descriptors is no file, pipe, socket or device"
        program.until(multiplexing.refusal(multiplexing.FAILURE, 5, why))
        assert bench.service.channels == {}

    def test_more_than_is_ever_waited_for(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mastering, "MAX_WAITING", 2000)
        program = Program(bench)
        program.begin()
        bench.driver.until(lambda: bench.service.channels, "a channel")
        with suppress(BlockingIOError, BrokenPipeError):
            for _ in range(300):
                program.say(ALIVE)
        program.untilEnd()

    def test_many_requests_at_once(self, bench: Bench) -> None:
        program = Program(bench)
        count = 200
        stop = NS(multiplexing.request(multiplexing.STOP_LISTENING, 1))
        program.say(HELLO, stop * count)
        # Each is answered at once, and does not wait within the one before.
        bench.driver.until(lambda: len(program.answers()) == count, "all answers")

    def test_one_who_does_not_read_its_answers(self, bench: Bench) -> None:
        program = Program(bench)
        program.say(HELLO)

        def flood() -> bool:
            with suppress(BlockingIOError):
                program.say(ALIVE * 100)
            return False

        with pytest.raises(OSError):
            bench.driver.until(flood)

    def test_not_more_than_there_may_be(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mastering, "MAX_CLIENTS", 2)
        programs = [Program(bench) for _ in range(3)]
        programs[2].untilEnd()
        programs[0].close()
        bench.driver.turn()
        another = Program(bench)
        another.say(HELLO, ALIVE)
        another.until(multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()))

    def test_another_user(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mastering, "userOf", lambda connection: os.getuid() + 4711)
        program = Program(bench)
        program.untilEnd()
        assert program.heard == b""

    @pytest.mark.parametrize(
        ("kind", "why"),
        [(multiplexing.PROXY, "this master has no proxy mode"), (0x20000001, "does not do that")],
    )
    def test_what_there_is_not(self, bench: Bench, kind: int, why: str) -> None:
        program = Program(bench)
        program.say(HELLO, NS(multiplexing.request(kind, 3)), ALIVE)
        bench.driver.until(lambda: len(program.answers()) == 2, "two answers")
        assert why.encode() in program.answers()[0]


class TestForwardings:
    def test_local(self, bench: Bench) -> None:
        program = Program(bench)
        spec = ForwardSpec(None, 0, "web", 80)
        program.say(HELLO, NS(multiplexing.forward(multiplexing.OPEN_FORWARD, 3, "L", spec)))
        done = multiplexing.reply(multiplexing.OK, 3)
        program.until(done)
        (forward,) = bench.forwards.open
        socket.create_connection(("127.0.0.1", forward.port)).close()
        # The same again is the same one.
        program.say(NS(multiplexing.forward(multiplexing.OPEN_FORWARD, 3, "L", spec)))
        program.until(done, done)
        assert bench.forwards.open == [forward]
        program.say(NS(multiplexing.forward(multiplexing.CLOSE_FORWARD, 3, "L", spec)))
        program.until(done, done, done)
        assert bench.forwards.open == []
        program.say(NS(multiplexing.forward(multiplexing.CLOSE_FORWARD, 3, "L", spec)))
        program.until(
            *(done, done, done),
            multiplexing.refusal(multiplexing.FAILURE, 3, "there is no such forwarding"),
        )

    def test_remote(self, bench: Bench) -> None:
        program = Program(bench)
        spec = parseForward("0:web:80", remote=True)
        program.say(HELLO, NS(multiplexing.forward(multiplexing.OPEN_FORWARD, 3, "R", spec)), ALIVE)
        bench.driver.until(lambda: MSG_GLOBAL_REQUEST in bench.numbers(), "a request")
        bench.hear(MSG_REQUEST_SUCCESS, u32(4022))
        # What was asked behind it waits for it.
        program.until(
            multiplexing.reply(multiplexing.REMOTE_PORT, 3, 4022),
            multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()),
        )

    def test_one_that_the_server_refuses(self, bench: Bench) -> None:
        program = Program(bench)
        spec = parseForward("80:web:80", remote=True)
        program.say(HELLO, NS(multiplexing.forward(multiplexing.OPEN_FORWARD, 3, "R", spec)))
        bench.driver.until(lambda: MSG_GLOBAL_REQUEST in bench.numbers(), "a request")
        bench.hear(MSG_REQUEST_FAILURE, b"")
        why = "the server does not listen on port 80 for us"
        program.until(multiplexing.refusal(multiplexing.FAILURE, 3, why))
        assert bench.forwards.open == []

    def test_every_address_is_the_same_by_both_names(self, bench: Bench) -> None:
        program = Program(bench)
        assert bench.forwards.local(ForwardSpec("", 0, "web", 80)).called
        spec = ForwardSpec("*", 0, "web", 80)
        program.say(HELLO, NS(multiplexing.forward(multiplexing.CLOSE_FORWARD, 3, "L", spec)))
        program.until(multiplexing.reply(multiplexing.OK, 3))

    def test_a_connection_to_somewhere(self, bench: Bench) -> None:
        program = Program(bench)
        before = openDescriptors()
        program.say(HELLO, NS(multiplexing.newStdioForward(5, b"web", 80)))
        program.hand(program.stdin, program.stdout)
        bench.confirm()
        program.until(OPENED)
        bench.hear(MSG_CHANNEL_DATA, u32(0) + NS(b"from there"))
        bench.hear(MSG_CHANNEL_EOF, u32(0))
        bench.hear(MSG_CHANNEL_CLOSE, u32(0))
        program.untilEnd()
        # No status follows: whoever waits takes the end for it.
        assert program.answers() == [OPENED]
        assert program.seen(program.screen) == b"from there"
        assert openDescriptors() <= before

    def test_a_late_end_of_it_does_not_touch_what_was_closed(self, bench: Bench) -> None:
        program = Program(bench)
        program.say(HELLO, NS(multiplexing.newStdioForward(5, b"web", 80)))
        program.hand(program.stdin, program.stdout)
        bench.confirm()
        program.until(OPENED)
        program.socket.shutdown(socket.SHUT_RDWR)
        bench.driver.until(lambda: bench.master.sessions == 0, "the end of the client")
        before = openDescriptors()
        bench.hear(MSG_CHANNEL_EOF, u32(0))
        assert openDescriptors() == before

    def test_a_connection_to_a_socket(self, bench: Bench) -> None:
        program = Program(bench)
        body = u32(multiplexing.NEW_STDIO_FORWARD) + u32(5) + NS(b"") + NS(b"/s") + u32(2**32 - 2)
        program.say(HELLO, NS(body))
        program.hand(program.stdin, program.stdout)
        bench.confirm()
        asked = next(body for kind, body in bench.transport.packets if kind == MSG_CHANNEL_OPEN)
        assert Reader(asked).string() == b"direct-streamlocal@openssh.com"


class TestAsking:
    def test_what_is_allowed_and_what_not(self, bench: Bench) -> None:
        asked: list[tuple[str, defer.Deferred[bool]]] = []

        def allow(question: str) -> defer.Deferred[bool]:
            asked.append((question, defer.Deferred()))
            return asked[-1][1]

        bench.again(allow=allow)
        program = Program(bench)
        bench.driver.until(program.listen, "a greeting")
        before = openDescriptors()
        program.begin()
        bench.driver.until(lambda: asked, "a question")
        program.say(NS(multiplexing.request(multiplexing.STOP_LISTENING, 6)), ALIVE)
        bench.driver.turn()
        assert [question for question, _ in asked] == ["Allow a shared session on web?"]
        asked[0][1].callback(False)
        assert openDescriptors() <= before
        assert bench.service.channels == {}
        bench.driver.until(lambda: len(asked) == 2, "the next question")
        asked[1][1].callback(True)
        program.until(
            multiplexing.refusal(multiplexing.PERMISSION_DENIED, 5, "not allowed"),
            multiplexing.reply(multiplexing.OK, 6),
            multiplexing.reply(multiplexing.ALIVE, 1, os.getpid()),
        )
        assert not os.path.exists(bench.path)

    @pytest.mark.parametrize("isCancellable", [True, False])
    def test_one_who_went_while_it_was_asked(self, bench: Bench, isCancellable: bool) -> None:
        asked: list[defer.Deferred[bool]] = []
        cancelled: list[object] = []

        def cancel(asking: defer.Deferred[bool]) -> None:
            cancelled.append(asking)
            if not isCancellable:
                asking.callback(True)

        def allow(question: str) -> defer.Deferred[bool]:
            asked.append(defer.Deferred(cancel))
            return asked[-1]

        bench.again(allow=allow)
        program = Program(bench)
        before = openDescriptors()
        program.begin()
        bench.driver.until(lambda: asked, "a question")
        program.socket.shutdown(socket.SHUT_RDWR)
        bench.driver.until(lambda: cancelled, "an end of the question")
        assert cancelled == asked
        assert bench.service.channels == {}
        assert openDescriptors() <= before

    def test_the_end_is_asked_about_and_answered(self, bench: Bench) -> None:
        program = Program(bench)
        program.say(HELLO, NS(multiplexing.request(multiplexing.TERMINATE, 1)))
        program.until(multiplexing.reply(multiplexing.OK, 1))
        assert bench.terminated == 1


class StillReactor(Clock):
    """Time, and nothing that is read by itself."""

    def addReader(self, reader: object) -> None:
        """Nobody looks."""

    removeReader = addReader


class TestPersisting:
    @pytest.fixture
    def still(self, bench: Bench) -> Iterator[tuple[StillReactor, list[str]]]:
        reactor = StillReactor()
        bench.connection.reactor = reactor
        bench.again()
        ended: list[str] = []
        bench.master.persist(10, lambda: ended.append("idle"))
        yield reactor, ended
        bench.master.cut()
        assert reactor.getDelayedCalls() == []

    def test_it_ends_when_nothing_was_done_for_so_long(
        self, still: tuple[StillReactor, list[str]]
    ) -> None:
        reactor, ended = still
        reactor.advance(9.9)
        assert ended == []
        reactor.advance(0.1)
        assert ended == ["idle"]

    def test_a_client_begins_it_anew(
        self, bench: Bench, still: tuple[StillReactor, list[str]]
    ) -> None:
        reactor, ended = still
        reactor.advance(9)
        program = Program(bench)
        bench.master.doRead()
        reactor.advance(100)
        assert ended == []
        (client,) = bench.master._clients
        program.socket.shutdown(socket.SHUT_RDWR)
        client.doRead()
        reactor.advance(9.9)
        assert ended == []
        reactor.advance(0.1)
        assert ended == ["idle"]

    def test_an_open_channel_holds_it(
        self, bench: Bench, still: tuple[StillReactor, list[str]]
    ) -> None:
        reactor, ended = still
        from limpet.ssh.channel import SSHChannel

        channel = SSHChannel()
        channel.name = b"direct-tcpip"
        bench.service.openChannel(channel)
        bench.confirm()
        reactor.advance(100)
        assert ended == []
        bench.hear(MSG_CHANNEL_CLOSE, u32(0))
        channel.loseConnection()
        reactor.advance(9.9)
        assert ended == []
        reactor.advance(0.1)
        assert ended == ["idle"]

    def test_stopped_it_ends_at_once(
        self, bench: Bench, still: tuple[StillReactor, list[str]]
    ) -> None:
        reactor, ended = still
        bench.master.stop()
        reactor.advance(0)
        assert ended == ["idle"]

    def test_for_ever(self, bench: Bench, still: tuple[StillReactor, list[str]]) -> None:
        reactor, ended = still
        bench.master.persist(0, lambda: ended.append("idle"))
        assert reactor.getDelayedCalls() == []


class TestNoDescriptorsLeft:
    def test_nobody_is_accepted_for_a_while(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reactor = StillReactor()
        bench.connection.reactor = reactor
        bench.again()
        looked: list[str] = []
        monkeypatch.setattr(reactor, "removeReader", lambda reader: looked.append("away"))
        monkeypatch.setattr(reactor, "addReader", lambda reader: looked.append("back"))

        class Full:
            def accept(self) -> None:
                raise OSError(24, "too many open files")

            def fileno(self) -> int:
                return 3

        control: Any = bench.master._control
        listening, control.socket = control.socket, Full()
        bench.master.doRead()
        assert looked == ["away"]
        reactor.advance(mastering.PATIENCE_SECONDS)
        assert looked == ["away", "back"]
        control.socket = listening
