"""A transport, a factory and a portal for one userauth service, without a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from zope.interface import implementer

from limpet.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from limpet.core.authentication import PublicKeyFields, encodePublicKey, signedData
from limpet.ssh.keys import Key
from limpet.ssh.service import SSHService
from limpet.ssh.userauth import SSHUserAuthServer
from limpet.wire.fields import NS, Reader, boolean

ALICE_KEY = Key.generate("ed25519")
OTHER_KEY = Key.generate("ed25519")
HOST_BLOB = Key.generate("ed25519").public().blob()
SESSION_ID = b"the first exchange hash"

FAILURE, SUCCESS, BANNER, MIDDLE = 51, 52, 53, 60


class Connection(SSHService):
    """The service behind authentication."""

    name = b"ssh-connection"


@implementer(IRealm)
class Realm:
    """Gives everybody an avatar, and counts who was logged out."""

    def __init__(self) -> None:
        self.loggedIn: list[Any] = []
        self.loggedOut: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        self.loggedIn.append(avatarId)
        return interfaces[0], ("avatar of", avatarId), lambda: self.loggedOut.append(avatarId)


@implementer(ICredentialsChecker)
class Passwords:
    """Knows passwords; remembers what it was asked; answers later where it is told to."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, **known: bytes) -> None:
        self.known = {name.encode(): password for name, password in known.items()}
        self.asked: list[tuple[bytes, bytes]] = []
        self.later: list[tuple[defer.Deferred[Any], bytes]] | None = None
        self.error: Exception | None = None

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        self.asked.append((credentials.username, credentials.password))
        if self.error is not None:
            raise self.error
        if self.later is not None:
            answer: defer.Deferred[Any] = defer.Deferred()
            self.later.append((answer, credentials.username))
            return answer
        if self.known.get(credentials.username) == credentials.password:
            return defer.succeed(credentials.username)
        return defer.fail(UnauthorizedLogin())


class Factory:
    """As much of a factory as the service asks for."""

    services = {b"ssh-userauth": SSHUserAuthServer, b"ssh-connection": Connection}

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def getService(self, transport: Any, name: bytes) -> Any:
        if getattr(transport, "avatar", None) is None:
            return None
        return self.services.get(name)


class Transport:
    """Keeps what the service does to its transport; the last three only if it sets them."""

    avatar: Any
    logoutFunction: Any
    restrictions: Any
    loginGraceSeconds: float

    def __init__(self, factory: Any = None, clock: Clock | None = None) -> None:
        self.factory = factory
        self.clock = Clock() if clock is None else clock
        self.sessionID = SESSION_ID
        self.hostKeyBlob = HOST_BLOB
        self.peerExtensions: dict[bytes, bytes] = {}
        self.packets: list[tuple[int, bytes]] = []
        self.disconnected: list[tuple[int, bytes]] = []
        self.service: Any = None
        self.encrypted = True
        self.unimplemented = 0

    def sendPacket(self, number: int, payload: bytes) -> None:
        self.packets.append((number, payload))

    def sendDisconnect(self, reason: int, description: bytes) -> None:
        self.disconnected.append((reason, description))

    def sendUnimplemented(self) -> None:
        self.unimplemented += 1

    def setService(self, service: Any) -> None:
        if self.service is not None:
            self.service.serviceStopped()
        self.service = service
        service.transport = self
        service.serviceStarted()

    def isEncrypted(self, direction: str = "out") -> bool:
        return self.encrypted

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "192.0.2.7", 50000)

    def logPrefix(self) -> str:
        return "test"


class Session:
    """One userauth service on its double, and what a client would send to it."""

    def __init__(
        self,
        *checkers: Any,
        keys: dict[bytes, list[Any]] | None = None,
        service: Callable[[], SSHUserAuthServer] = SSHUserAuthServer,
        **settings: Any,
    ) -> None:
        self.realm = Realm()
        if keys is None:
            keys = {b"alice": [ALICE_KEY.public()]}
        allCheckers = list(checkers) or [SSHPublicKeyChecker(InMemorySSHKeyDB(keys))]
        self.transport = Transport(Factory(Portal(self.realm, allCheckers)))
        self.server = service()
        for name, value in settings.items():
            setattr(self.server, name, value)
        self.transport.setService(self.server)

    # What the client sends.

    def request(
        self, method: bytes, fields: bytes, user: bytes = b"alice", to: bytes = b"ssh-connection"
    ) -> None:
        self.server.packetReceived(50, NS(user) + NS(to) + NS(method) + fields)

    def none(self, user: bytes = b"alice") -> None:
        self.request(b"none", b"", user)

    def password(self, password: bytes, user: bytes = b"alice") -> None:
        self.request(b"password", boolean(False) + NS(password), user)

    def query(self, key: Key = ALICE_KEY, user: bytes = b"alice") -> None:
        fields = PublicKeyFields(key.sshType(), key.public().blob(), None)
        self.request(b"publickey", encodePublicKey(fields), user)

    def sign(
        self,
        key: Key = ALICE_KEY,
        user: bytes = b"alice",
        *,
        signedUser: bytes | None = None,
        session: bytes = SESSION_ID,
        shown: Key | None = None,
        algorithm: bytes | None = None,
        hostKey: bytes | None = None,
    ) -> None:
        name = algorithm if algorithm is not None else key.sshType()
        blob = (shown if shown is not None else key).public().blob()
        data = signedData(
            session,
            user if signedUser is None else signedUser,
            b"ssh-connection",
            name,
            blob,
            hostKey,
        )
        fields = PublicKeyFields(name, blob, key.sign(data), hostKey)
        method = b"publickey" if hostKey is None else b"publickey-hostbound-v00@openssh.com"
        self.request(method, encodePublicKey(fields), user)

    def wait(self, seconds: float = 3.0) -> None:
        """Let held-back failures come, in small steps: one may wait for another."""
        self.transport.clock.pump([seconds / 100] * 100)

    # What the server did.

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.transport.packets]

    @property
    def answers(self) -> list[tuple[int, bytes]]:
        return self.transport.packets

    def failures(self) -> list[tuple[tuple[bytes, ...], bool]]:
        """Every MSG_USERAUTH_FAILURE: the methods, and whether it was a partial success."""
        found = []
        for number, payload in self.transport.packets:
            if number == FAILURE:
                reader = Reader(payload)
                found.append((reader.nameList(), reader.boolean()))
                reader.end()
        return found

    @property
    def loggedIn(self) -> bool:
        return SUCCESS in self.numbers

    @property
    def disconnected(self) -> list[int]:
        return [reason for reason, _ in self.transport.disconnected]
