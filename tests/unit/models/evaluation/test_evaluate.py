"""Evaluation on logs with known answers: what is learnt, how ranks count, the report."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from models.artifact.artifact import Artifact
from models.base.event_types import event_types
from models.base.scalar_features import FEATURES
from models.base.types import Behaviour, Float32
from models.evaluation.ablation import FEATURES_OF
from models.evaluation.baselines import BASELINES
from models.evaluation.evaluate import DEFAULT_BASELINES, SOURCES, Inputs, evaluate
from models.evaluation.splits import Cases, leave_one_out, time_split
from models.interactions import Interactions
from models.ranking.catalogue import Catalogue
from models.rules.repeats import ALL_REPEATS, NO_REPEATS
from models.text.encoder import FakeEncoder
from models.training.train import TrainingData
from tests.support.tiny_models import SOURCE, featured_artifact, featured_data, train_tiny

pytestmark = pytest.mark.model

N_ITEMS = 12
CHEAP = ("popularity", "markov1")


def cycle_log(n_users: int = 30, length: int = 9, step: int = 1) -> Interactions:
    """Return a log in which item i is always followed by item i + step."""
    rows = [
        (f"u{user}", f"i{(user + step * place) % N_ITEMS}", "view", 1_000_000 * place + user)
        for place in range(length)
        for user in range(n_users)
    ]
    return Interactions.from_rows(rows)


def item_vectors() -> dict[str, Float32]:
    """Return fake text embeddings."""
    ids = [f"i{i}" for i in range(N_ITEMS)]
    return dict(zip(ids, FakeEncoder(16).encode(ids), strict=True))


@cache
def cycle_artifact() -> Artifact:
    """Return an artifact of the cycle log."""
    return train_tiny(data=TrainingData(cycle_log(), item_vectors(), SOURCE))


def inputs(**changes: Any) -> Inputs:
    """Return the inputs, with cheap baselines unless given others."""
    return replace(Inputs(cycle_artifact(), item_vectors(), baselines=CHEAP), **changes)


@cache
def cycle_report() -> dict[str, Any]:
    """Return the report of the cycle log, every baseline, each user's last event."""
    return evaluate(inputs(baselines=DEFAULT_BASELINES), leave_one_out(cycle_log()), seed=1)


def equal_scores(catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]) -> Float32:
    """Return the same score for every item."""
    return np.zeros((len(windows), len(catalogue.item_ids)), dtype=np.float32)


def popular_ranks(cases: Cases) -> list[int]:
    """Return each target's rank by learnt counts, independently of the code under test."""
    counts = np.bincount(cases.log.items[cases.learnt], minlength=len(cases.log.item_ids))
    ranks = []
    for position in cases.positions:
        had = set(cases.log.items[:position][cases.log.users[:position] == cases.log.users[position]].tolist())
        target = int(cases.log.items[position])
        ranks.append(sum(counts[i] >= counts[target] for i in range(len(counts)) if i not in had))
    return ranks


def test_what_follows_in_a_cycle_is_certain() -> None:
    """First-order chains are always right; popularity is not."""
    models = cycle_report()["models"]
    assert set(models) == {"pipeline", *SOURCES, *DEFAULT_BASELINES}
    for name in ("markov1", "next"):
        assert (models[name]["hr@10"], models[name]["ndcg@10"], models[name]["mrr@10"]) == (1.0, 1.0, 1.0)
    assert models["popularity"]["ndcg@10"] < 1.0
    assert models["pipeline"]["ndcg@10"] > models["popularity"]["ndcg@10"]
    # four items are left to each user
    assert all(model["hr@10"] == 1.0 for model in models.values())
    assert all(model["recall@10"] == model["hr@10"] for model in models.values())


def test_popularity_by_hand() -> None:
    """Popularity counts learnt events without seen items; ties come before the target."""
    cases = leave_one_out(cycle_log())
    found = cycle_report()["models"]["popularity"]
    ranks = np.array(popular_ranks(cases))
    assert len(set(ranks.tolist())) > 1
    assert found["ndcg@10"] == pytest.approx(float((1 / np.log2(1 + ranks)).mean()))
    assert found["mrr@10"] == pytest.approx(float((1 / ranks).mean()))


