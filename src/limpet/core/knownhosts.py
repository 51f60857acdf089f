"""known_hosts files: which keys hosts have been seen with (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Rule: a revoked key is refused whatever else is said of it, and a host that is known, but not by
the key that it shows, is never taken for a new one (attacks.md F6). A line that cannot be read
vouches for nobody and hides nobody.

    host.example,192.0.2.1 ssh-ed25519 AAAA… comment
    [host.example]:2222 ssh-ed25519 AAAA…
    |1|salt|hash ssh-ed25519 AAAA…
    @cert-authority *.example,!old.example ssh-ed25519 AAAA…
    @revoked * ssh-ed25519 AAAA…
"""

from __future__ import annotations

import binascii
import enum
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from limpet.core.patterns import MAX_PATTERN_LENGTH, MAX_PATTERNS, matchPatternList
from limpet.crypto.entropy import randomBytes
from limpet.crypto.keyformats import publicblob
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

MAX_FILE_LENGTH = 16 * 1024 * 1024
"""Longest file, in bytes (ours; some hundred thousand hosts)."""

MAX_LINE_LENGTH = 32768
"""Longest line, in bytes (ours; the key may have 16,384, and a third more in Base64)."""

HASH_MAGIC = b"|1|"
"""How a hashed name begins; HMAC-SHA-1 is the only kind there is."""

SALT_LENGTH = 20
"""Bytes of a salt, and of a hash (SHA-1's)."""

DEFAULT_PORT = 22

_BLANKS = b" \t"


class BadLine(ValueError):
    """A line that is no entry; the message says why."""


class NotBase64(BadLine):
    """A line with a key or a hashed name that is not Base64."""


class BadKey(BadLine):
    """A line whose key is cut short, or of another type than the line says."""


class Marker(enum.Enum):
    """What an entry says of its key."""

    HOST = b""
    AUTHORITY = b"@cert-authority"
    REVOKED = b"@revoked"


_MARKERS = {marker.value: marker for marker in Marker if marker.value}


@dataclass(frozen=True, slots=True)
class KnownHost:
    """One entry.

    Attributes:
        marker: Whether the key is the hosts' own, signs for them, or is revoked.
        hosts: The field of the hosts as written: a pattern list, or one hashed name.
        keyType: The type of the key, as its line and its blob say.
        keyBlob: The public key as in messages; equal blobs are equal keys.
        comment: What stands behind the key.
        line: The number of its line, from 1; 0 where it is not from a file.
        file: The name of that file.
    """

    marker: Marker
    hosts: bytes
    keyType: bytes
    keyBlob: bytes
    comment: bytes = b""
    line: int = 0
    file: str = ""

    @property
    def isHashed(self) -> bool:
        """Whether the host can be recognised but not read."""
        return self.hosts.startswith(b"|")

    def matchesHost(self, name: bytes) -> bool:
        """Whether the entry is about `name`, as `lookupName` makes it; in any case."""
        name = name.lower()
        if self.isHashed:
            return _matchesHash(self.hosts, name)
        return matchPatternList(self.hosts.lower(), name)

    def toLine(self) -> bytes:
        """The entry as a line, without the newline."""
        encoded = binascii.b2a_base64(self.keyBlob, newline=False)
        parts = (self.marker.value, self.hosts, self.keyType, encoded, self.comment)
        return b" ".join(part for part in parts if part)

    def __str__(self) -> str:
        return f"{self.file or 'entry'}:{self.line}"


def lookupName(host: str | bytes, port: int = DEFAULT_PORT) -> bytes:
    """What a host is called in these files: its name, or [name]:port where the port is unusual."""
    name = host.encode("utf-8", "surrogateescape") if isinstance(host, str) else host
    name = name.lower()
    return name if port == DEFAULT_PORT else b"[%s]:%d" % (name, port)


def hashName(name: bytes, salt: bytes | None = None) -> bytes:
    """`name` in the form that hides it.

    Args:
        name: The name, as `lookupName` makes it.
        salt: `SALT_LENGTH` bytes; None for new ones.
    """
    salt = randomBytes(SALT_LENGTH) if salt is None else salt
    digest = hmac.digest(salt, name.lower(), hashlib.sha1)
    encoded = (binascii.b2a_base64(part, newline=False) for part in (salt, digest))
    return HASH_MAGIC + b"|".join(encoded)


