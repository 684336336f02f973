"""Names the log that a command reads.

Every command that reads one has the same options for it. A new option of a log is a field of
:class:`LogSource` and a line of its ``add_options``; then every command has it, and so has the
section ``[log]`` of ``headrace.toml``, whose values are the defaults of the options.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from streams.errors import InputError
from streams.formats.mapping_file import Mapping
from tools.files.cells.times import TIME_UNITS
from tools.files.file_options import FileOptions, shown_paths
from tools.files.presets import find_preset
from tools.files.sections import InsteadOf, Section

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
        is_history : whether LOG is the shop's history, which ``[log]`` of ``headrace.toml`` is
            about
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
            action=InsteadOf.other(time_format="", no_times=False),
            choices=TIME_UNITS,
            default=cls.time_unit,
            help="unit of the log's times; iso reads dates in many forms (default: %(default)s)",
        )
        parser.add_argument(
            "--time-format",
            action=InsteadOf.other(time_unit="auto", no_times=False),
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
        """Raise :class:`InputError` where the log has no times.

        Commands that publish events call it.
        """
        if self.no_times:
            raise InputError(
                f"{self.name}: --no-times: an event on the topic needs its time, which orders the user's window; name the "
                "column with --columns ts=NAME. train and evaluate use a log without times"
            )
