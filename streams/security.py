"""TLS contexts and secrets in files: each fault is one line that names the setting, and no line holds a secret."""

from __future__ import annotations

import logging
import os
import ssl
import stat
from functools import cache
from pathlib import Path
from typing import Final

from streams.errors import SettingsError

log = logging.getLogger(__name__)

MAX_SECRET_BYTES: Final = 4_096


def read_secret(file: str, setting: str) -> str:
    """Return the secret that a file holds: its text without the line break at its end.

    Raises
    ------
    SettingsError
        When the file cannot be read, others than its owner and group may write it, or it is empty, too large or not UTF-8.
    """
    try:
        with Path(file).open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(MAX_SECRET_BYTES + 1)
    except OSError as exc:
        raise _wrong(setting, file, f"cannot be read ({exc.strerror})", "name a file that this user may read") from None
    if mode & stat.S_IWOTH:
        raise _wrong(setting, file, "may be written by every user of this machine", f"run chmod 600 {file}")
    if mode & stat.S_IROTH:
        _warn_once(setting, file)
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


@cache
def _warn_once(setting: str, file: str) -> None:
    """Warn, not refuse: Kubernetes mounts secrets so, into containers that have one user."""
    log.warning("%s=%r: every user of this machine may read it; run chmod 600 %s", setting, file, file)


def _wrong(setting: str, file: str, problem: str, remedy: str) -> SettingsError:
    return SettingsError(f"{setting}={file!r}: {problem}; {remedy}, in HEADRACE_{setting.upper()}")


def tls_context(cafile: str, certfile: str, keyfile: str, key_password_file: str) -> ssl.SSLContext:
    """Return a client's TLS context (TLS 1.2 or newer): it checks the broker's certificate and its host name, always.

    Raises
    ------
    SettingsError
        When a file cannot be read or does not hold what it should, or the key's password is missing or wrong.
    """
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
