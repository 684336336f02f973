"""Files of secrets and TLS: one line names each fault and its setting, never the secret."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.settings.load import KafkaSettings, load_settings
from streams.settings.secrets import MAX_SECRET_BYTES, read_secret, tls_context
from tests.support.security.certificates import OPENSSL, Certificate, make_authority, sign
from tools.main import COMMANDS, build_parser

MARKER = "marker-of-a-secret"
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="needs the openssl program")


def secret_file(folder: Path, content: bytes = MARKER.encode(), mode: int = 0o600) -> str:
    """Return a file with a secret."""
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("content", [MARKER.encode(), f"{MARKER}\n".encode(), f"{MARKER}\r\n".encode()])
def test_a_secret_is_the_line_in_the_file(tmp_path: Path, content: bytes) -> None:
    """Editors end a line; the line break is not part of the password."""
    assert read_secret(secret_file(tmp_path, content), "sasl_password_file") == MARKER


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (f"{MARKER}\n{MARKER}\n".encode(), 0o600, "more than one line"),
        (f"{MARKER}\xff".encode("latin-1"), 0o600, "not UTF-8"),
        (MARKER.encode() * MAX_SECRET_BYTES, 0o600, f"above {MAX_SECRET_BYTES} bytes"),
        (MARKER.encode(), 0o602, "may be written by others"),
        (MARKER.encode(), 0o620, "may be written by others"),
        (MARKER.encode(), 0o604, "may be read by others; run chmod 600"),
        (MARKER.encode(), 0o640, "may be read by others; run chmod 600"),
    ],
)
def test_a_bad_secret_file_is_refused_without_showing_it(tmp_path: Path, content: bytes, mode: int, told: str) -> None:
    """One line: setting, file, what is wrong, what to do."""
    file = secret_file(tmp_path, content, mode)
    with pytest.raises(SettingsError, match=told) as caught:
        read_secret(file, "sasl_password_file")
    message = str(caught.value)
    assert file in message and "HEADRACE_SASL_PASSWORD_FILE" in message
    assert "\n" not in message and MARKER not in message
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "a traceback shows no more"


def test_a_missing_secret_file_is_refused(tmp_path: Path) -> None:
    """An unreadable file is refused too; the line quotes the system's reason."""
    with pytest.raises(SettingsError, match="cannot be read \\(No such file or directory\\)"):
        read_secret(str(tmp_path / "none"), "sasl_password_file")
    with pytest.raises(SettingsError, match="cannot be read \\(Is a directory\\)"):
        read_secret(str(tmp_path), "sasl_password_file")


