"""Checkers: who may log in, by keys in files or in memory, by passwords, by several of them."""

from twisted.cred.credentials import ISSHPrivateKey, IUsernamePassword

from limpet.checkers.files import UnsafeFile, readUserFile
from limpet.checkers.interactive import (
    KeyboardInteractiveChecker,
    KeyboardInteractivePasswordChecker,
)
from limpet.checkers.keyfiles import (
    AuthorizedKeysFiles,
    InMemorySSHKeyDB,
    UNIXAuthorizedKeysFiles,
    readAuthorizedKeyFile,
)
from limpet.checkers.passwords import UNIXPasswordDatabase, verifyCryptedPassword
from limpet.checkers.protocol import SSHProtocolChecker
from limpet.checkers.publickeys import SSHPublicKeyChecker, SSHPublicKeyDatabase
from limpet.checkers.revocations import RevokedKeysFile, UnusableList, blocklistFile
from limpet.interfaces import IAuthorizedKeysDB

__all__ = [
    "AuthorizedKeysFiles",
    "IAuthorizedKeysDB",
    "ISSHPrivateKey",
    "IUsernamePassword",
    "InMemorySSHKeyDB",
    "KeyboardInteractiveChecker",
    "KeyboardInteractivePasswordChecker",
    "RevokedKeysFile",
    "SSHProtocolChecker",
    "SSHPublicKeyChecker",
    "SSHPublicKeyDatabase",
    "UNIXAuthorizedKeysFiles",
    "UNIXPasswordDatabase",
    "UnsafeFile",
    "UnusableList",
    "blocklistFile",
    "readAuthorizedKeyFile",
    "readUserFile",
    "verifyCryptedPassword",
]
