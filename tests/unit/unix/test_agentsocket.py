"""`limpet.unix.agentsocket`: whose an agent's socket is, while it is made and when it ends."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor

from limpet.unix import agentsocket
from limpet.unix.accounts import Account
from limpet.unix.agentsocket import AgentSocket, peerUid

asRoot = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def factory() -> Any:
    made: Any = Factory.forProtocol(Protocol)
    made.noisy = False
    return made


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account("nobody", entry.pw_uid, entry.pw_gid, (entry.pw_gid,), "/", "/bin/sh")


def modeAndOwner(path: str) -> tuple[int, int]:
    details = os.lstat(path)
    return stat.S_IMODE(details.st_mode), details.st_uid


def test_modes_owner_and_end(factory: Any, tmp_path: Path) -> None:
    made = AgentSocket(SelectReactor(), Account.current(), factory)
    assert modeAndOwner(made.path) == (0o600, os.getuid())
    assert modeAndOwner(os.path.dirname(made.path)) == (0o700, os.getuid())
    made.close()
    assert list(tmp_path.iterdir()) == []
    made.close()


@asRoot
def test_L6_it_is_the_accounts(factory: Any, tmp_path: Path) -> None:
    account = nobody()
    made = AgentSocket(SelectReactor(), account, factory)
    assert modeAndOwner(made.path) == (0o600, account.uid)
    assert modeAndOwner(os.path.dirname(made.path)) == (0o700, account.uid)
    made.close()
    assert list(tmp_path.iterdir()) == []


@asRoot
def test_L6_nothing_else_is_removed_for_the_account(factory: Any, tmp_path: Path) -> None:
    """The account put a link to another directory in the place of its own."""
    made = AgentSocket(SelectReactor(), nobody(), factory)
    directory = Path(made.path).parent
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "socket").write_text("precious")
    directory.rename(tmp_path / "moved")
    directory.symlink_to(elsewhere)
    made.close()
    assert (elsewhere / "socket").read_text() == "precious"


@asRoot
def test_what_the_account_left_there_stays(factory: Any, tmp_path: Path) -> None:
    made = AgentSocket(SelectReactor(), nobody(), factory)
    left = Path(made.path).with_name("left")
    left.write_text("x")
    made.close()
    assert left.exists()
    assert not os.path.exists(made.path)


def test_a_path_of_ones_own(factory: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "here")
    made = AgentSocket(SelectReactor(), Account.current(), factory, path)
    assert made.path == path
    assert modeAndOwner(path) == (0o600, os.getuid())
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_stays(factory: Any, tmp_path: Path) -> None:
    path = tmp_path / "here"
    path.write_text("x")
    with pytest.raises(OSError, match="in use"):
        AgentSocket(SelectReactor(), Account.current(), factory, str(path))
    assert path.read_text() == "x"


def test_where_there_is_no_place_nothing_is_left(
    factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(OSError, match="too long"):
        AgentSocket(SelectReactor(), Account.current(), factory)
    assert list(deep.iterdir()) == []


def test_what_cannot_be_listened_on_is_removed(
    factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where there is no descriptor left for the port."""

    def failing(*arguments: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(agentsocket, "adoptPort", failing)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for path in (None, str(tmp_path / "here")):
        with pytest.raises(OSError, match="Too many open files"):
            AgentSocket(SelectReactor(), Account.current(), factory, path)
        assert list(tmp_path.iterdir()) == []


class Connected:
    """An accepted connection, as far as it has a socket."""

    def __init__(self, ours: socket.socket) -> None:
        self.socket = ours


def test_L6_whose_a_connection_is(factory: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peerUid(Connected(ours)) == os.getuid()
        made = AgentSocket(SelectReactor(), Account.current(), factory)
        assert made.isFor(Connected(ours))
        made.close()


@pytest.mark.parametrize("uid", [None, 1, 65534, 2**32 - 1])
def test_L6_somebody_else(factory: Any, monkeypatch: pytest.MonkeyPatch, uid: int | None) -> None:
    monkeypatch.setattr("limpet.unix.agentsocket.peerUid", lambda transport: uid)
    account = Account("alice", 1000, 1000, (1000,), "/", "/bin/sh")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    made = AgentSocket(SelectReactor(), account, factory)
    assert not made.isFor(None)
    made.close()


def test_what_is_no_socket_is_nobodys() -> None:
    transport: Any = Connected(socket.socket(socket.AF_INET))
    with transport.socket:
        assert peerUid(transport) in (None, 2**32 - 1)
