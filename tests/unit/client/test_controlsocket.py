"""The socket of a master: made where there is none, or where nobody listens any more."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from limpet._posix import fcntl
from limpet.client.controlsocket import ControlSocket, NotListening
from tests.descriptors import openDescriptors


def test_it_is_for_its_user_alone_and_listens_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "m"
    before = os.umask(0)
    try:
        control = ControlSocket.make(str(path))
    finally:
        os.umask(before)
    found = path.lstat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    # Nothing is left of its making, nor of itself.
    assert os.listdir(tmp_path) == ["m"]
    control.remove()
    control.remove()
    assert os.listdir(tmp_path) == []


def test_nothing_stands_at_the_path_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    link = os.link

    def watched(source: str, target: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(source)
        seen.append(os.path.exists(target))
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    ControlSocket.make(str(tmp_path / "m")).remove()
    assert seen == [False]


def test_a_living_one_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    control = ControlSocket.make(path)
    before = openDescriptors()
    with pytest.raises(NotListening, match="there already"):
        ControlSocket.make(path)
    assert openDescriptors() == before
    assert os.listdir(tmp_path) == ["m"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    control.remove()


def test_a_living_one_whose_queue_is_full_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        with pytest.raises(NotListening, match="there already"):
            ControlSocket.make(path)


def test_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    control = ControlSocket.make(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert os.listdir(tmp_path) == ["m"]
    control.remove()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("precious")
    with pytest.raises(NotListening, match="there already"):
        ControlSocket.make(str(path))
    assert path.read_text() == "precious"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotListening, match="there already"):
        ControlSocket.make(str(path))
    assert path.is_symlink()


def test_two_do_not_replace_a_dead_one_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(NotListening, match="another master begins"):
        ControlSocket.make(path)
    os.close(other)
    ControlSocket.make(path).remove()


def test_that_of_another_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "m"
    first = ControlSocket.make(str(path))
    path.unlink()
    second = ControlSocket.make(str(path))
    first.remove()
    assert path.is_socket()
    second.remove()


@pytest.mark.parametrize("name", ["none/m", "a\0b"])
def test_where_none_can_be(tmp_path: Path, name: str) -> None:
    before = openDescriptors()
    with pytest.raises(NotListening, match="cannot listen"):
        ControlSocket.make(str(tmp_path / name))
    assert openDescriptors() == before
    assert os.listdir(tmp_path) == []


def test_no_path_that_nobody_could_connect_to(tmp_path: Path) -> None:
    path = str(tmp_path / "m").ljust(108, "m")
    with pytest.raises(NotListening, match="too long"):
        ControlSocket.make(path)
    assert os.listdir(tmp_path) == []
