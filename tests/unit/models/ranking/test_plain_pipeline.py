"""The pipeline equals a plain one, written from the definitions: one candidate at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.base.scalar_features import FEATURES
from models.base.types import Behaviour, Float32
from models.factors.matrix_factorisation import fold_in
from models.ranking.candidates import N_MF, N_POPULAR
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.pipeline import Pipeline
from models.sequence.packing import pack
from models.training.leaning import leaning_until
from tests.support import tiny_models

pytestmark = pytest.mark.model

K, N_CANDIDATES = 8, 9


def cosine(a: Float32, b: Float32) -> float:
    """Return the cosine of two vectors, 0 for a zero vector."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 1e-9 else 0.0


def ranks(scores: dict[int, float]) -> dict[int, int]:
    """Return ranks from 1 by falling score, ties by row."""
    order = sorted(scores, key=lambda row: (-scores[row], row))
    return {row: place for place, row in enumerate(order, 1)}


def best(scores: dict[int, float], n: int) -> set[int]:
    """Return the ``n`` rows with the greatest scores."""
    return {row for row, rank in ranks(scores).items() if rank <= n}


class PlainUser:
    """Everything of one user: states, candidates, features and probabilities."""

    def __init__(self, artifact: Artifact, shown: Catalogue, window: Sequence[Behaviour], extra: set[str]) -> None:
        self.artifact, self.shown = artifact, shown
        known = [b for b in window if b.item_id in shown.row_of][-artifact.sequence.config.max_length :]
        self.rows = [shown.row_of[b.item_id] for b in known]
        ids = {b.item_id for b in window} | extra
        self.seen = {shown.row_of[item_id] for item_id in ids if item_id in shown.row_of}
        packed = pack([known], shown.row_of, 1_000)
        vector = artifact.sequence.user_vectors(packed, shown.vectors[:, :-1])[0]
        self.vector = np.append(vector, np.float32(1.0))
        factors = fold_in(
            shown.factors[self.rows][None, :, :-1],
            np.ones((1, len(self.rows)), dtype=bool),
            shown.gram,
            alpha=artifact.manifest.alpha,
            regularisation=artifact.manifest.regularisation,
        )[0]
        self.factors = np.append(factors, np.float32(1.0))

    def weights(self, table: Any, weights: Any, decay: float, n: int) -> dict[int, float]:
        """Return the decayed weights of what goes with the newest ``n`` items."""
        found: dict[int, float] = {}
        for age, row in enumerate(self.rows[::-1][:n]):
            for other, weight in zip(table[row].tolist(), weights[row].tolist(), strict=True):
                if other >= 0:
                    found[other] = found.get(other, 0.0) + weight * decay**age
        return found

    def brought(self) -> dict[str, set[int]]:
        """Return what each source brings."""
        shown, all_rows = self.shown, range(len(self.shown.item_ids))
        popular = set(shown.popular_rows[:N_POPULAR].tolist())
        if not self.rows:
            return {"retrieval": set(), "mf": set(), "next": set(), "neighbours": set(), "popular": popular}
        retrieval = {row: float(shown.vectors[row] @ self.vector) for row in all_rows if not shown.is_blank[row]}
        mf = {row: float(shown.factors[row] @ self.factors) for row in all_rows if not shown.is_new[row]}
        return {
            "retrieval": best(retrieval, N_CANDIDATES + len(self.rows)),
            "mf": best(mf, N_MF),
            "next": set(self.weights(shown.next_rows, shown.next_weights, 0.5, 3)),
            "neighbours": set(self.weights(shown.neighbour_rows, shown.neighbour_weights, 0.8, 10)),
            "popular": popular,
        }

    def features(self, rows: list[int]) -> Float32:
        """Return the features of candidates, (c, len(FEATURES))."""
        shown = self.shown
        retrieval = {row: float(shown.vectors[row] @ self.vector) for row in rows}
        mf = {row: float(shown.factors[row] @ self.factors) for row in rows}
        total = float(np.logaddexp.reduce(list(retrieval.values()))) if rows else 0.0
        mean_text = shown.text_unit[self.rows].sum(axis=0)
        newest_text = shown.text_unit[self.rows[-1]] if self.rows else mean_text * 0
        last = self.weights(shown.next_rows, shown.next_weights, 0.5, 1)
        following = self.weights(shown.next_rows, shown.next_weights, 0.5, 3)
        near = self.weights(shown.neighbour_rows, shown.neighbour_weights, 0.8, 10)
        by_row = {
            row: {
                "retrieval_score": retrieval[row],
                "retrieval_share": retrieval[row] - total,
                "retrieval_rank": np.log1p(ranks(retrieval)[row]),
                "mf_logit": mf[row],
                "mf_rank": np.log1p(ranks(mf)[row]),
                "next_share": np.log(last.get(row, 0.0) + 1e-3),
                "next_score": np.log(following.get(row, 0.0) + 1e-3),
                "neighbour_score": np.log(near.get(row, 0.0) + 1e-3),
                "recent_popularity": shown.recent_popularity[row],
                "popularity": shown.popularity[row],
                "similarity": max(
                    (cosine(shown.vectors[row, :-1], shown.vectors[b, :-1]) for b in self.rows), default=0.0
                ),
                "text_similarity": cosine(shown.text_unit[row], mean_text),
                "newest_text_similarity": cosine(shown.text_unit[row], newest_text),
                "is_new": shown.is_new[row],
                "window_length": np.log1p(len(self.rows)),
            }
            for row in rows
        }
        return np.array([[by_row[row][name] for name in FEATURES] for row in rows], dtype=np.float32)

    def probabilities(self, rows: list[int], features: Float32) -> list[float]:
        """Return the probability of each candidate, from the network as it is trained."""
        fusion, shown = self.artifact.fusion, self.shown
        if not self.rows:
            return [float(shown.popular_shares[row]) for row in rows]
        with torch.inference_mode():
            items = torch.from_numpy(shown.side_of(np.array(rows)))[None]
            logits = fusion(torch.from_numpy(features)[None], torch.from_numpy(self.vector)[None], items)[0].numpy()
        until = self.artifact.manifest.leans_until
        if until is not UNSET and len(self.rows) < until:
            weight = 1 - len(self.rows) / until
            logits = (1 - weight) * logits + weight * shown.recent_popularity[rows]
        unseen = shown.is_unseen[rows]
        if unseen.any() and not unseen.all():
            share = features[:, FEATURES.index("retrieval_share")]
            logits = np.where(unseen, share + np.logaddexp.reduce(logits[~unseen]), logits)
        scale, offset = fusion.calibration.tolist()
        shares = logits - np.logaddexp.reduce(logits)
        return [1 / (1 + float(np.exp(-(scale * share + offset)))) for share in shares]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[Behaviour]], list[set[str]]]:
    """Draw a batch of windows, with known, new and unknown items, and what the users had before."""
    item = st.integers(0, 27).map(lambda row: f"i{row:02}")
    behaviour = st.tuples(item, st.sampled_from(["view", "click", "purchase"]), st.integers(0, 10**8))
    windows = draw(st.lists(st.lists(behaviour, max_size=13), min_size=1, max_size=4))
    ordered = [
        [Behaviour(name, kind, tiny_models.T0 + ms) for name, kind, ms in sorted(one, key=lambda b: b[2])]
        for one in windows
    ]
    return ordered, [draw(st.sets(item, max_size=4)) for _ in windows]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from([0.0, 2.5, 8.0]))
