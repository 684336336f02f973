"""Reads the rows of files, whatever their container, encoding and format, in bounded memory.

::

    paths ─► files ─► container ─► format ─► encoding ─► rows or records ─► mapping ─► RawRow
    named_files      packed_files           text       delimited, json_rows,  mapping
                                                       parquet_, avro_, orc_rows
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from streams.errors import InputError
from streams.formats.mapping_file import Mapping as MappingOfKind
from tools.files.file_options import FileOptions
from tools.files.formats import avro_rows, orc_rows, parquet_pages
from tools.files.formats.delimited import Delimited
from tools.files.formats.json_rows import json_rows
from tools.files.formats.named_files import NamedFile, find_files
from tools.files.formats.notes import say_once
from tools.files.formats.packed_files import SUFFIXES, open_unpacked, peek, seekable
from tools.files.formats.parquet_rows import ParquetRows
from tools.files.formats.text import TextFile
from tools.files.formats.unreadable import check_readable, check_text
from tools.files.mapping import RecordMapper
from tools.files.presets import CONTAINERS, column_names, find_preset, layout_delimiter

#: The first objects of a JSON file show which columns it has.
HEAD_ROWS: Final = 200
JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson", ".json", ".geojson"})
DELIMITED_SUFFIXES: Final = frozenset({".csv", ".tsv", ".tab", ".psv", ".dat", ".inter", ".item", ".user"})
_BY_MAGIC: Final = {parquet_pages.MAGIC: "parquet", avro_rows.MAGIC: "avro", orc_rows.MAGIC: "orc"}
_BY_SUFFIX: Final = {".parquet": "parquet", ".pq": "parquet", ".avro": "avro", ".orc": "orc"}
SHOWN_COLUMNS: Final = 30

#: A file whose format names and types its columns.
Table = ParquetRows | avro_rows.AvroRows | orc_rows.OrcRows
Numbered = tuple[int, "Sequence[Any] | str"]


class ShortRow(tuple[Any, ...]):
    """The values of a line that has fewer than the file has columns; the last ones are None.

    Attributes
    ----------
    why : how many it has, in words
    """

    why: str = ""


class RawRow(NamedTuple):
    """One row of a file, before its values are checked.

    Parameters
    ----------
    file : the file, as a message names it
    line : counts from 1, with the header; in Parquet, Avro and ORC it counts rows. One line may
        give several rows, and one row may go on over several lines
    values : in the order of the fields that were asked for, None for a missing value; for a line
        that is not a row, the reason, as text. A :class:`ShortRow` is one with fewer values than
        the file has columns, a :class:`~tools.files.mapping.LeftOut` one that is left out although
        nothing is wrong with it
    """

    file: str
    line: int
    values: Sequence[Any] | str


def raw_rows(
    paths: Sequence[Path],
    options: FileOptions,
    fields: Sequence[str],
    required: Sequence[str],
    types: Collection[str] = (),
) -> Iterator[RawRow]:
    """Yield the rows of some files, one file after another.

    Parameters
    ----------
    fields : which values each row has, and in which order
    required : fields without which a file cannot be read
    types : event types that the user maps, beside those of a preset

    Raises
    ------
    InputError
        When a file is missing, damaged, of an unknown format or lacks a column, or the columns name
        an unknown field.
    """
    reader = FileReader(options, fields, required, types)
    for file in find_files(paths):
        for line, values in reader.rows(file):
            yield RawRow(file.name, line, values)


def holds_json(paths: Sequence[Path], options: FileOptions) -> bool:
    """Return whether the first of some files holds JSON objects.

    The parameters are those of raw_rows.
    """
    reader = FileReader(options, (), ())
    return any(reader.holds_objects(file) for file in find_files(paths)[:1])


class FileReader:
    """Reads the rows of one file after another in the same way.

    The parameters are those of raw_rows.
    """

    def __init__(
        self, options: FileOptions, fields: Sequence[str], required: Sequence[str], types: Collection[str] = ()
    ) -> None:
        kind = _kind_of(fields)
        rules = find_preset(options.format, kind)
        self._rules = rules or MappingOfKind()
        self._format = options.format if options.format in CONTAINERS else "auto"
        self._encoding = options.encoding if options.encoding != "auto" else self._rules.encoding or "auto"
        self._delimiter = options.delimiter if options.delimiter != "auto" else self._rules.delimiter or "auto"
        self._columns = options.columns_map()
        self._required = tuple(required)
        self._mapper = RecordMapper(fields, self._columns, rules=rules, kind=kind, types=types)
        self._is_positional = bool(self._columns) and all(name.isdecimal() for name in self._columns.values())

    def rows(self, file: NamedFile) -> Iterator[Numbered]:
        """Yield number and values of each row of a file."""
        with self._opened(file) as source:
            yield from self._rows(file, source)

    @contextmanager
    def _opened(self, file: NamedFile) -> Iterator[TextFile | Table]:
        """Open a file as what it is."""
        with open_unpacked(file.path, file.name) as content:
            head = peek(content)
            check_readable(head, file.name)
            found = self.format_of(file, head)
            if found in ("parquet", "avro", "orc"):
                yield _table(found, file, content)
                return
            text = TextFile(content, file.name, self._encoding)
            check_text(text.head, file.name)
            yield text

    def _rows(self, file: NamedFile, source: TextFile | Table) -> Iterator[Numbered]:
        if not isinstance(source, TextFile):
            roots = self._roots(file, source)
            yield from self._mapped(file, roots, enumerate(source.rows(roots), 1))
        elif self.is_json(file, source.head):
            yield from self._json_rows(file, source)
        elif opened := self._delimited(file, source):
            table, names, has_header = opened
            yield from self._mapped(file, names, table.rows(has_header=has_header))

    def holds_objects(self, file: NamedFile) -> bool:
        """Return whether a file holds JSON objects."""
        with open_unpacked(file.path, file.name) as content:
            head = peek(content)
            if self.format_of(file, head) in ("parquet", "avro", "orc"):
                return False
            check_readable(head, file.name)
            return self.is_json(file, TextFile(content, file.name, self._encoding).head)

    def format_of(self, file: NamedFile, head: bytes) -> str:
        """Return the format of a file by its first bytes, else by its suffix; ``auto`` for text."""
        if self._format != "auto":
            return self._format
        by_magic = next((name for magic, name in _BY_MAGIC.items() if head.startswith(magic)), None)
        return by_magic or _BY_SUFFIX.get(suffix_of(file.path), "auto")

    def is_json(self, file: NamedFile, head: bytes) -> bool:
        """Return whether a text is JSON, by its suffix or by its first characters."""
        if self._format != "auto":
            return self._format == "json"
        suffix = suffix_of(file.path)
        head = head.lstrip()
        if suffix in JSON_SUFFIXES or not head.startswith((b"{", b"[")):
            return suffix in JSON_SUFFIXES
        return suffix not in DELIMITED_SUFFIXES or _is_object(head.split(b"\n", 1)[0])

    def _roots(self, file: NamedFile, table: Table) -> list[str]:
        """Return which columns of a table are read."""
        self._check(file, table.names, self._columns)
        return self._mapper.roots(table.names)

    def _delimited(self, file: NamedFile, text: TextFile) -> tuple[Delimited, list[str], bool] | None:
        """Return a delimited file's rows, its columns' names, and whether it has a header.

        None for a file without rows.
        """
        wanted = [name for column in self._mapper.columns for name in column.split("|")]
        least = 1 + max((int(column) for column in self._columns.values()), default=0) if self._is_positional else 0
        delimiter = layout_delimiter(self._rules, text.head) if self._delimiter == "auto" else self._delimiter
        table = Delimited(text, file.name, delimiter, suffix_of(file.path), wanted, least)
        if not table.first:
            return None
        if table.is_sniffed and not table.is_usual and len(table.first) > 1:
            shown = {"\t": "tab", " ": "space"}.get(table.delimiter, table.delimiter)
            say_once(f"{file.name}: columns are separated by {shown!r}; --delimiter names another one")
        names = column_names(self._rules, table.first, table.delimiter)
        has_header = names is None and not self._is_positional
        if self._is_positional:
            names = [str(i) for i in range(len(table.first))]
            self._check_positions(file, len(names))
        names = [name.strip() for name in (table.first if names is None else names)]
        self._check(file, names, self._columns)
        self._check_once(file, names)
        return table, names, has_header

    def _json_rows(self, file: NamedFile, text: TextFile) -> Iterator[Numbered]:
        records = json_rows(text, file.name)
        head = list(islice(records, HEAD_ROWS))
        names = {name: None for _, record in head if isinstance(record, dict) for name in record}
        if names:
            self._check(file, list(names), {f: name for f, name in self._columns.items() if f in self._required})
        # an object far down the file may be the first one that has an optional field
        every = [*names, *(name for name in self._mapper.columns if name not in names and name.isidentifier())]
        plain = self._mapper.names_only({*every, *file.columns})
        for number, record in chain(head, records):
            if isinstance(record, str):
                yield number, record
                continue
            record = {**file.columns, **record} if file.columns else record
            if plain is None:
                yield from self._rows_of(number, record)
            else:
                yield number, [None if name is None else record.get(name) for name in plain]

    def _mapped(
        self, file: NamedFile, names: Sequence[str], rows: Iterable[tuple[int, Sequence[Any] | str]]
    ) -> Iterator[Numbered]:
        """Yield the values of the fields from the values of a file's columns."""
        folders = _folders(file, names)
        every = [*names, *folders]
        plain = self._mapper.names_only(every)
        ends = [*folders.values(), None]
        if plain is None:
            for number, values in rows:
                if isinstance(values, str):
                    yield number, values
                else:
                    named = dict(zip(names, values, strict=False)) | folders
                    yield from self._rows_of(number, named)
            return
        place = {name: i for i, name in reversed(list(enumerate(names)))}
        place |= {name: i - len(ends) for i, name in enumerate(folders)}
        positions = [-1 if name is None else place[name] for name in plain]
        width = len(names)
        pick = itemgetter(*positions) if len(positions) > 1 else lambda values: (values[positions[0]],)
        for number, values in rows:
            if isinstance(values, str):
                yield number, values
            elif len(values) < width:
                short = ShortRow(pick([*values, *[None] * (width - len(values)), *ends]))
                short.why = f"has {len(values)} of {width} values"
                yield number, short
            else:
                yield number, pick([*values, *ends])

    def _rows_of(self, number: int, record: Mapping[str, Any]) -> Iterator[Numbered]:
        try:
            for values in self._mapper.rows(record):
                yield number, values
        except ValueError as exc:
            yield number, str(exc)

    def _check(self, file: NamedFile, names: Sequence[str], columns: Mapping[str, str]) -> None:
        """Raise :class:`InputError` where a file lacks a named or a required column."""
        every = [*names, *file.columns]
        lacking = self._mapper.lacking(every, {*columns, *self._required})
        if not lacking:
            return
        field, name = lacking[0]
        there = ", ".join(_shown(each) for each in every[:SHOWN_COLUMNS])
        if field in columns:
            raise InputError(f"{file.name}: {field}: no column {name!r}; there are {there}; see --columns")
        raise InputError(f"{file.name}: no column {name!r}; there are {there}; map one with --columns {field}=NAME")

    def _check_once(self, file: NamedFile, names: Sequence[str]) -> None:
        """Raise :class:`InputError` where two columns have one name and are read."""
        read = self._mapper.roots(names)
        double = next((name for name in read if read.count(name) > 1), None)
        if double is not None:
            raise InputError(
                f"{file.name}: {read.count(double)} columns are called {_shown(double)!r}; rename all but one"
            )

    def _check_positions(self, file: NamedFile, width: int) -> None:
        for field, position in self._columns.items():
            if int(position) >= width:
                raise InputError(f"{file.name}: {field}={position}: the first line has {width} columns, counted from 0")


def _table(found: str, file: NamedFile, content: BinaryIO) -> Table:
    content = seekable(content)
    if found == "parquet":
        return ParquetRows(file.name, content)
    size = file.path.stat().st_size
    if found == "avro":
        return avro_rows.AvroRows(file.name, content, size)
    return orc_rows.OrcRows(file.name, content, size)


def _folders(file: NamedFile, names: Sequence[str]) -> dict[str, str | None]:
    """Return the columns in the names of a file's folders that are not in the file."""
    return {name: value for name, value in file.columns.items() if name not in names}


def suffix_of(path: Path) -> str:
    """Return the suffix of the format: ``.csv`` for ``log.csv.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _kind_of(fields: Sequence[str]) -> str:
    """Return what the rows with these fields are, as mapping files call it."""
    if "user_id" not in fields:
        return "items"
    return "events" if "item_id" in fields else "users"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _shown(name: object) -> str:
    """Return a column's name, printable and short, for a message of one line."""
    text = str(name)[:100]
    return text if text.isprintable() else ascii(text)
