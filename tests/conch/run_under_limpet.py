"""Runs test modules of the installed Twisted Conch against Limpet, under Conch's module names.

    python run_under_limpet.py MODULE…      prints one JSON object per test

`limpet.install_as_conch()` comes first, so that the tests import Limpet without a change to them;
with ON_CONCH in the environment it does not, which tells how they go on Conch itself. This runs in
a process of its own, because afterwards `twisted.conch` is not Conch any more.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from collections.abc import Iterator
from typing import Any

from limpet import install_as_conch

STDOUT = sys.stdout
"""Ours: some of the tests put something else in its place, and fail before they put it back."""


class OneLinePerTest(unittest.TestResult):
    """Prints how each test went, as JSON."""

    def _say(self, test: unittest.TestCase, outcome: str, detail: str = "") -> None:
        line = json.dumps({"id": test.id(), "outcome": outcome, "detail": detail})
        STDOUT.write(line + "\n")
        STDOUT.flush()

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._say(test, "passed")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._say(test, "skipped", str(reason))

    def addError(self, test: Any, err: Any) -> None:
        # Trial hands over its own Failure.
        self._say(test, "error", err.getTraceback() if hasattr(err, "getTraceback") else repr(err))

    def addFailure(self, test: Any, err: Any) -> None:
        self._say(test, "failed", err.getTraceback() if hasattr(err, "getTraceback") else repr(err))


def eachOf(suite: Any) -> Iterator[Any]:
    """The single tests of a suite."""
    if hasattr(suite, "__iter__"):
        for part in suite:
            yield from eachOf(part)
    else:
        yield suite


def main(names: list[str]) -> None:
    """Run the tests of the named modules."""
    if os.environ.get("ON_CONCH") is None:
        install_as_conch(os.environ.get("PROFILE"))
    from twisted.trial.runner import TestLoader

    result = OneLinePerTest()
    for test in eachOf(TestLoader().loadByNames(names)):
        try:
            test.run(result)
        except (KeyboardInterrupt, SystemExit) as end:
            # The former is Trial's word for a reactor that stopped while a test was waiting.
            result.addError(test, repr(end))


if __name__ == "__main__":
    main(sys.argv[1:])