def test_item_neighbours_by_hand() -> None:
    """Scores are sums of cosines over the user's items."""
    cases = leave_one_out(cycle_log())
    log = cases.log
    had = np.zeros((30, N_ITEMS))
    had[log.users[cases.learnt], log.items[cases.learnt]] = 1
    norms = np.linalg.norm(had, axis=0)
    cosines = had.T @ had / np.outer(norms, norms)
    np.fill_diagonal(cosines, 0)
    ranks = []
    for position in cases.positions:
        user, target = log.users[position], log.items[position]
        scores = np.where(had[user] > 0, -np.inf, had[user] @ cosines).round(5)
        ranks.append(int((scores >= scores[target]).sum()))
    assert cycle_report()["models"]["item_knn"]["mrr@10"] == pytest.approx(
        float(np.mean(1 / np.array(ranks))), abs=1e-6
    )


def test_equal_scores_rank_the_target_last() -> None:
    """With the mask four items are left per user; without it all twelve rank."""
    cases = leave_one_out(cycle_log())
    masked, plain = (
        evaluate(
            inputs(others={"equal": equal_scores}, repeats=NO_REPEATS if mask else ALL_REPEATS, baselines=()),
            cases,
            seed=1,
        )["models"]["equal"]
        for mask in (True, False)
    )
    assert masked["mrr@10"] == 0.25
    assert masked["ndcg@10"] == pytest.approx(1 / math.log2(5))
    assert plain["hr@10"] == 0.0


def test_seen_items_appear_only_without_the_mask() -> None:
    """On repeats every model misses with the mask; without it the chain is right."""
    rows = [(f"u{user}", f"i{place % 2}", "view", 1_000_000 * place + user) for place in range(8) for user in range(9)]
    cases = leave_one_out(Interactions.from_rows(rows))
    assert cases.n_repeats == len(cases) == 9
    vectors = {name: item_vectors()[name] for name in ("i0", "i1")}
    masked, plain = (
        evaluate(inputs(vectors=vectors, repeats=NO_REPEATS if mask else ALL_REPEATS), cases, seed=1)["models"]
        for mask in (True, False)
    )
    assert all(model["hr@10"] == 0.0 for model in masked.values())
    assert plain["markov1"]["mrr@10"] == plain["next"]["mrr@10"] == 1.0
    assert all(model["hr@10"] == 1.0 for model in plain.values())


def test_what_was_had_is_in_no_models_list() -> None:
    """Lists of a small catalogue hold only unseen items, four per user."""
    log = Interactions.from_rows(
        [(f"u{user}", f"i{place}", "view", 1_000_000 * place + user) for place in range(9) for user in range(9)]
    )
    found = evaluate(inputs(), leave_one_out(log), seed=1)["models"]
    for name, model in found.items():
        assert model["coverage"] == pytest.approx(4 / 12), name


def test_an_unknown_baseline_is_refused() -> None:
    """The error names the baseline and those that exist."""
    with pytest.raises(ValueError, match="'magic'.*markov1"):
        evaluate(inputs(baselines=("popularity", "magic")), leave_one_out(cycle_log()), seed=1)


def test_every_baseline_that_exists_can_be_asked_for() -> None:
    """A baseline with a source's name counts each case once too."""
    found = evaluate(inputs(baselines=tuple(BASELINES)), leave_one_out(cycle_log()), seed=1)["models"]
    assert set(BASELINES) <= set(found)


def test_nothing_to_evaluate_is_an_error() -> None:
    """Users with one event each give no question."""
    log = Interactions.from_rows([(f"u{i}", "i1", "view", i) for i in range(5)])
    for cases in (leave_one_out(log), time_split(log, 0.5)):
        with pytest.raises(ValueError, match="nothing to evaluate"):
            evaluate(inputs(), cases, seed=1)


def changing_log() -> Interactions:
    """Return a log whose step is one in the first half and five in the second."""
    rows = []
    for user in range(24):
        item = user
        for place in range(16):
            rows.append((f"u{user}", f"i{item % N_ITEMS}", "view", 1_000_000 * place + user))
            item += 1 if place < 7 else 5
    return Interactions.from_rows(rows)


def test_prequential_baselines_learn_what_was_asked() -> None:
    """The rule changes at the first question: only a baseline that learns is soon right."""
    log = changing_log()
    stuck = evaluate(inputs(repeats=ALL_REPEATS), time_split(log, 0.45), seed=1)
    learning = evaluate(inputs(repeats=ALL_REPEATS), time_split(log, 0.45, prequential=True), seed=1)
    assert stuck["models"]["markov1"]["mrr@10"] < 0.3
    assert learning["models"]["markov1"]["mrr@10"] > stuck["models"]["markov1"]["mrr@10"] + 0.2
    for name in ("pipeline", *SOURCES):  # the artifact learns nothing in either
        assert learning["models"][name]["mrr@10"] == pytest.approx(stuck["models"][name]["mrr@10"], abs=0.1), name
    assert "curves" not in stuck


