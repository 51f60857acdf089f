"""Where the keys of users are kept: authorized_keys files, or a dictionary.

Rule: a key comes with its restrictions or not at all. A user's name is used in a path only after
the system has said that there is such a user, under exactly that name.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from limpet.checkers.files import UnsafeFile, readUserFile
from limpet.checkers.workers import checks
from limpet.core.authorizedkeys import (
    AuthorizedKey,
    BadLine,
    KeyOptions,
    parseAuthorizedKeys,
)
from limpet.interfaces import IAuthorizedKeysDB
from limpet.ssh.keys import BadKeyError, Key

MAX_USER_NAME = 256
"""Longest name of a user of the system, in bytes (ours; Linux allows 32, directories more)."""

MAX_CACHED_FILES = 64
"""Most files whose parsed content is kept (ours)."""

# Ours, not a peer's: what the names of the system's users look like (useradd(8)), with the signs
# that directory services add.
_SYSTEM_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?", re.ASCII)

_log = Logger()


class UserDB(Protocol):
    """Where users are looked up: the module `pwd`, or a test's double."""

    def getpwnam(self, username: str, /) -> Any:
        """The record of a user, with `pw_dir` at least. Raises KeyError where there is none."""


def lookUpUser(userdb: UserDB, username: bytes) -> Any | None:
    """The record of the user of exactly that name; None where there is none.

    Names that no system has are not looked up: a directory service would have to escape them.
    """
    if len(username) > MAX_USER_NAME or _SYSTEM_NAME.fullmatch(username) is None:
        return None
    name = username.decode("ascii")
    try:
        record = userdb.getpwnam(name)
    except KeyError:
        return None
    # Some directories find a name in any case; who logs in is who was asked for.
    return record if getattr(record, "pw_name", name) == name else None


@implementer(IAuthorizedKeysDB)
class AuthorizedKeysFiles:
    """The keys in the authorized_keys files of the system's users, with their restrictions.

    Args:
        files: The files' paths, in which `%h` stands for the home directory, `%u` for the user's
            name and `%%` for a percent sign.
        userdb: Where users are looked up; None for the system's.
        strict: Whether the files' owners and modes have to be right.
        inThread: Whether files and users are looked up in a thread of the reactor's pool. False
            only where neither can block: local files, and no directory service.
    """

    def __init__(
        self,
        files: Sequence[str | bytes] = ("%h/.ssh/authorized_keys", "%h/.ssh/authorized_keys2"),
        userdb: UserDB | None = None,
        strict: bool = True,
        inThread: bool = True,
    ) -> None:
        self._files = [os.fsencode(path) for path in files]
        self._userdb: UserDB = pwd if userdb is None else userdb
        self._strict = strict
        self._inThread = inThread
        self._parsed: dict[bytes, tuple[bytes, list[AuthorizedKey]]] = {}

    def getAuthorizedKeys(self, avatarId: bytes) -> Deferred[list[AuthorizedKey]]:
        """The keys of a user; none for one who does not exist.

        Returns:
            A Deferred of a list of `AuthorizedKey`.
        """
        if not self._inThread:
            done: Deferred[list[AuthorizedKey]] = Deferred()
            done.callback(self.read(avatarId))
            return done
        return checks.run(("keys", avatarId), self.read, avatarId)

    def read(self, username: bytes) -> list[AuthorizedKey]:
        """The same at once; it may block."""
        record = lookUpUser(self._userdb, username)
        if record is None:
            return []
        found: list[AuthorizedKey] = []
        home = os.fsencode(record.pw_dir)
        for pattern in self._files:
            path = _expand(pattern, home, username)
            if path is not None:
                found.extend(self._readFile(path, username, record, home))
        return found

    def _readFile(
        self, path: bytes, username: bytes, record: Any, home: bytes
    ) -> list[AuthorizedKey]:
        uid = getattr(record, "pw_uid", os.geteuid())
        gid = getattr(record, "pw_gid", os.getegid())
        try:
            groups: Sequence[int] = ()
            if os.geteuid() == 0 and uid != 0:
                groups = os.getgrouplist(username.decode("ascii"), gid)
            within = path.startswith(home.rstrip(b"/") + b"/")
            data = readUserFile(path, uid, gid, groups, home if within else None, self._strict)
        except FileNotFoundError:
            return []
        except (OSError, UnsafeFile) as error:
            _log.warn(
                "the keys in {path!r} are not used: {error}",
                path=os.fsdecode(path),
                error=error.strerror if isinstance(error, OSError) else error,
            )
            return []
        return self._parse(path, data)

    def _parse(self, path: bytes, data: bytes) -> list[AuthorizedKey]:
        before = self._parsed.get(path)
        if before is not None and before[0] == data:
            return before[1]
        try:
            keys, problems = parseAuthorizedKeys(data)
        except BadLine as error:
            keys, problems = [], [(0, str(error))]
        for line, problem in problems:
            _log.warn(
                "{path!r} line {line} lets nobody in: {problem}",
                path=os.fsdecode(path),
                line=line,
                problem=problem,
            )
        if len(self._parsed) >= MAX_CACHED_FILES:
            self._parsed.clear()
        self._parsed[path] = (data, keys)
        return keys


