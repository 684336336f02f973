"""Where an artifact may lie and how its files are read: plain files inside allowed folders, each within its limit.

The manifest names no files: there are two, under fixed names, so no path in a manifest can lead anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: A million item ids of 60 bytes are half of this.
MAX_MANIFEST_BYTES: Final = 128 << 20
MAX_TENSORS_BYTES: Final = 16 << 30
#: Names, types and shapes of the tensors; ours have fewer than 100 tensors.
MAX_HEADER_BYTES: Final = 1 << 20
#: Above the sizes in use by a factor of ten and more: they bound what is allocated before the tensors are compared.
MAX_SIZES: Final = {"dim": 2_048, "text_dim": 8_192, "max_length": 10_000, "n_layers": 32, "n_heads": 64}


class FileError(Exception):
    """A file or folder of an artifact cannot be used; the message says what is wrong."""


def placed(directory: Path, roots: Sequence[Path]) -> Path:
    """Return an artifact's folder with all symbolic links followed.

    Parameters
    ----------
    roots : folders of which one must contain it, links followed in both; none allows every place

    Raises
    ------
    FileError
        When it lies outside, or is not a folder.
    """
    try:
        found = directory.resolve()
        allowed = [root.resolve() for root in roots]
    except (OSError, RuntimeError) as exc:  # RuntimeError: a loop of links
        raise FileError(f"cannot be found ({exc})") from exc
    if allowed and not any(found.is_relative_to(root) for root in allowed):
        raise FileError(
            f"lies at {found}, outside of {', '.join(map(str, allowed))}; move it there, or name its folder in HEADRACE_ARTIFACT_ROOTS"
        )
    if found.exists() and not found.is_dir():
        raise FileError("is a file, an artifact is a folder; archives are not unpacked")
    return found


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Return a plain file's content; a link is not followed.

    Raises
    ------
    FileError
        When it is missing, a link, not a plain file, above the limit, or cannot be read.
    """
    if path.is_symlink():
        raise FileError(f"{path.name} is a symbolic link, must be the file itself")
    if not path.is_file():
        raise FileError(f"{path.name} is missing")
    try:
        # The link may have come since: the system refuses it then. Not blocking: a pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{path.name} is not a plain file")
            if found.st_size > max_bytes:
                raise FileError(f"{path.name} has {found.st_size} bytes, limit {max_bytes}")
            return file.read(max_bytes)
    except OSError as exc:
        raise FileError(f"{path.name} cannot be read: {exc}") from exc


def check_header(data: bytes) -> None:
    """Raise :class:`FileError` where the header of a safetensors file claims to be longer than the limit or than the file.

    The format begins with the header's length, 8 bytes little-endian (safetensors, Format).
    """
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, max(0, len(data) - 8)):
        raise FileError(
            f"not safetensors: a header of {length} bytes, limit {MAX_HEADER_BYTES} and the file's own length"
        )


def check_sizes(sizes: dict[str, int | float | str]) -> None:
    """Raise :class:`ValueError` for a size of the sequence model that is above its limit."""
    for name, limit in MAX_SIZES.items():
        value = sizes.get(name)
        if isinstance(value, int | float) and not value <= limit:
            raise ValueError(f"sequence.{name}={value} is above {limit}")
