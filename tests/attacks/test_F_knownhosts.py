"""attacks.md, F6 and F7: known_hosts files, and the patterns in them and in ssh_config."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from limpet.client.config import ClientConfig, ConfigError, loadClientConfig
from limpet.client.errors import HostKeyRefused
from limpet.client.hostkeys import verifyHostKey
from limpet.core import knownhosts
from limpet.core.knownhosts import Verdict, hashName, judge, parseKnownHosts
from limpet.core.patterns import MAX_PATTERN_LENGTH, MAX_PATTERNS
from limpet.core.sshconfig import resolving
from limpet.crypto.key import Key
from limpet.wire.fields import MP, NS
from tests.keymaking import makeKey

KEY = makeKey().public()
OTHER = makeKey(number=1).public()
RSA = makeKey("rsa", 2048).public()

MOST_LAX = ("no", "accept-new")


def lineOf(hosts: bytes, key: Key = KEY) -> bytes:
    return hosts + b" " + key.toString("OPENSSH").strip()


class Yes:
    """Says yes to everything."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def prompt(self, text: bytes) -> bool:
        return True

    def warn(self, text: bytes) -> None:
        self.told.append(text)


def verify(tmp_path: Path, lines: list[bytes], key: Key, strict: str, ui: Any = None) -> Any:
    path = tmp_path / "known_hosts"
    path.write_bytes(b"\n".join([*lines, b""]))
    config = ClientConfig(
        "web", "web", userKnownHostsFiles=[str(path)], strictHostKeyChecking=strict
    )
    results: list[Any] = []
    verifyHostKey(config, key.blob(), ui or Yes()).addBoth(results.append)
    (result,) = results
    return getattr(result, "value", result)


# ── F6: the files ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        lineOf(b"@revoked @cert-authority web"),
        lineOf(b"@cert-authority @revoked web"),
        lineOf(b"@x web"),
        lineOf(b"@ web"),
        lineOf(b"@REVOKED web"),
        lineOf(b"|1|AAAA|AAAA"),
        lineOf(b"|1||"),
        lineOf(b"|1|" + b"A" * 28 + b"|" + b"A" * 27 + b"="),
        lineOf(hashName(b"web") + b"x"),
        lineOf(hashName(b"web").replace(b"|1|", b"|9|")),
        b"web ssh-rsa " + lineOf(b"").split()[1],
        b"web " + lineOf(b"").split()[1],
        lineOf(b"web").replace(b" ssh", b"\x0bssh"),
        lineOf(b"web").replace(b"web ", b"web\xc2\xa0"),
        lineOf(b"web\0"),
    ],
)
def test_F6_aMalformedLineVouchesForNobodyAndIsTold(tmp_path: Path, line: bytes) -> None:
    assert isinstance(verify(tmp_path, [line], KEY, "yes"), HostKeyRefused)
    ui = Yes()
    verify(tmp_path, [line, lineOf(b"web")], KEY, "yes", ui)
    assert b":1: " in ui.told[0]


@pytest.mark.parametrize("line", [b"@x web", b"garbage", lineOf(b"|1|AAAA|AAAA"), b"\xff" * 99])
def test_F6_aMalformedLineHidesNoOther(tmp_path: Path, line: bytes) -> None:
    for lines in ([line, lineOf(b"web")], [lineOf(b"web"), line]):
        assert verify(tmp_path, lines, KEY, "yes") is True
        assert isinstance(verify(tmp_path, lines, OTHER, "no"), HostKeyRefused)


@pytest.mark.parametrize("strict", MOST_LAX)
@pytest.mark.parametrize("shown", [KEY, OTHER], ids=["another type", "another key"])
def test_F6_aKnownHostWithAnotherKeyIsNeverNew(tmp_path: Path, strict: str, shown: Key) -> None:
    known = RSA if shown is KEY else KEY
    before = [lineOf(b"web", known)]
    assert isinstance(verify(tmp_path, before, shown, strict), HostKeyRefused)
    assert (tmp_path / "known_hosts").read_bytes() == before[0] + b"\n"


