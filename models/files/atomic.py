"""Replaces files and folders as a whole: an interruption leaves the old content or the new."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Numbers of Linux: paths are relative to the working directory, and two names are exchanged.
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


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

    After an error, ``folder`` is as it was before. On Linux a reader finds the old folder or the
    new one at any time. Where the system or the file system cannot exchange two names, the
    replacement takes two renames, between which there is no ``folder``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        yield new
        had_one = folder.exists()
        if had_one and _exchange(new, folder):
            return
        if had_one:
            os.rename(folder, old)
        try:
            os.rename(new, folder)
        except BaseException:
            if had_one:
                os.rename(old, folder)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, and return whether the system could; see renameat2(2)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
