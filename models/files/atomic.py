"""Replaces files and folders as a whole: an interruption leaves the old content or the new."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Give a file new content in one step; a kill or a power cut leaves the old content.

    The content goes into a new file in the same folder, which is made where it is missing. That
    file is flushed to the disk before it takes the name, and only its owner may read it.

    Raises
    ------
    OSError
        When the content cannot be written; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".new", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder, which replaces ``folder`` at the end of the ``with`` block.

    After an error, ``folder`` is as it was before. The replacement takes two renames; between them
    there is no ``folder``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        yield new
        had_one = folder.exists()
        if had_one:
            os.rename(folder, old)
        try:
            os.rename(new, folder)
        except BaseException:
            if had_one:
                os.rename(old, folder)
            raise
