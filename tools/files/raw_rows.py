"""Reads raw rows of CSV, TSV, JSON lines, Parquet and RecBole files, plain, in gzip or in zstd.

Memory is bounded, whatever the file holds.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.packed_files import unpacked
from tools.files.parquet_rows import ParquetRows, errors, parquet_error

#: A longer line is a bad row: without a limit, one missing line end would fill the memory.
MAX_LINE_BYTES: Final = 1 << 20
#: The first rows of a JSON-lines file show which columns it has.
HEAD_ROWS: Final = 200
DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson", ".json"})
PARQUET_SUFFIXES: Final = frozenset({".parquet", ".pq"})
#: RecBole's atomic files write a column as ``name:type``.
ATOMIC_SUFFIXES: Final = frozenset({".inter", ".item", ".user"})

Numbered = tuple[int, "Sequence[Any] | str"]


class RawRow(NamedTuple):
    """One row of a file, before its values are checked.

    Parameters
    ----------
    file : the file, as a message names it
    line : counts from 1, with the header; in Parquet it counts rows. One line may give several rows
    values : in the order of the fields that were asked for, None for a missing value; for a line
        that is not a row, the reason, as text
    """

    file: str
    line: int
    values: Sequence[Any] | str


def raw_rows(
    paths: Sequence[Path], options: FileOptions, fields: Sequence[str], required: Sequence[str]
) -> Iterator[RawRow]:
    """Yield the rows of some files, one file after another.

    Parameters
    ----------
    fields : which values each row has, and in which order
    required : fields without which a file cannot be read

    Raises
    ------
    InputError
        When a file is missing, damaged or lacks a column, or the columns name an unknown field.
    """
    columns = options.columns_map()
    for path in paths:
        name = str(path)
        for line, values in _rows_of(path, columns, fields, required):
            yield RawRow(name, line, values)


def _rows_of(
    path: Path, columns: Mapping[str, str], fields: Sequence[str], required: Sequence[str]
) -> Iterator[Numbered]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a CSV, TSV, JSON-lines or Parquet file")
    unknown = sorted(set(columns) - set(fields))
    if unknown:
        raise InputError(f"columns: {unknown[0]!r} is not a field; the fields are {', '.join(fields)}")
    suffix = _suffix(path)
    wanted = {field: columns.get(field, field) for field in fields}
    try:
        if suffix in PARQUET_SUFFIXES:
            yield from _parquet_rows(path, columns, wanted, required)
        elif suffix in JSON_SUFFIXES:
            yield from _checked_json_rows(path, columns, wanted, required)
        else:
            yield from _delimited_rows(path, columns, wanted, required)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise InputError(f"{path}: damaged gzip ({exc}); fetch the file again") from exc
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror or exc})") from exc


def _suffix(path: Path) -> str:
    """Return the suffix of the format: ``.csv`` for ``log.csv.gz``."""
    suffixes = [s.lower() for s in path.suffixes]
    while suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open a file; one whose first bytes are those of gzip or zstd gives its unpacked content."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        content = unpacked(path, file, magic)
        if content is not None:
            yield content
        elif path.suffix.lower() in (".gz", ".zst") and magic:
            raise InputError(f"{path}: its name ends in {path.suffix}, its content is not; rename it or fetch it again")
        else:
            yield file


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | None]]:
    """Yield numbered lines, None for a line that is too long; bad UTF-8 becomes surrogates."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield number, None
            continue
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        yield number, text.rstrip("\r\n")


def _checked_json_rows(
    path: Path, columns: Mapping[str, str], wanted: Mapping[str, str], required: Sequence[str]
) -> Iterator[Numbered]:
    """Yield the rows of a JSON-lines file whose first objects have all columns that are needed."""
    names: dict[str, None] = {}
    rows = _json_rows(path, list(wanted.values()), names)
    head = list(islice(rows, HEAD_ROWS))
    if names:
        named = {field: name for field, name in columns.items() if field in required}
        _positions(path, list(names), named, wanted, required)
    yield from chain(head, rows)


