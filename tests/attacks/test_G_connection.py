"""Group G of the attack table: channels, windows, requests. Each test carries the id of its row."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer

from limpet.core.errors import LimitExceeded, ProtocolViolation, UnexpectedMessage
from limpet.core.replies import MAX_PENDING_REPLIES
from limpet.core.windows import MAX_PIECE, MAX_WINDOW
from limpet.interfaces import ISession, ISessionSetEnv
from limpet.ssh.connection import (
    CLOSE_TIMEOUT_SECONDS,
    MAX_CHANNELS,
    MAX_SESSIONS,
    SSHConnection,
    messages,
)
from limpet.ssh.session import SSHSession, packRequest_pty_req, packRequest_window_change
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, u32
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
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_RESOURCE_SHORTAGE,
)
from limpet.wire.requests import BreakRequest, Environment, TcpListen
from tests.unit.ssh.doubles import (
    LoggingTestCase,
    RecordingChannel,
    RecordingConnection,
    confirmation,
    dataMessage,
    extendedMessage,
    opened,
    openMessage,
    requestMessage,
    started,
)


def aboutChannel(number: int) -> list[tuple[int, bytes]]:
    """One well-formed message of every kind that names a channel."""
    return [
        (MSG_CHANNEL_OPEN_CONFIRMATION, confirmation(number)),
        (MSG_CHANNEL_OPEN_FAILURE, u32(number) + u32(1) + NS(b"") + NS(b"")),
        (MSG_CHANNEL_WINDOW_ADJUST, u32(number) + u32(1)),
        (MSG_CHANNEL_DATA, dataMessage(number, b"x")),
        (MSG_CHANNEL_EXTENDED_DATA, extendedMessage(number, 1, b"x")),
        (MSG_CHANNEL_EOF, u32(number)),
        (MSG_CHANNEL_CLOSE, u32(number)),
        (MSG_CHANNEL_REQUEST, requestMessage(number, b"yes")),
        (MSG_CHANNEL_SUCCESS, u32(number)),
        (MSG_CHANNEL_FAILURE, u32(number)),
    ]


ANSWERS_TO_OPEN = (MSG_CHANNEL_OPEN_CONFIRMATION, MSG_CHANNEL_OPEN_FAILURE)


class TestG1ChannelIds(LoggingTestCase):
    def test_G1_numbers_never_given_end_the_connection(self) -> None:
        for number in (1, 2, 2**31, 2**32 - 1):
            for messageNum, payload in aboutChannel(number):
                connection = started()
                channel = opened(connection)
                with pytest.raises(UnexpectedMessage):
                    connection.packetReceived(messageNum, payload)
                assert channel.events == ["open"]
                assert connection.transport.sent() == []

    def test_G1_a_channel_that_is_not_open_yet_takes_answers_only(self) -> None:
        for messageNum, payload in aboutChannel(0):
            if messageNum in ANSWERS_TO_OPEN:
                continue
            connection = started()
            channel = RecordingChannel()
            connection.openChannel(channel)
            with pytest.raises(UnexpectedMessage):
                connection.packetReceived(messageNum, payload)
            assert channel.events == []

    def test_G1_messages_under_way_to_a_closed_channel_are_ignored(self) -> None:
        connection = started()
        channel = opened(connection)
        channel.loseConnection()
        connection.ssh_CHANNEL_CLOSE(u32(0))
        connection.transport.sent()
        events = list(channel.events)
        for messageNum, payload in aboutChannel(0):
            if messageNum not in ANSWERS_TO_OPEN:
                connection.packetReceived(messageNum, payload)
        assert channel.events == events
        assert connection.transport.sent() == []

    def test_G1_a_second_answer_to_an_open_ends_the_connection(self) -> None:
        for first in (0, 1):
            for second in (0, 1):
                connection = started()
                channel = RecordingChannel()
                connection.openChannel(channel)
                answers = aboutChannel(0)[:2]
                connection.packetReceived(*answers[first])
                with pytest.raises(UnexpectedMessage):
                    connection.packetReceived(*answers[second])
                assert len(channel.events) == 1

    def test_G1_an_answer_about_the_peers_own_channel_ends_the_connection(self) -> None:
        for messageNum, payload in aboutChannel(0)[:2]:
            connection = started()
            channel = opened(connection)
            with pytest.raises(UnexpectedMessage):
                connection.packetReceived(messageNum, payload)
            assert channel.events == ["open"]
            assert channel.remoteWindowLeft == 2**20

    def test_G1_every_truncation_is_one_kind_of_error(self) -> None:
        requests = [
            (MSG_GLOBAL_REQUEST, NS(b"name") + b"\1"),
            (MSG_CHANNEL_OPEN, openMessage()),
            *aboutChannel(0),
        ]
        for messageNum, payload in requests:
            for length in range(len(payload)):
                connection = started()
                channel = opened(connection)
                with pytest.raises((WireError, ProtocolViolation)):
                    connection.packetReceived(messageNum, payload[:length])
                assert channel.events == ["open"]

    def test_G1_trailing_bytes_where_none_belong(self) -> None:
        for messageNum, payload in aboutChannel(0):
            if messageNum in (*ANSWERS_TO_OPEN, MSG_CHANNEL_REQUEST):
                continue
            connection = started()
            channel = opened(connection)
            with pytest.raises(WireError):
                connection.packetReceived(messageNum, payload + b"\0")
            assert channel.events == ["open"]

    def test_G1_a_length_of_four_gigabytes(self) -> None:
        connection = started()
        opened(connection)
        for messageNum, payload in (
            (MSG_CHANNEL_DATA, u32(0) + b"\xff\xff\xff\xff"),
            (MSG_CHANNEL_EXTENDED_DATA, u32(0) + u32(1) + b"\xff\xff\xff\xff"),
            (MSG_CHANNEL_REQUEST, u32(0) + b"\xff\xff\xff\xffname\1"),
            (MSG_CHANNEL_OPEN, b"\xff\xff\xff\xff"),
            (MSG_GLOBAL_REQUEST, b"\xff\xff\xff\xff"),
        ):
            with pytest.raises(WireError):
                connection.packetReceived(messageNum, payload)


def codesOfRefusals(connection: RecordingConnection) -> list[int]:
    """The reasons of all refusals that were sent."""
    return [
        struct.unpack_from(">2L", payload)[1]
        for number, payload in connection.transport.packets
        if number == MSG_CHANNEL_OPEN_FAILURE
    ]


class TestG2Exhaustion(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()
        self.addCleanup(self.logged)

    def openMany(self, channelType: bytes, count: int) -> None:
        for _ in range(count):
            self.connection.ssh_CHANNEL_OPEN(openMessage(channelType))

    def test_G2_sessions(self) -> None:
        self.openMany(b"session", MAX_SESSIONS + 5)
        assert codesOfRefusals(self.connection) == [OPEN_RESOURCE_SHORTAGE] * 5
        assert len(self.connection.channels) == MAX_SESSIONS == 10
        # One that closes makes room for one.
        self.connection.ssh_CHANNEL_CLOSE(u32(3))
        self.openMany(b"session", 2)
        assert codesOfRefusals(self.connection) == [OPEN_RESOURCE_SHORTAGE] * 6

    def test_G2_channels(self) -> None:
        self.openMany(b"recording", MAX_CHANNELS + 5)
        assert codesOfRefusals(self.connection) == [OPEN_RESOURCE_SHORTAGE] * 5
        assert len(self.connection.channels) == MAX_CHANNELS == 128

    def test_G2_an_application_may_choose_its_own_limits(self) -> None:
        self.connection.maxSessions = 1
        self.connection.maxChannels = 2
        self.openMany(b"session", 2)
        self.openMany(b"recording", 2)
        assert codesOfRefusals(self.connection) == [OPEN_RESOURCE_SHORTAGE] * 2

    def test_G2_a_hundred_thousand_refusals_leave_nothing_behind(self) -> None:
        send = self.connection.transport.sendPacket

        def sendAndForget(number: int, payload: bytes) -> None:
            assert number == MSG_CHANNEL_OPEN_FAILURE
            send(number, payload)
            self.connection.transport.packets.clear()

        self.connection.transport.sendPacket = sendAndForget
        self.openMany(b"nonsense", 100_000)
        assert self.connection.channels == {}
        assert self.connection.localChannelID == 0
        assert self.logged() <= 32

    def test_G2_a_session_that_we_have_closed_counts_as_a_channel_only(self) -> None:
        # OpenSSH's client starts the next session before it has confirmed the end of the last.
        for first in range(0, MAX_CHANNELS, MAX_SESSIONS):
            self.openMany(b"session", min(MAX_SESSIONS, MAX_CHANNELS - first))
            for channel in list(self.connection.channels.values()):
                channel.loseConnection()
        assert codesOfRefusals(self.connection) == []
        self.openMany(b"session", 1)
        assert codesOfRefusals(self.connection) == [OPEN_RESOURCE_SHORTAGE]
        assert len(self.connection.channels) == MAX_CHANNELS


class TestG3Windows(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()

    def test_G3_a_window_above_the_largest_ends_the_connection(self) -> None:
        channel = opened(self.connection, window=1)
        adjust = u32(0) + u32(2**32 - 1)
        with pytest.raises(LimitExceeded):
            self.connection.ssh_CHANNEL_WINDOW_ADJUST(adjust)
        assert channel.remoteWindowLeft == 1

    def test_G3_the_largest_window_itself_is_fine(self) -> None:
        channel = opened(self.connection, window=0)
        self.connection.ssh_CHANNEL_WINDOW_ADJUST(u32(0) + u32(2**32 - 1))
        assert channel.remoteWindowLeft == MAX_WINDOW
        with pytest.raises(LimitExceeded):
            self.connection.ssh_CHANNEL_WINDOW_ADJUST(u32(0) + u32(2**32 - 1))

    def test_G3_more_data_than_the_window_closes_the_channel(self) -> None:
        for message in (dataMessage(0, bytes(11)), extendedMessage(0, 1, bytes(11))):
            self.connection = started()
            channel = opened(self.connection, RecordingChannel(localWindow=10))
            number = 94 if len(message) == 19 else 95
            self.connection.packetReceived(number, message)
            self.connection.packetReceived(number, message)
            assert channel.events == ["open"]
            assert self.connection.transport.sent() == ["CLOSE"]

    def test_G3_a_larger_piece_than_allowed_closes_the_channel(self) -> None:
        channel = opened(self.connection, RecordingChannel(localMaxPacket=10))
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, bytes(11)))
        assert channel.events == ["open"]
        assert self.connection.transport.sent() == ["CLOSE"]

    def test_G3_and_drops_what_waits_for_the_one_who_broke_it(self) -> None:
        channel = opened(self.connection, RecordingChannel(localMaxPacket=10), window=0)
        channel.write(b"waits")
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, bytes(11)))
        assert self.connection.transport.sent() == ["CLOSE"]
        assert channel.bufferedBytes == 0

    def test_G3_an_initial_window_of_zero_waits(self) -> None:
        channel = opened(self.connection, window=0)
        channel.write(b"x")
        assert self.connection.transport.sent() == []
        self.connection.ssh_CHANNEL_WINDOW_ADJUST(u32(0) + u32(1))
        assert self.connection.transport.sent() == ["DATA x"]


class TestG4LargestPieces(LoggingTestCase):
    MEGABYTE = bytes(2**20)

    def test_G4_no_bytes_at_all_are_refused(self) -> None:
        connection = started()
        connection.ssh_CHANNEL_OPEN(openMessage(maxPacket=0))
        assert codesOfRefusals(connection) == [OPEN_ADMINISTRATIVELY_PROHIBITED]
        assert connection.channels == {}
        self.logged()

    def test_G4_no_bytes_in_a_confirmation_send_nothing_and_end(self) -> None:
        connection = started()
        channel = RecordingChannel()
        connection.openChannel(channel)
        connection.ssh_CHANNEL_OPEN_CONFIRMATION(confirmation(0, 2**32 - 1, maxPacket=0))
        connection.transport.sent()
        channel.write(self.MEGABYTE)
        channel.writeExtended(1, self.MEGABYTE)
        channel.addWindowBytes(0)
        assert connection.transport.sent() == []
        assert channel.events.count("stop") == 2
        channel.loseConnection()
        assert connection.transport.sent() == ["CLOSE"]

    def test_G4_one_byte_each(self) -> None:
        connection = started()
        channel = opened(connection, maxPacket=1)
        channel.write(bytes(5000))
        assert len(connection.transport.packets) == 5000

    def test_G4_ours_are_never_larger_than_the_rfcs(self) -> None:
        connection = started()
        channel = opened(connection, window=2**32 - 1, maxPacket=2**32 - 1)
        channel.write(self.MEGABYTE)
        assert len(connection.transport.packets) == 2**20 // MAX_PIECE
        assert MAX_PIECE <= 32768


class TestG5ExtendedAndEmptyData(LoggingTestCase):
    def test_G5_unknown_types_are_charged_granted_and_dropped(self) -> None:
        for dataType in (0, 2, 2**32 - 1):
            connection = started()
            session = opened(connection, SSHSession(localWindow=10), channelType=b"session")
            session.client = type("Client", (), {"transport": None})()
            connection.ssh_CHANNEL_EXTENDED_DATA(extendedMessage(0, dataType, bytes(8)))
            assert connection.transport.sent() == ["WINDOW_ADJUST"]
            assert session.localWindowLeft == 10
            assert session.buf == b""

    def test_G5_nothing_is_nothing(self) -> None:
        connection = started()
        channel = opened(connection)
        for _ in range(10_000):
            connection.ssh_CHANNEL_DATA(dataMessage(0, b""))
            connection.ssh_CHANNEL_EXTENDED_DATA(extendedMessage(0, 1, b""))
        assert channel.events == ["open"]
        assert connection.transport.sent() == []

    def test_G5_standard_error_before_there_is_a_program_is_not_kept(self) -> None:
        connection = started()
        session = opened(connection, SSHSession(), channelType=b"session")
        for _ in range(1000):
            connection.ssh_CHANNEL_EXTENDED_DATA(extendedMessage(0, 1, bytes(30_000)))
        assert session.buf == b""

    def test_G5_data_before_there_is_a_program_is_kept_up_to_a_window(self) -> None:
        connection = started()
        session = opened(connection, SSHSession(), channelType=b"session")
        left = 131072
        while left:
            size = min(left, 32768)
            connection.ssh_CHANNEL_DATA(dataMessage(0, bytes(size)))
            left -= size
        assert len(session.buf) == 131072
        assert connection.transport.sent() == []


class TestG6UnsolicitedReplies(LoggingTestCase):
    def test_G6_replies_to_nothing_are_dropped(self) -> None:
        connection = started()
        channel = opened(connection)
        for _ in range(10_000):
            connection.ssh_REQUEST_SUCCESS(b"")
            connection.ssh_REQUEST_FAILURE(b"")
            connection.ssh_CHANNEL_SUCCESS(u32(0))
            connection.ssh_CHANNEL_FAILURE(u32(0))
        assert channel.events == ["open"]
        assert connection.transport.sent() == []
        assert connection.deferreds["global"] == []

    def test_G6_and_do_not_shift_later_ones(self) -> None:
        connection = started()
        channel = opened(connection)
        connection.ssh_CHANNEL_SUCCESS(u32(0))
        connection.ssh_REQUEST_SUCCESS(b"early")
        results: list[Any] = []
        for deferred in (
            connection.sendRequest(channel, b"a", b"", wantReply=True),
            connection.sendGlobalRequest(b"a", b"", wantReply=True),
        ):
            assert deferred is not None
            deferred.addCallbacks(results.append, lambda _: results.append("failed"))
        assert results == []
        connection.ssh_CHANNEL_FAILURE(u32(0))
        connection.ssh_REQUEST_SUCCESS(b"own")
        assert results == ["failed", b"own"]


class TestG7OrderOfTheEnd(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()
        self.channel = opened(self.connection)

    def test_G7_close_twice(self) -> None:
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.channel.events == ["open", "close", "closed"]
        assert self.connection.transport.sent() == ["CLOSE"]

    def test_G7_data_after_eof(self) -> None:
        self.connection.ssh_CHANNEL_EOF(u32(0))
        self.connection.ssh_CHANNEL_EOF(u32(0))
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"late"))
        self.connection.ssh_CHANNEL_EXTENDED_DATA(extendedMessage(0, 1, b"late"))
        assert self.channel.events == ["open", "eof"]

    def test_G7_everything_after_close(self) -> None:
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        for messageNum, payload in aboutChannel(0):
            if messageNum not in ANSWERS_TO_OPEN:
                self.connection.packetReceived(messageNum, payload)
        assert self.channel.events == ["open", "close", "closed"]

    def test_G7_a_close_that_is_never_answered(self) -> None:
        clock = self.connection.transport.clock
        self.channel.loseConnection()
        clock.advance(CLOSE_TIMEOUT_SECONDS - 1)
        assert self.channel.events == ["open"]
        clock.advance(1)
        assert self.channel.events == ["open", "closed"]
        assert self.connection.channels == {}
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.channel.events == ["open", "closed"]

    def test_G7_an_answer_in_time_leaves_no_timer(self) -> None:
        self.channel.loseConnection()
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.connection.transport.clock.getDelayedCalls() == []

    def test_G7_an_application_that_forgets_to_answer(self) -> None:
        # RecordingChannel.closeReceived does nothing.
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.connection.transport.sent() == ["CLOSE"]


@implementer(ISession, ISessionSetEnv)
class User:
    """An avatar that is its own session, and lets everything be."""

    def __init__(self) -> None:
        self.sizes: list[Any] = []
        self.variables = 0
        self.commands: list[bytes] = []

    def getPty(self, term: bytes, windowSize: Any, modes: Any) -> None:
        self.sizes.append(windowSize)

    def windowChanged(self, newWindowSize: Any) -> None:
        self.sizes.append(newWindowSize)

    def setEnv(self, name: bytes, value: bytes) -> None:
        self.variables += 1

    def execCommand(self, proto: Any, command: bytes) -> None:
        self.commands.append(command)

    def openShell(self, proto: Any) -> None:
        self.commands.append(b"shell")

    def eofReceived(self) -> None:
        pass

    def closed(self) -> None:
        pass


class TestG8ChannelRequests(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()
        self.user = User()
        self.session = opened(self.connection, SSHSession(avatar=self.user), channelType=b"session")

    def request(self, name: bytes, data: bytes = b"") -> list[str]:
        self.connection.ssh_CHANNEL_REQUEST(requestMessage(0, name, data))
        said: list[str] = self.connection.transport.sent()
        return said

    def test_G8_truncated_bodies(self) -> None:
        bodies = {
            b"pty-req": packRequest_pty_req(b"xterm", (1, 2, 3, 4), struct.pack(">BL", 3, 1)),
            b"window-change": packRequest_window_change((1, 2, 3, 4)),
            b"env": Environment(b"A", b"b").encode(),
            b"exec": NS(b"ls"),
            b"subsystem": NS(b"sftp"),
            b"signal": NS(b"TERM"),
            b"break": BreakRequest(1).encode(),
            b"exit-status": u32(1),
        }
        for name, body in bodies.items():
            for length in range(len(body)):
                assert self.request(name, body[:length]) == ["FAILURE"], (name, length)
        assert self.user.commands == self.user.sizes == []
        assert self.logged() == 0

    def test_G8_modes_without_end(self) -> None:
        modes = struct.pack(">BL", 3, 1) * 50_000
        assert self.request(b"pty-req", packRequest_pty_req(b"x", (1, 2, 3, 4), modes)) == [
            "FAILURE"
        ]
        assert self.user.sizes == []

    def test_G8_sizes_beyond_the_kernels(self) -> None:
        huge = (2**32 - 1,) * 4
        assert self.request(b"pty-req", packRequest_pty_req(b"x", huge, b"")) == ["SUCCESS"]
        assert self.request(b"window-change", packRequest_window_change(huge)) == ["SUCCESS"]
        assert self.user.sizes == [(65535,) * 4] * 2

    def test_G8_environment_without_end(self) -> None:
        for number in range(10_000):
            self.request(b"env", Environment(b"V%d" % number, b"x").encode())
        assert self.user.variables == 64

    def test_G8_unknown_requests_are_refused(self) -> None:
        for name in (b"unknown", b"", b"\xff\x00", b"__init__", b"Received", b"a" * 10_000):
            assert self.request(name) == ["FAILURE"]
        assert self.logged() == 0

    def test_G8_no_signal_past_a_forced_command(self) -> None:
        class Restrictions:
            forcedCommand = b"only this"

        class Process:
            signals: list[int] = []

            def signalProcess(self, number: int) -> None:
                self.signals.append(number)

        assert self.request(b"exec", NS(b"x")) == ["SUCCESS"]
        self.session.client.transport = Process()
        assert self.request(b"signal", NS(b"KILL")) == ["SUCCESS"]
        self.connection.transport.restrictions = Restrictions()
        assert self.request(b"signal", NS(b"KILL")) == ["FAILURE"]
        assert len(Process.signals) == 1

    def test_G8_one_program_per_channel(self) -> None:
        assert self.request(b"shell") == ["SUCCESS"]
        for name in (b"shell", b"exec", b"subsystem"):
            assert self.request(name, NS(b"x")) == ["FAILURE"]
        assert self.user.commands == [b"shell"]

    def test_G8_a_session_after_no_more_sessions_ends_the_connection(self) -> None:
        self.connection.ssh_GLOBAL_REQUEST(NS(b"no-more-sessions@openssh.com") + b"\0")
        with pytest.raises(UnexpectedMessage):
            self.connection.ssh_CHANNEL_OPEN(openMessage(b"session"))

    def test_G8_unanswered_requests_are_bounded(self) -> None:
        channel = opened(self.connection)
        channel.answers = {b"late": Deferred}
        for _ in range(MAX_PENDING_REPLIES):
            self.connection.ssh_CHANNEL_REQUEST(requestMessage(1, b"late"))
        with pytest.raises(LimitExceeded):
            self.connection.ssh_CHANNEL_REQUEST(requestMessage(1, b"late"))


class TestG9GlobalRequests(LoggingTestCase):
    def test_G9_what_is_not_there_is_refused_each_time(self) -> None:
        connection = started()
        for name, data in (
            (b"unknown", b""),
            (b"tcpip-forward", TcpListen(b"", 65536).encode()),
            (b"tcpip-forward", TcpListen(b"0.0.0.0", 22).encode()),
            (b"cancel-tcpip-forward", TcpListen(b"", 1).encode()),
            (b"hostkeys-prove-00@openssh.com", NS(b"key")),
            (b"streamlocal-forward@openssh.com", NS(b"/tmp/x")),
        ):
            for _ in range(100):
                connection.packetReceived(MSG_GLOBAL_REQUEST, NS(name) + b"\1" + data)
            assert connection.transport.packets == [(MSG_REQUEST_FAILURE, b"")] * 100
            connection.transport.packets.clear()

    def test_G9_unanswered_ones_are_bounded(self) -> None:
        connection = started()
        connection.global_late = lambda data: Deferred()  # type: ignore[attr-defined]
        for _ in range(MAX_PENDING_REPLIES):
            connection.packetReceived(MSG_GLOBAL_REQUEST, NS(b"late") + b"\1")
        with pytest.raises(LimitExceeded):
            connection.packetReceived(MSG_GLOBAL_REQUEST, NS(b"late") + b"\1")
        assert (MSG_REQUEST_SUCCESS, b"") not in connection.transport.packets


class TestG11UnsolicitedChannels(LoggingTestCase):
    def test_G11_a_client_opens_nothing_that_it_did_not_ask_for(self) -> None:
        class Client(RecordingConnection, SSHConnection):
            channel_session = None  # type: ignore[assignment]

        connection = Client()
        connection.transport.isClient = True
        connection.serviceStarted()
        types = (
            b"session",
            b"forwarded-tcpip",
            b"x11",
            b"auth-agent@openssh.com",
            b"forwarded-streamlocal@openssh.com",
            b"tun@openssh.com",
        )
        for channelType in types:
            connection.ssh_CHANNEL_OPEN(openMessage(channelType))
        assert codesOfRefusals(connection) == [OPEN_ADMINISTRATIVELY_PROHIBITED] * len(types)
        assert connection.channels == {}
        self.logged()


class TestG13SenderBackPressure(LoggingTestCase):
    def test_G13_a_producer_stops_while_the_peer_reads_nothing(self) -> None:
        connection = started()
        channel = opened(connection, window=2**32 - 1)
        taken = [0]

        class FullAfter:
            """A transport that is full after 200,000 bytes, until somebody empties it."""

            room = 200_000

        def send(number: int, payload: bytes) -> None:
            taken[0] += len(payload)
            FullAfter.room -= len(payload)
            if FullAfter.room <= 0:
                connection.pauseProducing()

        connection.transport.sendPacket = send

        class Producer:
            """Writes 64 KiB whenever it may, a gigabyte if one lets it."""

            running = True
            produced = 0

            def run(self) -> None:
                while self.running and self.produced < 2**30:
                    self.produced += 65536
                    channel.write(bytes(65536))

            def pauseProducing(self) -> None:
                self.running = False

            def resumeProducing(self) -> None:
                self.running = True

            def stopProducing(self) -> None:
                self.running = False

        producer = Producer()
        channel.registerProducer(producer, True)
        for _ in range(20):
            producer.run()
            assert not producer.running
            assert channel.bufferedBytes <= 2**20
            FullAfter.room = 200_000
            connection.resumeProducing()
        assert producer.produced - channel.bufferedBytes <= taken[0]
        assert producer.produced < 20 * 2**20

    def test_G13_crumbs_of_window_do_not_make_a_heap(self) -> None:
        connection = started()
        channel = opened(connection, window=0)
        channel.startWriting = lambda: channel.write(bytes(1000))
        channel.write(bytes(1000))
        for _ in range(900):
            connection.ssh_CHANNEL_WINDOW_ADJUST(u32(0) + u32(1))
        assert channel.bufferedBytes == 100

    def test_G13_many_channels(self) -> None:
        connection = started()
        channels = [opened(connection, window=2**32 - 1) for _ in range(MAX_SESSIONS)]
        connection.pauseProducing()
        for channel in channels:
            # What one read of a child gives, before its reader can be stopped.
            channel.write(bytes(262144))
            assert channel.events[-1] == "stop"
        assert sum(channel.bufferedBytes for channel in channels) <= 4 * 2**20


class TestG14LifetimeOfIds(LoggingTestCase):
    def test_G14_many_short_channels_leave_nothing_behind(self) -> None:
        connection = started()
        for number in range(10_000):
            connection.ssh_CHANNEL_OPEN(openMessage())
            channel = connection.made.pop()
            assert channel.id == number
            connection.ssh_CHANNEL_REQUEST(requestMessage(number, b"x"))
            connection.ssh_CHANNEL_CLOSE(u32(number))
            connection.transport.packets.clear()
        for table in (
            connection.channels,
            connection.localToRemoteChannel,
            connection.channelsToRemoteChannel,
            connection._channelReplies,
            connection._closeTimers,
            connection._sessionIds,
        ):
            assert not table
        assert connection.deferreds == {"global": []}
        assert connection.transport.clock.getDelayedCalls() == []

    def test_G14_both_close_and_the_peer_reuses_its_number(self) -> None:
        connection = started()
        old = opened(connection, sender=7)
        old.loseConnection()
        connection.ssh_CHANNEL_CLOSE(u32(0))
        new = opened(connection, sender=7)
        assert (old.id, new.id) == (0, 1)
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"late"))
        connection.ssh_CHANNEL_DATA(dataMessage(1, b"new"))
        old.write(b"late")
        assert "data late" not in old.events + new.events
        assert new.events[-1] == "data new"
        assert connection.transport.sent() == []

    def test_G14_the_counter_does_not_pass_its_end(self) -> None:
        connection = started()
        connection.localChannelID = 2**32
        connection.ssh_CHANNEL_OPEN(openMessage())
        assert codesOfRefusals(connection) == [OPEN_RESOURCE_SHORTAGE]
        self.logged()


def test_G_every_message_of_the_protocol_has_a_handler() -> None:
    for name in messages.values():
        assert callable(getattr(SSHConnection, "ssh_" + name.removeprefix("MSG_")))
