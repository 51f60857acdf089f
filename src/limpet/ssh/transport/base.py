"""The transport's key exchange, in both roles, the first one and all later (RFC 4253 section 7).

Rule: from our MSG_KEXINIT until new keys are in use in both directions we send nothing but the
exchange and MSG_DISCONNECT; from the peer's MSG_KEXINIT on, the phase table lets nothing else in.
Everything that somebody wants to send in between waits, within bounds, and leaves in its order.

    sendKexInit ⇄ ssh_KEXINIT → negotiate → method's generator (Send / Expect) → KexResult
        → [client: host key verified] → MSG_NEWKEYS, sender's keys ⇄ ssh_NEWKEYS, receiver's keys
        → _newKeys: what waited is sent
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.python.failure import Failure

from limpet.core.errors import (
    ConnectionTimedOut,
    KeyExchangeFailed,
    LimitExceeded,
    UnexpectedMessage,
)
from limpet.core.kex import KEX_METHODS, Exchange, Expect, KexContext, KexResult, Send
from limpet.core.negotiation import (
    DEFAULT,
    AlgorithmLists,
    Suite,
    makeKexInit,
    negotiate,
    readKexInit,
)
from limpet.core.phases import HELD_DURING_EXCHANGE, Phase
from limpet.core.rekey import MAX_REPLY_SECONDS, MIN_INTERVAL_SECONDS, RekeyPolicy
from limpet.crypto.ciphers import CIPHERS, makeOpener, makeSealer
from limpet.crypto.compression import Deflater, Inflater
from limpet.crypto.derive import (
    IV_CLIENT_TO_SERVER,
    IV_SERVER_TO_CLIENT,
    KEY_CLIENT_TO_SERVER,
    KEY_SERVER_TO_CLIENT,
    MAC_KEY_CLIENT_TO_SERVER,
    MAC_KEY_SERVER_TO_CLIENT,
    deriveKey,
)
from limpet.crypto.entropy import randomBytes
from limpet.crypto.macs import MACS
from limpet.ssh.transport.ciphers import SSHCiphers
from limpet.ssh.transport.numbers import MSG_KEXINIT, MSG_NEWKEYS
from limpet.ssh.transport.stream import MessageTransport
from limpet.wire.messages import COOKIE_LENGTH

MAX_HELD_MESSAGES = 1024
"""Messages that wait for the end of a key exchange (ours; channels hold back their own data)."""

MAX_HELD_BYTES = 2 << 20
"""Bytes in those messages (ours, attacks.md C10)."""

REKEY_CREDITS = 10
"""Key exchanges that a peer may start in a row (ours, attacks.md C11)."""

BYTES_PER_REKEY_CREDIT = 32 * 1024
"""Traffic after which one more is allowed, so that `RekeyLimit 1M` works at full speed (ours): with
it, OpenSSH's client begins an exchange after every 64 to 512 KiB that it sends."""

VOLUME_CHECK_INTERVAL = 1 << 24
"""Bytes between two looks at the rekey policy; what it counts is never exceeded by more."""


