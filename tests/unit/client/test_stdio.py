"""Standard input and output: every byte in order, nobody else's descriptor changed, brakes hold."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from limpet.client.stdio import OwnDescriptor, StandardInput, StandardOutput
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

DATA = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


class Source:
    """A `StandardInput`, and what it gave."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.data = b""
        self.ends = 0
        self.largest = 0
        self.input = StandardInput(driver.reactor, self._took, self._ended, number)

    def _took(self, data: bytes) -> None:
        self.data += data
        self.largest = max(self.largest, len(data))

    def _ended(self) -> None:
        self.ends += 1


def drain(end: int) -> bytes:
    """What is in a pipe at the moment."""
    found = b""
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while piece := os.read(end, 65536):
            found += piece
    return found


class TestInput:
    def test_a_pipe_is_read_to_its_end(self, driver: Driver, pipe: tuple[int, int]) -> None:
        source = Source(driver, pipe[0])
        source.input.resumeProducing()
        os.set_blocking(pipe[1], False)
        left = DATA
        while left:
            with suppress(BlockingIOError):
                left = left[os.write(pipe[1], left) :]
            driver.turn(1)
        os.close(pipe[1])
        driver.until(lambda: source.ends)
        assert source.data == DATA
        assert source.ends == 1

    def test_a_file_is_read_from_where_it_stands(self, driver: Driver, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"skipped" + DATA)
        with path.open("rb", buffering=0) as file:
            file.seek(7)
            source = Source(driver, file.fileno())
            source.input.resumeProducing()
            driver.until(lambda: source.ends)
        assert source.data == DATA
        assert source.largest >= 131072

    def test_nothing_is_read_before_it_is_asked_for(
        self, driver: Driver, pipe: tuple[int, int]
    ) -> None:
        source = Source(driver, pipe[0])
        os.write(pipe[1], b"early")
        driver.turn()
        assert source.data == b""
        source.input.resumeProducing()
        driver.until(lambda: source.data == b"early")
        source.input.stopProducing()

    @pytest.mark.parametrize("kind", ["pipe", "file"])
    def test_a_pause_holds(
        self, driver: Driver, pipe: tuple[int, int], tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(DATA)
        os.write(pipe[1], b"x" * 4096)
        with path.open("rb") as file:
            source = Source(driver, pipe[0] if kind == "pipe" else file.fileno())
            source.input.resumeProducing()
            driver.until(lambda: source.data)
            source.input.pauseProducing()
            before = source.data
            if kind == "pipe":
                os.write(pipe[1], b"more")
            driver.turn(5)
            assert source.data == before
            source.input.resumeProducing()
            driver.until(lambda: source.data != before)
            source.input.stopProducing()
        assert source.ends == 0

    def test_dev_null_is_at_its_end(self, driver: Driver) -> None:
        with open(os.devnull, "rb") as null:
            source = Source(driver, null.fileno())
            source.input.resumeProducing()
            driver.until(lambda: source.ends)
        assert source.data == b""

    def test_its_end_leaves_no_descriptor(self, driver: Driver, pipe: tuple[int, int]) -> None:
        before = openDescriptors()
        source = Source(driver, pipe[0])
        source.input.resumeProducing()
        os.close(pipe[1])
        driver.until(lambda: source.ends)
        assert openDescriptors() <= before - {pipe[1]}
        os.fstat(pipe[0])  # which is not ours to close


class TestOthers:
    def test_a_pipe_that_others_use_keeps_its_flags(self, pipe: tuple[int, int]) -> None:
        for number, forReading in ((pipe[0], True), (pipe[1], False)):
            own = OwnDescriptor(number, forReading)
            assert os.get_blocking(number)
            assert not os.get_blocking(own.fd)
            own.release()
            os.close(own.fd)

    def test_a_socket_has_its_flags_back_at_the_end(self, driver: Driver) -> None:
        near, far = socket.socketpair()
        near.setblocking(True)
        with near, far:
            source = Source(driver, near.fileno())
            source.input.resumeProducing()
            far.sendall(b"through a socket")
            driver.until(lambda: source.data == b"through a socket")
            far.shutdown(socket.SHUT_WR)
            driver.until(lambda: source.ends)
            assert os.get_blocking(near.fileno())


class Target:
    """A `StandardOutput`, and how often it told of room."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.rooms = 0
        self.finished = 0
        self.output = StandardOutput(driver.reactor, number, self._room)

    def _room(self) -> None:
        self.rooms += 1

    def finish(self) -> None:
        def done() -> None:
            self.finished += 1

        self.output.finish(done)


class TestOutput:
    def test_a_slow_reader_gets_all_of_it(self, driver: Driver, pipe: tuple[int, int]) -> None:
        target = Target(driver, pipe[1])
        for start in range(0, len(DATA), 32768):
            target.output.write(DATA[start : start + 32768])
        target.finish()
        os.close(pipe[1])
        assert target.output.isFull
        found = b""

        def read() -> bool:
            nonlocal found
            found += drain(pipe[0])
            return bool(target.finished)

        driver.until(read)
        assert found + drain(pipe[0]) == DATA
        assert target.finished == 1

    def test_it_is_full_and_has_room_again(self, driver: Driver, pipe: tuple[int, int]) -> None:
        target = Target(driver, pipe[1])
        target.output.write(DATA * 2)
        assert target.output.isFull
        found = b""

        def read() -> bool:
            nonlocal found
            found += drain(pipe[0])
            return target.rooms > 0 and not target.output.isFull

        driver.until(read)
        target.output.close()

    def test_a_reader_that_goes_away_breaks_it(self, driver: Driver, pipe: tuple[int, int]) -> None:
        target = Target(driver, pipe[1])
        os.close(pipe[0])
        target.output.write(b"to nobody")
        driver.until(lambda: target.output.isBroken)
        assert target.rooms == 1
        assert target.output.complaint() is None
        target.output.write(b"dropped")
        target.finish()
        assert target.finished == 1

    def test_a_file_is_written_at_once(self, driver: Driver, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with path.open("wb") as file:
            target = Target(driver, file.fileno())
            target.output.write(DATA)
            assert path.read_bytes() == DATA
            target.finish()
            assert target.finished == 1

    def test_a_full_disk_is_told(self, driver: Driver) -> None:
        with open("/dev/full", "wb") as full:
            target = Target(driver, full.fileno())
            target.output.write(b"no room for this")
            assert target.output.isBroken
            assert target.output.complaint() == "No space left on device"

    def test_closed_it_takes_nothing(self, driver: Driver, pipe: tuple[int, int]) -> None:
        before = openDescriptors()
        target = Target(driver, pipe[1])
        target.output.write(DATA * 2)
        target.output.close()
        target.output.write(b"more")
        assert openDescriptors() <= before
