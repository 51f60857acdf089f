"""Checks public keys and user certificates against a database of keys.

Rule: the key is found first, then whether it may be used here and now, and at last the signature is
verified; only that lets anybody in. What the key forbids goes to the request's context, and where
there is nowhere for it to go, nobody gets in.

    credentials ── blob ──▶ entries of the user ── check(address, now) ──▶ restrictions
                                                  └─ revoked, weak ──────▶ UnauthorizedLogin
                                                  └─ signature None ─────▶ ValidPublicKey
                                                  └─ verified ───────────▶ user name
"""

from __future__ import annotations

import functools
import pwd
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.python.filepath import FilePath
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.checkers.keyfiles import UNIXAuthorizedKeysFiles, readAuthorizedKeyFile
from limpet.checkers.revocations import RevokedKeysFile
from limpet.core.authorizedkeys import (
    UNRESTRICTED,
    AuthorizedKey,
    ConflictingRestrictions,
    KeyOptions,
    Restrictions,
)
from limpet.core.revokedkeys import Revocations
from limpet.crypto.fingerprints import displayFingerprint
from limpet.crypto.signatures import CERTIFICATE_ALGORITHMS
from limpet.crypto.weakness import weaknessOf
from limpet.error import ValidPublicKey
from limpet.ssh.keys import BadKeyError, Certificate, CertificateRejected, Key

MAX_KEYS = 1000
"""Most keys of one user that are looked at (ours)."""

MAX_ADDRESS_LISTS = 32
"""Most entries of one user whose `from=` is held against the peer's address for one key (ours). An
entry may name hundreds of networks, and many of them together keep every other user waiting."""

_REMEMBERED_KEYS = 64
"""How many parsed public keys are kept for the next login; all stand in some user's list."""


_REVOKED = "it is revoked, or what signed it, or it cannot be known whether it is"


class _Match(NamedTuple):
    """A key that lets the user in, if the signature is right.

    Attributes:
        key: What the signature is verified with.
        restrictions: What a login with it still allows.
        requireUserPresence: Whether a security key has to have been touched.
        requireUserVerification: Whether a security key has to have checked its user.
        authority: The blob of what signed the certificate; None without one.
    """

    key: Key
    restrictions: Restrictions
    requireUserPresence: bool
    requireUserVerification: bool
    authority: bytes | None = None


