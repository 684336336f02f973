"""Names what a command reads: a log, a catalogue or users in a file.

Every command that reads one has the same options for it. A new option of a log is a field of
:class:`LogSource` and a line of its ``add_options``; then every command has it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from streams.errors import InputError
from tools.files.item_reader import read_items
from tools.files.times import TIME_UNITS
from tools.files.user_reader import read_users


def parse_columns(text: str) -> dict[str, str]:
    """Return the text ``a=b,c=d`` as a mapping; an empty text is an empty mapping.

    Raises
    ------
    InputError
        When a part has no ``=``, a name is empty, or a name comes twice.
    """
    mapping: dict[str, str] = {}
    for part in text.split(",") if text.strip() else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in mapping:
            raise InputError(f"{part.strip()!r} in {text!r}: give NAME=VALUE pairs with commas between, each name once")
        mapping[name] = value
    return mapping


@dataclass(frozen=True)
class LogSource:
    """A historical log, and how its rows become events. All fields are as the user gave them.

    Parameters
    ----------
    columns : contract names to the file's columns, ``user_id=userId,ts=timestamp``; a number is a
        position from 0, for a file without a header
    types : the file's event types to the contract's, ``pv=view,buy=purchase``
    time_unit : one of :data:`~tools.files.times.TIME_UNITS`
    """

    path: Path
    columns: str = ""
    types: str = ""
    time_unit: str = "auto"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser, *, instead: str | None = None) -> None:
        """Add LOG and the options for reading it.

        Parameters
        ----------
        instead : what the command reads without LOG; None makes LOG required
        """
        parser.add_argument(
            "log",
            type=Path,
            nargs=None if instead is None else "?",
            metavar="LOG",
            help="CSV, TSV, JSON lines or Parquet; gzip or zstd too" + (f" (default: {instead})" if instead else ""),
        )
        parser.add_argument(
            "--columns",
            default=cls.columns,
            metavar="A=B,...",
            help="the log's column of each field: user_id=userId,ts=timestamp; a number is a position",
        )
        parser.add_argument(
            "--types",
            default=cls.types,
            metavar="A=B,...",
            help="headrace's type for each type of the log: pv=view,buy=purchase",
        )
        parser.add_argument(
            "--time-unit",
            choices=TIME_UNITS,
            default=cls.time_unit,
            help="unit of the log's times (default: %(default)s)",
        )

    @classmethod
    def of(cls, args: argparse.Namespace) -> LogSource:
        """Return the log that parsed options name."""
        return cls(args.log, **_options(args))

    @classmethod
    def given_without_log(cls, args: argparse.Namespace) -> str | None:
        """Return the first given option that is of no use without LOG, or None."""
        default = _defaults()
        return next(
            (f"--{name.replace('_', '-')}" for name, found in _options(args).items() if found != default[name]), None
        )


def _defaults() -> dict[str, Any]:
    return {field.name: field.default for field in fields(LogSource) if field.name != "path"}


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in _defaults()}


@dataclass(frozen=True)
class CatalogueSource:
    """A catalogue in a file.

    Parameters
    ----------
    columns : contract names to the file's columns; ``features.NAME=COLUMN`` names a feature
    """

    path: Path
    columns: str = ""

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser, *, instead: str = "none") -> None:
        """Add ``--items`` and its columns; ``instead`` says what the command reads without it."""
        parser.add_argument(
            "--items",
            type=Path,
            metavar="FILE",
            help=f"the catalogue: titles, texts, categories, features (default: {instead})",
        )
        parser.add_argument(
            "--item-columns",
            default=cls.columns,
            metavar="A=B,...",
            help="the catalogue's column of each field; features.NAME=COLUMN for a feature",
        )

    @classmethod
    def of(cls, args: argparse.Namespace) -> CatalogueSource | None:
        """Return the catalogue that parsed options name, None without ``--items``."""
        return None if args.items is None else cls(args.items, args.item_columns)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the fields of the items by id; see :func:`~tools.files.item_reader.read_items`."""
        return read_items(self.path, parse_columns(self.columns))


@dataclass(frozen=True)
class UserSource:
    """Users in a file.

    Parameters
    ----------
    columns : contract names to the file's columns; ``features.NAME=COLUMN`` names a feature
    """

    path: Path
    columns: str = ""

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add ``--users`` and its columns."""
        parser.add_argument("--users", type=Path, metavar="FILE", help="features of users")
        parser.add_argument(
            "--user-columns",
            default=cls.columns,
            metavar="A=B,...",
            help="the users' column of each field: user_id=0,features.age=1",
        )

    @classmethod
    def of(cls, args: argparse.Namespace) -> UserSource | None:
        """Return the users that parsed options name, None without ``--users``."""
        return None if args.users is None else cls(args.users, args.user_columns)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the users by id; see :func:`~tools.files.user_reader.read_users`."""
        return read_users(self.path, parse_columns(self.columns))
