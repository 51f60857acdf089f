"""Both ends of user authentication against each other, over a real transport in memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.portal import Portal
from twisted.internet import defer
from twisted.internet.task import Clock

from limpet.checkers import (
    InMemorySSHKeyDB,
    KeyboardInteractivePasswordChecker,
    SSHProtocolChecker,
    SSHPublicKeyChecker,
)
from limpet.core.authorizedkeys import parseAuthorizedKeys
from limpet.ssh.keys import Key
from limpet.ssh.transport import SSHClientTransport, SSHServerTransport
from limpet.ssh.userauth import SSHUserAuthClient
from limpet.testing import Pair, Portions, randomPortions, singleBytes, whole
from tests.pair.attacker import Attacker
from tests.unit.ssh.userauth.doubles import Connection, Factory, Passwords, Realm

HOST_KEY = Key.generate("ed25519")
KEYS = {kind: Key.generate(kind) for kind in ("ed25519", "ecdsa", "rsa")}


class User(SSHUserAuthClient):
    """Has one key and one password, and answers every question with the latter."""

    def __init__(self, key: Key | None, password: bytes | None) -> None:
        super().__init__(b"alice", Connection())
        self.key = key
        self.secret = password

    def getPublicKey(self) -> Any:
        return None if self.key is None or self.triedPublicKeys else self.key.public()

    def getPrivateKey(self) -> Any:
        return defer.succeed(self.key)

    def getPassword(self, prompt: bytes | None = None) -> Any:
        secret, self.secret = self.secret, None
        return None if secret is None else defer.succeed(secret)

    def getGenericAnswers(self, name: bytes, instruction: bytes, prompts: Any) -> Any:
        return defer.succeed([self.secret] * len(prompts))


class Client(SSHClientTransport):
    """Trusts the host, and logs in."""

    def __init__(self, user: User) -> None:
        self.user = user

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        return defer.succeed(True)

    def connectionSecure(self) -> None:
        self.requestService(self.user)


def pairOf(user: User, *checkers: Any, portions: Portions = whole) -> Pair:
    factory: Any = Factory(Portal(Realm(), list(checkers)))
    factory.services = {**Factory.services}
    factory.privateKeys = {HOST_KEY.sshType(): HOST_KEY}
    factory.publicKeys = {HOST_KEY.sshType(): HOST_KEY.public()}
    factory.bannerText = "welcome"
    getService = factory.getService
    factory.getService = lambda transport, name: (
        factory.services[name] if name == b"ssh-userauth" else getService(transport, name)
    )
    server = SSHServerTransport()
    server.factory = factory
    server.supportedPublicKeys = [b"ssh-ed25519"]
    return Pair(Client(user), server, portions, Clock())


def run(pair: Pair, seconds: int = 20) -> None:
    for _ in range(seconds * 2):
        pair.pump()
        pair.clock.advance(0.5)
        if pair.ended or pair.client.service is pair.client.user.instance:
            break
    pair.pump()


def assertLoggedIn(pair: Pair) -> None:
    assert pair.client.service is pair.client.user.instance
    assert type(pair.server.service) is Connection
    assert pair.server.avatar == ("avatar of", b"alice")


@pytest.mark.parametrize("kind", sorted(KEYS))
@pytest.mark.parametrize("portions", [whole, singleBytes, randomPortions(7)])
def test_publicKey(kind: str, portions: Portions) -> None:
    key = KEYS[kind]
    database = InMemorySSHKeyDB({b"alice": [key.public()]})
    pair = pairOf(User(key, None), SSHPublicKeyChecker(database), portions=portions)
    run(pair)
    assertLoggedIn(pair)
    assert pair.client.user.banner == b"welcome"


def test_passwordAfterAWrongKey() -> None:
    database = InMemorySSHKeyDB({b"alice": [KEYS["ecdsa"].public()]})
    user = User(KEYS["ed25519"], b"pw")
    pair = pairOf(user, SSHPublicKeyChecker(database), Passwords(alice=b"pw"))
    run(pair)
    assertLoggedIn(pair)


def test_keyboardInteractive() -> None:
    pair = pairOf(User(None, b"pw"), KeyboardInteractivePasswordChecker(Passwords(alice=b"pw")))
    run(pair)
    assertLoggedIn(pair)


def test_keyAndPasswordWithRestrictions() -> None:
    class Both(SSHProtocolChecker):
        def areDone(self, avatarId: Any) -> bool:
            return len(self.successfulCredentials[avatarId]) == 2

    key = KEYS["ed25519"]
    text = b'restrict,command="uptime",from="127.0.0.0/8" ' + key.public().toString("OPENSSH")
    keys, _ = parseAuthorizedKeys(text)
    checker = Both()
    checker.registerChecker(SSHPublicKeyChecker(InMemorySSHKeyDB({b"alice": keys})))
    checker.registerChecker(Passwords(alice=b"pw"))
    pair = pairOf(User(key, b"pw"), checker)
    run(pair)
    assertLoggedIn(pair)
    assert pair.server.restrictions.forcedCommand == b"uptime"
    assert not pair.server.restrictions.allowPty
    assert pair.client.user.authenticatedWith == [b"publickey"]


def test_nothingThatWorks() -> None:
    pair = pairOf(User(KEYS["ed25519"], b"no"), Passwords(alice=b"pw"))
    run(pair)
    assert pair.ended
    assert pair.clock.getDelayedCalls() == []


@pytest.mark.parametrize("failAt", range(1, 30))
def test_cutAtEveryDelivery(failAt: int) -> None:
    """The connection ends at the n-th delivery: nothing is left on the clock, nothing raises."""
    key = KEYS["ed25519"]
    database = InMemorySSHKeyDB({b"alice": [key.public()]})
    pair = pairOf(User(key, b"pw"), SSHPublicKeyChecker(database), Passwords(alice=b"pw"))
    pair.failAt = failAt
    run(pair)
    if not pair.ended:
        assertLoggedIn(pair)
        pair.cut()
    assert pair.clock.getDelayedCalls() == []


def test_serviceAskedForBeforeEachAttempt() -> None:
    """Paramiko's `Transport.auth_*` ask for ssh-userauth anew each time."""
    attacker = Attacker()
    attacker.service()
    attacker.password(b"wrong")
    attacker.run()
    attacker.service()
    attacker.run()
    attacker.password()
    attacker.run()
    assert attacker.numbers() == [6, 51, 6, 52]


def test_E12_askingForTheServiceAgainGivesNoFurtherAttempts() -> None:
    attacker = Attacker()
    for _ in range(6):
        attacker.service()
        attacker.password(b"wrong")
        attacker.run()
    assert attacker.disconnect()[0] == 14


@pytest.mark.parametrize("name", [b"ssh-connection", b"", b"ssh-userauth\0"])
def test_E3_anotherServiceWhileAuthenticating(name: bytes) -> None:
    attacker = Attacker()
    attacker.service()
    attacker.service(name)
    attacker.run()
    assert attacker.disconnect()[0] == 7
