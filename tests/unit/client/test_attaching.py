"""A session at standard input and output: what is asked for, what flows, what it all comes to."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from limpet.client.attaching import (
    MAX_TYPED,
    MAX_UNREAD,
    WINDOW,
    AttachedForward,
    AttachedSession,
    SessionRequest,
)
from limpet.client.errors import OWN_FAILURE
from limpet.client.escapes import Escape, EscapeReader
from limpet.error import ConchError
from limpet.ssh.connection import SSHConnection
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from tests.unit.ssh.doubles import RecordingTransport
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


class Bench:
    """A client's connection, and pipes in the places of standard input and output."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.transport = RecordingTransport()
        self.transport.isClient = True
        self.connection = SSHConnection()
        self.connection.transport = self.transport
        self.connection.serviceStarted()
        self.stdin, self.keyboard = os.pipe()
        self.screen, self.stdout = os.pipe()
        self.errorScreen, self.stderr = os.pipe()
        self.told: list[str] = []
        self.results: list[Any] = []
        self.channel: Any = None
        for fd in (self.screen, self.errorScreen):
            os.set_blocking(fd, False)

    @property
    def descriptors(self) -> tuple[int, int, int]:
        return self.stdin, self.stdout, self.stderr

    def open(
        self, request: SessionRequest | None = None, window: int = 1 << 20, **more: Any
    ) -> AttachedSession:
        """A session that the server has opened."""
        session = AttachedSession(
            self.driver.reactor,
            self.told.append,
            request or SessionRequest(b"exec", b"command"),
            more.pop("descriptors", self.descriptors),
            **more,
        )
        self._open(session, window)
        return session

    def _open(self, channel: Any, window: int) -> None:
        self.channel = channel
        channel.finished.addBoth(self.results.append)
        self.connection.openChannel(channel, getattr(channel, "openingData", b""))
        self.hear(MSG_CHANNEL_OPEN_CONFIRMATION, struct.pack(">4L", 0, 7, window, 32768))

    def hear(self, number: int, payload: bytes) -> None:
        """The server says something."""
        self.connection.packetReceived(number, payload)

    def hearData(self, data: bytes) -> None:
        for start in range(0, len(data), 32768):
            self.hear(MSG_CHANNEL_DATA, u32(0) + NS(data[start : start + 32768]))

    def hearRequest(self, name: bytes, body: bytes) -> None:
        self.hear(MSG_CHANNEL_REQUEST, u32(0) + NS(name) + b"\0" + body)

    def end(self) -> None:
        """The server closes the channel."""
        self.hear(MSG_CHANNEL_EOF, u32(0))
        self.hear(MSG_CHANNEL_CLOSE, u32(0))

    def result(self) -> Any:
        self.driver.until(lambda: self.results, "the session's end")
        (result,) = self.results
        return result

    def seen(self, fd: int | None = None) -> bytes:
        """What is in a pipe."""
        found = b""
        with suppress(BlockingIOError):
            while piece := os.read(self.screen if fd is None else fd, 65536):
                found += piece
        return found

    def sentData(self) -> bytes:
        return b"".join(
            payload[8:] for number, payload in self.transport.packets if number == MSG_CHANNEL_DATA
        )

    def requests(self) -> list[tuple[bytes, bool, bytes]]:
        """The requests that were sent: name, whether an answer is wanted, body."""
        found = []
        for number, payload in self.transport.packets:
            if number == MSG_CHANNEL_REQUEST:
                reader = Reader(payload)
                reader.u32()
                found.append((reader.string(), reader.boolean(), reader.rest()))
        return found

    def numbers(self) -> list[int]:
        return [number for number, _ in self.transport.packets]

    def close(self) -> None:
        if self.channel is not None:
            self.channel.cut()
        for fd in (*self.descriptors, self.keyboard, self.screen, self.errorScreen):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
