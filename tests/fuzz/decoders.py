"""Every decoder of the pure layers, in one table: what it is called with, and what it may raise.

Rule: whoever adds a decoder adds it here; `test_decoders` looks for the ones that are missing. A
harness gives one input to all that it covers, and lets nothing out but the errors it names.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from limpet.core import (
    agentkeys,
    authentication,
    authorizedkeys,
    destinations,
    identification,
    keyblocklist,
    knownhosts,
    krl,
    moduli,
    multiplexing,
    negotiation,
    patterns,
    restricting,
    revokedkeys,
    signables,
    socks,
)
from limpet.core.agentbinding import Bindings, BindRefused
from limpet.core.errors import ProtocolViolation
from limpet.core.framing import FrameReceiver
from limpet.core.kex import KEX_METHODS, Expect, KexContext, KexMethod
from limpet.core.packets import PacketReceiver
from limpet.core.sshconfig import commands, keywords, lines, places, tokens, values
from limpet.core.sshconfig.resolving import IncludedFile, Resolver, Settings
from limpet.crypto import agreement, certificates, compression, key, signatures
from limpet.crypto.errors import BadKeyError, CertificateRejected, EncryptedKeyError
from limpet.crypto.keyformats import (
    agentv3,
    armor,
    certificateblob,
    detection,
    lsh,
    opensshprivate,
    pem,
    privateblob,
    publicblob,
    publictext,
    putty,
)
from limpet.wire import agent as agentWire
from limpet.wire import fields, messages, requests
from limpet.wire import sftp as sftpWire
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS, Reader, u32, u64
from tests.keymaking import NOW, allKeys, makeCertificate, makeKey, securityKey
from tests.suites import PROTECTED
from tests.unit.core.test_keyblocklist import listOf

Errors = tuple[type[BaseException], ...]


@dataclass(frozen=True)
class Harness:
    """One way to hand any bytes to some decoders.

    Attributes:
        name: What it is called, in the tests' ids.
        covers: The decoders that it calls.
        run: Decodes.
        errors: What these decoders are documented to raise.
        seeds: Inputs that decode, or nearly, to begin with.
        words: Pieces that mean something there.
        isSlow: Whether one call takes milliseconds, for the numbers that it counts with.
    """

    name: str
    covers: tuple[Callable[..., Any], ...]
    run: Callable[[bytes], Any]
    errors: Errors
    seeds: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()
    isSlow: bool = False

    def decode(self, data: bytes) -> bool:
        """Whether `data` was something; what is not documented goes on as an exception."""
        try:
            self.run(data)
        except self.errors:
            return False
        return True


KEYS = allKeys()
QUICK_KEYS = [made for made in KEYS if made.type() != "RSA"]
"""Loading an RSA private key takes a tenth of a second, for the primes."""

ED25519, OTHER = makeKey(), makeKey(number=1)
CERTIFICATES = tuple(
    makeCertificate(
        subject,
        OTHER,
        criticalOptions={b"force-command": NS(b"ls"), b"source-address": NS(b"192.0.2.0/24,::1")},
        extensions={b"permit-pty": b"", b"permit-port-forwarding": b""},
        principals=(b"alice", b"bob"),
    )
    for subject in (*KEYS, securityKey(ED25519))
)
BLOBS = (*(made.blob() for made in KEYS), securityKey(ED25519).blob())
SIGNATURES = tuple(made.sign(b"data") for made in KEYS)


def eachOf(calls: Iterable[Callable[[Any], Any]], errors: Errors) -> Callable[[Any], None]:
    """All of `calls` with the same input; one that raises does not spare the others."""
    listed = tuple(calls)

    def run(data: Any) -> None:
        for call in listed:
            try:
                call(data)
            except errors:
                continue

    return run


def ofText(call: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """`call` with what the text files of users are read as."""
    return lambda data: call(data.decode("utf-8", "surrogateescape"))


def inPieces(take: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    """A stream: the first byte says how long its pieces are."""

    def run(data: bytes) -> None:
        size = data[0] + 1 if data else 1
        for at in range(1, len(data), size):
            take(data[at : at + size])

    return run


# ── wire ──────────────────────────────────────────────────────────────────────────────────────


def readFields(data: bytes) -> None:
    """Every method of a `Reader`, in the order that the input's own bytes ask for."""
    reader = Reader(data)
    steps: tuple[Callable[[], object], ...] = (
        reader.byte,
        reader.boolean,
        reader.u32,
        reader.u64,
        reader.string,
        lambda: reader.string(7),
        reader.text,
        reader.mpint,
        reader.nameList,
        lambda: reader.take(3),
    )
    while reader.remaining:
        steps[data[reader.offset] % len(steps)]()
    reader.end()


