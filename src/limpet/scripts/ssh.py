"""`limpet ssh`: log in on another machine, or run a command there.

Rule: the exit status is that of the command; 255 is our own failure, and its reason is told in one
line.

    arguments ─▶ configuration ─┬─▶ a master does it               `limpet.scripts.sharing`
                                └─▶ a connection, and a session    `limpet.scripts.login`
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from limpet._version import __version__
from limpet.client.config import ClientConfig, ConfigError, loadClientConfig
from limpet.client.errors import OWN_FAILURE
from limpet.client.names import systemLookUp
from limpet.scripts.messages import Loudness, Messages, startLogging
from limpet.scripts.reactors import commandReactor
from limpet.scripts.sshoptions import USAGE, Invocation, Usage, parse
from limpet.scripts.standard import OutputLost, endWithoutOutput, leave


def run(arguments: Sequence[str]) -> NoReturn:
    """Do what the arguments ask for, and end the process with its exit status."""
    messages = Messages()
    try:
        if arguments[:1] in (["--help"], ("--help",)):
            print(USAGE, end="")
            leave(0)
        begin(arguments, messages)
    except Usage as mistake:
        messages.sayUsage(str(mistake), "ssh", USAGE)
    except KeyboardInterrupt:
        # Before there is a reactor, which takes the signal itself.
        messages.say("ended by SIGINT", Loudness.VERBOSE)
    except OutputLost as lost:
        endWithoutOutput(lost, OWN_FAILURE)
    except Exception as bug:  # noqa: BLE001 whatever it is: 1 would be the command's status
        messages.say(f"this is a bug in Limpet: {type(bug).__name__}: {bug}")
    leave(OWN_FAILURE)


def begin(arguments: Sequence[str], messages: Messages) -> None:
    """Do what `run` does; returns only if the reactor does.

    Raises:
        Usage: The arguments make no sense.
    """
    invocation = parse(arguments)
    if invocation.showsVersion:
        messages.write(versions())
        leave(0)
    if invocation.query is not None:
        leave(printAlgorithms(invocation.query, messages))
    config = configure(invocation, messages)
    if invocation.showsConfig:
        from limpet.client.listing import configLines

        print("\n".join(configLines(config)))
        leave(0)
    if config.controlPath is not None or invocation.control is not None:
        useMaster(config, invocation, messages)
    # Half of the start: not for what is done by now, and by a master.
    from limpet.scripts.login import Login

    startLogging(messages)
    reactor = commandReactor()
    login = Login(reactor, config, invocation, messages)
    login.finished.addCallback(leave)
    reactor.callWhenRunning(login.start)
    # Garbage comes with the session; what was loaded before is none, and is not looked at again.
    gc.freeze()
    gc.enable()
    reactor.run()


def useMaster(config: ClientConfig, invocation: Invocation, messages: Messages) -> None:
    """Have a master do what was asked for, and end; returns where there is none."""
    from limpet.scripts.sharing import control, runShared

    if invocation.control is not None:
        leave(control(config, invocation, messages))
    status = runShared(config, invocation, messages)
    if status is not None:
        leave(status)


def configure(invocation: Invocation, messages: Messages) -> ClientConfig:
    """Read the configuration; where it cannot be used, say why and end."""
    files: Sequence[Path] | None = None
    if invocation.configFile is not None:
        files = () if invocation.configFile == "none" else (Path(invocation.configFile),)
    try:
        if invocation.logFile is not None:
            messages.writeTo(invocation.logFile)
        config = loadClientConfig(
            invocation.host,
            overrides=invocation.overrides,
            files=files,
            command=invocation.command,
            lookUp=systemLookUp,
        )
    except ConfigError as failure:
        messages.say(str(failure))
        leave(OWN_FAILURE)
    except OSError as failure:
        messages.say(f"{invocation.logFile}: {failure.strerror}")
        leave(OWN_FAILURE)
    messages.loudness = Loudness[config.logLevel]
    for text in (*invocation.notices, *config.warnings):
        messages.say(text)
    for text in config.notes:
        messages.say(text, Loudness.VERBOSE)
    messages.sayHow(config)
    if invocation.command is not None and config.remoteCommand is not None:
        messages.say("there is a command in the arguments and a RemoteCommand in the configuration")
        leave(OWN_FAILURE)
    if config.sessionType == "subsystem" and not (invocation.command or config.remoteCommand):
        messages.say("-s needs the name of a subsystem in the place of the command")
        leave(OWN_FAILURE)
    if config.forkAfterAuthentication and not invocation.showsConfig:
        config = replace(config, stdinNull=True)
    if (
        config.controlMaster != "no"
        and config.controlPath is not None
        and config.controlPersist is not None
        and messages.loudness < Loudness.DEBUG1
    ):
        # It goes on with the connection, and whoever reads standard error waits for its end.
        config = replace(config, proxyIsSilent=True)
    if config.forkAfterAuthentication and not (
        config.sessionType == "none" or invocation.command or config.remoteCommand
    ):
        messages.say("-f needs a command to run in the background, or -N")
        leave(OWN_FAILURE)
    if invocation.forwardTo is None:
        return replace(
            config,
            localForwards=[*invocation.localForwards, *config.localForwards],
            remoteForwards=[*invocation.remoteForwards, *config.remoteForwards],
            dynamicForwards=[*invocation.dynamicForwards, *config.dynamicForwards],
        )
    return config


def versions() -> str:
    """What -V prints."""
    import platform
    from importlib.metadata import version

    from cryptography.hazmat.backends.openssl import backend

    return (
        f"Limpet_{__version__}, Python {platform.python_version()}, Twisted {version('twisted')}, "
        f"{backend.openssl_version_text()}\n"
    )


def algorithmLists() -> Mapping[str, Sequence[bytes]]:
    """What -Q may ask for."""
    from limpet.client.config import DEFAULT_ALGORITHMS
    from limpet.core.kex import KEX_METHODS
    from limpet.crypto.ciphers import CIPHERS
    from limpet.crypto.macs import MACS
    from limpet.crypto.signatures import HOST_KEY_ALGORITHMS

    ciphers = [name for name in CIPHERS if name != b"none"]
    macs = [name for name in MACS if name != b"none"]
    return {
        "cipher": ciphers,
        "cipher-auth": [name for name in ciphers if b"gcm" in name or b"poly1305" in name],
        "mac": macs,
        "kex": list(KEX_METHODS),
        "key": list(HOST_KEY_ALGORITHMS),
        "sig": [name for name in HOST_KEY_ALGORITHMS if b"-cert-" not in name],
        "compression": [b"none", b"zlib@openssh.com"],
        "Ciphers": DEFAULT_ALGORITHMS.ciphers,
        "MACs": DEFAULT_ALGORITHMS.macs,
        "KexAlgorithms": DEFAULT_ALGORITHMS.keyExchanges,
        "HostKeyAlgorithms": DEFAULT_ALGORITHMS.publicKeys,
    }


def printAlgorithms(query: str, messages: Messages) -> int:
    """Print what -Q asks for: all that Limpet has of a kind, or what a client offers unasked."""
    lists = algorithmLists()
    if query == "help":
        print("\n".join(lists))
        return 0
    found = lists.get(query)
    if found is None:
        messages.say(f"-Q {query}: one of {', '.join(lists)}")
        return OWN_FAILURE
    print("\n".join(name.decode("ascii") for name in found))
    return 0
