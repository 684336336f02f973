"""Checks, before a command works for long, that it can write what it will have made."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from streams.errors import InputError

#: Room that any output needs: reports, checkpoints and logs are smaller.
LEAST_FREE: Final = 64 << 20


def check_writable(option: str, folder: Path, n_bytes: int = LEAST_FREE) -> None:
    """Try a folder that a command will write into; nothing stays behind.

    A folder that is missing will be made, so its nearest existing parent is tried.

    Parameters
    ----------
    option : what names the folder, for messages
    n_bytes : about how much will be written

    Raises
    ------
    InputError
        When the folder, or a parent, is a file or cannot be written; or when its disk has less
        room.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{option} {folder}: {nearest} is not a folder; name another")
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"headrace")
    except OSError as exc:
        raise InputError(
            f"{option} {folder}: {nearest} cannot be written ({exc.strerror or exc}); name another folder"
        ) from exc
    free = shutil.disk_usage(nearest).free
    if free < n_bytes:
        raise InputError(
            f"{option} {folder}: its disk has {free >> 20:,} MB free, needs about {n_bytes >> 20:,} MB; make room, "
            "or name a folder on another disk"
        )
