"""A client that may say anything: it exchanges keys properly, and does nothing else by itself.

Rule: what it sends goes out at once under the keys in use, whatever the moment, and every answer is
kept in `heard`. The server is a whole one, of `tests.pair.stack`.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet import defer

from limpet.core.authentication import PublicKeyFields, encodePublicKey, signedData
from limpet.core.phases import Phase, Verdict
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import Key
from limpet.ssh.transport import SSHClientTransport
from limpet.testing import Pair, Portions, whole
from limpet.wire import numbers as n
from limpet.wire.fields import NS, Reader, boolean, u32
from tests.pair.stack import UserAuth, makeFactory

_EXCHANGE = frozenset((n.MSG_KEXINIT, n.MSG_NEWKEYS, *range(30, 50)))
_EVERYTHING = tuple(Verdict.ACCEPT for _ in range(256))


class Mouth(SSHClientTransport):
    """The client's transport: hears everything, answers key exchanges only."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.secure = False

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        return defer.succeed(True)

    def connectionSecure(self) -> None:
        self.secure = True
        self._verdicts = _EVERYTHING

    def _enterPhase(self, phase: Phase) -> None:
        super()._enterPhase(phase)
        if self.__dict__.get("secure"):
            self._verdicts = _EVERYTHING

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        if messageNum in _EXCHANGE:
            super().dispatchMessage(messageNum, payload)
        else:
            self.heard.append((messageNum, bytes(payload)))


class Speech:
    """What an attacker says, and what it has heard, over whatever it speaks.

    Nothing is carried over until somebody carries it, so that several messages are one piece.
    """

    client: Mouth

    def send(self, number: int, payload: bytes = b"") -> None:
        """Send a message, without carrying it over."""
        self.client._sendNow(number, payload)

    def service(self, name: bytes = b"ssh-userauth") -> None:
        """Ask for a service."""
        self.send(n.MSG_SERVICE_REQUEST, NS(name))

    def request(
        self,
        method: bytes,
        fields: bytes = b"",
        user: bytes = b"alice",
        to: bytes = b"ssh-connection",
    ) -> None:
        """Ask to be logged in."""
        self.send(n.MSG_USERAUTH_REQUEST, NS(user) + NS(to) + NS(method) + fields)

    def password(self, password: bytes = UserAuth.password, user: bytes = b"alice") -> None:
        """Ask by password."""
        self.request(b"password", boolean(False) + NS(password), user)

    def publicKey(self, key: Key, user: bytes = b"alice", signed: bool = True) -> None:
        """Ask by an Ed25519 key, with a signature or without."""
        blob = key.public().blob()
        data = signedData(
            self.client.sessionID or b"", user, b"ssh-connection", b"ssh-ed25519", blob
        )
        signature = key.sign(data) if signed else None
        self.request(
            b"publickey", encodePublicKey(PublicKeyFields(b"ssh-ed25519", blob, signature)), user
        )

    def open(
        self,
        kind: bytes = b"session",
        number: int = 0,
        window: int = 1 << 20,
        largest: int = 32768,
        extra: bytes = b"",
    ) -> None:
        """Ask for a channel under the number `number` of ours."""
        self.send(
            n.MSG_CHANNEL_OPEN, NS(kind) + struct.pack(">3L", number, window, largest) + extra
        )

    def ask(self, channel: int, name: bytes, body: bytes = b"", wantReply: bool = True) -> None:
        """Ask for something on the server's channel `channel`."""
        self.send(n.MSG_CHANNEL_REQUEST, u32(channel) + NS(name) + boolean(wantReply) + body)

    def numbers(self) -> list[int]:
        """The numbers of all messages that were heard."""
        return [number for number, _ in self.client.heard]

    def take(self) -> list[tuple[int, bytes]]:
        """What was heard since the last time."""
        heard = list(self.client.heard)
        self.client.heard.clear()
        return heard

    def disconnect(self) -> tuple[int, bytes]:
        """Reason and words of the MSG_DISCONNECT that was heard last, and nothing behind it."""
        number, payload = self.client.heard[-1]
        assert number == n.MSG_DISCONNECT, self.client.heard
        reader = Reader(payload)
        return reader.u32(), reader.string()


class Attacker(Speech, Pair):
    """A server and somebody who attacks it, after the first key exchange.

    Args:
        factory: The server's; None for the one of `makeFactory`.
        portions: How the streams are cut.
        settings: Attributes of the server's transport.
    """

    def __init__(
        self, factory: SSHFactory | None = None, portions: Portions = whole, **settings: Any
    ) -> None:
        self.factory = makeFactory() if factory is None else factory
        server = self.factory.buildProtocol(None)
        for name, value in settings.items():
            setattr(server, name, value)
        super().__init__(Mouth(), server, portions)
        self.pump()
        assert self.client.secure
        self.client.heard.clear()

    def run(self, seconds: float = 5.0) -> None:
        """Carry everything over, and let time pass for what is answered late."""
        self.pump()
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.pump()

    def login(self) -> Attacker:
        """Be logged in, and forget what was heard until then."""
        self.service()
        self.password()
        self.pump()
        assert self.numbers()[-1] == n.MSG_USERAUTH_SUCCESS
        self.client.heard.clear()
        return self

    @property
    def avatars(self) -> list[Any]:
        """Those who are logged in, or were."""
        avatars: list[Any] = self.factory.portal.realm.avatars
        return avatars
