"""`limpet.ssh.agent.SSHAgentServer`: requests answered, for Conch's factories and for ours."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from limpet.core.agentkeys import HeldKey
from limpet.core.framing import packFrame
from limpet.error import MissingKeyStoreError
from limpet.ssh.agent import AgentRefused, SSHAgentClient, SSHAgentFactory, SSHAgentServer
from limpet.ssh.agent.server import REQUESTS_PER_TURN
from limpet.testing import Pair
from limpet.wire import agent as wire
from limpet.wire.fields import NS
from tests.agents import Joined, login
from tests.keymaking import allKeys, makeCertificate, makeKey

KEY = makeKey()


class ConchFactory:
    """What Conch documents: a dictionary."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Any] = {}


class TestConchsFactory:
    def joined(self) -> tuple[ConchFactory, Pair]:
        server = SSHAgentServer()
        server.factory = ConchFactory()
        return server.factory, Pair(SSHAgentClient(), server)

    def test_keys_are_pairs_in_its_dictionary(self) -> None:
        factory, pair = self.joined()
        factory.keys[KEY.blob()] = (KEY, b"a comment")
        found: list[Any] = []
        pair.client.requestIdentities().addCallback(found.append)
        pair.pump()
        assert found == [[(KEY.blob(), b"a comment")]]

    def test_it_signs_whatever_it_is_asked_to(self) -> None:
        factory, pair = self.joined()
        factory.keys[KEY.blob()] = (KEY, b"")
        found: list[bytes] = []
        pair.client.signData(KEY.blob(), b"anything").addCallback(found.append)
        pair.pump()
        assert KEY.verify(found[0], b"anything")

    def test_added_keys_begin_like_pairs(self) -> None:
        factory, pair = self.joined()
        pair.client.addIdentity(KEY.privateBlob(), b"new")
        pair.pump()
        key, comment, *_ = factory.keys[KEY.blob()]
        assert (key, comment) == (KEY, b"new")

    def test_a_lifetime_counts(self) -> None:
        factory, pair = self.joined()
        pair.client.addIdentity(KEY.privateBlob(), b"", wire.Constraints(lifetimeSeconds=5))
        pair.pump()
        pair.clock.advance(5)
        found: list[Any] = []
        pair.client.requestIdentities().addCallback(found.append)
        pair.pump()
        assert found == [[]]

    def test_what_it_has_no_place_for_is_refused(self) -> None:
        factory, pair = self.joined()
        failures: list[Any] = []
        for asked in (
            pair.client.lock(b"x"),
            pair.client.unlock(b"x"),
            pair.client.addIdentity(KEY.privateBlob(), b"", wire.Constraints(confirm=True)),
        ):
            asked.addErrback(failures.append)
        pair.pump()
        assert [failure.type for failure in failures] == [AgentRefused] * 3

    def test_none_at_all_is_a_mistake(self) -> None:
        server = SSHAgentServer()
        server.factory = object()
        with pytest.raises(MissingKeyStoreError):
            server.dataReceived(packFrame(b"\x0b"))