_MESSAGES = (
    messages.KexInit.decode,
    messages.Disconnect.decode,
    messages.Unimplemented.decode,
    messages.Debug.decode,
    messages.ServiceRequest.decode,
    messages.ServiceAccept.decode,
    messages.ExtInfo.decode,
)
_REQUESTS = (
    requests.PtyRequest.decode,
    requests.WindowChange.decode,
    requests.Environment.decode,
    requests.Command.decode,
    requests.ExitStatus.decode,
    requests.ExitSignal.decode,
    requests.SignalRequest.decode,
    requests.BreakRequest.decode,
    requests.TcpForward.decode,
    requests.TcpListen.decode,
    requests.UnixForward.decode,
    requests.UnixForwarded.decode,
    requests.UnixListen.decode,
    requests.X11Request.decode,
    requests.parseModes,
)
_SFTP_READERS = (
    sftpWire.readAttrs,
    sftpWire.readStatus,
    sftpWire.readNames,
    requests.readGeometry,
)
_SFTP_BODIES = (
    sftpWire.readHello,
    sftpWire.readIds,
    sftpWire.readStrings,
    sftpWire.StatVfs.decode,
    sftpWire.Limits.decode,
)


def _ofReader(call: Callable[[Reader], Any]) -> Callable[[bytes], Any]:
    return lambda data: call(Reader(data))


def _sftpFields(shape: tuple[str, ...]) -> Callable[[bytes], Any]:
    return lambda data: sftpWire.readFields(shape, Reader(data))


_SHAPES = (*sftpWire.REQUESTS.values(), *sftpWire.EXTENDED_REQUESTS.values())

_AGENT = (
    agentWire.decodeIdentities,
    agentWire.SignRequest.decode,
    agentWire.Hop.decode,
    agentWire.Destination.decode,
    agentWire.SessionBind.decode,
    agentWire.decodeExtension,
    agentWire.readOneString,
)

_KEXINIT = messages.KexInit(
    bytes(16),
    (b"curve25519-sha256", b"ext-info-c"),
    (b"ssh-ed25519",),
    (b"aes128-ctr",),
    (b"aes128-ctr",),
    (b"hmac-sha2-256",),
    (b"hmac-sha2-256",),
    (b"none",),
    (b"none",),
)

# ── crypto ────────────────────────────────────────────────────────────────────────────────────

_KEY_ERRORS: Errors = (BadKeyError, EncryptedKeyError)


def checkCertificate(data: bytes) -> None:
    """Read a certificate, and ask whether it lets somebody in, or is a host's."""
    certificate = certificates.Certificate(data)
    for check in (_asUser, _asHost):
        with contextlib.suppress(CertificateRejected):
            check(certificate)


def _asUser(certificate: certificates.Certificate) -> None:
    certificate.checkUser(
        authorities={OTHER.blob()}, principals=[b"alice"], now=NOW, address="192.0.2.1"
    )


def _asHost(certificate: certificates.Certificate) -> None:
    certificate.checkHost(authorities={OTHER.blob()}, hostName=b"alice", now=NOW)


def checkSignatures(data: bytes) -> None:
    """The input as a signature of each algorithm, by a key of each kind."""
    signatures.nameOf(data)
    for made in KEYS:
        for name in signatures.SIGNATURE_ALGORITHMS:
            signatures.verifySignature(made.blob(), name, data, b"data")


def verifyUnder(data: bytes) -> None:
    """The input as the key that a good signature is held against."""
    for name, signature in zip(_ALGORITHMS, SIGNATURES, strict=True):
        signatures.verifySignature(data, name, signature, b"data")


_ALGORITHMS = tuple(signatures.nameOf(signature) for signature in SIGNATURES)


def agree(data: bytes) -> None:
    """The input as the peer's value of each method."""
    pairs: tuple[Any, ...] = (agreement.X25519(), *map(agreement.ECDH, _CURVES))
    for pair in pairs:
        try:
            pair.agree(data)
        except agreement.AgreementError:
            continue
    if agreement.HAS_MLKEM:
        with contextlib.suppress(agreement.AgreementError):
            agreement.encapsulate(data)


_CURVES = ("nistp256", "nistp384", "nistp521")


def inflate(data: bytes) -> None:
    """The input as some packets of one compressed stream."""
    inflater = compression.Inflater()
    inPieces(lambda piece: inflater.decompress(piece, 65536))(data)


# ── core ──────────────────────────────────────────────────────────────────────────────────────

_CONTEXT = KexContext(
    b"SSH-2.0-a",
    b"SSH-2.0-b",
    b"\x14",
    b"\x14",
    ED25519.blob(),
    ED25519.sign,
    lambda low, preferred, high: moduli.choosePrime({}, low, preferred, high),
)


def exchange(method: KexMethod) -> Callable[[bytes], None]:
    """Both sides of `method`; the peer's messages are the strings in the input."""

    def run(data: bytes) -> None:
        for side in (method.client, method.server):
            reader = Reader(data)
            steps = side(_CONTEXT)
            step = next(steps)
            try:
                while True:
                    step = steps.send(reader.string() if isinstance(step, Expect) else None)
            except StopIteration:
                continue
            except (ProtocolViolation, WireError):
                continue

    return run


_QUICK_METHODS = [name for name in KEX_METHODS if b"diffie" not in name]
_SLOW_METHODS = [b"diffie-hellman-group-exchange-sha256", b"diffie-hellman-group14-sha256"]


