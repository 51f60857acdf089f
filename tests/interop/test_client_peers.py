"""Our client against servers of other people: log in, run, move data, rekey, refuse wrong keys.

`limpet.aio` drives it, so that each test has a loop of its own and no reactor is installed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import pytest

import limpet.aio
from benchmarks.servers import COMMANDS, Server, Workplace, freePort, start
from limpet.aio import AuthenticationFailed, HostKeyRefused, Key
from tests.interop.peers import requireModule, requirePeer
from tests.interop.sshServers import CODE, PASSWORD, USER

MIB = 1 << 20
IS_FULL = bool(os.environ.get("LIMPET_FULL"))
SIZE = 256 * MIB if IS_FULL else 16 * MIB
SECONDS = 600.0 if IS_FULL else 120.0
REKEY = {"RekeyLimit": "1M"}


@dataclass
class Peer:
    """A running server, and how our client reaches it.

    Attributes:
        hash: The command that answers with the SHA-256 of its input.
        zeros: The command that answers with as many bytes of zero as are appended to it.
        hasManySessions: Whether a connection may have several; TinySSH gives one.
        losesAtExit: Whether output is lost that the server still holds when the command ends, as
            with Conch: it does while keys are exchanged.
    """

    name: str
    port: int
    user: str
    key: Path
    hostKey: Key
    hash: str = "sha256sum"
    zeros: str = "head -c {} /dev/zero"
    hasManySessions: bool = True
    losesAtExit: bool = False

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """Arguments of `connect`, for a login by key."""
        usual: dict[str, Any] = {
            "port": self.port,
            "user": self.user,
            "keys": [self.key],
            "host_keys": [self.hostKey],
            "config_files": (),
            "only": True,
        }
        return usual | changes

    def connect(self, **changes: Any) -> Any:
        return limpet.aio.connect("127.0.0.1", **self.arguments(**changes))

    @asynccontextmanager
    async def two(self, **changes: Any) -> AsyncIterator[tuple[Any, Any]]:
        """Clients for two sessions at once: one and the same, where the server allows it."""
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(self.connect(**changes))
            if self.hasManySessions:
                yield first, first
            else:
                yield first, await stack.enter_async_context(self.connect(**changes))

    async def receive(self, client: Any, size: int) -> bytes:
        """What it answers to `zeros`; the command lives until all has come, where it must."""
        if not self.losesAtExit:
            return bytes((await client.run(self.zeros.format(size))).stdout)
        process = await client.start(self.zeros.format(size) + "; read -r line")
        output = bytearray()
        while len(self.said(bytes(output[:MIB]))) + max(len(output) - MIB, 0) < size:
            chunk = await process.read()
            if not chunk:
                break
            output += chunk
        process.write_eof()
        await process.wait()
        return bytes(output)

    def said(self, output: bytes) -> bytes:
        """A command's output, without the lines that Conch's server logs in the child itself."""
        return re.sub(rb"\A(\d{4}-\d\d-\d\dT.*\n)+", b"", output)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, within `SECONDS`."""
    return asyncio.run(asyncio.wait_for(main, SECONDS))


# ── The servers ───────────────────────────────────────────────────────────────────────────────


def inNamespace(script: str, arguments: Sequence[str]) -> list[str]:
    """A command in a mount namespace of its own, in which a shell script has run before."""
    unshare = [requirePeer("unshare"), "--mount"]
    if os.getuid() != 0 or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("takes a mount namespace of its own, so root")
    prepared = f'set -e; {script}; exec "$@"'
    return [*unshare, "--propagation", "private", "bash", "-c", prepared, "-", *arguments]


def withKeyAtHome(work: Workplace, arguments: Sequence[str]) -> list[str]:
    """A server where the account's home is a new one, with the client's key in it: some look
    nowhere else, and some mind whose directories are above."""
    passwd = work.directory / "passwd"
    lines = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    for line in lines:
        if line[0] == work.user:
            line[5:] = ["/mnt", "/bin/bash"]
    passwd.write_text("".join(":".join(line) + "\n" for line in lines))
    script = (
        "mount -t tmpfs -o mode=0700 none /mnt; mkdir -m 700 /mnt/.ssh;"
        f" install -m 600 {work.authorizedKeys} /mnt/.ssh/authorized_keys;"
        f" mount --bind {passwd} /etc/passwd"
    )
    return inNamespace(script, arguments)


