"""Paths: folders of parts, patterns, pipes and standard input."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.formats import named_files
from tools.files.formats.named_files import find_files
from tools.files.raw_rows import raw_rows

CSV = "user_id,item_id\nu,i\n"


def values(*paths: Path, fields: tuple[str, ...] = ("user_id", "item_id")) -> list[tuple[object, ...]]:
    """Return the rows of some files."""
    return [tuple(row.values) for row in raw_rows(paths, FileOptions(), fields, ("user_id",))]


def test_a_folder_of_parts_is_read_by_name_without_what_is_no_data(tmp_path: Path) -> None:
    """As Spark writes it: marks, checksums and empty parts are left out."""
    (tmp_path / "_temporary").mkdir()
    parts = {"part-1.csv": CSV, "part-0.csv": CSV.replace("u,", "t,"), "part-2.csv": "", "_temporary/a.csv": CSV}
    for name, text in {**parts, "_SUCCESS": "", ".part-0.csv.crc": "x"}.items():
        (tmp_path / name).write_text(text)
    assert values(tmp_path) == [("t", "i"), ("u", "i")]


def test_folders_named_after_values_give_columns(tmp_path: Path) -> None:
    """A missing value is one; a column of the file wins; names may be quoted as in addresses."""
    for folder in ("dt=2026-01-01/kind=a%2Fb", "dt=__HIVE_DEFAULT_PARTITION__/kind=c", "_day=1"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "p.csv").write_text(CSV)
    assert values(tmp_path, fields=("user_id", "dt", "kind")) == [
        ("u", None, None),
        ("u", "2026-01-01", "a/b"),
        ("u", None, "c"),
    ]
    (tmp_path / "dt=2026-01-01" / "kind=a%2Fb" / "p.csv").write_text("user_id,dt\nu,own\n")
    assert values(tmp_path / "dt=2026-01-01", fields=("user_id", "dt")) == [("u", "own")]


def test_patterns_and_several_files(tmp_path: Path) -> None:
    """Files come in the order given, and by name within a pattern.

    A file whose name has a bracket is a file.
    """
    for name in ("b1.csv", "a2.csv", "a[1].csv"):
        (tmp_path / name).write_text(CSV.replace("u,", f"{name[:2]},"))
    assert [v[0] for v in values(tmp_path / "b1.csv", tmp_path / "a*.csv")] == ["b1", "a2", "a["]
    assert [v[0] for v in values(tmp_path / "a[1].csv")] == ["a["]


@pytest.mark.parametrize("sign", ["_delta_log/0.json", "metadata/v1.metadata.json", ".hoodie/x"])
def test_tables_with_a_log_of_changes_are_refused(tmp_path: Path, sign: str) -> None:
    """Their folders hold rows that were removed."""
    (tmp_path / sign).parent.mkdir()
    (tmp_path / sign).write_text("{}")
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(InputError, match="table, whose folder holds removed rows too; export it"):
        values(tmp_path)


def test_what_names_nothing_is_refused(tmp_path: Path) -> None:
    """No file, no match, an empty folder."""
    (tmp_path / "empty").mkdir()
    wrong = {"none.csv": "no such file", "*.csv": "no file has such a name", "empty": "a folder without data"}
    for name, message in {**wrong, "/dev/null": "neither a file nor a folder"}.items():
        path = tmp_path / name
        with pytest.raises(InputError, match=message):
            find_files([path])


def test_a_pipe_can_be_read_twice(tmp_path: Path) -> None:
    """As a shell gives it for ``<(zcat log.gz)``: its content is kept."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(CSV,))
    writer.start()
    assert values(pipe) == values(pipe) == [("u", "i")]
    writer.join()


def test_standard_input_is_told_apart_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no name and no suffix."""
    named_files._copy_of_stdin.cache_clear()  # noqa: SLF001 - each test has a standard input of its own
    (tmp_path / "in").write_text('[{"user_id": "u", "item_id": "i"}]')
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert values(Path("-")) == values(Path("-")) == [("u", "i")]
    named_files._copy_of_stdin.cache_clear()  # noqa: SLF001
