"""Checks the settings of topics that other systems write: format, mapping and schema registry."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from streams.settings.check import check_setting
from streams.settings.token_endpoint import is_loopback


def check_formats(formats: Mapping[str, tuple[str, str]], registry_url: str, *, has_login: bool) -> None:
    """Raise :class:`SettingsError` for settings that exclude each other or need another one.

    Parameters
    ----------
    formats : topic to its format and mapping file
    """
    for topic, (name, mapping) in formats.items():
        setting = f"{topic}_mapping"
        check_setting(
            not mapping or name != "headrace", setting, mapping, f"empty where {topic}_format is headrace: set that too"
        )
        check_setting(
            bool(registry_url) or name != "confluent-avro",
            "schema_registry_url",
            registry_url,
            f"the address of the registry, because {topic}_format is confluent-avro",
        )
    if registry_url:
        _check_url(registry_url, has_login=has_login)


def _check_url(url: str, *, has_login: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    is_usable = bool(host) and "@" not in parts.netloc and not (parts.query or parts.fragment)
    shown = url if is_usable else "***"
    check_setting(
        is_usable and parts.scheme in ("http", "https"),
        "schema_registry_url",
        shown,
        "http://host:port or https://host:port, without a password; name a login in schema_registry_login_file",
    )
    check_setting(
        not has_login or parts.scheme == "https" or is_loopback(host),
        "schema_registry_url",
        shown,
        "https:// where schema_registry_login_file is set, http:// on this machine alone: a login would be readable",
    )
