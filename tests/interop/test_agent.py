"""The agent against OpenSSH's programs: ssh-add, ssh-keygen, ssh, and ssh-agent."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import ROOT, Workplace
from tests.interop.host import IS_LIMPET, Host, poll, running
from tests.interop.peers import requireModule, requirePeer
from tests.interop.test_client_peers import dropbearHostKey, serving

SECONDS = 60.0
TYPES = ("ed25519", "ecdsa", "rsa")

pytestmark = pytest.mark.skipif(not IS_LIMPET, reason="about Limpet's agent and its server")


class Agent:
    """`limpet agent`, and the programs that use it."""

    def __init__(self, directory: Path, askpass: str = "") -> None:
        self.directory = directory
        self.socket = directory / "agent"
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "SSH_AUTH_SOCK": str(self.socket),
            "SSH_ASKPASS": askpass,
            "SSH_ASKPASS_REQUIRE": "force",
        }
        if not askpass:
            del self.environment["SSH_ASKPASS"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "limpet", "agent", "-D", "-a", str(self.socket)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def run(self, *command: str, status: int | None = 0) -> str:
        """What a program prints; its exit status has to be `status`."""
        done = subprocess.run(
            [requirePeer(command[0]), *command[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=self.directory,
            check=False,
        )
        assert status is None or done.returncode == status, done.stderr
        return done.stdout

    def add(self, *arguments: str, status: int | None = 0) -> str:
        return self.run("ssh-add", *arguments, status=status)

    def listed(self) -> list[str]:
        """The lines of `ssh-add -l`."""
        lines = self.add("-l", status=None).splitlines()
        return [] if lines == ["The agent has no identities."] else lines

    def stop(self) -> str:
        self.process.terminate()
        _, errors = self.process.communicate(timeout=SECONDS)
        return errors


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    directory = tmp_path_factory.mktemp("agent")
    asked = directory / "asked"
    # The passphrase for -x and -X; and yes to the use of a key, while a file says so.
    program = script(
        directory / "askpass",
        f'test "$SSH_ASKPASS_PROMPT" = confirm || exec echo secret\n'
        f'echo "$1" >>{asked}\n'
        f"test -e {directory}/yes",
    )
    keygen = requirePeer("ssh-keygen")
    for kind in TYPES:
        path = str(directory / kind)
        subprocess.run([keygen, "-q", "-t", kind, "-N", "", "-C", kind, "-f", path], check=True)
    agent = Agent(directory, str(program))
    try:
        yield agent
    finally:
        errors = agent.stop()
    assert "Traceback" not in errors
    assert not agent.socket.exists()


@pytest.fixture
def agent(shared: Agent) -> Iterator[Agent]:
    """The module's agent, without keys."""
    yield shared
    shared.add("-X", status=None)
    shared.add("-D")


def test_whatItSaysAndWhoseTheSocketIs(agent: Agent) -> None:
    assert agent.said == (
        f"SSH_AUTH_SOCK={agent.socket}; export SSH_AUTH_SOCK;"
        f" SSH_AGENT_PID={agent.process.pid}; export SSH_AGENT_PID;\n"
    )
    assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o600


def test_keysAreAddedListedAndRemoved(agent: Agent) -> None:
    assert agent.listed() == []
    agent.add(*TYPES)
    assert [line.split()[2] for line in agent.listed()] == list(TYPES)
    public = [(agent.directory / f"{kind}.pub").read_text() for kind in TYPES]
    assert agent.add("-L") == "".join(public)
    agent.add("-d", "ecdsa")
    assert [line.split()[2] for line in agent.listed()] == ["ed25519", "rsa"]
    agent.add("-D")
    assert agent.listed() == []


def test_lockAndUnlock(agent: Agent) -> None:
    agent.add("ed25519")
    agent.add("-x")
    assert agent.listed() == []
    agent.add("rsa", status=1)
    agent.add("-X")
    assert len(agent.listed()) == 1


def test_aLifetime(agent: Agent) -> None:
    agent.add("-t", "1", "ed25519")
    assert len(agent.listed()) == 1
    poll(lambda: not agent.listed(), 20, "the end of the key's second")


