"""`limpet.unix.fileserver`: what a worker is told, and by whom it is started."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from limpet.error import ConchError
from limpet.unix import fileserver
from limpet.unix.accounts import Account, NotPermitted
from limpet.unix.fileserver import FilePolicy, rootFor, spawnFileServer, workerOptions
from limpet.unix.internalsftp import FileServerOptions
from limpet.unix.session import SessionPolicy, UnixSession
from limpet.unix.spawning import SpawnFailed
from tests.descriptors import openDescriptors

USER = Account("joe", 1234, 1234, (1234, 50), "/home/joe", "/bin/sh")


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (None, None),
        ("/srv", "/srv"),
        ("/srv/%u", "/srv/joe"),
        ("%h/files", "/home/joe/files"),
        ("/a%%b%%%u/%%", "/a%b%joe/%"),
    ],
)
def test_the_root_is_each_users_own(root: str | None, expected: str | None) -> None:
    assert rootFor(FilePolicy(root=root), USER) == expected


def test_a_server_of_root_has_the_worker_become_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    options = workerOptions(USER, FilePolicy(root="/srv/%u", readOnly=True))
    assert options == {
        "home": "/home/joe",
        "root": "/srv/joe",
        "readOnly": "yes",
        "uid": "1234",
        "gid": "1234",
        "groups": "1234,50",
    }


def test_a_users_own_server_serves_that_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert workerOptions(USER, FilePolicy()) == {"home": "/home/joe"}
    monkeypatch.setattr(os, "geteuid", lambda: 1235)
    with pytest.raises(NotPermitted):
        workerOptions(USER, FilePolicy())


@pytest.mark.parametrize(
    ("version", "linkFirst"),
    [
        (b"SSH-2.0-AsyncSSH_2.14", True),
        (b"SSH-2.0-libssh_0.10.6", True),
        (b"SSH-2.0-libssh2_1.11.0", False),
        (b"SSH-2.0-OpenSSH_9.2", False),
        (b"", False),
    ],
)
def test_who_sends_links_the_drafts_way(version: bytes, linkFirst: bool) -> None:
    options = workerOptions(replace(USER, uid=os.geteuid()), FilePolicy(), version)
    assert ("linkFirst" in options) is linkFirst


def test_the_environment_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/evil")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("TZ", "UTC")
    assert set(fileserver._environment()) == {"LC_ALL", "PATH", "TZ"}


def test_what_cannot_be_an_argument_leaves_no_descriptor_behind() -> None:
    """A NUL, as a certificate of a user's own authority may force by `internal-sftp -d`."""
    before = openDescriptors()
    with pytest.raises(SpawnFailed):
        spawnFileServer(None, None, {"start": "/a\0b"})
    assert openDescriptors() <= before


class FakeAvatar:
    account = USER
    reactor: Any = None
    conn: Any = None

    def __init__(self, policy: SessionPolicy) -> None:
        self.policy = policy


@pytest.mark.parametrize("files", [FilePolicy(root="/srv"), FilePolicy(readOnly=True)])
def test_a_server_for_files_runs_no_programs(files: FilePolicy) -> None:
    session = UnixSession(FakeAvatar(SessionPolicy(files=files)))  # type: ignore[arg-type]
    with pytest.raises(ConchError):
        session.openShell(None)
    with pytest.raises(ConchError):
        session.execCommand(None, b"id")
    with pytest.raises(ConchError):
        session.getPty(b"xterm", (24, 80, 0, 0), [])


class Spawned(Exception):
    """A worker would have been started."""


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_an_account_that_is_closed_has_files_only_where_these_are_all_there_is(
    monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    def spawn(*arguments: Any) -> None:
        raise Spawned

    monkeypatch.setattr("limpet.unix.session.spawnFileServer", spawn)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def sessionOf(shell: str, files: FilePolicy) -> UnixSession:
        avatar = FakeAvatar(SessionPolicy(files=files))
        avatar.account = replace(USER, shell=shell)
        return UnixSession(avatar)  # type: ignore[arg-type]

    with pytest.raises(ConchError):
        sessionOf(shell, FilePolicy()).startFileServer(None)
    for session, forced in [
        (sessionOf("/bin/sh", FilePolicy()), None),
        (sessionOf(shell, FilePolicy(root="/srv")), None),
        (sessionOf(shell, FilePolicy()), FileServerOptions()),
    ]:
        with pytest.raises(Spawned):
            session.startFileServer(None, forced)
