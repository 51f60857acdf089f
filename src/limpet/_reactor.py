"""The one module that names the global reactor, resolved at first use and never at import.

Everything else takes its reactor or clock as an argument and asks here only for the default.
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary

onLoops: WeakKeyDictionary[Any, ReferenceType[Any]] = WeakKeyDictionary()
"""Reactors on asyncio loops that somebody else runs; `limpet.aio` makes them. Each is kept by what
is on it, and goes with the last of that."""


def getReactor() -> Any:
    """The reactor that runs the caller.

    On an asyncio loop that has one of its own (`onLoops`) that is it; else it is the program's:
    Twisted's default one is installed if none is installed yet.
    """
    loop = sys.modules["asyncio"]._get_running_loop() if onLoops else None
    known = None if loop is None else onLoops.get(loop)
    reactor = None if known is None else known()
    if reactor is not None:
        return reactor
    from twisted.internet import reactor as installed

    return installed
