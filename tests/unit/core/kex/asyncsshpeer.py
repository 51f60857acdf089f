"""AsyncSSH's side of a key exchange, without its connection: an implementation that is not ours."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from limpet.core.kex import KexContext
from limpet.wire.fields import NS
from tests.unit.core.kex.driver import HOST_KEY, toySignature


class _HostKey:
    """A key whose signatures are plain to see."""

    public_data = HOST_KEY

    def sign(self, data: bytes) -> bytes:
        return toySignature(data)

    def verify(self, data: bytes, signature: bytes) -> bool:
        return signature == toySignature(data)


class AsyncSSHPeer:
    """What AsyncSSH's handlers need of a connection; it stands for one side of an exchange."""

    logger = None

    def __init__(self, name: bytes, context: KexContext, isClient: bool) -> None:
        from asyncssh.kex import get_kex

        self._isClient = isClient
        self._context = context
        self.sent: list[tuple[int, bytes]] = []
        self.sharedSecret = b""
        self.exchangeHash = b""
        self._kex: Any = get_kex(cast(Any, self), name)
        asyncio.run(self._kex.start())

    def receive(self, messageType: int, payload: bytes) -> None:
        from asyncssh.packet import SSHPacket

        packet = SSHPacket(bytes((messageType,)) + payload)
        packet.get_byte()
        assert self._kex.process_packet(messageType, 0, packet) is True

    def deriveKey(self, letter: bytes, sessionId: bytes, length: int) -> bytes:
        key: bytes = self._kex.compute_key(
            self.sharedSecret, self.exchangeHash, letter, sessionId, length
        )
        return key

    # What the handlers call, under AsyncSSH's names.

    def is_client(self) -> bool:
        return self._isClient

    def is_server(self) -> bool:
        return not self._isClient

    def get_hash_prefix(self) -> bytes:
        context = self._context
        parts = (
            context.clientVersion,
            context.serverVersion,
            context.clientKexInit,
            context.serverKexInit,
        )
        return b"".join(map(NS, parts))

    def get_server_host_key(self) -> _HostKey:
        return _HostKey()

    def validate_server_host_key(self, data: bytes) -> _HostKey:
        assert data == HOST_KEY
        return _HostKey()

    def send_packet(self, messageType: int, *parts: bytes, handler: object = None) -> None:
        self.sent.append((messageType, b"".join(parts)))

    def send_newkeys(self, secret: bytes, exchangeHash: bytes) -> None:
        self.sharedSecret = secret
        self.exchangeHash = exchangeHash
