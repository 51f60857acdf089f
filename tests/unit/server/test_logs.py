"""Log lines: one per event, whatever is in it."""

from __future__ import annotations

import fcntl
import io
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from limpet.server.logs import MAX_LINE, MAX_LINE_BYTES, LineObserver, escaped


def lineOf(observer: LineObserver, text: str, **values: Any) -> str:
    stream = io.StringIO()
    observer.stream = stream
    Logger("limpet.test", observer=observer).info(text, **values)
    return stream.getvalue()


@pytest.fixture
def observer() -> LineObserver:
    return LineObserver(io.StringIO())


def test_aLineHasTimeAndLevel(observer: LineObserver) -> None:
    moment, level, text = lineOf(observer, "{who} came", who="someone").split(" ", 2)
    assert (len(moment), moment[-1], level, text) == (20, "Z", "info", "someone came\n")


def test_M7_whatAPeerSendsCannotMakeALine(observer: LineObserver) -> None:
    forged = "root\n2026-01-01T00:00:00Z info accepted\r\x1b[2J\u202e\x85\u2028"
    line = lineOf(observer, "user {user}", user=forged)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert "\\n2026" in line
    assert "\\x1b[2J\\u202e\\x85\\u2028" in line


@given(st.text())
def test_M7_escapedTextIsPrintable(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


def test_aFailureIsOneLineWithItsPlace(observer: LineObserver) -> None:
    stream = io.StringIO()
    observer.stream = stream
    logger = Logger("limpet.test", observer=observer)
    try:
        raise RuntimeError("it\nbroke")
    except RuntimeError:
        logger.failure("while testing", failure=Failure(), level=LogLevel.error)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "error while testing: RuntimeError: it\\nbroke (test_logs.py:" in line
    verbose = LineObserver(io.StringIO(), isVerbose=True)
    try:
        raise RuntimeError("again")
    except RuntimeError:
        Logger("limpet.test", observer=verbose).failure("x", failure=Failure())
    text = verbose.stream.getvalue()  # type: ignore[attr-defined]
    assert text.count("\n") == 1
    assert "Traceback" in text


def test_longTextIsCut(observer: LineObserver) -> None:
    assert len(lineOf(observer, "{x}", x="y" * 100_000)) < MAX_LINE + 50


@pytest.mark.parametrize("letter", ["y", "\x01", "é", "\U0001f600", "\u202e", "\udc80"])
def test_aLineIsNoLongerThanAPipeTakesAtOnce(observer: LineObserver, letter: str) -> None:
    line = lineOf(observer, "{x}", x=letter * 100_000)
    assert 1000 < len(line.encode("utf-8", "backslashreplace")) <= MAX_LINE_BYTES


def test_aReaderWhoLooksElsewhereKeepsNobodyWaiting() -> None:
    """Nor does a terminal that was stopped. What did not fit is counted."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as writer:
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 65536)
        log = Logger("limpet.test", observer=LineObserver(writer))
        for number in range(1000):
            log.info("{number} {x}", number=number, x="x" * 500)
        seen = reader.read(1 << 20)
        count = seen.count(b"\n")
        assert 50 < count < 1000
        assert seen.endswith(b"\n")
        log.info("again")
        last = reader.read(1 << 20).splitlines()
    assert f"warn {1000 - count} lines are missing here".encode() in last[0]
    assert last[1].endswith(b" info again")
    assert len(last) == 2


def test_aLogThatNobodyReadsEndsNothing() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stream = Closed()
    Logger("limpet.test", observer=LineObserver(stream)).info("x")
    closed = io.StringIO()
    closed.close()
    Logger("limpet.test", observer=LineObserver(closed)).info("x")
