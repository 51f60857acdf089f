"""One server for a module, checked after every test: it runs, all is reaped, no traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import Workplace
from tests.interop.host import Host, running
from tests.interop.peers import requirePeer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Keys and files of all servers and clients of this test run."""
    return Workplace(tmp_path_factory.mktemp("interop"))


@pytest.fixture(scope="module")
def sharedHost(work: Workplace) -> Iterator[Host]:
    with running(work) as host:
        yield host


@pytest.fixture
def host(sharedHost: Host) -> Iterator[Host]:
    """The module's server, which has to be well before and after the test."""
    sharedHost.assertWell()
    yield sharedHost
    sharedHost.assertWell()


@pytest.fixture
def otherKey(tmp_path: Path) -> Path:
    """A client key that nobody authorised."""
    path = tmp_path / "otherKey"
    keygen = requirePeer("ssh-keygen")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path
