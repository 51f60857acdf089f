"""Programs far away as stream endpoints: Conch's `twisted.conch.endpoints`, and what it lacks."""

from limpet.client.errors import AuthenticationFailed
from limpet.client.streams import CommandSucceeded
from limpet.endpoints.creation import (
    ExistingConnection,
    NewConnection,
    _ExistingConnectionHelper,
    _ISSHConnectionCreator,
    _NewConnectionHelper,
)
from limpet.endpoints.programs import (
    SSHCommandAddress,
    SSHCommandClientEndpoint,
    SSHShellClientEndpoint,
    SSHSubsystemClientEndpoint,
)

__all__ = [
    "AuthenticationFailed",
    "CommandSucceeded",
    "ExistingConnection",
    "NewConnection",
    "SSHCommandAddress",
    "SSHCommandClientEndpoint",
    "SSHShellClientEndpoint",
    "SSHSubsystemClientEndpoint",
    "_ExistingConnectionHelper",
    "_ISSHConnectionCreator",
    "_NewConnectionHelper",
]
