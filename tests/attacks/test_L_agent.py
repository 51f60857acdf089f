"""attacks.md, group L: an agent and those who are connected to it; and row D16."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from limpet.core.agentbinding import MAX_BINDINGS
from limpet.core.agentkeys import MAX_KEYS, KeyStore
from limpet.core.framing import packFrame
from limpet.ssh.agent import (
    AgentBroken,
    AgentRefused,
    Constraints,
    SSHAgentClient,
    SSHAgentFactory,
)
from limpet.ssh.agent.client import ANSWER_SECONDS, SIGN_SECONDS
from limpet.ssh.agent.server import MAX_UNLOCKS_WAITING
from limpet.ssh.keys import Key
from limpet.testing import MemoryTransport
from limpet.wire import agent as wire
from limpet.wire.agent import Destination, Hop
from limpet.wire.fields import MP, NS, u32
from tests.agents import HOST_KEY, SESSION, Joined, bindTo, fileToSign, login, sessionNumber
from tests.keymaking import allKeys, makeCertificate, makeKey

KEY = makeKey()
RSA = makeKey("rsa", 2048)
OTHER = makeKey(number=1)


def withKeys(*keys: Key, **settings: Any) -> Joined:
    joined = Joined(**settings)
    joined.add(*(keys or (KEY,)))
    return joined


def sign(joined: Joined, data: bytes, key: Key = KEY, flags: int | None = None) -> Any:
    return joined.outcome(joined.agent.signData(key.blob(), data, flags))


def raw(joined: Joined, data: bytes) -> bytes:
    """What the agent says to these bytes."""
    joined.server.dataReceived(data)
    written = bytes(joined.serverTransport.written)
    joined.serverTransport.written.clear()
    return written


FAILURE = packFrame(bytes((wire.AGENT_FAILURE,)))
EXTENSION_FAILURE = packFrame(bytes((wire.AGENT_EXTENSION_FAILURE,)))


class TestFraming:
    @pytest.mark.parametrize("length", [0, wire.MAX_MESSAGE_LENGTH + 1, 2**32 - 1])
    def test_L1_aLengthThatNoMessageHas(self, length: int) -> None:
        joined = withKeys()
        assert raw(joined, struct.pack(">L", length) + b"x" * 64) == b""
        assert joined.serverTransport.lost
        assert joined.lives()

    @pytest.mark.parametrize("kind", range(256))
    def test_L1_everyTypeCutAtEveryByte(self, kind: int) -> None:
        joined = withKeys()
        body = NS(KEY.blob()) + NS(login(KEY)) + u32(0)
        for end in range(0, len(body), 7):
            joined.server.dataReceived(packFrame(bytes((kind,)) + body[:end]))
            assert not joined.serverTransport.lost
            joined.serverTransport.written.clear()
        assert joined.lives()

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            (wire.AGENTC_SIGN_REQUEST, NS(KEY.blob()) + NS(login(KEY)) + u32(0)),
            (wire.AGENTC_ADD_IDENTITY, OTHER.privateBlob() + NS(b"comment")),
            (
                wire.AGENTC_ADD_ID_CONSTRAINED,
                OTHER.privateBlob() + NS(b"comment") + Constraints(100).encode(),
            ),
            (wire.AGENTC_REMOVE_IDENTITY, NS(KEY.blob())),
            (wire.AGENTC_LOCK, NS(b"passphrase")),
        ],
    )
    def test_L1_everyTruncationIsAFailure(self, kind: int, body: bytes) -> None:
        for end in range(len(body)):
            joined = withKeys()
            if kind == wire.AGENTC_ADD_ID_CONSTRAINED and len(body) - end == 5:
                continue  # without constraints it is whole
            assert raw(joined, packFrame(bytes((kind,)) + body[:end])) == FAILURE
            assert list(joined.factory.keys) == [KEY.blob()]
            assert not joined.factory.keyStore.isLocked

    def test_L1_whatFollowsAMessageIsNoPartOfIt(self) -> None:
        joined = withKeys()
        body = NS(KEY.blob()) + NS(login(KEY)) + u32(0) + b"x"
        assert raw(joined, packFrame(bytes((wire.AGENTC_SIGN_REQUEST,)) + body)) == FAILURE

    def test_L1_oneByteAtATime(self) -> None:
        joined = withKeys()
        request = packFrame(bytes((wire.AGENTC_REQUEST_IDENTITIES,)))
        for byte in request[:-1]:
            assert raw(joined, bytes((byte,))) == b""
        assert raw(joined, request[-1:])[4] == wire.AGENT_IDENTITIES_ANSWER

    def test_L1_oneWhoDoesNotReadIsNotAnsweredForEver(self) -> None:
        joined = withKeys()
        joined.serverTransport.full = True
        request = packFrame(bytes((wire.AGENTC_REQUEST_IDENTITIES,)))
        for _ in range(5000):
            joined.agent._write(request)
            joined.pump()
        assert not joined.serverTransport.reading
        assert len(joined.serverTransport.written) < 2 * joined.serverTransport.highWater

    def test_L1_answersToManyRequestsComeInOrder(self) -> None:
        joined = withKeys(KEY, OTHER)
        asked = [joined.agent.signData(key.blob(), login(key)) for key in (KEY, OTHER) * 20]
        found: list[bytes] = []
        for each in asked:
            each.addCallback(found.append)
        joined.pump()
        assert all(
            key.verify(signature, login(key))
            for key, signature in zip((KEY, OTHER) * 20, found, strict=True)
        )


class HostileAgent:
    """A client whose agent says what it is told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport("client", self.clock, 1)
        self.client = SSHAgentClient()
        self.client.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.failures: list[BaseException] = []
        self.results: list[Any] = []

    def ask(self, asked: Deferred[Any]) -> None:
        asked.addCallbacks(self.results.append, lambda failure: self.failures.append(failure.value))

    def says(self, message: bytes) -> None:
        self.client.dataReceived(packFrame(message))


