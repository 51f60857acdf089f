"""attacks.md, group G again: a whole server in memory, and a client that may say anything."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from limpet.core.windows import MAX_WINDOW
from limpet.ssh.connection import (
    ALWAYS_ASKED_FOR,
    CLOSE_TIMEOUT_SECONDS,
    MAX_CHANNELS,
    MAX_LOGGED_REFUSALS,
    MAX_SESSIONS,
)
from limpet.ssh.session import SSHSession
from limpet.wire import numbers as n
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.requests import MAX_TERMINAL_MODES
from tests.pair.attacker import Attacker
from tests.pair.stack import Program

PTY = NS(b"xterm") + struct.pack(">4L", 80, 24, 0, 0) + NS(b"")


def loggedIn(opened: int = 0) -> Attacker:
    attacker = Attacker().login()
    for number in range(opened):
        attacker.open(number=number)
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_OPEN_CONFIRMATION] * opened
    attacker.client.heard.clear()
    return attacker


def lives(attacker: Attacker) -> bool:
    """Whether the connection still answers, and nothing else was heard before the answer."""
    attacker.client.heard.clear()
    attacker.send(n.MSG_PING, NS(b"there?"))
    attacker.pump()
    return attacker.take() == [(n.MSG_PONG, NS(b"there?"))]


def programs(attacker: Attacker) -> list[Program]:
    found: list[Program] = attacker.avatars[0].programs
    return found


def channels(attacker: Attacker) -> dict[int, SSHSession]:
    found: dict[int, SSHSession] = attacker.server.service.channels
    return found


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged at level info and above."""
    kept: list[str] = []

    def observe(event: Any) -> None:
        if event["log_level"].name != "debug":
            kept.append(formatEvent(event))

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    yield kept
    globalLogPublisher.removeObserver(observer)


# ── G1: numbers of channels ───────────────────────────────────────────────────────────────────

BODIES = {
    n.MSG_CHANNEL_OPEN_CONFIRMATION: u32(0) + u32(1 << 20) + u32(32768),
    n.MSG_CHANNEL_OPEN_FAILURE: u32(1) + NS(b"") + NS(b""),
    n.MSG_CHANNEL_WINDOW_ADJUST: u32(1),
    n.MSG_CHANNEL_DATA: NS(b"x"),
    n.MSG_CHANNEL_EXTENDED_DATA: u32(1) + NS(b"x"),
    n.MSG_CHANNEL_EOF: b"",
    n.MSG_CHANNEL_CLOSE: b"",
    n.MSG_CHANNEL_REQUEST: NS(b"shell") + b"\1",
    n.MSG_CHANNEL_SUCCESS: b"",
    n.MSG_CHANNEL_FAILURE: b"",
}


@pytest.mark.parametrize("number", BODIES)
@pytest.mark.parametrize("channel", [1, 5, 2**32 - 1])
def test_G1_channelThatWasNeverOpened(number: int, channel: int) -> None:
    attacker = loggedIn(1)
    attacker.send(number, u32(channel) + BODIES[number])
    attacker.send(n.MSG_CHANNEL_REQUEST, u32(0) + NS(b"shell") + b"\1")
    attacker.pump()
    assert attacker.disconnect()[0] == 2
    assert programs(attacker) == []


@pytest.mark.parametrize(
    "number", [n.MSG_CHANNEL_OPEN_CONFIRMATION, n.MSG_CHANNEL_OPEN_FAILURE], ids=["91", "92"]
)
def test_G1_answerAboutAChannelThatIsOpen(number: int) -> None:
    attacker = loggedIn(1)
    attacker.send(number, u32(0) + BODIES[number])
    attacker.pump()
    assert attacker.disconnect()[0] == 2


@pytest.mark.parametrize(
    "number", [number for number in BODIES if number >= n.MSG_CHANNEL_WINDOW_ADJUST]
)
def test_G1_channelThatHasJustBeenClosedIsIgnored(number: int) -> None:
    attacker = loggedIn(1)
    attacker.send(n.MSG_CHANNEL_CLOSE, u32(0))
    attacker.send(number, u32(0) + BODIES[number])
    attacker.pump()
    assert attacker.take() == [(n.MSG_CHANNEL_CLOSE, u32(0))]
    assert programs(attacker) == []
    assert lives(attacker)