@pytest.mark.parametrize("kind", TYPES)
def test_aFileIsSigned(agent: Agent, kind: str) -> None:
    agent.add(kind)
    message = agent.directory / f"message-{kind}"
    message.write_text("what is signed\n")
    public = agent.directory / f"only-{kind}.pub"
    public.write_bytes((agent.directory / f"{kind}.pub").read_bytes())
    agent.run("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(public), str(message))
    signers = agent.directory / "signers"
    signers.write_text(f"me {public.read_text()}")
    verified = subprocess.run(
        [
            *(requirePeer("ssh-keygen"), "-Y", "verify", "-n", "file", "-I", "me"),
            *("-f", str(signers), "-s", f"{message}.sig"),
        ],
        input=message.read_bytes(),
        capture_output=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr


def test_bytesOfNoKindAreNotSigned(agent: Agent) -> None:
    agent.add("ed25519")
    agent.add("-T", "ed25519.pub", status=1)


@pytest.mark.parametrize("kind", TYPES)
def test_certificates(agent: Agent, kind: str) -> None:
    directory = agent.directory / f"certified-{kind}"
    directory.mkdir()
    agent.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(directory / "key"))
    agent.run("ssh-keygen", "-q", "-s", "ed25519", "-I", "x", "-n", "y", str(directory / "key.pub"))
    agent.add(str(directory / "key"))
    assert [line.rsplit("(", 1)[1] for line in agent.listed()] == [
        f"{kind.upper()})",
        f"{kind.upper()}-CERT)",
    ]


def test_anAuthorityInTheAgent(agent: Agent) -> None:
    agent.add("ed25519")
    subject = agent.directory / "subject"
    agent.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(subject))
    agent.run("ssh-keygen", "-U", "-s", "ed25519.pub", "-I", "x", "-n", "y", f"{subject}.pub")
    assert "user certificate" in agent.run("ssh-keygen", "-L", "-f", f"{subject}-cert.pub")


