"""A running server: its ports, its keys, and what the signals to it mean.

Rule: whoever is connected keeps what there was when they came; new connections get what is there
now.

    start ──▶ ports listen ──▶ SIGHUP: settings, host keys and policy anew, for new connections
                           ──▶ SIGTERM, SIGINT: no new connections; sessions may end by themselves
                                 for drainSeconds ──▶ connections closed, programs hung up
                           ──▶ a second one: the same at once, programs killed
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.checkers import (
    AuthorizedKeysFiles,
    RevokedKeysFile,
    SSHPublicKeyChecker,
    UnusableList,
    blocklistFile,
)
from limpet.core.destinations import Destinations
from limpet.server.factory import ServeFactory
from limpet.server.hostkeys import HostKeyError, loadHostKeys, ownHostKey, stateDirectory
from limpet.server.listening import ServerPort, adopt, listen
from limpet.server.settings import Address, Settings, SettingsError
from limpet.server.supervisor import Supervisor
from limpet.ssh.keys import Key
from limpet.tunnels import ForwardingPolicy
from limpet.unix import FilePolicy, SessionPolicy, UnixSSHRealm
from limpet.unix.fileserver import makeNursery
from limpet.wire.numbers import DISCONNECT_BY_APPLICATION

DRAIN_CHECK_SECONDS = 0.1
"""How often a server that drains looks whether its sessions have ended."""

LAST_WORDS_SECONDS = 2.0
"""How long connections and programs have to end once they were told to."""

NamedLists = list[tuple[str, RevokedKeysFile]]
"""Lists of revoked keys, each with the setting that names it."""


class ListenFailed(Exception):
    """An address cannot be listened on; the text says which and why."""


class Server:
    """One `limpet serve`.

    Args:
        reactor: What runs it.
        settings: What to serve by.
        reload: Reads the settings again; for SIGHUP.
        supervisor: Who is told how it goes.

    Attributes:
        factory: Makes the connections.
        realm: Makes the users.
        ports: The listening sockets.
        finished: Fires with None when all is over.

    Raises:
        HostKeyError: A host key cannot be used.
        SettingsError: There is nothing to serve at sftp-root, or a list of revoked keys is of no
            use.
    """

    _log = ClassLogger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        reload: Callable[[], Settings] | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._reactor = reactor
        self._reload = reload
        self._supervisor = Supervisor({}) if supervisor is None else supervisor
        self.settings = settings
        hostKeys = findHostKeys(settings)
        checkRoot(settings)
        revocations = revocationsOf(settings)
        for name, file in revocations:
            try:
                file.load()
            except UnusableList as failure:
                raise SettingsError(f"{name}: {failure}") from None
        self.realm = UnixSSHRealm(policyOf(settings), reactor, forwardingOf(settings))
        self.realm.nursery = self._nursery = makeNursery(reactor)
        self.portal = self._makePortal(settings, revocations)
        self.factory = ServeFactory(reactor, settings, hostKeys, self.portal)
        self.ports: list[ServerPort] = []
        self.finished: Deferred[None] = Deferred()
        self._drainTimer: Any = None
        self._deadline: float | None = None
        self._isOver = False
        self._reloads = 0

    @property
    def hostKeys(self) -> list[Key]:
        """The host keys, the preferred one first."""
        return list(self.factory.privateKeys.values())

    def _makePortal(self, settings: Settings, revocations: NamedLists) -> Portal:
        checker = SSHPublicKeyChecker(
            authorizedKeysOf(settings), revocations=[file for _, file in revocations]
        )
        return Portal(self.realm, [checker])

    def start(self, sockets: Sequence[socket.socket] = ()) -> list[Address]:
        """Listen.

        Args:
            sockets: What listens already, in place of the addresses of the settings.

        Returns:
            Where, with the real ports.

        Raises:
            ListenFailed: One address is not to be had; none is listened on.
        """
        self.ports.extend(adopt(self._reactor, listening, self.factory) for listening in sockets)
        for address in () if sockets else self.settings.addresses():
            try:
                self.ports.append(listen(self._reactor, address.host, address.port, self.factory))
            except CannotListenError as failure:
                for port in self.ports:
                    port.stopListening()  # type: ignore[no-untyped-call]
                self.ports.clear()
                reason = failure.socketError
                raise ListenFailed(
                    f"cannot listen on {address}: {getattr(reason, 'strerror', None) or reason}"
                ) from None
        if self.settings.sftp:
            self._nursery.begin()
        return [port.address() for port in self.ports]

    def reload(self) -> None:
        """Take over changed settings, host keys and policy; where they are bad, keep the old."""
        if self._reload is None or self._isOver:
            return
        self._supervisor.reloading()
        self._reloads += 1
        reloading = self._takeOver(self._reload, self._reloads)
        reloading.addErrback(self._notReloaded)
        # Whether it did, is in the log; connections are taken as before.
        reloading.addBoth(self._reloadEnded)

    def _reloadEnded(self, _: Any) -> None:
        if not self.factory.isClosing:
            self._supervisor.ready()

    def _notReloaded(self, reason: Failure) -> None:
        if reason.check(SettingsError, HostKeyError):
            self._log.error("nothing was reloaded: {reason}", reason=reason.getErrorMessage())
        else:
            self._log.failure("nothing was reloaded", failure=reason)

    @inlineCallbacks
    def _takeOver(
        self, reload: Callable[[], Settings], number: int
    ) -> Generator[Deferred[Any], Any, None]:
        settings = reload()
        hostKeys = findHostKeys(settings)
        checkRoot(settings)
        revocations = revocationsOf(settings)
        for name, file in revocations:
            try:
                yield file.prepare()
            except UnusableList as failure:
                raise SettingsError(f"{name}: {failure}") from None
        if self._isOver or number != self._reloads:
            # A later one reads what is there by now.
            return
        if settings.listen != self.settings.listen:
            self._log.warn("the addresses to listen on change with a restart only")
        self.settings = settings
        self.realm.policy = policyOf(settings)
        self.realm.forwarding = forwardingOf(settings)
        self.portal = self._makePortal(settings, revocations)
        self.factory.configure(settings, hostKeys, self.portal)
        self._log.info("settings and host keys reloaded, for new connections")

    def stop(self) -> None:
        """End: the first time gently, the second time at once."""
        if self._isOver:
            return
        if self.factory.isClosing:
            self._log.info("ending at once")
            self._end(kill=True)
            return
        self.factory.isClosing = True
        self._supervisor.stopping()
        for port in self.ports:
            port.stopListening()  # type: ignore[no-untyped-call]
        self.ports.clear()
        self._deadline = self._reactor.seconds() + self.settings.drainSeconds
        self._drain(isFirst=True)

    def _drain(self, isFirst: bool = False) -> None:
        self._drainTimer = None
        for connection in tuple(self.factory.connections):
            if connection.isIdle():
                connection.sendDisconnect(DISCONNECT_BY_APPLICATION, b"the server is shutting down")
        waiting = sum(not connection.isIdle() for connection in self.factory.connections)
        if not waiting or self._reactor.seconds() >= (self._deadline or 0.0):
            self._end(kill=False)
            return
        if isFirst:
            self._log.info(
                "{count} connections have sessions; they may end within {seconds} s",
                count=waiting,
                seconds=self.settings.drainSeconds,
            )
        self._drainTimer = self._reactor.callLater(DRAIN_CHECK_SECONDS, self._drain)

    def _end(self, kill: bool) -> None:
        self._isOver = True
        if self._drainTimer is not None:
            self._drainTimer.cancel()
            self._drainTimer = None
        for connection in tuple(self.factory.connections):
            connection.sendDisconnect(DISCONNECT_BY_APPLICATION, b"the server is shutting down")
        for child in tuple(self.realm.children):
            if kill:
                child.killNow()
            else:
                child.hangUp(LAST_WORDS_SECONDS / 2)
        self._deadline = self._reactor.seconds() + LAST_WORDS_SECONDS
        self._finish()

    def _finish(self) -> None:
        over = self._reactor.seconds() >= (self._deadline or 0.0)
        if over:
            for child in tuple(self.realm.children):
                child.killNow()
        if over or not (self.factory.connections or self.realm.children):
            self._nursery.close()
            self.finished.callback(None)
        else:
            self._reactor.callLater(DRAIN_CHECK_SECONDS / 5, self._finish)

    def handleSignals(self) -> None:
        """Have SIGTERM and SIGINT mean `stop`, and SIGHUP `reload`; in the main thread only."""
        meanings = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
        }
        for number, meaning in meanings.items():
            signal.signal(number, self._later(meaning))

    def _later(self, meaning: Callable[[], None]) -> Callable[[int, Any], None]:
        def handler(number: int, frame: Any) -> None:
            self._reactor.callFromThread(meaning)

        return handler


def findHostKeys(settings: Settings) -> dict[bytes, Key]:
    """The host keys that the settings name, or our own. Raises HostKeyError where one is bad."""
    paths = settings.hostKeys or (str(ownHostKey(stateDirectory())),)
    return loadHostKeys(paths)


def checkRoot(settings: Settings) -> None:
    """Make sure that sftp-root is there, where it is the same for all users.

    Raises:
        SettingsError: It is not, or is no directory.
    """
    path = settings.sftpRoot.replace("%%", "")
    if path and "%" not in path and not os.path.isdir(settings.sftpRoot.replace("%%", "%")):
        raise SettingsError(f"sftp-root: there is no directory {settings.sftpRoot!r}")


def revocationsOf(settings: Settings) -> NamedLists:
    """The lists of revoked keys that the settings name, each with the setting's name."""
    lists = []
    if settings.revokedKeys:
        lists.append(("revoked-keys", RevokedKeysFile(settings.revokedKeys)))
    if settings.badKeys:
        lists.append(("bad-keys", blocklistFile(settings.badKeys)))
    return lists


