"""Unix sockets with a user's rights: this process's own, and another user's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limpet.error import ConchError
from limpet.unix import sockets as unixSockets
from limpet.unix.accounts import Account
from limpet.unix.sockets import MAX_HANDOVERS, UnixSockets
from tests.descriptors import openDescriptors
from tests.pair.tunnels import End, Ends
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

needsRoot = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter, and with a short name."""
    path = Path(f"/tmp/limpet-sockets-{os.getpid()}")
    path.mkdir()
    path.chmod(0o755)
    yield path
    for left in path.iterdir():
        left.unlink()
    path.rmdir()


def result(driver: Driver, deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    driver.until(lambda: results, "the result")
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


class TestOurOwn:
    def test_bytes_go_both_ways(self, driver: Driver, place: Path) -> None:
        sockets, served = UnixSockets(driver.reactor), Ends()
        path = bytes(place / "s")
        port = result(driver, sockets.listen(path, served))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        near = result(driver, sockets.connect(path, End()))
        driver.until(lambda: served.made)
        near.transport.write(b"up")
        served.made[0].transport.write(b"down")
        driver.until(lambda: near.received == b"down" and served.made[0].received == b"up")
        near.transport.loseConnection()
        driver.until(lambda: served.made[0].ended)
        served.made[0].transport.loseConnection()
        port.stopListening()
        assert not os.path.exists(path)
        driver.turn()

    def test_what_is_there_stays(self, driver: Driver, place: Path) -> None:
        sockets = UnixSockets(driver.reactor)
        (place / "file").write_bytes(b"precious")
        with pytest.raises(ConchError, match="Address already in use"):
            result(driver, sockets.listen(bytes(place / "file"), Ends()))
        sockets.remove(bytes(place / "file"))
        assert (place / "file").read_bytes() == b"precious"

    def test_nothing_there(self, driver: Driver, place: Path) -> None:
        with pytest.raises(ConchError, match="No such file"):
            result(driver, UnixSockets(driver.reactor).connect(bytes(place / "x"), End()))


def hasNoChildren() -> bool:
    """Whether every child of this process has ended, and is reaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


@needsRoot
class TestAnothers:
    """attacks.md, G12: a server of root uses sockets as its user, never as root."""

    @pytest.fixture
    def nobody(self) -> Account:
        try:
            return Account.named("nobody")
        except KeyError:
            pytest.skip("there is no account named nobody")

    def test_G12_it_reaches_what_the_user_reaches(
        self, driver: Driver, place: Path, nobody: Account
    ) -> None:
        served = Ends()
        own = UnixSockets(driver.reactor)
        path = bytes(place / "s")
        port = result(driver, own.listen(path, served))
        theirs = UnixSockets(driver.reactor, nobody)
        with pytest.raises(ConchError, match="Permission denied"):
            result(driver, theirs.connect(path, End()))
        os.chmod(path, 0o666)
        near = result(driver, theirs.connect(path, End()))
        driver.until(lambda: served.made)
        near.transport.write(b"as nobody")
        driver.until(lambda: served.made[0].received == b"as nobody")
        driver.until(hasNoChildren, "the children's end")
        near.transport.loseConnection()
        driver.until(lambda: served.made[0].ended)
        served.made[0].transport.loseConnection()
        port.stopListening()
        driver.turn()

    def test_G12_it_makes_and_removes_what_the_user_may(
        self, driver: Driver, place: Path, nobody: Account
    ) -> None:
        theirs = UnixSockets(driver.reactor, nobody)
        path = place / "s"
        with pytest.raises(ConchError, match="Permission denied"):
            result(driver, theirs.listen(bytes(path), Ends()))
        driver.until(hasNoChildren, "the child's end")
        os.chown(place, nobody.uid, nobody.gid)
        port = result(driver, theirs.listen(bytes(path), Ends()))
        details = path.stat()
        assert (details.st_uid, stat.S_IMODE(details.st_mode)) == (nobody.uid, 0o600)
        port.stopListening()
        driver.until(lambda: not path.exists(), "the socket's removal")
        driver.until(hasNoChildren, "the child's end")

    def test_G12_it_removes_nothing_that_the_user_may_not(
        self, driver: Driver, place: Path, nobody: Account
    ) -> None:
        own = UnixSockets(driver.reactor)
        port = result(driver, own.listen(bytes(place / "s"), Ends()))
        result(
            driver,
            UnixSockets(driver.reactor, nobody)
            ._have("remove", bytes(place / "s"))
            .addErrback(lambda _: None),
        )
        driver.until(hasNoChildren, "the child's end")
        assert (place / "s").exists()
        port.stopListening()
        driver.turn()

    def test_children_are_few_at_a_time(
        self, driver: Driver, place: Path, nobody: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = UnixSockets(driver.reactor, nobody)
        forks: list[int] = []
        fork = os.fork

        def counted() -> int:
            forks.append(1)
            return fork()

        monkeypatch.setattr(os, "fork", counted)
        outcomes: list[Any] = []
        for _ in range(20):
            theirs.connect(bytes(place / "x"), End()).addBoth(outcomes.append)
        assert len(forks) == MAX_HANDOVERS
        driver.until(lambda: len(outcomes) == 20)
        assert len(forks) == 20
        driver.until(hasNoChildren, "the children's end")
        # What waits for its turn when the login ends has none.
        given = [theirs.connect(bytes(place / "x"), End()) for _ in range(20)]
        for each in given:
            each.addErrback(lambda _: None)
        for each in reversed(given):
            each.cancel()
        assert len(forks) == 20 + MAX_HANDOVERS
        driver.until(hasNoChildren, "the children's end")

    def test_V4_nobody_waits_for_a_child_that_cannot_be_ended(
        self, driver: Driver, place: Path, nobody: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user's own file system (FUSE) can keep a process from being killed; the server has
        others to serve meanwhile, and no more of them than are bounded."""
        waits, ends = os.pipe()
        forks: list[int] = []
        fork = os.fork

        def counted() -> int:
            forks.append(1)
            return fork()

        def stuck(action: str, path: bytes) -> None:
            os.close(ends)
            os.read(waits, 1)

        monkeypatch.setattr(os, "fork", counted)
        monkeypatch.setattr(unixSockets, "perform", stuck)
        monkeypatch.setattr(unixSockets, "HANDOVER_SECONDS", 0.05)
        # In place of SIGKILL, which such a process does not see.
        monkeypatch.setattr(os, "kill", lambda pid, number: None)
        theirs = UnixSockets(driver.reactor, nobody)
        outcomes: list[Any] = []
        for _ in range(MAX_HANDOVERS + 1):
            theirs.connect(bytes(place / "x"), End()).addBoth(outcomes.append)
        driver.until(lambda: len(outcomes) == MAX_HANDOVERS, "the end of waiting")
        assert all(failure.check(ConchError) for failure in outcomes)
        driver.turn()
        assert len(forks) == MAX_HANDOVERS
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)
        os.close(ends)
        driver.until(lambda: len(outcomes) == MAX_HANDOVERS + 1, "its turn")
        driver.until(hasNoChildren, "the children's end")
        os.close(waits)

    def test_no_child_and_no_descriptor_is_left(
        self, driver: Driver, place: Path, nobody: Account
    ) -> None:
        theirs = UnixSockets(driver.reactor, nobody)
        before = openDescriptors()
        for _ in range(3):
            with pytest.raises(ConchError):
                result(driver, theirs.connect(bytes(place / "x"), End()))
        given = theirs.connect(bytes(place / "x"), End())
        given.addErrback(lambda _: None)
        given.cancel()
        driver.until(hasNoChildren, "the children's end")
        assert openDescriptors() <= before
