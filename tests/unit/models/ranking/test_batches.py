"""A list does not depend on the other lists of its batch: every number has the same bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models.base.types import Behaviours, Int64
from models.features.columns import Row
from models.index.best_rows import best_positions, longest
from models.index.index import ItemIndex
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.catalogue.live_index import LiveIndex
from models.ranking.catalogue.parts import TrainedItems
from models.ranking.catalogue.store import CatalogueStore, Entry
from models.ranking.lists import RankedBatch
from models.ranking.pipeline import Pipeline
from models.sequence.model import SequenceConfig, SequenceModel
from models.sequence.packing import pack
from models.sequence.serving import ServedSequence
from tools.bench.made.shop import MadeShop, made_shop, made_windows

pytestmark = pytest.mark.model

N_ITEMS, N_WINDOWS, LONGEST_WINDOW = 3_000, 1_024, 50
BATCHES = (1, 3, 64, 512)
FIELDS = (
    "rows", "lengths", "scores", "source_ranks", "source_scores", "because", "user_vectors", "factors", "degraded",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> MadeShop:
    """Return a shop with a model of the real sizes."""
    return made_shop("demo", N_ITEMS)


@pytest.fixture(scope="module")
def windows(shop: MadeShop) -> list[Behaviours]:
    """Return windows of all lengths from 0 on."""
    made, kinds = made_windows(shop.groups, N_WINDOWS, LONGEST_WINDOW), ("view", "click", "purchase")
    lengths = np.random.default_rng(1).integers(0, LONGEST_WINDOW + 1, N_WINDOWS)
    return [
        Behaviours([f"i{row:07}" for row in rows[:n]], [kinds[kind] for kind in types[:n]], times[:n])
        for n, rows, types, times in zip(lengths, *(made[name].tolist() for name in ("rows", "types", "times")), strict=True)
    ]  # fmt: skip


def in_batches(shop: MadeShop, catalogue: Catalogue, windows: list[Behaviours], size: int) -> Iterator[RankedBatch]:
    """Yield the lists of windows, so many at a time."""
    pipeline = Pipeline(shop.artifact, k=10)
    for start in range(0, len(windows), size):
        yield pipeline.recommend(catalogue, windows[start : start + size])


def assert_the_same_bits(shop: MadeShop, catalogue: Catalogue, windows: list[Behaviours]) -> None:
    """Compare the lists of batches of all sizes."""
    found = {size: list(in_batches(shop, catalogue, windows, size)) for size in BATCHES}
    for name in FIELDS:
        expected = np.concatenate([getattr(batch, name) for batch in found[BATCHES[0]]])
        for size in BATCHES[1:]:
            values = np.concatenate([getattr(batch, name) for batch in found[size]])
            unlike = [u for u in range(len(windows)) if values[u].tobytes() != expected[u].tobytes()]
            assert not unlike, f"{name} of {len(unlike)} lists differs between batches of {BATCHES[0]} and of {size}"


def test_a_list_has_the_same_bits_in_every_batch(shop: MadeShop, windows: list[Behaviours]) -> None:
    """The exact search, over a catalogue that a batch cannot change."""
    items = dict(zip(shop.artifact.manifest.item_ids, shop.vectors, strict=True))
    assert_the_same_bits(shop, build_catalogue(shop.artifact, items, 1), windows)


def test_a_list_of_a_large_catalogue_has_the_same_bits_in_every_batch(
    shop: MadeShop, windows: list[Behaviours], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search through cells, with a tail of new items and with hidden ones."""
    monkeypatch.setattr("models.ranking.catalogue.rebuild.EXACT_UP_TO", 100)
    monkeypatch.setattr("models.index.index.EXACT_UP_TO", 100)
    store, ids = CatalogueStore(shop.artifact), shop.artifact.manifest.item_ids
    n_base = N_ITEMS - 300
    store.apply([Entry(i, {}, vector) for i, vector in zip(ids[:n_base], shop.vectors[:n_base], strict=True)])
    store.rebuild_now()
    store.apply([Entry(i, {}, vector) for i, vector in zip(ids[n_base:], shop.vectors[n_base:], strict=True)])
    store.show({item_id: False for item_id in ids[::9]})
    catalogue = store.snapshot()
    assert catalogue.index.kind == "ivf" and catalogue.index.n_tail == 300
    assert_the_same_bits(shop, catalogue, windows)


