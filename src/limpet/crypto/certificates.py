"""Certificates: a key that an authority vouches for: for whom, for when, and with what leave.

Rule: everything fails closed. A certificate counts only where the caller names the authorities,
the principals and the address, and where every critical option is understood; one that is for
nobody in particular (no principals) is for nobody.

OpenSSH's PROTOCOL.certkeys; ssh-keygen(1), "CERTIFICATES".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import NamedTuple

from limpet.crypto.errors import BadKeyError, CertificateRejected
from limpet.crypto.key import MAX_KEY_FILE_SIZE, Key
from limpet.crypto.keyformats import certificateblob, publicblob, publictext
from limpet.crypto.keyformats.certificateblob import HOST, USER
from limpet.crypto.signatures import nameOf
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

FORCE_COMMAND = b"force-command"
SOURCE_ADDRESS = b"source-address"
VERIFY_REQUIRED = b"verify-required"

NO_TOUCH_REQUIRED = b"no-touch-required"
PERMIT_AGENT_FORWARDING = b"permit-agent-forwarding"
PERMIT_PORT_FORWARDING = b"permit-port-forwarding"
PERMIT_PTY = b"permit-pty"
PERMIT_USER_RC = b"permit-user-rc"
PERMIT_X11_FORWARDING = b"permit-X11-forwarding"

MAX_NETWORKS = 128
"""Most networks of one source-address option (ours)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Grant(NamedTuple):
    """What a user certificate that was accepted leaves its bearer to do.

    Attributes:
        principals: The names that matched; never empty.
        forcedCommand: The only command that may run, None for any.
        requireUserPresence: Whether a security key has to have been touched.
        requireUserVerification: Whether a security key has to have checked its user.
        permitPty: Whether a terminal may be had; and so on for what follows.
    """

    principals: tuple[bytes, ...]
    forcedCommand: bytes | None = None
    requireUserPresence: bool = True
    requireUserVerification: bool = False
    permitPty: bool = False
    permitAgentForwarding: bool = False
    permitPortForwarding: bool = False
    permitX11Forwarding: bool = False
    permitUserRc: bool = False


