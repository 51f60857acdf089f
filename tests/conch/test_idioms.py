"""What Conch's applications do to its classes, each thing once, in memory.

Subclasses here are written the way applications write them: they skip `__init__` and upcalls,
replace methods that move bytes, and read attributes whose names begin with an underscore.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Protocol
from twisted.python import components
from twisted.python.failure import Failure
from twisted.python.randbytes import secureRandom
from zope.interface import implementer

from limpet.avatar import ConchUser
from limpet.core.negotiation import LEGACY
from limpet.core.rekey import RekeyPolicy
from limpet.error import ConchError
from limpet.interfaces import IConchUser, ISession
from limpet.ssh import channel, connection, session, transport, userauth
from limpet.ssh.common import MP, NS, getNS
from limpet.testing import Pair, Portions, randomPortions, singleBytes, whole
from tests.pair.stack import (
    Client,
    CommandChannel,
    Connection,
    Stack,
    UserAuth,
    makeFactory,
    pattern,
)

SIZE = 200_000


def both(size: int = SIZE) -> CommandChannel:
    """A channel whose command writes `size` bytes to each output."""
    return CommandChannel(b"both %d" % size)


def assertComplete(channel: CommandChannel, size: int = SIZE) -> None:
    assert bytes(channel.out) == pattern(size, b"out")
    assert bytes(channel.err) == pattern(size, b"err")
    assert channel.status == 7
    assert channel.events[-1] == "closed"


# ── the transport ───────────────────────────────────────────────────────────────────────────────


class OwnStream(transport.SSHServerTransport):
    """Reads the stream and makes the packets itself, as honeypots do, and calls no super there."""

    disconnected: tuple[int, bytes] | None = None

    def connectionMade(self) -> None:
        self.buf = b""
        self.transport.write(self.ourVersionString + b"\r\n")
        self.currentEncryptions = transport.SSHCiphers(b"none", b"none", b"none", b"none")
        self.currentEncryptions.setKeys(b"", b"", b"", b"", b"", b"")

    def sendKexInit(self) -> None:
        if not self.gotVersion:
            return
        transport.SSHServerTransport.sendKexInit(self)

    def dataReceived(self, data: bytes) -> None:
        self.buf = self.buf + data
        if not self.gotVersion:
            if b"\n" not in self.buf:
                return
            line, _, self.buf = self.buf.partition(b"\n")
            self.otherVersionString = line.strip()
            self.gotVersion = True
            if line[4:7] not in self.supportedVersions:
                self._unsupportedVersionReceived(self.otherVersionString)
                return
            self.sendKexInit()
        packet = self.getPacket()
        while packet:
            self.dispatchMessage(ord(packet[0:1]), packet[1:])
            packet = self.getPacket()

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        if self.transport is None:
            return
        if self._keyExchangeState != self._KEY_EXCHANGE_NONE:
            if not self._allowedKeyExchangeMessageType(messageType):
                assert self._blockedByKeyExchange is not None
                self._blockedByKeyExchange.append((messageType, payload))
                return
        payload = bytes((messageType,)) + payload
        if self.outgoingCompression:
            payload = self.outgoingCompression.compress(payload)
            payload += self.outgoingCompression.flush(2)
        blockSize = self.currentEncryptions.encBlockSize
        total = 5 + len(payload)
        padding = blockSize - total % blockSize
        if padding < 4:
            padding += blockSize
        packet = struct.pack("!LB", total + padding - 4, padding) + payload + secureRandom(padding)
        mac = self.currentEncryptions.makeMAC
        sealed = self.currentEncryptions.encrypt(packet) + mac(self.outgoingPacketSequence, packet)
        self.transport.write(sealed)
        self.outgoingPacketSequence += 1

    def setService(self, service: Any) -> None:
        if service.name == b"ssh-connection":
            if self.outgoingCompressionType == b"zlib@openssh.com":
                self.outgoingCompression = zlib.compressobj(6)
            if self.incomingCompressionType == b"zlib@openssh.com":
                self.incomingCompression = zlib.decompressobj()
        transport.SSHServerTransport.setService(self, service)

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        self.disconnected = reason, desc
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        transport.SSHServerTransport.connectionLost(self, reason)
        self.transport = None


class OwnStack(Stack):
    """A stack with another class of server transport."""

    def __init__(
        self,
        channels: list[CommandChannel],
        portions: Portions = whole,
        change: Any = None,
        kind: type[Any] = OwnStream,
    ) -> None:
        self.factory = makeFactory()
        self.factory.protocol = kind
        client = Client(channels)
        server = self.factory.buildProtocol(None)
        if change is not None:
            change(client, server)
        Pair.__init__(self, client, server, portions)

    def carryToClient(self) -> None:
        """Carry what the server wrote, and no answer."""
        self._carry(self.serverTransport, self.client, self.clientTransport)


SUITES = [
    (b"aes128-gcm@openssh.com", b""),
    (b"chacha20-poly1305@openssh.com", b""),
    (b"aes256-ctr", b"hmac-sha2-256-etm@openssh.com"),
    (b"aes128-ctr", b"hmac-sha2-512"),
    (b"aes128-cbc", b"hmac-sha1"),
    (b"3des-cbc", b"hmac-md5"),
]


def only(cipher: bytes, mac: bytes) -> Any:
    """What lets both sides use one cipher and MAC."""

    def change(client: Any, server: Any) -> None:
        for side in (client, server):
            # Applications name what they would like to be taken for having.
            side.supportedCiphers = [b"blowfish-cbc", cipher]
            side.supportedMACs = [b"hmac-ripemd160", mac or b"hmac-sha2-256"]

    return change


class TestOwnStream:
    @pytest.mark.parametrize(
        "portions", [whole, singleBytes, randomPortions(5)], ids=["whole", "bytes", "random"]
    )
    @pytest.mark.parametrize(("cipher", "mac"), SUITES)
    def test_everyCipher(self, cipher: bytes, mac: bytes, portions: Portions) -> None:
        size = 20_000 if portions is singleBytes else SIZE
        command = both(size)
        stack = OwnStack([command], portions, only(cipher, mac))
        stack.run()
        assertComplete(command, size)
        assert stack.server.currentEncryptions.outCipType == cipher
        assert transport.SSHServerTransport.isEncrypted(stack.server, "both")

    def test_compressionAfterTheLogin(self) -> None:
        def change(client: Any, server: Any) -> None:
            client.supportedCompressions = server.supportedCompressions = [b"zlib@openssh.com"]

        command = both()
        stack = OwnStack([command], change=change)
        stack.run()
        assertComplete(command)
        assert stack.server.incomingCompression

    @pytest.mark.parametrize("who", ["client", "server"])
    def test_newKeysInMidSession(self, who: str) -> None:
        def change(client: Any, server: Any) -> None:
            {"client": client, "server": server}[who].rekeyPolicy = RekeyPolicy(maxBytes=100_000)

        command = both(1_000_000)
        stack = OwnStack([command], randomPortions(9), change)
        stack.run()
        assertComplete(command, 1_000_000)
        assert stack.server.sessionID != stack.server.currentEncryptions

    def test_whatBreaksTheProtocolIsToldInWordsOnce(self) -> None:
        stack = OwnStack([])
        stack.pump()
        stack.server.dataReceived(b"\xff" * 64)
        assert stack.server.disconnected is not None
        assert stack.server.getPacket() is None

    def test_garbageInTheClear(self) -> None:
        server = OwnStack([]).server
        server.gotVersion = False
        server.buf = b""
        server.dataReceived(b"SSH-2.0-x\r\n" + b"GET / HTTP/1.0\r\n\r\n")
        reason, desc = server.disconnected
        assert reason == transport.DISCONNECT_PROTOCOL_ERROR
        assert b"bad packet length" in desc

    def test_aMessageBeforeItsTime(self) -> None:
        stack = OwnStack([])
        server = stack.server
        request = bytes((0, 0, 0, 12, 10, 90)) + bytes(10)
        server.dataReceived(b"SSH-2.0-x\r\n" + request)
        assert server.disconnected is not None
        assert b"90" in server.disconnected[1]

    def test_aMessageThatIsCutShort(self) -> None:
        stack = OwnStack([])
        stack.client.connectionSecure = lambda: None
        stack.pump()
        stack.client.sendPacket(transport.MSG_SERVICE_REQUEST, b"\0\0\0\x10ssh")
        stack.pump()
        assert stack.server.disconnected is not None
        assert stack.server.disconnected[0] == transport.DISCONNECT_PROTOCOL_ERROR

    def test_lastWordsUnderKeysThatOnlyWeUse(self) -> None:
        stack = OwnStack([])
        told: list[tuple[int, bytes]] = []
        stack.client.receiveError = lambda reason, words: told.append((reason, words))
        server = stack.server
        while server.currentEncryptions.outCipType == b"none":
            stack.carryToServer()
            if server.currentEncryptions.outCipType == b"none":
                stack.carryToClient()
        assert server.currentEncryptions.inCipType == b"none"
        server.sendPacket(transport.MSG_DISCONNECT, struct.pack(">L", 11) + NS(b"bye") + NS(b""))
        stack.pump()
        assert told == [(11, b"bye")]

    def test_anotherVersion(self) -> None:
        server = OwnStack([]).server
        server.dataReceived(b"SSH-1.5-old\r\n")
        assert server.disconnected == (
            transport.DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED,
            b"bad version SSH-1.5-old",
        )

    def test_nothingIsSentWhenTheTransportIsGone(self) -> None:
        stack = OwnStack([])
        stack.run()
        server = stack.server
        server.connectionLost(Failure(ConchError("gone")))
        assert server.transport is None
        server.sendPacket(transport.MSG_IGNORE, NS(b"x"))
        transport.SSHServerTransport.sendPacket(server, transport.MSG_IGNORE, NS(b"x"))


class AnswersGroups(transport.SSHServerTransport):
    """Chooses the group of a group exchange itself: the smallest that the client takes."""

    def ssh_KEX_DH_GEX_REQUEST(self, packet: bytes) -> None:
        if self.ignoreNextPacket:
            self.ignoreNextPacket = 0
            return
        self.dhGexRequest = packet
        smallest, _, _ = struct.unpack(">3L", packet)
        self.g, self.p = self.factory.getDHPrime(smallest)
        self.sendPacket(transport.MSG_KEX_DH_GEX_GROUP, MP(self.p) + MP(self.g))


class TestTransport:
    def test_anApplicationChoosesTheGroup(self) -> None:
        def change(client: Any, server: Any) -> None:
            server.factory.primes = {
                2048: [(transport.DH_GENERATOR, transport.DH_PRIME)],
            }
            for side in (client, server):
                side.supportedKeyExchanges = [b"diffie-hellman-group-exchange-sha256"]

        command = both()
        stack = OwnStack([command], change=change, kind=AnswersGroups)
        stack.run()
        assertComplete(command)
        assert stack.server.p == transport.DH_PRIME

    def test_handlersWithUpcallsAndAttributesOfTheirOwn(self) -> None:
        class Observing(transport.SSHServerTransport):
            def __init__(self) -> None:  # calls no super
                self.seen: list[int] = []

            def ssh_KEXINIT(self, packet: bytes) -> Any:
                names = getNS(packet[16:], 10)[:10]
                self.offered = names[0].split(b",")
                return transport.SSHServerTransport.ssh_KEXINIT(self, packet)

            def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
                assert isinstance(payload, bytes)
                self.seen.append(messageNum)
                transport.SSHServerTransport.dispatchMessage(self, messageNum, payload)

        command = CommandChannel(b"echo", b"x" * 100_000)
        stack = OwnStack([command], kind=Observing)
        stack.run()
        assert bytes(command.out) == b"x" * 100_000
        assert b"curve25519-sha256" in stack.server.offered
        assert connection.MSG_CHANNEL_DATA in stack.server.seen
        assert stack.server.getPeer().address.host == "127.0.0.1"

    def test_theVersionIsSetOnTheClass(self) -> None:
        class Disguised(transport.SSHServerTransport):
            pass

        Disguised.ourVersionString = b"SSH-2.0-OpenSSH_5.1p1 Debian-5"
        stack = OwnStack([], kind=Disguised)
        stack.pump()
        assert stack.client.otherVersionString == b"SSH-2.0-OpenSSH_5.1p1 Debian-5"

    def test_oldAlgorithmsForAFactory(self) -> None:
        def change(client: Any, server: Any) -> None:
            server.supportedKeyExchanges = list(LEGACY.keyExchanges)
            client.supportedKeyExchanges = [b"diffie-hellman-group1-sha1"]

        command = both()
        stack = Stack([command], change=change)
        stack.run()
        assertComplete(command)
        assert stack.server.kexAlg == b"diffie-hellman-group1-sha1"

    def test_ciphersOfNoConnection(self) -> None:
        names = (b"aes128-ctr", b"aes256-cbc", b"hmac-sha2-256", b"hmac-sha1")
        ours = transport.SSHCiphers(names[0], names[1], names[2], names[3])
        theirs = transport.SSHCiphers(names[1], names[0], names[3], names[2])
        keys = [bytes([number]) * 64 for number in range(6)]
        ours.setKeys(*keys)
        theirs.setKeys(keys[2], keys[3], keys[0], keys[1], keys[5], keys[4])
        packet = b"sixteen bytes 16" * 2
        assert theirs.decrypt(ours.encrypt(packet)) == packet
        assert ours.decrypt(theirs.encrypt(packet)) == packet
        mac = ours.makeMAC(7, packet)
        assert theirs.verify(7, packet, mac)
        assert not theirs.verify(8, packet, mac)
        assert transport.SSHCiphers.cipherMap[b"aes256-ctr"][1] == 32
        assert transport.SSHCiphers.macMap[b"none"] is None


# ── connection and channels ─────────────────────────────────────────────────────────────────────


class TestConnection:
    def test_anOwnAnswerToRequests(self) -> None:
        class Answering(connection.SSHConnection):
            def ssh_CHANNEL_REQUEST(self, packet: bytes) -> Any:
                number = struct.unpack(">L", packet[:4])[0]
                name, rest = getNS(packet[4:])
                wantsReply = ord(rest[0:1])
                found = self.channels[number]
                d = defer.maybeDeferred(found.requestReceived, name, rest[1:])
                if wantsReply:
                    d.addCallback(self._cbChannelRequest, self.localToRemoteChannel[number])
                    d.addErrback(self._ebChannelRequest, self.localToRemoteChannel[number])
                return d

        def change(client: Any, server: Any) -> None:
            server.factory.services = {
                **server.factory.services,
                b"ssh-connection": Answering,
            }

        command = both()
        stack = Stack([command], change=change)
        stack.run()
        assertComplete(command)

    def test_aChannelThatClosesAgainWhenItIsClosed(self) -> None:
        class Insistent(CommandChannel):
            def closed(self) -> None:
                self.loseConnection()
                self.event("closed")

        command = Insistent(b"exit 3")
        stack = Stack([command])
        stack.run()
        assert (command.status, command.events[-1]) == (3, "closed")

    def test_aChannelThatWasNeverOpened(self) -> None:
        opened = CommandChannel(b"exit 0")
        opened.name = b"no such type"
        stack = Stack([opened])
        service = stack.client
        stack.run()
        assert opened.events == ["failed"]
        assert service.service.channels == {}

    def test_presetsBeforeChannelClosed(self) -> None:
        service = connection.SSHConnection()
        lost = channel.SSHChannel()
        lost.id = 5
        service.channels[5] = lost
        service.localToRemoteChannel[5] = None
        service.channelsToRemoteChannel[lost] = None
        connection.SSHConnection.channelClosed(service, lost)
        assert lost not in service.channelsToRemoteChannel

    def test_channelsByFunctionsAndSubsystemsByFactories(self) -> None:
        class Netconf(Protocol):
            def __init__(self, data: bytes, avatar: Any = None) -> None:
                self.greeting = b"hello %s" % avatar.username

            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(self.greeting)
                self.transport.loseConnection()

        def makeSession(remoteWindow: int, remoteMaxPacket: int, data: bytes, avatar: Any) -> Any:
            return session.SSHSession(
                remoteWindow=remoteWindow,
                remoteMaxPacket=remoteMaxPacket,
                data=data,
                avatar=avatar,
            )

        class Asking(CommandChannel):
            def channelOpen(self, specificData: bytes) -> None:
                self.conn.sendRequest(self, b"subsystem", NS(b"netconf"), wantReply=1)

        def change(client: Any, server: Any) -> None:
            made = server.factory.portal.realm.requestAvatar

            def requestAvatar(*arguments: Any) -> Any:
                interface, avatar, logout = made(*arguments)
                avatar.channelLookup[b"session"] = makeSession
                avatar.subsystemLookup[b"netconf"] = Netconf
                return interface, avatar, logout

            server.factory.portal.realm.requestAvatar = requestAvatar

        asking = Asking(b"")
        stack = Stack([asking], change=change)
        stack.run()
        assert bytes(asking.out) == b"hello alice"
        assert asking.events[-1] == "closed"


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


class ConnectionDouble:
    """Records what a session sends."""

    transport = None

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def logPrefix(self) -> str:
        return "double"

    def sendData(self, channel: Any, data: bytes) -> None:
        self.sent.append(("data", data))

    def sendExtendedData(self, channel: Any, dataType: int, data: bytes) -> None:
        self.sent.append(("extended", dataType, data))

    def sendRequest(self, channel: Any, request: bytes, data: bytes, wantReply: int = 0) -> None:
        self.sent.append((request, data))

    def sendEOF(self, channel: Any) -> None:
        self.sent.append("eof")

    def sendClose(self, channel: Any) -> None:
        self.sent.append("close")


def makeSession(kind: type[session.SSHSession] = session.SSHSession, avatar: Any = None) -> Any:
    made = kind(remoteWindow=2**20, remoteMaxPacket=2**15, conn=ConnectionDouble(), avatar=avatar)
    made.id = 0
    return made


class Shout(Protocol):
    """Answers in capitals."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data.upper())


