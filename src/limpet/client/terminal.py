"""The terminal that a person sits at: its size, its modes, and questions asked on it.

Rule: whoever changes a terminal's modes puts them back, however the client ends; and what is shown
of another party's words are characters that no terminal acts on (attacks.md J5).

A question is asked on /dev/tty and never on standard input or output, which may be files. Where
there is no terminal, nobody is asked but by the program of SSH_ASKPASS. RFC 4254 sections 6.2, 6.7
and 8.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._posix import O_CLOEXEC, O_NOCTTY, O_NONBLOCK, fcntl, termios
from limpet.client.askpass import Askpass, AskpassQuestion
from limpet.client.interaction import IFollower, IUserInterface, NobodyToAsk
from limpet.ttymodes import TTY_OP_ISPEED, TTY_OP_OSPEED, TTYMODES
from limpet.wire.requests import Geometry, packModes

CONTROLLING_TERMINAL = "/dev/tty"

MAX_ANSWER = 65536
"""Most bytes of an answer; a terminal's line has 4096 at most (termios(3))."""

NO_CHARACTER = 255
"""How the wire says that a function has no character (RFC 4254 section 8)."""

UNKNOWN_GEOMETRY: Geometry = (0, 0, 0, 0)
"""The size of what does not tell its size (RFC 4254 section 6.2: zero is to be ignored)."""

MAX_TRIES = 10
"""How often a question for yes or no is asked (ours): a program may answer the same for ever."""

AGAIN = b"Please type 'yes', 'no' or the fingerprint: "

_WINSIZE = struct.Struct("HHHH")
_SPEED_INDEX = {TTY_OP_ISPEED: 4, TTY_OP_OSPEED: 5}
_INPUT, _OUTPUT, _HARDWARE, _LOCAL, _CHARACTERS = 0, 1, 2, 3, 6
_SPEEDS = {
    getattr(termios, name): int(name[1:])
    for name in dir(termios)
    if name[0] == "B" and name[1:].isdigit()
}


def isTerminal(fd: int) -> bool:
    """Whether the descriptor is a terminal; a closed one is none."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def windowSize(fd: int) -> Geometry:
    """The size of the terminal: (rows, columns, width in pixels, height in pixels)."""
    try:
        packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size))
    except OSError:
        return UNKNOWN_GEOMETRY
    rows, columns, width, height = _WINSIZE.unpack(packed)
    return rows, columns, width, height


def encodedModes(fd: int) -> bytes:
    """The terminal's modes as pty-req carries them; none of something that is no terminal."""
    try:
        attributes: list[Any] = termios.tcgetattr(fd)
    except termios.error:
        return packModes([])
    modes: list[tuple[int, int]] = []
    for opcode, mode in TTYMODES.items():
        if opcode in _SPEED_INDEX:
            speed = _SPEEDS.get(attributes[_SPEED_INDEX[opcode]])
            if speed is not None:
                modes.append((opcode, speed))
        elif isinstance(mode, str):
            index = getattr(termios, mode, None)
            if index is not None:
                # A byte, but for VMIN and VTIME, which are no characters and not in the table.
                character = attributes[_CHARACTERS][index]
                value = character[0] if isinstance(character, bytes) else int(character)
                # NUL is "none" here (_POSIX_VDISABLE of Linux).
                modes.append((opcode, value or NO_CHARACTER))
        else:
            field, name = mode
            flag = getattr(termios, name, None)
            if flag is not None:
                value = attributes[field] & flag
                # CS7 and CS8 are values of one field, and every bit of the one is in the other.
                modes.append((opcode, int(value == flag)))
    return packModes(modes)


