"""Runs test modules of the installed Twisted Conch against Limpet, under Conch's module names.

    python run_under_limpet.py MODULE…      prints one JSON object per test

Before the tests are imported, Limpet's modules are put where Conch's would be, so that the tests
import Limpet without a change to them. What Limpet does not have stays Conch's. This runs in a
process of its own, because afterwards `twisted.conch` is not Conch any more.
"""

from __future__ import annotations

import importlib
import json
import sys
import unittest
from typing import Any

ALIASES = {
    "twisted.conch.error": "limpet.error",
    "twisted.conch.interfaces": "limpet.interfaces",
    "twisted.conch.ssh.address": "limpet.ssh.address",
    "twisted.conch.ssh.common": "limpet.ssh.common",
    "twisted.conch.ssh.service": "limpet.ssh.service",
    "twisted.conch.ssh.channel": "limpet.ssh.channel",
    "twisted.conch.ssh.connection": "limpet.ssh.connection",
    "twisted.conch.ssh.session": "limpet.ssh.session",
    "twisted.conch.ssh.keys": "limpet.ssh.keys",
    "twisted.conch.ssh.transport": "limpet.ssh.transport",
    "twisted.conch.ssh.userauth": "limpet.ssh.userauth",
    "twisted.conch.ssh.factory": "limpet.ssh.factory",
}


def putLimpetInPlace() -> None:
    """Let Conch's names lead to Limpet's modules, as entries and as attributes of the packages."""
    for theirs, ours in ALIASES.items():
        module = importlib.import_module(ours)
        sys.modules[theirs] = module
        package, _, name = theirs.rpartition(".")
        setattr(importlib.import_module(package), name, module)


class OneLinePerTest(unittest.TestResult):
    """Prints how each test went, as JSON."""

    def _say(self, test: unittest.TestCase, outcome: str, detail: str = "") -> None:
        line = json.dumps({"id": test.id(), "outcome": outcome, "detail": detail})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

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


def main(names: list[str]) -> None:
    """Run the tests of the named modules."""
    putLimpetInPlace()
    from twisted.trial.runner import TestLoader

    result = OneLinePerTest()
    TestLoader().loadByNames(names).run(result)


if __name__ == "__main__":
    main(sys.argv[1:])
