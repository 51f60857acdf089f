"""ssh-audit's opinion of the server.

Two profiles are looked at. `algorithms = "hardened"` must be without any finding. The default
also serves clients of some years ago, so ssh-audit marks what they need; the list of these marks is
written here, and nothing may join it unseen.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import Workplace
from tests.interop.host import IS_LIMPET, Host, running
from tests.interop.peers import requirePeer

AUDIT_SECONDS = 120.0
KINDS = ("kex", "key", "enc", "mac")

pytestmark = pytest.mark.skipif(not IS_LIMPET, reason="this is about Limpet's own lists")

# Kept for clients that know nothing newer: OpenSSH below 9.9 (no ML-KEM), Conch's and older
# libraries' clients (no encrypt-then-MAC).
NOT_POST_QUANTUM = "does not provide protection against post-quantum attacks"
SUSPECTED_CURVE = (
    "using elliptic curves that are suspected as being backdoored by the U.S. National Security"
    " Agency"
)
ENCRYPT_AND_MAC = "using encrypt-and-MAC mode"
EXPECTED_OF_THE_DEFAULT = {
    ("curve25519-sha256", NOT_POST_QUANTUM),
    ("curve25519-sha256@libssh.org", NOT_POST_QUANTUM),
    *(
        (f"ecdh-sha2-nistp{size}", finding)
        for size in (256, 384, 521)
        for finding in (NOT_POST_QUANTUM, SUSPECTED_CURVE)
    ),
    ("hmac-sha2-256", ENCRYPT_AND_MAC),
    ("hmac-sha2-512", ENCRYPT_AND_MAC),
}


def audit(host: Host) -> dict[str, Any]:
    done = subprocess.run(
        [requirePeer("ssh-audit"), "-j", "-p", str(host.port), "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=AUDIT_SECONDS,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def findings(report: dict[str, Any]) -> set[tuple[str, str]]:
    """(algorithm, text) of all failures and warnings."""
    return {
        (algorithm["algorithm"], text)
        for kind in KINDS
        for algorithm in report[kind]
        for level in ("fail", "warn")
        for text in algorithm["notes"].get(level, [])
    }


def names(report: dict[str, Any], kind: str) -> list[str]:
    return [algorithm["algorithm"] for algorithm in report[kind]]


@pytest.fixture(scope="module")
def defaultReport(sharedHost: Host) -> dict[str, Any]:
    return audit(sharedHost)


@pytest.fixture(scope="module")
def hardenedReport(work: Workplace) -> Iterator[dict[str, Any]]:
    config = Path(work.directory) / "hardened.toml"
    config.write_text('algorithms = "hardened"\n')
    with running(work, "--config", str(config)) as host:
        yield audit(host)


class TestHardened:
    def test_no_failure_and_no_warning(self, hardenedReport: dict[str, Any]) -> None:
        assert findings(hardenedReport) == set()
        assert hardenedReport["cves"] == []

    def test_there_is_something_to_audit(self, hardenedReport: dict[str, Any]) -> None:
        assert all(names(hardenedReport, kind) for kind in KINDS)


class TestDefault:
    def test_only_the_known_findings(self, defaultReport: dict[str, Any]) -> None:
        assert findings(defaultReport) == EXPECTED_OF_THE_DEFAULT
        assert defaultReport["cves"] == []

    def test_strict_key_exchange_is_offered(self, defaultReport: dict[str, Any]) -> None:
        assert "kex-strict-s-v00@openssh.com" in names(defaultReport, "kex")

    def test_the_lists_are_those_of_the_documentation(self, defaultReport: dict[str, Any]) -> None:
        pseudo = {"kex-strict-s-v00@openssh.com", "ext-info-s"}
        assert [name for name in names(defaultReport, "kex") if name not in pseudo] == [
            *("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"),
            *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        ]
        assert set(names(defaultReport, "enc")) == {
            *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
            *("chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
        }
        assert set(names(defaultReport, "mac")) == {
            *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
            *("hmac-sha2-256", "hmac-sha2-512"),
        }
        assert defaultReport["compression"] == ["none"]
