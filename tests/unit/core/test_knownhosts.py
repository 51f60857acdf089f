"""known_hosts: reading lines, recognising hosts, judging keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.knownhosts import (
    MAX_FILE_LENGTH,
    MAX_LINE_LENGTH,
    BadLine,
    KnownHost,
    Marker,
    Verdict,
    authoritiesFor,
    hashName,
    judge,
    knownTypes,
    lookupName,
    orderedAlgorithms,
    parseHash,
    parseKnownHosts,
    parseLine,
    revokedFor,
)
from limpet.crypto.key import Key
from limpet.crypto.signatures import CERTIFICATE_ALGORITHMS, HOST_KEY_ALGORITHMS

ED = Key.generate("ed25519").public()
ED2 = Key.generate("ed25519").public()
EC = Key.generate("ecdsa").public()


def lineOf(hosts: bytes, key: Key = ED) -> bytes:
    return hosts + b" " + key.toString("OPENSSH").strip()


def entries(*lines: bytes) -> list[KnownHost]:
    found, problems = parseKnownHosts(b"\n".join(lines), "kh")
    assert problems == []
    return found


class TestLines:
    def test_a_line_is_hosts_and_a_key(self) -> None:
        found = parseLine(lineOf(b"a,b") + b" my comment\r\n", 3, "kh")
        assert found == KnownHost(
            Marker.HOST, b"a,b", b"ssh-ed25519", ED.blob(), b"my comment", 3, "kh"
        )
        assert str(found) == "kh:3"

    @pytest.mark.parametrize(
        ("word", "marker"),
        [(b"@cert-authority", Marker.AUTHORITY), (b"@revoked", Marker.REVOKED)],
    )
    def test_it_may_have_a_marker(self, word: bytes, marker: Marker) -> None:
        found = parseLine(word + b"\t " + lineOf(b"*.a"))
        assert found is not None
        assert found.marker is marker

    @pytest.mark.parametrize("text", [b"", b"  \t", b"# a ssh-ed25519 x", b" #"])
    def test_empty_lines_and_comments_are_none(self, text: bytes) -> None:
        assert parseLine(text) is None

    @pytest.mark.parametrize(
        "text",
        [
            b"a",
            b"a ssh-ed25519",
            b"a ssh-ed25519 !!!",
            b"a ssh-ed25519 AAAA",
            b"a ssh-rsa " + lineOf(b"").split()[1],
            b"@other " + lineOf(b"a"),
            b"@revoked @revoked " + lineOf(b"a"),
            b"@revoked " + lineOf(b"@cert-authority"),
            b"@revoked",
            lineOf(b"|1|AAAA|AAAA"),
            lineOf(b"|1|" + b"A" * 28),
            lineOf(b"|2|" + b"A" * 27 + b"=|" + b"A" * 27 + b"="),
            lineOf(b"|1|" + b"A" * 27 + b"=|" + b"A" * 27 + b"=,b"),
            lineOf(b"x" * 2000),
            lineOf(b"," * 300),
            lineOf(b"a\0"),
            lineOf(b"a") + b"x" * MAX_LINE_LENGTH,
        ],
    )
    def test_anything_else_is_no_entry(self, text: bytes) -> None:
        with pytest.raises(BadLine):
            parseLine(text)

    @given(st.binary(max_size=200))
    def test_no_line_does_harm(self, text: bytes) -> None:
        try:
            found = parseLine(text)
        except BadLine:
            return
        if found is not None:
            again = parseLine(found.toLine())
            assert again == found

    def test_a_bad_line_is_told_and_the_others_count(self) -> None:
        found, problems = parseKnownHosts(b"bad\n" + lineOf(b"a") + b"\n\n")
        assert [entry.line for entry in found] == [2]
        assert [number for number, _ in problems] == [1]

    def test_a_file_may_not_be_endless(self) -> None:
        with pytest.raises(BadLine):
            parseKnownHosts(b"#" * (MAX_FILE_LENGTH + 1))


class TestNames:
    @pytest.mark.parametrize(
        ("host", "port", "expected"),
        [
            ("A.Example", 22, b"a.example"),
            ("a", 2222, b"[a]:2222"),
            ("::1", 22, b"::1"),
            ("::1", 2222, b"[::1]:2222"),
            (b"a", 22, b"a"),
        ],
    )
    def test_what_a_host_is_called(self, host: str | bytes, port: int, expected: bytes) -> None:
        assert lookupName(host, port) == expected

    def test_patterns_are_matched_without_regard_to_case(self) -> None:
        (entry,) = entries(lineOf(b"*.Example,!no.example"))
        assert entry.matchesHost(b"A.EXAMPLE")
        assert not entry.matchesHost(b"no.example")
        assert not entry.matchesHost(b"example")

    def test_hashed_names_are_recognised(self) -> None:
        (entry,) = entries(lineOf(hashName(b"a.example")))
        assert entry.isHashed
        assert entry.matchesHost(b"A.example")
        assert not entry.matchesHost(b"b.example")

    def test_a_hash_has_a_salt_of_its_own(self) -> None:
        assert hashName(b"a") != hashName(b"a")
        salt, digest = parseHash(hashName(b"a", bytes(20)))
        assert salt == bytes(20)
        assert len(digest) == 20


class TestJudgement:
    def test_a_known_key(self) -> None:
        found = judge(entries(lineOf(b"b", ED2), lineOf(b"a"), lineOf(b"a", ED2)), b"a", ED.blob())
        assert found.verdict is Verdict.KNOWN
        assert str(found.entry) == "kh:2"

    def test_a_new_host(self) -> None:
        found = judge(entries(lineOf(b"b")), b"a", ED.blob())
        assert (found.verdict, found.entry) == (Verdict.NEW, None)

    def test_another_key_of_the_same_type(self) -> None:
        found = judge(entries(lineOf(b"a", EC), lineOf(b"a", ED2)), b"a", ED.blob())
        assert found.verdict is Verdict.CHANGED
        assert str(found.entry) == "kh:2"
        assert len(found.others) == 2

    def test_keys_of_other_types_only(self) -> None:
        found = judge(entries(lineOf(b"a", EC)), b"a", ED.blob())
        assert found.verdict is Verdict.CHANGED

    def test_a_revoked_key_is_refused_though_it_is_known(self) -> None:
        lines = (lineOf(b"a"), lineOf(b"@revoked *"))
        for order in (lines, lines[::-1]):
            assert judge(entries(*order), b"a", ED.blob()).verdict is Verdict.REVOKED

    def test_another_hosts_revocation_is_not_ours(self) -> None:
        found = judge(entries(lineOf(b"@revoked b"), lineOf(b"a")), b"a", ED.blob())
        assert found.verdict is Verdict.KNOWN

    def test_an_authoritys_key_is_no_hosts_key(self) -> None:
        found = judge(entries(lineOf(b"@cert-authority *")), b"a", ED.blob())
        assert found.verdict is Verdict.NEW

    def test_who_may_sign_and_what_is_revoked(self) -> None:
        known = entries(
            lineOf(b"@cert-authority *.x"), lineOf(b"@revoked *", ED2), lineOf(b"a.x", EC)
        )
        assert [entry.line for entry in authoritiesFor(known, b"a.x")] == [1]
        assert authoritiesFor(known, b"a.y") == []
        assert [entry.line for entry in revokedFor(known, b"a.y")] == [2]
        assert knownTypes(known, b"a.x") == [b"ecdsa-sha2-nistp256"]


class TestOrderOfAlgorithms:
    CERTIFICATES = frozenset(CERTIFICATE_ALGORITHMS)
    ALL = (
        b"ssh-ed25519-cert-v01@openssh.com",
        b"ssh-ed25519",
        b"ecdsa-sha2-nistp256",
        b"rsa-sha2-512",
        b"rsa-sha2-256",
    )

    def order(self, known: list[bytes], hasAuthority: bool = False) -> list[bytes]:
        return orderedAlgorithms(
            self.ALL, HOST_KEY_ALGORITHMS, known, hasAuthority, self.CERTIFICATES
        )

    def test_certificates_are_for_hosts_with_an_authority(self) -> None:
        assert self.order([]) == list(self.ALL[1:])
        assert self.order([b"ssh-rsa"], True) == list(self.ALL)

    def test_what_can_be_checked_comes_first(self) -> None:
        assert self.order([b"ssh-rsa"]) == [
            b"rsa-sha2-512",
            b"rsa-sha2-256",
            b"ssh-ed25519",
            b"ecdsa-sha2-nistp256",
        ]

    def test_nothing_is_given_away_where_the_first_can_be_checked(self) -> None:
        assert self.order([b"ssh-rsa", b"ssh-ed25519"]) == self.order([])
