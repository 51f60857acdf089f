"""Adopted Unix ports: their path is somebody else's business."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor

from limpet.unix.ports import adoptPort


class Said(Protocol):
    def connectionMade(self) -> None:
        self.factory.seen.append(self)


@pytest.fixture
def bound(tmp_path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    made.bind(str(tmp_path / "s"))
    os.chmod(tmp_path / "s", 0o600)
    return made


def test_the_mode_of_the_path_stays_as_it_is(tmp_path: Path, bound: socket.socket) -> None:
    with bound:
        port = adoptPort(SelectReactor(), bound, Factory.forProtocol(Protocol))
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    port.connectionLost(None)  # type: ignore[no-untyped-call]


def test_what_lies_at_the_path_at_the_end_is_not_removed(
    tmp_path: Path, bound: socket.socket
) -> None:
    with bound:
        port = adoptPort(SelectReactor(), bound, Factory.forProtocol(Protocol))
    (tmp_path / "s").unlink()
    (tmp_path / "s").write_text("something else")
    port.connectionLost(None)  # type: ignore[no-untyped-call]
    assert (tmp_path / "s").read_text() == "something else"


def test_connections_are_accepted(tmp_path: Path, bound: socket.socket) -> None:
    factory = Factory.forProtocol(Said)
    factory.seen = []  # type: ignore[attr-defined]
    reactor = SelectReactor()
    with bound:
        port = adoptPort(reactor, bound, factory)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        port.doRead()  # type: ignore[no-untyped-call]
    assert len(factory.seen) == 1  # type: ignore[attr-defined]
    port.connectionLost(None)  # type: ignore[no-untyped-call]
