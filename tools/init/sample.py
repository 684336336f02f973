"""Reads the first rows of the files that a user names, whatever their container and format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.formats.avro_rows import AvroRows
from tools.files.formats.delimited import Delimited
from tools.files.formats.encodings import likely_encoding
from tools.files.formats.json_rows import json_rows
from tools.files.formats.named_files import NamedFile, find_files
from tools.files.formats.orc_rows import OrcRows
from tools.files.formats.packed_files import open_unpacked, peek, seekable
from tools.files.formats.parquet_rows import ParquetRows
from tools.files.formats.text import TextFile
from tools.files.formats.unreadable import check_readable, check_text
from tools.files.raw_rows import FileReader, suffix_of
from tools.init.envelope import opened
from tools.init.tables import Form, Table, make_table

#: So many rows of a log show its columns; rare event types may come later.
MAX_ROWS: Final = 100_000
#: So many records show whether they are in an envelope.
HEAD_RECORDS: Final = 200
#: A folder with more groups of files was named by mistake.
MAX_TABLES: Final = 50
#: A nested record is taken apart so deep, and into so many columns.
MAX_DEPTH: Final = 6
MAX_COLUMNS: Final = 300
#: Files of a folder that are about the data.
_PROSE: Final = frozenset({".md", ".rst", ".html", ".pdf", ".py", ".sh", ".toml"})
_TABLES: Final = {"parquet": ParquetRows, "avro": AvroRows, "orc": OrcRows}


def read_tables(paths: Sequence[Path]) -> tuple[list[Table], list[tuple[str, str]]]:
    """Return the tables of all files, and each file of a folder that is none, with the reason.

    Files whose names differ in digits alone, and that have the same columns, are one table.

    Raises
    ------
    InputError
        When a named file cannot be read, or a folder has too many files.
    """
    tables: list[Table] = []
    unread: list[tuple[str, str]] = []
    for path in paths:
        every = find_files([path])
        data = [file for file in every if not (path.is_dir() and file.path.suffix in _PROSE)]
        groups = _groups(data)
        if len(groups) > MAX_TABLES:
            raise InputError(f"{path}: has {len(groups)} kinds of files, limit {MAX_TABLES}; name the files")
        for files in groups:
            try:
                table = read_table(files)
            except InputError as exc:
                if not path.is_dir():
                    raise
                unread.append((files[0].name, str(exc).removeprefix(f"{files[0].name}: ")))
                continue
            whole = path.is_dir() and len(files) == len(every) > 1
            tables.append(replace(table, paths=(path,) if whole else tuple(file.path for file in files)))
    return _joined(tables), unread


def read_table(files: Sequence[NamedFile]) -> Table:
    """Return the table of the first rows of some files of one kind."""
    first = read_file(files[0], MAX_ROWS)
    rows = list(first.rows(MAX_ROWS))
    for file in files[1:]:
        if len(rows) >= MAX_ROWS:
            break
        more = read_file(file, MAX_ROWS - len(rows))
        if [column.name for column in more.columns] == [column.name for column in first.columns]:
            rows += more.rows(MAX_ROWS)
    names = [column.name for column in first.columns]
    table = make_table([file.path for file in files], rows, names, is_whole=len(rows) < MAX_ROWS)
    return replace(table, form=first.form, has_header=first.has_header, records=first.records, envelope=first.envelope)


def read_file(file: NamedFile, n_rows: int, encoding: str = "auto") -> Table:
    """Return the table of the first rows of one file.

    A text of an encoding that cannot be found is read in the most likely one, and the form says so.
    """
    try:
        return _read_file(file, n_rows, encoding)
    except InputError as exc:
        if encoding != "auto" or "--encoding" not in str(exc):
            raise
        table = _read_file(file, n_rows, _likely_encoding(file))
        return replace(table, form=replace(table.form, is_encoding_guessed=True))


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested record as values by path; of a list of records, the first one counts."""
    found: dict[str, Any] = {}
    _flatten("", record, found, 0)
    return found


def _flatten(path: str, value: Any, found: dict[str, Any], depth: int) -> None:
    if len(found) >= MAX_COLUMNS:
        return
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        for key, each in value.items():
            _flatten(f"{path}.{key}" if path else str(key), each, found, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping) and "[]" not in path:
        _flatten(f"{path}[]", value[0], found, depth + 1)
    else:
        found[path] = value


