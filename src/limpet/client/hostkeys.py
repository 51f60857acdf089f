"""Whether a server is who it should be: its key against known_hosts files and certificates.

Rule: only a key that somebody vouches for is accepted: a line of a file, an authority named in
one, or the person at the client, who is asked. Every other outcome, failures included, is a
`HostKeyRefused` that says why and what to do (attacks.md F6, K1).

`~/.ssh/known_hosts` is read anew for each connection and only ever appended to.
"""

from __future__ import annotations

import base64
import errno
import ipaddress
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet._posix import O_BINARY, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, lockWithoutWaiting
from limpet._reactor import getReactor
from limpet.client.config import ClientConfig, ConfigError
from limpet.client.errors import HostKeyRefused, shown
from limpet.client.interaction import STEPS, NobodyToAsk, asUserInterface, follow
from limpet.client.names import aside
from limpet.core.knownhosts import (
    DEFAULT_PORT,
    MAX_FILE_LENGTH,
    BadLine,
    Judgement,
    KnownHost,
    Marker,
    Verdict,
    authoritiesFor,
    hashName,
    judge,
    knownTypes,
    lookupName,
    orderedAlgorithms,
    parseKnownHosts,
    revokedFor,
)
from limpet.core.revokedkeys import IN_PLACE_LENGTH, Revocations, RevokedKeysError, parseRevokedKeys
from limpet.core.revokedkeys import MAX_FILE_LENGTH as MAX_REVOKED_LENGTH
from limpet.crypto.certificates import Certificate
from limpet.crypto.errors import BadKeyError, CertificateRejected
from limpet.crypto.fingerprints import (
    FingerprintFormats,
    displayFingerprint,
    fingerprint,
    randomArt,
)
from limpet.crypto.key import Key
from limpet.crypto.keyformats import publicblob
from limpet.crypto.signatures import CERTIFICATE_ALGORITHMS, HOST_KEY_ALGORITHMS
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

COMMAND_SECONDS = 30.0
"""How long a KnownHostsCommand may take (ours; `ssh` waits for ever)."""

_CERTIFICATES = frozenset(CERTIFICATE_ALGORITHMS)


@dataclass(frozen=True, slots=True)
class HostKeyCheck:
    """What the files say of the key that a server shows.

    Attributes:
        verdict: What is to be thought of the key.
        name: The host as the files call it.
        key: The plain public key, the certified one where there is a certificate.
        entry: The line that says so, None of a new host.
        others: Of a changed key, all lines that the host is known by.
        certified: Whether an authority vouches for it, not the key's own line.
        problems: What could not be read in the files, with file and line.
    """

    verdict: Verdict
    name: bytes
    key: Key
    entry: KnownHost | None = None
    others: Sequence[KnownHost] = ()
    certified: bool = False
    problems: Sequence[str] = ()


class UnreadFile(str):
    """The problem of a file that is there and of which nothing could be read."""

    __slots__ = ()


# ── Files ─────────────────────────────────────────────────────────────────────────────────────


def readKnownHosts(paths: Iterable[str]) -> tuple[list[KnownHost], list[str]]:
    """The entries of known_hosts files, and what could not be read in them.

    A file that does not exist is an empty one, and so is one that is no regular file, such as
    /dev/null.
    """
    entries: list[KnownHost] = []
    problems: list[str] = []
    for path in paths:
        try:
            found, bad = parseKnownHosts(_readRegular(path), path)
        except BadLine as failure:
            problems.append(UnreadFile(f"{path}: {failure}; nothing of it is used"))
            continue
        except OSError as failure:
            problems.append(UnreadFile(f"{path}: {failure.strerror}; nothing of it is used"))
            continue
        entries.extend(found)
        problems.extend(f"{path}:{number}: {problem}" for number, problem in bad)
    return entries, problems


def _readRegular(path: str) -> bytes:
    try:
        flags = os.O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_BINARY
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_LENGTH + 1)
    finally:
        os.close(descriptor)


