"""`limpet ssh` in a real terminal: what a person sees, types and is left with."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.processes import treeOf
from benchmarks.servers import Workplace
from tests.interop.host import Host, poll, running
from tests.interop.limpetssh import environment, limpetSsh
from tests.interop.peers import requirePeer
from tests.interop.screen import Screen, openScreen

PROMPT = r"ready\d*> $"
REMOTE_SHELL = "PS1='ready> ' exec sh"


@pytest.fixture(scope="module")
def sshd(work: Workplace) -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("sshd gives no terminal where it cannot give it away")
    with running(work, name="openssh") as host:
        yield host


@pytest.fixture
def screen(sshd: Host, tmp_path: Path) -> Iterator[Screen]:
    with openScreen(tmp_path, environment(sshd)) as screen:
        yield screen


def logIn(screen: Screen, host: Host, *options: str, command: str = REMOTE_SHELL) -> None:
    screen.start([*limpetSsh(host, "-t", *options), host.destination, command])


class TestSession:
    def test_a_shell(self, screen: Screen, sshd: Host) -> None:
        """Without a command it is the shell of the user, on a terminal of the type here."""
        screen.start([*limpetSsh(sshd), sshd.destination])
        screen.type("PS1='ready> '; clear", "Enter")
        screen.waitFor(PROMPT)
        screen.type("echo $TERM $(tty | cut -c1-8)", "Enter")
        screen.waitFor(r"^(tmux|screen)\S* /dev/pts")
        screen.type("exit 5", "Enter")
        assert screen.status() == 5
        assert screen.isCooked()
        assert "connection to 127.0.0.1 closed" in screen.text()

    def test_vim_and_a_change_of_size(self, screen: Screen, sshd: Host, tmp_path: Path) -> None:
        requirePeer("vim")
        path = tmp_path / "edited"
        path.write_text("".join(f"line {number}\n" for number in range(1, 201)))
        logIn(screen, sshd, command=f"TERM=xterm vim -u NONE -N {path}")
        screen.waitFor(r"^line 29$")
        assert "line 30\n" not in screen.text()
        screen.resize(60, 45)
        screen.waitFor(r"^line 44$")
        screen.type("Escape", ":set columns? lines?", "Enter")
        screen.waitFor(r"columns=60\s+lines=45")
        screen.type("Enter", "ggOadded by vim", "Escape", ":wq", "Enter")
        assert screen.status() == 0
        assert path.read_text().startswith("added by vim\nline 1\n")
        assert screen.isCooked()

    def test_less(self, screen: Screen, sshd: Host, tmp_path: Path) -> None:
        requirePeer("less")
        path = tmp_path / "read"
        path.write_text("".join(f"line {number}\n" for number in range(1, 501)))
        logIn(screen, sshd, command=f"less {path}")
        screen.waitFor(r"^line 29$")
        screen.type("G")
        screen.waitFor(r"^line 500$")
        screen.type("q")
        assert screen.status() == 0

    def test_control_c_is_the_programs(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd)
        screen.waitFor(PROMPT)
        screen.type("sleep 1000", "Enter", "C-c")
        screen.waitFor(r"\^C\n(ready> \n)*ready> $")
        screen.type("echo status $?", "Enter")
        screen.waitFor(r"^status 130$")
        screen.type("C-d")
        screen.status()

    def test_its_own_modes_go_along(self, screen: Screen, sshd: Host) -> None:
        """The erase character of the terminal here is that of the terminal there."""
        screen.start(
            [
                "sh",
                "-c",
                "stty erase X -ixon; exec "
                + " ".join(limpetSsh(sshd, "-t", sshd.destination))
                + " stty -a",
            ]
        )
        assert screen.status() == 0
        assert re.search(r"erase = X;", screen.text())
        assert re.search(r"-ixon", screen.text())


class TestEscapes:
    def test_a_connection_is_ended(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd)
        screen.waitFor(PROMPT)
        screen.type("sleep 1000", "Enter")
        screen.type("~.")
        assert screen.status() == 255
        assert screen.isCooked()

    def test_a_connection_that_hangs_is_ended(self, screen: Screen, sshd: Host) -> None:
        """The server takes nothing and says nothing: the escape is ours alone."""
        logIn(screen, sshd)
        screen.waitFor(PROMPT)
        sessions = set(treeOf(sshd.server.pid)) - {sshd.server.pid}
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        try:
            screen.type("Enter", "~.")
            assert screen.status() == 255
        finally:
            for pid in sessions:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        assert screen.isCooked()

    def test_the_list_and_the_character_itself(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd, command="echo go; cat")
        screen.waitFor("^go$")
        screen.type("Enter", "~?")
        screen.waitFor(r"^~\.\s+end the connection")
        screen.type("~#")
        screen.waitFor(r"#0 session")
        screen.type("Enter", "~~/home and ~ within", "Enter")
        screen.waitFor(r"^~/home and ~ within\n+~/home and ~ within$")
        screen.type("C-d")
        assert screen.status() == 0

    def test_the_command_line(self, screen: Screen, sshd: Host) -> None:
        """Forwardings that begin, carry and end; what is typed there never reaches the shell."""
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            port = chosen.getsockname()[1]
        options = ("-o", "EnableEscapeCommandline=yes", "-o", "PermitLocalCommand=yes")
        logIn(screen, sshd, *options)
        screen.waitFor(PROMPT)
        screen.type("Enter", "~C")
        screen.waitFor(r"^ssh> $")
        screen.type(f"L {port}:127.0.0.1:{sshd.port}", "Enter")
        screen.waitFor(rf"forwarding port {port} to 127.0.0.1 port {sshd.port}")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as through:
            assert through.recv(7) == b"SSH-2.0"
        screen.type("Enter", "~C")
        screen.waitFor(r"^ssh> $")
        screen.type(f"KL {port}", "Enter")
        screen.waitFor(rf"no longer forwarding port {port}")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=20)
        screen.type("Enter", "~C")
        screen.waitFor(r"^ssh> $")
        screen.type("!echo it runs $((40 + 2))", "Enter")
        screen.waitFor(r"^it runs 42$")
        screen.type("Enter", "~C")
        screen.waitFor(r"^ssh> $")
        screen.type("C-c")
        screen.type("Enter", "echo $((20 + 1)) is the shell", "Enter")
        screen.waitFor(r"21 is the shell$")
        screen.type("exit 4", "Enter")
        assert screen.status() == 4
        assert screen.isCooked()

    def test_the_command_line_is_off_unless_it_is_turned_on(
        self, screen: Screen, sshd: Host
    ) -> None:
        logIn(screen, sshd)
        screen.waitFor(PROMPT)
        screen.type("Enter", "~C")
        screen.waitFor(r"EnableEscapeCommandline yes")
        screen.type("Enter", "exit", "Enter")
        assert screen.status() == 0

    def test_another_character(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd, "-e", "^]", command="echo go; cat")
        screen.waitFor("^go$")
        screen.type("Enter", "~.", "Enter")
        screen.waitFor(r"^~\.\n+~\.$")
        screen.type("C-]", ".")
        assert screen.status() == 255

    def test_none(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd, "-e", "none", command="echo go; cat")
        screen.waitFor("^go$")
        screen.type("Enter", "~.", "Enter")
        screen.waitFor(r"^~\.\n+~\.$")
        screen.type("C-d")
        assert screen.status() == 0

    def test_new_keys(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd)
        screen.waitFor(PROMPT)
        screen.type("~R")
        screen.type("echo still $((40 + 2))", "Enter")
        screen.waitFor(r"^still 42$")
        screen.type("exit", "Enter")
        assert screen.status() == 0

    def test_suspended_and_resumed(self, screen: Screen, sshd: Host) -> None:
        """In a shell with jobs: the terminal is the shell's meanwhile, and raw again after."""
        command = " ".join([*limpetSsh(sshd, "-t"), sshd.destination, "cat"])
        requirePeer("bash")
        screen.start(["bash", "--norc", "-i"])
        screen.type("PS1='here> '; clear", "Enter")
        screen.waitFor(r"^here> $")
        screen.type(command, "Enter")
        screen.type("one", "Enter")
        screen.waitFor(r"^one\none$")
        screen.type("~", "C-z")
        screen.waitFor(r"Stopped")
        screen.type("echo the shell has $((1 + 1))", "Enter")
        screen.waitFor(r"^the shell has 2$")
        screen.type("fg", "Enter")
        screen.type("three", "Enter")
        screen.waitFor(r"^three\nthree$")
        screen.type("C-d")
        screen.waitFor(r"connection to 127.0.0.1 closed")


