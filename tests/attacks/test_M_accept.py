"""attacks.md, M8: connections that are gone before they are taken, and what they leave counted."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from limpet.streams import AcceptedConnection
from tests.unit.server.test_listening import Link
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


def test_M8_connectionThatWasResetBeforeItWasTakenEndsAsAnyOther(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, enabled: bool) -> None:
        # What BSD says of a connection that the peer has reset.
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(AcceptedConnection, "setTcpNoDelay", refuse)
    link = Link(driver)
    link.client.close()
    driver.until(lambda: link.protocol.lost is not None, "the connection's end")
    link.close()
