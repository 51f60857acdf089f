"""Conch's client modules, as its applications use them: direct, connect, options, default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer, error
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from limpet.client import connect, default, direct
from limpet.client.options import ConchOptions
from limpet.error import ConchError
from limpet.ssh.connection import SSHConnection
from limpet.ssh.keys import Key, createKeyFiles
from limpet.testing import Pair
from tests.pair.stack import HOST_KEY, CommandChannel, Connection, UserAuth, makeFactory
from tests.unit.ssh.userauth.doubles import Transport


def options(**values: Any) -> Any:
    made = ConchOptions()
    made["host"] = "server.test"
    made.update({name.replace("_", "-"): value for name, value in values.items()})
    return made


class World:
    """A client of `direct` and a server, joined by hand."""

    def __init__(self, verdict: Any = True, auth: Any = UserAuth, **values: Any) -> None:
        self.outcome: list[Any] = []
        self.judged: list[Any] = []
        self.channel = CommandChannel(b"exit 3")
        login = auth(b"alice", Connection([self.channel]))
        d: defer.Deferred[Any] = defer.Deferred()
        d.addCallbacks(self.outcome.append, lambda reason: self.outcome.append(reason.value))

        def verify(transport: Any, host: bytes, blob: bytes, fingerprint: bytes) -> Any:
            self.judged.append((transport, host, blob, fingerprint))
            return defer.succeed(verdict)

        self.factory = direct.SSHClientFactory(d, options(**values), verify, login)
        self.client = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 22))
        self.pair = Pair(self.client, makeFactory().buildProtocol(None))
        self.pair.pump()
        for _ in range(10):
            self.pair.clock.advance(1)
            self.pair.pump()


class TestDirect:
    def test_login(self) -> None:
        world = World()
        assert world.outcome == [None]
        assert world.channel.status == 3
        ((transport, host, blob, _),) = world.judged
        assert transport is world.client
        assert (host, blob) == (b"127.0.0.1", HOST_KEY.public().blob())

    def test_theHostKeyIsRefused(self) -> None:
        (failure,) = World(verdict=False).outcome
        assert isinstance(failure, ConchError)
        assert failure.data == 9

    def test_theLoginIsRefused(self) -> None:
        class Wrong(UserAuth):
            password = b"wrong"
            asked = 0

            def getPassword(self, prompt: Any = None) -> Any:
                self.asked += 1
                return super().getPassword(prompt) if self.asked == 1 else None

        (failure,) = World(auth=Wrong).outcome
        assert isinstance(failure, ConchError)
        assert failure.data == 14

    def test_offersWhatTheOptionsSay(self) -> None:
        world = World(ciphers=[b"aes256-ctr"], macs=[b"hmac-sha2-512"], compress=True)
        assert world.client.currentEncryptions.outCipType == b"aes256-ctr"
        assert world.client.supportedCompressions[0] == b"zlib@openssh.com"

    def test_aLostConnection(self) -> None:
        d: defer.Deferred[Any] = defer.Deferred()
        outcome: list[Any] = []
        d.addErrback(lambda reason: outcome.append(reason.type))
        factory = direct.SSHClientFactory(d, options(), None, None)  # type: ignore[arg-type]
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        assert outcome == [error.ConnectionRefusedError]

    def test_connectsAgainWhereItIsToldTo(self) -> None:
        class Connector:
            """Counts."""

            times = 0

            def connect(self) -> None:
                self.times += 1

        world = World(reconnect=True)
        connector = Connector()
        world.factory.clientConnectionLost(connector, Failure(error.ConnectionLost()))
        assert connector.times == 1


class TestConnect:
    def test_triesEachWay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[Any] = []

        def failing(*arguments: Any) -> Any:
            tried.append(arguments)
            return defer.fail(error.ConnectionRefusedError())

        def working(*arguments: Any) -> Any:
            tried.append(arguments)
            return defer.succeed(None)

        monkeypatch.setattr(connect, "connectTypes", {"one": failing, "two": working})
        outcome: list[Any] = []
        connect.connect("h", 22, {}, None, None).addCallback(outcome.append)
        assert outcome == [None]
        assert tried == [("h", 22, {}, None, None)] * 2

    def test_theLastFailureIsTheOutcome(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*arguments: Any) -> Any:
            return defer.fail(error.ConnectionRefusedError())

        monkeypatch.setattr(connect, "connectTypes", {"one": failing, "two": failing})
        outcome: list[Any] = []
        connect.connect("h", 22, {}, None, None).addErrback(lambda r: outcome.append(r.type))
        assert outcome == [error.ConnectionRefusedError]


class TestOptions:
    def test_lists(self) -> None:
        made: Any = ConchOptions()
        made.parseOptions(
            ["-l", "alice", "-i", "/k1", "-i", "/k2", "-c", "aes256-ctr,aes128-ctr"]
            + ["-m", "hmac-sha2-256", "--user-authentications", "password,publickey"]
        )
        assert made["user"] == "alice"
        assert made.identitys == ["/k1", "/k2"]
        assert made["ciphers"] == [b"aes256-ctr", b"aes128-ctr"]
        assert made["macs"] == [b"hmac-sha2-256"]
        assert made["user-authentications"] == [b"password", b"publickey"]

    @pytest.mark.parametrize("letter", ["-c", "-m", "--host-key-algorithms"])
    @pytest.mark.parametrize("name", ["none", "rot13"])
    def test_whatIsNotKnown(self, letter: str, name: str) -> None:
        made: Any = ConchOptions()
        with pytest.raises(SystemExit, match=f"'{name}' here"):
            made.parseOptions([letter, name])


class Ui:
    """Answers from a list."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []

    def ask(self, prompt: bytes, echo: bool) -> Any:
        self.asked.append(prompt)
        return defer.succeed(self.answers.pop(0))

    def show(self, text: bytes) -> None:
        self.asked.append(text)


