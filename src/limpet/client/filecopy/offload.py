"""Where the blocking calls on local files run.

Rule: what waits for a disk goes to a thread of the reactor's pool; what is a matter of microseconds
on a local one (opening, renaming, what the page cache takes or gives) is done at once, because the
way to a thread and back costs more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import defer

from limpet.client.names import aside

SLOW_SECONDS = 0.05
"""A block that took longer to be written was not just copied to the page cache (ours): 255 KiB take
a thousandth of that."""

Offload = Callable[..., "defer.Deferred[Any]"]
"""Takes a function and its arguments, and returns a Deferred of its result."""


def toThreadsOf(reactor: Any) -> Offload:
    """Runs functions in the reactor's thread pool; in the loop's, where it is one on a loop."""
    return partial(aside, reactor)


def atOnce(function: Callable[..., Any], *arguments: Any) -> defer.Deferred[Any]:
    """Runs functions here and now: for tests, and where no reactor runs."""
    return defer.maybeDeferred(function, *arguments)
