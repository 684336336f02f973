"""Checks the addresses of services beside Kafka."""

from __future__ import annotations

from urllib.parse import urlsplit

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
