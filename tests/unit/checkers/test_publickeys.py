"""SSHPublicKeyChecker and SSHPublicKeyDatabase: keys, options, certificates."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.credentials import SSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from limpet.checkers import (
    InMemorySSHKeyDB,
    SSHPublicKeyChecker,
    SSHPublicKeyDatabase,
    publickeys,
    revocations,
)
from limpet.checkers.publickeys import MAX_ADDRESS_LISTS
from limpet.checkers.workers import checks
from limpet.core.authentication import Factors, UserAuthRequest
from limpet.core.authorizedkeys import AuthorizedKey, KeyOptions, Restrictions
from limpet.core.revokedkeys import IN_PLACE_LENGTH
from limpet.error import ValidPublicKey
from limpet.ssh.keys import Certificate, Key
from limpet.ssh.userauth import AuthenticationContext, PublicKeyCredentials
from tests.keymaking import makeCertificate
from tests.unit.ssh.userauth.doubles import Transport

KEY = Key.generate("ed25519")
OTHER = Key.generate("ed25519")


def context() -> AuthenticationContext:
    request = UserAuthRequest(b"alice", b"ssh-connection", b"publickey", b"")
    factors = Factors(b"alice", b"ssh-connection")
    return AuthenticationContext(request, Transport(), factors, 0.0)


def credentials(
    key: Key = KEY,
    signed: bool = True,
    blob: bytes | None = None,
    algorithm: bytes | None = None,
    user: bytes = b"alice",
) -> PublicKeyCredentials:
    return PublicKeyCredentials(
        user,
        algorithm if algorithm is not None else key.sshType(),
        blob if blob is not None else key.public().blob(),
        b"data",
        key.sign(b"data") if signed else None,
        context(),
    )


def outcome(checker: Any, shown: Any) -> Any:
    """What the checker says: an avatar id, or the class of its failure."""
    out: list[Any] = []
    defer.maybeDeferred(checker.requestAvatarId, shown).addBoth(out.append)
    (result,) = out
    return result.type if isinstance(result, Failure) else result


def checker(*entries: Any, now: float = 1_000_000.0) -> SSHPublicKeyChecker:
    return SSHPublicKeyChecker(InMemorySSHKeyDB({b"alice": list(entries)}), lambda: now)


def entry(key: Key = KEY, **options: Any) -> AuthorizedKey:
    return AuthorizedKey(key.sshType(), key.public().blob(), KeyOptions(**options))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_everyKindOfKey(kind: str) -> None:
    key = Key.generate(kind)
    algorithm = b"rsa-sha2-512" if kind == "rsa" else key.sshType()
    check = checker(key.public())
    assert outcome(check, credentials(key, algorithm=algorithm)) == b"alice"
    assert outcome(check, credentials(key, signed=False, algorithm=algorithm)) is ValidPublicKey


def test_refusals() -> None:
    check = checker(KEY.public())
    assert outcome(check, credentials(OTHER)) is UnauthorizedLogin
    assert outcome(check, credentials(OTHER, signed=False)) is UnauthorizedLogin
    assert outcome(check, credentials(user=b"bob")) is UnauthorizedLogin
    forged = credentials(OTHER, blob=KEY.public().blob())
    assert outcome(check, forged) is UnauthorizedLogin
    assert outcome(check, credentials(blob=b"rubbish")) is UnauthorizedLogin


def test_signatureSetsTheContext() -> None:
    allowed = Restrictions(allowPty=False)
    shown = credentials()
    assert outcome(checker(entry(restrictions=allowed)), shown) == b"alice"
    assert shown.context is not None
    assert shown.context.signatureVerified
    assert shown.context.restrictions == allowed


def test_queryLeavesTheContextAlone() -> None:
    shown = credentials(signed=False)
    check = checker(entry(restrictions=Restrictions(allowPty=False)))
    assert outcome(check, shown) is ValidPublicKey
    assert shown.context is not None
    assert not shown.context.signatureVerified
    assert shown.context.restrictions == Restrictions()


def test_restrictionsWithNowhereToGo() -> None:
    """Credentials of another program's carry no context: a restricted key lets nobody in."""
    plain = SSHPrivateKey(b"alice", b"ssh-ed25519", KEY.public().blob(), b"data", KEY.sign(b"data"))
    assert outcome(checker(KEY.public()), plain) == b"alice"
    restricted = checker(entry(restrictions=Restrictions(allowPty=False)))
    assert outcome(restricted, plain) is UnauthorizedLogin


