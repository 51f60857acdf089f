"""`limpet.ssh.connection`: ids, requests and their answers, opening and closing."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from limpet.core.errors import LimitExceeded, UnexpectedMessage
from limpet.core.replies import MAX_PENDING_REPLIES
from limpet.error import ConchError
from limpet.ssh import connection as connectionModule
from limpet.ssh.channel import SSHChannel
from limpet.ssh.connection import MAX_LOGGED_REFUSALS, messages
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, u32
from limpet.wire.numbers import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_REQUEST_SUCCESS,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_CHANNEL_TYPE,
)
from tests.unit.ssh.doubles import (
    REMOTE,
    LoggingTestCase,
    RecordingChannel,
    RecordingConnection,
    confirmation,
    dataMessage,
    extendedMessage,
    opened,
    openMessage,
    requestMessage,
    resultOf,
    started,
)


@pytest.fixture
def connection() -> RecordingConnection:
    return started()


def refusals(connection: RecordingConnection) -> list[int]:
    """The reasons of the refused channels since the last call."""
    codes = [
        struct.unpack_from(">2L", payload)[1]
        for number, payload in connection.transport.packets
        if number == MSG_CHANNEL_OPEN_FAILURE
    ]
    connection.transport.packets.clear()
    return codes


class TestTheModule:
    def test_its_numbers_are_those_of_rfc_4254(self) -> None:
        assert set(messages) == {80, 81, 82, *range(90, 101)}
        for number, name in messages.items():
            assert getattr(connectionModule, name) == number


class TestOpeningForThePeer(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()
        self.addCleanup(self.logged)

    def test_the_confirmation_comes_before_what_the_channel_does(self) -> None:
        class Eager(RecordingChannel):
            def channelOpen(self, specificData: bytes) -> None:
                self.write(specificData)

        self.connection.toOpen.append(Eager(5, 6))
        self.connection.ssh_CHANNEL_OPEN(openMessage(extra=b"hello"))
        first, second = self.connection.transport.packets
        assert first == (91, struct.pack(">4L", REMOTE, 0, 5, 6))
        assert second == (94, u32(REMOTE) + NS(b"hello"))

    def test_a_channel_that_fails_to_open_is_confirmed_and_closed_and_no_more(self) -> None:
        class Broken(RecordingChannel):
            def channelOpen(self, specificData: bytes) -> None:
                raise RuntimeError("no")

        self.connection.toOpen.append(Broken())
        self.connection.ssh_CHANNEL_OPEN(openMessage())
        assert self.connection.transport.sent() == ["OPEN_CONFIRMATION", "CLOSE"]
        assert self.logged(RuntimeError) == 1
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert self.connection.channels == {}

    def test_reasons_of_refusals(self) -> None:
        for channelType, code in (
            (b"nonsense", OPEN_UNKNOWN_CHANNEL_TYPE),
            (b"direct-tcpip", OPEN_ADMINISTRATIVELY_PROHIBITED),
            (b"x11", OPEN_ADMINISTRATIVELY_PROHIBITED),
        ):
            self.connection.ssh_CHANNEL_OPEN(openMessage(channelType))
            assert refusals(self.connection) == [code]
        assert self.logged(ConchError) == 3

    def test_errors_of_an_application_become_a_refusal_whatever_they_hold(self) -> None:
        for error, code, words in (
            (ConchError("words", 77), 77, b"words"),
            (ConchError(b"bytes", OPEN_CONNECT_FAILED), OPEN_CONNECT_FAILED, b"bytes"),
            (ConchError(78, "words"), 78, b"words"),
            (ConchError("no code"), OPEN_CONNECT_FAILED, b"no code"),
            (ConchError("too large", 2**32), OPEN_CONNECT_FAILED, b"too large"),
            (ConchError(None, None), OPEN_CONNECT_FAILED, b"None"),
            (ValueError("secret"), OPEN_CONNECT_FAILED, b"unknown failure"),
        ):

            def refuse(*arguments: Any, error: Exception = error) -> Any:
                raise error

            self.connection.channel_recording = refuse  # type: ignore[assignment,method-assign]
            self.connection.ssh_CHANNEL_OPEN(openMessage())
            assert self.connection.transport.packets == [
                (92, struct.pack(">2L", REMOTE, code) + NS(words) + NS(b""))
            ]
            self.connection.transport.packets.clear()

    def test_refusals_fill_no_log(self) -> None:
        for _ in range(MAX_LOGGED_REFUSALS + 10):
            self.connection.ssh_CHANNEL_OPEN(openMessage(b"nonsense"))
        assert self.logged(ConchError) == MAX_LOGGED_REFUSALS

    def test_numbers_run_out(self) -> None:
        self.connection.localChannelID = 2**32 - 1
        self.connection.ssh_CHANNEL_OPEN(openMessage())
        assert self.connection.transport.sent() == ["OPEN_CONFIRMATION"]
        self.connection.ssh_CHANNEL_OPEN(openMessage())
        assert refusals(self.connection) == [OPEN_RESOURCE_SHORTAGE]
        with pytest.raises(ConchError):
            self.connection.openChannel(RecordingChannel())


class TestOpeningOurselves:
    def test_conn_is_set_with_the_confirmation(self, connection: RecordingConnection) -> None:
        channel = RecordingChannel()
        connection.openChannel(channel)
        assert channel.conn is None
        assert connection.channelsToRemoteChannel == {}
        connection.ssh_CHANNEL_OPEN_CONFIRMATION(confirmation(0, window=7, maxPacket=5))
        assert channel.conn is connection
        assert (channel.remoteWindowLeft, channel.remoteMaxPacket) == (7, 5)
        assert channel.events == ["open"]

    def test_what_is_asked_of_it_before_waits(self, connection: RecordingConnection) -> None:
        channel = RecordingChannel()
        connection.openChannel(channel)
        channel.write(b"early")
        connection.sendEOF(channel)
        assert connection.transport.sent() == ["OPEN"]
        connection.ssh_CHANNEL_OPEN_CONFIRMATION(confirmation(0))
        assert connection.transport.sent() == ["DATA early", "EOF"]
        assert channel.events[-1] == "open"

    @pytest.mark.parametrize("how", ["loseConnection", "sendClose"])
    def test_closed_before_it_was_open(self, connection: RecordingConnection, how: str) -> None:
        channel = RecordingChannel()
        connection.openChannel(channel)
        channel.write(b"early")
        if how == "sendClose":
            connection.sendClose(channel)
        else:
            channel.loseConnection()
        assert connection.transport.sent() == ["OPEN"]
        connection.ssh_CHANNEL_OPEN_CONFIRMATION(confirmation(0))
        assert connection.transport.sent() == ["DATA early", "CLOSE"]
        connection.ssh_CHANNEL_CLOSE(u32(0))
        assert channel.events == ["stop", "close", "closed"]

    def test_refused(self, connection: RecordingConnection) -> None:
        channel = RecordingChannel()
        reasons: list[Any] = []
        channel.openFailed = reasons.append  # type: ignore[assignment,method-assign]
        connection.openChannel(channel)
        connection.ssh_CHANNEL_OPEN_FAILURE(u32(0) + u32(4) + NS(b"no room") + NS(b"en"))
        (reason,) = reasons
        assert (reason.value, reason.data) == (b"no room", 4)
        assert connection.channels == {}

    def test_transport_full_meanwhile(self, connection: RecordingConnection) -> None:
        channel = RecordingChannel()
        connection.openChannel(channel)
        channel.write(b"early")
        connection.pauseProducing()
        connection.transport.sent()
        connection.ssh_CHANNEL_OPEN_CONFIRMATION(confirmation(0))
        assert connection.transport.sent() == []
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA early"]

    def test_a_request_too_early_fails(self, connection: RecordingConnection) -> None:
        channel = RecordingChannel()
        connection.openChannel(channel)
        failure = resultOf(connection.sendRequest(channel, b"shell", b"", wantReply=True))
        assert failure.check(ConchError)
        assert connection.sendRequest(channel, b"shell", b"") is None


class TestData:
    def test_credit_comes_when_half_is_used(self, connection: RecordingConnection) -> None:
        channel = opened(connection, RecordingChannel(localWindow=10))
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"12345"))
        assert connection.transport.sent() == []
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"6"))
        assert connection.transport.packets == [(93, struct.pack(">2L", REMOTE, 6))]
        assert channel.localWindowLeft == 10

    def test_a_paused_consumer_gets_one_window_and_no_more(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, RecordingChannel(localWindow=10))
        channel.pauseProducing()
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"12345678"))
        connection.ssh_CHANNEL_EXTENDED_DATA(extendedMessage(0, 1, b"90"))
        assert connection.transport.sent() == []
        assert channel.localWindowLeft == 0
        channel.resumeProducing()
        assert connection.transport.packets == [(93, struct.pack(">2L", REMOTE, 10))]
        channel.resumeProducing()
        assert len(connection.transport.packets) == 1

    def test_no_credit_is_due_after_eof(self, connection: RecordingConnection) -> None:
        channel = opened(connection, RecordingChannel(localWindow=10))
        channel.pauseProducing()
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"1234567890"))
        connection.ssh_CHANNEL_EOF(u32(0))
        channel.resumeProducing()
        assert connection.transport.sent() == []

    def test_data_arrives_as_bytes_from_any_buffer(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        connection.packetReceived(
            MSG_CHANNEL_DATA,
            memoryview(dataMessage(0, b"abc")),  # type: ignore[arg-type]
        )
        assert channel.events[-1] == "data abc"

    def test_long_data_goes_to_the_transport_without_a_copy(
        self, connection: RecordingConnection
    ) -> None:
        parts: list[Any] = []
        connection.transport.sendWithData = lambda *arguments: parts.append(arguments)
        channel = opened(connection)
        data = bytes(range(256)) * 256
        channel.write(data)
        channel.write(b"short")
        assert [bytes(part) for _, _, part in parts] == [data[:32768], data[32768:]]
        assert all(type(part) is memoryview or part is data for _, _, part in parts[:1])
        assert parts[0][:2] == (MSG_CHANNEL_DATA, struct.pack(">2L", REMOTE, 32768))
        assert connection.transport.sent() == ["DATA short"]

    def test_an_applications_own_sendData_gets_bytes(self) -> None:
        class Application(RecordingConnection):
            def sendData(self, channel: Any, data: bytes) -> None:
                assert type(data) is bytes
                super().sendData(channel, data)

        connection = Application()
        opened(connection).write(bytes(100_000))
        assert len(connection.transport.packets) == 4

    def test_a_handler_replaced_on_the_instance_is_used(
        self, connection: RecordingConnection
    ) -> None:
        seen: list[bytes] = []
        connection.ssh_CHANNEL_DATA = seen.append  # type: ignore[assignment,method-assign]
        connection.packetReceived(MSG_CHANNEL_DATA, b"x")
        assert seen == [b"x"]

    def test_after_our_close_data_still_arrives_until_theirs(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection)
        channel.loseConnection()
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"under way"))
        assert channel.events[-1] == "data under way"


class TestClosing:
    def test_a_peers_close_is_answered_at_once_and_what_waits_is_dropped(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=1)
        channel.write(b"abc")
        connection.sendEOF(channel)
        connection.transport.sent()
        connection.ssh_CHANNEL_CLOSE(u32(0))
        assert connection.transport.sent() == ["CLOSE"]
        assert channel.events[-2:] == ["close", "closed"]
        assert connection.channels == connection.localToRemoteChannel == {}
        assert connection.channelsToRemoteChannel == {}

    def test_the_base_class_answers_by_losing_its_connection(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, SSHChannel())
        connection.ssh_CHANNEL_CLOSE(u32(0))
        assert connection.transport.sent() == ["CLOSE"]
        assert channel.closing
        assert connection.channels == {}

    def test_losing_the_connection_inside_closed_is_harmless(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection)

        def closed() -> None:
            channel.loseConnection()
            connection.sendClose(channel)

        channel.closed = closed
        connection.ssh_CHANNEL_CLOSE(u32(0))
        assert connection.transport.sent() == ["CLOSE"]
        connection.channelClosed(channel)

    def test_pending_requests_fail_before_closed(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        deferred = connection.sendRequest(channel, b"x", b"", wantReply=True)
        assert deferred is not None

        def failed(failure: Failure) -> None:
            channel.events.append(failure.getErrorMessage())

        deferred.addErrback(failed)
        connection.ssh_CHANNEL_CLOSE(u32(0))
        assert "Channel closed." in channel.events[-2]
        assert channel.events[-1] == "closed"
        assert connection.deferreds == {"global": []}

    def test_maps_that_an_application_has_set_itself(self, connection: RecordingConnection) -> None:
        channel = RecordingChannel()
        connection.openChannel(channel)
        connection.localToRemoteChannel[0] = None
        connection.channelsToRemoteChannel[channel] = None
        connection.channelClosed(channel)
        assert channel.events == ["closed"]


class TestTheEnd(LoggingTestCase):
    def test_everybody_is_told_once(self) -> None:
        connection = started()
        isOpen = opened(connection)
        opening = RecordingChannel()
        connection.openChannel(opening)
        waiting = connection.sendGlobalRequest(b"x", b"", wantReply=True)
        connection.serviceStopped()
        connection.serviceStopped()
        assert isOpen.events == ["open", "closed"]
        assert opening.events == ["openFailed ConnectionLost"]
        assert resultOf(waiting).value.value == "Connection stopped."
        assert connection.channels == {}

    def test_one_channels_bug_leaves_no_other_open(self) -> None:
        connection = started()

        class Broken(RecordingChannel):
            def closed(self) -> None:
                raise RuntimeError("bug")

            def openFailed(self, reason: Any) -> None:
                raise RuntimeError("bug")

        opened(connection, Broken())
        other = opened(connection)
        connection.openChannel(Broken())
        last = RecordingChannel()
        connection.openChannel(last)
        connection.serviceStopped()
        assert other.events[-1] == "closed"
        assert last.events == ["openFailed ConnectionLost"]
        assert self.logged(RuntimeError) == 2

    def test_no_timer_is_left(self) -> None:
        connection = started()
        opened(connection).loseConnection()
        assert len(connection.transport.clock.getDelayedCalls()) == 1
        connection.serviceStopped()
        assert connection.transport.clock.getDelayedCalls() == []

    def test_what_is_asked_afterwards_fails_at_once(self) -> None:
        connection = started()
        connection.serviceStopped()
        channel = RecordingChannel()
        connection.openChannel(channel)
        assert channel.events == ["openFailed ConnectionLost"]
        request = connection.sendGlobalRequest(b"x", b"", wantReply=True)
        assert isinstance(resultOf(request), Failure)
        assert connection.sendGlobalRequest(b"x", b"") is None
        assert connection.transport.sent() == []

    def test_the_avatar_learns_of_its_connection(self) -> None:
        connection = RecordingConnection()

        class Avatar:
            conn: Any = None

        connection.transport.avatar = Avatar()
        connection.serviceStarted()
        assert connection.transport.avatar.conn is connection


class TestRequestsOfThePeer(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()
        self.channel = opened(self.connection)

    def request(self, name: bytes, wantReply: bool = True) -> Deferred[Any] | None:
        return self.connection.ssh_CHANNEL_REQUEST(requestMessage(0, name, b"", wantReply))

    def test_true_is_success_and_false_is_failure(self) -> None:
        self.channel.answers = {b"yes": 1, b"no": 0}
        for name in (b"yes", b"no", b"unknown"):
            assert resultOf(self.request(name)) is None
        assert self.connection.transport.sent() == ["SUCCESS", "FAILURE", "FAILURE"]

    def test_no_reply_is_none(self) -> None:
        self.channel.answers = {b"yes": 1}
        assert self.request(b"yes", wantReply=False) is None
        assert self.connection.transport.sent() == []
        assert self.channel.events[-1] == "request yes"

    def test_a_late_answer_keeps_its_place(self) -> None:
        late: Deferred[int] = Deferred()
        self.channel.answers = {b"late": late, b"yes": 1, b"no": 0}
        for name in (b"late", b"yes", b"no"):
            self.request(name)
        assert self.connection.transport.sent() == []
        late.callback(0)
        assert self.connection.transport.sent() == ["FAILURE", "SUCCESS", "FAILURE"]

    def test_a_late_answer_on_one_channel_delays_no_other(self) -> None:
        self.channel.answers = {b"late": Deferred()}
        other = opened(self.connection)
        other.answers = {b"yes": 1}
        self.request(b"late")
        self.connection.ssh_CHANNEL_REQUEST(requestMessage(1, b"yes"))
        assert self.connection.transport.sent() == ["SUCCESS"]

    def test_an_answer_to_a_closed_channel_is_dropped(self) -> None:
        late: Deferred[int] = Deferred()
        self.channel.answers = {b"late": late}
        deferred = self.request(b"late")
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        self.connection.transport.sent()
        late.callback(1)
        assert resultOf(deferred) is None
        assert self.connection.transport.sent() == []

    def test_a_bug_is_a_failure_and_one_line_in_the_log(self) -> None:
        def bug() -> None:
            raise RuntimeError("bug")

        self.channel.answers = {b"bug": bug}
        self.request(b"bug")
        self.request(b"bug", wantReply=False)
        assert self.connection.transport.sent() == ["FAILURE"]
        assert self.logged(RuntimeError) == 2

    def test_the_answer_comes_before_the_output_that_it_causes(self) -> None:
        def run() -> int:
            self.channel.write(b"out")
            self.channel.writeExtended(1, b"err")
            self.connection.sendEOF(self.channel)
            self.connection.sendRequest(self.channel, b"exit-status", b"\0\0\0\0")
            self.channel.loseConnection()
            return 1

        self.channel.answers = {b"exec": run}
        self.request(b"exec")
        assert self.connection.transport.sent() == [
            "SUCCESS",
            "DATA out",
            "EXTENDED_DATA err",
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]

    def test_even_a_late_one(self) -> None:
        late: Deferred[int] = Deferred()
        self.channel.answers = {b"exec": late, b"env": 1}
        self.request(b"exec")
        self.channel.write(b"out")
        self.request(b"env")
        assert self.connection.transport.sent() == []
        late.callback(1)
        assert self.connection.transport.sent() == ["SUCCESS", "SUCCESS", "DATA out"]

    def test_without_a_reply_nothing_is_held(self) -> None:
        self.channel.answers = {b"exec": lambda: self.channel.write(b"out")}
        self.request(b"exec", wantReply=False)
        assert self.connection.transport.sent() == ["DATA out"]

    def test_too_many_unanswered(self) -> None:
        self.channel.answers = {b"late": Deferred}
        for _ in range(MAX_PENDING_REPLIES):
            self.request(b"late")
        with pytest.raises(LimitExceeded):
            self.request(b"late")

    def test_an_application_that_answers_by_itself(self) -> None:
        # As Cowrie does in its own ssh_CHANNEL_REQUEST: without a ticket.
        self.connection._cbChannelRequest(1, 0)
        self.connection._cbChannelRequest(0, 0)
        self.connection._ebChannelRequest(Failure(RuntimeError("bug")), 0)
        assert self.connection.transport.sent() == ["SUCCESS", "FAILURE", "FAILURE"]
        assert self.logged(RuntimeError) == 1


class TestOurRequests:
    def test_answers_go_to_the_oldest(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        first = connection.sendRequest(channel, b"a", b"", wantReply=True)
        second = connection.sendRequest(channel, b"b", b"", wantReply=True)
        connection.ssh_CHANNEL_SUCCESS(u32(0))
        assert resultOf(first) == ""
        assert resultOf(second) == "nothing yet"
        connection.ssh_CHANNEL_FAILURE(u32(0))
        assert second is not None
        # `resultOf` had taken it over already.
        assert connection.deferreds[0] == []

    def test_the_failure(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        deferred = connection.sendRequest(channel, b"a", b"", wantReply=True)
        connection.ssh_CHANNEL_FAILURE(u32(0))
        assert resultOf(deferred).value.value == "channel request failed"

    def test_global_ones(self, connection: RecordingConnection) -> None:
        first = connection.sendGlobalRequest(b"a", b"", wantReply=True)
        second = connection.sendGlobalRequest(b"b", b"", wantReply=True)
        connection.ssh_REQUEST_SUCCESS(b"port")
        connection.ssh_REQUEST_FAILURE(b"")
        assert resultOf(first) == b"port"
        assert resultOf(second).value.value == "global request failed"


class TestGlobalRequests(LoggingTestCase):
    def setUp(self) -> None:
        self.connection = started()

    def request(self, name: bytes, wantReply: bool = True, data: bytes = b"") -> None:
        flag = b"\1" if wantReply else b"\0"
        self.connection.ssh_GLOBAL_REQUEST(NS(name) + flag + data)

    def test_a_late_answer_keeps_its_place(self) -> None:
        late: Deferred[Any] = Deferred()
        self.connection.global_late = lambda data: late  # type: ignore[attr-defined]
        self.connection.global_now = lambda data: (1, b"now")  # type: ignore[attr-defined]
        self.request(b"late")
        self.request(b"now")
        assert self.connection.transport.sent() == []
        late.callback([True, b"late"])
        assert self.connection.transport.packets == [
            (MSG_REQUEST_SUCCESS, b"late"),
            (MSG_REQUEST_SUCCESS, b"now"),
        ]

    def test_an_answer_after_the_end_is_dropped(self) -> None:
        late: Deferred[Any] = Deferred()
        self.connection.global_late = lambda data: late  # type: ignore[attr-defined]
        self.request(b"late")
        self.connection.serviceStopped()
        late.callback(1)
        assert self.connection.transport.sent() == []

    def test_a_bug_is_a_failure_and_one_line_in_the_log(self) -> None:
        def bug(data: bytes) -> None:
            raise RuntimeError("bug")

        self.connection.global_bug = bug  # type: ignore[attr-defined]
        self.request(b"bug")
        assert self.connection.transport.sent() == ["REQUEST_FAILURE"]
        assert self.logged(RuntimeError) == 1

    def test_a_body_that_does_not_parse_is_a_failure_without_a_log(self) -> None:
        def parse(data: bytes) -> None:
            raise WireError("truncated")

        self.connection.global_parse = parse  # type: ignore[attr-defined]
        self.request(b"parse")
        assert self.connection.transport.sent() == ["REQUEST_FAILURE"]

    def test_keepalive_and_host_keys_are_refused(self) -> None:
        for name in (
            b"keepalive@openssh.com",
            b"hostkeys-00@openssh.com",
            b"hostkeys-prove-00@openssh.com",
            b"tcpip-forward",
            b"\xff\xfe",
            b"",
        ):
            self.request(name)
            self.request(name, wantReply=False)
            assert self.connection.transport.sent() == ["REQUEST_FAILURE"]

    def test_no_more_sessions_is_believed_of_clients_only(self) -> None:
        self.connection.transport.isClient = True
        self.request(b"no-more-sessions@openssh.com")
        assert self.connection.transport.sent() == ["REQUEST_FAILURE"]
        assert not self.connection.noMoreSessions

    def test_no_more_sessions(self) -> None:
        self.request(b"no-more-sessions@openssh.com", wantReply=False)
        assert self.connection.transport.sent() == []
        self.connection.ssh_CHANNEL_OPEN(openMessage(b"recording"))
        with pytest.raises(UnexpectedMessage):
            self.connection.ssh_CHANNEL_OPEN(openMessage(b"session"))


class TestViews:
    def test_an_applications_own_handler_of_data_is_given_bytes(self) -> None:
        class OwnHandler(RecordingConnection):
            def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
                super().ssh_CHANNEL_DATA(packet)

        class OwnDispatch(RecordingConnection):
            def packetReceived(self, messageNum: int, packet: bytes) -> Any:
                return super().packetReceived(messageNum, packet)

        assert RecordingConnection.viewedMessage == MSG_CHANNEL_DATA
        assert OwnHandler.viewedMessage == OwnDispatch.viewedMessage == -1
