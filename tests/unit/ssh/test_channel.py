"""`limpet.ssh.channel`: what waits, for what, and in which order it goes out."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from limpet.core.windows import MAX_PIECE
from limpet.error import ConchError
from limpet.ssh.channel import HOLD_REPLY, HOLD_TRANSPORT, SSHChannel, _methodFor
from tests.unit.ssh.doubles import RecordingChannel, RecordingConnection, opened, started


@pytest.fixture
def connection() -> RecordingConnection:
    return started()


class PushProducer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_what_is_logged_of_a_channel_keeps_it_in_no_memory() -> None:
    """Twisted keeps the last 65,536 events of a program that has not begun to log."""
    events: list[dict[str, Any]] = []
    keep: Any = events.append
    channel = SSHChannel()
    name: Any = "text"
    channel.name = name
    reason = ConchError("no")
    globalLogPublisher.addObserver(keep)
    try:
        channel.channelOpen(b"")
        channel.openFailed(reason)
        channel.eofReceived()
        channel.closed()
    finally:
        globalLogPublisher.removeObserver(keep)
    assert [formatEvent(event) for event in events] == [
        "channel <SSHChannel text (lw 131072 rw 0)> open",
        f"channel <SSHChannel text (lw 131072 rw 0)> not opened: {reason!r}",
        "channel <SSHChannel text (lw 131072 rw 0)>: end of input",
        "channel <SSHChannel text (lw 131072 rw 0)> closed",
    ]
    assert not any(kept is channel or kept is reason for e in events for kept in e.values())


class TestWriting:
    def test_it_is_a_transport_a_consumer_and_a_producer(self) -> None:
        channel = SSHChannel()
        assert verifyObject(ITransport, channel)
        assert verifyObject(IConsumer, channel)
        assert verifyObject(IPushProducer, channel)

    def test_within_the_window_each_write_is_one_message_at_once(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection)
        for data in (b"a", b"b", b"c"):
            channel.write(data)
        assert connection.transport.sent() == ["DATA a", "DATA b", "DATA c"]
        assert channel.events == ["open"]

    def test_nothing_is_no_message(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=0)
        channel.write(b"")
        channel.writeExtended(1, b"")
        assert connection.transport.sent() == []
        assert channel.events == ["open"]

    def test_a_long_write_goes_in_pieces_the_peer_takes(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, maxPacket=3)
        channel.write(b"abcdefgh")
        assert connection.transport.sent() == ["DATA abc", "DATA def", "DATA gh"]

    def test_and_never_larger_than_ours(self, connection: RecordingConnection) -> None:
        channel = opened(connection, maxPacket=2**32 - 1)
        channel.write(bytes(2 * MAX_PIECE + 1))
        assert [len(payload) - 8 for _, payload in connection.transport.packets] == [
            MAX_PIECE,
            MAX_PIECE,
            1,
        ]

    def test_the_owner_may_reuse_what_it_wrote(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=2)
        mutable = bytearray(b"abcd")
        channel.write(memoryview(mutable))
        mutable[:] = b"zzzz"
        channel.addWindowBytes(10)
        assert connection.transport.sent() == ["DATA ab", "DATA cd"]

    def test_beyond_the_window_it_waits_merged(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=2)
        for data in (b"abc", b"d", b"e"):
            channel.write(data)
        assert connection.transport.sent() == ["DATA ab"]
        assert channel.buf == b"cde"
        assert channel.events == ["open", "stop"]
        channel.addWindowBytes(10)
        assert connection.transport.sent() == ["DATA cde"]
        assert channel.events == ["open", "stop", "start"]
        assert channel.remoteWindowLeft == 7

    def test_writing_may_go_on_only_when_all_that_waits_fits(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=0)
        channel.write(b"abc")
        channel.addWindowBytes(2)
        assert connection.transport.sent() == ["DATA ab"]
        assert channel.events == ["open", "stop"]
        channel.addWindowBytes(1)
        assert channel.events == ["open", "stop", "start"]

    def test_what_is_written_when_it_may_go_on_comes_after_what_waited(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=0)
        channel.write(b"first")
        channel.startWriting = lambda: channel.write(b" second" * 2)
        channel.addWindowBytes(12)
        assert connection.transport.sent() == ["DATA first second"]
        assert channel.buf == b" second"
        assert not channel.areWriting

    def test_what_is_written_from_within_a_send_comes_after_it(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, maxPacket=2)
        send = connection.sendData

        def sendAndWrite(target: Any, data: bytes) -> None:
            send(target, data)
            if data == b"ab":
                channel.write(b"ef")

        connection.sendData = sendAndWrite  # type: ignore[assignment,method-assign]
        channel.write(b"abcd")
        assert connection.transport.sent() == ["DATA ab", "DATA cd", "DATA ef"]

    def test_extended_data_keeps_the_order_of_its_types(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=0)
        for dataType, data in ((1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")):
            channel.writeExtended(dataType, data)
        assert channel.extBuf == [[1, b"ab"], [2, b"c"], [1, b"d"]]
        channel.addWindowBytes(3)
        assert connection.transport.sent() == ["EXTENDED_DATA ab", "EXTENDED_DATA c"]
        channel.addWindowBytes(3)
        assert connection.transport.sent() == ["EXTENDED_DATA d"]

    def test_a_peer_that_takes_no_bytes_at_all_hangs_nobody(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection)
        channel.remoteMaxPacket = 0
        channel.write(b"data")
        channel.writeExtended(1, b"data")
        channel.addWindowBytes(10)
        assert connection.transport.sent() == []
        channel.loseConnection()
        assert connection.transport.sent() == ["CLOSE"]

    def test_buffers_can_be_assigned(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=0)
        channel.buf = b"abc"
        channel.extBuf = [[1, b"d"]]
        channel.addWindowBytes(10)
        assert connection.transport.sent() == ["DATA abc", "EXTENDED_DATA d"]
        assert (channel.buf, channel.extBuf) == (b"", [])


class TestOrderOfTheEnd:
    def test_eof_waits_for_data(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=4)
        channel.write(b"abcdefgh")
        connection.sendEOF(channel)
        assert connection.transport.sent() == ["DATA abcd"]
        channel.addWindowBytes(4)
        assert connection.transport.sent() == ["DATA efgh", "EOF"]

    def test_eof_waits_for_extended_data_too(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=0)
        channel.writeExtended(1, b"oops")
        connection.sendEOF(channel)
        channel.addWindowBytes(4)
        assert connection.transport.sent() == ["EXTENDED_DATA oops", "EOF"]

    def test_one_eof_and_no_data_behind_it(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        connection.sendEOF(channel)
        connection.sendEOF(channel)
        channel.write(b"late")
        channel.writeExtended(1, b"late")
        assert connection.transport.sent() == ["EOF"]
        assert channel.bufferedBytes == 0

    def test_data_eof_status_close_in_the_smallest_window(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=0)
        channel.write(b"out")
        channel.writeExtended(1, b"err")
        connection.sendEOF(channel)
        connection.sendRequest(channel, b"exit-status", b"\0\0\0\7")
        channel.loseConnection()
        said = []
        for _ in range(6):
            assert not channel.localClosed
            channel.addWindowBytes(1)
            said += connection.transport.sent()
        assert said == [
            *(f"DATA {c}" for c in "out"),
            *(f"EXTENDED_DATA {c}" for c in "err"),
            "EOF",
            "REQUEST exit-status",
            "CLOSE",
        ]

    def test_other_requests_do_not_wait(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=0)
        channel.write(b"data")
        connection.sendRequest(channel, b"window-change", b"")
        assert connection.transport.sent() == ["REQUEST window-change"]

    def test_close_waits_for_both_buffers(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=0)
        channel.write(b"data")
        channel.writeExtended(1, b"datadata")
        channel.loseConnection()
        channel.loseConnection()
        channel.addWindowBytes(4)
        assert "CLOSE" not in connection.transport.sent()
        channel.addWindowBytes(8)
        assert connection.transport.sent() == ["EXTENDED_DATA datadata", "CLOSE"]
        assert "start" not in channel.events

    def test_sendClose_loses_nothing_either(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=1)
        channel.write(b"ab")
        connection.sendClose(channel)
        assert connection.transport.sent() == ["DATA a"]
        channel.addWindowBytes(1)
        assert connection.transport.sent() == ["DATA b", "CLOSE"]

    def test_abort_does_not_wait(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=1)
        channel.write(b"ab")
        connection.sendEOF(channel)
        channel.abortConnection()
        assert connection.transport.sent() == ["DATA a", "CLOSE"]
        channel.addWindowBytes(100)
        assert connection.transport.sent() == []

    def test_nothing_follows_close(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        channel.loseConnection()
        assert connection.transport.sent() == ["CLOSE"]
        channel.write(b"late")
        channel.writeExtended(1, b"late")
        connection.sendEOF(channel)
        connection.sendData(channel, b"late")
        connection.sendExtendedData(channel, 1, b"late")
        connection.sendRequest(channel, b"exit-status", b"")
        connection.adjustWindow(channel, 1)
        channel.loseConnection()
        channel.abortConnection()
        assert connection.transport.sent() == []
        assert channel.bufferedBytes == 0


class TestHoldingOutput:
    def test_while_the_transport_is_full_data_waits(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        connection.pauseProducing()
        channel.write(b"abc")
        channel.writeExtended(1, b"def")
        assert connection.transport.sent() == []
        assert channel.events == ["open", "stop", "stop"]
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA abc", "EXTENDED_DATA def"]
        assert channel.events[-1] == "start"
        assert channel.areWriting

    def test_a_channel_without_data_does_not_notice(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        connection.pauseProducing()
        connection.resumeProducing()
        assert channel.events == ["open"]

    def test_window_that_comes_meanwhile_is_used_afterwards(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=0)
        channel.write(b"abc")
        connection.pauseProducing()
        channel.addWindowBytes(3)
        assert connection.transport.sent() == []
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA abc"]

    def test_transport_free_but_window_closed(self, connection: RecordingConnection) -> None:
        channel = opened(connection, window=1)
        connection.pauseProducing()
        channel.write(b"abc")
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA a"]
        assert not channel.areWriting
        channel.addWindowBytes(2)
        assert connection.transport.sent() == ["DATA bc"]
        assert channel.areWriting

    def test_eof_and_close_wait_only_where_data_does(self, connection: RecordingConnection) -> None:
        idle, busy = opened(connection), opened(connection)
        connection.pauseProducing()
        busy.write(b"abc")
        for channel in (idle, busy):
            connection.sendEOF(channel)
            channel.loseConnection()
        assert connection.transport.sent() == ["EOF", "CLOSE"]
        assert idle.localClosed
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA abc", "EOF", "CLOSE"]

    def test_a_channel_that_opens_meanwhile_waits_too(
        self, connection: RecordingConnection
    ) -> None:
        connection.pauseProducing()
        channel = opened(connection)
        channel.write(b"abc")
        assert connection.transport.sent() == []
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA abc"]

    def test_a_transport_that_fills_in_the_middle_stops_the_write(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, maxPacket=2)
        send = connection.transport.sendPacket

        def sendAndFill(number: int, payload: bytes) -> None:
            send(number, payload)
            connection.pauseProducing()

        connection.transport.sendPacket = sendAndFill
        channel.write(b"abcdef")
        assert connection.transport.sent() == ["DATA ab"]
        assert channel.events == ["open", "stop"]
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA cd"]
        assert channel.events[-1] == "stop"
        connection.resumeProducing()
        assert connection.transport.sent() == ["DATA ef"]

    def test_or_the_write_of_extended_data(self, connection: RecordingConnection) -> None:
        channel = opened(connection, maxPacket=2)
        send = connection.transport.sendPacket

        def sendAndFill(number: int, payload: bytes) -> None:
            send(number, payload)
            connection.pauseProducing()

        connection.transport.sendPacket = sendAndFill
        channel.writeExtended(1, b"abcd")
        assert connection.transport.sent() == ["EXTENDED_DATA ab"]
        assert channel.events == ["open", "stop"]
        connection.resumeProducing()
        assert connection.transport.sent() == ["EXTENDED_DATA cd"]

    def test_channels_take_turns_on_a_transport_that_fills_at_once(
        self, connection: RecordingConnection
    ) -> None:
        channels = [opened(connection, maxPacket=1) for _ in range(3)]
        connection.pauseProducing()
        for name, channel in zip(b"abc", channels, strict=True):
            channel.write(bytes([name]) * 3)
        send = connection.transport.sendPacket

        def sendAndFill(number: int, payload: bytes) -> None:
            send(number, payload)
            connection.pauseProducing()

        connection.transport.sendPacket = sendAndFill
        said = ""
        for _ in range(9):
            connection.resumeProducing()
            said += "".join(word[-1] for word in connection.transport.sent())
        assert said == "abcabcabc"

    def test_two_reasons_are_two_reasons(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        channel.holdOutput(HOLD_REPLY)
        channel.holdOutput(HOLD_TRANSPORT)
        channel.write(b"abc")
        channel.releaseOutput(HOLD_TRANSPORT)
        assert connection.transport.sent() == []
        channel.releaseOutput(HOLD_REPLY)
        assert connection.transport.sent() == ["DATA abc"]

    def test_while_an_answer_is_due_even_a_close_waits(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection)
        channel.holdOutput(HOLD_REPLY)
        connection.sendEOF(channel)
        channel.loseConnection()
        assert connection.transport.sent() == []
        channel.holdOutput(HOLD_TRANSPORT)
        channel.releaseOutput(HOLD_REPLY)
        assert connection.transport.sent() == ["EOF", "CLOSE"]


class TestProducerOfOutput:
    def test_it_is_paused_while_output_waits(self, connection: RecordingConnection) -> None:
        channel, producer = opened(connection, window=2), PushProducer()
        channel.registerProducer(producer, True)
        channel.write(b"ab")
        assert producer.calls == []
        channel.write(b"c")
        channel.write(b"d")
        assert producer.calls == ["pause"]
        channel.addWindowBytes(1)
        assert producer.calls == ["pause"]
        channel.addWindowBytes(1)
        assert producer.calls == ["pause", "resume"]

    def test_it_is_paused_at_once_where_output_waits_already(
        self, connection: RecordingConnection
    ) -> None:
        channel, producer = opened(connection, window=0), PushProducer()
        channel.write(b"a")
        channel.registerProducer(producer, True)
        assert producer.calls == ["pause"]

    def test_a_transport_that_is_full_pauses_it(self, connection: RecordingConnection) -> None:
        channel, producer = opened(connection), PushProducer()
        channel.registerProducer(producer, True)
        connection.pauseProducing()
        channel.write(b"a")
        connection.resumeProducing()
        assert producer.calls == ["pause", "resume"]

    def test_there_is_one(self, connection: RecordingConnection) -> None:
        channel = opened(connection)
        channel.registerProducer(PushProducer(), True)
        with pytest.raises(RuntimeError):
            channel.registerProducer(PushProducer(), True)
        channel.unregisterProducer()
        channel.registerProducer(PushProducer(), True)

    def test_it_is_stopped_when_the_channel_closes(self, connection: RecordingConnection) -> None:
        channel, producer = opened(connection), PushProducer()
        channel.registerProducer(producer, True)
        connection.serviceStopped()
        assert producer.calls == ["stop"]
        late = PushProducer()
        channel.registerProducer(late, True)
        assert late.calls == ["stop"]

    def test_one_that_has_to_be_asked_is_asked_by_the_clock_while_the_window_lasts(
        self, connection: RecordingConnection
    ) -> None:
        channel = opened(connection, window=3)
        written = []

        class Puller(PushProducer):
            def resumeProducing(self) -> None:
                written.append(b"x")
                channel.write(b"x")

        channel.registerProducer(Puller(), False)
        assert written == []
        clock = connection.transport.clock
        clock.advance(0)
        # The fourth waits, and with it the fifth.
        assert len(written) == 4
        assert not clock.getDelayedCalls()
        channel.addWindowBytes(2)
        clock.advance(0)
        assert len(written) == 6
        channel.addWindowBytes(2)
        channel.unregisterProducer()
        clock.advance(0)
        assert len(written) == 6
        assert not clock.getDelayedCalls()


class TestConsumerOfInput:
    def test_stopProducing_lets_the_peer_go_on(self, connection: RecordingConnection) -> None:
        channel = opened(connection, RecordingChannel(localWindow=10))
        channel.pauseProducing()
        channel.localWindowLeft = 0
        channel.stopProducing()
        assert connection.transport.sent() == ["WINDOW_ADJUST"]
        assert channel.localWindowLeft == 10
        assert not channel.localClosed

    def test_resuming_without_a_connection(self) -> None:
        channel = SSHChannel()
        channel.pauseProducing()
        channel.localWindowLeft = 0
        channel.resumeProducing()
        assert not channel.inputPaused


class TestNames:
    def test_without_a_connection_or_a_name(self) -> None:
        assert SSHChannel().logPrefix() == "SSHChannel None (unknown) on no connection"

    def test_a_name_that_is_not_text(self) -> None:
        channel = SSHChannel()
        channel.name = b"\xff"
        assert str(channel) == "<SSHChannel \\xff (lw 131072 rw 0)>"
        assert "\\xff" in channel.logPrefix()

    def test_the_methods_to_override_do_nothing_much(self) -> None:
        channel = SSHChannel()
        channel.channelOpen(b"")
        channel.openFailed(None)
        channel.dataReceived(b"x")
        channel.extReceived(1, b"x")
        channel.eofReceived()
        channel.closed()
        assert channel.requestReceived(b"\xff-unknown", b"") == 0

    def test_V5_names_that_a_peer_makes_up_are_not_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "intern", pytest.fail)
        channel = SSHChannel()
        for number in range(1000):
            assert channel.requestReceived(b"made-up-%d" % number, b"") == 0
        assert channel.requestReceived(b"x" * 100_000, b"") == 0
        kept = _methodFor.cache_info()
        assert kept.currsize <= 64
        assert _methodFor(b"exit-status") is _methodFor(b"exit-status")
