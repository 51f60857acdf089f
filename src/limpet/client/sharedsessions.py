"""What runs for the client of a master: a channel at descriptors that are another program's.

Rule: they are closed once, whatever becomes of the channel, and not before its output is written;
what there is to say of it is said to that program's user.

    a client's standard input, output, error ─▶ Descriptors ─▶ SharedSession, SharedForward (-W)

How bytes go through them, and what becomes of them, is in `limpet.client.attaching`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from limpet.client.attaching import (
    AttachedChannel,
    AttachedForward,
    AttachedSession,
    SessionRequest,
)
from limpet.client.config import ClientConfig
from limpet.client.escapes import Escape, EscapeReader
from limpet.client.terminal import encodedModes, isTerminal, shownText, windowSize
from limpet.core.multiplexing import SessionWish, Target
from limpet.core.patterns import matchPattern
from limpet.wire.requests import UnixForward

_PASSABLE = (stat.S_ISREG, stat.S_ISCHR, stat.S_ISFIFO, stat.S_ISSOCK, stat.S_ISBLK, stat.S_ISDIR)
"""What a passed descriptor may be. Others (an eventfd) could hold up a read for ever."""


class Refused(Exception):
    """What was asked for is not done; the text says why."""


class Client(Protocol):
    """Whose the channel is."""

    reactor: Any

    def tell(self, text: str) -> object:
        """Take a sentence for whoever started the master."""

    def opened(self, channel: AttachedChannel) -> bool:
        """The server has opened the channel; False where nobody wants it any more."""

    def terminalRefused(self) -> None:
        """The server gives no terminal."""

    def notStarted(self, failure: OSError) -> None:
        """What was passed cannot be read or written."""

    def listing(self) -> str:
        """What is open on the connection."""

    def end(self) -> None:
        """End it, and its channel."""


class Descriptors:
    """What a client passed for one request: closed once, whatever becomes of it.

    Args:
        numbers: The descriptors.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = list(numbers)
        self._madeWaitless: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]

    def add(self, number: int) -> None:
        """One more."""
        self._numbers.append(number)

    def close(self) -> None:
        """Close them; nothing happens the second time."""
        numbers, self._numbers = self._numbers, []
        for number in self._madeWaitless:
            with suppress(OSError):
                os.set_blocking(number, True)
        self._madeWaitless.clear()
        for number in numbers:
            with suppress(OSError):
                os.close(number)

    def prepare(self) -> None:
        """See to it that bytes can go through them, and that none holds up whoever reads or writes.

        A socket cannot be opened anew, so that it is changed for the client, too; and until the end
        of all of them, which are often the same socket.

        Raises:
            Refused: Bytes cannot go through one of them.
        """
        for number in self._numbers:
            mode = os.fstat(number).st_mode
            if not any(isKind(mode) for isKind in _PASSABLE):
                raise Refused("one of the descriptors is no file, pipe, socket or device")
            if stat.S_ISSOCK(mode) and os.get_blocking(number):
                os.set_blocking(number, False)
                self._madeWaitless.append(number)


