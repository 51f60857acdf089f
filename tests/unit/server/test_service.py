"""A server's life: listening, reloading, draining, ending."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer

from limpet.checkers.workers import checks
from limpet.core.revokedkeys import IN_PLACE_LENGTH
from limpet.server.hostkeys import HostKeyError, ownHostKey
from limpet.server.service import (
    LAST_WORDS_SECONDS,
    ListenFailed,
    Server,
    authorizedKeysOf,
    revocationsOf,
)
from limpet.server.settings import Address, Settings, SettingsError
from limpet.server.supervisor import Supervisor
from limpet.ssh.keys import Key
from tests.keymaking import makeKey
from tests.unit.core.test_keyblocklist import listOf
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

HERE = ("127.0.0.1:0",)


@pytest.fixture(autouse=True)
def ownState(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class FakeConnection:
    """An open connection, with or without sessions."""

    def __init__(self, server: Server, idle: bool) -> None:
        self.server = server
        self.idle = idle
        self.said: list[tuple[int, bytes]] = []
        self.leaves = True
        server.factory.connections.add(self)  # type: ignore[arg-type]

    def isIdle(self) -> bool:
        return self.idle

    def sendDisconnect(self, reason: int, text: bytes) -> None:
        self.said.append((reason, text))
        if self.leaves:
            self.server.factory.connections.discard(self)


class Manager(Supervisor):
    """Remembers what it is told."""

    def __init__(self, told: list[str]) -> None:
        super().__init__({})
        self.told = told

    def ready(self, status: str = "") -> None:
        self.told.append("ready")

    def reloading(self) -> None:
        self.told.append("reloading")


class FakeChild:
    """A program that runs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls: list[Any] = []
        server.realm.children.add(self)  # type: ignore[arg-type]

    def hangUp(self, graceSeconds: float) -> None:
        self.calls.append("hangUp")

    def killNow(self) -> None:
        self.calls.append("kill")
        self.server.realm.children.discard(self)


class Rig:
    """A server on a reactor whose time the test moves."""

    def __init__(self, driver: Driver, **settings: Any) -> None:
        self.driver = driver
        self.now = 1000.0
        driver.reactor.seconds = lambda: self.now
        self.next: Any = Settings(listen=HERE, **settings)
        self.server = Server(driver.reactor, self.next, self._reload)
        self.over: list[Any] = []
        self.server.finished.addCallback(self.over.append)

    def _reload(self) -> Settings:
        if isinstance(self.next, Exception):
            raise self.next
        settings: Settings = self.next
        return settings

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.driver.turn()


@pytest.fixture
def rig(driver: Driver) -> Iterator[Rig]:
    rig = Rig(driver, drainSeconds=30.0)
    yield rig
    # So that what the driver waits for afterwards runs by real time again.
    del driver.reactor.seconds
    for port in rig.server.ports:
        port.stopListening()  # type: ignore[no-untyped-call]
    driver.turn()


def test_itListensWhereItSays(rig: Rig) -> None:
    (address,) = rig.server.start()
    assert address.host == "127.0.0.1"
    assert address.port > 0


def test_oneAddressThatIsTakenFreesTheOthers(driver: Driver, rig: Rig) -> None:
    (taken,) = rig.server.start()
    other = Server(driver.reactor, Settings(listen=("127.0.0.1:0", str(taken))))
    with pytest.raises(ListenFailed, match=f"cannot listen on {taken}: Address already in use"):
        other.start()
    assert other.ports == []


def test_theOwnKeyIsUsedWhereNoneIsNamed(rig: Rig, tmp_path: Path) -> None:
    assert rig.server.hostKeys == [Key.fromFile(ownHostKey(tmp_path / "limpet"))]


def test_aBadKeyStopsTheStart(driver: Driver, tmp_path: Path) -> None:
    with pytest.raises(HostKeyError):
        Server(driver.reactor, Settings(listen=HERE, hostKeys=(str(tmp_path / "none"),)))


