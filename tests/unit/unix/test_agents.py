"""`limpet.unix.agents`: an agent's connections carried to the client, both ways and no faster."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from limpet.ssh.connection import SSHConnection
from limpet.testing import MemoryTransport
from limpet.unix.agents import MAX_CONNECTIONS, ForwardedAgent
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32


class Wire:
    """The SSH transport: it keeps what is sent to the client."""

    isClient = False
    avatar = None

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []

    def sendPacket(self, number: int, payload: bytes) -> None:
        self.sent.append((number, payload))


class Socket:
    """In place of `AgentSocket`."""

    path = "/nowhere/socket"

    def __init__(self, *arguments: Any) -> None:
        self.open = True
        self.admits = True

    def isFor(self, transport: Any) -> bool:
        return self.admits

    def close(self) -> None:
        self.open = False


class Forwarded:
    """One login whose agent is forwarded."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.conn = SSHConnection()
        self.conn.transport = self.wire
        self.agent = ForwardedAgent(None, None, self.conn)  # type: ignore[arg-type]

    def connect(self) -> Any:
        """A program's connection."""
        local: Any = self.agent.buildProtocol(None)
        local.makeConnection(MemoryTransport("local", Clock(), 1))
        return local

    def confirm(self, number: int = 0, window: int = 1000) -> None:
        self.conn.packetReceived(
            n.MSG_CHANNEL_OPEN_CONFIRMATION, u32(number) + u32(7) + u32(window) + u32(500)
        )

    def sentData(self) -> bytes:
        return b"".join(
            payload[8:] for number, payload in self.wire.sent if number == n.MSG_CHANNEL_DATA
        )

    def numbers(self) -> list[int]:
        return [number for number, _ in self.wire.sent]


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> Forwarded:
    monkeypatch.setattr("limpet.unix.agents.AgentSocket", Socket)
    return Forwarded()


def test_a_connection_is_a_channel(forwarded: Forwarded) -> None:
    forwarded.connect()
    (opened,) = forwarded.wire.sent
    assert opened[0] == n.MSG_CHANNEL_OPEN
    assert opened[1].startswith(NS(b"auth-agent@openssh.com"))


def test_bytes_go_through_both_ways(forwarded: Forwarded) -> None:
    local = forwarded.connect()
    local.dataReceived(b"before it is open ")
    assert forwarded.sentData() == b""
    forwarded.confirm()
    local.dataReceived(b"and after")
    assert forwarded.sentData() == b"before it is open and after"
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"an answer"))
    assert bytes(local.transport.written) == b"an answer"


def test_nobody_is_read_faster_than_the_other_takes_it(forwarded: Forwarded) -> None:
    local = forwarded.connect()
    forwarded.confirm(window=10)
    local.dataReceived(b"x" * 100)
    assert not local.transport.reading
    forwarded.conn.packetReceived(n.MSG_CHANNEL_WINDOW_ADJUST, u32(0) + u32(1000))
    assert local.transport.reading
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"y" * 32768))
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"y" * 32768))
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"y" * 32768))
    channel = forwarded.conn.channels[0]
    assert channel.inputPaused


def test_the_program_ends_first(forwarded: Forwarded) -> None:
    local = forwarded.connect()
    forwarded.confirm()
    local.dataReceived(b"last words")
    local.connectionLost()
    assert forwarded.sentData() == b"last words"
    assert forwarded.numbers()[-1] == n.MSG_CHANNEL_CLOSE
    assert not forwarded.agent.connections


@pytest.mark.parametrize("isOpen", [True, False])
def test_the_program_ends_its_direction_and_waits(forwarded: Forwarded, isOpen: bool) -> None:
    local = forwarded.connect()
    if isOpen:
        forwarded.confirm()
    local.dataReceived(b"a question")
    local.readConnectionLost()
    if not isOpen:
        assert n.MSG_CHANNEL_EOF not in forwarded.numbers()
        forwarded.confirm()
    assert forwarded.sentData() == b"a question"
    assert forwarded.numbers()[-1] == n.MSG_CHANNEL_EOF
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"an answer"))
    assert bytes(local.transport.written) == b"an answer"
    assert not local.transport.lost
    forwarded.conn.packetReceived(n.MSG_CHANNEL_CLOSE, u32(0))
    assert local.transport.lost
    local.connectionLost()
    assert not forwarded.agent.connections


def test_the_client_ends_first(forwarded: Forwarded) -> None:
    local = forwarded.connect()
    forwarded.confirm()
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"an answer"))
    forwarded.conn.packetReceived(n.MSG_CHANNEL_CLOSE, u32(0))
    assert local.transport.lost
    assert bytes(local.transport.written) == b"an answer"


def test_L7_the_client_has_nothing_more_to_say(forwarded: Forwarded) -> None:
    """The channel ends with the connection: a client that sends EOF alone keeps none open here."""
    local = forwarded.connect()
    forwarded.confirm()
    forwarded.conn.packetReceived(n.MSG_CHANNEL_DATA, u32(0) + NS(b"an answer"))
    forwarded.conn.packetReceived(n.MSG_CHANNEL_EOF, u32(0))
    assert bytes(local.transport.written) == b"an answer"
    assert local.transport.lost
    local.connectionLost()
    assert forwarded.numbers().count(n.MSG_CHANNEL_CLOSE) == 1
    forwarded.conn.packetReceived(n.MSG_CHANNEL_CLOSE, u32(0))
    assert not forwarded.conn.channels


def test_the_client_refuses(forwarded: Forwarded) -> None:
    local = forwarded.connect()
    forwarded.conn.packetReceived(n.MSG_CHANNEL_OPEN_FAILURE, u32(0) + u32(1) + NS(b"no") + NS(b""))
    assert local.transport.lost


def test_L6_somebody_else_is_shown_out(forwarded: Forwarded) -> None:
    forwarded.agent._socket.admits = False  # type: ignore[attr-defined]
    local = forwarded.connect()
    assert local.transport.aborted
    local.dataReceived(b"x")
    local.connectionLost()
    assert forwarded.wire.sent == []


def test_L7_no_more_at_a_time_than_are_bounded(forwarded: Forwarded) -> None:
    connections = [forwarded.connect() for _ in range(MAX_CONNECTIONS + 5)]
    assert sum(local.transport.aborted for local in connections) == 5
    connections[0].connectionLost()
    assert not forwarded.connect().transport.aborted


def test_the_login_ends(forwarded: Forwarded) -> None:
    local = forwarded.connect()
    forwarded.confirm()
    forwarded.agent.close()
    assert local.transport.lost
    assert not forwarded.agent._socket.open  # type: ignore[attr-defined]


def test_a_connection_that_comes_after_the_end(forwarded: Forwarded) -> None:
    forwarded.conn.serviceStopped()
    assert forwarded.connect().transport.lost
