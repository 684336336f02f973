"""Checks the settings of topics that other systems write: format, mapping and schema registry."""

from __future__ import annotations

from collections.abc import Mapping

from streams.settings.check import check_setting
from streams.settings.urls import check_url


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
        check_url("schema_registry_url", registry_url, "schema_registry_login_file", has_secret=has_login)
