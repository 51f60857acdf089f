"""What a command says: as much as was asked for, in whole lines, wherever it goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.logger import LogLevel

from limpet.scripts.messages import Loudness, Messages


def said(loudness: Loudness, capfd: pytest.CaptureFixture[str]) -> list[str]:
    messages = Messages("x: ", loudness)
    for level in Loudness:
        messages.say(level.name, level)
    return [line.removeprefix("x: ") for line in capfd.readouterr().err.splitlines()]


def test_as_much_as_was_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    names = [level.name for level in Loudness]
    assert said(Loudness.QUIET, capfd) == []
    assert said(Loudness.ERROR, capfd) == names[:3]
    assert said(Loudness.INFO, capfd) == names[:4]
    assert said(Loudness.DEBUG3, capfd) == names


def test_each_line_has_the_prefix(capfd: pytest.CaptureFixture[str]) -> None:
    Messages("x: ").say("one\ntwo\n")
    assert capfd.readouterr().err == "x: one\nx: two\n"


def test_a_raw_terminal_needs_to_be_told_of_the_lines_start(
    capfd: pytest.CaptureFixture[str],
) -> None:
    messages = Messages("x: ")
    messages.isRaw = True
    messages.say("one\ntwo")
    assert capfd.readouterr().err == "x: one\r\nx: two\r\n"


def test_a_file_takes_it_behind_what_it_has(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    messages = Messages("x: ")
    messages.writeTo(str(path))
    messages.isRaw = True
    messages.say("after")
    assert path.read_text() == "before\nx: after\n"
    assert capfd.readouterr().err == ""


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Messages().writeTo(str(tmp_path / "missing" / "log"))


@pytest.mark.parametrize(
    ("level", "least"),
    [
        (LogLevel.error, Loudness.INFO),
        (LogLevel.info, Loudness.DEBUG1),
        (LogLevel.debug, Loudness.DEBUG3),
    ],
)
def test_the_librarys_log_is_for_those_who_ask(
    capfd: pytest.CaptureFixture[str], level: object, least: Loudness
) -> None:
    for loudness in Loudness:
        Messages("", loudness)({"log_level": level, "log_format": "{what}", "what": "words"})
        assert bool(capfd.readouterr().err) == (loudness >= least)
