"""A trace: each item's place in each source, and what past items did, beside the definitions."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.ranking.candidates import N_MF, N_POPULAR
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.explaining.influence import influences
from models.ranking.explaining.tracing import Trace, traced
from models.ranking.pipeline import Pipeline
from models.text.encoder import FakeEncoder
from tests.support.tiny_models import artifact, text_vectors, window

pytestmark = pytest.mark.model

N_CANDIDATES, K = 8, 5


@cache
def large_catalogue() -> Catalogue:
    """Return a catalogue with many more items than the sources bring, most of them new."""
    known = text_vectors(artifact().manifest.item_ids)
    names = [f"n{i:03}" for i in range(300)]
    new = FakeEncoder(16).encode([f"word{i} group{i % 3} colour{i % 7}" for i in range(300)])
    return build_catalogue(artifact(), known | dict(zip(names, new, strict=True)), 2)


@cache
def pipeline() -> Pipeline:
    """Return a pipeline that brings few candidates."""
    return Pipeline(artifact(), k=K, n_candidates=N_CANDIDATES)


def trace_of(*item_ids: str, extra_seen: frozenset[str] = frozenset()) -> Trace:
    """Return the trace of a window."""
    return traced(pipeline(), artifact(), large_catalogue(), window(*item_ids), extra_seen, N_CANDIDATES)


def test_a_listed_item_has_the_ranks_and_scores_of_the_list() -> None:
    """For each source that brought it, no other; its place by fusion is that in the list."""
    for trace in (trace_of("i03", "i09", "i01"), trace_of()):
        for rank, item in enumerate(trace.ranked.items, 1):
            row = large_catalogue().row_of[item.item_id]
            column = trace.column(row)
            assert column is not None
            assert trace.fused_rank(column) == rank
            brought = {one.source: one for one in trace.places(row) if one.brought}
            assert brought.keys() == item.sources.keys()
            for name, (listed_rank, score) in item.sources.items():
                assert brought[name].rank == listed_rank
                assert brought[name].score == pytest.approx(score, abs=1e-5)


def test_a_source_brings_what_reaches_the_score_that_it_needs() -> None:
    """For every item of the catalogue that the user has not had."""
    trace = trace_of("i03", "i09", "i01")
    had = {"i03", "i09", "i01"}
    limits = {"retrieval": N_CANDIDATES + 3, "content": N_CANDIDATES + 3, "mf": N_MF, "popular": N_POPULAR}
    n_missed = 0
    for item_id, row in large_catalogue().row_of.items():
        if item_id in had:
            continue
        for one in trace.places(row):
            if one.source in limits and one.score is not None:
                assert one.n_brought == limits[one.source]
                assert one.brought == (one.place is not None and one.place <= one.n_brought)
                assert one.needed is None or one.score == one.needed or one.brought == (one.score > one.needed)
                n_missed += not one.brought
            elif one.source in ("next", "neighbours"):
                assert one.brought == (one.score is not None)
    assert n_missed > 100, "the catalogue is too small to show anything"


def test_an_item_that_no_source_brings_is_no_candidate() -> None:
    trace = trace_of("i03", "i09", "i01")
    outside = [
        row for item_id, row in large_catalogue().row_of.items() if item_id not in {"i03", "i09", "i01"}
        and not any(one.brought for one in trace.places(row))
    ]  # fmt: skip
    assert outside
    assert all(trace.column(row) is None for row in outside)


def test_without_a_window_only_popularity_places_an_item() -> None:
    trace = trace_of()
    assert trace.is_cold
    row = large_catalogue().row_of[trace.ranked.items[0].item_id]
    assert [one.source for one in trace.places(row) if one.brought] == ["popular"]


def test_leaving_a_past_item_out_is_ranking_without_it() -> None:
    """The score without it is that of a list of the other behaviours, with the item still had."""
    past, trace = ("i03", "i09", "i01"), trace_of("i03", "i09", "i01")
    item = trace.ranked.items[0]
    row = large_catalogue().row_of[item.item_id]
    found = influences(pipeline(), large_catalogue(), window(*past), frozenset(), row, item.score)
    assert sorted(one.item_id for one in found) == sorted(past)
    assert [one.change for one in found] == sorted((one.change for one in found), reverse=True)
    for one in found:
        rest = [behaviour for behaviour in window(*past) if behaviour.item_id != one.item_id]
        alone = traced(pipeline(), artifact(), large_catalogue(), rest, {one.item_id}, N_CANDIDATES)
        column = alone.column(row)
        if column is None:
            assert (one.without, one.change) == (None, item.score)
        else:
            assert one.without == pytest.approx(float(alone.probabilities[column]), abs=1e-5)
            assert one.change == pytest.approx(item.score - float(alone.probabilities[column]), abs=1e-5)
    assert np.isfinite([one.change for one in found]).all()


def test_the_behaviours_of_one_item_are_left_out_together() -> None:
    trace = trace_of("i05", "i07", "i05")
    row = large_catalogue().row_of[trace.ranked.items[0].item_id]
    found = influences(
        pipeline(), large_catalogue(), window("i05", "i07", "i05"), frozenset(), row, trace.ranked.items[0].score
    )
    assert {one.item_id for one in found} == {"i05", "i07"}
    assert influences(pipeline(), large_catalogue(), [], frozenset(), row, 0.1) == []
