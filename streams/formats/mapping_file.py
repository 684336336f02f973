"""Reads a mapping file: how records of another system become events, items and users. In TOML.

The tables ``[events]``, ``[items]`` and ``[users]`` each say it for one kind of record; a file has
those that it needs. Files of logs and catalogues are read with the whole of it, topics with
``columns``, ``types``, ``constants``, ``only``, ``time_unit`` and ``unwrap``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from streams.errors import InputError
from streams.formats.field_paths import PathError, parse_paths

KINDS: Final = ("events", "items", "users")
#: A mapping is written by hand.
MAX_FILE_BYTES: Final = 1 << 20

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The columns of a file without a header, by position.

    Parameters
    ----------
    names : their names, which ``columns`` uses
    delimiter : stands between the values; empty means any. Of several layouts the first counts that
        has the file's delimiter and its number of columns
    """

    names: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=1_000)]
    delimiter: str = ""


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text that holds a list, such as MIND's ``N1-1 N2-0``.

    Parameters
    ----------
    separator : stands between the elements
    names, between : the names of an element's parts, and what stands between two of them; it is
        looked for from the end. Without ``names`` an element is a text
    """

    separator: Text = " "
    names: tuple[Text, ...] = ()
    between: Text = "-"

    def elements(self, text: str) -> list[Any]:
        """Return the elements, without empty ones: objects where there are names, else texts."""
        parts = [part for part in text.split(self.separator) if part.strip()]
        if not self.names:
            return list(parts)
        cut = (part.rsplit(self.between, len(self.names) - 1) for part in parts)
        return [dict(zip(self.names, values, strict=False)) for values in cut]


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind of record is read.

    Parameters
    ----------
    columns : the contract's field to a column or path, see :mod:`streams.formats.field_paths`
    types : the source's event types to headrace's
    other_types : what becomes of a type that is not in ``types``: it is refused, or left out and
        counted
    constants : values of fields for which the source has no column
    only : a column or path to the values that it may have; other records are left out and counted
    time_unit, time_format, time_zone : as the options of these names; empty leaves it to them
    encoding, delimiter, layouts : of files; empty means found in the file
    split : a column or path to how its text becomes a list
    unwrap : the envelope around each record: ``connect`` or ``debezium``; ``gorse`` gives rows of
        Gorse the contract's names
    """

    columns: dict[Text, Text] = {}
    types: dict[str, Text] = {}
    other_types: Literal["refuse", "leave-out"] = "refuse"
    constants: dict[Text, str | int | float] = {}
    only: dict[Text, tuple[str, ...]] = {}
    time_unit: str = ""
    time_format: str = ""
    time_zone: str = ""
    encoding: str = ""
    delimiter: str = ""
    layouts: tuple[Layout, ...] = ()
    split: dict[Text, Split] = {}
    unwrap: Literal["", "connect", "debezium", "gorse"] = ""


class MappingFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping file; None for a kind of record that it does not read."""

    events: Mapping | None = None
    items: Mapping | None = None
    users: Mapping | None = None

    def of(self, kind: str) -> Mapping | None:
        """Return the mapping of ``events``, ``items`` or ``users``."""
        found: Mapping | None = getattr(self, kind)
        return found


def read_mapping(path: Path, kind: str) -> Mapping:
    """Return the mapping of one kind of record in a file.

    Raises
    ------
    InputError
        When the file cannot be read, is no mapping, or has none of this kind.
    """
    try:
        text = path.read_bytes()[: MAX_FILE_BYTES + 1]
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); name a mapping file in TOML") from exc
    if len(text) > MAX_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes; a mapping file is written by hand")
    return parse_mapping(text, str(path), kind)


def parse_mapping(text: bytes, name: str, kind: str) -> Mapping:
    """Return the mapping of one kind of record in a text of TOML; ``name`` stands in messages."""
    try:
        found = msgspec.convert(tomllib.loads(text.decode()), MappingFile)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InputError(f"{name}: not TOML: {exc}") from exc
    except msgspec.ValidationError as exc:
        raise InputError(f"{name}: {exc}; docs/data/presets.md lists what a mapping file holds") from exc
    mapping = found.of(kind)
    if mapping is None:
        there = ", ".join(f"[{other}]" for other in KINDS if found.of(other) is not None) or "nothing"
        raise InputError(f"{name}: has no [{kind}], it has {there}; map the columns by option, or add [{kind}]")
    for field, column in [*mapping.columns.items(), *((f"only.{path}", path) for path in mapping.only)]:
        try:
            parse_paths(column)
        except PathError as exc:
            raise InputError(f"{name}: {kind}.{field}: {exc}") from None
    return mapping