class TestDefault:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        monkeypatch.setattr(default, "getReactor", Clock)

    def login(self, *files: Path, ui: Any = None, **values: Any) -> tuple[Any, Any]:
        wanted = options(**values)
        wanted.identitys = [str(path) for path in files] or ["/nonexistent"]
        auth = default.SSHUserAuthClient(b"alice", wanted, SSHConnection())
        auth.ui = ui or Ui()
        transport = Transport()
        transport.setService(auth)
        return auth, transport

    def test_files(self, tmp_path: Path) -> None:
        first, second = Key.generate("ed25519"), Key.generate("ecdsa")
        createKeyFiles(first, tmp_path / "one")
        createKeyFiles(second, tmp_path / "two")
        auth, _ = self.login(tmp_path / "one", tmp_path / "missing", tmp_path / "two")
        assert [auth.getPublicKey() for _ in range(3)] == [first.public(), second.public(), None]
        assert auth.usedFiles[-1].endswith("two")

    def test_aPassphrase(self, tmp_path: Path) -> None:
        key = Key.generate("ed25519")
        createKeyFiles(key, tmp_path / "key", passphrase="sesame")
        ui = Ui(b"wrong", b"sesame")
        auth, _ = self.login(tmp_path / "key", ui=ui)
        auth.getPublicKey()
        found: list[Any] = []
        auth.getPrivateKey().addCallback(found.append)
        assert found == [key]
        assert len(ui.asked) == 2

    def test_passwords(self) -> None:
        auth, transport = self.login(ui=Ui(b"1", b"2", b"3"))
        transport.transport = transport
        transport.getPeer = lambda: IPv4Address("TCP", "192.0.2.1", 22)
        assert [auth.getPassword() is not None for _ in range(4)] == [True, True, True, False]
        assert auth.ui.asked == [b"alice@192.0.2.1's password: "] * 3

    def test_questions(self) -> None:
        auth, _ = self.login(ui=Ui(b"a", b"b"))
        found: list[Any] = []
        prompts = [(b"One: ", True), (b"Two: ", False)]
        auth.getGenericAnswers(b"Title", b"", prompts).addCallback(found.append)
        assert found == [[b"a", b"b"]]
        assert auth.ui.asked == [b"Title\n", b"One: ", b"Two: "]

    def test_theOrder(self) -> None:
        auth, _ = self.login(user_authentications=[b"password"])
        assert auth.preferredOrder == [b"password"]

    def test_noPasswordForTron(self) -> None:
        """An application switches a method off by `auth_password = None`."""
        auth, transport = self.login(ui=Ui())
        auth.auth_password = None
        auth.packetReceived(51, b"\0\0\0\x08password\0")
        assert transport.disconnected

    def test_knownHosts(self, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        key, other = Key.generate("ed25519").public(), Key.generate("ed25519").public()
        path.write_bytes(b"server.test " + key.toString("OPENSSH") + b"\n")
        given = options(known_hosts=str(path))
        assert default.isInKnownHosts(b"server.test", key.blob(), given) == 1
        assert default.isInKnownHosts(b"server.test", other.blob(), given) == 2
        assert default.isInKnownHosts(b"other.test", key.blob(), given) == 0
        assert default.getHostKeyAlgorithms(b"server.test", given) == [b"ssh-ed25519"]
        assert default.getHostKeyAlgorithms(b"other.test", given) is None

    def test_verifyHostKey(self, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        key = Key.generate("ed25519").public()
        path.write_bytes(b"server.test,192.0.2.1 " + key.toString("OPENSSH") + b"\n")

        class Attached:
            """A transport, as far as it is looked at."""

            class factory:
                """Its factory."""

        Attached.factory.options = options(known_hosts=str(path))  # type: ignore[attr-defined]
        found: list[Any] = []
        default.verifyHostKey(Attached(), b"192.0.2.1", key.blob(), b"").addCallback(found.append)
        assert found == [True]
