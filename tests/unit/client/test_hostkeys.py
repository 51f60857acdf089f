"""Whether a server is who it should be: files, certificates, and the person at the client."""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.client import hostkeys
from limpet.client.config import ClientConfig
from limpet.client.errors import HostKeyRefused
from limpet.client.hostkeys import (
    appendLines,
    checkHostKey,
    preferredHostKeyAlgorithms,
    readKnownHosts,
    verifyHostKey,
)
from limpet.client.interaction import NobodyToAsk
from limpet.core import krl
from limpet.core.knownhosts import Verdict, hashName, lookupName
from limpet.core.revokedkeys import IN_PLACE_LENGTH
from limpet.crypto.certificates import Certificate
from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob
from limpet.wire.fields import NS, u32, u64
from tests.keymaking import NOW, makeCertificate, makeKey

KEY = makeKey().public()
OTHER = makeKey(number=1).public()
EC = makeKey("ecdsa", 256).public()
AUTHORITY = makeKey(number=2)


class Person:
    """Answers questions with `answer`, and remembers what was said."""

    def __init__(self, answer: Any = False) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.told: list[bytes] = []

    def prompt(self, text: bytes) -> Any:
        self.asked.append(text)
        if isinstance(self.answer, Exception):
            return defer.fail(self.answer)
        return self.answer

    def warn(self, text: bytes) -> None:
        self.told.append(text)


Setup = Callable[..., ClientConfig]


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / ".ssh" / "known_hosts"


@pytest.fixture
def setup(tmp_path: Path, known: Path) -> Setup:
    def make(*lines: bytes, **changes: Any) -> ClientConfig:
        known.parent.mkdir(mode=0o700, exist_ok=True)
        if lines:
            known.write_bytes(b"".join(line + b"\n" for line in lines))
        config = ClientConfig(
            "web", "web", userKnownHostsFiles=[str(known)], strictHostKeyChecking="yes"
        )
        return replace(config, **changes)

    return make


def lineOf(hosts: bytes, key: Key = KEY) -> bytes:
    return hosts + b" " + key.public().toString("OPENSSH").strip()


def verify(config: ClientConfig, key: Key | bytes, ui: Any = None, **more: Any) -> bool:
    """The answer; raises what the Deferred fails with."""
    blob = key if isinstance(key, bytes) else key.blob()
    results: list[Any] = []
    verifyHostKey(config, blob, ui, clock=lambda: NOW, **more).addBoth(results.append)
    (result,) = results
    if isinstance(result, bool):
        return result
    raise result.value


def hostCertificate(principals: tuple[bytes, ...] = (b"web",), **more: Any) -> bytes:
    return makeCertificate(
        makeKey("ecdsa", 256),
        AUTHORITY,
        kind=certificateblob.HOST,
        principals=principals,
        **more,
    )


class TestKnownKeys:
    @pytest.mark.parametrize("strictness", ["yes", "ask", "accept-new", "no"])
    def test_are_accepted_and_nobody_is_asked(
        self, setup: Setup, known: Path, strictness: str
    ) -> None:
        person = Person()
        config = setup(lineOf(b"web"), strictHostKeyChecking=strictness)
        before = known.read_bytes()
        assert verify(config, KEY, person)
        assert person.asked == person.told == []
        assert known.read_bytes() == before

    @pytest.mark.parametrize("hosts", [b"web", b"*", b"x,w?b", hashName(b"web"), b"WEB"])
    def test_under_every_name(self, setup: Setup, hosts: bytes) -> None:
        assert verify(setup(lineOf(hosts)), KEY)

    def test_in_a_global_file(self, setup: Setup, tmp_path: Path) -> None:
        path = tmp_path / "global"
        path.write_bytes(lineOf(b"web"))
        assert verify(setup(globalKnownHostsFiles=[str(path)]), KEY)

    def test_at_an_unusual_port(self, setup: Setup) -> None:
        assert verify(setup(lineOf(b"[web]:2222"), port=2222), KEY)
        assert verify(setup(lineOf(b"web"), port=2222), KEY)
        with pytest.raises(HostKeyRefused):
            verify(setup(lineOf(b"[web]:2222"), port=22), KEY)
        with pytest.raises(HostKeyRefused):
            verify(setup(lineOf(b"[web]:2222"), port=2223), KEY)

    def test_another_server_at_an_unusual_port_is_new(self, setup: Setup) -> None:
        config = setup(lineOf(b"web", OTHER), port=2222, strictHostKeyChecking="accept-new")
        assert verify(config, KEY)

    def test_under_an_alias_without_its_port(self, setup: Setup) -> None:
        assert verify(setup(lineOf(b"alias"), hostKeyAlias="alias", port=2222), KEY)
        with pytest.raises(HostKeyRefused):
            verify(setup(lineOf(b"web"), hostKeyAlias="alias"), KEY)