class TestHostileAgent:
    @pytest.mark.parametrize(
        "answer",
        [
            bytes((wire.AGENT_SIGN_RESPONSE,)) + NS(b"x"),
            bytes((254,)),
            bytes((wire.AGENT_SUCCESS,)),
            bytes((wire.AGENT_IDENTITIES_ANSWER,)) + u32(1),
            bytes((wire.AGENT_IDENTITIES_ANSWER,)) + u32(2**32 - 1),
            bytes((wire.AGENT_IDENTITIES_ANSWER,)) + u32(0) + b"x",
        ],
        ids=["signature", "nonsense", "success", "cut short", "too many", "too long"],
    )
    def test_L2_anotherAnswerThanWasAskedFor(self, answer: bytes) -> None:
        hostile = HostileAgent()
        hostile.ask(hostile.client.requestIdentities())
        hostile.ask(hostile.client.signData(KEY.blob(), b"data"))
        hostile.says(answer)
        assert [type(failure) for failure in hostile.failures] == [AgentBroken, AgentBroken]
        assert hostile.transport.aborted
        assert not hostile.clock.getDelayedCalls()

    @pytest.mark.parametrize("answer", [bytes((wire.AGENT_SUCCESS,)), b"\x0e" + NS(b"x") + b"y"])
    def test_L2_anotherAnswerThanASignature(self, answer: bytes) -> None:
        hostile = HostileAgent()
        hostile.ask(hostile.client.signData(KEY.blob(), b"data"))
        hostile.says(answer)
        assert [type(failure) for failure in hostile.failures] == [AgentBroken]

    @pytest.mark.parametrize("length", [0, wire.MAX_MESSAGE_LENGTH + 1, 2**32 - 1])
    def test_L2_aLengthThatNoMessageHas(self, length: int) -> None:
        hostile = HostileAgent()
        hostile.ask(hostile.client.requestIdentities())
        hostile.client.dataReceived(struct.pack(">L", length))
        assert [type(failure) for failure in hostile.failures] == [AgentBroken]
        assert hostile.transport.aborted

    def test_L2_anAnswerThatNobodyAskedFor(self) -> None:
        hostile = HostileAgent()
        hostile.says(bytes((wire.AGENT_SUCCESS,)))
        hostile.ask(hostile.client.requestIdentities())
        assert [type(failure) for failure in hostile.failures] == [AgentBroken]

    def test_L2_silence(self) -> None:
        hostile = HostileAgent()
        hostile.ask(hostile.client.requestIdentities())
        hostile.clock.advance(ANSWER_SECONDS - 1)
        assert not hostile.failures
        hostile.clock.advance(1)
        assert [type(failure) for failure in hostile.failures] == [AgentBroken]
        assert hostile.transport.aborted

    def test_L2_aSignatureMayTakeAPersonsTime(self) -> None:
        hostile = HostileAgent()
        hostile.ask(hostile.client.signData(KEY.blob(), b"data"))
        hostile.clock.advance(SIGN_SECONDS - 1)
        hostile.says(bytes((wire.AGENT_SIGN_RESPONSE,)) + NS(b"signature"))
        assert hostile.results == [b"signature"]
        assert not hostile.clock.getDelayedCalls()

    def test_L2_slownessDoesNotAddUp(self) -> None:
        """Each answer has its own time: a drip of bytes buys none."""
        hostile = HostileAgent()
        hostile.ask(hostile.client.requestIdentities())
        for byte in struct.pack(">L", 1000):
            hostile.clock.advance(ANSWER_SECONDS / 5)
            hostile.client.dataReceived(bytes((byte,)))
        hostile.clock.advance(ANSWER_SECONDS / 5)
        assert [type(failure) for failure in hostile.failures] == [AgentBroken]

    def test_L2_anAgentThatGoesAway(self) -> None:
        hostile = HostileAgent()
        hostile.ask(hostile.client.requestIdentities())
        hostile.client.connectionLost()
        hostile.ask(hostile.client.requestIdentities())
        assert [type(failure) for failure in hostile.failures] == [AgentBroken, AgentBroken]