class TestSession:
    def test_aProtocolInRequestShell(self) -> None:
        class Shell(session.SSHSession):
            def request_shell(self, data: bytes) -> Any:
                self.shell: Any = Shout()
                t: Any = session.SSHSessionProcessProtocol(self)
                t.getPeer = lambda: "somebody"
                self.shell.makeConnection(t)  # type: ignore[no-untyped-call]
                t.makeConnection(session.wrapProtocol(self.shell))
                self.client = t
                return True

        made = makeSession(Shell)
        assert made.requestReceived(b"shell", b"")
        made.dataReceived(b"hello")
        assert made.conn.sent == [("data", b"HELLO")]
        assert made.shell.transport.getPeer() == "somebody"
        made.shell.transport.loseConnection()
        assert made.conn.sent[-1] == "close"

    def test_anAdapterAndAReasonThatHasOnlyAValue(self) -> None:
        class User(ConchUser):
            pass

        class FakeTransport:
            def write(self, data: bytes) -> None:
                pass

            def loseConnection(self) -> None:
                pass

        @implementer(ISession)
        class UserSession:
            def __init__(self, avatar: User) -> None:
                pass

            def getPty(self, term: bytes, windowSize: Any, modes: Any) -> None:
                pass

            def openShell(self, proto: Any) -> None:
                pass

            def windowChanged(self, newWindowSize: Any) -> None:
                pass

            def eofReceived(self) -> None:
                pass

            def execCommand(self, protocol: Any, command: bytes) -> Any:
                if protocol.transport is None:
                    protocol.transport = FakeTransport()

                class Reason:
                    value = ProcessTerminated(exitCode=4)

                protocol.write(b"out")
                protocol.errReceived(b"err")
                protocol.processEnded(Reason())
                return defer.Deferred()

            def closed(self) -> None:
                pass

        components.registerAdapter(UserSession, User, ISession)
        made = makeSession(avatar=User())
        assert made.requestReceived(b"exec", NS(b"anything")) == 1
        assert made.conn.sent == [
            ("data", b"out"),
            ("extended", 1, b"err"),
            "eof",
            (b"exit-status", b"\0\0\0\4"),
            "close",
        ]

    def test_textWhereBytesBelong(self) -> None:
        made = makeSession()
        made.write("tëxt")
        made.writeExtended(1, "not allowed\r\n")
        assert made.conn.sent == [
            ("data", "tëxt".encode()),
            ("extended", 1, b"not allowed\r\n"),
        ]

    def test_manholesLearnOfNewSizesAndOfTheEnd(self) -> None:
        class Terminal:
            def __init__(self) -> None:
                self.sizes: list[tuple[int, int]] = []

            def terminalSize(self, width: int, height: int) -> None:
                self.sizes.append((width, height))

        class Server(Protocol):
            terminalProtocol = Terminal()

        class ManholeSession:
            def windowChanged(self, size: Any) -> None:
                raise NotImplementedError("Unimplemented")

            def eofReceived(self) -> None:
                raise NotImplementedError("Unimplemented")

            def closed(self) -> None:
                pass

        class Glue:
            def __init__(self, write: Any) -> None:
                self.write = write

        made = makeSession()
        made.session = ManholeSession()
        size = struct.pack(">4L", 132, 43, 0, 0)
        assert made.requestReceived(b"window-change", size) == 0
        server = Server()
        program = session.SSHSessionProcessProtocol(made)
        program.transport = Glue(server.dataReceived)  # type: ignore[assignment]
        made.client = program
        assert made.requestReceived(b"window-change", size) == 1
        assert server.terminalProtocol.sizes == [(132, 43)]
        made.eofReceived()
        assert made.conn.sent == ["close"]