def test_ourClientAndOpenSSHsAgent(tmp_path: Path) -> None:
    done = subprocess.run(
        [requirePeer("ssh-agent"), sys.executable, "-m", "tests.interop.agentClient"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == WHAT_OUR_CLIENT_GETS


def test_ourClientAndOurAgent(agent: Agent) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.agentClient"],
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == WHAT_OUR_CLIENT_GETS


def ofPeer(agent: Agent, *arguments: str) -> Any:
    requireModule(arguments[0])
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.agentPeers", *arguments],
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_asyncssh(agent: Agent) -> None:
    assert ofPeer(agent, "asyncssh") == {
        "listed": 3,
        "locked": 0,
        "left": 2,
    }


def test_paramiko(agent: Agent) -> None:
    agent.add(*TYPES)
    assert ofPeer(agent, "paramiko") == {"signed": [True] * 3}


WHAT_OUR_CLIENT_GETS = {
    "listed": ["Ed25519", "EC", "EC", "RSA"],
    "same": True,
    "signed": [True] * 4,
    "file": True,
    "left": 3,
    "locked": 0,
    "wrong": "refused",
    "bound": True,
    "after": True,
    "end": 0,
}


@pytest.mark.parametrize("number", [0, 1])
def test_theExamplesOfItsDescription(agent: Agent, number: int, tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs/agent.md").read_text(), re.DOTALL)[
        number
    ]
    agent.add("ed25519")
    ending = ("show(reactor)", f"serve(reactor, {str(tmp_path / 'own')!r})")[number]
    program = (
        f"{example}\n"
        "from twisted.internet import defer, task\n"
        f"task.react(lambda reactor: defer.ensureDeferred(wait({ending}, reactor)))\n"
    )
    wait = "async def wait(what, reactor):\n    return await what\n"
    said = agent.run(sys.executable, "-c", wait + program)
    assert said.startswith("ed25519 SHA256:") is (number == 0)


def test_inTheBackground(agent: Agent, tmp_path: Path) -> None:
    """As ssh-agent: `eval` sees the socket, `ssh-agent -k` ends it."""
    limpet = shlex.join([sys.executable, "-m", "limpet", "agent"])
    done = agent.run(
        "sh",
        "-c",
        f'eval "$({limpet})"; ssh-add -l; echo $SSH_AUTH_SOCK; ssh-agent -k >/dev/null',
    )
    listed, socket = done.splitlines()
    assert listed == "The agent has no identities."
    poll(lambda: not Path(socket).parent.exists(), 10, "the end of the agent")


@pytest.mark.parametrize(
    ("command", "status"), [("exit 7", 7), ("kill -TERM $$", 143), ("ssh-add -l", 1)]
)
def test_forOneCommand(agent: Agent, command: str, status: int) -> None:
    agent.run(sys.executable, "-m", "limpet", "agent", "sh", "-c", command, status=status)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-a", "/nowhere/at/all"), "No such file"),
        (("-t", "0"), "no time"),
        (("-t", "1y"), "no time"),
        (("no-such-program",), "no program"),
    ],
)
def test_mistakes(agent: Agent, arguments: tuple[str, ...], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "limpet", "agent", *arguments],
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_L6_nobodyElseConnects() -> None:
    if os.geteuid() != 0:
        pytest.skip("takes a second user")
    # Open to all, so that nothing but the agent itself stands in the way.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        agent = Agent(directory)
        try:
            agent.socket.chmod(0o666)
            done = subprocess.run(
                [sys.executable, "-c", CONNECT_AS_NOBODY, str(agent.socket)],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        finally:
            errors = agent.stop()
    assert done.stdout == "b''\n", done.stderr
    assert "a connection by user 65534 refused" in errors


CONNECT_AS_NOBODY = """
import os, socket, sys
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1])
try:
    agent.sendall(b"\\0\\0\\0\\1\\x0b")
    print(agent.recv(100))
except OSError:
    print(b"")
"""


# ── forwarded ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def forwarding(work: Workplace) -> Iterator[Host]:
    with running(work, "--allow-forwarding", "agent") as host:
        yield host


@pytest.fixture
def host(forwarding: Host) -> Iterator[Host]:
    """A server that forwards agents."""
    forwarding.assertWell()
    yield forwarding
    forwarding.assertWell()


def sshWith(agent: Agent, host: Host, *options: str) -> str:
    """An `ssh` to the server that has nothing but the agent's keys."""
    return shlex.join(
        [
            *(requirePeer("ssh"), "-F", "none", "-p", str(host.port), *options),
            *("-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={host.knownHosts}"),
            *("-o", "IdentityFile=none", "-o", "LogLevel=ERROR", host.destination),
        ]
    )


def runOver(agent: Agent, *hops: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run `command` behind all hops, each of them a command of ssh's."""
    for hop in reversed(hops):
        command = f"{hop} {shlex.quote(command)}"
    return subprocess.run(
        ["sh", "-c", command],
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def limpetWith(host: Host, *options: str) -> str:
    """The same by `limpet ssh`."""
    return shlex.join(
        [
            *("env", f"PYTHONPATH={ROOT / 'src'}", sys.executable, "-m", "limpet", "ssh"),
            *("-F", "none", "-p", str(host.port), *options),
            *("-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={host.knownHosts}"),
            *("-o", "IdentityFile=none", "-o", "LogLevel=ERROR", host.destination),
        ]
    )


@pytest.fixture
def keyed(agent: Agent, host: Host) -> Agent:
    """The agent, with the key that the server takes."""
    agent.add(str(host.work.clientKey))
    return agent


def test_twoHopsToTheLast(keyed: Agent, host: Host) -> None:
    hop = sshWith(keyed, host, "-A")
    done = runOver(keyed, hop, hop, sshWith(keyed, host), command="echo third; ssh-add -l; echo $?")
    assert done.stdout == "third\n2\n", done.stderr


def test_forwardedByAsyncssh(keyed: Agent, host: Host) -> None:
    arguments = ("asyncssh", str(host.port), host.user, str(host.knownHosts))
    assert ofPeer(keyed, *arguments) == {"listed": 1}


def test_twoHopsOfOurOwnClient(keyed: Agent, host: Host) -> None:
    hop = limpetWith(host, "-A")
    done = runOver(keyed, hop, hop, sshWith(keyed, host), command="echo third")
    assert done.stdout == "third\n", done.stderr


def test_L6_theSocketIsTheUsersAndGoesWithTheLogin(keyed: Agent, host: Host) -> None:
    done = runOver(
        keyed,
        sshWith(keyed, host, "-A"),
        command='stat -c "%a %u %n" "${SSH_AUTH_SOCK%/*}" "$SSH_AUTH_SOCK"; ssh-add -l',
    )
    directory, socket, key = done.stdout.splitlines()
    uid = os.getuid()
    assert re.fullmatch(rf"700 {uid} /\S+", directory), done.stderr
    assert re.fullmatch(rf"600 {uid} /\S+", socket)
    assert "(ED25519)" in key
    path = Path(socket.split()[2])
    poll(lambda: not path.parent.exists(), 10, "the end of the socket's directory")


def test_withoutAskingThereIsNone(keyed: Agent, host: Host) -> None:
    done = runOver(keyed, sshWith(keyed, host, "-a"), command='echo "[$SSH_AUTH_SOCK]"')
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("options", ["restrict", "no-agent-forwarding"])
def test_aKeyThatMayNotForward(agent: Agent, host: Host, otherKey: Path, options: str) -> None:
    authorized = host.work.authorizedKeys
    before = authorized.read_text()
    public = otherKey.with_suffix(".pub").read_text()
    authorized.write_text(f"{before}\n{options} {public}")
    try:
        agent.add(str(otherKey))
        done = runOver(agent, sshWith(agent, host, "-A"), command='echo "[$SSH_AUTH_SOCK]"')
    finally:
        authorized.write_text(before)
    assert done.stdout == "[]\n", done.stderr


def test_aServerThatWasNotToldTo(keyed: Agent, work: Workplace) -> None:
    with running(work) as host:
        done = runOver(keyed, sshWith(keyed, host, "-A"), command='echo "[$SSH_AUTH_SOCK]"')
        assert done.stdout == "[]\n", done.stderr
        lines = [line for line in host.logText().splitlines() if "agent forwarding refused" in line]
        assert len(lines) == 1


def test_L7_aServerMayNotChangeTheAgent(keyed: Agent, host: Host) -> None:
    """By our client the agent is guarded even where it would not guard itself."""
    private = host.work.directory / "hostKey"
    done = runOver(
        keyed,
        limpetWith(host, "-A"),
        command=f"ssh-add -D; ssh-add {private}; ssh-add -T {host.work.clientKey}.pub; ssh-add -l",
    )
    assert len(done.stdout.splitlines()) == 1, done.stderr
    assert len(keyed.listed()) == 1


def test_L7_byOpenSSHsServerNeither(agent: Agent, work: Workplace) -> None:
    private = work.directory / "hostKey"
    agent.add(str(work.clientKey))
    with running(work, name="openssh") as host:
        done = runOver(
            agent,
            limpetWith(host, "-A"),
            command=f"ssh-add -D; ssh-add -x </dev/null; ssh-add {private}; ssh-add -l",
        )
        assert len(done.stdout.splitlines()) == 1, done.stderr
        done = runOver(
            agent,
            limpetWith(host, "-A"),
            sshWith(agent, host, "-A"),
            limpetWith(host),
            command="id -u",
        )
        assert done.stdout == f"{os.getuid()}\n", done.stderr
    assert len(agent.listed()) == 1


def test_L7_byDropbearsServerNeither(agent: Agent, work: Workplace, tmp_path: Path) -> None:
    requirePeer("dropbear")
    agent.add(str(work.clientKey))
    with serving("client-dropbear", work) as server:
        known = tmp_path / "known_hosts"
        line = dropbearHostKey(work).toString("OPENSSH").decode()
        known.write_text(f"[127.0.0.1]:{server.port} {line}\n")
        command = shlex.join(
            [
                *(sys.executable, "-m", "limpet", "ssh", "-A", "-F", "none"),
                *("-p", str(server.port), "-o", "BatchMode=yes", "-o", "IdentityFile=none"),
                *("-o", f"UserKnownHostsFile={known}", f"{work.user}@127.0.0.1"),
            ]
        )
        done = runOver(agent, command, command="ssh-add -D; ssh-add -l")
    assert len(done.stdout.splitlines()) == 1, done.stderr
    assert len(agent.listed()) == 1


def test_forwardedByDropbearsClient(keyed: Agent, host: Host) -> None:
    client = requirePeer("dbclient")
    hop = shlex.join([client, "-y", "-y", "-A", "-p", str(host.port), host.destination])
    done = runOver(keyed, hop, command="ssh-add -l")
    assert "(ED25519)" in done.stdout, done.stderr


def test_L3_confirmedEachTime(agent: Agent, host: Host) -> None:
    agent.add("-c", str(host.work.clientKey))
    hop = sshWith(agent, host)
    assert "denied" in runOver(agent, hop, command="echo in").stderr
    yes = agent.directory / "yes"
    yes.touch()
    try:
        assert runOver(agent, hop, command="echo in").stdout == "in\n"
    finally:
        yes.unlink()
    assert f"log in as {host.user}?" in (agent.directory / "asked").read_text()


def test_L4_aKeyForOneDestination(agent: Agent, host: Host, work: Workplace) -> None:
    name = f"[127.0.0.1]:{host.port}"
    agent.add("-H", str(host.knownHosts), "-h", name, str(host.work.clientKey))
    hop = sshWith(agent, host)
    assert runOver(agent, hop, command="echo in").stdout == "in\n"
    # There, but no further: not even listed.
    forwarded = runOver(agent, sshWith(agent, host, "-A"), command="ssh-add -l")
    assert forwarded.stdout == "The agent has no identities.\n"
    assert runOver(agent, limpetWith(host), command="echo in").stdout == "in\n"


def test_L4_aKeyForAnotherHop(agent: Agent, host: Host) -> None:
    name = f"[127.0.0.1]:{host.port}"
    agent.add(
        *("-H", str(host.knownHosts), "-h", name, "-h", f"{name}>{name}"),
        str(host.work.clientKey),
    )
    hop = sshWith(agent, host, "-A")
    done = runOver(agent, hop, sshWith(agent, host), command="echo second")
    assert done.stdout == "second\n", done.stderr
    done = runOver(agent, limpetWith(host, "-A"), limpetWith(host), command="echo second")
    assert done.stdout == "second\n", done.stderr


def test_manyProgramsAtATime(keyed: Agent, host: Host) -> None:
    done = runOver(
        keyed,
        sshWith(keyed, host, "-A"),
        command="for n in 1 2 3 4 5 6 7 8; do ssh-add -l & done; wait",
    )
    assert done.stdout.count("ED25519") == 8, done.stderr
