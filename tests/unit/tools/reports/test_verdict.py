"""The verdict: better, level or worse, by the ends of the lead's interval."""

from __future__ import annotations

from typing import Any

import pytest

from tools.reports.verdict import verdict


def lead(low: float, high: float) -> dict[str, Any]:
    return {"ndcg@10_lead": (low + high) / 2, "ndcg@10_lead_ci": [low, high]}


def test_each_model_is_beaten_equalled_or_better() -> None:
    """The strongest rival comes first, and a part of our model is no rival.

    A worse result names positive differences, the smallest first.
    """
    leads = {
        "popularity": lead(0.061, 0.07),
        "item_knn": lead(-0.002, 0.004),
        "markov1": lead(0.0211, 0.0339),
        "ease": lead(-0.02, -0.0101),
        "sequence": lead(0.1, 0.2),
    }
    assert verdict({"lead": leads}) == [
        "headrace is better than Markov-1 by 0.021 to 0.034 and Popularity by 0.061 to 0.070 NDCG@10.",
        "headrace is level with ItemKNN: the difference may be chance.",
        "headrace is worse than EASE by 0.010 to 0.020 NDCG@10.",
    ]


def test_an_end_at_zero_is_level() -> None:
    assert verdict({"lead": {"ease": lead(0.0, 0.01)}}) == [
        "headrace is level with EASE: the difference may be chance."
    ]


@pytest.mark.parametrize("given", [None, {}, [], {"ease": {}}, {"ease": {"ndcg@10_lead_ci": [None, 0.1]}}, {"ease": 3}])
def test_without_leads_nothing_is_said(given: Any) -> None:
    assert verdict({"lead": given}) == verdict({}) == []
