"""A server whose sessions are made from Conch's session for users of the system, in three ways.

    python -m limpet.conch -- unixSessions.py PORT HOSTKEY

"proxy" is a user of the application's own, whose session starts a program by itself; "fixed" is
this account with another home; "both" is user and session at once. The password is "opensesame".
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

from twisted.conch.avatar import ConchUser
from twisted.conch.interfaces import IConchUser, ISession
from twisted.conch.ssh import factory, keys, session
from twisted.conch.unix import SSHSessionForUnixConchUser, UnixConchUser
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.python import components, log
from zope.interface import implementer

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


class ProxyUser(ConchUser):
    def __init__(self, username):
        ConchUser.__init__(self)
        self.username = username
        self.channelLookup.update({b"session": session.SSHSession})

    def getUserGroupId(self):
        return None, None


class ProxySession(SSHSessionForUnixConchUser):
    def openShell(self, proto):
        self._spawn(proto, "echo you are $USER on $SSH_TTY; stty size; read line; echo $line")

    def execCommand(self, proto, command):
        self._spawn(proto, command)

    def _spawn(self, proto, command):
        self.environ["USER"] = self.avatar.username
        arguments = ["sh", "-c", command]
        self.pty = reactor.spawnProcess(
            proto, "/bin/sh", arguments, self.environ, "/", None, None, usePTY=self.ptyTuple
        )
        self.avatar.conn.transport.transport.setTcpNoDelay(1)


class FixedUser(UnixConchUser):
    def __init__(self, home):
        UnixConchUser.__init__(self, ACCOUNT)
        self._home = home

    def getHomeDir(self):
        return self._home


class FixedSession(SSHSessionForUnixConchUser):
    def execCommand(self, proto, command):
        self.environ["HOME"] = self.avatar.getHomeDir()
        return SSHSessionForUnixConchUser.execCommand(self, proto, command)


class UserAndSession(UnixConchUser, SSHSessionForUnixConchUser):
    def __init__(self):
        UnixConchUser.__init__(self, ACCOUNT)
        SSHSessionForUnixConchUser.__init__(self, self)


components.registerAdapter(ProxySession, ProxyUser, ISession)
components.registerAdapter(FixedSession, FixedUser, ISession)


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatarId, mind, *interfaces):
        if avatarId == b"fixed":
            user = FixedUser(os.getcwd())
        elif avatarId == b"both":
            user = UserAndSession()
        else:
            user = ProxyUser(avatarId)
        return IConchUser, user, lambda: None


log.startLogging(sys.stdout)
hostKey = keys.Key.fromString(Path(sys.argv[2]).read_bytes())
server = factory.SSHFactory()
server.privateKeys = {hostKey.sshType(): hostKey}
server.publicKeys = {hostKey.sshType(): hostKey.public()}
users = dict.fromkeys(("proxy", "fixed", "both"), b"opensesame")
server.portal = Portal(Realm(), [InMemoryUsernamePasswordDatabaseDontUse(**users)])
reactor.listenTCP(int(sys.argv[1]), server, interface="127.0.0.1")
reactor.run()
