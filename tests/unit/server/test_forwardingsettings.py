"""The settings of forwarding, and the policy that they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from limpet.server.service import forwardingOf
from limpet.server.settings import Settings, SettingsError, load


def test_nothing_is_forwarded_unless_it_is_said() -> None:
    policy = forwardingOf(Settings())
    assert not policy.local
    assert not policy.remote
    assert not policy.unix
    assert not policy.agent
    assert not policy.gatewayPorts


def test_what_is_said(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        'allow-forwarding = ["local", "unix"]\n'
        'permit-open = ["*.example.org:443", "bob@10.0.0.0/8:*", "/run/user/*"]\n'
        'permit-listen = ["*:8000-8099"]\n'
        "gateway-ports = true\n"
    )
    policy = forwardingOf(load(path))
    assert (policy.local, policy.remote, policy.unix, policy.agent) == (True, False, True, False)
    assert policy.gatewayPorts
    assert policy.permitOpen.allowsAddress(b"alice", b"a.example.org", "192.0.2.1", 443)
    assert not policy.permitOpen.allowsAddress(b"alice", b"x", "10.0.0.1", 443)
    assert policy.permitOpen.allowsPath(b"alice", b"/run/user/1/x")
    assert policy.permitListen.allowsAddress(b"alice", b"", "127.0.0.1", 8000)
    assert not policy.permitListen.allowsAddress(b"alice", b"", "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('allow-forwarding = ["everything"]', "allow-forwarding: 'everything' is none of local"),
        ('permit-open = ["example.org"]', "permit-open: 'example.org' is neither HOST:PORT"),
        ('allow-forwarding = ["unix"]\nsftp-root = "/srv"', "allow-forwarding: .* sftp-root"),
        ('allow-forwarding = ["unix"]\nread-only = true', "allow-forwarding: .* read-only"),
        ('permit-listen = ["::1:80"]', "permit-listen: .* brackets"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(line + "\n")
    with pytest.raises(SettingsError, match=words):
        load(path)
