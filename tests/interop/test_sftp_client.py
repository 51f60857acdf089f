"""Our SFTP client against the servers of others, and our own: equal hashes, whatever is copied.

LIMPET_FULL=1 makes the tree 10,000 files and the large file 2 GiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.python.filepath import FilePath

from benchmarks.servers import COMMANDS, ROOT, Workplace, pythonCommand
from limpet import aio
from limpet.client.filecopy import CopyFailed
from limpet.client.knownhosts import KnownHostsFile
from tests.interop.host import Host, poll, running
from tests.interop.peers import missing, requireModule, requirePeer

FULL = bool(os.environ.get("LIMPET_FULL"))
FILES = 10_000 if FULL else 300
LARGE = (2 << 30 if FULL else 24 << 20) + 12_345
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server")
SECONDS = 1800 if FULL else 60
SERVERS = ("limpet", "openssh", "asyncssh", "paramiko")

COMMANDS.setdefault("paramiko", pythonCommand("tests.interop.paramikoServer"))


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, work: Workplace) -> Iterator[Host]:
    """One server after the other."""
    if request.param in ("asyncssh", "paramiko"):
        requireModule(request.param)
    with running(work, name=request.param) as host:
        yield host


def sftpServer() -> str:
    """OpenSSH's sftp-server, to be run over pipes."""
    for path in SFTP_SERVERS:
        if os.access(path, os.X_OK):
            return path
    missing("sftp-server")
    return ""


def options(host: Host, port: int | None = None) -> list[str]:
    """What makes our commands log in at the host, and read nobody's configuration."""
    return [
        *("-F", "none", "-P", str(port or host.port), "-i", str(host.work.clientKey)),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={host.knownHosts}"),
        *("-o", f"HostKeyAlias=[127.0.0.1]:{host.port}"),
    ]


def limpet(
    *arguments: str | os.PathLike[str], input: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run one of our commands to its end."""
    return subprocess.run(
        [sys.executable, "-m", "limpet", *(os.fspath(each) for each in arguments)],
        input=input,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def copied(*arguments: str | os.PathLike[str]) -> None:
    """Run `limpet cp`, which has to work out."""
    done = limpet("cp", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")


def batch(host: Host | None, *lines: str, more: Sequence[str] = ()) -> bytes:
    """Run lines of `limpet sftp`, which all have to work out; what they printed."""
    where = ["-D", sftpServer()] if host is None else [*options(host), host.destination]
    done = limpet("sftp", "-b", "-", *more, *where, input="\n".join(lines).encode() + b"\n")
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def hashes(directory: Path, links: bool = True) -> dict[bytes, str]:
    """Every path below a directory, with the hash of its content or where it points to."""
    found = {}
    root = os.fsencode(directory)
    for above, directories, files in os.walk(root):
        for name in [*files, *directories]:
            path = os.path.join(above, name)
            short = path[len(root) + 1 :]
            if os.path.islink(path):
                if links:
                    found[short] = "-> " + os.fsdecode(os.readlink(path))
            elif os.path.isdir(path):
                found[short] = "directory"
            else:
                with open(path, "rb") as file:
                    found[short] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


ODD_NAMES = [
    b"new\nline",
    b"esc\x1b[2J",
    b" spaces ",
    b"-dash",
    b"star*[a-z]?",
    b"quote'\"\\back",
    "ünïcødé-名前".encode(),
    b"n" * 255,
    b"...",
    b"~",
    b"#",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files, empty ones, odd names, links; nothing that is not UTF-8."""
    root = tmp_path_factory.mktemp("tree") / "t"
    chance = random.Random(4)
    root.mkdir()
    for number in range(FILES):
        directory = root / f"d{number % 23}" / f"e{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(chance.randbytes(chance.choice([0, 1, 500, 9000])))
    odd = root / "odd"
    odd.mkdir()
    for name in ODD_NAMES:
        (odd / os.fsdecode(name)).write_bytes(name)
    (root / "hollow").mkdir()
    (root / "link").symlink_to("d1/e1")
    (root / "nowhere").symlink_to("../nothing/there")
    return root


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large"
    chance = random.Random(9)
    with path.open("wb") as file:
        block = chance.randbytes(1 << 20)
        for number in range(LARGE >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])
        file.write(block[: LARGE & 0xFFFFF])
    return path