class TestConstraints:
    def add(self, joined: Joined, constraints: bytes) -> Any:
        body = KEY.privateBlob() + NS(b"") + constraints
        return joined.outcome(joined.agent.sendRequest(wire.AGENTC_ADD_ID_CONSTRAINED, body))

    @pytest.mark.parametrize(
        "constraints",
        [
            b"\x01" + u32(0),
            b"\x02",
            b"\x03" + u32(10),
            b"\x01" + u32(10) + b"\x03" + u32(10),
            b"\xff" + NS(b"unknown@example.com") + NS(b""),
            b"\xff" + NS(b"sk-provider@openssh.com") + NS(b"/tmp/evil.so"),
            b"\xff" + NS(wire.CONSTRAINT_DESTINATION) + NS(NS(b"x")),
            b"\x01",
            b"\x00",
        ],
    )
    def test_L3_aKeyWhoseConstraintsCannotAllBeKept(self, constraints: bytes) -> None:
        joined = Joined()
        assert isinstance(self.add(joined, constraints), AgentRefused)
        assert not joined.factory.keys

    def test_L3_whoAsksAPersonAsksEachTime(self) -> None:
        asked: list[Any] = []

        def confirm(approval: Any) -> bool:
            asked.append(approval)
            return len(asked) == 1

        joined = Joined(confirm=confirm)
        assert self.add(joined, b"\x02") == b""
        assert isinstance(sign(joined, login(KEY)), bytes)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)
        assert len(asked) == 2

    @pytest.mark.parametrize("verdict", [None, 1, "yes", False, ValueError("the dialog crashed")])
    def test_L3_onlyYesIsYes(self, verdict: Any) -> None:
        def confirm(approval: Any) -> Any:
            if isinstance(verdict, Exception):
                raise verdict
            return verdict

        joined = Joined(confirm=confirm)
        self.add(joined, b"\x02")
        assert isinstance(sign(joined, login(KEY)), AgentRefused)

    def test_L3_whatHappensWhileThePersonThinksCounts(self) -> None:
        thinking: Deferred[bool] = Deferred()
        joined = Joined(confirm=lambda approval: thinking)
        self.add(joined, b"\x02" + b"\x01" + u32(60))
        asked = joined.agent.signData(KEY.blob(), login(KEY))
        joined.pump()
        joined.clock.advance(60)
        thinking.callback(True)
        assert isinstance(joined.outcome(asked), AgentRefused)
        assert not joined.factory.keys

    def test_L3_aKeyIsForgottenInTimeWhetherAskedForOrNot(self) -> None:
        joined = Joined()
        self.add(joined, b"\x01" + u32(60))
        joined.clock.advance(59)
        assert list(joined.factory.keys)
        joined.clock.advance(1)
        assert not joined.factory.keys

    def test_L3_theClientSendsEveryConstraint(self) -> None:
        hop = Hop(b"", b"host", ((HOST_KEY.blob(), False),))
        constraints = Constraints(60, True, (Destination(Hop(), hop),))
        joined = Joined(confirm=lambda approval: True)
        added = joined.agent.addIdentity(KEY.privateBlob(), b"comment", constraints)
        assert joined.outcome(added) is None
        held = joined.factory.keys[KEY.blob()]
        assert (held.expiresAt, held.confirm, held.destinations) == (
            60.0,
            True,
            constraints.destinations,
        )