class TestKeys:
    @pytest.mark.parametrize("key", allKeys(), ids=lambda key: key.sshType().decode())
    def test_every_kind_signs(self, key: Any) -> None:
        joined = Joined()
        joined.add(key)
        data = login(key)
        assert key.verify(joined.outcome(joined.agent.signData(key.blob(), data)), data)

    @pytest.mark.parametrize("key", allKeys(), ids=lambda key: key.sshType().decode())
    def test_a_key_with_its_certificate(self, key: Any) -> None:
        certificate = makeCertificate(key, KEY)
        private = key.privateBlob()[4 + len(key.sshType()) :]
        if key.sshType() == b"ssh-rsa":
            # The certificate has the first two of the six numbers, n and e.
            for _ in range(2):
                private = private[4 + int.from_bytes(private[:4], "big") :]
        elif key.sshType().startswith(b"ecdsa"):
            for _ in range(2):
                private = private[4 + int.from_bytes(private[:4], "big") :]
        kind = certificate[4 : 4 + int.from_bytes(certificate[:4], "big")]
        joined = Joined()
        body = NS(kind) + NS(certificate) + private
        assert joined.outcome(joined.agent.addIdentity(body, b"certified")) is None
        listed = joined.outcome(joined.agent.requestIdentities())
        assert listed == [(certificate, b"certified")]
        algorithm = kind.replace(b"ssh-rsa", b"rsa-sha2-512")
        data = login(key, algorithm=algorithm, blob=certificate)
        assert key.verify(joined.outcome(joined.agent.signData(certificate, data)), data)

    def test_a_key_that_is_added_again_is_replaced(self) -> None:
        joined = Joined()
        joined.add(KEY)
        again = joined.agent.addIdentity(KEY.privateBlob(), b"again", wire.Constraints(60))
        assert joined.outcome(again) is None
        assert joined.outcome(joined.agent.requestIdentities()) == [(KEY.blob(), b"again")]
        joined.clock.advance(60)
        assert joined.outcome(joined.agent.requestIdentities()) == []

    def test_removing(self) -> None:
        other = makeKey(number=1)
        joined = Joined()
        joined.add(KEY, other)
        assert joined.outcome(joined.agent.removeIdentity(KEY.blob())) is None
        assert list(joined.factory.keys) == [other.blob()]
        assert isinstance(joined.outcome(joined.agent.removeIdentity(KEY.blob())), AgentRefused)
        assert joined.outcome(joined.agent.removeAllIdentities()) is None
        assert not joined.factory.keys

    def test_a_list_that_no_client_would_take_is_cut(self) -> None:
        joined = Joined()
        joined.add(KEY)
        for number in range(400):
            joined.factory.keys[b"blob %d" % number] = (KEY, b"c" * 1000)
        listed = joined.outcome(joined.agent.requestIdentities())
        assert 200 < len(listed) < 300

    def test_extensions(self) -> None:
        joined = Joined()
        assert joined.outcome(joined.agent.queryExtensions()) == [
            b"query",
            b"session-bind@openssh.com",
        ]

    def test_the_end_of_the_agent_is_the_end_of_its_keys(self) -> None:
        joined = Joined()
        added = joined.agent.addIdentity(KEY.privateBlob(), b"", wire.Constraints(60))
        joined.outcome(added)
        joined.factory.stopFactory()
        assert not joined.factory.keys
        assert not joined.clock.getDelayedCalls()

    def test_no_more_are_listed_than_a_client_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        joined = Joined()
        size = 8 + 40 + 1024
        for number in range(400):
            blob = b"%040d" % number
            joined.factory.keys[blob] = HeldKey(KEY, b"c" * 1024)
        encoded: list[int] = []
        real = wire.encodeIdentities

        def encode(identities: Any) -> bytes:
            encoded.append(len(identities))
            return real(identities)

        monkeypatch.setattr(wire, "encodeIdentities", encode)
        listed = joined.outcome(joined.agent.requestIdentities())
        assert len(listed) == (wire.MAX_MESSAGE_LENGTH - 5) // size
        assert listed[-1] == (b"%040d" % (len(listed) - 1), b"c" * 1024)
        assert encoded == [len(listed)]


class TestTheStream:
    def test_others_get_their_turn(self) -> None:
        joined = Joined()
        request = packFrame(bytes((wire.AGENTC_REQUEST_IDENTITIES,)))
        joined.server.dataReceived(request * 100)
        answer = packFrame(bytes((wire.AGENT_IDENTITIES_ANSWER,)) + b"\0\0\0\0")
        assert bytes(joined.serverTransport.written) == answer * REQUESTS_PER_TURN
        joined.agent._pending.extend((Deferred(), 1.0) for _ in range(100))
        joined.pump()
        assert not joined.agent._pending

    def test_an_answer_that_takes_time_is_not_overtaken(self) -> None:
        joined = Joined()
        joined.outcome(joined.agent.lock(b"secret"))
        found: list[Any] = []
        joined.agent.unlock(b"wrong").addBoth(found.append)
        joined.agent.requestIdentities().addBoth(found.append)
        joined.pump()
        assert found == []
        joined.clock.advance(10)
        joined.pump()
        assert found[0].type is AgentRefused
        assert found[1:] == [[]]

    def test_a_turn_that_the_client_does_not_live_to_see(self) -> None:
        joined = Joined()
        joined.server.dataReceived(packFrame(b"\x0b") * 100)
        joined.cut()
        assert not joined.clock.getDelayedCalls()

    def test_a_client_that_goes_away_while_a_person_thinks(self) -> None:
        thinking: Deferred[bool] = Deferred()
        joined = Joined(confirm=lambda approval: thinking)
        joined.outcome(
            joined.agent.addIdentity(KEY.privateBlob(), b"", wire.Constraints(confirm=True))
        )
        joined.agent.signData(KEY.blob(), login(KEY)).addErrback(lambda _: None)
        joined.pump()
        joined.cut()
        thinking.callback(True)
        assert not joined.serverTransport.written

    def test_a_bug_is_logged_and_answered(self) -> None:
        class Buggy(SSHAgentServer):
            def agentc_REQUEST_IDENTITIES(self, data: bytes) -> None:
                raise ZeroDivisionError

        seen: list[Any] = []
        observer: Any = seen.append
        factory = SSHAgentFactory(Clock())
        factory.protocol = Buggy
        joined = Joined(factory)
        globalLogPublisher.addObserver(observer)
        try:
            assert isinstance(joined.outcome(joined.agent.requestIdentities()), AgentRefused)
        finally:
            globalLogPublisher.removeObserver(observer)
        assert [event["log_failure"].type for event in seen] == [ZeroDivisionError]
        assert joined.outcome(joined.agent.queryExtensions())
