"""Item texts as vectors: one bad item does not cost the others their place in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from models.base.types import Float32
from models.text.clean import clean_item, own_title, raw_item_text
from models.text.cleaned_texts import CleanedTexts
from streams.contract.records import Item

#: Longer vectors are not embeddings, and their products would overflow float32.
MAX_LENGTH: Final = 1e6


def item_vectors(
    items: Sequence[Item], embed: Callable[[list[str]], Float32], cleaned: CleanedTexts | None = None
) -> tuple[dict[str, Float32], dict[str, str]]:
    """Return the text vectors, (dim,) float32, by item id, and why other items have none.

    One bad item does not cost the others their place in the catalogue.

    Parameters
    ----------
    embed : returns one vector per text, (n, dim) float32; it may raise, and its vectors may hold
        numbers that are not finite
    cleaned : keeps cleaned texts for the next start; None keeps none

    Raises
    ------
    Exception
        What ``embed`` raised, when it raises for each of several texts: the encoder is at fault
        then, not an item.
    """
    texts, left_out = _texts(items, cleaned)
    vectors = _embedded(texts, embed, left_out)
    rows = np.stack([*vectors.values()]).astype(np.float64) if vectors else np.zeros((0, 1))
    for item_id, length in zip(list(vectors), np.linalg.norm(rows, axis=1).tolist(), strict=True):
        if not length <= MAX_LENGTH:  # also refuses NaN
            left_out[item_id] = f"vector of length {length:g}, must be finite and at most {MAX_LENGTH:g}"
            del vectors[item_id]
    return vectors, left_out


def _texts(items: Sequence[Item], cleaned: CleanedTexts | None) -> tuple[dict[str, str], dict[str, str]]:
    """Return the cleaned texts by item id, and why other items have none."""
    raws = {
        item.item_id: raw_item_text(
            own_title(item.item_id, item.title), item.text, item.category, item.tags, item.categories
        )
        for item in items
    }
    known = cleaned.get_many(raws.values()) if cleaned is not None else {}
    texts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    new: dict[str, str] = {}
    for item_id, raw in raws.items():
        text = known.get(raw)
        try:
            if text is None:
                text = new[raw] = clean_item(raw)
        except Exception as exc:  # a segmenter may raise anything for a text that nobody has tried
            left_out[item_id] = f"text: {exc!r}"
        else:
            texts[item_id] = text
    if cleaned is not None:
        cleaned.put_many(new)
    return texts, left_out


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