def bench(driver: Driver) -> Iterator[Bench]:
    bench = Bench(driver)
    yield bench
    bench.close()


class TestAsking:
    def test_a_command(self, bench: Bench) -> None:
        bench.open(SessionRequest(b"exec", b"ls -l"))
        assert bench.requests() == [(b"exec", True, NS(b"ls -l"))]

    def test_a_shell_with_all_that_may_go_with_it(self, bench: Bench) -> None:
        bench.open(
            SessionRequest(
                environment=((b"LANG", b"C"), (b"A", b"b c")),
                term=b"xterm",
                geometry=(24, 80, 640, 480),
                modes=b"\x35\0\0\0\1\0",
                forwardsAgent=True,
            )
        )
        size = struct.pack(">4L", 80, 24, 640, 480)
        assert bench.requests() == [
            (b"auth-agent-req@openssh.com", True, b""),
            (b"pty-req", True, NS(b"xterm") + size + NS(b"\x35\0\0\0\1\0")),
            (b"env", False, NS(b"LANG") + NS(b"C")),
            (b"env", False, NS(b"A") + NS(b"b c")),
            (b"shell", True, b""),
        ]

    def test_a_subsystem(self, bench: Bench) -> None:
        bench.open(SessionRequest(b"subsystem", b"sftp"))
        assert bench.requests() == [(b"subsystem", True, NS(b"sftp"))]

    def test_the_window_is_as_large_as_that_of_ssh(self, bench: Bench) -> None:
        bench.open()
        number, payload = bench.transport.packets[0]
        assert number == MSG_CHANNEL_OPEN
        assert struct.unpack(">3L", payload[-12:])[1] == WINDOW == 2 * 1024 * 1024

    def test_a_command_that_is_refused(self, bench: Bench) -> None:
        bench.open()
        bench.hear(MSG_CHANNEL_FAILURE, u32(0))
        assert bench.told == ["the server does not start the command"]
        assert bench.numbers()[-1] == MSG_CHANNEL_CLOSE
        bench.hear(MSG_CHANNEL_CLOSE, u32(0))
        assert bench.result() == OWN_FAILURE

    def test_a_terminal_that_is_refused(self, bench: Bench) -> None:
        refusals: list[None] = []
        bench.open(SessionRequest(term=b"x"), onTerminalRefused=lambda: refusals.append(None))
        bench.hear(MSG_CHANNEL_FAILURE, u32(0))
        assert bench.told == ["the server gives no terminal"]
        assert len(refusals) == 1
        assert MSG_CHANNEL_CLOSE not in bench.numbers()

    def test_a_channel_that_is_refused(self, bench: Bench) -> None:
        session = AttachedSession(bench.driver.reactor, bench.told.append, SessionRequest())
        session.finished.addBoth(bench.results.append)
        bench.connection.openChannel(session)
        refusal = struct.pack(">2L", 0, 1) + NS(b"no sessions") + NS(b"")
        bench.hear(MSG_CHANNEL_OPEN_FAILURE, refusal)
        assert bench.result().check(ConchError)

    def test_a_connection_that_ends_before(self, bench: Bench) -> None:
        session = AttachedSession(bench.driver.reactor, bench.told.append, SessionRequest())
        session.finished.addBoth(bench.results.append)
        bench.connection.openChannel(session)
        bench.connection.serviceStopped()
        assert bench.result() == OWN_FAILURE


