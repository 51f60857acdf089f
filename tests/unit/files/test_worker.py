"""`limpet.files.worker`: the process, its identity, its end."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
from pathlib import Path

import pytest

from limpet.files import worker
from limpet.wire import sftp
from limpet.wire.fields import NS, u32
from tests.sftprequests import WorkerAsker, messages, onlyName, statusOf, textOf

needsRoot = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def asNobody(**options: str) -> list[str]:
    user = nobody()
    options = {"uid": str(user.pw_uid), "gid": str(user.pw_gid), "groups": "", **options}
    return [f"{name}={value}" for name, value in options.items()]


@pytest.fixture
def openDirectory(tmp_path: Path) -> Path:
    """A directory that everybody can get to, unlike those above tmp_path."""
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.owner() == pwd.getpwuid(os.getuid()).pw_name and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o755)
    tmp_path.chmod(0o777)
    return tmp_path


class TestSession:
    def test_it_starts_in_the_home(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}") as asker:
            assert asker.path(sftp.FXP_REALPATH, b".") == os.fsencode(tmp_path.resolve())
            assert asker.end() == (0, b"")

    def test_without_a_home_it_starts_at_the_top(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}/missing") as asker:
            assert asker.path(sftp.FXP_REALPATH, b".") == b"/"

    def test_a_byte_at_a_time(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}", hello=False) as asker:
            for byte in NS(bytes([1]) + u32(3)) + NS(bytes([17]) + sftp.packRequest(17, 1, b".")):
                asker.send(bytes([byte]))
            assert asker.receive()[0] == sftp.FXP_VERSION
            assert asker.receive()[0] == sftp.FXP_ATTRS

    def test_many_messages_at_once_are_answered_in_order(self, tmp_path: Path) -> None:
        stream = NS(bytes([1]) + u32(3))
        for number in range(3000):
            stream += NS(bytes([17]) + sftp.packRequest(17, number, b"x" * (number % 700) + b"."))
        with WorkerAsker(f"home={tmp_path}", hello=False) as asker:
            output, complaint = asker.process.communicate(stream, timeout=60)
        replies = messages(output)
        assert [int.from_bytes(reply[1:5], "big") for reply in replies[1:]] == [*range(3000)]
        assert (asker.process.returncode, complaint) == (0, b"")

    def test_large_writes_in_any_pieces(self, tmp_path: Path) -> None:
        sizes = [1, 261120, 100, 261120, 261119, 5, 200000, 60000, 261120]
        data = os.urandom(sum(sizes))
        with WorkerAsker(f"home={tmp_path}") as asker:
            handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
            stream, offset = b"", 0
            for size in sizes:
                piece = data[offset : offset + size]
                stream += NS(bytes([6]) + sftp.packRequest(6, size, handle, offset, piece))
                offset += size
            output, _ = asker.process.communicate(stream, timeout=60)
        assert [sftp.readStatus for _ in messages(output)] == [sftp.readStatus] * len(sizes)
        assert (tmp_path / "new").read_bytes() == data

    @pytest.mark.parametrize("start", [u32(0), u32(262145), u32(2**32 - 1), u32(4) + b"\x11\0\0\0"])
    def test_a_broken_client_is_told_of_in_one_line(self, tmp_path: Path, start: bytes) -> None:
        with WorkerAsker(f"home={tmp_path}") as asker:
            asker.send(start)
            assert asker.receive() == b""
            status, complaint = asker.end()
        assert status == worker.STATUS_PROTOCOL
        assert complaint.count(b"\n") == 1
        assert b"the client broke the protocol" in complaint

    def test_nobody_reading_is_an_end(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}") as asker:
            assert asker.process.stdout is not None
            asker.process.stdout.close()
            asker.send(NS(bytes([17]) + sftp.packRequest(17, 1, b".")))
            assert asker.process.wait(20) == 0

    def test_it_leaves_no_core_and_holds_nothing_open(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}") as asker:
            asker.ask(sftp.FXP_STAT, b".")
            pid = asker.process.pid
            assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
            # The three standard ones, and the directory where paths begin.
            assert len(os.listdir(f"/proc/{pid}/fd")) == 4

    def test_it_begins_where_it_is_told_and_home_stays_home(self, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        home = os.fsencode(tmp_path)
        for start, expected in [
            ("below", b"/below"),
            (f"{home.decode()}/below", b"/below"),
            ("no", b""),
        ]:
            with WorkerAsker(f"home={tmp_path}", f"start={start}") as asker:
                assert asker.path(sftp.FXP_REALPATH, b".") == home + expected
                assert onlyName(asker.extended(sftp.EXT_EXPAND_PATH, b"~")) == home

    def test_a_umask_of_its_own(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}", "umask=027") as asker:
            asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT, {"permissions": 0o777})
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750

    def test_requests_that_are_forbidden(self, tmp_path: Path) -> None:
        with WorkerAsker(f"home={tmp_path}", "forbidden=remove,read,statvfs") as asker:
            handle = asker.open(b"new", sftp.FXF_READ | sftp.FXF_WRITE | sftp.FXF_CREAT)
            denied = sftp.FX_PERMISSION_DENIED
            assert asker.status(sftp.FXP_WRITE, handle, 0, b"x") == sftp.FX_OK
            assert asker.status(sftp.FXP_READ, handle, 0, 1) == denied
            assert asker.status(sftp.FXP_REMOVE, b"new") == denied
            reply = asker.extended(sftp.EXT_STATVFS, b".")
            assert statusOf(reply) == denied
            assert textOf(reply) == b"Permission denied: this login may not ask for that"
        assert (tmp_path / "new").exists()

    @pytest.mark.parametrize("root", ["missing", "file"])
    def test_a_root_that_is_none_serves_nobody(self, tmp_path: Path, root: str) -> None:
        (tmp_path / "file").write_bytes(b"")
        with WorkerAsker(f"home={tmp_path}", f"root={tmp_path}/{root}") as asker:
            status, complaint = asker.end()
        assert status == worker.STATUS_IDENTITY
        assert b"cannot start" in complaint
        assert b"Traceback" not in complaint


class TestIdentity:
    @needsRoot
    def test_root_becomes_the_user_for_good(self, openDirectory: Path) -> None:
        user = nobody()
        with WorkerAsker(*asNobody(home=str(openDirectory))) as asker:
            handle = asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
            assert asker.attrs(sftp.FXP_FSTAT, handle)["uid"] == user.pw_uid
            status = Path(f"/proc/{asker.process.pid}/status").read_text()
            lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert set(lines["Uid"].split()) == {str(user.pw_uid)}
            assert set(lines["Gid"].split()) == {str(user.pw_gid)}
            assert lines["Groups"].split() == []
            assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
            assert asker.status(sftp.FXP_OPEN, b"/etc/shadow", 1, {}) == sftp.FX_PERMISSION_DENIED

    @needsRoot
    def test_the_groups_are_the_users_alone(self, openDirectory: Path) -> None:
        options = asNobody(home=str(openDirectory), groups="54321,54322")
        with WorkerAsker(*options, extra_groups=[0, 4]) as asker:
            asker.ask(sftp.FXP_STAT, b".")
            status = Path(f"/proc/{asker.process.pid}/status").read_text()
            (groups,) = [line for line in status.splitlines() if line.startswith("Groups:")]
            assert groups.split()[1:] == ["54321", "54322"]

    @needsRoot
    def test_root_goes_into_the_jail(self, openDirectory: Path) -> None:
        (openDirectory / "jail").mkdir()
        (openDirectory / "jail" / "file").write_bytes(b"inside")
        (openDirectory / "secret").write_bytes(b"secret")
        (openDirectory / "jail" / "out").symlink_to(openDirectory)
        with WorkerAsker(*asNobody(root=str(openDirectory / "jail"), home="/root")) as asker:
            assert asker.path(sftp.FXP_REALPATH, b".") == b"/"
            assert asker.contents(b"/file") == b"inside"
            assert os.readlink(f"/proc/{asker.process.pid}/root") == str(openDirectory / "jail")
            for path in (b"../secret", b"/../secret", b"out/secret", b"/etc/passwd"):
                assert asker.status(sftp.FXP_STAT, path) == sftp.FX_NO_SUCH_FILE
            # Attributes are set where there is no /proc.
            assert asker.status(sftp.FXP_MKDIR, b"d", {}) in (sftp.FX_OK, sftp.FX_PERMISSION_DENIED)

    @needsRoot
    def test_attributes_are_set_in_a_jail_without_proc(self, openDirectory: Path) -> None:
        openDirectory.chmod(0o777)
        attrs = {"permissions": 0o7751, "atime": 1, "mtime": 2, "size": 0}
        with WorkerAsker(*asNobody(root=str(openDirectory))) as asker:
            asker.open(b"new", sftp.FXF_WRITE | sftp.FXF_CREAT)
            assert asker.status(sftp.FXP_SETSTAT, b"new", attrs) == sftp.FX_OK
        details = (openDirectory / "new").stat()
        assert (details.st_mode & 0o7777, details.st_mtime) == (0o751, 2)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root can become anybody")
    def test_who_cannot_become_the_user_serves_nobody(self) -> None:
        with WorkerAsker("uid=0", "gid=0", "groups=0", "home=/") as asker:
            status, complaint = asker.end()
        assert status == worker.STATUS_IDENTITY
        assert b"Operation not permitted" in complaint

    def test_an_identity_that_is_not_taken_on_is_seen(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("setgroups", "setresgid", "setresuid"):
            monkeypatch.setattr(os, name, lambda *ids: None)
        with pytest.raises(worker.WrongIdentity):
            worker.become(os.getuid() + 1, os.getgid(), list(os.getgroups()))
        with pytest.raises(worker.WrongIdentity):
            worker.become(os.getuid(), os.getgid() + 1, list(os.getgroups()))
        with pytest.raises(worker.WrongIdentity):
            worker.become(os.getuid(), os.getgid(), [12345])

    def test_root_that_could_be_had_again_is_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("setgroups", "setresgid", "setresuid"):
            monkeypatch.setattr(os, name, lambda *ids: None)
        monkeypatch.setattr(os, "getresuid", lambda: (7, 7, 7))
        with pytest.raises(worker.WrongIdentity, match="again"):
            worker.become(7, os.getgid(), list(os.getgroups()))


def test_complaints_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    worker.complain("a\nb\x1b" + "x" * 1000)
    (line,) = capfd.readouterr().err.splitlines()
    assert "a\\nb\\x1b" in line
    assert len(line) < 600


def test_the_worker_loads_neither_twisted_nor_cryptography() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); import limpet.files.worker; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'twisted', 'zope', 'cryptography', 'asyncio', 'click'}))"
    )
    import sys

    from tests.sftprequests import SOURCE

    command = [sys.executable, "-I", "-S", "-c", code, SOURCE]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"[]\n"
