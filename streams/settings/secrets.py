"""TLS contexts and secrets in files: each fault is one line that names the setting, and no line holds a secret.

Every file of a setting goes through :func:`check_file` before it is opened.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from streams.errors import SettingsError
from streams.settings.file_trust import distrust

MAX_SECRET_BYTES: Final = 4_096


def check_file(file: str, setting: str, *, private: bool) -> None:
    """Check that only this user and root can have written a file, and, where it is ``private``, that only they can read it.

    Raises
    ------
    SettingsError
        When others can, or the file cannot be looked at; see :mod:`streams.settings.file_trust` for the rules.
    """
    try:
        found = distrust(file, private=private)
    except OSError as exc:
        raise _unreadable(setting, file, exc) from None
    if found is not None:
        raise _wrong(setting, file, found.problem, found.remedy)


def read_secret(file: str, setting: str) -> str:
    """Return the secret that a file holds: its text without the line break at its end.

    Raises
    ------
    SettingsError
        When the file cannot be read, others may read, write or replace it, or it is empty, too large or not UTF-8.
    """
    check_file(file, setting, private=True)
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_SECRET_BYTES + 1)
    except OSError as exc:
        raise _unreadable(setting, file, exc) from None
    if len(content) > MAX_SECRET_BYTES:
        raise _wrong(setting, file, f"is above {MAX_SECRET_BYTES} bytes", "name the file that holds the secret alone")
    try:
        secret = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _wrong(setting, file, "is not UTF-8 text", "write the secret as text, on one line") from None
    if not secret or "\n" in secret:
        problem = "is empty" if not secret else "has more than one line"
        raise _wrong(setting, file, problem, "write the secret into it, on one line")
    return secret


def _unreadable(setting: str, file: str, exc: OSError) -> SettingsError:
    return _wrong(setting, file, f"cannot be read ({exc.strerror})", "name a file that this user may read")


def _wrong(setting: str, file: str, problem: str, remedy: str) -> SettingsError:
    return SettingsError(f"{setting}={file!r}: {problem}; {remedy}, in HEADRACE_{setting.upper()}")


def tls_context(cafile: str, certfile: str, keyfile: str, key_password_file: str) -> ssl.SSLContext:
    """Return a client's TLS context (TLS 1.2 or newer): it checks the broker's certificate and its host name, always.

    Raises
    ------
    SettingsError
        When a file cannot be read or does not hold what it should, others may write it or read the key, or the key's password is
        missing or wrong.
    """
    if cafile:
        check_file(cafile, "ssl_cafile", private=False)
    try:
        context = ssl.create_default_context(cafile=cafile or None)
    except (OSError, ValueError) as exc:
        raise _wrong("ssl_cafile", cafile, f"no certificates in PEM ({_reason(exc)})", "name such a file") from None
    if keyfile and not certfile:
        raise _wrong("ssl_keyfile", keyfile, "there is a key without its certificate", "set HEADRACE_SSL_CERTFILE too")
    if certfile:
        _load_own(context, certfile, keyfile, key_password_file)
    return context


def _load_own(context: ssl.SSLContext, certfile: str, keyfile: str, key_password_file: str) -> None:
    def password() -> str:
        """Called where the key is encrypted; without it OpenSSL would ask on the terminal."""
        if not key_password_file:
            raise _wrong(
                "ssl_keyfile", keyfile or certfile, "the key is encrypted", "set HEADRACE_SSL_KEY_PASSWORD_FILE"
            )
        return read_secret(key_password_file, "ssl_key_password_file")

    check_file(certfile, "ssl_certfile", private=not keyfile)  # the key may lie in the certificate's file
    if keyfile:
        check_file(keyfile, "ssl_keyfile", private=True)
    try:
        context.load_cert_chain(certfile, keyfile or None, password)
    except (OSError, ValueError) as exc:
        raise _wrong(
            "ssl_certfile",
            certfile,
            f"cannot be used with the key in {keyfile or certfile} ({_reason(exc)})",
            "name a certificate and its own private key in PEM, and the key's password file if it is encrypted",
        ) from None


def _reason(exc: Exception) -> str:
    """Return what OpenSSL or the system says, without numbers of source lines."""
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "not PEM").replace("_", " ").lower()
    return str(getattr(exc, "strerror", None) or exc)
