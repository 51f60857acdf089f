"""attacks.md against a running `limpet serve`: what only sockets, processes and files can show."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from limpet.core.authentication import MAX_FAILURES, MAX_KEY_QUERIES
from limpet.core.packets import PacketSender
from limpet.ssh.keys import Key
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32
from tests.attacks.live import LiveServer

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks at the server through /proc"
)

IDENTIFICATION = b"SSH-2.0-attacker\r\n"
PTY = NS(b"xterm") + struct.pack(">4L", 80, 24, 0, 0) + NS(b"")


@pytest.fixture(scope="module", params=[(), ("-O",)], ids=["", "python -O"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The server; row M9 is that it behaves the same without its assertions."""
    running = LiveServer(
        tmp_path_factory.mktemp("live"),
        arguments=("--log-level", "info"),
        python=request.param,
    )
    yield running
    try:
        running.assertAtRest()
    finally:
        running.stop()


def answerTo(server: LiveServer, data: bytes) -> bytes:
    """All that a server says to somebody who says `data`, until it closes the connection."""
    connection = server.connect()
    with connection:
        connection.sendall(data)
        heard = b""
        while True:
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                return heard
            if not piece:
                return heard
            heard += piece


def plain(number: int, body: bytes = b"") -> bytes:
    return bytes(PacketSender().pack(number, body))


# ── A, B, C: before there are keys ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-" + bytes(65536).replace(b"\0", b"x"),
        b"SSH-2.0-" + b"x" * 246 + b"\r\n",
        b"hello\r\n" + IDENTIFICATION,
        b"SSH-1.5-x\r\n",
        b"SSH-1.99-x\r\n",
        b"SSH-2.0\r\n",
        b"SSH-2.0-\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-\x1b]0;x\x07\r\n",
        b"SSH-2.0-a\0b\r\n",
    ],
    ids=range(10),
)
def test_A1_A3_A4_noSSHGetsNoAnswerInSSH(server: LiveServer, data: bytes) -> None:
    heard = answerTo(server, data)
    # Our identification and MSG_KEXINIT went out before anything came; nothing is said to this.
    line, _, rest = heard.partition(b"\r\n")
    assert line.startswith(b"SSH-2.0-") or not line
    assert len(rest) <= 4 + int.from_bytes(rest[:4], "big")
    assert data[-20:] not in heard


@pytest.mark.parametrize(
    "length", [0, 1, 4, 5, 11, 35001, 0x40001, 0x7FFFFFFF, 0xFFFFFFFF], ids=hex
)
def test_B1_impossibleLength(server: LiveServer, length: int) -> None:
    heard = answerTo(server, IDENTIFICATION + u32(length) + b"\4" + bytes(60))
    assert b"bad packet length" in heard
    server.canary.ping()


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 7, 21, 30, 50, 52, 80, 90, 98, 192, 255])
def test_C2_C4_firstMessageIsKexInit(server: LiveServer, number: int) -> None:
    body = NS(b"alice") + NS(b"ssh-connection") + NS(b"none") if number == 50 else bytes(16)
    heard = answerTo(server, IDENTIFICATION + plain(number, body) + plain(number, body))
    assert b"ssh-userauth" not in heard
    server.canary.ping()


def test_B14_nothingBehindADisconnect(server: LiveServer) -> None:
    attacker = server.loggedIn()
    attacker.session()
    marker = server.directory / "B14"
    attacker.send(n.MSG_DISCONNECT, u32(11) + NS(b"bye") + NS(b""))
    attacker.ask(0, b"exec", NS(b"touch " + bytes(marker)))
    attacker.untilClosed()
    server.assertAtRest()
    assert not marker.exists()


