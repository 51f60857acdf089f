"""Logging in with what a user has, asked for at the terminal: Conch's `client.default`.

Rule: keys come from the agent and from files, passphrases, passwords and answers from /dev/tty; no
question blocks the reactor, and where there is no terminal nobody is asked.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.python.filepath import FilePath

from limpet._reactor import getReactor
from limpet.client import agent
from limpet.client.interaction import NobodyToAsk
from limpet.client.knownhosts import ConsoleUI, KnownHostsFile
from limpet.client.terminal import TerminalInterface
from limpet.error import HostKeyChanged
from limpet.ssh import userauth
from limpet.ssh.keys import BadKeyError, EncryptedKeyError, Key

KNOWN_HOSTS = "~/.ssh/known_hosts"

DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")

PASSWORD_PROMPTS = 3
"""How often a password, or a passphrase, may be wrong (OpenSSH's NumberOfPasswordPrompts)."""


_open = open


def _openTerminal() -> Any:
    return _open("/dev/tty", "r+b", buffering=0)


def _knownHosts(options: Any) -> KnownHostsFile:
    path = options["known-hosts"] or os.path.expanduser(KNOWN_HOSTS)
    return KnownHostsFile.fromPath(FilePath(path))


def verifyHostKey(
    transport: Any, host: bytes, pubKey: bytes, fingerprint: bytes | str
) -> defer.Deferred[bool]:
    """Hold a host key against the user's known_hosts file, and ask about a new one.

    Args:
        transport: The `SSHClientTransport`; the options of its factory name the host and the file.
        host: The server's address.
        pubKey: The key's blob.
        fingerprint: The key's fingerprint; a person is shown the SHA-256 one.

    Returns:
        A Deferred as of `KnownHostsFile.verifyHostKey`.
    """
    options = transport.factory.options
    ui = ConsoleUI(_openTerminal)
    named = options["host"]
    asked = named.encode("utf-8") if isinstance(named, str) else named
    return _knownHosts(options).verifyHostKey(ui, asked, host, Key.fromString(pubKey))


def isInKnownHosts(host: bytes, pubKey: bytes, options: Any) -> int:
    """Whether a host is known: 0 it is not, 1 by this key, 2 by another one."""
    try:
        return int(_knownHosts(options).hasHostKey(host, Key.fromString(pubKey)))
    except HostKeyChanged:
        return 2


def getHostKeyAlgorithms(host: bytes, options: Any) -> list[bytes] | None:
    """The types of the keys that a host is known by, or None of a host that is not known."""
    return _knownHosts(options).getHostKeyAlgorithms(host)


class SSHUserAuthClient(userauth.SSHUserAuthClient):
    """Logs in with the agent's keys, keys in files, a password, and answers at the terminal.

    Args:
        user: The name to log in under.
        options: A `ConchOptions`, or anything with `identitys` and the keys "noagent" and
            "user-authentications".
        args: What else the base class takes: the service to start.

    Attributes:
        keyAgent: The `SSHAgentClient`, once it is connected; None where there is no agent.
        usedFiles: The files that were tried.
    """

    def __init__(self, user: bytes | str, options: Any, *args: Any) -> None:
        super().__init__(user, *args)
        self.keyAgent: Any = None
        self.options = options
        self.usedFiles: list[str] = []
        self.ui: Any = TerminalInterface(getReactor(), sys.stderr.write)
        self._passwordPrompts = 0
        wanted = _option(options, "user-authentications")
        if wanted:
            self.preferredOrder = list(wanted)
            self.triesOthers = False
        if not options.identitys:
            options.identitys = list(DEFAULT_IDENTITIES)

    # ── the agent ─────────────────────────────────────────────────────────────────────────────

    def serviceStarted(self) -> None:
        """Connect to the agent first, where there is one."""
        if "SSH_AUTH_SOCK" not in os.environ or _option(self.options, "noagent"):
            super().serviceStarted()
            return
        agent.connectToAgent(getReactor()).addCallbacks(self._setAgent, self._ebSetAgent)

    def _setAgent(self, connected: Any) -> Any:
        """The agent is there: list its keys, then begin."""
        if self._over:
            connected.disconnect()
            return None
        self.keyAgent = connected
        binding = agent.bindToSession(connected, self.transport, isForwarding=False)
        listing = binding.addCallback(lambda ignored: connected.getPublicKeys())
        return listing.addBoth(self._ebSetAgent)

    def _ebSetAgent(self, ignored: Any) -> None:
        """Begin, with an agent or without."""
        if not self._over:
            super().serviceStarted()

    def serviceStopped(self) -> None:
        """Let go of the agent."""
        super().serviceStopped()
        connected, self.keyAgent = self.keyAgent, None
        if connected is not None:
            connected.disconnect()

    # ── what the user has ─────────────────────────────────────────────────────────────────────

    def getPublicKey(self) -> Any:
        """The next key to offer: the agent's, then those of files."""
        if self.keyAgent is not None:
            key = self.keyAgent.getPublicKey()
            if key is not None:
                return key
        for name in self.options.identitys:
            if name in self.usedFiles:
                continue
            self.usedFiles.append(name)
            key = self._publicKey(Path(os.path.expanduser(name)))
            if key is not None:
                return key
        return None

    def _publicKey(self, path: Path) -> Key | None:
        for place in (path.with_name(path.name + ".pub"), path):
            try:
                return Key.fromFile(place).public()
            except (OSError, BadKeyError, EncryptedKeyError):
                continue
        return None

    def signData(self, publicKey: Any, signData: bytes) -> Any:
        """Let the agent sign, where the key is none of a file's."""
        if not self.usedFiles and self.keyAgent is not None:
            flags = {b"rsa-sha2-256": 2, b"rsa-sha2-512": 4}.get(self.signatureAlgorithm, 0)
            return self.keyAgent.signData(publicKey.blob(), signData, flags)
        return super().signData(publicKey, signData)

    def getPrivateKey(self) -> Any:
        """The private key of the file that was offered last; asks for its passphrase.

        Returns:
            A Deferred of a `Key`; None where the file has no private key.
        """
        if not self.usedFiles:
            return None
        path = os.path.expanduser(self.usedFiles[-1])
        try:
            return defer.succeed(Key.fromFile(path))
        except EncryptedKeyError:
            return self._decrypted(path, PASSWORD_PROMPTS)
        except (OSError, BadKeyError):
            return None

    def _decrypted(self, path: str, left: int) -> defer.Deferred[Any]:
        def tryPassphrase(passphrase: bytes) -> Any:
            if not passphrase:
                raise NobodyToAsk("no passphrase was given")
            try:
                return Key.fromFile(path, passphrase=passphrase)
            except BadKeyError:
                if left <= 1:
                    raise
                return self._decrypted(path, left - 1)

        prompt = f"Passphrase for the key {path}: ".encode("utf-8", "backslashreplace")
        return self._getPassword(prompt).addCallback(tryPassphrase)

    def _getPassword(self, prompt: bytes) -> defer.Deferred[Any]:
        """Ask at the terminal, without showing what is typed."""
        asking: defer.Deferred[Any] = defer.maybeDeferred(self.ui.ask, prompt, False)
        return asking

    def getPassword(self, prompt: bytes | None = None) -> Any:
        """Ask for the password; None once it was wrong too often."""
        if prompt is None:
            if self._passwordPrompts >= PASSWORD_PROMPTS:
                return None
            self._passwordPrompts += 1
            host = self.transport.transport.getPeer().host
            prompt = self.user + b"@" + str(host).encode("utf-8") + b"'s password: "
        return self._getPassword(prompt)

    @defer.inlineCallbacks
    def getGenericAnswers(
        self, name: bytes, instruction: bytes, prompts: list[tuple[bytes, bool]]
    ) -> Any:
        """Ask at the terminal what the server wants to know."""
        heading = b"\n".join(text for text in (name, instruction) if text)
        if heading:
            self.ui.show(heading + b"\n")
        answers = []
        for prompt, echo in prompts:
            answers.append((yield self.ui.ask(prompt, echo)))
        return answers

    def bannerReceived(self, text: bytes) -> None:
        """Show the server's banner."""
        self.ui.show(text)


def _option(options: Any, name: str) -> Any:
    """An option, None where the mapping has none of that name."""
    try:
        return options[name]
    except (KeyError, TypeError):
        return None
