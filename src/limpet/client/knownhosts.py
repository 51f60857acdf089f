"""known_hosts files under the names that Conch documents, and what decides on a host key.

Rule: an application that only asks `KnownHostsFile` is as safe as `limpet ssh`: patterns, ports,
revoked keys and authorities count here, too, and a host that is known by another key is never new.

New code asks `verifyHostKey`, which knows the person's configuration; `KnownHostsFile` is for those
who have one file and a `Key`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from twisted.internet import defer
from twisted.logger import Logger
from zope.interface import implementer

from limpet.client.hostkeys import (
    HostKeyCheck,
    appendLines,
    checkHostKey,
    hostKeyName,
    preferredHostKeyAlgorithms,
    readKnownHosts,
    verifyHostKey,
)
from limpet.core.knownhosts import (
    HASH_MAGIC,
    BadKey,
    BadLine,
    KnownHost,
    Marker,
    NotBase64,
    Verdict,
    hashName,
    judge,
    knownTypes,
    parseHash,
    parseLine,
)
from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.error import HostKeyChanged, InvalidEntry, UserRejectedKey
from limpet.interfaces import IKnownHostEntry

__all__ = [
    "ConsoleUI",
    "HashedEntry",
    "HostKeyCheck",
    "KnownHostsFile",
    "MarkedEntry",
    "PlainEntry",
    "UnparsedEntry",
    "Verdict",
    "appendLines",
    "checkHostKey",
    "hostKeyName",
    "preferredHostKeyAlgorithms",
    "readKnownHosts",
    "verifyHostKey",
]


_log = Logger()


def _bytes(name: bytes | str) -> bytes:
    return name.encode("utf-8") if isinstance(name, str) else name


def _parsed(line: bytes) -> KnownHost:
    """The line's entry; raises what `PlainEntry.fromString` says."""
    try:
        found = parseLine(line)
    except NotBase64 as failure:
        # Documented: these two tell a damaged line from one that is no entry at all.
        raise binascii.Error(str(failure)) from None
    except BadKey as failure:
        raise BadKeyError(str(failure)) from None
    except BadLine as failure:
        raise InvalidEntry(str(failure)) from None
    if found is None:
        raise InvalidEntry("an empty line, or a comment")
    return found


class _KeyEntry:
    """What entries with a key have in common.

    Attributes:
        keyType: The type of the key, b"ssh-ed25519".
        publicKey: The key.
        comment: What stands behind it; None for nothing.
    """

    def __init__(self, keyType: bytes, publicKey: Key, comment: bytes | None) -> None:
        self.keyType = keyType
        self.publicKey = publicKey
        self.comment = comment

    def matchesKey(self, keyObject: Key) -> bool:
        """Whether this is the entry's key."""
        return bool(self.publicKey.public() == keyObject.public())

    def toString(self) -> bytes:
        """The line, without its newline."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _KeyEntry):
            return NotImplemented
        return type(self) is type(other) and self.toString() == other.toString()

    def __hash__(self) -> int:
        return hash(self.toString())

    def _record(self, hosts: bytes, marker: Marker = Marker.HOST) -> KnownHost:
        public = self.publicKey.public()
        return KnownHost(marker, hosts, self.keyType, public.blob(), self.comment or b"")


@implementer(IKnownHostEntry)
class PlainEntry(_KeyEntry):
    """A line whose hosts can be read: names and patterns joined by commas."""

    def __init__(
        self, hostnames: list[bytes], keyType: bytes, publicKey: Key, comment: bytes | None
    ) -> None:
        super().__init__(keyType, publicKey, comment)
        self._hostnames = list(hostnames)

    @classmethod
    def fromString(cls, string: bytes) -> PlainEntry:
        """Read a line.

        Raises:
            InvalidEntry: It is none of this kind.
            binascii.Error: The key is not Base64.
            BadKeyError: It is no key, or one that we do not accept.
        """
        found = _parsed(string)
        if found.isHashed or found.marker is not Marker.HOST:
            raise InvalidEntry("a line of another kind")
        comment = found.comment or None
        return cls(
            found.hosts.split(b","), found.keyType, Key.fromString(found.keyBlob, "blob"), comment
        )

    def matchesHost(self, hostname: bytes | str) -> bool:
        """Whether the entry is about `hostname`, in any case; [name]:port at unusual ports."""
        return self._record(b",".join(self._hostnames)).matchesHost(_bytes(hostname))

    def toString(self) -> bytes:
        """The line."""
        return self._record(b",".join(self._hostnames)).toLine()


@implementer(IKnownHostEntry)
class HashedEntry(_KeyEntry):
    """A line whose host can be recognised but not read."""

    MAGIC = HASH_MAGIC

    def __init__(
        self,
        hostSalt: bytes,
        hostHash: bytes,
        keyType: bytes,
        publicKey: Key,
        comment: bytes | None,
    ) -> None:
        super().__init__(keyType, publicKey, comment)
        self._hostSalt = hostSalt
        self._hostHash = hostHash

    @classmethod
    def fromString(cls, string: bytes) -> HashedEntry:
        """Read a line; see `PlainEntry.fromString` for what it raises."""
        found = _parsed(string)
        if not found.isHashed or found.marker is not Marker.HOST:
            raise InvalidEntry("a line of another kind")
        salt, digest = parseHash(found.hosts)
        return cls(
            salt,
            digest,
            found.keyType,
            Key.fromString(found.keyBlob, "blob"),
            found.comment or None,
        )

    def matchesHost(self, hostname: bytes | str) -> bool:
        """Whether the entry is about `hostname`; see `PlainEntry`."""
        return self._record(self._hosts()).matchesHost(_bytes(hostname))

    def toString(self) -> bytes:
        """The line."""
        return self._record(self._hosts()).toLine()

    def _hosts(self) -> bytes:
        parts = (
            binascii.b2a_base64(part, newline=False) for part in (self._hostSalt, self._hostHash)
        )
        return HASH_MAGIC + b"|".join(parts)


@implementer(IKnownHostEntry)
class MarkedEntry(_KeyEntry):
    """A line with @cert-authority or @revoked: it is about hosts, and is no host's own key."""

    def __init__(self, record: KnownHost, publicKey: Key) -> None:
        super().__init__(record.keyType, publicKey, record.comment or None)
        self.marker = record.marker
        self._hosts = record.hosts

    def matchesHost(self, hostname: bytes | str) -> bool:
        """Whether the entry is about `hostname`; see `PlainEntry`."""
        return self._record(self._hosts, self.marker).matchesHost(_bytes(hostname))

    def toString(self) -> bytes:
        """The line."""
        return self._record(self._hosts, self.marker).toLine()


