"""attacks.md, F4, F5 and F7: authorized_keys, its files, and patterns."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any

import pytest

from limpet.checkers import AuthorizedKeysFiles, UnsafeFile, readUserFile
from limpet.checkers import files as filesModule
from limpet.checkers.keyfiles import lookUpUser
from limpet.core import patterns
from limpet.core.authorizedkeys import (
    MAX_FILE_LENGTH,
    MAX_LINES,
    BadLine,
    parseAuthorizedKeys,
    parseLine,
)
from limpet.core.patterns import matchAddressList, matchPattern, matchPatternList
from limpet.wire.fields import NS

BLOB = NS(b"ssh-ed25519") + NS(bytes(range(32)))
KEY = b"ssh-ed25519 " + base64.b64encode(BLOB)

# ── F4: the grammar ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        b"unknown-option",
        b"no-Pty,unknown",
        b"no_pty",
        b"restrict-all",
        b"command",
        b"command=uptime",
        b'command="',
        b'command="uptime',
        b'command=""',
        b'command="a"b',
        b'command="a""b"',
        b'command="a",',
        b',command="a"',
        b'command="a",,no-pty',
        b'command="a" ,no-pty',
        b'command="a",command="b"',
        b'restrict="yes"',
        b'no-pty="no"',
        b'from=""',
        b'from="10.0.0.1,,10.0.0.2"',
        b'from="10.0.0.1","10.0.0.2"',
        b'from="1.2.3.4",from="5.6.7.8"',
        b'expiry-time="tomorrow"',
        b'expiry-time="20261301"',
        b'expiry-time="2026"',
        b'expiry-time="\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa60101"',
        b'expiry-time="2026_101"',
        b'permitopen="host"',
        b'permitopen="host:"',
        b'permitopen=":80"',
        b'permitopen="host:0"',
        b'permitopen="host:65536"',
        b'permitopen="host:4294967295"',
        b'permitopen="host:0xffffffff"',
        b'permitopen="host:+80"',
        b'permitopen="host: 80"',
        b'permitopen="host:\xd9\xa8\xd9\xa0"',
        b'permitopen="::1:80"',
        b'permitopen="[::1]80"',
        b'permitopen="[::1:80"',
        b'permitlisten="host:-1"',
        b'principals="a"',
        b'cert-authority,principals="a,,b"',
        b'environment="NAME"',
        b'environment="=x"',
        b'environment="A B=x"',
        b'environment="1A=x"',
        b'"quoted"',
        b"=",
        b"restrict\x0bno-pty",
        b"restrict\x00",
        b'command="a\x07b"',
        b'command="a\x0bb"',
        b'command="a\rb"',
        b'environment="A=\x1b"',
    ],
)
def test_F4_optionInDoubtDeniesTheKey(options: bytes) -> None:
    keys, problems = parseAuthorizedKeys(options + b" " + KEY + b"\n")
    assert keys == []
    assert [line for line, _ in problems] == [1]


@pytest.mark.parametrize(
    "separator",
    [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85", b"\r", "\u2028".encode(), b"\xc2\x85"],
)
def test_F4_onlyNewlinesEndLines(separator: bytes) -> None:
    """What `str.splitlines` takes for a line's end would let a comment smuggle in a key."""
    data = b"# a comment" + separator + KEY + b"\n"
    assert parseAuthorizedKeys(data) == ([], [])
    keys, _ = parseAuthorizedKeys(KEY + b" a comment" + separator + KEY + b"\n")
    assert len(keys) <= 1