# ── E: logins ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moment", ["before the service", "before a try", "behind a failed try"])
def test_E1_programWithoutALogin(server: LiveServer, moment: str) -> None:
    marker = server.directory / "E1"
    attacker = server.attacker()
    if moment != "before the service":
        attacker.service()
    if moment == "behind a failed try":
        attacker.request(b"none", user=server.user)
        attacker.expect(n.MSG_USERAUTH_FAILURE)
    attacker.open()
    attacker.ask(0, b"exec", NS(b"touch " + bytes(marker)))
    attacker.untilClosed()
    assert attacker.disconnect()[0] == 2
    assert n.MSG_CHANNEL_OPEN_CONFIRMATION not in attacker.numbers()
    server.assertAtRest()
    assert not marker.exists()


def test_E1_programInOneSegmentWithAFailingLogin(server: LiveServer) -> None:
    marker = server.directory / "E1segment"
    attacker = server.attacker()
    attacker.service()
    attacker.publicKey(Key.generate("ed25519"), server.user)
    attacker.open()
    attacker.ask(0, b"exec", NS(b"touch " + bytes(marker)))
    attacker.untilClosed()
    assert attacker.disconnect()[0] == 2
    server.assertAtRest()
    assert not marker.exists()


def test_E7_requestsInOneSegmentAreAnsweredInOrder(server: LiveServer) -> None:
    attacker = server.attacker()
    attacker.service()
    attacker.publicKey(Key.generate("ed25519"), server.user)
    attacker.publicKey(server.key, server.user)
    attacker.request(b"none", user=b"root")
    attacker.expect(n.MSG_USERAUTH_SUCCESS)
    # The server may have told its host keys by now.
    answers = [number for number in attacker.numbers() if number != n.MSG_GLOBAL_REQUEST]
    assert answers[-2:] == [n.MSG_USERAUTH_FAILURE, n.MSG_USERAUTH_SUCCESS]
    attacker.close()


@pytest.mark.parametrize(
    ("kind", "allowed"), [("signature", MAX_FAILURES - 1), ("query", MAX_KEY_QUERIES)]
)
def test_E12_triesAreCounted(server: LiveServer, kind: str, allowed: int) -> None:
    attacker = server.attacker()
    attacker.service()
    stranger = Key.generate("ed25519")
    for _ in range(allowed):
        attacker.publicKey(stranger, server.user, signed=kind == "signature")
        attacker.expect(n.MSG_USERAUTH_FAILURE)
    attacker.publicKey(stranger, server.user, signed=kind == "signature")
    attacker.untilClosed()
    assert attacker.disconnect()[0] == 14


def test_E14_answersDoNotTellWhoExists(server: LiveServer) -> None:
    stranger = Key.generate("ed25519")
    users = (server.user, b"nobody", b"no-such-user", b"\xff", b"../x", b"x" * 2000)
    attackers = [server.attacker() for _ in users]
    for user, attacker in zip(users, attackers, strict=True):
        attacker.service()
        attacker.request(b"none", user=user)
        attacker.publicKey(stranger, user, signed=False)
        attacker.publicKey(stranger, user)
        attacker.request(b"publickey", b"\1\0\0", user)
        attacker.request(b"password", b"\0" + NS(b"x"), user)
        attacker.flush()
    answers = []
    for attacker in attackers:
        for _ in range(5):
            attacker.expect(n.MSG_USERAUTH_FAILURE)
        answers.append(attacker.take()[1:])
        attacker.close()
    first, *others = answers
    assert [number for number, _ in first][-5:] == [n.MSG_USERAUTH_FAILURE] * 5
    assert all(other == first for other in others)


# ── G12, H: what a session may do ─────────────────────────────────────────────────────────────

OPTIONS = {
    "restrict": "restrict",
    "forced": 'command="echo FORCED:$SSH_ORIGINAL_COMMAND"',
    "both": 'restrict,command="echo FORCED:$SSH_ORIGINAL_COMMAND"',
    "no-pty": "no-pty",
}


