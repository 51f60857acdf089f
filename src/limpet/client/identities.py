"""The keys that a user can log in with: in memory, in a file, in an agent; bare or certified.

Rule: a private key is read when a server has said that it takes it, and a passphrase asked for no
earlier; until then the public half is enough. A key file that others can read is not used.

ssh(1), "FILES"; ssh_config(5): IdentityFile, CertificateFile, IdentitiesOnly.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import defer

from limpet.client.errors import told
from limpet.client.interaction import NobodyToAsk
from limpet.crypto.keyformats import opensshprivate
from limpet.crypto.signatures import CERTIFICATE_ALGORITHMS, algorithmsFor
from limpet.ssh.keys import (
    BadKeyError,
    Certificate,
    EncryptedKeyError,
    Key,
)

PASSPHRASE_PROMPTS = 3
"""How often a passphrase may be wrong before its key is given up (OpenSSH's number)."""

AGENT_RSA_SHA256 = 2
AGENT_RSA_SHA512 = 4
"""Flags of an agent's signature request (draft-ietf-sshm-ssh-agent section 3.6.1)."""

_AGENT_FLAGS = {b"rsa-sha2-256": AGENT_RSA_SHA256, b"rsa-sha2-512": AGENT_RSA_SHA512}

AskPassphrase = Callable[[bytes], "defer.Deferred[bytes]"]


class Identity:
    """One key that may be offered; the base of the three kinds.

    Args:
        key: Its public half.
        name: What a person calls it: a path, an agent's comment.
        certificate: The certificate to offer in place of the bare key, if there is one.
    """

    kind = "key"

    def __init__(self, key: Key, name: str, certificate: Certificate | None = None) -> None:
        self.key = key.public()
        self.name = name
        self.certificate = certificate

    def blob(self) -> bytes:
        """What is offered: the certificate, or the public key."""
        return self.key.blob() if self.certificate is None else self.certificate.blob

    def sshType(self) -> bytes:
        """The type name that `blob` begins with."""
        return self.key.sshType() if self.certificate is None else self.certificate.keyType

    def supportedSignatureAlgorithms(self) -> list[bytes]:
        """What it may be offered under; for a certificate, the certificates' names."""
        plain = algorithmsFor(self.key.sshType())
        if self.certificate is None:
            return plain
        return [name for name, signs in CERTIFICATE_ALGORITHMS.items() if signs in plain]

    def sign(self, data: bytes, algorithm: bytes, ask: AskPassphrase) -> defer.Deferred[bytes]:
        """Sign `data`.

        Args:
            data: What is signed.
            algorithm: One of `supportedSignatureAlgorithms`.
            ask: Asks for the passphrase, where there is one.

        Returns:
            A Deferred of the signature blob.
        """
        raise NotImplementedError

    def withCertificate(self, certificate: Certificate) -> Identity:
        """The same key, offered with a certificate."""
        raise NotImplementedError

    def __str__(self) -> str:
        kind = "certificate" if self.certificate is not None else self.kind
        return f"{kind} {self.name} ({self.key.type()} {self.key.displayFingerprint()})"


class KeyIdentity(Identity):
    """A private key that the program has in memory."""

    def __init__(self, key: Key, name: str, certificate: Certificate | None = None) -> None:
        super().__init__(key, name, certificate)
        self._private = key

    def sign(self, data: bytes, algorithm: bytes, ask: AskPassphrase) -> defer.Deferred[bytes]:
        return defer.maybeDeferred(
            self._private.sign, data, CERTIFICATE_ALGORITHMS.get(algorithm, algorithm)
        )

    def withCertificate(self, certificate: Certificate) -> Identity:
        return KeyIdentity(self._private, self.name, certificate)


class FileIdentity(Identity):
    """A private key in a file, read and decrypted when it has to sign.

    Attributes:
        whenOpened: Called with the private key before it signs; it waits for a Deferred.
    """

    whenOpened: Callable[[Key], Any] | None = None

    def __init__(self, key: Key, path: Path, certificate: Certificate | None = None) -> None:
        super().__init__(key, str(path), certificate)
        self.path = path

    def sign(self, data: bytes, algorithm: bytes, ask: AskPassphrase) -> defer.Deferred[bytes]:
        def sign(key: Key) -> bytes:
            return key.sign(data, CERTIFICATE_ALGORITHMS.get(algorithm, algorithm))

        return self._load(ask, PASSPHRASE_PROMPTS).addCallback(self._opened).addCallback(sign)

    def _opened(self, key: Key) -> Any:
        if self.whenOpened is None:
            return key
        return defer.maybeDeferred(self.whenOpened, key).addCallback(lambda ignored: key)

    def _load(self, ask: AskPassphrase, left: int) -> defer.Deferred[Key]:
        try:
            return defer.succeed(self._matching(Key.fromFile(self.path)))
        except EncryptedKeyError:
            pass
        except (OSError, BadKeyError):
            return defer.fail()

        def tryPassphrase(passphrase: bytes) -> Any:
            if not passphrase:
                raise NobodyToAsk("no passphrase was given")
            try:
                return self._matching(Key.fromFile(self.path, passphrase=passphrase))
            except BadKeyError:
                if left <= 1:
                    raise
                return self._load(ask, left - 1)

        again = "" if left == PASSPHRASE_PROMPTS else "That was not it. "
        prompt = told(f"{again}Passphrase for the key {self.path}: ")
        return ask(prompt).addCallback(tryPassphrase)

    def _matching(self, key: Key) -> Key:
        if key.isPublic() or key.public() != self.key:
            raise BadKeyError(f"{self.path} does not hold the private key of {self.path}.pub")
        return key

    def withCertificate(self, certificate: Certificate) -> Identity:
        return FileIdentity(self.key, self.path, certificate)


class AgentIdentity(Identity):
    """A key that an agent holds.

    Args:
        key: The public key.
        name: The agent's comment.
        agent: The agent, with its `signData`.
        blob: What the agent knows it by, where that is a certificate.
    """

    kind = "key of the agent"

    def __init__(
        self, key: Key, name: str, agent: Any, certificate: Certificate | None = None
    ) -> None:
        super().__init__(key, name, certificate)
        self._agent = agent
        self._agentBlob = self.blob()

    def sign(self, data: bytes, algorithm: bytes, ask: AskPassphrase) -> defer.Deferred[bytes]:
        plain = CERTIFICATE_ALGORITHMS.get(algorithm, algorithm)
        return defer.maybeDeferred(
            self._agent.signData, self._agentBlob, data, _AGENT_FLAGS.get(plain, 0)
        )

    def withCertificate(self, certificate: Certificate) -> Identity:
        made = AgentIdentity(self.key, self.name, self._agent, certificate)
        made._agentBlob = self._agentBlob
        return made


# ── Where they come from ──────────────────────────────────────────────────────────────────────


def readIdentityFile(path: Path) -> FileIdentity:
    """The identity in a private key file, or in a public one whose private half is elsewhere.

    Raises:
        OSError: Neither it nor its `.pub` can be read.
        BadKeyError: What is there is no key, or others can read it.
        EncryptedKeyError: It is encrypted and there is no public half beside it.
    """
    checkPermissions(path)
    try:
        key = Key.fromFile(path)
    except EncryptedKeyError:
        key = _publicHalf(path)
    except FileNotFoundError:
        key = Key.fromFile(publicPath(path))
    return FileIdentity(key, path)


def _publicHalf(path: Path) -> Key:
    """The public half of an encrypted key: beside it, or in it as OpenSSH's own form has it."""
    with suppress(FileNotFoundError):
        return Key.fromFile(publicPath(path))
    data = path.read_bytes()
    if opensshprivate.BEGIN not in data:
        raise EncryptedKeyError(f"{path} is encrypted, and its public half is not to be found")
    return Key.fromString(opensshprivate.publicBlob(data), type="blob")


def publicPath(path: Path) -> Path:
    """Where the public half of the private key in `path` stands."""
    return path.with_name(path.name + ".pub")


def certificatePath(path: Path) -> Path:
    """Where a certificate for the key in `path` stands."""
    return path.with_name(path.name + "-cert.pub")


def checkPermissions(path: Path) -> None:
    """Raise BadKeyError where others than its owner can read a private key file of ours."""
    try:
        status = os.stat(path)
    except OSError:
        return
    ours = hasattr(os, "getuid") and status.st_uid == os.getuid()
    if ours and stat.S_IMODE(status.st_mode) & 0o077 and not path.name.endswith(".pub"):
        raise BadKeyError(
            f"others can read the private key {path}, so it is not used; chmod 600 makes it yours"
        )


def readCertificate(path: Path) -> Certificate:
    """A certificate from a file; OSError or BadKeyError where there is none."""
    with open(path, "rb") as file:
        return Certificate.fromString(file.read())


def agentIdentities(agent: Any, listed: Iterable[tuple[bytes, bytes]]) -> list[AgentIdentity]:
    """The identities of an agent's list of (blob, comment); kinds that we do not know are left out.

    Security keys and other keys that we could not sign with ourselves are no problem: the agent
    does.
    """
    found = []
    for blob, comment in listed:
        name = comment.decode("utf-8", "backslashreplace") or "without a comment"
        try:
            if b"-cert-v01@openssh.com" in blob[:64]:
                certificate = Certificate(blob)
                found.append(AgentIdentity(certificate.key, name, agent, certificate))
            else:
                found.append(AgentIdentity(Key.fromString(blob, type="blob"), name, agent))
        except BadKeyError:
            continue
    return found


def inOrder(
    files: Sequence[Identity],
    certificates: Sequence[Certificate],
    agent: Sequence[Identity],
    identitiesOnly: bool,
) -> list[Identity]:
    """The order in which to offer: what was chosen by hand first, and of that what needs no asking.

    Certificates; keys of the agent that files name, too; other keys of the agent; keys of files.

    Args:
        files: What is configured.
        certificates: Certificates for any of the keys.
        agent: What the agent holds.
        identitiesOnly: Whether keys of the agent that no file names are left out.
    """
    configured = {identity.key.blob() for identity in files}
    certified: list[Identity] = []
    bare: list[Identity] = []
    held = {identity.key.blob(): identity for identity in agent if identity.certificate is None}
    for certificate in certificates:
        blob = certificate.key.blob()
        source = held.get(blob) or next(
            (identity for identity in files if identity.key.blob() == blob), None
        )
        if source is not None:
            certified.append(source.withCertificate(certificate))
    for identity in agent:
        if identitiesOnly and identity.key.blob() not in configured:
            continue
        (bare if identity.certificate is None else certified).append(identity)
    bare.sort(key=lambda identity: identity.key.blob() not in configured)
    bare += [identity for identity in files if identity.key.blob() not in held]
    unique: dict[bytes, Identity] = {}
    for identity in [*certified, *bare]:
        unique.setdefault(identity.blob(), identity)
    return list(unique.values())
