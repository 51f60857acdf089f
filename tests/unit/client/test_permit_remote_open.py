"""PermitRemoteOpen: where a program at the server's side may be connected to by `-R PORT`."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from limpet.client.socksproxy import SocksChannel

# SOCKS 5, no authentication; then: connect to 192.0.2.1 port 80 (RFC 1928 sections 3 and 4).
GREETING = bytes((5, 1, 0))
REQUEST = bytes((5, 1, 0, 1, 192, 0, 2, 1, 0, 80))

NOT_ALLOWED = 2
"""Reply of RFC 1928 section 6: connection not allowed by ruleset."""


class Connection:
    """What a channel writes to."""

    transport = None

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def sendData(self, channel: Any, data: bytes) -> None:
        self.sent += data

    def sendEOF(self, channel: Any) -> None:
        """Nothing to do."""

    def sendClose(self, channel: Any) -> None:
        self.closed = True


@pytest.mark.parametrize("permitted", [True, False])
def test_what_is_not_permitted_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, permitted: bool
) -> None:
    reactor = MemoryReactorClock()
    connected: list[Any] = []

    def connectTo(*arguments: Any) -> Deferred[Any]:
        connected.append(arguments[1:3])
        return Deferred()

    monkeypatch.setattr("limpet.client.socksproxy.connectTo", connectTo)
    asked: list[tuple[str, int]] = []

    def mayConnect(host: str, port: int) -> bool:
        asked.append((host, port))
        return permitted

    connection = Connection()
    channel = SocksChannel(reactor, mayConnect, remoteWindow=1 << 20, remoteMaxPacket=32768)
    channel.conn = connection
    channel.id = 0
    channel.channelOpen(b"")
    channel.dataReceived(GREETING + REQUEST)
    assert asked == [("192.0.2.1", 80)]
    assert connected == ([("192.0.2.1", 80)] if permitted else [])
    if not permitted:
        assert connection.sent[3] == NOT_ALLOWED
        assert connection.closed
