"""Reads the sections ``[log]``, ``[items]`` and ``[users]`` of ``headrace.toml``.

A section names files, as ``paths``, and has the options that a command would take for them, under
the same names: ``[log]`` with ``columns`` is ``--columns`` for the log, ``[items]`` with
``columns`` is ``--item-columns``. An option on the command line wins over the section.
``headrace init`` writes the sections.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streams.errors import SettingsError
from streams.settings.load import FILE, read_sections
from tools.cli import say

PATHS: Final = "paths"


@dataclass(frozen=True)
class Section:
    """What ``headrace.toml`` says of a log, a catalogue or users; empty where it says nothing.

    Parameters
    ----------
    paths : the files
    options : values by the name of the option, without the default ones
    """

    name: str
    paths: tuple[Path, ...] = ()
    options: Mapping[str, str | bool] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str, usual: Mapping[str, str | bool]) -> Section:
        """Return a section of the file in this directory.

        Parameters
        ----------
        usual : the options that the section may have, with their defaults

        Raises
        ------
        SettingsError
            For a name that is no option, or a value of the wrong type.
        """
        given = dict(read_sections().get(name, {}))
        paths = _paths(name, given.pop(PATHS, []))
        for key in given:
            if key not in usual:
                known = ", ".join(sorted([PATHS, *usual]))
                raise SettingsError(f"{FILE}: [{name}] has an unknown key {key!r}; known: {known}")
        return cls(name, paths, {key: _value(name, key, value, usual[key]) for key, value in given.items()})

    def set_defaults(self, parser: argparse.ArgumentParser, prefix: str = "") -> None:
        """Make the options of the section the defaults of a parser's options.

        Parameters
        ----------
        prefix : what the names of the parser's options begin with, ``item-``
        """
        before = prefix.replace("-", "_")
        parser.set_defaults(**{before + key: value for key, value in self.options.items()})

    def say_other(self, paths: Sequence[Path], args: argparse.Namespace) -> None:
        """Say which options of the section hold for files that the section does not name."""
        own = {path.absolute() for path in self.paths}
        others = [path for path in paths if path.absolute() not in own]
        held = [name for name, value in self.options.items() if getattr(args, name, None) == value]
        if others and held:
            names = ", ".join(sorted(held))
            say(f"{others[0]}: read with what [{self.name}] of {FILE} says ({names})", style="dim")


class ReplaceDefault(argparse.Action):
    """Appends each value to a list of its own.

    So the given values replace the default ones.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Note one more value."""
        found = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [values] if found is self.default else [*found, values])


class InsteadOf(argparse.Action):
    """Notes a value, and takes the usual one for options that exclude it and that nobody typed.

    So a typed option wins over the section: where that says ``time_unit = "s"``, a typed
    ``--time-format`` is not refused. Two typed options that exclude each other still are.
    """

    others: Mapping[str, str | bool] = {}

    @classmethod
    def other(cls, **others: str | bool) -> type[InsteadOf]:
        """Return the action for an option that excludes others.

        ``others`` are those options, each with its usual value.
        """
        return type(cls.__name__, (cls,), {"others": others})

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Note the value."""
        setattr(namespace, self.dest, values)
        for name, usual in self.others.items():
            if getattr(namespace, name) == parser.get_default(name):
                setattr(namespace, name, usual)


def _paths(section: str, value: object) -> tuple[Path, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise SettingsError(f'{FILE}: [{section}] {PATHS}={value!r} must be names of files, as ["ratings.csv"]')
    return tuple(Path(name) for name in names)


def _value(section: str, key: str, value: object, usual: str | bool) -> str | bool:
    """Return the value of an option: a table is written as ``a=b,c=d``, a list as ``a,b``."""
    if isinstance(usual, bool):
        if not isinstance(value, bool):
            raise SettingsError(f"{FILE}: [{section}] {key}={value!r} must be true or false")
        return value
    if isinstance(value, dict):
        pairs = [(str(name), _word(section, key, each)) for name, each in value.items()]
        return ",".join(f"{name}={each}" for name, each in pairs)
    if isinstance(value, list):
        return ",".join(_word(section, key, each) for each in value)
    if not isinstance(value, str):
        raise SettingsError(f"{FILE}: [{section}] {key}={value!r} must be text; put it into quotes")
    return value


def _word(section: str, key: str, value: object) -> str:
    """Return a part of a list or of a table as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise SettingsError(f"{FILE}: [{section}] {key} has {value!r}, must be text; put it into quotes")
    if "," in str(value):
        raise SettingsError(f"{FILE}: [{section}] {key} has {value!r}; a name with a comma cannot be used, rename it")
    return str(value)
