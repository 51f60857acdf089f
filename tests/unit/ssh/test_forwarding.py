"""Forwarding's channels under Conch's names, and the ways in which applications use them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from limpet.avatar import ConchUser
from limpet.error import ConchError
from limpet.ssh import forwarding
from limpet.ssh.forwarding.channels import FORWARDING_MAX_PACKET, FORWARDING_WINDOW, wordsFor
from limpet.ssh.forwarding.streams import StreamChannel
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.numbers import (
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
)
from tests.unit.ssh.doubles import (
    LoggingTestCase,
    RecordingConnection,
    confirmation,
    dataMessage,
    opened,
    openMessage,
    started,
)

DIRECT = NS(b"example.org") + u32(80) + NS(b"192.0.2.1") + u32(4000)


class TestMessages:
    def test_they_are_packed_and_unpacked(self) -> None:
        packed = forwarding.packOpen_direct_tcpip(("example.org", 80), (b"192.0.2.1", 4000))
        assert packed == DIRECT
        expected = (("example.org", 80), ("192.0.2.1", 4000))
        assert forwarding.unpackOpen_direct_tcpip(packed) == expected
        assert forwarding.unpackOpen_forwarded_tcpip(packed) == expected
        assert forwarding.packOpen_forwarded_tcpip is forwarding.packOpen_direct_tcpip
        request = forwarding.packGlobal_tcpip_forward(("", 8080))
        assert request == NS(b"") + u32(8080)
        assert forwarding.unpackGlobal_tcpip_forward(request) == ("", 8080)

    def test_bytes_that_are_no_text_come_back(self) -> None:
        (host, _), _ = forwarding.unpackOpen_direct_tcpip(NS(b"\xff") + u32(1) + NS(b"") + u32(0))
        assert forwarding.packOpen_direct_tcpip((host, 1), ("", 0))[:5] == NS(b"\xff")

    @pytest.mark.parametrize("data", [b"", DIRECT[:-1], DIRECT + b"x"])
    def test_what_is_none(self, data: bytes) -> None:
        with pytest.raises(WireError):
            forwarding.unpackOpen_direct_tcpip(data)


class Connecting(forwarding.SSHConnectForwardingChannel):
    """One whose connections go to a reactor in memory."""

    def __init__(self, reactor: Any, *args: Any, **kw: Any) -> None:
        super().__init__(("127.0.0.1", 80), *args, **kw)
        self._reactor = reactor


def connect(reactor: MemoryReactorClock) -> StringTransport:
    """Answer the connection that was begun last."""
    _, _, factory, _, _ = reactor.tcpClients.pop()
    protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 80))
    transport = StringTransport()
    protocol.makeConnection(transport)
    return transport


def refuse(reactor: MemoryReactorClock) -> None:
    """Fail the connection that was begun last."""
    _, _, factory, _, _ = reactor.tcpClients.pop()
    connector: Any = None
    factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError(111)))
    reactor.advance(1)


def numbers(connection: RecordingConnection) -> list[int]:
    return [number for number, _ in connection.transport.packets]


class TestConnectingFirst(LoggingTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.connection = started()
        self.channel = Connecting(self.reactor)
        self.connection.toOpen.append(self.channel)
        self.connection.ssh_CHANNEL_OPEN(openMessage(extra=DIRECT))

    def test_the_open_is_confirmed_when_it_is_connected(self) -> None:
        assert numbers(self.connection) == []
        assert self.channel.id is None
        transport = connect(self.reactor)
        assert numbers(self.connection) == [MSG_CHANNEL_OPEN_CONFIRMATION]
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"hello"))
        assert transport.value() == b"hello"
        self.channel.client.dataReceived(b"world")
        self.connection.transport.packets.pop(0)
        assert self.connection.transport.sent() == ["DATA world"]

    def test_it_is_refused_with_what_went_wrong(self) -> None:
        refuse(self.reactor)
        ((number, payload),) = self.connection.transport.packets
        assert number == MSG_CHANNEL_OPEN_FAILURE
        reader = Reader(payload)
        reader.u32()
        assert (reader.u32(), reader.string()) == (2, b"Connection refused")
        assert self.connection.localChannelID == 0
        assert self.logged(ConchError) == 1

    def test_it_is_given_up_with_the_connection(self) -> None:
        self.connection.serviceStopped()
        assert numbers(self.connection) == []
        assert self.connection._incoming == {}

    def test_it_is_closed_when_both_directions_have_ended(self) -> None:
        transport = connect(self.reactor)
        self.connection.ssh_CHANNEL_EOF(u32(0))
        self.channel.client.readConnectionLost()
        assert transport.disconnecting
        self.channel.client.connectionLost()
        self.connection.transport.packets.pop(0)
        assert self.connection.transport.sent() == ["EOF", "CLOSE"]

    def test_an_application_may_say_where(self) -> None:
        class Own(Connecting):
            def connectOut(self, protocol: Any) -> Any:
                raise ConchError("not today", 4)

        self.connection.toOpen.append(Own(self.reactor))
        self.connection.ssh_CHANNEL_OPEN(openMessage(extra=DIRECT))
        assert numbers(self.connection) == [MSG_CHANNEL_OPEN_FAILURE]
        assert self.logged(ConchError) == 1


class Redirected(Connecting):
    """As Cowrie's: it begins with a header of its own, and looks at what comes back."""

    def channelOpen(self, specificData: bytes) -> None:
        forwarding.SSHConnectForwardingChannel.channelOpen(self, specificData)
        self.dataReceived(b"HEADER ")

    def write(self, data: Any) -> None:
        forwarding.SSHConnectForwardingChannel.write(self, data.upper())