class TestChangedKeys:
    @pytest.mark.parametrize("strictness", ["yes", "ask", "accept-new", "no"])
    @pytest.mark.parametrize("old", [OTHER, EC], ids=["same type", "other type"])
    def test_are_refused_however_lax(
        self, setup: Setup, known: Path, strictness: str, old: Key
    ) -> None:
        person = Person(True)
        config = setup(b"# x", lineOf(b"web", old), strictHostKeyChecking=strictness)
        before = known.read_bytes()
        with pytest.raises(HostKeyRefused) as caught:
            verify(config, KEY, person)
        text = str(caught.value)
        assert f"{known}:2" in text
        assert KEY.displayFingerprint() in text
        assert f"limpet keygen -R web -f {known}" in text
        assert person.asked == []
        assert known.read_bytes() == before

    def test_are_not_hidden_by_the_usual_port(self, setup: Setup) -> None:
        config = setup(lineOf(b"web"), lineOf(b"[web]:2222", OTHER), port=2222)
        with pytest.raises(HostKeyRefused, match="CHANGED"):
            verify(config, KEY)


class TestRevokedKeys:
    def test_are_refused_though_known(self, setup: Setup, known: Path) -> None:
        with pytest.raises(HostKeyRefused, match=f"revoked in {known}:2"):
            verify(setup(lineOf(b"web"), lineOf(b"@revoked *")), KEY, Person(True))

    def test_are_refused_at_the_usual_port_too(self, setup: Setup) -> None:
        config = setup(lineOf(b"@revoked web"), port=2222, strictHostKeyChecking="no")
        with pytest.raises(HostKeyRefused, match="revoked"):
            verify(config, KEY)

    def test_in_a_file_of_their_own(self, setup: Setup, tmp_path: Path) -> None:
        path = tmp_path / "revoked"
        path.write_bytes(b"# ours\n\n" + KEY.toString("OPENSSH") + b"\n")
        config = setup(lineOf(b"web"), lineOf(b"web", EC), revokedHostKeys=[str(path)])
        with pytest.raises(HostKeyRefused, match="RevokedHostKeys"):
            verify(config, KEY)
        assert verify(config, EC)

    def test_in_a_key_revocation_list(self, setup: Setup, tmp_path: Path) -> None:
        path = tmp_path / "revoked"
        head = krl.MAGIC + u32(1) + u64(1) * 3 + NS(b"") * 2
        path.write_bytes(head + bytes((krl.EXPLICIT_KEYS,)) + NS(NS(KEY.public().blob())))
        config = setup(lineOf(b"web"), lineOf(b"web", EC), revokedHostKeys=[str(path)])
        with pytest.raises(HostKeyRefused, match="RevokedHostKeys"):
            verify(config, KEY)
        assert verify(config, EC)

    @pytest.mark.parametrize("content", [None, krl.MAGIC + b"\0" * 40, b"no key"])
    def test_nobody_is_accepted_where_the_file_cannot_be_read(
        self, setup: Setup, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "revoked"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(HostKeyRefused, match=f"RevokedHostKeys: {path}"):
            verify(setup(lineOf(b"web"), revokedHostKeys=[str(path)]), KEY)


class Inline:
    """A reactor whose threads do their work at once."""

    calls = 0

    def getThreadPool(self) -> Inline:
        return self

    def callInThreadWithCallback(self, onResult: Any, function: Any, *arguments: Any) -> None:
        self.calls += 1
        try:
            onResult(True, function(*arguments))
        except Exception:  # noqa: BLE001 as a thread pool does
            onResult(False, Failure())

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class TestLongLists:
    """A reactor does not stand still while one is read."""

    @pytest.mark.parametrize(
        ("length", "isAside"), [(IN_PLACE_LENGTH, False), (IN_PLACE_LENGTH + 1, True)]
    )
    @pytest.mark.parametrize("isRevoked", [False, True])
    def test_a_long_file_of_revoked_keys_is_read_in_a_thread(
        self, setup: Setup, tmp_path: Path, length: int, isAside: bool, isRevoked: bool
    ) -> None:
        threads = Inline()
        path = tmp_path / "revoked"
        listed = (KEY if isRevoked else OTHER).toString("OPENSSH") + b"\n"
        path.write_bytes(listed + b"#" * (length - len(listed)))
        config = setup(lineOf(b"web"), revokedHostKeys=[str(path)])
        if isRevoked:
            with pytest.raises(HostKeyRefused, match="is revoked"):
                verify(config, KEY, reactor=threads)
        else:
            assert verify(config, KEY, reactor=threads)
        assert threads.calls == int(isAside)


class TestKnownHostsCommand:
    """What a command prints counts as a file does, and where it fails nobody is accepted."""

    def config(self, setup: Setup, tmp_path: Path, text: str, **more: Any) -> ClientConfig:
        script = tmp_path / "command"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o700)
        return setup(knownHostsCommand=f"{script} %I %H %t %f %K", **more)

    def verify(self, config: ClientConfig, key: Key = KEY, **more: Any) -> bool:
        return verify(config, key, reactor=Inline(), **more)

    def test_its_lines_vouch(self, setup: Setup, tmp_path: Path) -> None:
        text = f"echo '# comment'; echo garbage; echo '{lineOf(b'web').decode()}'"
        config = self.config(setup, tmp_path, text)
        person = Person()
        assert self.verify(config, ui=person)
        assert b"KnownHostsCommand:2" in person.told[0]
        with pytest.raises(HostKeyRefused, match="HAS CHANGED"):
            self.verify(config, OTHER)

    def test_its_lines_revoke(self, setup: Setup, tmp_path: Path) -> None:
        text = f"echo '{lineOf(b'@revoked *').decode()}'"
        with pytest.raises(HostKeyRefused, match="revoked"):
            self.verify(self.config(setup, tmp_path, text))

    def test_it_says_what_it_is_asked_for(self, setup: Setup, tmp_path: Path) -> None:
        log = tmp_path / "log"
        text = f'echo "$@" >> {log}; echo "{lineOf(b"web").decode()}"'
        config = self.config(setup, tmp_path, text, checkHostIP=True)
        preferredHostKeyAlgorithms(config)
        assert self.verify(config, address="192.0.2.1")
        blob = base64.b64encode(KEY.blob()).decode()
        of = f"ssh-ed25519 {KEY.displayFingerprint()} {blob}"
        assert log.read_text().splitlines() == [
            "ORDER web NONE NONE NONE",
            f"HOSTNAME web {of}",
            f"ADDRESS 192.0.2.1 {of}",
        ]

    @pytest.mark.parametrize("text", ["exit 1", "kill -9 $$", "exec /no/such", "yes"])
    def test_nobody_is_accepted_where_it_fails(
        self, setup: Setup, tmp_path: Path, text: str
    ) -> None:
        config = self.config(setup, tmp_path, f"echo '{lineOf(b'web').decode()}'; {text}")
        with pytest.raises(HostKeyRefused, match="KnownHostsCommand: "):
            self.verify(config)
        with pytest.raises(HostKeyRefused, match="KnownHostsCommand: "):
            preferredHostKeyAlgorithms(config)

    def test_nor_where_it_does_not_end(
        self, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hostkeys, "COMMAND_SECONDS", 0.1)
        # The shell's own child holds the output open as well.
        config = self.config(setup, tmp_path, "sleep 600; true")
        with pytest.raises(HostKeyRefused, match="KnownHostsCommand: "):
            self.verify(config)

    def test_nor_where_it_cannot_be_started(self, setup: Setup) -> None:
        for command in ("/no/such/program", "echo | cat", "echo %z"):
            with pytest.raises(HostKeyRefused, match="KnownHostsCommand: "):
                self.verify(setup(lineOf(b"web"), knownHostsCommand=command))


