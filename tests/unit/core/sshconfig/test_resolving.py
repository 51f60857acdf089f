"""From lines to settings: blocks, includes, the final pass, and what is told of mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from limpet.core.sshconfig.keywords import ALIASES, KEYWORDS, RETIRED, Support
from limpet.core.sshconfig.lines import MAX_FILE_LENGTH, BadConfig, Source
from limpet.core.sshconfig.resolving import (
    MAX_INCLUDE_DEPTH,
    IncludedFile,
    Resolver,
    Settings,
)


class Files:
    """A `World` of a dictionary; commands are true where they are in `true`."""

    def __init__(self, files: dict[str, str] | None = None, true: Iterable[str] = ()) -> None:
        self.files = files or {}
        self.true = set(true)
        self.asked: list[str] = []

    version = "Limpet_0.0"

    def localAddresses(self) -> Iterable[str]:
        return ["127.0.0.1", "192.0.2.7", "fe80::1%eth0", "2001:db8::7"]

    def include(self, pattern: str, source: Source, settings: Settings) -> Iterable[IncludedFile]:
        if pattern in self.files:
            yield IncludedFile(pattern, self.files[pattern])

    def matchExec(self, command: str, source: Source, settings: Settings) -> bool | None:
        self.asked.append(command)
        return command in self.true


def resolve(
    text: str,
    host: str = "web",
    options: Iterable[tuple[str, str]] = (),
    world: Files | None = None,
    system: str = "",
    command: str = "",
) -> Settings:
    settings = Settings(host, "me", command)
    resolver = Resolver(settings, world or Files())
    for keyword, value in options:
        resolver.addOption(keyword, value)
    for _ in range(2):
        resolver.readFile("mine", text)
        resolver.readFile("system", system, system=True)
        if not settings.wantsFinalPass:
            break
        resolver.startFinalPass()
    return settings


def port(*arguments: Any, **others: Any) -> int | None:
    found: int | None = resolve(*arguments, **others).get("port")
    return found


class TestPrecedence:
    def test_the_first_value_counts(self) -> None:
        assert port("Port 1\nPort 2") == 1

    def test_the_command_line_goes_before_files_and_mine_before_the_systems(self) -> None:
        assert port("Port 1", options=[("port", "7")], system="Port 3") == 7
        assert port("Port 1", system="Port 3") == 1
        assert port("", system="Port 3") == 3

    def test_some_keywords_accumulate(self) -> None:
        found = resolve("IdentityFile a\nIdentityFile b\nIdentityFile a", system="IdentityFile c")
        assert found.all("identityfile") == ["a", "b", "c"]

    def test_a_way_to_the_host_is_chosen_once(self) -> None:
        first = resolve("ProxyJump a\nProxyCommand b")
        assert first.get("proxycommand") is None
        second = resolve("ProxyCommand none\nProxyJump a")
        assert second.get("proxyjump") is None

    def test_it_is_told_where_a_value_comes_from(self) -> None:
        found = resolve("\nPort 1", system="User x")
        assert str(found.source("port")) == "mine line 2"
        assert found.source("user").system


class TestHost:
    @pytest.mark.parametrize(
        ("patterns", "applies"),
        [
            ("web", True),
            ("w*", True),
            ("w?b", True),
            ("a b web", True),
            ("WEB", False),
            ("* !web", False),
            ("!other", False),
            ("!other *", True),
            ("w", False),
        ],
    )
    def test_patterns(self, patterns: str, applies: bool) -> None:
        assert (port(f"Host {patterns}\nPort 9") == 9) is applies

    def test_a_block_ends_where_the_next_begins(self) -> None:
        assert port("Host a\nPort 1\nHost web\nPort 2\nMatch all\nPort 3") == 2


class TestMatch:
    @pytest.mark.parametrize(
        ("criteria", "applies"),
        [
            ("all", True),
            ("host web", True),
            ("host a,w*", True),
            ("host w*,!web", False),
            ("!host web", False),
            ("host web user root", False),
            ("host web !user root", True),
            ("localuser me", True),
            ("originalhost web", True),
            ("host=web", True),
            ("Host WEB", True),
            ("user ME", False),
            ("final", True),
            ("canonical", False),
            ("!final host web", True),
            ("tagged t", False),
            ("sessiontype shell", True),
            ("command git*", False),
        ],
    )
    def test_criteria(self, criteria: str, applies: bool) -> None:
        assert (port(f"Match {criteria}\nPort 9") == 9) is applies

    def test_the_name_that_was_found_so_far_counts(self) -> None:
        assert (
            port("Match host real\nPort 1\nMatch all\nHostName real\nMatch host real\nPort 2") == 2
        )

    def test_tags(self) -> None:
        assert port("Tag t\nMatch tagged t\nPort 2") == 2

    def test_the_command_is_what_was_asked_for_beside_the_files(self) -> None:
        text = "RemoteCommand x\nMatch command git*\nPort 2\n"
        assert port(text, command="git pull") == 2
        assert port(text) is None
        assert port("Match sessiontype exec\nPort 2", command="x") == 2
        assert port("SessionType none\nMatch sessiontype none\nPort 2", command="x") == 2

    @pytest.mark.parametrize("name", ["command", "tagged"])
    def test_what_was_not_asked_for_is_matched_by_nothing_only(self, name: str) -> None:
        assert port(f'Match {name} ""\nPort 2') == 2
        assert port(f'Match {name} "*"\nPort 2') is None
        assert port('Tag x\nMatch tagged ""\nPort 2') is None
        assert port('Match command ""\nPort 2', command="x") is None

    @pytest.mark.parametrize(
        ("networks", "applies"),
        [
            ("192.0.2.0/24", True),
            ("198.51.100.0/24,192.0.2.7", True),
            ("192.0.2.8", False),
            ("2001:db8::/32", True),
            ("fe80::/10", True),
            ("::/0", True),
            ("198.51.100.0/24", False),
        ],
    )
    def test_networks_of_this_machine(self, networks: str, applies: bool) -> None:
        assert (port(f"Match localnetwork {networks}\nPort 2") == 2) is applies
        assert (port(f"Match !localnetwork {networks}\nPort 2") == 2) is not applies

    @pytest.mark.parametrize("networks", ["192.0.2.1/24", "192.0.2.*", "a", "1.2.3.4/33", "::1,"])
    def test_what_is_no_network_is_told(self, networks: str) -> None:
        with pytest.raises(BadConfig, match="line 2: Match localnetwork: .* is no network"):
            resolve(f"Host other\nMatch localnetwork {networks}")

    def test_the_version_is_that_of_the_program(self) -> None:
        assert port('Match version "Limpet_*"\nPort 2') == 2
        assert port('Match version "OpenSSH_*"\nPort 2') is None

    @pytest.mark.parametrize(
        "criteria", ["", "host", "host=", "what x", "all host web", "host web all", "all=x"]
    )
    def test_mistakes(self, criteria: str) -> None:
        with pytest.raises(BadConfig, match="^mine line 2: Match"):
            resolve(f"\nMatch {criteria}\nPort 1")


class TestMatchExec:
    def test_the_command_decides(self) -> None:
        world = Files(true=["test -e x"])
        assert port('Match exec "test -e x"\nPort 1', world=world) == 1
        assert port('Match exec "test -e y"\nPort 1', world=world) is None
        assert port('Match !exec "test -e y"\nPort 1', world=world) == 1

    def test_it_is_not_asked_where_something_else_has_decided(self) -> None:
        world = Files()
        resolve("Match host other exec a\nPort 1\nMatch !host web exec b\n", world=world)
        resolve("Host other\nInclude f", world=Files({"f": "Match exec c\n"}))
        assert world.asked == []


class TestFinalPass:
    def test_the_files_are_read_again_under_the_name_that_was_found(self) -> None:
        text = "Host web\nHostName %h.example\nMatch final\nPort 5\nHost web.example\nUser late"
        found = resolve(text)
        assert (found.get("port"), found.user()) == (5, "late")
        assert found.targetHost() == "web.example"

    def test_there_is_none_unless_it_is_asked_for(self) -> None:
        assert not resolve("Match canonical\nPort 5").wantsFinalPass
        assert not resolve("Match !final\nPort 5").wantsFinalPass

    def test_it_may_be_under_a_name_that_was_looked_up(self) -> None:
        settings = Settings("web", "me")
        resolver = Resolver(settings, Files())
        resolver.readFile("mine", "HostName x\n")
        resolver.startFinalPass("web.example")
        resolver.readFile("mine", "Host web.example\nPort 2\nMatch canonical\nUser late\n")
        assert (settings.get("port"), settings.user()) == (2, "late")
        assert settings.targetHost() == "web.example"


class TestInclude:
    def test_a_file_stands_where_it_is_included(self) -> None:
        world = Files({"f": "Port 1", "g": "User x"})
        found = resolve("Include f g\nPort 2", world=world)
        assert (found.get("port"), found.user()) == (1, "x")

    def test_its_blocks_end_with_it(self) -> None:
        world = Files({"f": "Host other\nPort 1"})
        assert port("Include f\nPort 2", world=world) == 2
        assert port("Host web\nInclude f\nPort 2", world=world) == 2

    def test_it_counts_only_where_the_block_that_includes_it_does(self) -> None:
        world = Files({"f": "Host *\nPort 1"})
        assert port("Host other\nInclude f", world=world) is None

    def test_its_mistakes_are_told_with_its_name(self) -> None:
        with pytest.raises(BadConfig, match="^f line 1: "):
            resolve("Host other\nInclude f", world=Files({"f": "Port x"}))

    def test_a_file_that_is_not_there_is_left_out(self) -> None:
        assert port("Include nothing\nPort 1") == 1

    def test_a_circle_ends(self) -> None:
        with pytest.raises(BadConfig, match=f"more than {MAX_INCLUDE_DEPTH} deep"):
            resolve("Include f", world=Files({"f": "Include f"}))

    def test_many_files_end_too(self) -> None:
        with pytest.raises(BadConfig, match="files are included"):
            resolve(
                "Include f",
                world=Files(
                    {"f": "Include g g g", "g": "Include h h h h h"}
                    | {
                        "h": "Include i i i i i i",
                        "i": "Include j j j j",
                        "j": "Include k k k k",
                        "k": "",
                    }
                ),
            )


class TestMistakes:
    @pytest.mark.parametrize(
        "line",
        [
            "Port",
            "Port x",
            "Port 1 2",
            "Compression maybe",
            "Bogus 1",
            "Host",
            "Include",
            'User "a',
            "ProxyCommand",
            "IgnoreUnknown a b",
            "LocalForward 1",
            "RekeyLimit 1",
            "SetEnv A",
        ],
    )
    def test_are_told_also_in_blocks_that_do_not_apply(self, line: str) -> None:
        with pytest.raises(BadConfig, match="^mine line 3: "):
            resolve(f"Host other\n\n{line}")

    def test_an_unknown_keyword_may_be_ignored(self) -> None:
        text = "IgnoreUnknown UseKey*,Foo\nUseKeychain yes\nFOO bar\nPort 1"
        assert port(text) == 1
        with pytest.raises(BadConfig, match="IgnoreUnknown"):
            resolve("IgnoreUnknown UseKey*\nFoo 1")

    def test_a_file_may_not_be_endless(self) -> None:
        with pytest.raises(BadConfig):
            resolve("#" * (MAX_FILE_LENGTH + 1))

    @pytest.mark.parametrize("keyword", ["Host", "Match", "Include"])
    def test_the_command_line_has_no_blocks(self, keyword: str) -> None:
        with pytest.raises(BadConfig, match="^command line: "):
            resolve("", options=[(keyword, "x")])


class TestWhatIsNotDone:
    def test_is_told_with_file_and_line(self) -> None:
        found = resolve("Port 1\nTunnel yes\n")
        assert found.warnings == ["mine line 2: Tunnel yes: Limpet does not do this"]

    def test_is_a_note_where_it_is_comfort(self) -> None:
        found = resolve("LogVerbose x\n")
        assert found.warnings == []
        assert found.notes == ["mine line 1: LogVerbose x: Limpet does not do this"]

    def test_is_not_told_where_it_is_about_something_else_that_is_told(self) -> None:
        found = resolve("SyslogFacility LOCAL0\nForwardX11Trusted no\nTunnelDevice any\n")
        assert found.warnings == found.notes == []

    @pytest.mark.parametrize(
        "line", ["Tunnel no", "ForwardX11 no", "PKCS11Provider none", "LogVerbose none"]
    )
    def test_is_not_told_where_nothing_is_asked_for(self, line: str) -> None:
        found = resolve(line)
        assert found.warnings == found.notes == []

    def test_is_not_told_of_blocks_that_do_not_apply_nor_of_later_values(self) -> None:
        assert resolve("Tunnel no\nTunnel yes\nHost x\nForwardX11 yes").warnings == []

    def test_is_told_once(self) -> None:
        assert len(resolve("Match final\nTunnel yes").warnings) == 1

    def test_retired_keywords_are_notes(self) -> None:
        assert resolve("Protocol 2").notes == ["mine line 1: Protocol means nothing any more"]


class TestTable:
    def test_names_are_unambiguous(self) -> None:
        assert not set(KEYWORDS) & (set(ALIASES) | RETIRED)
        assert set(ALIASES.values()) <= set(KEYWORDS)

    def test_it_has_the_keywords_of_ssh_config(self) -> None:
        assert len(KEYWORDS) > 95
        assert {keyword.support for keyword in KEYWORDS.values()} == set(Support)
