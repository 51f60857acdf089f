"""`limpet.ttymodes`: the opcodes name things that this machine's termios has."""

from __future__ import annotations

import pytest

from limpet import ttymodes
from limpet.ttymodes import TTYMODES

termios = pytest.importorskip("termios")

UNKNOWN_TO_LINUX = {"VDSUSP", "VFLUSH", "VSWTCH", "VSTATUS"}
UNKNOWN_TO_PYTHON = {"IMAXBEL", "IUTF8", "IUCLC", "OLCUC", "XCASE", "ECHOCTL", "ECHOKE", "PENDIN"}


def test_numbers_of_the_rfc() -> None:
    assert (ttymodes.VINTR, ttymodes.VDISCARD) == (1, 18)
    assert (ttymodes.IGNPAR, ttymodes.IUTF8) == (30, 42)
    assert (ttymodes.ISIG, ttymodes.PENDIN) == (50, 62)
    assert (ttymodes.OPOST, ttymodes.ONLRET) == (70, 75)
    assert (ttymodes.CS7, ttymodes.PARODD) == (90, 93)
    assert (ttymodes.TTY_OP_ISPEED, ttymodes.TTY_OP_OSPEED) == (128, 129)


def test_names_are_those_of_termios() -> None:
    for opcode, entry in TTYMODES.items():
        name = entry if isinstance(entry, str) else entry[1]
        if name in UNKNOWN_TO_LINUX | UNKNOWN_TO_PYTHON or name.endswith("SPEED"):
            continue
        assert hasattr(termios, name), (opcode, name)


def test_each_flag_stands_in_its_word() -> None:
    words = {0: "IGNBRK", 1: "OPOST", 2: "CSIZE", 3: "ISIG"}
    opcodes = {0: range(30, 50), 1: range(70, 80), 2: range(90, 100), 3: range(50, 70)}
    for opcode, entry in TTYMODES.items():
        if not isinstance(entry, str):
            assert entry[0] in words
            assert opcode in opcodes[entry[0]]