class TestNewHosts:
    def test_are_refused_where_that_is_wanted(self, setup: Setup, known: Path) -> None:
        with pytest.raises(HostKeyRefused, match="StrictHostKeyChecking is yes"):
            verify(setup(), KEY, Person(True))
        assert not known.exists()

    @pytest.mark.parametrize("strictness", ["accept-new", "no"])
    def test_are_added_where_that_is_wanted(
        self, setup: Setup, known: Path, strictness: str
    ) -> None:
        person = Person()
        config = setup(strictHostKeyChecking=strictness, port=2222)
        assert verify(config, KEY, person)
        assert known.read_bytes() == lineOf(b"[web]:2222") + b"\n"
        assert known.stat().st_mode & 0o777 == 0o600
        assert KEY.displayFingerprint().encode() in person.told[0]
        assert verify(replace(config, strictHostKeyChecking="yes"), KEY)

    def test_are_added_when_the_person_says_so(self, setup: Setup, known: Path) -> None:
        person = Person(True)
        config = setup(strictHostKeyChecking="ask")
        assert verify(config, KEY, person, address="192.0.2.1")
        assert known.read_bytes() == lineOf(b"web") + b"\n"
        (question,) = person.asked
        assert KEY.displayFingerprint().encode() in question
        assert b"web (at 192.0.2.1)" in question

    @pytest.mark.parametrize("answer", [False, None, "yes", 1, NobodyToAsk("gone")])
    def test_anything_but_a_plain_yes_is_no(self, setup: Setup, known: Path, answer: Any) -> None:
        with pytest.raises(HostKeyRefused, match="not accepted"):
            verify(setup(strictHostKeyChecking="ask"), KEY, Person(answer))
        assert not known.exists()

    def test_nobody_to_ask_is_no(self, setup: Setup, known: Path) -> None:
        with pytest.raises(HostKeyRefused, match="accept-new"):
            verify(setup(strictHostKeyChecking="ask"), KEY)
        assert not known.exists()

    def test_an_answer_may_take_its_time_and_be_given_up(self, setup: Setup) -> None:
        waiting: defer.Deferred[bool] = defer.Deferred()
        results: list[Any] = []
        verification = verifyHostKey(
            setup(strictHostKeyChecking="ask"), KEY.blob(), Person(waiting)
        )
        verification.addBoth(results.append)
        assert results == []
        verification.cancel()
        assert results[0].check(defer.CancelledError)

    def test_their_names_may_be_hashed(self, setup: Setup, known: Path) -> None:
        config = setup(strictHostKeyChecking="accept-new", hashKnownHosts=True, checkHostIP=True)
        assert verify(config, KEY, address="192.0.2.1")
        text = known.read_bytes()
        assert b"web" not in text
        entries, _ = readKnownHosts([str(known)])
        assert [entry.matchesHost(b"web") for entry in entries] == [True, False]
        assert entries[1].matchesHost(b"192.0.2.1")

    def test_a_file_that_cannot_be_written_is_told_of(self, setup: Setup, tmp_path: Path) -> None:
        person = Person()
        (tmp_path / "file").touch()
        path = str(tmp_path / "file" / "known_hosts")
        config = setup(strictHostKeyChecking="accept-new", userKnownHostsFiles=[path])
        assert verify(config, KEY, person)
        assert b"not remembered" in person.told[0]

    def test_without_a_file_nothing_is_remembered(self, setup: Setup) -> None:
        for files in ([], ["/dev/null"]):
            config = setup(strictHostKeyChecking="no", userKnownHostsFiles=files)
            assert verify(config, KEY)
            assert verify(config, OTHER)

    def test_the_names_in_a_question_do_nothing_to_a_terminal(self, setup: Setup) -> None:
        person = Person()
        config = setup(strictHostKeyChecking="ask", hostKeyAlias="a\x1b[2Jb")
        with pytest.raises(HostKeyRefused):
            verify(config, KEY, person)
        assert b"\x1b" not in person.asked[0]


