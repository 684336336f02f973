"""From an opened list and an item to the answer."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.ranking.explaining.answer import Fallen, Fusion, Pull, SourcePlace
from models.ranking.explaining.explained import column_of, fusion_of, pulls_of, scores_of, shown_row
from streams.contract.records import RecommendedItem
from tools.oracle.why.answer import (
    Answer,
    Known,
    ListRef,
    Past,
    Published,
    Recomputed,
    Versions,
    Window,
)
from tools.oracle.why.case import Case
from tools.oracle.why.rules import effects
from tools.oracle.why.steps import fallen

#: A recomputed score equals the published one where they differ by at most this: a matrix product
#: sums in another order for a batch of another size.
TOLERANCE: Final = 1e-5


def explain(case: Case, item_id: str) -> Answer:
    """Return why an item is in a list, or is not."""
    record = case.record
    listed = next(((rank, one) for rank, one in enumerate(record.items, 1) if one.item_id == item_id), None)
    found = Fallen("listed", _listed_detail(listed[1])) if listed else fallen(case, item_id)
    rank_and_score = _recomputed_place(case, item_id)
    return Answer(
        user_id=record.user_id,
        item_id=item_id,
        title=case.history.title(item_id),
        listed=listed is not None,
        step=found.step,
        detail=found.detail,
        of_list=_list_ref(case),
        versions=_versions(case),
        window=_window(case),
        known=_known(case),
        published=None if listed is None else _published(case, *listed),
        sources=_sources(case, item_id),
        fusion=_fusion(case, item_id),
        rules=_rules(case, item_id),
        pulled_by=_pulls(case, item_id, rank_and_score[1]),
        needed=found.needed,
        recomputed=compared(case, *rank_and_score),
        notes=_notes(case),
    )


def _listed_detail(item: RecommendedItem) -> str:
    return f"brought by {', '.join(item.sources)}" if item.sources else "listed"


def _list_ref(case: Case) -> ListRef:
    record = case.record
    return ListRef(
        list_id=record.list_id,
        partition=case.published.partition,
        offset=case.published.offset,
        revision=record.revision,
        event_id=record.event_id,
        event_offset=record.offset,
        event_ts=record.event_ts,
        produced_ts=record.produced_ts,
        degraded=record.degraded,
        provisional=record.provisional,
        n_items=len(record.items),
    )


def _versions(case: Case) -> Versions:
    artifact = case.opened.model.artifact
    return Versions(
        artifact=artifact.version,
        artifact_folder=str(case.opened.folder),
        index_generation=case.record.index_generation,
        rules=case.record.rules if isinstance(case.record.rules, str) else "",
        encoder=artifact.encoder_version if artifact.takes_text else "",
        catalogue_items=case.catalogue.n_items,
        items_replaced_since=sorted(case.shop.replaced),
    )


def _window(case: Case) -> Window:
    state = case.window.state
    if state is None:
        return Window(case.window.origin, False, None, 0, 0, [])
    rows = case.catalogue.row_of
    behaviours = [
        Past(one.item_id, case.history.title(one.item_id), one.type, one.ts, one.item_id in rows) for one in state.items
    ]
    n_seen, n_hidden = len(state.seen) // 4, len(state.hidden) // 4
    return Window(case.window.origin, case.window.is_of_then, state.revision, n_seen, n_hidden, behaviours)


def _known(case: Case) -> Known:
    person, offset = case.person, case.record.users_offset
    features = (person.user.features or {}) if person.user is not None else {}
    return Known(offset if isinstance(offset, int) else None, person.is_of_then, features, person.n_follows)


def _published(case: Case, rank: int, item: RecommendedItem) -> Published:
    sources = {name: (place.rank, place.score) for name, place in item.sources.items()}
    because = None if item.because is None else case.history.title(item.because)
    return Published(rank, item.score, sources, item.because, because)


def _sources(case: Case, item_id: str) -> list[SourcePlace]:
    row = shown_row(case.catalogue, item_id)
    return [] if case.trace is None or row is None else case.trace.places(row)


def _rules(case: Case, item_id: str) -> list[dict[str, Any]]:
    row = case.catalogue.row_of.get(item_id)
    return [] if row is None else effects(case.catalogue, row, case.record.produced_ts)


def _fusion(case: Case, item_id: str) -> Fusion | None:
    items = case.record.items
    return None if case.trace is None else fusion_of(case.trace, item_id, items[-1].item_id if items else None)


def _pulls(case: Case, item_id: str, score: float | None) -> list[Pull]:
    if case.trace is None or case.window.state is None or score is None:
        return []
    window, seen = case.behaviours(), case.extra_seen()
    return pulls_of(case.trace, case.opened.model.pipeline, window, seen, item_id, score, case.history.title)


def _recomputed_place(case: Case, item_id: str) -> tuple[int | None, float | None]:
    """Return place and score of an item in the list made again; None where it has none."""
    scores = _recomputed_scores(case)
    if item_id not in scores:
        return None, None
    ids = _recomputed_ids(case)
    column = None if case.trace is None else column_of(case.trace, item_id)
    if item_id in ids:
        return 1 + ids.index(item_id), scores[item_id]
    if column is not None and case.trace is not None:
        return case.trace.fused_rank(column), scores[item_id]
    return 1 + list(scores).index(item_id), scores[item_id]


def _recomputed_ids(case: Case) -> list[str]:
    """Return the items of the list made again, as many as the published one has at most."""
    if case.trace is not None:
        items = case.trace.ranked.items
    else:
        items = case.fallback[1].items if case.fallback is not None else ()
    return [item.item_id for item in items][: len(case.record.items)]


def _recomputed_scores(case: Case) -> dict[str, float]:
    """Return the scores that were computed again, by item: of the list and of all candidates."""
    if case.trace is not None:
        return scores_of(case.trace)
    if case.fallback is None:
        return {}
    whole, made = case.fallback
    return {item.item_id: item.score for item in (*whole.items, *made.items)}


def compared(case: Case, rank: int | None = None, score: float | None = None) -> Recomputed | None:
    """Return the list made again beside the published one; None where it cannot be made again.

    Parameters
    ----------
    rank, score : of the item in question in the list made again
    """
    if case.trace is None and case.fallback is None:
        return None
    scores, ids, listed = _recomputed_scores(case), _recomputed_ids(case), case.record.items
    published = {item.item_id: item.score for item in listed}
    differences = [abs(own - scores[item_id]) for item_id, own in published.items() if item_id in scores]
    greatest = max(differences, default=0.0)
    last = min((scores[item_id] for item_id in ids), default=0.0)
    # rounding may decide between two items with one score at the end of the list
    alone = [i for i in published if i not in ids and scores.get(i, -1.0) < last - TOLERANCE]
    last = min(published.values(), default=0.0)
    instead = [i for i in ids if i not in published and scores[i] > last + TOLERANCE]
    is_equal = greatest <= TOLERANCE and not alone and not instead and len(ids) == len(listed)
    return Recomputed(
        equal=is_equal,
        greatest_difference=greatest,
        tolerance=TOLERANCE,
        score=score,
        rank=rank,
        published_alone=alone,
        recomputed_alone=instead,
        popularity="artifact" if case.popularity is None else "recounted",
        popularity_difference=_popularity_difference(case),
        reasons=[] if is_equal else _reasons(case),
    )


def _popularity_difference(case: Case) -> float | None:
    """Return by how much the recounted popularity differs, where the list shows the one of then."""
    rows = case.catalogue.row_of
    shown = [
        abs(float(case.catalogue.recent_popularity[rows[item.item_id]]) - item.sources["popular"].score)
        for item in case.record.items
        if "popular" in item.sources and item.item_id in rows
    ]
    return float(np.max(shown)) if shown and case.trace is not None else None


def _reasons(case: Case) -> list[str]:
    """Return what may make the list made again differ from the published one."""
    return [*_gone(case), *_approximate(case)] or [
        "list_size, n_candidates or the window's settings may differ here from the recommender's"
    ]


def _gone(case: Case) -> list[str]:
    """Return what of then the topics hold no more."""
    found = []
    if not case.window.is_of_then:
        found.append("the window of then is gone: the newest one was taken instead")
    if isinstance(case.record.rules, str) and case.catalogue.rules is None:
        found.append(f"rules {case.record.rules} are gone from the topic rules: the list was made again without them")
    if not case.person.is_of_then:
        found.append("the record on users that the list names is gone: the newest one was taken, if there is one")
    if case.person.n_followed_later:
        found.append(f"of {case.person.n_followed_later} followed users only later vectors are left")
    if case.shop.replaced:
        found.append(f"{len(case.shop.replaced)} items have only later records on items than the list")
    return found


def _approximate(case: Case) -> list[str]:
    """Return what this command can only come near to."""
    found = []
    if case.popularity is not None:
        cut = f", {case.popularity.n_cut} users' windows of then are gone" if case.popularity.n_cut else ""
        found.append(
            f"live_popularity is on: popularity counts other users' windows at the moment of the list; it was counted "
            f"again from sequences ({case.popularity.n_events} events{cut})"
        )
    elif (difference := _popularity_difference(case)) is not None and difference > TOLERANCE:
        found.append(
            f"popularity differs by up to {difference:.3g}: the recommender counted live popularity, and the setting "
            "live_popularity is off here"
        )
    if case.shop.near:
        found.append(f"{len(case.shop.near)} items changed within seconds of the list")
    if case.is_index_approximate:
        found.append("recommenders search this catalogue by an index that may miss items; here it was searched exactly")
    return found


def _notes(case: Case) -> list[str]:
    """Return what a reader must know of how far the answer reaches."""
    found = []
    if case.window.state is not None and not case.window.is_of_then:
        found.append(
            f"the window of revision {case.record.revision} is gone from sequences and cannot be folded from events; "
            f"the explanation is that of the newest window, revision {case.window.state.revision}"
        )
    if case.window.state is None:
        found.append("no window of the user is left: only what the published list says can be told")
    if case.trace is None and case.fallback is None and case.window.state is not None:
        found.append(f"the list is {case.record.degraded} and cannot be made again: the vector of then is gone")
    if case.trace is not None and case.trace.is_cold:
        found.append("the models know no behaviour of the window: the list holds popular items")
    if case.record.provisional:
        found.append("the list is provisional: it was made without the model, and the full list followed it")
    return found
