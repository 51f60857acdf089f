"""attacks.md, rows M4 and M5: checks in threads, whose connections come in numbers and go early."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address

from limpet.checkers import UNIXPasswordDatabase
from limpet.checkers.workers import MAX_RUNNING, MAX_RUNNING_PER_SOURCE, FairWorkers
from limpet.ssh.address import SSHTransportAddress
from tests.unit.checkers.test_workers import Threads, threads
from tests.unit.ssh.userauth.doubles import FAILURE, SUCCESS, Session

__all__ = ["threads"]


class Database(UNIXPasswordDatabase):
    """Right is one password; which threads decide so is what these tests are about."""

    def check(self, username: bytes, password: bytes) -> bool:
        return password == b"right"


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> FairWorkers:
    workers = FairWorkers()
    monkeypatch.setattr("limpet.checkers.passwords.checks", workers)
    return workers


def session(host: str) -> Session:
    made = Session(Database([]))
    peer = SSHTransportAddress(IPv4Address("TCP", host, 1))
    made.transport.getPeer = lambda: peer  # type: ignore[method-assign]
    return made


def test_M5_aHundredChecksOfOnePeerLeaveThreadsForOthers(
    threads: Threads, workers: FairWorkers
) -> None:
    hostile = [session("192.0.2.66") for _ in range(100)]
    for attacker in hostile:
        attacker.password(b"wrong")
    assert len(threads.started) == MAX_RUNNING_PER_SOURCE
    honest = session("192.0.2.1")
    honest.password(b"right")
    assert len(threads.started) == MAX_RUNNING_PER_SOURCE + 1 <= MAX_RUNNING
    threads.end(MAX_RUNNING_PER_SOURCE)
    assert honest.numbers == [SUCCESS]
    for position in range(103):
        if position != MAX_RUNNING_PER_SOURCE and position < len(threads.started):
            threads.end(position)
    for attacker in hostile:
        attacker.wait()
    assert [attacker.numbers for attacker in hostile] == [[FAILURE]] * 100


def test_M4_whoLeavesBeforeHisTurnCostsNoThread(threads: Threads, workers: FairWorkers) -> None:
    gone = [session("192.0.2.66") for _ in range(50)]
    for attacker in gone:
        attacker.password(b"right")
    for attacker in gone:
        attacker.server.serviceStopped()
    for position in range(MAX_RUNNING_PER_SOURCE):
        threads.end(position)
    assert len(threads.started) == MAX_RUNNING_PER_SOURCE
    for attacker in gone:
        attacker.wait()
        assert (attacker.numbers, attacker.realm.loggedIn) == ([], [])
    again = session("192.0.2.66")
    again.password(b"right")
    threads.end(MAX_RUNNING_PER_SOURCE)
    assert again.numbers == [SUCCESS]
