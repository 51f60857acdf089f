"""SSHUserAuthClient: order of methods, keys, algorithms, passwords, questions, hooks."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import defer

from limpet.core import authentication
from limpet.ssh.keys import Key
from limpet.ssh.userauth import SSHUserAuthClient
from limpet.ssh.userauth.client import MAX_KEYS
from limpet.wire.fields import NS, Reader, boolean, u32
from tests.unit.ssh.userauth.doubles import (
    ALICE_KEY,
    OTHER_KEY,
    SESSION_ID,
    Connection,
    Transport,
)

RSA_KEY = Key.generate("rsa", 2048)


class Client(SSHUserAuthClient):
    """Has the keys and passwords that a test gives it."""

    def __init__(self, *keys: Key, passwords: tuple[bytes, ...] = ()) -> None:
        super().__init__(b"alice", Connection())
        self.keys = list(keys)
        self.passwords = list(passwords)
        self.asked: list[Any] = []

    def getPublicKey(self) -> Any:
        return (
            self.keys[len(self.triedPublicKeys)].public()
            if len(self.keys) > len(self.triedPublicKeys)
            else None
        )

    def getPrivateKey(self) -> Any:
        return defer.succeed(next(key for key in self.keys if key.public() == self.lastPublicKey))

    def getPassword(self, prompt: bytes | None = None) -> Any:
        self.asked.append(prompt)
        return defer.succeed(self.passwords.pop(0)) if self.passwords else None

    def getGenericAnswers(self, name: bytes, instruction: bytes, prompts: Any) -> Any:
        self.asked.append((name, instruction, prompts))
        if not self.passwords:
            return None
        return defer.succeed([self.passwords.pop(0) for _ in prompts])


def started(client: SSHUserAuthClient, **extensions: bytes) -> Transport:
    transport = Transport()
    transport.peerExtensions = {
        name.replace("_", "-").encode(): value for name, value in extensions.items()
    }
    transport.setService(client)
    return transport


def failure(*methods: bytes, partial: bool = False) -> bytes:
    return NS(b",".join(methods)) + boolean(partial)


def requests(transport: Transport) -> list[tuple[bytes, bytes]]:
    """Method and fields of every MSG_USERAUTH_REQUEST."""
    found = []
    for number, payload in transport.packets:
        if number == 50:
            request = authentication.parseRequest(payload)
            assert (request.user, request.service) == (b"alice", b"ssh-connection")
            found.append((request.method, request.fields))
    return found


def test_beginsWithNone() -> None:
    transport = started(Client())
    assert requests(transport) == [(b"none", b"")]


def test_nothingToShow() -> None:
    client = Client()
    transport = started(client)
    client.packetReceived(51, failure(b"publickey", b"hostbased"))
    assert transport.disconnected == [(14, b"no more authentication methods available")]


def test_keyQuerySignatureSuccess() -> None:
    client = Client(OTHER_KEY, ALICE_KEY)
    transport = started(client)
    client.packetReceived(51, failure(b"publickey"))
    client.packetReceived(51, failure(b"publickey"))
    blob = ALICE_KEY.public().blob()
    assert requests(transport)[-1] == (b"publickey", b"\0" + NS(b"ssh-ed25519") + NS(blob))
    client.packetReceived(60, NS(b"ssh-ed25519") + NS(blob))
    fields = authentication.parsePublicKey(requests(transport)[-1][1])
    data = authentication.signedData(SESSION_ID, b"alice", b"ssh-connection", b"ssh-ed25519", blob)
    assert fields.signature is not None
    assert ALICE_KEY.public().verify(fields.signature, data)
    client.packetReceived(52, b"")
    assert transport.service is client.instance
    assert client.provedIdentity


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"rsa-sha2-256,rsa-sha2-512", b"rsa-sha2-512"),
        (b"ssh-ed25519,rsa-sha2-256", b"rsa-sha2-256"),
        (None, b"rsa-sha2-512"),
    ],
)
def test_rsaAlgorithm(said: bytes | None, expected: bytes) -> None:
    client = Client(RSA_KEY)
    transport = started(client, **({} if said is None else {"server_sig_algs": said}))
    client.packetReceived(51, failure(b"publickey"))
    blob = RSA_KEY.public().blob()
    assert requests(transport)[-1][1] == b"\0" + NS(expected) + NS(blob)
    client.packetReceived(60, NS(expected) + NS(blob))
    fields = authentication.parsePublicKey(requests(transport)[-1][1])
    assert fields.algorithm == expected
    assert Reader(fields.signature or b"").string() == expected


def test_rsaWithSha1IsNotOffered() -> None:
    """A server that takes nothing but SHA-1 gets the next key, and is left without one."""
    client = Client(RSA_KEY)
    transport = started(client, server_sig_algs=b"ssh-rsa")
    client.packetReceived(51, failure(b"publickey"))
    assert [method for method, _ in requests(transport)] == [b"none"]
    assert transport.disconnected[0][0] == 14


def test_signatureByAnotherAlgorithm() -> None:
    """An agent that signs with SHA-1 all the same: nothing of it is sent."""

    class Stubborn(Client):
        def signData(self, publicKey: Key, signData: bytes) -> Any:
            return defer.succeed(NS(b"ssh-rsa") + NS(b"x" * 256))

    client = Stubborn(RSA_KEY)
    transport = started(client)
    client.packetReceived(51, failure(b"publickey"))
    blob = RSA_KEY.public().blob()
    client.packetReceived(60, NS(b"rsa-sha2-512") + NS(blob))
    assert requests(transport)[-1] == (b"none", b"")


def test_passwordAfterKey() -> None:
    client = Client(ALICE_KEY, passwords=(b"one", b"two"))
    transport = started(client)
    client.packetReceived(51, failure(b"publickey", b"password"))
    client.packetReceived(51, failure(b"publickey", b"password"))
    assert requests(transport)[-1] == (b"password", b"\0" + NS(b"one"))
    client.packetReceived(51, failure(b"publickey", b"password"))
    assert requests(transport)[-1] == (b"password", b"\0" + NS(b"two"))
    client.packetReceived(51, failure(b"publickey", b"password"))
    assert transport.disconnected[0][0] == 14


def test_partialSuccessGoesOn() -> None:
    client = Client(ALICE_KEY, passwords=(b"pw",))
    transport = started(client)
    client.packetReceived(51, failure(b"publickey"))
    client.packetReceived(60, NS(b"ssh-ed25519") + NS(ALICE_KEY.public().blob()))
    client.packetReceived(51, failure(b"publickey", b"password", partial=True))
    assert client.authenticatedWith == [b"publickey"]
    assert requests(transport)[-1] == (b"password", b"\0" + NS(b"pw"))


def test_passwordChange() -> None:
    client = Client(passwords=(b"pw", b"old", b"new"))
    transport = started(client)
    client.packetReceived(51, failure(b"password"))
    client.packetReceived(60, NS(b"too \x07old") + NS(b""))
    assert client.asked == [None, b"too \\x07old\nOld password: ", b"New password: "]
    assert requests(transport)[-1] == (b"password", b"\x01" + NS(b"old") + NS(b"new"))


def test_questions() -> None:
    client = Client(passwords=(b"cat", b"1234"))
    transport = started(client)
    client.packetReceived(51, failure(b"keyboard-interactive"))
    assert requests(transport)[-1] == (b"keyboard-interactive", NS(b"") * 2)
    prompts = NS(b"Pet? ") + b"\x01" + NS(b"P\x1bIN? ") + b"\x00"
    client.packetReceived(60, NS(b"Bank") + NS(b"") * 2 + u32(2) + prompts)
    assert client.asked == [(b"Bank", b"", [(b"Pet? ", True), (b"P\\x1bIN? ", False)])]
    assert transport.packets[-1] == (61, u32(2) + NS(b"cat") + NS(b"1234"))
    client.packetReceived(52, b"")
    assert transport.service is client.instance


def test_questionsNobodyAnswers() -> None:
    """The method is given up, not asked for again and again."""
    client = Client()
    transport = started(client)
    client.packetReceived(51, failure(b"keyboard-interactive"))
    client.packetReceived(60, NS(b"") * 3 + u32(1) + NS(b"?") + b"\1")
    client.packetReceived(51, failure(b"keyboard-interactive"))
    methods = [method for method, _ in requests(transport)]
    assert methods == [b"none", b"keyboard-interactive", b"none"]
    assert transport.disconnected[0][0] == 14


def test_questionsThatNeverCome() -> None:
    """OpenSSH's sshd offers the method without PAM, and fails it at once."""
    client = Client()
    transport = started(client)
    client.packetReceived(51, failure(b"keyboard-interactive"))
    client.packetReceived(51, failure(b"keyboard-interactive"))
    assert [method for method, _ in requests(transport)] == [b"none", b"keyboard-interactive"]
    assert transport.disconnected[0][0] == 14


