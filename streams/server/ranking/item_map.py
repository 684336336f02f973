"""The catalogue on two axes: made once a version of it, beside the event loop and the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.types import Float32, Float64
from models.index.axes import Axes, principal_axes, sampled_rows
from models.ranking.catalogue.snapshot import Catalogue
from streams.contract.windows import ListWindow
from streams.recommender.list_records import behaviours
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Served
from streams.server.lists.shown_items import ShownItems
from streams.server.parts.ranking import ItemMap, MapPoint
from streams.server.ranking.known_users import KnownUsers

#: Items that the map shows, and items from whose vectors its axes come.
SHOWN: Final = 2_000
MEASURED: Final = 20_000
#: A catalogue that changes all the time is mapped again only so often.
FRESH_S: Final = 10.0


@dataclass(frozen=True, eq=False)
class MappedItems:
    """A catalogue's map.

    Parameters
    ----------
    artifact, generation : of what it was made
    n_items : shown items of which something is known
    n_measured : of these, the ones whose vectors gave the axes
    item_ids, places : of the items on the map, (m,) and (m, 2)
    """

    artifact: str
    generation: int
    axes: Axes
    n_items: int
    n_measured: int
    item_ids: list[str]
    places: Float64


def mapped(catalogue: Catalogue, artifact: str) -> MappedItems:
    """Return the map of a catalogue."""
    is_known = catalogue.is_shown & ~catalogue.is_blank
    measured = sampled_rows(is_known, MEASURED)
    axes = principal_axes(catalogue.unit[measured])
    rows = sampled_rows(is_known, SHOWN)
    ids = [catalogue.item_ids[row] for row in rows.tolist()]
    places = axes.places(catalogue.unit[rows])
    return MappedItems(artifact, catalogue.generation, axes, int(is_known.sum()), len(measured), ids, places)


def places_of(catalogue: Catalogue, found: MappedItems, item_ids: list[str]) -> dict[str, tuple[float, float]]:
    """Return where items lie on a map; those of which nothing is known are left out."""
    rows = catalogue.rows_of(item_ids)
    is_known = (rows >= 0) & ~catalogue.is_blank[np.maximum(rows, 0)]
    known = [item_id for item_id, one in zip(item_ids, is_known.tolist(), strict=True) if one]
    points = found.axes.places(catalogue.unit[rows[is_known]]).tolist()
    return {item_id: (x, y) for item_id, (x, y) in zip(known, points, strict=True)}


class ItemMaps:
    """Keeps the newest map, and puts users on it. For one event loop.

    Parameters
    ----------
    thread : the model's
    """

    def __init__(self, thread: ModelThread, shown: ShownItems, known: KnownUsers) -> None:
        self._thread = thread
        self._shown = shown
        self._known = known
        self._found: MappedItems | None = None
        self._until_s = 0.0
        self._one = asyncio.Lock()

    async def with_user(self, served: Served, key: bytes | None) -> ItemMap:
        """Return the map of what is served, with a user's vector and window; None for no user."""
        window, found = None if key is None else self._known.window(key), await self._of(served)
        user, items = None, list[str]()
        if window is not None:
            items = list(dict.fromkeys(one.item_id for one in behaviours(window)))
            user = await self._place_of(served, window, found)
        title, places = self._shown.title, places_of(served.catalogue, found, items)
        hidden = self._shown.hidden(found.item_ids)
        return ItemMap(
            found.artifact, found.generation, found.axes.shares, found.n_items, found.n_measured,
            [
                MapPoint(item_id, title(item_id), x, y)
                for item_id, (x, y) in zip(found.item_ids, found.places.tolist(), strict=True)
                if item_id not in hidden
            ],
            [MapPoint(item_id, title(item_id), *places[item_id]) for item_id in items if item_id in places],
            user,
        )  # fmt: skip

    async def places(self, served: Served, item_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return where items lie; unknown ones are left out."""
        return places_of(served.catalogue, await self._of(served), list(item_ids))

    async def _place_of(self, served: Served, window: ListWindow, found: MappedItems) -> tuple[float, float] | None:
        """Return where a window's vector lies, at unit length; None where it says nothing."""

        def job() -> Float32:
            return served.model.pipeline.user_vectors(served.catalogue, [behaviours(window)])[:, :-1]

        vector = await self._thread.run(job)
        length = float(np.linalg.norm(vector))
        if not length:
            return None
        x, y = found.axes.places(vector / length)[0].tolist()
        return x, y

    async def _of(self, served: Served) -> MappedItems:
        """Return the map of what is served, or of a moment ago."""
        async with self._one:
            loop, version = asyncio.get_running_loop(), served.versions
            found = self._found
            is_same = found is not None and found.artifact == version.artifact
            is_newest = is_same and found is not None and found.generation == served.catalogue.generation
            if found is None or not is_same or (not is_newest and loop.time() > self._until_s):
                found = self._found = await asyncio.to_thread(mapped, served.catalogue, version.artifact)
                self._until_s = loop.time() + FRESH_S
            return found