def sameFile(one: Path, two: Path) -> bool:
    done = subprocess.run(["cmp", str(one), str(two)], check=False, capture_output=True)
    return done.returncode == 0


@pytest.mark.timeout(SECONDS)
class TestCopies:
    def test_a_tree_there_and_back(self, server: Host, tree: Path, tmp_path: Path) -> None:
        given = [*options(server), "-rp", "--links=copy"]
        copied(*given, tree, f"{server.destination}:{tmp_path}/there")
        assert hashes(tmp_path / "there") == hashes(tree)
        copied(*given, f"{server.destination}:{tmp_path}/there", tmp_path / "back")
        assert hashes(tmp_path / "back") == hashes(tree)
        sample = next(path for path in tree.glob("d3/*/*"))
        copy = tmp_path / "back" / sample.relative_to(tree)
        assert int(copy.stat().st_mtime) == int(sample.stat().st_mtime)
        assert copy.stat().st_mode == sample.stat().st_mode

    def test_names_that_are_not_utf_8(self, server: Host, tmp_path: Path) -> None:
        if server.server.name == "paramiko":
            pytest.skip("Paramiko decodes every name as UTF-8")
        source = tmp_path / "s"
        source.mkdir()
        for name in (b"bad\xff\xfe", b"\x80", b"half\xc3"):
            Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(name)
        copied(*options(server), "-r", source, f"{server.destination}:{tmp_path}/there")
        copied(*options(server), "-r", f"{server.destination}:{tmp_path}/there", tmp_path / "back")
        assert hashes(tmp_path / "back") == hashes(tmp_path / "there") == hashes(source)

    def test_a_large_file_there_and_back(self, server: Host, large: Path, tmp_path: Path) -> None:
        place = f"{server.destination}:{tmp_path}"
        copied(*options(server), large, f"{place}/there")
        assert sameFile(large, tmp_path / "there")
        copied(*options(server), f"{place}/there", tmp_path / "back")
        assert sameFile(large, tmp_path / "back")
        assert {path.name for path in tmp_path.iterdir()} == {"there", "back"}

    def test_commands(self, server: Host, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"content")
        out = batch(
            server,
            f"cd {tmp_path}",
            f"lcd {tmp_path}",
            "pwd",
            "mkdir d",
            "put a d/b",
            "ls -l d",
            "chmod 600 d/b",
            "rename d/b d/c",
            "get d/c e",
            "put -V a f",
            "put a f",
            "ln -s d/c l",
            "ls -1 d/*",
        )
        assert f"Remote working directory: {tmp_path}".encode() in out
        assert b"-rw-" in out
        assert b"d/c\n" in out
        assert (tmp_path / "e").read_bytes() == (tmp_path / "f").read_bytes() == b"content"
        assert os.readlink(tmp_path / "l") == "d/c"
        assert (tmp_path / "d" / "c").stat().st_mode & 0o777 == 0o600
        batch(server, f"cd {tmp_path}", "rm f l d/*", "rmdir d")
        assert {path.name for path in tmp_path.iterdir()} == {"a", "e"}

    def test_failures_are_told_and_leave_nothing(self, server: Host, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"content")
        place = f"{server.destination}:{tmp_path}"
        done = limpet("cp", *options(server), f"{place}/nothing", f"{place}/a", tmp_path / "new")
        assert done.returncode == 1
        assert b"it has to be a directory" in done.stderr
        done = limpet("cp", *options(server), f"{place}/nothing", tmp_path / "new")
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert b"nothing: the server says: No such file" in done.stderr
        done = limpet("cp", *options(server), tmp_path / "a", f"{place}/no/where")
        assert done.returncode == 1
        assert b"/no/where: cannot be written: the server says: " in done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"a"}