class TestFlow:
    def test_both_outputs(self, bench: Bench) -> None:
        bench.open()
        bench.hearData(b"out")
        bench.hear(MSG_CHANNEL_EXTENDED_DATA, u32(0) + u32(1) + NS(b"err"))
        bench.hear(MSG_CHANNEL_EXTENDED_DATA, u32(0) + u32(2) + NS(b"nobody knows this type"))
        assert (bench.seen(), bench.seen(bench.errorScreen)) == (b"out", b"err")

    def test_input_and_its_end(self, bench: Bench) -> None:
        bench.open()
        os.write(bench.keyboard, b"typed")
        bench.driver.until(lambda: bench.sentData() == b"typed")
        os.close(bench.keyboard)
        bench.driver.until(lambda: MSG_CHANNEL_EOF in bench.numbers())
        assert bench.numbers().count(MSG_CHANNEL_EOF) == 1

    def test_no_input_is_its_end_at_once(self, bench: Bench) -> None:
        bench.open(descriptors=(None, bench.stdout, bench.stderr))
        assert MSG_CHANNEL_EOF in bench.numbers()

    def test_input_waits_for_the_window(self, bench: Bench) -> None:
        """What is read and cannot be sent is bounded by one read."""
        bench.open(window=10)
        os.set_blocking(bench.keyboard, False)
        written = 0
        for _ in range(200):
            with suppress(BlockingIOError):
                written += os.write(bench.keyboard, bytes(65536))
            bench.driver.turn(1)
        assert bench.sentData() == bytes(10)
        assert bench.channel.bufferedBytes <= 262144
        bench.hear(MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">2L", 0, 1 << 30))
        bench.driver.until(lambda: len(bench.sentData()) == written)

    def test_output_that_is_not_read_is_bounded(self, bench: Bench) -> None:
        """A reader that stops stops the server: no more window is granted."""
        bench.open()
        granted = sent = 0
        while True:
            left = WINDOW + granted - sent
            if left < 32768:
                break
            bench.hearData(bytes(32768))
            sent += 32768
            granted = sum(
                struct.unpack(">2L", payload)[1]
                for number, payload in bench.transport.packets
                if number == MSG_CHANNEL_WINDOW_ADJUST
            )
            assert sent < 4 * WINDOW
        read = 0

        def drained() -> bool:
            nonlocal read
            read += len(bench.seen())
            return read == sent

        before = bench.numbers().count(MSG_CHANNEL_WINDOW_ADJUST)
        bench.driver.until(drained)
        assert bench.numbers().count(MSG_CHANNEL_WINDOW_ADJUST) > before

    def test_the_end_waits_for_the_output(self, bench: Bench) -> None:
        bench.open()
        data = os.urandom(WINDOW - 65536)
        bench.hearData(data)
        bench.hearRequest(b"exit-status", u32(4))
        bench.end()
        bench.driver.turn()
        assert bench.results == []
        found = b""

        def drained() -> bool:
            nonlocal found
            found += bench.seen()
            return bool(bench.results)

        bench.driver.until(drained)
        assert found + bench.seen() == data
        assert bench.result() == 4


class TestNobodyReads:
    def test_the_server_is_told(self, bench: Bench) -> None:
        bench.open()
        os.close(bench.screen)
        bench.hearData(b"to nobody")
        bench.driver.until(lambda: (b"eow@openssh.com", False, b"") in bench.requests())
        assert bench.told == []
        bench.hearRequest(b"exit-status", u32(0))
        bench.end()
        assert bench.result() == 0

    def test_a_server_that_goes_on_is_left(self, bench: Bench) -> None:
        bench.open()
        os.close(bench.screen)
        bench.hearData(b"x")
        bench.driver.until(lambda: b"eow@openssh.com" in [name for name, *_ in bench.requests()])
        sent = 0
        while MSG_CHANNEL_CLOSE not in bench.numbers():
            bench.hearData(bytes(32768))
            sent += 32768
            assert sent <= MAX_UNREAD + 32768

    def test_a_full_disk_is_no_success(self, bench: Bench) -> None:
        with open("/dev/full", "wb") as full:
            bench.open(descriptors=(bench.stdin, full.fileno(), bench.stderr))
            bench.hearData(b"lost")
            bench.hearRequest(b"exit-status", u32(0))
            bench.end()
            assert bench.result() == OWN_FAILURE
        assert bench.told == ["standard output: No space left on device"]