def _read_file(file: NamedFile, n_rows: int, encoding: str) -> Table:
    reader = FileReader(FileOptions(), ("item_id",), ())
    with open_unpacked(file.path, file.name) as content:
        head = peek(content)
        check_readable(head, file.name)
        form = reader.format_of(file, head)
        if form in _TABLES:
            return _of_records(file, _table_records(form, file, content), n_rows, Form(form))
        text = TextFile(content, file.name, encoding)
        check_text(text.head, file.name)
        if reader.is_json(file, text.head):
            records = (record for _, record in json_rows(text, file.name) if isinstance(record, dict))
            table = _of_records(file, records, n_rows, Form("json"))
            return replace(table, form=Form("json", text.encoding))
        return _delimited(file, text, n_rows)


def _table_records(form: str, file: NamedFile, content: BinaryIO) -> Iterator[dict[str, Any]]:
    content = seekable(content)
    table: ParquetRows | AvroRows | OrcRows
    if form == "parquet":
        table = ParquetRows(file.name, content)
    else:
        kind = AvroRows if form == "avro" else OrcRows
        table = kind(file.name, content, file.path.stat().st_size)
    for row in table.rows(table.names):
        yield dict(zip(table.names, row, strict=True))


def _of_records(file: NamedFile, records: Iterator[dict[str, Any]], n_rows: int, form: Form) -> Table:
    whole: list[Mapping[str, Any]] = [{**file.columns, **record} for record in islice(records, n_rows)]
    envelope, inside = opened(whole[:HEAD_RECORDS])
    if envelope:
        whole = opened(whole)[1] or inside
    flattened = [flat(record) for record in whole]
    names = list(dict.fromkeys(name for record in flattened for name in record))
    rows = [[record.get(name) for name in names] for record in flattened]
    return replace(make_table([file.path], rows, names), form=form, records=whole, envelope=envelope)


def _delimited(file: NamedFile, text: TextFile, n_rows: int) -> Table:
    table = Delimited(text, file.name, "auto", suffix_of(file.path))
    rows: list[list[Any]] = [
        [*values, *file.columns.values()]
        for _, values in islice(table.rows(has_header=False), n_rows + 1)
        if not isinstance(values, str)
    ]
    found = make_table([file.path], rows)
    if file.columns and found.has_header:
        names = [column.name for column in found.columns][: -len(file.columns)]
        found = make_table([file.path], rows[1:], [*names, *file.columns])
    return replace(found, form=Form("csv", text.encoding, table.delimiter))


def _likely_encoding(file: NamedFile) -> str:
    """Return the encoding that a text has most likely."""
    with open_unpacked(file.path, file.name) as content:
        lines = [line for line in content.read(1 << 20).splitlines(keepends=True) if not line.isascii()]
    return likely_encoding(b"".join(lines)[: 1 << 16])


def _groups(files: Sequence[NamedFile]) -> list[list[NamedFile]]:
    """Return files by their names without digits and by their folder's partitions, in order."""
    groups: dict[tuple[str, ...], list[NamedFile]] = {}
    for file in files:
        key = (re.sub(r"\d+", "0", file.path.name), *file.columns)
        groups.setdefault(key, []).append(file)
    return list(groups.values())


def _joined(tables: list[Table]) -> list[Table]:
    """Join tables of the same columns whose files have one name but for digits."""
    joined: list[Table] = []
    for table in tables:
        for i, other in enumerate(joined):
            if _is_same(table, other):
                rows = [*other.rows(MAX_ROWS), *table.rows(MAX_ROWS)][:MAX_ROWS]
                names = [column.name for column in table.columns]
                more = make_table([*other.paths, *table.paths], rows, names, is_whole=len(rows) < MAX_ROWS)
                joined[i] = replace(
                    more, form=other.form, has_header=other.has_header, records=other.records, envelope=other.envelope
                )
                break
        else:
            joined.append(table)
    return joined


def _is_same(one: Table, two: Table) -> bool:
    names = [re.sub(r"\d+", "0", table.paths[0].name) for table in (one, two)]
    columns = [[column.name for column in table.columns] for table in (one, two)]
    return names[0] == names[1] and columns[0] == columns[1] and one.form == two.form