@pytest.mark.parametrize("strict", [*MOST_LAX, "ask", "yes"])
@pytest.mark.parametrize("revoked", [b"@revoked *", b"@revoked web", b"@revoked x,w*,!y"])
def test_F6_revokedBeatsAll(tmp_path: Path, strict: str, revoked: bytes) -> None:
    lines = [lineOf(b"web"), lineOf(b"@cert-authority *"), lineOf(revoked)]
    for order in (lines, lines[::-1]):
        assert isinstance(verify(tmp_path, order, KEY, strict), HostKeyRefused)


def test_F6_revokedByAHashedName(tmp_path: Path) -> None:
    lines = [lineOf(b"web"), b"@revoked " + lineOf(hashName(b"web"))]
    assert isinstance(verify(tmp_path, lines, KEY, "no"), HostKeyRefused)


@pytest.mark.parametrize("hosts", [b"!web", b"!web,*", b"*,!web", b"!w*,web", b"*,!WEB"])
def test_F6_anExcludedHostIsNotVouchedFor(tmp_path: Path, hosts: bytes) -> None:
    assert isinstance(verify(tmp_path, [lineOf(hosts)], KEY, "yes"), HostKeyRefused)


def test_F6_aKeyThatIsTooWeakStillMakesItsHostKnown(tmp_path: Path) -> None:
    blob = NS(b"ssh-rsa") + MP(65537) + MP((1 << 1023) + 1)
    entries, problems = parseKnownHosts(b"web ssh-rsa " + base64.b64encode(blob))
    assert problems == []
    assert judge(entries, b"web", KEY.blob()).verdict is Verdict.CHANGED


def test_F6_anAnswerIsGivenOnlyForTheHostAsked(tmp_path: Path) -> None:
    for hosts in (b"web.example", b"xweb", b"we", b"[web]:2222", b"web,", b"w eb"):
        verdict = verify(tmp_path, [lineOf(hosts)], KEY, "yes")
        assert (verdict is True) == (hosts == b"web,")


# ── F7: patterns ──────────────────────────────────────────────────────────────────────────────

BLOW_UP = b"*a" * 500 + b"b"


def test_F7_knownHostsPatternsAreLinear() -> None:
    (entry,), _ = parseKnownHosts(lineOf(BLOW_UP))
    assert not entry.matchesHost(b"a" * 1000)


def test_F7_configPatternsAreLinear(tmp_path: Path) -> None:
    pattern = BLOW_UP.decode()
    path = tmp_path / "config"
    path.write_text(f"Host {pattern}\nPort 1\nMatch host {pattern}\nPort 2\nSendEnv {pattern}\n")
    config = loadClientConfig("a" * 255, files=[path])
    assert config.port == 22
    assert config.environment({"a" * 1000: "x"}) == {}


@pytest.mark.parametrize(
    "line",
    [
        "Host * !" + "a" * MAX_PATTERN_LENGTH,
        "Match host *,!" + "a" * MAX_PATTERN_LENGTH,
        "Match !host " + "a" * (MAX_PATTERN_LENGTH + 1),
        "Match !user " + "a," * MAX_PATTERNS,
    ],
    ids=["Host", "Match", "not Match", "many"],
)
def test_F7_aPatternThatIsTooLongIsAnErrorNotAMiss(tmp_path: Path, line: str) -> None:
    path = tmp_path / "config"
    path.write_text(line + "\nPort 1\n")
    with pytest.raises(ConfigError, match="line 1: "):
        loadClientConfig("web", files=[path])


def test_F7_aKnownHostsPatternThatIsTooLongVouchesForNobody() -> None:
    for hosts in (b"*,!" + b"a" * MAX_PATTERN_LENGTH, b"*" + b",a" * MAX_PATTERNS):
        entries, problems = parseKnownHosts(lineOf(hosts))
        assert entries == []
        assert len(problems) == 1


def test_F7_noRegularExpressionsFromFiles() -> None:
    for module in (knownhosts, resolving):
        assert not hasattr(module, "re")
