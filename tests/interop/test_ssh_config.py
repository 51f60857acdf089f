"""The same ssh_config gives the same answer as `ssh -G`, over a corpus; and where not, it is told.

Every keyword that Limpet heeds is compared, algorithms aside: those lists are of Limpet's own names
and have a test of their own.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from limpet.client.config import ConfigError, loadClientConfig
from limpet.client.listing import configLines
from tests.interop.peers import requirePeer
from tests.interop.sshConfigCases import CASES, INCLUDED, Case

TIMEOUT_SECONDS = 20

USER = pwd.getpwuid(os.getuid())
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": USER.pw_dir, "SHELL": "/bin/sh"}

SSH = os.environ.get("LIMPET_SSH")
"""Another `ssh` than that of the system, to be compared with: a newer one."""

OWN_NAMES = frozenset(
    {
        "casignaturealgorithms",
        "ciphers",
        "hostkeyalgorithms",
        "kexalgorithms",
        "macs",
        "pubkeyacceptedalgorithms",
    }
)

OWN_DEFAULTS = frozenset({"identityfile", "requiredrsasize", "updatehostkeys"})
"""Keywords whose default is another than OpenSSH 9.2's; compared where a text sets them."""

STRICTER = {
    "Port ssh\n": "services are not looked up by name",
    "HostName %%h\n": "only the scope of an IPv6 address has a percent sign",
    "ProxyJump -oProxyCommand=x\n": "no host begins with a dash (attacks.md K3)",
    "ProxyCommand nc %d\n": "a token that does not exist is told when the file is read",
    "FingerprintHash sha1\n": "ssh_config(5) knows md5 and sha256",
    "Match host a all\n": "ssh_config(5): all stands alone",
    "Include {dir}\nPort 4\n": "only regular files are included (attacks.md K4)",
}
"""Texts that Limpet refuses and `ssh -G` does not, and why."""

LOOSER = {
    "Ciphers aes128-ctr,foo\n": "names that only another SSH has are left out, with a note",
}
"""Texts that `ssh -G` refuses and Limpet does not, and why."""

OTHERWISE = {
    "ConnectTimeout 0\n": {"connecttimeout": "no limit is none"},
    "CanonicalizeHostname yes\nCanonicalDomains example.invalid\nMatch canonical all\nPort 9\n": {
        "port": "host names are not made canonical, which is a warning"
    },
}
"""Keywords of texts whose values differ, and why."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("config")
    for name, text in INCLUDED.items():
        (made / name).write_text(text.replace("{dir}", str(made)))
    return made


def table(lines: list[str]) -> dict[str, list[str]]:
    """Keyword to values, each once: `ssh` repeats some where the files are read twice."""
    found: dict[str, list[str]] = {}
    for line in lines:
        keyword, _, value = line.partition(" ")
        keyword = keyword.lower()
        values = found.setdefault(keyword, [])
        if value not in values:
            values.append(value)
    return found


def askSsh(path: Path, case: Case) -> dict[str, list[str]] | None:
    """What `ssh -G` says; None where it refuses."""
    options = [word for option in case.options for word in ("-o", option)]
    command = [case.command] if case.command else []
    done = subprocess.run(
        [SSH or requirePeer("ssh"), "-F", str(path), "-G", *options, case.host, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=ENVIRONMENT,
    )
    return None if done.returncode else table(done.stdout.splitlines())


def askLimpet(path: Path, case: Case) -> dict[str, list[str]] | None:
    """What `limpet ssh -G` says; None where it refuses."""
    overrides = [(option.partition("=")[0], option.partition("=")[2]) for option in case.options]
    try:
        config = loadClientConfig(
            case.host,
            files=[path],
            overrides=overrides,
            localUser=USER.pw_name,
            home=USER.pw_dir,
            environment=ENVIRONMENT,
            allowMatchExec=True,
            command=case.command or None,
        )
    except ConfigError:
        return None
    return table(configLines(config))


@functools.cache
def theirVersion() -> tuple[int, int]:
    """The version of the `ssh` that is there."""
    done = subprocess.run(
        [SSH or requirePeer("ssh"), "-V"], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1]), int(found[2])


def write(directory: Path, tmp: Path, case: Case) -> Path:
    path = tmp / "config"
    path.write_text(case.text.replace("{dir}", str(directory)), newline="")
    return path


def compared(case: Case, mine: dict[str, list[str]]) -> set[str]:
    keywords = set(mine) - OWN_NAMES
    keywords -= {name for name in OWN_DEFAULTS if name not in case.text.lower()}
    # OpenSSH 9.2 prints a LocalForward to a socket as a DynamicForward.
    if "/" in case.text and "forward" in case.text.lower():
        keywords.discard("dynamicforward")
    return keywords


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_answer_is_that_of_ssh(directory: Path, tmp_path: Path, case: Case) -> None:
    if theirVersion() < case.since:
        pytest.skip(f"only OpenSSH {case.since[0]}.{case.since[1]} and later know this")
    path = write(directory, tmp_path, case)
    theirs = askSsh(path, case)
    mine = askLimpet(path, case)
    if case.text in STRICTER:
        assert (mine is None, theirs is None) == (True, False)
        return
    if case.text in LOOSER:
        assert (mine is None, theirs is None) == (False, True)
        return
    assert (mine is None) == (theirs is None)
    if mine is None or theirs is None:
        return
    keywords = compared(case, mine)
    differing = {name for name in keywords if mine[name] != theirs.get(name)}
    assert differing == set(OTHERWISE.get(case.text, ()))
    silent = {"proxyjump", "localforward", "remoteforward", "sendenv", "setenv", "remotecommand"}
    assert not (silent & set(theirs)) - set(mine)


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 100
    assert len(set(CASES)) == len(CASES)


@pytest.mark.parametrize("sign", ["", "+", "^", "-"])
@pytest.mark.parametrize(
    ("keyword", "names"),
    [
        ("Ciphers", "aes256-ctr,aes128-ctr"),
        ("MACs", "hmac-sha2-512,hmac-sha2-256"),
        ("KexAlgorithms", "ecdh-sha2-nistp384,curve25519-sha256"),
        ("HostKeyAlgorithms", "rsa-sha2-512,ecdsa-sha2-nistp256"),
        ("PubkeyAcceptedAlgorithms", "rsa-sha2-512,ssh-ed25519"),
        ("CASignatureAlgorithms", "rsa-sha2-512,ssh-ed25519"),
    ],
)
def test_lists_of_algorithms_are_put_together_as_ssh_does(
    tmp_path: Path, keyword: str, names: str, sign: str
) -> None:
    case = Case(f"{keyword} {sign}{names}\n", "a")
    path = write(tmp_path, tmp_path, case)
    (theirs,) = (askSsh(path, case) or {})[keyword.lower()]
    (mine,) = (askLimpet(path, case) or {})[keyword.lower()]
    ours = mine.split(",")
    wanted = names.split(",")
    if sign in ("", "^"):
        assert ours[: len(wanted)] == theirs.split(",")[: len(wanted)] == wanted
    elif sign == "-":
        assert not set(wanted) & set(ours)
        assert not set(wanted) & set(theirs.split(","))
    else:
        assert set(wanted) <= set(ours) & set(theirs.split(","))
    if not sign:
        assert mine == theirs
