"""A server on plain asyncio: a coroutine for each command, and a directory by SFTP.

    python examples/asyncioServer.py PORT HOST_KEY AUTHORIZED_KEYS DIRECTORY

The user is "guest", with one of the keys. `upper` answers each line in capitals, `add N...` adds,
`count` counts up until it is stopped; without a command there is a prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.logger import STDLibLogObserver, globalLogBeginner
from twisted.python.components import registerAdapter
from zope.interface import implementer

from limpet import aio
from limpet.avatar import ConchUser
from limpet.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker, readAuthorizedKeyFile
from limpet.files.filesystem import ConfinedFiles
from limpet.interfaces import IConchUser, ISession, ISFTPServer
from limpet.ssh.factory import SSHFactory
from limpet.ssh.filetransfer import FileTransferServer
from limpet.ssh.keys import Key
from limpet.ssh.session import SSHSession
from limpet.unix.filetransfer import SFTPServerForUnixConchUser


async def play(program: aio.Program) -> int:
    """One command or shell; what it returns is the exit status."""
    if program.command is None:
        return await prompt(program)
    name, *words = program.command.split() or [""]
    if name == "upper":
        async for line in program:
            program.write(line.upper())
            await program.drain()  # for a client that sends much and reads little
    elif name == "add":
        program.write(b"%d\n" % sum(map(int, words)))
    elif name == "count":
        number = 0
        while True:  # until the client goes, or sends a signal
            number += 1
            program.write(b"%d\n" % number)
            await asyncio.sleep(1)
    else:
        program.write_error(b"there is no such command\n")
        return 127
    return 0


async def prompt(program: aio.Program) -> int:
    """A shell for pipes and for terminals, where what is typed has to be echoed here."""
    end = b"\n" if program.terminal is None else b"\r"
    program.write(b"Hello, %s! Lines are turned round.\r\n" % program.user.name)
    line = b""
    while typed := await program.read(1):
        if typed in (b"\x03", b"\x04"):  # Ctrl-C and Ctrl-D, which nobody translates here
            break
        if program.terminal is not None:
            program.write(typed.replace(b"\r", b"\r\n"))
        line += typed
        if typed == end:
            program.write(line.strip()[::-1] + b"\r\n")
            line = b""
    return 0


class User(ConchUser):
    """Who has logged in."""

    def __init__(self, name: bytes, directory: str) -> None:
        super().__init__()
        self.name = name
        self.directory = directory
        self.channelLookup[b"session"] = SSHSession
        self.subsystemLookup[b"sftp"] = FileTransferServer


@implementer(IRealm)
class Realm:
    """Makes a user of whom the checker lets in."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IConchUser, User(avatarId, self.directory), lambda: None


def filesOf(user: User) -> SFTPServerForUnixConchUser:
    """The files of the directory, from which no path and no link leads out."""
    return SFTPServerForUnixConchUser(user, ConfinedFiles(os.fsencode(user.directory)))


registerAdapter(aio.sessions(play), User, ISession)
registerAdapter(filesOf, User, ISFTPServer)


async def main(port: str, hostKey: str, authorizedKeys: str, directory: str) -> None:
    # Limpet logs by Twisted: who came, and why who did not. Here that goes on to `logging`.
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)
    factory = SSHFactory()
    key = Key.fromFile(hostKey)
    factory.privateKeys = {key.sshType(): key}
    factory.publicKeys = {key.sshType(): key.public()}
    with open(authorizedKeys, "rb") as lines:
        users = {b"guest": list(readAuthorizedKeyFile(lines))}
    factory.portal = Portal(Realm(directory), [SSHPublicKeyChecker(InMemorySSHKeyDB(users))])
    listener = await aio.listen(factory, int(port))
    print(f"listening on 127.0.0.1:{listener.port}", flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        print(
            "usage: asyncioServer.py PORT HOST_KEY AUTHORIZED_KEYS DIRECTORY",
            file=sys.stderr,
        )
        sys.exit(2)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
