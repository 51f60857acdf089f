"""What a factory gives its connections: keys, groups and lists of algorithms."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa

from limpet.core.errors import KeyExchangeFailed
from limpet.core.negotiation import ALL_MODERN, DEFAULT, LEGACY
from limpet.crypto.groups import knownGroup
from limpet.error import ConchError
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import Key

ED25519 = Key.generate("ed25519")
RSA = Key.generate("rsa", 2048)


def factoryWith(*keys: Key) -> SSHFactory:
    factory = SSHFactory()
    factory.privateKeys = {key.sshType(): key for key in keys}
    factory.publicKeys = {key.sshType(): key.public() for key in keys}
    return factory


def test_withoutHostKeysItDoesNotStart() -> None:
    factory = factoryWith()
    with pytest.raises(ConchError, match="no host keys"):
        factory.startFactory()


def test_keysComeFromTheMethodsWhereNoneAreSet() -> None:
    class Own(SSHFactory):
        def getPublicKeys(self) -> dict[bytes, Key]:
            return {b"ssh-ed25519": ED25519.public()}

        def getPrivateKeys(self) -> dict[bytes, Key]:
            return {b"ssh-ed25519": ED25519}

    factory = Own()
    factory.startFactory()
    assert factory.privateKeys[b"ssh-ed25519"] == ED25519
    assert factory.primes is None


def test_publicKeysAreThoseOfThePrivateOnesWhereNoneAreSet() -> None:
    factory = SSHFactory()
    factory.privateKeys = {b"ssh-ed25519": ED25519, b"ssh-rsa": RSA}
    factory.startFactory()
    assert factory.publicKeys == {b"ssh-ed25519": ED25519.public(), b"ssh-rsa": RSA.public()}


def test_offersOnlyWhatItsKeysCanSign() -> None:
    transport = factoryWith(ED25519).buildProtocol(None)
    assert transport.supportedPublicKeys == [b"ssh-ed25519"]
    transport = factoryWith(RSA).buildProtocol(None)
    assert transport.supportedPublicKeys == [b"rsa-sha2-512", b"rsa-sha2-256"]


def test_groupExchangeNeedsGroups() -> None:
    factory = factoryWith(ED25519)
    factory.algorithms = ALL_MODERN
    groupExchange = b"diffie-hellman-group-exchange-sha256"
    assert groupExchange not in factory.buildProtocol(None).supportedKeyExchanges
    factory.primes = {2048: [(2, knownGroup(2048).prime)]}
    assert groupExchange in factory.buildProtocol(None).supportedKeyExchanges


def test_nearestGroupIsTaken() -> None:
    factory = factoryWith(ED25519)
    with pytest.raises(KeyExchangeFailed):
        factory.getDHPrime(2048)
    factory.primes = {size: [(2, knownGroup(size).prime)] for size in (2048, 3072, 4096)}
    for wanted, size in ((1024, 2048), (2048, 2048), (2560, 3072), (3500, 3072), (9999, 4096)):
        assert factory.getDHPrime(wanted)[1].bit_length() == size


def test_B6_C15_D9_theDefaultOffersNothingBroken() -> None:
    transport = factoryWith(ED25519, RSA).buildProtocol(None)
    offered = [
        *transport.supportedKeyExchanges,
        *transport.supportedPublicKeys,
        *transport.supportedCiphers,
        *transport.supportedMACs,
        *transport.userAuthAlgorithms,
    ]
    for name in offered:
        assert b"cbc" not in name
        assert b"sha1" not in name
        assert b"md5" not in name
        assert b"3des" not in name
        assert name not in (b"ssh-rsa", b"ssh-dss", b"none")
    assert transport.supportedCompressions == [b"none"]


def test_legacyProfileIsChosenPerFactory() -> None:
    legacy = factoryWith(ED25519, RSA, Key(dsa.generate_private_key(1024)))
    legacy.algorithms = LEGACY
    transport = legacy.buildProtocol(None)
    assert b"diffie-hellman-group1-sha1" in transport.supportedKeyExchanges
    assert b"3des-cbc" in transport.supportedCiphers
    assert b"hmac-md5" in transport.supportedMACs
    assert {b"ssh-rsa", b"ssh-dss"} < set(transport.supportedPublicKeys)
    assert {b"ssh-rsa", b"ssh-dss"} < set(transport.userAuthAlgorithms)
    # The next factory has none of it.
    other = factoryWith(ED25519, RSA).buildProtocol(None)
    assert list(other.supportedCiphers) == list(DEFAULT.ciphers)
    assert b"ssh-rsa" not in other.userAuthAlgorithms


def test_servicesBeforeAndAfterTheLogin() -> None:
    factory = factoryWith(ED25519)
    transport = factory.buildProtocol(None)
    assert factory.getService(transport, b"ssh-userauth") is not None
    assert factory.getService(transport, b"ssh-connection") is None
    transport.avatar = object()
    assert factory.getService(transport, b"ssh-connection") is not None
    assert factory.getService(transport, b"unknown") is None