def parseHash(text: bytes) -> tuple[bytes, bytes]:
    """Salt and hash of a hashed name.

    Raises:
        BadLine: It is not one.
    """
    parts = text.removeprefix(HASH_MAGIC).split(b"|")
    if not text.startswith(HASH_MAGIC) or len(parts) != 2:
        raise BadLine("a hashed name that is not |1|salt|hash")
    try:
        salt, digest = (binascii.a2b_base64(part, strict_mode=True) for part in parts)
    except binascii.Error:
        raise NotBase64("a hashed name that is not Base64") from None
    if len(salt) != SALT_LENGTH or len(digest) != SALT_LENGTH:
        raise BadLine("a hashed name whose salt or hash has the wrong length")
    return salt, digest


def _matchesHash(hosts: bytes, name: bytes) -> bool:
    try:
        salt, digest = parseHash(hosts)
    except BadLine:
        return False
    return hmac.compare_digest(hmac.digest(salt, name, hashlib.sha1), digest)


# ── Reading ───────────────────────────────────────────────────────────────────────────────────


def parseLine(text: bytes, number: int = 0, file: str = "") -> KnownHost | None:
    """Read one line: [marker] hosts type key [comment]; None for an empty line or a comment.

    Raises:
        BadLine: It is neither.
    """
    text = text.strip(_BLANKS + b"\r\n")
    if not text or text.startswith(b"#"):
        return None
    if len(text) > MAX_LINE_LENGTH:
        raise BadLine("a line that is too long")
    if b"\0" in text:
        raise BadLine("a line with a NUL byte")
    hosts, rest = _firstWord(text)
    marker = Marker.HOST
    if hosts.startswith(b"@"):
        found = _MARKERS.get(hosts)
        if found is None:
            raise BadLine("a marker that is neither @cert-authority nor @revoked")
        marker = found
        hosts, rest = _firstWord(rest)
        if hosts.startswith(b"@"):
            raise BadLine("two markers")
    if hosts.startswith(b"|"):
        parseHash(hosts)
    else:
        _checkPatterns(hosts)
    keyType, rest = _firstWord(rest)
    encoded, comment = _firstWord(rest)
    return KnownHost(marker, hosts, keyType, _parseBlob(keyType, encoded), comment, number, file)


def parseKnownHosts(data: bytes, file: str = "") -> tuple[list[KnownHost], list[tuple[int, str]]]:
    """Read a whole file.

    Args:
        data: The file's content.
        file: Its name, for what is told to people.

    Returns:
        Its entries in order; and for each line that is none, its number and what is wrong.

    Raises:
        BadLine: The file is longer than `MAX_FILE_LENGTH`; nothing of it is used.
    """
    if len(data) > MAX_FILE_LENGTH:
        raise BadLine(f"a file of more than {MAX_FILE_LENGTH} bytes")
    entries: list[KnownHost] = []
    problems: list[tuple[int, str]] = []
    for number, text in enumerate(data.split(b"\n"), 1):
        try:
            entry = parseLine(text, number, file)
        except BadLine as error:
            problems.append((number, str(error)))
            continue
        if entry is not None:
            entries.append(entry)
    return entries, problems


def _firstWord(text: bytes) -> tuple[bytes, bytes]:
    word, _, rest = text.partition(b" ")
    if b"\t" in word:
        word, _, rest = text.partition(b"\t")
    return word, rest.lstrip(_BLANKS)


def _checkPatterns(hosts: bytes) -> None:
    if len(hosts) < MAX_PATTERNS:
        return
    patterns = hosts.split(b",")
    if len(patterns) > MAX_PATTERNS:
        raise BadLine(f"more than {MAX_PATTERNS} hosts")
    if any(len(pattern) > MAX_PATTERN_LENGTH for pattern in patterns):
        raise BadLine("the name of a host that is too long")


