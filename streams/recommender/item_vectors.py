"""From items to text vectors that can be served: one bad item must not cost the others their place in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from models.text.clean import item_text
from models.types import Float32
from streams.contract.records import Item

#: Longer vectors are no embedding; further on their products would leave float32.
MAX_LENGTH: Final = 1e6


def item_vectors(
    items: Sequence[Item], embed: Callable[[list[str]], Float32]
) -> tuple[dict[str, Float32], dict[str, str]]:
    """Return the text vectors, (dim,) float32, of items by id, and why others have none, by id.

    Parameters
    ----------
    embed : returns one vector per text, (n, dim) float32; may raise, and give vectors that are not finite

    Raises
    ------
    Exception
        What ``embed`` raised, where it raises for every one of several texts: then the encoder is at fault, not an item.
    """
    texts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for item in items:
        try:
            texts[item.item_id] = item_text(item.title, item.text, item.category, item.tags)
        except Exception as exc:  # whatever a segmenter makes of a text that nobody has tried before
            left_out[item.item_id] = f"text: {exc!r}"
    vectors = _embedded(texts, embed, left_out)
    for item_id, vector in list(vectors.items()):
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not length <= MAX_LENGTH:  # neither is NaN
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
    except Exception as exc:  # one of the texts, or the encoder: each alone tells
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
    """Return how many items have a number that is not finite among their features: it counts as missing."""
    numbers = ([item.price, *(item.features or {}).values()] for item in items)
    return sum(any(isinstance(value, float) and not math.isfinite(value) for value in values) for values in numbers)
