"""Who gets an avatar, and what the avatar allows."""

from __future__ import annotations

import os
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from limpet.core.authorizedkeys import Restrictions
from limpet.error import ConchError
from limpet.interfaces import IConchUser, ISession
from limpet.ssh.session import SSHSession
from limpet.unix import FilePolicy, SessionPolicy, UnixConchUser, UnixSession, UnixSSHRealm
from limpet.unix import accounts as accountsModule
from limpet.unix import realm as realmModule
from limpet.unix.accounts import Account
from limpet.unix.internalsftp import FileServerOptions
from limpet.wire.numbers import OPEN_RESOURCE_SHORTAGE

ME = Account.current()


def login(realm: UnixSSHRealm, name: bytes | str = ME.name) -> UnixConchUser:
    interface, user, logout = realm.requestAvatar(name, None, IConchUser)
    assert interface is IConchUser
    assert logout == user.logout
    assert isinstance(user, UnixConchUser)
    return user


class FakeChild:
    whenEnded: Any = None

    def __init__(self) -> None:
        self.hangUps: list[float] = []

    def hangUp(self, graceSeconds: float) -> None:
        self.hangUps.append(graceSeconds)


def test_theOwnAccountLogsInByBytesOrText() -> None:
    realm = UnixSSHRealm(reactor=Clock())
    assert verifyObject(IRealm, realm)
    for name in (ME.name, ME.name.encode()):
        user = login(realm, name)
        assert user.username == ME.name
        assert user.getUserGroupId() == (ME.uid, ME.gid)
        assert user.getOtherGroups() == list(ME.groups)
        assert (user.getHomeDir().path, user.getShell()) == (ME.home, ME.shell)


@pytest.mark.parametrize("name", [b"no-such-user-here", b"\xff\xfe", "", b"a\0b"])
def test_whoIsNotThereDoesNotLogIn(name: bytes | str) -> None:
    with pytest.raises(UnauthorizedLogin):
        UnixSSHRealm(reactor=Clock()).requestAvatar(name, None, IConchUser)


def test_somebodyElseDoesNotLogInAtAnOrdinaryUsersServer(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "daemon" if ME.name != "daemon" else "bin"
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(UnauthorizedLogin):
        UnixSSHRealm(reactor=Clock()).requestAvatar(other, None, IConchUser)


def test_otherInterfacesAreNotForThisRealm() -> None:
    with pytest.raises(NotImplementedError):
        UnixSSHRealm(reactor=Clock()).requestAvatar(ME.name, None, ISession)


def test_whileLoginsAreClosedOnlyRootLogsIn(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    closed = tmp_path / "nologin"
    closed.write_text("")
    monkeypatch.setattr(realmModule, "NOLOGIN", str(closed))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(accountsModule, "hasExpired", lambda name, now: False)
    accounts = {
        "root": Account("root", 0, 0, (0,), "/", "/bin/sh"),
        "someone": Account("someone", 1000, 1000, (1000,), "/", "/bin/sh"),
    }
    monkeypatch.setattr(Account, "named", accounts.__getitem__)
    realm = UnixSSHRealm(reactor=Clock())
    assert login(realm, "root").account.uid == 0
    with pytest.raises(UnauthorizedLogin):
        realm.requestAvatar("someone", None, IConchUser)
    closed.unlink()
    assert login(realm, "someone").account.uid == 1000


def test_itAdaptsToASession() -> None:
    user = login(UnixSSHRealm(reactor=Clock()))
    first, second = ISession(user), ISession(user)
    assert isinstance(first, UnixSession)
    assert first is not second
    assert first.avatar is user


class FakeConnection:
    def __init__(self, restrictions: Restrictions | None = None) -> None:
        self.channels: dict[int, Any] = {}
        self.transport = self
        self.restrictions = restrictions


def test_G2_sessionsAreBoundedAndHaveALargeWindow() -> None:
    user = login(UnixSSHRealm(SessionPolicy(maxSessions=2), Clock()))
    user.conn = FakeConnection()
    channel = user.lookupChannel(b"session", 1000, 500, b"")
    assert isinstance(channel, SSHSession)
    assert (channel.remoteWindowLeft, channel.remoteMaxPacket) == (1000, 500)
    assert channel.localWindowSize == 2 * 1024 * 1024
    assert channel.avatar is user
    user.conn.channels = {0: channel, 1: user.lookupChannel(b"session", 1, 1, b"")}
    with pytest.raises(ConchError) as caught:
        user.lookupChannel(b"session", 1, 1, b"")
    assert caught.value.data == OPEN_RESOURCE_SHORTAGE
    user.conn.channels[1].localClosed = True
    assert user.lookupChannel(b"session", 1, 1, b"") is not None


def test_aForcedCommandIsTheSubsystemOfFilesAndLeavesNoOther() -> None:
    user = login(UnixSSHRealm(reactor=Clock()))
    user.subsystemLookup[b"echo"] = lambda data, avatar: "the protocol"
    user.conn = FakeConnection()
    assert user.lookupSubsystem(b"echo", b"") == "the protocol"
    assert user.lookupSubsystem(b"sftp", b"") is not None
    assert user.lookupSubsystem(b"nothing", b"") is None
    user.conn = FakeConnection(Restrictions(forcedCommand=b"x"))
    assert user.lookupSubsystem(b"echo", b"") is None
    forced = user.lookupSubsystem(b"sftp", b"")

    class Session:
        def execCommand(self, proto: object, command: bytes) -> None:
            asked.append((proto, command))

    asked: list[object] = []
    forced.start(Session(), "proto")
    assert asked == [("proto", b"internal-sftp")]


def test_aPolicyWithoutFilesHasNoSftp() -> None:
    policy = SessionPolicy(files=FilePolicy(offered=False))
    user = login(UnixSSHRealm(policy, Clock()))
    user.conn = FakeConnection(Restrictions(forcedCommand=b"internal-sftp"))
    assert user.lookupSubsystem(b"sftp", b"") is None
    user.conn = FakeConnection()
    assert user.lookupSubsystem(b"sftp", b"") is None


def test_internalSftpAsAForcedCommandIsTheSubsystem() -> None:
    user = login(UnixSSHRealm(reactor=Clock()))
    for command, readOnly in [(b"internal-sftp", False), (b" internal-sftp  -R ", True)]:
        user.conn = FakeConnection(Restrictions(forcedCommand=command))
        assert user.lookupSubsystem(b"sftp", b"").options == FileServerOptions(readOnly)
        assert user.lookupSubsystem(b"echo", b"") is None


def test_anOptionOfInternalSftpThatIsNotKnownLeavesNoSubsystem() -> None:
    user = login(UnixSSHRealm(reactor=Clock()))
    for command in (b"internal-sftp -x", b"internal-sftp -P writ", b"internal-sftp more"):
        user.conn = FakeConnection(Restrictions(forcedCommand=command))
        assert user.lookupSubsystem(b"sftp", b"") is None


def test_logoutHangsUpWhatRunsAndTheRealmKnowsItUntilItEnds() -> None:
    realm = UnixSSHRealm(SessionPolicy(hangupGraceSeconds=3.0), Clock())
    user = login(realm)
    child: Any = FakeChild()
    user.childStarted(child)
    assert user.children == realm.children == {child}
    user.logout()
    assert child.hangUps == [3.0]
    assert realm.children == {child}
    child.whenEnded(child)
    assert user.children == realm.children == set()
