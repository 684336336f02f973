"""A catalogue that changes gives the lists of one that is built at once from the final records.

New items have equal factors, and equal scores have their ranks by row. So lists with two new items
are compared after a rebuild, which puts rows into the order of ids, as a build at once does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.base.types import Float32
from models.features.columns import Row
from models.index.index import ItemIndex
from models.ranking.catalogue import Catalogue, build_catalogue, rebuild
from models.ranking.catalogue.store import CatalogueStore, Entry
from models.ranking.fallback import UserVectors, WithoutModel
from models.ranking.pipeline import Pipeline
from models.text.encoder import FakeEncoder
from tests.support.tiny_models import featured_artifact, shown_ids, window

pytestmark = pytest.mark.model
IDS = [*(f"i{i:02}" for i in range(24)), *(f"new{i}" for i in range(6))]
ONE_NEW = IDS[:25]
ENCODER = FakeEncoder(16)


class Record(NamedTuple):
    """An item's newest record: a text, a price, and whether lists may show it."""

    text: int
    price: int
    is_shown: bool


RECORDS = st.builds(Record, st.integers(0, 2), st.integers(0, 2), st.booleans())


def steps(ids: Sequence[str]) -> st.SearchStrategy[list[tuple[str, list[Any]]]]:
    """Draw what happens to a catalogue of these items."""
    an_id = st.sampled_from(ids)
    return st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.lists(st.tuples(an_id, RECORDS), min_size=1, max_size=8)),
            st.tuples(st.just("remove"), st.lists(an_id, min_size=1, max_size=4, unique=True)),
            st.tuples(st.just("show"), st.lists(st.tuples(an_id, st.booleans()), min_size=1, max_size=6)),
            st.tuples(st.sampled_from(["rebuild", "plan", "finish", "snapshot"]), st.just([])),
        ),
        max_size=25,
    )


def vector_of(item_id: str, record: Record) -> Float32:
    """Return the embedding of a text."""
    vector: Float32 = ENCODER.encode([f"{item_id} in edition {record.text}"])[0]
    return vector


def features_of(record: Record) -> Row:
    """Return the features of a record."""
    return {"price": 1.0 + record.price, "category": "odd" if record.price % 2 else "even"}


class Shop:
    """A store, the records that it should hold, and its snapshots so far with their lists."""

    def __init__(self) -> None:
        self.store = CatalogueStore(featured_artifact())
        self.records: dict[str, Record] = {}
        self.begun: rebuild.Plan | None = None
        self.held: list[tuple[Catalogue, list[object]]] = []

    @classmethod
    def after(cls, steps: Sequence[tuple[str, Any]]) -> Shop:
        """Return a shop that has done the steps of an example."""
        shop = cls()
        for what, changes in steps:
            shop.step(what, changes)
        return shop

    def step(self, what: str, changes: Any) -> None:
        """Do one step of an example."""
        getattr(self, what)(changes)

    def put(self, changes: Sequence[tuple[str, Record]]) -> None:
        newest = dict(changes)
        entries = []
        for item_id, record in newest.items():
            text_key = f"text{record.text:012}".encode()
            has_text = self.store.has_text(item_id, text_key)
            vector = None if has_text else vector_of(item_id, record)
            rest_key = f"rest{record.price:012}".encode()
            entries.append(Entry(item_id, features_of(record), vector, text_key, rest_key, record.is_shown))
        is_same = all(self.records.get(item_id) == record for item_id, record in newest.items())
        n_rows = self.store.rows.n
        assert self.store.apply(entries) != is_same
        assert not is_same or self.store.rows.n == n_rows
        self.records |= newest

    def remove(self, item_ids: Sequence[str]) -> None:
        assert self.store.apply([], item_ids) == any(item_id in self.records for item_id in item_ids)
        for item_id in item_ids:
            self.records.pop(item_id, None)

    def show(self, changes: Sequence[tuple[str, bool]]) -> None:
        self.store.show(dict(changes))
        for item_id, is_shown in dict(changes).items():
            if item_id in self.records:
                self.records[item_id] = self.records[item_id]._replace(is_shown=is_shown)

    def rebuild(self, _: object) -> None:
        if self.begun is None:
            self.store.rebuild_now()

    def plan(self, _: object) -> None:
        self.begun = self.begun or self.store.plan()

    def finish(self, _: object) -> None:
        if self.begun is not None:
            self.store.finish(self.begun.build())
            self.begun = None

    def snapshot(self, _: object = ()) -> None:
        catalogue = self.store.snapshot()
        self.held.append((catalogue, list(everything(catalogue))))


