"""A running `limpet serve` with files of its own, and an attacker who reaches it through a socket.

Rule: every wait has an end, and nothing sleeps: who waits for the server's state talks to it.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from benchmarks.processes import PPID, treeOf
from limpet.ssh.keys import Key
from limpet.unix import Account
from limpet.wire import numbers as n
from limpet.wire.fields import NS
from tests.pair.attacker import Mouth, Speech

WAIT_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]


class SocketTransport:
    """What the attacker's SSH transport writes to."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.lost = False

    def write(self, data: bytes) -> None:
        self.written += data

    def loseConnection(self) -> None:
        self.lost = True

    abortConnection = loseConnection


class LiveAttacker(Speech):
    """Somebody who attacks through a socket, after the first key exchange.

    Args:
        port: The server's.
        receiveBuffer: How little the system takes in for us, in bytes; None for the usual.
    """

    def __init__(self, port: int, receiveBuffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receiveBuffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receiveBuffer)
        self.socket.settimeout(WAIT_SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self.client = Mouth()
        self.transport = SocketTransport()
        self.ended = False
        self._seen = 0
        self.client.makeConnection(cast(Any, self.transport))
        self._until(lambda: self.client.secure)

    def flush(self) -> None:
        """Send what was said, as one piece."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        try:
            self.socket.sendall(data)
        except OSError:
            self.ended = True

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
        if data:
            self.client.dataReceived(data)
        else:
            self.ended = True
        if self.transport.written:
            self.flush()

    def _until(self, condition: Callable[[], object]) -> None:
        self.flush()
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert not self.ended, self.client.heard[-3:]
            assert time.monotonic() < deadline, self.client.heard[-3:]
            self._receive()

    def expect(self, *numbers: int) -> tuple[int, bytes]:
        """The next message that has one of these numbers; what comes before it is passed over."""

        def found() -> int | None:
            for at in range(self._seen, len(self.client.heard)):
                if self.client.heard[at][0] in numbers:
                    return at + 1
            return None

        self._until(found)
        self._seen = found() or 0
        return self.client.heard[self._seen - 1]

    def untilClosed(self) -> None:
        """Wait for the server to close the connection."""
        self.flush()
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.ended:
            assert time.monotonic() < deadline
            self._receive()

    def ping(self) -> None:
        """One question and its answer: all that was said before has been dealt with."""
        self.send(n.MSG_PING, NS(b""))
        self.expect(n.MSG_PONG)

    def login(self, key: Key, user: bytes) -> LiveAttacker:
        """Be logged in."""
        self.service()
        self.publicKey(key, user)
        self.expect(n.MSG_USERAUTH_SUCCESS)
        return self

    def session(self, number: int = 0, window: int = 1 << 20) -> None:
        """Open a session."""
        self.open(number=number, window=window)
        self.expect(n.MSG_CHANNEL_OPEN_CONFIRMATION)

    def asked(self, name: bytes, body: bytes = b"", channel: int = 0) -> bool:
        """Whether a request is granted."""
        self.ask(channel, name, body)
        number, _ = self.expect(n.MSG_CHANNEL_SUCCESS, n.MSG_CHANNEL_FAILURE)
        return number == n.MSG_CHANNEL_SUCCESS

    def output(self) -> bytes:
        """All that the one session says until it is closed."""
        self.expect(n.MSG_CHANNEL_CLOSE)
        return b"".join(p[8:] for number, p in self.client.heard if number == n.MSG_CHANNEL_DATA)

    def close(self) -> None:
        """Go, in the ordinary way."""
        self.socket.close()

    def reset(self) -> None:
        """Go without a goodbye: the server gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class LiveServer:
    """One `limpet serve` for the user who runs the tests.

    Args:
        directory: Where its files are.
        arguments: More of its command line.
        python: Options of the interpreter.
    """

    def __init__(
        self, directory: Path, arguments: tuple[str, ...] = (), python: tuple[str, ...] = ()
    ) -> None:
        self.directory = directory
        self.user = Account.current().name.encode()
        self.key = Key.generate("ed25519")
        self.keysFile = directory / "authorized_keys"
        self.authorize(self.key)
        self.log = directory / "log"
        settings = directory / "settings.toml"
        settings.write_text("hangup-grace-seconds = 1.0\n")
        environment = dict(os.environ, HOME=str(directory), PYTHONPATH=str(ROOT / "src"))
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            environment.pop(name, None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *python, "-m", "limpet", "serve"),
                    *("--listen", "127.0.0.1:0", "--authorized-keys", str(self.keysFile)),
                    *("--config", str(settings)),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=directory,
            )
        self.port = self._announced()
        self.canary = self.attacker().login(self.key, self.user)
        self.descriptors = self.openDescriptors()
        # The server, and what forks its workers for files.
        self.members = set(treeOf(self.process.pid))

    def _announced(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if b"listening on" in line:
                return int(line.rpartition(b":")[2])
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    def authorize(self, key: Key, options: str = "") -> None:
        """Let `key` in, and no other, under these options."""
        line = key.public().toString("OPENSSH").decode("ascii")
        self.keysFile.write_text(f"{options} {line}\n" if options else f"{line}\n")
        self.keysFile.chmod(0o600)

    def attacker(self, **settings: Any) -> LiveAttacker:
        """Somebody who has exchanged keys with it."""
        return LiveAttacker(self.port, **settings)

    def loggedIn(self, key: Key | None = None, **settings: Any) -> LiveAttacker:
        """Somebody who is logged in, by the server's own key if no other is given."""
        return self.attacker(**settings).login(self.key if key is None else key, self.user)

    def connect(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS)

    # Its state, from outside.

    def openDescriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def children(self) -> list[int]:
        """The processes that were started for sessions and are not reaped."""
        return [
            pid
            for pid, fields in treeOf(self.process.pid).items()
            if pid not in self.members and int(fields[PPID]) in self.members
        ]

    def waitUntil(self, condition: Callable[[], bool], what: str) -> None:
        """Talk to it until the condition holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"
            self.canary.ping()
            self.canary.take()
            self.canary._seen = 0

    def assertAtRest(self) -> None:
        """It answers, and nothing of anybody else is left: no descriptor, no process."""
        self.waitUntil(lambda: not self.children(), "all children are gone")
        self.waitUntil(
            lambda: self.openDescriptors() <= self.descriptors, "all descriptors are closed"
        )
        assert self.process.poll() is None
        assert "Traceback" not in self.log.read_text(errors="replace")
        assert "Unhandled" not in self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End it."""
        self.canary.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
