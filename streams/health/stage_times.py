"""How long an event spends in each stage between its write and the delivery of its list.

::

    event ─ event_read ─ window ─┬─ window_read ─ queue ─ embed ─ retrieve ─ score ─ publish ─ list
                       sequencer │ recommender

Stages follow each other without a gap, so their means add up to the mean freshness of a list. Each
worker's ``/metrics`` shows the stages of its app from its start on, as one histogram with the label
``stage``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, TypeAlias, get_args

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

SequencerStage: TypeAlias = (
    Annotated[Literal["event_read"], "from an event's write until the sequencer takes it"]
    | Annotated[Literal["window"], "from there until the broker has the user's window"]
)
RecommenderStage: TypeAlias = (
    Annotated[Literal["window_read"], "from a window's write until the recommender queues it"]
    | Annotated[Literal["queue"], "from there until the model begins the window's batch"]
    | Annotated[Literal["embed"], "the model computes the users' vectors and factors"]
    | Annotated[Literal["retrieve"], "the model finds candidates and their features"]
    | Annotated[Literal["score"], "the model ranks the candidates and gives reasons; the lists are encoded"]
    | Annotated[Literal["publish"], "from there until the broker has the lists"]
)
Stage: TypeAlias = SequencerStage | RecommenderStage


def _names(stages: object) -> tuple[Stage, ...]:
    return tuple(get_args(get_args(each)[0])[0] for each in get_args(stages))


SEQUENCER_STAGES: Final = _names(SequencerStage)
RECOMMENDER_STAGES: Final = _names(RecommenderStage)
BUCKETS_MS: Final = (
    0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 250, 300, 400, 500, 700,
    1_000, 2_000, 5_000, 10_000, 30_000, 60_000,
)  # fmt: skip


class StageTimes(Collector):
    """A histogram of each stage, in milliseconds. For one event loop.

    It takes the samples of a whole batch in one call: prometheus-client's own histogram takes one
    sample a call, which costs more than the stages of a list that it would measure.

    Parameters
    ----------
    name, meaning : of the metric
    stages : the stages of the app
    """

    def __init__(self, name: str, meaning: str, stages: Sequence[Stage]) -> None:
        self._name, self._meaning = name, meaning
        self._edges = np.array(BUCKETS_MS)
        self._counts = {stage: np.zeros(len(BUCKETS_MS) + 1, dtype=np.int64) for stage in stages}
        self._sums = dict.fromkeys(stages, 0.0)

    def add(self, stage: Stage, samples_ms: Iterable[float]) -> None:
        """Record a stage's time of each event or list.

        A negative time counts as 0: two machines' clocks differ.
        """
        samples = np.maximum(np.fromiter(samples_ms, np.float64), 0.0)
        self._counts[stage] += np.bincount(np.searchsorted(self._edges, samples), minlength=len(BUCKETS_MS) + 1)
        self._sums[stage] += float(samples.sum())

    def add_batch(self, stage: Stage, ms: float, n: int) -> None:
        """Record a time that ``n`` events or lists have spent together."""
        self._counts[stage][np.searchsorted(self._edges, ms)] += n
        self._sums[stage] += ms * n

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the histograms, as prometheus-client asks for them."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=["stage"])
        for stage, counts in self._counts.items():
            totals = np.cumsum(counts).tolist()
            edges = [*(f"{float(edge)}" for edge in BUCKETS_MS), "+Inf"]
            family.add_metric([stage], list(zip(edges, totals, strict=True)), self._sums[stage])
        yield family
