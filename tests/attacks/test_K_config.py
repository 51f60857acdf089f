"""attacks.md, K1 to K4 in what a client reads: verdicts, order of algorithms, names, files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer

from limpet.client import hostkeys
from limpet.client.config import ClientConfig, ConfigError, loadClientConfig, parseDestination
from limpet.client.errors import HostKeyRefused
from limpet.client.hostkeys import preferredHostKeyAlgorithms, verifyHostKey
from limpet.client.hostpolicy import DocumentedKnownHosts
from limpet.core.knownhosts import MAX_FILE_LENGTH
from limpet.core.sshconfig import BadPlace
from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob
from tests.keymaking import NOW, makeCertificate, makeKey

KEY = makeKey().public()
AUTHORITY = makeKey(number=2)


def lineOf(hosts: bytes, key: Key = KEY) -> bytes:
    return hosts + b" " + key.public().toString("OPENSSH").strip() + b"\n"


def configFor(tmp_path: Path, *lines: bytes, strict: str = "no") -> ClientConfig:
    path = tmp_path / "known_hosts"
    path.write_bytes(b"".join(lines))
    return ClientConfig(
        "web",
        "web",
        userKnownHostsFiles=[str(path)],
        strictHostKeyChecking=strict,
        checkHostIP=True,
        revokedHostKeys=[os.devnull],
    )


# ── K1: a verifier that fails does not accept ─────────────────────────────────────────────────

CERTIFICATE = makeCertificate(
    makeKey("ecdsa", 256), AUTHORITY, kind=certificateblob.HOST, principals=(b"web",)
)

STEPS = (
    "readKnownHosts",
    "hostKeyName",
    "askKnownHostsCommand",
    "readRevokedKeys",
    "_certificateOf",
    "_keyOf",
    "_certified",
    "authoritiesFor",
    "revokedFor",
    "judge",
    "_withAddress",
    "lookupName",
    "checkHostKey",
)


@pytest.mark.parametrize("failure", [MemoryError(), ValueError("x"), TimeoutError(), KeyError(1)])
@pytest.mark.parametrize("step", STEPS)
def test_K1_aStepThatFailsRejects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: Exception
) -> None:
    config = configFor(tmp_path, lineOf(b"web"), lineOf(b"@cert-authority web", AUTHORITY))

    def fail(*arguments: Any, **more: Any) -> Any:
        raise failure

    def outcomes() -> list[Any]:
        found: list[Any] = []
        for blob in (KEY.blob(), CERTIFICATE):
            waiting = verifyHostKey(config, blob, address="192.0.2.1", clock=lambda: NOW)
            waiting.addBoth(found.append)
        return found

    assert outcomes() == [True, True]
    monkeypatch.setattr(hostkeys, step, fail)
    found = outcomes()
    # Some steps are of certificates only, others of plain keys; each of one kind at least.
    failed = [one for one in found if one is not True]
    assert failed
    assert all(one.value is failure for one in failed)


class Prompting:
    """Gives whatever it was made with for an answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def prompt(self, text: bytes) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def warn(self, text: bytes) -> None:
        raise AssertionError(text)


@pytest.mark.parametrize(
    "answer",
    [None, 0, 1, "yes", b"yes", [], object(), MemoryError(), defer.fail(ValueError("x"))],
    ids=repr,
)
def test_K1_onlyAPlainYesIsOne(tmp_path: Path, answer: Any) -> None:
    found: list[Any] = []
    config = configFor(tmp_path, strict="ask")
    verifyHostKey(config, KEY.blob(), Prompting(answer)).addBoth(found.append)
    assert found[0] is not True
    assert (tmp_path / "known_hosts").read_bytes() == b""


@pytest.mark.parametrize("strict", ["accept-new", "no"])
def test_K1_aFileThatCannotBeReadMakesNoHostNew(tmp_path: Path, strict: str) -> None:
    config = configFor(
        tmp_path, lineOf(b"web", makeKey("ecdsa", 256)), b"#" * MAX_FILE_LENGTH, strict=strict
    )
    found: list[Any] = []
    verifyHostKey(config, KEY.blob(), clock=lambda: NOW).addBoth(found.append)
    if strict == "no":
        assert found == [True]
    else:
        assert isinstance(found[0].value, HostKeyRefused)
        assert "cannot be said" in str(found[0].value)
        assert (tmp_path / "known_hosts").stat().st_size > MAX_FILE_LENGTH


