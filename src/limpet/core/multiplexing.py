"""Messages between programs that share one connection (OpenSSH's PROTOCOL.mux, version 4).

Rule: one message is one string, its first number what it is; what the other side says is read to
its end or refused.

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
"""Longest message that is read, in bytes (ours). A master has a number or a sentence to say; a
client a command, which has to fit into one message to the server, and variables."""

MAX_VARIABLES = 4096
"""Most variables of one session (OpenSSH's MUX_MAX_ENV_VARS)."""

MAX_PORT = 65535

HELLO = 0x00000001
NEW_SESSION = 0x10000002
ALIVE_CHECK = 0x10000004
TERMINATE = 0x10000005
OPEN_FORWARD = 0x10000006
CLOSE_FORWARD = 0x10000007
NEW_STDIO_FORWARD = 0x10000008
STOP_LISTENING = 0x10000009
PROXY = 0x1000000F

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

SOCKS = "socks"
"""What OpenSSH calls the target of a forwarding whose clients say it; the port is 0 then."""

_LETTERS = {number: letter for letter, number in FORWARD_KINDS.items()}

_BARE = (ALIVE_CHECK, TERMINATE, STOP_LISTENING, PROXY)
"""Requests that say nothing more than what they are."""


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


class Target(NamedTuple):
    """Where standard input and output are to be connected to.

    Attributes:
        host: The host, as the server understands it; empty with a path.
        port: Its port.
        path: The Unix socket of the server's; None for a host.
    """

    host: bytes = b""
    port: int = 0
    path: bytes | None = None


class Request(NamedTuple):
    """What a client asks of a master.

    Attributes:
        kind: `ALIVE_CHECK` and so on; any other number, where it is a request that is not known.
        number: Which stands in its answers.
        session: Of a `NEW_SESSION`.
        target: Of a `NEW_STDIO_FORWARD`.
        letter: Of an `OPEN_FORWARD` or `CLOSE_FORWARD`: L, R or D.
        spec: Likewise.
    """

    kind: int
    number: int
    session: SessionWish | None = None
    target: Target | None = None
    letter: str = ""
    spec: ForwardSpec | None = None

    @property
    def descriptors(self) -> int:
        """How many descriptors follow it."""
        return {NEW_SESSION: 3, NEW_STDIO_FORWARD: 2}.get(self.kind, 0)


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
    """Ask for a connection to somewhere; standard input and output follow as descriptors.

    The port is a number, as OpenSSH has it; its description says that it were a string.
    """
    return request(NEW_STDIO_FORWARD, number) + NS(b"") + NS(host) + u32(port)


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
    if not isListener and host is None:
        host = SOCKS
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


# ── a master's side ───────────────────────────────────────────────────────────────────────────


def reply(kind: int, number: int, value: int | None = None) -> bytes:
    """An answer that gives no reason: nothing more, or one number."""
    return u32(kind) + u32(number) + (b"" if value is None else u32(value))


def refusal(kind: int, number: int, reason: str) -> bytes:
    """A `FAILURE` or `PERMISSION_DENIED`, and why."""
    return u32(kind) + u32(number) + NS(reason.encode("utf-8", "backslashreplace"))


def parseRequest(message: bytes) -> Request:
    """Read what a client asks. What is not known is no error: it has a number to be refused by.

    Raises:
        WireError: It is not what its kind says.
    """
    reader = Reader(message)
    kind, number = reader.u32(), reader.u32()
    if kind == HELLO:
        raise BadField("a second greeting")
    if kind in _BARE:
        reader.end()
        return Request(kind, number)
    if kind == NEW_SESSION:
        return Request(kind, number, session=_readSession(reader))
    if kind == NEW_STDIO_FORWARD:
        return Request(kind, number, target=_readTarget(reader))
    if kind in (OPEN_FORWARD, CLOSE_FORWARD):
        letter, spec = _readForward(reader)
        return Request(kind, number, letter=letter, spec=spec)
    return Request(kind, number)


def _readSession(reader: Reader) -> SessionWish:
    reader.string()
    wantsTerminal, _, wantsAgent, isSubsystem = (bool(reader.u32()) for _ in range(4))
    escapeChar, term, command = reader.u32(), reader.string(), reader.string()
    variables = []
    while reader.remaining:
        variables.append(reader.string())
        if len(variables) > MAX_VARIABLES:
            raise BadField(f"more than {MAX_VARIABLES} variables")
    return SessionWish(
        command, wantsTerminal, wantsAgent, isSubsystem, escapeChar, term, tuple(variables)
    )


def _readTarget(reader: Reader) -> Target:
    reader.string()
    host, port = reader.string(), reader.u32()
    reader.end()
    if port == _IS_PATH:
        return Target(path=host)
    if not (host and 0 < port <= MAX_PORT):
        raise BadField(f"port {port} to connect to")
    return Target(host, port)


def _readForward(reader: Reader) -> tuple[str, ForwardSpec]:
    kind = reader.u32()
    letter = _LETTERS.get(kind)
    if letter is None:
        raise BadField(f"a forwarding of kind {kind}")
    listenHost, listenPort, listenPath = _readEnd(reader)
    targetHost, targetPort, targetPath = _readEnd(reader)
    reader.end()
    if letter == "D" or (letter == "R" and targetPath is None and not targetPort):
        # The target is told by SOCKS; some name a host all the same.
        targetHost = targetPort = targetPath = None
    elif targetPath is None and not (targetHost and targetPort):
        raise BadField("a forwarding to nowhere")
    return letter, ForwardSpec(
        listenHost, listenPort, targetHost, targetPort, listenPath, targetPath
    )


def _readEnd(reader: Reader) -> tuple[str | None, int | None, str | None]:
    """One end of a forwarding: host, port, path."""
    name, port = reader.string(), reader.u32()
    if b"\0" in name:
        raise BadField("a name with a NUL in it")
    if port == _IS_PATH:
        if not name:
            raise BadField("a socket without a path")
        return None, None, name.decode("utf-8", "surrogateescape")
    if port > MAX_PORT:
        raise BadField(f"port {port}")
    try:
        return name.decode("utf-8") or None, port, None
    except UnicodeDecodeError:
        raise BadField("the name of a host that is no text") from None