def appendLines(path: str, lines: Sequence[bytes]) -> None:
    """Put lines at the end of a known_hosts file, which is made, mode 0600, if there is none.

    The lines go out in one write, behind a newline where the file does not end with one; what
    stands in the file is not touched.

    Raises:
        OSError: It cannot be written.
    """
    directory = os.path.dirname(path)
    if directory and not os.path.isdir(directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    flags |= O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_BINARY
    descriptor = os.open(path, flags, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return
        # Without a wait: who holds it may hold it for ever, and some file systems have no locks.
        with suppress(OSError):
            lockWithoutWaiting(descriptor)
        size = os.fstat(descriptor).st_size
        text = b"".join(line + b"\n" for line in lines)
        if size:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":
                text = b"\n" + text
        if os.write(descriptor, text) != len(text):
            # Half a line vouches for nobody, and what follows would be lost with it.
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def readsLongLists(config: ClientConfig) -> bool:
    """Whether a file of RevokedHostKeys is so long that it is better read in a thread."""
    for path in config.revokedHostKeys:
        with suppress(OSError):
            if os.stat(path).st_size > IN_PLACE_LENGTH:
                return True
    return False


def readRevokedKeys(path: str) -> Revocations:
    """What the file that RevokedHostKeys names says: public keys, or a key revocation list.

    Raises:
        HostKeyRefused: It cannot be read, so that nobody knows what is revoked.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_REVOKED_LENGTH + 1)
    except OSError as failure:
        raise HostKeyRefused(
            f"RevokedHostKeys: {path}: {failure.strerror}; without it no host key is accepted"
        ) from None
    try:
        return parseRevokedKeys(data)
    except RevokedKeysError as failure:
        raise HostKeyRefused(f"RevokedHostKeys: {path}: {failure}") from None


def hostKeyTokens(config: ClientConfig, name: bytes, keyBlob: bytes | None) -> dict[str, str]:
    """What the tokens about a host key stand for, in commands of the configuration."""
    tokens = {"H": os.fsdecode(name), "I": "NONE", "f": "NONE", "K": "NONE", "t": "NONE"}
    if keyBlob is not None:
        tokens["K"] = base64.b64encode(keyBlob).decode("ascii")
        tokens["f"] = fingerprintOf(config, keyBlob)
        tokens["t"] = shown(Reader(keyBlob).string())
    return tokens


def askKnownHostsCommand(
    config: ClientConfig, reason: str, name: bytes, keyBlob: bytes | None = None
) -> tuple[list[KnownHost], list[str]]:
    """The entries that KnownHostsCommand prints, and what could not be read in them; it waits.

    Args:
        config: The host, and the command; without one there are no entries.
        reason: Why it is asked: "ORDER", "HOSTNAME" or "ADDRESS".
        name: The host, or its address, as the files call it.
        keyBlob: The key that the server shows, where it has shown one.

    Raises:
        HostKeyRefused: It cannot be run, fails, or does not end.
    """
    if config.knownHostsCommand is None:
        return [], []
    tokens = hostKeyTokens(config, name, keyBlob) | {"I": reason}
    try:
        data = _output(config.arguments(config.knownHostsCommand, tokens))
        found, bad = parseKnownHosts(data, "KnownHostsCommand")
    except (ConfigError, OSError, ValueError) as failure:
        why = getattr(failure, "strerror", None) or str(failure)
        raise HostKeyRefused(f"KnownHostsCommand: {why}; without it no host key is accepted") from (
            None
        )
    return found, [f"KnownHostsCommand:{number}: {problem}" for number, problem in bad]


def _output(arguments: Sequence[str]) -> bytes:
    """What a program prints, `MAX_FILE_LENGTH` and a byte at most. Raises ValueError, OSError."""
    with subprocess.Popen(
        list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    ) as process:

        def end() -> None:
            # With all that it has started, which may hold its output open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        # It may print for ever, or nothing at all: both end here.
        timer = threading.Timer(COMMAND_SECONDS, end)
        timer.start()
        try:
            stream = process.stdout
            data = b"" if stream is None else stream.read(MAX_FILE_LENGTH + 1)
            if len(data) > MAX_FILE_LENGTH:
                end()
            status = process.wait()
        finally:
            timer.cancel()
    if status and len(data) <= MAX_FILE_LENGTH:
        raise ValueError(f"{arguments[0]} ended with status {status}")
    return data


# ── What the files say ────────────────────────────────────────────────────────────────────────


def hostKeyName(config: ClientConfig) -> bytes:
    """What the files call the host: its HostKeyAlias, else its name with an unusual port."""
    if config.hostKeyAlias is not None:
        return lookupName(config.hostKeyAlias)
    return lookupName(config.hostName, config.port)


def _files(config: ClientConfig) -> list[str]:
    return [*config.userKnownHostsFiles, *config.globalKnownHostsFiles]


def preferredHostKeyAlgorithms(config: ClientConfig) -> list[bytes]:
    """The host key algorithms to offer, those first that the files have a key of.

    Certificates are asked for where an authority is known that signs for the host. A list that
    HostKeyAlgorithms gives keeps its order. Where there is a KnownHostsCommand, it waits for it.

    Raises:
        HostKeyRefused: The KnownHostsCommand fails.
    """
    entries, _ = readKnownHosts(_files(config))
    name = hostKeyName(config)
    # Without its port, as `ssh` asks at this point.
    asked = lookupName(config.hostKeyAlias or config.hostName)
    entries.extend(askKnownHostsCommand(config, "ORDER", asked)[0])
    known = [] if config.hostKeyAlgorithmsGiven else knownTypes(entries, name)
    return orderedAlgorithms(
        config.hostKeyAlgorithms,
        HOST_KEY_ALGORITHMS,
        known,
        bool(authoritiesFor(entries, name)),
        _CERTIFICATES,
    )


def checkHostKey(
    config: ClientConfig, keyBlob: bytes, now: float, address: str | None = None
) -> HostKeyCheck:
    """What the files say of a key; nobody is asked, and nothing is written.

    Where there is a KnownHostsCommand, it waits for it.

    Args:
        config: The host, and its files.
        keyBlob: The key or certificate that the server has proven to hold.
        now: Seconds since 1970.
        address: The numeric address that was connected to; None behind a proxy.

    Raises:
        HostKeyRefused: The key cannot be accepted whatever the files say: it is damaged, too weak,
            in RevokedHostKeys, or comes in a certificate that does not hold; or the
            KnownHostsCommand fails.
    """
    entries, problems = readKnownHosts(_files(config))
    name = hostKeyName(config)
    for reason, asked in (("HOSTNAME", name), ("ADDRESS", _addressName(config, address))):
        if asked is not None:
            more, unread = askKnownHostsCommand(config, reason, asked, keyBlob)
            entries.extend(more)
            problems.extend(unread)
    certificate = _certificateOf(keyBlob)
    key = _keyOf(keyBlob) if certificate is None else certificate.key
    if key.type() == "RSA" and key.size() < config.requiredRSASize:
        raise HostKeyRefused(
            f"the host key of {shown(name)} is an RSA key of {key.size()} bits, and "
            f"RequiredRSASize asks for {config.requiredRSASize}"
        )
    for path in config.revokedHostKeys:
        if readRevokedKeys(path).isRevoked(keyBlob):
            raise HostKeyRefused(
                f"the host key of {shown(name)}, or the key that signed it, is revoked in the file"
                f" of RevokedHostKeys, {path}"
            )
    if certificate is not None:
        entry = _certified(config, entries, name, certificate, now)
        if entry is not None:
            return HostKeyCheck(Verdict.KNOWN, name, key, entry, (), True, problems)
    found = judge(entries, name, key.blob())
    if found.verdict is Verdict.NEW and config.hostKeyAlias is None and config.port != DEFAULT_PORT:
        # Known at the usual port is known, as `ssh` has it: many moved their server only.
        usual = judge(entries, lookupName(config.hostName), key.blob())
        if usual.verdict in (Verdict.KNOWN, Verdict.REVOKED):
            found = usual
    if config.checkHostIP and address is not None and found.verdict is not Verdict.REVOKED:
        found = _withAddress(config, entries, address, key, found)
    return HostKeyCheck(found.verdict, name, key, found.entry, found.others, False, problems)


def _addressName(config: ClientConfig, address: str | None) -> bytes | None:
    """What the files call the address, where it counts (CheckHostIP)."""
    if address is None or not config.checkHostIP:
        return None
    return lookupName(address, config.port)


def _withAddress(
    config: ClientConfig, entries: Sequence[KnownHost], address: str, key: Key, found: Judgement
) -> Judgement:
    """The judgement of the name, but that of the address where it is worse (CheckHostIP)."""
    atAddress = judge(entries, lookupName(address, config.port), key.blob())
    worse = atAddress.verdict in (Verdict.CHANGED, Verdict.REVOKED)
    return atAddress if worse else found


def _certificateOf(blob: bytes) -> Certificate | None:
    try:
        keyType = Reader(blob).string()
    except WireError:
        raise HostKeyRefused("the server's host key is damaged") from None
    if not keyType.endswith(publicblob.CERTIFICATE_SUFFIX):
        return None
    try:
        return Certificate(blob)
    except BadKeyError as failure:
        raise HostKeyRefused(f"the server's host certificate is not accepted: {failure}") from None


def _keyOf(blob: bytes) -> Key:
    try:
        return Key.fromString(blob, "blob")
    except BadKeyError as failure:
        raise HostKeyRefused(f"the server's host key is not accepted: {failure}") from None


def _certified(
    config: ClientConfig,
    entries: Sequence[KnownHost],
    name: bytes,
    certificate: Certificate,
    now: float,
) -> KnownHost | None:
    """The line of the authority that vouches for the host; None where there is none for it.

    Raises:
        HostKeyRefused: There is an authority, and the certificate does not hold.
    """
    authorities = authoritiesFor(entries, name)
    if not authorities:
        return None
    host = lookupName(config.hostKeyAlias or config.hostName)
    allowed = {entry.keyBlob: entry for entry in authorities}
    try:
        if certificate.signatureAlgorithm not in config.caSignatureAlgorithms:
            raise CertificateRejected("it is signed by an algorithm that is not allowed")
        certificate.checkHost(
            authorities=allowed.keys(),
            hostName=host,
            now=now,
            revoked=[entry.keyBlob for entry in revokedFor(entries, name)],
        )
    except CertificateRejected as failure:
        raise HostKeyRefused(
            f"the host certificate of {shown(name)} is not accepted: {failure}. "
            f"Its id is {shown(certificate.keyId)!r}; {authorities[0]} names the authority"
        ) from None
    return allowed[certificate.authority.blob()]


# ── The decision ──────────────────────────────────────────────────────────────────────────────


def verifyHostKey(
    config: ClientConfig,
    keyBlob: bytes,
    ui: Any = None,
    address: str | None = None,
    clock: Callable[[], float] = time.time,
    reactor: Any = None,
) -> defer.Deferred[bool]:
    """Decide whether to go on with a server that shows this key.

    StrictHostKeyChecking says what becomes of a new host: "yes" refuses it, "accept-new" and "no"
    add it to the first of the user's files, "ask" asks. A changed or revoked key is always
    refused; and "accept-new" refuses a host that would be new only because a file cannot be read.

    Args:
        config: The host, its files, and how strict to be.
        keyBlob: The key or certificate that the server has proven to hold.
        ui: Whom to ask and to tell, as `limpet.client.interaction.asUserInterface` takes it.
        address: The numeric address that was connected to; None behind a proxy.
        clock: The time, in seconds since 1970.
        reactor: In whose threads a KnownHostsCommand is waited for, and a long file of
            RevokedHostKeys read; None for the usual one.

    Returns:
        A Deferred of True; or it fails with `HostKeyRefused`, whose text says why and what to do.
        It may be cancelled while somebody is asked.
    """
    # Whatever happens in here, an exception included, is a refusal and reaches the caller as one.
    return defer.maybeDeferred(
        _verify, config, keyBlob, asUserInterface(ui), address, clock(), reactor
    )


def _verify(
    config: ClientConfig, keyBlob: bytes, ui: Any, address: str | None, now: float, reactor: Any
) -> Any:
    if config.noHostAuthenticationForLocalhost and _isLoopback(address):
        follow(ui, STEPS, "it is not judged, as NoHostAuthenticationForLocalhost says")
        return True
    if config.knownHostsCommand is None and not readsLongLists(config):
        return _decide(config, checkHostKey(config, keyBlob, now, address), address, ui)
    checking = aside(
        getReactor() if reactor is None else reactor, checkHostKey, config, keyBlob, now, address
    )
    return checking.addCallback(lambda check: _decide(config, check, address, ui))


def _decide(config: ClientConfig, check: HostKeyCheck, address: str | None, ui: Any) -> Any:
    for problem in check.problems:
        isWhole = isinstance(problem, UnreadFile)
        ui.warn(_line(problem if isWhole else f"{problem}; the line is not used"))
    if check.verdict is Verdict.REVOKED:
        raise HostKeyRefused(_revokedText(config, check))
    if check.verdict is Verdict.CHANGED:
        raise HostKeyRefused(_changedText(config, check))
    if check.verdict is Verdict.KNOWN:
        if config.visualHostKey:
            words = f"The host key is {_print(config, check)}\n{_picture(config, check.key)}"
            ui.warn(_line(words))
        vouches = "an authority vouches for it" if check.certified else "it is known"
        follow(ui, STEPS, f"{shown(config.host)}: {vouches}: {check.entry}")
        return True
    if config.strictHostKeyChecking == "yes":
        raise HostKeyRefused(
            f"{shown(check.name)} is not in {_fileNames(config)}, and StrictHostKeyChecking is "
            f"yes. Its {_typeName(check.key)} key is {_print(config, check)}; if that is "
            "right, connect once with -o StrictHostKeyChecking=accept-new"
        )
    unread = [problem for problem in check.problems if isinstance(problem, UnreadFile)]
    if unread and config.strictHostKeyChecking == "accept-new":
        # What could not be read may know the host by another key (attacks.md K1).
        raise HostKeyRefused(
            f"whether {shown(check.name)} is new cannot be said: {unread[0]}. Make the "
            "file readable, or move it away"
        )
    if config.strictHostKeyChecking in ("no", "accept-new"):
        _remember(config, check, address, ui)
        return True
    asked = defer.maybeDeferred(ui.prompt, _question(config, check, address).encode("utf-8"))

    def answered(answer: object) -> bool:
        # Only a plain yes is one; an object of any other kind is not.
        if answer is not True:
            raise HostKeyRefused(
                f"the host key of {shown(check.name)} was not accepted: "
                f"{_print(config, check)} is in none of {_fileNames(config)}. Where "
                "nobody can be asked, put it there, or use -o StrictHostKeyChecking=accept-new"
            )
        _remember(config, check, address, ui)
        return True

    def nobodyAnswered(failure: Failure) -> bool:
        failure.trap(NobodyToAsk)
        return False

    return asked.addErrback(nobodyAnswered).addCallback(answered)


def _remember(config: ClientConfig, check: HostKeyCheck, address: str | None, ui: Any) -> None:
    """Add the host to the first of the user's files; one that cannot be written is told of."""
    if not config.userKnownHostsFiles:
        return
    names = [check.name]
    if config.checkHostIP and address is not None and config.hostKeyAlias is None:
        names.append(lookupName(address, config.port))
    entry = KnownHost(
        Marker.HOST, b",".join(dict.fromkeys(names)), check.key.sshType(), check.key.blob()
    )
    lines = [entry.toLine()]
    if config.hashKnownHosts:
        lines = [replace(entry, hosts=hashName(name)).toLine() for name in dict.fromkeys(names)]
    path = config.userKnownHostsFiles[0]
    if not config.hashKnownHosts and not _isOneField(entry.hosts):
        ui.warn(_line(f"{shown(check.name)} is no name that {path} can hold; it is not remembered"))
        return
    try:
        appendLines(path, lines)
    except OSError as failure:
        ui.warn(_line(f"{path}: {failure.strerror}; the host key is not remembered"))
        return
    ui.warn(
        _line(
            f"The {_typeName(check.key)} key of {shown(check.name)}, "
            f"{_print(config, check)}, is now in {path}."
        )
    )


def _isOneField(hosts: bytes) -> bool:
    """Whether names can be read back as they are: a HostKeyAlias may hold anything."""
    return not (
        hosts.startswith((b"#", b"@", b"|", b"!")) or any(c <= 32 or c == 127 for c in hosts)
    )


def _isLoopback(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


# ── Words ─────────────────────────────────────────────────────────────────────────────────────


def _line(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def fingerprintOf(config: ClientConfig, blob: bytes) -> str:
    """The fingerprint of a key as FingerprintHash has it shown."""
    if config.fingerprintHash == "md5":
        return "MD5:" + fingerprint(blob, FingerprintFormats.MD5_HEX)
    return displayFingerprint(blob)


def _print(config: ClientConfig, check: HostKeyCheck) -> str:
    return fingerprintOf(config, check.key.blob())


def _picture(config: ClientConfig, key: Key) -> str:
    """The key as a picture (VisualHostKey)."""
    return randomArt(key.blob(), f"{_typeName(key)} {key.size()}", config.fingerprintHash)


def _typeName(key: Key) -> str:
    return {"EC": "ECDSA", "Ed25519": "ED25519"}.get(key.type(), key.type())


def _fileNames(config: ClientConfig) -> str:
    return ", ".join(_files(config)) or "any known_hosts file (there are none)"


def _question(config: ClientConfig, check: HostKeyCheck, address: str | None) -> str:
    where = "" if address is None or address.encode() == check.name else f" (at {address})"
    return (
        f"{shown(check.name)}{where} is not known here, and nobody vouches for its key.\n"
        f"The fingerprint of its {_typeName(check.key)} key is {_print(config, check)}.\n"
        + (f"{_picture(config, check.key)}\n" if config.visualHostKey else "")
        + "Is this the right key, and may it be remembered (yes/no)? "
    )


def _changedText(config: ClientConfig, check: HostKeyCheck) -> str:
    entry = check.entry
    if entry is None:
        raise HostKeyRefused(f"the host key of {shown(check.name)} has changed")
    known = fingerprintOf(config, entry.keyBlob)
    new = f"{_typeName(check.key)} key {_print(config, check)}"
    what = f"another key: {known}"
    if entry.keyType != check.key.sshType():
        types = ", ".join(
            sorted({other.keyType.decode("ascii", "replace") for other in check.others})
        )
        what = f"keys of other types only ({types})"
    return (
        f"THE HOST KEY OF {shown(check.name)} HAS CHANGED. It now shows the {new}, and {entry} "
        f"knows it by {what}. Somebody may be listening in, or the host was set up anew. If you "
        "know that it was, remove the old key and connect again: "
        f"limpet keygen -R {_quoted(shown(check.name))} -f {entry.file}"
    )


def _revokedText(config: ClientConfig, check: HostKeyCheck) -> str:
    return (
        f"the host key of {shown(check.name)}, {_print(config, check)}, is marked as "
        f"revoked in {check.entry}; whoever holds it must not be trusted"
    )


def _quoted(name: str) -> str:
    return f"'{name}'" if "[" in name else name
