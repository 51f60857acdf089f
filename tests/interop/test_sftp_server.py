"""Other people's SFTP clients against `limpet serve`: all there and back, with equal bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks.processes import treeOf as processesOf
from benchmarks.servers import ROOT, Server, Workplace, freePort
from tests.interop.host import IS_LIMPET, Host, environmentFor, poll, running
from tests.interop.peers import requireModule, requirePeer

FULL = bool(os.environ.get("LIMPET_FULL"))
SECONDS = 1800.0 if FULL else 60.0
FILES = 10_000 if FULL else 200
LARGE = (2048 if FULL else 16) * 1024 * 1024
MEBIBYTE = 1024 * 1024
Result = TypeVar("Result")

pytestmark = pytest.mark.timeout(2 * SECONDS if FULL else 300)

ODD_NAMES = [
    b"new\nline",
    b"\xff\xfe not UTF-8",
    b"x" * 255,
    b"-rf",
    b"with 'quotes\" and $(id)",
    "grün€".encode(),
    b"*?[a]",
]


def makeTree(top: Path, odd: bool = True, links: bool = True) -> None:
    """Many small files, a large one, empty ones, odd names and links."""
    top.mkdir()
    (top / "empty folder").mkdir()
    (top / "empty").write_bytes(b"")
    seed = os.urandom(32)
    for number in range(FILES):
        folder = top / f"folder{number % 7}" / "deeper"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}").write_bytes(hashlib.sha256(seed + b"%d" % number).digest() * 9)
    with (top / "large").open("wb") as file:
        for _ in range(LARGE // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
    (top / "large").chmod(0o600)
    if odd:
        for name in ODD_NAMES:
            Path(os.fsdecode(os.path.join(os.fsencode(top), name))).write_bytes(name)
    if links:
        (top / "link").symlink_to("empty")
        (top / "dangling").symlink_to("nowhere")


def treeOf(top: Path, links: bool = True) -> dict[bytes, str]:
    """{path: hash of the contents, or the target of a link} of everything below `top`."""
    found = {}
    for directory, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            path = os.path.join(directory, name)
            key = os.path.relpath(path, os.fsencode(top))
            if os.path.islink(path):
                if links:
                    found[key] = "→ " + os.fsdecode(os.readlink(path))
            elif os.path.isdir(path):
                found[key] = "directory"
            else:
                with open(path, "rb") as file:
                    found[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("sftp") / "tree"
    makeTree(top)
    return top


@pytest.fixture(scope="module")
def plainTree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for clients whose command lines and lists are text."""
    top = tmp_path_factory.mktemp("sftp") / "plain"
    makeTree(top, odd=False, links=False)
    return top


def run(host: Host, command: list[str], input: bytes = b"", status: int = 0) -> bytes:
    """Run a client with a HOME of its own; its output."""
    done = subprocess.run(
        command,
        input=input,
        capture_output=True,
        timeout=SECONDS,
        env=environmentFor(host),
        check=False,
    )
    assert done.returncode == status, (done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


def options(host: Host, port: str = "-P") -> list[str]:
    """The options of OpenSSH's sftp and scp."""
    return [
        *("-q", "-F", "none", port, str(host.port), "-i", str(host.work.clientKey)),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={host.knownHosts}"),
    ]


def sftp(host: Host, batch: str, *more: str, status: int = 0) -> str:
    """Run OpenSSH's sftp with these commands."""
    command = [requirePeer("sftp"), *options(host), *more, "-b", "-", host.destination]
    return run(host, command, batch.encode(), status).decode(errors="replace")


# ── OpenSSH ──────────────────────────────────────────────────────────────────────────────────────


def test_sftp_both_ways(host: Host, tree: Path, tmp_path: Path) -> None:
    sftp(host, f"put -Rp {tree} {tmp_path}/there\nget -Rp {tmp_path}/there {tmp_path}/back\n")
    # It follows links that lead somewhere, and leaves the others out.
    expected = treeOf(tree, links=False)
    for copy in ("there", "back"):
        found = treeOf(tmp_path / copy)
        found.pop(b"link", None)
        assert found == expected
    details, original = (tmp_path / "back" / "large").stat(), (tree / "large").stat()
    assert details.st_mode == original.st_mode
    assert int(details.st_mtime) == int(original.st_mtime)


@pytest.mark.parametrize("size", ["1", "1000", "262144"])
def test_sftp_with_blocks_of_any_size(host: Host, tmp_path: Path, size: str) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(70_001 if size != "1" else 501))
    batch = f"put {tmp_path}/file {tmp_path}/there\nget {tmp_path}/there {tmp_path}/back\n"
    sftp(host, batch, "-B", size, "-R", "300")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "back").read_bytes() == data


