"""Text embeddings on disk, so that each text is embedded once: keyed by the text's hash, one file per encoder version.

A record is 16 bytes of hash, the vector, and 4 bytes of checksum. Writers append under a lock; a torn tail, left by a crash, is
cut off by the next writer and ignored by readers.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models.encoder import TextEncoder
from models.types import Float32

HASH_BYTES: Final = 16
CHECK_BYTES: Final = 4
TEXTS_PER_STEP: Final = 128


def cache_folder() -> Path:
    """Return the user's cache directory for embeddings."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headrace" / "embeddings"


class EmbeddingCache:
    """The embeddings of one encoder version. For one thread; several processes may share the folder.

    Parameters
    ----------
    folder : None for the user's cache directory
    encoder_version : vectors of other versions are never returned
    dim : width of a vector
    """

    def __init__(self, folder: Path | None, encoder_version: str, dim: int) -> None:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", encoder_version)
        self._path = (folder or cache_folder()) / f"{name}-{dim}.f32"
        self._dim = dim
        self._size = HASH_BYTES + 4 * dim + CHECK_BYTES
        self._vectors: dict[bytes, Float32] = {}
        self._n_read = 0

    def get_many(self, texts: Iterable[str]) -> dict[str, Float32]:
        """Return the vectors of the texts that are known, each (dim,) float32."""
        self._refresh()
        found = ((text, self._vectors.get(_hash(text))) for text in texts)
        return {text: vector for text, vector in found if vector is not None}

    def put_many(self, vectors: Mapping[str, Float32]) -> None:
        """Add vectors, each (dim,) float32; on disk when this returns. Repeat-safe."""
        records = b"".join(self._record(text, vector) for text, vector in vectors.items())
        if not records:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            torn = os.fstat(file.fileno()).st_size % self._size
            if torn:
                file.truncate(os.fstat(file.fileno()).st_size - torn)
            file.write(records)
        self._refresh()

    def _record(self, text: str, vector: Float32) -> bytes:
        if vector.shape != (self._dim,):
            raise ValueError(f"a vector has shape {vector.shape}, the cache holds ({self._dim},)")
        body = _hash(text) + np.asarray(vector, dtype="<f4").tobytes()
        return body + zlib.crc32(body).to_bytes(CHECK_BYTES, "little")

    def _refresh(self) -> None:
        """Read what has been appended since the last time; damaged records are passed over."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._n_read * self._size)
            data = file.read()
        for start in range(0, len(data) - self._size + 1, self._size):
            record = data[start : start + self._size]
            self._n_read += 1
            body, check = record[:-CHECK_BYTES], record[-CHECK_BYTES:]
            if zlib.crc32(body).to_bytes(CHECK_BYTES, "little") == check:
                self._vectors[body[:HASH_BYTES]] = np.frombuffer(body[HASH_BYTES:], dtype="<f4")


def embed_texts(
    texts: Sequence[str],
    encoder: TextEncoder,
    cache: EmbeddingCache,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Float32:
    """Return one embedding per text, (n, dim) float32; each text that the cache lacks is encoded once and kept.

    ``on_progress`` is called with the texts encoded so far and the number to encode.
    """
    known = cache.get_many(texts)
    missing = sorted(set(texts) - known.keys(), key=len)  # like lengths together: less padding
    for start in range(0, len(missing), TEXTS_PER_STEP):
        step = missing[start : start + TEXTS_PER_STEP]
        fresh = dict(zip(step, encoder.encode(step), strict=True))
        cache.put_many(fresh)
        known |= fresh
        on_progress(start + len(step), len(missing))
    if not texts:
        return np.zeros((0, encoder.dim), dtype=np.float32)
    return np.stack([known[text] for text in texts]).astype(np.float32)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
