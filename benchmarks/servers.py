"""The servers that are compared: each started on a free loopback port with the same keys."""

from __future__ import annotations

import errno
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.processes import treeOf

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 15.0
STOP_SECONDS = 10.0
# sshd as root keeps its unprivileged half here (Debian's build option).
SSHD_EMPTY_DIRECTORY = Path("/run/sshd")


@dataclass
class Workplace:
    """Keys and files that all servers and clients of one run share, in a private directory."""

    directory: Path
    user: str = field(default_factory=getpass.getuser)

    def __post_init__(self) -> None:
        self.directory.chmod(0o700)
        self.hostKey = self._makeKey("hostKey")
        self.clientKey = self._makeKey("clientKey")
        self.authorizedKeys = self.directory / "authorized_keys"
        self.authorizedKeys.write_bytes(self.clientKey.with_suffix(".pub").read_bytes())
        self.authorizedKeys.chmod(0o600)

    def _makeKey(self, name: str) -> Path:
        key = Ed25519PrivateKey.generate()
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        path.with_suffix(".pub").write_bytes(public + b" bench\n")
        return path


@dataclass
class Server:
    """One running server."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    idle: set[int] = field(default_factory=set)

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End the server and whatever it started (its process group)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def sshdCommand(work: Workplace, port: int) -> list[str]:
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if sshd is None:
        raise FileNotFoundError("sshd is not installed (script/setup bench)")
    if os.getuid() == 0:
        SSHD_EMPTY_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    config = work.directory / "sshd_config"
    config.write_text(
        f"""
ListenAddress 127.0.0.1:{port}
HostKey {work.hostKey}
AuthorizedKeysFile {work.authorizedKeys}
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
AcceptEnv LANG LC_* GIT_PROTOCOL
Subsystem sftp internal-sftp
MaxStartups 1000
MaxSessions 1000
LogLevel ERROR
""",
        encoding="utf-8",
    )
    return [sshd, "-D", "-e", "-f", str(config)]


def limpetCommand(work: Workplace, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "limpet", "serve", "--listen", f"127.0.0.1:{port}"),
        *("--host-key", str(work.hostKey), "--authorized-keys", str(work.authorizedKeys)),
    ]


def pythonCommand(module: str, *arguments: str) -> Callable[[Workplace, int], list[str]]:
    def command(work: Workplace, port: int) -> list[str]:
        keys = (str(work.hostKey), str(work.authorizedKeys))
        return [sys.executable, "-m", module, *arguments, str(port), *keys]

    return command


COMMANDS: dict[str, Callable[[Workplace, int], list[str]]] = {
    "limpet": limpetCommand,
    "openssh": sshdCommand,
    "asyncssh": pythonCommand("benchmarks.asyncsshServer"),
    # The same program over two packages: connections only.
    "limpet-factory": pythonCommand("benchmarks.factoryServer", "limpet"),
    "conch": pythonCommand("benchmarks.factoryServer", "twisted.conch"),
    "conch-unix": pythonCommand("benchmarks.conchUnixServer"),
}
# Conch knows none of the ciphers of the bulk part but aes128-ctr, and that only without -etm.
BULK_SERVERS = ("limpet", "openssh", "asyncssh")


def freePort() -> int:
    """A port that nobody has just now, on either loopback: a server may listen on both."""
    while True:
        with socket.socket() as probe, socket.socket(socket.AF_INET6) as other:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            try:
                other.bind(("::1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
            return port


def start(name: str, work: Workplace, arguments: Sequence[str] = ()) -> Server:
    """Start a server, with further arguments of its own, and wait for its version line.

    Raises:
        RuntimeError: it ended, or did not answer within `START_SECONDS`.
    """
    port = freePort()
    log = work.directory / f"{name}-{port}.log"
    environment = dict(os.environ, HOME=str(work.directory))
    environment["PYTHONPATH"] = f"{ROOT / 'src'}:{ROOT}"
    environment.pop("XDG_STATE_HOME", None)
    environment.pop("XDG_CONFIG_HOME", None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMANDS[name](work, port), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=work.directory,
            start_new_session=True,
        )
    server = Server(name, port, process, log)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)
    server.idle = {process.pid}
    _waitForQuiet(server)
    return server


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _waitForQuiet(server: Server) -> None:
    """Let the probe's connection end, so that what lives then is what lives when idle."""
    deadline = time.monotonic() + 2
    while len(treeOf(server.pid)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    server.idle = set(treeOf(server.pid))


ARGUMENTS: dict[str, Sequence[str]] = {"limpet": ("--allow-forwarding", "local")}
"""What the benchmark tells a server beyond its own command."""


def startAll(names: Sequence[str], work: Workplace) -> list[Server]:
    """Start them in this order; when one fails, those before it are stopped again."""
    servers: list[Server] = []
    try:
        for name in names:
            servers.append(start(name, work, ARGUMENTS.get(name, ())))
    except BaseException:
        for server in servers:
            server.stop()
        raise
    return servers
