"""What a client is to do for a host, from files on a disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest

from limpet.client.config import (
    MAX_JUMP_DEPTH,
    ClientConfig,
    ConfigError,
    ForwardSpec,
    JumpHost,
    WouldWait,
    loadClientConfig,
)
from limpet.client.errors import ClientError

DEFAULTS = ClientConfig("h", "h")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


class Loader:
    """Loads configurations of one home directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "given"

    def __call__(self, text: str = "", host: str = "h", **more: Any) -> ClientConfig:
        self.path.write_text(text, encoding="utf-8")
        more.setdefault("files", [self.path])
        more.setdefault("environment", {"SSH_AUTH_SOCK": "/agent", "X": "/x"})
        return loadClientConfig(host, home=str(self.home), localUser="me", **more)


@pytest.fixture
def load(home: Path) -> Loader:
    return Loader(home)


class TestDefaults:
    def test_they_are_those_of_the_dataclass(self, load: Loader, home: Path) -> None:
        found = load()
        assert (found.host, found.hostName, found.port, found.user) == ("h", "h", 22, "me")
        assert found.identityAgent == "/agent"
        assert found.identityFiles == [
            f"{home}/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")
        ]
        assert not found.identityFilesGiven
        assert found.userKnownHostsFiles == [
            f"{home}/.ssh/known_hosts",
            f"{home}/.ssh/known_hosts2",
        ]
        for name in ("port", "ciphers", "hostKeyAlgorithms", "strictHostKeyChecking", "rekeyLimit"):
            assert getattr(found, name) == getattr(DEFAULTS, name)

    def test_no_files_are_no_files(self, load: Loader) -> None:
        assert load("Port 5", files=()).port == 22

    def test_algorithms_are_what_every_server_can_be_reached_with(self) -> None:
        assert DEFAULTS.algorithms.compressions == (b"none",)
        assert b"diffie-hellman-group14-sha256" in DEFAULTS.algorithms.keyExchanges
        assert b"ssh-rsa" not in DEFAULTS.algorithms.publicKeys

    def test_keys_are_exchanged_after_an_hour_and_a_gigabyte(self, load: Loader) -> None:
        assert DEFAULTS.rekeyPolicy.maxBytes == 1 << 30
        policy = load("RekeyLimit 64M 10m").rekeyPolicy
        assert (policy.maxBytes, policy.maxSeconds) == (64 << 20, 600.0)