class TestRevokedKeys:
    """Lists of keys that let nobody in: of no use, they stop the start and change nothing later."""

    @pytest.mark.parametrize("setting", ["revoked-keys", "bad-keys"])
    def test_aListOfNoUseStopsTheStart(self, driver: Driver, tmp_path: Path, setting: str) -> None:
        path = tmp_path / "list"
        isRevoked = setting == "revoked-keys"
        settings = Settings(revokedKeys=str(path)) if isRevoked else Settings(badKeys=str(path))
        with pytest.raises(SettingsError, match=f"{setting}: .*list: No such file"):
            Server(driver.reactor, settings)
        path.write_bytes(b"noise")
        with pytest.raises(SettingsError, match=f"{setting}: .*list: "):
            Server(driver.reactor, settings)

    def test_aReloadTakesAListOrChangesNothing(self, rig: Rig, tmp_path: Path) -> None:
        path = tmp_path / "list"
        before = rig.server.portal
        rig.next = Settings(listen=HERE, revokedKeys=str(path))
        rig.server.reload()
        assert rig.server.portal is before
        path.write_bytes(b"")
        rig.server.reload()
        assert rig.server.portal is not before

    def test_theCheckerAsksBoth(self, tmp_path: Path) -> None:
        key, other = makeKey(), makeKey(number=1)
        revoked, bad = tmp_path / "revoked", tmp_path / "bad"
        revoked.write_bytes(key.public().toString("openssh"))
        bad.write_bytes(listOf(other))
        lists = revocationsOf(Settings(revokedKeys=str(revoked), badKeys=str(bad)))
        said = [[file.isRevoked(blob) for _, file in lists] for blob in (key.blob(), other.blob())]
        assert said == [[True, False], [False, True]]


