"""Signals by the names that the protocol gives them (RFC 4254 section 6.10).

Rule: every number has a name. Thirteen are the RFC's; others are this machine's, with "@" and its
platform behind, as the RFC asks of local names; what this machine has no name for is named by
number.
"""

from __future__ import annotations

import signal
import sys

SUPPORTED_SIGNALS = [
    "ABRT",
    "ALRM",
    "FPE",
    "HUP",
    "ILL",
    "INT",
    "KILL",
    "PIPE",
    "QUIT",
    "SEGV",
    "TERM",
    "USR1",
    "USR2",
]
"""The names of RFC 4254, without "SIG"."""


def signalNames() -> dict[int, str]:
    """{number: "SIGTERM", or "SIGBUS@linux"} for all signals that this machine has a name for."""
    names: dict[int, str] = {}
    for name in SUPPORTED_SIGNALS:
        number = getattr(signal, "SIG" + name, None)
        if number is not None:
            names[int(number)] = "SIG" + name
    for name, number in vars(signal).items():
        if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(number, int):
            names.setdefault(int(number), f"{name}@{sys.platform}")
    return names


def namelessSignal(number: int) -> str:
    """A name for a signal that this machine has no name for: "SIGRT35@linux"."""
    lowest = getattr(signal, "SIGRTMIN", None)
    highest = getattr(signal, "SIGRTMAX", None)
    kind = "RT" if lowest and highest and lowest <= number <= highest else ""
    return f"SIG{kind}{number}@{sys.platform}"


def signalNumber(name: bytes) -> int | None:
    """The number of a signal that the RFC names (b"TERM"), or None for any other."""
    text = name.decode("ascii", "backslashreplace")
    if text not in SUPPORTED_SIGNALS:
        return None
    number = getattr(signal, "SIG" + text, None)
    return None if number is None else int(number)
