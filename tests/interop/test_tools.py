"""Programs that run over ssh: git and rsync."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.interop.host import Host, environmentFor
from tests.interop.peers import requirePeer

TOOL_SECONDS = 120.0
FILE_SIZES = (0, 1, 4096, 1_000_003, 5_000_000)


def run(host: Host, *command: str, directory: Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        cwd=directory,
        env=environmentFor(
            host,
            {
                "GIT_SSH_COMMAND": shlex.join(host.sshCommand()),
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_AUTHOR_NAME": "A",
                "GIT_AUTHOR_EMAIL": "a@example.org",
                "GIT_COMMITTER_NAME": "A",
                "GIT_COMMITTER_EMAIL": "a@example.org",
            },
        ),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of files that do not compress."""
    tree = tmp_path / "tree"
    for number, size in enumerate(FILE_SIZES):
        path = tree / f"d{number}" / f"file {number}"
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(size))
    return tree


def contents(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


class TestGit:
    @pytest.mark.parametrize("protocol", ["0", "2"])
    def test_push_and_clone(self, host: Host, tree: Path, tmp_path: Path, protocol: str) -> None:
        git = (requirePeer("git"), "-c", f"protocol.version={protocol}")
        bare = tmp_path / "bare.git"
        run(host, *git, "init", "-q", "--bare", "-b", "main", str(bare), directory=tmp_path)
        run(host, *git, "init", "-q", "-b", "main", directory=tree)
        run(host, *git, "add", ".", directory=tree)
        run(host, *git, "commit", "-q", "-m", "first", directory=tree)
        url = f"ssh://{host.destination}:{host.port}{bare}"
        run(host, *git, "push", "-q", url, "main", directory=tree)
        run(host, *git, "clone", "-q", url, "copy", directory=tmp_path)
        copy = tmp_path / "copy"
        assert contents(copy) == contents(tree)
        head = run(host, *git, "rev-parse", "HEAD", directory=tree)
        assert run(host, *git, "rev-parse", "HEAD", directory=copy) == head
        # And back: a second commit from the clone, fetched into the first tree.
        (copy / "new").write_bytes(b"new")
        run(host, *git, "add", ".", directory=copy)
        run(host, *git, "commit", "-q", "-m", "second", directory=copy)
        run(host, *git, "push", "-q", directory=copy)
        run(host, *git, "pull", "-q", url, "main", directory=tree)
        assert contents(copy) == contents(tree)


class TestRsync:
    def test_both_ways(self, host: Host, tree: Path, tmp_path: Path) -> None:
        rsync = (requirePeer("rsync"), "-a", "-e", shlex.join(host.sshCommand()))
        there, back = tmp_path / "there", tmp_path / "back"
        run(host, *rsync, f"{tree}/", f"{host.destination}:{there}/", directory=tmp_path)
        assert contents(there) == contents(tree)
        (there / "d1" / "file 1").write_bytes(b"changed on the server")
        run(host, *rsync, f"{host.destination}:{there}/", f"{back}/", directory=tmp_path)
        assert contents(back) == contents(there)