class TestReload:
    def test_settingsAndPolicyChange(self, rig: Rig) -> None:
        rig.next = Settings(listen=HERE, maxSessions=3, acceptEnv=("X",), path="/p", allowPty=False)
        rig.server.reload()
        policy = rig.server.realm.policy
        assert (policy.maxSessions, policy.acceptEnvironment) == (3, (b"X",))
        assert (policy.path, policy.allowPty) == ("/p", False)
        assert rig.server.factory.settings is rig.next

    @pytest.mark.parametrize("bad", [SettingsError("bad"), "a key"])
    def test_whatIsBadChangesNothing(self, rig: Rig, bad: Any) -> None:
        before = rig.server.factory.settings, rig.server.hostKeys, rig.server.portal
        rig.next = Settings(hostKeys=("/nonexistent",)) if bad == "a key" else bad
        rig.server.reload()
        assert (rig.server.factory.settings, rig.server.hostKeys, rig.server.portal) == before

    def test_theManagerIsToldOfItsEndAlsoWhereItFails(self, rig: Rig) -> None:
        told: list[str] = []
        rig.server._supervisor = Manager(told)
        for rig.next in (Settings(listen=HERE), SettingsError("bad"), RuntimeError("a fault")):
            rig.server.reload()
        assert told == ["reloading", "ready"] * 3

    def test_aLongListIsReadAsideAndTheLastReloadCounts(
        self, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reactor stood still, and all connections with it."""
        waiting: list[tuple[defer.Deferred[Any], Any]] = []

        def run(source: object, function: Any, *arguments: Any) -> defer.Deferred[Any]:
            waiting.append((defer.Deferred(), function))
            return waiting[-1][0]

        told: list[str] = []
        rig.server._supervisor = Manager(told)
        monkeypatch.setattr(checks, "run", run)
        path = tmp_path / "list"
        path.write_bytes(b"# a remark\n" * IN_PLACE_LENGTH)
        before = rig.server.portal
        for maxSessions in (3, 4):
            rig.next = Settings(listen=HERE, revokedKeys=str(path), maxSessions=maxSessions)
            rig.server.reload()
        assert rig.server.portal is before
        assert told == ["reloading"] * 2
        for done, function in reversed(waiting):
            done.callback(function())
        assert rig.server.portal is not before
        assert rig.server.realm.policy.maxSessions == 4
        assert told == ["reloading"] * 2 + ["ready"] * 2

    def test_aReloadThatEndsAfterTheServerChangesNothing(
        self, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: defer.Deferred[Any] = defer.Deferred()
        told: list[str] = []
        rig.server._supervisor = Manager(told)
        monkeypatch.setattr(checks, "run", lambda *_: done)
        path = tmp_path / "list"
        path.write_bytes(b"# a remark\n" * IN_PLACE_LENGTH)
        rig.next = Settings(listen=HERE, revokedKeys=str(path), maxSessions=3)
        rig.server.reload()
        rig.server.stop()
        done.callback(None)
        assert rig.server.realm.policy.maxSessions == 10
        assert told == ["reloading"]

    def test_afterTheEndThereIsNone(self, rig: Rig) -> None:
        rig.server.stop()
        rig.next = Settings(maxSessions=3)
        rig.server.reload()
        assert rig.server.realm.policy.maxSessions == 10


class TestStop:
    def test_withoutSessionsItEndsAtOnce(self, rig: Rig) -> None:
        rig.server.start()
        idle = FakeConnection(rig.server, idle=True)
        rig.server.stop()
        assert idle.said == [(11, b"the server is shutting down")]
        assert rig.over == [None]
        assert rig.server.ports == []

    def test_sessionsMayEndByThemselves(self, rig: Rig) -> None:
        busy = FakeConnection(rig.server, idle=False)
        rig.server.stop()
        rig.advance(29)
        assert (busy.said, rig.over) == ([], [])
        busy.idle = True
        rig.advance(0.2)
        assert len(busy.said) == 1
        assert rig.over == [None]

    def test_afterTheTimeConnectionsAreClosedAndProgramsHungUp(self, rig: Rig) -> None:
        busy, child = FakeConnection(rig.server, idle=False), FakeChild(rig.server)
        rig.server.stop()
        rig.advance(30.1)
        assert len(busy.said) == 1
        assert child.calls == ["hangUp"]
        assert rig.over == []
        rig.advance(LAST_WORDS_SECONDS + 0.1)
        assert child.calls == ["hangUp", "kill"]
        assert rig.over == [None]

    def test_aSecondStopEndsAtOnce(self, rig: Rig) -> None:
        busy, child = FakeConnection(rig.server, idle=False), FakeChild(rig.server)
        rig.server.stop()
        rig.server.stop()
        assert len(busy.said) == 1
        assert child.calls == ["kill"]
        assert rig.over == [None]
        rig.server.stop()
        rig.advance(100)
        assert rig.over == [None]

    def test_aPeerThatStaysDoesNotKeepTheServer(self, rig: Rig) -> None:
        stays = FakeConnection(rig.server, idle=True)
        stays.leaves = False
        rig.server.stop()
        assert rig.over == []
        rig.advance(LAST_WORDS_SECONDS + 0.1)
        assert rig.over == [None]


def test_signalsMeanWhatTheySay(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    called: list[str] = []
    monkeypatch.setattr(rig.server, "stop", lambda: called.append("stop"))
    monkeypatch.setattr(rig.server, "reload", lambda: called.append("reload"))
    rig.server.handleSignals()
    assert set(handlers) == {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        handlers[number](number, None)
    assert called == []
    rig.driver.turn()
    assert called == ["stop", "reload", "stop"]


@pytest.mark.parametrize(
    ("uid", "files", "inThread"),
    [
        (0, ("%h/.ssh/authorized_keys",), True),
        (0, ("/etc/keys",), False),
        (1000, ("%h/.ssh/authorized_keys",), False),
    ],
)
def test_whereKeysAreRead(
    monkeypatch: pytest.MonkeyPatch, uid: int, files: tuple[str, ...], inThread: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert authorizedKeysOf(Settings(authorizedKeys=files))._inThread is inThread


def test_anAddressIsShownAsItIsTyped() -> None:
    assert str(Address("::1", 2222)) == "[::1]:2222"