def test_the_password_of_a_file_reaches_the_client_and_nothing_else(tmp_path: Path) -> None:
    """Settings are logged and shown without the secret."""
    file = secret_file(tmp_path)
    settings = load_settings(
        {
            "HEADRACE_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "HEADRACE_SASL_PLAINTEXT": "on",
            "HEADRACE_SASL_USERNAME": "u",
            "HEADRACE_SASL_PASSWORD_FILE": file,
        },
        file=Path("no-such-file.toml"),
    )
    assert settings.kafka.client_arguments()["sasl_plain_password"] == MARKER
    assert MARKER not in repr(settings) + str(settings.shown())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"sasl_username": "u"}, "needs sasl_password_file"),
        ({"sasl_password": MARKER}, "needs sasl_username"),
        ({"sasl_username": "u", "sasl_password": MARKER, "sasl_password_file": "f"}, "both set"),
    ],
)
def test_half_a_login_is_refused(more: dict[str, str], told: str) -> None:
    """The broker would refuse an empty password late, after retries and delays."""
    with pytest.raises(SettingsError, match=told) as caught:
        KafkaSettings(security_protocol="SASL_PLAINTEXT", sasl_plaintext="on", **more).client_arguments()  # type: ignore[arg-type]
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
@pytest.mark.parametrize("broker", ["b:9092", "127.0.0.1:9092"])
def test_a_login_without_tls_is_refused_unless_the_operator_says_otherwise(mechanism: str, broker: str) -> None:
    """On this machine too: a broker names addresses of other brokers, which may be anywhere."""
    variables = {
        "HEADRACE_BROKER": broker,
        "HEADRACE_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "HEADRACE_SASL_MECHANISM": mechanism,
        "HEADRACE_SASL_USERNAME": "u",
        "HEADRACE_SASL_PASSWORD": MARKER,
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(variables, file=Path("no-such-file.toml"))
    told = str(caught.value)
    assert "HEADRACE_SECURITY_PROTOCOL=SASL_SSL" in told and "HEADRACE_SASL_PLAINTEXT=on" in told
    assert "\n" not in told and MARKER not in told
    load_settings(variables | {"HEADRACE_SASL_PLAINTEXT": "on"}, file=Path("no-such-file.toml"))
    load_settings(variables | {"HEADRACE_SECURITY_PROTOCOL": "SASL_SSL"}, file=Path("no-such-file.toml"))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_command_takes_a_secret_on_its_command_line(command: str) -> None:
    """Every user of the machine reads the command lines of all processes."""
    parser = build_parser(command)
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    options = [option for action in commands[command]._actions for option in action.option_strings]
    assert "--broker" in options
    assert [o for o in options if re.search("pass|secret|token|key|credential|login|sasl", o)] == []


@pytest.fixture
def own(tmp_path: Path) -> Certificate:
    """Give a client's certificate whose key is encrypted."""
    return sign(make_authority(tmp_path, "authority"), tmp_path, "client", password=MARKER)


@needs_openssl
def test_an_encrypted_key_opens_with_its_password_file(own: Certificate, tmp_path: Path) -> None:
    """The broker's certificate and host name are checked whatever else is set."""
    context = tls_context(str(tmp_path / "authority.pem"), str(own.cert), str(own.key), secret_file(tmp_path))
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@needs_openssl
def test_an_encrypted_key_without_its_password_does_not_ask_on_the_terminal(own: Certificate, tmp_path: Path) -> None:
    """A worker that waits for a key press never starts."""
    with pytest.raises(SettingsError, match="the key is encrypted; set HEADRACE_SSL_KEY_PASSWORD_FILE"):
        tls_context("", str(own.cert), str(own.key), "")
    with pytest.raises(SettingsError, match="HEADRACE_SSL_CERTFILE") as caught:
        tls_context("", str(own.cert), str(own.key), secret_file(tmp_path, b"wrong-" + MARKER.encode()))
    assert MARKER not in str(caught.value) and "\n" not in str(caught.value)


@needs_openssl
@pytest.mark.parametrize(
    ("files", "setting"),
    [
        (("{none}", "", ""), "HEADRACE_SSL_CAFILE"),
        (("{text}", "", ""), "HEADRACE_SSL_CAFILE"),
        (("", "{none}", ""), "HEADRACE_SSL_CERTFILE"),
        (("", "{cert}", "{other}"), "HEADRACE_SSL_CERTFILE"),
        (("", "", "{other}"), "HEADRACE_SSL_CERTFILE"),
    ],
)
def test_a_bad_tls_file_names_its_setting(tmp_path: Path, files: tuple[str, str, str], setting: str) -> None:
    """OpenSSL itself names neither the file nor the setting."""
    authority = make_authority(tmp_path, "authority")
    (tmp_path / "text").write_text("hello")
    places = {
        "none": tmp_path / "none",
        "text": tmp_path / "text",
        "cert": authority.cert,
        "other": sign(authority, tmp_path, "x").key,
    }
    with pytest.raises(SettingsError, match=setting) as caught:
        cafile, certfile, keyfile = (file.format(**places) for file in files)
        tls_context(cafile, certfile, keyfile, "")
    assert "\n" not in str(caught.value)


@needs_openssl
@pytest.mark.parametrize(
    ("name", "mode", "setting", "told"),
    [
        ("client.key", 0o640, "HEADRACE_SSL_KEYFILE", "may be read by others"),
        ("client.key", 0o602, "HEADRACE_SSL_KEYFILE", "may be written by others"),
        ("client.pem", 0o666, "HEADRACE_SSL_CERTFILE", "may be written by others"),
        ("authority.pem", 0o664, "HEADRACE_SSL_CAFILE", "may be written by others"),
        ("secret", 0o644, "HEADRACE_SSL_KEY_PASSWORD_FILE", "may be read by others"),
    ],
)
def test_every_tls_file_is_checked(
    own: Certificate, tmp_path: Path, name: str, mode: int, setting: str, told: str
) -> None:
    """A user who can replace the authority's certificate can pose as the broker."""
    own.cert.chmod(0o644)
    secret = secret_file(tmp_path)
    files = (str(tmp_path / "authority.pem"), str(own.cert), str(own.key), secret)
    tls_context(*files)
    (tmp_path / name).chmod(mode)
    with pytest.raises(SettingsError, match=told) as caught:
        tls_context(*files)
    assert setting in str(caught.value) and "\n" not in str(caught.value)


@needs_openssl
def test_a_certificate_with_its_key_in_one_file_is_private(own: Certificate, tmp_path: Path) -> None:
    """Without ``ssl_keyfile``, the certificate's file holds the key."""
    both = own.together()
    both.chmod(0o644)
    with pytest.raises(SettingsError, match="may be read by others.*HEADRACE_SSL_CERTFILE"):
        tls_context("", str(both), "", secret_file(tmp_path))
    both.chmod(0o600)
    tls_context("", str(both), "", secret_file(tmp_path))


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("partitions = 8\n", 0o644, ""),
        ("partitions = 8\n", 0o664, "may be written by others; run chmod go-w"),
        (f'partitions = 8\nsasl_password = "{MARKER}"\n', 0o644, "may be read by others; run chmod 600"),
        (f'partitions = 8\nsasl_password = "{MARKER}"\n', 0o600, ""),
    ],
)
def test_the_settings_file_is_checked_and_is_private_where_it_holds_a_password(
    tmp_path: Path, content: str, mode: int, told: str
) -> None:
    """A user who can write it owns the service; without a password, everybody may read it."""
    file = tmp_path / "headrace.toml"
    file.write_text(content)
    file.chmod(mode)
    if not told:
        assert load_settings({}, file=file).kafka.partitions == 8
        return
    with pytest.raises(SettingsError, match=f"{file}: {told}") as caught:
        load_settings({}, file=file)
    assert MARKER not in str(caught.value)
