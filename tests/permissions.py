"""What others of the machine may do with the files below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_to_others(folder: Path) -> list[str]:
    """Return what is in a folder, at any depth, and can be used by anybody but its owner, each with its mode; links have none."""
    found = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if mode & 0o077 and not stat.S_ISLNK(mode):
            found.append(f"{stat.filemode(mode)} {path.relative_to(folder)}")
    return found


@contextmanager
def careless_umask() -> Iterator[None]:
    """Run a block with the umask that hides nothing, as some service managers have it."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
