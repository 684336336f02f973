"""Windows with the lists that an artifact gave when it was trained, beside it as ``golden.json``.

Whoever loads the artifact makes the lists again: other lists say that this machine computes
something else than the one that trained it. The file brings the items with it, so that the check
needs neither a catalogue nor a text encoder.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from models.base.types import Float32
from models.files.plain_files import FileError

GOLDEN: Final = "golden.json"
MAX_GOLDEN_BYTES: Final = 64 << 20
MAX_ITEMS: Final = 2_000
MAX_WINDOWS: Final = 256

ItemId = Annotated[str, Meta(min_length=1, max_length=512)]
TypeName = Annotated[str, Meta(max_length=128)]


class Golden(msgspec.Struct):
    """Golden windows and their lists.

    Parameters
    ----------
    k, n_candidates : sizes of the lists, and of what retrieval brings
    dim : width of a raw text embedding; 1 where the artifact takes no text
    item_ids : the catalogue of the lists
    vectors : their raw text embeddings, (n_items, dim) little-endian float32
    features : their features by name
    windows : each behaviour as item, type and time in ms
    ids, scores : each window's list, best item first
    """

    k: Annotated[int, Meta(ge=1, le=600)]
    n_candidates: Annotated[int, Meta(ge=1, le=10_000)]
    dim: Annotated[int, Meta(ge=1, le=65_536)]
    item_ids: Annotated[list[ItemId], Meta(min_length=1, max_length=MAX_ITEMS)]
    vectors: bytes
    features: list[dict[str, float | str | list[str] | None]]
    windows: Annotated[
        list[Annotated[list[tuple[ItemId, TypeName, int]], Meta(max_length=10_000)]],
        Meta(min_length=1, max_length=MAX_WINDOWS),
    ]
    ids: list[list[ItemId]]
    scores: list[list[float]]

    def items(self) -> dict[str, Float32]:
        """Return the raw text embedding of each item, (dim,) float32."""
        rows = np.frombuffer(self.vectors, "<f4").reshape(len(self.item_ids), self.dim)
        return dict(zip(self.item_ids, rows, strict=True))


def encode_golden(golden: Golden) -> bytes:
    """Return the content of the file."""
    return msgspec.json.encode(golden)


def read_golden(data: bytes, sha256: str, dim: int) -> Golden:
    """Return the golden windows in a file.

    Parameters
    ----------
    sha256 : the manifest's checksum of the file
    dim : width of the raw text embeddings that the artifact takes

    Raises
    ------
    FileError
        When the checksum is wrong, or the content is not what :func:`encode_golden` writes.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise FileError(f"checksum {found[:12]}, the manifest says {sha256[:12]}")
    try:
        golden = msgspec.json.decode(data, type=Golden)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FileError(f"not golden windows: {exc}") from exc
    n = len(golden.item_ids)
    if golden.dim != dim:
        raise FileError(f"dim is {golden.dim}, the artifact takes {dim}")
    if len(set(golden.item_ids)) != n or len(golden.features) != n or len(golden.vectors) != 4 * n * dim:
        raise FileError(f"item_ids, features and vectors are not of the same {n} items")
    if not np.isfinite(np.frombuffer(golden.vectors, "<f4")).all():
        raise FileError("vectors holds values that are not finite")
    lists = zip(golden.ids, golden.scores, strict=False)
    if not len(golden.windows) == len(golden.ids) == len(golden.scores) or any(len(i) != len(s) for i, s in lists):
        raise FileError("windows, ids and scores are not of the same lists")
    return golden
