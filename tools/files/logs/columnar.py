"""Reads files as blocks of columns, where their text is plain; as rows, where it is not.

A block gives the rows that :func:`~tools.files.raw_rows.raw_rows` gives, several times as fast. CSV
is cut by pyarrow where a block has no stray or doubled quote, no broken line and no row of another
width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.files.file_options import FileOptions
from tools.files.formats.arrow_values import values_of
from tools.files.formats.delimited import Delimited
from tools.files.formats.named_files import NamedFile, find_files
from tools.files.formats.parquet_rows import ParquetRows
from tools.files.formats.text import Lines, TextFile
from tools.files.raw_rows import FileReader, Numbered, RawRow

if TYPE_CHECKING:
    import pyarrow

#: Rows that are no columns come in lists of so many.
LIST_ROWS: Final = 4_096


@dataclass(frozen=True)
class ColumnBlock:
    """Rows of a file as columns.

    Parameters
    ----------
    file : as a message names it
    first : the line of the first row; each row has one line
    columns : an array for each field that was asked for, None for a field without a column
    n_rows : the length of each array
    """

    file: str
    first: int
    columns: Sequence[pyarrow.Array | None]
    n_rows: int

    def raw_rows(self, places: Iterable[int] | None = None) -> Iterator[RawRow]:
        """Yield the rows at some places, all without them, as :func:`raw_rows` gives them."""
        if places is None:
            lists = [[None] * self.n_rows if column is None else values_of(column) for column in self.columns]
            for line, values in enumerate(zip(*lists, strict=True), self.first):
                yield RawRow(self.file, line, values)
            return
        for place in places:
            values = tuple(None if column is None else values_of(column.slice(place, 1))[0] for column in self.columns)
            yield RawRow(self.file, self.first + place, values)


def raw_blocks(
    paths: Sequence[Path],
    options: FileOptions,
    fields: Sequence[str],
    required: Sequence[str],
    types: Collection[str] = (),
) -> Iterator[ColumnBlock | list[RawRow]]:
    """Yield the rows of :func:`~tools.files.raw_rows.raw_rows` in blocks.

    The parameters are those of that function.
    """
    reader = BlockReader(options, fields, required, types)
    for file in find_files(paths):
        yield from reader.blocks(file)


class BlockReader(FileReader):
    """Reads files in blocks."""

    def blocks(self, file: NamedFile) -> Iterator[ColumnBlock | list[RawRow]]:
        """Yield the rows of a file in blocks."""
        with self._opened(file) as source:
            if isinstance(source, ParquetRows):
                yield from self._parquet_blocks(file, source)
            elif isinstance(source, TextFile) and not self.is_json(file, source.head):
                opened = self._delimited(file, source)
                if opened:
                    yield from self._delimited_blocks(file, *opened)
            else:
                yield from _in_lists(file, self._rows(file, source))

    def _parquet_blocks(self, file: NamedFile, table: ParquetRows) -> Iterator[ColumnBlock | list[RawRow]]:
        roots = self._roots(file, table)
        columns = self._columns_of(file, roots)
        if columns is None:
            yield from _in_lists(file, self._rows(file, table))
            return
        first = 1
        for batch in table.batches(roots):
            arrays = {name: batch.column(i) for i, name in enumerate(roots)}
            yield _block(file, first, columns, arrays, batch.num_rows)
            first += batch.num_rows

    def _delimited_blocks(
        self, file: NamedFile, table: Delimited, names: Sequence[str], has_header: bool
    ) -> Iterator[ColumnBlock | list[RawRow]]:
        columns = self._columns_of(file, names)
        is_simple = len(table.delimiter) == 1 and table.delimiter.isascii()
        for piece in table.blocks(has_header=has_header):
            arrays = None
            if isinstance(piece, Lines):
                if columns is not None and is_simple:
                    arrays = _cut(piece, table.delimiter, names, columns)
                if arrays is not None and columns is not None:
                    yield _block(file, piece.first, columns, arrays, piece.n_lines)
                    continue
                piece = table.rows_of(piece)
            yield from _in_lists(file, self._mapped(file, names, piece))

    def _columns_of(self, file: NamedFile, names: Sequence[str]) -> list[str | None] | None:
        """Return the column of each field, None where rows must be mapped one by one."""
        plain = self._mapper.names_only([*names, *file.columns])
        return None if plain is None or len(set(names)) < len(names) else plain


def _block(
    file: NamedFile,
    first: int,
    columns: Sequence[str | None],
    arrays: dict[str, pyarrow.Array],
    n_rows: int,
) -> ColumnBlock:
    import pyarrow

    folders = {
        name: pyarrow.repeat(pyarrow.scalar(value, pyarrow.string()), n_rows)
        for name, value in file.columns.items()
        if name in columns and name not in arrays
    }
    every = arrays | folders
    return ColumnBlock(file.name, first, [None if name is None else every[name] for name in columns], n_rows)


def _cut(
    lines: Lines, delimiter: str, names: Sequence[str], columns: Sequence[str | None]
) -> dict[str, pyarrow.Array] | None:
    """Return the wanted columns of some plain lines; None where a line is no row of all columns."""
    import pyarrow
    from pyarrow import csv

    wanted = {str(names.index(name)): name for name in dict.fromkeys(columns) if name is not None and name in names}
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(lines.data),
            read_options=csv.ReadOptions(
                use_threads=False, block_size=len(lines.data) + 1, column_names=[str(i) for i in range(len(names))]
            ),
            parse_options=csv.ParseOptions(delimiter=delimiter, quote_char='"', double_quote=False),
            convert_options=csv.ConvertOptions(
                include_columns=list(wanted),
                column_types={place: pyarrow.string() for place in wanted},
                strings_can_be_null=False,
            ),
        )
    except pyarrow.ArrowInvalid:
        return None
    if table.num_rows != lines.n_lines:
        return None
    return {name: table.column(place).combine_chunks() for place, name in wanted.items()}


def _in_lists(file: NamedFile, rows: Iterable[Numbered]) -> Iterator[list[RawRow]]:
    rows = iter(rows)
    while some := [RawRow(file.name, line, values) for line, values in islice(rows, LIST_ROWS)]:
        yield some