class TestTheWayOfConch(LoggingTestCase):
    """A subclass with a `channelOpen` of its own is open at once, and decides by itself."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.connection = started()

    def test_a_subclass_that_only_pretends(self) -> None:
        class Pretending(forwarding.SSHConnectForwardingChannel):
            def channelOpen(self, specificData: bytes) -> None:
                self.heard = [specificData]

            def dataReceived(self, data: bytes) -> None:
                self.heard.append(data)
                self._close("Connection refused")

            def eofReceived(self) -> None:
                self.heard.append(b"eof")

        channel = opened(self.connection, Pretending(("h", 1)), extra=DIRECT)
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"hello"))
        assert channel.heard == [DIRECT, b"hello"]
        assert self.connection.transport.sent() == ["CLOSE"]
        assert self.reactor.tcpClients == []

    def test_a_subclass_that_calls_the_base(self) -> None:
        channel = opened(self.connection, Redirected(self.reactor), extra=DIRECT)
        self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"hello"))
        assert channel.clientBuf == b"HEADER hello"
        transport = connect(self.reactor)
        assert transport.value() == b"HEADER hello"
        assert channel.clientBuf == b""
        channel.client.dataReceived(b"answer")
        assert self.connection.transport.sent() == ["DATA ANSWER"]

    def test_nobody_answers(self) -> None:
        opened(self.connection, Redirected(self.reactor), extra=DIRECT)
        refuse(self.reactor)
        assert self.connection.transport.sent() == ["CLOSE"]

    def test_the_channel_is_gone_before_somebody_answers(self) -> None:
        channel = opened(self.connection, Redirected(self.reactor), extra=DIRECT)
        self.connection.ssh_CHANNEL_CLOSE(u32(0))
        assert channel.clientBuf == b""
        assert self.connection.channels == {}

    def test_the_end_before_somebody_answers(self) -> None:
        opened(self.connection, Redirected(self.reactor), extra=DIRECT)
        self.connection.ssh_CHANNEL_EOF(u32(0))
        transport = connect(self.reactor)
        assert transport.value() == b"HEADER "
        assert transport.disconnecting or getattr(transport, "_writeDisconnected", True)

    def test_what_waits_is_bounded_by_the_window(self) -> None:
        opened(self.connection, Redirected(self.reactor), extra=DIRECT)
        for _ in range(4):
            self.connection.ssh_CHANNEL_DATA(dataMessage(0, bytes(30000)))
        assert self.connection.transport.sent() == []
        connect(self.reactor)
        assert self.connection.transport.sent() == ["WINDOW_ADJUST"]

    def test_M2_what_waits_is_not_copied_for_each_byte_that_comes(self) -> None:
        channel = opened(self.connection, Redirected(self.reactor), extra=DIRECT)
        for _ in range(20_000):
            self.connection.ssh_CHANNEL_DATA(dataMessage(0, b"x"))
        assert len(channel._earlyInput._chunks) == 5
        assert connect(self.reactor).value() == b"HEADER " + b"x" * 20_000

    def test_without_a_connection_at_all(self) -> None:
        channel = Connecting(self.reactor)
        channel.channelOpen(b"")
        connect(self.reactor)
        assert isinstance(channel.client, forwarding.SSHForwardingClient)
        assert channel.client.channel is channel


class Consumer(Protocol):
    """Keeps the pieces that it was given, and does what a test wants on each."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: list[Any] = []
        self.then: Any = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.then()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason.type)