def played(method: KexMethod) -> tuple[bytes, bytes]:
    """What a client says to a server in `method`, and the other way, as strings."""
    sides = (method.client(_CONTEXT), method.server(_CONTEXT))
    said: tuple[list[bytes], list[bytes]] = ([], [])
    heard = [0, 0]
    steps = [next(side) for side in sides]
    mine = 0
    try:
        while True:
            step = steps[mine]
            if isinstance(step, Expect):
                waiting = said[1 - mine][heard[mine] :]
                if not waiting:
                    mine = 1 - mine
                    continue
                heard[mine] += 1
                steps[mine] = sides[mine].send(waiting[0])
            else:
                said[mine].append(step.payload)
                steps[mine] = next(sides[mine])
    except StopIteration:
        # The server is done first, once its one long message is out.
        return b"".join(map(NS, said[0])), b"".join(map(NS, said[1]))


def _kexSeeds(names: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(said for name in names for said in played(KEX_METHODS[name]))


def receivePackets(data: bytes) -> None:
    """The input under each cipher: the stream as it comes, and nothing but a violation leaves."""
    for suite in _SUITES:
        receiver = suite.receiver(4096)
        try:
            for at in range(0, len(data), 97):
                receiver.feed(data[at : at + 97])
                while receiver.next() is not None:
                    pass
                while receiver.nextMessage() is not None:
                    pass
        except ProtocolViolation:
            continue


def receivePlain(data: bytes) -> None:
    """The stream before there are keys."""
    receiver = PacketReceiver(4096)

    def take(piece: bytes) -> None:
        receiver.feed(piece)
        while receiver.nextMessage() is not None:
            pass

    inPieces(take)(data)


_SUITES = [
    suite
    for suite in PROTECTED
    if str(suite) in ("aes128-gcm", "chacha20-poly1305", "aes128-ctr+hmac-sha2-256")
    or str(suite) == "aes128-ctr+hmac-sha2-256-etm"
]


def _sealed() -> tuple[bytes, ...]:
    return tuple(
        b"".join(sender.pack(94, bytes(40)) for _ in range(3))
        for sender in (suite.sender() for suite in _SUITES)
    )


def receiveFrames(data: bytes) -> None:
    frames = FrameReceiver(1000)

    def take(piece: bytes) -> None:
        frames.feed(piece)
        while frames.next() is not None:
            pass

    inPieces(take)(data)


def identify(isClient: bool) -> Callable[[bytes], None]:
    """A peer's first line, byte after byte or at once."""

    def run(data: bytes) -> None:
        reader = identification.IdentificationReader(isClient)
        size = data[0] + 1 if data else 1
        for at in range(1, len(data), size):
            if reader.feed(data[at : at + size])[0] is not None:
                return

    return run


def negotiateSocks(data: bytes) -> None:
    negotiation_ = socks.SocksNegotiation()
    size = data[0] + 1 if data else 1
    for at in range(1, len(data), size):
        if negotiation_.feed(data[at : at + size])[1] is not None:
            return


def readKexInits(data: bytes) -> None:
    """A peer's offer, and what comes of it."""
    theirs = negotiation.readKexInit(data)
    for isClient in (True, False):
        ours = negotiation.makeKexInit(negotiation.ALL_MODERN, bytes(16), isClient, True)
        pair = (ours, theirs) if isClient else (theirs, ours)
        try:
            negotiation.negotiate(*pair, isClient=isClient, firstKex=True)
        except ProtocolViolation:
            continue


def bindSessions(data: bytes) -> None:
    """Every string of the input as one more binding of an agent's connection."""
    bindings = Bindings()
    reader = Reader(data)
    while reader.remaining:
        try:
            bindings.bind(agentWire.SessionBind.decode(reader.string()))
        except BindRefused:
            continue


class NoWorld:
    """Files that include one other, and commands that nobody runs."""

    version = "Limpet_1.0"

    def include(
        self, pattern: str, source: lines.Source, settings: Settings | None = None
    ) -> Iterable[IncludedFile]:
        return [IncludedFile("other", "Port 5\nHost x\nUser y")] if pattern == "a" else []

    def localAddresses(self) -> Iterable[str]:
        return ["192.0.2.1", "2001:db8::1"]

    def matchExec(self, command: str, source: lines.Source, settings: Settings) -> bool | None:
        return None


def resolveConfig(text: str) -> None:
    """A whole ssh_config, both passes, and what is asked of it afterwards."""
    found = Settings("host.example", "me")
    resolver = Resolver(found, NoWorld())
    resolver.readFile("file", text)
    if found.wantsFinalPass:
        resolver.startFinalPass()
        resolver.readFile("file", text)
    found.targetHost()


def resolveOption(text: str) -> None:
    keyword, _, value = text.partition("=")
    Resolver(Settings("host.example", "me"), NoWorld()).addOption(keyword, value)


def readValues(text: str) -> None:
    """The arguments of a line, as each keyword reads them."""
    arguments = lines.splitArguments(text, lines.COMMAND_LINE)
    for keyword in keywords.KEYWORDS.values():
        try:
            keywords.readValue(keyword, arguments)
        except values.BadValue:
            continue


_TOKENS: Mapping[str, str] = {"h": "host", "p": "22", "r": "me"}
_VARIABLES: Mapping[str, str] = {"HOME": "/home/me", "X": "x y"}


def matchPatterns(data: bytes) -> None:
    """The input's two halves as patterns and as what they are held against."""
    pattern, _, text = data.partition(b"\n")
    patterns.matchPattern(pattern, text)
    patterns.matchPatternList(pattern, text)
    patterns.matchAddressList(pattern, "192.0.2.1")
    patterns.matchAddressList(pattern, "2001:db8::1")
    patterns.parseAddress(text.decode("latin-1"))
    destinations.faultOfHost(pattern, 22)
    destinations.faultOfPath(pattern)
    destinations.reachedAddress(text.decode("latin-1"))


def obeyRule(text: str) -> None:
    """A rule of where connections may lead, and what it says of some places."""
    rules = destinations.Destinations([text])
    rules.allowsName(b"me", text.encode("utf-8", "surrogateescape"), 22)
    rules.allowsAddress(b"me", b"host", "192.0.2.1", 22)
    rules.allowsPath(b"me", b"/run/socket")
    destinations.Rule.parse(text)


def obeyKeys(data: bytes) -> None:
    """A file of authorized_keys; and what its restrictions say to the rest of the input."""
    keys, mistakes = authorizedkeys.parseAuthorizedKeys(data)
    for entry in keys:
        entry.check("192.0.2.1", NOW)
        for kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com", b"session"):
            restricting.allowsChannel(entry.options.restrictions, kind, data)
        for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com"):
            restricting.allowsGlobalRequest(entry.options.restrictions, name, data)
        for name in (b"pty-req", b"exec", b"subsystem"):
            restricting.allowsRequest(entry.options.restrictions, name)
            restricting.forcedRequest(entry.options.restrictions, name, data)
    for number, told in mistakes:
        assert number
        assert told.isprintable()


def judgeHosts(data: bytes) -> None:
    """A file of known hosts, asked for a host in each way."""
    entries, _ = knownhosts.parseKnownHosts(data)
    for name in (b"host.example", b"[host.example]:2222"):
        knownhosts.judge(entries, name, ED25519.blob())
        knownhosts.authoritiesFor(entries, name)
        knownhosts.revokedFor(entries, name)
        knownhosts.knownTypes(entries, name)


def askWhetherRevoked(data: bytes) -> None:
    """A file of revoked keys, asked for a key and a certificate."""
    revocations = revokedkeys.parseRevokedKeys(data)
    for blob in (ED25519.blob(), CERTIFICATES[0], OTHER.blob()):
        revocations.isRevoked(blob)


def askTheBlocklist(data: bytes) -> None:
    """The input as a list, and as a key that is looked for in one."""
    with contextlib.suppress(keyblocklist.BlocklistError):
        keyblocklist.KeyBlocklist(data).isRevoked(ED25519.blob())
    _BLOCKLIST.isRevoked(data)


_BLOCKLIST = keyblocklist.KeyBlocklist(listOf(*KEYS))

_KRL = b"".join(
    (
        krl.MAGIC + u32(1) + u64(3) + u64(NOW) + u64(0) + NS(b"") + NS(b"a comment"),
        b"\x01"
        + NS(
            NS(OTHER.blob())
            + NS(b"")
            + b"\x20"
            + NS(u64(5) + u64(9))
            + b"\x21"
            + NS(u64(20) + u64(30))
            + b"\x22"
            + NS(u64(64) + NS(b"\x05"))
            + b"\x23"
            + NS(NS(b"the key's name"))
        ),
        b"\x02" + NS(NS(OTHER.blob())),
        b"\x03" + NS(NS(bytes(20))),
        b"\x05" + NS(NS(bytes(32))),
        b"\xff" + NS(NS(b"x") + b"\x00" + NS(b"")),
    )
)

_LINE = ED25519.public().toString("openssh", comment="a comment")
_BASE64 = base64.b64encode(ED25519.blob())
_AUTHORIZED = b"".join(
    options + _LINE + b"\n"
    for options in (
        b"",
        b'restrict,pty,command="ls \\"x\\"",from="192.0.2.0/24,!*.evil,::1" ',
        b'permitopen="[::1]:80",permitopen="h:*",permitlisten="8080",environment="A=b" ',
        b'cert-authority,principals="a,b",expiry-time="20991231235959Z" ',
        b"no-touch-required,verify-required,no-pty,no-user-rc ",
    )
)
_OPTION_WORDS = (
    b"restrict,pty command= from= permitopen= permitlisten= environment= principals= tunnel= "
    b'expiry-time= cert-authority verify-required no-touch-required no-port-forwarding " \\" , '
    b"ssh-ed25519 AAAA # \n"
).split(b" ")
_KNOWN = b"\n".join(
    (
        b"host.example,*.example,!bad.example ssh-ed25519 " + _BASE64,
        b"[host.example]:2222 ssh-ed25519 " + _BASE64 + b" comment",
        b"@revoked * ssh-ed25519 " + _BASE64,
        b"@cert-authority *.example ssh-ed25519 " + _BASE64,
        knownhosts.hashName(b"host.example", bytes(20)) + b" ssh-ed25519 " + _BASE64,
        b"# comment",
    )
)
_CONFIG = b"""
Host a b !c *.example
  HostName %h.example
  ProxyJump me@j1:22,j2
  LocalForward [::1]:80 host:80
  DynamicForward 1080
  RekeyLimit 1G 1h
  SendEnv LANG LC_*
  IdentityFile "~/.ssh/id x"
Match host a,b user me exec "true" !final
  Include a
  Ciphers +aes128-ctr,aes*
  PermitRemoteOpen h:80 any
  SetEnv A=b C="d e"
Match all
  ProxyCommand nc -X connect %h %p 2>/dev/null
"""
_CONFIG_WORDS = (
    *(keyword.name.encode() + b" " for keyword in keywords.KEYWORDS.values()),
    *(
        b"Host ",
        b"Match ",
        b"Include a",
        b"localnetwork ",
        b"version ",
        b"final",
        b"canonical",
        b"all",
        b"exec ",
        b"${HOME}",
    ),
    *(
        b"%h",
        b"%%",
        b"~/",
        b'"',
        b"'",
        b"\\",
        b"=",
        b"\n",
        b"#",
        b"none",
        b"yes",
        b"[::1]:80",
        b"!",
    ),
)
_MODULI = b"20240101000000 2 6 100 2047 2 %x\n" % ((1 << 2047) | 1)

HARNESSES: tuple[Harness, ...] = (
    Harness(
        "fields",
        (fields.getNS, fields.getMP, fields.Reader.nameList),
        eachOf((readFields, fields.getNS, fields.getMP), (WireError,)),
        (WireError,),
        (NS(b"abc") + MP(2**200) + NS(b"a,b") + u64(1), b"\x04\x00\x00\x00"),
    ),
    Harness(
        "messages",
        _MESSAGES,
        eachOf(_MESSAGES, (WireError,)),
        (WireError,),
        (
            _KEXINIT.encode(),
            messages.ExtInfo({b"server-sig-algs": b"ssh-ed25519"}).encode(),
            u32(11) + NS(b"bye") + NS(b""),
            b"\x01" + NS(b"text") + NS(b"en"),
        ),
    ),
    Harness(
        "requests",
        _REQUESTS,
        eachOf(_REQUESTS, (WireError,)),
        (WireError,),
        (
            NS(b"xterm") + u32(80) * 4 + NS(b"\x35" + u32(1) + b"\x00"),
            NS(b"LANG") + NS(b"C"),
            NS(b"TERM") + b"\x00" + NS(b"killed") + NS(b""),
            NS(b"host") + u32(80) + NS(b"127.0.0.1") + u32(1),
            b"\x01" + NS(b"MIT-MAGIC-COOKIE-1") + NS(b"00" * 16) + u32(0),
            b"\x35" + u32(1) + b"\x80" + u32(38400) + b"\x00",
        ),
    ),
    Harness(
        "sftp",
        (*_SFTP_READERS, *_SFTP_BODIES, sftpWire.readFields),
        eachOf(
            (
                *map(_ofReader, _SFTP_READERS),
                *_SFTP_BODIES,
                *(_sftpFields(tuple(shape)) for shape in _SHAPES),
            ),
            (WireError,),
        ),
        (WireError,),
        (
            u32(3) + NS(b"statvfs@openssh.com") + NS(b"2"),
            u32(0x8000000F) + u64(1) + u32(0) * 5 + u32(1) + NS(b"n") + NS(b"v"),
            u32(1) + NS(b"name") + NS(b"long") + u32(0),
            u32(2) + NS(b"no such file") + NS(b"en"),
            NS(b"/path") + u32(1) + u32(4) + u32(0o644),
        ),
    ),
    Harness(
        "agent",
        (*_AGENT, agentWire.Constraints.read),
        eachOf(
            (*_AGENT, lambda data: agentWire.Constraints.read(Reader(data))),
            (WireError,),
        ),
        (WireError,),
        (
            u32(1) + NS(ED25519.blob()) + NS(b"comment"),
            agentWire.SignRequest(ED25519.blob(), b"data").encode(),
            agentWire.Constraints(60, True).encode(),
            agentWire.SessionBind(ED25519.blob(), bytes(32), SIGNATURES[0], True).encode(),
            NS(b"query"),
        ),
    ),
    Harness(
        "public keys",
        (
            publicblob.decode,
            publicblob.decodeFields,
            publictext.decodeLine,
            publictext.splitLine,
            publictext.decodeRFC4716,
            pem.decodePublic,
            lsh.decodePublic,
        ),
        eachOf(
            (
                publicblob.decode,
                publictext.decodeLine,
                publictext.decodeRFC4716,
                pem.decodePublic,
                lsh.decodePublic,
            ),
            (BadKeyError,),
        ),
        (BadKeyError,),
        (
            *BLOBS,
            *(made.public().toString("openssh") for made in KEYS),
            *(made.public().toString("openssh", subtype="RFC4716") for made in KEYS),
            *(made.public().toString("openssh", subtype="PKCS8") for made in KEYS),
            makeKey("rsa", 2048).public().toString("lsh"),
        ),
    ),
    Harness(
        "private keys",
        (
            detection.decode,
            detection.guessType,
            privateblob.decode,
            privateblob.decodeFields,
            opensshprivate.decode,
            opensshprivate.publicBlob,
            pem.decodePrivate,
            putty.decode,
            agentv3.decode,
            lsh.decodePrivate,
            armor.unwrap,
            armor.decodeBase64,
            key.Key.fromString,
        ),
        eachOf(
            (
                key.Key.fromString,
                privateblob.decode,
                opensshprivate.publicBlob,
                lambda data: opensshprivate.decode(data, None),
                lambda data: pem.decodePrivate(data, None),
                lambda data: putty.decode(data, None),
                agentv3.decode,
                lsh.decodePrivate,
            ),
            _KEY_ERRORS,
        ),
        _KEY_ERRORS,
        (
            *(made.privateBlob() for made in QUICK_KEYS),
            *(made.toString("openssh") for made in QUICK_KEYS),
            *(
                made.toString("openssh", subtype="PEM")
                for made in QUICK_KEYS
                if made.type() == "EC"
            ),
            *(made.toString("openssh", passphrase="x") for made in QUICK_KEYS[:1]),
            *(made.toString("agentv3") for made in KEYS if made.type() == "RSA"),
            *(made.toString("lsh") for made in KEYS if made.type() == "RSA"),
        ),
        isSlow=True,
    ),
    Harness(
        "certificates",
        (
            certificateblob.decode,
            certificates.Certificate.fromString,
            privateblob.decodeCertified,
        ),
        eachOf(
            (
                checkCertificate,
                certificates.Certificate.fromString,
                lambda data: privateblob.decodeCertified(Reader(data)),
            ),
            (BadKeyError, WireError),
        ),
        (),
        (
            *CERTIFICATES,
            b"ssh-ed25519-cert-v01@openssh.com " + base64.b64encode(CERTIFICATES[0]) + b" c",
        ),
        (NS(b"force-command"), NS(b"source-address"), NS(b"verify-required"), NS(b"alice")),
    ),
    Harness(
        "signatures",
        (signatures.nameOf, signatures.verifySignature),
        checkSignatures,
        (),
        SIGNATURES,
        isSlow=True,
    ),
    Harness("signing keys", (), verifyUnder, (BadKeyError, WireError), BLOBS, isSlow=True),
    Harness(
        "public values",
        (agreement.encapsulate,),
        agree,
        (),
        (
            agreement.X25519().publicValue,
            *(agreement.ECDH(curve).publicValue for curve in _CURVES),
        ),
        isSlow=True,
    ),
    Harness(
        "compression",
        (),
        inflate,
        (compression.CompressionError,),
        (b"\xff" + compression.Deflater().compress(bytes(3000)),),
    ),
    Harness(
        "key exchange",
        (),
        eachOf((exchange(KEX_METHODS[name]) for name in _QUICK_METHODS), ()),
        (),
        _kexSeeds(_QUICK_METHODS),
        isSlow=True,
    ),
    Harness(
        "key exchange in finite fields",
        (),
        eachOf((exchange(KEX_METHODS[name]) for name in _SLOW_METHODS), ()),
        (),
        _kexSeeds(_SLOW_METHODS),
        isSlow=True,
    ),
    Harness(
        "packets",
        (PacketReceiver.feed, PacketReceiver.nextMessage),
        receivePackets,
        (),
        _sealed(),
        isSlow=True,
    ),
    Harness(
        "packets without keys",
        (PacketReceiver.next,),
        receivePlain,
        (ProtocolViolation,),
        (b"\xff" + bytes((0, 0, 0, 12, 4)) + b"\x02" + bytes(10), b"\x00" + bytes(40)),
    ),
    Harness(
        "frames",
        (FrameReceiver.feed, FrameReceiver.next),
        receiveFrames,
        (WireError,),
        (b"\xff" + NS(b"abc") * 5, b"\x03" + NS(b"abc") * 5),
    ),
    Harness(
        "identification",
        (identification.IdentificationReader.feed,),
        eachOf((identify(True), identify(False)), (ProtocolViolation,)),
        (),
        (b"\xffSSH-2.0-x y\r\n", b"\x02hello\r\nSSH-1.99-x\n", b"\xffSSH-2.0-x\nrest"),
        (b"SSH-", b"2.0-", b"\r\n", b"\n"),
    ),
    Harness(
        "socks",
        (socks.SocksNegotiation.feed,),
        negotiateSocks,
        (socks.SocksError,),
        (
            b"\xff\x04\x01\x00\x50\x7f\x00\x00\x01me\x00",
            b"\x00\x04\x01\x00\x50\x00\x00\x00\x01me\x00host\x00",
            b"\xff\x05\x01\x00\x05\x01\x00\x03\x04host\x00\x50",
            b"\x01\x05\x01\x00\x05\x01\x00\x04" + bytes(16) + b"\x00\x50",
        ),
    ),
    Harness(
        "kexinit",
        (negotiation.readKexInit,),
        readKexInits,
        (ProtocolViolation,),
        (b"\x14" + _KEXINIT.encode(),),
        (b"kex-strict-c-v00@openssh.com", b",", b"none", b"aes128-gcm@openssh.com"),
    ),
    Harness(
        "authentication",
        (
            authentication.parseRequest,
            authentication.parsePublicKey,
            authentication.parsePassword,
            authentication.parseKeyboardInteractive,
            authentication.parseInfoRequest,
            authentication.parseInfoResponse,
            authentication.sanitised,
            authentication.isPlausibleUserName,
        ),
        eachOf(
            (
                authentication.parseRequest,
                authentication.parsePublicKey,
                lambda data: authentication.parsePublicKey(data, hostBound=True),
                authentication.parsePassword,
                authentication.parseKeyboardInteractive,
                authentication.parseInfoRequest,
                lambda data: authentication.parseInfoResponse(data, 2),
                authentication.sanitised,
                authentication.isPlausibleUserName,
            ),
            (WireError,),
        ),
        (),
        (
            NS(b"me") + NS(b"ssh-connection") + NS(b"none"),
            b"\x01" + NS(b"ssh-ed25519") + NS(BLOBS[0]) + NS(SIGNATURES[0]),
            b"\x01" + NS(b"ssh-ed25519") + NS(BLOBS[0]) + NS(BLOBS[0]) + NS(SIGNATURES[0]),
            b"\x01" + NS(b"old") + NS(b"new"),
            NS(b"name") + NS(b"instruction") + NS(b"") + u32(1) + NS(b"Password: ") + b"\x00",
            u32(2) + NS(b"a") + NS(b"b"),
            "ünï\u202ecode\x1b[0m".encode(),
        ),
    ),
    Harness(
        "signables",
        (signables.recognise, signables.plainBlob),
        eachOf((signables.recognise, signables.plainBlob), (BadKeyError, WireError)),
        (),
        (
            authentication.signedData(
                bytes(32), b"me", b"ssh-connection", b"ssh-ed25519", BLOBS[0], BLOBS[1]
            ),
            b"SSHSIG" + NS(b"file") + NS(b"") + NS(b"sha512") + NS(bytes(64)),
            *CERTIFICATES[:2],
        ),
    ),
    Harness(
        "agent keys",
        (agentkeys.parseAddition, agentkeys.KeyStore.add),
        eachOf(
            (
                lambda data: agentkeys.parseAddition(data, True, NOW),
                lambda data: agentkeys.KeyStore().add(data, False, NOW),
            ),
            (BadKeyError, WireError, agentkeys.AgentRefusal),
        ),
        (),
        (
            OTHER.privateBlob() + NS(b"comment"),
            OTHER.privateBlob() + NS(b"comment") + agentWire.Constraints(60, True).encode(),
        ),
        isSlow=True,
    ),
    Harness(
        "agent bindings",
        (Bindings.bind,),
        bindSessions,
        (WireError,),
        (NS(agentWire.SessionBind(BLOBS[0], bytes(32), SIGNATURES[0], True).encode()) * 2,),
        isSlow=True,
    ),
    Harness(
        "authorized_keys",
        (
            authorizedkeys.parseAuthorizedKeys,
            authorizedkeys.parseLine,
            restricting.allowsChannel,
            restricting.allowsGlobalRequest,
            restricting.allowsRequest,
        ),
        obeyKeys,
        (),
        (_AUTHORIZED, *_AUTHORIZED.splitlines()),
        tuple(_OPTION_WORDS),
    ),
    Harness(
        "expiry times",
        (authorizedkeys.parseExpiry,),
        authorizedkeys.parseExpiry,
        (authorizedkeys.BadLine,),
        (b"20991231", b"209912312359", b"20991231235959Z", b"19700101"),
    ),
    Harness(
        "known_hosts",
        (
            knownhosts.parseKnownHosts,
            knownhosts.parseLine,
            knownhosts.parseHash,
            knownhosts.judge,
        ),
        eachOf((judgeHosts, knownhosts.parseHash), (knownhosts.BadLine,)),
        (),
        (_KNOWN, *_KNOWN.splitlines()),
        (b"@revoked ", b"@cert-authority ", b"|1|", b"ssh-ed25519 ", b"*", b"!", b",", b"\n"),
    ),
    Harness(
        "multiplexing",
        (multiplexing.parseHello, multiplexing.parseReply, multiplexing.parseRequest),
        eachOf(
            (multiplexing.parseHello, multiplexing.parseReply, multiplexing.parseRequest),
            (WireError,),
        ),
        (),
        (
            multiplexing.hello() + NS(b"info") + NS(b"0"),
            u32(multiplexing.OK) + u32(7),
            u32(multiplexing.EXIT_MESSAGE) + u32(7) + u32(255),
            u32(multiplexing.FAILURE) + u32(7) + NS(b"no"),
            multiplexing.newSession(7, multiplexing.SessionWish(b"ls", environment=(b"A=1",))),
            multiplexing.newStdioForward(7, b"web", 80),
        ),
        (
            u32(multiplexing.ALIVE),
            u32(multiplexing.TTY_ALLOC_FAIL),
            u32(multiplexing.OPEN_FORWARD),
            u32(1),
            u32(2**32 - 1),
        ),
    ),
    Harness(
        "revoked keys",
        (krl.parseKrl, revokedkeys.parseRevokedKeys),
        askWhetherRevoked,
        (revokedkeys.RevokedKeysError,),
        (_KRL, _LINE + b"\n# comment\n" + _LINE),
        (b"\x20", b"\x21", b"\x22", b"\x23", b"\x01", b"\x02", b"\x03", b"\x05", b"\xff", u64(7)),
    ),
    Harness(
        "list of bad keys",
        (keyblocklist.numberOf,),
        askTheBlocklist,
        (keyblocklist.BlocklistError, BadKeyError),
        (*BLOBS, *CERTIFICATES, listOf(*KEYS)),
    ),
    Harness(
        "moduli",
        (moduli.parseModuli, moduli.parseModuliLines),
        moduli.parseModuli,
        (),
        (_MODULI,),
        (b"2 6 100 2047 2 ", b"\n", b" "),
    ),
    Harness(
        "patterns",
        (
            patterns.matchPattern,
            patterns.matchPatternList,
            patterns.matchAddressList,
            patterns.parseAddress,
            destinations.faultOfHost,
            destinations.faultOfPath,
            destinations.reachedAddress,
        ),
        matchPatterns,
        (),
        (b"*a*b,!c?d\nxaybz", b"192.0.2.0/24,!2001:db8::/32\n::ffff:192.0.2.1%eth0"),
        (b"*", b"?", b"!", b",", b"/24", b"::", b"\n", b"%"),
    ),
    Harness(
        "destinations",
        (
            destinations.Rule.parse,
            destinations.Destinations.allowsAddress,
            destinations.Destinations.allowsName,
            destinations.Destinations.allowsPath,
        ),
        ofText(obeyRule),
        (destinations.BadRule,),
        (b"!me@[::1]:80-90", b"10.0.0.0/8:*", b"me@/run/*"),
        (b"!", b"@", b":*", b"-", b"[::1]", b"/8"),
    ),
    Harness(
        "ssh_config",
        (lines.splitLine, values.rekeyLimit, Resolver.readFile, Resolver.addOption),
        eachOf((ofText(resolveConfig), ofText(resolveOption)), (lines.BadConfig,)),
        (),
        (_CONFIG, *_CONFIG.splitlines()),
        _CONFIG_WORDS,
        isSlow=True,
    ),
    Harness(
        "ssh_config's values",
        (lines.splitArguments, keywords.readValue),
        ofText(readValues),
        (lines.BadConfig,),
        (
            b"1h",
            b"1G 1h",
            b"h:80 [::1]:90",
            b"me@j:22,ssh://x:1",
            b"+a,b",
            b"A=b",
            b"^[",
            b"8080 /s",
        ),
        (b"none", b"[::1]:", b"ssh://", b"%", b"@", b":", b"/", b"w", b"E"),
        isSlow=True,
    ),
    Harness(
        "places",
        (places.parsePort, places.parseDestination, places.parseJumps, places.parseForward),
        eachOf(
            (
                ofText(places.parsePort),
                ofText(places.parseDestination),
                ofText(places.parseJumps),
                ofText(places.parseForward),
                ofText(lambda text: places.parseForward(text, dynamic=True)),
                ofText(lambda text: places.parseForward(text, remote=True)),
            ),
            (places.BadPlace,),
        ),
        (),
        (
            b"me@host:22",
            b"ssh://me@[::1]:22",
            b"a,b@c:1",
            b"80:host:80",
            b"[::1]:80:[::2]:90",
            b"/s:/t",
        ),
        (b"ssh://", b"@", b":", b"[", b"]", b",", b"%", b"/"),
    ),
    Harness(
        "tokens",
        (tokens.expand, tokens.expandAll, tokens.expandEnvironment, tokens.expandHome),
        eachOf(
            (
                ofText(lambda text: tokens.expand(text, _TOKENS)),
                ofText(lambda text: tokens.expandEnvironment(text, _VARIABLES)),
                ofText(lambda text: tokens.expandAll(text, _TOKENS, _VARIABLES)),
                ofText(lambda text: tokens.expandHome(text, "/home/me")),
            ),
            (tokens.BadToken,),
        ),
        (),
        (b"~/%h-%p-%%${HOME}", b"%r@${X}"),
        (b"%h", b"%%", b"${X}", b"${", b"}", b"~/"),
    ),
    Harness(
        "commands",
        (commands.splitCommand,),
        ofText(lambda text: commands.splitCommand(text, _TOKENS, _VARIABLES, "/home/me")),
        (commands.NeedsShell, tokens.BadToken),
        (b"exec nc -X 'a b' \"%h $X\" %p 2>/dev/null # x", b"~/bin/x ${X}y"),
        (b"'", b'"', b"\\", b"$X", b"${X}", b"%h", b"2>/dev/null", b"|", b"#", b" "),
    ),
)

NOT_DECODERS: Mapping[str, str] = {
    "limpet.core.sshconfig.resolving:World.matchExec": "an application's own, and no decoder",
}
"""What is named like a decoder and is none, with the reason."""
