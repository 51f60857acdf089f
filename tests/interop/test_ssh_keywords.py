"""Keywords of ssh_config(5) at work: what `ssh` does with them, `limpet ssh` does, too."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import Workplace, freePort
from limpet.client.names import localAddresses
from tests.interop.host import Host, poll, running
from tests.interop.limpetssh import environment, limpetSsh, run
from tests.interop.peers import missing, requirePeer

TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def sshd(work: Workplace) -> Iterator[Host]:
    with running(work, name="openssh") as host:
        yield host


def options(**keywords: str) -> list[str]:
    return [word for name, value in keywords.items() for word in ("-o", f"{name}={value}")]


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


class TestKnownHostsCommand:
    """What the command prints counts like a file; and where it fails, nobody is accepted."""

    CASES = (
        # what it prints or does; whether the host is accepted
        ("cat {known}", True),
        ("sed s/^/#/ {known}", False),
        ('printf "garbage\\\\n"; cat {known}', True),
        ("cat {known}; exit 1", False),
        ("sed s/ssh-ed25519/@revoked\\ */ {known}", False),
        ("true", False),
        ("kill -9 $$", False),
    )

    @pytest.mark.parametrize(("text", "accepted"), CASES)
    def test_both_clients_think_the_same(
        self, sshd: Host, tmp_path: Path, text: str, accepted: bool
    ) -> None:
        command = script(tmp_path / "keys", text.format(known=sshd.knownHosts))
        more = options(KnownHostsCommand=command, UserKnownHostsFile="/dev/null")
        theirs = subprocess.run(
            [*sshd.sshCommand()[:1], *more, *sshd.sshCommand()[1:], sshd.destination, "true"],
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        mine = subprocess.run(
            [*limpetSsh(sshd, *more, "-o", "BatchMode=yes"), sshd.destination, "true"],
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=environment(sshd),
            check=False,
        )
        assert (theirs.returncode == 0) is accepted, theirs.stderr
        assert (mine.returncode == 0) is accepted, mine.stderr

    def test_both_say_what_they_ask_for(self, sshd: Host, tmp_path: Path) -> None:
        said = {}
        for who in ("ssh", "limpet"):
            log = tmp_path / who
            command = script(tmp_path / f"keys-{who}", f'echo "$@" >> {log}; cat {sshd.knownHosts}')
            more = options(
                KnownHostsCommand=f"{command} %I %H %t %f %K %n %h %p %r %%",
                UserKnownHostsFile="/dev/null",
                CheckHostIP="yes",
            )
            start = sshd.sshCommand()[:1] + more + sshd.sshCommand()[1:]
            if who == "limpet":
                start = limpetSsh(sshd, *more)
            subprocess.run(
                [*start, sshd.destination, "true"],
                check=True,
                timeout=TIMEOUT_SECONDS,
                env=environment(sshd),
                capture_output=True,
            )
            said[who] = set(log.read_text().splitlines())
        # `ssh` asks for no address where the name is one.
        assert {line for line in said["limpet"] if not line.startswith("ADDRESS")} == said["ssh"]


class TestLocalCommand:
    def test_it_runs_after_the_login_where_it_is_permitted(
        self, sshd: Host, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark file"
        command = f"touch '{mark}' %n-%r"
        for permitted in ("no", "yes"):
            given = options(PermitLocalCommand=permitted, LocalCommand=command)
            done = run(sshd, *given, sshd.destination, f"test -e {shlex.quote(str(mark))}")
            assert (done.returncode == 0) is (permitted == "yes"), done.stderr
        (Path.cwd() / f"127.0.0.1-{sshd.user}").unlink()

    def test_one_that_cannot_be_run_is_told_and_one_that_needs_a_shell_refused(
        self, sshd: Host
    ) -> None:
        given = options(PermitLocalCommand="yes", LocalCommand="/no/such/program")
        done = run(sshd, *given, sshd.destination, "echo on")
        assert (done.returncode, done.stdout) == (0, b"on\n")
        assert b"LocalCommand: /no/such/program" in done.stderr
        given = options(PermitLocalCommand="yes", LocalCommand="echo a | cat")
        done = run(sshd, *given, sshd.destination, "echo on")
        assert done.returncode == 255
        assert b"shell" in done.stderr


class TestWhatIsShown:
    def test_pictures_and_fingerprints_are_those_of_ssh_keygen(self, sshd: Host) -> None:
        keygen = requirePeer("ssh-keygen")
        for hashName in ("sha256", "md5"):
            listed = subprocess.run(
                [keygen, "-lv", "-E", hashName, "-f", str(sshd.work.hostKey)],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=True,
            ).stdout
            first, _, picture = listed.partition("\n")
            given = options(VisualHostKey="yes", FingerprintHash=hashName)
            done = run(sshd, *given, sshd.destination, "true")
            said = done.stderr.decode().replace("limpet: ", "")
            assert picture.strip() in said
            assert first.split()[1] in said

    def test_a_key_exchange_that_may_not_last(self, sshd: Host) -> None:
        weak = options(KexAlgorithms="curve25519-sha256", WarnWeakCrypto="yes")
        assert b"WarnWeakCrypto" in run(sshd, *weak, sshd.destination, "true").stderr
        strong = options(KexAlgorithms="sntrup761x25519-sha512@openssh.com", WarnWeakCrypto="yes")
        done = run(sshd, *strong, sshd.destination, "true")
        if done.returncode == 0:
            assert b"WarnWeakCrypto" not in done.stderr
        default = run(sshd, *weak[:2], sshd.destination, "true")
        assert b"WarnWeakCrypto" not in default.stderr


class TestTheConnection:
    @pytest.mark.skipif(sys.platform != "linux", reason="the interface's name is Linux's")
    def test_it_comes_from_the_interface(self, sshd: Host) -> None:
        done = run(sshd, "-B", "lo", sshd.destination, "echo $SSH_CONNECTION")
        assert done.stdout.split()[0] == b"127.0.0.1"
        done = run(sshd, "-B", "nosuch0", sshd.destination, "true")
        assert done.returncode == 255
        assert b"nosuch0 (BindInterface) has no address" in done.stderr

    def test_its_own_addresses(self) -> None:
        listed = requirePeer("ip")
        told = subprocess.run(
            [listed, "-o", "addr", "show", "up"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        ).stdout
        theirs = set(re.findall(r"inet6? (\S+?)/", told))
        assert {address.text.partition("%")[0] for address in localAddresses()} == theirs

    def test_its_packets_are_marked(self, sshd: Host) -> None:
        """As the socket itself has it, seen from the program's own descriptors."""
        program = (
            "import socket, sys\n"
            "from limpet.client import dialing\n"
            "real = dialing.markPackets\n"
            "def mark(transport, value):\n"
            "    real(transport, value)\n"
            "    handle = transport.getHandle()\n"
            "    print(handle.getsockopt(socket.IPPROTO_IP, socket.IP_TOS), file=sys.stderr)\n"
            "from limpet.client import connecting\n"
            "connecting.markPackets = mark\n"
            "from limpet.scripts.main import main\n"
            "main()\n"
        )
        start = limpetSsh(sshd, "-tt", *options(IPQoS="af21 cs1"))
        done = subprocess.run(
            [sys.executable, "-c", program, *start[3:], sshd.destination, "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=environment(sshd),
            check=False,
        )
        # At the login as bulk, then as a terminal.
        assert re.findall(rb"^(\d+)\r?$", done.stderr, re.MULTILINE) == [b"32", b"72"]

    def test_a_proxy_may_pass_the_connection_on(self, sshd: Host) -> None:
        nc = requirePeer("nc")
        given = options(ProxyCommand=f"{nc} -F %h %p", ProxyUseFdpass="yes")
        done = run(sshd, *given, sshd.destination, "echo $SSH_CONNECTION; cat", input=b"x" * 99999)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(b"x" * 99999)
        for command, why in (("true", b"passed no connection"), ("/no/such", b"cannot start")):
            given = options(ProxyCommand=command, ProxyUseFdpass="yes")
            done = run(sshd, *given, sshd.destination, "true")
            assert done.returncode == 255
            assert why in done.stderr

    def test_what_it_calls_itself(self, sshd: Host) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            given = options(VersionAddendum="by %u", Port=str(listener.getsockname()[1]))
            process = subprocess.Popen(
                [*limpetSsh(sshd, *given), "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(sshd),
            )
            try:
                listener.settimeout(TIMEOUT_SECONDS)
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(TIMEOUT_SECONDS)
                    connection.sendall(b"SSH-2.0-x\r\n")
                    line = connection.makefile("rb").readline()
            finally:
                process.kill()
                process.wait()
        assert re.fullmatch(rb"SSH-2\.0-Limpet_\S+ by \S+\r\n", line)

    def test_a_socket_is_for_whom_the_mask_leaves_it(self, sshd: Host, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        forward = f"{path}:127.0.0.1:{sshd.port}"
        for mask, mode in (("0117", 0o660), ("0177", 0o600)):
            given = options(StreamLocalBindMask=mask, StreamLocalBindUnlink="yes")
            process = subprocess.Popen(
                [*limpetSsh(sshd, "-N", "-L", forward, *given), sshd.destination],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(sshd),
            )

            def isThere(mode: int = mode) -> bool:
                return path.is_socket() and stat.S_IMODE(path.stat().st_mode) == mode

            try:
                poll(isThere, TIMEOUT_SECONDS, f"{path} with the mode {mode:o}")
            finally:
                process.terminate()
                process.wait()

    def test_it_goes_to_the_background(self, sshd: Host) -> None:
        port = freePort()
        given = options(ForkAfterAuthentication="yes", SessionType="none")
        done = subprocess.run(
            [*limpetSsh(sshd, *given, "-L", f"{port}:127.0.0.1:{sshd.port}"), sshd.destination],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            env=environment(sshd),
            check=False,
        )
        assert done.returncode == 0
        listeners = subprocess.run(
            ["pgrep", "-f", f"{port}:127.0.0.1:{sshd.port}"], capture_output=True, check=True
        ).stdout.split()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as through:
                assert through.recv(4) == b"SSH-"
        finally:
            for listener in listeners:
                os.kill(int(listener), 15)


# ── Canonical names ───────────────────────────────────────────────────────────────────────────

HOSTS = """\
192.0.2.1 web.example.com
192.0.2.2 real.example.org alias.example.com alias
192.0.2.3 box.internal.test
192.0.2.4 plain
"""

NAMES = [
    # the configuration, beside CanonicalDomains; the host
    ("CanonicalizeHostname yes\n", "web"),
    ("CanonicalizeHostname yes\n", "WEB"),
    ("CanonicalizeHostname yes\n", "box"),
    ("CanonicalizeHostname yes\n", "nope"),
    ("CanonicalizeHostname yes\n", "plain"),
    ("CanonicalizeHostname yes\n", "web.example.com"),
    ("CanonicalizeHostname yes\n", "web.example.com."),
    ("CanonicalizeHostname yes\n", "nope.example.com."),
    ("CanonicalizeHostname yes\n", "192.0.2.1"),
    ("CanonicalizeHostname no\n", "web"),
    ("CanonicalizeHostname yes\nCanonicalizeFallbackLocal no\n", "nope"),
    ("CanonicalizeHostname yes\nCanonicalizeFallbackLocal no\n", "web"),
    ("CanonicalizeHostname yes\nCanonicalizeFallbackLocal no\n", "a.b.c"),
    ("CanonicalizeHostname yes\nCanonicalizeMaxDots 0\n", "web.example"),
    ("CanonicalizeHostname yes\nCanonicalizeMaxDots 3\n", "a.b.c"),
    ("CanonicalizeHostname yes\nProxyCommand nc %h %p\n", "web"),
    ("CanonicalizeHostname always\nProxyCommand nc %h %p\n", "web"),
    ("CanonicalizeHostname yes\nProxyJump jump\n", "web"),
    ("CanonicalizeHostname always\nProxyJump jump\n", "web"),
    ("CanonicalizeHostname yes\nProxyCommand none\n", "web"),
    ("CanonicalizeHostname yes\n", "alias"),
    ("CanonicalizeHostname yes\nCanonicalizePermittedCNAMEs *.example.com:*.org\n", "alias"),
    ("CanonicalizeHostname yes\nCanonicalizePermittedCNAMEs *.example.com:*.net\n", "alias"),
    ("CanonicalizeHostname yes\nCanonicalizePermittedCNAMEs *.net:*.org\n", "alias"),
    ("CanonicalizeHostname yes\nCanonicalizePermittedCNAMEs none\n", "alias"),
    ("CanonicalizeHostname yes\nCanonicalizePermittedCNAMEs *:*\n", "nope"),
    ("CanonicalizeHostname yes\nHostName web\n", "other"),
    ("CanonicalizeHostname yes\nHostName %h.internal\n", "box"),
    ("Host w*\n CanonicalizeHostname yes\nHost *.example.com\n Port 7\n", "web"),
    ("CanonicalizeHostname yes\nMatch canonical host *.example.com\n Port 7\n", "web"),
    ("CanonicalizeHostname yes\nMatch host web\n Port 7\n", "web"),
    ("CanonicalizeHostname yes\nMatch originalhost web\n Port 7\n", "web"),
]


@pytest.fixture(scope="module")
def wrapper() -> str:
    """The library that has names looked up in a file of ours."""
    found = sorted(Path("/usr/lib").glob("**/libnss_wrapper.so*"))
    if not found:
        missing("libnss-wrapper")
    return str(found[0])


KEYWORDS = ("host", "hostname", "port", "user", "userknownhostsfile")

ALL_OF_OURS = """
import json, sys
from pathlib import Path
from limpet.client.config import ConfigError, loadClientConfig
from limpet.client.listing import configLines
from limpet.client.names import systemLookUp

for path, host in json.load(sys.stdin):
    try:
        config = loadClientConfig(host, files=[Path(path)], lookUp=systemLookUp)
        print(json.dumps(dict(line.split(" ", 1) for line in configLines(config))))
    except ConfigError as refusal:
        print("null")
"""
"""What Limpet makes of all cases, in one process."""


@pytest.fixture(scope="module")
def canonical(
    wrapper: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Path], list[dict[str, str] | None], dict[str, str]]:
    """The files of all cases, what Limpet makes of each, and the environment for the same names."""
    directory = tmp_path_factory.mktemp("names")
    (directory / "hosts").write_text(HOSTS)
    source = str(Path(__file__).resolve().parents[2] / "src")
    hosts = {"LD_PRELOAD": wrapper, "NSS_WRAPPER_HOSTS": str(directory / "hosts")}
    # What is not in the file is asked of the network, which need not answer.
    hosts["RES_OPTIONS"] = "timeout:1 attempts:1"
    surroundings = {**os.environ, **hosts, "PYTHONPATH": source}
    paths = []
    for number, (text, _) in enumerate(NAMES):
        paths.append(directory / str(number))
        domains = "CanonicalDomains nowhere.test example.com internal.test"
        paths[-1].write_text(f"{domains}\nUserKnownHostsFile /x/%h/%n/%k\n{text}")
    asked = [(str(path), host) for path, (_, host) in zip(paths, NAMES, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", ALL_OF_OURS],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=surroundings,
        check=True,
    )
    return paths, [json.loads(line) for line in done.stdout.splitlines()], surroundings


@pytest.mark.parametrize("number", range(len(NAMES)), ids=lambda number: NAMES[number][0])
def test_names_become_what_ssh_makes_of_them(
    canonical: tuple[list[Path], list[dict[str, str] | None], dict[str, str]], number: int
) -> None:
    paths, ours, surroundings = canonical
    done = subprocess.run(
        [
            *(os.environ.get("LIMPET_SSH") or requirePeer("ssh"), "-F", str(paths[number])),
            *("-G", NAMES[number][1]),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=surroundings,
        check=False,
    )
    mine = ours[number]
    if done.returncode:
        assert mine is None
        return
    theirs = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert mine is not None
    assert {name: mine.get(name) for name in KEYWORDS} == {
        name: theirs.get(name) for name in KEYWORDS
    }


def test_the_command_looks_names_up(wrapper: str, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "limpet", "ssh", "-F", "none", "-G", "web"),
            *options(CanonicalizeHostname="yes", CanonicalDomains="example.com"),
        ],
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        env={
            **os.environ,
            "LD_PRELOAD": wrapper,
            "NSS_WRAPPER_HOSTS": str(tmp_path / "hosts"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"),
        },
        check=True,
    )
    assert b"hostname web.example.com\n" in done.stdout


CONNECT = """
import asyncio, sys
import limpet.aio

async def main():
    async with limpet.aio.connect("box", config_files=[sys.argv[1]]) as client:
        result = await client.run("echo $SSH_CONNECTION")
        print(result.stdout.decode().split()[0])

asyncio.run(asyncio.wait_for(main(), 30))
"""


def test_jump_hosts_and_programs_have_canonical_names_too(
    sshd: Host, wrapper: str, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 gate.limpet.test\n127.0.0.1 box.limpet.test\n")
    config = tmp_path / "config"
    config.write_text(
        "Host gate box\n CanonicalizeHostname yes\n"
        f"Host box\n UserKnownHostsFile none\n KnownHostsCommand cat {sshd.knownHosts}\n"
        "Host plain\n ProxyJump gate\n HostName 127.0.0.1\n"
        f"Host *\n CanonicalDomains limpet.test\n User {sshd.user}\n Port {sshd.port}\n"
        f" IdentityFile {sshd.work.clientKey}\n IdentityAgent none\n BatchMode yes\n"
        f" UserKnownHostsFile {sshd.knownHosts}\n HostKeyAlias 127.0.0.1\n"
    )
    surroundings = environment(sshd, LD_PRELOAD=wrapper, NSS_WRAPPER_HOSTS=str(tmp_path / "hosts"))
    for command, answer in (
        ([sys.executable, "-m", "limpet", "ssh", "-F", str(config), "plain", "echo on"], b"on\n"),
        ([sys.executable, "-c", CONNECT, str(config)], b"127.0.0.1\n"),
    ):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=surroundings,
            check=False,
        )
        assert done.stdout == answer, done.stderr