def _json_rows(path: Path, keys: Sequence[str], names: dict[str, None]) -> Iterator[Numbered]:
    """Yield rows; add the keys of the first :data:`HEAD_ROWS` objects to ``names``."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    n_named = 0
    with _open(path) as file:
        for number, line in _lines(file):
            if line is None:
                yield number, f"longer than {MAX_LINE_BYTES} bytes"
            elif line.strip():
                try:
                    entry = decoder.decode(line.encode("utf-8", "surrogateescape"))
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                    yield number, f"not a JSON object: {exc}"
                else:
                    if n_named < HEAD_ROWS:
                        n_named += 1
                        names.update(dict.fromkeys(entry))
                    yield number, [entry.get(key) for key in keys]


def _parquet_rows(
    path: Path, columns: Mapping[str, str], wanted: Mapping[str, str], required: Sequence[str]
) -> Iterator[Numbered]:
    try:
        with path.open("rb") as file:
            parquet = ParquetRows(path, file)
            names = parquet.names
            positions = _positions(path, names, columns, wanted, required)
            present = list(dict.fromkeys(names[p] for p in positions if p is not None))
            place = [None if p is None else present.index(names[p]) for p in positions]
            for number, row in enumerate(parquet.rows(present), 1):
                yield number, [None if p is None else row[p] for p in place]
    except errors() as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise  # the disk failed; the file is not damaged
        raise parquet_error(path, exc) from exc


def _delimited_rows(
    path: Path, columns: Mapping[str, str], wanted: Mapping[str, str], required: Sequence[str]
) -> Iterator[Numbered]:
    suffix = _suffix(path)
    is_headerless = bool(columns) and all(name.isdecimal() for name in columns.values())
    with _open(path) as file:
        lines = _lines(file)
        first = next(lines, None)
        if first is None:
            return
        head = first[1] or ""
        delimiter = _delimiter(suffix, head)
        names = _header(path, head, delimiter)
        if is_headerless:
            positions = [int(columns[field]) if field in columns else None for field in wanted]
            _check_width(path, columns, len(names))
        else:
            if suffix in ATOMIC_SUFFIXES:
                names = [name.rsplit(":", 1)[0] for name in names]
            positions = _positions(path, names, columns, wanted, required)
        _check_required(path, positions, wanted, required, names)
        if is_headerless:
            yield _pick(*first, delimiter, positions)
        if delimiter == ",":
            yield from _csv_rows(lines, positions)
            return
        for number, line in lines:
            if line is None or line.strip():
                yield _pick(number, line, delimiter, positions)


def _delimiter(suffix: str, head: str) -> str:
    """Return the suffix's usual delimiter where the first line has it, else one that it has."""
    usual = DELIMITERS.get(suffix)
    if usual is not None and usual in head:
        return usual
    return next((d for d in ("\t", "::", "|", ";", ",", " ") if d in head), usual or ",")


def _csv_rows(lines: Iterator[tuple[int, str | None]], positions: Sequence[int | None]) -> Iterator[Numbered]:
    """Yield rows whose quoted values may contain line ends, by the number of their last line."""
    too_long: list[int] = []

    def texts() -> Iterator[str]:
        for number, line in lines:
            if line is None:
                too_long.append(number)
            else:
                yield f"{line}\n"

    reader = csv.reader(texts())
    while True:
        try:
            values = next(reader, None)
        except csv.Error as exc:
            yield reader.line_num + 1, f"not CSV: {exc}"
            continue
        while too_long:
            yield too_long.pop(), f"longer than {MAX_LINE_BYTES} bytes"
        if values is None:
            return
        if values:
            yield reader.line_num + 1, [None if p is None or p >= len(values) else values[p] for p in positions]


def _pick(number: int, line: str | None, delimiter: str, positions: Sequence[int | None]) -> Numbered:
    if line is None:
        return number, f"longer than {MAX_LINE_BYTES} bytes"
    try:
        values = _split(line, delimiter)
    except csv.Error as exc:
        return number, f"not CSV: {exc}"
    n = len(values)
    return number, [None if p is None or p >= n else values[p] for p in positions]


def _header(path: Path, head: str, delimiter: str) -> list[str]:
    try:
        return _split(head, delimiter)
    except csv.Error as exc:
        raise InputError(
            f"{path}: the first line is not CSV ({exc}); name a CSV, TSV, JSON-lines or Parquet file"
        ) from exc


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == "," and '"' in line:
        return next(csv.reader([line]), [])
    return line.split(delimiter)


def _positions(
    path: Path, names: Sequence[str], columns: Mapping[str, str], wanted: Mapping[str, str], required: Sequence[str]
) -> list[int | None]:
    """Return each field's position among the file's columns; None for a missing optional field."""
    place = {name.strip(): i for i, name in enumerate(names)}
    for field, name in columns.items():
        if name not in place:
            raise InputError(
                f"{path}: {field}: no column {name!r}; there are {', '.join(map(_shown, place))}; see --columns"
            )
    positions = [place.get(name) for name in wanted.values()]
    _check_required(path, positions, wanted, required, list(place))
    return positions


def _check_required(
    path: Path,
    positions: Sequence[int | None],
    wanted: Mapping[str, str],
    required: Sequence[str],
    names: Sequence[str],
) -> None:
    for field, position in zip(wanted, positions, strict=True):
        if position is None and field in required:
            shown = ", ".join(_shown(name) for name in names[:30])
            raise InputError(f"{path}: no column {field!r}; there are {shown}; map one with --columns {field}=NAME")


def _shown(name: object) -> str:
    """Return a column's name, printable and short, for a message of one line."""
    text = str(name)[:100]
    return text if text.isprintable() else ascii(text)


def _check_width(path: Path, columns: Mapping[str, str], width: int) -> None:
    for field, position in columns.items():
        if int(position) >= width:
            raise InputError(f"{path}: {field}={position}: the first line has {width} columns, counted from 0")