@pytest.fixture(params=OPTIONS)
def restricted(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[tuple[str, Key]]:
    """A key with options, while the server lets in nobody else."""
    key = Key.generate("ed25519")
    server.authorize(key, OPTIONS[request.param])
    yield request.param, key
    server.authorize(server.key)


@pytest.mark.parametrize("how", ["shell", "exec"])
def test_G12_H1_forcedCommandRunsWhateverIsAskedFor(
    server: LiveServer, restricted: tuple[str, Key], how: str
) -> None:
    options, key = restricted
    marker = server.directory / "G12"
    command = b"echo ran; touch " + bytes(marker) + b"; `touch " + bytes(marker) + b"`"
    attacker = server.loggedIn(key)
    attacker.session()
    if how == "exec":
        assert attacker.asked(b"exec", NS(command))
    else:
        assert attacker.asked(b"shell")
        attacker.send(n.MSG_CHANNEL_DATA, u32(0) + NS(command + b"\n"))
        attacker.send(n.MSG_CHANNEL_EOF, u32(0))
    said = attacker.output()
    if options in ("forced", "both"):
        assert said == b"FORCED:" + (command if how == "exec" else b"") + b"\n"
        assert not marker.exists()
    else:
        assert said.startswith(b"ran")
        marker.unlink()
    attacker.close()


def test_G12_whatIsNotThereIsDeniedToAll(server: LiveServer, restricted: tuple[str, Key]) -> None:
    options, key = restricted
    attacker = server.loggedIn(key)
    attacker.session()
    assert attacker.asked(b"pty-req", PTY) is (options == "forced")
    assert not attacker.asked(b"subsystem", NS(b"netconf"))
    assert not attacker.asked(b"x11-req", b"\0" + NS(b"MIT-MAGIC-COOKIE-1") + NS(b"00") + u32(0))
    assert not attacker.asked(b"auth-agent-req@openssh.com")
    for kind in (
        b"direct-tcpip",
        b"direct-streamlocal@openssh.com",
        b"tun@openssh.com",
        b"forwarded-tcpip",
        b"x11",
        b"auth-agent@openssh.com",
    ):
        attacker.open(kind, 1, extra=NS(b"127.0.0.1") + u32(22) + NS(b"x") + u32(1))
        attacker.expect(n.MSG_CHANNEL_OPEN_FAILURE)
    for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com"):
        attacker.send(n.MSG_GLOBAL_REQUEST, NS(name) + b"\1" + NS(b"") + u32(0))
        attacker.expect(n.MSG_REQUEST_FAILURE)
    attacker.close()


def test_G12_forcedCommandStandsInForFiles(server: LiveServer, restricted: tuple[str, Key]) -> None:
    options, key = restricted
    attacker = server.loggedIn(key)
    attacker.session()
    assert attacker.asked(b"subsystem", NS(b"sftp"))
    if options in ("forced", "both"):
        assert attacker.output() == b"FORCED:internal-sftp\n"
    attacker.close()
    server.assertAtRest()


@pytest.mark.parametrize(
    "options",
    ['from="192.0.2.1"', 'expiry-time="20200101"', "no-such-option", 'command="a",command="b"'],
)
def test_F4_keysThatDoNotCountLetNobodyIn(server: LiveServer, options: str) -> None:
    key = Key.generate("ed25519")
    server.authorize(key, options)
    try:
        attacker = server.attacker()
        attacker.service()
        attacker.publicKey(key, server.user)
        attacker.expect(n.MSG_USERAUTH_FAILURE)
        attacker.close()
    finally:
        server.authorize(server.key)


@pytest.mark.parametrize("loose", ["others may write", "a link", "a FIFO", "a loose directory"])
def test_F5_filesThatOthersCouldHaveWritten(server: LiveServer, loose: str, tmp_path: Path) -> None:
    import os

    kept = tmp_path / "kept"
    server.keysFile.rename(kept)
    try:
        if loose == "others may write":
            server.authorize(server.key)
            server.keysFile.chmod(0o666)
        elif loose == "a link":
            server.keysFile.symlink_to(kept)
        elif loose == "a FIFO":
            os.mkfifo(server.keysFile, 0o600)
        else:
            server.authorize(server.key)
            server.directory.chmod(0o777)
        attacker = server.attacker()
        attacker.service()
        attacker.publicKey(server.key, server.user)
        attacker.expect(n.MSG_USERAUTH_FAILURE)
        attacker.close()
    finally:
        server.directory.chmod(0o700)
        server.keysFile.unlink()
        kept.rename(server.keysFile)
    server.loggedIn().close()


def test_H1_environmentIsRefusedUnlessItIsListed(server: LiveServer) -> None:
    wanted = {
        b"LD_PRELOAD": b"/x",
        b"BASH_ENV": b"/x",
        b"BASH_FUNC_ls%%()": b"() { :;}",
        b"PATH": b"/x",
        b"HOME": b"/x",
        b"GIT_SSH": b"/x",
        b"SSH_ORIGINAL_COMMAND": b"x",
        b"LANGUAGE": b"x",
        b"LC_=X": b"x",
        b"LC_ALL": b"C\nX=1",
        b"LC_X\0": b"x",
        b"": b"x",
    }
    attacker = server.loggedIn()
    attacker.session()
    granted = [
        name for name, value in wanted.items() if attacker.asked(b"env", NS(name) + NS(value))
    ]
    assert granted == []
    assert attacker.asked(b"env", NS(b"LC_ALL") + NS(b"C"))
    assert attacker.asked(b"exec", NS(b"tr '\\0' '\\n' < /proc/$$/environ"))
    found = dict(line.split(b"=", 1) for line in attacker.output().splitlines() if b"=" in line)
    assert found[b"LC_ALL"] == b"C"
    assert b"PYTHONPATH" not in found
    assert not [name for name in wanted if name in found and found[name] == wanted[name]]
    attacker.close()


def test_H2_programInheritsNothing(server: LiveServer) -> None:
    attacker = server.loggedIn()
    attacker.session()
    # Some shells keep a descriptor of their own; a program that they start has none of it.
    assert attacker.asked(b"exec", NS(b"umask; ulimit -c; exec ls /proc/self/fd"))
    said = attacker.output().split()
    assert said[:2] == [b"0022", b"0"]
    # The fourth is that of the directory which `ls` reads.
    assert said[2:] == [b"0", b"1", b"2", b"3"]
    attacker.close()


def test_H3_programsEndWithTheirClient(server: LiveServer) -> None:
    attacker = server.loggedIn()
    for channel, command in enumerate(
        [b"echo up; sleep 1000", b"trap '' HUP TERM INT; echo up; while :; do sleep 1; done"]
    ):
        attacker.session(channel)
        assert attacker.asked(b"exec", NS(command), channel)
        attacker.expect(n.MSG_CHANNEL_DATA)
    attacker.session(2)
    assert attacker.asked(b"pty-req", PTY, 2)
    assert attacker.asked(b"exec", NS(b"trap '' HUP; echo up; sleep 1000"), 2)
    attacker.expect(n.MSG_CHANNEL_DATA)
    assert len(server.children()) == 3
    attacker.reset()
    server.assertAtRest()


# ── M, V: descriptors, processes, the others ──────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["violation", "disconnect", "nothing"])
def test_M1_peerThatDoesNotReadIsGotRidOf(server: LiveServer, end: str) -> None:
    attacker = server.loggedIn(receiveBuffer=4096)
    attacker.session(window=1 << 30)
    attacker.ask(0, b"exec", NS(b"cat /dev/zero"))
    attacker.flush()
    # The program is stopped when all buffers are full: it uses no more time from then on.
    server.waitUntil(lambda: len(server.children()) == 1, "the program runs")
    if end == "violation":
        attacker.send(n.MSG_USERAUTH_SUCCESS)
        attacker.flush()
    elif end == "disconnect":
        attacker.send(n.MSG_DISCONNECT, u32(11) + NS(b"") + NS(b""))
        attacker.flush()
    else:
        attacker.reset()
    server.assertAtRest()
    attacker.close()


def test_M2_M3_oneByteAtATime(server: LiveServer) -> None:
    attacker = server.attacker()
    attacker.service()
    attacker.publicKey(server.key, server.user)
    data = bytes(attacker.transport.written)
    attacker.transport.written.clear()
    for at in range(len(data)):
        attacker.socket.send(data[at : at + 1])
    attacker.expect(n.MSG_USERAUTH_SUCCESS)
    attacker.close()


def _hostilities() -> dict[str, Callable[[LiveServer], None]]:
    def closesAtOnce(server: LiveServer) -> None:
        server.connect().close()

    def sendsNoise(server: LiveServer) -> None:
        answerTo(server, bytes(range(256)) * 20)

    def sendsNoiseAsPackets(server: LiveServer) -> None:
        answerTo(server, IDENTIFICATION + bytes(range(255, 0, -1)) * 20)

    def halfCloses(server: LiveServer) -> None:
        with server.connect() as connection:
            connection.sendall(b"SSH-2.0-")
            connection.shutdown(1)
            while connection.recv(65536):
                pass

    def resetsInTheExchange(server: LiveServer) -> None:
        with server.connect() as connection:
            hello = connection.recv(65536)
            connection.sendall(IDENTIFICATION + hello.partition(b"\r\n")[2])

    def damagesAPacket(server: LiveServer) -> None:
        attacker = server.attacker()
        attacker.socket.sendall(bytes(200))
        attacker.untilClosed()
        attacker.close()

    def failsToLogIn(server: LiveServer) -> None:
        attacker = server.attacker()
        attacker.service()
        for _ in range(4):
            attacker.publicKey(Key.generate("ed25519"), b"nobody")
        attacker.expect(n.MSG_USERAUTH_FAILURE)
        attacker.reset()

    def leavesWhileLoggingIn(server: LiveServer) -> None:
        attacker = server.attacker()
        attacker.service()
        attacker.publicKey(server.key, server.user)
        attacker.flush()
        attacker.reset()

    def leavesSessions(server: LiveServer) -> None:
        attacker = server.loggedIn()
        for channel in range(3):
            attacker.session(channel)
        assert attacker.asked(b"pty-req", PTY, 0)
        assert attacker.asked(b"exec", NS(b"sleep 1000"), 1)
        assert attacker.asked(b"exec", NS(b"cat /dev/zero"), 2)
        attacker.reset()

    return {
        f.__name__: f
        for f in (
            closesAtOnce,
            sendsNoise,
            sendsNoiseAsPackets,
            halfCloses,
            resetsInTheExchange,
            damagesAPacket,
            failsToLogIn,
            leavesWhileLoggingIn,
            leavesSessions,
        )
    }


@pytest.mark.parametrize("kind", _hostilities())
def test_V3_V6_nothingIsLeftOfAHostileConnection(server: LiveServer, kind: str) -> None:
    for _ in range(2 if kind == "leavesSessions" else 8):
        _hostilities()[kind](server)
        server.canary.ping()
    server.assertAtRest()


def test_M7_namesOfUsersStayOnOneLine(server: LiveServer) -> None:
    attacker = server.attacker()
    attacker.service()
    forged = b"x\n2026-01-01T00:00:00Z info 'root' logged in by publickey\x1b[2J"
    attacker.publicKey(Key.generate("ed25519"), forged)
    attacker.expect(n.MSG_USERAUTH_FAILURE)
    attacker.close()
    log = server.log.read_text(errors="replace")
    assert "\x1b" not in log
    assert "\n2026-01-01" not in log