class SharedSession(AttachedSession):
    """A session at the standard input, output and error of a client.

    Args:
        client: Whose it is.
        request: What is asked of the server.
        descriptors: Those that the client passed.
        escapeChar: The escape character of its terminal, or `NO_ESCAPE`.
        beatSeconds: As for `AttachedSession`.
    """

    def __init__(
        self,
        client: Client,
        request: SessionRequest,
        descriptors: Descriptors,
        escapeChar: int,
        beatSeconds: float,
    ) -> None:
        hasTerminal = request.term is not None and isTerminal(descriptors[0])
        escapes = None
        if hasTerminal and escapeChar < 256:
            escapes = EscapeReader(bytes((escapeChar,)))
        self._client = client
        super().__init__(
            client.reactor,
            self._say,
            request,
            (descriptors[0], descriptors[1], descriptors[2]),
            escapes,
            self._escaped,
            client.terminalRefused,
            beatSeconds if hasTerminal else 0.0,
        )
        self._screen = descriptors[0] if hasTerminal else descriptors[1]
        self._endStatus: int | None = None

    def channelOpen(self, specificData: bytes) -> None:
        # Where nobody is there any more who hears of it, it is closed, and so are its descriptors.
        if self._client.opened(self):
            super().channelOpen(specificData)

    def start(self) -> None:
        try:
            super().start()
        except OSError as failure:
            self._client.notStarted(failure)

    def closed(self) -> None:
        # What is to be said of its end is said before its outputs are.
        self._endStatus = super().exitStatus()
        super().closed()

    def exitStatus(self) -> int:
        return super().exitStatus() if self._endStatus is None else self._endStatus

    def resized(self) -> None:
        """The terminal may have another size now."""
        if self.request.term is None:
            return
        geometry = windowSize(self._screen)
        if geometry != self.request.geometry:
            self.request.geometry = geometry
            self.resize(geometry)

    def _say(self, text: str) -> None:
        """Tell the person at the client, at its standard error."""
        self._write("".join(f"limpet: {line}\n" for line in shownText(text).splitlines()))

    def _write(self, text: str) -> None:
        if self.request.term is not None:
            text = text.replace("\n", "\r\n")
        if self._stderr is not None:
            self._stderr.write(text.encode("utf-8", "backslashreplace"))

    def _escaped(self, escape: Escape) -> None:
        if escape is Escape.CLOSE:
            self._client.end()
        elif escape is Escape.HELP and self._escapes is not None:
            self._write("\n" + self._escapes.help())
        elif escape is Escape.BREAK:
            self.sendBreak()
        elif escape is Escape.REKEY:
            self.conn.transport.sendKexInit()
        elif escape is Escape.LIST:
            self._write("\n" + self._client.listing())
        else:
            self._say("this escape is not available on a shared connection")


class SharedForward(AttachedForward):
    """A connection from the server to somewhere, at a client's standard input and output.

    Args:
        client: Whose it is.
        target: Where to.
        descriptors: Those that the client passed, and one for errors.
    """

    def __init__(self, client: Client, target: Target, descriptors: Descriptors) -> None:
        numbers = descriptors[0], descriptors[1], descriptors[2]
        super().__init__(client.reactor, client.tell, target.host, target.port, numbers)
        if target.path is not None:
            self.name = b"direct-streamlocal@openssh.com"
            self.openingData = UnixForward(target.path).encode()
        self._client = client

    def channelOpen(self, specificData: bytes) -> None:
        if self._client.opened(self):
            super().channelOpen(specificData)

    def start(self) -> None:
        try:
            super().start()
        except OSError as failure:
            self._client.notStarted(failure)

    def eofReceived(self) -> None:
        # Once it is over, the number of its output may be that of something else.
        if not self.finished.called:
            super().eofReceived()


def sessionRequest(
    config: ClientConfig, wish: SessionWish, forwardsAgent: bool, descriptors: Descriptors
) -> SessionRequest:
    """What is asked of the server for a client's wish."""
    kind = b"subsystem" if wish.isSubsystem else b"exec" if wish.command else b"shell"
    request = SessionRequest(
        kind, wish.command, _variables(config, wish), forwardsAgent=forwardsAgent
    )
    if wish.wantsTerminal:
        # Before the client makes it raw, which it does when it hears that the session is open.
        source = descriptors[0] if isTerminal(descriptors[0]) else descriptors[1]
        request.term = wish.term
        request.geometry = windowSize(source)
        request.modes = encodedModes(source)
    return request


def _variables(config: ClientConfig, wish: SessionWish) -> tuple[tuple[bytes, bytes], ...]:
    """The master's SetEnv, and of the client's variables those that the master would send."""
    patterns = [os.fsencode(pattern) for pattern in config.sendEnv]
    found = {os.fsencode(name): os.fsencode(value) for name, value in config.setEnv.items()}
    for variable in wish.environment:
        name, equals, value = variable.partition(b"=")
        if name and equals and any(matchPattern(pattern, name) for pattern in patterns):
            found[name] = value
    return tuple(found.items())
