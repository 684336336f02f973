"""Text embeddings on disk, by text hash and encoder version: each text is embedded once.

A file holds the vectors of one encoder version: a header, then records of one length (key, vector,
checksum). Processes only append to it, under a lock. The next process that opens or appends cuts
off a record that a dead writer left half-written. A record that does not match its checksum counts
as missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from models.base.types import Float32
from models.text.encoder import TextEncoder

log = logging.getLogger(__name__)

KEY_BYTES: Final = 16
CRC_BYTES: Final = 4
#: Bytes read at once when a file is indexed.
SCAN_BYTES: Final = 4 << 20
#: Texts embedded between two writes: an interruption loses at most these.
TEXTS_PER_WRITE: Final = 256


def default_folder() -> Path:
    """Return ``headrace/embeddings`` in the user's cache directory.

    That is ``XDG_CACHE_HOME``, else ``~/.cache``.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headrace" / "embeddings"


class CacheError(Exception):
    """A cache cannot be opened; the message is one line."""


class EmbeddingCache:
    """Vectors by text. Any number of processes may share a folder; one object is for one thread.

    Parameters
    ----------
    folder : where the files lie, made if it is missing; None means :func:`default_folder`
    encoder_version : vectors of another version are in another file and are never returned
    dim : width of the vectors

    Raises
    ------
    CacheError
        When the folder or the file cannot be opened.
    """

    def __init__(self, folder: Path | None, encoder_version: str, dim: int) -> None:
        self.encoder_version = encoder_version
        self.dim = dim
        self._header = f"headrace-embeddings 1 {encoder_version} {dim}".encode()
        self._header = len(self._header).to_bytes(4, "little") + self._header
        self._record_bytes = KEY_BYTES + 4 * dim + CRC_BYTES
        self._offsets: dict[bytes, int] = {}
        self._end = 0
        folder = default_folder() if folder is None else folder
        self.path = folder / f"{hashlib.blake2b(self._header, digest_size=8).hexdigest()}.vectors"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.close = weakref.finalize(self, os.close, self._fd)
            with self._locked():
                self._catch_up()
        except OSError as exc:
            raise CacheError(f"{self.path}: embeddings cannot be kept here ({exc.strerror or exc})") from exc

    def __len__(self) -> int:
        return len(self._offsets)

    def get_many(self, texts: Iterable[str]) -> dict[str, Float32]:
        """Return the vectors, (dim,) float32, of those texts that are here."""
        found: dict[str, Float32] = {}
        for text in texts:
            key = _key(text)
            offset = self._offsets.get(key)
            if offset is None:
                continue
            record = os.pread(self._fd, self._record_bytes, offset)
            if self._is_whole(record) and record[:KEY_BYTES] == key:
                found[text] = np.frombuffer(record, dtype="<f4", count=self.dim, offset=KEY_BYTES).astype(np.float32)
        return found

    def put_many(self, vectors: Mapping[str, Float32]) -> None:
        """Append vectors, (dim,) float32, of texts that are not here yet.

        A vector that is not finite, or zero because its text could not be embedded, is not kept:
        the next try may succeed. A full disk is logged; the vectors are then only not saved.

        Raises
        ------
        ValueError
            When a vector has another shape.
        """
        for text, vector in vectors.items():
            if vector.shape != (self.dim,):
                raise ValueError(f"vector of {text[:40]!r} has shape {vector.shape}, must be ({self.dim},)")
        usable = {_key(text): v for text, v in vectors.items() if np.isfinite(v).all() and v.any()}
        try:
            with self._locked():
                self._catch_up()
                self._append({key: v for key, v in usable.items() if key not in self._offsets})
        except OSError as exc:
            log.warning("%s: %d vectors not saved: %s", self.path, len(usable), exc.strerror or exc)

    def _append(self, vectors: Mapping[bytes, Float32]) -> None:
        """Write records at the end, all or none. The caller holds the lock."""
        bodies = (key + vector.astype("<f4").tobytes() for key, vector in vectors.items())
        data = b"".join(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little") for body in bodies)
        try:
            self._write(data, self._end)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        for key in vectors:
            self._offsets[key] = self._end
            self._end += self._record_bytes

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            n = os.pwrite(self._fd, view, offset)
            view, offset = view[n:], offset + n

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Index new records, and cut off a torn end. The caller holds the lock."""
        size = os.fstat(self._fd).st_size
        if self._end == 0 or size < self._end:
            self._offsets.clear()
            self._end = len(self._header)
            if os.pread(self._fd, self._end, 0) != self._header:
                if size:
                    log.warning("%s: damaged, begun again", self.path)
                os.ftruncate(self._fd, 0)
                self._write(self._header, 0)
                return
        good_end = self._end
        for offset, record in self._records(self._end):
            if self._is_whole(record):
                self._offsets[record[:KEY_BYTES]] = offset
                good_end = offset + self._record_bytes
        if good_end < size:
            log.warning("%s: %d bytes of a torn end cut off", self.path, size - good_end)
            os.ftruncate(self._fd, good_end)
        self._end = good_end

    def _records(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield the complete records from an offset on, with their offsets."""
        step = max(1, SCAN_BYTES // self._record_bytes) * self._record_bytes
        while block := os.pread(self._fd, step, offset):
            for start in range(0, len(block) - self._record_bytes + 1, self._record_bytes):
                yield offset + start, block[start : start + self._record_bytes]
            offset += step

    def _is_whole(self, record: bytes) -> bool:
        if len(record) != self._record_bytes:
            return False
        return zlib.crc32(record[:-CRC_BYTES]) == int.from_bytes(record[-CRC_BYTES:], "little")


def embed_texts(
    texts: Sequence[str],
    encoder: TextEncoder,
    cache: EmbeddingCache,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float32:
    """Return one vector per text, (n, dim) float32.

    Each distinct text that the cache lacks is embedded once and saved. The vector of an empty text
    is zeros: an encoder would give all items without text one and the same meaning.

    Parameters
    ----------
    on_progress : called with the number of distinct texts done, and of all

    Raises
    ------
    ValueError
        When the cache is of another encoder version or width.
    """
    if (encoder.version, encoder.dim) != (cache.encoder_version, cache.dim):
        raise ValueError(
            f"cache of {cache.encoder_version} ({cache.dim}) for encoder {encoder.version} ({encoder.dim}): open one for it"
        )
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if text:
            rows.setdefault(text, []).append(row)
    out = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    distinct = list(rows)
    for start in range(0, len(distinct), TEXTS_PER_WRITE):
        part = distinct[start : start + TEXTS_PER_WRITE]
        for text, vector in _vectors(part, encoder, cache).items():
            out[rows[text]] = vector
        if on_progress is not None:
            on_progress(start + len(part), len(distinct))
    return out


def _vectors(texts: Sequence[str], encoder: TextEncoder, cache: EmbeddingCache) -> dict[str, Float32]:
    """Return the vector of each text, from the cache or embedded and saved."""
    vectors = cache.get_many(texts)
    missing = [text for text in texts if text not in vectors]
    if missing:
        made = dict(zip(missing, encoder.encode(missing), strict=True))
        cache.put_many(made)
        vectors |= made
    return vectors


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()
