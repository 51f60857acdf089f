"""What a server may not do to a client in a key exchange: the client's half of group C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock

from limpet.core.errors import ProtocolViolation
from limpet.core.packets import PacketSender
from limpet.core.phases import Phase
from limpet.ssh.transport import SSHClientTransport
from limpet.testing import MemoryTransport, Pair
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32
from tests.pair.dialled import Ear
from tests.pair.stack import makeFactory


class Client(SSHClientTransport):
    """Takes every host key, and remembers whether it came to anything."""

    isSecure = False

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> Any:
        return defer.succeed(True)

    def connectionSecure(self) -> None:
        self.isSecure = True


def alone() -> tuple[Client, MemoryTransport]:
    client, transport = Client(), MemoryTransport("client", Clock(), 1)
    client.makeConnection(transport)
    return client, transport


def serversKexInit(**settings: Any) -> bytes:
    """A server's identification and KEXINIT as they go over the wire."""
    server = makeFactory().buildProtocol(None)
    for name, value in settings.items():
        setattr(server, name, value)
    transport = MemoryTransport("server", Clock(), 2)
    server.makeConnection(transport)
    return bytes(transport.written)


def inKexInit() -> tuple[Client, MemoryTransport]:
    client, transport = alone()
    client.dataReceived(b"SSH-2.0-x\r\n")
    return client, transport


def inExchange() -> tuple[Client, MemoryTransport]:
    client, transport = alone()
    client.dataReceived(serversKexInit())
    assert client.phase is Phase.EXCHANGE
    return client, transport


def inNewKeys() -> tuple[Client, MemoryTransport]:
    pair = Pair(Client(), makeFactory().buildProtocol(None))
    while pair.client.phase is not Phase.NEWKEYS:
        pair.carryToServer()
        data = bytes(pair.serverTransport.written)
        pair.serverTransport.written.clear()
        for at in range(len(data)):
            if pair.client.phase is Phase.NEWKEYS:
                break
            pair.client.dataReceived(data[at : at + 1])
    return pair.client, pair.clientTransport


EXPECTED = {
    inKexInit: {n.MSG_DISCONNECT, n.MSG_KEXINIT},
    inExchange: {n.MSG_DISCONNECT, n.MSG_KEX_ECDH_REPLY},
    inNewKeys: {n.MSG_DISCONNECT, n.MSG_NEWKEYS},
}


def plainPacket(number: int, body: bytes, sequence: int) -> bytes:
    sender = PacketSender()
    sender.sequence = sequence
    return bytes(sender.pack(number, body))


@pytest.mark.parametrize("body", [b"", bytes(64)], ids=["empty", "zeros"])
@pytest.mark.parametrize("state", EXPECTED, ids=lambda state: state.__name__)
def test_C2_client_takes_only_the_one_message(
    state: Callable[[], tuple[Client, MemoryTransport]], body: bytes
) -> None:
    for number in range(256):
        if number in EXPECTED[state]:
            continue
        client, transport = state()
        client.dataReceived(plainPacket(number, body, client.incomingPacketSequence))
        assert transport.disconnecting, number
        assert isinstance(client.violation, ProtocolViolation)
        assert not client.isSecure


@pytest.mark.parametrize("body", [b"", bytes(64), b"\xff" * 64])
@pytest.mark.parametrize("state", EXPECTED, ids=lambda state: state.__name__)
def test_C2_client_damaged_messages_of_the_right_number(
    state: Callable[[], tuple[Client, MemoryTransport]], body: bytes
) -> None:
    for number in EXPECTED[state]:
        if (state, number, body) == (inNewKeys, n.MSG_NEWKEYS, b""):
            continue
        client, transport = state()
        client.dataReceived(plainPacket(number, body, client.incomingPacketSequence))
        assert transport.disconnecting
        assert not client.isSecure


@pytest.mark.parametrize("number", [n.MSG_KEX_ECDH_INIT, 32, 34])
def test_C7_a_clients_messages_sent_to_a_client(number: int) -> None:
    client, transport = inExchange()
    client.dataReceived(plainPacket(number, NS(bytes(32)), client.incomingPacketSequence))
    assert transport.disconnecting


def test_C8_a_second_kexinit() -> None:
    client, transport = alone()
    data = serversKexInit()
    client.dataReceived(data)
    packet = data.partition(b"\r\n")[2]
    client.dataReceived(packet)
    assert transport.disconnecting
    assert not client.isSecure


def secured() -> tuple[Pair, Ear]:
    ear = Ear()
    pair = Pair(Client(), ear)
    pair.pump()
    assert pair.client.isSecure
    return pair, ear


def test_C6_newkeys_twice() -> None:
    pair, ear = secured()
    ear.say(n.MSG_NEWKEYS)
    pair.pump()
    assert isinstance(pair.client.violation, ProtocolViolation)


def test_C9_a_wrong_guess_is_one_packet() -> None:
    """A server that guesses wrongly has one packet dropped, and a second one not."""
    client, transport = alone()
    server = makeFactory().buildProtocol(None)
    other = [name for name in server.supportedKeyExchanges if name.startswith(b"ecdh")]
    data = bytearray(serversKexInit(supportedKeyExchanges=[*other, b"mlkem768x25519-sha256"]))
    # first_kex_packet_follows is the byte before the last four of the message.
    at = data.index(b"\r\n") + 2
    padding = data[at + 4]
    data[len(data) - padding - 5] = 1
    client.dataReceived(bytes(data))
    assert client.ignoreNextPacket == 1
    client.dataReceived(plainPacket(n.MSG_KEX_ECDH_REPLY, bytes(8), 1))
    assert not transport.disconnecting
    client.dataReceived(plainPacket(n.MSG_KEX_ECDH_REPLY, bytes(8), 2))
    assert transport.disconnecting


def test_C10_data_during_an_exchange_of_the_servers() -> None:
    pair, ear = secured()
    ear.sendKexInit()
    ear._blockedByKeyExchange = None
    ear.say(94, u32(0) + NS(b"x"))
    pair.pump()
    assert isinstance(pair.client.violation, ProtocolViolation)


def test_C11_no_rekey_before_the_login() -> None:
    pair, ear = secured()
    ear.sendKexInit()
    pair.pump()
    assert isinstance(pair.client.violation, ProtocolViolation)


@pytest.mark.parametrize("name", ["supportedCiphers", "supportedMACs", "supportedKeyExchanges"])
def test_C15_a_server_that_has_only_weak_algorithms(name: str) -> None:
    weak = {
        "supportedCiphers": [b"3des-cbc", b"arcfour", b"none"],
        "supportedMACs": [b"hmac-md5", b"hmac-sha1", b"none"],
        "supportedKeyExchanges": [b"diffie-hellman-group1-sha1", b"diffie-hellman-group14-sha1"],
    }[name]
    settings: dict[str, Any] = {name: weak}
    if name == "supportedMACs":
        # With an AEAD cipher no MAC is chosen at all.
        settings["supportedCiphers"] = [b"aes128-ctr"]
    client, transport = alone()
    client.dataReceived(serversKexInit(**settings))
    assert transport.disconnecting
    assert "no common" in str(client.violation)
