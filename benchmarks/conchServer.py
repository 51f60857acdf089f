"""A Conch server for the measurement of connections: public-key login and nothing behind it.

python -m benchmarks.conchServer PORT HOST_KEY AUTHORIZED_KEYS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh import keys
from twisted.conch.ssh.factory import SSHFactory
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from zope.interface import implementer

# Conch is typed in part only.
Key: Any = keys.Key
User: Any = ConchUser


@implementer(IRealm)
class Realm:
    def requestAvatar(
        self, avatarId: object, mind: object, *interfaces: Any
    ) -> tuple[Any, Any, Callable[[], None]]:
        return IConchUser, User(), lambda: None


class EveryUser(dict[bytes, list[Any]]):
    """Grants the same keys to whoever asks."""

    def __init__(self, keys: list[Any]) -> None:
        self.keys_ = keys

    def __contains__(self, user: object) -> bool:
        return True

    def get(self, user: Any, default: Any = None) -> Any:
        return self.keys_

    def __getitem__(self, user: bytes) -> list[Any]:
        return self.keys_


def main(port: int, hostKey: str, authorizedKeys: str) -> None:
    with open(authorizedKeys, "rb") as file:
        authorized = [Key.fromString(line) for line in file]
    private = Key.fromFile(hostKey)
    factory: Any = SSHFactory()
    factory.privateKeys = {private.sshType(): private}
    factory.publicKeys = {private.sshType(): private.public()}
    checker = SSHPublicKeyChecker(InMemorySSHKeyDB(EveryUser(authorized)))
    factory.portal = Portal(Realm(), [checker])
    running: Any = reactor
    running.listenTCP(port, factory, interface="127.0.0.1", backlog=128)
    running.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