class TestFiles:
    def test_mine_is_read_before_the_systems(
        self, home: Path, load: Loader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        system = home / "system"
        system.write_text("Port 1\nUser sys\nTunnel yes")
        monkeypatch.setattr("limpet.client.config.SYSTEM_CONFIG", system)
        (home / ".ssh" / "config").write_text("Port 2")
        found = load(files=None)
        assert (found.port, found.user) == (2, "sys")
        assert found.warnings == [f"{system} line 3: Tunnel yes: Limpet does not do this"]

    def test_neither_has_to_be_there(
        self, home: Path, load: Loader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("limpet.client.config.SYSTEM_CONFIG", home / "no" / "such")
        assert load(files=None).port == 22

    @pytest.mark.parametrize("mode", [0o666, 0o660, 0o606])
    def test_mine_is_written_by_nobody_else(self, home: Path, load: Loader, mode: int) -> None:
        path = home / ".ssh" / "config"
        path.write_text("Port 2")
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod go-w"):
            load(files=None)

    def test_one_that_was_named_has_to_be_there(self, home: Path, load: Loader) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            load(files=[home / "nothing"])

    def test_one_that_was_named_may_be_a_pipe(self, home: Path, load: Loader) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"Port 99\n")
        os.close(writing)
        try:
            assert load(files=[Path(f"/dev/fd/{reading}")]).port == 99
        finally:
            os.close(reading)
        assert load(files=[Path("/dev/null")]).port == 22

    def test_includes_are_looked_for_in_dot_ssh(self, home: Path, load: Loader) -> None:
        (home / ".ssh" / "b.conf").write_text("Port 7\nUser b")
        (home / ".ssh" / "a.conf").write_text("Port 6")
        found = load("Include *.conf\n")
        assert (found.port, found.user) == (6, "b")
        assert load("Include ~/.ssh/b.conf").port == 7

    def test_bytes_that_are_no_text_stay_what_they_are(self, home: Path, load: Loader) -> None:
        load.path.write_bytes(b"IdentityFile /\xff\xfe\n")
        found = loadClientConfig("h", files=[load.path], home=str(home))
        assert os.fsencode(found.identityFiles[0]) == b"/\xff\xfe"

    def test_a_mistake_is_a_client_error_with_file_and_line(self, load: Loader) -> None:
        with pytest.raises(ClientError, match=f"^{load.path} line 2: Port: "):
            load("# x\nPort x")


class TestTokens:
    def test_paths(self, load: Loader, home: Path) -> None:
        found = load(
            "HostName real\nPort 5\nUser u\nHostKeyAlias alias\n"
            "IdentityFile ~/%h-%n-%p-%r-%u-%k\nCertificateFile ${X}/c\n"
            "UserKnownHostsFile %d/kh /etc/%%\nIdentityAgent %d/agent\nRevokedHostKeys ~/r\n"
            "LocalForward %d/l ${X}/t\nRemoteForward 1 /%h\n"
        )
        assert found.identityFiles == [f"{home}/real-h-5-u-me-alias"]
        assert found.certificateFiles == ["/x/c"]
        assert found.userKnownHostsFiles == [f"{home}/kh", "/etc/%"]
        assert found.identityAgent == f"{home}/agent"
        assert found.revokedHostKeys == [f"{home}/r"]
        assert found.localForwards == [
            ForwardSpec(None, None, listenPath=f"{home}/l", targetPath="/x/t")
        ]
        assert found.remoteForwards == [ForwardSpec(None, 1, targetPath="/real")]

    def test_the_remote_command(self, load: Loader) -> None:
        assert load("RemoteCommand echo %h ${X}").remoteCommand == "echo h ${X}"
        assert load("RemoteCommand none").remoteCommand is None

    @pytest.mark.parametrize(
        "line",
        ["HostName %p", "IdentityFile %x", "UserKnownHostsFile ${NONE}", "ProxyCommand nc %u"],
    )
    def test_what_does_not_exist_is_told_with_file_and_line(self, load: Loader, line: str) -> None:
        with pytest.raises(ConfigError, match="given line 1: "):
            load(line)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("none", None),
            ("SSH_AUTH_SOCK", "/agent"),
            ("$X", "/x"),
            ("$NONE", None),
            ("${X}/s", "/x/s"),
        ],
    )
    def test_the_agent(self, load: Loader, value: str, expected: str | None) -> None:
        assert load(f"IdentityAgent {value}").identityAgent == expected
        if value != "none":
            assert load(f"ForwardAgent {value}").forwardAgentPath in (expected, "SSH_AUTH_SOCK")

    def test_without_a_socket_there_is_no_agent(self, load: Loader) -> None:
        assert load(environment={}).identityAgent is None


class TestWays:
    def test_a_proxy_command_is_arguments(self, load: Loader) -> None:
        found = load('ProxyCommand exec nc -X 5 "%h" %p 2>/dev/null', host="H.example")
        assert found.proxyArguments == ["nc", "-X", "5", "h.example", "22"]
        assert found.proxyCommand == 'exec nc -X 5 "h.example" 22 2>/dev/null'

    def test_one_that_needs_a_shell_is_told(self, load: Loader) -> None:
        with pytest.raises(ConfigError, match="given line 1: .*'|'.*script"):
            load("ProxyCommand nc %h %p | tee log")

    def test_none_is_none(self, load: Loader) -> None:
        found = load("ProxyCommand none")
        assert found.proxyCommand is None
        assert found.proxyArguments is None
        assert load("ProxyJump none").proxyJump == ()

    def test_jump_hosts_have_configurations_of_their_own(self, load: Loader) -> None:
        found = load(
            "Host h\n ProxyJump u@a:1,b\n Port 5\n User target\n IdentityFile /t\n"
            "Host b\n HostName real.b\n Port 7\nHost a\n Port 9\n User file"
        )
        assert found.proxyJump == (JumpHost("u", "a", 1), JumpHost(None, "b"))
        last = found.forJump()
        assert last is not None
        assert (last.hostName, last.port, last.user) == ("real.b", 7, "me")
        assert last.identityFiles != ["/t"]
        first = last.forJump()
        assert first is not None
        assert (first.host, first.port, first.user) == ("a", 1, "u")
        assert first.forJump() is None

    def test_a_host_is_not_reached_through_itself(self, load: Loader) -> None:
        found = load("Host *\nProxyJump gw")
        with pytest.raises(ConfigError, match="ProxyJump none"):
            found.forJump()

    def test_a_circle_of_hosts_ends(self, load: Loader) -> None:
        config: ClientConfig | None = load("Host h\nProxyJump a\nHost a\nProxyJump h")
        for _ in range(MAX_JUMP_DEPTH):
            assert config is not None
            config = config.forJump()
        assert config is not None
        with pytest.raises(ConfigError, match=f"more than {MAX_JUMP_DEPTH}"):
            config.forJump()


