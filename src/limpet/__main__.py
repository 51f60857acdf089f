"""The `limpet` command, and `python -m limpet`, which is the same.

Rule: until the command is loaded an interruption ends the process as it ends any other, without a
word of Python's; from then on each command says what an interruption does. Where whoever started it
had interruptions ignored they stay ignored.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from limpet.scripts.standard import OutputLost, endWithoutOutput, ensureStandardStreams

OUTPUT_LOST = 1
"""Exit status where standard output takes nothing; `limpet ssh` has its own."""


def start() -> None:
    """Load the commands and run the one that was asked for."""
    ensureStandardStreams()
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from limpet.scripts import foreign

    run: Callable[[], Any]
    command, *arguments = sys.argv[1:] or [""]
    if command in foreign.MODULES:
        run = partial(foreign.load(command), arguments)
    else:
        from limpet.scripts.main import main

        run = main
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
        sys.stdout.flush()
    except OutputLost as lost:
        endWithoutOutput(lost, OUTPUT_LOST)


if __name__ == "__main__":
    start()
