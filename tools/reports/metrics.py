"""The names and the meanings of models and metrics: one vocabulary for screens and reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class Metric(NamedTuple):
    """A metric's name for people, and what it is."""

    name: str
    meaning: str


#: The model that headrace serves, as an evaluation's result names it.
OURS: Final = "pipeline"
#: Metrics by their key in results, in the order of columns.
METRICS: Final = {
    "hr@10": Metric("HR@10", "share of cases whose next item is among the first ten of the list"),
    "ndcg@10": Metric("NDCG@10", "1 / log2(1 + rank) of the next item if its rank is at most 10, else 0; mean over cases"),
    "mrr@10": Metric("MRR@10", "1 / rank of the next item if its rank is at most 10, else 0; mean over cases"),
    "coverage": Metric("Coverage", "share of the catalogue that is in at least one list"),
    "novelty": Metric("Novelty", "mean of -log2 of the listed items' shares of all events, in bits: rare items count more"),
    "diversity": Metric("Diversity", "mean of 1 - cosine of the texts over the pairs of items in a list"),
    "ndcg@10_change": Metric("Change of NDCG@10", "NDCG@10 without a part minus NDCG@10 with all parts"),
}  # fmt: skip
#: Metrics that equal another one when each case has one next item, so that no table shows them.
SAME: Final = {"recall@10": "hr@10"}
#: Models by their key in results.
MODELS: Final = {
    OURS: "headrace",
    "sequence": "retrieval alone",
    "mf": "matrix factorisation alone",
    "next": "next items alone",
    "neighbours": "neighbours alone",
    "recent_popularity": "recent popularity",
    "popularity": "Popularity",
    "markov1": "Markov-1",
    "last_again": "last items again",
    "most_again": "most frequent of the user",
    "item_knn": "ItemKNN",
    "ease": "EASE",
    "ials": "iALS",
    "window_text": "windows as text",
}
#: Models that are the sources of headrace's candidates: its parts, not its rivals.
PARTS: Final = ("sequence", "mf", "next", "neighbours")


def model_name(key: str) -> str:
    """Return a model's name for people; an unknown key names itself."""
    return MODELS.get(key, key)


def metric_name(key: str) -> str:
    """Return a metric's name for people; an unknown key names itself."""
    return METRICS[key].name if key in METRICS else key


def metric_keys(given: Iterable[str]) -> list[str]:
    """Return the keys that get a column, in the order of columns; unknown ones follow as given.

    An interval (``..._ci``) stands beside its metric and has no column of its own.
    """
    kept = [key for key in dict.fromkeys(given) if not key.endswith("_ci") and key not in SAME]
    return [key for key in METRICS if key in kept] + [key for key in kept if key not in METRICS]