# ── G2: how many ──────────────────────────────────────────────────────────────────────────────


def test_G2_sessionsAreLimited() -> None:
    attacker = Attacker().login()
    for number in range(MAX_SESSIONS + 5):
        attacker.open(number=number)
    attacker.pump()
    heard = attacker.take()
    assert [number for number, _ in heard] == (
        [n.MSG_CHANNEL_OPEN_CONFIRMATION] * MAX_SESSIONS + [n.MSG_CHANNEL_OPEN_FAILURE] * 5
    )
    # uint32 our number, uint32 reason: a shortage, not a prohibition.
    assert [payload[:8] for _, payload in heard[MAX_SESSIONS:]] == [
        u32(number) + u32(4) for number in range(MAX_SESSIONS, MAX_SESSIONS + 5)
    ]
    assert lives(attacker)


def test_G2_refusalsLeaveNothing() -> None:
    attacker = loggedIn()
    for number in range(2000):
        attacker.open(b"nonsense", number)
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_OPEN_FAILURE] * 2000
    connection = attacker.server.service
    assert connection.channels == connection.localToRemoteChannel == {}
    assert connection.channelsToRemoteChannel == {}
    assert connection.localChannelID == 0
    assert connection.deferreds == {"global": []}


def test_G2_channelsThatAreNeverGivenBackAreLimited() -> None:
    attacker = loggedIn()
    tooMuch = NS(bytes(32769))
    opened = 0
    for _ in range(MAX_CHANNELS + 10):
        attacker.open()
        attacker.pump()
        number, payload = attacker.take()[-1]
        if number == n.MSG_CHANNEL_OPEN_FAILURE:
            break
        opened += 1
        reader = Reader(payload)
        reader.u32()
        ours = reader.u32()
        # What came early, then what makes the server close. The client never closes.
        attacker.send(n.MSG_CHANNEL_DATA, u32(ours) + NS(bytes(32768)))
        attacker.send(n.MSG_CHANNEL_DATA, u32(ours) + tooMuch)
        attacker.send(n.MSG_CHANNEL_DATA, u32(ours) + NS(bytes(32768)))
        attacker.pump()
    assert opened == MAX_CHANNELS
    assert sum(len(channel.buf) for channel in channels(attacker).values()) == 0
    attacker.clock.advance(CLOSE_TIMEOUT_SECONDS)
    assert channels(attacker) == {}
    attacker.open()
    attacker.pump()
    assert attacker.numbers()[-1] == n.MSG_CHANNEL_OPEN_CONFIRMATION


# ── G3, G4: windows and sizes ─────────────────────────────────────────────────────────────────


def test_G3_windowBeyond32Bits() -> None:
    attacker = loggedIn(1)
    for _ in range(2):
        attacker.send(n.MSG_CHANNEL_WINDOW_ADJUST, u32(0) + u32(MAX_WINDOW))
    attacker.pump()
    assert attacker.disconnect()[0] == 2


@pytest.mark.parametrize("case", ["beyond the window", "beyond the packet"])
def test_G3_tooMuchDataClosesTheChannel(case: str) -> None:
    attacker = loggedIn(1)
    size = 32769 if case == "beyond the packet" else 32768
    window = channels(attacker)[0].localWindowSize
    for _ in range(window // 32768 + 2):
        attacker.send(n.MSG_CHANNEL_DATA, u32(0) + NS(bytes(size)))
    attacker.pump()
    assert attacker.numbers().count(n.MSG_CHANNEL_CLOSE) == 1
    assert lives(attacker)


def test_G3_initialWindowOfNothing() -> None:
    attacker = loggedIn()
    attacker.open(window=0)
    attacker.ask(0, b"exec", NS(b"both 1000"))
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_OPEN_CONFIRMATION, n.MSG_CHANNEL_SUCCESS]
    attacker.send(n.MSG_CHANNEL_WINDOW_ADJUST, u32(0) + u32(5000))
    attacker.pump()
    assert attacker.numbers()[-3:] == [
        n.MSG_CHANNEL_EOF,
        n.MSG_CHANNEL_REQUEST,
        n.MSG_CHANNEL_CLOSE,
    ]


