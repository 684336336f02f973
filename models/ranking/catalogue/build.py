"""A catalogue that is built at once and never changes: for training, evaluation and the oracle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Float32
from models.features.columns import Row
from models.index.index import EXACT_UP_TO
from models.ranking.catalogue.snapshot import Catalogue
from models.ranking.catalogue.store import CatalogueStore, Entry
from models.rules.facts import NO_FACTS, ItemFacts

#: Items that are applied at once: what they need beside their rows is many times as much.
BLOCK: Final = 65_536


def build_catalogue(
    artifact: Artifact,
    items: Mapping[str, Float32],
    generation: int,
    features: Mapping[str, Row] | None = None,
    hidden: Collection[str] = (),
    facts: Mapping[str, ItemFacts] | None = None,
    *,
    is_exact: bool = False,
) -> Catalogue:
    """Return the catalogue of ``items``, each with its raw text embedding (d_text,) float32.

    Items unknown to the artifact are retrievable at once. Without any items, an artifact that takes
    no text serves the items that it was trained on. Rows follow the sorted ids.

    Parameters
    ----------
    items : zeros stand for an item without text; an artifact that takes no text looks at the ids
        only
    features : item id to its features (``models.features.columns.item_row``); missing ones are
        imputed
    hidden : ids of items that lists must not show
    facts : item id to what rules may ask of it
    is_exact : whether each search of a large catalogue looks at every item, instead of an index
        that takes long to build
    """
    items = items or own_items(artifact)
    known = features or {}
    store, ordered = CatalogueStore(artifact), sorted(items)
    for start in range(0, len(ordered), BLOCK):
        store.apply(
            [
                Entry(
                    item_id,
                    known.get(item_id, {}),
                    items[item_id],
                    is_shown=item_id not in hidden,
                    facts=(facts or {}).get(item_id, NO_FACTS),
                )
                for item_id in ordered[start : start + BLOCK]
            ]
        )
    if len(items) > EXACT_UP_TO and not is_exact:
        store.rebuild_now()
    built = store.snapshot()
    ids = tuple(built.item_ids)
    return replace(built, generation=generation, item_ids=ids, row_of={item_id: row for row, item_id in enumerate(ids)})


def own_items(artifact: Artifact) -> dict[str, Float32]:
    """Return the items with events that an artifact without text was trained on, else none."""
    if artifact.takes_text:
        return {}
    nothing = np.zeros(1, dtype=np.float32)
    return {artifact.manifest.item_ids[row]: nothing for row in np.flatnonzero(artifact.popularity > 0)}