class TestAddresses:
    def test_are_remembered_and_checked_where_that_is_wanted(
        self, setup: Setup, known: Path
    ) -> None:
        config = setup(strictHostKeyChecking="accept-new", checkHostIP=True)
        assert verify(config, KEY, address="192.0.2.1")
        assert known.read_bytes() == lineOf(b"web,192.0.2.1") + b"\n"
        appendLines(str(known), [lineOf(b"other", OTHER)])
        with pytest.raises(HostKeyRefused, match="CHANGED"):
            verify(replace(config, hostName="other"), OTHER, address="192.0.2.1")

    def test_do_not_matter_otherwise(self, setup: Setup) -> None:
        assert verify(setup(lineOf(b"web"), lineOf(b"::1", OTHER)), KEY, address="::1")

    @pytest.mark.parametrize(
        ("address", "accepted"),
        [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), (None, False), ("x", False)],
    )
    def test_localhost_may_be_many_machines(
        self, setup: Setup, address: str | None, accepted: bool
    ) -> None:
        config = setup(lineOf(b"web", OTHER), noHostAuthenticationForLocalhost=True)
        if accepted:
            assert verify(config, KEY, address=address)
        else:
            with pytest.raises(HostKeyRefused):
                verify(config, KEY, address=address)


class TestCertificates:
    LINE = lineOf(b"@cert-authority *.x,web", AUTHORITY)

    def test_are_accepted_from_the_authority_of_the_host(self, setup: Setup) -> None:
        config = setup(self.LINE)
        assert verify(config, hostCertificate())
        check = checkHostKey(config, hostCertificate(), NOW)
        assert check.certified
        assert str(check.entry).endswith("known_hosts:1")

    def test_have_no_port_in_their_names(self, setup: Setup) -> None:
        line = lineOf(b"@cert-authority [web]:2222", AUTHORITY)
        assert verify(setup(line, port=2222), hostCertificate())

    def test_are_for_the_alias_where_there_is_one(self, setup: Setup) -> None:
        config = setup(lineOf(b"@cert-authority *", AUTHORITY), hostKeyAlias="alias")
        assert verify(config, hostCertificate((b"alias",)))
        with pytest.raises(HostKeyRefused):
            verify(config, hostCertificate((b"web",)))

    @pytest.mark.parametrize(
        "blob",
        [
            hostCertificate((b"other",)),
            hostCertificate(()),
            hostCertificate(validBefore=NOW),
            hostCertificate(validAfter=NOW + 1),
        ],
        ids=["another host's", "nobody's", "old", "too young"],
    )
    def test_that_do_not_hold_are_refused_also_where_the_key_in_them_is_known(
        self, setup: Setup, blob: bytes
    ) -> None:
        config = setup(self.LINE, lineOf(b"web", EC), strictHostKeyChecking="no")
        with pytest.raises(HostKeyRefused, match="host certificate of web is not accepted"):
            verify(config, blob, Person(True))

    def test_of_another_authority_are_refused(self, setup: Setup) -> None:
        config = setup(lineOf(b"@cert-authority web", OTHER), strictHostKeyChecking="no")
        with pytest.raises(HostKeyRefused, match="nobody who may sign"):
            verify(config, hostCertificate())

    @pytest.mark.parametrize("key", [AUTHORITY, EC], ids=["authority", "key"])
    def test_with_a_revoked_key_are_refused(self, setup: Setup, key: Key, tmp_path: Path) -> None:
        with pytest.raises(HostKeyRefused):
            verify(setup(self.LINE, lineOf(b"@revoked *", key)), hostCertificate())
        path = tmp_path / "revoked"
        path.write_bytes(key.public().toString("OPENSSH"))
        with pytest.raises(HostKeyRefused):
            verify(setup(self.LINE, revokedHostKeys=[str(path)]), hostCertificate())

    def test_signed_by_an_algorithm_that_is_not_allowed_are_refused(self, setup: Setup) -> None:
        config = setup(self.LINE, caSignatureAlgorithms=[b"rsa-sha2-512"])
        with pytest.raises(HostKeyRefused, match="algorithm that is not allowed"):
            verify(config, hostCertificate())

    def test_without_an_authority_are_worth_the_key_in_them(self, setup: Setup) -> None:
        assert verify(setup(lineOf(b"web", EC)), hostCertificate())
        with pytest.raises(HostKeyRefused, match="CHANGED"):
            verify(setup(lineOf(b"web", OTHER)), hostCertificate())

    def test_a_plain_key_is_not_the_authoritys_affair(self, setup: Setup) -> None:
        with pytest.raises(HostKeyRefused, match="is not in"):
            verify(setup(self.LINE), KEY)

    def test_have_an_id_that_does_nothing_to_a_terminal(self, setup: Setup) -> None:
        blob = hostCertificate((b"other",), keyId=b"\x1b[2J")
        with pytest.raises(HostKeyRefused) as caught:
            verify(setup(self.LINE), blob)
        assert "\x1b" not in str(caught.value)
        assert Certificate(blob).keyId == b"\x1b[2J"


