"""Public keys as people copy them: OpenSSH's one line, and the block of RFC 4716.

    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... comment

    ---- BEGIN SSH2 PUBLIC KEY ----
    Comment: "256-bit ED25519"
    AAAAC3NzaC1lZDI1NTE5AAAAI...
    ---- END SSH2 PUBLIC KEY ----

Rule: the name at the front of a line and the type in the blob are the same, or it is no key.

sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; RFC 4716 section 3.
"""

from __future__ import annotations

import base64

from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import armor, publicblob
from limpet.crypto.keyformats.publicblob import CERTIFICATE_SUFFIX
from limpet.crypto.material import KeyMaterial

RFC4716_BEGIN = b"---- BEGIN SSH2 PUBLIC KEY ----"
RFC4716_END = b"---- END SSH2 PUBLIC KEY ----"


def splitLine(line: bytes) -> tuple[bytes, bytes, bytes]:
    """The type name, the blob and the comment of one line; also for certificates.

    Raises:
        BadKeyError: The line is none, or its name and its blob differ.
    """
    line = line.strip()
    if b"\n" in line or b"\r" in line:
        raise BadKeyError("more than one line where one public key is expected")
    fields = line.split(None, 2)
    if len(fields) < 2:
        raise BadKeyError("a public key without its Base64 part")
    blob = armor.decodeBase64(fields[1])
    nameLength = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 or blob[4 : 4 + nameLength] != fields[0]:
        raise BadKeyError("a public key whose name differs from what it holds")
    return fields[0], blob, fields[2] if len(fields) == 3 else b""


def decodeLine(data: bytes) -> KeyMaterial:
    """Read one public key line.

    Raises:
        BadKeyError: No such line, or a key that we do not accept, or a certificate.
    """
    name, blob, comment = splitLine(data)
    if name.endswith(CERTIFICATE_SUFFIX):
        raise BadKeyError("a certificate where a plain public key is expected")
    return publicblob.decode(blob)._replace(comment=comment)


def encodeLine(blob: bytes, comment: bytes = b"") -> bytes:
    """One public key line, without a line end.

    Raises:
        ValueError: The comment has a line end in it.
    """
    if b"\n" in comment or b"\r" in comment:
        raise ValueError("a comment is one line")
    nameLength = int.from_bytes(blob[:4], "big")
    line = blob[4 : 4 + nameLength] + b" " + base64.b64encode(blob)
    return line + b" " + comment if comment else line


def decodeRFC4716(data: bytes) -> KeyMaterial:
    """Read a public key block of RFC 4716; of its headers only Comment is kept."""
    lines = armor.unwrap(data, RFC4716_BEGIN, RFC4716_END)
    comment = b""
    at = 0
    while at < len(lines) and b":" in lines[at]:
        header = lines[at]
        while header.endswith(b"\\") and at + 1 < len(lines):
            at += 1
            header = header[:-1] + lines[at]
        at += 1
        tag, _, value = header.partition(b":")
        if tag.strip().lower() == b"comment":
            comment = value.strip()
            if len(comment) >= 2 and comment.startswith(b'"') and comment.endswith(b'"'):
                comment = comment[1:-1]
    blob = armor.decodeBase64(b"".join(lines[at:]))
    return publicblob.decode(blob)._replace(comment=comment)


def encodeRFC4716(blob: bytes, comment: bytes = b"") -> bytes:
    """A public key block of RFC 4716. The comment is cut where one line ends."""
    headers = (b'Comment: "' + comment[:50].replace(b'"', b"'") + b'"',) if comment else ()
    return armor.wrap(blob, RFC4716_BEGIN, RFC4716_END, headers)
