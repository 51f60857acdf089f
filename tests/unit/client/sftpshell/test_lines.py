"""Listings and tables."""

from __future__ import annotations

import time

import pytest

from limpet.client.sftpshell import lines
from limpet.wire.sftp import StatVfs


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (1536, "1.5K"),
        (10_200, "10K"),
        (1023 * 1024, "1023K"),
        (1024 * 1024 - 1, "1.0M"),
        (5 * 2**40, "5.0T"),
        (2**64, "16E"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert lines.humanSize(size) == text


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, ["a    bb   ccc  d"]),
        (10, ["a    ccc", "bb   d"]),
        (4, ["a", "bb", "ccc", "d"]),
        (1, ["a", "bb", "ccc", "d"]),
    ],
)
def test_columns_go_down_first(width: int, expected: list[str]) -> None:
    assert lines.columns(["a", "bb", "ccc", "d"], width) == expected
    assert lines.columns([], width) == []


def test_a_long_line_for_old_new_and_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)
    attrs = {"permissions": 0o100640, "size": 2048, "mtime": 0}
    line = lines.longLine(b"a\n", attrs, "me", "us", human=True, now=86400 * 400)
    assert line == "-rw-r-----    ? me       us               2.0K Jan  1  1970 a\\n"
    recent = lines.longLine(b"a", {**attrs, "mtime": 86400}, "1", "2", human=False, now=90000)
    assert recent.endswith("Jan  2 00:00 a")
    assert lines.longLine(b"a", {}, "?", "?", human=False, now=0).startswith("??????????")


def test_df() -> None:
    sizes = StatVfs(4096, 4096, 1000, 250, 200, 500, 100, 90, 7, 0, 255)
    head, numbers = lines.usage(sizes, human=False, inodes=False)
    assert head.split() == ["Size", "Used", "Avail", "(root)", "%Capacity"]
    assert numbers.split() == ["4000", "3000", "800", "1000", "75%"]
    assert lines.usage(sizes, human=True, inodes=False)[1].split()[0] == "3.9M"
    assert lines.usage(sizes, human=False, inodes=True)[1].split() == [
        "500", "400", "90", "100", "80%",
    ]  # fmt: skip
    nothing = sizes._replace(blocks=0, bfree=0, files=0, ffree=0)
    assert lines.usage(nothing, human=False, inodes=True)[1].split()[-1] == "-"