@pytest.mark.parametrize("blank", [b"\x0b", b"\x0c", b"\x1c", b"\x85", "\u00a0".encode()])
def test_F4_onlySpaceAndTabSeparate(blank: bytes) -> None:
    assert parseAuthorizedKeys(KEY.replace(b" ", blank))[0] == []
    assert parseAuthorizedKeys(b"restrict" + blank + KEY)[0] == []
    assert len(parseAuthorizedKeys(KEY.replace(b" ", b" \t "))[0]) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"ssh-ed25519",
        b"ssh-ed25519 ",
        b"ssh-ed25519 AAAA",
        b"ssh-ed25519 !!!!",
        b"ssh-rsa " + KEY.split(b" ")[1],
        b"ssh-ed25519 " + KEY.split(b" ")[1][:-3],
        b"ssh-ed25519 " + KEY.split(b" ")[1] + b"=",
        b"ssh-ed25519 AAAA!!!!" + KEY.split(b" ")[1][4:],
        KEY.split(b" ")[1],
        b"ssh-foo " + KEY.split(b" ")[1],
        b"restrict",
        b"restrict " + KEY.split(b" ")[1],
        b'command="ssh-ed25519 AAAA',
        b"ssh-ed25519-cert-v01@openssh.com " + KEY.split(b" ")[1],
    ],
)
def test_F4_lineWithoutAKey(line: bytes) -> None:
    keys, problems = parseAuthorizedKeys(line)
    assert keys == []
    assert len(problems) == 1


def test_F4_longLineIsNotTwoLines() -> None:
    """One line of 1 MiB whose tail is a key: dropbear read the tail as a line of its own."""
    data = b"restrict" + b" " * (MAX_FILE_LENGTH - 8 - len(KEY)) + KEY
    keys, problems = parseAuthorizedKeys(data)
    assert keys == []
    assert len(problems) == 1


def test_F4_fileThatIsTooLong() -> None:
    with pytest.raises(BadLine):
        parseAuthorizedKeys(b"#" * (MAX_FILE_LENGTH + 1))


def test_F4_tooManyLines() -> None:
    keys, problems = parseAuthorizedKeys((KEY + b"\n") * (MAX_LINES + 10))
    assert len(keys) == MAX_LINES
    assert [line for line, _ in problems] == [MAX_LINES + 1]


def test_F4_oneBadLineDeniesOnlyItself() -> None:
    keys, problems = parseAuthorizedKeys(b"bad\n" + KEY + b"\nno-pty,bad " + KEY + b"\n")
    assert [key.line for key in keys] == [2]
    assert [line for line, _ in problems] == [1, 3]


def test_F4_restrictIsNeverDropped() -> None:
    for options in (b"restrict", b"RESTRICT", b"no-pty,restrict", b"restrict,no-pty"):
        ((key,), _) = parseAuthorizedKeys(options + b" " + KEY)
        allowed = key.options.restrictions
        assert not allowed.allowPty
        assert not allowed.allowPortForwarding
        assert not allowed.allowAgentForwarding
        assert not allowed.allowX11Forwarding
        assert not allowed.allowUserRc


