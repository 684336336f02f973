"""TLS contexts, and secrets in files.

:func:`check_file` examines each file before it is opened. Each fault is one line that names the
setting, and no line holds a secret.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from streams.errors import SettingsError
from streams.settings.file_trust import distrust

MAX_SECRET_BYTES: Final = 4_096


def check_file(file: str, setting: str, *, private: bool) -> None:
    """Check that only this user and root write a file, and that only they read a ``private`` one.

    Raises
    ------
    SettingsError
        When others can, or the file cannot be examined; :mod:`streams.settings.file_trust` has the
        rules.
    """
    try:
        found = distrust(file, private=private)
    except OSError as exc:
        raise _unreadable(setting, file, exc) from None
    if found is not None:
        raise _wrong(setting, file, found.problem, found.remedy)


def read_secret(file: str, setting: str) -> str:
    """Return the secret in a file: its text without the line break at its end.

    Raises
    ------
    SettingsError
        When the file cannot be read, is empty, too large or not UTF-8, or when others may read,
        write or replace it.
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
    """Return a client's TLS context (TLS 1.2 or newer), which always checks the broker's host name.

    Raises
    ------
    SettingsError
        When a file cannot be read or has the wrong content, when others may write it or read the
        key, or when the key's password is missing or wrong.
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
        """Return the password of an encrypted key; else OpenSSL asks on the terminal."""
        if not key_password_file:
            raise _wrong(
                "ssl_keyfile", keyfile or certfile, "the key is encrypted", "set HEADRACE_SSL_KEY_PASSWORD_FILE"
            )
        return read_secret(key_password_file, "ssl_key_password_file")

    check_file(certfile, "ssl_certfile", private=not keyfile)  # it may hold the key too
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
    """Return the reason that OpenSSL or the system gives, without numbers of source lines."""
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "not PEM").replace("_", " ").lower()
    return str(getattr(exc, "strerror", None) or exc)
