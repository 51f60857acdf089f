"""Names from a server, and names made from them."""

from __future__ import annotations

import pytest

from limpet.client.filecopy import SuspiciousName, names


@pytest.mark.parametrize("name", [b"a", b"...", b"-", b"a b", b"\xff", b"\n", b"\\", b"x" * 255])
def test_what_a_file_can_be_called(name: bytes) -> None:
    assert names.checkName(name) == name


@pytest.mark.parametrize("name", [b"", b".", b"..", b"/", b"a/b", b"../x", b"a\0", b"/etc"])
def test_what_no_file_is_called(name: bytes) -> None:
    with pytest.raises(SuspiciousName):
        names.checkName(name)


@pytest.mark.parametrize(
    ("path", "base", "parent"),
    [
        (b"a", b"a", b""),
        (b"a/b", b"b", b"a"),
        (b"/a", b"a", b"/"),
        (b"/a/b//", b"b", b"/a"),
        (b"/", b"", b""),
        (b".", b"", b""),
        (b"a/..", b"", b"a"),
        (b"", b"", b""),
    ],
)
def test_the_two_halves_of_a_path(path: bytes, base: bytes, parent: bytes) -> None:
    assert names.baseName(path) == base
    assert names.parentOf(path) == parent


@pytest.mark.parametrize(
    ("directory", "name", "path"),
    [(b"", b"a", b"a"), (b"d", b"", b"d"), (b"d", b"a", b"d/a"), (b"/", b"a", b"/a")],
)
def test_joining(directory: bytes, name: bytes, path: bytes) -> None:
    assert names.join(directory, name) == path


@pytest.mark.parametrize("length", [1, 200, 241, 242, 243, 255])
def test_hidden_names_are_names_and_differ(length: int) -> None:
    first, second = b"x" * (length - 1) + b"1", b"x" * (length - 1) + b"2"
    made = {names.partName(first), names.partName(second)}
    assert len(made) == 2
    made.add(names.temporaryName(first, b"12345678"))
    for name in made:
        assert name.startswith(b".")
        assert len(names.checkName(name)) <= names.MAX_NAME_LENGTH
