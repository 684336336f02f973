"""Names what a command reads: a log, a catalogue or users in a file.

Every command that reads one has the same options for it. A new option of a log is a field of
:class:`LogSource` and a line of its ``add_options``; then every command has it, and so has the
section ``[log]`` of ``headrace.toml``, whose values are the defaults of the options.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from streams.contract.records import Item, User
from streams.errors import InputError
from streams.formats.mapping_file import Mapping
from tools.files.cells.lists import SEPARATOR
from tools.files.cells.times import TIME_UNITS
from tools.files.entry_reader import EntryReader, fields_of
from tools.files.file_options import FileOptions, shown_paths
from tools.files.item_reader import item_files
from tools.files.presets import find_preset
from tools.files.refused_rows import RefusedRows
from tools.files.sections import ReplaceDefault, Section
from tools.files.user_reader import as_fields, user_files

#: The fields of a log, beside its files, that are options of the same name.
_HOW: Final = ("types", "time_unit", "time_format", "time_zone", "no_times")


@dataclass(frozen=True)
class LogSource:
    """A historical log, and how its rows become events. All fields are as the user gave them.

    Parameters
    ----------
    paths : the files, which are read in this order
    types : the file's event types to the contract's, ``pv=view,buy=purchase``
    time_unit : one of :data:`~tools.files.cells.times.TIME_UNITS`
    time_format : a pattern of ``strptime``, or ``excel`` for a spreadsheet's day numbers
    time_zone : of times that name none, ``Asia/Shanghai``
    no_times : whether the log has no times
    """

    paths: tuple[Path, ...]
    files: FileOptions = FileOptions()
    types: str = ""
    time_unit: str = "auto"
    time_format: str = ""
    time_zone: str = ""
    no_times: bool = False

    @classmethod
    def add_options(
        cls, parser: argparse.ArgumentParser, *, instead: str | None = None, is_history: bool = True
    ) -> None:
        """Add LOG and the options for reading it.

        Parameters
        ----------
        instead : what the command reads without LOG; None makes LOG required
        is_history : whether LOG is the shop's history, which ``[log]`` of ``headrace.toml`` is about
        """
        section = cls.section() if is_history else Section("log")
        default = list(section.paths) if instead is None else []
        usual = instead or ", ".join(map(str, section.paths)).replace("%", "%%") or "paths of [log] in headrace.toml"
        parser.add_argument(
            "log",
            type=Path,
            nargs="*" if default or instead else "+",
            default=default,
            metavar="LOG",
            help=f"CSV, TSV, JSON lines or Parquet; gzip or zstd too (default: {usual})",
        )
        FileOptions.add_options(parser)
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
            help="unit of the log's times; iso reads dates in many forms (default: %(default)s)",
        )
        parser.add_argument(
            "--time-format",
            default=cls.time_format,
            metavar="PATTERN",
            help="how the log writes its times: '%%m/%%d/%%Y %%I:%%M:%%S %%p'; excel for day numbers",
        )
        parser.add_argument(
            "--time-zone",
            default=cls.time_zone,
            metavar="ZONE",
            help="zone of times that name none: Asia/Shanghai, +08:00 (default: UTC)",
        )
        parser.add_argument("--no-times", action="store_true", help="the log has no times: train what needs no order")
        section.set_defaults(parser)

    @classmethod
    def section(cls) -> Section:
        """Return the section ``[log]`` of ``headrace.toml``."""
        return Section.read("log", cls._usual())

    @classmethod
    def _usual(cls) -> dict[str, str | bool]:
        """Return the default of each option."""
        plain = cls(())
        return {**vars(plain.files), **{name: getattr(plain, name) for name in _HOW}}

    @classmethod
    def of(cls, args: argparse.Namespace) -> LogSource:
        """Return the log that parsed options name."""
        how = {name: getattr(args, name) for name in _HOW}
        cls.section().say_other(args.log, args)
        return cls(tuple(args.log), FileOptions.of(args), **how)

    @classmethod
    def given_without_log(cls, args: argparse.Namespace) -> str | None:
        """Return the first given option that is of no use without LOG, or None."""
        usual = {**cls._usual(), **cls.section().options}
        return next((f"--{name.replace('_', '-')}" for name in usual if getattr(args, name) != usual[name]), None)

    def changed_options(self) -> dict[str, object]:
        """Return the options that are not as usual and that earlier versions did not have, by name.

        A preset's rules are among them: who changes a mapping file reads another log.
        """
        files, usual = vars(replace(self.files, columns="")), vars(FileOptions())
        how, usual_how = vars(self), vars(LogSource(()))
        changed = {name: value for name, value in files.items() if value != usual[name]}
        changed |= {name: how[name] for name in _HOW[2:] if how[name] != usual_how[name]}
        rules = self.preset()
        return changed if rules == Mapping() else changed | {"rules": rules}

    def preset(self) -> Mapping:
        """Return the preset or mapping file that ``--format`` names; an empty one without it."""
        return find_preset(self.files.format, "events") or Mapping()

    @property
    def name(self) -> str:
        """Return what a message calls the log."""
        return shown_paths(self.paths)

    def check_timed(self) -> None:
        """Raise :class:`InputError` where the log has no times, for a command that publishes events."""
        if self.no_times:
            raise InputError(
                f"{self.name}: --no-times: an event on the topic needs its time, which orders the user's window; name the "
                "column with --columns ts=NAME. train and evaluate use a log without times"
            )


@dataclass(frozen=True)
class CatalogueSource:
    """A catalogue in files. In its columns, ``features.NAME=COLUMN`` names a feature.

    Parameters
    ----------
    tag_separator : what stands between tags, and between categories, in one cell
    prefix : what the names of the options begin with: ``item-`` beside those of a log
    """

    paths: tuple[Path, ...]
    files: FileOptions = FileOptions()
    tag_separator: str = SEPARATOR
    prefix: str = "item-"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser, *, instead: str = "none") -> None:
        """Add ``--items`` and its options.

        Parameters
        ----------
        instead : what the command reads without it
        """
        parser.add_argument(
            "--items",
            type=Path,
            action=ReplaceDefault,
            default=list(cls.section().paths) if instead == "none" else [],
            metavar="FILE",
            help=f"the catalogue: titles, texts, categories, features; may be repeated (default: {instead})",
        )
        cls.add_file_options(parser, cls.prefix)

    @classmethod
    def add_file_options(cls, parser: argparse.ArgumentParser, prefix: str) -> None:
        """Add the options for reading the files; their names begin with ``prefix``."""
        FileOptions.add_options(parser, prefix, "the catalogue's")
        parser.add_argument(
            f"--{prefix}tag-separator",
            default=cls.tag_separator,
            metavar="TEXT",
            help="what stands between tags, and between categories, in one cell (default: %(default)s)",
        )
        cls.section().set_defaults(parser, prefix)

    @classmethod
    def section(cls) -> Section:
        """Return the section ``[items]`` of ``headrace.toml``."""
        return Section.read("items", {**vars(FileOptions()), "tag_separator": cls.tag_separator})

    @classmethod
    def of(cls, args: argparse.Namespace) -> CatalogueSource | None:
        """Return the catalogue that parsed options name, None without ``--items``."""
        return None if not args.items else cls.of_files(args, args.items, cls.prefix)

    @classmethod
    def of_files(cls, args: argparse.Namespace, paths: Sequence[Path], prefix: str) -> CatalogueSource:
        """Return a catalogue in these files, read as parsed options say."""
        separator = getattr(args, f"{prefix.replace('-', '_')}tag_separator")
        return cls(tuple(paths), FileOptions.of(args, prefix), separator, prefix)

    def reader(self, refused: RefusedRows) -> EntryReader[Item]:
        """Return a reader of the items; ``refused`` counts and shows rows that are none."""
        files = item_files(self.paths, self.files, separator=self.tag_separator, prefix=self.prefix)
        return EntryReader(files, refused)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the contract's fields of the items by id; raise :class:`InputError` without items."""
        items = self.reader(RefusedRows("refused items")).read_some()
        return {item_id: fields_of(item) for item_id, item in items.items()}