HOME = Hop()


def at(key: Key, user: bytes = b"") -> Hop:
    return Hop(user, b"host", ((key.blob(), False),))


class TestBinding:
    def bind(self, joined: Joined, *arguments: Any, **settings: Any) -> Any:
        return joined.outcome(joined.agent.bindSession(bindTo(*arguments, **settings)))

    def restricted(self, *destinations: Destination) -> Joined:
        joined = Joined()
        constraints = Constraints(destinations=destinations)
        joined.outcome(joined.agent.addIdentity(KEY.privateBlob(), b"", constraints))
        return joined

    @pytest.mark.parametrize("host", allKeys(), ids=lambda key: key.sshType().decode())
    def test_L4_hostsOfEveryKind(self, host: Key) -> None:
        joined = withKeys()
        assert self.bind(joined, host, SESSION) is None
        assert isinstance(sign(joined, login(KEY, host=host)), bytes)
        certificate = makeCertificate(host, OTHER, kind=2)
        joined = withKeys()
        bind = wire.SessionBind(certificate, SESSION, host.sign(SESSION), isForwarding=False)
        assert joined.outcome(joined.agent.bindSession(bind)) is None
        assert isinstance(sign(joined, login(KEY, host=host)), bytes)

    @pytest.mark.parametrize("certified", [False, True])
    def test_L4_theSameSessionTwiceIsTheSame(self, certified: bool) -> None:
        joined = withKeys()
        blob = makeCertificate(HOST_KEY, OTHER, kind=2) if certified else HOST_KEY.blob()
        bind = wire.SessionBind(blob, SESSION, HOST_KEY.sign(SESSION), isForwarding=True)
        for _ in range(2):
            assert joined.outcome(joined.agent.bindSession(bind)) is None
        assert len(joined.server.bindings.hops) == 1

    def test_D9_L4_noSHA1(self) -> None:
        joined = withKeys()
        bind = wire.SessionBind(RSA.blob(), SESSION, RSA.sign(SESSION, b"ssh-rsa"), False)
        assert isinstance(joined.outcome(joined.agent.bindSession(bind)), AgentRefused)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)

    def test_L4_aBindThatTheHostDidNotSign(self) -> None:
        joined = withKeys()
        assert isinstance(self.bind(joined, HOST_KEY, SESSION, signer=OTHER), AgentRefused)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)
        assert joined.outcome(joined.agent.requestIdentities()) == []

    def test_L4_aBadBindIsNotHealedByAGoodOne(self) -> None:
        joined = withKeys()
        self.bind(joined, HOST_KEY, SESSION, signer=OTHER)
        assert isinstance(self.bind(joined, HOST_KEY, SESSION), AgentRefused)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)

    @pytest.mark.parametrize("contents", [b"", NS(b"x"), NS(HOST_KEY.blob()) + NS(SESSION)])
    def test_L4_aBindThatIsNone(self, contents: bytes) -> None:
        joined = withKeys()
        body = wire.encodeExtension(wire.EXTENSION_SESSION_BIND, contents)
        request = packFrame(bytes((wire.AGENTC_EXTENSION,)) + body)
        assert raw(joined, request) == EXTENSION_FAILURE
        assert isinstance(sign(joined, login(KEY)), AgentRefused)

    def test_L4_theSameBindTwiceIsOne(self) -> None:
        joined = withKeys()
        assert self.bind(joined, HOST_KEY, SESSION) is None
        assert self.bind(joined, HOST_KEY, SESSION) is None
        assert isinstance(sign(joined, login(KEY)), bytes)

    def test_L4_oneSessionOfTwoHosts(self) -> None:
        joined = withKeys()
        assert self.bind(joined, HOST_KEY, SESSION, True) is None
        assert isinstance(self.bind(joined, OTHER, SESSION), AgentRefused)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)

    def test_L4_boundThenAskedForAnotherSession(self) -> None:
        joined = withKeys()
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(sign(joined, login(KEY, sessionNumber(2))), AgentRefused)
        assert isinstance(sign(joined, login(KEY, host=OTHER)), AgentRefused)
        assert isinstance(sign(joined, fileToSign()), AgentRefused)
        assert isinstance(sign(joined, login(KEY)), bytes)
        assert isinstance(sign(joined, login(KEY, host=HOST_KEY)), bytes)

    def test_L4_whoLogsInForwardsNoFurther(self) -> None:
        joined = withKeys()
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(self.bind(joined, OTHER, sessionNumber(2), True), AgentRefused)

    def test_L4_noMoreBindsThanAreBounded(self) -> None:
        joined = withKeys()
        for number in range(MAX_BINDINGS):
            assert self.bind(joined, HOST_KEY, sessionNumber(number), True) is None
        assert isinstance(self.bind(joined, HOST_KEY, sessionNumber(99), True), AgentRefused)

    def test_L4_boundWhileLocked(self) -> None:
        joined = withKeys()
        joined.factory.keyStore.lock(b"x")
        assert self.bind(joined, HOST_KEY, SESSION) is None
        joined.factory.keyStore.unlock(b"x")
        assert isinstance(sign(joined, login(KEY, sessionNumber(2))), AgentRefused)

    def test_L4_aRestrictedKeyNeedsABoundConnection(self) -> None:
        joined = self.restricted(Destination(HOME, at(HOST_KEY)))
        assert isinstance(sign(joined, login(KEY)), AgentRefused)
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(sign(joined, login(KEY)), bytes)

    def test_L4_aRestrictedKeyAtAnotherHost(self) -> None:
        joined = self.restricted(Destination(HOME, at(HOST_KEY)))
        self.bind(joined, OTHER, SESSION)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)
        assert joined.outcome(joined.agent.requestIdentities()) == []

    def test_L4_aRestrictedKeyAsAnotherUser(self) -> None:
        joined = self.restricted(Destination(HOME, at(HOST_KEY, b"ali*")))
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(sign(joined, login(KEY, user=b"mallory")), AgentRefused)
        assert isinstance(sign(joined, login(KEY, user=b"alice")), bytes)

    def test_L4_aRestrictedKeyInAnotherSession(self) -> None:
        joined = self.restricted(Destination(HOME, at(HOST_KEY)))
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(sign(joined, login(KEY, sessionNumber(2))), AgentRefused)
        assert isinstance(sign(joined, login(KEY, host=OTHER)), AgentRefused)

    def test_L4_aRestrictedKeyAtTheHostThatItIsForwardedTo(self) -> None:
        joined = self.restricted(Destination(HOME, at(HOST_KEY)))
        self.bind(joined, HOST_KEY, SESSION, True)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)

    def test_L4_aRestrictedKeyThatIsForSomewhereBeyondOnly(self) -> None:
        first, second = makeKey(number=10), makeKey(number=11)
        joined = self.restricted(Destination(at(first), at(second)))
        self.bind(joined, second, SESSION)
        assert isinstance(sign(joined, login(KEY)), AgentRefused)
        assert joined.outcome(joined.agent.requestIdentities()) == []

    def test_L4_aPatternThatWouldTakeForEver(self) -> None:
        bomb = b"*a" * 500 + b"b"
        joined = self.restricted(Destination(HOME, at(HOST_KEY, bomb)))
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(sign(joined, login(KEY, user=b"a" * 1000)), AgentRefused)

    def test_L4_aRestrictedKeySignsNothingButLogins(self) -> None:
        joined = self.restricted(Destination(HOME, at(HOST_KEY)))
        assert isinstance(sign(joined, fileToSign()), AgentRefused)
        self.bind(joined, HOST_KEY, SESSION)
        assert isinstance(sign(joined, fileToSign()), AgentRefused)

    def test_L4_everyHopHasToBeAllowed(self) -> None:
        first, second = makeKey(number=10), makeKey(number=11)
        joined = self.restricted(Destination(HOME, at(first)), Destination(at(first), at(second)))
        self.bind(joined, first, sessionNumber(1), True)
        assert len(joined.outcome(joined.agent.requestIdentities())) == 1
        self.bind(joined, second, sessionNumber(2))
        bound = login(KEY, sessionNumber(2), host=second)
        assert isinstance(sign(joined, bound), bytes)
        # Beyond the first hop only a request that names its host counts.
        assert isinstance(sign(joined, login(KEY, sessionNumber(2))), AgentRefused)

    def test_L4_aHopThatIsNotAllowed(self) -> None:
        first, second = makeKey(number=10), makeKey(number=11)
        joined = self.restricted(Destination(HOME, at(first)), Destination(HOME, at(second)))
        self.bind(joined, first, sessionNumber(1), True)
        # It may log in at the first host, and has no business beyond it.
        assert joined.outcome(joined.agent.requestIdentities()) == []
        self.bind(joined, second, sessionNumber(2))
        bound = login(KEY, sessionNumber(2), host=second)
        assert isinstance(sign(joined, bound), AgentRefused)

    def test_L4_aHostByItsAuthority(self) -> None:
        authority, host = makeKey(number=12), makeKey(number=13)
        certificate = makeCertificate(host, authority, kind=2, principals=(b"host",))
        wrong = makeCertificate(host, authority, kind=2, principals=(b"elsewhere",))
        hop = Hop(b"", b"host", ((authority.blob(), True),))
        for blob, expected in (
            (certificate, bytes),
            (wrong, AgentRefused),
            (host.blob(), AgentRefused),
        ):
            joined = self.restricted(Destination(HOME, hop))
            bind = wire.SessionBind(blob, SESSION, host.sign(SESSION), isForwarding=False)
            assert joined.outcome(joined.agent.bindSession(bind)) is None
            assert isinstance(sign(joined, login(KEY)), expected)


