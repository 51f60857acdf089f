"""Each keyword does what the table of keywords says of it: heeded, told, noted, or idle.

Of what is heeded the value reaches the configuration that everything else goes by; that it does
there what `ssh` does is shown in tests/interop.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from limpet.client.config import ClientConfig, loadClientConfig
from limpet.core.sshconfig.keywords import KEYWORDS, Support

SAMPLES = {
    # A line for each keyword, that asks for something which is not the case anyway.
    "AddKeysToAgent": "confirm 5m",
    "AddressFamily": "inet6",
    "BatchMode": "yes",
    "BindAddress": "127.0.0.2",
    "BindInterface": "lo",
    "CanonicalDomains": "a.example",
    "CanonicalizeFallbackLocal": "no",
    "CanonicalizeHostname": "always",
    "CanonicalizeMaxDots": "3",
    "CanonicalizePermittedCNAMEs": "*:*",
    "CASignatureAlgorithms": "ssh-ed25519",
    "CertificateFile": "/c",
    "ChannelTimeout": "session=5m",
    "CheckHostIP": "yes",
    "Ciphers": "aes128-ctr",
    "ClearAllForwardings": "yes\nLocalForward 1 a:2",
    "Compression": "yes",
    "ConnectionAttempts": "3",
    "ConnectTimeout": "7",
    "ControlMaster": "ask",
    "ControlPath": "~/.ssh/%C",
    "ControlPersist": "10m",
    "DynamicForward": "1080",
    "EnableEscapeCommandline": "yes",
    "EscapeChar": "^]",
    "ExitOnForwardFailure": "yes",
    "FingerprintHash": "md5",
    "ForkAfterAuthentication": "yes",
    "ForwardAgent": "yes",
    "GatewayPorts": "yes",
    "GlobalKnownHostsFile": "/g",
    "HashKnownHosts": "yes",
    "HostKeyAlgorithms": "ssh-ed25519",
    "HostKeyAlias": "alias",
    "HostName": "other",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "/agent",
    "IdentityFile": "/i",
    "IPQoS": "ef cs1",
    "KbdInteractiveAuthentication": "no",
    "KbdInteractiveDevices": "pam",
    "KexAlgorithms": "curve25519-sha256",
    "KnownHostsCommand": "/bin/keys %H",
    "LimpetMatchExec": "yes\nMatch exec true\nPort 9",
    "LocalCommand": "echo %T\nPermitLocalCommand yes",
    "LocalForward": "1 a:2",
    "LogLevel": "DEBUG2",
    "MACs": "hmac-sha2-256",
    "NoHostAuthenticationForLocalhost": "yes",
    "NumberOfPasswordPrompts": "1",
    "PasswordAuthentication": "no",
    "PermitLocalCommand": "yes",
    "PermitRemoteOpen": "a:1",
    "Port": "2222",
    "PreferredAuthentications": "password",
    "ProxyCommand": "nc %h %p",
    "ProxyJump": "gate",
    "ProxyUseFdpass": "yes",
    "PubkeyAcceptedAlgorithms": "ssh-ed25519",
    "PubkeyAuthentication": "no",
    "RekeyLimit": "1M 1h",
    "RemoteCommand": "ls",
    "RemoteForward": "1 a:2",
    "RequestTTY": "force",
    "RequiredRSASize": "3072",
    "RevokedHostKeys": "/r",
    "SendEnv": "LANG",
    "ServerAliveCountMax": "9",
    "ServerAliveInterval": "9",
    "SessionType": "none",
    "SetEnv": "A=%n",
    "StdinNull": "yes",
    "StreamLocalBindMask": "0117",
    "StreamLocalBindUnlink": "yes",
    "StrictHostKeyChecking": "accept-new",
    "Tag": "t\nMatch tagged t\nPort 9",
    "TCPKeepAlive": "no",
    "UpdateHostKeys": "yes",
    "User": "else",
    "UserKnownHostsFile": "/u",
    "VersionAddendum": "hello",
    "VisualHostKey": "yes",
    "WarnWeakCrypto": "yes",
    # What is not heeded
    "ForwardX11": "yes",
    "GSSAPIAuthentication": "yes",
    "GSSAPIKeyExchange": "yes",
    "HostbasedAuthentication": "yes",
    "LogVerbose": "kex.c:*:1000",
    "ObscureKeystrokeTiming": "no",
    "PKCS11Provider": "/lib/x.so",
    "SecurityKeyProvider": "/lib/x.so",
    "Tunnel": "ethernet",
    "VerifyHostKeyDNS": "ask",
    # What would be about something that is not there
    "EnableSSHKeysign": "yes",
    "ForwardX11Timeout": "1h",
    "ForwardX11Trusted": "no",
    "GSSAPIClientIdentity": "x",
    "GSSAPIDelegateCredentials": "yes",
    "GSSAPIKexAlgorithms": "x",
    "GSSAPIRenewalForcesRekey": "yes",
    "GSSAPIServerIdentity": "x",
    "GSSAPITrustDns": "yes",
    "HostbasedAcceptedAlgorithms": "ssh-ed25519",
    "SyslogFacility": "LOCAL3",
    "TunnelDevice": "any:3",
    "XAuthLocation": "/x",
}

HEARD_OF = {"RefuseConnection"}
"""Heeded by an error, which has a test of its own."""

OF_THE_READING = {
    "settings",
    "tokens",
    "loadedWith",
    "filesRead",
    "warnings",
    "notes",
}


def load(path: Path, text: str) -> ClientConfig:
    path.write_text(text)
    return loadClientConfig(
        "web", files=[path], home="/home/me", localUser="me", environment={"PATH": "/bin:/usr/bin"}
    )


def test_there_is_a_sample_of_each() -> None:
    assert {name.lower() for name in {*SAMPLES, *HEARD_OF}} == set(KEYWORDS)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_becomes_of_a_keyword(tmp_path: Path, name: str) -> None:
    keyword = KEYWORDS[name.lower()]
    assert keyword.name == name
    # Some say nothing but together with another one.
    before = "\n".join(SAMPLES[name].split("\n")[1:]) if name != "Tag" else "Match tagged t\nPort 9"
    usual = load(tmp_path / "usual", before if name != "LimpetMatchExec" else "")
    found = load(tmp_path / "config", f"{name} {SAMPLES[name]}\n")
    differing = {
        field.name
        for field in fields(ClientConfig)
        if field.name not in OF_THE_READING
        and getattr(found, field.name) != getattr(usual, field.name)
    }
    told = f"{tmp_path / 'config'} line 1: {name} "
    warned = any(text.startswith(told) for text in found.warnings)
    noted = any(text.startswith(told) for text in found.notes)
    if keyword.support is Support.HEEDED:
        assert differing
        assert not warned
        assert not noted
    else:
        assert not differing
        assert warned is (keyword.support is Support.MISSING)
        assert noted is (keyword.support is Support.COMFORT)
