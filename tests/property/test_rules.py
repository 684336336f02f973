"""Laws of lists under rules, for any document: with the model, and without it."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking.candidates import Candidates
from models.ranking.catalogue.ruled import ruled
from models.ranking.fallback import UserVectors, WithoutModel
from models.ranking.lists import RankedBatch, RankedList
from models.ranking.pipeline import Catalogue, Pipeline, build_catalogue
from models.rules.document import Document
from models.rules.facts import ItemFacts
from models.rules.row_rules import Rules
from models.text.encoder import FakeEncoder
from tests.support.tiny_models import T0, artifact, text_vectors, window
from tools.oracle.rules_kept import breaches, exceeds, matches, may_show

pytestmark = pytest.mark.model

NOW_MS = T0 + 100 * 86_400_000
KNOWN = tuple(f"i{i:02}" for i in range(24))
NEW = tuple(f"n{i:02}" for i in range(16))
IDS = KNOWN + NEW
CATEGORIES, TAGS = ("Hats", "Shoes", "Gifts"), ("new", "sale")
HIDDEN = {"i05", "n03"}


@cache
def facts() -> dict[str, ItemFacts]:
    """Return facts of every kind: several categories, none, no price, no time."""
    rng = np.random.default_rng(5)
    return {
        item_id: ItemFacts(
            tuple(name for name in CATEGORIES if rng.random() < 0.4),
            tuple(name for name in TAGS if rng.random() < 0.4),
            None if rng.random() < 0.2 else float(rng.integers(1, 20)),
            -1 if rng.random() < 0.2 else NOW_MS - int(rng.integers(1, 200)) * 86_400_000,
            bool(rng.random() < 0.7),
        )
        for item_id in IDS
    }


@cache
def whole() -> Catalogue:
    """Return a catalogue of trained and new items, of which two are hidden."""
    new = FakeEncoder(16).encode([f"word{i} group{i % 3}" for i in range(len(NEW))])
    vectors = text_vectors(KNOWN) | dict(zip(NEW, new, strict=True))
    return build_catalogue(artifact(), vectors, 1, hidden=HIDDEN, facts=facts())


names = st.lists(st.sampled_from(CATEGORIES), unique=True, max_size=2)
tags = st.lists(st.sampled_from(TAGS), unique=True, max_size=1)
ages = st.sampled_from([None, "30d", "100d"])
selectors = st.fixed_dictionaries(
    {},
    optional={
        "categories": names,
        "tags": tags,
        "price_min": st.sampled_from([2.0, 5.0]),
        "price_max": st.sampled_from([8.0, 15.0]),
        "available": st.just(True),
        "age_max": ages,
    },
) | st.fixed_dictionaries({}, optional={"not_categories": names, "not_tags": tags, "age_min": ages})
items = st.lists(st.sampled_from(IDS), unique=True, max_size=6)


@st.composite
def documents(draw: st.DrawFn, *, is_plain: bool = False) -> Document:
    """Draw a document that does not contradict itself.

    Parameters
    ----------
    is_plain : whether nothing is left to chance and likeness
    """
    deny = draw(items)
    pinned = [item_id for item_id in draw(items) if item_id not in deny][:3]
    places = draw(st.permutations(range(1, 9)))
    plain: dict[str, Any] = {
        "list_size": draw(st.sampled_from([None, 8, 10, 30])),
        "deny": deny,
        "filters": draw(selectors),
        "pins": [{"item": item_id, "place": place} for item_id, place in zip(pinned, places, strict=False)],
        "boosts": [one | {"factor": 3.0} for one in draw(st.lists(selectors, max_size=2))],
        "buries": [one | {"factor": 0.2} for one in draw(st.lists(selectors, max_size=2))],
        "caps": draw(st.dictionaries(st.sampled_from([*CATEGORIES, "*"]), st.integers(1, 4), max_size=3)),
    }
    if draw(st.integers(0, 3)) == 0:
        plain["allow"] = sorted({*draw(items), *draw(items), *pinned} - set(deny))
    if not is_plain:
        plain["exploration"] = draw(st.sampled_from([0.0, 0.3, 0.9]))
        plain["diversity"] = draw(st.sampled_from([None, {"strength": 0.2}, {"strength": 0.8}]))
    return msgspec.convert(plain, Document)


windows = st.lists(st.sampled_from([*IDS, "gone"]), max_size=12).map(lambda ids: window(*ids))
extras = st.sets(st.sampled_from(IDS), max_size=4)
seeds = st.integers(0, 2**64 - 1)


def lists_of(document: Document, users: list[Any], extra: list[set[str]], draws: list[int]) -> list[RankedBatch]:
    """Return what the model makes of windows, and what is made without it."""
    catalogue = ruled(whole(), Rules(document, "v"), NOW_MS)
    numbers = np.array(draws, dtype=np.uint64)
    full = Pipeline(artifact(), k=10).recommend(catalogue, users, extra, seeds=numbers)
    vectors = [UserVectors(one.user_vector, one.factors) if one.user_vector.any() else None for one in full]
    without = WithoutModel(10, 100, 10, artifact().manifest.alpha, artifact().manifest.regularisation)
    stale = without.lists(catalogue, users, extra, vectors, numbers)
    return [full, stale, without.lists(catalogue, users, extra, [None] * len(users), numbers)]


def shown() -> dict[str, ItemFacts]:
    """Return the items that lists may show, apart from rules."""
    return {item_id: one for item_id, one in facts().items() if item_id not in HIDDEN}


@settings(max_examples=150)
@given(documents(), st.lists(st.tuples(windows, extras, seeds), min_size=1, max_size=3))
def test_lists_obey_and_are_full(document: Document, users: list[Any]) -> None:
    """Nothing denied, no cap exceeded, each pin at its place; short only where no item is left."""
    had = [{event.item_id for event in events} | extra for events, extra, _ in users]
    for lists in lists_of(document, *(list(column) for column in zip(*users, strict=True))):
        for one, seen in zip(lists, had, strict=True):
            listed = [item.item_id for item in one.items]
            assert list(breaches(document, listed, shown(), NOW_MS, 10)) == []
            assert not HIDDEN & set(listed)
            pinned = {pin.item for pin in document.pins}
            assert not (set(listed) - pinned) & seen
            assert all(("pin" in item.sources) == (item.item_id in pinned) for item in one.items)
            if len(listed) < (document.list_size or 10):
                listed_facts = [facts()[item_id] for item_id in listed]
                left = [
                    item_id
                    for item_id, known in shown().items()
                    if item_id not in {*listed, *seen} and may_show(document, item_id, known, NOW_MS)
                ]
                assert all(exceeds(document, [*listed_facts, facts()[item_id]]) for item_id in left)


@settings(max_examples=100)
@given(documents(is_plain=True), windows)
def test_the_order_is_kept_apart_from_what_rules_move(document: Document, events: Any) -> None:
    """A list is what a plain reading of the document makes of the fused scores."""
    catalogue = ruled(whole(), Rules(document, "v"), NOW_MS)
    pipeline = Pipeline(artifact(), k=10)
    if not catalogue.n_items:
        assert not pipeline.recommend(catalogue, [events])[0].items
        return
    found = pipeline.candidates(catalogue, [events])
    probabilities = pipeline.probabilities(catalogue, found)
    made = pipeline.rank(catalogue, found, probabilities)[0]
    assert [item.item_id for item in made.items] == expected(document, catalogue, found, probabilities[0])
    assert_scores(made, catalogue, found, probabilities[0])


def expected(document: Document, catalogue: Catalogue, found: Candidates, probabilities: Any) -> list[str]:
    """Return the list of one user, made as the documentation says."""
    size = document.list_size or 10
    places: dict[int, str] = {}
    for pin in sorted(document.pins, key=lambda pin: pin.place):
        known = [facts()[item_id] for item_id in places.values()]
        may = pin.item in shown() and may_show(document, pin.item, facts()[pin.item], NOW_MS)
        if may and pin.place <= size and not exceeds(document, [*known, facts()[pin.item]]):
            places[pin.place] = pin.item
    scores: dict[str, float] = {}
    for row, probability in zip(found.rows[0, : found.counts[0]].tolist(), probabilities, strict=False):
        item_id, factor = catalogue.item_ids[row], 1.0
        for one in (*document.boosts, *document.buries):
            factor *= one.factor if matches(one, facts()[item_id], NOW_MS) else 1.0
        scores[item_id] = float(np.float32(probability) * np.float32(factor))
    order = sorted(scores, key=lambda item_id: -scores[item_id])
    seen = {catalogue.item_ids[row] for row in found.seen[0].tolist()}
    order += [catalogue.item_ids[row] for row in catalogue.popular_rows.tolist() if catalogue.item_ids[row] not in seen]
    for place in range(1, size + 1):
        if place in places:
            continue
        known = [facts()[item_id] for item_id in places.values()]
        fitting = (i for i in order if i not in places.values() and not exceeds(document, [*known, facts()[i]]))
        if (item_id := next(fitting, None)) is not None:
            places[place] = item_id
    return [places[place] for place in sorted(places)]


def assert_scores(made: RankedList, catalogue: Catalogue, found: Candidates, probabilities: Any) -> None:
    """A listed candidate has its probability; rules change places and no score."""
    rows = found.rows[0, : found.counts[0]].tolist()
    of = {catalogue.item_ids[row]: p for row, p in zip(rows, probabilities, strict=False)}
    for item in made.items:
        if item.item_id in of:
            assert item.score == of[item.item_id]


@settings(max_examples=40)
@given(documents(), windows, seeds)
def test_chance_is_the_same_for_the_same_seed_whatever_the_rows(document: Document, events: Any, seed: int) -> None:
    """The oracle's catalogue has other rows than a worker's, and must draw the same items."""
    numbers = np.array([seed], dtype=np.uint64)
    new = FakeEncoder(16).encode([f"word{i} group{i % 3}" for i in range(len(NEW))])
    vectors = text_vectors(KNOWN) | dict(zip(NEW, new, strict=True))
    again = build_catalogue(
        artifact(), vectors | {"h0": new[0], "z9": new[1]}, 1, hidden={*HIDDEN, "h0", "z9"}, facts=facts()
    )
    ways = [ruled(one, Rules(document, "v"), NOW_MS) for one in (whole(), again)]
    explored = [
        [
            (place, item.item_id)
            for place, item in enumerate(Pipeline(artifact(), k=10).recommend(one, [events], seeds=numbers)[0].items)
            if "explore" in item.sources
        ]
        for one in ways
    ]
    assert explored[0] == explored[1]