@dataclass(frozen=True)
class UserSource:
    """Users in files. In the columns, ``features.NAME=COLUMN`` names a feature.

    Parameters
    ----------
    follow_separator : what stands between user ids in one cell
    prefix : what the names of the options begin with: ``user-`` beside those of a log
    """

    paths: tuple[Path, ...]
    files: FileOptions = FileOptions()
    follow_separator: str = SEPARATOR
    prefix: str = "user-"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add ``--users`` and its options."""
        parser.add_argument(
            "--users",
            type=Path,
            action=ReplaceDefault,
            default=list(cls.section().paths),
            metavar="FILE",
            help="features of users; may be repeated",
        )
        cls.add_file_options(parser, cls.prefix)

    @classmethod
    def add_file_options(cls, parser: argparse.ArgumentParser, prefix: str) -> None:
        """Add the options for reading the files; their names begin with ``prefix``."""
        FileOptions.add_options(parser, prefix, "the users'")
        parser.add_argument(
            f"--{prefix}follow-separator",
            default=cls.follow_separator,
            metavar="TEXT",
            help="what stands between the ids that a user follows, in one cell (default: %(default)s)",
        )
        cls.section().set_defaults(parser, prefix)

    @classmethod
    def section(cls) -> Section:
        """Return the section ``[users]`` of ``headrace.toml``."""
        return Section.read("users", {**vars(FileOptions()), "follow_separator": cls.follow_separator})

    @classmethod
    def of(cls, args: argparse.Namespace) -> UserSource | None:
        """Return the users that parsed options name, None without ``--users``."""
        return None if not args.users else cls.of_files(args, args.users, cls.prefix)

    @classmethod
    def of_files(cls, args: argparse.Namespace, paths: Sequence[Path], prefix: str) -> UserSource:
        """Return users in these files, read as parsed options say."""
        separator = getattr(args, f"{prefix.replace('-', '_')}follow_separator")
        return cls(tuple(paths), FileOptions.of(args, prefix), separator, prefix)

    def reader(self, refused: RefusedRows) -> EntryReader[User]:
        """Return a reader of the users; ``refused`` counts and shows rows that are none."""
        files = user_files(self.paths, self.files, separator=self.follow_separator, prefix=self.prefix)
        return EntryReader(files, refused)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return features and follows by user id; raise :class:`InputError` without users."""
        return as_fields(self.reader(RefusedRows("refused users")).read_some())
