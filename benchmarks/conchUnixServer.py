"""Conch's server for the users of the system, with the duties that `limpet serve` has at a login.

    python -m benchmarks.conchUnixServer PORT HOST_KEY AUTHORIZED_KEYS

The keys are read from the disk for each login, the account is looked up, and the log goes to
standard output. It is what `twist conch` assembles, but for the port and the keys' places.
"""

from __future__ import annotations

import getpass
import pwd
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.conch import checkers, unix
from twisted.conch.ssh import factory, keys
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.fakepwd import UserDatabase


def main(port: int, hostKey: str, authorizedKeys: str) -> None:
    running: Any = reactor
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    private = keys.Key.fromFile(hostKey)
    serving: Any = factory.SSHFactory()
    serving.privateKeys = {private.sshType(): private}
    serving.publicKeys = {private.sshType(): private.public()}
    with TemporaryDirectory() as home:
        # Conch finds a user's keys below the home directory, and nowhere else.
        directory = Path(home, ".ssh")
        directory.mkdir()
        (directory / "authorized_keys").write_bytes(Path(authorizedKeys).read_bytes())
        users: Any = UserDatabase()
        me = pwd.getpwnam(getpass.getuser())
        users.addUser(me.pw_name, "", me.pw_uid, me.pw_gid, "", home, me.pw_shell)
        database = checkers.UNIXAuthorizedKeysFiles(users)
        checker = checkers.SSHPublicKeyChecker(database)
        serving.portal = Portal(unix.UnixSSHRealm(), [checker])
        running.listenTCP(port, serving, interface="127.0.0.1", backlog=128)
        running.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