# ── user authentication ─────────────────────────────────────────────────────────────────────────


def serveWith(kind: type) -> Any:
    def change(client: Any, server: Any) -> None:
        server.factory.services = {**server.factory.services, b"ssh-userauth": kind}

    return change


class TestUserAuth:
    def test_aBannerAndAMethodOfItsOwn(self) -> None:
        class Welcoming(userauth.SSHUserAuthServer):
            bannerSent = False

            def serviceStarted(self) -> None:
                userauth.SSHUserAuthServer.serviceStarted(self)
                self.supportedAuthentications = [b"none", b"password"]

            def ssh_USERAUTH_REQUEST(self, packet: bytes) -> Any:
                if not self.bannerSent:
                    self.bannerSent = True
                    text = NS(b"welcome\r\n") + NS("en")
                    self.transport.sendPacket(userauth.MSG_USERAUTH_BANNER, text)
                return userauth.SSHUserAuthServer.ssh_USERAUTH_REQUEST(self, packet)

            def auth_none(self, packet: bytes) -> Any:
                credentials = UsernamePassword(self.user or b"", UserAuth.password)
                return self.portal.login(credentials, None, IConchUser)

        command = both()
        stack = Stack([command], change=serveWith(Welcoming))
        stack.run()
        assertComplete(command)

    def test_requestsParsedByTheApplication(self) -> None:
        class Parsing(userauth.SSHUserAuthServer):
            def __init__(self, transport: Any = None) -> None:
                self.transport = transport
                self.mistakes: list[bytes] = []

            def ssh_USERAUTH_REQUEST(self, packet: bytes) -> Any:
                user, service, method, rest = getNS(packet, 3)
                self.user, self.nextService, self.method = user, service, method
                d = self.tryAuth(method, user, rest)
                d.addCallback(self._cbFinishedAuth)
                d.addErrback(self._ebMaybeBadAuth)
                d.addErrback(self._note)
                d.addErrback(self._ebBadAuth)
                return d

            def _note(self, reason: Failure) -> Failure:
                self.mistakes.append(self.method)
                return reason

            def auth_password(self, packet: bytes) -> Any:
                password = getNS(packet[1:])[0]
                credentials = UsernamePassword(self.user or b"", password)
                d = self.portal.login(credentials, None, IConchUser)
                return d.addErrback(self._ebPassword)

        command = both()
        stack = Stack([command], change=serveWith(Parsing))
        stack.run()
        assertComplete(command)
        assert not Parsing.takesHostBoundKeys

    def test_aConversationOfItsOwn(self) -> None:
        class Asking(userauth.SSHUserAuthServer):
            def serviceStarted(self) -> None:
                methods = {IUsernamePassword: b"keyboard-interactive"}
                self.interfaceToMethod = methods  # type: ignore[misc]
                userauth.SSHUserAuthServer.serviceStarted(self)

            def auth_keyboard_interactive(self, packet: bytes) -> Any:
                self.answered: defer.Deferred[Any] = defer.Deferred()
                body = NS(b"") + NS(b"") + NS(b"") + struct.pack(">L", 1) + NS(b"Secret: ") + b"\0"
                self.transport.sendPacket(userauth.MSG_USERAUTH_INFO_REQUEST, body)
                return self.answered.addCallback(self._check)

            def _check(self, secret: bytes) -> Any:
                credentials = UsernamePassword(self.user or b"", secret)
                return self.portal.login(credentials, None, IConchUser)

            def ssh_USERAUTH_INFO_RESPONSE(self, packet: bytes) -> None:
                self.answered.callback(getNS(packet[4:])[0])

        class Answering(UserAuth):
            def getGenericAnswers(self, name: Any, instruction: Any, prompts: Any) -> Any:
                return defer.succeed([self.password])

        def change(client: Any, server: Any) -> None:
            serveWith(Asking)(client, server)

            def connectionSecure() -> None:
                client.requestService(Answering(b"alice", Connection(client.channels)))

            client.connectionSecure = connectionSecure

        command = both()
        stack = Stack([command], change=change)
        stack.run()
        assertComplete(command)

    def test_aPortalThatIsSwappedForOneRequest(self) -> None:
        class Swapping(userauth.SSHUserAuthServer):
            def auth_password(self, packet: bytes) -> Any:
                kept, self.portal = self.portal, Refusing()
                d = userauth.SSHUserAuthServer.auth_password(self, packet)
                self.portal = kept
                return d

        class Refusing:
            def login(self, *arguments: Any) -> Any:
                return defer.fail(UnauthorizedLogin())

        command = CommandChannel(b"exit 0")
        stack = Stack([command], change=serveWith(Swapping))
        stack.run()
        assert command.events == []