def test_the_pipeline_equals_a_plain_one(case: tuple[list[list[Behaviour]], list[set[str]]], until: float) -> None:
    """Candidates, sources, probabilities and the order of lists are those of the definitions."""
    windows, extra = case
    artifact, shown = leaning_until(tiny_models.artifact(), until), wide_catalogue()
    pipeline = Pipeline(artifact, k=K, n_candidates=N_CANDIDATES)
    made = pipeline.recommend(shown, windows, extra)
    for i, (window, had) in enumerate(zip(windows, extra, strict=True)):
        user = PlainUser(artifact, shown, window, had)
        brought = user.brought()
        rows = sorted(set().union(*brought.values()) - user.seen)
        features = user.features(rows)
        probability = dict(zip(rows, user.probabilities(rows, features), strict=True))
        listed = made.rows[i, : made.lengths[i]].tolist()
        n_own = min(K, len(rows))
        np.testing.assert_allclose(made.user_vectors[i], user.vector, atol=1e-5)
        np.testing.assert_allclose(made.factors[i], user.factors[:-1], atol=1e-5)
        own = [probability[row] for row in listed[:n_own]]
        np.testing.assert_allclose(made.scores[i, :n_own], own, atol=1e-5)
        # those left out are not better
        assert all(probability[row] <= min(own) + 1e-5 for row in set(rows) - set(listed[:n_own]))
        for place, row in enumerate(listed[:n_own]):
            sources = made[i].items[place].sources
            names = {
                "content" if name == "retrieval" and shown.is_new[row] else name
                for name in brought
                if row in brought[name]
            }
            assert set(sources) == (names if user.rows else {"popular"})
            by_feature = dict(zip(FEATURES, features[rows.index(row)].tolist(), strict=True))
            scores = {
                "retrieval": "retrieval_score",
                "content": "retrieval_score",
                "mf": "mf_logit",
                "next": "next_score",
            }
            scores |= {"neighbours": "neighbour_score", "popular": "recent_popularity"}
            for name, (_, score) in sources.items():
                assert score == pytest.approx(by_feature[scores[name]], abs=1e-4)


def wide_catalogue() -> Catalogue:
    """Return a catalogue with trained items, and with new ones with and without text."""
    items = tiny_models.text_vectors([f"i{row:02}" for row in range(26)])
    items["i26"] = np.zeros(16, dtype=np.float32)
    return build_catalogue(tiny_models.artifact(), items, 1)
