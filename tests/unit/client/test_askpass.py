"""The program of SSH_ASKPASS: when it asks, what it is given, and what becomes of its answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from limpet.client.askpass import MAX_ANSWER, MAX_QUESTION, Askpass, AskpassQuestion, askpassOf
from limpet.client.interaction import NobodyToAsk
from limpet.client.terminal import TerminalInterface
from tests.descriptors import openDescriptors
from tests.unit.client.test_terminal import Asked, Screen, screen
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver", "screen"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"DISPLAY": ":0"}, None),
        ({"SSH_ASKPASS": ""}, None),
        ({"SSH_ASKPASS": "a"}, None),
        ({"SSH_ASKPASS": "a", "DISPLAY": ":0"}, Askpass("a", False)),
        ({"SSH_ASKPASS": "a", "WAYLAND_DISPLAY": "w"}, Askpass("a", False)),
        ({"SSH_ASKPASS": "a", "SSH_ASKPASS_REQUIRE": "prefer"}, None),
        ({"SSH_ASKPASS": "a", "SSH_ASKPASS_REQUIRE": "prefer", "DISPLAY": "x"}, Askpass("a", True)),
        ({"SSH_ASKPASS": "a", "SSH_ASKPASS_REQUIRE": "force"}, Askpass("a", True)),
        ({"SSH_ASKPASS": "a", "SSH_ASKPASS_REQUIRE": "never", "DISPLAY": "x"}, None),
        ({"SSH_ASKPASS": "a", "SSH_ASKPASS_REQUIRE": "what", "DISPLAY": "x"}, Askpass("a", False)),
        ({"SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "x"}, None),
    ],
)
def test_when(environment: dict[str, str], expected: Askpass | None) -> None:
    assert askpassOf(environment) == expected


class Program:
    """A program that writes down what it is asked, and does what the test says."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ask pass"
        self.asked = tmp_path / "asked"

    def does(self, script: str) -> None:
        self.path.write_text(f'#!/bin/sh\nprintf "%s|" "$#" "$1" >> "{self.asked}"\n{script}\n')
        self.path.chmod(0o700)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def interface(driver: Driver, program: Program, path: str, isPreferred: bool = False) -> Any:
    askpass = Askpass(str(program.path), isPreferred)
    return TerminalInterface(driver.reactor, lambda text: None, path=path, askpass=askpass)


def answerOf(driver: Driver, asking: Any) -> Any:
    asked = Asked(asking)
    driver.until(lambda: asked.results)
    return asked.value


def test_an_answer(driver: Driver, program: Program) -> None:
    program.does("printf 'hunter2\\r\\nmore\\n'; cat")
    before = openDescriptors()
    ui = interface(driver, program, "/nonexistent")
    assert answerOf(driver, ui.ask(b"Pass$(word) of; `x` \x1b[2J: ", False)) == b"hunter2"
    assert program.asked.read_text() == "1|Pass$(word) of; `x` \\x1b[2J: |"
    assert openDescriptors() <= before


def test_a_terminal_comes_first(driver: Driver, program: Program, screen: Screen) -> None:
    program.does("echo program")
    asked = Asked(interface(driver, program, screen.path).ask(b"? ", True))
    screen.type(b"person\n")
    driver.until(lambda: asked.results)
    assert asked.value == b"person"
    assert answerOf(driver, interface(driver, program, screen.path, True).ask(b"? ", True)) == (
        b"program"
    )


def test_batch_mode_starts_nothing(driver: Driver, program: Program) -> None:
    program.does("echo program")
    ui = TerminalInterface(
        driver.reactor,
        lambda text: None,
        mayAsk=False,
        askpass=Askpass(str(program.path), True),
    )
    assert Asked(ui.ask(b"? ", True)).value.check(NobodyToAsk)
    assert not program.asked.exists()


def test_no_answer(driver: Driver, program: Program) -> None:
    program.does("echo half; exit 1")
    ui = interface(driver, program, "/nonexistent")
    assert answerOf(driver, ui.ask(b"? ", True)).check(NobodyToAsk)


def test_a_program_that_is_not_there(driver: Driver, program: Program) -> None:
    told: list[str] = []
    ui = TerminalInterface(driver.reactor, told.append, askpass=Askpass("/nonexistent/x", True))
    assert answerOf(driver, ui.ask(b"? ", True)).check(NobodyToAsk)
    assert told == ["cannot start /nonexistent/x (SSH_ASKPASS): No such file or directory\n"]


@pytest.mark.parametrize(
    ("said", "verdict", "times"),
    [("yes", True, 1), ("no", False, 1), ("SHA256:abc", True, 1), ("SHA256:x", False, 1)],
)
def test_yes_or_no(driver: Driver, program: Program, said: str, verdict: bool, times: int) -> None:
    program.does(f"echo {said}")
    ui = interface(driver, program, "/nonexistent")
    assert answerOf(driver, ui.prompt(b"The key is SHA256:abc.\nRight? ")) is verdict
    assert program.asked.read_text() == "1|The key is SHA256:abc.\nRight? |" * times


def test_a_program_that_never_says_yes_or_no_is_not_asked_for_ever(
    driver: Driver, program: Program
) -> None:
    program.does("echo hunter2")
    ui = interface(driver, program, "/nonexistent")
    assert answerOf(driver, ui.prompt(b"Right? ")) is False
    assert program.asked.read_text().count("1|") == 10


def test_a_question_that_is_given_up_ends_the_program(driver: Driver, program: Program) -> None:
    program.does("exec sleep 1000")
    before = openDescriptors()
    ui = interface(driver, program, "/nonexistent")
    asked = Asked(ui.ask(b"? ", True))
    (process,) = [ui._question._process]
    ui.abandon()
    driver.until(lambda: process.poll() is not None)
    assert process.returncode == -15
    assert openDescriptors() <= before
    assert asked.value.check(CancelledError)


def test_limits(driver: Driver, program: Program) -> None:
    program.does("head -c 100000 /dev/zero | tr '\\0' x")
    question = AskpassQuestion(driver.reactor, str(program.path), "y" * 1_000_000)
    assert answerOf(driver, question.answer) == b"x" * MAX_ANSWER
    assert len(program.asked.read_text()) == MAX_QUESTION + 3


def test_it_reads_nothing_of_ours(driver: Driver, program: Program) -> None:
    """Standard input may be data for the command at the server."""
    program.does("readlink /proc/self/fd/0")
    ui = interface(driver, program, "/nonexistent")
    assert answerOf(driver, ui.ask(b"? ", True)) == os.devnull.encode()