def test_passwordThatIsNotGiven() -> None:
    class Refusing(Client):
        def getPassword(self, prompt: bytes | None = None) -> Any:
            return defer.fail(KeyboardInterrupt("never mind"))

    client = Refusing()
    transport = started(client)
    client.packetReceived(51, failure(b"password"))
    assert requests(transport)[-1] == (b"none", b"")
    client.packetReceived(51, failure(b"password"))
    assert transport.disconnected[0][0] == 14


def test_preferredOrderAndDisabledMethod() -> None:
    """Tron sets `preferredOrder` on the instance, and `auth_password` to None on the class."""

    class Own(Client):
        auth_password = None  # type: ignore[assignment]

    client = Own(ALICE_KEY, passwords=(b"x",))
    client.preferredOrder = [b"password", b"keyboard-interactive", b"publickey"]
    transport = started(client)
    client.packetReceived(51, failure(b"publickey", b"password", b"keyboard-interactive"))
    assert requests(transport)[-1][0] == b"keyboard-interactive"


def test_methodsThatAreNotPreferredComeLast() -> None:
    """As with Conch, whose order says no more than that: an application adds `auth_METHOD` only."""

    class Own(Client):
        auth_password = None  # type: ignore[assignment]

        def auth_by_smell(self) -> bool:
            self.askForAuth(b"by-smell", b"")
            return True

    client = Own(ALICE_KEY)
    # Tron's, which is text.
    client.preferredOrder = ["keyboard-interactive"]  # type: ignore[list-item]
    offered = failure(b"by-smell", b"password", b"none", b"publickey", b"keyboard-interactive")
    transport = started(client)
    tried = []
    for _ in range(3):
        client.packetReceived(51, offered)
        tried.append(requests(transport)[-1][0])
        offered = failure(*(name for name in (b"by-smell", b"publickey") if name not in tried))
    assert tried == [b"keyboard-interactive", b"by-smell", b"publickey"]