@pytest.mark.parametrize(
    "kind", [wire.AGENTC_ADD_SMARTCARD_KEY, wire.AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED, 21]
)
def test_L5_noLibraryIsLoaded(kind: int) -> None:
    joined = Joined()
    assert raw(joined, packFrame(bytes((kind,)) + NS(b"/tmp/evil.so") + NS(b"1234"))) == FAILURE
    assert not hasattr(joined.server, "agentc_ADD_SMARTCARD_KEY")


def test_L5_noKeyOfASecurityKeysLibrary() -> None:
    joined = Joined()
    body = NS(b"sk-ssh-ed25519@openssh.com") + NS(b"x" * 32) + NS(b"ssh:") + b"\1" + NS(b"h")
    request = packFrame(bytes((wire.AGENTC_ADD_IDENTITY,)) + body + NS(b"") + NS(b""))
    assert raw(joined, request) == FAILURE


class TestLock:
    def test_L6_aLockedAgentHasNothingAndDoesNothing(self) -> None:
        joined = withKeys()
        assert joined.outcome(joined.agent.lock(b"secret")) is None
        agent = joined.agent
        assert joined.outcome(agent.requestIdentities()) == []
        for refused in (
            agent.signData(KEY.blob(), login(KEY)),
            agent.addIdentity(OTHER.privateBlob()),
            agent.removeIdentity(KEY.blob()),
            agent.removeAllIdentities(),
            agent.lock(b"another"),
        ):
            assert isinstance(joined.outcome(refused), AgentRefused)
        assert joined.outcome(agent.unlock(b"secret")) is None
        assert len(joined.outcome(agent.requestIdentities())) == 1

    def test_L6_passphrasesAreTriedSlowerAndSlower(self) -> None:
        joined = withKeys()
        joined.factory.keyStore.lock(b"secret")
        waited = 0.0
        for _ in range(20):
            asked = joined.agent.unlock(b"wrong")
            found: list[Any] = []
            asked.addBoth(found.append)
            joined.pump()
            while not found:
                joined.clock.advance(0.1)
                waited += 0.1
                joined.pump()
        assert waited > 15

    def test_L6_manyConnectionsTryNoFaster(self) -> None:
        joined = withKeys()
        joined.factory.keyStore.lock(b"secret")
        others = [joined.another() for _ in range(MAX_UNLOCKS_WAITING + 10)]
        found: list[Any] = []
        for other in others:
            other.agent.unlock(b"wrong").addErrback(found.append)
            other.pump()
        # One is being tried, some wait for it, and the rest were sent away untried.
        assert len(found) == 10 - 1
        assert joined.factory._wrongUnlocks == 1
        joined.clock.advance(0.1)
        assert joined.factory._wrongUnlocks == 2

    def test_L6_whoIsTriedDoesNotHoldUpTheOthers(self) -> None:
        joined = withKeys()
        joined.factory.keyStore.lock(b"secret")
        joined.agent.unlock(b"wrong").addErrback(lambda _: None)
        joined.pump()
        assert joined.lives()

    def test_L6_aPassphraseIsNotKept(self) -> None:
        store = KeyStore()
        store.lock(b"open sesame")
        assert b"open sesame" not in repr(vars(store)).encode()

    def test_L6_noMoreKeysThanAreBounded(self) -> None:
        joined = Joined(SSHAgentFactory(None, KeyStore(maxKeys=3)))
        joined.factory.clock = joined.clock
        for number in range(3):
            joined.add(makeKey(number=20 + number))
        added = joined.agent.addIdentity(KEY.privateBlob())
        assert isinstance(joined.outcome(added), AgentRefused)
        assert MAX_KEYS == 1000

    def test_L6_anRSAKeyOfHugePrimes(self) -> None:
        p, q = 2**9688 - 1, 2**9000 - 1
        fields = (p * q, 65537, 3, 1, p, q)
        body = NS(b"ssh-rsa") + b"".join(map(MP, fields)) + NS(b"")
        joined = Joined()
        assert raw(joined, packFrame(bytes((wire.AGENTC_ADD_IDENTITY,)) + body)) == FAILURE

    def test_L6_aPrivateKeyThatIsNotTheCertificates(self) -> None:
        certificate = makeCertificate(OTHER, KEY)
        secret = KEY.privateBlob()[len(NS(b"ssh-ed25519")) :]
        body = NS(b"ssh-ed25519-cert-v01@openssh.com") + NS(certificate) + secret + NS(b"")
        joined = Joined()
        assert raw(joined, packFrame(bytes((wire.AGENTC_ADD_IDENTITY,)) + body)) == FAILURE


