"""Passwords of the system's users: hashes, the shadow file, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bcrypt
import pytest

from limpet.checkers import UNIXPasswordDatabase, verifyCryptedPassword
from limpet.checkers import passwords as module
from limpet.checkers.passwords import hashId, readShadow

# Made with crypt(3) of libxcrypt 4.4, for the password "secret".
SHA512 = (
    b"$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/"
    b"O6IND4WQhG."
)
YESCRYPT = b"$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9"


@pytest.mark.parametrize("stored", [SHA512, YESCRYPT])
def test_libcrypt(stored: bytes) -> None:
    if module._crypt(b"secret", stored) in (None, b"*0", b"*1"):
        pytest.skip("libcrypt does not know this kind")
    assert verifyCryptedPassword(stored, b"secret")
    assert not verifyCryptedPassword(stored, b"Secret")
    assert not verifyCryptedPassword(stored[:-1], b"secret")


def test_bcrypt() -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))
    assert verifyCryptedPassword(stored, b"secret")
    assert not verifyCryptedPassword(stored, b"secre")
    assert verifyCryptedPassword(bcrypt.hashpw(b"x" * 72, stored), b"x" * 100)
    assert not verifyCryptedPassword(b"$2b$99$nonsense", b"secret")


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (SHA512, b"6"),
        (YESCRYPT, b"y"),
        (b"$1$salt$md5", None),
        (b"$6$", None),
        (b"", None),
        (b"!" + SHA512, None),
        (b"*", None),
    ],
)
def test_hashId(stored: bytes, kind: bytes | None) -> None:
    assert hashId(stored) == kind


TODAY = 20_000
NOW = TODAY * 86400.0


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (b"19000:0:99999:7:::", True),
        (b":::::: ".strip(), True),
        (b"19000:0:99999:7::20001:", True),
        (b"19000:0:99999:7::20000:", False),
        (b"0:0:99999:7:::", False),
        (b"19000:0:1000:7:::", True),
        (b"19000:0:999:7:::", False),
    ],
)
def test_shadow(tmp_path: Path, fields: bytes, found: bool) -> None:
    path = tmp_path / "shadow"
    path.write_bytes(b"root:*:1::::::\nalice:" + SHA512 + b":" + fields + b"\n")
    stored = readShadow(b"alice", NOW, str(path))
    assert stored == (SHA512 if found else None)
    assert readShadow(b"alic", NOW, str(path)) is None
    assert readShadow(b"bob", NOW, str(path)) is None
    assert readShadow(b"alice", NOW, str(tmp_path / "none")) is None


def database(**stored: Any) -> UNIXPasswordDatabase:
    return UNIXPasswordDatabase([lambda name: (name, stored[name])])


def test_check() -> None:
    users = database(alice=SHA512.decode(), bob=b"!", carol=None)
    assert users.check(b"alice", b"secret")
    assert not users.check(b"alice", b"wrong")
    assert not users.check(b"bob", b"!")
    assert not users.check(b"carol", b"secret")
    assert not users.check(b"dave", b"secret")


def test_secondFunctionIsAsked() -> None:
    """/etc/passwd has an x where the shadow file has the hash."""
    users = UNIXPasswordDatabase([lambda name: (name, "x"), lambda name: (name, SHA512)])
    assert users.check(b"alice", b"secret")


@pytest.mark.parametrize("good", [True, False])
def test_requestAvatarIdHashesInAThread(good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.cred.error import UnauthorizedLogin
    from twisted.internet import defer

    from limpet.ssh.userauth import PasswordCredentials

    pools: list[Any] = []

    def runNow(reactor: Any, pool: Any, function: Any, *args: Any) -> defer.Deferred[Any]:
        pools.append(pool)
        return defer.maybeDeferred(function, *args)

    class Reactor:
        def getThreadPool(self) -> str:
            return "pool"

    monkeypatch.setattr("twisted.internet.threads.deferToThreadPool", runNow)
    monkeypatch.setattr("limpet.checkers.workers.getReactor", Reactor)
    shown = PasswordCredentials(b"alice", b"secret" if good else b"wrong")
    out: list[Any] = []
    database(alice=SHA512).requestAvatarId(shown).addBoth(out.append)
    assert pools == ["pool"]
    if good:
        assert out == [b"alice"]
    else:
        assert out[0].check(UnauthorizedLogin)
        assert "wrong" not in out[0].getTraceback()
