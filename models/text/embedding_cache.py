"""Text embeddings on disk, by text hash and encoder version: each text is embedded once.

A file holds the vectors of one encoder version: a header, then records of one length (key, vector,
checksum). Processes only append to it, under a lock. The next process that opens or appends cuts
off a record that a dead writer left half-written. A record that does not match its checksum counts
as missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import logging
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from models.base.types import AnyArray, Float32, Int64
from models.text.encoder import TextEncoder
from models.text.record_numbers import RecordNumbers, heads

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
        self._numbers = RecordNumbers()
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
        return len(self._numbers)

    def get_many(self, texts: Iterable[str]) -> dict[str, Float32]:
        """Return the vectors, (dim,) float32, of those texts that are here."""
        wanted = list(texts)
        keys = [_key(text) for text in wanted]
        numbers = self._numbers.find(heads(keys))
        asked = np.flatnonzero(numbers >= 0)
        order = asked[np.argsort(numbers[asked], kind="stable")]
        records = self._read(numbers[order])
        vectors = records[:, KEY_BYTES:-CRC_BYTES].copy().view("<f4").astype(np.float32, copy=False)
        return {
            wanted[i]: vector
            for i, record, vector in zip(order.tolist(), records, vectors, strict=True)
            if _is_whole(record) and record[:KEY_BYTES].tobytes() == keys[i]
        }

    def _read(self, numbers: Int64) -> AnyArray:
        """Return records, (n, bytes) uint8: zeros for those that the file does not hold.

        Parameters
        ----------
        numbers : (n,) int64, rising; those that follow each other are read at once
        """
        records = np.zeros((len(numbers), self._record_bytes), dtype=np.uint8)
        begins = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
        for begin, end in itertools.pairwise([*begins.tolist(), len(numbers)]):
            offset = len(self._header) + int(numbers[begin]) * self._record_bytes
            data = os.pread(self._fd, (end - begin) * self._record_bytes, offset)
            n_whole = len(data) // self._record_bytes
            whole = np.frombuffer(data, np.uint8, n_whole * self._record_bytes)
            records[begin : begin + n_whole] = whole.reshape(n_whole, self._record_bytes)
        return records

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
                numbers = self._numbers.find(heads(list(usable)))
                self._append({key: v for (key, v), number in zip(usable.items(), numbers, strict=True) if number < 0})
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
        first = self._n_records()
        self._numbers.add(heads(list(vectors)), np.arange(first, first + len(vectors)))
        self._end += len(data)

    def _n_records(self) -> int:
        return (self._end - len(self._header)) // self._record_bytes

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
            self._numbers = RecordNumbers()
            self._end = len(self._header)
            if os.pread(self._fd, self._end, 0) != self._header:
                if size:
                    log.warning("%s: damaged, begun again", self.path)
                os.ftruncate(self._fd, 0)
                self._write(self._header, 0)
                return
        good, keys, numbers = self._n_records(), [heads([])], [np.empty(0, dtype=np.int64)]
        for first, records in self._blocks():
            whole = np.flatnonzero(np.fromiter(map(_is_whole, records), bool, len(records)))
            keys.append(records[whole, :8].copy().view("<u8")[:, 0].astype(np.uint64, copy=False))
            numbers.append(first + whole)
            good = max([good, *(first + 1 + whole[-1:]).tolist()])
        self._numbers.add(np.concatenate(keys), np.concatenate(numbers))
        good_end = len(self._header) + good * self._record_bytes
        if good_end < size:
            log.warning("%s: %d bytes of a torn end cut off", self.path, size - good_end)
            os.ftruncate(self._fd, good_end)
        self._end = good_end

    def _blocks(self) -> Iterator[tuple[int, AnyArray]]:
        """Yield the complete records beyond those that are indexed, (n, bytes) uint8 in blocks.

        Each block comes with the number of its first record.
        """
        step, first = max(1, SCAN_BYTES // self._record_bytes), self._n_records()
        while data := os.pread(self._fd, step * self._record_bytes, len(self._header) + first * self._record_bytes):
            n_whole = len(data) // self._record_bytes
            yield first, np.frombuffer(data, np.uint8, n_whole * self._record_bytes).reshape(n_whole, -1)
            first += step


def _is_whole(record: AnyArray) -> bool:
    return zlib.crc32(record[:-CRC_BYTES].data) == int.from_bytes(record[-CRC_BYTES:].tobytes(), "little")


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
    first: dict[str, int] = {}
    # of each text, the row of the first one that is equal
    rows = np.array([first.setdefault(text, row) for row, text in enumerate(texts)], dtype=np.int64)
    first.pop("", None)
    out = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    distinct = list(first)
    for start in range(0, len(distinct), TEXTS_PER_WRITE):
        part = distinct[start : start + TEXTS_PER_WRITE]
        vectors = _vectors(part, encoder, cache)
        out[[first[text] for text in vectors]] = np.stack([*vectors.values()])
        if on_progress is not None:
            on_progress(start + len(part), len(distinct))
    is_repeat = rows != np.arange(len(rows))
    out[is_repeat] = out[rows[is_repeat]]
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