def test_prequential_learns_nothing_before_it_was_asked() -> None:
    """Each target is an item without events: popularity that looked ahead would find it."""
    rows = [
        (f"u{user}", f"i{(user + place) % 4}", "view", 1_000 * (place * 20 + user))
        for place in range(3)
        for user in range(20)
    ]
    rows += [(f"u{user}", f"n{user:02}", "view", 1_000 * (60 + user)) for user in range(20)]
    log = Interactions.from_rows(rows)
    cases = time_split(log, 0.75, prequential=True)
    assert len(cases) == 20
    found = evaluate(inputs(vectors={}), cases, seed=1)["models"]
    # one old item is unseen; n-items without events tie with the target; asked ones are above
    assert found["popularity"]["hr@10"] == 0.0


def test_curves_are_moving_averages_of_recall() -> None:
    """Each model has a curve; over a window of all questions it is the mean."""
    cases = time_split(changing_log(), 0.45, prequential=True)
    found = evaluate(inputs(), cases, seed=1)
    assert set(found["curves"]) == set(found["models"])
    for name, curve in found["curves"].items():
        assert curve[-1] == [float(len(cases)), pytest.approx(found["models"][name]["recall@10"])]


def test_intervals_contain_the_mean_and_reports_are_plain() -> None:
    """Every model has intervals of hits and NDCG; the report is plain JSON."""
    report = cycle_report()
    for model in report["models"].values():
        for name in ("hr@10", "ndcg@10"):
            low, high = model[f"{name}_ci"]
            assert low - 1e-9 <= model[name] <= high + 1e-9
    low, high = report["models"]["popularity"]["ndcg@10_ci"]
    assert low < high
    assert json.loads(json.dumps(report)) == report


def test_evaluation_is_deterministic_by_seed() -> None:
    """The seed fixes the report; another seed changes only the intervals."""
    cases = leave_one_out(cycle_log())
    one, same, other = (evaluate(inputs(), cases, seed=seed) for seed in (1, 1, 2))
    assert one == same
    name = "popularity"
    assert one["models"][name]["ndcg@10"] == other["models"][name]["ndcg@10"]
    assert one["models"][name]["ndcg@10_ci"] != other["models"][name]["ndcg@10_ci"]


def test_a_log_of_one_user() -> None:
    """The interval of one case is its value."""
    log = Interactions.from_rows([("only", f"i{i}", "view", 1_000 * i) for i in range(5)])
    found = evaluate(inputs(), leave_one_out(log), seed=1)
    for model in found["models"].values():
        assert model["ndcg@10_ci"] == [model["ndcg@10"]] * 2
    assert set(found["ablation"]["nothing"]) >= {"hr@10", "ndcg@10"}


@pytest.mark.parametrize("mask_seen", [True, False])
def test_a_catalogue_of_one_item(mask_seen: bool) -> None:
    """With the mask the only item is never listed; without it it is first."""
    log = Interactions.from_rows([(f"u{i % 4}", "i1", "view", 1_000 * i) for i in range(20)])
    vectors = {"i1": item_vectors()["i1"]}
    found = evaluate(
        inputs(vectors=vectors, repeats=NO_REPEATS if mask_seen else ALL_REPEATS), leave_one_out(log), seed=1
    )
    for name, model in found["models"].items():
        assert model["mrr@10"] == (0.0 if mask_seen else 1.0), name
    if not mask_seen:  # else there is no candidate to judge
        assert found["sigmoid"]["n"] == 4


def test_items_without_a_vector_are_in_the_catalogue() -> None:
    """A log may have items that the catalogue lacks, and the reverse."""
    vectors = {"i0": item_vectors()["i0"], "extra": np.ones(16, dtype=np.float32)}
    found = evaluate(inputs(vectors=vectors, others={"equal": equal_scores}), leave_one_out(cycle_log()), seed=1)
    # thirteen items, eight of them had
    assert found["models"]["equal"]["mrr@10"] == pytest.approx(0.2)
    assert found["models"]["markov1"]["mrr@10"] == 1.0


