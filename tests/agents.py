"""An agent and its client, joined in memory, and what they are asked to sign."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from limpet.core.authentication import signedData
from limpet.ssh.agent import SSHAgentClient, SSHAgentFactory
from limpet.ssh.keys import Key
from limpet.testing import Pair
from limpet.wire.agent import SessionBind
from limpet.wire.fields import NS
from tests.keymaking import makeKey

SESSION = hashlib.sha256(b"a session").digest()
HOST_KEY = makeKey(number=900)


def login(
    key: Key,
    session: bytes = SESSION,
    *,
    user: bytes = b"alice",
    algorithm: bytes | None = None,
    blob: bytes | None = None,
    host: Key | None = None,
) -> bytes:
    """What a login by `key` signs; bound to `host` where that is given."""
    return signedData(
        session,
        user,
        b"ssh-connection",
        key.supportedSignatureAlgorithms()[0] if algorithm is None else algorithm,
        key.blob() if blob is None else blob,
        None if host is None else host.blob(),
    )


def fileToSign(namespace: bytes = b"git") -> bytes:
    """What the signature of a file signs."""
    fields = (namespace, b"", b"sha256", hashlib.sha256(b"a file").digest())
    return b"SSHSIG" + b"".join(map(NS, fields))


def bindTo(
    host: Key, session: bytes, isForwarding: bool = False, *, signer: Key | None = None
) -> SessionBind:
    """A binding to a session with `host`; signed by somebody else where `signer` is given."""
    signature = (signer or host).sign(session)
    return SessionBind(host.blob(), session, signature, isForwarding)


def sessionNumber(number: int) -> bytes:
    """The id of a session, another one for each number."""
    return hashlib.sha256(b"session %d" % number).digest()


class Joined(Pair):
    """A client and an agent. `outcome` says what became of a request.

    Args:
        factory: The agent's; one without a person to ask if it is not given.
        confirm: Who confirms, for a factory that is made here.
    """

    def __init__(
        self,
        factory: SSHAgentFactory | None = None,
        confirm: Callable[[Any], Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = Clock() if clock is None else clock
        self.factory = SSHAgentFactory(clock, confirm=confirm) if factory is None else factory
        server = self.factory.buildProtocol(None)
        super().__init__(SSHAgentClient(), server, clock=clock)
        self.agent: SSHAgentClient = self.client

    def outcome(self, request: Deferred[Any]) -> Any:
        """The result of a request, or the exception it failed with."""
        found: list[Any] = []
        request.addBoth(found.append)
        self.pump()
        assert found, "not answered"
        return found[0].value if isinstance(found[0], Failure) else found[0]

    def add(self, *keys: Key) -> None:
        """Give the agent keys."""
        for key in keys:
            self.outcome(self.agent.addIdentity(key.privateBlob(), b"a comment"))

    def another(self) -> Joined:
        """One more connection to the same agent."""
        return Joined(self.factory, clock=self.clock)

    def lives(self) -> bool:
        """Whether the agent serves a new connection."""
        other = self.another()
        return isinstance(other.outcome(other.agent.requestIdentities()), list)
