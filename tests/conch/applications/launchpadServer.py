"""lazr.sshserver, which is Launchpad's SSH server, with one user and files in memory.

    python -m limpet.conch -- launchpadServer.py PORT HOSTKEY USERKEY

Launchpad's own authentication server is the one thing that is played here: it knows "ann" with the
RSA key in USERKEY.
"""

from __future__ import annotations

import logging
import sys
from typing import Any
from xmlrpc.client import Fault

from lazr.sshserver.auth import (
    LaunchpadAvatar,
    NoSuchPersonWithName,
    PublicKeyFromLaunchpadChecker,
)
from lazr.sshserver.service import SSHService
from lazr.sshserver.session import DoNothingSession
from twisted.conch.interfaces import ISession
from twisted.conch.ssh import filetransfer
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer, reactor
from twisted.python import components, log
from virtualFiles import Directory, VirtualFiles
from zope.interface import implementer


class User(LaunchpadAvatar):
    """A person of Launchpad, with files."""

    def __init__(self, details: dict[str, Any]) -> None:
        LaunchpadAvatar.__init__(self, details)
        self.files = Directory()


components.registerAdapter(DoNothingSession, User, ISession)
components.registerAdapter(VirtualFiles, User, filetransfer.ISFTPServer)


class AuthServer:
    """What Launchpad's would say."""

    def __init__(self, keyText: str) -> None:
        self.keyText = keyText

    def callRemote(self, method: str, username: str) -> defer.Deferred[Any]:
        if username != "ann":
            fault = NoSuchPersonWithName(username)
            return defer.fail(fault if isinstance(fault, Exception) else Fault(200, username))
        return defer.succeed({"id": 1, "name": username, "keys": [("RSA", self.keyText)]})


@implementer(IRealm)
class Realm:
    """Looks people up as Launchpad's does."""

    def __init__(self, authServer: AuthServer) -> None:
        self.authServer = authServer

    def requestAvatar(self, avatarId: bytes, mind: Any, *wanted: Any) -> Any:
        def found(details: dict[str, Any]) -> Any:
            user = User(details)
            return wanted[0], user, user.logout

        return mind.lookupUserDetails(self.authServer, avatarId).addCallback(found)


def main(port: int, hostKey: str, userKey: str) -> None:
    log.startLogging(sys.stdout, setStdout=False)
    logging.basicConfig(stream=sys.stdout)
    with open(userKey + ".pub", encoding="ascii") as file:
        authServer = AuthServer(file.read().split()[1])
    portal = Portal(Realm(authServer))
    portal.registerChecker(PublicKeyFromLaunchpadChecker(authServer))
    service = SSHService(
        portal=portal,
        private_key_path=hostKey,
        public_key_path=hostKey + ".pub",
        main_log="main",
        access_log="access",
        access_log_path="access.log",
        strport=f"tcp:{port}:interface=127.0.0.1",
        banner="Welcome to the test",
        moduli_path="/etc/ssh/moduli",
    )
    service.startService()
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