class Revoking:
    """A list of what is revoked."""

    def __init__(self, *blobs: bytes) -> None:
        self.blobs = blobs
        self.asked: list[bytes] = []

    def isRevoked(self, blob: bytes) -> bool:
        self.asked.append(blob)
        return blob in self.blobs


def revoking(*lists: Any) -> SSHPublicKeyChecker:
    authority = AuthorizedKey(OTHER.sshType(), OTHER.public().blob(), KeyOptions(isAuthority=True))
    keys = InMemorySSHKeyDB({b"alice": [entry(), authority]})
    return SSHPublicKeyChecker(keys, lambda: 1_000_000.0, lists)


def test_F3_aRevokedKeyLetsNobodyInAndWouldNotDo() -> None:
    listed = Revoking(KEY.public().blob())
    for lists in ([listed], [Revoking(), listed], [listed, Revoking()]):
        check = revoking(*lists)
        assert outcome(check, credentials()) is UnauthorizedLogin
        assert outcome(check, credentials(signed=False)) is UnauthorizedLogin
    assert outcome(revoking(Revoking(OTHER.public().blob())), credentials()) == b"alice"


def test_F3_M5_nobodyIsInWhileAListIsRead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: defer.Deferred[bool] = defer.Deferred()
    path = tmp_path / "revoked"
    path.write_bytes(b"# a remark\n" * IN_PLACE_LENGTH)
    monkeypatch.setattr(checks, "run", lambda *_: read)
    results: list[Any] = []
    check = revoking(revocations.RevokedKeysFile(str(path)))
    check.requestAvatarId(credentials()).addBoth(results.append)
    assert results == []
    read.errback(Failure(MemoryError()))
    assert isinstance(results[0], Failure)


def test_F3_ofACertificateTheWholeIsAskedAbout() -> None:
    """The list finds the key in it, its number and its authority by itself."""
    subject = Key.generate("ed25519")
    blob = makeCertificate(subject, OTHER)
    name = b"ssh-ed25519-cert-v01@openssh.com"
    shown = credentials(subject, blob=blob, algorithm=name)
    none = Revoking()
    assert outcome(revoking(none), shown) == b"alice"
    assert none.asked == [blob]
    assert outcome(revoking(Revoking(blob)), shown) is UnauthorizedLogin


def test_whatNobodyHasInAFileIsNotLookedFor() -> None:
    listed = Revoking()
    assert outcome(revoking(listed), credentials(Key.generate("ed25519"))) is UnauthorizedLogin
    assert listed.asked == []


def test_D13_aKeyThatCanBeComputedLetsNobodyIn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publickeys, "weaknessOf", lambda blob: "it is weak")
    key = Key.generate("ed25519")
    assert outcome(checker(key.public()), credentials(key)) is UnauthorizedLogin
    assert outcome(checker(key.public()), credentials(key, signed=False)) is UnauthorizedLogin


def test_D13_norDoesACertificateWhoseAuthorityCanBeComputed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, weak, strong = (Key.generate("ed25519") for _ in range(3))
    monkeypatch.setattr(
        publickeys, "weaknessOf", lambda blob: "weak" if blob == weak.blob() else None
    )
    for signer, expected in ((strong, b"alice"), (weak, UnauthorizedLogin)):
        blob = makeCertificate(subject, signer)
        shown = credentials(subject, blob=blob, algorithm=CERTIFICATE)
        assert outcome(checker(entry(signer, isAuthority=True)), shown) == expected


