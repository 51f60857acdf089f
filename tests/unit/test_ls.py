"""`limpet.ls`: lines like those of `ls -l`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from limpet import ls

NOW = 1_700_000_000
DAY = 86400


@pytest.fixture(autouse=True)
def inUTC(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(ls, "time", lambda: NOW)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def details(mode: int = 0o100644, size: int = 0, mtime: float = NOW) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, 10, 20, size, 0, mtime, 0))


def test_a_recent_file_has_its_hour() -> None:
    line = ls.lsLine("foo", details(size=1234, mtime=NOW - 30 * DAY))
    assert line == "-rw-r--r--    1 10       20           1234 Oct 15 22:13 foo"


@pytest.mark.parametrize(("days", "year"), [(300, "2023"), (400, "2022"), (-400, "2024")])
def test_an_old_one_and_one_of_the_future_have_their_year(days: int, year: str) -> None:
    line = ls.lsLine("foo", details(mtime=NOW - days * DAY))
    assert f"  {year} foo" in line


def test_a_kind_that_is_none() -> None:
    assert ls.lsLine("foo", details(mode=0)).startswith("!---------")


def test_owners_by_name() -> None:
    assert ls.longName(b"x", details(), "user", "group").split()[2:4] == [b"user", b"group"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name", "plain name"),
        ("grün€".encode(), "grün€"),
        (b"a\nb\rc", "a\\nb\\rc"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"\xff", "\\xff"),
        (b"back\\slash", "back\\slash"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        ("\u009b31m".encode(), "\\x9b31m"),
    ],
)
def test_names_move_no_cursor(name: bytes, shown: str) -> None:
    line = ls.longName(name, details()).decode()
    assert line.endswith(f" {shown}")
    assert "\n" not in line


def test_times_outside_every_calendar() -> None:
    assert ls.lsLine("foo", details(mtime=2.0**60)).endswith(" foo")
