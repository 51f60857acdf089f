"""The avatar's two tables, and its global requests."""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from limpet.avatar import ConchUser
from limpet.error import ConchError
from limpet.interfaces import IConchUser
from limpet.wire.numbers import OPEN_UNKNOWN_CHANNEL_TYPE


def test_itProvidesWhatItSays() -> None:
    user = ConchUser()
    assert verifyObject(IConchUser, user)
    assert (user.conn, user.channelLookup, user.subsystemLookup) == (None, {}, {})


def test_aChannelIsMadeFromTheTable() -> None:
    user = ConchUser()
    made: list[dict[str, Any]] = []

    def make(**details: Any) -> str:
        made.append(details)
        return "the channel"

    user.channelLookup[b"custom"] = make
    assert user.lookupChannel(b"custom", 1000, 500, b"rest") == "the channel"
    assert made == [{"remoteWindow": 1000, "remoteMaxPacket": 500, "data": b"rest", "avatar": user}]


@pytest.mark.parametrize("name", [b"unknown", b"", b"__class__", b"\xff" * 300])
def test_whatIsNotInTheTableIsNoChannel(name: bytes) -> None:
    with pytest.raises(ConchError) as caught:
        ConchUser().lookupChannel(name, 1, 1, b"")
    assert caught.value.data == OPEN_UNKNOWN_CHANNEL_TYPE


def test_aSubsystemGetsTheWholeRequest() -> None:
    user = ConchUser()
    user.subsystemLookup[b"custom"] = lambda data, avatar: (data, avatar)
    assert user.lookupSubsystem(b"custom", b"\0\0\0\6custom") == (b"\0\0\0\6custom", user)
    assert user.lookupSubsystem(b"other", b"\0\0\0\5other") is None


def test_globalRequestsGoToMethods() -> None:
    class User(ConchUser):
        def global_do_it(self, data: bytes) -> tuple[int, bytes]:
            return 1, data

    user = User()
    assert user.gotGlobalRequest(b"do-it", b"data") == (1, b"data")
    for name in (b"other", b"\xff", b""):
        assert user.gotGlobalRequest(name, b"") == 0