class CuttingProxy:
    """Passes connections on, and cuts each after so many bytes from the server or to it."""

    def __init__(self, port: int, limits: Iterator[int]) -> None:
        self._port, self._limits = port, limits
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            left = [next(self._limits)]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(one, other, left), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, left: list[int]) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                left[0] -= len(data)
                if left[0] < 0:
                    self.cuts += 1
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("direction", ["get", "put"])
def test_resumed_after_cuts_at_random_points(
    server: Host, large: Path, tmp_path: Path, direction: str
) -> None:
    if server.server.name == "paramiko" and FULL:
        pytest.skip("Paramiko takes minutes for it")
    chance = random.Random(direction)
    # Three cuts on the way, then none.
    limits = iter([chance.randrange(LARGE // 8, LARGE // 2) for _ in range(3)] + [1 << 62] * 9)
    proxy = CuttingProxy(server.port, limits)
    target = tmp_path / "copy"
    remote = f"{server.destination}:{large if direction == 'get' else target}"
    pair = [remote, str(target)] if direction == "get" else [str(large), remote]
    try:
        for _ in range(6):
            done = limpet("cp", *options(server, proxy.port), "--resume", *pair)
            if done.returncode == 0:
                break
            assert b"the connection to the server is gone" in done.stderr, done.stderr
            assert not target.exists()
            if direction == "put":  # the server has to notice, too
                poll(lambda: not (tmp_path / "copy").exists(), 5, "nothing under the final name")
    finally:
        proxy.close()
    assert proxy.cuts >= 3
    assert sameFile(large, target)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.timeout(SECONDS)
class TestPipes:
    """OpenSSH's sftp-server without an SSH connection."""

    def test_every_extension_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"content")
        out = batch(
            None,
            f"cd {tmp_path}",
            f"lcd {tmp_path}",
            "ln a hard",
            "copy a copied",
            "df -h",
            "df -i",
            "ls -l",
            "put -f a synced",
            "ln -s a soft",
            "chown -h 0 soft" if os.getuid() == 0 else "pwd",
            "mkdir -p x/y/z",
            "cd ~",
        )
        assert (tmp_path / "a").stat().st_nlink == 2
        assert (tmp_path / "copied").read_bytes() == b"content"
        assert b"%Capacity" in out
        assert b" root " in out or os.getuid() != 0

    def test_a_batch_stops_at_the_first_failure(self, tmp_path: Path) -> None:
        lines = f"lcd {tmp_path}\n@-rm {tmp_path}/no\n@rm {tmp_path}/no2\nlmkdir never\n"
        done = limpet("sftp", "-b", "-", "-D", sftpServer(), input=lines.encode())
        assert done.returncode == 1
        assert done.stdout == f"sftp> lcd {tmp_path}\n".encode()
        assert done.stderr.count(b"No such file") == 2
        assert not (tmp_path / "never").exists()

    def test_lines_from_a_pipe_go_on_after_a_failure(self, tmp_path: Path) -> None:
        lines = f"lcd {tmp_path}\nrm {tmp_path}/no\nlmkdir made\n"
        done = limpet("sftp", "-q", "-D", sftpServer(), input=lines.encode())
        assert done.returncode == 0
        assert (tmp_path / "made").is_dir()

    def test_a_server_that_ends_at_once(self) -> None:
        for command in ("/bin/true", "/bin/echo garbage that is no message"):
            done = limpet("sftp", "-b", "-", "-D", command, input=b"pwd\n")
            assert done.returncode == 255
            assert len(done.stderr.splitlines()) == 1

    def test_a_full_disk(self, tmp_path: Path) -> None:
        """/dev/full is one at the server's side; there is no place for a hidden name beside it."""
        (tmp_path / "a").write_bytes(bytes(100_000))
        done = limpet("cp", "-D", sftpServer(), tmp_path / "a", "h:/dev/full")
        assert done.returncode == 1
        assert b"/dev/full: cannot be written: the server says: Failure" in done.stderr
        done = limpet("cp", "-D", sftpServer(), f"h:{tmp_path}/a", "/dev/full")
        assert done.returncode == 1
        assert b"/dev/full: cannot be written: No space left on device" in done.stderr

    @pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
    @pytest.mark.parametrize("more", [[], ["-p"], ["--resume"], ["--verify"], ["--in-place"]])
    def test_devices_stay_devices(self, tmp_path: Path, more: list[str]) -> None:
        (tmp_path / "a").write_bytes(b"content")
        device = tmp_path / "device"
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (tmp_path / "link").symlink_to("device")
        for name in ("device", "link"):
            place = f"{tmp_path}/{name}"
            for pair in ([f"h:{tmp_path}/a", place], [f"{tmp_path}/a", f"h:{place}"]):
                limpet("cp", "-D", sftpServer(), *more, *pair)
                status = device.stat()
                assert stat.S_ISCHR(status.st_mode), (name, pair)
                assert stat.S_IMODE(status.st_mode) == 0o600
                assert {path.name for path in tmp_path.iterdir()} == {"a", "device", "link"}
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "device").write_bytes(b"new")
        (tmp_path / "in").mkdir()
        os.rename(device, tmp_path / "in" / "device")
        limpet("cp", "-r", "-D", sftpServer(), *more, f"h:{tmp_path}/tree/.", tmp_path / "in")
        assert stat.S_ISCHR((tmp_path / "in" / "device").stat().st_mode)

    def test_to_standard_output(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"content")
        done = limpet("cp", "-D", sftpServer(), f"h:{tmp_path}/a", "/dev/stdout")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"content", b"")

    def test_files_of_proc_that_tell_no_size(self, tmp_path: Path) -> None:
        copied("-D", sftpServer(), "h:/proc/version", tmp_path / "version")
        assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("direction", ["get", "put"])
    def test_a_signal_leaves_a_part_that_can_be_resumed(
        self, tmp_path: Path, number: signal.Signals, direction: str
    ) -> None:
        source, target = tmp_path / "a", tmp_path / "b"
        source.write_bytes(random.Random(2).randbytes(3_000_000))
        pair = [f"h:{source}", str(target)] if direction == "get" else [str(source), f"h:{target}"]
        command = [sys.executable, "-m", "limpet", "cp", "-D", sftpServer()]
        process = subprocess.Popen([*command, "-l", "8000", *pair], stderr=subprocess.PIPE)
        part = tmp_path / ".b.limpet-part"
        poll(lambda: part.exists() and part.stat().st_size, 20, "the first bytes")
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        assert b"interrupted; what there is was kept" in told
        assert part.exists()
        assert not target.exists()
        copied("-D", sftpServer(), "--resume", *pair)
        assert sameFile(source, target)
        assert not part.exists()

    def test_errors_are_told_quietly_too(self, tmp_path: Path) -> None:
        done = limpet("cp", "-q", "-D", sftpServer(), f"h:{tmp_path}/no", tmp_path)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)

    def test_what_is_no_file_in_a_tree_is_told(self, tmp_path: Path) -> None:
        """As scp does it; beside a failure, too."""
        (tmp_path / "tree").mkdir()
        os.mkfifo(tmp_path / "tree" / "pipe")
        told = f"limpet: {tmp_path}/tree/pipe: it is neither a file nor a directory\n".encode()
        copy = ["cp", "-r", "-D", sftpServer()]
        done = limpet(*copy, tmp_path / "tree", f"h:{tmp_path}/there")
        assert (done.returncode, done.stderr) == (1, told)
        done = limpet(*copy, f"h:{tmp_path}/tree", tmp_path / "here")
        assert (done.returncode, done.stderr) == (1, told)
        (tmp_path / "tree" / "broken").symlink_to("nothing")
        done = limpet(*copy, tmp_path / "tree", f"h:{tmp_path}/there")
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 2)
        done = limpet(*copy, "--links=skip", tmp_path / "tree", f"h:{tmp_path}/there")
        assert (done.returncode, done.stderr.count(b"skipped")) == (0, 2)

    def test_a_rate_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(bytes(600_000))
        begun = time.monotonic()
        copied("-D", sftpServer(), "-l", "4000", f"h:{tmp_path}/a", tmp_path / "b")
        assert time.monotonic() - begun > 0.5