def _parseBlob(keyType: bytes, encoded: bytes) -> bytes:
    if not keyType or not encoded:
        raise BadLine("no key")
    try:
        blob = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise NotBase64("a key that is not Base64, or cut short") from None
    try:
        named = Reader(blob).string()
    except WireError:
        raise BadKey("a key that is cut short") from None
    if named != keyType:
        raise BadKey("a key of another type than its line says")
    if len(blob) > publicblob.MAX_BLOB_LENGTH:
        raise BadKey("a key that is too long")
    return blob


# ── Judging ───────────────────────────────────────────────────────────────────────────────────


class Verdict(enum.Enum):
    """What the files say of a key that a host shows."""

    KNOWN = "the host is known by this key"
    NEW = "nothing is known of the host"
    CHANGED = "the host is known by another key"
    REVOKED = "the key is revoked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what it rests on.

    Attributes:
        verdict: What is to be thought of the key.
        entry: The entry that says so; None of a new host.
        others: Of a changed key, all entries that the host is known by.
    """

    verdict: Verdict
    entry: KnownHost | None = None
    others: Sequence[KnownHost] = ()


def judge(entries: Iterable[KnownHost], name: bytes, keyBlob: bytes) -> Judgement:
    """What the entries of all files say of a host that shows a key; certificates aside.

    A key of a type that the host is not known by is a changed key, too: whoever stands between
    would choose the type that nobody can compare.

    Args:
        entries: The entries.
        name: The host, as `lookupName` makes it.
        keyBlob: The plain public key.
    """
    about = [entry for entry in entries if entry.matchesHost(name)]
    for entry in about:
        if entry.marker is Marker.REVOKED and entry.keyBlob == keyBlob:
            return Judgement(Verdict.REVOKED, entry)
    hosts = [entry for entry in about if entry.marker is Marker.HOST]
    for entry in hosts:
        if entry.keyBlob == keyBlob:
            return Judgement(Verdict.KNOWN, entry)
    if not hosts:
        return Judgement(Verdict.NEW)
    keyType = Reader(keyBlob).string()
    same = [entry for entry in hosts if entry.keyType == keyType]
    return Judgement(Verdict.CHANGED, (same or hosts)[0], hosts)


def authoritiesFor(entries: Iterable[KnownHost], name: bytes) -> list[KnownHost]:
    """The entries whose keys may sign certificates for a host."""
    return [
        entry for entry in entries if entry.marker is Marker.AUTHORITY and entry.matchesHost(name)
    ]


def revokedFor(entries: Iterable[KnownHost], name: bytes) -> list[KnownHost]:
    """The entries whose keys a host must not show, nor be signed for by."""
    return [
        entry for entry in entries if entry.marker is Marker.REVOKED and entry.matchesHost(name)
    ]


def knownTypes(entries: Iterable[KnownHost], name: bytes) -> list[bytes]:
    """The types of the keys that a host is known by."""
    types = (
        entry.keyType
        for entry in entries
        if entry.marker is Marker.HOST and entry.matchesHost(name)
    )
    return list(dict.fromkeys(types))


def orderedAlgorithms(
    algorithms: Sequence[bytes],
    blobTypes: dict[bytes, bytes],
    known: Sequence[bytes],
    hasAuthority: bool,
    certificates: frozenset[bytes],
) -> list[bytes]:
    """Host key algorithms with those first that can be checked.

    Where the first one can be checked anyway, the order stays as it is: it then says nothing about
    which hosts are known (CVE-2020-14145, attacks.md K2).

    Args:
        algorithms: What may be offered, in order.
        blobTypes: Algorithm to the type of key that it uses.
        known: The types that the host is known by.
        hasAuthority: Whether an authority is known that signs for the host.
        certificates: Those of the algorithms that are for certificates; left out without an
            authority, for then a certificate is worth no more than the key in it.
    """
    usable = [name for name in algorithms if hasAuthority or name not in certificates]
    if not usable or hasAuthority and usable[0] in certificates:
        return usable
    if not known or blobTypes.get(usable[0]) in known:
        return usable
    first = [name for name in usable if blobTypes.get(name) in known]
    return first + [name for name in usable if name not in first]
