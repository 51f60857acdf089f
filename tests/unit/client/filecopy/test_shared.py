"""SFTP in a session of a master's: what is passed, what is read, and that nothing stays open."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from limpet.client.filecopy.shared import SharedSFTP
from limpet.client.sharing import SharingFailed
from limpet.core.multiplexing import SessionWish
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


class Master:
    """Takes one session, or refuses it."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.wish: SessionWish | None = None
        self.descriptors: list[int] = []
        self.isClosed = False

    def openSession(self, wish: SessionWish, descriptors: Sequence[int]) -> int:
        if self.refuses:
            raise SharingFailed("the master refuses")
        self.wish = wish
        self.descriptors = [os.dup(descriptor) for descriptor in descriptors]
        return 1

    def close(self) -> None:
        self.isClosed = True


@pytest.mark.parametrize(("subsystem", "isSubsystem"), [(b"sftp", True), (b"/lib/sftp", False)])
def test_a_session(driver: Driver, subsystem: bytes, isSubsystem: bool) -> None:
    before = openDescriptors()
    master: Any = Master()
    shared = SharedSFTP(master, subsystem, [b"A=1"])
    assert master.wish == SessionWish(subsystem, isSubsystem=isSubsystem, environment=(b"A=1",))
    told: list[bytes] = []
    client = shared.connect(driver.reactor, told.append)
    _, output, errors = master.descriptors
    os.write(errors, b"problem")
    driver.until(lambda: told, "what it says of errors")
    assert told == [b"problem"]
    with socket.socket(fileno=output) as server:
        driver.turn()
        # SSH_FXP_INIT, version 3.
        assert server.recv(100) == bytes.fromhex("00000005 01 00000003")
    for descriptor in (master.descriptors[0], errors):
        os.close(descriptor)
    # The session is over, which ends what waits.
    driver.until(lambda: client.ended, "the end")
    shared.close()
    assert master.isClosed
    assert openDescriptors() <= before


def test_one_that_is_refused(driver: Driver) -> None:
    before = openDescriptors()
    master: Any = Master(refuses=True)
    with pytest.raises(SharingFailed):
        SharedSFTP(master, b"sftp")
    assert master.isClosed
    assert openDescriptors() <= before
