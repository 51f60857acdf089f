"""The lines of `limpet ssh -G`; whether they are those of `ssh -G` is asked in tests/interop."""

from __future__ import annotations

from pathlib import Path

from limpet.client.config import ClientConfig, loadClientConfig
from limpet.client.listing import configLines


def test_a_configuration_of_no_file_can_be_listed() -> None:
    lines = configLines(ClientConfig("h", "real", user="u"))
    assert lines[:4] == ["host h", "user u", "hostname real", "port 22"]
    assert len({line.split()[0] for line in lines}) == len(lines) > 30


def test_what_was_written_is_shown_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        "IdentityFile ~/%h\nProxyCommand nc %h %p\nEscapeChar ^]\nConnectTimeout 1m\n"
        "RemoteForward 9\nLocalForward a:1 [::1]:2\nSetEnv A=1\nAddKeysToAgent confirm 60\n"
    )
    lines = configLines(loadClientConfig("h", files=[path]))
    assert {
        "identityfile ~/%h",
        "proxycommand nc %h %p",
        "escapechar \\^]",
        "connecttimeout 60",
        "remoteforward 9 [socks]:0",
        "localforward [a]:1 [::1]:2",
        "setenv A=1",
        "addkeystoagent confirm 60",
    } <= set(lines)
