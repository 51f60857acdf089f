"""`limpet.core.sftp`: handles, and errors as codes."""

from __future__ import annotations

import errno

import pytest

from limpet.core.sftp import HandleTable, statusOfError
from limpet.wire import sftp
from limpet.wire.errors import BadField


class TestHandles:
    def test_they_mean_what_they_were_given_for(self) -> None:
        table: HandleTable[str] = HandleTable()
        first, second = table.add("a"), table.add("b")
        assert (table.get(first), table.get(second)) == ("a", "b")
        assert table.remove(first) == "a"
        for ask in (table.get, table.remove):
            with pytest.raises(OSError) as caught:
                ask(first)
            assert caught.value.errno == errno.EBADF
        assert table.items() == [(second, "b")]
        assert table.clear() == ["b"]
        assert len(table) == 0

    def test_none_comes_twice_or_is_guessed(self) -> None:
        table: HandleTable[int] = HandleTable()
        handles = set()
        for number in range(1000):
            handle = table.add(number)
            handles.add(handle)
            table.remove(handle)
        assert len(handles) == 1000
        assert len({handle[8:] for handle in handles}) == 1000
        assert all(len(handle) <= sftp.MAX_HANDLE_LENGTH for handle in handles)

    def test_their_number_is_limited(self) -> None:
        table: HandleTable[int] = HandleTable(2)
        handle = table.add(1)
        table.add(2)
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                table.add(3)
            assert caught.value.errno == errno.EMFILE
        table.remove(handle)
        table.add(3)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), sftp.FX_NO_SUCH_FILE, b"No such file"),
        (OSError(errno.ENOTDIR, ""), sftp.FX_NO_SUCH_FILE, b"Not a directory"),
        (PermissionError(errno.EACCES, "no"), sftp.FX_PERMISSION_DENIED, b"no"),
        (OSError(errno.EROFS, "ro"), sftp.FX_PERMISSION_DENIED, b"ro"),
        (FileExistsError(errno.EEXIST, "there"), sftp.FX_FAILURE, b"there"),
        (OSError("words alone"), sftp.FX_FAILURE, b"words alone"),
        (OSError(errno.ENOENT, "gone", "/a/path"), sftp.FX_NO_SUCH_FILE, b"gone"),
        (EOFError(), sftp.FX_EOF, b"End of file"),
        (EOFError("that is all"), sftp.FX_EOF, b"that is all"),
        (NotImplementedError(), sftp.FX_OP_UNSUPPORTED, b"Operation unsupported"),
        (BadField("what"), sftp.FX_BAD_MESSAGE, b"what"),
    ],
)
def test_errors_of_file_systems(error: BaseException, code: int, words: bytes) -> None:
    assert statusOfError(error) == (code, words)


@pytest.mark.parametrize("error", [ValueError(), KeyError(), RuntimeError("x")])
def test_others_are_none(error: BaseException) -> None:
    assert statusOfError(error) is None