def test_G4_packetsOfNoSizeAreRefused() -> None:
    attacker = loggedIn()
    attacker.open(largest=0)
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_OPEN_FAILURE]
    assert lives(attacker)


def test_G4_packetsOfOneByte() -> None:
    attacker = loggedIn()
    attacker.open(largest=1)
    attacker.ask(0, b"exec", NS(b"both 500"))
    attacker.pump()
    sizes = {len(p) for number, p in attacker.client.heard if number == n.MSG_CHANNEL_DATA}
    assert sizes == {4 + 4 + 1}
    assert attacker.numbers().count(n.MSG_CHANNEL_DATA) == 500
    assert attacker.numbers()[-1] == n.MSG_CHANNEL_CLOSE


def test_G4_ourOwnPacketsAreAtMost32KiB() -> None:
    attacker = loggedIn()
    attacker.open(window=MAX_WINDOW, largest=MAX_WINDOW)
    attacker.ask(0, b"exec", NS(b"both 200000"))
    attacker.pump()
    sizes = [len(p) - 8 for number, p in attacker.client.heard if number == n.MSG_CHANNEL_DATA]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 32768


# ── G5 to G7: data, answers, the end ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [0, 1, 2, 2**32 - 1])
def test_G5_extendedDataIsDroppedAndItsWindowGivenBack(kind: int) -> None:
    attacker = loggedIn(1)
    attacker.ask(0, b"exec", NS(b"echo"))
    channel = channels(attacker)[0]
    for _ in range(3 * channel.localWindowSize // 32768):
        attacker.send(n.MSG_CHANNEL_EXTENDED_DATA, u32(0) + u32(kind) + NS(bytes(32768)))
        attacker.pump()
    assert n.MSG_CHANNEL_CLOSE not in attacker.numbers()
    assert programs(attacker)[0].received == b""
    assert lives(attacker)


def test_G5_emptyDataReachesNobody() -> None:
    attacker = loggedIn(1)
    attacker.ask(0, b"exec", NS(b"echo"))
    for _ in range(5000):
        attacker.send(n.MSG_CHANNEL_DATA, u32(0) + NS(b""))
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_SUCCESS]
    assert lives(attacker)


@pytest.mark.parametrize(
    ("number", "payload"),
    [
        (n.MSG_REQUEST_SUCCESS, b""),
        (n.MSG_REQUEST_FAILURE, b""),
        (n.MSG_CHANNEL_SUCCESS, u32(0)),
        (n.MSG_CHANNEL_FAILURE, u32(0)),
    ],
)
def test_G6_answersToNothing(number: int, payload: bytes) -> None:
    attacker = loggedIn(1)
    for _ in range(3000):
        attacker.send(number, payload)
    attacker.pump()
    assert attacker.take() == []
    assert lives(attacker)


def test_G7_closeTwice() -> None:
    attacker = loggedIn(1)
    for _ in range(2):
        attacker.send(n.MSG_CHANNEL_CLOSE, u32(0))
    attacker.pump()
    assert attacker.take() == [(n.MSG_CHANNEL_CLOSE, u32(0))]
    assert lives(attacker)


def test_G7_dataBehindEOF() -> None:
    attacker = loggedIn(1)
    attacker.ask(0, b"exec", NS(b"exit 0"))
    attacker.open(number=1)
    attacker.ask(1, b"exec", NS(b"cat"))
    attacker.send(n.MSG_CHANNEL_DATA, u32(1) + NS(b"before"))
    attacker.send(n.MSG_CHANNEL_EOF, u32(1))
    attacker.send(n.MSG_CHANNEL_DATA, u32(1) + NS(b"behind"))
    attacker.send(n.MSG_CHANNEL_EOF, u32(1))
    attacker.pump()
    assert programs(attacker)[1].received == b"before"
    assert lives(attacker)


