"""`limpet.crypto.certificates`: what a certificate says, and whether it counts."""

from __future__ import annotations

import pytest

from limpet.crypto.certificates import Certificate, Grant
from limpet.crypto.errors import BadKeyError, CertificateRejected
from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob, publictext
from limpet.wire.fields import NS
from tests.keymaking import FOR_EVER, NOW, allKeys, makeCertificate, makeKey, securityKey

AUTHORITY = makeKey(number=100)
SUBJECT = makeKey()


def userGrant(
    blob: bytes,
    *,
    principals: tuple[bytes, ...] = (b"alice",),
    now: float = NOW,
    address: str | None = "192.0.2.7",
    authorities: tuple[Key, ...] = (AUTHORITY,),
    revoked: tuple[bytes, ...] = (),
) -> Grant:
    return Certificate(blob).checkUser(
        authorities=frozenset(key.blob() for key in authorities),
        principals=principals,
        now=now,
        address=address,
        revoked=revoked,
    )


class TestReading:
    @pytest.mark.parametrize(
        "subject",
        [*allKeys(), securityKey(makeKey()), securityKey(makeKey("ecdsa", 256))],
        ids=repr,
    )
    def test_whatItSays(self, subject: Key) -> None:
        certificate = Certificate(
            makeCertificate(
                subject,
                AUTHORITY,
                kind=certificateblob.HOST,
                principals=(b"a.example", b"b.example"),
                validAfter=5,
                validBefore=6,
                extensions={b"x": b"y"},
            )
        )
        assert certificate.key == subject.public()
        assert certificate.authority == AUTHORITY.public()
        assert certificate.kind == certificateblob.HOST
        assert certificate.principals == (b"a.example", b"b.example")
        assert (certificate.validAfter, certificate.validBefore) == (5, 6)
        assert (certificate.serial, certificate.keyId) == (42, b"the key's name")
        assert certificate.extensions == {b"x": b"y"}
        assert certificate.criticalOptions == {}
        assert certificate.keyType == certificateblob.certificateType(subject.sshType())
        assert certificate.isSignedByAuthority()

    def test_aLine(self) -> None:
        blob = makeCertificate(SUBJECT, AUTHORITY)
        certificate = Certificate.fromString(publictext.encodeLine(blob, b"me@here"))
        assert certificate.blob == blob
        assert certificate.comment == b"me@here"
        for line in (SUBJECT.public().toString("openssh"), b"", b"x" * 2_000_000):
            with pytest.raises(BadKeyError):
                Certificate.fromString(line)

    def test_everyAuthorityKind(self) -> None:
        for authority in allKeys():
            assert Certificate(makeCertificate(SUBJECT, authority)).isSignedByAuthority()

    def test_reprIsPrintable(self) -> None:
        certificate = Certificate(makeCertificate(SUBJECT, AUTHORITY))
        assert repr(certificate).isprintable()
        assert "user certificate" in repr(certificate)


class TestUser:
    def test_aGoodOne(self) -> None:
        assert userGrant(makeCertificate(SUBJECT, AUTHORITY)) == Grant(principals=(b"alice",))

    def test_onlyTheMatchingPrincipals(self) -> None:
        blob = makeCertificate(SUBJECT, AUTHORITY, principals=(b"root", b"alice", b"admin"))
        grant = userGrant(blob, principals=(b"admin", b"alice", b"bob"))
        assert grant.principals == (b"alice", b"admin")

    def test_userNamesHaveCase(self) -> None:
        with pytest.raises(CertificateRejected, match="somebody else"):
            userGrant(makeCertificate(SUBJECT, AUTHORITY), principals=(b"Alice",))

    def test_extensionsGiveLeave(self) -> None:
        blob = makeCertificate(
            SUBJECT,
            AUTHORITY,
            extensions={
                b"permit-pty": b"",
                b"permit-X11-forwarding": b"",
                b"permit-agent-forwarding": b"",
                b"permit-port-forwarding": b"",
                b"permit-user-rc": b"",
                b"no-touch-required": b"",
                b"something@example.com": NS(b"x"),
            },
        )
        assert userGrant(blob) == Grant(
            principals=(b"alice",),
            requireUserPresence=False,
            permitPty=True,
            permitAgentForwarding=True,
            permitPortForwarding=True,
            permitX11Forwarding=True,
            permitUserRc=True,
        )

    def test_criticalOptionsThatWeUnderstand(self) -> None:
        blob = makeCertificate(
            SUBJECT,
            AUTHORITY,
            criticalOptions={
                b"force-command": NS(b"date -u"),
                b"source-address": NS(b"192.0.2.0/24,2001:db8::/32"),
                b"verify-required": b"",
            },
        )
        for address in ("192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7", "2001:db8::1%eth0"):
            grant = userGrant(blob, address=address)
            assert grant.forcedCommand == b"date -u"
            assert grant.requireUserVerification
        for other in ("192.0.3.7", "2001:db9::1", "::ffff:192.0.3.7", "", "localhost", None):
            with pytest.raises(CertificateRejected, match="address"):
                userGrant(blob, address=other)

    @pytest.mark.parametrize(
        ("now", "good"), [(99, False), (100, True), (199.9, True), (200, False), (1e12, False)]
    )
    def test_time(self, now: float, good: bool) -> None:
        blob = makeCertificate(SUBJECT, AUTHORITY, validAfter=100, validBefore=200)
        if good:
            assert userGrant(blob, now=now)
        else:
            with pytest.raises(CertificateRejected, match="valid"):
                userGrant(blob, now=now)

    def test_forEver(self) -> None:
        assert userGrant(makeCertificate(SUBJECT, AUTHORITY, validBefore=FOR_EVER), now=1e15)


class TestHost:
    def check(self, blob: bytes, hostName: bytes = b"host.example") -> None:
        Certificate(blob).checkHost(
            authorities={AUTHORITY.blob()}, hostName=hostName, now=NOW, revoked=()
        )

    def blob(self, **more: object) -> bytes:
        return makeCertificate(
            SUBJECT,
            AUTHORITY,
            kind=certificateblob.HOST,
            principals=(b"Host.Example", b"192.0.2.1"),
            **more,  # type: ignore[arg-type]
        )

    def test_namesInAnyCase(self) -> None:
        self.check(self.blob())
        self.check(self.blob(), b"HOST.EXAMPLE")
        self.check(self.blob(), b"192.0.2.1")

    def test_otherNames(self) -> None:
        for name in (b"example", b"other.example", b"", b"host.example.", b"*"):
            with pytest.raises(CertificateRejected, match="somebody else"):
                self.check(self.blob(), name)

    def test_anyCriticalOption(self) -> None:
        for name in (b"force-command", b"unknown"):
            with pytest.raises(CertificateRejected, match="do not understand"):
                self.check(self.blob(criticalOptions={name: NS(b"x")}))