class RawTerminal:
    """The terminal of a session: every key goes to the program far away, as it is.

    Args:
        fd: The terminal. Its modes at this moment are those that `restore` puts back.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.isRaw = False
        self._before: list[Any] = termios.tcgetattr(fd)

    def enter(self) -> None:
        """Make it raw: no line editing, no echo, no signals, no translation either way."""
        raw = termios.tcgetattr(self.fd)
        raw[_INPUT] |= termios.IGNPAR
        for name in ("ISTRIP", "INLCR", "IGNCR", "ICRNL", "IXON", "IXANY", "IXOFF", "IUCLC"):
            raw[_INPUT] &= ~getattr(termios, name, 0)
        raw[_OUTPUT] &= ~termios.OPOST
        for name in ("ISIG", "ICANON", "ECHO", "ECHOE", "ECHOK", "ECHONL", "IEXTEN"):
            raw[_LOCAL] &= ~getattr(termios, name, 0)
        raw[_CHARACTERS][termios.VMIN] = 1
        raw[_CHARACTERS][termios.VTIME] = 0
        self.isRaw = True
        termios.tcsetattr(self.fd, termios.TCSADRAIN, raw)

    def restore(self) -> None:
        """Put back the modes it had; nothing happens the second time, or if it is gone."""
        if self.isRaw:
            self.isRaw = False
            with suppress(termios.error, OSError):
                termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)


def shownText(text: str | bytes) -> str:
    """Words of somebody else's as text that no terminal acts on; line ends and tabs stay."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


