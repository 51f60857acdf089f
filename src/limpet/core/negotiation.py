"""From both sides' MSG_KEXINIT to the algorithms of a connection: RFC 4253 section 7.1.

Rule: the client's order wins; the first of its names that the server has too is taken. Names that
stand in the list of key exchanges without being one (RFC 8308 section 2.1, strict key exchange of
OpenSSH's PROTOCOL section 1.10) are flags, count in the first exchange only, and are never taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from limpet.core.errors import KeyExchangeFailed, NoCommonAlgorithm
from limpet.core.kex import KEX_METHODS
from limpet.crypto.ciphers import CIPHERS
from limpet.crypto.macs import MACS
from limpet.wire import numbers
from limpet.wire.errors import WireError
from limpet.wire.fields import ffs
from limpet.wire.messages import KexInit

EXT_INFO_CLIENT = b"ext-info-c"
EXT_INFO_SERVER = b"ext-info-s"
STRICT_CLIENT = b"kex-strict-c-v00@openssh.com"
STRICT_SERVER = b"kex-strict-s-v00@openssh.com"

PSEUDO_ALGORITHMS = frozenset((EXT_INFO_CLIENT, EXT_INFO_SERVER, STRICT_CLIENT, STRICT_SERVER))
"""What is in a list of key exchanges without being one."""

NO_COMPRESSION = b"none"
DELAYED_ZLIB = b"zlib@openssh.com"
"""Compression that starts with MSG_USERAUTH_SUCCESS (OpenSSH's PROTOCOL section 1.2)."""

_KNOWN_COMPRESSIONS = frozenset((NO_COMPRESSION, DELAYED_ZLIB))

_NEVER = frozenset((b"none",))
"""Taken for no cipher and no MAC, whoever offers it; before the first NEWKEYS it needs no name."""

_KNOWN_CIPHERS = frozenset(CIPHERS) - _NEVER
_KNOWN_MACS = frozenset(MACS) - _NEVER


@dataclass(frozen=True, slots=True)
class AlgorithmLists:
    """What one side offers, each list in order of preference and for both directions.

    Any sequence of names will do: applications set lists on factories and transports.
    """

    keyExchanges: Sequence[bytes]
    publicKeys: Sequence[bytes]
    ciphers: Sequence[bytes]
    macs: Sequence[bytes]
    compressions: Sequence[bytes]


def _available(*names: bytes) -> tuple[bytes, ...]:
    """Those of the methods that this build of the cryptographic library can do."""
    return tuple(name for name in names if name in KEX_METHODS)


DEFAULT = AlgorithmLists(
    keyExchanges=_available(
        b"mlkem768x25519-sha256",
        b"curve25519-sha256",
        b"curve25519-sha256@libssh.org",
        b"ecdh-sha2-nistp256",
        b"ecdh-sha2-nistp384",
        b"ecdh-sha2-nistp521",
    ),
    publicKeys=(
        b"ssh-ed25519",
        b"ecdsa-sha2-nistp256",
        b"ecdsa-sha2-nistp384",
        b"ecdsa-sha2-nistp521",
        b"rsa-sha2-512",
        b"rsa-sha2-256",
    ),
    ciphers=(
        b"aes128-gcm@openssh.com",
        b"aes256-gcm@openssh.com",
        b"chacha20-poly1305@openssh.com",
        b"aes128-ctr",
        b"aes192-ctr",
        b"aes256-ctr",
    ),
    macs=(
        b"hmac-sha2-256-etm@openssh.com",
        b"hmac-sha2-512-etm@openssh.com",
        b"hmac-sha2-256",
        b"hmac-sha2-512",
    ),
    compressions=(b"none",),
)
"""What is offered where nobody chose: nothing with a known weakness, nothing that costs a server
milliseconds."""

ALL_MODERN = dataclasses.replace(
    DEFAULT,
    keyExchanges=(
        *DEFAULT.keyExchanges,
        *_available(
            b"diffie-hellman-group16-sha512",
            b"diffie-hellman-group18-sha512",
            b"diffie-hellman-group-exchange-sha256",
            b"diffie-hellman-group14-sha256",
        ),
    ),
    compressions=(b"none", b"zlib@openssh.com"),
)
"""`DEFAULT`, and what is sound but dear: finite-field groups (1 to 14 ms a handshake) and delayed
compression. For clients that must reach everything, and servers that were told to."""

HARDENED = dataclasses.replace(
    DEFAULT,
    keyExchanges=_available(b"mlkem768x25519-sha256"),
    publicKeys=(b"ssh-ed25519", b"rsa-sha2-512", b"rsa-sha2-256"),
    macs=(b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-512-etm@openssh.com"),
)
"""What ssh-audit 3.9 has neither a failure nor a warning for. It turns away every peer without
ML-KEM: OpenSSH before 9.9, for one."""

LEGACY = AlgorithmLists(
    keyExchanges=(
        *ALL_MODERN.keyExchanges,
        *_available(
            b"diffie-hellman-group-exchange-sha1",
            b"diffie-hellman-group14-sha1",
            b"diffie-hellman-group1-sha1",
        ),
    ),
    publicKeys=(*ALL_MODERN.publicKeys, b"ssh-rsa", b"ssh-dss"),
    ciphers=(
        *ALL_MODERN.ciphers,
        b"aes128-cbc",
        b"aes192-cbc",
        b"aes256-cbc",
        b"3des-cbc",
    ),
    macs=(*ALL_MODERN.macs, b"hmac-sha1-etm@openssh.com", b"hmac-sha1", b"hmac-md5"),
    compressions=ALL_MODERN.compressions,
)
"""`ALL_MODERN`, and what is broken or nearly so: SHA-1, MD5, CBC, 3DES, DSS, a 1024-bit group. For
old devices and honeypots that somebody chose it for."""

PROFILES: Mapping[str, AlgorithmLists] = {
    "default": DEFAULT,
    "hardened": HARDENED,
    "modern": ALL_MODERN,
    "legacy": LEGACY,
}
"""What people call the lists above."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The algorithms of a connection until the next exchange, and what the first one settled.

    Attributes:
        kex: The key exchange method, a key of `KEX_METHODS`.
        hostKeyAlgorithm: The signature algorithm of the host key.
        cipherCS: The cipher from client to server; `cipherSC` the other way.
        macCS: The MAC from client to server, empty where the cipher needs none; likewise `macSC`.
        compressionCS: The compression from client to server; likewise `compressionSC`.
        strict: Whether both sides asked for strict key exchange. Always False of a later exchange:
            what the first one said stays.
        peerSupportsExtInfo: Whether the peer takes MSG_EXT_INFO. Always False of a later exchange.
        ignoreGuessedPacket: Whether the next packet of the peer is a wrong guess, to be dropped.
    """

    kex: bytes
    hostKeyAlgorithm: bytes
    cipherCS: bytes
    cipherSC: bytes
    macCS: bytes
    macSC: bytes
    compressionCS: bytes
    compressionSC: bytes
    strict: bool
    peerSupportsExtInfo: bool
    ignoreGuessedPacket: bool


def makeKexInit(
    algorithms: AlgorithmLists,
    cookie: bytes,
    isClient: bool,
    firstKex: bool,
    strict: bool = True,
) -> KexInit:
    """Our MSG_KEXINIT.

    Names that Limpet does not know are left out: what is offered may be taken.

    Args:
        algorithms: What we want to offer.
        cookie: 16 random bytes.
        isClient: Our role.
        firstKex: Whether this is the first exchange of the connection, the one with the flags.
        strict: Whether to ask for strict key exchange.
    """
    keyExchanges = _known(algorithms.keyExchanges, KEX_METHODS)
    if firstKex:
        keyExchanges += (EXT_INFO_CLIENT if isClient else EXT_INFO_SERVER,)
        if strict:
            keyExchanges += (STRICT_CLIENT if isClient else STRICT_SERVER,)
    ciphers = _known(algorithms.ciphers, _KNOWN_CIPHERS)
    macs = _known(algorithms.macs, _KNOWN_MACS)
    compressions = _known(algorithms.compressions, _KNOWN_COMPRESSIONS)
    return KexInit(
        cookie=cookie,
        keyExchanges=keyExchanges,
        hostKeyAlgorithms=tuple(algorithms.publicKeys),
        ciphersCS=ciphers,
        ciphersSC=ciphers,
        macsCS=macs,
        macsSC=macs,
        compressionsCS=compressions,
        compressionsSC=compressions,
    )


def readKexInit(payload: bytes) -> KexInit:
    """The peer's MSG_KEXINIT, from the payload with its message number.

    Raises:
        KeyExchangeFailed: It does not parse, or a name in it is none.
    """
    if payload[:1] != bytes((numbers.MSG_KEXINIT,)):
        raise KeyExchangeFailed("not a KEXINIT")
    try:
        return KexInit.decode(payload[1:])
    except WireError as error:
        raise KeyExchangeFailed(f"malformed KEXINIT: {error}") from error


def negotiate(
    clientKexInit: KexInit,
    serverKexInit: KexInit,
    isClient: bool,
    firstKex: bool,
    requireStrict: bool = False,
) -> Suite:
    """What both sides have in common.

    Args:
        clientKexInit: The client's offer.
        serverKexInit: The server's.
        isClient: Our role.
        firstKex: Whether this is the first exchange of the connection.
        requireStrict: Whether a peer without strict key exchange is turned away.

    Raises:
        NoCommonAlgorithm: Of one kind, nothing is in both offers.
        KeyExchangeFailed: Strict key exchange is required and the peer does not offer it.
    """

    def common(
        kind: str,
        client: tuple[bytes, ...],
        server: tuple[bytes, ...],
        never: frozenset[bytes] = frozenset(),
    ) -> bytes:
        chosen = ffs([name for name in client if name not in never], server)
        if chosen is None:
            raise NoCommonAlgorithm(kind, *((client, server) if isClient else (server, client)))
        return chosen

    kex = common(
        "key exchange",
        _real(clientKexInit.keyExchanges),
        _real(serverKexInit.keyExchanges),
    )
    hostKeyAlgorithm = common(
        "host key algorithm", clientKexInit.hostKeyAlgorithms, serverKexInit.hostKeyAlgorithms
    )
    cipherCS = common(
        "cipher (client to server)", clientKexInit.ciphersCS, serverKexInit.ciphersCS, _NEVER
    )
    cipherSC = common(
        "cipher (server to client)", clientKexInit.ciphersSC, serverKexInit.ciphersSC, _NEVER
    )
    macCS = macSC = b""
    if not CIPHERS[cipherCS].aead:
        macCS = common("MAC (client to server)", clientKexInit.macsCS, serverKexInit.macsCS, _NEVER)
    if not CIPHERS[cipherSC].aead:
        macSC = common("MAC (server to client)", clientKexInit.macsSC, serverKexInit.macsSC, _NEVER)
    compressionCS = common(
        "compression (client to server)",
        clientKexInit.compressionsCS,
        serverKexInit.compressionsCS,
    )
    compressionSC = common(
        "compression (server to client)",
        clientKexInit.compressionsSC,
        serverKexInit.compressionsSC,
    )

    strict = (
        firstKex
        and STRICT_CLIENT in clientKexInit.keyExchanges
        and STRICT_SERVER in serverKexInit.keyExchanges
    )
    if firstKex and requireStrict and not strict:
        raise KeyExchangeFailed("the peer does not offer strict key exchange, which is required")
    if isClient:
        peer = serverKexInit
        peerSupportsExtInfo = firstKex and EXT_INFO_SERVER in peer.keyExchanges
    else:
        peer = clientKexInit
        peerSupportsExtInfo = firstKex and EXT_INFO_CLIENT in peer.keyExchanges
    return Suite(
        kex=kex,
        hostKeyAlgorithm=hostKeyAlgorithm,
        cipherCS=cipherCS,
        cipherSC=cipherSC,
        macCS=macCS,
        macSC=macSC,
        compressionCS=compressionCS,
        compressionSC=compressionSC,
        strict=strict,
        peerSupportsExtInfo=peerSupportsExtInfo,
        ignoreGuessedPacket=(
            peer.firstKexPacketFollows and not _sameGuess(clientKexInit, serverKexInit)
        ),
    )


def _known(names: Sequence[bytes], known: Container[bytes]) -> tuple[bytes, ...]:
    return tuple(name for name in names if name in known)


def _real(keyExchanges: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(name for name in keyExchanges if name not in PSEUDO_ALGORITHMS)


def _sameGuess(clientKexInit: KexInit, serverKexInit: KexInit) -> bool:
    """Whether a packet sent on a guess stands: both prefer the same method and host key."""
    return (
        _real(clientKexInit.keyExchanges)[:1] == _real(serverKexInit.keyExchanges)[:1]
        and clientKexInit.hostKeyAlgorithms[:1] == serverKexInit.hostKeyAlgorithms[:1]
    )