class TestStreams(LoggingTestCase):
    def setUp(self) -> None:
        self.protocol = Consumer()
        address = IPv4Address("TCP", "192.0.2.1", 80)
        self.channel = StreamChannel(self.protocol, b"direct-tcpip", address)
        self.channel.channelOpen(b"")

    def test_M2_what_came_in_small_pieces_is_given_in_large_ones(self) -> None:
        self.channel.pauseProducing()
        for number in range(200_000):
            self.channel.dataReceived(b"%d" % (number % 10))
        self.channel.resumeProducing()
        assert b"".join(self.protocol.pieces) == b"0123456789" * 20_000
        assert len(self.protocol.pieces) == 4

    def test_one_that_ends_it_while_paused_hears_of_the_end(self) -> None:
        for end in ("loseConnection", "abortConnection"):
            self.setUp()
            self.channel.pauseProducing()
            self.channel.dataReceived(b"not taken")
            getattr(self.channel, end)()
            self.channel.closed()
            assert self.protocol.lost == [ConnectionDone]
            assert self.protocol.pieces == []

    def test_one_that_is_paused_gets_all_before_it_hears_of_an_end(self) -> None:
        self.channel.pauseProducing()
        self.channel.dataReceived(b"taken later")
        self.channel.closed()
        assert self.protocol.lost == []
        self.channel.resumeProducing()
        assert self.protocol.pieces == [b"taken later"]
        assert self.protocol.lost == [ConnectionDone]

    def test_one_that_goes_with_its_connection_is_lost(self) -> None:
        self.channel.conn = started()
        self.channel.conn.serviceStopped()
        self.channel.closed()
        assert self.protocol.lost == [ConnectionLost]

    def test_one_that_pauses_for_a_moment_is_given_nothing_within_that(self) -> None:
        """As with TCP's transport: what it goes on with comes when it is done with what it has."""
        depth = deepest = 0
        receive = self.protocol.dataReceived

        def received(data: bytes) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            self.channel.pauseProducing()
            self.channel.resumeProducing()
            receive(data)
            depth -= 1

        self.protocol.dataReceived = received  # type: ignore[method-assign]
        self.channel.pauseProducing()
        self.channel.dataReceived(bytes(300_000) + b"end")
        self.channel.resumeProducing()
        assert b"".join(self.protocol.pieces) == bytes(300_000) + b"end"
        assert deepest == 1

    def test_one_that_aborts_does_not_wait_for_the_far_side(self) -> None:
        clock = self.channel.reactor = Clock()
        self.channel.pauseProducing()
        self.channel.dataReceived(b"not taken")
        self.channel.abortConnection()
        assert self.protocol.lost == []
        clock.advance(0)
        assert self.protocol.lost == [ConnectionAborted]
        self.channel.closed()
        assert self.protocol.lost == [ConnectionAborted]
        assert self.protocol.pieces == []

    def test_the_end_of_one_direction_is_the_end_to_one_that_knows_no_halves(self) -> None:
        self.channel.eofReceived()
        assert self.protocol.lost == [ConnectionDone]
        assert self.channel.disconnecting

    def test_what_comes_meanwhile_overtakes_nothing(self) -> None:
        self.channel.pauseProducing()
        self.channel.dataReceived(bytes(100_000))
        self.protocol.then = lambda: (
            self.channel.dataReceived(b"late") if len(self.protocol.pieces) == 1 else None
        )
        self.channel.resumeProducing()
        assert b"".join(self.protocol.pieces) == bytes(100_000) + b"late"


