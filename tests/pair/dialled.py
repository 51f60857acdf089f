"""A connection that `limpet.client.connecting` makes to a server that a test plays."""

from __future__ import annotations

from typing import Any

from limpet.client.authenticating import Credentials
from limpet.client.config import ClientConfig, loadClientConfig
from limpet.client.connecting import ClientConnection, connect
from limpet.client.hostpolicy import PinnedHostKeys
from limpet.core import authentication
from limpet.core.phases import Phase, Verdict
from limpet.ssh.keys import Key
from limpet.ssh.transport import SSHServerTransport
from limpet.testing import MemoryNetwork, Portions, whole
from limpet.wire import numbers as n
from tests.pair.stack import HOST_KEY, makeFactory


class Ear(SSHServerTransport):
    """A server that exchanges keys properly, says what a test lets it say, and hears everything.

    Args:
        accepts: Whether it accepts the service that the client asks for.
    """

    # It has all the time in the world: whose patience ends is the client's.
    kexTimeoutSeconds = 0
    loginGraceSeconds = 0

    def __init__(self, accepts: bool = True, hostKey: Key = HOST_KEY) -> None:
        self.factory = makeFactory()
        self.factory.privateKeys = {hostKey.sshType(): hostKey}
        self.factory.publicKeys = {hostKey.sshType(): hostKey.public()}
        self.heard: list[tuple[int, bytes]] = []
        self.accepts = accepts
        self.supportedPublicKeys = list(self.factory.privateKeys)

    def _enterPhase(self, phase: Phase) -> None:
        super()._enterPhase(phase)
        self._verdicts = tuple(Verdict.ACCEPT for _ in range(256))

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        if messageNum in (n.MSG_KEXINIT, n.MSG_NEWKEYS) or 30 <= messageNum < 50:
            super().dispatchMessage(messageNum, payload)
            return
        self.heard.append((messageNum, bytes(payload)))
        if messageNum == n.MSG_SERVICE_REQUEST and self.accepts:
            self.say(n.MSG_SERVICE_ACCEPT, payload)

    def say(self, number: int, payload: bytes = b"") -> None:
        """Send a message at once, whatever the moment."""
        self._sendNow(number, payload)

    @property
    def numbers(self) -> list[int]:
        """The numbers of what was heard."""
        return [number for number, _ in self.heard]

    def requests(self) -> list[tuple[bytes, bytes]]:
        """Method and fields of each authentication request that was heard."""
        asked = [authentication.parseRequest(body) for number, body in self.heard if number == 50]
        return [(request.method, request.fields) for request in asked]

    def refuse(self, *methods: bytes, partial: bool = False) -> None:
        """Send MSG_USERAUTH_FAILURE."""
        self.say(51, authentication.encodeFailure(methods, partial))


class Dialled:
    """A connection that is being made, and what has come of it.

    Args:
        server: Who answers; None lets the connection hang.
        ui, credentials, hostKeys: As for `limpet.client.connecting.connect`.
        options: Settings of ssh_config(5).
    """

    def __init__(
        self,
        server: Any,
        *,
        ui: Any = None,
        credentials: Credentials | None = None,
        hostKeys: Any = None,
        portions: Portions = whole,
        **options: Any,
    ) -> None:
        self.server = server
        self.reactor = MemoryNetwork(lambda host, port: server, portions=portions)
        self.client: ClientConnection | None = None
        self.failure: Any = None
        self.outcomes = 0
        pinned = PinnedHostKeys([HOST_KEY]) if hostKeys is None else hostKeys
        self.connecting = connect(
            self.reactor, configFor(**options), ui, credentials=credentials, hostKeys=pinned
        )
        self.connecting.addCallbacks(self._connected, self._failed)
        self.settle()

    def _connected(self, client: ClientConnection) -> None:
        self.outcomes += 1
        self.client = client

    def _failed(self, reason: Any) -> None:
        self.outcomes += 1
        self.failure = reason.value

    @property
    def ended(self) -> bool:
        """Whether the stream below is closed."""
        return bool(self.reactor.pairs and self.reactor.pairs[0].ended)

    def settle(self) -> None:
        self.reactor.settle()

    def wait(self, seconds: float, steps: int = 20) -> None:
        """Let time go by."""
        for _ in range(steps):
            self.reactor.advance(seconds / steps)
            self.settle()

    def run(self) -> None:
        """Let everything happen, authentication's delays included."""
        self.wait(10.0)


def configFor(host: str = "server.test", **options: Any) -> ClientConfig:
    """OpenSSH's defaults for a host, without files, and `options` over them."""
    usual = {"User": "alice", "IdentityAgent": "none", "IdentityFile": "/nonexistent/key"}
    given = [(name, str(value)) for name, value in (usual | options).items()]
    return loadClientConfig(host, overrides=given, files=())