class LaterKnownHosts:
    """An application's own: its answers are still to come."""

    def hasHostKey(self, name: bytes, key: Key) -> Any:
        return defer.succeed(False)

    def verifyHostKey(self, ui: Any, name: bytes, ip: bytes, key: Key) -> Any:
        return defer.succeed(False)


@pytest.mark.parametrize("port", [22, 2222])
def test_K1_anAnswerThatIsStillToComeIsNotYes(tmp_path: Path, port: int) -> None:
    config = replace(configFor(tmp_path, strict="ask"), port=port)
    found: list[Any] = []
    policy = DocumentedKnownHosts(LaterKnownHosts())
    judging = defer.maybeDeferred(policy.verify, config, None, KEY.blob(), None)
    judging.addBoth(found.append)
    assert isinstance(found[0].value, HostKeyRefused)


def test_K1_aBadCertificateDoesNotFallBackToTheKeyInIt(tmp_path: Path) -> None:
    bad = makeCertificate(makeKey(), AUTHORITY, kind=certificateblob.HOST, principals=(b"other",))
    config = configFor(tmp_path, lineOf(b"web"), lineOf(b"@cert-authority web", AUTHORITY))
    found: list[Any] = []
    verifyHostKey(config, bad, clock=lambda: NOW).addBoth(found.append)
    assert found[0] is not True


# ── K2: what the order of algorithms tells ────────────────────────────────────────────────────


def test_K2_aHostKnownByItsFirstKeyIsAskedLikeANewOne(tmp_path: Path) -> None:
    new = preferredHostKeyAlgorithms(configFor(tmp_path))
    assert preferredHostKeyAlgorithms(configFor(tmp_path, lineOf(b"web"))) == new


def test_K2_theOrderCanBeFixed(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("HostKeyAlgorithms rsa-sha2-512,ssh-ed25519,ecdsa-sha2-nistp256\n")
    known = tmp_path / "known_hosts"
    overrides = [("UserKnownHostsFile", str(known))]
    config = loadClientConfig("web", files=[path], overrides=overrides)
    known.write_bytes(b"")
    new = preferredHostKeyAlgorithms(config)
    known.write_bytes(lineOf(b"web", makeKey("ecdsa", 256)))
    assert preferredHostKeyAlgorithms(config) == new


# ── K3: names that are more than names ────────────────────────────────────────────────────────

BAD_NAMES = (
    "-oProxyCommand=x",
    "-x",
    "$(x)",
    "`x`",
    "a b",
    "a\nb",
    "a\rb",
    "a\0b",
    "a;b",
    "a|b",
    "a&b",
    "a>b",
    "a'b",
    'a"b',
    "a$b",
    "a\u202eb",
    "a\x1bb",
    "",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\\", "a\\b", "../a", "a/b"], ids=repr)
def test_K3_aHostThatIsNoNameIsRefusedBeforeAnyTokenIsReplaced(path: Path, name: str) -> None:
    mark = path.parent / "mark"
    path.write_text(
        f'Match exec "touch {mark} %h"\nProxyCommand nc %h %p\nUserKnownHostsFile /%n\n'
    )
    with pytest.raises(ConfigError):
        loadClientConfig(name, files=[path], allowMatchExec=True)
    assert not mark.exists()


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\\"], ids=repr)
def test_K3_aUserThatIsNoNameIsRefused(path: Path, name: str) -> None:
    path.write_text("ProxyCommand nc %r\n")
    with pytest.raises(ConfigError):
        loadClientConfig("web", files=[path], overrides=[("User", f'"{name}"')])
    with pytest.raises(BadPlace):
        parseDestination(f"{name}@web")


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if "\n" not in name], ids=repr)
def test_K3_aJumpHostThatIsNoNameIsRefused(path: Path, name: str) -> None:
    for jump in (name, f"{name}@web", f"ok,{name}", f"ssh://{name}"):
        path.write_text(f"ProxyJump {jump}\n", encoding="utf-8", newline="")
        with pytest.raises(ConfigError):
            loadClientConfig("host", files=[path])


@pytest.mark.parametrize(
    "text", ["ssh://h%00x", "ssh://-x", "ssh://a b", "ssh://$(x)@h", "-x", "a@-x", "ssh://h:22x"]
)
def test_K3_aDestinationIsJudgedWhole(text: str) -> None:
    with pytest.raises(BadPlace):
        parseDestination(text)


def test_K3_aHostNameFromTheFileIsJudgedToo(path: Path) -> None:
    for name in ("-oX", "$(x)", "a;b"):
        path.write_text(f"HostName {name}\n")
        with pytest.raises(ConfigError):
            loadClientConfig("web", files=[path])