@implementer(IKnownHostEntry)
class UnparsedEntry:
    """A line that is no entry: a comment, an empty line, or a damaged one. It is kept as it is."""

    keyType = b""

    def __init__(self, string: bytes) -> None:
        self._string = string

    def matchesHost(self, hostname: bytes | str) -> bool:
        """It is about no host."""
        return False

    def matchesKey(self, key: Key) -> bool:
        """It holds no key."""
        return False

    def toString(self) -> bytes:
        """The line, without its newline."""
        return self._string.rstrip(b"\n")


def _entryOf(line: bytes, found: KnownHost | None) -> Any:
    """The entry of a line, of which `found` is what could be read."""
    if found is None:
        return UnparsedEntry(line)
    try:
        if found.marker is not Marker.HOST:
            return MarkedEntry(found, Key.fromString(found.keyBlob, "blob"))
        return HashedEntry.fromString(line) if found.isHashed else PlainEntry.fromString(line)
    except BadKeyError:
        # A key that we would not accept: of no use to the caller, and still the host's.
        return UnparsedEntry(line)


def _recordOf(line: bytes) -> KnownHost | None:
    try:
        return parseLine(line)
    except BadLine:
        return None


class KnownHostsFile:
    """One known_hosts file.

    Args:
        savePath: The file, a `FilePath`. What it holds is not looked at unless the object was made
            by `fromPath`, and `save` then writes a new file.
    """

    def __init__(self, savePath: Any) -> None:
        self._added: list[Any] = []
        self._savePath = savePath
        self._clobber = True

    @classmethod
    def fromPath(cls, path: Any) -> KnownHostsFile:
        """The file at `path`, a `FilePath`, which need not exist yet."""
        made = cls(path)
        made._clobber = False
        return made

    @property
    def savePath(self) -> Any:
        """Where `save` writes to."""
        return self._savePath

    def iterentries(self) -> Iterator[Any]:
        """All entries: those of the file, read anew each time, and those added and not saved."""
        yield from self._added
        for line in self._lines():
            yield _entryOf(line, _recordOf(line))

    def _lines(self) -> Iterator[bytes]:
        if self._clobber:
            return
        try:
            file = self._savePath.open()
        except OSError:
            return
        with file:
            yield from file

    def _records(self) -> Iterator[tuple[KnownHost, bytes]]:
        """What can be judged by: each with its line, whose number is 0 where it is not saved."""
        for entry in self._added:
            line = entry.toString()
            found = _recordOf(line)
            if found is not None:
                yield found, line
        for number, line in enumerate(self._lines(), 1):
            found = _recordOf(line)
            if found is not None:
                yield replace(found, line=number), line

    def getHostKeyAlgorithms(self, hostname: bytes) -> list[bytes] | None:
        """The types of the keys that a host is known by; None of a host that is not known."""
        return knownTypes((found for found, _ in self._records()), _bytes(hostname)) or None

    def hasHostKey(self, hostname: bytes, key: Key) -> bool:
        """Whether `hostname` is known by `key`.

        Args:
            hostname: The name; [name]:port where the port is not 22.
            key: The key that it shows.

        Returns:
            True if it is, False if nothing is known of the host.

        Raises:
            HostKeyChanged: The host is known by another key, or the key is revoked.
        """
        records = list(self._records())
        found = judge((one for one, _ in records), _bytes(hostname), key.public().blob())
        if found.verdict in (Verdict.NEW, Verdict.KNOWN) or found.entry is None:
            return found.verdict is Verdict.KNOWN
        line = next(line for one, line in records if one is found.entry)
        number = found.entry.line
        entry = _entryOf(line, found.entry)
        raise HostKeyChanged(entry, self._savePath if number else None, number or None)

    def verifyHostKey(self, ui: Any, hostname: bytes, ip: bytes, key: Key) -> defer.Deferred[bool]:
        """Whether to go on with a host, asking the person if it is new; then it is remembered.

        Args:
            ui: An object with `prompt(text)`, which returns a Deferred of a bool, and `warn(text)`.
            hostname: The name of the host, as it was asked for.
            ip: Its numeric address; it is remembered with the host.
            key: The key that it shows.

        Returns:
            A Deferred of True. It fails with `UserRejectedKey` where the person says no, and with
            `HostKeyChanged` where the host or the address is known by another key.
        """
        return defer.maybeDeferred(self._verify, ui, hostname, ip, key)

    def _verify(self, ui: Any, hostname: bytes, ip: bytes, key: Key) -> Any:
        if self.hasHostKey(hostname, key):
            if hostname != ip and not self.hasHostKey(ip, key):
                ui.warn(
                    b"The %s key of %s is now remembered for its address %s, too."
                    % (_kind(key), _bytes(hostname), _bytes(ip))
                )
                self.addHostKey(ip, key)
                self.save()
            return True

        def answered(response: object) -> bool:
            if not response:
                raise UserRejectedKey()
            self.addHostKey(hostname, key)
            if hostname != ip:
                self.addHostKey(ip, key)
            self.save()
            return True

        text = (
            f"{_bytes(hostname).decode('utf-8', 'backslashreplace')} "
            f"({_bytes(ip).decode('utf-8', 'backslashreplace')}) is not known here, and nobody "
            f"vouches for its key.\nThe fingerprint of its {_kind(key).decode()} key is "
            f"{key.displayFingerprint()}.\nIs this the right key, and may it be remembered "
            "(yes/no)? "
        )
        return defer.maybeDeferred(ui.prompt, text.encode("utf-8")).addCallback(answered)

    def addHostKey(self, hostname: bytes, key: Key) -> HashedEntry:
        """Add a host, its name hashed; `save` writes it.

        Returns:
            The new entry.
        """
        salt, digest = parseHash(hashName(_bytes(hostname)))
        entry = HashedEntry(salt, digest, key.sshType(), key.public(), None)
        self._added.append(entry)
        return entry

    def save(self) -> None:
        """Write what was added to the end of the file; other lines stay as they are.

        Raises:
            OSError: It cannot be written.
        """
        path = self._savePath
        if self._clobber and path.exists():
            path.setContent(b"")
        appendLines(path.path, [entry.toString() for entry in self._added])
        self._added = []
        self._clobber = False


