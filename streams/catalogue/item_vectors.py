"""Item texts as vectors: one bad item does not cost the others their place in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from models.base.types import Float32
from models.text.clean import item_text, own_title
from streams.contract.records import Item

#: Longer vectors are not embeddings, and their products would overflow float32.
MAX_LENGTH: Final = 1e6


def item_vectors(
    items: Sequence[Item], embed: Callable[[list[str]], Float32]
) -> tuple[dict[str, Float32], dict[str, str]]:
    """Return the text vectors, (dim,) float32, by item id, and why other items have none.

    One bad item does not cost the others their place in the catalogue.

    Parameters
    ----------
    embed : returns one vector per text, (n, dim) float32; it may raise, and its vectors may hold
        numbers that are not finite

    Raises
    ------
    Exception
        What ``embed`` raised, when it raises for each of several texts: the encoder is at fault
        then, not an item.
    """
    texts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for item in items:
        try:
            title = own_title(item.item_id, item.title)
            texts[item.item_id] = item_text(title, item.text, item.category, item.tags, item.categories)
        except Exception as exc:  # a segmenter may raise anything for a text that nobody has tried
            left_out[item.item_id] = f"text: {exc!r}"
    vectors = _embedded(texts, embed, left_out)
    for item_id, vector in list(vectors.items()):
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not length <= MAX_LENGTH:  # also refuses NaN
            left_out[item_id] = f"vector of length {length:g}, must be finite and at most {MAX_LENGTH:g}"
            del vectors[item_id]
    return vectors, left_out


def _embedded(
    texts: dict[str, str], embed: Callable[[list[str]], Float32], left_out: dict[str, str]
) -> dict[str, Float32]:
    if not texts:
        return {}
    try:
        return dict(zip(texts, embed(list(texts.values())), strict=True))
    except Exception as exc:  # one text is at fault, or the encoder: try each text alone
        failed = {item_id: exc for item_id in texts} if len(texts) == 1 else {}
    vectors: dict[str, Float32] = {}
    for item_id, text in texts.items() if len(texts) > 1 else ():
        try:
            vectors[item_id] = embed([text])[0]
        except Exception as exc:  # as above
            failed[item_id] = exc
    if len(failed) == len(texts) > 1:
        raise next(iter(failed.values()))
    left_out |= {item_id: f"encoder: {exc!r}" for item_id, exc in failed.items()}
    return vectors


def n_imputed(items: Iterable[Item]) -> int:
    """Return how many items have a feature that is not finite; such a feature counts as missing."""
    numbers = ([item.price, *(item.features or {}).values()] for item in items)
    return sum(any(isinstance(value, float) and not math.isfinite(value) for value in values) for values in numbers)