@implementer(IReadDescriptor)
class Question:
    """One question on a terminal, from its words to the line that answers it.

    Args:
        reactor: Provides IReactorFDSet.
        terminal: An open terminal, not blocking; closed at the end.
        text: The words, made harmless already.
        echo: Whether what is typed is to be seen.

    Attributes:
        answer: Fires with the line (bytes, without its end), or fails with NobodyToAsk at the end
            of input or of the terminal. Cancelling it puts the terminal back.
    """

    def __init__(self, reactor: Any, terminal: int, text: str, echo: bool) -> None:
        self._reactor = reactor
        self._fd = terminal
        self._echo = echo
        self._line = bytearray()
        self._before: list[Any] = termios.tcgetattr(terminal)
        self.answer: defer.Deferred[bytes] = defer.Deferred(self._giveUp)
        self.apply()
        self.say(text)
        reactor.addReader(self)

    def apply(self) -> None:
        """Set the terminal's modes for the question; again after the process was stopped."""
        if self._fd < 0:
            return
        modes = termios.tcgetattr(self._fd)
        modes[_LOCAL] |= termios.ICANON | termios.ISIG
        modes[_INPUT] |= termios.ICRNL
        if self._echo:
            modes[_LOCAL] |= termios.ECHO
        else:
            modes[_LOCAL] &= ~termios.ECHO
        termios.tcsetattr(self._fd, termios.TCSADRAIN, modes)

    def say(self, text: str) -> None:
        """Write to the terminal."""
        with suppress(OSError):
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "question"

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, MAX_ANSWER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end(NobodyToAsk("the terminal is gone"))
            return
        self._line += data
        end = self._line.find(b"\n")
        if end >= 0:
            self._end(bytes(self._line[:end]))
        elif not data or len(self._line) > MAX_ANSWER:
            self._end(NobodyToAsk("no answer was given"))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw that the terminal hung up."""
        self._end(NobodyToAsk("the terminal is gone"))

    def _end(self, result: bytes | Exception) -> None:
        if self._fd < 0:
            return
        if not self._echo:
            self.say("\n")
        self._close()
        if isinstance(result, bytes):
            self.answer.callback(result)
        else:
            self.answer.errback(result)

    def _giveUp(self, answer: object) -> None:
        # What is told next begins a line of its own.
        if self._fd >= 0:
            self.say("\n")
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        # By number, as the descriptor is closed before the reactor would ask for it.
        self._fd = fd
        self._reactor.removeReader(self)
        self._fd = -1
        with suppress(termios.error, OSError):
            termios.tcsetattr(fd, termios.TCSADRAIN, self._before)
        os.close(fd)
        for index in range(len(self._line)):
            self._line[index] = 0


@implementer(IUserInterface, IFollower)
class TerminalInterface:
    """Asks the person at the terminal, one question after the other, and tells what is to be told.

    Args:
        reactor: Provides IReactorFDSet.
        tell: Takes text that ends with a newline and shows it; standard error, as a rule.
        mayAsk: Whether anybody may be asked (BatchMode forbids it).
        path: The terminal.
        askpass: The program that asks where there is no terminal, or in its place.
        follow: Is told of every step, with its level; see `IFollower`.
    """

    def __init__(
        self,
        reactor: Any,
        tell: Callable[[str], object],
        mayAsk: bool = True,
        path: str = CONTROLLING_TERMINAL,
        askpass: Askpass | None = None,
        follow: Callable[[int, str], object] | None = None,
    ) -> None:
        self._reactor = reactor
        self._tell = tell
        self._mayAsk = mayAsk
        self._path = path
        self._askpass = askpass
        self._follow = follow
        self._lock = defer.DeferredLock()
        self._question: Question | AskpassQuestion | None = None

    def warn(self, text: bytes) -> None:
        self._tell(shownText(text).rstrip("\n") + "\n")

    def show(self, text: bytes) -> None:
        self._tell(shownText(text).rstrip("\n") + "\n")

    def follow(self, level: int, text: str) -> None:
        if self._follow is not None:
            self._follow(level, text)

    def ask(self, prompt: bytes, echo: bool) -> defer.Deferred[bytes]:
        return self._lock.run(self._askNow, shownText(prompt), echo)

    def prompt(self, text: bytes) -> defer.Deferred[bool]:
        """Ask until the answer is yes or no, or a fingerprint, which means yes if `text` has it."""
        words = text.split()
        left = MAX_TRIES

        def judge(answer: bytes) -> Any:
            nonlocal left
            left -= 1
            answer = answer.strip()
            if answer.lower() in (b"yes", b"no"):
                return answer.lower() == b"yes"
            if answer.startswith(b"SHA256:"):
                return any(word.rstrip(b".,") == answer for word in words)
            return left > 0 and self.ask(AGAIN, echo=True).addCallback(judge)

        return self.ask(text, echo=True).addCallback(judge)

    def _askNow(self, text: str, echo: bool) -> defer.Deferred[bytes]:
        if not self._mayAsk:
            return defer.fail(NobodyToAsk("BatchMode allows no questions"))
        if self._askpass is not None and self._askpass.isPreferred:
            return self._askByProgram(self._askpass.program, text)
        try:
            self._question = self._askOnTerminal(text, echo)
        except NobodyToAsk as reason:
            if self._askpass is None:
                return defer.fail(reason)
            return self._askByProgram(self._askpass.program, text)
        return self._question.answer.addBoth(self._asked)

    def _askOnTerminal(self, text: str, echo: bool) -> Question:
        try:
            # Opened anew: not blocking is then this descriptor's own, not that of other programs.
            flags = os.O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC
            terminal = os.open(self._path, flags)
        except OSError:
            raise NobodyToAsk("there is no terminal to ask on") from None
        try:
            return Question(self._reactor, terminal, text, echo)
        except (termios.error, OSError):
            os.close(terminal)
            raise NobodyToAsk(f"{self._path} is no terminal") from None

    def _askByProgram(self, program: str, text: str) -> defer.Deferred[bytes]:
        try:
            self._question = AskpassQuestion(self._reactor, program, text)
        except (OSError, ValueError) as failure:
            why = f"cannot start {program} (SSH_ASKPASS): {getattr(failure, 'strerror', failure)}"
            self.warn(why.encode("utf-8", "backslashreplace"))
            return defer.fail(NobodyToAsk(why))
        return self._question.answer.addBoth(self._asked)

    def _asked(self, result: Any) -> Any:
        self._question = None
        return result

    def resume(self) -> None:
        """The process was stopped and goes on: a shell may have changed the terminal's modes."""
        if self._question is not None:
            self._question.apply()

    def abandon(self) -> None:
        """The client ends: put the terminal back and forget the question."""
        if self._question is not None:
            self._question.answer.addErrback(lambda _: None)
            self._question.answer.cancel()
