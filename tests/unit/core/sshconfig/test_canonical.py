"""Names made canonical: domains in turn, aliases as far as they are permitted."""

from __future__ import annotations

import pytest

from limpet.core.sshconfig.canonical import NameRules, NoSuchName, isDomain, isNumeric

NAMES = {
    "web.b.example.": "web.b.example",
    "alias.a.example.": "Real.C.example",
    "alias": "real.c.example",
    "full.other.example.": "",
    "odd.a.example.": "-not a name",
}


class Resolver:
    """Knows `NAMES`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, name: str) -> str | None:
        self.asked.append(name)
        return NAMES.get(name)


DOMAINS = ("a.example", "b.example")


def canonical(host: str, isDirect: bool = True, **rules: object) -> tuple[str, list[str]]:
    resolver = Resolver()
    made = NameRules(**({"wanted": "yes", "domains": DOMAINS} | rules))  # type: ignore[arg-type]
    return made.canonicalName(host, isDirect, resolver), resolver.asked


def test_the_first_domain_that_has_the_name_counts() -> None:
    assert canonical("web") == ("web.b.example", ["web.a.example.", "web.b.example."])


def test_nothing_is_asked_unless_it_is_wanted() -> None:
    assert canonical("web", wanted="no") == ("web", [])


@pytest.mark.parametrize("host", ["192.0.2.1", "::1", "fe80::1%eth0", "1.2", "127.1"])
def test_addresses_are_left_alone(host: str) -> None:
    assert isNumeric(host)
    assert canonical(host) == (host, [])


def test_behind_a_proxy_only_always_counts() -> None:
    assert canonical("web", isDirect=False) == ("web", [])
    assert canonical("web", isDirect=False, wanted="always")[0] == "web.b.example"


def test_a_name_with_many_dots_is_a_full_one() -> None:
    assert canonical("web.x.y") == ("web.x.y", [])
    assert canonical("web.x.y", maxDots=2)[1] == ["web.x.y.a.example.", "web.x.y.b.example."]


def test_a_dot_at_the_end_makes_a_name_full() -> None:
    assert canonical("full.other.example.") == ("full.other.example", ["full.other.example."])


def test_what_is_in_no_domain_is_left_to_the_system_or_is_an_error() -> None:
    assert canonical("nope")[0] == "nope"
    for host in ("nope", "nope."):
        with pytest.raises(NoSuchName, match="CanonicalizeFallbackLocal"):
            canonical(host, fallbackLocal=False)
    # A full name was never looked for in the domains.
    assert canonical("no.such.name", fallbackLocal=False)[0] == "no.such.name"


class TestAliases:
    def test_are_followed_where_a_rule_permits_it(self) -> None:
        rules = (("x", "*"), ("*.a.example", "*.b.example,*.c.example"))
        assert canonical("alias", permittedCNAMEs=rules)[0] == "real.c.example"

    @pytest.mark.parametrize(
        "rules",
        [(), (("*.b.example", "*"),), (("*", "*.b.example"),), (("*", "*,!real.*"),)],
    )
    def test_are_names_like_others_where_none_does(
        self, rules: tuple[tuple[str, str], ...]
    ) -> None:
        assert canonical("alias", permittedCNAMEs=rules)[0] == "alias.a.example"

    def test_are_followed_for_names_that_the_system_finds(self) -> None:
        rules = (("alias", "*.c.example"),)
        assert canonical("alias", domains=(), permittedCNAMEs=rules)[0] == "real.c.example"

    def test_a_name_that_the_system_does_not_find_is_an_error_unless_a_proxy_may_know_it(
        self,
    ) -> None:
        rules = (("*", "*"),)
        with pytest.raises(NoSuchName, match="no host nope"):
            canonical("nope", permittedCNAMEs=rules)
        found = canonical("nope", isDirect=False, wanted="always", permittedCNAMEs=rules)
        assert found[0] == "nope"

    def test_one_that_ends_at_no_name_is_not_followed(self) -> None:
        assert canonical("odd", permittedCNAMEs=(("*", "*"),))[0] == "odd.a.example"


@pytest.mark.parametrize("name", ["a", "_a.b-c.example", "1.example", "a."])
def test_domains(name: str) -> None:
    assert isDomain(name)


@pytest.mark.parametrize("name", ["", ".a", "-a", "a..b", "a b", "a/b", "é", "a$"])
def test_what_is_no_domain(name: str) -> None:
    assert not isDomain(name)