@implementer(ICredentialsChecker)
class SSHPublicKeyChecker:
    """Lets users in by their keys, and by certificates that an authority of theirs has signed.

    Args:
        keydb: An `IAuthorizedKeysDB`.
        now: The time in seconds since 1970.
        revocations: Lists of keys that let nobody in, whoever has them in a file of theirs:
            `RevokedKeysFile`, `parseRevokedKeys`.
    """

    credentialInterfaces = (ISSHPrivateKey,)

    _log = ClassLogger()

    def __init__(
        self,
        keydb: Any,
        now: Callable[[], float] = time.time,
        revocations: Sequence[Revocations | RevokedKeysFile] = (),
    ) -> None:
        self._keydb = keydb
        self._now = now
        self._revocations = tuple(revocations)

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        """Check the credentials.

        Returns:
            A Deferred of the user's name. It fails with ValidPublicKey where only the signature is
            missing, and with UnauthorizedLogin for everything else.
        """
        found = defer.maybeDeferred(self._keydb.getAuthorizedKeys, credentials.username)
        return found.addCallback(self._decide, credentials)

    def _decide(self, keys: Iterable[Any], credentials: Any) -> bytes | defer.Deferred[bytes]:
        match = self._find(keys, credentials)
        if match is None:
            raise UnauthorizedLogin("Key not authorized")
        if not self._revocations:
            return self._conclude(False, match, credentials)
        judged = self._isRevoked(credentials.blob)
        return judged.addCallback(self._conclude, match, credentials)

    def _conclude(self, isRevoked: bool, match: _Match, credentials: Any) -> bytes:
        objection = _REVOKED if isRevoked else _weaknessOf(match)
        if objection is not None:
            self._log.warn(
                "the key {key} of {user!r} lets nobody in: {objection}",
                key=displayFingerprint(match.key.blob()),
                user=credentials.username[:64].decode("utf-8", "backslashreplace"),
                objection=objection,
            )
            raise UnauthorizedLogin("the key is revoked or weak")
        return _verify(match, credentials)

    @defer.inlineCallbacks
    def _isRevoked(self, blob: bytes) -> Generator[defer.Deferred[Any], Any, bool]:
        for revocations in self._revocations:
            isRevoked = (
                (yield revocations.judge(blob))
                if isinstance(revocations, RevokedKeysFile)
                else revocations.isRevoked(blob)
            )
            if isRevoked:
                return True
        return False

    def _find(self, keys: Iterable[Any], credentials: Any) -> _Match | None:
        """The first of the user's keys that these credentials fit and that may be used."""
        certificate: Certificate | None = None
        blob = credentials.blob
        try:
            if credentials.algName in CERTIFICATE_ALGORITHMS:
                certificate = Certificate(blob)
        except BadKeyError:
            return None
        # What an entry has to hold: the key itself, or the one that signed the certificate.
        isCertified = certificate is not None
        wanted = blob if certificate is None else certificate.authority.blob()
        context = getattr(credentials, "context", None)
        address = context.peerHost if context is not None else None
        now = self._now()
        addressLists = 0
        for count, key in enumerate(keys):
            if count == MAX_KEYS:
                break
            entry = _entry(key)
            if entry.options.isAuthority != isCertified or entry.keyBlob != wanted:
                continue
            if entry.options.fromPatterns:
                addressLists += 1
                if addressLists > MAX_ADDRESS_LISTS:
                    break
            if certificate is not None:
                match = _byCertificate(entry, certificate, credentials.username, address, now)
            else:
                match = _byKey(entry, blob, address, now)
            if match is not None:
                return match
        return None


def _entry(key: Any) -> AuthorizedKey:
    if isinstance(key, AuthorizedKey):
        return key
    return AuthorizedKey(key.sshType(), key.blob())


@functools.lru_cache(maxsize=_REMEMBERED_KEYS)
def _publicKey(blob: bytes) -> Key:
    """The key of a blob that stands in some user's list. Raises BadKeyError."""
    return Key.fromString(blob, type="blob")


@functools.lru_cache(maxsize=_REMEMBERED_KEYS)
def _weakness(blob: bytes) -> str | None:
    """Why a key in some user's list is none at all; it takes milliseconds to tell."""
    return weaknessOf(blob)


def _weaknessOf(match: _Match) -> str | None:
    """Why a key that would let the user in, or what signed it, is none; None where it is good."""
    weakness = _weakness(match.key.blob())
    if weakness is None and match.authority is not None:
        weakness = _weakness(match.authority)
        return None if weakness is None else f"what signed it is {weakness}"
    return weakness


def _byKey(entry: AuthorizedKey, blob: bytes, address: str | None, now: float) -> _Match | None:
    if entry.check(address, now):
        return None
    try:
        key = _publicKey(blob)
    except BadKeyError:
        return None
    options = entry.options
    return _Match(
        key,
        options.restrictions,
        options.requireUserPresence,
        options.requireUserVerification,
    )


def _byCertificate(
    entry: AuthorizedKey,
    certificate: Certificate,
    username: bytes,
    address: str | None,
    now: float,
) -> _Match | None:
    options: KeyOptions = entry.options
    if entry.check(address, now):
        return None
    try:
        grant = certificate.checkUser(
            authorities=(entry.keyBlob,),
            principals=options.principals if options.principals is not None else (username,),
            now=now,
            address=address,
        )
        granted = Restrictions(
            forcedCommand=grant.forcedCommand,
            allowPty=grant.permitPty,
            allowAgentForwarding=grant.permitAgentForwarding,
            allowPortForwarding=grant.permitPortForwarding,
            allowX11Forwarding=grant.permitX11Forwarding,
            allowUserRc=grant.permitUserRc,
        )
        restrictions = options.restrictions & granted
    except (CertificateRejected, ConflictingRestrictions):
        return None
    return _Match(
        certificate.key,
        restrictions,
        # Both have to do without the touch, one is enough to ask for more.
        options.requireUserPresence or grant.requireUserPresence,
        options.requireUserVerification or grant.requireUserVerification,
        entry.keyBlob,
    )


