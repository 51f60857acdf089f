"""The commands whose arguments are read as another program reads its own: ssh(1) and its like.

Rule: they are started often, in loops and by other programs, so that they load nothing of what the
other commands read their arguments by.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

MODULES = {
    "ssh": "limpet.scripts.ssh",
    "sftp": "limpet.scripts.sftp",
    "cp": "limpet.scripts.cp",
}
"""Command to the module whose `run` takes the arguments and ends the process."""


def load(command: str) -> Callable[[Sequence[str]], Any]:
    """Load one of `MODULES`, and return its `run`.

    `limpet ssh` begins to look for garbage when its session begins; the others at once.
    """
    # What is loaded stays: looking for garbage in it takes a sixth of the start.
    gc.disable()
    module = import_module(MODULES[command])
    if command != "ssh":
        gc.freeze()
        gc.enable()
    run: Callable[[Sequence[str]], Any] = module.run
    return run