class TestAlgorithms:
    def test_signs(self, load: Loader) -> None:
        assert load("Ciphers aes256-ctr").ciphers == [b"aes256-ctr"]
        assert load("Ciphers +aes128-cbc").ciphers[-1] == b"aes128-cbc"
        assert load("Ciphers ^aes256-ctr").ciphers[0] == b"aes256-ctr"
        assert b"aes128-ctr" not in load("Ciphers -aes128-*").ciphers
        assert load("HostKeyAlgorithms +ssh-rsa").hostKeyAlgorithms[-1] == b"ssh-rsa"

    def test_names_that_are_not_limpets_are_left_out_and_told(self, load: Loader) -> None:
        found = load("MACs umac-64@openssh.com,hmac-sha2-256")
        assert found.macs == [b"hmac-sha2-256"]
        assert found.notes == [
            f"{load.path} line 1: macs: umac-64@openssh.com is not in Limpet and is left out"
        ]

    @pytest.mark.parametrize("value", ["umac-64@openssh.com", "-*"])
    def test_a_list_of_which_nothing_is_left_is_an_error(self, load: Loader, value: str) -> None:
        with pytest.raises(ConfigError, match="hmac-sha2-256"):
            load(f"MACs {value}")

    def test_nothing_is_offered_under_no_protection(self, load: Loader) -> None:
        for line in ("Ciphers none", "Ciphers +none", "MACs ^none"):
            if "+" in line or "^" in line:
                assert b"none" not in load(line).ciphers + load(line).macs
            else:
                with pytest.raises(ConfigError):
                    load(line)

    def test_compression_is_offered_first_where_it_is_wanted(self, load: Loader) -> None:
        assert load("Compression yes").algorithms.compressions == (b"zlib@openssh.com", b"none")


class TestEnvironment:
    def test_what_is_sent(self, load: Loader) -> None:
        found = load("SendEnv LANG LC_*\nSendEnv X -LC_T*\nSetEnv A=1 A=2 B='c d'")
        variables = {"LANG": "de", "LC_ALL": "C", "LC_TIME": "C", "X": "y", "B": "no", "Q": ""}
        assert found.sendEnv == ["LANG", "LC_*", "X"]
        assert found.environment(variables) == {
            "LANG": "de",
            "LC_ALL": "C",
            "LC_TIME": "C",
            "X": "y",
            "A": "1",
            "B": "c d",
        }

    def test_a_pattern_can_be_taken_back(self, load: Loader) -> None:
        assert load("SendEnv A B\nSendEnv -A").sendEnv == ["B"]


