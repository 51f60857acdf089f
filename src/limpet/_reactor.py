"""The one module that names the global reactor, resolved at first use and never at import.

Everything else takes its reactor or clock as an argument and asks here only for the default.
"""

from __future__ import annotations

from typing import Any


def getReactor() -> Any:
    """The running program's reactor; installs Twisted's default one if none is installed yet."""
    from twisted.internet import reactor

    return reactor
