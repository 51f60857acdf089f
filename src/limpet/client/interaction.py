"""Asking the person at the client: one interface, so that a terminal, a window or a test can be it.

Rule: nobody is asked behind somebody's back. Where there is no one to ask, every question has an
answer that keeps the connection safe: no, or none.

`prompt` and `warn` are what Conch documents of its ConsoleUI; an object that has only these is
taken as well.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from zope.interface import Interface, implementer

__all__ = [
    "CHOICES",
    "STEPS",
    "IFollower",
    "IUserInterface",
    "NobodyToAsk",
    "SilentInterface",
    "asUserInterface",
    "follow",
]

STEPS = 1
"""What happens on the way, a step at a time."""

CHOICES = 2
"""What a step was chosen from, too: lists of algorithms, addresses, keys."""


class NobodyToAsk(Exception):
    """A question that nobody is there to answer, or that the person did not want to answer."""


class IUserInterface(Interface):
    """Where a client asks the person who uses it, and tells that person something.

    All text is bytes, UTF-8, without control characters but line ends and tabs.
    """

    def prompt(text):  # type: ignore[no-untyped-def]
        """Ask a question that is answered by yes or no, such as whether a host key is right.

        Returns:
            A Deferred of True for yes, or False; it may fail, which counts as no.
        """

    def warn(text):  # type: ignore[no-untyped-def]
        """Tell something that the person has to know, such as that a host key has changed."""

    def show(text):  # type: ignore[no-untyped-def]
        """Show something that the server wants shown: its banner."""

    def ask(prompt, echo):  # type: ignore[no-untyped-def]
        """Ask for a line: a password, a passphrase, a code.

        Args:
            prompt: What to ask, with its colon and space.
            echo: Whether what is typed may be seen.

        Returns:
            A Deferred of the line as bytes, without its end. It fails with `NobodyToAsk` where
            nobody answers, and is cancelled when the connection ends meanwhile.
        """


class IFollower(Interface):
    """A user interface that wants to hear of every step on the way, as `ssh -v` shows them."""

    def follow(level, text):  # type: ignore[no-untyped-def]
        """Hear of a step; never of a secret.

        Args:
            level: STEPS or CHOICES: how much has to be wanted to hear of it.
            text: What happens, as text; words of the peer's in it are made harmless.
        """


def follow(ui: Any, level: int, text: str) -> None:
    """Tell a user interface of a step, if it wants to hear of steps."""
    follower: Any = ui
    if IFollower.providedBy(ui):
        follower.follow(level, text)


@implementer(IUserInterface)
class SilentInterface:
    """Nobody is there: every question is answered by no or by nothing (ssh_config's BatchMode).

    Attributes:
        warnings: What would have been told.
    """

    def __init__(self) -> None:
        self.warnings: list[bytes] = []

    def prompt(self, text: bytes) -> defer.Deferred[bool]:
        return defer.succeed(False)

    def warn(self, text: bytes) -> None:
        self.warnings.append(text)

    def show(self, text: bytes) -> None:
        """Nobody sees it."""

    def ask(self, prompt: bytes, echo: bool) -> defer.Deferred[bytes]:
        return defer.fail(NobodyToAsk("nobody is there to ask"))


@implementer(IUserInterface)
class _Documented:
    """A `ui` with no more than `prompt` and `warn`, as Conch's endpoints take it."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui

    def prompt(self, text: bytes) -> defer.Deferred[bool]:
        return defer.maybeDeferred(self._ui.prompt, text)

    def warn(self, text: bytes) -> None:
        self._ui.warn(text)

    def show(self, text: bytes) -> None:
        """It has no place for it."""

    def ask(self, prompt: bytes, echo: bool) -> defer.Deferred[bytes]:
        return defer.fail(NobodyToAsk("this user interface cannot ask for a line"))


def asUserInterface(ui: Any) -> Any:
    """`ui` as an `IUserInterface`: itself, one made from `prompt` and `warn`, or nobody for None.

    Raises:
        TypeError: It is none of these.
    """
    if ui is None:
        return SilentInterface()
    if IUserInterface.providedBy(ui):
        return ui
    if all(callable(getattr(ui, name, None)) for name in ("prompt", "warn")):
        return _Documented(ui)
    raise TypeError(f"{ui!r} is no user interface: it has no methods prompt and warn")
