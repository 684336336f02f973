"""Where an artifact or a text model may lie, and how its files are read, each within its limit.

A folder is opened once and kept open; its files are opened relative to it. A folder that replaces
it after the check is therefore not read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

#: A million item ids of 60 bytes take half of this.
MAX_MANIFEST_BYTES: Final = 128 << 20
MAX_TENSORS_BYTES: Final = 16 << 30
#: A file above this size must have data on disk for a hundredth of it: a sparse file costs its
#: maker nothing.
MAX_SPARSE_BYTES: Final = 256 << 20
MAX_SPARSENESS: Final = 100
#: Opening a folder for its files needs no right to list it, where the system knows O_PATH (Linux).
_FOLDER_FLAGS: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


class FileError(Exception):
    """A file or folder cannot be used; the message names the problem.

    Attributes
    ----------
    is_missing : whether the file does not exist
    """

    def __init__(self, problem: str, *, is_missing: bool = False) -> None:
        super().__init__(problem)
        self.is_missing = is_missing


def placed(directory: Path, roots: Sequence[Path]) -> tuple[Path, Path]:
    """Return a folder with all symbolic links resolved, and the root that contains it.

    Without roots the folder is its own root.

    Parameters
    ----------
    roots : folders of which one must contain it, links resolved in both; empty allows every place

    Raises
    ------
    FileError
        When it lies outside the roots, or is not a folder.
    """
    try:
        found = directory.resolve()
        allowed = [root.resolve() for root in roots] or [found]
    except (OSError, RuntimeError, ValueError) as exc:
        # RuntimeError: a loop of links; ValueError: a null character
        raise FileError(f"cannot be found ({exc})") from exc
    root = next((root for root in allowed if found.is_relative_to(root)), None)
    if root is None:
        raise FileError(
            f"lies at {found}, outside of {', '.join(map(str, allowed))}; move it there, or name its folder in HEADRACE_ARTIFACT_ROOTS"
        )
    if found.exists() and not found.is_dir():
        raise FileError("is a file, must be a folder; archives are not unpacked")
    return found, root


@contextmanager
def opened(directory: Path, roots: Sequence[Path]) -> Iterator[int]:
    """Give a descriptor of a folder inside the roots, for :func:`open_plain`; see :func:`placed`.

    Each folder between root and folder is opened relative to the one before, without following
    links. A link that replaces a folder after the check is refused.

    Raises
    ------
    FileError
        As :func:`placed`; also when the folder is missing, cannot be opened, or a link lies on the
        way.
    """
    found, root = placed(directory, roots)
    try:
        descriptor = os.open(root, _FOLDER_FLAGS)
    except OSError as exc:
        raise FileError(f"cannot be opened: {exc.strerror}") from exc
    try:
        for part in found.relative_to(root).parts:
            try:
                inner = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
            except OSError as exc:
                raise FileError(f"cannot be opened: {part}: {exc.strerror}") from exc
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_plain(folder: int, name: str, max_bytes: int, *, follow_links: bool = False) -> Iterator[tuple[BinaryIO, int]]:
    """Give a plain file and its size in bytes; no part of ``name`` may be a link.

    Parameters
    ----------
    folder : descriptor of the folder, of :func:`opened`
    name : of a file in the folder, or in a folder inside it, with slashes between
    follow_links : whether the file may be a link after all, for folders with the operator's own
        content

    Raises
    ------
    FileError
        When it is missing, a link, not a plain file, sparse, above the limit, or cannot be read.
    """
    *above, last = name.split("/")
    with _inner(folder, above) as inner:
        try:
            # Not blocking: a pipe would make the process wait for a writer.
            flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
            descriptor = os.open(last, flags, dir_fd=inner)
        except OSError as exc:
            raise _error(name, exc) from exc
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{name} is not a plain file")
            if found.st_size > max_bytes:
                raise FileError(f"{name} has {found.st_size} bytes, limit {max_bytes}")
            if found.st_size > MAX_SPARSE_BYTES and _data_bytes(descriptor, found.st_size) < found.st_size:
                raise FileError(f"{name} claims {found.st_size} bytes and is almost empty; copy the whole file")
            try:
                yield file, found.st_size
            except OSError as exc:
                raise _error(name, exc) from exc


def read_plain(folder: int, name: str, max_bytes: int) -> bytes:
    """Return a plain file's content; see :func:`open_plain`."""
    with open_plain(folder, name, max_bytes) as (file, size):
        return read_exactly(file, name, size)


def read_exactly(file: BinaryIO, name: str, size: int) -> bytes:
    """Return the next ``size`` bytes of a file, which must be its last.

    Raises
    ------
    FileError
        When the file has fewer or more bytes: it changed since its size was taken.
    """
    data = file.read(size)
    if len(data) != size or file.read(1):
        raise FileError(f"{name} changes while it is read; write it elsewhere and move it here when it is complete")
    return data


@contextmanager
def _inner(folder: int, parts: Sequence[str]) -> Iterator[int]:
    """Give a descriptor of a folder inside a folder."""
    if not parts:
        yield folder
        return
    try:
        inner = os.open(parts[0], _FOLDER_FLAGS, dir_fd=folder)
    except OSError as exc:
        raise _error(parts[0], exc) from exc
    try:
        with _inner(inner, parts[1:]) as innermost:
            yield innermost
    finally:
        os.close(inner)


def _error(name: str, exc: OSError) -> FileError:
    if exc.errno == errno.ENOENT:
        return FileError(f"{name} is missing", is_missing=True)
    if exc.errno == errno.ELOOP:
        return FileError(f"{name} is a symbolic link, must be the file itself")
    return FileError(f"{name} cannot be read: {exc.strerror or exc}")


def _data_bytes(descriptor: int, size: int) -> int:
    """Return how many bytes of a file are not in holes.

    Return ``size`` where data exceeds a hundredth of it.
    """
    enough, at, found = size // MAX_SPARSENESS, 0, 0
    while at < size and found <= enough:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:  # ENXIO: only a hole is left; other systems know no holes
                return size
            break
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        found += at - start
    os.lseek(descriptor, 0, os.SEEK_SET)
    return size if found > enough else found
