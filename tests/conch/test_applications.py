"""Applications from PyPI that were written for Conch, unchanged, on Limpet, with real clients.

They are installed by `script/setup applications`, into an environment of their own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import freePort
from limpet.doctor import Verdict, readTree
from limpet.ssh.keys import Key, createKeyFiles
from tests.conch.programs import (
    APPLICATIONS,
    ENVIRONMENT,
    Clients,
    environment,
    onLimpet,
    started,
)
from tests.interop.peers import missing

SIZE = 1_000_000


# ── What the doctor says of them before they run ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("package", "differs"),
    [("cowrie/ssh", True), ("lazr/sshserver", True), ("buildbot/manhole.py", False)],
)
def test_theDoctorFindsNothingMissing(package: str, differs: bool) -> None:
    places = list(ENVIRONMENT.parent.glob(f"lib/python*/site-packages/{package}"))
    if not places:
        missing("the environment of applications (script/setup applications)")
    reading = readTree(places[0])
    assert [found for found in reading.findings if found.verdict is Verdict.MISSING] == []
    assert any(found.verdict is Verdict.DIFFERS for found in reading.findings) is differs


# ── Cowrie, a honeypot: overrides nearly all of the transport ───────────────────────────────────


@pytest.fixture(scope="module")
def cowrie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("cowrie")
    port = freePort()
    for name in ("etc", "var/log/cowrie", "var/lib/cowrie/downloads", "var/lib/cowrie/tty"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/cowrie.cfg").write_text(
        "[honeypot]\nhostname = shellfish\n[output_jsonlog]\nenabled = false\n"
        f"[ssh]\nlisten_endpoints = tcp:{port}:interface=127.0.0.1\n"
    )
    command = onLimpet(APPLICATIONS / "cowrieAsRoot.py")
    with started(command, directory, port, {"COWRIE_STDOUT": "yes"}) as program:
        yield Clients(port, "root", directory, password="secret")
        program.assertWell()


class TestCowrie:
    def test_aCommand(self, cowrie: Clients) -> None:
        done = cowrie.ssh("uname -n; id")
        assert done.stdout.splitlines() == [b"shellfish", b"uid=0(root) gid=0(root) groups=0(root)"]
        assert done.returncode == 0

    @pytest.mark.parametrize("cipher", ["aes128-ctr", "aes256-ctr", "3des-cbc", "aes256-cbc"])
    def test_theCiphersOfItsConfiguration(self, cowrie: Clients, cipher: str) -> None:
        done = cowrie.ssh("uname", options=["-c", cipher, "-o", "MACs=+hmac-sha1"])
        assert (done.returncode, done.stdout) == (0, b"Linux\n"), done.stderr

    def test_delayedCompression(self, cowrie: Clients) -> None:
        done = cowrie.ssh("cat /etc/passwd", options=["-C"])
        assert done.stdout.startswith(b"root:x:0:0:root:/root:/bin/bash\n"), done.stderr

    def test_aShell(self, cowrie: Clients) -> None:
        typed = b"echo $((6*7)) > /tmp/x\ncat /tmp/x\nexit\n"
        done = cowrie.ssh(options=["-tt"], stdin=typed)
        assert b"root@shellfish:~# " in done.stdout, done.stderr

    def test_newKeysInMidSession(self, cowrie: Clients, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(os.urandom(3 * SIZE))
        done = cowrie.sftp(f"put {tmp_path}/here /tmp/there", options=["-o", "RekeyLimit=1M"])
        assert done.returncode == 0, done.stderr

    def test_itsFakeFiles(self, cowrie: Clients) -> None:
        done = cowrie.sftp("cd /etc", "ls -l passwd", "pwd")
        assert done.returncode == 0, done.stderr
        assert b"Remote working directory: /etc" in done.stdout
        assert b"-rw-r--r--" in done.stdout

    def test_aRefusedPassword(self, cowrie: Clients) -> None:
        stranger = Clients(cowrie.port, "root", cowrie.directory, password="123456")
        done = stranger.ssh("id")
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr


# ── lazr.sshserver, Launchpad's: overrides user authentication, sessions and SFTP ───────────────


@pytest.fixture(scope="module")
def launchpad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("launchpad")
    port = freePort()
    createKeyFiles(Key.generate("rsa", 2048), directory / "hostKey")
    createKeyFiles(Key.generate("rsa", 2048), directory / "userKey")
    program = onLimpet(APPLICATIONS / "launchpadServer.py", str(port))
    command = [*program, directory / "hostKey", directory / "userKey"]
    with started(command, directory, port) as server:
        yield Clients(port, "ann", directory, key=directory / "userKey")
        server.assertWell()
        log = (directory / "access.log").read_text()
        assert "ann logged in" in log
        assert "ann closed SFTP session" in log


class TestLaunchpad:
    def test_filesComeBackAsTheyWere(self, launchpad: Clients, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(os.urandom(SIZE))
        done = launchpad.sftp(f"put {tmp_path}/here a", "ls -l", f"get a {tmp_path}/back")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()

    def test_itRunsNoCommands(self, launchpad: Clients) -> None:
        done = launchpad.ssh("ls", options=["-o", "LogLevel=INFO"])
        assert b"Welcome to the test" in done.stderr
        assert b"Not allowed to execute commands on this server." in done.stderr

    def test_itTellsWhyAUserIsRefused(self, launchpad: Clients) -> None:
        stranger = Clients(launchpad.port, "bob", launchpad.directory, key=launchpad.key)
        done = stranger.ssh("ls", options=["-o", "LogLevel=INFO"])
        assert done.returncode == 255
        assert b"No such Launchpad account: bob" in done.stderr


# ── Buildbot and Carbon: manholes ───────────────────────────────────────────────────────────────

MASTER = """
from buildbot.manhole import PasswordManhole
from buildbot.plugins import schedulers, util, worker
c = BuildmasterConfig = dict(
    workers=[worker.Worker("one", "pass")],
    builders=[util.BuilderConfig("all", workernames=["one"], factory=util.BuildFactory())],
    schedulers=[schedulers.ForceScheduler(name="force", builderNames=["all"])],
    protocols=dict(pb=dict(port="tcp:0:interface=127.0.0.1")),
    buildbotNetUsageData=None,
    manhole=PasswordManhole(
        "tcp:{port}:interface=127.0.0.1", "admin", "opensesame", ssh_hostkey_dir="hostKeys"
    ),
)
"""


@pytest.fixture(scope="module")
def buildbot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("buildbot")
    port = freePort()
    command = onLimpet("buildbot", "create-master", "-q", ".")
    subprocess.run(command, cwd=directory, env=environment(directory), check=True, timeout=60)
    (directory / "hostKeys").mkdir()
    createKeyFiles(Key.generate("ed25519"), directory / "hostKeys/ssh_host_ed25519_key")
    (directory / "master.cfg").write_text(MASTER.format(port=port))
    with started(onLimpet("buildbot", "start", "--nodaemon", "."), directory, port) as program:
        yield Clients(port, "admin", directory, password="opensesame")
        program.assertWell()
        assert "Traceback" not in (directory / "twistd.log").read_text()


class TestBuildbot:
    def test_itsMasterIsThere(self, buildbot: Clients) -> None:
        typed = b"sorted(master.config.builders[0].workernames)\r6 * 7\r\x04"
        done = buildbot.ssh(options=["-tt"], stdin=typed)
        assert b"['one']" in done.stdout, done.stderr
        assert b"42" in done.stdout


@pytest.fixture(scope="module")
def carbon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("carbon")
    port = freePort()
    for name in ("conf", "storage/log", "storage/whisper", "hostKeys"):
        (directory / name).mkdir(parents=True)
    createKeyFiles(Key.generate("ed25519"), directory / "hostKeys/ssh_host_ed25519_key")
    createKeyFiles(Key.generate("ed25519"), directory / "userKey")
    userKey = " ".join((directory / "userKey.pub").read_text().split()[:2])
    (directory / "conf/storage-schemas.conf").write_text(
        "[all]\npattern = .*\nretentions = 60s:1d\n"
    )
    (directory / "conf/carbon.conf").write_text(
        f"[cache]\nLINE_RECEIVER_PORT = 0\nPICKLE_RECEIVER_PORT = 0\nCACHE_QUERY_PORT = 0\n"
        f"DATABASE = whisper\nENABLE_MANHOLE = True\nMANHOLE_INTERFACE = 127.0.0.1\n"
        f"MANHOLE_PORT = {port}\nMANHOLE_USER = admin\nMANHOLE_PUBLIC_KEY = {userKey}\n"
        f"MANHOLE_HOST_KEY_DIR = {directory}/hostKeys\n"
    )
    program = onLimpet("carbon-cache.py", "--nodaemon", "start")
    with started(program, directory, port, {"GRAPHITE_ROOT": str(directory)}) as cache:
        yield Clients(port, "admin", directory, key=directory / "userKey")
        cache.assertWell()


class TestCarbon:
    def test_itsSettingsAreThere(self, carbon: Clients) -> None:
        done = carbon.ssh(options=["-tt"], stdin=b"carbon.__name__ * 2\r\x04")
        assert b"carboncarbon" in done.stdout, done.stderr
