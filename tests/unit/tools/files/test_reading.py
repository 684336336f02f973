"""The progress of a reading: its total is the files' bytes, packed or not, and it ends there."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from rich.progress import Progress

from streams.errors import InputError
from tests.support.waiting import wait_until
from tools.files.file_options import FileOptions
from tools.files.formats.read_bytes import ReadBytes
from tools.files.raw_rows import raw_rows
from tools.files.reading import told_reading
from tools.reports.progress_lines import line_of

TEXT = b"user_id,item_id,ts\n" + b"u1,i1,1600000000\n" * 60_000


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Give a plain file and a packed one."""
    plain, packed = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    plain.write_bytes(TEXT)
    packed.write_bytes(gzip.compress(TEXT))
    return [plain, packed]


def test_bytes_of_a_file_count_while_it_is_read_and_after(tmp_path: Path) -> None:
    read, path = ReadBytes(), tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    with path.open("rb", buffering=100) as file, read.counted(file, 1000):
        file.read(150)
        assert 150 <= read.total() <= 400
    assert read.total() == 1000
    stream = io.BytesIO(b"abc")
    with read.counted(stream, 3):
        stream.close()
        assert read.total() == 1000, "a file that is closed under way is no error"


def test_a_reading_moves_to_the_bytes_of_all_its_files(files: list[Path]) -> None:
    """Half of the rows is about half of the bytes of these two files, as they lie on the disk."""
    total = sum(path.stat().st_size for path in files)
    bar = Progress(disable=True)
    with told_reading(bar, "reading the log", files):
        (task,) = bar.tasks
        assert (task.total, task.completed) == (total, 0)
        rows = raw_rows(files, FileOptions(), ("user_id", "item_id", "ts"), ("user_id",))
        for _ in range(30_000):
            next(rows)
        wait_until(lambda: task.completed > 0.3 * len(TEXT), 5, lambda: str(task))
        assert task.completed < 0.8 * total
        assert len(list(rows)) == 90_000
    assert task.finished and "reading the log: " in line_of(task) and " KiB of " in line_of(task)


def test_a_missing_file_is_said_as_the_reader_says_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"), told_reading(Progress(disable=True), "x", [tmp_path / "a"]):
        pass
