"""`limpet ssh` on the connection of a master that does not do what masters do."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from limpet.client.config import loadClientConfig
from limpet.client.errors import OWN_FAILURE
from limpet.core import multiplexing
from limpet.scripts.messages import Messages
from limpet.scripts.sharing import runShared
from limpet.scripts.sshoptions import Invocation
from limpet.wire.fields import NS, u32

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)

PATIENCE_SECONDS = 20

ALIVE = NS(u32(multiplexing.ALIVE) + u32(1) + u32(4711))
OPENED = NS(u32(multiplexing.SESSION_OPENED) + u32(2) + u32(9))


@pytest.fixture(autouse=True)
def ownSignals() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def message(connection: socket.socket) -> bytes:
    length = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
    return connection.recv(length, socket.MSG_WAITALL)


def takeSession(connection: socket.socket) -> None:
    """Take a session with its three descriptors."""
    message(connection)
    for _ in range(3):
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def master(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """A master that greets, says which process it is, and then does as `serve`."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE_SECONDS)
            with connection:
                message(connection)
                connection.sendall(NS(multiplexing.hello()))
                message(connection)
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def status(path: Path) -> int | None:
    options = [("ControlPath", str(path)), ("StdinNull", "yes")]
    config = loadClientConfig("host.test", overrides=options, files=())
    return runShared(config, Invocation(host="host.test", command="make"), Messages())


class TestFailures:
    def test_a_program_that_runs_is_not_run_once_more(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def serve(connection: socket.socket) -> None:
            connection.sendall(ALIVE)
            takeSession(connection)
            connection.sendall(OPENED + NS(u32(multiplexing.FAILURE) + u32(9) + NS(b"no more")))

        with master(tmp_path / "m", serve):
            assert status(tmp_path / "m") == OWN_FAILURE
        assert "no more" in capfd.readouterr().err

    @pytest.mark.parametrize("number", [0, 2**32 - 1])
    def test_a_process_that_is_none(
        self, number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def serve(connection: socket.socket) -> None:
            connection.sendall(NS(u32(multiplexing.ALIVE) + u32(1) + u32(number)))

        with master(tmp_path / "m", serve):
            assert status(tmp_path / "m") is None
        assert f"it is process {number}" in capfd.readouterr().err

    def test_a_second_signal_does_not_disturb_the_first(self, tmp_path: Path) -> None:
        def serve(connection: socket.socket) -> None:
            connection.sendall(ALIVE)
            takeSession(connection)
            connection.sendall(OPENED)
            # The session has begun to be waited for when the signals have their handlers.
            end = time.monotonic() + PATIENCE_SECONDS
            while signal.getsignal(signal.SIGWINCH) == before and time.monotonic() < end:
                pass
            os.kill(os.getpid(), signal.SIGTERM)
            connection.recv(1)

        before = signal.getsignal(signal.SIGWINCH)
        with master(tmp_path / "m", serve):
            assert status(tmp_path / "m") == OWN_FAILURE
        os.kill(os.getpid(), signal.SIGHUP)


class TestDescriptors:
    def test_one_that_is_closed_is_told(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def serve(connection: socket.socket) -> None:
            connection.sendall(ALIVE)
            message(connection)
            while connection.recv(1):
                pass

        # So high that nothing else gets its number meanwhile.
        closed = fcntl.fcntl(0, fcntl.F_DUPFD, 500)
        os.close(closed)
        monkeypatch.setattr("limpet.scripts.sharing.STDOUT", closed)
        with master(tmp_path / "m", serve):
            assert status(tmp_path / "m") is None
        assert "cannot be passed" in capfd.readouterr().err
