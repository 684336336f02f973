"""Finds the files that a user names: a file, a pattern, a folder of parts, or standard input."""

from __future__ import annotations

import atexit
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from streams.errors import InputError

STDIN: Final = "-"
#: A folder of parts with more files was named by mistake: a home folder, say.
MAX_FILES: Final = 100_000
#: What a folder of Hive or Spark calls the partition of rows without a value.
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
#: Folders whose tables keep files of removed rows, and a file that each of them has.
_TABLES: Final = {
    "a Delta table": "_delta_log",
    "an Iceberg table": "metadata/*.metadata.json",
    "a Hudi table": ".hoodie",
}

#: Files that stand for standard input.
_taken: dict[str, Path] = {}


@dataclass(frozen=True)
class NamedFile:
    """One file to read.

    Parameters
    ----------
    path : where its bytes are
    name : what messages call it
    columns : columns that the names of its folders give, ``dt=2026-01-01``; None is a missing value
    """

    path: Path
    name: str
    columns: Mapping[str, str | None] = field(default_factory=dict)


def check_exist(paths: Sequence[Path]) -> None:
    """Raise :class:`InputError` where a path names nothing.

    Standard input and pipes are not touched.
    """
    find_files([path for path in paths if str(path) != STDIN and not path.is_fifo()])


def find_files(paths: Sequence[Path]) -> list[NamedFile]:
    """Return the files that some paths name, in this order; those of a folder by name.

    Hidden files and files such as ``_SUCCESS`` in a folder are no data and are left out, and so are
    empty parts. Standard input and pipes are copied to a temporary file, because a log is read more
    than once.

    Raises
    ------
    InputError
        When a path names nothing, a folder without data, or a folder of a table with a log of
        changes.
    """
    return [file for path in paths for file in _files_of(path)]


def take_for_stdin(path: Path) -> None:
    """Let ``-`` name a file with the content of standard input.

    The caller has read standard input already.
    """
    _taken[STDIN] = path


def _files_of(path: Path) -> Iterator[NamedFile]:
    text = str(path)
    if text == STDIN:
        yield NamedFile(_taken.get(STDIN) or _copy_of_stdin(), "standard input")
    elif path.is_dir():
        yield from _parts(path)
    elif path.is_file():
        yield NamedFile(path, text)
    elif path.is_fifo():
        yield NamedFile(_copy_of_pipe(path), text)
    elif path.exists():
        raise InputError(f"{text}: is neither a file nor a folder; name a file, a folder of parts, or -")
    elif glob.has_magic(text) and (found := sorted(glob.glob(text, recursive=True))):
        for each in found:
            yield from _files_of(Path(each))
    else:
        what = "no file has such a name" if glob.has_magic(text) else "no such file"
        raise InputError(f"{text}: {what}; name a CSV, TSV, JSON-lines, Parquet, Avro or ORC file")


def _parts(folder: Path) -> Iterator[NamedFile]:
    for what, sign in _TABLES.items():
        if next(folder.glob(sign), None) is not None:
            raise InputError(f"{folder}: is {what}, whose folder holds removed rows too; export it as Parquet or CSV")
    n_files = 0
    for path, columns in _walk(folder, {}):
        n_files += 1
        if n_files > MAX_FILES:
            raise InputError(f"{folder}: has more than {MAX_FILES} files; name the folder of the data itself")
        yield NamedFile(path, str(path), columns)
    if not n_files:
        raise InputError(f"{folder}: is a folder without data; name one that has files, or a file")


def _walk(folder: Path, columns: Mapping[str, str | None]) -> Iterator[tuple[Path, Mapping[str, str | None]]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as exc:
        raise InputError(f"{folder}: cannot be read ({exc.strerror})") from exc
    for entry in entries:
        is_partition = entry.is_dir() and "=" in entry.name
        if entry.name.startswith(".") or (entry.name.startswith("_") and not is_partition):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), {**columns, **_partition(entry.name)})
        elif entry.is_file() and entry.stat().st_size:
            yield Path(entry.path), columns


def _partition(name: str) -> dict[str, str | None]:
    """Return the column in the name of a folder, nothing for a name that has none."""
    column, equals, value = name.partition("=")
    if not (column and equals):
        return {}
    return {unquote(column): None if value == NO_VALUE else unquote(value)}


@lru_cache(maxsize=1)
def _copy_of_stdin() -> Path:
    return _copied(sys.stdin.fileno(), "standard input")


@lru_cache(maxsize=64)
def _copy_of_pipe(path: Path) -> Path:
    try:
        pipe = os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror})") from exc
    try:
        return _copied(pipe, str(path))
    finally:
        os.close(pipe)


def _copied(source: int, name: str) -> Path:
    """Copy what a descriptor gives to a file that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-input-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / "data"
    try:
        with copy.open("wb") as file:
            while piece := os.read(source, 1 << 20):
                file.write(piece)
    except OSError as exc:
        raise InputError(f"{name}: cannot be read or copied to {folder} ({exc.strerror})") from exc
    return copy
