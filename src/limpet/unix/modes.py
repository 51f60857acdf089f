"""Terminal modes that a client asks for, set on a terminal of this machine.

Rule: what this machine does not have, or what is no value for it, is left as it is; no mode makes a
session fail (RFC 4254 section 8, RFC 8160).
"""

from __future__ import annotations

import termios
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from limpet.ttymodes import TTY_OP_END, TTY_OP_ISPEED, TTY_OP_OSPEED, TTYMODES

MAX_MODES = 256
"""Modes that are looked at: there are as many opcodes."""

NO_CHARACTER = 255
"""The value by which a client says that a function has no character (RFC 4254 section 8)."""

_SPEED_INDEX = {TTY_OP_ISPEED: 4, TTY_OP_OSPEED: 5}
_HARDWARE, _CHARACTERS = 2, 6


def applyModes(fd: int, modes: Iterable[tuple[int, int]]) -> None:
    """Set the modes of the terminal `fd`.

    Args:
        fd: The terminal; its own modes are the starting point.
        modes: Pairs of opcode and value, as the client sent them.
    """
    attributes: list[Any] = termios.tcgetattr(fd)
    for count, (opcode, value) in enumerate(modes):
        if opcode == TTY_OP_END or count >= MAX_MODES:
            break
        _applyMode(attributes, opcode, value)
    # The C library reports a mode that the kernel did not take; the others are set.
    with suppress(termios.error):
        termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _applyMode(attributes: list[Any], opcode: int, value: int) -> None:
    mode = TTYMODES.get(opcode)
    if mode is None:
        return
    if opcode in _SPEED_INDEX:
        speed = getattr(termios, f"B{value}", None)
        if speed is not None:
            attributes[_SPEED_INDEX[opcode]] = speed
    elif isinstance(mode, str):
        index = getattr(termios, mode, None)
        if index is not None and 0 <= value <= NO_CHARACTER:
            # 255 is "none" on the wire, and NUL is "none" here (_POSIX_VDISABLE of Linux).
            character = 0 if value == NO_CHARACTER else value
            attributes[_CHARACTERS][index] = bytes((character,))
    else:
        field, name = mode
        flag = getattr(termios, name, None)
        # A pseudo-terminal has no line whose bits and parity could be set; Linux refuses to.
        if flag is None or field == _HARDWARE:
            return
        if value:
            attributes[field] |= flag
        else:
            attributes[field] &= ~flag