def test_between_two_servers(work: Workplace, tree: Path, tmp_path: Path) -> None:
    with running(work, name="limpet") as one, running(work, name="limpet") as two:
        known = tmp_path / "known"
        known.write_text(one.knownHosts.read_text() + two.knownHosts.read_text())
        given = ["-F", "none", "-i", str(work.clientKey), "-o", f"UserKnownHostsFile={known}"]
        given += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-r", "--links=copy"]
        source = f"sftp://{one.user}@127.0.0.1:{one.port}/{tree}"
        target = f"sftp://{two.user}@127.0.0.1:{two.port}/{tmp_path}/copy"
        copied(*given, source, target)
    assert hashes(tmp_path / "copy") == hashes(tree)


def programs(work: Workplace, host: Host, home: Path) -> dict[str, str]:
    """The environment of a person who calls the host "web1"."""
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700, parents=True)
    (ssh / "known_hosts").write_text(host.knownHosts.read_text())
    key = ssh / "id_ed25519"
    key.write_bytes(work.clientKey.read_bytes())
    key.chmod(0o600)
    (ssh / "config").write_text(
        f"Host web1\n HostName 127.0.0.1\n Port {host.port}\n User {host.user}\n"
        " IdentityAgent none\n"
    )
    return {**os.environ, "HOME": str(home)}


