"""An SFTP client for tests that says what no real one would: one message in, one reply out."""

from __future__ import annotations

import struct
import subprocess
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from limpet.files.filesystem import Files
from limpet.files.requests import FileRequests
from limpet.files.worker import START
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32

SOURCE = str(Path(__file__).resolve().parents[1] / "src")

Reply = tuple[int, int, bytes]
"""Kind, id and the rest."""


class Asker:
    """Packs requests, and reads the replies; subclasses say how a message travels."""

    def __init__(self) -> None:
        self.lastId = 0

    def exchange(self, message: bytes) -> list[bytes]:
        """Send a message, without its length, and give all replies to it."""
        raise NotImplementedError

    def raw(self, kind: int, body: bytes) -> Reply:
        """Send a request with this id and body; exactly one reply comes, to that id."""
        replies = self.exchange(bytes([kind]) + body)
        assert len(replies) == 1, replies
        reader = Reader(replies[0])
        found = reader.byte(), reader.u32(), reader.rest()
        assert found[1] == int.from_bytes(body[:4], "big")
        return found

    def ask(self, kind: int, *values: Any) -> Reply:
        self.lastId += 1
        return self.raw(kind, sftp.packRequest(kind, self.lastId, *values))

    def extended(self, name: bytes, *values: Any) -> Reply:
        self.lastId += 1
        return self.raw(sftp.FXP_EXTENDED, sftp.packExtended(self.lastId, name, *values))

    # ── what a test wants to know ────────────────────────────────────────────────────────────────

    def status(self, kind: int, *values: Any) -> int:
        """The code of the STATUS that answers; 0 for any other reply."""
        return statusOf(self.ask(kind, *values))

    def extendedStatus(self, name: bytes, *values: Any) -> int:
        return statusOf(self.extended(name, *values))

    def open(self, path: bytes, flags: int = sftp.FXF_READ, attrs: Any = None) -> bytes:
        return handleOf(self.ask(sftp.FXP_OPEN, path, flags, attrs or {}))

    def openDirectory(self, path: bytes) -> bytes:
        return handleOf(self.ask(sftp.FXP_OPENDIR, path))

    def read(self, handle: bytes, offset: int = 0, length: int = 32768) -> bytes:
        kind, _, rest = self.ask(sftp.FXP_READ, handle, offset, length)
        assert kind == sftp.FXP_DATA, rest
        return Reader(rest).string()

    def contents(self, path: bytes) -> bytes:
        handle = self.open(path)
        data = self.read(handle, 0, sftp.MAX_DATA_LENGTH)
        assert self.status(sftp.FXP_CLOSE, handle) == sftp.FX_OK
        return data

    def attrs(self, kind: int, where: bytes) -> dict[str, Any]:
        found, _, rest = self.ask(kind, where)
        assert found == sftp.FXP_ATTRS, rest
        return sftp.readAttrs(Reader(rest))

    def path(self, kind: int, path: bytes) -> bytes:
        """The one name of a NAME."""
        return onlyName(self.ask(kind, path))

    def listing(self, path: bytes) -> list[sftp.Name]:
        handle = self.openDirectory(path)
        names: list[sftp.Name] = []
        while True:
            kind, _, rest = self.ask(sftp.FXP_READDIR, handle)
            if kind == sftp.FXP_STATUS:
                assert Reader(rest).u32() == sftp.FX_EOF
                break
            batch = sftp.readNames(Reader(rest))
            assert 0 < len(batch) <= 100
            names += batch
        assert self.status(sftp.FXP_CLOSE, handle) == sftp.FX_OK
        return names


def statusOf(reply: Reply) -> int:
    kind, _, rest = reply
    return Reader(rest).u32() if kind == sftp.FXP_STATUS else sftp.FX_OK


def textOf(reply: Reply) -> bytes:
    kind, _, rest = reply
    assert kind == sftp.FXP_STATUS
    return sftp.readStatus(Reader(rest))[1]


def handleOf(reply: Reply) -> bytes:
    kind, _, rest = reply
    assert kind == sftp.FXP_HANDLE, rest
    return Reader(rest).string()


def onlyName(reply: Reply) -> bytes:
    kind, _, rest = reply
    assert kind == sftp.FXP_NAME, rest
    (name,) = sftp.readNames(Reader(rest))
    return name.filename


def messages(stream: bytes) -> list[bytes]:
    """The messages of a stream that has nothing else."""
    found = []
    while stream:
        (length,) = struct.unpack_from(">L", stream)
        assert len(stream) >= 4 + length
        found.append(stream[4 : 4 + length])
        stream = stream[4 + length :]
    return found


class FilesAsker(Asker):
    """Asks `FileRequests` in this process."""

    def __init__(self, files: Files, hello: bool = True, **options: Any) -> None:
        super().__init__()
        self.sent = bytearray()
        self.bugs: list[BaseException] = []
        options.setdefault("report", self.bugs.append)
        self.requests = FileRequests(files, self.sent.extend, **options)
        weakref.finalize(self, self.requests.close)
        if hello:
            (self.version,) = self.exchange(bytes([sftp.FXP_INIT]) + u32(3))

    def exchange(self, message: bytes) -> list[bytes]:
        self.sent.clear()
        self.requests.received(memoryview(message))
        self.requests.flush()
        return messages(bytes(self.sent))


class WorkerAsker(Asker):
    """Asks a worker's process; for the time of a `with` block."""

    def __init__(self, *options: str, hello: bool = True, **kwargs: Any) -> None:
        super().__init__()
        command = [sys.executable, "-I", "-S", "-c", START, SOURCE, *options]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **kwargs,
        )
        if hello:
            self.exchange(bytes([sftp.FXP_INIT]) + u32(3))

    def __enter__(self) -> WorkerAsker:
        return self

    def __exit__(self, *problem: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self) -> bytes:
        """The next message; empty at the end of the worker's output."""
        assert self.process.stdout is not None
        head = self.process.stdout.read(4)
        return self.process.stdout.read(int.from_bytes(head, "big")) if len(head) == 4 else b""

    def exchange(self, message: bytes) -> list[bytes]:
        self.send(NS(message))
        reply = self.receive()
        return [reply] if reply else []

    def end(self) -> tuple[int, bytes]:
        """Close the input; the exit status, and what was said on the standard error."""
        _, complaint = self.process.communicate(timeout=20)
        return self.process.returncode, complaint


def names(found: Iterable[sftp.Name]) -> set[bytes]:
    return {name.filename for name in found}