def test_an_item_has_the_same_bits_whichever_items_come_with_it(shop: MadeShop) -> None:
    """A worker reads items in other batches than the one before did."""
    trained, ids = (
        TrainedItems(shop.artifact),
        [*shop.artifact.manifest.item_ids[:600], *(f"new{i}" for i in range(100))],
    )
    text = shop.vectors[: len(ids)]
    rows: list[Row] = [{} for _ in ids]
    whole = trained.parts(ids, text, rows).arrays()
    for size in BATCHES[:3]:
        starts = range(0, len(ids), size)
        parts = [trained.parts(ids[i : i + size], text[i : i + size], rows[i : i + size]).arrays() for i in starts]
        for name, values in whole.items():
            assert np.concatenate([part[name] for part in parts]).tobytes() == values.tobytes(), (name, size)


def test_a_transformer_reads_each_window_by_itself(windows: list[Behaviours]) -> None:
    """Its user vectors have the same bits in every batch, too."""
    torch.manual_seed(1)
    model = SequenceModel(SequenceConfig(text_dim=8, dim=16, max_length=50, kind="transformer"), N_ITEMS).eval()
    packed = pack(windows[:70], {f"i{row:07}": row for row in range(N_ITEMS)}, 50)
    items = np.random.default_rng(1).standard_normal((N_ITEMS, 17), dtype=np.float32)
    served = ServedSequence(model)
    found = served.user_vectors(packed, items)
    one_by_one = np.concatenate([served.user_vectors(packed.one(i), items) for i in range(70)])
    assert found.tobytes() == one_by_one.tobytes()
    plain = model.user_vectors(packed, items[:, :16])
    np.testing.assert_allclose(found[:, :-1], plain, atol=1e-5)


def test_scores_too_near_to_tell_are_told_by_position() -> None:
    """Vectors that differ in nothing but their last bits keep one order, whatever the batch."""
    rng = np.random.default_rng(2)
    vectors = np.tile(rng.standard_normal((40, 33), dtype=np.float32), (50, 1))
    vectors[1_000:] *= np.float32(1 + 2.0**-23)
    queries = rng.standard_normal((70, 33), dtype=np.float32)
    wanted = rng.integers(1, 90, len(queries))
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    none = np.zeros(0, np.float32)
    for size in (1, 2, 7, 70):
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            found = best_positions(queries[part], vectors, wanted[part], none, longest(vectors))
            for positions, own, n in zip(found, scores[part], wanted[part], strict=True):
                exact = np.lexsort((np.arange(len(own)), -np.round(own, 12)))[:n]
                assert set(positions[positions >= 0].tolist()) == set(exact.tolist())


def index_with_tail(n: int, n_base: int, hidden: Int64) -> LiveIndex:
    """Return an index over made vectors, of which some are hidden."""
    vectors = np.random.default_rng(3).standard_normal((n, 16), dtype=np.float32)
    is_found = np.ones(n, dtype=bool)
    is_found[hidden] = False
    base = ItemIndex.build(vectors[:n_base].copy(), kind="ivf", recall_target=0.3)
    return LiveIndex(
        vectors, int(is_found.sum()), longest(vectors), lambda rows: (is_found[rows] & (rows >= 0), rows), base, n_base
    )


def test_hidden_vectors_leave_no_gap() -> None:
    """Where the base brings too few that are not hidden, every vector is looked at."""
    hidden = np.random.default_rng(4).choice(900, 300, replace=False)
    index = index_with_tail(1_200, 900, hidden)
    queries = np.random.default_rng(5).standard_normal((40, 16), dtype=np.float32)
    found = index.best(queries, np.full(40, 250))
    assert (found >= 0).all() and not np.isin(found, hidden).any()
    assert all(len(set(rows.tolist())) == 250 for rows in found)