def _kind(key: Key) -> bytes:
    return {"EC": b"ECDSA", "Ed25519": b"ED25519"}.get(key.type(), key.type().encode("ascii"))


class ConsoleUI:
    """Asks at a terminal.

    Args:
        opener: Opens the terminal for reading and writing bytes, unbuffered; called for each
            question, and closed after it.
    """

    def __init__(self, opener: Callable[[], BinaryIO]) -> None:
        self.opener = opener

    def prompt(self, text: bytes) -> defer.Deferred[bool]:
        """Ask a question until the answer is yes or no. It blocks, as a terminal does.

        Returns:
            A Deferred of the answer.
        """
        return defer.maybeDeferred(self._ask, text)

    def _ask(self, text: bytes) -> bool:
        terminal = self.opener()
        try:
            terminal.write(text)
            while True:
                line = terminal.readline()
                answer = line.strip().lower()
                if answer == b"yes":
                    return True
                # The end of the input is no, too: there will be no other answer.
                if answer == b"no" or not line:
                    return False
                terminal.write(b"Please type 'yes' or 'no': ")
        finally:
            terminal.close()

    def warn(self, text: bytes) -> None:
        """Tell something; where there is no terminal, nobody hears it."""
        try:
            terminal = self.opener()
        except Exception:  # noqa: BLE001 the opener is the application's; a warning must not fail
            _log.failure("no terminal for a warning")
            return
        try:
            terminal.write(text)
        finally:
            terminal.close()