class TestWeakAndDamagedKeys:
    def test_a_small_rsa_key_is_refused(self, setup: Setup) -> None:
        key = makeKey("rsa", 2048).public()
        config = setup(lineOf(b"web", key))
        assert verify(config, key)
        with pytest.raises(HostKeyRefused, match="2048 bits"):
            verify(replace(config, requiredRSASize=3072), key)

    @pytest.mark.parametrize(
        "blob", [b"", b"\0", b"\0\0\0\x0bssh-ed25519", b"\0\0\0\x03xyz", hostCertificate()[:-1]]
    )
    def test_what_is_no_key_is_refused(self, setup: Setup, blob: bytes) -> None:
        with pytest.raises(HostKeyRefused):
            verify(setup(strictHostKeyChecking="no"), blob)


class TestAlgorithms:
    def test_those_that_can_be_checked_come_first(self, setup: Setup) -> None:
        plain = preferredHostKeyAlgorithms(setup())
        assert plain[0] == b"ssh-ed25519"
        assert preferredHostKeyAlgorithms(setup(lineOf(b"web", EC)))[0] == b"ecdsa-sha2-nistp256"
        certified = preferredHostKeyAlgorithms(setup(TestCertificates.LINE))
        assert certified[0] == b"ssh-ed25519-cert-v01@openssh.com"

    def test_a_list_of_the_persons_keeps_its_order(self, setup: Setup) -> None:
        config = setup(
            lineOf(b"web", EC),
            hostKeyAlgorithms=[b"ssh-ed25519", b"ecdsa-sha2-nistp256"],
            hostKeyAlgorithmsGiven=True,
        )
        assert preferredHostKeyAlgorithms(config) == [b"ssh-ed25519", b"ecdsa-sha2-nistp256"]


