"""The range check that all groups of settings share."""

from __future__ import annotations

from typing import Final

from streams.errors import SettingsError

PREFIX: Final = "HEADRACE_"


def check_setting(condition: bool, name: str, value: object, limit: str) -> None:
    """Raise :class:`SettingsError`, with what to set, where ``condition`` does not hold."""
    if not condition:
        raise SettingsError(
            f"{name}={value!r} is out of range: {limit}; set {PREFIX}{name.upper()} or {name} in headrace.toml"
        )
