"""Closing channels that nothing has gone through for a while (ssh_config(5), ChannelTimeout).

Rule: what counts is data, either way. The time of a type of channel closes that channel; the time
that is called "global" closes all of them, once none has had any. As in ssh, the first pattern that
matches a type counts, and one without a time excepts it from those behind it; of several times that
are called "global" the last counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from limpet.core.patterns import matchPattern

GLOBAL = "global"
"""What stands for all channels together; no pattern matches it."""

_NAMES = {b"auth-agent@openssh.com": b"agent-connection", b"x11": b"x11-connection"}
"""What ChannelTimeout calls types of channels that have another name in the protocol."""


class ChannelTimeouts:
    """Watches the channels of one connection.

    Args:
        reactor: Provides IReactorTime.
        timeouts: Patterns of types, and seconds; 0 for never.
        connection: The `SSHConnection`.
    """

    def __init__(self, reactor: Any, timeouts: Iterable[tuple[str, int]], connection: Any) -> None:
        self._reactor = reactor
        pairs = list(timeouts)
        self._timeouts = [(kind, seconds) for kind, seconds in pairs if kind != GLOBAL]
        self._together = dict(pairs).get(GLOBAL, 0)
        self._connection = connection
        self._last: dict[Any, float] = {}
        self._timer: Any = None
        connection.atEnd(self.stop)

    def start(self) -> None:
        """Watch from here on."""
        if self._timer is None and (shortest := self._shortest()):
            self._wait(shortest)

    def stop(self) -> None:
        """Watch no more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._last.clear()

    def used(self, channel: Any) -> None:
        """Data went through a channel."""
        self._last[channel] = self._reactor.seconds()

    def _shortest(self) -> float:
        """The shortest of all times; 0 where there is none."""
        times = [self._together, *(seconds for _, seconds in self._timeouts)]
        return float(min((seconds for seconds in times if seconds), default=0))

    def _wait(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        """Close what is due, and look again when something can be."""
        now = self._reactor.seconds()
        channels = list(self._connection.channels.values())
        self._last = {channel: self._last.get(channel, now) for channel in channels}
        due = []
        left = [self._shortest()]
        for channel in channels:
            seconds = self._secondsFor(channel.name)
            if not seconds:
                continue
            rest = self._last[channel] + seconds - now
            if rest <= 0:
                due.append(channel)
            else:
                left.append(rest)
        if self._together and channels:
            rest = max(self._last.values()) + self._together - now
            if rest <= 0:
                due = channels
            else:
                left.append(rest)
        self._wait(min(left))
        for channel in due:
            channel.abortConnection()

    def _secondsFor(self, name: bytes) -> int:
        name = _NAMES.get(name, name)
        for pattern, seconds in self._timeouts:
            if matchPattern(pattern.encode("utf-8", "replace"), name):
                return seconds
        return 0
