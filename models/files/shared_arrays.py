"""Arrays in files by their content: the processes of one machine that have equal ones share memory.

::

    worker 1  array ─► digest ─► write, rename ─► FOLDER/DIGEST-float32-... ─► map, copy on write
    worker 2  equal array ─► digest ─► found: owner, mode, size, digest ─► map, copy on write

The system keeps the pages of a mapped file once for all processes. A page that a process writes to
becomes its own; the file never changes. Each mapping holds a shared lock on its file, which ends
with the mapping or the process. A file that nobody locks is removed.

Whoever writes, looks for or removes a file holds the lock of the folder. So of two workers that
start at once the second one waits and finds the file of the first one. The folder should lie on a
local disk: network file systems may know neither locks nor shared pages.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import mmap
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np

from models.base.types import AnyArray

log = logging.getLogger(__name__)

#: Bytes written in one step.
STEP: Final = 16 << 20
#: Seconds that a process waits for the folder: others write and check one array at a time.
WAIT_S: Final = 30.0
POLL_S: Final = 0.02
_MODE: Final = 0o600
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME: Final = re.compile(r"[0-9a-f]{64}-[a-z]+[0-9]*-[0-9x]+-[0-9]+(\.[0-9a-f]{16}\.new)?")


class SharedArrays:
    """A folder of arrays. For any thread, and for any number of processes of one user.

    Parameters
    ----------
    folder : made where it is missing; only its owner can write it
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shared(self, array: AnyArray, capacity: int) -> AnyArray:
        """Return an array with equal rows, and zeros up to ``capacity`` rows, in a mapped file.

        It is writeable, contiguous and aligned. What is written to it stays in this process.

        Parameters
        ----------
        array : (n, ...), n from 1 to ``capacity``, at least one byte a row

        Raises
        ------
        OSError
            When the folder or a file in it cannot be used, or another process keeps the folder
            locked.
        """
        content = np.ascontiguousarray(array).data.cast("B")
        digest = hashlib.blake2b(content, digest_size=32).hexdigest()
        shape = "x".join(map(str, array.shape))
        name, size = f"{digest}-{array.dtype.name}-{shape}-{capacity}", capacity * (len(content) // len(array))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked(WAIT_S) as folder:
            mapped = _found(folder, name, size)
            if mapped is not None and not _holds(mapped, len(content), digest):
                log.warning("%s: %s is damaged, written again", self.folder, name)
                mapped = None
            if mapped is None:
                mapped = _written(folder, name, content, size)
                if not _holds(mapped, len(content), digest):
                    raise OSError(errno.EIO, "it reads back other bytes than were written", name)
        return np.frombuffer(mapped, dtype=array.dtype).reshape((capacity, *array.shape[1:]))

    def remove_unused(self) -> int:
        """Remove the files that no process holds, and return how many there were.

        It never waits: while another process works in the folder, nothing is removed.

        Raises
        ------
        OSError
            When the folder cannot be used.
        """
        n_removed = 0
        with suppress(FileNotFoundError, TimeoutError), self._locked(0.0) as folder:
            for name in filter(_NAME.fullmatch, os.listdir(folder)):
                n_removed += _removed(folder, name)
        return n_removed

    @contextmanager
    def _locked(self, wait_s: float) -> Iterator[int]:
        """Give a descriptor of the folder, which no other process has at the same time."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if info.st_uid != os.geteuid() or info.st_mode & 0o022:
                raise PermissionError(errno.EPERM, "others may write it", str(self.folder))
            deadline_s = time.monotonic() + wait_s
            while not _locks(descriptor, fcntl.LOCK_EX):
                if time.monotonic() >= deadline_s:
                    raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked", str(self.folder))
                time.sleep(POLL_S)
            yield descriptor
        finally:
            os.close(descriptor)


def _locks(descriptor: int, kind: int) -> bool:
    """Lock an open file unless another process holds it; return whether it is locked now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mapped(descriptor: int, size: int) -> mmap.mmap:
    """Return a mapping that locks its file: it holds a duplicate of the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)


def _found(folder: int, name: str, size: int) -> mmap.mmap | None:
    """Return a file of this user that nobody else can open; None where it is anything else."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError as exc:
        if exc.errno in {errno.ENOENT, errno.ELOOP, errno.EACCES, errno.ENXIO}:
            return None
        raise
    try:
        info = os.fstat(descriptor)
        is_ours = info.st_uid == os.geteuid() and info.st_mode == stat.S_IFREG | _MODE and info.st_nlink == 1
        return _mapped(descriptor, size) if is_ours and info.st_size == size else None
    finally:
        os.close(descriptor)


def _holds(mapped: mmap.mmap, n_bytes: int, digest: str) -> bool:
    """Whether a mapping begins with the bytes of this digest. It also makes the pages present."""
    with memoryview(mapped) as whole, whole[:n_bytes] as content:
        return hashlib.blake2b(content, digest_size=32).hexdigest() == digest


def _written(folder: int, name: str, content: memoryview, size: int) -> mmap.mmap:
    """Write a file, which replaces whatever has its name, and return its mapping.

    Beyond the content the file is a hole, which takes no place on the disk.
    """
    scratch = f"{name}.{secrets.token_hex(8)}.new"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(scratch, flags, _MODE, dir_fd=folder)
    try:
        os.fchmod(descriptor, _MODE)
        n_written = 0
        while n_written < len(content):
            n_written += os.pwrite(descriptor, content[n_written : n_written + STEP], n_written)
        os.ftruncate(descriptor, size)
        mapped = _mapped(descriptor, size)
        os.replace(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(scratch, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)
    return mapped


def _removed(folder: int, name: str) -> bool:
    """Remove a file unless a process holds it; return whether it is gone."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError:  # a link, or of somebody else: not a file that a worker wrote
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not _locks(descriptor, fcntl.LOCK_EX):
            return False
        os.unlink(name, dir_fd=folder)
        return True
    finally:
        os.close(descriptor)
