"""Reads the settings once, from ``headrace.toml``, the environment and a command's options.

A field ``window_max_events`` is the key ``window_max_events`` of ``headrace.toml`` and the variable
``HEADRACE_WINDOW_MAX_EVENTS``; the variable wins. No two groups have a field of the same name. The
groups are frozen, and each checks its values when it is built.

The sections ``[log]``, ``[items]`` and ``[users]`` of the file name the shop's files and say how to
read them. They are no settings: :mod:`tools.files.sections` checks and reads them.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from streams.errors import SettingsError
from streams.settings.apps import HealthSettings, RecommenderSettings, SequencerSettings
from streams.settings.check import PREFIX, SECRETS, convert_setting
from streams.settings.file_trust import distrust
from streams.settings.kafka import KafkaSettings
from streams.settings.server import ServerSettings
from streams.settings.watching import WatchingSettings

__all__ = [
    "HealthSettings",
    "KafkaSettings",
    "RecommenderSettings",
    "SequencerSettings",
    "ServerSettings",
    "Settings",
    "WatchingSettings",
    "load_settings",
]

GROUPS: Final[dict[str, Any]] = {
    "kafka": KafkaSettings,
    "sequencer": SequencerSettings,
    "recommender": RecommenderSettings,
    "health": HealthSettings,
    "watching": WatchingSettings,
    "server": ServerSettings,
}
#: All settings, of every group.
NAMES: Final = sorted(one.name for group in GROUPS.values() for one in fields(group))
#: The settings file, in the current directory.
FILE: Final = Path("headrace.toml")
#: Sections of the settings file that are no settings.
SECTIONS: Final = ("log", "items", "users")
#: Variables with the prefix that are not settings: ``tools`` and tests read them.
OTHER_VARIABLES: Final = frozenset({"HEADRACE_TEST_BROKER", "HEADRACE_DRILL_FAULTS", "HEADRACE_PARENT_PID"})
#: Variables that Kubernetes sets in every pod for a Service named ``headrace`` or ``headrace-...``.
#: They hold the Service's address and ports.
_SERVICE_LINK: Final = re.compile(
    rf"{PREFIX}(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


@dataclass(frozen=True)
class Settings:
    """All groups of settings.

    Parameters
    ----------
    given : names of the settings that the operator or a command has set; the others have defaults
    """

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    sequencer: SequencerSettings = field(default_factory=SequencerSettings)
    recommender: RecommenderSettings = field(default_factory=RecommenderSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    watching: WatchingSettings = field(default_factory=WatchingSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def shown(self) -> dict[str, object]:
        """Return the value of each setting by name, secrets masked."""
        values: dict[str, object] = {}
        for group in (self.kafka, self.sequencer, self.recommender, self.health, self.watching, self.server):
            values |= vars(group)
        return {name: "***" if name in SECRETS and value else value for name, value in values.items()}


def _from_file(file: Path) -> dict[str, object]:
    """Return the values of a settings file by name.

    Other users must not be able to write the file, nor to read a secret in it.
    """
    try:
        values = tomllib.loads(file.read_text("utf-8"))
        found = distrust(file, private=any(values.get(name) for name in SECRETS))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{file}: not TOML: {exc}") from exc
    except OSError as exc:
        raise SettingsError(f"{file}: cannot be read ({exc.strerror}); name a file that this user may read") from None
    if found is not None:
        raise SettingsError(f"{file}: {found.problem}; {found.remedy}")
    return values


def read_sections(file: Path = FILE) -> dict[str, dict[str, object]]:
    """Return the sections of the settings file that are no settings, by name; {} without a file.

    Raises
    ------
    SettingsError
        When the file cannot be read or may be written by others, or a section is no table.
    """
    values = _from_file(file) if file.exists() else {}
    return {name: _section(name, values[name]) for name in SECTIONS if name in values}


def _section(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SettingsError(f"{name}={value!r} must be a section, [{name}], with paths and columns below it")
    return value


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Return the values of the variables with the prefix, by setting.

    A variable that Kubernetes sets for a Service is skipped, unless a setting has its name.
    """
    values: dict[str, object] = {}
    for key, text in environ.items():
        name = key.removeprefix(PREFIX).lower()
        is_ours = key.startswith(PREFIX) and key not in OTHER_VARIABLES
        if is_ours and (name in NAMES or not _SERVICE_LINK.fullmatch(key)):
            values[name] = text
    return values


def _unknown(name: str) -> str:
    """Return the error text for an unknown name: the nearest setting, then all settings."""
    near = difflib.get_close_matches(name, NAMES, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown setting {name!r}; {meant}known: {', '.join(NAMES)}"


def load_settings(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, **overrides: object
) -> Settings:
    """Return the settings from ``headrace.toml``, environment and ``overrides``; the later wins.

    Parameters
    ----------
    environ : variables; None means those of this process
    file : settings file, which need not exist; None means ``headrace.toml`` in this directory
    overrides : values by name, of a command's options; None means that the option was not given

    Raises
    ------
    SettingsError
        For an unknown name, a value of the wrong type or out of range, or a file that others may
        write.
    """
    environ = os.environ if environ is None else environ
    file = FILE if file is None else file
    values = _from_file(file) if file.exists() else {}
    for name in SECTIONS:
        if name in values:
            _section(name, values.pop(name))
    values |= _from_environment(environ)
    values |= {key: value for key, value in overrides.items() if value is not None}
    given_names = frozenset(values)
    groups: dict[str, Any] = {}
    for name, group in GROUPS.items():
        given = {f.name: convert_setting(group, f.name, values.pop(f.name)) for f in fields(group) if f.name in values}
        groups[name] = group(**given)
    if values:
        raise SettingsError(_unknown(sorted(values)[0]))
    if overrides.get("topic_prefix") is not None:  # a drill or a demo, which deletes its topics
        groups["kafka"].check_isolated(str(overrides["topic_prefix"]))
    return Settings(**groups, given=given_names)
