"""An index as one file: vectors, rows and how to search them, in safetensors form. Never pickle, and never bytes that FAISS parses.

FAISS structures are built again on loading: a file that is damaged or made by a stranger never reaches FAISS's own reader, and the
same vectors, kind and seed give the same index.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from models.index.faiss_kinds import Kind
from models.types import AnyArray, Float32, Int64

FORMAT: Final = 1
REMEDY: Final = "build the index again and save it"
_TYPES: Final = {"vectors": np.dtype(np.float32), "rows": np.dtype(np.int64)}


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an index is searched, and what that was measured to find.

    Parameters
    ----------
    kind : the kind in use
    effort : nprobe of ivf, efSearch of hnsw, 0 for exact
    recall : measured share of the exact answers that a search finds, 1 for exact
    recall_target : the least recall that was asked for
    seed : of k-means, of graph levels and of the queries that recall was measured with
    fallback : why an exact index stands where an approximate one was tried, else empty
    """

    kind: Kind = "exact"
    effort: int = 0
    recall: float = 1.0
    recall_target: float
    seed: int
    fallback: str = ""
    format: int = FORMAT


def write_index(path: Path, vectors: Float32, rows: Int64, tuning: Tuning) -> None:
    """Write one file in one step: what was at ``path`` is replaced, an interruption leaves it as it was."""
    arrays: dict[str, AnyArray] = {"vectors": vectors, "rows": rows}
    text = msgspec.json.encode(tuning).decode()
    data = safetensors.numpy.save(arrays, metadata={"index": text, "sha256": _digest(arrays, text)})
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        part = Path(scratch) / "new"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)


def read_index(path: Path) -> tuple[Float32, Int64, Tuning]:
    """Read and check what :func:`write_index` wrote.

    Raises
    ------
    OSError
        For a file that is missing or cannot be read.
    ValueError
        For a damaged file; the message names the file, the problem and the remedy.
    """
    data = path.read_bytes()
    try:
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        text, sha256 = header["__metadata__"]["index"], header["__metadata__"]["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise _damaged(path, f"not an index in safetensors form ({' '.join(str(exc).split())})") from exc
    if {name: array.dtype for name, array in arrays.items()} != _TYPES:
        raise _damaged(path, f"must hold float32 vectors and int64 rows, holds {sorted(arrays)}")
    found = _digest(arrays, text)
    if found != sha256:
        raise _damaged(path, f"checksum {found[:12]}, the file says {sha256[:12]}")
    try:
        tuning = msgspec.json.decode(text, type=Tuning)
    except msgspec.DecodeError as exc:
        raise _damaged(path, f"parameters unreadable ({exc})") from exc
    if tuning.format != FORMAT:
        raise _damaged(path, f"format {tuning.format}, this version reads {FORMAT}")
    return arrays["vectors"], arrays["rows"], tuning


def _damaged(path: Path, problem: str) -> ValueError:
    return ValueError(f"{path}: {problem}; {REMEDY}")


def _digest(arrays: dict[str, AnyArray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} ".encode())  # the same bytes in another shape are other vectors
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
