"""`limpet.files.beneath`: paths that stay where they are, by the kernel and by the walk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from limpet.files.beneath import MAX_LINKS, O_PATH, Root, kernelConfines, renameNoReplace
from tests.descriptors import sameDescriptors

WAYS = [
    pytest.param(
        True,
        id="kernel",
        marks=pytest.mark.skipif(not kernelConfines(), reason="this kernel has no openat2"),
    ),
    pytest.param(False, id="walk"),
]


@pytest.fixture(params=WAYS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """A root `jail` beside a file `secret`, both in tmp_path."""
    (tmp_path / "secret").write_bytes(b"secret")
    jail = tmp_path / "jail"
    (jail / "a" / "b").mkdir(parents=True)
    (jail / "file").write_bytes(b"inside")
    (jail / "secret").write_bytes(b"the jail's own")
    found = Root(os.fsencode(jail), useKernel=request.param)
    with sameDescriptors():
        yield found
    found.close()


def contents(root: Root, path: bytes, flags: int = os.O_RDONLY) -> bytes:
    fd = root.open(path, flags)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def jail(root: Root) -> Path:
    return Path(os.fsdecode(root.name()))


@pytest.mark.parametrize(
    "path", [b"file", b"/file", b"//file", b"./file", b"a/../file", b"a/b/../../file", b"../file"]
)
def test_a_path_within_is_opened(root: Root, path: bytes) -> None:
    assert contents(root, path) == b"inside"


@pytest.mark.parametrize(
    "path", [b"../secret", b"/../secret", b"a/../../secret", b"a/b/../../../../secret"]
)
def test_the_top_is_its_own_parent(root: Root, path: bytes) -> None:
    assert contents(root, path) == b"the jail's own"


@pytest.mark.parametrize("target", ["../secret", "/secret", "../../../../../secret", "a/../secret"])
def test_links_lead_no_further(root: Root, target: str) -> None:
    (jail(root) / "link").symlink_to(target)
    assert contents(root, b"link") == b"the jail's own"


def test_a_link_to_the_real_path_of_what_is_outside_leads_nowhere(root: Root) -> None:
    (jail(root) / "link").symlink_to(jail(root).parent / "secret")
    (jail(root) / "up").symlink_to("/")
    (jail(root) / "out").symlink_to(jail(root).parent)
    for path in (b"link", b"out/secret", b"up/proc/self/root/etc/passwd"):
        with pytest.raises(FileNotFoundError):
            root.open(path, os.O_RDONLY)


def test_directories_by_links(root: Root) -> None:
    (jail(root) / "a" / "b" / "deep").write_bytes(b"deep")
    (jail(root) / "short").symlink_to("/a/./b/")
    assert contents(root, b"short/deep") == b"deep"
    assert contents(root, b"short/../../file") == b"inside"


def test_an_absolute_link_begins_at_the_top_wherever_it_stands(root: Root) -> None:
    (jail(root) / "a" / "b" / "link").symlink_to("/file")
    (jail(root) / "a" / "b" / "file").write_bytes(b"another")
    assert contents(root, b"a/b/link") == b"inside"


@pytest.mark.parametrize("flags", [os.O_RDONLY, O_PATH])
def test_a_link_that_takes_a_files_place_is_not_followed(
    root: Root, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    path, real = jail(root) / "file", os.open
    if root._useKernel:
        pytest.skip("the kernel looks once")

    def swap(name: bytes, how: int, *arguments: int, **where: int) -> int:
        if how & os.O_NOFOLLOW and how != O_PATH | os.O_NOFOLLOW and not path.is_symlink():
            path.unlink()
            path.symlink_to("../secret")
        elif how == O_PATH | os.O_NOFOLLOW and flags & O_PATH:
            fd = real(name, how, *arguments, **where)
            path.unlink(missing_ok=True)
            path.symlink_to("../secret")
            return fd
        return real(name, how, *arguments, **where)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OSError) as caught:
        root.open(b"file", flags)
    assert caught.value.errno == errno.ELOOP


def test_a_circle_of_links_ends(root: Root) -> None:
    (jail(root) / "one").symlink_to("two")
    (jail(root) / "two").symlink_to("one")
    with pytest.raises(OSError) as caught:
        root.open(b"one", os.O_RDONLY)
    assert caught.value.errno == errno.ELOOP


def test_as_many_links_as_the_kernel_follows(root: Root) -> None:
    for number in range(MAX_LINKS):
        target = "file" if not number else f"link{number - 1}"
        (jail(root) / f"link{number}").symlink_to(target)
    assert contents(root, b"link%d" % (MAX_LINKS - 1)) == b"inside"


def test_no_follow_opens_the_link_itself(root: Root) -> None:
    (jail(root) / "link").symlink_to("file")
    fd = root.open(b"link", O_PATH | os.O_NOFOLLOW)
    assert stat.S_ISLNK(os.fstat(fd).st_mode)
    os.close(fd)


def test_new_files_are_made_within(root: Root) -> None:
    for path in (b"new", b"../made", b"a/made"):
        os.close(root.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    assert (jail(root) / "new").stat().st_mode & 0o777 == 0o600
    assert (jail(root) / "made").exists()
    assert (jail(root) / "a" / "made").exists()
    assert not (jail(root).parent / "made").exists()


def test_a_new_file_behind_a_link_that_leads_out_is_made_within(root: Root) -> None:
    (jail(root) / "link").symlink_to(f"{jail(root).parent}/made")
    (jail(root) / "up").symlink_to("../made")
    with pytest.raises(FileNotFoundError):
        root.open(b"link", os.O_WRONLY | os.O_CREAT, 0o600)
    os.close(root.open(b"up", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (jail(root) / "made").exists()
    assert not (jail(root).parent / "made").exists()


def test_exclusive_creation_follows_no_link(root: Root) -> None:
    (jail(root) / "link").symlink_to("made")
    with pytest.raises(FileExistsError):
        root.open(b"link", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    assert not (jail(root) / "made").exists()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"missing", FileNotFoundError),
        (b"missing/../file", FileNotFoundError),
        (b"file/x", NotADirectoryError),
        (b"file/..", NotADirectoryError),
        (b"a\0b", OSError),
        (b"x" * 300, OSError),
        (b"x/" * 3000, OSError),
    ],
)
def test_what_is_not_there_is_a_system_error(root: Root, path: bytes, error: type[OSError]) -> None:
    with pytest.raises(error):
        root.open(path, os.O_RDONLY)


def test_the_name_is_where_the_root_is_now(root: Root) -> None:
    moved = jail(root).with_name("moved")
    jail(root).rename(moved)
    assert jail(root) == moved
    assert contents(root, b"file") == b"inside"


class TestRenameNoReplace:
    @pytest.fixture(params=["kernel", "fallback"])
    def directory(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[Path, int]]:
        if request.param == "fallback":
            monkeypatch.setattr("limpet.files.beneath._libc", None)
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "taken").write_bytes(b"taken")
        (tmp_path / "folder").mkdir()
        fd = os.open(tmp_path, os.O_RDONLY)
        yield tmp_path, fd
        os.close(fd)

    @pytest.mark.parametrize("name", [b"old", b"folder"])
    def test_it_renames(self, directory: tuple[Path, int], name: bytes) -> None:
        path, fd = directory
        renameNoReplace(name, fd, b"new", fd)
        assert sorted(os.listdir(path)) == sorted(
            {"old", "taken", "folder", "new"} - {name.decode()}
        )

    @pytest.mark.parametrize("name", [b"old", b"folder"])
    @pytest.mark.parametrize("target", [b"taken", b"folder", b"old"])
    def test_it_replaces_nothing(
        self, directory: tuple[Path, int], name: bytes, target: bytes
    ) -> None:
        path, fd = directory
        with pytest.raises(FileExistsError):
            renameNoReplace(name, fd, target, fd)
        assert (path / "taken").read_bytes() == b"taken"
        assert (path / "old").read_bytes() == b"old"

    def test_a_missing_file_is_missing(self, directory: tuple[Path, int]) -> None:
        with pytest.raises(FileNotFoundError):
            renameNoReplace(b"missing", directory[1], b"new", directory[1])


def test_descriptorGoesWithTheRoot(tmp_path: Path) -> None:
    with sameDescriptors():
        root = Root(os.fsencode(tmp_path))
        closed = Root(os.fsencode(tmp_path))
        closed.close()
        closed.close()
        del root, closed