def test_G7_closeThatIsNeverAnswered() -> None:
    attacker = loggedIn(1)
    attacker.ask(0, b"exec", NS(b"exit 0"))
    attacker.pump()
    assert attacker.numbers()[-1] == n.MSG_CHANNEL_CLOSE
    assert len(channels(attacker)) == 1
    attacker.clock.advance(CLOSE_TIMEOUT_SECONDS)
    assert channels(attacker) == {}
    assert lives(attacker)


@pytest.mark.parametrize("what", [b"shell", b"exec", b"subsystem", b"pty-req", b"env"])
def test_G7_nothingStartsOnAChannelThatWeClosed(what: bytes) -> None:
    attacker = loggedIn(1)
    attacker.send(n.MSG_CHANNEL_DATA, u32(0) + NS(bytes(32769)))
    body = {b"exec": NS(b"echo"), b"subsystem": NS(b"sftp"), b"pty-req": PTY}.get(what, b"")
    attacker.ask(0, what, body)
    attacker.pump()
    assert attacker.take() == [(n.MSG_CHANNEL_CLOSE, u32(0))]
    assert programs(attacker) == []


# ── G8, G9: requests ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", [b"exec", b"env", b"pty-req", b"window-change", b"signal", b"subsystem", b"break"]
)
def test_G8_everyTruncationOfARequest(name: bytes) -> None:
    whole = {
        b"exec": NS(b"echo"),
        b"env": NS(b"LANG") + NS(b"C"),
        b"pty-req": PTY,
        b"window-change": struct.pack(">4L", 80, 24, 0, 0),
        b"signal": NS(b"TERM"),
        b"subsystem": NS(b"sftp"),
        b"break": u32(0),
    }[name]
    attacker = loggedIn(1)
    for end in range(len(whole)):
        attacker.ask(0, name, whole[:end])
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_FAILURE] * len(whole)
    assert programs(attacker) == []
    assert lives(attacker)


@pytest.mark.parametrize("name", [b"", b"x" * 30_000, b"\xff\0", b"shell\0", b"__init__", b"Shell"])
def test_G8_unknownRequestsAreRefused(name: bytes) -> None:
    attacker = loggedIn(1)
    attacker.ask(0, name)
    attacker.ask(0, name, wantReply=False)
    attacker.pump()
    assert attacker.take() == [(n.MSG_CHANNEL_FAILURE, u32(0))]
    assert lives(attacker)


@pytest.mark.parametrize("second", [b"shell", b"exec", b"subsystem"])
def test_G8_oneProgramPerSession(second: bytes) -> None:
    attacker = loggedIn(1)
    attacker.ask(0, b"exec", NS(b"cat"))
    attacker.ask(0, second, NS(b"cat") if second != b"shell" else b"")
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_SUCCESS, n.MSG_CHANNEL_FAILURE]
    assert len(programs(attacker)) == 1


def test_G8_sizesOfTerminalsAreClamped() -> None:
    seen: list[Any] = []
    attacker = loggedIn(1)
    avatar = attacker.avatars[0]
    avatar.getPty = lambda term, size, modes: seen.append(size)
    avatar.windowChanged = seen.append
    huge = struct.pack(">4L", *[2**32 - 1] * 4)
    attacker.ask(0, b"pty-req", NS(b"x") + huge + NS(b""))
    attacker.ask(0, b"window-change", huge)
    attacker.pump()
    assert seen == [(65535,) * 4] * 2


def test_G8_terminalModesAreCounted() -> None:
    attacker = loggedIn(1)
    mode = b"\1\0\0\0\3"
    for count in (MAX_TERMINAL_MODES, MAX_TERMINAL_MODES + 1):
        attacker.ask(0, b"pty-req", NS(b"x") + struct.pack(">4L", 1, 1, 1, 1) + NS(mode * count))
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_SUCCESS, n.MSG_CHANNEL_FAILURE]


