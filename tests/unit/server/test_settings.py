"""Settings: what is read, and that everything else is refused by name."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.server.settings import FIELDS, Address, Settings, SettingsError, load, settingName


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("127.0.0.1:2222", "127.0.0.1", 2222),
            ("[::1]:0", "::1", 0),
            ("localhost:22", "127.0.0.1", 22),
            ("*:65535", "0.0.0.0", 65535),
            ("[::]:22", "::", 22),
        ],
    )
    def test_reading(self, text: str, host: str, port: int) -> None:
        assert Address.parse(text) == Address(host, port)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "2222", "127.0.0.1", ":2222", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"),
            *("::1:2222", "[127.0.0.1]:22", "[::1]", "example.org:22", "1.2.3:22", "a\0:22"),
            *("127.0.0.1:٢٢", "127.0.0.1:-1", "[::1:22", "127.0.0.1:000022"),
        ],
    )
    def test_whatIsNone(self, text: str) -> None:
        with pytest.raises(SettingsError):
            Address.parse(text)

    def test_itIsWrittenAsItIsRead(self) -> None:
        for text in ("127.0.0.1:22", "[::1]:22"):
            assert str(Address.parse(text)) == text

    @given(st.text(max_size=40))
    def test_nothingElseIsRaised(self, text: str) -> None:
        with suppress(SettingsError):
            assert 0 <= Address.parse(text).port <= 65535


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_withoutAFileTheDefaults() -> None:
    settings = load(None)
    assert settings == Settings()
    assert settings.addresses() == [Address("127.0.0.1", 2222)]


def test_aFileAndTheCommandLineOverIt(tmp_path: Path) -> None:
    path = written(
        tmp_path / "limpet.toml",
        """
        listen = ["[::1]:22", "127.0.0.1:23"]
        host-keys = "/etc/key"
        accept-env = ["A"]
        allow-pty = false
        max-sessions = 3
        login-grace-seconds = 5
        max-startups = "1:50:2"
        """,
    )
    settings = load(path, {"listen": (), "logLevel": None, "acceptEnv": ("B",)})
    assert settings.listen == ("[::1]:22", "127.0.0.1:23")
    assert settings.hostKeys == ("/etc/key",)
    assert settings.acceptEnv == ("B",)
    assert (settings.allowPty, settings.maxSessions) == (False, 3)
    assert settings.loginGraceSeconds == 5.0
    assert settings.startupLimit().full == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1", "colour"),
        ("hostKeys = 'x'", "hostKeys"),
        ("listen = 22", "listen"),
        ("listen = []", "listen"),
        ("listen = ['nowhere']", "nowhere"),
        ("host-keys = [1]", "host-keys"),
        ("allow-pty = 'yes'", "allow-pty"),
        ("allow-pty = 1", "allow-pty"),
        ("max-sessions = true", "max-sessions"),
        ("max-sessions = 0", "max-sessions"),
        ("max-sessions = 1.5", "max-sessions"),
        ("max-startups = 'many'", "max-startups"),
        ("login-grace-seconds = 0", "login-grace-seconds"),
        ("drain-seconds = -1", "drain-seconds"),
        ("drain-seconds = inf", "drain-seconds"),
        ("keepalive-seconds = nan", "keepalive-seconds"),
        ("algorithms = 'rot13'", "algorithms"),
        ("log-level = 'loud'", "log-level"),
        ("authorized-keys = ['%x/keys']", "authorized-keys"),
        ("sftp-root = '/srv/%x'", "sftp-root"),
        ("sftp-root = 'relative'", "sftp-root"),
        ("sftp-root = '%u/files'", "sftp-root"),
        ("sftp-root = 5", "sftp-root"),
        ("sftp = false\nsftp-root = '/srv'", "sftp-root"),
        ("sftp = false\nread-only = true", "read-only"),
        ("read-only = 'yes'", "read-only"),
        ("exempt = ['example.org']", "exempt"),
        ("exempt = ['192.0.2.1/24']", "exempt"),
        ("penalties = 5", "penalties"),
        ("revoked-keys = ['a', 'b']", "revoked-keys"),
        ('host-keys = "a\\u0000b"', "host-keys"),
        ('revoked-keys = "a\\u0000b"', "revoked-keys"),
        ("[section]\nlisten = 'x'", "'section'; known are listen, host-keys, "),
        ("keepalive_seconds = 3", "unknown setting 'keepalive_seconds'; is it keepalive-seconds?"),
        ("listen = ", "not TOML"),
        (f"max-sessions = {'9' * 5000}", "not TOML"),
        (f"drain-seconds = {'9' * 400}", "drain-seconds"),
        (f"listen = {'[' * 5000}", "not TOML"),
    ],
)
def test_whatIsNoSettingIsNamedWithItsFile(tmp_path: Path, text: str, named: str) -> None:
    path = written(tmp_path / "limpet.toml", text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_aFileThatCannotBeRead(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not TOML"):
        load(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 1024 * 1024 + b"##")
    with pytest.raises(SettingsError, match="larger"):
        load(tmp_path / "large.toml")


def test_whatIsNoFileIsReadOnceAndNotAgain(tmp_path: Path) -> None:
    """A shell's `<(…)` at the start: the second time it would be empty, and so all defaults."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"max-sessions = 3\n")
        os.close(writing)
        assert load(f"/dev/fd/{reading}").maxSessions == 3
        with pytest.raises(SettingsError, match="not a file"):
            load(f"/dev/fd/{reading}", isAgain=True)
    finally:
        os.close(reading)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SettingsError, match="not a file"):
        load(tmp_path / "fifo", isAgain=True)
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "none", isAgain=True)
    assert load(written(tmp_path / "file", "max-sessions = 4"), isAgain=True).maxSessions == 4


def test_everyFieldHasAName() -> None:
    assert settingName("maxStartups") == "max-startups"
    assert set(FIELDS) == {settingName(field.name) for field in dataclasses.fields(Settings)}