def authorizedKeysOf(settings: Settings) -> AuthorizedKeysFiles:
    """The files of keys that the settings name."""
    # One user's server reads that user's own files; root's may wait for a file server of many
    # users' homes, which must not stop everybody else.
    inThread = os.geteuid() == 0 and any("%" in name for name in settings.authorizedKeys)
    return AuthorizedKeysFiles(settings.authorizedKeys, inThread=inThread)


def policyOf(settings: Settings) -> SessionPolicy:
    """What the settings allow in sessions."""
    return SessionPolicy(
        acceptEnvironment=tuple(name.encode("utf-8") for name in settings.acceptEnv),
        path=settings.path or None,
        allowPty=settings.allowPty,
        hangupGraceSeconds=settings.hangupGraceSeconds,
        maxSessions=settings.maxSessions,
        files=FilePolicy(
            offered=settings.sftp, root=settings.sftpRoot or None, readOnly=settings.readOnly
        ),
    )


def forwardingOf(settings: Settings) -> ForwardingPolicy:
    """What the settings allow to forward."""
    kinds = settings.allowForwarding
    return ForwardingPolicy(
        local="local" in kinds,
        remote="remote" in kinds,
        unix="unix" in kinds,
        agent="agent" in kinds,
        permitOpen=Destinations(settings.permitOpen),
        permitListen=Destinations(settings.permitListen),
        gatewayPorts=settings.gatewayPorts,
    )