def test_the_example_and_the_documents_program(
    work: Workplace, host: Host, tree: Path, tmp_path: Path
) -> None:
    environment = programs(work, host, tmp_path / "home")
    for _ in range(2):  # the second run finds everything there
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples/fetchTree.py"), "web1", tree / "d1", "copy"],
            capture_output=True,
            timeout=SECONDS,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert hashes(tmp_path / "copy" / "d1") == hashes(tree / "d1")
    assert done.stdout.endswith(b" files, 0 bytes\n")

    text = (ROOT / "docs/sftp-client.md").read_text()
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0].removeprefix("import limpet\n\n")
    block = block.replace("/var/log/nginx", f"{tree}/d1").replace(
        '"public/"', f'"{tmp_path}/public/"'
    )
    block = block.replace("*.tmp", f"{tmp_path}/*.tmp").replace('"motd"', f'"{tmp_path}/motd"')
    indented = "".join(f"    {line}\n" for line in block.splitlines())
    program = (
        "import limpet\nfrom twisted.internet import defer, task\n"
        f"async def main():\n{indented}"
        "task.react(lambda reactor: defer.Deferred.fromCoroutine(main()))\n"
    )
    (tmp_path / "public").mkdir()
    (tmp_path / "report.pdf").write_bytes(b"report")
    (tmp_path / "old.tmp").touch()
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=SECONDS,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "public" / "report.pdf").read_bytes() == b"report"
    assert (tmp_path / "motd").read_bytes() == b"hello\n"
    assert not (tmp_path / "old.tmp").exists()
    assert hashes(tmp_path / "logs") == hashes(tree / "d1")