class TestFactories:
    def test_an_avatars_table(self) -> None:
        avatar = ConchUser()
        avatar.channelLookup[b"direct-tcpip"] = forwarding.openConnectForwardingClient
        channel = avatar.lookupChannel(b"direct-tcpip", 1000, 500, DIRECT)
        assert channel.hostport == ("example.org", 80)
        assert (channel.remoteWindowLeft, channel.remoteMaxPacket) == (1000, 500)
        assert (channel.localWindowSize, channel.localMaxPacket) == (
            FORWARDING_WINDOW,
            FORWARDING_MAX_PACKET,
        )
        with pytest.raises(ConchError):
            avatar.lookupChannel(b"direct-tcpip", 1000, 500, DIRECT[:5])

    @pytest.mark.parametrize(
        ("klass", "hostport", "addr", "kind", "extra"),
        [
            (
                forwarding.SSHListenClientForwardingChannel,
                ("example.org", 80),
                IPv4Address("TCP", "192.0.2.1", 4000),
                b"direct-tcpip",
                DIRECT,
            ),
            (
                forwarding.SSHListenServerForwardingChannel,
                ("", 8080),
                IPv4Address("TCP", "192.0.2.1", 4000),
                b"forwarded-tcpip",
                NS(b"") + u32(8080) + NS(b"192.0.2.1") + u32(4000),
            ),
            (
                forwarding.UnixListenClientForwardingChannel,
                b"/run/x",
                UNIXAddress(b""),
                b"direct-streamlocal@openssh.com",
                NS(b"/run/x") + NS(b"") + u32(0),
            ),
            (
                forwarding.UnixListenServerForwardingChannel,
                b"/run/x",
                UNIXAddress(b""),
                b"forwarded-streamlocal@openssh.com",
                NS(b"/run/x") + NS(b""),
            ),
        ],
    )
    def test_what_a_listening_side_asks_for(
        self, klass: Any, hostport: Any, addr: Any, kind: bytes, extra: bytes
    ) -> None:
        connection = started()
        factory = forwarding.SSHListenForwardingFactory(connection, hostport, klass)
        client = factory.buildProtocol(addr)
        assert isinstance(client, forwarding.SSHForwardingClient)
        ((number, payload),) = connection.transport.packets
        assert number == MSG_CHANNEL_OPEN
        reader = Reader(payload)
        assert reader.string() == kind
        assert (reader.u32(), reader.u32(), reader.u32()) == (
            0,
            FORWARDING_WINDOW,
            FORWARDING_MAX_PACKET,
        )
        assert reader.rest() == extra

    def test_a_client_of_another_kind_is_served_as_well(self) -> None:
        """An application's own protocol in the place of `SSHForwardingClient`."""
        connection = started()
        channel = forwarding.SSHListenClientForwardingChannel()
        client = Protocol()
        transport = StringTransport()
        client.makeConnection(transport)
        channel.client = client
        connection.openChannel(channel, DIRECT)
        connection.ssh_CHANNEL_OPEN_CONFIRMATION(confirmation(0))
        connection.ssh_CHANNEL_DATA(dataMessage(0, b"hello"))
        assert transport.value() == b"hello"
        connection.ssh_CHANNEL_EOF(u32(0))
        assert transport.disconnecting
        connection.ssh_CHANNEL_CLOSE(u32(0))
        assert not hasattr(channel, "client")

    def test_a_connection_that_is_over(self) -> None:
        connection = started()
        connection.serviceStopped()
        factory = forwarding.SSHListenForwardingFactory(
            connection, ("h", 1), forwarding.SSHListenClientForwardingChannel
        )
        client = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        assert client is not None
        transport = StringTransport()
        client.makeConnection(transport)
        assert transport.disconnecting


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111), "Connection refused"),
        (OSError(13, "Permission denied"), "Permission denied"),
        (ValueError("/home/secret"), "connect failed"),
    ],
)
def test_what_a_peer_is_told(error: Exception, words: str) -> None:
    assert wordsFor(Failure(error)) == words
