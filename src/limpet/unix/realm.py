"""Logging in as a user of the system: the realm, and the avatar that it makes.

Rule: the realm decides last. Whatever a checker accepted, an account that has no entry, or that
this process cannot become, does not log in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.python.components import registerAdapter
from twisted.python.filepath import FilePath
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet._reactor import getReactor
from limpet.avatar import ConchUser
from limpet.core.windows import GROWN_WINDOW
from limpet.error import ConchError
from limpet.interfaces import IConchUser, ISession, ISubsystemProgram
from limpet.ssh.session import SSHSession
from limpet.tunnels.serving import (
    MAX_FORWARDING_CHANNELS,
    ForwardingPolicy,
    ForwardingService,
)
from limpet.unix.accounts import Account, NotPermitted, checkMayServe
from limpet.unix.agents import ForwardedAgent
from limpet.unix.internalsftp import NAME as INTERNAL_SFTP
from limpet.unix.internalsftp import FileServerOptions, isInternalSftp, parseInternalSftp
from limpet.unix.nursery import Nursery
from limpet.unix.process import ChildProcess
from limpet.unix.session import SessionPolicy, UnixSession
from limpet.unix.sockets import UnixSockets
from limpet.wire.numbers import OPEN_RESOURCE_SHORTAGE

SESSION_WINDOW = 2 * 1024 * 1024
"""How much a client may send to a session before we say that it was read, in bytes (OpenSSH's)."""

SESSION_MAX_PACKET = 49152
"""The largest piece of it that one message may carry, in bytes: more than the 32 KiB that RFC 4253
section 6.1 asks of everybody, because OpenSSH's client uses it, which saves processor time in an
upload; less than 64 KiB, because with `RekeyLimit 1M` it takes a message's bytes for blocks and
would then exchange keys before each."""

FIRST_UNPRIVILEGED_PORT = 1024
"""The lowest port on which a server of root's listens for users other than root."""

NOLOGIN = "/etc/nologin"
"""While this file exists, only root logs in (nologin(5))."""


class UnixConchUser(ConchUser):
    """A user of the system, logged in.

    Args:
        account: Who, or the name of who.
        policy: What the server allows in sessions.
        reactor: What runs the sessions' processes.
        forwarding: What the server allows to forward; None for nothing.

    Attributes:
        username: The login name.
        children: The programs of all sessions that still run.
        onChildStarted, onChildEnded: Called with each program, for whoever keeps a list.
        nursery: What forks the processes that serve files; None where each is started by itself.
    """

    obeysRestrictions = True

    _log = ClassLogger()

    def __init__(
        self,
        account: Account | str | bytes,
        policy: SessionPolicy | None = None,
        reactor: Any = None,
        forwarding: ForwardingPolicy | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(account, Account):
            account = Account.named(os.fsdecode(account))
        self.account = account
        self.username = account.name
        self.policy = SessionPolicy() if policy is None else policy
        self.reactor = getReactor() if reactor is None else reactor
        self.children: set[ChildProcess] = set()
        self.onChildStarted: Callable[[ChildProcess], object] | None = None
        self.onChildEnded: Callable[[ChildProcess], object] | None = None
        self.nursery: Nursery | None = None
        self.channelLookup[b"session"] = self._makeSession
        self._allowsAgent = forwarding is not None and forwarding.agent
        self._agent: ForwardedAgent | None = None
        # One that allows nothing says so, where without it the types would be unknown.
        self._forwarding = self._forward(forwarding or ForwardingPolicy())
        if self.policy.files.offered:
            self.subsystemLookup[b"sftp"] = _makeFileServer

    def _makeSession(self, **details: Any) -> SSHSession:
        channels = getattr(self.conn, "channels", {})
        # One that we have closed waits for nothing but the client's own word.
        sessions = sum(
            channel.name == b"session" and not channel.localClosed for channel in channels.values()
        )
        if sessions >= self.policy.maxSessions:
            raise ConchError("too many sessions on this connection", OPEN_RESOURCE_SHORTAGE)
        session = SSHSession(
            localWindow=SESSION_WINDOW, localMaxPacket=SESSION_MAX_PACKET, **details
        )
        session.localWindowLimit = GROWN_WINDOW
        return session

    def _forward(self, policy: ForwardingPolicy) -> ForwardingService:
        # Where the server is not root's, the system itself says which ports may be had.
        isLimited = os.geteuid() == 0 and self.account.uid != 0
        service = ForwardingService(
            self.reactor,
            policy,
            self.account.name,
            lambda: self.conn,
            UnixSockets(self.reactor, self.account),
            lowestPort=FIRST_UNPRIVILEGED_PORT if isLimited else 1,
        )
        self.channelLookup[b"direct-tcpip"] = service.openTcp
        self.channelLookup[b"direct-streamlocal@openssh.com"] = service.openUnix
        return service

    def forwardAgent(self) -> str:
        """Have the client's agent on this machine, once for all sessions of the login.

        Returns:
            The path of its socket.

        Raises:
            ConchError: The server does not allow it, or there is no place for a socket.
        """
        if not self._allowsAgent:
            raise ConchError("this server does not forward agents (allow-forwarding)")
        if self._agent is None:
            self._agent = ForwardedAgent(self.reactor, self.account, self.conn)
        return self._agent.path

    def lookupChannel(
        self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes
    ) -> Any:
        """Make the channel that the client asks for; more of them for one who may forward."""
        if self._forwarding.isAllowed:
            self.conn.maxChannels = MAX_FORWARDING_CHANNELS
        return super().lookupChannel(channelType, windowSize, maxPacket, data)

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        """Serve what the client asks of the whole connection: to listen for it, mostly."""
        if self._forwarding.isAllowed:
            self.conn.maxChannels = MAX_FORWARDING_CHANNELS
        answer = None
        if requestType.endswith(b"@openssh.com"):
            answer = self._forwarding.gotGlobalRequest(requestType, data)
        return super().gotGlobalRequest(requestType, data) if answer is None else answer

    def global_tcpip_forward(self, data: bytes) -> Any:
        """Listen on a port for the client, if the policy allows it (RFC 4254 section 7.1)."""
        return self._forwarding.gotGlobalRequest(b"tcpip-forward", data)

    def global_cancel_tcpip_forward(self, data: bytes) -> Any:
        """Listen there no more."""
        return self._forwarding.gotGlobalRequest(b"cancel-tcpip-forward", data)

    def lookupSubsystem(self, subsystem: bytes, data: bytes) -> Any:
        """Make the protocol of a subsystem, or None.

        Where a command is forced, it takes the place of the files, and there is nothing else.
        """
        restrictions = getattr(getattr(self.conn, "transport", None), "restrictions", None)
        if restrictions is not None and restrictions.forcedCommand is not None:
            if subsystem == b"sftp" and b"sftp" in self.subsystemLookup:
                return forcedSubsystem(restrictions.forcedCommand)
            return None
        found = super().lookupSubsystem(subsystem, data)
        if found is None:
            mayLog = getattr(self.conn, "mayLogRefusal", None)
            if mayLog is None or mayLog():
                self._log.info("there is no subsystem {name!r} here", name=subsystem[:64])
        return found

    def childStarted(self, child: ChildProcess) -> None:
        """A session has started a program; it is ours until it ends."""
        self.children.add(child)
        child.whenEnded = self._childEnded
        if self.onChildStarted is not None:
            self.onChildStarted(child)

    def _childEnded(self, child: ChildProcess) -> None:
        self.children.discard(child)
        if self.onChildEnded is not None:
            self.onChildEnded(child)

    def getUserGroupId(self) -> tuple[int, int]:
        """The user id and the primary group id."""
        return self.account.uid, self.account.gid

    def getOtherGroups(self) -> list[int]:
        """All group ids of the user."""
        return list(self.account.groups)

    def getHomeDir(self) -> FilePath[str]:
        """The home directory."""
        return FilePath(self.account.home)

    def getShell(self) -> str:
        """The login shell's path."""
        return self.account.shell

    def logout(self) -> None:
        """The connection is over: hang up what still runs, listen no more."""
        self._forwarding.close()
        if self._agent is not None:
            self._agent.close()
        for child in tuple(self.children):
            child.hangUp(self.policy.hangupGraceSeconds)


@implementer(ISubsystemProgram)
class FileServerSubsystem:
    """The sftp subsystem: a worker of the session's own (`limpet.unix.fileserver`).

    Args:
        options: What this login's key says, if it is for files only.
    """

    def __init__(self, options: FileServerOptions | None = None) -> None:
        self.options = options

    def start(self, session: Any, proto: Any) -> None:
        session.startFileServer(proto, self.options)


@implementer(ISubsystemProgram)
class ForcedSubsystem:
    """A forced command, where sftp was asked for: it learns that from SSH_ORIGINAL_COMMAND."""

    def start(self, session: Any, proto: Any) -> None:
        session.execCommand(proto, INTERNAL_SFTP.encode())


def _makeFileServer(data: bytes, avatar: Any) -> FileServerSubsystem:
    return FileServerSubsystem()


def forcedSubsystem(command: bytes) -> FileServerSubsystem | ForcedSubsystem | None:
    """The sftp subsystem for a login with a forced command, as OpenSSH's sshd has it.

    It is the command itself, be that a program or "internal-sftp"; None where its options cannot be
    obeyed.
    """
    if not isInternalSftp(command):
        return ForcedSubsystem()
    options = parseInternalSftp(command)
    return None if options is None else FileServerSubsystem(options)


registerAdapter(UnixSession, UnixConchUser, ISession)


@implementer(IRealm)
class UnixSSHRealm:
    """Makes a `UnixConchUser` of an account's name.

    Args:
        policy: What the server allows in sessions.
        reactor: What runs the sessions' processes.
        forwarding: What the server allows to forward; None for nothing.

    Attributes:
        children: The programs of all users that still run, those of users who have gone already
            included: what a server that ends has to end.
        nursery: What forks the processes that serve files; None where each is started by itself.
    """

    _log = ClassLogger()

    def __init__(
        self,
        policy: SessionPolicy | None = None,
        reactor: Any = None,
        forwarding: ForwardingPolicy | None = None,
    ) -> None:
        self.policy = SessionPolicy() if policy is None else policy
        self.forwarding = forwarding
        self._reactor = reactor
        self.children: set[ChildProcess] = set()
        self.nursery: Nursery | None = None

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> tuple[Any, Any, Any]:
        """Make the avatar of the account `avatarId`.

        Returns:
            `IConchUser`, the avatar, and what to call when the user goes.

        Raises:
            NotImplementedError: `IConchUser` is not among `interfaces`.
            LoginDenied: Somebody without a name.
            UnauthorizedLogin: There is no such account, or this process cannot run programs as it.
        """
        if avatarId == ANONYMOUS:
            raise LoginDenied("nobody logs in without a name")
        if IConchUser not in interfaces:
            raise NotImplementedError("this realm makes IConchUser only")
        account = self.findAccount(avatarId)
        user = UnixConchUser(account, self.policy, self._reactor, self.forwarding)
        user.onChildStarted = self.children.add
        user.onChildEnded = self.children.discard
        user.nursery = self.nursery
        return IConchUser, user, user.logout

    def findAccount(self, avatarId: bytes | str) -> Account:
        """The account of that name, if it may log in here. Raises UnauthorizedLogin if not."""
        try:
            name = avatarId.decode("utf-8") if isinstance(avatarId, bytes) else avatarId
            account = Account.named(name)
            checkMayServe(account)
        except (KeyError, ValueError):
            raise UnauthorizedLogin("no such account") from None
        except NotPermitted as refusal:
            self._log.info("login refused: {reason}", reason=str(refusal))
            raise UnauthorizedLogin("the account may not log in here") from None
        if account.uid != 0 and os.geteuid() == 0 and os.path.exists(NOLOGIN):
            self._log.info("login of {name} refused: {file}", name=account.name, file=NOLOGIN)
            raise UnauthorizedLogin("logins are closed")
        return account
