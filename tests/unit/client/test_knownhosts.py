"""known_hosts under Conch's names."""

from __future__ import annotations

import binascii
import io
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from twisted.internet import defer
from twisted.python.filepath import FilePath
from zope.interface.verify import verifyObject

from limpet.client.knownhosts import (
    ConsoleUI,
    HashedEntry,
    KnownHostsFile,
    MarkedEntry,
    PlainEntry,
    UnparsedEntry,
)
from limpet.core.knownhosts import hashName
from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.error import HostKeyChanged, InvalidEntry, UserRejectedKey
from limpet.interfaces import IKnownHostEntry
from tests.keymaking import makeKey

KEY = makeKey().public()
OTHER = makeKey(number=1).public()
EC = makeKey("ecdsa", 256).public()


def lineOf(hosts: bytes, key: Key = KEY) -> bytes:
    return hosts + b" " + key.toString("OPENSSH").strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def load(path: Path, *lines: bytes) -> KnownHostsFile:
    if lines:
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    return KnownHostsFile.fromPath(FilePath(str(path)))


class Console:
    """Answers with a bool or a failure."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.told: list[bytes] = []

    def prompt(self, text: bytes) -> defer.Deferred[Any]:
        self.asked.append(text)
        return defer.succeed(self.answer)

    def warn(self, text: bytes) -> None:
        self.told.append(text)


def outcome(waiting: defer.Deferred[Any]) -> Any:
    results: list[Any] = []
    waiting.addBoth(results.append)
    (result,) = results
    return getattr(result, "value", result)


class TestEntries:
    def test_plain(self) -> None:
        line = lineOf(b"a,*.b") + b" comment"
        entry = PlainEntry.fromString(line)
        assert verifyObject(IKnownHostEntry, entry)
        assert entry.keyType == b"ssh-ed25519"
        assert entry.comment == b"comment"
        assert entry.matchesKey(KEY)
        assert entry.matchesKey(makeKey())
        assert not entry.matchesKey(OTHER)
        assert entry.matchesHost(b"A")
        assert entry.matchesHost("x.b")
        assert not entry.matchesHost(b"b")
        assert entry.toString() == line

    def test_hashed(self) -> None:
        line = lineOf(hashName(b"a"))
        entry = HashedEntry.fromString(line)
        assert verifyObject(IKnownHostEntry, entry)
        assert entry.MAGIC == b"|1|"
        assert entry.matchesHost(b"a")
        assert not entry.matchesHost(b"b")
        assert entry.toString() == line
        assert entry == HashedEntry.fromString(line)
        assert len({entry, HashedEntry.fromString(line), PlainEntry.fromString(lineOf(b"a"))}) == 2

    def test_a_line_of_another_kind(self) -> None:
        for line in (lineOf(hashName(b"a")), lineOf(b"@revoked a"), b"# x", b"a"):
            with pytest.raises(InvalidEntry):
                PlainEntry.fromString(line)
        for line in (lineOf(b"a"), lineOf(b"@revoked " + hashName(b"a")), b""):
            with pytest.raises(InvalidEntry):
                HashedEntry.fromString(line)

    def test_a_damaged_line(self) -> None:
        with pytest.raises(binascii.Error):
            PlainEntry.fromString(b"a ssh-ed25519 !!")
        with pytest.raises(BadKeyError):
            PlainEntry.fromString(b"a ssh-ed25519 AAAA")

    def test_all_lines_of_a_file_come_back(self, path: Path) -> None:
        lines = [b"# x", b"", lineOf(b"a"), lineOf(hashName(b"b")), lineOf(b"@revoked *"), b"bad"]
        entries = list(load(path, *lines).iterentries())
        kinds = [UnparsedEntry, UnparsedEntry, PlainEntry, HashedEntry, MarkedEntry, UnparsedEntry]
        assert [type(entry) for entry in entries] == kinds
        assert [entry.toString() for entry in entries] == lines
        for entry in entries:
            assert verifyObject(IKnownHostEntry, entry)
        assert not entries[-1].matchesHost(b"bad")
        assert not entries[-1].matchesKey(KEY)


class TestHasHostKey:
    def test_known_and_new(self, path: Path) -> None:
        known = load(path, lineOf(b"a"), lineOf(b"[b]:2222,*.c,!x.c"))
        assert known.hasHostKey(b"a", KEY)
        assert known.hasHostKey(b"[b]:2222", KEY)
        assert known.hasHostKey(b"y.c", KEY)
        for name in (b"b", b"x.c", b"other"):
            assert not known.hasHostKey(name, KEY)
        assert known.getHostKeyAlgorithms(b"a") == [b"ssh-ed25519"]
        assert known.getHostKeyAlgorithms(b"other") is None

    @pytest.mark.parametrize("old", [OTHER, EC], ids=["same type", "other type"])
    def test_a_changed_key_is_told_with_its_line(self, path: Path, old: Key) -> None:
        known = load(path, b"# x", lineOf(b"a", old))
        with pytest.raises(HostKeyChanged) as caught:
            known.hasHostKey(b"a", KEY)
        assert caught.value.lineno == 2
        assert caught.value.path == FilePath(str(path))
        assert caught.value.offendingEntry == PlainEntry.fromString(lineOf(b"a", old))

    def test_a_key_that_was_added_counts_before_it_is_saved(self, path: Path) -> None:
        known = load(path)
        known.addHostKey(b"a", KEY)
        assert known.hasHostKey(b"a", KEY)
        with pytest.raises(HostKeyChanged) as caught:
            known.hasHostKey(b"a", OTHER)
        assert (caught.value.lineno, caught.value.path) == (None, None)

    def test_a_revoked_key_is_refused_though_known(self, path: Path) -> None:
        known = load(path, lineOf(b"a"), lineOf(b"@revoked *"))
        with pytest.raises(HostKeyChanged) as caught:
            known.hasHostKey(b"a", KEY)
        assert isinstance(caught.value.offendingEntry, MarkedEntry)
        assert caught.value.lineno == 2

    def test_an_authority_is_no_host(self, path: Path) -> None:
        assert not load(path, lineOf(b"@cert-authority *")).hasHostKey(b"a", KEY)


class TestSaving:
    def test_lines_are_added_and_no_other_is_touched(self, path: Path) -> None:
        known = load(path, b"# mine", lineOf(b"a"))
        path.write_bytes(path.read_bytes().rstrip(b"\n"))
        entry = known.addHostKey(b"b", OTHER)
        known.save()
        known.save()
        assert path.read_bytes() == b"# mine\n" + lineOf(b"a") + b"\n" + entry.toString() + b"\n"
        assert load(path).hasHostKey(b"b", OTHER)

    def test_a_file_that_was_not_loaded_is_written_anew(self, path: Path) -> None:
        path.write_bytes(lineOf(b"a"))
        known = KnownHostsFile(FilePath(str(path)))
        assert known.savePath.path == str(path)
        assert not known.hasHostKey(b"a", KEY)
        known.addHostKey(b"b", KEY)
        known.save()
        known.addHostKey(b"c", KEY)
        known.save()
        assert len(path.read_bytes().splitlines()) == 2
        assert b"\na" not in b"\n" + path.read_bytes()

    def test_directories_are_made(self, tmp_path: Path) -> None:
        known = load(tmp_path / "a" / "b" / "known_hosts")
        known.addHostKey(b"b", KEY)
        known.save()
        assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


class TestVerifying:
    def test_a_known_host(self, path: Path) -> None:
        console = Console()
        known = load(path, lineOf(b"a,192.0.2.1"))
        assert outcome(known.verifyHostKey(console, b"a", b"192.0.2.1", KEY)) is True
        assert console.asked == console.told == []

    def test_a_new_host_is_asked_about_and_remembered(self, path: Path) -> None:
        console = Console()
        known = load(path)
        assert outcome(known.verifyHostKey(console, b"a", b"192.0.2.1", KEY)) is True
        assert KEY.displayFingerprint().encode() in console.asked[0]
        for name in (b"a", b"192.0.2.1"):
            assert load(path).hasHostKey(name, KEY)

    @pytest.mark.parametrize("answer", [False, None])
    def test_no_is_no(self, path: Path, answer: Any) -> None:
        result = outcome(load(path).verifyHostKey(Console(answer), b"a", b"192.0.2.1", KEY))
        assert isinstance(result, UserRejectedKey)
        assert not path.exists()

    def test_a_new_address_is_remembered_and_told(self, path: Path) -> None:
        console = Console()
        known = load(path, lineOf(b"a"))
        assert outcome(known.verifyHostKey(console, b"a", b"192.0.2.1", KEY)) is True
        assert len(console.told) == 1
        assert load(path).hasHostKey(b"192.0.2.1", KEY)

    @pytest.mark.parametrize("hosts", [b"a", b"192.0.2.1"])
    def test_a_changed_key_of_either_fails(self, path: Path, hosts: bytes) -> None:
        lines = [lineOf(hosts, OTHER)] + ([lineOf(b"a")] if hosts != b"a" else [])
        result = outcome(load(path, *lines).verifyHostKey(Console(), b"a", b"192.0.2.1", KEY))
        assert isinstance(result, HostKeyChanged)


class TestConsoleUI:
    class Terminal(io.BytesIO):
        """What is typed, and what was shown."""

        def __init__(self, typed: bytes) -> None:
            super().__init__(typed)
            self.shown = b""

        def write(self, data: Any) -> int:
            self.shown += bytes(data)
            return len(data)

    @pytest.mark.parametrize(
        ("typed", "answer"),
        [(b"yes\n", True), (b"no\n", False), (b"huh\n\nYES\n", True), (b"", False), (b"y", False)],
    )
    def test_the_answer_is_yes_or_no(self, typed: bytes, answer: bool) -> None:
        terminal = self.Terminal(typed)
        assert outcome(ConsoleUI(lambda: terminal).prompt(b"Well? ")) is answer
        assert terminal.shown.startswith(b"Well? ")
        assert terminal.closed

    def test_no_terminal_is_a_failure(self) -> None:
        def opener() -> BinaryIO:
            raise OSError("no tty")

        assert isinstance(outcome(ConsoleUI(opener).prompt(b"Well? ")), OSError)

    def test_warnings_are_shown(self) -> None:
        terminal = self.Terminal(b"")
        ConsoleUI(lambda: terminal).warn(b"Look out")
        assert terminal.shown == b"Look out"
        assert terminal.closed
