"""attacks.md, H2: an account that has ended lets nobody in, whatever key there still is."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.cred.error import UnauthorizedLogin

from limpet.unix import Account, UnixSSHRealm, accounts
from limpet.unix.accounts import NotPermitted, checkMayServe, hasExpired

DAY = 86400.0


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    return tmp_path / "shadow"


@pytest.mark.parametrize(
    ("field", "today", "expired"),
    [
        (b"", 20000, False),
        (b"20001", 20000, False),
        (b"20000", 20000, True),
        (b"19999", 20000, True),
        (b"0", 20000, True),
        (b"1", 20000, True),
        (b"-1", 20000, True),
        (b"soon", 20000, True),
        (b"9" * 5000, 20000, True),
        ("٢".encode(), 20000, True),
    ],
)
def test_H2_lastDayOfAnAccount(shadow: Path, field: bytes, today: int, expired: bool) -> None:
    shadow.write_bytes(
        b"alicia:*:1:0:99999:7::1:\n\nalice:$6$x$y:1:0:99999:7::" + field + b":\nbob:*:1\n"
    )
    assert hasExpired("alice", today * DAY, str(shadow)) is expired
    assert hasExpired("alicia", today * DAY, str(shadow))
    assert not hasExpired("bob", today * DAY, str(shadow))
    assert not hasExpired("nobody", today * DAY, str(shadow))


def test_H2_withoutTheFileNothingExpires(shadow: Path) -> None:
    assert not hasExpired("alice", 20000 * DAY, str(shadow))


def test_H2_rootsServerServesNoExpiredAccount(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account.current()
    asked: list[str] = []

    def expired(name: str, now: float) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr(accounts, "hasExpired", expired)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(NotPermitted):
        checkMayServe(account)
    with pytest.raises(UnauthorizedLogin):
        UnixSSHRealm().findAccount(account.name)
    assert asked == [account.name] * 2
