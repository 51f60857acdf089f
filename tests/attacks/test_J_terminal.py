"""attacks.md J5 at a person's terminal: what a server says does nothing but stand there."""

from __future__ import annotations

import os
from typing import Any

import pytest

from limpet.client.terminal import shownText
from limpet.scripts.messages import Loudness, Messages
from limpet.wire.fields import NS
from tests.unit.client.test_attaching import Bench, bench
from tests.unit.client.test_terminal import Screen, screen, told, ui
from tests.unit.unix.driving import driver

__all__ = ["bench", "driver", "screen", "told", "ui"]

ESC, BELL = "\x1b", "\x07"
HOSTILE = f"a{ESC}]0;title{BELL}\r\nb\tc\u202e\x9b\x7f\x00\rd"
HARMLESS = "a\\x1b]0;title\\x07\nb\tc\\u202e\\x9b\\x7f\\x00\\rd"


def test_J5_words_of_others() -> None:
    assert shownText(HOSTILE) == HARMLESS
    assert shownText(b"\xff\xfeok") == "\\xff\\xfeok"
    assert shownText("Grüße, 世界") == "Grüße, 世界"


def test_J5_a_prompt_of_the_servers(screen: Screen, ui: Any) -> None:
    ui.ask(f"pass{ESC}[2J{BELL}: ".encode(), False)
    assert screen.seen() == b"pass\\x1b[2J\\x07: "
    ui.abandon()


def test_J5_a_banner(ui: Any, told: list[str]) -> None:
    ui.show(f"Welcome{ESC}c\nline 2".encode())
    ui.warn(b"changed\x1b!\n")
    assert told == ["Welcome\\x1bc\nline 2\n", "changed\\x1b!\n"]


@pytest.mark.parametrize("name", [b"TERM\x1b[2J", b"\xff\xff", b"A" * 5000, b""])
def test_J5_how_a_command_ended(bench: Bench, name: bytes) -> None:
    bench.open()
    body = NS(name) + b"\0" + NS(HOSTILE.encode()) + NS(b"")
    bench.hearRequest(b"exit-signal", body)
    bench.end()
    assert bench.result() == 255
    (line,) = bench.told
    assert line.isprintable()
    assert len(line) < 2000


def test_J5_what_is_said_is_whole_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever words a message quotes, no line looks like one of another program."""
    messages = Messages("limpet: ", Loudness.INFO)
    messages.say(f"quoted: {HOSTILE}\nPassword: ")
    said = capfd.readouterr().err
    assert ESC not in said
    assert BELL not in said
    assert all(line.startswith("limpet: ") for line in said.splitlines())


def test_J5_bad_bytes_end_no_session(bench: Bench) -> None:
    bench.open()
    bench.hearData(b"\xff\xfe\xfd" + os.urandom(64))
    assert bench.seen().startswith(b"\xff\xfe\xfd")