def test_K3_aProxyCommandIsArgumentsAndATokenStaysInItsWord(path: Path) -> None:
    path.write_text(
        "User Do main\nProxyCommand nc -u %r '%h' \"%n\" %%h\n".replace("Do main", '"D m"')
    )
    config = loadClientConfig("fe80::1%eth0", files=[path])
    assert config.proxyArguments == ["nc", "-u", "D m", "fe80::1%eth0", "fe80::1%eth0", "%h"]


def test_K3_aTokenStaysInItsWordInEveryCommand(path: Path) -> None:
    path.write_text(
        "User 'D x'\n"
        + "KnownHostsCommand keys '%H' %h-%n %t\nPermitLocalCommand yes\nLocalCommand note %r %u\n"
    )
    config = loadClientConfig("fe80::1%eth0", files=[path], localUser="a b")
    assert config.knownHostsCommand is not None
    assert config.localCommand is not None
    more = {"H": "$(touch x) `y`; z", "t": "-o x"}
    assert config.arguments(config.knownHostsCommand, more) == [
        "keys",
        "$(touch x) `y`; z",
        "fe80::1%eth0-fe80::1%eth0",
        "-o x",
    ]
    assert config.arguments(config.localCommand) == ["note", "D x", "a b"]


@pytest.mark.parametrize("keyword", ["KnownHostsCommand", "PermitLocalCommand yes\nLocalCommand"])
@pytest.mark.parametrize("command", ["a | b", "a; b", "a $(b)", "a `b`", "a > b", "a && b"])
def test_K3_noCommandIsHandedToAShell(path: Path, keyword: str, command: str) -> None:
    path.write_text(f"{keyword} {command}\n")
    with pytest.raises(ConfigError, match="shell"):
        loadClientConfig("web", files=[path])


def test_K3_aProxyCommandThatNeedsAShellIsRefused(path: Path) -> None:
    for command in ("nc %h | sh", "nc $(x)", "nc `x`", "nc; x", "nc && x", "nc > f", "(nc)"):
        path.write_text(f"ProxyCommand {command}\n")
        with pytest.raises(ConfigError, match="shell"):
            loadClientConfig("web", files=[path])


# ── K4: configuration files ───────────────────────────────────────────────────────────────────


def test_K4_anIncludeOfItselfEnds(path: Path) -> None:
    path.write_text(f"Include {path}\nPort 1\n")
    with pytest.raises(ConfigError, match="itself"):
        loadClientConfig("web", files=[path])


def test_K4_aBushOfIncludesEnds(path: Path) -> None:
    for depth in range(15):
        below = path.parent / f"{depth + 1}"
        (path.parent / f"{depth}").write_text(f"Include {below} {below} {below}\n")
    (path.parent / "15").write_text("")
    path.write_text(f"Include {path.parent}/0\n")
    with pytest.raises(ConfigError, match="files are included"):
        loadClientConfig("web", files=[path])


def test_K4_onlyRegularFilesAreIncluded(path: Path) -> None:
    fifo = path.parent / "fifo"
    os.mkfifo(fifo)
    for odd in ("/dev/zero", "/dev/tty", str(fifo), str(path.parent)):
        path.write_text(f"Include {odd}\n")
        with pytest.raises(ConfigError, match=r"line 1: .*(regular file|No such device)"):
            loadClientConfig("web", files=[path])


def test_K4_linesAndFilesEnd(path: Path) -> None:
    path.write_text("User " + "a" * 10_000_000)
    with pytest.raises(ConfigError):
        loadClientConfig("web", files=[path])
    path.write_text("User " + "a" * 20_000)
    with pytest.raises(ConfigError, match="line 1: "):
        loadClientConfig("web", files=[path])
    with pytest.raises(ConfigError):
        loadClientConfig("web", files=[Path("/dev/zero")])


def test_K4_noCommandIsRunUnlessThatWasAllowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("something was run")

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("subprocess.Popen", run)
    path.write_text(
        "Match exec true\nPort 1\nMatch !exec true\nPort 2\nMatch all\nKnownHostsCommand /bin/x\n"
        "PermitLocalCommand yes\nLocalCommand touch x\nProxyCommand x\n"
    )
    config = loadClientConfig("web", files=[path])
    assert config.port == 22
    said = "\n".join(config.warnings)
    assert "Match exec" in said


def test_K4_aBlockOfACommandThatIsNotRunNeverApplies(path: Path) -> None:
    path.write_text("Match exec true\nPort 1\nMatch !exec true\nPort 2\n")
    assert loadClientConfig("web", files=[path]).port == 22