class TestMatchExec:
    def test_nothing_is_run_unless_that_is_allowed(self, home: Path, load: Loader) -> None:
        mark = home / "mark"
        found = load(f'Match exec "touch {mark}"\nPort 5')
        assert found.port == 22
        assert not mark.exists()
        (warning,) = found.warnings
        assert warning.startswith(f"{load.path} line 1: Match exec: the command is not run")

    def test_the_person_may_allow_it_in_a_file_that_ssh_reads_too(self, load: Loader) -> None:
        text = "IgnoreUnknown Limpet*\nLimpetMatchExec yes\nMatch exec true\nPort 5\n"
        assert load(text).port == 5
        assert load("Match exec true\nPort 5", overrides=[("LimpetMatchExec", "yes")]).port == 5
        assert load("Match exec true\nPort 5\nMatch all\nLimpetMatchExec yes").port == 22

    def test_the_systems_file_may_not(
        self, home: Path, load: Loader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        system = home / "system"
        system.write_text("LimpetMatchExec yes\nMatch exec true\nPort 5\n")
        monkeypatch.setattr("limpet.client.config.SYSTEM_CONFIG", system)
        assert load(files=None).port == 22

    def test_it_is_run_once_without_a_shell(self, home: Path, load: Loader) -> None:
        log = home / "log"
        program = home / "program"
        program.write_text(f'#!/bin/sh\necho "$#:$*" >> {log}\n')
        program.chmod(0o755)
        text = f"Match final\nUser f\nMatch exec \"{program} %h 'a b'\"\nPort 5\n"
        assert load(text, allowMatchExec=True).port == 5
        assert log.read_text() == "2:h a b\n"

    def test_its_status_decides(self, load: Loader) -> None:
        assert load("Match exec false\nPort 5", allowMatchExec=True).port == 22
        assert load("Match !exec false\nPort 5", allowMatchExec=True).port == 5

    @pytest.mark.parametrize("command", ["/no/such/program", "a | b", "echo %q"])
    def test_what_cannot_be_run_is_told(self, load: Loader, command: str) -> None:
        with pytest.raises(ConfigError, match="given line 1: Match exec: "):
            load(f'Match exec "{command}"\nPort 5', allowMatchExec=True)

    def test_who_must_not_wait_is_told_that_it_would(self, home: Path, load: Loader) -> None:
        mark = home / "mark"
        text = f'Host gate\nMatch host gate exec "touch {mark}"\nPort 5\nHost h\nProxyJump gate\n'
        found = load(text, allowMatchExec=True, mayWait=False)
        with pytest.raises(WouldWait, match="Match exec: touch"):
            found.forJump(mayWait=False)
        with pytest.raises(WouldWait):
            load(text, host="gate", allowMatchExec=True, mayWait=False)
        assert not mark.exists()
        assert load(text, host="gate", mayWait=False).port == 22
        jump = found.forJump()
        assert jump is not None
        assert jump.port == 5
        assert mark.exists()

    def test_it_may_not_take_for_ever(self, load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("limpet.client.config.MATCH_EXEC_SECONDS", 0.01)
        with pytest.raises(ConfigError, match="longer than"):
            load('Match exec "sleep 30"\n', allowMatchExec=True)


class TestOthers:
    def test_overrides_win(self, load: Loader) -> None:
        found = load("Port 1\nUser f", overrides=[("Port", "9"), ("port", "10"), ("User", "o")])
        assert (found.port, found.user) == (9, "o")

    def test_forwards_can_be_cleared(self, load: Loader) -> None:
        text = "LocalForward 1 b:2\nRemoteForward 3\nDynamicForward 4\n"
        assert load(text).dynamicForwards == [ForwardSpec(None, 4)]
        found = load(text + "ClearAllForwardings yes")
        assert found.localForwards == found.remoteForwards == found.dynamicForwards == []

    def test_where_a_remote_dynamic_forwarding_may_lead(self, load: Loader) -> None:
        assert load("").mayOpenRemotely("anything", 1)
        assert not load("PermitRemoteOpen none").mayOpenRemotely("a", 1)
        found = load("PermitRemoteOpen A:1 *:2 [::1]:*")
        assert found.permitRemoteOpen == (("a", 1), ("*", 2), ("::1", None))
        for host, port, permitted in (
            ("a", 1, True),
            ("A", 1, True),
            ("a", 3, False),
            ("b", 2, True),
            ("::1", 9, True),
            ("::2", 9, False),
            ("*", 1, False),
        ):
            assert found.mayOpenRemotely(host, port) is permitted

    def test_a_connection_may_be_refused(self, load: Loader) -> None:
        with pytest.raises(ConfigError, match="given line 1: RefuseConnection: use the gate"):
            load("RefuseConnection use the gate")

    def test_words(self, load: Loader) -> None:
        found = load(
            "EscapeChar none\nAddKeysToAgent 5m\nConnectTimeout 30\nLogLevel debug\n"
            "RequestTTY force\nPreferredAuthentications password,publickey\nAddressFamily inet6\n"
        )
        assert found.escapeChar is None
        assert (found.addKeysToAgent, found.addKeysToAgentSeconds) == ("yes", 300)
        assert found.connectTimeout == 30.0
        assert found.logLevel == "DEBUG1"
        assert found.requestTTY == "force"
        assert found.preferredAuthentications == ["password", "publickey"]
        assert found.addressFamily == "inet6"


class TestCanonicalNames:
    NAMES: ClassVar[dict[str, str]] = {"web.a.example.": "web.a.example", "gate.a.example.": ""}
    TEXT = "CanonicalizeHostname yes\nCanonicalDomains a.example\n"

    def lookUp(self, name: str, family: str) -> str | None:
        assert family == "inet"
        return self.NAMES.get(name)

    def config(self, path: Path, text: str, **more: Any) -> ClientConfig:
        path.write_text(f"AddressFamily inet\n{self.TEXT}{text}")
        return loadClientConfig("web", files=[path], **more)

    def test_a_name_is_looked_up_where_that_is_allowed(self, tmp_path: Path) -> None:
        text = "Match canonical\nPort 7\nHost *.a.example\nUser late\n"
        found = self.config(tmp_path / "config", text, lookUp=self.lookUp)
        assert (found.hostName, found.port, found.user) == ("web.a.example", 7, "late")
        assert found.warnings == []
        assert not found.wantsLookUps

    def test_where_it_is_not_it_is_told(self, tmp_path: Path) -> None:
        found = self.config(tmp_path / "config", "Match canonical\nPort 7\n")
        assert (found.hostName, found.port) == ("web", 22)
        assert found.wantsLookUps
        (warning,) = found.warnings
        assert warning.startswith(f"{tmp_path / 'config'} line 2: CanonicalizeHostname: ")

    def test_a_name_that_is_nowhere_may_be_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="CanonicalizeFallbackLocal is no"):
            self.config(
                tmp_path / "config",
                "HostName other\nCanonicalizeFallbackLocal no\n",
                lookUp=self.lookUp,
            )

    def test_a_jump_host_has_a_name_too(self, tmp_path: Path) -> None:
        text = "Host web\nProxyJump gate\n"
        found = self.config(tmp_path / "config", text, lookUp=self.lookUp)
        assert found.hostName == "web"
        plain, canonical = found.forJump(), found.forJump(self.lookUp)
        assert plain is not None
        assert canonical is not None
        assert (plain.hostName, plain.wantsLookUps) == ("gate", True)
        assert (canonical.hostName, canonical.wantsLookUps) == ("gate.a.example", False)

    @pytest.mark.parametrize(
        ("host", "name"), [("127.1", "127.0.0.1"), ("0:0::1", "::1"), ("1.2.3.4", "1.2.3.4")]
    )
    def test_addresses_have_one_form(self, host: str, name: str) -> None:
        assert loadClientConfig(host, files=()).hostName == name


class TestTokensElsewhere:
    def test_in_what_is_included(self, load: Loader, tmp_path: Path) -> None:
        (tmp_path / "h").write_text("Port 5\n")
        assert load(f"Include {tmp_path}/%h\n").port == 5
        assert load("Include ${DIR}/%n\n", environment={"DIR": str(tmp_path)}).port == 5
        with pytest.raises(ConfigError, match="line 1: Include: %z"):
            load("Include /x/%z\n")

    def test_in_names_and_variables(self, load: Loader) -> None:
        found = load("User ${ME}-%n\nSetEnv A=%r@%h B=%%\n", environment={"ME": "bob"})
        assert found.user == "bob-h"
        assert found.setEnv == {"A": "bob-h@h", "B": "%"}
        for text in ("User %r\n", "User %C\n", "User ${NO}\n", "SetEnv A=%z\n"):
            with pytest.raises(ConfigError, match="line 1: "):
                load(text)

    def test_a_name_of_the_command_line_is_taken_as_it_is(self, load: Loader) -> None:
        assert load("", overrides=[("User", "%u")]).user == "%u"

    def test_a_variable_makes_no_name_of_what_is_none(self, load: Loader) -> None:
        with pytest.raises(ConfigError):
            load("User ${X}\n", environment={"X": "$(rm)"})

    @pytest.mark.parametrize("text", ["x" * 201, "a\tb", "caf\u00e9"])
    def test_an_addendum_fits_the_line_that_it_is_sent_in(self, load: Loader, text: str) -> None:
        with pytest.raises(ConfigError, match="versionaddendum: at most"):
            load(f"VersionAddendum {text}\n")

    def test_commands_are_judged_where_they_stand(self, load: Loader) -> None:
        for line in ("KnownHostsCommand a | b", "KnownHostsCommand a %z"):
            with pytest.raises(ConfigError, match="line 1: knownhostscommand"):
                load(line)
        found = load("KnownHostsCommand /bin/a '%H x' ${NO}%%\n")
        assert found.knownHostsCommand is not None
        more = {"H": "$(x) y"}
        assert found.arguments(found.knownHostsCommand, more) == ["/bin/a", "$(x) y x", "%"]

    def test_the_way_to_a_jump_host_is_no_session(self, load: Loader) -> None:
        text = "Host h\nProxyJump gate\nMatch sessiontype none\nPort 7\n"
        jump = load(text, command="ls").forJump()
        assert jump is not None
        assert jump.port == 7