def _verify(match: _Match, credentials: Any) -> bytes:
    """The user's name, if the credentials are signed by the key that was found."""
    context = getattr(credentials, "context", None)
    if context is None and match.restrictions != UNRESTRICTED:
        raise UnauthorizedLogin("the key is restricted, and nothing here would obey that")
    if credentials.signature is None:
        raise ValidPublicKey()
    algorithm = CERTIFICATE_ALGORITHMS.get(credentials.algName, credentials.algName)
    verified = match.key.verify(
        credentials.signature,
        credentials.sigData,
        # The server has looked at the algorithm of its own requests. Of other credentials the
        # key accepts what is modern.
        signatureType=algorithm if context is not None else None,
        requireUserPresence=match.requireUserPresence,
        requireUserVerification=match.requireUserVerification,
    )
    if not verified:
        raise UnauthorizedLogin("Key signature invalid.")
    if context is not None:
        try:
            context.restrict(match.restrictions)
        except ConflictingRestrictions as error:
            raise UnauthorizedLogin(str(error)) from None
        context.signatureVerified = True
    username: bytes = credentials.username
    return username


def _keysIn(path: FilePath[str]) -> list[Any]:
    with path.open() as file:
        return list(readAuthorizedKeyFile(file))


@implementer(ICredentialsChecker)
class SSHPublicKeyDatabase:
    """Lets users in by their keys; for subclasses that override `checkKey`.

    New code gives an `IAuthorizedKeysDB` to `SSHPublicKeyChecker`, which knows of restrictions.
    """

    credentialInterfaces = (ISSHPrivateKey,)

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        """As for `SSHPublicKeyChecker`."""
        checked = defer.maybeDeferred(self.checkKey, credentials)
        return checked.addCallback(self._cbRequestAvatarId, credentials)

    def checkKey(self, credentials: Any) -> Any:
        """Whether `credentials.blob` is a key of the user `credentials.username`.

        This one looks for it in the user's authorized_keys files, among the keys without options;
        in those of `getAuthorizedKeysFiles`, where a subclass has one of its own.

        Returns:
            A boolean, or a Deferred of one.
        """
        if type(self).getAuthorizedKeysFiles is not SSHPublicKeyDatabase.getAuthorizedKeysFiles:
            return any(
                key.blob() == credentials.blob
                for path in self.getAuthorizedKeysFiles(credentials)
                if path.exists()
                for key in _keysIn(path)
            )
        keys = UNIXAuthorizedKeysFiles(parseKey=Key.fromString)
        return any(
            key.blob() == credentials.blob for key in keys.getAuthorizedKeys(credentials.username)
        )

    def getAuthorizedKeysFiles(self, credentials: Any) -> list[FilePath[str]]:
        """The files that hold the keys of `credentials.username`; to be overridden.

        Raises:
            KeyError: There is no such account.
        """
        home = pwd.getpwnam(credentials.username.decode("utf-8")).pw_dir
        directory = FilePath(home).child(".ssh")
        return [directory.child(name) for name in ("authorized_keys", "authorized_keys2")]

    def _cbRequestAvatarId(self, validKey: Any, credentials: Any) -> bytes:
        if not validKey:
            raise UnauthorizedLogin("Key not authorized")
        try:
            key = Key.fromString(credentials.blob, type="blob")
        except BadKeyError:
            raise UnauthorizedLogin("not a key") from None
        return _verify(_Match(key, UNRESTRICTED, True, False), credentials)
