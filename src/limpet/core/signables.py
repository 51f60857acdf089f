"""What an agent is asked to sign, recognised by its own structure before a key touches it.

Rule: a key signs a login, a signature of a file, or a certificate, and each of them looks like no
other; bytes that are none of these are not signed. Otherwise a peer that is allowed one kind could
have another made: a login as the hash of a key exchange, a file as a login (attacks.md D16).

    string sessionId, byte 50, …       a login: RFC 4252 section 7; OpenSSH's PROTOCOL section 3.1
    "SSHSIG", string namespace, …      a file: OpenSSH's PROTOCOL.sshsig
    string certificate type, …         a certificate: OpenSSH's PROTOCOL.certkeys
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

from limpet.core.authentication import HOST_BOUND, PUBLIC_KEY
from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import certificateblob
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader
from limpet.wire.numbers import MSG_USERAUTH_REQUEST

MIN_SESSION_ID = 16
MAX_SESSION_ID = 64
"""How long the id of a session may be, in bytes: that of the hashes that key exchanges use, with
room below for those of old (MD5 has 16) and none above SHA-512."""

SIGNATURE_MAGIC = b"SSHSIG"

MAX_NAMESPACE = 256
"""Longest namespace of a signature, in bytes (ours)."""

_DIGEST_SIZES = {
    name.encode("ascii"): hashlib.new(name).digest_size for name in ("sha256", "sha512")
}


class Use(enum.Flag):
    """What a signature is for."""

    LOGIN = enum.auto()
    FILE = enum.auto()
    CERTIFICATE = enum.auto()
    ANYTHING = enum.auto()
    """Bytes of no structure that is known here."""


SAFE_USES = Use.LOGIN | Use.FILE | Use.CERTIFICATE


@dataclass(frozen=True)
class Signable:
    """Bytes that are to be signed, and what they are.

    Attributes:
        use: What the signature is for.
        algorithm: The algorithm that the bytes name; b"" where they name none.
        keyBlob: The key, or certificate, that has to sign; b"" where the bytes name none.
        sessionId: Of a login: the session's id.
        user: Of a login: the user's name at the server.
        hostKeyBlob: Of a login: the server's key; None where the form has none.
        namespace: Of a file: the signature's namespace.
    """

    use: Use
    algorithm: bytes = b""
    keyBlob: bytes = b""
    sessionId: bytes = b""
    user: bytes = b""
    hostKeyBlob: bytes | None = None
    namespace: bytes = b""


def recognise(data: bytes) -> Signable:
    """What `data` is; `Use.ANYTHING` where it is nothing that is known here."""
    for reader in (_login, _file, _certificate):
        try:
            return reader(data)
        except (WireError, BadKeyError):
            continue
    return Signable(Use.ANYTHING)


def _login(data: bytes) -> Signable:
    reader = Reader(data)
    sessionId = reader.string(MAX_SESSION_ID)
    if len(sessionId) < MIN_SESSION_ID or reader.byte() != MSG_USERAUTH_REQUEST:
        raise WireError("not a login")
    user, service, method = reader.string(), reader.string(), reader.string()
    if service != b"ssh-connection" or method not in (PUBLIC_KEY, HOST_BOUND):
        raise WireError("not a login by a key")
    if reader.byte() != 1:
        raise WireError("a query, which is not signed")
    algorithm, keyBlob = reader.string(), reader.string()
    hostKeyBlob = reader.string() if method == HOST_BOUND else None
    reader.end()
    return Signable(
        Use.LOGIN,
        algorithm=algorithm,
        keyBlob=keyBlob,
        sessionId=sessionId,
        user=user,
        hostKeyBlob=hostKeyBlob,
    )


def _file(data: bytes) -> Signable:
    reader = Reader(data)
    if reader.take(len(SIGNATURE_MAGIC)) != SIGNATURE_MAGIC:
        raise WireError("not a signature of a file")
    namespace = reader.string(MAX_NAMESPACE)
    reader.string()
    hashName, digest = reader.string(), reader.string()
    reader.end()
    if not namespace or _DIGEST_SIZES.get(hashName) != len(digest):
        raise WireError("not a signature of a file")
    return Signable(Use.FILE, namespace=namespace)


def _certificate(data: bytes) -> Signable:
    # What an authority signs is the certificate up to the signature, which is not there yet.
    fields = certificateblob.decode(data + NS(b""))
    return Signable(Use.CERTIFICATE, keyBlob=fields.signatureKeyBlob)


def plainBlob(blob: bytes) -> bytes:
    """The blob of a key without the certificate around it; any other blob as it is."""
    try:
        return certificateblob.decode(blob).keyBlob
    except (BadKeyError, WireError):
        return blob
