"""Terminal modes of RFC 4254, set on a real terminal."""

from __future__ import annotations

import termios
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limpet import ttymodes
from limpet.unix.modes import applyModes
from limpet.unix.spawning import Terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def attributes(terminal: Terminal) -> list[Any]:
    found: list[Any] = termios.tcgetattr(terminal.slave)
    return found


def test_flagsAreSetAndCleared(terminal: Terminal) -> None:
    applyModes(terminal.slave, [(ttymodes.ECHO, 0), (ttymodes.IXANY, 1), (ttymodes.ONLCR, 0)])
    found = attributes(terminal)
    assert not found[3] & termios.ECHO
    assert found[0] & termios.IXANY
    assert not found[1] & termios.ONLCR
    applyModes(terminal.slave, [(ttymodes.ECHO, 1)])
    assert attributes(terminal)[3] & termios.ECHO


def test_charactersAreSetAnd255IsNone(terminal: Terminal) -> None:
    applyModes(terminal.slave, [(ttymodes.VINTR, 7), (ttymodes.VQUIT, 255), (ttymodes.VEOF, 999)])
    characters = attributes(terminal)[6]
    assert characters[termios.VINTR] == b"\x07"
    assert characters[termios.VQUIT] == b"\0"
    assert characters[termios.VEOF] == b"\x04"


def test_speedsAreSet(terminal: Terminal) -> None:
    applyModes(terminal.slave, [(ttymodes.TTY_OP_ISPEED, 9600), (ttymodes.TTY_OP_OSPEED, 9600)])
    assert attributes(terminal)[4:6] == [termios.B9600, termios.B9600]


def test_theHardwareOfALineIsLeftAlone(terminal: Terminal) -> None:
    before = attributes(terminal)
    applyModes(terminal.slave, [(ttymodes.CS7, 1), (ttymodes.CS8, 0), (ttymodes.PARENB, 1)])
    assert attributes(terminal) == before


def test_nothingAfterTheEndIsLookedAt(terminal: Terminal) -> None:
    before = attributes(terminal)
    applyModes(terminal.slave, [(ttymodes.TTY_OP_END, 0), (ttymodes.ECHO, 0)])
    assert attributes(terminal) == before


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(modes=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1)), max_size=300))
def test_noModesMakeItFail(terminal: Terminal, modes: list[tuple[int, int]]) -> None:
    applyModes(terminal.slave, modes)
