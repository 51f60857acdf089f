"""Channels that nothing goes through for a while are closed, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import task

from limpet.client.authenticating import Credentials
from limpet.client.channeltimeouts import ChannelTimeouts
from tests.pair.dialled import Dialled
from tests.pair.stack import CommandChannel, makeFactory

PASSWORD = Credentials(password=b"correct horse", only=True)


class Channel:
    def __init__(self, name: bytes) -> None:
        self.name = name
        self.isCut = False

    def abortConnection(self) -> None:
        self.isCut = True


class Connection:
    def __init__(self, *channels: Channel) -> None:
        self.channels = dict(enumerate(channels))
        self.ending: list[Any] = []

    def atEnd(self, action: Any) -> None:
        self.ending.append(action)


class TestTimes:
    def test_an_idle_channel_is_closed_and_one_that_is_used_is_not(self) -> None:
        clock = task.Clock()
        idle, busy, other = Channel(b"session"), Channel(b"session"), Channel(b"direct-tcpip")
        timeouts = ChannelTimeouts(clock, [("sess*", 10)], Connection(idle, busy, other))
        timeouts.start()
        timeouts.used(idle)
        for _ in range(12):
            timeouts.used(busy)
            clock.advance(1)
        assert (idle.isCut, busy.isCut, other.isCut) == (True, False, False)

    def test_it_is_closed_at_its_time_and_not_before(self) -> None:
        clock = task.Clock()
        channel = Channel(b"session")
        timeouts = ChannelTimeouts(clock, [("session", 10)], Connection(channel))
        timeouts.start()
        clock.advance(9)
        timeouts.used(channel)
        clock.advance(1)
        clock.advance(8.9)
        assert not channel.isCut
        clock.advance(0.1)
        assert channel.isCut

    def test_the_first_pattern_that_matches_counts(self) -> None:
        clock = task.Clock()
        agent, session = Channel(b"auth-agent@openssh.com"), Channel(b"session")
        connection = Connection(agent, session)
        pairs = [("agent-connection", 100), ("*", 10)]
        timeouts = ChannelTimeouts(clock, pairs, connection)
        timeouts.start()
        clock.pump([1] * 30)
        assert (agent.isCut, session.isCut) == (False, True)

    def test_a_pattern_without_a_time_excepts_from_those_behind_it(self) -> None:
        """It was as if it were not there, and the session was cut after all."""
        clock = task.Clock()
        session, forward = Channel(b"session"), Channel(b"direct-tcpip")
        pairs = [("session", 0), ("*", 10)]
        ChannelTimeouts(clock, pairs, Connection(session, forward)).start()
        clock.pump([1] * 30)
        assert (session.isCut, forward.isCut) == (False, True)

    @pytest.mark.parametrize(("last", "isCut"), [(60, False), (0, False), (10, True)])
    def test_of_several_times_for_all_together_the_last_counts(
        self, last: int, isCut: bool
    ) -> None:
        clock = task.Clock()
        channel = Channel(b"session")
        pairs = [("global", 5 if last != 10 else 60), ("x", 40), ("global", last)]
        ChannelTimeouts(clock, pairs, Connection(channel)).start()
        clock.pump([1] * 30)
        assert channel.isCut is isCut

    def test_nothing_is_watched_where_nothing_has_a_time(self) -> None:
        clock = task.Clock()
        ChannelTimeouts(clock, [("session", 0), ("global", 0)], Connection()).start()
        assert not clock.getDelayedCalls()

    def test_all_together_live_by_any_of_them(self) -> None:
        clock = task.Clock()
        one, other = Channel(b"session"), Channel(b"direct-tcpip")
        timeouts = ChannelTimeouts(clock, [("global", 10), ("x", 1)], Connection(one, other))
        timeouts.start()
        for _ in range(30):
            timeouts.used(one)
            clock.advance(1)
        assert (one.isCut, other.isCut) == (False, False)
        clock.pump([1] * 11)
        assert one.isCut
        assert other.isCut

    def test_nothing_is_left_at_the_end(self) -> None:
        clock = task.Clock()
        connection = Connection(Channel(b"session"))
        ChannelTimeouts(clock, [("session", 10)], connection).start()
        assert clock.getDelayedCalls()
        for action in connection.ending:
            action()
        assert not clock.getDelayedCalls()


class Waiting(CommandChannel):
    """Leaves its input open."""

    def started(self, _: Any) -> None:
        self.events.append("success")


def test_a_client_reads_times_of_nothing_as_exceptions() -> None:
    dialled = Dialled(
        makeFactory().buildProtocol(None), credentials=PASSWORD, ChannelTimeout="session=0 *=1m"
    )
    assert dialled.client is not None
    channel = Waiting(b"echo")
    dialled.client.connection.openChannel(channel)
    dialled.settle()
    for _ in range(5):
        dialled.wait(20)
    assert "closed" not in channel.events


@pytest.mark.parametrize("writes", [True, False])
def test_a_session_of_a_client(writes: bool) -> None:
    dialled = Dialled(
        makeFactory().buildProtocol(None), credentials=PASSWORD, ChannelTimeout="session=1m *=1h"
    )
    assert dialled.client is not None
    channel = Waiting(b"echo")
    dialled.client.connection.openChannel(channel)
    dialled.settle()
    for _ in range(5):
        dialled.wait(20)
        if writes:
            channel.write(b"x")
            dialled.settle()
    assert ("closed" in channel.events) is not writes
    assert not dialled.ended
    dialled.client.close()
    dialled.settle()
    assert not dialled.reactor.getDelayedCalls()
