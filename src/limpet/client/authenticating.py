"""Logging in as the configuration says: which method, which key, whom to ask, and when to stop.

Rule: what is tried is written down in words, so that a login that fails says what was tried, what
the server would have taken, and which setting keeps something from being tried.

ssh_config(5): PreferredAuthentications, IdentityFile, IdentitiesOnly, IdentityAgent,
CertificateFile, AddKeysToAgent, NumberOfPasswordPrompts, BatchMode, PubkeyAuthentication,
PasswordAuthentication, KbdInteractiveAuthentication.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.client.agent import bindToSession
from limpet.client.config import ClientConfig
from limpet.client.errors import AuthenticationFailed, shown, told
from limpet.client.identities import (
    FileIdentity,
    Identity,
    KeyIdentity,
    agentIdentities,
    certificatePath,
    inOrder,
    readCertificate,
    readIdentityFile,
)
from limpet.client.interaction import CHOICES, STEPS, NobodyToAsk, follow
from limpet.core import authentication
from limpet.ssh.keys import BadKeyError, Certificate, EncryptedKeyError, Key
from limpet.ssh.service import SSHService
from limpet.ssh.userauth import SSHUserAuthClient
from limpet.ssh.userauth.numbers import MSG_USERAUTH_BANNER
from limpet.wire.agent import Constraints
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader
from limpet.wire.numbers import DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE

ANSWER_SECONDS = 60.0
"""How long a server may take for an answer while the user logs in (ours, attacks.md A2); a server
that runs a slow check of passwords needs seconds."""

NOBODY_IN_BATCH_MODE = "BatchMode is on, so nobody is asked"

_AUTHENTICATION_TIMER = "authentication"

ConnectAgent = Callable[[], "defer.Deferred[Any]"]


@dataclass
class Credentials:
    """What a program gives to log in with, beside what the configuration names.

    Attributes:
        keys: Private keys; each may be followed by its certificate in `certificates`.
        certificates: User certificates for any of the keys.
        password: For the method password, and for a server that asks for no more than one.
        connectAgent: Connects to an agent: a Deferred of an `SSHAgentClient`, or of None.
        answer: Answers a server's questions: called with name, instruction and a list of (prompt,
            echo), gives a list of bytes, None, or a Deferred of one of these.
        only: Whether what the configuration names (files, agent) is left out.
    """

    keys: Sequence[Key] = ()
    certificates: Sequence[Certificate] = ()
    password: bytes | None = field(default=None, repr=False)
    connectAgent: ConnectAgent | None = None
    answer: Callable[[bytes, bytes, list[tuple[bytes, bool]]], Any] | None = field(
        default=None, repr=False
    )
    only: bool = False


class ConfiguredUserAuth(SSHUserAuthClient):
    """Logs in with what `config` names and `credentials` hold.

    Args:
        config: The `ClientConfig` of this host.
        instance: The service to start.
        credentials: What the program gave.
        ui: An `IUserInterface`.
        connectAgent: As in `Credentials`; None where there is no agent.

    Attributes:
        methods: What the server said last that it takes.
        tried: What was tried, in words.
    """

    _log = ClassLogger()
    triesOthers = False

    def __init__(
        self,
        config: ClientConfig,
        instance: SSHService,
        credentials: Credentials,
        ui: Any,
        connectAgent: ConnectAgent | None,
    ) -> None:
        super().__init__(config.user, instance)
        self.config = config
        self.credentials = credentials
        self.ui = ui
        self.methods: tuple[bytes, ...] = ()
        self.tried: list[str] = []
        self.notTried: dict[bytes, list[str]] = {}
        self.agent: Any = None
        self.preferredOrder = self._configuredOrder()
        self.submethods = ",".join(config.kbdInteractiveDevices).encode("utf-8", "surrogateescape")
        self._connectAgent = connectAgent
        self._identities: list[Identity] | None = None
        self._passwordPrompts = 0
        self._questionRounds = 0
        self._passwordGivenTo: set[bytes] = set()

    def _configuredOrder(self) -> list[bytes]:
        config = self.config
        allowed = {
            authentication.PUBLIC_KEY: config.pubkeyAuthentication != "no",
            authentication.PASSWORD: config.passwordAuthentication,
            authentication.KEYBOARD_INTERACTIVE: config.kbdInteractiveAuthentication,
        }
        names = [name.encode("ascii", "replace") for name in config.preferredAuthentications]
        for name, isAllowed in allowed.items():
            if not isAllowed or name not in names:
                self._cannotTry(name, "the configuration excludes it")
        if config.batchMode and self.credentials.password is None:
            allowed[authentication.PASSWORD] = False
            self._cannotTry(authentication.PASSWORD, NOBODY_IN_BATCH_MODE)
            if self.credentials.answer is None:
                # Not even begun: a server may count it as a failure, or send a code to a telephone.
                allowed[authentication.KEYBOARD_INTERACTIVE] = False
                self._cannotTry(authentication.KEYBOARD_INTERACTIVE, NOBODY_IN_BATCH_MODE)
        return [name for name in names if allowed.get(name)]

    def _cannotTry(self, method: bytes, why: str) -> None:
        reasons = self.notTried.setdefault(method, [])
        if why not in reasons:
            reasons.append(why)
            self._follow(CHOICES, f"{shown(method)} is not tried: {why}")

    def _try(self, what: str) -> None:
        """Write down what is tried next."""
        self.tried.append(what)
        self._follow(STEPS, f"trying {what}")

    def _follow(self, level: int, text: str) -> None:
        follow(self.ui, level, f"{shown(self.config.host)}: {text}")

    # ── How long the server may take ──────────────────────────────────────────────────────────

    def askForAuth(self, kind: bytes, extraData: bytes) -> None:
        super().askForAuth(kind, extraData)
        self._startWaiting()

    def _cbGenericAnswers(self, responses: list[bytes], expected: int | None = None) -> None:
        super()._cbGenericAnswers(responses, expected)
        self._startWaiting()

    def _startWaiting(self) -> None:
        timers = getattr(self.transport, "timers", None)
        if timers is not None and self._awaiting:
            timers.start(_AUTHENTICATION_TIMER, ANSWER_SECONDS, self._tookTooLong)

    def packetReceived(self, messageNum: int, packet: bytes) -> Any:
        """Stop the clock when the server answers: how long the user thinks is not limited."""
        timers = getattr(self.transport, "timers", None)
        if timers is not None and messageNum != MSG_USERAUTH_BANNER:
            timers.stop(_AUTHENTICATION_TIMER)
        return super().packetReceived(messageNum, packet)

    def serviceStopped(self) -> None:
        timers = getattr(self.transport, "timers", None)
        if timers is not None:
            timers.stop(_AUTHENTICATION_TIMER)
        super().serviceStopped()
        self.dropAgent()

    def _tookTooLong(self) -> None:
        self.tried.append(f"no answer within {ANSWER_SECONDS:.0f} s")
        self._leave(
            DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, b"no answer to an authentication request"
        )

    # ── What the server says ──────────────────────────────────────────────────────────────────

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> Any:
        reader = Reader(packet)
        try:
            self.methods = reader.nameList()
            partial = reader.boolean()
        except WireError:
            partial = False
        if self.tried and self.lastAuth != authentication.NONE:
            verdict = "accepted, and not enough" if partial else "refused"
            self.tried[-1] += f": {verdict}"
            self._follow(STEPS, verdict)
        else:
            extensions = getattr(self.transport, "peerExtensions", {})
            for name, value in sorted(extensions.items()):
                self._follow(CHOICES, f"the server says: {shown(name)}={shown(value)}")
        names = ", ".join(shown(name) for name in self.methods)
        self._follow(STEPS, f"the server takes: {names}")
        return super().ssh_USERAUTH_FAILURE(packet)

    def ssh_USERAUTH_SUCCESS(self, packet: bytes) -> None:
        self._follow(STEPS, f"the server lets us in, by {shown(self.lastAuth)}")
        super().ssh_USERAUTH_SUCCESS(packet)

    def _ebMethod(self, reason: Failure) -> bool:
        if reason.check(NobodyToAsk, defer.CancelledError):
            # What was not answered is told by `failure`, where the login fails for it.
            return False
        return super()._ebMethod(reason)

    def bannerReceived(self, text: bytes) -> None:
        self.ui.show(text)

    def failure(self, why: str = "") -> AuthenticationFailed:
        """What to tell a person after a login that did not work.

        Args:
            why: What else is known, such as the server's own words.
        """
        user = f"{shown(self.user)}@{self.config.hostName}"
        takes = ", ".join(shown(name) for name in self.methods[:8]) or "nothing that it names"
        lines = [f"permission denied for {user}; the server takes: {takes}"]
        if why:
            lines.append(why)
        lines += [f"tried {what}" for what in self.tried[-12:]]
        for method in self.methods:
            lines += [f"not tried: {shown(method)}: {why}" for why in self.notTried.get(method, ())]
        return AuthenticationFailed("\n  ".join(lines), self.methods, self.tried)

    # ── publickey ─────────────────────────────────────────────────────────────────────────────

    def getPublicKey(self) -> Any:
        """The next identity that may be offered, None for no more, or a Deferred of either."""
        if self._identities is None:
            return self._collect().addCallback(lambda ignored: self._nextIdentity())
        return self._nextIdentity()

    def _nextIdentity(self) -> Identity | None:
        assert self._identities is not None  # noqa: S101 - the callers have just made it
        if not self._identities:
            if not self.triedPublicKeys:
                self._cannotTry(
                    authentication.PUBLIC_KEY, "there is no key to offer (IdentityFile, ssh-add)"
                )
            return None
        identity = self._identities.pop(0)
        self._try(str(identity))
        return identity

    def _boundHostKey(self) -> bytes | None:
        return None if self.config.pubkeyAuthentication == "unbound" else super()._boundHostKey()

    def chooseAlgorithm(self, publicKey: Any) -> bytes | None:
        algorithm = super().chooseAlgorithm(
            _Accepted(publicKey, self.config.pubkeyAcceptedAlgorithms)
        )
        if algorithm is None and self.tried:
            self.tried[-1] += ": not offered, no signature algorithm in common"
        return algorithm

    def _collect(self) -> defer.Deferred[None]:
        """Find out which keys there are."""
        certificates = list(self.credentials.certificates)
        identities: list[Identity] = [
            KeyIdentity(key, key.comment.decode("utf-8", "backslashreplace") or "given")
            for key in self.credentials.keys
        ]
        if not self.credentials.only:
            identities += self._fromFiles(certificates)

        def withAgent(listed: list[Identity]) -> None:
            self._identities = inOrder(identities, certificates, listed, self.config.identitiesOnly)

        return self._fromAgent().addCallback(withAgent)

    def _fromFiles(self, certificates: list[Certificate]) -> list[Identity]:
        found: list[Identity] = []
        for name in self.config.identityFiles:
            path = Path(os.path.expanduser(name))
            try:
                found.append(readIdentityFile(path))
            except FileNotFoundError:
                self._follow(CHOICES, f"there is no key {path}")
                if self.config.identityFilesGiven:
                    self.ui.warn(told(f"there is no key {path} (IdentityFile)\n"))
                continue
            except EncryptedKeyError:
                words = (
                    f"{path} is encrypted and has no {path.name}.pub beside it, so it is not"
                    f" offered; ssh-keygen -y -f {path} > {path}.pub makes one\n"
                )
                self.ui.warn(told(words))
                continue
            except (OSError, BadKeyError) as error:
                self.ui.warn(told(f"the key {path} cannot be used: {error}\n"))
                continue
            self._addCertificate(certificatePath(path), certificates, wanted=False)
        for name in self.config.certificateFiles:
            self._addCertificate(Path(os.path.expanduser(name)), certificates, wanted=True)
        return found

    def _addCertificate(self, path: Path, certificates: list[Certificate], *, wanted: bool) -> None:
        try:
            certificates.append(readCertificate(path))
        except FileNotFoundError:
            if wanted:
                self.ui.warn(told(f"there is no certificate {path} (CertificateFile)\n"))
        except (OSError, BadKeyError) as error:
            self.ui.warn(told(f"the certificate {path} cannot be used: {error}\n"))

    def _fromAgent(self) -> defer.Deferred[list[Identity]]:
        connect = self.credentials.connectAgent or (
            None if self.credentials.only else self._connectAgent
        )
        if connect is None:
            return defer.succeed([])

        def connected(agent: Any) -> Any:
            self.agent = agent
            if agent is None:
                return []
            if self._over:
                self.dropAgent()
                return []
            return self._listAgent(agent)

        def failed(reason: Any) -> list[Identity]:
            self._cannotTry(authentication.PUBLIC_KEY, f"the agent: {reason.getErrorMessage()}")
            return []

        return defer.maybeDeferred(connect).addCallback(connected).addErrback(failed)

    def _listAgent(self, agent: Any) -> defer.Deferred[list[Identity]]:
        # Keys that are for certain destinations only are not even listed before the agent knows.
        return (
            bindToSession(agent, self.transport, isForwarding=False)
            .addCallback(lambda ignored: agent.requestIdentities())
            .addCallback(lambda listed: self._listed(list(agentIdentities(agent, listed))))
        )

    def _listed(self, identities: list[Identity]) -> list[Identity]:
        self._follow(STEPS, f"the agent has {len(identities)} keys")
        for identity in identities:
            self._follow(CHOICES, f"the agent has the {identity}")
        return identities

    def dropAgent(self) -> None:
        """The agent is asked while the user logs in, and no longer."""
        agent, self.agent = self.agent, None
        if agent is not None:
            agent.disconnect()

    def signData(self, publicKey: Any, signData: bytes) -> defer.Deferred[bytes] | None:
        """Let the identity sign; what keeps it from that is written down."""
        if not isinstance(publicKey, Identity):
            return super().signData(publicKey, signData)
        self._follow(STEPS, f"the server takes it; signing by {shown(self.signatureAlgorithm)}")

        def failed(reason: Any) -> Any:
            said = "" if reason.check(WireError) else reason.getErrorMessage()
            self.tried[-1] += f": the server takes it, and it cannot sign: {said}"
            return reason

        if isinstance(publicKey, FileIdentity):
            publicKey.whenOpened = self._addToAgent
        signing = publicKey.sign(signData, self.signatureAlgorithm, self._askPassphrase)
        return signing.addErrback(failed)

    def _addToAgent(self, key: Key) -> Any:
        """Give the agent a key that the server takes, as AddKeysToAgent says; it never fails."""
        wanted, agent = self.config.addKeysToAgent, self.agent
        if wanted == "no" or agent is None:
            return None
        name = key.comment.decode("utf-8", "backslashreplace") or key.displayFingerprint()
        constraints = Constraints(self.config.addKeysToAgentSeconds, wanted == "confirm")

        def add(answer: object) -> Any:
            if answer is not True:
                return None
            return agent.addIdentity(key.privateBlob(), key.comment, constraints)

        def notAdded(reason: Any) -> None:
            words = f"the agent did not take the key {name}: {reason.getErrorMessage()}\n"
            self.ui.warn(told(words))

        asking: defer.Deferred[Any] = defer.succeed(True)
        if wanted == "ask":
            question = told(f"Add the key {name} to the agent (yes/no)? ")
            asking = defer.maybeDeferred(self.ui.prompt, question)
        return asking.addCallback(add).addErrback(notAdded)

    def _askPassphrase(self, prompt: bytes) -> defer.Deferred[bytes]:
        return self._ask(prompt, False)

    def _ask(self, prompt: bytes, echo: bool) -> defer.Deferred[bytes]:
        if self.config.batchMode:
            return defer.fail(NobodyToAsk(NOBODY_IN_BATCH_MODE))
        asking: defer.Deferred[bytes] = defer.maybeDeferred(self.ui.ask, prompt, echo)
        return asking

    # ── password ──────────────────────────────────────────────────────────────────────────────

    def getPassword(self, prompt: bytes | None = None) -> defer.Deferred[bytes] | None:
        """The password that was given, once; then what the user types, some times."""
        given, method = self.credentials.password, authentication.PASSWORD
        if prompt is None and given is not None and method not in self._passwordGivenTo:
            self._passwordGivenTo.add(method)
            self._try("the password that was given")
            return defer.succeed(given)
        if self.credentials.only:
            return None
        if prompt is None:
            if self._passwordPrompts >= self.config.numberOfPasswordPrompts:
                return None
            account = self.user + b"@" + self.config.hostName.encode("utf-8")
            if self._passwordPrompts:
                self.ui.warn(account + b" does not take that password; try again\n")
            self._passwordPrompts += 1
            self._try("a password")
            prompt = account + b"'s password: "
        else:
            prompt = self._marked(prompt)
        asking = self._ask(prompt, False)
        return asking.addErrback(self._notAnswered, method)

    def _notAnswered(self, reason: Any, method: bytes) -> Any:
        if self.tried:
            self.tried.pop()
        said = reason.getErrorMessage() if reason.check(NobodyToAsk) else "nobody answered"
        self._cannotTry(method, said)
        return reason

    # ── keyboard-interactive ──────────────────────────────────────────────────────────────────

    def auth_keyboard_interactive(self) -> bool:
        """Let the server ask, as often as a password may be wrong."""
        if self._questionRounds >= max(1, self.config.numberOfPasswordPrompts):
            return False
        self._questionRounds += 1
        began = super().auth_keyboard_interactive()
        if began:
            self._try("the server's own questions (keyboard-interactive)")
        return began

    def getGenericAnswers(
        self, name: bytes, instruction: bytes, prompts: list[tuple[bytes, bool]]
    ) -> defer.Deferred[list[bytes]] | None:
        """Answers from the program, or from the user, one after the other."""
        if self.credentials.answer is not None:
            return defer.maybeDeferred(self.credentials.answer, name, instruction, prompts)
        if not prompts:
            return defer.succeed([])
        password = self.credentials.password
        if password is not None and len(prompts) == 1 and not prompts[0][1]:
            # What most servers call keyboard-interactive is a question for the password.
            if authentication.KEYBOARD_INTERACTIVE in self._passwordGivenTo:
                return None
            self._passwordGivenTo.add(authentication.KEYBOARD_INTERACTIVE)
            return defer.succeed([password])
        if self.credentials.only:
            return None
        return self._askAll(name, instruction, prompts).addErrback(
            self._notAnswered, authentication.KEYBOARD_INTERACTIVE
        )

    @defer.inlineCallbacks
    def _askAll(self, name: bytes, instruction: bytes, prompts: list[tuple[bytes, bool]]) -> Any:
        heading = b"\n".join(part for part in (name, instruction) if part)
        if heading:
            self.ui.show(heading + b"\n")
        answers = []
        for prompt, echo in prompts:
            answers.append((yield self._ask(self._marked(prompt), echo)))
        return answers

    def _marked(self, prompt: bytes) -> bytes:
        """A question of the server's own, no line of which looks like ours (attacks.md E20)."""
        mark = b"(" + self.user + b"@" + self.config.hostName.encode("utf-8") + b") "
        return mark + prompt.replace(b"\n", b"\n" + mark)


class _Accepted:
    """An identity with those of its algorithms that the configuration accepts."""

    def __init__(self, identity: Any, accepted: Sequence[bytes]) -> None:
        self._identity = identity
        self._accepted = accepted

    def blob(self) -> bytes:
        blob: bytes = self._identity.blob()
        return blob

    def sshType(self) -> bytes:
        name: bytes = self._identity.sshType()
        return name

    def supportedSignatureAlgorithms(self) -> list[bytes]:
        return [
            name for name in self._identity.supportedSignatureAlgorithms() if name in self._accepted
        ]
