"""What a trace tells of one item: its place and score, how fusion came to it, and past items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from models.base.types import Behaviour
from models.ranking.catalogue import Catalogue
from models.ranking.explaining.answer import Fusion, Group, Pull
from models.ranking.explaining.influence import influences
from models.ranking.explaining.tracing import Trace
from models.ranking.pipeline import Pipeline


def shown_row(catalogue: Catalogue, item_id: str) -> int | None:
    """Return the row of an item that lists may show; None for any other."""
    row = catalogue.row_of.get(item_id)
    return row if row is not None and catalogue.is_shown[row] else None


def column_of(trace: Trace, item_id: str) -> int | None:
    """Return the column of an item among the candidates; None where it is none."""
    row = shown_row(trace.catalogue, item_id)
    return None if row is None else trace.column(row)


def scores_of(trace: Trace) -> dict[str, float]:
    """Return the scores by item: of all candidates, and of the list."""
    rows, ids = trace.rows.tolist(), trace.catalogue.item_ids
    scores = dict(zip((ids[row] for row in rows), trace.probabilities.tolist(), strict=True))
    return scores | {item.item_id: item.score for item in trace.ranked.items}


def fusion_of(trace: Trace, item_id: str, last_listed: str | None) -> Fusion | None:
    """Return how an item's probability comes about; None where fusion did not rank it.

    Parameters
    ----------
    last_listed : the last item of the list, to compare with; None for none
    """
    column = column_of(trace, item_id)
    if column is None or trace.is_cold:
        return None
    fused, way = trace.explainer.explain(column), trace.calibrated
    beside = None if last_listed is None or last_listed == item_id else column_of(trace, last_listed)
    of_last = {} if beside is None else trace.explainer.explain(beside).of_group
    return Fusion(
        ranked_by="retrieval" if trace.is_unseen[column] and not trace.is_unseen.all() else "network",
        logit=fused.logit,
        baseline=fused.baseline,
        groups=[Group(one.group, one.value, of_last.get(one.group), one.inputs) for one in fused.contributions],
        used_logit=float(way.logits[column]),
        log_total=way.log_total,
        slope=way.slope,
        offset=way.offset,
        probability=float(way.probabilities[column]),
        rank=trace.fused_rank(column),
        n_candidates=len(trace.rows),
    )


def pulls_of(
    trace: Trace,
    pipeline: Pipeline,
    window: Sequence[Behaviour],
    extra_seen: AbstractSet[str],
    item_id: str,
    score: float,
    title: Callable[[str], str | None],
    past: Sequence[str] | None = None,
) -> list[Pull]:
    """Return what each past item did for a candidate, the greatest change first; none for others.

    Parameters
    ----------
    pipeline, window, extra_seen : those of the trace
    score : the item's
    title : returns the title of an item; None for none
    past : the past items in question; None for all of the window
    """
    row = shown_row(trace.catalogue, item_id)
    if row is None or trace.column(row) is None:
        return []
    newest = {one.item_id: one for one in window}
    found = influences(pipeline, trace.catalogue, window, extra_seen, row, score, trace.person, past)
    made = []
    for one in found:
        last = newest[one.item_id]
        made.append(Pull(one.item_id, title(one.item_id), last.ts_ms, last.type, one.without, one.change))
    return made
