"""A server as Twisted's documentation tells to write one: a realm, an avatar, a session, files.

    python -m limpet.conch -- simpleServer.py PORT HOSTKEY

It lets in "user" with the password "password"; its shell echoes, its commands are `greet` and
`count`, and its files are in memory. All of SSH is imported from `twisted.conch`.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.conch import avatar, error, interfaces
from twisted.conch.ssh import factory, filetransfer, keys, session
from twisted.cred import checkers, portal
from twisted.internet import protocol, reactor
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python import components, log
from twisted.python.failure import Failure
from virtualFiles import Directory, VirtualFiles
from zope.interface import implementer


class User(avatar.ConchUser):
    """Somebody who is logged in."""

    def __init__(self, username: bytes) -> None:
        avatar.ConchUser.__init__(self)
        self.username = username
        self.files = Directory()
        self.channelLookup.update({b"session": session.SSHSession})
        self.subsystemLookup.update({b"sftp": filetransfer.FileTransferServer})


@implementer(portal.IRealm)
class Realm:
    """Everybody is a `User`."""

    def requestAvatar(self, avatarId: bytes, mind: Any, *wanted: Any) -> Any:
        return wanted[0], User(avatarId), lambda: None


class Echo(protocol.Protocol):
    """A shell: it says back what is typed, and ends with Control-D."""

    def connectionMade(self) -> None:
        self.transport.write(b"welcome\r\n")

    def dataReceived(self, data: bytes) -> None:
        typed, end, _ = data.partition(b"\x04")
        self.transport.write(typed.replace(b"\r", b"\r\n"))
        if end:
            self.transport.loseConnection()


@implementer(interfaces.ISession, interfaces.ISessionSetEnv)
class Session:
    """What a `User` may do in a session."""

    def __init__(self, avatar: User) -> None:
        self.environment: dict[bytes, bytes] = {}
        self.size: Any = None

    def setEnv(self, name: bytes, value: bytes) -> None:
        if not name.startswith(b"LC_"):
            raise interfaces.EnvironmentVariableNotPermitted()
        self.environment[name] = value

    def getPty(self, term: bytes, windowSize: Any, modes: Any) -> None:
        self.size = windowSize

    def windowChanged(self, newWindowSize: Any) -> None:
        self.size = newWindowSize

    def openShell(self, processProtocol: Any) -> None:
        shell = Echo()
        shell.makeConnection(processProtocol)
        processProtocol.makeConnection(session.wrapProtocol(shell))

    def execCommand(self, processProtocol: Any, command: bytes) -> None:
        name, _, argument = command.partition(b" ")
        if name == b"greet":
            processProtocol.write(b"hello, " + self.environment.get(b"LC_NAME", b"whoever") + b"\n")
            processProtocol.errReceived(b"and goodbye\n")
            processProtocol.processEnded(Failure(ProcessDone(None)))
        elif name == b"count":
            for number in range(int(argument)):
                processProtocol.write(b"%d\n" % number)
            processProtocol.processEnded(Failure(ProcessTerminated(exitCode=3)))
        else:
            raise error.ConchError("no such command")

    def eofReceived(self) -> None:
        pass

    def closed(self) -> None:
        pass


components.registerAdapter(Session, User, interfaces.ISession)
components.registerAdapter(VirtualFiles, User, filetransfer.ISFTPServer)


class Factory(factory.SSHFactory):
    """Serves with one host key."""

    def __init__(self, hostKey: keys.Key, portal: portal.Portal) -> None:
        self.privateKeys = {hostKey.sshType(): hostKey}
        self.publicKeys = {hostKey.sshType(): hostKey.public()}
        self.portal = portal


def main(port: int, hostKey: str) -> None:
    log.startLogging(sys.stdout, setStdout=False)
    door = portal.Portal(Realm())
    passwords = checkers.InMemoryUsernamePasswordDatabaseDontUse()
    passwords.addUser(b"user", b"password")
    door.registerChecker(passwords)
    reactor.listenTCP(port, Factory(keys.Key.fromFile(hostKey), door), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
