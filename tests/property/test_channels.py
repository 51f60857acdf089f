"""Two connections that talk to each other: whatever happens in whatever order, nothing is lost.

The model of the window is kept here, from the messages alone: bytes granted and bytes sent.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.core.windows import MAX_PIECE
from limpet.ssh.channel import SSHChannel
from limpet.ssh.connection import SSHConnection
from limpet.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from tests.unit.ssh.doubles import Pair


class Sink(SSHChannel):
    """Gathers what it receives, pausing whenever it is told to."""

    name = b"sink"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received = {0: b"", 1: b""}
        self.ended: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        assert not self.ended
        self.received[0] += data

    def extReceived(self, dataType: int, data: bytes) -> None:
        assert not self.ended
        self.received[dataType] += data

    def eofReceived(self) -> None:
        self.ended.append("eof")

    def request_exit_status(self, data: bytes) -> int:
        self.ended.append("status")
        return 1

    def closed(self) -> None:
        self.ended.append("closed")


class Server(SSHConnection):
    """Accepts sinks of the window and the packet size that a test has chosen."""

    def __init__(self, window: int, maxPacket: int) -> None:
        super().__init__()
        self.window = window
        self.maxPacket = maxPacket
        self.sink: Any = None

    def channel_sink(self, window: int, maxPacket: int, data: bytes) -> SSHChannel:
        sink = self.sink = Sink(self.window, self.maxPacket, window, maxPacket)
        return sink


class Ledger:
    """Checks every message of a pair against what its receiver has granted before."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.seen = 0
        self.granted: dict[str, int] = defaultdict(int)
        self.largest: dict[str, int] = {}
        self.over: set[str] = set()

    def check(self) -> None:
        """Book what was delivered since the last call."""
        for who, number, payload in self.pair.log[self.seen :]:
            peer = "server" if who == "client" else "client"
            if number in (MSG_CHANNEL_OPEN, MSG_CHANNEL_OPEN_CONFIRMATION):
                self.granted[peer], self.largest[peer] = struct.unpack(">2L", payload[-8:])
            elif number == MSG_CHANNEL_WINDOW_ADJUST:
                self.granted[peer] += struct.unpack(">2L", payload)[1]
            elif number in (MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA):
                length = len(payload) - (8 if number == MSG_CHANNEL_DATA else 12)
                assert who not in self.over
                assert 0 < length <= min(self.largest[who], MAX_PIECE)
                self.granted[who] -= length
                assert self.granted[who] >= 0
            elif number in (MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE):
                assert number == MSG_CHANNEL_CLOSE or who not in self.over
                self.over.add(who)
        self.seen = len(self.pair.log)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=30)),
        st.tuples(st.just("writeExtended"), st.binary(max_size=30)),
        st.tuples(
            st.sampled_from(
                ["pauseSink", "resumeSink", "pauseTransport", "resumeTransport", "forth", "back"]
            ),
            st.just(b""),
        ),
    ),
    max_size=60,
)


def play(pair: Pair, source: Any, steps: list[tuple[str, bytes]]) -> dict[int, bytes]:
    """Do all steps; what was written, by type, comes back."""
    client, server, ledger = pair.client, pair.server, Ledger(pair)
    written = {0: b"", 1: b""}
    for step, data in steps:
        sink = server.sink  # type: ignore[attr-defined]
        match step:
            case "write":
                source.write(data)
                written[0] += data
            case "writeExtended":
                source.writeExtended(1, data)
                written[1] += data
            case "pauseSink" if sink is not None:
                sink.pauseProducing()
            case "resumeSink" if sink is not None:
                sink.resumeProducing()
            case "pauseTransport":
                client.pauseProducing()
            case "resumeTransport":
                client.resumeProducing()
            case "forth":
                pair.deliverOne(client)
            case "back":
                pair.deliverOne(server)
        ledger.check()
        if sink is not None:
            # What is under way and what arrived never exceeds what was granted.
            assert 0 <= sink.localWindowLeft <= sink.localWindowSize
    return written


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), STEPS)
def test_windows_are_kept_and_no_byte_is_lost(
    window: int, maxPacket: int, steps: list[tuple[str, bytes]]
) -> None:
    pair = Pair(SSHConnection(), Server(window, maxPacket))
    source = Sink()
    pair.client.openChannel(source)
    written = play(pair, source, steps)
    sentWhilePaused = pair.server.sink is not None and pair.server.sink.inputPaused  # type: ignore[attr-defined]
    pair.client.resumeProducing()
    pair.deliver()
    sink = pair.server.sink  # type: ignore[attr-defined]
    if sentWhilePaused:
        # A paused sink got one window at most since; the rest waits here.
        assert len(sink.received[0]) + len(sink.received[1]) + source.bufferedBytes == sum(
            len(data) for data in written.values()
        )
        sink.resumeProducing()
    pair.deliver()
    assert sink.received == written
    assert source.bufferedBytes == 0
    assert source.areWriting


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), STEPS)
def test_the_end_comes_in_order_however_small_the_window(
    window: int, maxPacket: int, steps: list[tuple[str, bytes]]
) -> None:
    pair = Pair(SSHConnection(), Server(window, maxPacket))
    source = Sink()
    pair.client.openChannel(source)
    written = play(pair, source, steps)
    pair.client.sendEOF(source)
    pair.client.sendRequest(source, b"exit-status", b"\0\0\0\0")
    source.loseConnection()
    ledger = Ledger(pair)
    pair.client.resumeProducing()
    pair.deliver()
    pair.server.sink.resumeProducing()  # type: ignore[attr-defined]
    pair.deliver()
    ledger.check()
    sink = pair.server.sink  # type: ignore[attr-defined]
    assert sink.received == written
    assert sink.ended == ["eof", "status", "closed"]
    assert source.ended == ["closed"]
    words = [word.split()[0] for word in pair.said("client")]
    assert words[-3:] == ["EOF", "REQUEST", "CLOSE"]
    for end in (pair.client, pair.server):
        assert end.channels == end.localToRemoteChannel == end.channelsToRemoteChannel == {}
    assert pair.clock.getDelayedCalls() == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5000)), min_size=1, max_size=30),
    st.integers(1, 4000),
)
def test_many_channels_share_one_connection(writes: list[tuple[int, int]], window: int) -> None:
    class ManySinks(Server):
        def __init__(self) -> None:
            super().__init__(window, 999)
            self.sinks: list[Sink] = []

        def channel_sink(self, window: int, maxPacket: int, data: bytes) -> SSHChannel:
            self.sinks.append(Sink(self.window, self.maxPacket, window, maxPacket))
            return self.sinks[-1]

    server = ManySinks()
    pair = Pair(SSHConnection(), server)
    sources = [Sink() for _ in range(4)]
    for source in sources:
        pair.client.openChannel(source)
    expected = [b""] * 4
    for index, (which, size) in enumerate(writes):
        data = bytes([index % 251]) * size
        sources[which].write(data)
        expected[which] += data
        if index % 3 == 0:
            pair.deliverOne(pair.client)
    pair.deliver()
    assert [sink.received[0] for sink in server.sinks] == expected
