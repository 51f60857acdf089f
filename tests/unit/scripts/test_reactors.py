"""`limpet.scripts.reactors`: Twisted's reactor, by a shorter way."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.python import log

from limpet.scripts.reactors import _makeReactor

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")


class Reader:
    """One end of a socket pair, at the other end of which there is something to read."""

    def __init__(self, read: Callable[[], object]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.send(b"x")
        self.read = read
        self.reads = 0
        self.lost: Any = None

    def fileno(self) -> int:
        return self.ours.fileno()

    def logPrefix(self) -> str:
        return "a reader"

    def doRead(self) -> Any:
        self.reads += 1
        self.ours.recv(1)
        return self.read()

    def connectionLost(self, reason: Any) -> None:
        self.lost = reason


@pytest.fixture
def reactor() -> Iterator[Any]:
    made = _makeReactor()
    yield made
    made.removeAll()
    for descriptor in (made.waker.i, made.waker.o):
        os.close(descriptor)
    made._poller.close()


def test_what_is_there_is_read_once(reactor: Any) -> None:
    reader = Reader(lambda: None)
    reactor.addReader(reader)
    reactor.iterate(0)
    reactor.iterate(0)
    assert reader.reads == 1
    assert reader.lost is None


def test_what_an_event_has_ended_gets_none_any_more(reactor: Any) -> None:
    readers = [Reader(lambda: None), Reader(lambda: None)]

    def endBoth() -> None:
        for each in readers:
            reactor.removeReader(each)

    for reader in readers:
        reader.read = endBoth
        reactor.addReader(reader)
    reactor.iterate(0)
    assert sum(reader.reads for reader in readers) == 1


def test_a_reader_that_raises_ends_alone_and_is_logged(
    reactor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    logged: list[Any] = []
    monkeypatch.setattr(log, "err", lambda: logged.append(sys.exc_info()[1]))
    bad, good = Reader(fail), Reader(lambda: None)
    for reader in (bad, good):
        reactor.addReader(reader)
    reactor.iterate(0)
    assert bad.lost.check(RuntimeError)
    assert good.reads == 1
    assert good.lost is None
    assert [type(error) for error in logged] == [RuntimeError]


def test_a_command_gets_it_and_a_program_what_it_has() -> None:
    program = (
        "import sys; from limpet.scripts.reactors import commandReactor; "
        "{0}made = commandReactor(); from twisted.internet import reactor; "
        "assert made is reactor; print(type(made).__name__)"
    )
    for before, name in (("", "DirectReactor"), ("import twisted.internet.reactor; ", None)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(before)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout.strip() == "DirectReactor") is (name is not None)