def withPassword(work: Workplace, arguments: Sequence[str]) -> list[str]:
    """A server where this account's password is PASSWORD: a shadow file of its own."""
    hashed = subprocess.run(
        [requirePeer("openssl"), "passwd", "-6", PASSWORD], capture_output=True, check=True
    ).stdout.decode()
    shadow = work.directory / "shadow"
    shadow.write_text(f"{work.user}:{hashed.strip()}:19000:0:99999:7:::\n")
    shadow.chmod(0o600)
    return inNamespace(f"mount --bind {shadow} /etc/shadow", arguments)


def library(kind: str) -> Any:
    def command(work: Workplace, port: int) -> list[str]:
        files = (str(work.hostKey), str(work.authorizedKeys))
        return [sys.executable, "-m", "tests.interop.sshServers", kind, str(port), *files]

    return command


def dropbearCommand(work: Workplace, port: int) -> list[str]:
    key = work.directory / "dropbearHostKey"
    if not key.exists():
        made = [requirePeer("dropbearkey"), "-t", "ed25519", "-f", str(key)]
        subprocess.run(made, check=True, capture_output=True)
    server = [requirePeer("dropbear"), "-F", "-E", "-r", str(key), "-p", f"127.0.0.1:{port}"]
    return withKeyAtHome(work, server)


def dropbearHostKey(work: Workplace) -> Key:
    shown = subprocess.run(
        [requirePeer("dropbearkey"), "-y", "-f", str(work.directory / "dropbearHostKey")],
        check=True,
        capture_output=True,
    ).stdout
    return Key.fromString(next(line for line in shown.splitlines() if line.startswith(b"ssh-")))


def tinysshKeys(work: Workplace) -> Path:
    keys = work.directory / "tinysshKeys"
    if not keys.exists():
        made = [requirePeer("tinysshd-makekey"), str(keys)]
        subprocess.run(made, check=True, capture_output=True)
    return keys


def inetd(port: int, *command: str) -> list[str]:
    return [sys.executable, "-m", "tests.interop.sshServers", "inetd", str(port), *command]


def tinysshCommand(work: Workplace, port: int) -> list[str]:
    server = [requirePeer("tinysshd"), "-q", str(tinysshKeys(work))]
    return withKeyAtHome(work, inetd(port, *server))