class TestKeystrokes:
    """Keys that leave at an even beat, at a server that answers PING (sshd does from 9.5 on)."""

    @pytest.fixture
    def limpet(self, work: Workplace) -> Iterator[Host]:
        with running(work, name="limpet") as host:
            yield host

    @pytest.mark.parametrize("timing", ["yes", "interval:200", "no"])
    def test_what_is_typed_arrives(self, limpet: Host, tmp_path: Path, timing: str) -> None:
        with openScreen(tmp_path, environment(limpet)) as screen:
            logIn(screen, limpet, "-o", f"ObscureKeystrokeTiming={timing}")
            screen.waitFor(PROMPT)
            for word in ("one", "two", "three"):
                screen.type("echo said ", *word, "Enter")
                screen.waitFor(rf"^said {word}$")
            screen.type("exit 5", "Enter")
            assert screen.status() == 5
            assert screen.isCooked()

    def test_a_connection_is_ended(self, limpet: Host, tmp_path: Path) -> None:
        with openScreen(tmp_path, environment(limpet)) as screen:
            logIn(screen, limpet, "-o", "ObscureKeystrokeTiming=interval:1000")
            screen.waitFor(PROMPT)
            screen.type("Enter", "~.")
            assert screen.status() == 255
            assert screen.isCooked()


