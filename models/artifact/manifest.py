"""The manifest of an artifact: what it is, what made it, and the limits within which a stranger's manifest is believed."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from models.files.plain_files import FileError
from models.files.tensor_header import TensorSpec

FORMAT: Final = 2
#: Of everything but the item ids: about 100 tensors, 128 features with their categories, some metrics.
MAX_REST_BYTES: Final = 4 << 20
#: Quotation marks per item: two around the id, and those that stand in ids.
MAX_QUOTES_PER_ITEM: Final = 8

Name = Annotated[str, Meta(max_length=4_096)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
TimeMs = Annotated[int, Meta(ge=-1, le=253_402_300_799_999)]


class Manifest(msgspec.Struct, kw_only=True):
    """What an artifact is and what made it. ``item_ids[row]`` is the external id of an item row.

    ``encoder_sha256`` covers the files of the text model, see :mod:`models.text.encoder_files`; it is empty for one that comes along, which
    its version tells.
    """

    format: int
    sha256: Name
    created_ms: TimeMs
    encoder_name: Name
    encoder_version: Name
    encoder_sha256: Name = ""
    text_version: Name
    sequence: dict[str, int | float | str]
    alpha: Annotated[float, Meta(ge=0, le=1e9)]
    regularisation: Annotated[float, Meta(gt=0, le=1e9)]
    trained_from_ms: TimeMs
    trained_to_ms: TimeMs
    n_events: Count
    n_users: Count
    preset: Name
    seed: int
    left_out: Name
    epochs: int
    metrics: dict[str, float]
    item_features: dict[str, Any]
    user_features: dict[str, Any]
    tensors: dict[str, TensorSpec]
    item_ids: list[Annotated[str, Meta(min_length=1, max_length=512)]]


class _Outline(msgspec.Struct):
    format: int
    item_ids: msgspec.Raw = msgspec.Raw(b"[]")


def read_manifest(text: bytes, most_items: int) -> Manifest:
    """Return a manifest of at most ``most_items`` items.

    What a few characters of JSON become takes twenty times their room, so the text's size is judged before it is decoded.

    Raises
    ------
    FileError
        For what is no manifest, another format, or more text than so many items and a model need.
    """
    try:
        outline = msgspec.json.decode(text, type=_Outline)
        if outline.format != FORMAT:
            raise FileError(f"format {outline.format}, this version reads {FORMAT}")
        ids = bytes(outline.item_ids)
        if len(text) - len(ids) > MAX_REST_BYTES:
            raise FileError(f"{len(text) - len(ids)} bytes beside the item ids, limit {MAX_REST_BYTES}")
        if ids.count(b'"') > MAX_QUOTES_PER_ITEM * (most_items + 1):
            raise FileError(f"item_ids is longer than any tensor, of which none has more than {most_items} rows")
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FileError(f"not a manifest: {exc}") from exc