def test_G8_noMoreSessions() -> None:
    attacker = loggedIn(1)
    attacker.send(n.MSG_GLOBAL_REQUEST, NS(b"no-more-sessions@openssh.com") + b"\0")
    attacker.open(number=1)
    attacker.pump()
    assert attacker.disconnect()[0] == 2


@pytest.mark.parametrize(
    "name",
    [b"tcpip-forward", b"cancel-tcpip-forward", b"hostkeys-prove-00@openssh.com", b"\xff", b""],
)
def test_G9_unknownGlobalRequests(name: bytes) -> None:
    attacker = loggedIn()
    attacker.send(n.MSG_GLOBAL_REQUEST, NS(name) + b"\1" + NS(b"") + u32(65536))
    attacker.send(n.MSG_GLOBAL_REQUEST, NS(name) + b"\0")
    attacker.pump()
    assert attacker.take() == [(n.MSG_REQUEST_FAILURE, b"")]
    assert lives(attacker)


@pytest.mark.parametrize("kind", sorted(ALWAYS_ASKED_FOR - {b"session"}))
def test_G10_forwardingIsDeniedByDefault(kind: bytes) -> None:
    attacker = loggedIn()
    extra = NS(b"127.0.0.1") + u32(22) + NS(b"::1") + u32(1)
    attacker.open(kind, extra=extra)
    attacker.pump()
    assert attacker.numbers() == [n.MSG_CHANNEL_OPEN_FAILURE]
    assert lives(attacker)


# ── G13, G14 ──────────────────────────────────────────────────────────────────────────────────


def test_G13_programIsPausedForAPeerThatDoesNotRead() -> None:
    attacker = loggedIn()
    attacker.open(window=MAX_WINDOW)
    attacker.ask(0, b"exec", NS(b"cat"))
    attacker.pump()
    paused: list[bool] = []
    program: Any = programs(attacker)[0]
    program.pauseProducing = lambda: paused.append(True)
    program.resumeProducing = lambda: paused.append(False)
    attacker.serverTransport.full = True
    written = 0
    while not (paused and paused[-1]) and written < 8 << 20:
        program.proto.childDataReceived(1, bytes(32768))
        written += 32768
    assert paused == [True]
    assert written <= 1 << 20
    attacker.serverTransport.full = False
    attacker.pump()
    assert paused == [True, False]


def test_G14_numbersAreNeverUsedTwice() -> None:
    attacker = loggedIn()
    for turn in range(300):
        # Always under the same number of the client's.
        attacker.open(number=7)
        attacker.ask(turn, b"exec", NS(b"cat"))
        attacker.send(n.MSG_CHANNEL_DATA, u32(turn) + NS(b"%d" % turn))
        attacker.send(n.MSG_CHANNEL_CLOSE, u32(turn))
    attacker.pump()
    assert [bytes(program.received) for program in programs(attacker)] == [
        b"%d" % turn for turn in range(300)
    ]
    assert channels(attacker) == {}
    assert set(attacker.server.service.deferreds) == {"global"}


# ── What all this leaves in the log ───────────────────────────────────────────────────────────


def _floods() -> dict[str, Callable[[Attacker], None]]:
    def refusedChannels(attacker: Attacker) -> None:
        attacker.open(b"nonsense")

    def refusedTerminals(attacker: Attacker) -> None:
        attacker.ask(0, b"pty-req", PTY)

    def strangeData(attacker: Attacker) -> None:
        attacker.send(n.MSG_CHANNEL_EXTENDED_DATA, u32(0) + u32(9) + NS(b"x"))

    return {f.__name__: f for f in (refusedChannels, refusedTerminals, strangeData)}


@pytest.mark.parametrize("kind", _floods())
def test_M7_refusalsDoNotFillTheLog(kind: str, lines: list[str]) -> None:
    attacker = loggedIn(1)

    def refuse(*ignored: Any) -> None:
        raise RuntimeError("no terminals here")

    attacker.avatars[0].getPty = refuse
    lines.clear()
    for _ in range(2000):
        _floods()[kind](attacker)
    attacker.pump()
    assert 0 < len(lines) <= MAX_LOGGED_REFUSALS + 1
