"""Runs key exchange methods in memory: step by step, against each other, or against AsyncSSH's."""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from limpet.core.kex import Exchange, Expect, KexContext, KexMethod, KexResult, Send
from limpet.core.moduli import choosePrime

HOST_KEY = b"\x00\x00\x00\x07ssh-toy" + b"k" * 20


def toySignature(exchangeHash: bytes) -> bytes:
    return b"signed:" + exchangeHash


def makeContext(**changes: Any) -> KexContext:
    """A connection with distinct values everywhere."""
    values: dict[str, Any] = {
        "clientVersion": b"SSH-2.0-client_1",
        "serverVersion": b"SSH-2.0-server_1 a comment",
        "clientKexInit": b"\x14" + b"c" * 900,
        "serverKexInit": b"\x14" + b"s" * 800,
        "hostKeyBlob": HOST_KEY,
        "sign": toySignature,
        "choosePrime": functools.partial(choosePrime, {}),
    }
    return KexContext(**(values | changes))


@dataclass
class Side:
    """One side of an exchange: what it has sent, what it waits for, what it came to."""

    exchange: Exchange
    sent: deque[Send] = field(default_factory=deque)
    expected: int | None = None
    result: KexResult | None = None

    def __post_init__(self) -> None:
        self._go(None)

    def receive(self, messageType: int, payload: bytes) -> None:
        assert messageType == self.expected
        self._go(payload)

    def _go(self, payload: bytes | None) -> None:
        self.expected = None
        try:
            step = self.exchange.send(payload)
            while isinstance(step, Send):
                self.sent.append(step)
                step = self.exchange.send(None)
            assert isinstance(step, Expect)
            self.expected = step.messageType
        except StopIteration as end:
            self.result = end.value


def clientSide(method: KexMethod, context: KexContext | None = None) -> Side:
    return Side(method.client(context or makeContext()))


def serverSide(method: KexMethod, context: KexContext | None = None) -> Side:
    return Side(method.server(context or makeContext()))


def pump(client: Side, server: Side) -> None:
    """Carry messages both ways until nobody has anything to say."""
    while client.sent or server.sent:
        for source, target in ((client, server), (server, client)):
            while source.sent:
                message = source.sent.popleft()
                target.receive(message.messageType, message.payload)


def exchangeKeys(
    method: KexMethod, context: KexContext | None = None
) -> tuple[KexResult, KexResult]:
    """A whole exchange: what the client, and what the server came to."""
    client, server = clientSide(method, context), serverSide(method, context)
    pump(client, server)
    assert client.result is not None
    assert server.result is not None
    return client.result, server.result