def with_popularity(catalogue: Catalogue) -> Catalogue:
    """Return a catalogue in which no two items are equally popular."""
    scores = [float(1 + (7 * IDS.index(item_id)) % 31) for item_id in catalogue.item_ids]
    return catalogue.with_popularity(np.array(scores, dtype=np.float32))


def windows(records: dict[str, Record]) -> list[list[str]]:
    """Return windows of items that are in the catalogue, hidden or not."""
    ids = sorted(records)
    return [[], ids[:1], ids[:5], ids[3:12], ids[-4:], ids]


def everything(
    catalogue: Catalogue, ids: Sequence[Sequence[str]] = (["i03"], ["i01", "i07", "new2"])
) -> Iterator[object]:
    """Yield what lists a catalogue gives: full ones, and fallback lists of both kinds."""
    artifact = featured_artifact()
    asked = [window(*each) for each in ids]
    rng = np.random.default_rng(5)
    dim, f = catalogue.vectors.shape[1], catalogue.factors.shape[1] - 1
    vector: Float32 = rng.normal(size=(1, dim)).astype(np.float32)
    stored = UserVectors(vector[0], np.zeros(f, dtype=np.float32))
    manifest = artifact.manifest
    without = WithoutModel(5, 20, 10, manifest.alpha, manifest.regularisation)
    made = [
        *Pipeline(artifact, k=5, n_candidates=8).recommend(catalogue, asked),
        *without.lists(catalogue, asked, [set() for _ in asked], [None for _ in asked]),
        *without.lists(catalogue, asked, [set() for _ in asked], [stored for _ in asked]),
    ]
    for ranked in made:
        yield [(item.item_id, round(item.score, 6)) for item in ranked.items]


def scored(lists: Iterator[object]) -> list[list[tuple[str, float]]]:
    """Return lists as they are."""
    return list(lists)  # type: ignore[arg-type]


def check(shop: Shop) -> None:
    """Compare a store's lists with those of a catalogue of its records.

    Old snapshots must still give the lists that they gave.
    """
    living, records = with_popularity(shop.store.snapshot()), shop.records
    fresh = build_catalogue(
        featured_artifact(),
        {item_id: vector_of(item_id, record) for item_id, record in records.items()},
        1,
        {item_id: features_of(record) for item_id, record in records.items()},
        {item_id for item_id, record in records.items() if not record.is_shown},
    )
    assert sorted(shown_ids(living)) == sorted(shown_ids(fresh))
    asked = windows(records)
    found = scored(everything(living, asked))
    expected = scored(everything(with_popularity(fresh), asked))
    for ours, theirs in zip(found, expected, strict=True):
        assert [item_id for item_id, _ in ours] == [item_id for item_id, _ in theirs]
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-5)
        assert all(records[item_id].is_shown for item_id, _ in ours)
    for catalogue, before in shop.held:
        assert list(everything(catalogue)) == before


@pytest.fixture(params=["exact", "beside a base"], autouse=True)
def _base(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "exact":  # an index over the older rows, which finds what brute force finds
        monkeypatch.setattr(rebuild, "EXACT_UP_TO", 4)
        monkeypatch.setattr(ItemIndex, "build", partial(ItemIndex.build, kind="exact"))


SETTINGS = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True
)


@SETTINGS
@given(steps(ONE_NEW))
def test_any_history_gives_the_lists_of_its_end(drawn: list[tuple[str, list[Any]]]) -> None:
    """Puts, removals, hiding, showing and rebuilds, with readers that still hold old snapshots."""
    shop = Shop.after(drawn)
    check(shop)


@SETTINGS
@given(steps(IDS))
def test_many_new_items_give_the_same_lists_after_a_rebuild(drawn: list[tuple[str, list[Any]]]) -> None:
    """A rebuild keeps what changed while it ran, and orders rows as a catalogue built at once."""
    shop = Shop.after(drawn)
    shop.finish(())
    shop.store.rebuild_now()
    check(shop)
