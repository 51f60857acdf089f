"""Accounts: what the system says of them, and whom this process may serve."""

from __future__ import annotations

import os
import pwd

import pytest

from limpet.unix import accounts
from limpet.unix.accounts import (
    DEFAULT_SHELL,
    Account,
    NotPermitted,
    checkMayServe,
    makeIdentityCheck,
)


def test_theCurrentAccountIsItself() -> None:
    account = Account.current()
    entry = pwd.getpwuid(os.geteuid())
    assert (account.name, account.uid, account.gid) == (entry.pw_name, entry.pw_uid, entry.pw_gid)
    assert account == Account.named(entry.pw_name)
    assert account.gid in account.groups


def test_anAccountThatIsNotThere() -> None:
    with pytest.raises(KeyError):
        Account.named("no-such-user-here")


def test_anEmptyShellIsTheSystemsShell() -> None:
    entry = pwd.struct_passwd(("someone", "x", os.getuid(), os.getgid(), "", "", ""))
    account = Account._from(entry)
    assert (account.shell, account.home) == (DEFAULT_SHELL, "/")
    assert account.shellName == "sh"


@pytest.mark.parametrize(
    ("own", "other", "allowed"), [(1000, 1000, True), (1000, 1001, False), (0, 1001, True)]
)
def test_anOrdinaryUserServesThatUserAlone(
    monkeypatch: pytest.MonkeyPatch, own: int, other: int, allowed: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: own)
    # Who runs the tests may not be root, who alone reads the system's own.
    monkeypatch.setattr(accounts, "hasExpired", lambda name, now: False)
    account = Account("someone", other, other, (other,), "/", "/bin/sh")
    if allowed:
        checkMayServe(account)
    else:
        with pytest.raises(NotPermitted):
            checkMayServe(account)


@pytest.mark.parametrize("wrong", ["uid", "gid", "groups"])
def test_aChildThatIsSomebodyElseIsFoundOut(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    account = Account("someone", 1000, 1000, (1000, 1001), "/", "/bin/sh")
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 0 if wrong == "uid" else 1000))
    monkeypatch.setattr(os, "getresgid", lambda: (1000, 0 if wrong == "gid" else 1000, 1000))
    monkeypatch.setattr(os, "getgroups", lambda: [1001, 0] if wrong == "groups" else [1001])
    with pytest.raises(NotPermitted, match=wrong):
        makeIdentityCheck(account)()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not account.isCurrent()


@pytest.mark.parametrize("wrong", ["uid", "gid", "groups"])
def test_anOrdinaryUsersGroupsAreThoseOfTheServer(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Who was put into a group since logging in, or started the server by newgrp(1) or in a
    container, is that user all the same; only root could change it."""
    account = Account("someone", 1000, 1000, (1000, 1001), "/", "/bin/sh")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 0 if wrong == "uid" else 1000))
    monkeypatch.setattr(os, "getresgid", lambda: (1001 if wrong == "gid" else 1000,) * 3)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    assert account.isCurrent() is (wrong != "uid")


def test_aChildThatCouldBecomeRootAgainIsFoundOut(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("someone", 1000, 1000, (1000,), "/", "/bin/sh")
    monkeypatch.setattr(os, "getresuid", lambda: (1000,) * 3)
    monkeypatch.setattr(os, "getresgid", lambda: (1000,) * 3)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])

    def refused(uid: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setuid", refused)
    makeIdentityCheck(account)()
    monkeypatch.setattr(os, "setuid", lambda uid: None)
    with pytest.raises(NotPermitted, match="root"):
        makeIdentityCheck(account)()
