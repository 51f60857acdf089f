"""`limpet serve`: from arguments to a running server, and what a person is told about it.

Rule: it says where it listens, by which key it is known, and what to type; and if nobody could log
in as things are, what to do about that.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from limpet._version import __version__
from limpet.scripts.keygen import typeName
from limpet.scripts.mistakes import Mistake
from limpet.scripts.reactors import commandReactor
from limpet.scripts.standard import OutputLost
from limpet.server.hostkeys import HostKeyError
from limpet.server.logs import startLogging
from limpet.server.service import ListenFailed, Server
from limpet.server.settings import Address, Settings, SettingsError, load
from limpet.server.supervisor import BadSocket, Supervisor, takeSockets
from limpet.ssh.keys import Key
from limpet.unix import Account
from limpet.unix.spawning import passOnNoIgnoredSignals

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What to type for an address that stands for all of them."""


def run(overrides: Mapping[str, Any], config: str | None) -> None:
    """Serve until a signal ends it.

    Args:
        overrides: Settings from the command line, by field.
        config: The settings file.
    """
    try:
        settings = load(config, overrides)
    except SettingsError as failure:
        raise Mistake(str(failure)) from None
    startLogging(sys.stderr, settings.logLevel)
    forbidCoreDumps()
    passOnNoIgnoredSignals()
    reactor = commandReactor()
    goByMonotonicClock(reactor)
    try:
        sockets = takeSockets()
        supervisor = Supervisor()
        server = Server(
            reactor, settings, lambda: load(config, overrides, isAgain=True), supervisor
        )
        addresses = server.start(sockets)
    except (BadSocket, HostKeyError, SettingsError, ListenFailed) as failure:
        raise Mistake(str(failure)) from None
    # From the moment at which somebody may know of the server; and again when the reactor has put
    # its own in their place.
    server.handleSignals()
    try:
        announce(server.settings, addresses, server.hostKeys)
    except OutputLost:
        # Nobody can be told: a full disk, a reader who has gone. It is served all the same.
        forgetOutput()
    server.finished.addCallback(lambda _: reactor.stop())
    reactor.callWhenRunning(server.handleSignals)
    reactor.callWhenRunning(supervisor.ready, f"listening on {', '.join(map(str, addresses))}")
    reactor.run()


def goByMonotonicClock(reactor: Any) -> None:
    """Have a reactor's timers run by a clock that nobody sets; before the first of them.

    Twisted's go by the calendar. Set back by an hour, it would keep them all waiting for an hour,
    that of a login which nobody completes included; set forward, it would fire them all.
    """
    reactor.seconds = time.monotonic


def forgetOutput() -> None:
    """Drop what standard output could not take; Python would try again at its end, and fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def forbidCoreDumps() -> None:
    """Keep host keys out of core files; sessions inherit it, and may raise it again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def announce(settings: Settings, addresses: Sequence[Address], hostKeys: Sequence[Key]) -> None:
    """Say where the server is and how to get in."""
    user = currentUser()
    filesOnly = bool(settings.sftpRoot or settings.readOnly)
    click.echo(f"limpet {__version__}")
    for address in addresses:
        click.echo(f"  listening on  {address}")
    for key in hostKeys:
        click.echo(f"  host key      {typeName(key)} {key.displayFingerprint()}")
    for address in addresses:
        click.echo(f"  log in with   {loginCommand(user, address, filesOnly)}")
    advice = adviceFor(settings)
    if advice:
        click.echo("")
        click.echo(advice)
    sys.stdout.flush()


def loginCommand(user: str, address: Address, filesOnly: bool = False) -> str:
    """The `ssh` command to type on this machine, or the `sftp` one where files are all there is."""
    host = ANY_ADDRESS.get(address.host, address.host)
    if filesOnly:
        host = f"[{host}]" if ":" in host else host
        port = "" if address.port == 22 else f"-P {address.port} "
        return f"sftp {port}{user}@{host}"
    port = "" if address.port == 22 else f"-p {address.port} "
    return f"ssh {port}{user}@{host}"


def currentUser() -> str:
    """The name of the account that this process runs as."""
    try:
        return Account.current().name
    except KeyError:
        return str(os.geteuid())


def homeDirectory() -> Path:
    """The home that logins get, from the system's users; $HOME may be another one."""
    try:
        return Path(Account.current().home)
    except KeyError:
        return Path.home()


def adviceFor(settings: Settings) -> str:
    """What to do where the user who runs the server could not log in; empty where they could."""
    home = homeDirectory()
    tokens = {"%h": str(home), "%u": currentUser(), "%%": "%"}
    files = [
        home / re.sub("%.", lambda found: tokens[found[0]], name)
        for name in settings.authorizedKeys
    ]
    if any(hasKeys(path) for path in files):
        return ""
    target = files[0]
    try:
        candidates = sorted(home.joinpath(".ssh").glob("id_*.pub"))
    except OSError:
        candidates = []
    lines = [f"Nobody's key is in {target} yet, so {currentUser()} cannot log in. To change that:"]
    private = None if candidates else home / ".ssh" / "id_ed25519"
    # ssh-keygen makes no directory for a file that it is told by name.
    needed = [target.parent] if private is None else [private.parent, target.parent]
    for directory in dict.fromkeys(needed):
        if not directory.is_dir():
            lines.append(f"  mkdir -m 700 -p {directory}")
    if private is None:
        public = candidates[0]
    else:
        public = private.with_name(private.name + ".pub")
        lines.append(f"  ssh-keygen -t ed25519 -f {private}")
    lines.append(f"  cat {public} >> {target} && chmod 600 {target}")
    lines.append("The server need not be started again.")
    return "\n".join(lines)


def hasKeys(path: Path) -> bool:
    """Whether the file has a line that is neither empty nor a comment."""
    try:
        with path.open("rb") as file:
            return any(line.strip() and not line.lstrip().startswith(b"#") for line in file)
    except OSError:
        return False
