"""The messages of the agent protocol (RFC 9987; OpenSSH's PROTOCOL.agent for its extensions).

Rule: a message is a type byte and a body; `encode` and `decode` of a dataclass are about the body,
are inverse, and `decode` raises a WireError for anything else. The bodies that hold a private key
are read in `limpet.core.agentkeys`, which knows what the fields of a key are.

    string body:  byte type, body          the frame around it is `limpet.core.framing`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from limpet.wire.errors import BadField
from limpet.wire.fields import NS, Reader, boolean, u32

MAX_MESSAGE_LENGTH = 256 * 1024
"""Longest message, either way, its length field aside, in bytes (OpenSSH's AGENT_MAX_LEN)."""

MAX_IDENTITIES = 2048
"""Most keys that an answer may list (OpenSSH's MAX_AGENT_IDENTITIES)."""

MAX_DESTINATIONS = 64
"""Most destinations that one key may be restricted to (ours; OpenSSH's is 1024)."""

MAX_HOST_KEYS = 64
"""Most host keys that one end of a destination may have (ours)."""

MAX_NAME_LENGTH = 1024
"""Longest name of an extension, a user or a host, in bytes (ours)."""

# ── Numbers ───────────────────────────────────────────────────────────────────────────────────

AGENTC_REQUEST_RSA_IDENTITIES = 1
AGENT_RSA_IDENTITIES_ANSWER = 2
AGENT_FAILURE = 5
AGENT_SUCCESS = 6
AGENTC_REMOVE_RSA_IDENTITY = 8
AGENTC_REMOVE_ALL_RSA_IDENTITIES = 9
AGENTC_REQUEST_IDENTITIES = 11
AGENT_IDENTITIES_ANSWER = 12
AGENTC_SIGN_REQUEST = 13
AGENT_SIGN_RESPONSE = 14
AGENTC_ADD_IDENTITY = 17
AGENTC_REMOVE_IDENTITY = 18
AGENTC_REMOVE_ALL_IDENTITIES = 19
AGENTC_ADD_SMARTCARD_KEY = 20
AGENTC_REMOVE_SMARTCARD_KEY = 21
AGENTC_LOCK = 22
AGENTC_UNLOCK = 23
AGENTC_ADD_ID_CONSTRAINED = 25
AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED = 26
AGENTC_EXTENSION = 27
AGENT_EXTENSION_FAILURE = 28
AGENT_EXTENSION_RESPONSE = 29

REQUEST_NAMES: dict[int, str] = {
    AGENTC_REQUEST_RSA_IDENTITIES: "REQUEST_RSA_IDENTITIES",
    AGENTC_REMOVE_RSA_IDENTITY: "REMOVE_RSA_IDENTITY",
    AGENTC_REMOVE_ALL_RSA_IDENTITIES: "REMOVE_ALL_RSA_IDENTITIES",
    AGENTC_REQUEST_IDENTITIES: "REQUEST_IDENTITIES",
    AGENTC_SIGN_REQUEST: "SIGN_REQUEST",
    AGENTC_ADD_IDENTITY: "ADD_IDENTITY",
    AGENTC_REMOVE_IDENTITY: "REMOVE_IDENTITY",
    AGENTC_REMOVE_ALL_IDENTITIES: "REMOVE_ALL_IDENTITIES",
    AGENTC_LOCK: "LOCK",
    AGENTC_UNLOCK: "UNLOCK",
    AGENTC_ADD_ID_CONSTRAINED: "ADD_ID_CONSTRAINED",
    AGENTC_EXTENSION: "EXTENSION",
}
"""What a client may ask, by number. Keys behind a library that the agent would have to load
(ADD_SMARTCARD_KEY) are left out on purpose."""

SIGN_RSA_SHA2_256 = 2
SIGN_RSA_SHA2_512 = 4
"""Flags of a sign request (RFC 9987 section 5)."""

CONSTRAIN_LIFETIME = 1
CONSTRAIN_CONFIRM = 2
CONSTRAIN_EXTENSION = 255
"""Types of constraints (RFC 9987 section 5.2)."""

EXTENSION_QUERY = b"query"
EXTENSION_SESSION_BIND = b"session-bind@openssh.com"
CONSTRAINT_DESTINATION = b"restrict-destination-v00@openssh.com"

_T = TypeVar("_T")


# ── Keys and signatures ───────────────────────────────────────────────────────────────────────


def encodeIdentities(identities: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The body of IDENTITIES_ANSWER: uint32 n, n × (string key blob, string comment)."""
    listed = [NS(blob) + NS(comment) for blob, comment in identities]
    return u32(len(listed)) + b"".join(listed)


def decodeIdentities(body: bytes) -> list[tuple[bytes, bytes]]:
    """The (key blob, comment) pairs of an IDENTITIES_ANSWER.

    Raises:
        BadField: More than `MAX_IDENTITIES`.
        WireError: The body is of another form.
    """
    reader = Reader(body)
    count = reader.u32()
    if count > MAX_IDENTITIES:
        raise BadField(f"an agent with {count} keys, where at most {MAX_IDENTITIES} are taken")
    identities = [(reader.string(), reader.string()) for _ in range(count)]
    reader.end()
    return identities


@dataclass(frozen=True)
class SignRequest:
    """SIGN_REQUEST.

    Attributes:
        blob: The public key or certificate whose private half is to sign.
        data: What is to be signed.
        flags: SIGN_* bits.
    """

    blob: bytes
    data: bytes
    flags: int = 0

    def encode(self) -> bytes:
        return NS(self.blob) + NS(self.data) + u32(self.flags)

    @classmethod
    def decode(cls, body: bytes) -> SignRequest:
        reader = Reader(body)
        request = cls(reader.string(), reader.string(), reader.u32())
        reader.end()
        return request


def readOneString(body: bytes, limit: int | None = None) -> bytes:
    """The string that is all of a body: REMOVE_IDENTITY's blob, LOCK's passphrase.

    Raises:
        WireError: The body is something else.
    """
    reader = Reader(body)
    value = reader.string(limit)
    reader.end()
    return value


# ── Constraints ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Hop:
    """One end of a destination: a host by its keys.

    Attributes:
        user: The user's name there, may be a pattern; empty for any.
        host: The name that the person gave, for messages to a person.
        hostKeys: (key blob, whether it is an authority's that signs the host's).
    """

    user: bytes = b""
    host: bytes = b""
    hostKeys: tuple[tuple[bytes, bool], ...] = ()

    def encode(self) -> bytes:
        keys = b"".join(NS(blob) + boolean(isAuthority) for blob, isAuthority in self.hostKeys)
        return NS(self.user) + NS(self.host) + NS(b"") + keys

    @classmethod
    def decode(cls, body: bytes) -> Hop:
        reader = Reader(body)
        user, host = reader.string(MAX_NAME_LENGTH), reader.string(MAX_NAME_LENGTH)
        _nothing(reader.string())
        keys = _many(reader, lambda: (reader.string(), reader.boolean()), MAX_HOST_KEYS)
        return cls(user, host, tuple(keys))


@dataclass(frozen=True)
class Destination:
    """One way on which a key may be used: from a host, or from here, to a host.

    Attributes:
        source: Where the agent is forwarded to; a `Hop` without keys is the agent's own machine.
        target: The host that the key may log in to from there.
    """

    source: Hop
    target: Hop

    def encode(self) -> bytes:
        return NS(self.source.encode()) + NS(self.target.encode()) + NS(b"")

    @classmethod
    def decode(cls, body: bytes) -> Destination:
        reader = Reader(body)
        source, target = Hop.decode(reader.string()), Hop.decode(reader.string())
        _nothing(reader.string())
        reader.end()
        if source.user:
            raise BadField("a destination that says as whom to leave its source")
        if bool(source.hostKeys) != bool(source.host):
            raise BadField("a source that has a name without keys, or keys without a name")
        if not target.host or not target.hostKeys:
            raise BadField("a destination that is nowhere")
        return cls(source, target)


@dataclass(frozen=True)
class Constraints:
    """What limits the use of a key (RFC 9987 section 5.2).

    Attributes:
        lifetimeSeconds: After which the agent forgets the key; None for never.
        confirm: Whether a person has to agree to each use.
        destinations: Where the key may be used; empty for anywhere.
    """

    lifetimeSeconds: int | None = None
    confirm: bool = False
    destinations: tuple[Destination, ...] = ()

    def __bool__(self) -> bool:
        return self != Constraints()

    def encode(self) -> bytes:
        """The constraints one after the other. Raises struct.error for a lifetime over 2**32."""
        body = b""
        if self.lifetimeSeconds is not None:
            body += bytes((CONSTRAIN_LIFETIME,)) + u32(self.lifetimeSeconds)
        if self.confirm:
            body += bytes((CONSTRAIN_CONFIRM,))
        if self.destinations:
            packed = b"".join(NS(destination.encode()) for destination in self.destinations)
            body += bytes((CONSTRAIN_EXTENSION,)) + NS(CONSTRAINT_DESTINATION) + NS(packed)
        return body

    @classmethod
    def read(cls, reader: Reader) -> Constraints:
        """The constraints that fill the rest of a message.

        Raises:
            BadField: One that is not known, stands there twice, or can never be met. A key whose
                constraints are not all understood is not to be kept at all.
        """
        lifetime: int | None = None
        confirm = False
        destinations: tuple[Destination, ...] = ()
        while reader.remaining:
            kind = reader.byte()
            if kind == CONSTRAIN_LIFETIME and lifetime is None:
                lifetime = reader.u32()
                if lifetime == 0:
                    raise BadField("a key that lives no second")
            elif kind == CONSTRAIN_CONFIRM and not confirm:
                confirm = True
            elif kind == CONSTRAIN_EXTENSION:
                name = reader.string(MAX_NAME_LENGTH)
                if name != CONSTRAINT_DESTINATION or destinations:
                    raise BadField("a constraint that is not known here, or stands there twice")
                packed = Reader(reader.string())
                found = _many(packed, _readDestination(packed), MAX_DESTINATIONS)
                destinations = tuple(found)
                if not destinations:
                    raise BadField("a key that may be used nowhere")
            else:
                raise BadField("a constraint that is not known here, or stands there twice")
        return cls(lifetime, confirm, destinations)


def _readDestination(reader: Reader) -> Callable[[], Destination]:
    return lambda: Destination.decode(reader.string())


def _many(reader: Reader, readOne: Callable[[], _T], limit: int) -> list[_T]:
    """What `readOne` reads until nothing remains, at most `limit` times."""
    found: list[_T] = []
    while reader.remaining:
        if len(found) == limit:
            raise BadField(f"more than {limit} entries")
        found.append(readOne())
    return found


def _nothing(reserved: bytes) -> None:
    if reserved:
        raise BadField("something in a field that is reserved")


# ── Extensions ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SessionBind:
    """session-bind@openssh.com: this connection to the agent belongs to that SSH session.

    Attributes:
        hostKeyBlob: The key, or certificate, by which the server proved itself.
        sessionId: The session's id.
        signature: The server's signature over it, from the first key exchange.
        isForwarding: Whether the agent is forwarded to that server, rather than asked to log in.
    """

    hostKeyBlob: bytes
    sessionId: bytes
    signature: bytes
    isForwarding: bool

    def encode(self) -> bytes:
        """What follows the extension's name."""
        return (
            NS(self.hostKeyBlob)
            + NS(self.sessionId)
            + NS(self.signature)
            + boolean(self.isForwarding)
        )

    @classmethod
    def decode(cls, body: bytes) -> SessionBind:
        reader = Reader(body)
        bind = cls(reader.string(), reader.string(), reader.string(), reader.boolean())
        reader.end()
        return bind


def encodeExtension(name: bytes, contents: bytes = b"") -> bytes:
    """The body of EXTENSION: string name, and its contents."""
    return NS(name) + contents


def decodeExtension(body: bytes) -> tuple[bytes, bytes]:
    """(name, contents) of an EXTENSION's body. Raises a WireError where there is no name."""
    reader = Reader(body)
    return reader.string(MAX_NAME_LENGTH), reader.rest()