def test_cold_cases_have_rows_of_their_own() -> None:
    """New users have rows by their number of events; empty groups have none."""
    assert cycle_report()["cold"] == []
    log = cycle_log()
    rows = [
        (log.user_ids[log.users[i]], log.item_ids[log.items[i]], "view", int(log.ts_ms[i])) for i in range(len(log))
    ]
    late = [("new", f"i{i}", "view", 20_000_000 + i) for i in range(3)]
    found = evaluate(inputs(), time_split(Interactions.from_rows(rows + late), 0.98), seed=1)["cold"]
    n = {(row["cases"], row["model"]): row["n"] for row in found}
    assert n["new users", "pipeline"] == 2
    assert n["new users, 1 event", "markov1"] == 1
    assert n["new users, 2 to 5 events", "next"] == 1
    assert not any(what == "new items" for what, _ in n)


def test_every_feature_and_source_is_ablated_and_nothing_is_the_pipeline() -> None:
    """The ablation covers all cases here, and "nothing" equals the pipeline."""
    report = cycle_report()
    rows = report["ablation"]
    expected = {f"feature {name}" for name in FEATURES} | {f"source {name}" for name in FEATURES_OF}
    assert set(rows) == {"nothing", "user vector and features", "item vector and features"} | expected
    for name in ("hr@10", "ndcg@10", "mrr@10"):
        assert rows["nothing"][name] == pytest.approx(report["models"]["pipeline"][name])
    assert rows["nothing"]["ndcg@10_change_ci"] == [0.0, 0.0]


def test_probabilities_are_judged_over_all_candidates() -> None:
    """Each user has four unseen candidates, one of them next."""
    found = cycle_report()["sigmoid"]
    assert found["n"] == 30 * 4
    assert found["positive_share"] == 0.25
    assert found["threshold"] == cycle_artifact().manifest.metrics["threshold"]
    assert sum(count for _, _, count in found["reliability"]) == 120


def test_features_reach_the_evaluation() -> None:
    """Features of users and items change the probabilities."""
    data = featured_data()
    cases = leave_one_out(data.log)
    plain = Inputs(featured_artifact(), data.vectors, baselines=())
    losses = [
        evaluate(one, cases, seed=1)["sigmoid"]["log_loss"]
        for one in (
            plain,
            replace(plain, item_features=data.item_features),
            replace(plain, user_features=data.user_features),
        )
    ]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("in_window", [True, False])
@pytest.mark.parametrize("mask_seen", [True, False])
def test_a_hidden_item_is_in_no_list(mask_seen: bool, in_window: bool) -> None:
    """Seen items may be listed on demand; those that a user hid may not, by any model."""
    types = event_types({"view": {}, "dislike": {"hides": True, "window": in_window}})
    log = cycle_log()
    rows = [
        (log.user_ids[user], log.item_ids[item], "view", ts_ms, None)
        for user, item, ts_ms in zip(log.users.tolist(), log.items.tolist(), log.ts_ms.tolist(), strict=True)
    ]
    hiding = [(user_id, "i3", "dislike", 500_000, None) for user_id in log.user_ids]
    cases = leave_one_out(Interactions.from_events([*rows, *hiding], types))
    is_hidden = [cases.log.item_ids[item] == "i3" for item in cases.log.items[cases.positions]]
    assert any(is_hidden)
    asked = inputs(others={"equal": equal_scores}, repeats=NO_REPEATS if mask_seen else ALL_REPEATS, baselines=())
    found = evaluate(asked, cases, seed=1)
    n_found = len(is_hidden) - sum(is_hidden)
    assert found["models"]["equal"]["hr@10"] <= n_found / len(is_hidden)
    assert all("i3" not in example["list"] for example in found["examples"])
    assert all(model["hr@10"] <= n_found / len(is_hidden) for model in found["models"].values())


def test_an_item_hidden_at_the_very_time_of_its_question_may_be_found() -> None:
    """Equal times do not say which came first, and an evaluation must not give the answer away."""
    types = event_types({"view": {}, "dislike": {"hides": True}})
    rows = [("u", "a", "view", 5, None), ("u", "b", "dislike", 5, None), ("u", "b", "view", 5, None)]
    log = Interactions.from_events(rows, types)
    last = len(log) - 1
    assert log.item_ids[log.items[last]] == "b"
    assert (log.hidden_at(last), log.hidden_at(0)) == (set(), {"b"})
