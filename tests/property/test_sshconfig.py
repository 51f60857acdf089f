"""Whatever stands in a configuration file, it is settings or a `ConfigError` that names a place."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.core.sshconfig import (
    BadConfig,
    BadPlace,
    BadToken,
    IncludedFile,
    NeedsShell,
    Resolver,
    Settings,
    Source,
    parseDestination,
    parseForward,
    parseJumps,
    splitCommand,
)
from limpet.core.sshconfig.keywords import KEYWORDS

WORDS = st.one_of(
    st.sampled_from(
        [*(keyword.name for keyword in KEYWORDS.values()), "Host", "Match", "Include"]
        + ["yes", "no", "none", "*", "!x", "a", "1", "8080", "h:80", "[::1]:80", "/s", "%h", "%%"]
        + [
            "${X}",
            "host",
            "exec",
            "final",
            "localnetwork",
            "127.0.0.0/8",
            "tagged",
            "command",
            "version",
            "all",
            "user",
            "1h",
            "1G",
            "+a,b",
            "-*",
            "~",
            "=",
            "#",
        ]
        + ['"', "'", "\\", "IgnoreUnknown"]
    ),
    st.text(max_size=8),
)
LINES = st.lists(WORDS, max_size=5).map(" ".join)
TEXTS = st.lists(LINES, max_size=8).map("\n".join)


class Nothing:
    """A world of one file that includes nothing, and of commands that succeed."""

    version = "Limpet_0.0"

    def localAddresses(self) -> Iterable[str]:
        return ["127.0.0.1"]

    def include(self, pattern: str, source: Source, settings: Settings) -> Iterable[IncludedFile]:
        return [IncludedFile("other", "Port 5\nHost x\nUser y")] if pattern == "a" else []

    def matchExec(self, command: str, source: Source, settings: Settings) -> bool | None:
        return {"a": True, "1": False}.get(command)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_a_file_is_settings_or_an_error_with_its_place(text: str) -> None:
    found = Settings("a", "me")
    resolver = Resolver(found, Nothing())
    try:
        resolver.readFile("file", text)
        if found.wantsFinalPass:
            resolver.startFinalPass()
            resolver.readFile("file", text)
        found.targetHost()
    except BadConfig as error:
        told = str(error)
    else:
        told = "file"
    assert told.startswith(("file", "other"))
    assert all(values for values in found.values.values())


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_reading_twice_finds_nothing_new(text: str) -> None:
    found = Settings("a", "me")
    resolver = Resolver(found, Nothing())
    try:
        resolver.readFile("file", text)
        before = {keyword: list(values) for keyword, values in found.values.items()}
        resolver.readFile("file", text)
    except BadConfig:
        return
    # What the first reading found may let further blocks apply; what was found stays.
    for keyword, values in before.items():
        assert found.values[keyword][: len(values)] == values


@given(st.text(max_size=40))
def test_places_are_places_or_refused(text: str) -> None:
    for read in (parseDestination, parseJumps, parseForward):
        try:
            read(text)
        except BadPlace:
            continue


PIECES = st.sampled_from(["a", " ", "'", '"', "\\", "%h", "$X", "${X}", "#", "2>", ">", "|", "~/"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_a_token_never_makes_a_word_of_its_own(text: str) -> None:
    def words(value: str) -> list[str] | None:
        try:
            return splitCommand(text, {"h": value}, {"X": value}, "/home")
        except (NeedsShell, BadToken):
            return None

    plain, nasty = words("v"), words("v w; 'x' $(y) %h")
    assert (plain is None) == (nasty is None)
    if plain is not None and nasty is not None:
        assert len(plain) == len(nasty)
