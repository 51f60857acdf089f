"""Passwords of the system's users, where they are kept as hashes of crypt(5).

What it can do: users of /etc/passwd and /etc/shadow, which only root may read; the hashes that the
system's libcrypt knows, and bcrypt in any case. What it cannot do: PAM and with it directories,
one-time codes and account policy beyond the expiry of an account; changing a password that has
expired, so that such a login fails.

Rule: a hash is tried only if its kind is known; hashing runs in a thread; and a user who does not
exist, or has no password, costs the same work as one who does.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hmac
import os
import pwd
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import bcrypt
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from zope.interface import implementer

from limpet.checkers.keyfiles import lookUpUser
from limpet.checkers.workers import checks, sourceOf
from limpet.core.authentication import isTriablePassword

SHADOW_FILE = "/etc/shadow"

MAX_SHADOW_LENGTH = 16 * 1024 * 1024
"""Longest shadow file that is read, in bytes (ours)."""

BCRYPT_IDS = (b"2a", b"2b", b"2y")

KNOWN_IDS = (b"5", b"6", b"7", b"y", b"gy", *BCRYPT_IDS)
"""The kinds of hash that are tried (crypt(5)); not MD5, DES and what else is no protection."""

DUMMY_HASH = (
    b"$6$limpetdummysalt0$"
    b"0000000000000000000000000000000000000000000000000000000000000000000000000000000000000."
)
"""Hashed against where there is no user, if no other hash has been seen. Nothing matches it."""


def hashId(stored: bytes) -> bytes | None:
    """The kind of a stored hash, without its dollar signs; None for what is not tried."""
    if not stored.startswith(b"$"):
        return None
    kind, dollar, rest = stored[1:].partition(b"$")
    return kind if dollar and rest and kind in KNOWN_IDS else None


def verifyCryptedPassword(stored: bytes | str, password: bytes | str) -> bool:
    """Whether `password` is the one that `stored` is a hash of. It takes its time.

    Args:
        stored: The field of a shadow file. Anything but a hash of a known kind (an empty one, `*`,
            `!`, `x`) is no password's.
        password: 1 to 1024 bytes without a NUL; anything else is wrong.

    Text is taken for its UTF-8.
    """
    if isinstance(stored, str):
        stored = stored.encode("utf-8")
    if isinstance(password, str):
        password = password.encode("utf-8")
    kind = hashId(stored)
    if kind is None or not isTriablePassword(password):
        return False
    if kind in BCRYPT_IDS:
        try:
            # bcrypt looks at 72 bytes; libxcrypt and everybody else cut there.
            computed: bytes | None = bcrypt.hashpw(password[:72], stored)
        except ValueError:
            return False
    else:
        computed = _crypt(password, stored)
    # Failures of crypt(3) begin with an asterisk, and could equal a stored "*0".
    if computed is None or computed.startswith(b"*"):
        return False
    return hmac.compare_digest(computed, stored)


def _crypt(password: bytes, setting: bytes) -> bytes | None:
    function = _libcrypt()
    if function is None:
        return None
    with _cryptLock:
        result: bytes | None = function(password, setting)
    return result


_cryptLock = threading.Lock()
"""crypt(3) answers in a buffer of its own, of which there is one."""


@functools.cache
def _libcrypt() -> Callable[[bytes, bytes], bytes | None] | None:
    """crypt(3); None where there is no such library."""
    name = ctypes.util.find_library("crypt")
    if name is None:
        return None
    try:
        function = ctypes.CDLL(name).crypt
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    found: Callable[[bytes, bytes], bytes | None] = function
    return found


def readShadow(username: bytes, now: float, path: str = SHADOW_FILE) -> bytes | None:
    """The stored hash of a user in a shadow file.

    Args:
        username: The user's name.
        now: Seconds since 1970.
        path: The file.

    Returns:
        None where there is none, where the account has expired, or where the password has.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SHADOW_LENGTH)
    except OSError:
        return None
    today = int(now // 86400)
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 9 and fields[0] == username:
            expiry = _days(fields[7])
            if expiry is not None and today >= expiry:
                return None
            changed, lasts = _days(fields[2]), _days(fields[4])
            # A change on day 0 means that the password has to be changed at the next login.
            if changed == 0 or (
                changed is not None and lasts is not None and today > changed + lasts
            ):
                return None
            return fields[1]
    return None


def _days(field: bytes) -> int | None:
    return int(field) if field.isdigit() and len(field) <= 9 else None


def _pwdGetByName(username: bytes) -> Sequence[Any] | None:
    """A user's record with the password in second place, from the system's users."""
    record: Sequence[Any] | None = lookUpUser(pwd, username)
    return record


def _shadowGetByName(username: bytes) -> Sequence[Any] | None:
    """The same from the shadow file."""
    if lookUpUser(pwd, username) is None:
        return None
    stored = readShadow(username, time.time())
    return None if stored is None else (username, stored)


@implementer(ICredentialsChecker)
class UNIXPasswordDatabase:
    """Lets users of the system in by their passwords; see above for what it can do.

    Args:
        getByNameFunctions: Functions of a user's name (as text), which return a record with the
            hash in second place, or None. None for the system's own.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, getByNameFunctions: Sequence[Callable[[str], Sequence[Any] | None]] | None = None
    ) -> None:
        self._functions: Sequence[Callable[[Any], Sequence[Any] | None]]
        if getByNameFunctions is None:
            self._functions = (_pwdGetByName, _shadowGetByName)
            self._named: Callable[[bytes], Any] = bytes
        else:
            self._functions = getByNameFunctions
            self._named = os.fsdecode
        self._seen = DUMMY_HASH

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        """Check a password in a thread.

        Returns:
            A Deferred of the user's name; it fails with UnauthorizedLogin.
        """
        checked = checks.run(
            sourceOf(credentials), self.check, credentials.username, credentials.password
        )
        return checked.addCallback(self._decide, credentials.username)

    def _decide(self, good: bool, username: bytes) -> bytes:
        if not good:
            raise UnauthorizedLogin("unable to verify password")
        return username

    def check(self, username: bytes, password: bytes) -> bool:
        """Whether `password` is the user's, at once; it takes as long for a user who is none."""
        stored = None
        for function in self._functions:
            try:
                record = function(self._named(username))
            except KeyError:
                continue
            if record is None:
                continue
            field = record[1]
            candidate = field.encode("utf-8") if isinstance(field, str) else field
            if isinstance(candidate, bytes) and hashId(candidate) is not None:
                stored = candidate
                break
        if stored is not None:
            self._seen = stored
            return verifyCryptedPassword(stored, password)
        verifyCryptedPassword(self._seen, password)
        return False
