"""Learning a server's further host keys from the server itself (draft-miller-sshm-hostkey-update).

Rule: only a server that its user's file already knows, by a key of its own, may teach its other
keys; it proves that it holds each one, and nothing is removed or replaced (attacks.md K5).

    server  hostkeys-00@openssh.com          all its keys                    no reply wanted
    client  hostkeys-prove-00@openssh.com    those that are not known
    server  REQUEST_SUCCESS                  a signature for each, over this session
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.client.config import ClientConfig
from limpet.client.errors import HostKeyRefused, shown, told
from limpet.client.hostkeys import (
    appendLines,
    checkHostKey,
    hostKeyName,
    readKnownHosts,
    readRevokedKeys,
    readsLongLists,
)
from limpet.client.names import aside
from limpet.core.knownhosts import KnownHost, Marker, Verdict, hashName, judge
from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.crypto.signatures import (
    DEFAULT_SIGNATURE_ALGORITHMS,
    algorithmsFor,
    nameOf,
    verifySignature,
)
from limpet.error import ConchError
from limpet.ssh.hostkeyproofs import PROVE
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader

MAX_KEYS = 64
"""Most keys that a server may offer; more are not looked at (ours)."""

_PATTERN_SIGNS = frozenset(b"*?!")


class HostKeyUpdates:
    """What a client does about the keys that its server offers.

    Args:
        config: The host; its updateHostKeys is "yes" or "ask".
        ui: Whom to ask and tell.
        service: The `SSHConnection`, for its transport and to send requests.
        clock: The time, in seconds since 1970.
    """

    _log = ClassLogger()

    def __init__(
        self,
        config: ClientConfig,
        ui: Any,
        service: Any,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._ui = ui
        self._service = service
        self._clock = clock
        self._isDone = False

    def offered(self, data: bytes) -> bool:
        """The server tells its keys: string key, and so on. Once per connection.

        Returns:
            False: there is nothing to reply.
        """
        if self._isDone:
            return False
        self._isDone = True
        try:
            blobs = _strings(data)
        except WireError:
            return False
        if readsLongLists(self._config):
            looking = aside(self._service.transport.clock, self._unknown, blobs)
        else:
            looking = defer.maybeDeferred(self._unknown, blobs)
        # Where nobody knows what is revoked, nothing is learnt.
        looking.addErrback(_learnsNothing)
        looking.addCallback(self._askFor).addErrback(self._notProven)
        return False

    def _askFor(self, unknown: list[Key]) -> Any:
        if not unknown:
            return None
        request = b"".join(NS(key.blob()) for key in unknown)
        proving = self._service.sendGlobalRequest(PROVE, request, wantReply=True)
        return proving.addCallback(self._proven, unknown)

    def _unknown(self, blobs: Sequence[bytes]) -> list[Key]:
        """The keys worth asking for; none where this server may not teach any."""
        config = self._config
        shownBlob = self._service.transport.hostKeyBlob
        if shownBlob not in blobs or not config.userKnownHostsFiles:
            return []
        # Only a file vouches here; a command would keep the reactor waiting.
        check = checkHostKey(replace(config, knownHostsCommand=None), shownBlob, self._clock())
        entry = check.entry
        # What vouches has to be a line of the user's own, for this host and not for many.
        if (
            check.verdict is not Verdict.KNOWN
            or check.certified
            or entry is None
            or entry.file not in config.userKnownHostsFiles
            or _PATTERN_SIGNS & set(entry.hosts)
        ):
            return []
        entries, _ = readKnownHosts([*config.userKnownHostsFiles, *config.globalKnownHostsFiles])
        revocations = [readRevokedKeys(path) for path in config.revokedHostKeys]
        found: list[Key] = []
        for blob in blobs:
            key = self._acceptable(blob)
            if key is None or key in found or any(one.isRevoked(blob) for one in revocations):
                continue
            if judge(entries, hostKeyName(config), blob).verdict is Verdict.CHANGED:
                found.append(key)
        return found

    def _acceptable(self, blob: bytes) -> Key | None:
        """The key of a blob, where it is one that we would also accept at the start."""
        try:
            key = Key.fromString(blob, "blob")
        except BadKeyError:
            return None
        usable = [
            name
            for name in algorithmsFor(key.sshType())
            if name in self._config.hostKeyAlgorithms and name in DEFAULT_SIGNATURE_ALGORITHMS
        ]
        isSmall = key.type() == "RSA" and key.size() < self._config.requiredRSASize
        return key if usable and not isSmall else None

    def _proven(self, answer: bytes, keys: list[Key]) -> Any:
        signatures = _strings(answer)
        if len(signatures) != len(keys):
            raise WireError("another number of signatures than keys")
        session = self._service.transport.sessionID
        for key, signature in zip(keys, signatures, strict=True):
            algorithm = nameOf(signature)
            signed = NS(PROVE) + NS(session) + NS(key.blob())
            if algorithm not in DEFAULT_SIGNATURE_ALGORITHMS or not verifySignature(
                key.blob(), algorithm, signature, signed
            ):
                raise WireError("a signature is wrong")
        if self._config.updateHostKeys != "ask":
            return self._remember(True, keys)
        asking = defer.maybeDeferred(self._ui.prompt, self._question(keys).encode("utf-8"))
        return asking.addCallback(self._remember, keys)

    def _question(self, keys: list[Key]) -> str:
        lines = "".join(f"  {key.type()} {key.displayFingerprint()}\n" for key in keys)
        name = shown(hostKeyName(self._config))
        return f"{name} has proven to hold further keys:\n{lines}Remember them (yes/no)? "

    def _remember(self, answer: object, keys: list[Key]) -> None:
        if answer is not True:
            return
        name = hostKeyName(self._config)
        path = self._config.userKnownHostsFiles[0]
        lines = []
        for key in keys:
            entry = KnownHost(Marker.HOST, name, key.sshType(), key.blob())
            if self._config.hashKnownHosts:
                entry = replace(entry, hosts=hashName(name))
            lines.append(entry.toLine())
        try:
            appendLines(path, lines)
        except OSError as failure:
            self._ui.warn(told(f"{path}: {failure.strerror}; no host keys were added"))

    def _notProven(self, failure: Failure) -> None:
        """The connection is over, the server refuses, or lies: what it offered is forgotten."""
        if failure.check(ConchError, defer.CancelledError):
            return
        name = shown(hostKeyName(self._config))
        if failure.check(WireError):
            words = f"{name} offers host keys that it cannot prove to hold; they are not remembered"
            self._ui.warn(words.encode("utf-8"))
            return
        self._log.failure("the host keys of {name} were not updated", failure, name=name)


def _strings(data: bytes) -> list[bytes]:
    """The strings that fill `data`. Raises WireError where it is more than `MAX_KEYS`, or cut."""
    reader = Reader(data)
    found: list[bytes] = []
    while reader.remaining:
        if len(found) == MAX_KEYS:
            raise WireError("too many host keys")
        found.append(reader.string())
    return found


def _learnsNothing(failure: Failure) -> list[Key]:
    failure.trap(HostKeyRefused)
    return []
