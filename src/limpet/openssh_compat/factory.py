"""A factory with the host keys and moduli that the machine's OpenSSH has.

Rule: a file that is no key costs a line in the log and is left out; the server starts with the
others. `limpet serve` is stricter, as its keys are named one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from twisted.python.util import runAsEffectiveUser

from limpet._logger import ClassLogger
from limpet.openssh_compat.primes import parseModuliFile
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import BadKeyError, EncryptedKeyError, Key

HOST_KEY_PREFIX = "ssh_host_"
"""How the names of OpenSSH's host key files begin (sshd_config(5), HostKey)."""


class OpenSSHFactory(SSHFactory):
    """Serves with the keys in a directory; `startFactory` reads them.

    Attributes:
        dataRoot: The directory of the host keys, `ssh_host_*_key` and `ssh_host_*_key.pub`.
        moduliRoot: The directory of the file `moduli`; without the file there is no group exchange.
    """

    dataRoot: str | os.PathLike[str] = "/usr/local/etc"
    moduliRoot: str | os.PathLike[str] = "/usr/local/etc"

    _log = ClassLogger()

    def getPublicKeys(self) -> dict[bytes, Key]:
        """The public host keys, by key type."""
        return self._keysIn(_HOST_PUBLIC)

    def getPrivateKeys(self) -> dict[bytes, Key]:
        """The private host keys, by key type.

        Those that this process may not read are read as root, if it has been started as root.
        """
        return self._keysIn(_HOST_PRIVATE)

    def getPrimes(self) -> Mapping[int, Any] | None:
        """The groups in the moduli file, by size in bits; None where there is no such file."""
        try:
            return parseModuliFile(os.path.join(self.moduliRoot, "moduli"))
        except OSError:
            return None

    def _keysIn(self, ending: str) -> dict[bytes, Key]:
        keys: dict[bytes, Key] = {}
        for path in self._files(ending):
            try:
                key = _load(path)
            except (BadKeyError, EncryptedKeyError, OSError) as error:
                self._log.error("host key {path} is left out: {why}", path=path, why=str(error))
            else:
                keys[key.sshType()] = key
        return keys

    def _files(self, ending: str) -> Iterator[str]:
        for name in sorted(os.listdir(self.dataRoot)):
            if name.startswith(HOST_KEY_PREFIX) and name.endswith(ending):
                yield os.path.join(self.dataRoot, name)


_HOST_PUBLIC = "_key.pub"
_HOST_PRIVATE = "_key"


def _load(path: str) -> Key:
    try:
        return Key.fromFile(path)
    except PermissionError:
        key: Key = runAsEffectiveUser(0, 0, Key.fromFile, path)
        return key


__all__ = ["OpenSSHFactory"]
