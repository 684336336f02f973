"""Reads files of items and of users at once, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.files.entries.items import item_files
from tools.files.entries.reader import EntryReader, fields_of
from tools.files.entries.users import as_fields, user_files
from tools.files.file_options import FileOptions
from tools.files.refused_rows import RefusedRows


def read_items(paths: Sequence[Path], options: FileOptions) -> dict[str, dict[str, Any]]:
    """Return the fields of the items of some files by id; each has a ``title``."""
    reader = EntryReader(item_files(paths, options), RefusedRows("refused items"))
    return {item_id: fields_of(item) for item_id, item in reader.read_some().items()}


def read_users(paths: Sequence[Path], options: FileOptions) -> dict[str, dict[str, Any]]:
    """Return the users of some files by id; each has ``features`` and ``follows``."""
    return as_fields(EntryReader(user_files(paths, options), RefusedRows("refused users")).read_some())