def test_F4_parsingIsLinear() -> None:
    """Lines made of quotes and backslashes, as long as lines may be, take no noticeable time."""
    started = time.process_time()
    for piece in (b'\\"', b'"', b"\\", b",", b"a,", b'a="b",', b" "):
        line = piece * (32000 // len(piece))
        parseAuthorizedKeys((line + b"\n") * 30)
    # A quadratic parser takes minutes; this allows for a slow machine.
    assert time.process_time() - started < 20


# ── F5: the file ──────────────────────────────────────────────────────────────────────────────

UID, GID = os.geteuid(), os.getegid()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with keys in it."""
    directory = tmp_path / "home"
    (directory / ".ssh").mkdir(parents=True, mode=0o700)
    directory.chmod(0o755)
    path = directory / ".ssh" / "authorized_keys"
    path.write_bytes(KEY + b"\n")
    path.chmod(0o600)
    return directory


def read(home: Path, name: str = ".ssh/authorized_keys", **settings: Any) -> bytes:
    return readUserFile(os.fsencode(home / name), UID, GID, home=os.fsencode(home), **settings)


def test_F5_fileAsItShouldBe(home: Path) -> None:
    assert read(home) == KEY + b"\n"


def test_F5_fifoDoesNotHang(home: Path) -> None:
    os.mkfifo(home / ".ssh" / "fifo")
    with pytest.raises(UnsafeFile):
        read(home, ".ssh/fifo")


def test_F5_device() -> None:
    with pytest.raises(UnsafeFile):
        readUserFile(b"/dev/zero", UID, GID)


def test_F5_directory(home: Path) -> None:
    with pytest.raises((UnsafeFile, IsADirectoryError)):
        read(home, ".ssh")


def test_F5_symlink(home: Path) -> None:
    link = home / ".ssh" / "link"
    link.symlink_to(home / ".ssh" / "authorized_keys")
    with pytest.raises(OSError, match="symbolic"):
        read(home, ".ssh/link")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_F5_fileOthersMayWrite(home: Path, mode: int) -> None:
    (home / ".ssh" / "authorized_keys").chmod(mode)
    with pytest.raises(UnsafeFile):
        read(home)
    assert read(home, strict=False) == KEY + b"\n"


@pytest.mark.parametrize("directory", [".ssh", "."])
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777 & ~0o1000])
def test_F5_directoryOthersMayWrite(home: Path, directory: str, mode: int) -> None:
    (home / directory).chmod(mode)
    with pytest.raises(UnsafeFile):
        read(home)


@pytest.mark.skipif(UID != 0, reason="only root can give files away")
def test_F5_foreignOwner(home: Path) -> None:
    path = home / ".ssh" / "authorized_keys"
    os.chown(path, 12345, 12345)
    with pytest.raises(UnsafeFile):
        read(home)


def test_F5_directoryWithForeignOwner(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without root: everything belongs to somebody who is not the user."""
    if UID == 0:
        os.chown(home / ".ssh", 12345, 12345)
        with pytest.raises(UnsafeFile):
            read(home)
    else:
        with pytest.raises(UnsafeFile):
            readUserFile(os.fsencode(home / ".ssh/authorized_keys"), UID + 1, GID)


def test_F5_fileThatIsTooLong(home: Path) -> None:
    (home / ".ssh" / "authorized_keys").write_bytes(b"#" * (MAX_FILE_LENGTH + 1))
    with pytest.raises(UnsafeFile):
        read(home)
    (home / ".ssh" / "authorized_keys").write_bytes(b"#" * MAX_FILE_LENGTH)
    assert len(read(home)) == MAX_FILE_LENGTH


@pytest.mark.skipif(UID != 0, reason="only root can become somebody else")
def test_F5_openedAsTheUser(tmp_path: Path) -> None:
    """A directory above leads, by a link of the user's, to what only root may read."""
    secret = tmp_path / "root-only"
    secret.mkdir(mode=0o700)
    (secret / "authorized_keys").write_bytes(KEY)
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / ".ssh").symlink_to(secret)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and str(directory).startswith("/tmp/"):
            directory.chmod(0o755)
    path = os.fsencode(home / ".ssh" / "authorized_keys")
    assert readUserFile(path, 0, 0, strict=False) == KEY
    with pytest.raises(PermissionError):
        readUserFile(path, 65534, 65534, home=os.fsencode(home))
    assert (os.geteuid(), os.getegid()) == (0, GID)
    assert readUserFile(path, 0, 0, strict=False) == KEY


@pytest.mark.skipif(UID != 0, reason="only root can become somebody else")
def test_F5_identityIsGivenBackAfterAnError() -> None:
    groups = os.getgroups()

    def act() -> None:
        with filesModule.actingAs(65534, 65534, [65533]):
            with pytest.raises(PermissionError):
                os.listdir("/root")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act()
    os.listdir("/root")
    status = Path("/proc/thread-self/status").read_text()
    assert f"Uid:\t0\t0\t0\t0\nGid:\t{GID}\t{GID}\t{GID}\t{GID}\n" in status
    assert os.getgroups() == groups


@pytest.mark.skipif(UID != 0, reason="only root can become somebody else")
def test_F5_noWayToBecomeTheUser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesModule, "_kernel", lambda: None)
    with pytest.raises(UnsafeFile):
        readUserFile(b"/etc/passwd", 65534, 65534)