def test_sftp_commands(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    text = sftp(
        host,
        f"cd {tmp_path}\npwd\nmkdir folder\nrename file folder/file\nln -s folder/file link\n"
        "ln folder/file hard\nchmod 640 hard\nls -la\nls -1\ndf -h\ncopy hard copied\n"
        f"lcd {tmp_path}\nget link got\nrm link\n-rmdir folder\nrm folder/file\nrmdir folder\n"
        "symlink nowhere dangling\nls -l dangling\n",
    )
    assert f"Remote working directory: {tmp_path.resolve()}" in text
    assert "%Capacity" in text
    assert (tmp_path / "got").read_bytes() == b"contents"
    assert (tmp_path / "copied").read_bytes() == b"contents"
    assert stat.S_IMODE((tmp_path / "hard").stat().st_mode) == 0o640
    assert os.readlink(tmp_path / "dangling") == "nowhere"
    assert sorted(os.listdir(tmp_path)) == ["copied", "dangling", "got", "hard"]


def test_sftp_errors_are_told(host: Host, tmp_path: Path) -> None:
    text = sftp(host, f"get {tmp_path}/missing\n", status=1)
    assert "not found" in text or "No such file" in text
    text = sftp(host, f"mkdir {tmp_path}\n", status=1)
    assert "Failure" in text or "File exists" in text


def test_sftp_goes_on_where_it_was_cut(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(3_000_000))
    (tmp_path / "got").write_bytes(data[:1_234_567])
    (tmp_path / "put").write_bytes(data[:765_432])
    sftp(
        host,
        f"reget {tmp_path}/file {tmp_path}/got\nreput {tmp_path}/file {tmp_path}/put\n",
    )
    assert (tmp_path / "got").read_bytes() == (tmp_path / "put").read_bytes() == data


def test_scp_both_ways(host: Host, plainTree: Path, tmp_path: Path) -> None:
    scp = [requirePeer("scp"), "-s", *options(host), "-rp"]
    run(host, [*scp, str(plainTree), f"{host.destination}:{tmp_path}/there"])
    run(host, [*scp, f"{host.destination}:{tmp_path}/there", str(tmp_path / "back")])
    assert treeOf(tmp_path / "there") == treeOf(tmp_path / "back") == treeOf(plainTree)


def test_what_a_cut_upload_leaves_is_a_beginning(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(64 * MEBIBYTE))
    command = [requirePeer("sftp"), *options(host), "-l", "80000", "-b", "-", host.destination]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert client.stdin is not None
    client.stdin.write(f"put {tmp_path}/file {tmp_path}/there\n".encode())
    client.stdin.close()
    there = tmp_path / "there"
    poll(lambda: there.exists() and there.stat().st_size > 100_000, SECONDS, "some of the file")
    client.kill()
    client.wait()
    host.waitUntilIdle()
    assert data.startswith(there.read_bytes())


# ── others ───────────────────────────────────────────────────────────────────────────────────────


def test_psftp(host: Host, plainTree: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.ppk"
    command = [requirePeer("puttygen"), str(host.work.clientKey), "-O", "private", "-o", str(key)]
    run(host, command)
    print_ = [requirePeer("ssh-keygen"), "-lf", str(host.work.hostKey.with_suffix(".pub"))]
    fingerprint = run(host, print_).split()[1].decode()
    batch = tmp_path / "batch"
    batch.write_text(
        f"pwd\nput -r {plainTree} {tmp_path}/there\nget -r {tmp_path}/there {tmp_path}/back\n"
        f"ls {tmp_path}\nmkdir {tmp_path}/new\nchmod 700 {tmp_path}/new\n"
        f"mv {tmp_path}/new {tmp_path}/moved\nreget {tmp_path}/there/large {tmp_path}/cut\n"
    )
    (tmp_path / "cut").write_bytes((plainTree / "large").read_bytes()[:100_000])
    command = [
        *(requirePeer("psftp"), "-batch", "-noagent", "-P", str(host.port), "-i", str(key)),
        *("-hostkey", fingerprint, "-b", str(batch), host.destination),
    ]
    run(host, command)
    expected = treeOf(plainTree)
    assert treeOf(tmp_path / "there") == treeOf(tmp_path / "back") == expected
    assert (tmp_path / "cut").read_bytes() == (plainTree / "large").read_bytes()
    assert stat.S_IMODE((tmp_path / "moved").stat().st_mode) == 0o700


def test_lftp(host: Host, tree: Path, tmp_path: Path) -> None:
    connect = " ".join([requirePeer("ssh"), "-a", "-x", *options(host, "-p")])
    script = (
        f"set sftp:connect-program '{connect}'; set sftp:auto-confirm yes; "
        "set net:max-retries 1; set net:timeout 20; set sftp:charset binary; "
        f"open -u {host.user},unused sftp://127.0.0.1; "
        f"mirror -R --no-umask {tree} {tmp_path}/there; mirror {tmp_path}/there {tmp_path}/back; "
        f"ls {tmp_path}; quit"
    )
    run(host, [requirePeer("lftp"), "--norc", "-c", script])
    assert treeOf(tmp_path / "there") == treeOf(tmp_path / "back") == treeOf(tree)


def test_curl(host: Host, tmp_path: Path) -> None:
    curl = [
        *(requirePeer("curl"), "-sS", "--insecure", "--max-time", str(int(SECONDS))),
        *("--user", f"{host.user}:", "--key", str(host.work.clientKey)),
        *("--pubkey", f"{host.work.clientKey}.pub"),
    ]
    if "sftp" not in run(host, [*curl, "--version"]).decode():
        pytest.skip("this curl was built without sftp")
    data = os.urandom(5_000_001)
    (tmp_path / "file").write_bytes(data)
    url = f"sftp://127.0.0.1:{host.port}{tmp_path}"
    run(host, [*curl, "-T", str(tmp_path / "file"), f"{url}/new/there", "--ftp-create-dirs"])
    assert (tmp_path / "new" / "there").read_bytes() == data
    run(host, [*curl, "-o", str(tmp_path / "back"), f"{url}/new/there"])
    assert (tmp_path / "back").read_bytes() == data
    run(host, [*curl, "-o", str(tmp_path / "part"), "-r", "1000-1999", f"{url}/new/there"])
    assert (tmp_path / "part").read_bytes() == data[1000:2000]
    assert b"there" in run(host, [*curl, f"{url}/new/"])
    quotes = [f"rename {tmp_path}/new/there {tmp_path}/new/moved", f"rm {tmp_path}/file"]
    run(host, [*curl, f"{url}/new/", *(word for quote in quotes for word in ("-Q", quote))])
    assert sorted(os.listdir(tmp_path / "new")) == ["moved"]
    assert not (tmp_path / "file").exists()


def test_rclone(host: Host, plainTree: Path, tmp_path: Path) -> None:
    rclone = [
        *(requirePeer("rclone"), "--config", str(tmp_path / "none"), "--retries", "1"),
        *("--sftp-host", "127.0.0.1", "--sftp-port", str(host.port), "--sftp-user", host.user),
        *("--sftp-key-file", str(host.work.clientKey)),
        *("--sftp-known-hosts-file", str(host.knownHosts)),
    ]
    there = f":sftp:{tmp_path}/there"
    run(host, [*rclone, "copy", "--create-empty-src-dirs", str(plainTree), there])
    run(host, [*rclone, "check", str(plainTree), there])
    run(host, [*rclone, "copy", "--create-empty-src-dirs", there, str(tmp_path / "back")])
    expected = treeOf(plainTree)
    assert treeOf(tmp_path / "there") == treeOf(tmp_path / "back") == expected
    run(host, [*rclone, "purge", there])
    assert not (tmp_path / "there").exists()


def test_sshfs(host: Host, tree: Path, tmp_path: Path) -> None:
    sshfs = requirePeer("sshfs")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        pytest.skip("there is no FUSE here")
    mounted, files = tmp_path / "mounted", tmp_path / "files"
    mounted.mkdir()
    files.mkdir()
    command = [sshfs, "-f", f"{host.destination}:{files}", str(mounted), "-o", "reconnect"]
    # -f is "in the foreground" to sshfs, which hands the other options to ssh.
    command += ["-p", str(host.port), "-F", "none", "-o", f"IdentityFile={host.work.clientKey}"]
    command += ["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]
    command += ["-o", f"UserKnownHostsFile={host.knownHosts}", "-o", "BatchMode=yes"]
    process = subprocess.Popen(
        command, env=environmentFor(host), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        poll(lambda: mounted.is_mount() or process.poll() is not None, SECONDS, "the mount")
        if not mounted.is_mount():
            assert process.stderr is not None
            message = process.stderr.read().decode(errors="replace")
            assert "fuse" in message, message
            pytest.skip(f"no mounts here: {message.strip()}")
        # copytree sets the times of a link, which sshfs asks of what the link leads to.
        dangling = shutil.ignore_patterns("dangling")
        shutil.copytree(tree, mounted / "there", symlinks=True, ignore=dangling)
        (mounted / "there" / "dangling").symlink_to("nowhere")
        assert treeOf(files / "there") == treeOf(tree)
        assert treeOf(mounted / "there") == treeOf(tree)
        with (mounted / "there" / "large").open("r+b") as file:
            file.seek(4_000_000)
            file.write(b"in the middle")
            file.truncate(5_000_000)
            os.fsync(file.fileno())
        assert (files / "there" / "large").read_bytes()[4_000_000:4_000_013] == b"in the middle"
        os.rename(mounted / "there" / "large", mounted / "there" / "empty")
        assert (files / "there" / "empty").stat().st_size == 5_000_000
        assert os.statvfs(mounted).f_blocks
        shutil.rmtree(mounted / "there")
        assert os.listdir(files) == []
    finally:
        subprocess.run(["fusermount", "-u", str(mounted)], check=False, capture_output=True)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()


# ── AsyncSSH and Paramiko ────────────────────────────────────────────────────────────────────────


def withAsyncssh(host: Host, use: Callable[[Any], Awaitable[Result]]) -> Result:
    asyncssh = requireModule("asyncssh")

    async def main() -> Result:
        connection = await asyncssh.connect(
            "127.0.0.1",
            host.port,
            username=host.user,
            client_keys=[str(host.work.clientKey)],
            known_hosts=str(host.knownHosts),
            config=[],
        )
        async with connection, connection.start_sftp_client() as client:
            return await use(client)

    return asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_asyncssh(host: Host, tree: Path, tmp_path: Path) -> None:
    async def use(client: Any) -> None:
        there, back = os.fsencode(tmp_path / "there"), os.fsencode(tmp_path / "back")
        # OpenSSH's server cannot set the times of a link for it.
        await client.put(os.fsencode(tree), there, recurse=True, preserve=IS_LIMPET)
        await client.get(there, back, recurse=True, preserve=True)
        # It takes us for a server of the draft, and sends the link first.
        await client.symlink("target", f"{tmp_path}/link")
        await client.link(f"{tmp_path}/there/large", f"{tmp_path}/hard")
        await client.posix_rename(f"{tmp_path}/hard", f"{tmp_path}/back/large")
        copy = client.remote_copy if IS_LIMPET else client.copy
        await copy(f"{tmp_path}/there/large", f"{tmp_path}/copied")
        assert client.limits.max_read_len == 261120
        assert (await client.statvfs(str(tmp_path))).blocks
        async with client.open(f"{tmp_path}/copied", "rb+") as file:
            await file.truncate(1000)
            await file.fsync()

    withAsyncssh(host, use)
    assert treeOf(tmp_path / "there") == treeOf(tmp_path / "back") == treeOf(tree)
    assert os.readlink(tmp_path / "link") == "target"
    assert (tmp_path / "copied").read_bytes() == (tree / "large").read_bytes()[:1000]


def test_paramiko(host: Host, tmp_path: Path) -> None:
    paramiko = requireModule("paramiko")
    data = os.urandom(5_000_001)
    (tmp_path / "file").write_bytes(data)
    with paramiko.SSHClient() as ssh:
        ssh.load_host_keys(str(host.knownHosts))
        ssh.connect(
            "127.0.0.1",
            host.port,
            username=host.user,
            key_filename=str(host.work.clientKey),
            allow_agent=False,
            look_for_keys=False,
            timeout=SECONDS,
        )
        client = ssh.open_sftp()
        assert client.put(f"{tmp_path}/file", f"{tmp_path}/there").st_size == len(data)
        client.get(f"{tmp_path}/there", f"{tmp_path}/back")
        client.chdir(str(tmp_path))
        client.symlink("target", "link")
        assert client.readlink("link") == "target"
        client.mkdir("folder", 0o750)
        client.posix_rename("file", "folder/file")
        assert client.listdir("folder") == ["file"]
        assert {entry.filename for entry in client.listdir_attr()} == {
            *("back", "folder", "link", "there")
        }
        with client.open("there", "r+") as file:
            file.seek(100)
            file.write(b"changed")
            file.prefetch()
            file.seek(100)
            assert file.read(7) == b"changed"
        client.utime("there", (5, 6))
        assert client.stat("there").st_mtime == 6
        with pytest.raises(FileNotFoundError):
            client.stat("missing")
        with pytest.raises(OSError, match="exists|Failure"):
            client.rename("there", "back")
    assert (tmp_path / "back").read_bytes() == data


# ── confined and read-only ───────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def jailed(
    work: Workplace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Host, Path]]:
    top = tmp_path_factory.mktemp("root")
    (top / "jail").mkdir()
    (top / "secret").write_bytes(b"secret")
    with running(work, "--sftp-root", str(top / "jail"), name="limpet") as host:
        yield host, top


@pytest.mark.skipif(not IS_LIMPET, reason="an option of limpet serve")
def test_a_confined_server(jailed: tuple[Host, Path], tree: Path, tmp_path: Path) -> None:
    host, top = jailed
    text = sftp(host, f"pwd\nput -R {tree} there\nget -R there {tmp_path}/back\nls -l /\n")
    assert "Remote working directory: /\n" in text
    found = treeOf(tmp_path / "back")
    found.pop(b"link", None)
    assert found == treeOf(tree, links=False)
    (top / "jail" / "out").symlink_to(top / "secret")
    for path in ("../secret", "/../secret", "out", str(top / "secret"), "/etc/passwd"):
        sftp(host, f"get {path} {tmp_path}/got\n", status=1)
    assert not (tmp_path / "got").exists()
    assert host.ssh("id").returncode != 0
    host.assertWell()


@pytest.mark.skipif(not IS_LIMPET, reason="an option of limpet serve")
def test_a_read_only_server(work: Workplace, tree: Path, tmp_path: Path) -> None:
    before = treeOf(tree)
    with running(work, "--read-only", name="limpet") as host:
        sftp(host, f"get -R {tree} {tmp_path}/back\n")
        for command in (
            f"put {tree}/empty {tree}/new",
            f"rm {tree}/empty",
            f"rename {tree}/empty {tree}/new",
            f"chmod 777 {tree}/empty",
            f"mkdir {tree}/new",
            f"ln {tree}/empty {tree}/new",
            f"ln -s empty {tree}/new",
            f"copy {tree}/empty {tree}/new",
        ):
            sftp(host, command + "\n", status=1)
        assert host.ssh("id").returncode != 0
        host.assertWell()
    assert treeOf(tree) == before


@pytest.mark.skipif(not IS_LIMPET or os.geteuid() != 0, reason="only root serves everybody")
def test_a_server_of_roots_serves_each_user_as_that_user(work: Workplace) -> None:
    user = pwd.getpwnam("nobody")
    # A directory that everybody can reach: keys are read with the user's own rights.
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        top = Path(directory)
        top.chmod(0o755)
        keys = top / "keys"
        keys.write_bytes(work.clientKey.with_suffix(".pub").read_bytes())
        jail = top / "files" / user.pw_name
        jail.mkdir(parents=True)
        os.chown(jail, user.pw_uid, user.pw_gid)
        (top / "secret").write_bytes(b"secret")
        settings = top / "settings.toml"
        settings.write_text(f'sftp-root = "{top}/files/%u"\n')
        arguments = ["--authorized-keys", str(keys), "--config", str(settings)]
        with running(work, *arguments, name="limpet") as host:
            command = [requirePeer("sftp"), *options(host), "-b", "-"]
            command.append(f"{user.pw_name}@127.0.0.1")
            batch = f"pwd\nput {keys} mine\nmkdir folder\nls -l\n-get ../secret\n-ls /etc\n"
            text = run(host, command, batch.encode()).decode()
            assert "Remote working directory: /\n" in text
            assert text.count("not found") == 2
            host.assertWell()
        for path in (jail / "mine", jail / "folder"):
            details = path.stat()
            assert (details.st_uid, details.st_gid) == (user.pw_uid, user.pw_gid)
        assert (jail / "mine").read_bytes() == keys.read_bytes()


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not IS_LIMPET, reason="it is our memory that is bounded")
def test_memory_stays_bounded(host: Host, tmp_path: Path) -> None:
    """A server's memory, its worker's included, grows by less than 32 MiB whatever is moved."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate((512 if FULL else 128) * MEBIBYTE)
    idle = memoryOf(host)
    peaks: list[int] = []
    for command in (f"get {tmp_path}/big /dev/null", f"put {tmp_path}/big {tmp_path}/there"):
        client = subprocess.Popen(
            [requirePeer("sftp"), *options(host), "-R", "1000", "-b", "-", host.destination],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdin is not None
        client.stdin.write(f"{command}\n".encode())
        client.stdin.close()
        while client.poll() is None:
            peaks.append(memoryOf(host))
            time.sleep(0.02)
        assert client.returncode == 0
    host.waitUntilIdle()
    assert max(peaks) - idle < 32 * MEBIBYTE, (max(peaks), idle)


def memoryOf(host: Host) -> int:
    """Resident memory of the server and its workers.

    Not of a child before its exec: that is the server's own memory, counted twice.
    """
    server, total = host.server.pid, 0
    command = Path(f"/proc/{server}/cmdline").read_bytes()
    for pid in processesOf(server):
        with suppress(FileNotFoundError, ProcessLookupError):
            if pid == server or Path(f"/proc/{pid}/cmdline").read_bytes() != command:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


# ── the example ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not IS_LIMPET, reason="an example of ours")
def test_the_example_of_docs_sftp(work: Workplace, tmp_path: Path) -> None:
    port = freePort()
    command = [sys.executable, str(ROOT / "examples" / "sftpServer.py"), str(port)]
    command += [str(work.hostKey), str(work.authorizedKeys)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        poll(lambda: listens(port) or process.poll() is not None, SECONDS, "the example listens")
        assert process.poll() is None, log.read_text()
        host = Host(work, Server("example", port, process, log))
        # More than any message, window or share of a session.
        (tmp_path / "file").write_bytes(data := os.urandom(20_000_000))
        text = sftp(
            host,
            f"ls -l\nget welcome.txt {tmp_path}/\nput {tmp_path}/file there\n"
            f"rename there moved\nget moved {tmp_path}/back\nls\nrm moved\n-mkdir folder\nls\n",
        )
        assert (tmp_path / "welcome.txt").read_bytes() == b"Hello!\n"
        assert (tmp_path / "back").read_bytes() == data
        assert text.count("moved") >= 3
        paramiko = requireModule("paramiko")
        transport = paramiko.Transport(("127.0.0.1", port))
        with closing(transport):
            key = paramiko.Ed25519Key(filename=str(work.clientKey))
            transport.connect(username=work.user, pkey=key)
            files = paramiko.SFTPClient.from_transport(transport)
            files.truncate("welcome.txt", 3)
            with pytest.raises(OSError, match="no space left: all files have 1073741824 bytes"):
                files.truncate("welcome.txt", 2**40)
            with files.open("welcome.txt") as file:
                assert file.read() == b"Hel"
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