class SSHTransportBase(MessageTransport):
    """An SSH transport, whatever its role; the base of the server's and the client's.

    The lists of algorithms are in order of preference and may be set per class or per instance,
    before the connection is made.

    Attributes:
        supportedKeyExchanges, supportedPublicKeys, supportedCiphers, supportedMACs,
        supportedCompressions: What we offer.
        rekeyPolicy: How much one set of keys may carry.
        requireStrictKeyExchange: Whether a peer without strict key exchange is turned away.
        kexAlg: The key exchange method in use.
        keyAlg: The host key's signature algorithm in use.
        kexTimeoutSeconds: How long one key exchange may take.
    """

    supportedKeyExchanges: Sequence[bytes] = list(DEFAULT.keyExchanges)
    supportedPublicKeys: Sequence[bytes] = list(DEFAULT.publicKeys)
    supportedCiphers: Sequence[bytes] = list(DEFAULT.ciphers)
    supportedMACs: Sequence[bytes] = list(DEFAULT.macs)
    supportedCompressions: Sequence[bytes] = list(DEFAULT.compressions)
    supportedLanguages: Sequence[bytes] = ()

    rekeyPolicy: RekeyPolicy = RekeyPolicy()
    requireStrictKeyExchange: bool = False
    kexTimeoutSeconds: float = MAX_REPLY_SECONDS

    ourKexInitPayload: bytes = b""
    otherKexInitPayload: bytes = b""
    kexAlg: bytes | None = None
    keyAlg: bytes | None = None
    ignoreNextPacket: int = 0

    _KEY_EXCHANGE_NONE = "_KEY_EXCHANGE_NONE"
    _KEY_EXCHANGE_REQUESTED = "_KEY_EXCHANGE_REQUESTED"
    _KEY_EXCHANGE_PROGRESSING = "_KEY_EXCHANGE_PROGRESSING"
    _keyExchangeState: str = _KEY_EXCHANGE_NONE
    _peerSupportsExtensions: bool = False

    _strict: bool = False
    _suite: Suite | None = None
    _exchange: Exchange | None = None
    _expected: int | None = None
    _nextOpener: Any = None
    _nextEncryptions: SSHCiphers | None = None
    _sentNewKeys: bool = False
    _heldBytes: int = 0
    _keysSince: float = 0.0
    _hasSmallBlocks: bool = False
    _checkReceivedAt: int = VOLUME_CHECK_INTERVAL
    _checkSentAt: int = VOLUME_CHECK_INTERVAL
    _rekeyCredits: float = REKEY_CREDITS
    _rekeyCreditsAt: float = 0.0

    # ── Negotiation ───────────────────────────────────────────────────────────────────────────

    def _algorithms(self) -> AlgorithmLists:
        return AlgorithmLists(
            keyExchanges=self.supportedKeyExchanges,
            publicKeys=self.supportedPublicKeys,
            ciphers=self.supportedCiphers,
            macs=self.supportedMACs,
            compressions=self.supportedCompressions,
        )

    def sendKexInit(self) -> None:
        """Send our MSG_KEXINIT: begin a key exchange, or take part in one that the peer began.

        From here on other messages wait until new keys are in use. After the connection has ended
        this does nothing.

        Raises:
            RuntimeError: A key exchange is under way already.
        """
        if self._over:
            return
        if self._keyExchangeState != self._KEY_EXCHANGE_NONE:
            raise RuntimeError(
                f"cannot send KEXINIT while key exchange state is {self._keyExchangeState!r}"
            )
        message = makeKexInit(
            self._algorithms(),
            randomBytes(COOKIE_LENGTH),
            self.isClient,
            firstKex=self.sessionID is None,
        ).encode()
        self.ourKexInitPayload = bytes((MSG_KEXINIT,)) + message
        self._sentNewKeys = False
        self.sendPacket(MSG_KEXINIT, message)
        self._keyExchangeState = self._KEY_EXCHANGE_REQUESTED
        self._blockedByKeyExchange = []
        self._heldBytes = 0
        self.timers.start("kex", self.kexTimeoutSeconds, self._kexTimedOut)
        self._updateService()

    def ssh_KEXINIT(self, packet: bytes) -> None:
        """MSG_KEXINIT: cookie, ten name-lists, boolean, uint32 (RFC 4253 section 7.1)."""
        first = self.sessionID is None
        self.otherKexInitPayload = bytes((MSG_KEXINIT,)) + packet
        theirs = readKexInit(self.otherKexInitPayload)
        if self._keyExchangeState == self._KEY_EXCHANGE_NONE:
            if not first:
                self._spendRekeyCredit()
            self.sendKexInit()
        ours = readKexInit(self.ourKexInitPayload)
        client, server = (ours, theirs) if self.isClient else (theirs, ours)
        suite = negotiate(
            client,
            server,
            self.isClient,
            first,
            requireStrict=self.requireStrictKeyExchange,
        )
        if first:
            self._strict = suite.strict
            self._peerSupportsExtensions = suite.peerSupportsExtInfo
            if suite.strict and self._dispatchedSequence not in (0, None):
                raise UnexpectedMessage("a message before KEXINIT in a strict key exchange")
        self._suite = suite
        self.kexAlg = suite.kex
        self.keyAlg = suite.hostKeyAlgorithm
        self.ignoreNextPacket = int(suite.ignoreGuessedPacket)
        self._keyExchangeState = self._KEY_EXCHANGE_PROGRESSING
        if not first:
            self._enterPhase(Phase.REKEY_EXCHANGE)
        else:
            self._enterPhase(Phase.EXCHANGE if suite.strict else Phase.EXCHANGE_LENIENT)
        self._beginExchange(suite)

    def _beginExchange(self, suite: Suite) -> None:
        method = KEX_METHODS[suite.kex]
        context = self._kexContext(suite)
        self._exchange = method.client(context) if self.isClient else method.server(context)
        self._advance(None)

    def _kexContext(self, suite: Suite) -> KexContext:
        """What the method has to know; the server adds its host key."""
        if self.isClient:
            return KexContext(
                clientVersion=self.ourVersionString,
                serverVersion=self.otherVersionString,
                clientKexInit=self.ourKexInitPayload,
                serverKexInit=self.otherKexInitPayload,
            )
        return KexContext(
            clientVersion=self.otherVersionString,
            serverVersion=self.ourVersionString,
            clientKexInit=self.otherKexInitPayload,
            serverKexInit=self.ourKexInitPayload,
        )

    # ── The method's own messages ─────────────────────────────────────────────────────────────

    def _keyExchangeMessage(self, number: int, packet: bytes) -> None:
        """One of the messages 30 to 49: it is the one that the method waits for, or a violation."""
        if self.ignoreNextPacket:
            self.ignoreNextPacket = 0
            return
        if self._exchange is None or number != self._expected:
            raise UnexpectedMessage(f"message {number} out of its place in a key exchange")
        self._advance(packet)

    def _advance(self, message: bytes | None) -> None:
        """Let the method go on: send what it says until it waits for something or has a result."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - every caller has just looked
        self._expected = None
        try:
            step: Send | Expect = exchange.send(message)
            while isinstance(step, Send):
                self._sendStep(step)
                step = exchange.send(None)
            self._expected = step.messageType
        except StopIteration as end:
            self._exchange = None
            result: KexResult = end.value
            self._awaitNewKeys()
            self._exchangeFinished(result)

    def _sendStep(self, step: Send) -> None:
        self.sendPacket(step.messageType, step.payload)

    def _awaitNewKeys(self) -> None:
        if self.sessionID is not None:
            self._enterPhase(Phase.REKEY_NEWKEYS)
        else:
            self._enterPhase(Phase.NEWKEYS if self._strict else Phase.NEWKEYS_LENIENT)

    def _exchangeFinished(self, result: KexResult) -> None:
        """The method has come to its end. A client judges the host key first."""
        self._checkHostKeyUnchanged(result.hostKeyBlob)
        self._keySetup(result.sharedSecret, result.exchangeHash)

    def _checkHostKeyUnchanged(self, blob: bytes) -> None:
        """A connection keeps the host key with which it began (attacks.md C12)."""
        if self.sessionID is not None and blob != self.hostKeyBlob:
            raise KeyExchangeFailed("the host key changed within the connection")
        self.hostKeyBlob = blob

    # ── New keys ──────────────────────────────────────────────────────────────────────────────

    def _getKey(
        self, letter: bytes, sharedSecret: bytes, exchangeHash: bytes, length: int = 64
    ) -> bytes:
        """One key of RFC 4253 section 7.2.

        Args:
            letter: b"A" to b"F".
            sharedSecret: K in the encoding in which it was hashed.
            exchangeHash: H.
            length: How many bytes of it.
        """
        assert self.kexAlg is not None  # noqa: S101 - negotiated before
        assert self.sessionID is not None  # noqa: S101 - set before the first key is
        hashName = KEX_METHODS[self.kexAlg].hashName
        return deriveKey(hashName, sharedSecret, exchangeHash, letter, self.sessionID, length)

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        """Derive the keys, send MSG_NEWKEYS, and seal with the new keys from there on."""
        suite = self._suite
        assert suite is not None  # noqa: S101 - negotiated before
        first = self.sessionID is None
        if first:
            self.sessionID = exchangeHash

        def material(
            cipher: bytes, mac: bytes, letters: bytes
        ) -> tuple[bytes, bytes, bytes, bytes, bytes]:
            iv, key, macKey = (letters[at : at + 1] for at in range(3))
            spec = CIPHERS[cipher]
            macSize = 0 if spec.aead else MACS[mac].keySize
            return (
                cipher,
                mac,
                self._getKey(key, sharedSecret, exchangeHash, spec.keySize),
                self._getKey(iv, sharedSecret, exchangeHash, spec.ivSize),
                self._getKey(macKey, sharedSecret, exchangeHash, macSize),
            )

        fromClient = material(
            suite.cipherCS,
            suite.macCS,
            IV_CLIENT_TO_SERVER + KEY_CLIENT_TO_SERVER + MAC_KEY_CLIENT_TO_SERVER,
        )
        fromServer = material(
            suite.cipherSC,
            suite.macSC,
            IV_SERVER_TO_CLIENT + KEY_SERVER_TO_CLIENT + MAC_KEY_SERVER_TO_CLIENT,
        )
        specs = (CIPHERS[suite.cipherCS], CIPHERS[suite.cipherSC])
        self._hasSmallBlocks = any(spec.blockSize < 16 and not spec.aead for spec in specs)
        ours, theirs = (fromClient, fromServer) if self.isClient else (fromServer, fromClient)
        self._nextOpener = makeOpener(*theirs)
        inNow = self.currentEncryptions
        self._nextEncryptions = SSHCiphers.ofConnection(
            self._sender, ours[0], theirs[0], ours[1] or b"none", theirs[1] or b"none"
        )
        sent, received = suite.compressionSC, suite.compressionCS
        if self.isClient:
            sent, received = received, sent
        self.outgoingCompressionType, self.incomingCompressionType = sent, received

        self.sendPacket(MSG_NEWKEYS, b"")
        self._sentNewKeys = True
        self._sender.setKeys(makeSealer(*ours), Deflater() if self._compresses(sent) else None)
        self.currentEncryptions = SSHCiphers.ofConnection(
            self._sender, ours[0], inNow.inCipType, ours[1] or b"none", inNow.inMACType
        )
        if self._strict:
            self._sender.resetSequence()
        # A peer may take our NEWKEYS and a message behind it in one go (RFC 8308 section 2.4).
        if first:
            self._sendFirstExtInfo()

    def _compresses(self, name: bytes) -> bool:
        """Whether the compression of that name is on when keys are set; delayed is, after login."""
        return name == b"zlib" or (
            name == b"zlib@openssh.com"
            and self._servicePhase not in (Phase.SERVICE, Phase.AUTHENTICATION)
        )

    def _sendFirstExtInfo(self) -> None:
        """Say which extensions we know, as our first message under keys; a server does."""

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        """MSG_NEWKEYS, without a body: what follows is sealed with the new keys."""
        if packet:
            raise UnexpectedMessage("MSG_NEWKEYS with a body")
        opener, self._nextOpener = self._nextOpener, None
        if opener is None or not self._sentNewKeys:
            raise UnexpectedMessage("MSG_NEWKEYS before the end of the key exchange")
        self._receiver.setKeys(
            opener, Inflater() if self._compresses(self.incomingCompressionType) else None
        )
        if self._strict:
            self._receiver.resetSequence()
        self._newKeys()

    def _newKeys(self) -> None:
        """New keys are in use both ways: the exchange is over, and what waited is sent."""
        if self._nextEncryptions is not None:
            self.currentEncryptions, self._nextEncryptions = self._nextEncryptions, None
        self.timers.stop("kex")
        self._keysSince = self.timers.now()
        self._checkSentAt = self._checkReceivedAt = self._checkInterval()
        if self._servicePhase not in (Phase.SERVICE, Phase.AUTHENTICATION):
            self._startRekeyTimer()
        self._enterPhase(self._servicePhase)
        self._keyExchangeState = self._KEY_EXCHANGE_NONE
        held, self._blockedByKeyExchange = self._blockedByKeyExchange or [], None
        for messageType, payload in held:
            self.sendPacket(messageType, payload)
        self._updateService()
        if self._leaving:
            self.loseConnection()

    # ── What waits ────────────────────────────────────────────────────────────────────────────

    def _allowedKeyExchangeMessageType(self, messageType: int) -> bool:
        """Whether we send a message of this number while a key exchange is under way."""
        return not HELD_DURING_EXCHANGE[messageType]

    def _hold(self, messageType: int, payload: bytes) -> None:
        assert self._blockedByKeyExchange is not None  # noqa: S101 - the caller has just looked
        if self._leaving:
            return
        self._blockedByKeyExchange.append((messageType, payload))
        self._heldBytes += len(payload)
        if len(self._blockedByKeyExchange) > MAX_HELD_MESSAGES or self._heldBytes > MAX_HELD_BYTES:
            self._violated(LimitExceeded("too many messages wait for the end of a key exchange"))

    # ── When ──────────────────────────────────────────────────────────────────────────────────

    def _checkInterval(self) -> int:
        limit = self.rekeyPolicy.maxBytes
        return VOLUME_CHECK_INTERVAL if limit is None else min(limit, VOLUME_CHECK_INTERVAL)

    def _checkSentVolume(self) -> None:
        self._checkSentAt = self._sender.bytesSinceKeys + self._checkInterval()
        self._rekeyIfDue()

    def _checkReceivedVolume(self) -> None:
        if self._receiver.bytesSinceKeys < self._checkReceivedAt:
            return
        self._checkReceivedAt = self._receiver.bytesSinceKeys + self._checkInterval()
        self._rekeyIfDue()

    def _rekeyIfDue(self) -> None:
        seconds = self.timers.now() - self._keysSince
        policy = self.rekeyPolicy.within(self._hasSmallBlocks)
        if not policy.due(self._sender, self._receiver, seconds):
            return
        if self._servicePhase in (Phase.SERVICE, Phase.AUTHENTICATION):
            self._violated(LimitExceeded("too much traffic before authentication"))
        elif self._keyExchangeState == self._KEY_EXCHANGE_NONE:
            self.sendKexInit()
        elif policy.overdue(self._sender, self._receiver):
            self._violated(LimitExceeded("the peer does not take part in the key exchange"))

    def _startRekeyTimer(self) -> None:
        seconds = self.rekeyPolicy.maxSeconds
        if seconds is not None:
            self.timers.start("rekey", seconds, self._rekeyIfDue)

    def _spendRekeyCredit(self) -> None:
        """A peer that begins one key exchange after the other is stopped (attacks.md C11)."""
        now = self.timers.now()
        carried = self._sender.bytesSinceKeys + self._receiver.bytesSinceKeys
        earned = (now - self._rekeyCreditsAt) / MIN_INTERVAL_SECONDS
        earned += carried / BYTES_PER_REKEY_CREDIT
        self._rekeyCredits = min(self._rekeyCredits + earned, REKEY_CREDITS) - 1
        self._rekeyCreditsAt = now
        if self._rekeyCredits < 0:
            raise LimitExceeded("key exchanges follow each other too quickly")

    def _kexTimedOut(self) -> None:
        self._violated(ConnectionTimedOut("the key exchange takes too long"))

    def _exchangeAbandoned(self, reason: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
        self._blockedByKeyExchange = None
