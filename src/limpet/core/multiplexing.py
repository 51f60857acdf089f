"""Messages between programs that share one connection (OpenSSH's PROTOCOL.mux, version 4).

Rule: one message is one string, its first number what it is; what a master says is read to its end
or refused.

    client  HELLO                                  master  HELLO
    client  NEW_SESSION, and three descriptors     master  SESSION_OPENED … EXIT_MESSAGE
    client  ALIVE_CHECK, OPEN_FORWARD, TERMINATE   master  ALIVE, OK, FAILURE, REMOTE_PORT
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from limpet.core.sshconfig.places import ForwardSpec
from limpet.wire.errors import BadField
from limpet.wire.fields import NS, Reader, u32

VERSION = 4

MAX_MESSAGE = 256 * 1024
"""Longest message that is read, in bytes (ours; a master has a number or a sentence to say)."""

HELLO = 0x00000001
NEW_SESSION = 0x10000002
ALIVE_CHECK = 0x10000004
TERMINATE = 0x10000005
OPEN_FORWARD = 0x10000006
CLOSE_FORWARD = 0x10000007
NEW_STDIO_FORWARD = 0x10000008
STOP_LISTENING = 0x10000009

OK = 0x80000001
PERMISSION_DENIED = 0x80000002
FAILURE = 0x80000003
EXIT_MESSAGE = 0x80000004
ALIVE = 0x80000005
SESSION_OPENED = 0x80000006
REMOTE_PORT = 0x80000007
TTY_ALLOC_FAIL = 0x80000008

FORWARD_KINDS = {"L": 1, "R": 2, "D": 3}

NO_ESCAPE = 0xFFFFFFFF
"""The escape character of a session that has none."""

_IS_PATH = 0xFFFFFFFE
"""The port that says that the host is the path of a Unix socket."""


class Reply(NamedTuple):
    """What a master answers.

    Attributes:
        kind: `OK` and so on.
        number: Of the request that it answers; of the session, where it is about one.
        value: The process of an `ALIVE`, the session, the port, or the exit status.
        reason: Why not.
    """

    kind: int
    number: int
    value: int = 0
    reason: bytes = b""


class SessionWish(NamedTuple):
    """What is asked of a session.

    Attributes:
        command: The command or the subsystem; empty for a shell.
        wantsTerminal: Whether it gets a terminal.
        wantsAgent: Whether the agent is lent to it.
        isSubsystem: Whether `command` is a subsystem.
        escapeChar: The code of the escape character, or `NO_ESCAPE`.
        term: The terminal's type.
        environment: Variables, `NAME=value`.
    """

    command: bytes = b""
    wantsTerminal: bool = False
    wantsAgent: bool = False
    isSubsystem: bool = False
    escapeChar: int = NO_ESCAPE
    term: bytes = b""
    environment: tuple[bytes, ...] = ()


def hello() -> bytes:
    """The first message of either side."""
    return u32(HELLO) + u32(VERSION)


def parseHello(message: bytes) -> int:
    """The version that the other side speaks. Raises WireError where it says something else."""
    reader = Reader(message)
    kind = reader.u32()
    if kind != HELLO:
        raise BadField(f"a message {kind:#x} where a greeting is expected")
    return reader.u32()


def request(kind: int, number: int) -> bytes:
    """A request that says nothing more: `ALIVE_CHECK`, `TERMINATE`, `STOP_LISTENING`."""
    return u32(kind) + u32(number)


def newSession(number: int, wish: SessionWish) -> bytes:
    """Ask for a session; standard input, output and error follow as descriptors."""
    flags = (wish.wantsTerminal, False, wish.wantsAgent, wish.isSubsystem)
    return b"".join(
        (
            request(NEW_SESSION, number),
            NS(b""),
            *(u32(flag) for flag in flags),
            u32(wish.escapeChar),
            NS(wish.term),
            NS(wish.command),
            *(NS(variable) for variable in wish.environment),
        )
    )


def newStdioForward(number: int, host: bytes, port: int) -> bytes:
    """Ask for a connection to somewhere; standard input and output follow as descriptors."""
    return request(NEW_STDIO_FORWARD, number) + NS(b"") + NS(host) + NS(b"%d" % port)


def forward(kind: int, number: int, letter: str, spec: ForwardSpec) -> bytes:
    """Ask to open or to close a forwarding; `letter` is L, R or D."""
    return b"".join(
        (
            request(kind, number),
            u32(FORWARD_KINDS[letter]),
            *_end(spec.listenHost, spec.listenPort, spec.listenPath, isListener=True),
            *_end(spec.targetHost, spec.targetPort, spec.targetPath),
        )
    )


def _end(
    host: str | None, port: int | None, path: str | None, isListener: bool = False
) -> Iterable[bytes]:
    if path is not None:
        return NS(path.encode("utf-8", "surrogateescape")), u32(_IS_PATH)
    if isListener and host == "":
        # Every address, which an empty string would not say here.
        host = "*"
    return NS((host or "").encode("utf-8", "surrogateescape")), u32(port or 0)


def parseReply(message: bytes) -> Reply:
    """Read an answer.

    Raises:
        WireError: It is none that is known.
    """
    reader = Reader(message)
    kind, number = reader.u32(), reader.u32()
    reply = Reply(kind, number)
    if kind in (ALIVE, SESSION_OPENED, REMOTE_PORT, EXIT_MESSAGE):
        reply = reply._replace(value=reader.u32())
    elif kind in (PERMISSION_DENIED, FAILURE):
        reply = reply._replace(reason=reader.string())
    elif kind not in (OK, TTY_ALLOC_FAIL):
        raise BadField(f"an answer that is not known: {kind:#x}")
    reader.end()
    return reply
