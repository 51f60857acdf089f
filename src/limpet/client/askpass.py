"""Asking by a program: what SSH_ASKPASS names shows a question and prints the answer.

Rule: the program is the one that the person named in the environment. It is started without a
shell, is given the question as its one argument and nothing to read, and what it prints goes to
whoever asked and nowhere else.

ssh(1), ENVIRONMENT: SSH_ASKPASS, SSH_ASKPASS_REQUIRE, DISPLAY.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.client.interaction import NobodyToAsk

MAX_ANSWER = 1024
"""Most bytes of an answer (OpenSSH's number, readpass.c)."""

MAX_QUESTION = 4096
"""Most characters of a question (ours): a server may ask anything, and an argument has a limit."""

REAP_SECONDS = 0.05
"""How often a program that has given its answer is looked for until it has ended (ours)."""


@dataclass(frozen=True)
class Askpass:
    """The program to ask by.

    Attributes:
        program: Its path, or a name to look for in PATH.
        isPreferred: Whether it asks even where there is a terminal.
    """

    program: str
    isPreferred: bool


def askpassOf(environment: Mapping[str, str]) -> Askpass | None:
    """What the environment says of it; None where there is no such program, or none may ask.

    SSH_ASKPASS_REQUIRE may be "never", "prefer" (to a terminal), or "force" (prefer, and without a
    display, too); anything else leaves it to those cases in which there is no terminal.
    """
    program = environment.get("SSH_ASKPASS")
    require = environment.get("SSH_ASKPASS_REQUIRE", "").lower()
    hasDisplay = bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    if not program or require == "never" or not (hasDisplay or require == "force"):
        return None
    return Askpass(program, require in ("prefer", "force"))


@implementer(IReadDescriptor)
class AskpassQuestion:
    """One question, from the start of the program to its end.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        program: The program.
        text: The question, made harmless already.

    Attributes:
        answer: Fires with the first line that the program printed (bytes, without its end), when it
            has ended with success; fails with NobodyToAsk where it has not. Cancelling it ends the
            program.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, reactor: Any, program: str, text: str) -> None:
        self._reactor = reactor
        self._printed = bytearray()
        self._process = subprocess.Popen(
            [program, text[:MAX_QUESTION]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self.answer: defer.Deferred[bytes] = defer.Deferred(self._giveUp)
        reactor.addReader(self)

    def apply(self) -> None:
        """After the client was stopped and goes on: the program minds its own window."""

    def fileno(self) -> int:
        return -1 if self._pipe.closed else self._pipe.fileno()

    def logPrefix(self) -> str:
        return "askpass"

    def doRead(self) -> None:
        try:
            data = os.read(self._pipe.fileno(), MAX_ANSWER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        # What is too long is read to its end, so that the program can end, and kept in part.
        self._printed += data[: MAX_ANSWER - len(self._printed)]
        if not data:
            self._close()
            self._awaitEnd()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw that the program has closed its output."""
        if not self._pipe.closed:
            self._close()
            self._awaitEnd()

    def _close(self) -> None:
        if not self._pipe.closed:
            self._reactor.removeReader(self)
            self._pipe.close()

    def _awaitEnd(self) -> None:
        status = self._process.poll()
        if status is None:
            self._reactor.callLater(REAP_SECONDS, self._awaitEnd)
            return
        line = bytes(self._printed).partition(b"\n")[0].partition(b"\r")[0]
        for index in range(len(self._printed)):
            self._printed[index] = 0
        if self.answer.called:
            return
        if status == 0:
            self.answer.callback(line)
        else:
            self.answer.errback(NobodyToAsk("the person did not answer (SSH_ASKPASS)"))

    def _giveUp(self, answer: object) -> None:
        self._close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        self._awaitEnd()
