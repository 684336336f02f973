"""Reads the rows of an ORC file in small batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

from streams.errors import InputError
from tools.files.formats.arrow_values import arrow_error, arrow_errors, values_of
from tools.files.formats.packed_files import check_unpacked

MAGIC: Final = b"ORC"
#: So many rows are in memory at once; a row of a catalogue has some kilobytes.
BATCH_ROWS: Final = 4_096


class OrcRows:
    """Gives the columns of a file and their rows.

    Raises
    ------
    InputError
        When the file is damaged, or unpacks to far more than its size.
    """

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        import pyarrow.dataset

        self._name = name
        self._size = size
        try:
            self._fragment = pyarrow.dataset.OrcFileFormat().make_fragment(file)
            #: Names of the columns.
            self.names: list[str] = list(self._fragment.physical_schema.names)
        except arrow_errors() as exc:
            raise arrow_error(name, "ORC", exc) from exc

    def rows(self, names: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Yield the values of some columns row by row."""
        try:
            scanner = self._fragment.scanner(
                columns=list(names), batch_size=BATCH_ROWS, use_threads=False, batch_readahead=0, fragment_readahead=0
            )
            n_bytes = 0
            for batch in scanner.to_batches():
                n_bytes += batch.nbytes
                check_unpacked(self._name, n_bytes, self._size)
                yield from zip(*(values_of(batch.column(name)) for name in names), strict=True)
        except InputError:
            raise
        except arrow_errors() as exc:
            raise arrow_error(self._name, "ORC", exc) from exc