def test_firstUsableEntryCounts() -> None:
    first = entry(fromPatterns=(b"10.0.0.0/8",))
    second = entry(restrictions=Restrictions(allowPty=False))
    shown = credentials()
    assert outcome(checker(first, second), shown) == b"alice"
    assert shown.context is not None
    assert not shown.context.restrictions.allowPty


def test_addressesAreComparedOnlySoOften() -> None:
    elsewhere = entry(fromPatterns=(b"10.0.0.0/8",))
    others = [entry(OTHER, fromPatterns=(b"10.0.0.0/8",))] * MAX_ADDRESS_LISTS
    some = [*others, *[elsewhere] * MAX_ADDRESS_LISTS, entry()]
    assert outcome(checker(*some), credentials()) == b"alice"
    assert outcome(checker(elsewhere, *some), credentials()) is UnauthorizedLogin


def test_addressesOfOtherKeysAreNotComparedWithACertificate() -> None:
    subject, authority = Key.generate("ed25519"), entry(OTHER, isAuthority=True)
    shown = credentials(subject, blob=makeCertificate(subject, OTHER), algorithm=CERTIFICATE)
    for isAuthority in (False, True):
        unrelated = entry(isAuthority=isAuthority, fromPatterns=(b"10.0.0.0/8",))
        assert outcome(checker(*[unrelated] * 40, authority), shown) == b"alice"
    elsewhere = entry(OTHER, isAuthority=True, fromPatterns=(b"10.0.0.0/8",))
    some = [*[elsewhere] * MAX_ADDRESS_LISTS, authority]
    assert outcome(checker(*some), shown) == b"alice"
    assert outcome(checker(elsewhere, *some), shown) is UnauthorizedLogin


@pytest.mark.parametrize("signed", [True, False])
def test_expiredOrElsewhere(signed: bool) -> None:
    for options in ({"expiry": 1_000_000.0}, {"fromPatterns": (b"10.0.0.0/8",)}):
        shown = credentials(signed=signed)
        assert outcome(checker(entry(**options)), shown) is UnauthorizedLogin


def test_authorityIsNoKey() -> None:
    assert outcome(checker(entry(isAuthority=True)), credentials()) is UnauthorizedLogin


def test_databaseLater() -> None:
    answer: defer.Deferred[Any] = defer.Deferred()

    class Slow:
        def getAuthorizedKeys(self, avatarId: bytes) -> Any:
            return answer

    out: list[Any] = []
    SSHPublicKeyChecker(Slow()).requestAvatarId(credentials()).addBoth(out.append)
    assert out == []
    answer.callback([KEY.public()])
    assert out == [b"alice"]


class TestSSHPublicKeyDatabase:
    """Buildbot's manhole overrides `checkKey` and reads `credentials.blob`."""

    def test_subclass(self) -> None:
        class Own(SSHPublicKeyDatabase):
            def checkKey(self, credentials: Any) -> bool:
                return bool(credentials.blob == KEY.public().blob())

        assert outcome(Own(), credentials()) == b"alice"
        assert outcome(Own(), credentials(signed=False)) is ValidPublicKey
        assert outcome(Own(), credentials(OTHER)) is UnauthorizedLogin
        forged = credentials(OTHER, blob=KEY.public().blob())
        assert outcome(Own(), forged) is UnauthorizedLogin

    def test_filesOfItsOwn(self, tmp_path: Path) -> None:
        class Own(SSHPublicKeyDatabase):
            def getAuthorizedKeysFiles(self, credentials: Any) -> list[FilePath[str]]:
                return [FilePath(str(tmp_path / name)) for name in ("nothing", "keys")]

        text = KEY.public().toString("OPENSSH")
        (tmp_path / "keys").write_bytes(b"# ours\nno key\n" + text + b"\n")
        assert outcome(Own(), credentials()) == b"alice"
        assert outcome(Own(), credentials(OTHER)) is UnauthorizedLogin
        # What the options of a key ask for could not be obeyed here.
        (tmp_path / "keys").write_bytes(b"restrict " + text + b"\n")
        assert outcome(Own(), credentials()) is UnauthorizedLogin

    def test_theUsualFiles(self) -> None:
        account = pwd.getpwuid(os.getuid())
        shown = credentials(user=account.pw_name.encode())
        found = SSHPublicKeyDatabase().getAuthorizedKeysFiles(shown)
        assert [path.path for path in found] == [
            f"{account.pw_dir}/.ssh/authorized_keys",
            f"{account.pw_dir}/.ssh/authorized_keys2",
        ]