class TestForwarded:
    """The agent's own guard; that of the client that forwards is in test_L_forwarding."""

    def forwarded(self) -> Joined:
        joined = withKeys()
        bind = bindTo(HOST_KEY, SESSION, isForwarding=True)
        assert joined.outcome(joined.agent.bindSession(bind)) is None
        return joined

    def test_L7_onlyListingAndLogins(self) -> None:
        joined = self.forwarded()
        agent = joined.agent
        assert len(joined.outcome(agent.requestIdentities())) == 1
        assert isinstance(sign(joined, login(KEY, sessionNumber(2))), bytes)
        for data in (fileToSign(), b"x" * 32, login(KEY, SESSION)):
            assert isinstance(sign(joined, data), AgentRefused)
        for refused in (
            agent.addIdentity(OTHER.privateBlob()),
            agent.addIdentity(OTHER.privateBlob(), b"", Constraints(60)),
            agent.removeIdentity(KEY.blob()),
            agent.removeAllIdentities(),
            agent.lock(b"x"),
            agent.unlock(b"x"),
        ):
            assert isinstance(joined.outcome(refused), AgentRefused)
        assert not joined.factory.keyStore.isLocked
        assert list(joined.factory.keys) == [KEY.blob()]


class TestWhatIsSigned:
    @pytest.mark.parametrize(
        "data",
        [b"", b"x", b"x" * 32, b"x" * 64, login(KEY)[:-1], login(KEY) + b"\0", b"SSHSIG" + NS(b"")],
        ids=["nothing", "a byte", "SHA-256", "SHA-512", "cut", "longer", "no namespace"],
    )
    def test_D16_bytesThatAreNothingOfOurs(self, data: bytes) -> None:
        assert isinstance(sign(withKeys(), data), AgentRefused)

    @pytest.mark.parametrize("data", [login(KEY), login(KEY, host=HOST_KEY), fileToSign()])
    def test_D16_whatIsSigned(self, data: bytes) -> None:
        assert KEY.verify(sign(withKeys(), data), data)

    def test_D16_aLoginByAnotherKey(self) -> None:
        joined = withKeys(KEY, OTHER)
        assert isinstance(sign(joined, login(OTHER), KEY), AgentRefused)

    def test_D16_aLoginByACertificateOfTheKey(self) -> None:
        certificate = makeCertificate(KEY, OTHER)
        name = b"ssh-ed25519-cert-v01@openssh.com"
        data = login(KEY, algorithm=name, blob=certificate)
        assert KEY.verify(sign(withKeys(), data), data)

    def test_D16_aCertificateByAnotherAuthority(self) -> None:
        def unsigned(authority: Key) -> bytes:
            blob = makeCertificate(makeKey(number=3), authority)
            mark = NS(authority.blob())
            return blob[: blob.rindex(mark) + len(mark)]

        joined = withKeys(KEY, OTHER)
        assert isinstance(sign(joined, unsigned(OTHER), KEY), AgentRefused)
        assert isinstance(sign(joined, unsigned(KEY), KEY), bytes)

    @pytest.mark.parametrize(
        ("named", "flags"),
        [
            (b"ssh-rsa", 0),
            (b"rsa-sha2-512", wire.SIGN_RSA_SHA2_256),
            (b"rsa-sha2-256", wire.SIGN_RSA_SHA2_512),
            (b"ssh-ed25519", 0),
            (b"rsa-sha2-512", 8),
            (b"rsa-sha2-512", 6),
        ],
    )
    def test_D9_D16_anotherAlgorithmThanTheLoginNames(self, named: bytes, flags: int) -> None:
        joined = withKeys(RSA)
        assert isinstance(sign(joined, login(RSA, algorithm=named), RSA, flags), AgentRefused)

    @pytest.mark.parametrize("data", [login(RSA), fileToSign()])
    def test_D9_neverSHA1(self, data: bytes) -> None:
        signature = sign(withKeys(RSA), data, RSA, flags=0)
        assert signature.startswith(NS(b"rsa-sha2-512"))
        assert RSA.verify(signature, data)
