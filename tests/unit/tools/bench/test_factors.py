"""``headrace bench factors`` measures all programs on a seeded log; its ratios are of pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.factors.als import AlsConfig
from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import factors
from tools.bench.factors import options_of, peer_weights, summarize_runs, taste_log
from tools.main import main

TINY = ["--users", "60", "--items", "30", "--per-user", "6", "--dim", "4", "--sweeps", "2", "--repeats", "1"]


def test_a_tiny_run_reports_every_program(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object with times, quality and what differs; one table for people."""
    assert main(["bench", "factors", *TINY, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["programs"]) == {"headrace", "implicit_cg", "implicit_exact"}
    for row in result["programs"].values():
        assert row["cpu_s_per_sweep"] > 0.0
        assert 0.05 < row["ndcg@10"] <= 1.0
    assert "classic objective" in result["difference"]
    assert main(["bench", "factors", *TINY]) == 0
    assert "implicit_exact / headrace" in capsys.readouterr().out


def test_the_log_is_seeded_and_holds_one_unseen_item_of_each_user_out() -> None:
    """No user has an item twice, and the target is not among the items to learn from."""
    one, same, other = (taste_log(n_users=40, n_items=25, per_user=5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.items, same.items)
    assert not np.array_equal(one.targets, other.targets)
    users, items = np.append(one.users, np.arange(40)), np.append(one.items, one.targets)
    assert len(np.unique(users * 25 + items)) == len(users)
    assert np.bincount(one.users, minlength=40).min() >= 2


def test_the_peer_gets_our_weights() -> None:
    """With 0.5 on all pairs an observed pair weighs 3 times an unobserved one."""
    log = taste_log(n_users=40, n_items=25, per_user=5, seed=1)
    config = AlsConfig(unobserved_weight=0.5, regularisation=0.2, frequency_exponent=0.0)
    assert peer_weights(log, config) == pytest.approx((3.0, 0.4))


def test_ratios_are_medians_of_pairs() -> None:
    """A pair was measured side by side, so that a slow minute slows both."""
    ours = [{"cpu_s_per_sweep": t, "ndcg@10": 0.1} for t in (1.0, 2.0, 10.0)]
    theirs = [{"cpu_s_per_sweep": t, "ndcg@10": 0.1} for t in (3.0, 4.0, 50.0)]
    result = summarize_runs({"headrace": ours, "implicit_cg": theirs})
    assert result["speed_vs_implicit_cg"] == 3.0
    assert result["programs"]["headrace"]["cpu_s_per_sweep"] == 2.0


def test_too_small_a_run_is_a_usage_error() -> None:
    """The message names the options."""
    with pytest.raises(InputError, match="--sweeps must be at least 1"):
        options_of(arguments(factors, *TINY, "--sweeps", "0"))
