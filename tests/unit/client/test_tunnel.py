"""What a jump host's refusal becomes."""

from __future__ import annotations

import pytest
from twisted.internet.address import HostnameAddress
from twisted.internet.task import Clock

from limpet.client.errors import ConnectFailed
from limpet.client.tunnel import TunnelChannel
from limpet.error import ConchError


@pytest.mark.parametrize(
    "said", [b"Connection refused", b"inner port 22: Connection refused"], ids=["sshd", "limpet"]
)
def test_aRefusalNamesThePlaceOnce(said: bytes) -> None:
    channel = TunnelChannel(None, "outer", HostnameAddress(b"inner", 22), Clock())
    failures: list[str] = []
    channel.outcome.addErrback(
        lambda reason: failures.append(reason.trap(ConnectFailed) and reason.getErrorMessage())
    )
    channel.openFailed(ConchError(said, 2))
    assert failures == [
        "cannot connect to inner port 22: the jump host outer does not connect to it: "
        "Connection refused"
    ]
