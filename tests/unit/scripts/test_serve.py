"""`limpet serve` from the outside: its words, its mistakes, its signals."""

from __future__ import annotations

import os
import pwd
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limpet.scripts.serve import (
    adviceFor,
    goByMonotonicClock,
    hasKeys,
    homeDirectory,
    loginCommand,
)
from limpet.server.settings import Address, Settings
from limpet.ssh.keys import Key, createKeyFiles
from tests.unit.scripts.programs import PATIENCE_SECONDS, environmentIn, limpet, serving
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


def refused(home: Path, *arguments: str) -> str:
    """What it says when it does not start."""
    result = limpet(home, "serve", *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("limpet: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def greeting(port: int) -> bytes:
    """The first line that a server says."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        return client.makefile("rb").readline()


class TestMistakes:
    def test_aTakenPort(self, tmp_path: Path) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            address = f"127.0.0.1:{other.getsockname()[1]}"
            text = refused(tmp_path, "--listen", address)
        assert f"cannot listen on {address}: Address already in use" in text

    @pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "example.org:22", "::1:22"])
    def test_aBadAddress(self, tmp_path: Path, address: str) -> None:
        assert address in refused(tmp_path, "--listen", address)

    def test_anAddressOfAnotherMachine(self, tmp_path: Path) -> None:
        text = refused(tmp_path, "--listen", "192.0.2.1:0")
        assert "cannot listen on 192.0.2.1:0" in text

    def test_aKeyThatOthersCanRead(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        createKeyFiles(Key.generate("ed25519"), path)
        path.chmod(0o644)
        assert f"chmod 600 {path}" in refused(tmp_path, "--host-key", str(path))

    def test_aRootThatIsNotThere(self, tmp_path: Path) -> None:
        text = refused(tmp_path, "--listen", "127.0.0.1:0", "--sftp-root", f"{tmp_path}/none%")
        assert text == f"limpet: sftp-root: there is no directory '{tmp_path}/none%%'\n"

    def test_aKeyThatIsNotThere(self, tmp_path: Path) -> None:
        path = tmp_path / "none"
        assert f"{path}: No such file" in refused(tmp_path, "--host-key", str(path))

    def test_anUnknownSetting(self, tmp_path: Path) -> None:
        path = tmp_path / "limpet.toml"
        path.write_text("colour = 'blue'\n")
        text = refused(tmp_path, "--config", str(path))
        assert str(path) in text
        assert "unknown setting 'colour'" in text

    def test_aSettingsFileThatIsNotThere(self, tmp_path: Path) -> None:
        assert "No such file" in refused(tmp_path, "--config", str(tmp_path / "none.toml"))


class TestServing:
    def test_itSaysWhereItIsAndWhatToType(self, tmp_path: Path) -> None:
        keys = tmp_path / "keys"
        arguments = ("-l", "127.0.0.1:0", "--authorized-keys", str(keys))
        with serving(tmp_path, *arguments) as server:
            assert greeting(server.port).startswith(b"SSH-2.0-Limpet")
            path = tmp_path / "state" / "limpet" / "host_ed25519_key"
            key = Key.fromFile(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert key.displayFingerprint() in server.said
            assert server.said.count("listening on") == 2
            assert f"ssh -p {server.port} " in server.said
            advice = server.waitFor("need not be started again")
            assert "cannot log in" in advice
            assert f">> {keys} && chmod 600 {keys}" in advice
            server.signal(signal.SIGTERM)
            assert server.wait() == 0

    def test_theKeyStaysFromOneStartToTheNext(self, tmp_path: Path) -> None:
        said = []
        for _ in range(2):
            with serving(tmp_path) as server:
                said.append(server.said.split("SHA256:")[1][:43])
        assert said[0] == said[1]

    def test_reloadTakesOverAKeyAndSurvivesABadOne(self, tmp_path: Path) -> None:
        path = tmp_path / "limpet.toml"
        path.write_text("max-sessions = 3\n")
        with serving(tmp_path, "--config", str(path)) as server:
            path.write_text("colour = 1\n")
            server.signal(signal.SIGHUP)
            server.waitFor("nothing was reloaded.*colour")
            path.write_text("max-sessions = 4\n")
            server.signal(signal.SIGHUP)
            server.waitFor("settings and host keys reloaded")
            assert greeting(server.port).startswith(b"SSH-2.0-")

    def test_H2_sessionsIgnoreNoSignalThatTheServerWasToIgnore(self, tmp_path: Path) -> None:
        """A server that a script starts with `&` has SIGINT and SIGQUIT ignored."""
        script = "trap '' INT QUIT USR1 TSTP HUP; exec \"$@\""
        with serving(tmp_path, prefix=("sh", "-c", script, "sh")) as server:
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            found = re.search(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)
            assert found
            ignored = {number for number in range(1, 65) if int(found[1], 16) >> number - 1 & 1}
            # These two are put back when a program is started.
            assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}
            server.signal(signal.SIGQUIT)
            assert greeting(server.port).startswith(b"SSH-2.0-")

    def test_interruptEndsIt(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server:
            server.signal(signal.SIGINT)
            assert server.wait() == 0

    def test_aConnectionWithoutALoginDoesNotKeepIt(self, tmp_path: Path) -> None:
        with (
            serving(tmp_path) as server,
            socket.create_connection(("127.0.0.1", server.port), timeout=20) as client,
        ):
            assert client.recv(7) == b"SSH-2.0"
            server.signal(signal.SIGTERM)
            assert server.wait() == 0

    def test_aFullDiskUnderItsFirstWordsDoesNotKeepItFromServing(self, tmp_path: Path) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
        with open("/dev/full", "wb") as full:
            process = subprocess.Popen(
                [sys.executable, "-m", "limpet", "serve", "-l", f"127.0.0.1:{port}"],
                env=environmentIn(tmp_path),
                stdout=full,
                stderr=full,
            )
        try:
            said = None
            for _ in range(300):
                assert process.poll() is None
                try:
                    said = greeting(port)
                    break
                except ConnectionRefusedError:
                    select.select([], [], [], 0.1)
            assert said is not None
            assert said.startswith(b"SSH-2.0-")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()


def test_aClockThatIsSetMovesNoTimer(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the reactor that the server runs on, and of its transports' timers."""
    goByMonotonicClock(driver.reactor)
    fired: list[str] = []
    driver.reactor.callLater(0.02, fired.append, "soon")
    driver.reactor.callLater(3000, fired.append, "late").cancel()
    later = driver.reactor.callLater(3000, fired.append, "late")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 7200)
    driver.until(lambda: fired == ["soon"])
    monkeypatch.setattr("time.time", lambda: now + 7200)
    driver.reactor.callLater(0.02, fired.append, "again")
    driver.until(lambda: "again" in fired)
    assert fired == ["soon", "again"]
    later.cancel()


class TestAdvice:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("limpet.scripts.serve.homeDirectory", lambda: tmp_path)
        return tmp_path

    def test_homeIsTheOneWhereTheServerLooks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert homeDirectory() == Path(pwd.getpwuid(os.geteuid()).pw_dir)

    def test_noKeyAtAll(self, home: Path) -> None:
        advice = adviceFor(Settings())
        assert f"ssh-keygen -t ed25519 -f {home}/.ssh/id_ed25519" in advice
        assert f"mkdir -m 700 -p {home}/.ssh" in advice
        assert f"cat {home}/.ssh/id_ed25519.pub >> {home}/.ssh/authorized_keys" in advice

    def test_theDirectoryComesBeforeTheKeyInIt(self, home: Path) -> None:
        # ssh-keygen fails where the directory of the file is missing.
        first = [line.split()[0] for line in adviceFor(Settings()).splitlines()[1:4]]
        assert first == ["mkdir", "ssh-keygen", "cat"]

    def test_keysElsewhere(self, home: Path) -> None:
        advice = adviceFor(Settings(authorizedKeys=(f"{home}/etc/keys",))).splitlines()[1:4]
        assert advice == [
            f"  mkdir -m 700 -p {home}/.ssh",
            f"  mkdir -m 700 -p {home}/etc",
            f"  ssh-keygen -t ed25519 -f {home}/.ssh/id_ed25519",
        ]

    def test_aKeyThatIsNotAuthorized(self, home: Path) -> None:
        (home / ".ssh").mkdir()
        (home / ".ssh" / "id_rsa.pub").write_text("ssh-rsa AAAA\n")
        (home / ".ssh" / "authorized_keys").write_text("# nobody\n\n")
        advice = adviceFor(Settings())
        assert "ssh-keygen" not in advice
        assert "mkdir" not in advice
        assert f"cat {home}/.ssh/id_rsa.pub >>" in advice

    def test_noneIsNeeded(self, home: Path) -> None:
        (home / "keys").write_text("ssh-rsa AAAA\n")
        assert adviceFor(Settings(authorizedKeys=("%h/keys",))) == ""
        assert adviceFor(Settings(authorizedKeys=("keys",))) == ""
        assert adviceFor(Settings(authorizedKeys=("/none", f"{home}/keys"))) == ""
        assert not hasKeys(home / "none")


@pytest.mark.parametrize(
    ("address", "command"),
    [
        (Address("127.0.0.1", 2222), "ssh -p 2222 me@127.0.0.1"),
        (Address("0.0.0.0", 22), "ssh me@127.0.0.1"),
        (Address("::", 2222), "ssh -p 2222 me@::1"),
    ],
)
def test_whatToType(address: Address, command: str) -> None:
    assert loginCommand("me", address) == command


def test_whatToTypeForFiles() -> None:
    assert loginCommand("me", Address("0.0.0.0", 2222), True) == "sftp -P 2222 me@127.0.0.1"
    assert loginCommand("me", Address("::1", 22), True) == "sftp me@[::1]"
