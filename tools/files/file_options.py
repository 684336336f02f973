"""How the files of a log, a catalogue or users are read: the same options for each of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from streams.errors import InputError
from tools.files.cells.missing import MISSING, parse_words


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
class FileOptions:
    r"""How rows are read from files. All fields are as the user gave them.

    Parameters
    ----------
    columns : contract names to the file's columns, ``user_id=userId,ts=timestamp``; a number is a
        position from 0, for a file without a header
    format : ``csv``, ``json``, ``parquet``, ``avro``, ``orc`` or a preset; ``auto`` looks at the
        content
    encoding : a name that Python knows, as ``gb18030``; ``auto`` looks at the content
    delimiter : one or more characters, ``tab`` or ``\t``, ``space``; ``auto`` looks at the first
        rows
    missing : words for no value, with commas between. :func:`~tools.files.raw_rows.raw_rows` gives
        them as they are; the readers of fields take them for None
    """

    columns: str = ""
    format: str = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    missing: str = MISSING

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser, prefix: str = "", whose: str = "the log's") -> None:
        """Add an option for each field.

        Parameters
        ----------
        prefix : what the names begin with: ``item-`` gives ``--item-columns``
        whose : what the help calls the file, in the genitive
        """
        helps = {
            "columns": ("A=B,...", f"{whose} column of each field: A=COLUMN,...; a number is a position from 0"),
            "format": (
                "NAME",
                f"{whose} format: csv, json, parquet, avro, orc, a preset such as ga4, or a mapping file",
            ),
            "encoding": ("NAME", f"{whose} encoding: utf-8, gb18030, big5, ..."),
            "delimiter": ("TEXT", f"what stands between {whose} columns: ; or tab or ::"),
            "missing": ("A,B,...", f"{whose} words for no value"),
        }
        for field in fields(cls):
            metavar, text = helps[field.name]
            default = "" if field.name == "columns" else " (default: %(default)s)"
            parser.add_argument(
                f"--{prefix}{field.name}",
                default=field.default,
                metavar=metavar,
                help=text.replace("%", "%%") + default,
            )

    @classmethod
    def of(cls, args: argparse.Namespace, prefix: str = "") -> FileOptions:
        """Return the fields that parsed options give."""
        before = prefix.replace("-", "_")
        return cls(**{field.name: getattr(args, before + field.name) for field in fields(cls)})

    def columns_map(self) -> dict[str, str]:
        """Return contract names to columns; raise :class:`InputError` for a malformed text."""
        return parse_columns(self.columns)

    def missing_words(self) -> frozenset[str]:
        """Return the words for no value, stripped; none of them is empty."""
        return parse_words(self.missing)


def shown_paths(paths: Sequence[Path]) -> str:
    """Return what a message calls some files: the first one, and how many others there are."""
    first = str(paths[0]) if paths else "no file"
    return first if len(paths) < 2 else f"{first} and {len(paths) - 1} more"