class Users:
    """One user, found under any name that is asked for in lower case."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.asked: list[str] = []

    def getpwnam(self, username: str) -> Any:
        self.asked.append(username)
        if username.lower() != "alice":
            raise KeyError(username)

        class Record:
            pw_name = "alice"
            pw_dir = str(self.home)
            pw_uid = UID
            pw_gid = GID

        return Record()


@pytest.mark.parametrize(
    "name",
    [
        b"../alice",
        b"~alice",
        b"${HOME}",
        b"C:alice",
        b"alice\0",
        b"alice\n",
        b"*)(uid=*",
        b"",
        b"-rf",
        "\uff41lice".encode(),
        b"a" * 257,
        b"alice alice",
        b"%u",
    ],
)
def test_E16_namesThatNoSystemHasAreNotLookedUp(home: Path, name: bytes) -> None:
    users = Users(home)
    assert lookUpUser(users, name) is None
    assert users.asked == []


def test_E16_directoryThatIgnoresCase(home: Path) -> None:
    keys = AuthorizedKeysFiles(userdb=Users(home))
    assert len(keys.read(b"alice")) == 1
    assert keys.read(b"Alice") == []


# ── F7: patterns ──────────────────────────────────────────────────────────────────────────────


def test_F7_patternsAreLinear() -> None:
    """500 stars against 1000 letters: hopeless for whoever tries all the ways."""
    started = time.process_time()
    assert not matchPattern(b"*a" * 500 + b"b", b"a" * 1000)
    assert not matchPattern(b"*" * 1000 + b"b", b"a" * 1000)
    assert not matchPattern(b"*?" * 500 + b"b", b"a" * 1000)
    assert time.process_time() - started < 5


def test_F7_patternsAreBounded() -> None:
    assert not matchPattern(b"*" * 1025, b"a")
    assert not matchPattern(b"*", b"a" * 1025)
    assert not matchPatternList(b",".join([b"*"] * 257), b"a")
    assert not matchAddressList(b",".join([b"*"] * 257), "192.0.2.1")


def test_F7_negationTooLongStillExcludes() -> None:
    """An exclusion that cannot be evaluated excludes, rather than letting through."""
    assert not matchPatternList(b"!" + b"*" * 2000 + b",*", b"a")
    assert not matchAddressList(b"!" + b"*" * 2000 + b",*", "192.0.2.1")


@pytest.mark.parametrize(
    "bad",
    [
        b"192.0.2.0/33",
        b"192.0.2.1/24",
        b"192.0.2.0/-1",
        b"192.0.2.0/",
        b"x/24",
        b"/24",
        b"192.0.2.0/\xd9\xa2",
        b"192.0.2.0/255.255.255.0",
    ],
)
def test_F7_badNetworkFailsTheList(bad: bytes) -> None:
    assert not matchAddressList(bad + b",*", "192.0.2.1")
    assert not matchAddressList(b"!" + bad + b",*", "192.0.2.1")


def test_F7_noRegularExpressions() -> None:
    assert not hasattr(patterns, "re")


def test_F7_fromWithoutAnAddress() -> None:
    key = parseLine(b'from="*" ' + KEY)
    assert key is not None
    assert key.check(None, 0.0) is not None
    assert key.check("not an address", 0.0) is not None
    assert key.check("192.0.2.1", 0.0) is None


@pytest.mark.parametrize("name", [b"bad.example.org", b"*.example.org", b"localhost", b"h?st"])
def test_F4_excludedNamesOfHostsLetNobodyIn(name: bytes) -> None:
    # Whether the peer is that host is not known here, only its address is.
    assert not matchAddressList(b"!" + name + b",*", "192.0.2.1")
    assert not matchAddressList(b"192.0.2.1,!" + name, "192.0.2.1")
    assert matchAddressList(name + b",192.0.2.1", "192.0.2.1")
