"""Files of revoked keys: read when they change, and everybody refused where they are of no use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.logger import LogEvent, globalLogPublisher

from limpet.checkers import RevokedKeysFile, UnusableList, blocklistFile
from limpet.checkers.revocations import SETTLED_SECONDS
from limpet.checkers.workers import checks
from limpet.core.revokedkeys import IN_PLACE_LENGTH
from limpet.ssh.keys import Key
from tests.keymaking import makeKey
from tests.unit.core.test_keyblocklist import listOf

KEY, OTHER = makeKey(), makeKey(number=1)


def lineOf(*keys: Key) -> bytes:
    return b"".join(key.public().toString("openssh") + b"\n" for key in keys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "revoked"
    path.write_bytes(lineOf(KEY))
    return path


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


def errorsIn(log: list[LogEvent]) -> list[str]:
    return [str(event["reason"]) for event in log if "reason" in event]


def test_what_is_listed(path: Path) -> None:
    file = RevokedKeysFile(str(path))
    assert file.isRevoked(KEY.blob())
    assert not file.isRevoked(OTHER.blob())


def test_a_change_counts_from_the_next_question_on(path: Path) -> None:
    file = RevokedKeysFile(str(path))
    assert not file.isRevoked(OTHER.blob())
    path.write_bytes(lineOf(KEY, OTHER))
    assert file.isRevoked(OTHER.blob())
    path.write_bytes(b"")
    assert not file.isRevoked(OTHER.blob())


def test_a_change_that_leaves_size_and_time_counts(path: Path) -> None:
    """While the file is young; later no file system gives two changes the same time."""
    file = RevokedKeysFile(str(path))
    before = path.stat()
    assert not file.isRevoked(OTHER.blob())
    path.write_bytes(lineOf(OTHER))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.isRevoked(OTHER.blob())


@pytest.mark.parametrize("dated", [0, 10**9, 10**10])
def test_an_old_file_is_read_once(path: Path, dated: int) -> None:
    """How old it is, nobody can say of it: a copy keeps its date, and may be of the future."""
    if dated:
        os.utime(path, (dated, dated))
    written = path.stat().st_ctime
    assert readingsOf(path, written + SETTLED_SECONDS - 0.5) == 3
    assert readingsOf(path, written + SETTLED_SECONDS) == 1


def readingsOf(path: Path, now: float) -> int:
    """How often a file is read for three questions."""
    parsed: list[bytes] = []

    class Nobody:
        def isRevoked(self, blob: bytes) -> bool:
            return False

    def parse(data: bytes) -> Nobody:
        parsed.append(data)
        return Nobody()

    file = RevokedKeysFile(str(path), parse, now=lambda: now)
    for _ in range(3):
        assert not file.isRevoked(KEY.blob())
    return len(parsed)


@pytest.mark.parametrize("what", ["gone", "directory", "fifo", "noise", "too long"])
def test_F3_without_a_list_everything_is_revoked(
    path: Path, what: str, log: list[LogEvent]
) -> None:
    file = RevokedKeysFile(str(path), limit=100_000)
    assert not file.isRevoked(OTHER.blob())
    path.unlink()
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "noise":
        path.write_bytes(b"no key\n")
    elif what == "too long":
        path.write_bytes(b"# x\n" * 30_000)
    assert file.isRevoked(OTHER.blob())
    assert file.isRevoked(OTHER.blob())
    (told,) = errorsIn(log)
    assert str(path) in told
    with pytest.raises(UnusableList, match="revoked"):
        file.load()
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(lineOf(KEY))
    assert not file.isRevoked(OTHER.blob())


def test_each_new_reason_is_told_once(path: Path, log: list[LogEvent]) -> None:
    file = RevokedKeysFile(str(path))
    path.unlink()
    for _ in range(3):
        assert file.isRevoked(OTHER.blob())
    path.write_bytes(b"noise\n")
    assert file.isRevoked(OTHER.blob())
    assert len(errorsIn(log)) == 2


@pytest.fixture
def aside(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a thread is given to do, which is done at once."""
    given: list[object] = []

    def run(source: object, function: Any, *arguments: Any) -> defer.Deferred[Any]:
        given.append(source)
        return defer.maybeDeferred(function, *arguments)

    monkeypatch.setattr(checks, "run", run)
    return given


def resultOf(deferred: defer.Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0]


def test_M5_aLongListIsReadInAThreadAndOnlyWhereItHasChanged(
    path: Path, aside: list[object]
) -> None:
    path.write_bytes(b"# a remark\n" * IN_PLACE_LENGTH + lineOf(KEY))
    file = RevokedKeysFile(str(path), now=lambda: path.stat().st_ctime + SETTLED_SECONDS)
    for _ in range(3):
        assert resultOf(file.judge(KEY.blob())) is True
        assert resultOf(file.judge(OTHER.blob())) is False
    assert aside == [("revocations", str(path))]
    path.write_bytes(b"# a remark\n" * IN_PLACE_LENGTH + lineOf(OTHER))
    assert resultOf(file.judge(OTHER.blob())) is True
    assert len(aside) == 2
    path.unlink()
    assert resultOf(file.judge(KEY.blob())) is True
    assert len(aside) == 2


def test_aShortListIsReadWhereItIsAsked(path: Path, aside: list[object]) -> None:
    file = RevokedKeysFile(str(path))
    assert resultOf(file.judge(KEY.blob())) is True
    assert resultOf(file.prepare()).isRevoked(KEY.blob())
    assert aside == []


@pytest.mark.parametrize("length", [0, IN_PLACE_LENGTH])
def test_F3_aListThatIsNoneRevokesEverythingInAThreadToo(
    path: Path, aside: list[object], length: int
) -> None:
    path.write_bytes(b"# a remark\n" * length + b"noise\n")
    file = RevokedKeysFile(str(path))
    assert resultOf(file.judge(OTHER.blob())) is True
    assert resultOf(file.prepare()).check(UnusableList)
    assert bool(aside) == bool(length)


def test_D13_a_list_of_known_keys(tmp_path: Path) -> None:
    path = tmp_path / "blocklist.dat"
    path.write_bytes(listOf(KEY))
    file = blocklistFile(str(path))
    assert file.isRevoked(KEY.blob())
    assert not file.isRevoked(OTHER.blob())
    path.write_bytes(b"noise")
    assert file.isRevoked(OTHER.blob())
