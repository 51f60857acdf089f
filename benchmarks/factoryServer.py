"""A server of Conch's documented parts, for connections: public-key login and nothing behind it.

    python -m benchmarks.factoryServer twisted.conch|limpet PORT HOST_KEY AUTHORIZED_KEYS

One program for both packages: what differs is where the names are imported from. The keys are in
memory and nothing is logged, so this measures the protocol alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from zope.interface import implementer


class EveryUser(dict[bytes, list[Any]]):
    """Grants the same keys to whoever asks."""

    def __init__(self, keys: list[Any]) -> None:
        self.granted = keys

    def __contains__(self, user: object) -> bool:
        return True

    def get(self, user: Any, default: Any = None) -> Any:
        return self.granted

    def __getitem__(self, user: bytes) -> list[Any]:
        return self.granted


def main(package: str, port: int, hostKey: str, authorizedKeys: str) -> None:
    def named(module: str, name: str) -> Any:
        return getattr(import_module(f"{package}.{module}"), name)

    @implementer(IRealm)
    class Realm:
        def requestAvatar(
            self, avatarId: object, mind: object, *interfaces: Any
        ) -> tuple[Any, Any, Callable[[], None]]:
            return named("interfaces", "IConchUser"), ConchUser(), lambda: None

    Key, ConchUser = named("ssh.keys", "Key"), named("avatar", "ConchUser")
    with open(authorizedKeys, "rb") as file:
        authorized = [Key.fromString(line) for line in file]
    private = Key.fromFile(hostKey)
    factory = named("ssh.factory", "SSHFactory")()
    factory.privateKeys = {private.sshType(): private}
    factory.publicKeys = {private.sshType(): private.public()}
    database = named("checkers", "InMemorySSHKeyDB")(EveryUser(authorized))
    checker = named("checkers", "SSHPublicKeyChecker")(database)
    factory.portal = Portal(Realm(), [checker])
    running: Any = reactor
    running.listenTCP(port, factory, interface="127.0.0.1", backlog=128)
    running.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:5])