class TestFiles:
    def test_lines_that_cannot_be_read_are_told_and_the_others_count(
        self, setup: Setup, known: Path
    ) -> None:
        person = Person()
        assert verify(setup(b"nonsense", lineOf(b"web")), KEY, person)
        assert person.told == [f"{known}:1: no key; the line is not used".encode()]

    def test_a_file_that_cannot_be_read_is_told(
        self, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("limpet.core.knownhosts.MAX_FILE_LENGTH", 1)
        entries, problems = readKnownHosts([str(tmp_path / "none")])
        assert (entries, problems) == ([], [])
        (tmp_path / "long").write_bytes(b"##")
        assert len(readKnownHosts([str(tmp_path / "long")])[1]) == 1

    def test_a_line_is_put_behind_one_that_does_not_end(self, known: Path) -> None:
        known.parent.mkdir()
        known.write_bytes(lineOf(b"a"))
        known.chmod(0o644)
        appendLines(str(known), [lineOf(b"b"), lineOf(b"c")])
        assert known.read_bytes().split(b"\n") == [
            lineOf(b"a"),
            lineOf(b"b"),
            lineOf(b"c"),
            b"",
        ]
        assert known.stat().st_mode & 0o777 == 0o644

    def test_a_lock_of_somebody_else_is_not_waited_for(self, known: Path) -> None:
        known.parent.mkdir()
        with known.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            appendLines(str(known), [lineOf(b"b")])
        assert known.read_bytes() == lineOf(b"b") + b"\n"

    def test_half_a_line_is_taken_back(self, known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        known.parent.mkdir()
        known.write_bytes(lineOf(b"a") + b"\n")
        before = known.read_bytes()
        write = os.write
        monkeypatch.setattr("os.write", lambda file, data: write(file, data[:5]))
        with pytest.raises(OSError, match="No space"):
            appendLines(str(known), [lineOf(b"b")])
        assert known.read_bytes() == before

    def test_what_is_no_file_is_neither_read_nor_waited_for(self, tmp_path: Path) -> None:
        path = str(tmp_path / "fifo")
        os.mkfifo(path)
        assert readKnownHosts([path, "/dev/null", str(tmp_path)]) == ([], [])
        appendLines("/dev/null", [b"x"])


def test_a_verdict_says_what_it_rests_on(setup: Setup) -> None:
    check = checkHostKey(setup(lineOf(b"web", OTHER)), KEY.blob(), NOW)
    assert check.verdict is Verdict.CHANGED
    assert check.name == lookupName("web")
    assert check.key == KEY
    assert [entry.line for entry in check.others] == [1]
