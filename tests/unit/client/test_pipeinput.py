"""A pipe that is read for a program far away: never waited for, whole, and left open."""

from __future__ import annotations

import gzip
import io
import os
import pty
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from limpet.client.pipeinput import PipeInput, watchable
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


class Pipe:
    """Both ends; `reader` is what a program would give."""

    def __init__(self, buffering: int) -> None:
        self.number, self.writing = os.pipe()
        self.reader: IO[bytes] = open(self.number, "rb", buffering)  # noqa: SIM115 closed below

    def write(self, data: bytes) -> None:
        os.write(self.writing, data)

    def end(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        self.end()
        self.reader.close()


@pytest.fixture(params=[0, -1], ids=["unbuffered", "buffered"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    pipe = Pipe(request.param)
    yield pipe
    pipe.close()


class Reading:
    """What was read."""

    def __init__(self, driver: Driver, file: IO[bytes], size: int = 1000) -> None:
        number = watchable(file)
        assert number is not None
        self.data = b""
        self.ends: list[Exception | None] = []
        self.input = PipeInput(driver.reactor, file, number, size, self.take, self.ends.append)
        self.input.resumeProducing()

    def take(self, data: bytes) -> None:
        self.data += data


def test_nothingIsWaitedFor(driver: Driver, pipe: Pipe) -> None:
    """The read waited for its whole size, and the reactor with it."""
    reading = Reading(driver, pipe.reader)
    driver.turn()
    assert reading.data == b""
    pieces: list[bytes] = []
    for piece in (b"one", b"two"):
        pipe.write(piece)
        pieces.append(piece)
        driver.until(lambda: reading.data == b"".join(pieces))
    assert reading.ends == []
    pipe.end()
    driver.until(lambda: reading.ends)
    assert (reading.data, reading.ends) == (b"onetwo", [None])
    assert not pipe.reader.closed
    assert driver.reactor.getReaders() == [driver.reactor.waker]


def test_allOfItComesThoughItsWriterHasGone(driver: Driver, pipe: Pipe) -> None:
    data = os.urandom(50_000)
    pipe.write(data)
    pipe.end()
    reading = Reading(driver, pipe.reader)
    driver.until(lambda: reading.ends)
    assert (reading.data, reading.ends) == (data, [None])


def test_whatPythonHasReadAheadComesFirst(driver: Driver) -> None:
    pipe = Pipe(-1)
    pipe.write(b"a line\nthe rest")
    assert pipe.reader.readline() == b"a line\n"
    reading = Reading(driver, pipe.reader)
    pipe.end()
    driver.until(lambda: reading.ends)
    assert reading.data == b"the rest"
    pipe.close()


def test_whatIsPausedIsLeftInThePipe(driver: Driver, pipe: Pipe) -> None:
    reading = Reading(driver, pipe.reader)
    reading.input.pauseProducing()
    pipe.write(b"later")
    driver.turn()
    assert reading.data == b""
    reading.input.resumeProducing()
    driver.until(lambda: reading.data == b"later")
    reading.input.stopProducing()
    pipe.write(b"never")
    pipe.end()
    driver.turn()
    reading.input.resumeProducing()
    driver.turn()
    assert (reading.data, reading.ends) == (b"later", [])


def test_anotherReaderOfOneThatDoesNotBlockIsNoEnd(driver: Driver, pipe: Pipe) -> None:
    os.set_blocking(pipe.number, False)
    reading = Reading(driver, pipe.reader)
    reading.input.doRead()
    assert reading.ends == []
    pipe.write(b"there it is")
    driver.until(lambda: reading.data)
    pipe.end()
    driver.until(lambda: reading.ends)
    assert (reading.data, reading.ends) == (b"there it is", [None])


def test_oneThatIsClosedMeanwhileIsTold(driver: Driver, pipe: Pipe) -> None:
    reading = Reading(driver, pipe.reader)
    driver.turn()
    pipe.reader.close()
    pipe.write(b"x")
    driver.until(lambda: reading.ends)
    assert isinstance(reading.ends[0], ValueError)


def test_aSocketIsReadToo(driver: Driver) -> None:
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as file:
        reading = Reading(driver, file)
        theirs.sendall(b"from there")
        driver.until(lambda: reading.data == b"from there")
        theirs.close()
        driver.until(lambda: reading.ends)
        assert reading.ends == [None]


def test_whatIsWatched(tmp_path: Path, pipe: Pipe) -> None:
    assert watchable(pipe.reader) == pipe.number
    path = tmp_path / "file"
    path.write_bytes(b"x")
    master, slave = pty.openpty()
    with (
        path.open("rb") as plain,
        path.open("rb", 0) as raw,
        open("/dev/null", "rb") as nothing,
        open(slave, "rb", 0) as terminal,
        gzip.GzipFile(fileobj=pipe.reader) as packed,
    ):
        assert watchable(terminal) == slave
        others: list[Any] = [plain, raw, nothing, packed, io.BytesIO(b""), object(), io.StringIO()]
        assert [watchable(file) for file in others] == [None] * len(others)
    os.close(master)
    pipe.reader.close()
    assert watchable(pipe.reader) is None