@pytest.mark.timeout(SECONDS)
def test_plain_asyncio(host: Host, tree: Path, large: Path, tmp_path: Path) -> None:
    async def main() -> None:
        known = KnownHostsFile.fromPath(FilePath(str(host.knownHosts)))
        async with aio.connect(
            host.destination,
            port=host.port,
            keys=[str(host.work.clientKey)],
            host_keys=known,
            config_files=(),
            only=True,
        ) as client:
            files = await client.files()
            there = tmp_path / "there"
            await files.put(large, there, verify=True)
            await files.get(there, tmp_path / "back", keep_part=True)
            await files.get(tree, tmp_path / "tree", recursive=True, links="copy")
            await files.copy(there, f"{there}2")
            await files.rename(f"{there}2", tmp_path / "moved")
            await files.make_directory(tmp_path / "new")
            await files.write(tmp_path / "new" / "f", b"text")
            await files.make_link(tmp_path / "new" / "l", "f")
            assert await files.read(tmp_path / "new" / "l") == b"text"
            assert await files.read_link(tmp_path / "new" / "l") == "f"
            assert await files.real_path(tmp_path / "new" / "l") == f"{tmp_path}/new/f"
            await files.change_mode(tmp_path / "new" / "f", 0o600)
            assert (await files.stat(tmp_path / "new" / "f"))["permissions"] & 0o777 == 0o600
            entries = await files.list_directory(tmp_path / "new")
            assert {entry.name for entry in entries} == {"f", "l"}
            assert await files.glob(tmp_path / "new" / "*") == [
                f"{tmp_path}/new/f",
                f"{tmp_path}/new/l",
            ]
            assert await files.is_directory(tmp_path / "new")
            await files.remove(tmp_path / "new" / "l")
            await files.remove_tree(tmp_path / "new")
            assert not await files.exists(tmp_path / "new")
            await files.make_directory(tmp_path / "empty")
            await files.remove_directory(tmp_path / "empty")
            with pytest.raises(CopyFailed):
                await files.get(tmp_path / "nothing", tmp_path)
            files.close()

    asyncio.run(main())
    assert sameFile(large, tmp_path / "back")
    assert sameFile(large, tmp_path / "moved")
    assert hashes(tmp_path / "tree") == hashes(tree)


@pytest.mark.timeout(SECONDS)
def test_a_person_at_a_terminal(tmp_path: Path) -> None:
    """History, completion, an interruption: in tmux, where there is a real terminal."""
    tmux = requirePeer("tmux")
    socketPath = tmp_path / "tmux"
    (tmp_path / "home").mkdir()
    (tmp_path / "some file").write_bytes(b"content")
    (tmp_path / "some").mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [tmux, "-S", str(socketPath), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout

    def screen() -> str:
        return run("capture-pane", "-p", "-t", "s")

    def typed(*keys: str) -> None:
        run("send-keys", "-t", "s", *keys)

    def until(text: str) -> None:
        try:
            poll(lambda: text in screen(), 20, repr(text))
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{screen()}") from None

    command = (
        f"cd {tmp_path}; HOME={tmp_path}/home XDG_STATE_HOME= {sys.executable} -m limpet sftp "
    )
    command += f"-D {sftpServer()}; echo status $?; exec cat"
    run("new-session", "-d", "-s", "s", "-x", "100", "-y", "40", command)
    try:
        until("sftp>")
        typed("ls -1 so", "Tab")
        until("sftp> ls -1 some")
        typed("Tab", "Tab")
        until("some file")
        typed("\\", "Space", "f", "Tab", "Enter")
        until("sftp> ls -1 some\\ file\nsome file")
        typed("get some\\ file copy", "Enter")
        until("1 file, 7B in")
        typed("half a line")
        until("sftp> half a line")
        typed("C-c")
        until("sftp> half a line\nsftp>")
        typed("!echo from $((20+3))", "Enter")
        until("from 23")
        typed("bye", "Enter")
        until("status 0")
    finally:
        run("kill-server")
    assert (tmp_path / "copy").read_bytes() == b"content"
    history = tmp_path / "home" / ".local" / "state" / "limpet" / "sftp_history"
    assert "get some\\ file copy" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