class TestStatus:
    @pytest.mark.parametrize(
        ("said", "status"), [(0, 0), (1, 1), (255, 255), (256, 255), (0x102, 2), (0xFFFFFFFF, 255)]
    )
    def test_a_status(self, bench: Bench, said: int, status: int) -> None:
        """What no process can end with never becomes success."""
        bench.open()
        bench.hearRequest(b"exit-status", u32(said))
        bench.end()
        assert bench.result() == status
        assert bench.channel.hasEnded

    @pytest.mark.parametrize(
        ("name", "status"), [(b"TERM", 143), (b"KILL", 137), (b"x@y.org", 255), (b"_IGN", 255)]
    )
    def test_a_signal(self, bench: Bench, name: bytes, status: int) -> None:
        bench.open()
        bench.hearRequest(b"exit-signal", NS(name) + b"\1" + NS(b"words\x1b[2J") + NS(b""))
        bench.end()
        assert bench.result() == status
        (told,) = bench.told
        assert "core dumped: words\\x1b[2J" in told

    def test_neither_is_a_failure(self, bench: Bench) -> None:
        bench.open()
        bench.end()
        assert bench.result() == OWN_FAILURE

    def test_a_lost_connection_is_a_failure(self, bench: Bench) -> None:
        bench.open()
        bench.hearData(b"so far")
        bench.connection.serviceStopped()
        assert bench.result() == OWN_FAILURE
        assert bench.seen() == b"so far"
        assert not bench.channel.hasEnded

    def test_cut_it_ends_whatever_waits(self, bench: Bench) -> None:
        bench.open()
        bench.hearData(bytes(WINDOW))
        bench.channel.cut()
        assert bench.result() == OWN_FAILURE


