"""The terminal: modes as the wire has them, raw and back again, and questions asked harmlessly."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from limpet import ttymodes
from limpet.client import terminal
from limpet.client.interaction import IUserInterface, NobodyToAsk
from limpet.client.terminal import (
    RawTerminal,
    TerminalInterface,
    encodedModes,
    isTerminal,
    windowSize,
)
from limpet.wire.requests import parseModes
from tests.descriptors import openDescriptors
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


class Screen:
    """A terminal: our end of it, and that of the person."""

    def __init__(self) -> None:
        self.person, self.fd = pty.openpty()
        self.path = os.ttyname(self.fd)
        self._seen = b""

    def seen(self) -> bytes:
        """All that the person has seen so far."""
        os.set_blocking(self.person, False)
        with suppress(BlockingIOError):
            while piece := os.read(self.person, 65536):
                self._seen += piece
        return self._seen

    def type(self, data: bytes) -> None:
        os.write(self.person, data)

    @property
    def localFlags(self) -> int:
        flags: int = termios.tcgetattr(self.fd)[3]
        return flags

    def close(self) -> None:
        for fd in (self.person, self.fd):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.close()


def test_its_size_has_the_rows_first(screen: Screen) -> None:
    fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 1320, 900))
    assert windowSize(screen.fd) == (50, 132, 1320, 900)


def test_what_is_no_terminal_has_neither_size_nor_modes() -> None:
    with open(os.devnull, "rb") as null:
        assert not isTerminal(null.fileno())
        assert windowSize(null.fileno()) == (0, 0, 0, 0)
        assert encodedModes(null.fileno()) == b"\x00"
    assert not isTerminal(null.fileno() if not null.closed else 999)


def test_modes_are_those_of_the_wire(screen: Screen) -> None:
    attributes = termios.tcgetattr(screen.fd)
    attributes[0] |= termios.IXON
    attributes[3] &= ~termios.ECHO
    attributes[4] = attributes[5] = termios.B38400
    attributes[6][termios.VINTR] = b"\x03"
    attributes[6][termios.VEOL] = b"\x00"
    termios.tcsetattr(screen.fd, termios.TCSANOW, attributes)
    modes = dict(parseModes(encodedModes(screen.fd)))
    assert modes[ttymodes.IXON] == 1
    assert modes[ttymodes.ECHO] == 0
    assert modes[ttymodes.VINTR] == 3
    assert modes[ttymodes.VEOL] == 255
    assert modes[ttymodes.TTY_OP_OSPEED] == 38400
    assert modes[ttymodes.CS8] == 1


class TestRaw:
    def test_every_key_goes_through(self, screen: Screen) -> None:
        raw = RawTerminal(screen.fd)
        raw.enter()
        screen.type(b"\x03\x04\x1a\r~.")
        assert os.read(screen.fd, 100) == b"\x03\x04\x1a\r~."
        assert screen.seen() == b""
        os.write(screen.fd, b"line\n")
        assert screen.seen() == b"line\n"

    def test_it_is_put_back(self, screen: Screen) -> None:
        before = termios.tcgetattr(screen.fd)
        raw = RawTerminal(screen.fd)
        raw.enter()
        assert termios.tcgetattr(screen.fd) != before
        raw.restore()
        assert termios.tcgetattr(screen.fd) == before
        assert not raw.isRaw

    def test_it_is_put_back_once(self, screen: Screen) -> None:
        raw = RawTerminal(screen.fd)
        raw.enter()
        raw.restore()
        attributes = termios.tcgetattr(screen.fd)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(screen.fd, termios.TCSANOW, attributes)
        raw.restore()
        assert termios.tcgetattr(screen.fd) == attributes

    def test_one_that_is_gone_is_no_failure(self) -> None:
        screen = Screen()
        raw = RawTerminal(screen.fd)
        raw.enter()
        screen.close()
        raw.restore()


class Asked:
    """A question's answer, once it is there."""

    def __init__(self, answer: Any) -> None:
        self.results: list[Any] = []
        answer.addBoth(self.results.append)

    @property
    def value(self) -> Any:
        (result,) = self.results
        return result


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def ui(driver: Driver, screen: Screen, told: list[str]) -> TerminalInterface:
    return TerminalInterface(driver.reactor, told.append, path=screen.path)


