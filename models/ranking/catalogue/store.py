"""The catalogue's one writer: it takes changes in, and gives a snapshot after each.

::

    entries ─► apply ─► new rows at the end, masks ─► snapshot ─► readers
                 │
                 └─ many old versions, or a long tail ─► plan ─► build (any thread) ─► finish
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Bool, Float32, Int64
from models.features.columns import Row
from models.index.index import ItemIndex
from models.index.search import VectorSearch
from models.ranking.catalogue.live_index import LiveIndex
from models.ranking.catalogue.nearest import NearestItems
from models.ranking.catalogue.parts import ItemParts, TrainedItems, take
from models.ranking.catalogue.popularity import Popularity
from models.ranking.catalogue.rebuild import MIN_TAIL, BuildBase, Built, Plan, is_due
from models.ranking.catalogue.rows import KEY_BYTES, ItemIds, RowOf, Rows
from models.ranking.catalogue.shared_rows import SharedRows
from models.ranking.catalogue.snapshot import Catalogue
from models.ranking.catalogue.tables import ItemTable, TrainedRows, WeightTable
from models.rules.facts import NO_FACTS, ItemFacts, Words, columns

#: A withdrawn item stays signal in windows for this long: by default no window reaches further
#: back.
SIGNAL_S: Final = 30 * 86_400.0
#: Of more withdrawn items the first withdrawn ones are forgotten: these, or a quarter of the rows.
MAX_WITHDRAWN: Final = 10_000
NO_KEY: Final = bytes(KEY_BYTES)


class Entry(NamedTuple):
    """An item as its newest record says.

    Parameters
    ----------
    text_key, rest_key : of KEY_BYTES; equal keys are equal texts, and equal other fields
    features : by name; missing ones are imputed
    vector : (d_text,) float32, raw text embedding; None where the store
        :meth:`~CatalogueStore.has_text`
    is_shown : whether lists may show the item now
    facts : what rules may ask of the item; other facts need another ``rest_key``
    """

    item_id: str
    features: Row
    vector: Float32 | None
    text_key: bytes = NO_KEY
    rest_key: bytes = NO_KEY
    is_shown: bool = True
    facts: ItemFacts = NO_FACTS


class CatalogueStore:
    """The catalogue of one artifact. For one thread at a time; its snapshots are for any.

    Parameters
    ----------
    build_base : builds the index over a large catalogue
    sharing : shares the rows of rebuilds with other workers; None for private memory

    Attributes
    ----------
    generation : of the last snapshot
    rows : the present rows
    """

    def __init__(
        self, artifact: Artifact, build_base: BuildBase = ItemIndex.build, sharing: SharedRows | None = None
    ) -> None:
        self._artifact = artifact
        self._build_base, self._sharing = build_base, sharing
        self._trained = TrainedItems(artifact)
        text = np.zeros((0, artifact.whitening.matrix.shape[0]), dtype=np.float32)
        self.rows = Rows(self._trained.parts([], text, []), len(artifact.popularity))
        self._words = Words()
        self._shown: Bool = np.zeros(self.rows.capacity, dtype=bool)
        self._withdrawn: dict[str, float] = {}
        self._base: VectorSearch | None = None
        self._factor_base: VectorSearch | None = None
        self._n_base = 0  # rows of the last rebuild
        self._nearest: NearestItems | None = None
        self._counts: Popularity | None = None
        self._n_sampled = self._n_since_sample = 0  # items that it stands for, and rows added since
        self._is_rebuilding = False
        self.generation = 0

    def has_text(self, item_id: str, text_key: bytes) -> bool:
        """Whether the newest version of an item has this text, so that it needs no embedding."""
        row = self.rows.latest.get(item_id)
        return row is not None and self.rows.keys[row, 0].tobytes() == text_key

    def is_listed(self, item_id: str) -> bool:
        """Whether the catalogue has the item, hidden or not; a withdrawn one is not listed."""
        return item_id in self.rows.latest and item_id not in self._withdrawn

    def apply(self, entries: Sequence[Entry], removed: Collection[str] = (), now_s: float = 0.0) -> bool:
        """Take in entries and removals; return whether anything changed.

        Parameters
        ----------
        entries : each item at most once, and not among those removed
        now_s : since when a withdrawn item is withdrawn; seconds of any steady clock
        """
        is_changed = False
        for item_id in removed:
            if self.is_listed(item_id):
                self._withdrawn[item_id] = now_s
                self._show(self.rows.latest[item_id], False)
                is_changed = True
        with_text: list[Entry] = []
        with_features: list[Entry] = []
        for entry in entries:
            row = self.rows.latest.get(entry.item_id)
            if row is None or self.rows.keys[row, 0].tobytes() != entry.text_key or entry.text_key == NO_KEY:
                with_text.append(entry)
            elif self.rows.keys[row, 1].tobytes() != entry.rest_key:
                with_features.append(entry)
            else:
                is_changed |= self._withdrawn.pop(entry.item_id, None) is not None
                is_changed |= self._show(row, entry.is_shown)
        self._add_with_text(with_text)
        self._add_with_features(with_features)
        return is_changed or bool(with_text or with_features)

    def show(self, is_shown: Mapping[str, bool]) -> bool:
        """Show and hide listed items; return whether anything changed."""
        changes = [
            self._show(self.rows.latest[item_id], shown)
            for item_id, shown in is_shown.items()
            if self.is_listed(item_id)
        ]
        return any(changes)

    def snapshot(self) -> Catalogue:
        """Return the catalogue as it is now, of the next generation."""
        rows, artifact, n = self.rows, self._artifact, self.rows.n
        self.generation += 1
        is_shown = self._shown[:n].copy()
        views = {name: array[:n] for name, array in rows.arrays.items()}
        where = TrainedRows(rows, n, is_shown)
        tables = [ItemTable(where, table) for table in (artifact.next_rows, artifact.neighbour_rows)]
        self._nearest = self._near(is_shown)
        is_new, is_blank = views["trained"] < 0, views["is_blank"]
        self._counts = self._popularity(is_shown)
        return Catalogue(
            item_ids=ItemIds(rows, n),
            row_of=RowOf(rows, n),
            generation=self.generation,
            n_items=int(np.count_nonzero(is_shown)),
            is_shown=is_shown,
            vectors=views["vectors"],
            unit=views["unit"],
            norms=views["norms"],
            nearest=self._nearest,
            text_unit=views["text_unit"],
            factors=views["factors"],
            gram=self._trained.gram,
            index=_retrieval(views["vectors"], rows.longest, is_shown & ~is_blank, self._base, self._n_base),
            factor_index=self._factors(where, int(np.count_nonzero(is_shown & ~is_new))),
            features=views["features"],
            known=views["known"],
            next_rows=tables[0],
            next_weights=WeightTable(where, artifact.next_weights),
            neighbour_rows=tables[1],
            neighbour_weights=WeightTable(where, artifact.neighbour_weights),
            is_new=is_new,
            is_blank=is_blank,
            counts=self._counts,
            rows=rows,
            trained_counts=artifact.popularity,
            words=self._words,
        )

    @property
    def n_listed(self) -> int:
        """Return how many items the catalogue has, hidden or not."""
        return len(self.rows.latest) - len(self._withdrawn)

    @property
    def is_settled(self) -> bool:
        """Whether a rebuild has ordered the rows since the first item came."""
        return self._n_base > 0

    @property
    def n_tail(self) -> int:
        """Return how many rows were added since the last rebuild."""
        return self.rows.n - self._n_base

    def wants_rebuild(self) -> bool:
        """Whether a rebuild is due: enough has changed since the last one, and none runs."""
        return not self._is_rebuilding and is_due(self._n_base, self.n_tail)

    def plan(self, now_s: float = 0.0) -> Plan:
        """Begin a rebuild: return what :meth:`Plan.build` needs, which may run on any thread."""
        self._is_rebuilding = True
        self._forget_withdrawn(now_s)
        newest = np.fromiter(self.rows.latest.values(), np.int64, len(self.rows.latest))
        factors = self._trained.factors if self._factor_base is None else None
        return Plan(self.rows, np.sort(newest), self.rows.n, factors, self._build_base, self._sharing)

    def finish(self, built: Built | None) -> None:
        """End a rebuild: take its rows and index over, with all that changed since :meth:`plan`.

        Parameters
        ----------
        built : None where the rebuild failed
        """
        self._is_rebuilding = False
        if built is None:
            return
        old, new, plan = self.rows, built.rows, built.plan
        later = [row for row in range(plan.n, old.n) if old.latest[old.ids[row]] == row]
        shown = np.zeros(max(new.capacity, new.n + len(later)), dtype=bool)
        shown[: new.n] = self._shown[built.old_rows]
        rows = np.array(later, dtype=np.int64)
        added = new.append([old.ids[row] for row in later], old.parts(rows), old.keys[rows])
        shown[added] = self._shown[rows]
        self._words, new.arrays["words_from"][: new.n] = self._words.used(
            new.arrays["words_from"][: new.n], new.arrays["n_words"][: new.n]
        )
        self.rows, self._shown, self._base, self._n_base = new, shown, built.base, len(built.old_rows)
        self._factor_base = built.factor_base or self._factor_base
        if self._nearest is not None:
            self._nearest = self._nearest.moved(new.arrays["unit"], built.old_rows)
        self._counts = None

    def rebuild_now(self) -> None:
        """Rebuild on this thread, and wait for it."""
        self.finish(self.plan().build())

    def _show(self, row: int, shown: bool) -> bool:
        is_changed = bool(self._shown[row]) != shown
        self._shown[row] = shown
        return is_changed

    def _add_with_text(self, entries: Sequence[Entry]) -> None:
        if entries:
            width = self._artifact.whitening.matrix.shape[0]
            blank = np.zeros(width, dtype=np.float32)
            takes_text = self._artifact.takes_text
            text = np.stack([e.vector if takes_text and e.vector is not None else blank for e in entries])
            self._add(entries, self._trained.parts([e.item_id for e in entries], text, [e.features for e in entries]))

    def _add_with_features(self, entries: Sequence[Entry]) -> None:
        if entries:
            rows = np.array([self.rows.latest[entry.item_id] for entry in entries], dtype=np.int64)
            self._add(entries, self._trained.with_features(self.rows.parts(rows), [e.features for e in entries]))

    def _add(self, entries: Sequence[Entry], parts: ItemParts) -> None:
        """Add a version of each entry; the versions before are hidden."""
        earlier = [row for entry in entries if (row := self.rows.latest.get(entry.item_id)) is not None]
        keys = np.frombuffer(b"".join(e.text_key + e.rest_key for e in entries), dtype=np.uint8)
        parts = replace(parts, **columns([e.facts for e in entries], self._words))
        rows = self.rows.append([e.item_id for e in entries], parts, keys.reshape(len(entries), 2, KEY_BYTES))
        if self.rows.n > len(self._shown):
            grown = np.zeros(self.rows.capacity, dtype=bool)
            grown[: len(self._shown)] = self._shown
            self._shown = grown
        self._n_since_sample += len(entries)
        self._shown[earlier] = False
        self._shown[rows] = [entry.is_shown for entry in entries]
        for entry in entries:
            self._withdrawn.pop(entry.item_id, None)

    def _near(self, is_shown: Bool) -> NearestItems:
        """Return the ranks among the shown items.

        The sample is drawn again when as many rows came as it stands for.
        """
        unit = self.rows.arrays["unit"]
        if self._nearest is None or self._n_since_sample > max(MIN_TAIL, self._n_sampled):
            self._n_since_sample, self._n_sampled = 0, int(np.count_nonzero(is_shown))
            return NearestItems(unit, np.flatnonzero(is_shown))
        if len(self._nearest.unit) != len(unit):
            return self._nearest.moved(unit, np.arange(min(len(self._nearest.unit), self.rows.n)))
        return self._nearest

    def _popularity(self, is_shown: Bool) -> Popularity:
        counted, recent = self._artifact.popularity, self._artifact.recent_popularity
        if self._counts is not None:
            return self._counts.extended(self.rows, is_shown, counted, recent)
        scores = take(recent, self.rows.arrays["trained"][: len(is_shown)])
        return Popularity.of(self.rows, is_shown, scores, counted)

    def _factors(self, where: TrainedRows, n_found: int) -> LiveIndex:
        trained = self._trained

        def is_found(positions: Int64) -> tuple[Bool, Int64]:
            rows = where.shown(np.where(positions >= 0, trained.rows[positions], -1))
            return rows >= 0, rows

        return LiveIndex(
            trained.factors, n_found, trained.longest_factors, is_found, self._factor_base, len(trained.rows)
        )

    def _forget_withdrawn(self, now_s: float) -> None:
        """Forget the items that were withdrawn long ago, and the first ones of too many."""
        n_kept = max(MAX_WITHDRAWN, self.rows.n // 4)
        for item_id in list(self._withdrawn)[: max(0, len(self._withdrawn) - n_kept)]:
            self._forget(item_id)
        for item_id in [i for i, since_s in self._withdrawn.items() if now_s - since_s > SIGNAL_S]:
            self._forget(item_id)

    def _forget(self, item_id: str) -> None:
        del self._withdrawn[item_id], self.rows.latest[item_id]


def _retrieval(vectors: Float32, longest: float, is_found: Bool, base: VectorSearch | None, n_base: int) -> LiveIndex:
    def found(rows: Int64) -> tuple[Bool, Int64]:
        return is_found[rows], rows

    return LiveIndex(vectors, int(np.count_nonzero(is_found)), longest, found, base, n_base)
