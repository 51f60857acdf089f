"""Who vouches for a host's key: the user's known_hosts, keys that the program knows, or a judge.

Rule: a policy says True or gives the reason why not; anything else is no (attacks.md K1). It also
says which kinds of key to ask for, since a server with several shows the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from twisted.internet import defer

from limpet._reactor import getReactor
from limpet.client import hostkeys
from limpet.client.config import DEFAULT_PORT, ClientConfig
from limpet.client.errors import HostKeyRefused
from limpet.client.names import aside
from limpet.crypto.signatures import algorithmsFor
from limpet.ssh.keys import BadKeyError, Certificate, Key


class HostKeyPolicy(Protocol):
    """Decides about the host key of one connection."""

    def algorithms(self, config: ClientConfig) -> Any:
        """The host key algorithms to offer, in order, of those in `config`; or a Deferred of it."""

    def verify(self, config: ClientConfig, address: str | None, keyBlob: bytes, ui: Any) -> Any:
        """Whether `keyBlob` is the key of the host in `config`.

        Args:
            config: The host.
            address: The address that the connection goes to; None where that is not known.
            keyBlob: The key, or a certificate. The server has proved that it has it.
            ui: An `IUserInterface`, for policies that ask.

        Returns:
            True, or a Deferred of True; it raises or fails with `HostKeyRefused` and the reason.
        """


class KnownHostsPolicy:
    """What the user's and the system's known_hosts say, and the user where they say nothing.

    Args:
        reactor: In whose threads a KnownHostsCommand is waited for; None for the usual one.
    """

    def __init__(self, reactor: Any = None) -> None:
        self._reactor = reactor

    def algorithms(self, config: ClientConfig) -> Any:
        if config.knownHostsCommand is None:
            return hostkeys.preferredHostKeyAlgorithms(config)
        reactor = getReactor() if self._reactor is None else self._reactor
        return aside(reactor, hostkeys.preferredHostKeyAlgorithms, config)

    def verify(self, config: ClientConfig, address: str | None, keyBlob: bytes, ui: Any) -> Any:
        return hostkeys.verifyHostKey(config, keyBlob, ui, address, reactor=self._reactor)


class PinnedHostKeys:
    """Exactly these keys, which the program knows from elsewhere.

    Args:
        keys: Public keys, or fingerprints as `ssh-keygen -l` shows them ("SHA256:…").

    Raises:
        ValueError: One of the texts is no fingerprint.
    """

    def __init__(self, keys: Iterable[Key | str]) -> None:
        self._keys: list[Key] = []
        self._fingerprints: set[str] = set()
        for key in keys:
            if isinstance(key, Key):
                self._keys.append(key.public())
            elif key.startswith("SHA256:"):
                self._fingerprints.add(key.rstrip("="))
            else:
                raise ValueError(
                    f"a fingerprint begins with SHA256:, and this one with {key[:7]!r}"
                )

    def algorithms(self, config: ClientConfig) -> Sequence[bytes]:
        known = [name for key in self._keys for name in algorithmsFor(key.sshType())]
        first = [name for name in config.hostKeyAlgorithms if name in known]
        return list(dict.fromkeys([*first, *config.hostKeyAlgorithms]))

    def verify(self, config: ClientConfig, address: str | None, keyBlob: bytes, ui: Any) -> bool:
        key = hostKeyOf(keyBlob)
        if key in self._keys or key.displayFingerprint() in self._fingerprints:
            return True
        raise HostKeyRefused(
            f"{config.hostName} has the key {key.displayFingerprint()}, which is none of those that"
            " it should have"
        )


class JudgedHostKeys:
    """A function of the program's own decides.

    Args:
        judge: Called with the host's name, its port and its `Key`; says True, or a Deferred of it.
    """

    def __init__(self, judge: Callable[[str, int, Key], Any]) -> None:
        self._judge = judge

    def algorithms(self, config: ClientConfig) -> Sequence[bytes]:
        return config.hostKeyAlgorithms

    def verify(self, config: ClientConfig, address: str | None, keyBlob: bytes, ui: Any) -> Any:
        key = hostKeyOf(keyBlob)
        judging = defer.maybeDeferred(self._judge, config.hostName, config.port, key)
        return judging.addCallback(_onlyTrue, config, key)


class DocumentedKnownHosts:
    """A `KnownHostsFile`, by the one method that Conch documents: `verifyHostKey`.

    Args:
        knownHosts: The object.
    """

    def __init__(self, knownHosts: Any) -> None:
        self._knownHosts = knownHosts

    def algorithms(self, config: ClientConfig) -> Sequence[bytes]:
        return config.hostKeyAlgorithms

    def verify(self, config: ClientConfig, address: str | None, keyBlob: bytes, ui: Any) -> Any:
        key = hostKeyOf(keyBlob)
        host = (config.hostKeyAlias or config.hostName).encode("utf-8")
        where = (address or config.hostName).encode("utf-8")
        if config.port != DEFAULT_PORT and hasattr(self._knownHosts, "hasHostKey"):
            # Conch looks hosts up without their port; what is known with it comes first.
            if self._knownHosts.hasHostKey(b"[%b]:%d" % (host, config.port), key) is True:
                return True
        judging = defer.maybeDeferred(self._knownHosts.verifyHostKey, ui, host, where, key)
        return judging.addCallback(_onlyTrue, config, key)


def describedKey(keyBlob: bytes) -> str:
    """A host key for a person who looks for what is wrong: its type and fingerprint."""
    try:
        key = hostKeyOf(keyBlob)
    except HostKeyRefused as refusal:
        return str(refusal)
    kind = "a certificate for " if b"-cert-" in keyBlob[:64] else ""
    return f"{kind}{key.type()} {key.displayFingerprint()}"


def hostKeyOf(keyBlob: bytes) -> Key:
    """The key in a blob that may be a certificate; HostKeyRefused where it is neither."""
    try:
        if b"-cert-v01@openssh.com" in keyBlob[:64]:
            return Certificate(keyBlob).key
        return Key.fromString(keyBlob, type="blob")
    except BadKeyError as error:
        raise HostKeyRefused(f"the server's key is of no use: {error}") from None


def _onlyTrue(verdict: object, config: ClientConfig, key: Key) -> bool:
    if verdict is True:
        return True
    raise HostKeyRefused(f"the key {key.displayFingerprint()} of {config.hostName} is not accepted")
