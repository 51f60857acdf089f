"""Any messages in any order: nothing but violations is raised, and the tables stay whole."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from limpet.core.errors import ProtocolViolation
from limpet.ssh.connection import messages
from limpet.ssh.session import SSHSession
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, u32
from tests.unit.ssh.doubles import (
    RecordingChannel,
    RecordingConnection,
    confirmation,
    dataMessage,
    extendedMessage,
    openMessage,
    requestMessage,
)

NUMBERS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 2**32 - 1])
REQUESTS = st.sampled_from([b"yes", b"no", b"late", b"pty-req", b"exec", b"signal", b"env"])
SIZES = st.sampled_from([0, 1, 5, 50, 2**32 - 1])

WELL_FORMED = st.one_of(
    st.builds(
        lambda kind, window, largest: (90, openMessage(kind, 7, window, largest)),
        st.sampled_from([b"recording", b"session", b"nonsense", b"x11"]),
        SIZES,
        SIZES,
    ),
    st.builds(lambda number, window: (91, confirmation(number, window)), NUMBERS, SIZES),
    st.builds(lambda number: (92, u32(number) + u32(1) + NS(b"no") + NS(b"")), NUMBERS),
    st.builds(lambda number, size: (93, struct.pack(">2L", number, size)), NUMBERS, SIZES),
    st.builds(lambda number, data: (94, dataMessage(number, data)), NUMBERS, st.binary()),
    st.builds(lambda number, data: (95, extendedMessage(number, 1, data)), NUMBERS, st.binary()),
    st.builds(
        lambda kind, number: (kind, u32(number)), st.sampled_from([96, 97, 99, 100]), NUMBERS
    ),
    st.builds(
        lambda number, name, data, wanted: (98, requestMessage(number, name, data, wanted)),
        NUMBERS,
        REQUESTS,
        st.one_of(st.binary(), st.binary().map(NS)),
        st.booleans(),
    ),
    st.builds(
        lambda name, wanted: (80, NS(name) + (b"\1" if wanted else b"\0")),
        st.sampled_from([b"keepalive@openssh.com", b"no-more-sessions@openssh.com"]),
        st.booleans(),
    ),
    st.sampled_from([(81, b""), (82, b"")]),
)
MALFORMED = st.tuples(st.sampled_from(sorted(messages)), st.binary(max_size=60))
ACTIONS = st.sampled_from(["open", "write", "eof", "lose", "pause", "resume", "answer", "ask"])
STEPS = st.lists(
    st.one_of(WELL_FORMED, WELL_FORMED, ACTIONS, WELL_FORMED.map(lambda m: (m[0], m[1][:-1]))),
    max_size=50,
)


class Connection(RecordingConnection):
    """Gives out channels that answer to requests in every way, and sessions that refuse all."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Deferred[Any]] = []
        self.all: list[RecordingChannel] = []

    def makeChannel(self) -> RecordingChannel:
        channel = RecordingChannel(localWindow=100, localMaxPacket=60)
        channel.answers = {b"yes": 1, b"late": self.answerLater}
        self.all.append(channel)
        return channel

    def answerLater(self) -> Deferred[Any]:
        self.late.append(Deferred())
        return self.late[-1]

    def channel_recording(self, window: int, maxPacket: int, data: bytes) -> Any:
        channel = self.makeChannel()
        channel.remoteWindowLeft, channel.remoteMaxPacket = window, maxPacket
        return channel

    def channel_session(self, window: int, maxPacket: int, data: bytes) -> Any:
        return SSHSession(remoteWindow=window, remoteMaxPacket=maxPacket, avatar=NoSessions())


class NoSessions:
    """An avatar without sessions and subsystems."""

    def __conform__(self, interface: Any) -> Any:
        raise WireError("quietly refused")


def act(connection: Connection, action: str) -> None:
    """Do something that an application may do."""
    for channel in connection.all[:2]:
        match action:
            case "write":
                channel.write(bytes(70))
                channel.writeExtended(1, bytes(3))
            case "eof" if channel.id is not None:
                connection.sendEOF(channel)
            case "lose":
                channel.loseConnection()
            case "ask" if channel.conn is not None:
                request = connection.sendRequest(channel, b"x", b"", wantReply=True)
                if request is not None:
                    request.addErrback(lambda _: None)
    match action:
        case "open":
            connection.openChannel(connection.makeChannel())
        case "pause":
            connection.pauseProducing()
        case "resume":
            connection.resumeProducing()
        case "answer" if connection.late:
            connection.late.pop().callback(1)


def checkTables(connection: Connection) -> None:
    """The tables agree with each other, and no channel is heard of after its end."""
    open_ = connection.localToRemoteChannel
    assert set(open_) <= set(connection.channels)
    assert {channel.id for channel in connection.channelsToRemoteChannel} == set(open_)
    assert connection._sessionIds <= set(open_)
    assert set(connection._channelReplies) <= set(open_)
    for channel in connection.all:
        assert "closed" not in channel.events[:-1]
        assert channel.events.count("eof") <= 1
        assert 0 <= channel.localWindowLeft <= channel.localWindowSize
        assert 0 <= channel.remoteWindowLeft <= 2**32 - 1


def checkSent(connection: Connection) -> None:
    """Nothing follows a CLOSE, no data follows an EOF, on any channel of ours."""
    closes = [payload for number, payload in connection.transport.packets if number == 97]
    opens = [1 for number, _ in connection.transport.packets if number in (90, 91)]
    assert len(closes) <= len(opens)


def feed(connection: Connection, steps: list[Any]) -> None:
    for step in steps:
        if isinstance(step, str):
            act(connection, step)
        else:
            try:
                connection.packetReceived(*step)
            except (ProtocolViolation, WireError):
                break
        checkTables(connection)
    checkSent(connection)
    connection.serviceStopped()
    checkTables(connection)
    assert connection.channels == {}
    assert connection.deferreds == {"global": []}
    assert connection.transport.clock.getDelayedCalls() == []
    for deferred in connection.late:
        deferred.callback(1)
    for channel in connection.all:
        assert channel.bufferedBytes == 0 or channel.conn is None


@settings(deadline=None, max_examples=300)
@given(STEPS)
def test_well_formed_messages_in_any_order(steps: list[Any]) -> None:
    feed(Connection(), ["open", *steps])


@settings(deadline=None, max_examples=300)
@given(st.lists(MALFORMED, max_size=5))
def test_any_bytes_at_all(packets: list[tuple[int, bytes]]) -> None:
    for messageNum, payload in packets:
        connection = Connection()
        connection.ssh_CHANNEL_OPEN(openMessage())
        feed(connection, [(messageNum, payload)])
