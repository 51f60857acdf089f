"""What the doctor says of a program for Conch, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from limpet.doctor import Verdict, readFile, readTree

SAME, DIFFERS, MISSING = Verdict.SAME, Verdict.DIFFERS, Verdict.MISSING


def read(text: str) -> dict[tuple[int, str], Verdict]:
    """(line, name) to verdict."""
    return {(found.line, found.name): found.verdict for found in readFile(text, "program.py")}


class TestImports:
    @pytest.mark.parametrize(
        "text",
        [
            "from twisted.conch.ssh import keys",
            "import twisted.conch.ssh.keys",
            "from limpet.ssh import keys",
            "def f():\n    from twisted.conch.ssh import keys",
        ],
    )
    def test_aModuleThatLimpetReplaces(self, text: str) -> None:
        line = text.count("\n") + 1
        assert read(text) == {(line, "ssh.keys"): SAME}

    def test_aNameOfOne(self) -> None:
        text = "from twisted.conch.ssh.keys import Key, NoSuchKey"
        assert read(text) == {(1, "ssh.keys.Key"): SAME, (1, "ssh.keys.NoSuchKey"): MISSING}

    def test_whatTwistedKeeps(self) -> None:
        text = "from twisted.conch import manhole_ssh\nmanhole_ssh.TerminalRealm()\n"
        assert set(read(text).values()) == {SAME}

    def test_theKeyExchangesOwnModule(self) -> None:
        assert read("from twisted.conch.ssh import _kex") == {(1, "ssh._kex"): MISSING}

    @pytest.mark.parametrize("text", ["import twisted.internet", "from . import conch", "x = 1"])
    def test_noConchAtAll(self, text: str) -> None:
        assert read(text) == {}


class TestWhoseModulesTheyAre:
    """A program gets Limpet's under Conch's names, or imports Limpet by name, but not both."""

    MANHOLE = "from twisted.conch import manhole_ssh, manhole\n"
    KEYS = "from twisted.conch.ssh import keys\n"
    OURS = "from limpet import avatar\n"
    INSTALL = "import limpet\nlimpet.install_as_conch()\n"

    @pytest.mark.parametrize(
        "text",
        [
            MANHOLE + KEYS,
            INSTALL + MANHOLE + KEYS,
            INSTALL + MANHOLE + KEYS + OURS,
            "from limpet import install_as_conch\nif 1:\n    install_as_conch()\n" + MANHOLE + OURS,
            MANHOLE + OURS + "start('python -m limpet.conch -- server.py')\n",
            MANHOLE + OURS + "start(['-m', 'limpet.conch', 'server.py'])\n",
            MANHOLE + "def main():\n    install_as_conch()\n",
            "def main():\n    from twisted.conch.ssh import keys\n" + INSTALL,
            "from twisted.conch import manhole\n" + OURS,
            "from twisted.conch import manhole\n" + INSTALL,
            OURS + INSTALL,
        ],
    )
    def test_one(self, text: str) -> None:
        assert set(read(text).values()) == {SAME}

    def test_both(self) -> None:
        found = read(self.MANHOLE + self.KEYS + self.OURS)
        assert found == {
            (1, "manhole_ssh"): DIFFERS,
            (1, "manhole"): SAME,
            (2, "ssh.keys"): DIFFERS,
            (3, "avatar"): SAME,
        }

    def test_conchBeforeLimpetIsInstalled(self) -> None:
        findings = readFile(self.KEYS + self.MANHOLE + self.INSTALL, "program.py")
        differing = {(found.line, found.name) for found in findings if found.verdict is DIFFERS}
        assert differing == {(1, "ssh.keys"), (2, "manhole_ssh")}
        assert "ConchAlreadyLoaded" in findings[0].advice

    def test_anotherFileInstallsIt(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text(self.MANHOLE + self.OURS)
        reading = readTree(tmp_path)
        assert DIFFERS in {found.verdict for found in reading.findings}
        assert not reading.installs
        (tmp_path / "main.py").write_text(self.INSTALL)
        reading = readTree(tmp_path)
        assert {found.verdict for found in reading.findings} == {SAME}
        assert reading.installs

    def test_whetherConchIsImported(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text(self.OURS)
        assert not readTree(tmp_path).importsConch
        (tmp_path / "b.py").write_text(self.KEYS)
        assert readTree(tmp_path).importsConch


class TestNames:
    def test_throughAnAlias(self) -> None:
        text = "from twisted.conch.ssh import transport as t\nt.SSHCiphers._getMAC(b'', b'')\n"
        assert read(text)[2, "ssh.transport.SSHCiphers._getMAC"] is MISSING

    def test_theWholeName(self) -> None:
        text = "import twisted.conch.error\nraise twisted.conch.error.NoSuchError()\n"
        assert read(text)[2, "error.NoSuchError"] is MISSING

    def test_aVariableOfTheSameName(self) -> None:
        text = (
            "from twisted.conch.ssh import factory\n"
            "def f(keys):\n    factory = make()\n    factory.portal = keys.nothing\n"
        )
        assert read(text) == {(1, "ssh.factory"): SAME}

    def test_anAttributeOfAnInstanceIsNotJudged(self) -> None:
        text = "from twisted.conch.ssh.keys import Key\nKey.fromFile('x').anything\n"
        assert MISSING not in read(text).values()


class TestClasses:
    TEXT = (
        "from twisted.conch.ssh import transport, userauth\n"
        "class Base(transport.SSHServerTransport):\n"
        "    def sendPacket(self, number, payload):\n"
        "        self.nextEncryptions = None\n"
        "    def ssh_KEXINIT(self, packet):\n"
        "        pass\n"
        "class Derived(Base):\n"
        "    def connectionSecure(self):\n"
        "        pass\n"
        "class Auth(userauth.SSHUserAuthServer):\n"
        "    loginTimeout = 5\n"
        "    def auth_publickey(self, packet):\n"
        "        pass\n"
        "class Other:\n"
        "    def sendPacket(self):\n"
        "        pass\n"
    )

    def test_methodsAndAttributesOfItsOwn(self) -> None:
        found = {
            where: verdict for where, verdict in read(self.TEXT).items() if verdict is not SAME
        }
        assert found == {
            (3, "Base.sendPacket"): DIFFERS,
            (4, "self.nextEncryptions"): MISSING,
            (8, "Derived.connectionSecure"): DIFFERS,
            (11, "Auth.loginTimeout"): DIFFERS,
            (12, "Auth.auth_publickey"): DIFFERS,
        }


class TestValues:
    def test_oldAlgorithms(self) -> None:
        text = (
            "from twisted.conch.ssh import transport\n"
            "ciphers = [b'aes128-ctr', b'3des-cbc']\n"
            "kex = 'curve25519-sha256,diffie-hellman-group1-sha1'\n"
            "note = 'we used to have 3des-cbc'\n"
        )
        found = read(text)
        assert found[2, "3des-cbc"] is DIFFERS
        assert found[3, "diffie-hellman-group1-sha1"] is DIFFERS
        assert (4, "3des-cbc") not in found

    def test_algorithmsOfOthersAreNotOurs(self) -> None:
        assert read("ciphers = [b'3des-cbc']") == {}

    def test_textWhereBytesAreMeant(self) -> None:
        text = (
            "from twisted.conch import avatar\n"
            "user.channelLookup.update({'session': 1})\n"
            "user.channelLookup['session'] = 1\n"
            "factory.services = {'ssh-userauth': 1, b'ssh-connection': 2}\n"
        )
        found = [line for (line, _), verdict in read(text).items() if verdict is DIFFERS]
        assert found == [2, 3, 4]

    def test_shortKeys(self) -> None:
        text = "from twisted.conch.ssh import keys\nrsa.generate_private_key(key_size=1024)\n"
        assert read(text)[2, "key_size=1024"] is MISSING


class TestTrees:
    def test_allFilesBelowAFolder(self, tmp_path: Path) -> None:
        (tmp_path / "package").mkdir()
        (tmp_path / ".hidden").mkdir()
        (tmp_path / "package/a.py").write_text("from twisted.conch import avatar\n")
        (tmp_path / "package/b.tac").write_text("from twisted.conch.ssh import keys\n")
        (tmp_path / "package/c.txt").write_text("from twisted.conch.ssh import keys\n")
        (tmp_path / ".hidden/d.py").write_text("from twisted.conch.ssh import keys\n")
        (tmp_path / "broken.py").write_text("from twisted.conch import (\n")
        (tmp_path / "null.py").write_bytes(b"x = '\0'\n")
        reading = readTree(tmp_path)
        assert [found.name for found in reading.findings] == ["avatar", "ssh.keys"]
        assert reading.files == 2
        assert sorted(Path(path).name for path in reading.unreadable) == ["broken.py", "null.py"]
