"""The agent protocol, from both sides, under the names that Conch documents (RFC 9987)."""

from limpet.ssh.agent.client import AgentBroken, AgentError, AgentRefused, SSHAgentClient
from limpet.ssh.agent.server import SSHAgentFactory, SSHAgentServer
from limpet.wire.agent import (
    AGENT_FAILURE,
    AGENT_IDENTITIES_ANSWER,
    AGENT_RSA_IDENTITIES_ANSWER,
    AGENT_SIGN_RESPONSE,
    AGENT_SUCCESS,
    AGENTC_ADD_IDENTITY,
    AGENTC_REMOVE_ALL_IDENTITIES,
    AGENTC_REMOVE_ALL_RSA_IDENTITIES,
    AGENTC_REMOVE_IDENTITY,
    AGENTC_REMOVE_RSA_IDENTITY,
    AGENTC_REQUEST_IDENTITIES,
    AGENTC_REQUEST_RSA_IDENTITIES,
    AGENTC_SIGN_REQUEST,
    Constraints,
)
from limpet.wire.agent import REQUEST_NAMES as messages

__all__ = [
    "AGENTC_ADD_IDENTITY",
    "AGENTC_REMOVE_ALL_IDENTITIES",
    "AGENTC_REMOVE_ALL_RSA_IDENTITIES",
    "AGENTC_REMOVE_IDENTITY",
    "AGENTC_REMOVE_RSA_IDENTITY",
    "AGENTC_REQUEST_IDENTITIES",
    "AGENTC_REQUEST_RSA_IDENTITIES",
    "AGENTC_SIGN_REQUEST",
    "AGENT_FAILURE",
    "AGENT_IDENTITIES_ANSWER",
    "AGENT_RSA_IDENTITIES_ANSWER",
    "AGENT_SIGN_RESPONSE",
    "AGENT_SUCCESS",
    "AgentBroken",
    "AgentError",
    "AgentRefused",
    "Constraints",
    "SSHAgentClient",
    "SSHAgentFactory",
    "SSHAgentServer",
    "messages",
]