class Certificate:
    """One certificate, read but not yet believed; see `checkUser` and `checkHost`.

    Args:
        blob: The certificate as it is in messages.

    Raises:
        BadKeyError: It is none, is damaged, or holds a key that we do not accept.
    """

    __slots__ = ("_fields", "authority", "blob", "comment", "key")

    def __init__(self, blob: bytes, comment: bytes = b"") -> None:
        self._fields = certificateblob.decode(blob)
        self.blob = blob
        self.comment = comment
        self.key = Key.fromMaterial(self._fields.key)
        self.authority = Key.fromMaterial(publicblob.decode(self._fields.signatureKeyBlob))

    @classmethod
    def fromString(cls, data: bytes) -> Certificate:
        """A certificate from a line as ssh-keygen writes it into `id_ed25519-cert.pub`.

        Raises:
            BadKeyError: The line holds no certificate that we accept.
        """
        if len(data) > MAX_KEY_FILE_SIZE:
            raise BadKeyError("longer than any certificate")
        _, blob, comment = publictext.splitLine(data)
        return cls(blob, comment)

    @property
    def keyType(self) -> bytes:
        """The type name of the certificate: "ssh-ed25519-cert-v01@openssh.com"."""
        return self._fields.keyType

    @property
    def kind(self) -> int:
        """`USER` or `HOST`."""
        return self._fields.kind

    @property
    def serial(self) -> int:
        """The number that the authority gave it; 0 where it does not count."""
        return self._fields.serial

    @property
    def keyId(self) -> bytes:
        """What the authority calls it; for logs."""
        return self._fields.keyId

    @property
    def principals(self) -> tuple[bytes, ...]:
        """The user or host names that it is for."""
        return self._fields.principals

    @property
    def validAfter(self) -> int:
        """The first second of its validity, since 1970."""
        return self._fields.validAfter

    @property
    def validBefore(self) -> int:
        """The first second after its validity, since 1970."""
        return self._fields.validBefore

    @property
    def signatureAlgorithm(self) -> bytes:
        """The algorithm that its authority signed with."""
        return nameOf(self._fields.signature)

    @property
    def criticalOptions(self) -> dict[bytes, bytes]:
        """Option name to raw value."""
        return dict(self._fields.criticalOptions)

    @property
    def extensions(self) -> dict[bytes, bytes]:
        """Extension name to raw value."""
        return dict(self._fields.extensions)

    def __eq__(self, other: object) -> bool:
        return self.blob == other.blob if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.blob)

    def __repr__(self) -> str:
        kind = "user" if self.kind == USER else "host"
        name = publicblob.shown(self.keyId)
        return f"<{kind} certificate {name!r} of {self.key!r}>"

    def isSignedByAuthority(self) -> bool:
        """Whether the signature is by the key that the certificate names; SHA-1 never counts."""
        return self.authority.verify(
            self._fields.signature, self._fields.signedData, requireUserPresence=False
        )

    def checkUser(
        self,
        *,
        authorities: Collection[bytes],
        principals: Collection[bytes],
        now: float,
        address: str | None,
        revoked: Collection[bytes] = (),
    ) -> Grant:
        """Accept the certificate for a user, or say why not.

        Args:
            authorities: The blobs of the keys that may sign for users here.
            principals: The names one of which the certificate has to be for.
            now: Seconds since 1970.
            address: Where the user comes from; None where that is not known, which fails
                every certificate that is bound to an address.
            revoked: The blobs of keys, certified ones and authorities, that are revoked.

        Raises:
            CertificateRejected: With the first reason.
        """
        matched = self._check(USER, authorities, principals, now, revoked)
        options = self._fields.criticalOptions
        extensions = self._fields.extensions
        unknown = options.keys() - {FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED}
        if unknown:
            name = publicblob.shown(min(unknown))
            raise CertificateRejected(f"a critical option that we do not understand: {name}")
        forcedCommand = None
        if FORCE_COMMAND in options:
            forcedCommand = _stringOption(FORCE_COMMAND, options)
        if SOURCE_ADDRESS in options:
            _checkAddress(_stringOption(SOURCE_ADDRESS, options), address)
        if options.get(VERIFY_REQUIRED):
            raise CertificateRejected("verify-required has a value that we do not understand")
        return Grant(
            principals=matched,
            forcedCommand=forcedCommand,
            requireUserPresence=NO_TOUCH_REQUIRED not in extensions,
            requireUserVerification=VERIFY_REQUIRED in options,
            permitPty=PERMIT_PTY in extensions,
            permitAgentForwarding=PERMIT_AGENT_FORWARDING in extensions,
            permitPortForwarding=PERMIT_PORT_FORWARDING in extensions,
            permitX11Forwarding=PERMIT_X11_FORWARDING in extensions,
            permitUserRc=PERMIT_USER_RC in extensions,
        )

    def checkHost(
        self,
        *,
        authorities: Collection[bytes],
        hostName: bytes,
        now: float,
        revoked: Collection[bytes] = (),
    ) -> None:
        """Accept the certificate for a host, or say why not.

        Args:
            authorities: The blobs of the keys that may sign for this host.
            hostName: The name that the user asked for, in any case; no port.
            now: Seconds since 1970.
            revoked: As in `checkUser`.

        Raises:
            CertificateRejected: With the first reason.
        """
        self._check(HOST, authorities, (hostName,), now, revoked)
        if self._fields.criticalOptions:
            name = publicblob.shown(min(self._fields.criticalOptions))
            raise CertificateRejected(f"a critical option that we do not understand: {name}")

    def _check(
        self,
        kind: int,
        authorities: Collection[bytes],
        names: Collection[bytes],
        now: float,
        revoked: Collection[bytes],
    ) -> tuple[bytes, ...]:
        """What certificates of both kinds have to pass; returns the principals that matched."""
        fields = self._fields
        if fields.kind != kind:
            raise CertificateRejected(
                "a host certificate where one for a user is needed"
                if kind == USER
                else "a user certificate where one for a host is needed"
            )
        authority = self.authority.blob()
        if authority not in authorities:
            raise CertificateRejected("it is signed by nobody who may sign here")
        if authority in revoked or fields.keyBlob in revoked:
            raise CertificateRejected("its key, or the key that signed it, is revoked")
        # Times of a certificate are whole seconds; "for ever" is a number that no clock reaches.
        if now < fields.validAfter:
            raise CertificateRejected("it is not valid yet")
        if now >= fields.validBefore:
            raise CertificateRejected("it is no longer valid")
        if not fields.principals:
            raise CertificateRejected("it is for nobody: it names no principals")
        for principal in fields.principals:
            if not _isPlainName(principal):
                raise CertificateRejected("a principal that is empty, a list or a pattern")
        wanted = frozenset(_folded(name, kind) for name in names)
        matched = tuple(name for name in fields.principals if _folded(name, kind) in wanted)
        if not matched:
            raise CertificateRejected("it is for somebody else: no principal matches")
        # Last, because it is what costs time.
        if not self.isSignedByAuthority():
            raise CertificateRejected("the signature of its authority is wrong")
        return matched


def _folded(name: bytes, kind: int) -> bytes:
    """A principal as it is compared: host names without regard to case."""
    return name.lower() if kind == HOST else name


def _isPlainName(name: bytes) -> bool:
    """Whether a principal is one name: neither empty, nor a list, nor a pattern."""
    return (
        bool(name)
        and not any(byte <= 0x20 or byte == 0x7F for byte in name)
        and not (set(name) & set(b",*?!"))
    )


def _stringOption(name: bytes, options: dict[bytes, bytes]) -> bytes:
    """The value of an option that holds one string, which may not be empty."""
    reader = Reader(options[name])
    try:
        value = reader.string()
        reader.end()
    except WireError:
        value = b""
    if not value:
        raise CertificateRejected(f"{publicblob.shown(name)} is empty or damaged")
    return value


def _checkAddress(networks: bytes, address: str | None) -> None:
    """Raise CertificateRejected where `address` is in none of the comma-separated networks."""
    parts = networks.split(b",")
    if len(parts) > MAX_NETWORKS:
        raise CertificateRejected("source-address is too long")
    allowed: list[Network] = []
    for part in parts:
        try:
            allowed.append(ipaddress.ip_network(part.decode("ascii"), strict=False))
        except ValueError:
            raise CertificateRejected("source-address is damaged") from None
    if address is None:
        raise CertificateRejected("it is bound to addresses, and the user's is not known")
    try:
        where = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        raise CertificateRejected("it is bound to addresses, and the user's is none") from None
    # A listener on :: shows an IPv4 peer as ::ffff:a.b.c.d.
    if isinstance(where, ipaddress.IPv6Address) and where.ipv4_mapped is not None:
        where = where.ipv4_mapped
    if not any(where.version == network.version and where in network for network in allowed):
        raise CertificateRejected("it may not be used from this address")