# ── Certificates, made by ssh-keygen ──────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Signs KEY for a user; calls ssh-keygen."""
    directory = tmp_path_factory.mktemp("authority")
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "ca"],
            check=True,
            timeout=30,
        )
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")

    def sign(*options: str) -> tuple[Key, bytes]:
        public: Path = directory / "user.pub"
        public.write_bytes(KEY.public().toString("OPENSSH"))
        subprocess.run(
            ["ssh-keygen", "-q", "-s", directory / "ca", "-I", "id", *options, public],
            check=True,
            timeout=30,
        )
        line = (directory / "user-cert.pub").read_bytes()
        return Key.fromFile(str(directory / "ca.pub")), Certificate.fromString(line).blob

    return sign


CERTIFICATE = b"ssh-ed25519-cert-v01@openssh.com"
NOW = 1_800_000_000.0


def certified(
    authority: Any, *options: str, user: bytes = b"alice", **line: Any
) -> tuple[Any, PublicKeyCredentials]:
    signer, blob = authority(*options)
    shown = credentials(blob=blob, algorithm=CERTIFICATE, user=user)
    return outcome(checker(entry(signer, isAuthority=True, **line), now=NOW), shown), shown


def test_certificate(authority: Any) -> None:
    result, shown = certified(authority, "-n", "alice")
    assert result == b"alice"
    assert shown.context is not None
    assert shown.context.signatureVerified
    assert shown.context.restrictions.allowPty


def test_certificateOfAnotherPrincipal(authority: Any) -> None:
    assert certified(authority, "-n", "bob")[0] is UnauthorizedLogin
    assert certified(authority, "-n", "admin", principals=(b"admin",))[0] == b"alice"
    assert certified(authority, "-n", "alice", principals=(b"admin",))[0] is UnauthorizedLogin


def test_certificateRestricts(authority: Any) -> None:
    result, shown = certified(authority, "-n", "alice", "-O", "clear", "-O", "force-command=uptime")
    assert result == b"alice"
    assert shown.context is not None
    assert shown.context.restrictions.forcedCommand == b"uptime"
    assert not shown.context.restrictions.allowPty


def test_certificateAndLineForceDifferentCommands(authority: Any) -> None:
    options = ("-n", "alice", "-O", "force-command=uptime")
    other = Restrictions(forcedCommand=b"date")
    assert certified(authority, *options, restrictions=other)[0] is UnauthorizedLogin
    same = Restrictions(forcedCommand=b"uptime")
    assert certified(authority, *options, restrictions=same)[0] == b"alice"


def test_certificateFromElsewhere(authority: Any) -> None:
    options = ("-n", "alice", "-O")
    assert certified(authority, *options, "source-address=192.0.2.0/24")[0] == b"alice"
    elsewhere = certified(authority, *options, "source-address=10.0.0.0/8")[0]
    assert elsewhere is UnauthorizedLogin


def test_authorityThatIsAPlainKeyHere(authority: Any) -> None:
    signer, blob = authority("-n", "alice")
    shown = credentials(blob=blob, algorithm=CERTIFICATE)
    assert outcome(checker(signer, KEY.public(), now=NOW), shown) is UnauthorizedLogin
