"""Reads the rows of a Parquet file in batches; rows with the same text share it in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from streams.errors import InputError
from tools.files.formats.arrow_values import arrow_error, arrow_errors, values_of
from tools.files.formats.packed_files import check_unpacked
from tools.files.formats.parquet_pages import (
    AS_DICTIONARY,
    BYTE_ARRAY,
    FIXED_LEN_BYTE_ARRAY,
    Chunk,
    DamagedPageError,
    Leaf,
    Pages,
    read_footer,
    read_pages,
)

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

CHUNK_ROWS: Final = 65_536
#: The most elements of a list column in one row group: with run lengths, a few bytes can stand for
#: thousands of millions of elements.
MAX_ELEMENTS: Final = 8 << 20
#: The widest column of fixed width; decimals and UUIDs have 16 bytes.
MAX_FIXED_BYTES: Final = 64
#: The size of a batch in which each value may be as long as a page.
BATCH_BYTES: Final = 64 << 20
#: The most row groups, columns or other entries that pyarrow accepts in a footer.
MAX_ENTRIES: Final = 200_000


class ParquetRows:
    """Gives the columns of a file and their rows.

    Raises
    ------
    InputError
        When the file is damaged, or unpacks to far more than its size.
    """

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._size = file.seek(0, 2)
        with self._one_line():
            self._leaves, self._groups = read_footer(file, self._size)
            #: Names of the columns.
            self.names: list[str] = list(self.open().schema_arrow.names)

    def rows(self, names: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Check the pages of some columns, then yield their values row by row."""
        for batch in self.batches(names):
            with self._one_line():
                columns = [values_of(batch.column(name)) for name in names]
            yield from zip(*columns, strict=True)

    def batches(self, names: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
        """Check the pages of some columns, then yield these columns batch by batch."""
        with self._one_line():
            yield from self._batches(names)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn what a damaged file raises into one line; a disk that fails is another error."""
        try:
            yield
        except (DamagedPageError, *arrow_errors()) as exc:  # type: ignore[misc]
            if isinstance(exc, OSError) and exc.errno is not None:
                raise
            raise arrow_error(self._name, "Parquet", exc) from exc

    def _batches(self, names: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
        wanted = [i for i, leaf in enumerate(self._leaves) if _belongs(leaf.path, names)]
        for i in wanted:
            self._check_width(self._leaves[i])
        as_words = {i for i in wanted if self._leaves[i].kind == BYTE_ARRAY}
        total, longest = 0, 0
        for group in self._groups:
            for i in wanted:
                pages = self._pages(self._leaves[i], group[i])
                total, longest = total + pages.unpacked_bytes, max(longest, pages.delta_bytes)
                as_words -= set() if pages.encodings <= AS_DICTIONARY else {i}
                check_unpacked(self._name, total, self._size)
        parquet = self.open(read_dictionary=[self._leaves[i].path for i in as_words])
        n_rows = max(1, min(CHUNK_ROWS, BATCH_BYTES // longest)) if longest else CHUNK_ROWS
        # one row group after another, because pyarrow cannot join dictionaries in lists
        for number in range(len(self._groups)):
            for batch in parquet.iter_batches(batch_size=n_rows, row_groups=[number], columns=list(names)):
                batch.validate(full=True)
                yield batch

    def open(self, **options: Any) -> pyarrow.parquet.ParquetFile:
        """Return a reader of the file with pyarrow's options, its metadata bounded."""
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(
            self._file, thrift_container_size_limit=MAX_ENTRIES, coerce_int96_timestamp_unit="us", **options
        )

    def _check_width(self, leaf: Leaf) -> None:
        if leaf.kind == FIXED_LEN_BYTE_ARRAY and leaf.width > MAX_FIXED_BYTES:
            raise InputError(
                f"{self._name}: column {leaf.path} has values of {leaf.width} bytes, limit {MAX_FIXED_BYTES}"
            )

    def _pages(self, leaf: Leaf, chunk: Chunk) -> Pages:
        if leaf.is_repeated and chunk.n_values > MAX_ELEMENTS:
            raise InputError(
                f"{self._name}: column {leaf.path} has {chunk.n_values} elements in a row group, limit {MAX_ELEMENTS}; "
                "write smaller row groups"
            )
        return read_pages(self._file, chunk.start, chunk.n_bytes)


def _belongs(leaf: str, names: Sequence[str]) -> bool:
    return any(leaf == name or leaf.startswith(f"{name}.") for name in names)