class TestQuestions:
    def test_it_is_a_user_interface(self, ui: TerminalInterface) -> None:
        assert verifyObject(IUserInterface, ui)

    def test_a_secret_is_not_seen(self, driver: Driver, screen: Screen, ui: Any) -> None:
        before = termios.tcgetattr(screen.fd)
        asked = Asked(ui.ask(b"Password: ", False))
        assert not screen.localFlags & termios.ECHO
        screen.type(b"hunter2\n")
        driver.until(lambda: asked.results)
        assert asked.value == b"hunter2"
        assert screen.seen() == b"Password: \r\n"
        assert termios.tcgetattr(screen.fd) == before

    def test_a_code_is_seen(self, driver: Driver, screen: Screen, ui: Any) -> None:
        asked = Asked(ui.ask(b"Code: ", True))
        screen.type(b"123456\n")
        driver.until(lambda: asked.results)
        assert asked.value == b"123456"
        assert screen.seen() == b"Code: 123456\r\n"

    def test_a_line_can_be_corrected(self, driver: Driver, screen: Screen, ui: Any) -> None:
        asked = Asked(ui.ask(b"? ", False))
        screen.type(b"wrong\x15right\n")
        driver.until(lambda: asked.results)
        assert asked.value == b"right"

    def test_questions_wait_for_each_other(self, driver: Driver, screen: Screen, ui: Any) -> None:
        first, second = Asked(ui.ask(b"one? ", True)), Asked(ui.ask(b"two? ", True))
        assert screen.seen() == b"one? "
        screen.type(b"1\n")
        driver.until(lambda: first.results and b"two? " in screen.seen())
        screen.type(b"2\n")
        driver.until(lambda: second.results)
        assert (first.value, second.value) == (b"1", b"2")

    def test_the_end_of_input_is_no_answer(self, driver: Driver, screen: Screen, ui: Any) -> None:
        asked = Asked(ui.ask(b"? ", True))
        screen.type(b"\x04")
        driver.until(lambda: asked.results)
        assert asked.value.check(NobodyToAsk)

    def test_without_a_terminal_nobody_is_asked(self, driver: Driver) -> None:
        for path in ("/nonexistent", os.devnull):
            ui = TerminalInterface(driver.reactor, lambda text: None, path=path)
            before = openDescriptors()
            assert Asked(ui.ask(b"? ", True)).value.check(NobodyToAsk)
            assert openDescriptors() <= before

    def test_batch_mode_asks_nobody(self, driver: Driver, screen: Screen) -> None:
        ui = TerminalInterface(driver.reactor, lambda text: None, mayAsk=False, path=screen.path)
        assert Asked(ui.ask(b"? ", True)).value.check(NobodyToAsk)
        assert screen.seen() == b""

    def test_a_question_that_is_given_up_puts_the_terminal_back(
        self, screen: Screen, ui: TerminalInterface
    ) -> None:
        before, modes = openDescriptors(), termios.tcgetattr(screen.fd)
        Asked(ui.ask(b"Password: ", False))
        ui.abandon()
        assert termios.tcgetattr(screen.fd) == modes
        assert openDescriptors() <= before
        assert screen.seen() == b"Password: \r\n"

    def test_a_process_that_was_stopped_hides_the_secret_again(
        self, driver: Driver, screen: Screen, ui: Any
    ) -> None:
        asked = Asked(ui.ask(b"Password: ", False))
        attributes = termios.tcgetattr(screen.fd)
        attributes[3] |= termios.ECHO
        termios.tcsetattr(screen.fd, termios.TCSANOW, attributes)
        ui.resume()
        assert not screen.localFlags & termios.ECHO
        screen.type(b"x\n")
        driver.until(lambda: asked.results)


class TestYesOrNo:
    @pytest.mark.parametrize(
        ("typed", "verdict"),
        [
            (b"yes\n", True),
            (b"YES \n", True),
            (b"no\n", False),
            (b"SHA256:abc\n", True),
            (b"SHA256:abd\n", False),
            (b"SHA256:ab\n", False),
        ],
    )
    def test_an_answer(
        self, driver: Driver, screen: Screen, ui: Any, typed: bytes, verdict: bool
    ) -> None:
        asked = Asked(ui.prompt(b"The key is SHA256:abc.\nRight? "))
        screen.type(typed)
        driver.until(lambda: asked.results)
        assert asked.value is verdict

    def test_what_is_neither_is_asked_again(self, driver: Driver, screen: Screen, ui: Any) -> None:
        asked = Asked(ui.prompt(b"Right? "))
        for typed in (b"y\n", b"\n"):
            screen.type(typed)
            driver.turn(5)
        assert not asked.results
        driver.until(lambda: screen.seen().count(b"Please type") == 2)
        screen.type(b"yes\n")
        driver.until(lambda: asked.results)
        assert asked.value is True


def test_there_is_a_limit_to_an_answer(driver: Driver, screen: Screen, ui: Any) -> None:
    assert terminal.MAX_ANSWER >= 4096
    raw = RawTerminal(screen.fd)
    raw.enter()
    asked = Asked(ui.ask(b"? ", True))
    screen.type(b"x" * 3000 + b"\n")
    driver.until(lambda: asked.results)
    assert asked.value == b"x" * 3000
    raw.restore()