def test_aClientMayTryNothingElse() -> None:
    class Own(Client):
        triesOthers = False

    client = Own(ALICE_KEY)
    client.preferredOrder = [b"password"]
    transport = started(client)
    client.packetReceived(51, failure(b"publickey"))
    assert len(requests(transport)) == 1
    assert transport.disconnected[0][0] == 14


def test_deferredKeyAndTheEnd() -> None:
    """What is still being asked for at the end is cancelled, and nothing is sent."""
    waiting: defer.Deferred[Any] = defer.Deferred()

    class Slow(Client):
        def getPublicKey(self) -> Any:
            return waiting

    client = Slow()
    transport = started(client)
    client.packetReceived(51, failure(b"publickey"))
    client.serviceStopped()
    assert waiting.called
    assert len(transport.packets) == 1
    assert transport.disconnected == []


def test_deferredKeyBehindOneThatTheServerDoesNotTake() -> None:
    waiting: defer.Deferred[Any] = defer.Deferred()

    class Slow(Client):
        def getPublicKey(self) -> Any:
            return waiting if self.triedPublicKeys else RSA_KEY.public()

    client = Slow()
    transport = started(client, server_sig_algs=b"ssh-ed25519")
    client.packetReceived(51, failure(b"publickey"))
    assert client.triedPublicKeys == [RSA_KEY.public()]
    client.serviceStopped()
    assert waiting.called
    assert len(transport.packets) == 1


def test_unknownMethodsOfTheServer() -> None:
    client = Client(ALICE_KEY)
    transport = started(client)
    client.packetReceived(51, failure(b"__class__", b"none", b"publickey"))
    assert requests(transport)[-1][0] == b"publickey"


def test_passwordAfterMoreKeysThanAnyServerTakes() -> None:
    """An agent may hold a hundred keys: after 64 the password has its turn."""
    client = Client(*(Key.generate("ed25519") for _ in range(100)), passwords=(b"pw",))
    transport = started(client)
    for _ in range(MAX_KEYS + 1):
        client.packetReceived(51, failure(b"publickey", b"password"))
    methods = [method for method, _ in requests(transport)]
    assert methods == [b"none"] + [b"publickey"] * MAX_KEYS + [b"password"]
    assert transport.disconnected == []
