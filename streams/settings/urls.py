"""Checks the addresses of services beside Kafka."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from streams.settings.check import check_setting
from streams.settings.token_endpoint import is_loopback


def check_url(name: str, url: str, secret_name: str, *, has_secret: bool) -> None:
    """Raise :class:`SettingsError` for what is not an address, or would send a secret readably.

    Parameters
    ----------
    name : of the setting
    secret_name : of the setting that names the file of the secret for this address
    has_secret : whether that is set
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    is_usable = bool(host) and "@" not in parts.netloc and not (parts.query or parts.fragment)
    shown = url if is_usable else "***"
    check_setting(
        is_usable and parts.scheme in ("http", "https"),
        name,
        shown,
        f"http://host:port or https://host:port, without a password; name a file that holds it in {secret_name}",
    )
    check_setting(
        not has_secret or parts.scheme == "https" or is_loopback(host),
        name,
        shown,
        f"https:// where {secret_name} is set, http:// on this machine alone: the secret would be readable",
    )


@dataclass(frozen=True)
class StoreAddress:
    """Where a Redis or Valkey is: a socket of this machine at ``path``, or host and port."""

    path: str = ""
    host: str = ""
    port: int = 6_379
    database: int = 0
    user: str = ""
    is_tls: bool = False

    @property
    def is_local(self) -> bool:
        """Whether nobody beyond this machine is on the way."""
        return bool(self.path) or is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}/{self.database}"


#: Schemes of :func:`store_address`; whether each means TLS.
STORE_SCHEMES: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True, "unix": False}


def store_address(name: str, url: str, secret_name: str) -> StoreAddress:
    """Return the address that a URL names.

    Parameters
    ----------
    name : of the setting
    secret_name : of the setting that names the file of the password

    Raises
    ------
    SettingsError
        When it is none, or has a password.
    """
    found = None
    try:
        parts = urlsplit(url)
        database = re.fullmatch(r"/?([0-9]{0,3})", parts.path)
        is_plain = parts.scheme in STORE_SCHEMES and parts.password is None and not (parts.query or parts.fragment)
        if is_plain and parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1:
            found = StoreAddress(unquote(parts.path))
        elif is_plain and parts.scheme != "unix" and parts.hostname and database is not None:
            user, number = unquote(parts.username or ""), int(database[1] or 0)
            port = StoreAddress.port if parts.port is None else parts.port
            found = StoreAddress("", parts.hostname, port, number, user, STORE_SCHEMES[parts.scheme])
    except ValueError:
        pass
    limit = (
        "redis://[USER@]HOST[:PORT][/DATABASE], the same with valkey:// or, for TLS, rediss:// or valkeys://, "
        f"or unix:///PATH, without a password; name a file that holds it in {secret_name}"
    )
    check_setting(found is not None, name, "***" if "@" in url else url, limit)
    assert found is not None
    return found