class TestTyping:
    def test_escapes_are_taken_out(self, bench: Bench) -> None:
        escapes: list[Escape] = []
        bench.open(SessionRequest(term=b"x"), escapes=EscapeReader(), onEscape=escapes.append)
        os.write(bench.keyboard, b"ls\r~?pwd\r~~\r")
        bench.driver.until(lambda: bench.sentData() == b"ls\rpwd\r~\r")
        assert escapes == [Escape.HELP]

    def atABeat(self, bench: Bench, seconds: float, **more: Any) -> list[bytes]:
        """A session whose keys leave at a beat; returns the PINGs that the server gets."""
        pings: list[bytes] = []
        transport: Any = bench.transport
        transport.peerExtensions = {b"ping@openssh.com": b"0"}
        transport.sendPing = pings.append
        bench.open(SessionRequest(term=b"x"), escapes=EscapeReader(), beatSeconds=seconds, **more)
        return pings

    def test_keys_leave_at_a_beat_and_chaff_after_them(self, bench: Bench) -> None:
        pings = self.atABeat(bench, 0.001)
        os.write(bench.keyboard, b"k")
        bench.driver.until(lambda: len(pings) > 3)
        assert bench.sentData() == b"k"
        bench.end()
        count = len(pings)
        bench.result()
        assert not bench.driver.reactor.getDelayedCalls()
        assert len(pings) == count

    def test_keys_wait_for_no_beat_where_something_follows(self, bench: Bench) -> None:
        escapes: list[Escape] = []
        self.atABeat(bench, 600.0, onEscape=escapes.append)
        os.write(bench.keyboard, b"ls\r~?")
        bench.driver.until(lambda: escapes)
        assert bench.sentData() == b"ls\r"
        os.write(bench.keyboard, b"exit\r")
        os.close(bench.keyboard)
        bench.driver.until(lambda: bench.transport.packets[-1][0] == MSG_CHANNEL_EOF)
        assert bench.sentData() == b"ls\rexit\r"
        bench.keyboard = os.open(os.devnull, os.O_RDONLY)

    @pytest.mark.parametrize("extensions", [{}, {b"ping@openssh.com": b"1"}])
    def test_a_server_that_knows_no_ping_gets_keys_at_once(
        self, bench: Bench, extensions: dict[bytes, bytes]
    ) -> None:
        transport: Any = bench.transport
        transport.peerExtensions = extensions
        bench.open(SessionRequest(term=b"x"), escapes=EscapeReader(), beatSeconds=600.0)
        os.write(bench.keyboard, b"k")
        bench.driver.until(lambda: bench.sentData() == b"k")

    def test_no_terminal_no_beat(self, bench: Bench) -> None:
        transport: Any = bench.transport
        transport.peerExtensions = {b"ping@openssh.com": b"0"}
        bench.open(escapes=EscapeReader(), beatSeconds=600.0)
        os.write(bench.keyboard, b"k")
        bench.driver.until(lambda: bench.sentData() == b"k")

    def test_they_are_seen_while_the_server_takes_nothing(self, bench: Bench) -> None:
        escapes: list[Escape] = []
        bench.open(
            SessionRequest(term=b"x"), window=0, escapes=EscapeReader(), onEscape=escapes.append
        )
        os.write(bench.keyboard, b"nobody takes this\r")
        bench.driver.until(lambda: bench.channel.bufferedBytes)
        os.write(bench.keyboard, b"~.")
        bench.driver.until(lambda: escapes == [Escape.CLOSE])

    def test_what_is_typed_meanwhile_is_bounded(self, bench: Bench) -> None:
        bench.open(SessionRequest(term=b"x"), window=0, escapes=EscapeReader())
        os.set_blocking(bench.keyboard, False)
        written = 0
        for _ in range(100):
            with suppress(BlockingIOError):
                written += os.write(bench.keyboard, b"x" * 65536)
            bench.driver.turn(1)
        assert MAX_TYPED < bench.channel.bufferedBytes <= MAX_TYPED + 262144
        bench.hear(MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">2L", 0, 1 << 30))
        bench.driver.until(lambda: len(bench.sentData()) == written)

    def test_a_new_size(self, bench: Bench) -> None:
        bench.open(SessionRequest(term=b"x"))
        bench.channel.resize((50, 132, 0, 0))
        assert bench.requests()[-1] == (
            b"window-change",
            False,
            struct.pack(">4L", 132, 50, 0, 0),
        )

    def test_without_a_terminal_there_is_no_size(self, bench: Bench) -> None:
        bench.open()
        bench.channel.resize((50, 132, 0, 0))
        assert [name for name, *_ in bench.requests()] == [b"exec"]

    def test_a_break_that_is_refused(self, bench: Bench) -> None:
        bench.open(SessionRequest(term=b"x"))
        bench.channel.sendBreak()
        assert bench.requests()[-1][:2] == (b"break", True)
        for _ in range(3):
            bench.hear(MSG_CHANNEL_FAILURE, u32(0))
        assert "the server does not send a BREAK" in bench.told or bench.channel.localClosed


def test_a_connection_elsewhere(bench: Bench) -> None:
    forward = AttachedForward(
        bench.driver.reactor, bench.told.append, b"db", 5432, bench.descriptors
    )
    bench._open(forward, 1 << 20)
    number, payload = bench.transport.packets[0]
    assert number == MSG_CHANNEL_OPEN
    assert payload.startswith(NS(b"direct-tcpip"))
    assert NS(b"db") + u32(5432) in payload
    bench.hearData(b"hello")
    assert bench.seen() == b"hello"
    bench.hearData(b"last words")
    bench.hear(MSG_CHANNEL_EOF, u32(0))
    # Whoever reads sees the end, and may go on to write.
    assert os.read(bench.screen, 100) == b"last words"
    assert os.read(bench.screen, 100) == b""
    os.write(bench.keyboard, b"an answer")
    bench.driver.until(lambda: bench.sentData() == b"an answer")
    bench.hear(MSG_CHANNEL_CLOSE, u32(0))
    assert bench.result() == 0