def _expand(pattern: bytes, home: bytes, username: bytes) -> bytes | None:
    """The path that a pattern stands for; None where the user has no home that it could be in."""
    pieces: list[bytes] = []
    rest = pattern
    while rest:
        before, percent, rest = rest.partition(b"%")
        pieces.append(before)
        if not percent:
            break
        token, rest = rest[:1], rest[1:]
        if token == b"h":
            pieces.append(home)
        elif token == b"u":
            pieces.append(username)
        elif token == b"%":
            pieces.append(b"%")
        else:
            raise ValueError("a path with a % that is neither %h, %u nor %%")
    path = b"".join(pieces)
    if not os.path.isabs(path):
        path = os.path.join(home, path)
    return path if os.path.isabs(path) and b"\0" not in path else None


@implementer(IAuthorizedKeysDB)
class UNIXAuthorizedKeysFiles:
    """The keys in `.ssh/authorized_keys` and `authorized_keys2` of the system's users, at once.

    Args:
        userdb: Where users are looked up; None for the system's.
        parseKey: Makes what is returned of a line without options; None for `Key`.
    """

    def __init__(
        self,
        userdb: UserDB | None = None,
        parseKey: Callable[[bytes], Any] | None = None,
    ) -> None:
        self._keys = AuthorizedKeysFiles(userdb=userdb, inThread=False)
        self._parseKey = parseKey

    def getAuthorizedKeys(self, username: bytes) -> Iterable[Any]:
        """The keys of a user: `AuthorizedKey`, or what `parseKey` makes where it was given.

        With a `parseKey`, keys that have options are left out: it would not know of them.
        """
        found = self._keys.read(username)
        if self._parseKey is None:
            return found
        return _parsedBy(self._parseKey, found)


@implementer(IAuthorizedKeysDB)
class InMemorySSHKeyDB:
    """Keys in a dictionary.

    Args:
        mapping: User name to the keys: `Key`, or `AuthorizedKey` for one with restrictions.
    """

    def __init__(self, mapping: Mapping[bytes, Iterable[Any]]) -> None:
        self._mapping = mapping

    def getAuthorizedKeys(self, username: bytes) -> Iterable[Any]:
        """The keys of a user, none for one who is not in the dictionary."""
        return self._mapping.get(username, [])


def readAuthorizedKeyFile(
    fileobj: IO[bytes], parseKey: Callable[[bytes], Any] = Key.fromString
) -> Iterator[Any]:
    """The keys of an open authorized_keys file that have no options.

    A key with options would lose its restrictions in this form; it is logged and left out, as are
    lines that are no keys. `parseAuthorizedKeys` gives everything.

    Args:
        fileobj: The file, open for reading bytes.
        parseKey: Makes a key of a line.
    """
    try:
        keys, problems = parseAuthorizedKeys(fileobj.read())
    except BadLine as error:
        keys, problems = [], [(0, str(error))]
    for line, problem in problems:
        _log.warn("line {line} lets nobody in: {problem}", line=line, problem=problem)
    return _parsedBy(parseKey, keys)


def _parsedBy(parseKey: Callable[[bytes], Any], keys: Iterable[AuthorizedKey]) -> Iterator[Any]:
    for key in keys:
        if key.options != KeyOptions():
            _log.warn("the key in line {line} has options, and is not used", line=key.line)
            continue
        try:
            yield parseKey(key.toLine())
        except BadKeyError as error:
            _log.warn("the key in line {line} is not used: {error}", line=key.line, error=error)
