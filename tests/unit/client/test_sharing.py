"""A client of a master: what it asks, and what becomes of answers that are none."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from limpet.client import sharing
from limpet.client.sharing import Master, SharingFailed
from limpet.core import multiplexing
from limpet.core.multiplexing import SessionWish
from limpet.core.sshconfig import parseForward
from limpet.wire.fields import NS, u32

HELLO = NS(multiplexing.hello())


def answer(kind: int, number: int, rest: bytes = b"") -> bytes:
    return NS(u32(kind) + u32(number) + rest)


class Served:
    """A master that says what it is given, whatever it is asked."""

    def __init__(self, *says: bytes) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX)
        self.theirs.sendall(HELLO + b"".join(says))
        self.theirs.shutdown(socket.SHUT_WR)
        self.master = Master(ours)

    def heard(self) -> bytes:
        self.master.close()
        found = bytearray()
        with self.theirs:
            while piece := self.theirs.recv(65536):
                found += piece
        return bytes(found)


class TestRequests:
    def test_each_has_a_number_of_its_own(self) -> None:
        served = Served(
            answer(multiplexing.ALIVE, 1, u32(4711)),
            answer(multiplexing.OK, 2),
            answer(multiplexing.REMOTE_PORT, 3, u32(2222)),
        )
        spec = parseForward("0:a:1", remote=True)
        assert served.master.process() == 4711
        served.master.stopListening()
        assert served.master.openForward("R", spec) == 2222
        assert served.heard() == b"".join(
            (
                HELLO,
                NS(multiplexing.request(multiplexing.ALIVE_CHECK, 1)),
                NS(multiplexing.request(multiplexing.STOP_LISTENING, 2)),
                NS(multiplexing.forward(multiplexing.OPEN_FORWARD, 3, "R", spec)),
            )
        )

    def test_a_session_has_our_descriptors_and_a_status(self, tmp_path: Path) -> None:
        served = Served(
            answer(multiplexing.SESSION_OPENED, 1, u32(9)),
            answer(multiplexing.TTY_ALLOC_FAIL, 9),
            answer(multiplexing.EXIT_MESSAGE, 9, u32(3)),
        )
        told: list[str] = []
        with (tmp_path / "x").open("wb") as file:
            session = served.master.openSession(SessionWish(b"ls"), (file.fileno(),))
            length = len(HELLO) + len(NS(multiplexing.newSession(1, SessionWish(b"ls")))) + 1
            data, descriptors, _, _ = socket.recv_fds(served.theirs, length, 1)
            assert data[-1:] == b"\0"
            assert os.path.sameopenfile(descriptors[0], file.fileno())
            os.close(descriptors[0])
        assert served.master.wait(session, lambda: told.append("no terminal")) == 3
        assert told == ["no terminal"]

    def test_a_master_that_ends_gives_no_status(self) -> None:
        served = Served(answer(multiplexing.SESSION_OPENED, 1, u32(9)))
        session = served.master.openSession(SessionWish(), ())
        assert served.master.wait(session, lambda: None) is None

    def test_one_that_is_told_to_end_may_do_so_at_once(self) -> None:
        served = Served()
        served.master.terminate()
        assert served.heard().endswith(NS(multiplexing.request(multiplexing.TERMINATE, 1)))

    def test_one_that_ends_before_it_is_asked_is_gone(self) -> None:
        served = Served()
        served.theirs.close()
        with pytest.raises(SharingFailed, match="is gone"):
            served.master.process()

    def test_one_that_ends_before_it_has_the_descriptors_is_gone(self) -> None:
        served = Served()

        class Late(list[int]):
            def __iter__(self) -> Iterator[int]:
                served.theirs.close()
                return super().__iter__()

        with pytest.raises(SharingFailed, match="is gone"):
            served.master.openSession(SessionWish(), Late([0]))


class TestAnswers:
    @pytest.mark.parametrize(
        ("says", "why"),
        [
            (answer(multiplexing.FAILURE, 1, NS(b"no \x1b[m")), r"refuses: no \\x1b\[m"),
            (answer(multiplexing.PERMISSION_DENIED, 1, NS(b"never")), "refuses: never"),
            (answer(multiplexing.OK, 2), "was not asked"),
            (answer(multiplexing.OK, 1), "something else"),
            (answer(0x8000000F, 1), "breaks its protocol"),
            (NS(b"x"), "breaks its protocol"),
            (b"\xff\xff\xff\xff", "bytes at once"),
            (b"\0\0\0\x08half", "is gone"),
        ],
    )
    def test_that_are_no_answers_are_told(self, says: bytes, why: str) -> None:
        served = Served(says)
        with pytest.raises(SharingFailed, match=why):
            served.master.process()

    def test_a_session_that_is_not_ours(self) -> None:
        served = Served(answer(multiplexing.EXIT_MESSAGE, 8, u32(0)))
        with pytest.raises(SharingFailed, match="not ours"):
            served.master.wait(9, lambda: None)


class TestWhoListens:
    def at(self, path: Path, serve: Callable[[socket.socket], None]) -> Master | None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def accept() -> None:
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

            thread = threading.Thread(target=accept)
            thread.start()
            try:
                return Master.at(str(path), 0.2)
            finally:
                thread.join()

    def test_nobody(self, tmp_path: Path) -> None:
        assert Master.at(str(tmp_path / "none")) is None
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "stale"))
        assert Master.at(str(tmp_path / "stale")) is None

    def test_a_master(self, tmp_path: Path) -> None:
        def serve(connection: socket.socket) -> None:
            assert connection.recv(len(HELLO)) == HELLO
            connection.sendall(HELLO)

        master = self.at(tmp_path / "s", serve)
        assert master is not None
        master.close()

    def test_what_is_none(self, tmp_path: Path) -> None:
        for number, says in enumerate((b"", NS(u32(1) + u32(3)), NS(u32(2) + u32(4)))):

            def serve(connection: socket.socket, says: bytes = says) -> None:
                connection.sendall(says)

            with pytest.raises(SharingFailed, match=f"the master at {tmp_path}"):
                self.at(tmp_path / str(number), serve)

    def test_one_that_is_silent(self, tmp_path: Path) -> None:
        def serve(connection: socket.socket) -> None:
            while connection.recv(100):
                pass

        with pytest.raises(SharingFailed, match="in time|timed out"):
            self.at(tmp_path / "s", serve)

    def test_one_that_takes_no_more_clients(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(path)
            listener.listen(0)
            first.connect(path)
            with pytest.raises(SharingFailed, match="no answer in time"):
                Master.at(path, 0.2)

    def test_somebody_elses_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
        heard: list[bytes] = []
        monkeypatch.setattr(sharing, "ALSO_TRUSTED", ())
        with pytest.raises(SharingFailed, match="somebody else"):
            self.at(tmp_path / "s", lambda connection: heard.append(connection.recv(100)))
        assert heard == [b""]

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(SharingFailed):
            Master.at(str(tmp_path / ("x" * 200)))