def tinysshNoneCommand(work: Workplace, port: int) -> list[str]:
    """The one that asks for no proof; it does not start as root."""
    nobody = [requirePeer("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    server = [
        "env",
        "-C",
        "/mnt",
        requirePeer("tinysshnoneauthd"),
        "-q",
        "-e",
        "echo in",
        "/mnt/keys",
    ]
    script = (
        f"mount -t tmpfs none /mnt; cp -r {tinysshKeys(work)} /mnt/keys; chown -R 65534 /mnt/keys"
    )
    return inNamespace(script, inetd(port, *nobody, *server))


def tinysshHostKey(work: Workplace) -> Key:
    printed = [requirePeer("tinysshd-printkey"), str(tinysshKeys(work))]
    shown = subprocess.run(printed, check=True, capture_output=True).stdout
    return Key.fromString(next(line for line in shown.splitlines() if line.startswith(b"ssh-")))


EXTRA = {
    "client-asyncssh": library("asyncssh"),
    "client-paramiko": library("paramiko"),
    "client-dropbear": dropbearCommand,
    "client-dropbear-password": lambda work, port: withPassword(work, dropbearCommand(work, port)),
    "client-tinyssh": tinysshCommand,
    "client-tinyssh-none": tinysshNoneCommand,
    "client-conch": library("twisted.conch"),
    "client-limpet": library("limpet"),
}


@contextmanager
def serving(name: str, work: Workplace) -> Iterator[Server]:
    with patch.dict(COMMANDS, EXTRA):
        server = start(name, work)
    try:
        yield server
    finally:
        server.stop()


def needsRoot(why: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(why)


@contextmanager
def peerCalled(name: str, work: Workplace, command: str = "") -> Iterator[Peer]:
    if name == "conch-unix":
        needsRoot(CONCH_NEEDS_ROOT)
    hostKey = Key.fromFile(str(work.hostKey) + ".pub")
    with ExitStack() as stack:
        if name in ("asyncssh", "paramiko"):
            requireModule(name)
            server = stack.enter_context(serving(f"client-{name}", work))
            yield Peer(
                name, server.port, USER, work.clientKey, hostKey, hash="sha256", zeros="zeros {}"
            )
            return
        if name == "dropbear":
            server = stack.enter_context(serving("client-dropbear", work))
            hostKey = dropbearHostKey(work)
        elif name == "tinyssh":
            server = stack.enter_context(serving(command or "client-tinyssh", work))
            hostKey = tinysshHostKey(work)
        else:
            if name == "openssh":
                requirePeer("sshd")
            server = stack.enter_context(serving(name, work))
        peer = Peer(name, server.port, work.user, work.clientKey, hostKey)
        peer.hasManySessions = name != "tinyssh"
        peer.losesAtExit = name == "conch-unix"
        yield peer


CONCH_NEEDS_ROOT = "Conch's server runs nothing unless it is root's"
PEERS = ("limpet", "openssh", "dropbear", "tinyssh", "asyncssh", "paramiko", "conch-unix")


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest, work: Workplace) -> Iterator[Peer]:
    with peerCalled(request.param, work) as found:
        yield found


@pytest.fixture(scope="module")
def limpetPeer(work: Workplace) -> Iterator[Peer]:
    with peerCalled("limpet", work) as found:
        yield found


# ── What every server has to be good for ──────────────────────────────────────────────────────


class TestEveryPeer:
    def test_commands(self, peer: Peer) -> None:
        async def main() -> None:
            async with peer.two() as (client, other):
                first, second = await asyncio.gather(
                    client.run("echo one two"), other.run("exit 3")
                )
            assert peer.said(first.stdout) == b"one two\n"
            assert (first.exit_status, second.exit_status) == (0, 3)

        run(main())

    def test_much_up(self, peer: Peer) -> None:
        data = os.urandom(MIB) * (SIZE // MIB)

        async def main() -> bytes:
            async with peer.connect() as client:
                return bytes((await client.run(peer.hash, input=data)).stdout)

        assert peer.said(run(main())).split()[0].decode() == hashlib.sha256(data).hexdigest()

    def test_much_down(self, peer: Peer) -> None:
        async def main() -> bytes:
            async with peer.connect() as client:
                return bytes((await client.run(peer.zeros.format(SIZE))).stdout)

        assert peer.said(run(main())) == bytes(SIZE)

    def test_rekey_under_load(self, peer: Peer) -> None:
        """Keys are exchanged many times while data goes both ways at once."""
        size = 8 * MIB
        data = os.urandom(MIB) * 8

        async def main() -> tuple[Any, bytes, list[bool]]:
            async with peer.two(options=REKEY) as (client, other):
                transports = [each.twisted.connection.transport for each in (client, other)]
                first = [transport.ourKexInitPayload for transport in transports]
                up, down = await asyncio.gather(
                    client.run(peer.hash, input=data), peer.receive(other, size)
                )
                again = [transport.ourKexInitPayload for transport in transports]
                return up, down, [old != new for old, new in zip(first, again, strict=True)]

        up, down, hasRekeyed = run(main())
        assert peer.said(up.stdout).split()[0].decode() == hashlib.sha256(data).hexdigest()
        assert peer.said(down) == bytes(size)
        assert hasRekeyed == [True, True]

    def test_wrong_host_key(self, peer: Peer) -> None:
        other = Key.generate("ed25519")

        async def main() -> None:
            with pytest.raises(HostKeyRefused, match="none of those that it should have"):
                await peer.connect(host_keys=[other])

        run(main())

    def test_nobody_is_let_in_by_a_strange_key(self, peer: Peer) -> None:
        async def main() -> None:
            with pytest.raises(AuthenticationFailed) as caught:
                await peer.connect(keys=[Key.generate("ed25519")])
            assert b"publickey" in caught.value.methods
            assert "refused" in str(caught.value)

        run(main())


class TestPipes:
    """What a pipe gives here, a command gets there."""

    def test_one_whose_writer_is_slow_keeps_nobody_waiting(self, limpetPeer: Peer) -> None:
        async def main() -> tuple[bytes, bytes]:
            reading, writing = os.pipe()
            with open(reading, "rb") as pipe, open(writing, "wb", 0) as writer:
                async with limpetPeer.connect() as client:
                    slow = asyncio.create_task(client.run("cat", input=pipe))
                    # The read of the pipe kept the loop waiting, and this came never.
                    quick = await client.run("echo here")
                    for piece in (b"one", b"two"):
                        writer.write(piece)
                        await client.run("true")
                    writer.close()
                    return quick.stdout, (await slow).stdout

        assert run(main()) == (b"here\n", b"onetwo")

    def test_much_of_a_program_of_ours(self, limpetPeer: Peer) -> None:
        data = os.urandom(MIB) * 8

        async def main() -> str:
            async with limpetPeer.connect(options=REKEY) as client:
                with subprocess.Popen(
                    ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                ) as program:
                    assert program.stdin is not None
                    feeding = asyncio.to_thread(_feed, program.stdin, data)
                    done, _ = await asyncio.gather(
                        client.run("sha256sum", input=program.stdout), feeding
                    )
                    return str(done.stdout.split()[0].decode())

        assert run(main()) == hashlib.sha256(data).hexdigest()


def _feed(file: IO[bytes], data: bytes) -> None:
    with file:
        file.write(data)


class TestKnownHosts:
    """The user's own file decides: known, new, changed, revoked; and remembers what is accepted."""

    def connected(self, peer: Peer, path: Path, strict: str) -> bytes:
        async def main() -> bytes:
            options = {"StrictHostKeyChecking": strict, "GlobalKnownHostsFile": "/dev/null"}
            async with peer.connect(host_keys=path, options=options) as client:
                return bytes((await client.run("echo in")).stdout)

        return bytes(run(main()))

    def line(self, peer: Peer, key: Key, marker: str = "") -> str:
        return f"{marker}[127.0.0.1]:{peer.port} {key.toString('OPENSSH').decode()}\n"

    def test_known(self, limpetPeer: Peer, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        path.write_text(self.line(limpetPeer, limpetPeer.hostKey))
        assert self.connected(limpetPeer, path, "yes") == b"in\n"

    def test_new(self, limpetPeer: Peer, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        with pytest.raises(HostKeyRefused, match="StrictHostKeyChecking"):
            self.connected(limpetPeer, path, "yes")
        with pytest.raises(HostKeyRefused, match="not accepted"):
            self.connected(limpetPeer, path, "ask")
        assert not path.exists()
        assert self.connected(limpetPeer, path, "accept-new") == b"in\n"
        assert self.connected(limpetPeer, path, "yes") == b"in\n"

    def test_changed(self, peer: Peer, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        path.write_text(self.line(peer, Key.generate("ed25519").public()))
        for strict in ("yes", "ask", "accept-new", "no"):
            with pytest.raises(HostKeyRefused, match=f"{path}"):
                self.connected(peer, path, strict)

    def test_revoked(self, peer: Peer, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        path.write_text(self.line(peer, peer.hostKey) + self.line(peer, peer.hostKey, "@revoked "))
        with pytest.raises(HostKeyRefused, match="revoked"):
            self.connected(peer, path, "no")


# ── Ways to log in ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def asyncsshPeer(work: Workplace) -> Iterator[Peer]:
    with peerCalled("asyncssh", work) as found:
        yield found


@pytest.fixture(scope="module")
def paramikoPeer(work: Workplace) -> Iterator[Peer]:
    with peerCalled("paramiko", work) as found:
        yield found


@contextmanager
def factoryPeer(work: Workplace, package: str) -> Iterator[Peer]:
    """A server of the library's parts, for logins without a key."""
    name = "client-limpet" if package == "limpet" else "client-conch"
    if package != "limpet":
        needsRoot(CONCH_NEEDS_ROOT)
    with serving(name, work) as server:
        hostKey = Key.fromFile(str(work.hostKey) + ".pub")
        yield Peer(name, server.port, work.user, work.clientKey, hostKey)


def says(peer: Peer, **arguments: Any) -> bytes:
    """What `echo in` says after a login with these arguments."""

    async def main() -> bytes:
        async with peer.connect(**arguments) as client:
            return bytes((await client.run("echo in")).stdout)

    return bytes(run(main()))


class TestPasswords:
    def test_asyncssh(self, asyncsshPeer: Peer) -> None:
        assert says(asyncsshPeer, keys=(), password=PASSWORD) == b"in\n"

    def test_paramiko(self, paramikoPeer: Peer) -> None:
        assert says(paramikoPeer, keys=(), password=PASSWORD) == b"in\n"

    def test_dropbear(self, work: Workplace) -> None:
        with serving("client-dropbear-password", work) as server:
            peer = Peer("dropbear", server.port, work.user, work.clientKey, dropbearHostKey(work))
            assert says(peer, keys=(), password=PASSWORD) == b"in\n"
            with pytest.raises(AuthenticationFailed, match="refused"):
                says(peer, keys=(), password="wrong")

    @pytest.mark.parametrize("package", ["twisted.conch", "limpet"])
    def test_factory(self, work: Workplace, package: str) -> None:
        with factoryPeer(work, package) as peer:
            assert peer.said(says(peer, keys=(), password=PASSWORD)) == b"in\n"
            with pytest.raises(AuthenticationFailed, match="refused"):
                says(peer, keys=(), password="wrong")

    @pytest.mark.parametrize("name", ["asyncsshPeer", "paramikoPeer"])
    def test_wrong(self, name: str, request: pytest.FixtureRequest) -> None:
        peer = request.getfixturevalue(name)
        with pytest.raises(AuthenticationFailed, match="the password that was given: refused") as e:
            says(peer, keys=(), password="wrong")
        assert "wrong" not in str(e.value)


class TestQuestions:
    def test_asyncssh(self, asyncsshPeer: Peer) -> None:
        asked: list[Any] = []

        async def answers(name: bytes, instruction: bytes, prompts: Any) -> list[bytes]:
            asked.append((name, instruction, prompts))
            return [PASSWORD.encode(), CODE.encode()]

        only = {"PreferredAuthentications": "keyboard-interactive"}
        assert says(asyncsshPeer, keys=(), answer=answers, options=only) == b"in\n"
        assert asked == [
            (b"Two questions", b"Answer both", [(b"Password: ", False), (b"Code: ", True)])
        ]

    def test_paramiko(self, paramikoPeer: Peer) -> None:
        only = {"PreferredAuthentications": "keyboard-interactive"}
        answers = [CODE.encode()]
        arguments = {"keys": (), "answer": lambda *asked: answers, "options": only}
        assert says(paramikoPeer, **arguments) == b"in\n"

    def test_limpet(self, work: Workplace) -> None:
        only = {"PreferredAuthentications": "keyboard-interactive"}
        with factoryPeer(work, "limpet") as peer:
            arguments = {"keys": (), "options": only}
            assert says(peer, answer=lambda *asked: [CODE.encode()], **arguments) == b"in\n"
            with pytest.raises(AuthenticationFailed, match="questions"):
                says(peer, answer=lambda *asked: [b"no"], **arguments)

    def test_wrong(self, paramikoPeer: Peer) -> None:
        only = {"PreferredAuthentications": "keyboard-interactive"}
        with pytest.raises(AuthenticationFailed, match="questions"):
            says(paramikoPeer, keys=(), answer=lambda *asked: [b"no"], options=only)


class TestOpenSSH:
    """What only OpenSSH's server has, or has as the one that counts."""

    @contextmanager
    def sshd(self, work: Workplace, *lines: str, shadow: bool = False) -> Iterator[Peer]:
        """sshd with further lines of configuration, before the usual ones, which they override."""
        requirePeer("sshd")
        usual = COMMANDS["openssh"]

        def command(work: Workplace, port: int) -> list[str]:
            arguments = usual(work, port)
            config = Path(arguments[-1])
            own = config.with_name(f"sshd_config-{port}")
            own.write_text("\n".join([*lines, config.read_text()]))
            arguments[-1] = str(own)
            return withPassword(work, arguments) if shadow else arguments

        with patch.dict(COMMANDS, {"client-openssh": command}):
            server = start("client-openssh", work)
        try:
            hostKey = Key.fromFile(str(work.hostKey) + ".pub")
            yield Peer("openssh", server.port, work.user, work.clientKey, hostKey)
        finally:
            server.stop()

    def test_password(self, work: Workplace) -> None:
        with self.sshd(work, "PasswordAuthentication yes", shadow=True) as peer:
            assert says(peer, keys=(), password=PASSWORD) == b"in\n"
            with pytest.raises(AuthenticationFailed):
                says(peer, keys=(), password="wrong")

    def test_key_and_then_password(self, work: Workplace) -> None:
        lines = ("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
        with self.sshd(work, *lines, shadow=True) as peer:
            assert says(peer, password=PASSWORD) == b"in\n"
            with pytest.raises(AuthenticationFailed, match="accepted, and not enough"):
                says(peer)

    @pytest.mark.parametrize("methods", ["keyboard-interactive", "publickey,keyboard-interactive"])
    def test_questions_of_pam(self, work: Workplace, methods: str) -> None:
        lines = (
            *("UsePAM yes", "KbdInteractiveAuthentication yes"),
            f"AuthenticationMethods {methods}",
        )
        asked: list[Any] = []

        async def answers(name: bytes, instruction: bytes, prompts: Any) -> list[bytes]:
            asked.extend(prompts)
            return [PASSWORD.encode() for _ in prompts]

        keys = {} if methods.startswith("publickey") else {"keys": ()}
        with self.sshd(work, *lines, shadow=True) as peer:
            assert says(peer, answer=answers, **keys) == b"in\n"
            assert [(b"assword" in prompt, echo) for prompt, echo in asked] == [(True, False)]
            with pytest.raises(AuthenticationFailed):
                says(peer, answer=lambda *asked: [b"wrong"], **keys)

    def test_two_keys(self, work: Workplace, tmp_path: Path) -> None:
        second = Key.generate("ed25519")
        both = tmp_path / "both"
        both.write_bytes(
            work.authorizedKeys.read_bytes() + second.public().toString("OPENSSH") + b"\n"
        )
        lines = ("AuthenticationMethods publickey,publickey", f"AuthorizedKeysFile {both}")
        with self.sshd(work, *lines) as peer:
            assert says(peer, keys=[work.clientKey, second]) == b"in\n"
            with pytest.raises(AuthenticationFailed, match="accepted, and not enough"):
                says(peer)

    def test_too_many_keys(self, work: Workplace) -> None:
        """What keeps a full agent from logging in is said, and what to do about it."""
        with self.sshd(work) as peer:
            strangers = [Key.generate("ed25519") for _ in range(8)]
            with pytest.raises(AuthenticationFailed, match="IdentitiesOnly yes") as caught:
                says(peer, keys=strangers)
            assert "Too many authentication failures" in str(caught.value)

    @pytest.mark.parametrize(("kind", "bits"), [("rsa", 2048), ("ecdsa", 256), ("ecdsa", 521)])
    def test_kinds_of_keys(self, work: Workplace, tmp_path: Path, kind: str, bits: int) -> None:
        key = Key.generate(kind, bits)
        path = tmp_path / "keys"
        path.write_bytes(key.public().toString("OPENSSH") + b"\n")
        with self.sshd(work, f"AuthorizedKeysFile {path}") as peer:
            assert says(peer, keys=[key]) == b"in\n"

    def keygen(self, *arguments: object) -> None:
        command = [requirePeer("ssh-keygen"), "-q", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)

    @pytest.mark.parametrize("kind", ["ed25519", "rsa"])
    def test_user_certificate(self, work: Workplace, tmp_path: Path, kind: str) -> None:
        authority, key = tmp_path / "authority", tmp_path / "key"
        self.keygen("-t", "ed25519", "-N", "", "-f", authority)
        self.keygen("-t", kind, "-N", "", "-f", key)
        self.keygen("-s", authority, "-I", "test", "-n", work.user, f"{key}.pub")
        lines = (f"TrustedUserCAKeys {authority}.pub", "AuthorizedKeysFile none")
        with self.sshd(work, *lines) as peer:
            certificate = tmp_path / "key-cert.pub"
            assert says(peer, keys=[key], certificates=[certificate]) == b"in\n"
            # By the configuration, too: beside the key, and by name.
            options = {"IdentityFile": key, "IdentityAgent": "none"}
            assert says(peer, keys=(), only=False, options=options) == b"in\n"
            with pytest.raises(AuthenticationFailed):
                says(peer, keys=[key])

    def test_host_certificate(self, work: Workplace, tmp_path: Path) -> None:
        authority = tmp_path / "authority"
        self.keygen("-t", "ed25519", "-N", "", "-f", authority)
        host = tmp_path / "host"
        self.keygen("-t", "ed25519", "-N", "", "-f", host)
        self.keygen("-s", authority, "-I", "host", "-h", "-n", "localhost", f"{host}.pub")
        known = tmp_path / "known_hosts"
        public = Path(f"{authority}.pub").read_text()
        lines = (f"HostCertificate {host}-cert.pub", f"HostKey {host}")
        with self.sshd(work, *lines) as peer:
            options = {"StrictHostKeyChecking": "yes", "GlobalKnownHostsFile": "/dev/null"}

            async def main(name: str) -> bytes:
                arguments = peer.arguments(host_keys=known, options=options)
                async with limpet.aio.connect(name, **arguments) as client:
                    return bytes((await client.run("echo in")).stdout)

            known.write_text(f"@cert-authority *:{peer.port},[localhost]:{peer.port} {public}")
            assert run(main("localhost")) == b"in\n"
            # The certificate is for another name; and then nobody vouches for its key.
            with pytest.raises(HostKeyRefused):
                run(main("127.0.0.1"))
            known.write_text("")
            with pytest.raises(HostKeyRefused):
                run(main("localhost"))

    def test_passphrase(self, work: Workplace, tmp_path: Path) -> None:
        path = tmp_path / "key"
        self.keygen("-t", "ed25519", "-N", "open sesame", "-f", path)
        authorized = tmp_path / "keys"
        authorized.write_bytes(Path(f"{path}.pub").read_bytes())
        with self.sshd(work, f"AuthorizedKeysFile {authorized}") as peer:
            assert says(peer, keys=[path], passphrase="open sesame") == b"in\n"
            with pytest.raises(limpet.aio.ClientError, match="give its passphrase"):
                says(peer, keys=[path])

    def test_agent(self, work: Workplace, tmp_path: Path) -> None:
        path = tmp_path / "agent"
        agent = subprocess.Popen(
            [requirePeer("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.PIPE
        )
        try:
            assert agent.stdout is not None
            agent.stdout.readline()
            environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
            add = [requirePeer("ssh-add"), "-q", str(work.clientKey)]
            subprocess.run(add, env=environment, check=True)
            with self.sshd(work) as peer:
                options: dict[str, Any] = {"IdentityAgent": path}
                options["IdentityFile"] = tmp_path / "none"
                assert says(peer, keys=(), only=False, options=options) == b"in\n"
                # Of the agent's keys only those that files name count.
                options["IdentitiesOnly"] = True
                with pytest.raises(AuthenticationFailed):
                    says(peer, keys=(), only=False, options=options)
                options["IdentityFile"] = f"{work.clientKey}.pub"
                assert says(peer, keys=(), only=False, options=options) == b"in\n"
        finally:
            agent.terminate()
            agent.communicate()

    def test_terminal_and_environment(self, work: Workplace) -> None:
        needsRoot("sshd gives no terminal where it cannot give it away")
        with self.sshd(work) as peer:

            async def main() -> Any:
                async with peer.connect() as client:
                    size = await client.run(
                        "stty size; echo $TERM", terminal=limpet.aio.Terminal("vt100", 33, 99)
                    )
                    variable = await client.run("echo $LC_TEST", env={"LC_TEST": "hello"})
                    signalled = await client.run("kill -TERM $$")
                    return size.stdout, variable.stdout, signalled.exit_signal

            assert run(main()) == (b"33 99\r\nvt100\r\n", b"hello\n", "TERM")

    def test_rekey_that_the_server_begins(self, work: Workplace) -> None:
        with self.sshd(work, "RekeyLimit 1M") as peer:

            async def main() -> bytes:
                async with peer.connect() as client:
                    return bytes((await client.run(peer.zeros.format(8 * MIB))).stdout)

            assert run(main()) == bytes(8 * MIB)

    def test_jump_hosts(self, work: Workplace, tmp_path: Path) -> None:
        """Through two servers to a third, each judged by its own name."""
        with self.sshd(work) as first, self.sshd(work) as second, self.sshd(work) as last:
            known, config = tmp_path / "known_hosts", tmp_path / "config"
            key = first.hostKey.toString("OPENSSH").decode()
            known.write_text(f"first,second,last {key}\n")
            ports = {"first": first.port, "second": second.port, "last": last.port}
            config.write_text(self.jumpConfig(work, known, ports))

            async def main() -> bytes:
                async with limpet.aio.connect("last", config_files=[config]) as client:
                    assert client.twisted.connection.via is not None
                    assert client.twisted.connection.via.via is not None
                    return bytes((await client.run("echo $SSH_CONNECTION")).stdout)

            assert run(main()).split()[3].decode() == str(last.port)
            # A key that is right for the others is wrong for the last one.
            other = Key.generate("ed25519").public().toString("OPENSSH").decode()
            known.write_text(f"first,second {key}\nlast {other}\n")
            with pytest.raises(HostKeyRefused, match="last"):
                run(main())
            known.write_text(f"second,last {key}\nfirst {other}\n")
            with pytest.raises(HostKeyRefused, match="first"):
                run(main())

    def jumpConfig(self, work: Workplace, known: Path, ports: dict[str, int]) -> str:
        """Of a host "last" by way of "first" and "second"."""
        blocks = [
            f"Host {name}\n HostName 127.0.0.1\n Port {port}\n HostKeyAlias {name}\n"
            for name, port in ports.items()
        ]
        return (
            "".join(blocks) + f"Host *\n IdentityFile {work.clientKey}\n IdentityAgent none\n"
            f" User {work.user}\n UserKnownHostsFile {known}\n StrictHostKeyChecking yes\n"
            " GlobalKnownHostsFile /dev/null\n PasswordAuthentication no\n"
            "Match originalhost last\n ProxyJump first,second\n"
        )

    @pytest.mark.parametrize("closed", ["first", "second", "last"])
    def test_jump_host_that_is_not_reached(
        self, work: Workplace, tmp_path: Path, closed: str
    ) -> None:
        """Which one did not, and whose word that is, is said by the library and the command."""
        before = {"second": "first", "last": "second"}.get(closed)
        with self.sshd(work) as peer:
            known, config = tmp_path / "known_hosts", tmp_path / "config"
            key = peer.hostKey.toString("OPENSSH").decode()
            known.write_text(f"first,second,last {key}\n")
            ports = dict.fromkeys(("first", "second", "last"), peer.port) | {closed: freePort()}
            config.write_text(self.jumpConfig(work, known, ports))
            with pytest.raises(limpet.aio.ConnectFailed) as caught:
                run(limpet.aio.connect("last", config_files=[config]).__aenter__())
            command = [sys.executable, "-m", "limpet", "ssh", "-F", str(config), "last", "true"]
            ended = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS)
        text = str(caught.value)
        prefix = "" if closed == "last" else f"jump host {closed}: "
        assert text.startswith(f"{prefix}cannot connect to 127.0.0.1 port {ports[closed]}: ")
        if before is not None:
            assert f"the jump host {before} does not connect to it: Connection refused" in text
        assert caught.value.jump == (None if closed == "last" else closed)
        assert ended.returncode == 255
        assert ended.stderr.decode() == f"limpet: {text}\n"

    def test_jump_host_that_refuses_the_login(self, work: Workplace, tmp_path: Path) -> None:
        with self.sshd(work) as first, self.sshd(work, "AuthorizedKeysFile none") as second:
            known, config = tmp_path / "known_hosts", tmp_path / "config"
            key = first.hostKey.toString("OPENSSH").decode()
            known.write_text(f"first,second,last {key}\n")
            ports = {"first": first.port, "second": second.port, "last": first.port}
            config.write_text(self.jumpConfig(work, known, ports))
            with pytest.raises(AuthenticationFailed) as caught:
                run(limpet.aio.connect("last", config_files=[config]).__aenter__())
        assert str(caught.value).startswith("jump host second: permission denied for ")
        assert caught.value.jump == "second"
        assert caught.value.methods == (b"publickey",)

    def test_ipv6(self, work: Workplace) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
                port = probe.getsockname()[1]
        except OSError:
            pytest.skip("this machine has no IPv6")
        with self.sshd(work, f"ListenAddress [::1]:{port}") as peer:

            async def main() -> bytes:
                arguments = peer.arguments(port=port)
                async with limpet.aio.connect("::1", **arguments) as client:
                    return bytes((await client.run("echo ${SSH_CONNECTION%% *}")).stdout)

            assert run(main()) == b"::1\n"

    def test_proxy_command(self, work: Workplace) -> None:
        with self.sshd(work) as peer:
            relay = (
                "import socket,sys,threading,os\n"
                "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
                "def up():\n"
                "    while d:=os.read(0,65536): s.sendall(d)\n"
                "threading.Thread(target=up,daemon=True).start()\n"
                "while d:=s.recv(65536): os.write(1,d)\n"
            )
            script = work.directory / "relay.py"
            script.write_text(relay)
            command = {"ProxyCommand": f"{sys.executable} {script} %h %p"}
            assert says(peer, options=command) == b"in\n"
            with pytest.raises(limpet.aio.HandshakeFailed, match="ProxyCommand"):
                says(peer, options={"ProxyCommand": "true"})
            with pytest.raises(limpet.aio.ConnectFailed, match="cannot start"):
                says(peer, options={"ProxyCommand": "/nonexistent/program"})


class TestTinySSH:
    def test_it_takes_keys_only(self, work: Workplace) -> None:
        with peerCalled("tinyssh", work) as peer, pytest.raises(AuthenticationFailed) as caught:
            says(peer, keys=(), password=PASSWORD)
        assert caught.value.methods == (b"publickey",)

    def test_nobody_is_asked(self, work: Workplace) -> None:
        """Its other server lets everybody in: that is not taken for a proof (attacks.md E19)."""
        with peerCalled("tinyssh", work, "client-tinyssh-none") as peer:

            async def main() -> bool:
                async with peer.connect(keys=()) as client:
                    return bool(client.twisted.connection.provedIdentity)

            assert run(main()) is False
