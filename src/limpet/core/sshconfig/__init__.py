"""ssh_config(5): from text to the settings for one host; no file is touched here."""

from limpet.core.sshconfig.commands import NeedsShell, splitCommand
from limpet.core.sshconfig.lines import COMMAND_LINE, BadConfig, Source, quoted
from limpet.core.sshconfig.places import (
    BadPlace,
    ForwardSpec,
    JumpHost,
    checkHost,
    checkUser,
    parseDestination,
    parseForward,
    parseJumps,
    parsePort,
    targetOf,
)
from limpet.core.sshconfig.resolving import (
    IncludedFile,
    Resolver,
    Setting,
    Settings,
    World,
)
from limpet.core.sshconfig.tokens import BadToken

__all__ = [
    "COMMAND_LINE",
    "BadConfig",
    "BadPlace",
    "BadToken",
    "ForwardSpec",
    "IncludedFile",
    "JumpHost",
    "NeedsShell",
    "Resolver",
    "Setting",
    "Settings",
    "Source",
    "World",
    "checkHost",
    "checkUser",
    "parseDestination",
    "parseForward",
    "parseJumps",
    "parsePort",
    "quoted",
    "splitCommand",
    "targetOf",
]
