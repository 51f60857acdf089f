"""What POSIX alone has is not needed to import a client, nor to connect with it.

A program of its own hides these modules and names from Limpet (from nobody else) and then imports,
connects, and runs a command. Windows itself differs in more; this holds what is ours to hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from limpet import _posix

ROOT = Path(__file__).resolve().parents[2]

HIDE = '''
import builtins, importlib, os, pkgutil, signal, socket, sys, types
# Twisted and asyncio choose by the system, and are imported before.
import asyncio, twisted.internet.asyncioreactor, twisted.internet.reactor

MODULES = {"fcntl", "termios", "pwd", "grp", "resource", "pty", "tty", "spwd", "syslog", "crypt"}
NAMES = {
    "os": "getuid geteuid getgid getegid fork setsid openpty uname WNOHANG pread preadv pwrite"
    " pwritev readv writev sendfile fchmod fchown chown lchown getpgid killpg setuid initgroups"
    " statvfs mkfifo O_NONBLOCK O_CLOEXEC O_NOCTTY O_DIRECTORY O_NOFOLLOW O_PATH ttyname sysconf",
    "signal": "SIGHUP SIGQUIT SIGKILL SIGPIPE SIGCHLD SIGWINCH SIGCONT SIGTSTP SIGUSR1 SIGALRM"
    " pthread_sigmask setitimer",
    "socket": "AF_UNIX SO_PEERCRED SCM_RIGHTS CMSG_LEN",
}


class Windows(types.ModuleType):
    """A module without the names that Windows has not."""

    def __init__(self, whole, hidden):
        super().__init__(whole.__name__)
        self.__dict__["whole"], self.__dict__["hidden"] = whole, hidden.split()

    def __getattr__(self, name):
        if name in self.hidden:
            raise AttributeError(f"{self.__name__}.{name} is not on Windows")
        return getattr(self.whole, name)


SEEN = {name: Windows(sys.modules[name], hidden) for name, hidden in NAMES.items()}
ordinary = builtins.__import__


def hiding(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {}).get("__name__", "").startswith("limpet") and level == 0:
        if name.partition(".")[0] in MODULES:
            raise ImportError(f"{name} is not on Windows")
        if name in SEEN:
            return SEEN[name]
    return ordinary(name, globals, locals, fromlist, level)


builtins.__import__ = hiding
'''

IMPORT = """
import limpet

# What `limpet ssh` is made of: the terminal and the descriptors of a process, or of another.
OF_A_SHELL = {
    "limpet.client.attaching",
    "limpet.client.filecopy.shared",
    "limpet.client.mastering",
    "limpet.client.sharedsessions",
    "limpet.client.stdio",
}
WANTED = sys.argv[1:]
failed = {}
for module in pkgutil.walk_packages(limpet.__path__, "limpet.", onerror=lambda name: None):
    isWanted = any(f"{module.name}.".startswith(f"limpet.{part}.") for part in WANTED)
    if isWanted and module.name not in OF_A_SHELL:
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = repr(error)
print(failed or "all")
"""

CONNECT = """
import pathlib, tempfile
import limpet.aio
from tests.pair.stack import HOST_KEY, UserAuth, makeFactory


async def main(known):
    reactor = limpet.aio.reactor_for(asyncio.get_running_loop())
    port = reactor.listenTCP(0, makeFactory(), interface="127.0.0.1")
    config = pathlib.Path(known).with_name("config")
    config.write_text(
        "Host *\\nUser alice\\nStrictHostKeyChecking accept-new\\nIdentityAgent none\\n"
    )
    for _ in range(2):
        async with limpet.aio.connect(
            "127.0.0.1",
            port=port.getHost().port,
            password=UserAuth.password,
            host_keys=pathlib.Path(known),
            config_files=[config],
        ) as client:
            print((await client.run("exit 7")).exit_status)
    port.stopListening()


with tempfile.TemporaryDirectory() as directory:
    known = os.path.join(directory, "known_hosts")
    asyncio.run(asyncio.wait_for(main(known), 30))
    print(open(known, "rb").read().count(HOST_KEY.public().toString("OPENSSH")))
"""


def onWindows(program: str, *arguments: str) -> str:
    """What a program prints from which Limpet sees nothing of POSIX."""
    ended = subprocess.run(
        [sys.executable, "-c", HIDE + program, *arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def test_a_client_is_imported() -> None:
    parts = ("wire", "crypto", "core", "interfaces", "error", "ttymodes", "ssh", "client")
    assert onWindows(IMPORT, *parts, "aio", "endpoints") == "all\n"


def test_what_needs_posix_does_not_come() -> None:
    """So that the test above can fail."""
    assert "pwd is not on Windows" in onWindows(IMPORT, "unix")


def test_a_client_connects() -> None:
    """It reads the configuration, remembers the host's key, and knows it the second time."""
    assert onWindows(CONNECT).split() == ["7", "7", "1"]


def test_a_lock(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as first, open(tmp_path / "file", "wb") as second:
        _posix.lockWithoutWaiting(first.fileno())
        with pytest.raises(OSError):
            _posix.lockWithoutWaiting(second.fileno())


def test_the_user() -> None:
    assert _posix.userNumber() == os.getuid()
