"""Windows that grow on a long path, over a network in memory that takes its time."""

from __future__ import annotations

from typing import Any

import pytest

from limpet.client.clients import Client
from limpet.client.processes import DISCARD
from limpet.client.programs import WINDOW
from limpet.core.windows import GROWN_WINDOW, LONG_PATH_SECONDS
from limpet.ssh.channel import SSHChannel
from limpet.ssh.connection import SSHConnection
from limpet.testing import MemoryNetwork
from tests.pair.stack import makeFactory, pattern

LATENCY_SECONDS = 0.05
SIZE = 32 << 20


def logIn(latencySeconds: float) -> tuple[MemoryNetwork, Client]:
    network = MemoryNetwork(latencySeconds=latencySeconds)
    return network, network.logIn(makeFactory(), "alice", password="correct horse")


def received(network: MemoryNetwork, client: Client) -> tuple[int, float]:
    """How large the window was at the end, and what the output took of the network's time."""
    process = network.result(client.start(f"both {SIZE // 2}", stderr=DISCARD))
    channel: Any = next(iter(client.connection.connection.channels.values()))
    before = network.seconds()
    output = network.result(process.readAll())
    assert output == pattern(SIZE // 2, b"out")
    return channel.localWindowSize, network.seconds() - before


def test_on_a_long_path_it_grows_and_the_output_comes_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grown, soon = received(*logIn(LATENCY_SECONDS))
    monkeypatch.setattr("limpet.core.windows.LONG_PATH_SECONDS", 10.0)
    fixed, late = received(*logIn(LATENCY_SECONDS))
    assert fixed == WINDOW
    assert WINDOW < grown <= GROWN_WINDOW
    # Of 16 round trips of 2 MiB each, not even half as many are left.
    assert soon < late / 2


def test_on_a_short_path_it_stays() -> None:
    size, _ = received(*logIn(LONG_PATH_SECONDS / 3))
    assert size == WINDOW


class Swallowing(SSHChannel):
    name = b"session"

    def dataReceived(self, data: bytes) -> None:
        """It keeps up."""


class Transport:
    """One with a long path, on which any amount arrives in no time."""

    def __init__(self) -> None:
        self.clock = MemoryNetwork()
        self.granted = 0

    def roundTripSeconds(self) -> float:
        return 1.0

    def sendPacket(self, kind: int, payload: bytes) -> None:
        self.granted += int.from_bytes(payload[4:8], "big")


class TestLimits:
    def connected(self, *limits: int) -> tuple[SSHConnection, list[SSHChannel]]:
        conn = SSHConnection()
        conn.transport = Transport()
        channels: list[SSHChannel] = []
        for number, limit in enumerate(limits):
            channel = Swallowing(localWindow=1000, conn=conn)
            channel.localWindowLimit = limit
            channel.id = number
            conn.channels[number] = channel
            conn.localToRemoteChannel[number] = number
            conn.channelsToRemoteChannel[channel] = number
            channels.append(channel)
        return conn, channels

    def feed(self, conn: SSHConnection, channel: SSHChannel, total: int) -> int:
        """Data as far as the window goes; returns how much that was."""
        sent = 0
        while sent < total:
            size = min(channel.localWindowLeft, channel.localMaxPacket, total - sent)
            head = int(channel.id or 0).to_bytes(4, "big") + size.to_bytes(4, "big")
            conn.ssh_CHANNEL_DATA(head + bytes(size))
            sent += size
        return sent

    def test_one_that_may_not_grow_does_not(self) -> None:
        conn, (channel,) = self.connected(0)
        assert self.feed(conn, channel, 50_000)
        assert channel.localWindowSize == 1000

    def test_it_grows_to_its_own_limit(self) -> None:
        conn, (channel,) = self.connected(5000)
        self.feed(conn, channel, 50_000)
        assert channel.localWindowSize == 5000
        assert channel.localWindowLeft <= 5000

    def test_the_peer_is_granted_what_is_counted(self) -> None:
        conn, (channel,) = self.connected(5000)
        self.feed(conn, channel, 50_000)
        assert conn.transport.granted == 50_000 + channel.localWindowLeft - 1000

    def test_all_of_a_connection_share_one_limit(self) -> None:
        conn, channels = self.connected(GROWN_WINDOW, GROWN_WINDOW, GROWN_WINDOW)
        for channel in channels:
            self.feed(conn, channel, 20 << 20)
        assert sum(channel.localWindowGrowth for channel in channels) == GROWN_WINDOW
        conn.channelClosed(channels[0])
        before = channels[2].localWindowSize
        self.feed(conn, channels[2], 20 << 20)
        assert channels[2].localWindowSize > before

    def test_one_that_is_paused_does_not(self) -> None:
        conn, (channel,) = self.connected(5000)
        self.feed(conn, channel, 600)
        channel.pauseProducing()
        self.feed(conn, channel, channel.localWindowLeft)
        assert (channel.localWindowSize, channel.localWindowLeft) == (1000, 0)