class TestEnds:
    def test_a_connection_that_drops(self, screen: Screen, sshd: Host, tmp_path: Path) -> None:
        """Cut on the way; the person is told, and has the terminal back."""
        with Wire(sshd.port) as wire:
            known = tmp_path / "known"
            known.write_text(sshd.knownHosts.read_text().replace(str(sshd.port), str(wire.port)))
            logIn(screen, sshd, "-p", str(wire.port), "-o", f"UserKnownHostsFile={known}")
            screen.waitFor(PROMPT)
            wire.cut()
            assert screen.status() == 255
        assert re.search(r"^limpet: .*127\.0\.0\.1.*(lost|closed)", screen.text(), re.MULTILINE)
        assert screen.isCooked()

    def test_a_server_that_falls_silent(self, screen: Screen, sshd: Host) -> None:
        """ServerAliveInterval finds out."""
        logIn(screen, sshd, "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
        screen.waitFor(PROMPT)
        sessions = set(treeOf(sshd.server.pid)) - {sshd.server.pid}
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert screen.status() == 255
            assert "does not answer any more" in screen.text()
        finally:
            for pid in sessions:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def test_a_signal_puts_the_terminal_back(self, screen: Screen, sshd: Host) -> None:
        logIn(screen, sshd)
        screen.waitFor(PROMPT)
        for pid in clientsOf(sshd):
            os.kill(pid, signal.SIGTERM)
        assert screen.status() == 255
        assert screen.isCooked()


class TestQuestions:
    def test_an_unknown_host_is_asked_about(
        self, screen: Screen, sshd: Host, tmp_path: Path
    ) -> None:
        """On the terminal, though standard input and output are not; and it is remembered."""
        known = tmp_path / "known_hosts"
        options = ["-o", "StrictHostKeyChecking=ask", "-o", f"UserKnownHostsFile={known}"]
        command = [*limpetSsh(sshd, *options), sshd.destination, "cat"]
        screen.start(["sh", "-c", f"echo data | {' '.join(command)} > {tmp_path}/out"])
        screen.waitFor(r"(?i)yes/no")
        screen.type("maybe", "Enter")
        screen.waitFor(r"Please type")
        screen.type("yes", "Enter")
        assert screen.status() == 0
        assert (tmp_path / "out").read_text() == "data\n"
        assert known.read_text().startswith(f"[127.0.0.1]:{sshd.port} ")

    def test_a_refusal(self, screen: Screen, sshd: Host, tmp_path: Path) -> None:
        known = tmp_path / "known_hosts"
        options = ["-o", "StrictHostKeyChecking=ask", "-o", f"UserKnownHostsFile={known}"]
        screen.start([*limpetSsh(sshd, *options), sshd.destination, "true"])
        screen.waitFor(r"(?i)yes/no")
        screen.type("no", "Enter")
        assert screen.status() == 255
        assert not known.exists()

    def test_a_passphrase(self, screen: Screen, sshd: Host, tmp_path: Path) -> None:
        """Asked for without echo, and again after a mistake."""
        key = tmp_path / "locked"
        key.write_bytes(sshd.work.clientKey.read_bytes())
        key.chmod(0o600)
        keygen = [requirePeer("ssh-keygen"), "-q", "-p", "-N", "correct horse", "-f", str(key)]
        subprocess.run(keygen, check=True)
        screen.start([*limpetSsh(sshd, key=key), sshd.destination, "echo logged in"])
        screen.waitFor(r"Passphrase for.*: ?$")
        screen.type("wrong", "Enter")
        screen.waitFor(r"Passphrase for.*\n.*Passphrase for.*: ?$")
        screen.type("correct horse", "Enter")
        assert screen.status() == 0
        assert "logged in" in screen.text()
        assert "wrong" not in screen.text()
        assert "horse" not in screen.text()

    @pytest.mark.parametrize("command", ["ssh", "sftp"])
    def test_interrupted(self, screen: Screen, sshd: Host, tmp_path: Path, command: str) -> None:
        """Ctrl-C at a question: not a word, and what is typed next is seen again."""
        key = tmp_path / "locked"
        key.write_bytes(sshd.work.clientKey.read_bytes())
        key.chmod(0o600)
        subprocess.run(
            [requirePeer("ssh-keygen"), "-q", "-p", "-N", "secret", "-f", str(key)], check=True
        )
        if command == "ssh":
            screen.start([*limpetSsh(sshd, key=key), sshd.destination, "true"])
        else:
            words = " ".join(limpetSsh(sshd, key=key)).replace(" ssh ", " sftp ")
            screen.start([*words.replace(" -p ", " -P ").split(), sshd.destination])
        screen.waitFor(r"Passphrase for.*: ?$")
        screen.type("C-c")
        assert screen.status() == {"ssh": 255, "sftp": 130}[command]
        poll(lambda: not clientsOf(sshd), 10, "the client's end")
        assert "limpet: " not in screen.text()
        assert screen.isCooked()


def clientsOf(host: Host) -> list[int]:
    """Processes of `limpet ssh` for the host."""
    found = []
    wanted = f"-p\0{host.port}\0".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                # Not the shells that have it in a word of theirs.
                if b"\0limpet\0ssh\0" in line and wanted in line:
                    found.append(int(entry.name))
    return found


class Wire:
    """A way to the server that can be cut: one connection is passed on, byte for byte."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets = [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def cut(self) -> None:
        for end in self._sockets:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
