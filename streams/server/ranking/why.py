"""Explains the list that the server would make now: on the model's thread, piece by piece.

::

    window, rules, catalogue ──► the list and its trace ──► places, fusion ──► what past items did
                                 one job                    one job            a job for each piece

Between two jobs other questions have their turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.base.types import Behaviours
from models.features.columns import Row
from models.ranking.explaining.answer import Fallen, Needed, Pull
from models.ranking.explaining.explained import column_of, fusion_of, pulls_of, scores_of, shown_row
from models.ranking.explaining.sentences import Told, sentences
from models.ranking.explaining.steps import by_pipeline, by_record, by_rules, by_showing, by_window
from models.ranking.explaining.tracing import NOBODY, Person, Trace, traced
from models.ranking.lists import RankedItem
from models.ranking.pipeline import Pipeline
from models.rules.trace import effects
from streams.contract.windows import ListWindow, is_marked
from streams.recommender.list_records import behaviours
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Served
from streams.server.gate.problems import Problem
from streams.server.lists.shown_items import ShownItems
from streams.server.parts.why import MadeList, WhyAnswer, WhyQuestion

#: Past items whose influence one job on the model's thread measures.
PIECE: Final = 16


@dataclass(frozen=True, eq=False)
class OpenList:
    """A list that was made for a question, opened.

    Parameters
    ----------
    left_out : items beyond the window's own that the list may not hold
    trace : None where the catalogue has no item that may be shown
    items : what the answer lists
    now_ms : when it was made
    """

    served: Served
    pipeline: Pipeline
    state: ListWindow
    window: Behaviours
    left_out: set[str]
    trace: Trace | None
    now_ms: int
    items: tuple[RankedItem, ...] = ()

    @property
    def degraded(self) -> str:
        """What the list was made without."""
        return "popular" if self.trace is None else self.trace.ranked.degraded


def open_list(
    served: Served, pipeline: Pipeline, key: bytes, state: ListWindow, features: Row, now_ms: int
) -> OpenList:
    """Return the list of a user's window, opened, as ranking on demand makes it.

    Raises
    ------
    Problem
        When the model gives a number that is not finite.
    """
    window, left_out, catalogue, users = behaviours(state), served.left_out(state), served.catalogue, [(key, state)]
    opened = OpenList(served, pipeline, state, window, left_out, None, now_ms)
    if not catalogue.n_items:
        return opened
    person = Person(features) if features else NOBODY
    seeds, weights, n_candidates = served.seeds(users), served.weights(users), pipeline.n_candidates(catalogue)
    artifact = served.model.artifact
    trace = traced(pipeline, artifact, catalogue, window, left_out, n_candidates, person, seeds, weights)
    if not np.isfinite(trace.probabilities).all():
        raise Problem(503, "model", "the model makes nothing of this user's window", remedy="ask again later")
    return replace(opened, trace=trace, items=trace.ranked.items)


class WhyAnswers:
    """Answers why an item is in a list. For one event loop.

    Parameters
    ----------
    thread : runs the model
    shown : what may be shown now
    """

    def __init__(self, thread: ModelThread, shown: ShownItems) -> None:
        self._thread = thread
        self._shown = shown

    async def answer(self, opening: Callable[[], OpenList], asked: WhyQuestion) -> WhyAnswer:
        """Return why an item is in a list, or is not.

        Parameters
        ----------
        opening : makes the list, on the model's thread
        """
        opened = await self._thread.run(opening)
        hidden = self._shown.hidden(item.item_id for item in opened.items)
        items = tuple(item for item in opened.items if item.item_id not in hidden)[: asked.n]
        opened = replace(opened, items=items)
        listed = next((item for item in items if item.item_id == asked.item_id), None)
        fallen = _listed(listed) if listed is not None else self._before_ranking(opened, asked.item_id)
        if fallen is None:
            fallen = await self._thread.run(_by_ranking, opened, asked.item_id)
        answer = WhyAnswer(
            asked.user_id, asked.item_id, listed is not None, fallen.step, _made(opened),
            title=self._shown.title(asked.item_id),
        )  # fmt: skip
        if listed is not None and listed.because is not None:
            answer.because, answer.because_title = listed.because, self._shown.title(listed.because)
        if asked.reader == "user":
            answer.text = sentences(_told(answer, opened, listed), asked.language)
            return answer
        answer.detail, answer.needed = fallen.detail, fallen.needed
        if opened.trace is not None:
            await self._thread.run(_fill, answer, opened)
            answer.pulled_by = await self._pulls(opened, answer)
        return answer

    def _before_ranking(self, opened: OpenList, item_id: str) -> Fallen | None:
        """Return what keeps an item from being ranked; None where nothing does."""
        item, served, now_ms = self._shown.get(item_id), opened.served, opened.now_ms
        if item is not None:
            hidden = by_record(
                available=item.available, published_ms=item.published_ms, expires_ms=item.expires_ms, at_ms=now_ms
            )
            if hidden is not None:
                return hidden
        elif len(self._shown):
            return Fallen("removed", "items holds no record of it", [Needed("a record on items")])
        row = served.whole.row_of.get(item_id)
        if row is None or not served.whole.is_shown[row]:
            why = "the catalogue that the model ranks has not taken its record in, or no vector can be made of it"
            return Fallen("left-out", why, [Needed("a record that can be embedded, and a moment to take it in")])
        return _by_user(opened, item_id, row) or by_rules(served.whole, served.catalogue, row, now_ms)

    async def _pulls(self, opened: OpenList, answer: WhyAnswer) -> list[Pull]:
        """Return what each past item did, the greatest change first."""
        past = list(dict.fromkeys(opened.window.item_ids))
        titles = {item_id: self._shown.title(item_id) or None for item_id in past}
        found: list[Pull] = []
        for start in range(0, len(past), PIECE):
            piece = past[start : start + PIECE]
            found += await self._thread.run(_pulls_of, opened, answer, titles.get, piece)
        return sorted(found, key=lambda one: -one.change)


def _listed(item: RankedItem) -> Fallen:
    return Fallen("listed", f"brought by {', '.join(item.sources)}" if item.sources else "listed")


def _by_user(opened: OpenList, item_id: str, row: int) -> Fallen | None:
    """Return what the user did, or was shown, that keeps an item out."""
    state, trace = opened.state, opened.trace
    if trace is None or not trace.is_hidden(row):
        return None  # it may come back
    is_refused, was_had = is_marked(state.hidden, item_id), is_marked(state.seen, item_id)
    return by_window(item_id, opened.window, is_refused=is_refused, was_had=was_had) or by_showing()


def _by_ranking(opened: OpenList, item_id: str) -> Fallen:
    """Return where an item that may be shown fell out; on the model's thread."""
    if opened.trace is None:
        return Fallen("no-candidate", "no item of the catalogue may be shown", [Needed("to be shown")])
    ids = {item.item_id for item in opened.items}
    return by_pipeline(opened.trace, item_id, [item.score for item in opened.items], ids)


def _fill(answer: WhyAnswer, opened: OpenList) -> None:
    """Put the numbers of a trace into an answer; on the model's thread."""
    trace, item_id, items = opened.trace, answer.item_id, opened.items
    if trace is None:
        return
    row, column = shown_row(trace.catalogue, item_id), column_of(trace, item_id)
    if row is not None:
        answer.sources = trace.places(row)
    if answer.listed:
        answer.rank = 1 + [item.item_id for item in items].index(item_id)
        answer.score = items[answer.rank - 1].score
    elif column is not None:
        answer.rank, answer.score = trace.fused_rank(column), scores_of(trace)[item_id]
    answer.fusion = fusion_of(trace, item_id, items[-1].item_id if items else None)
    rules, known_row = trace.catalogue.rules, trace.catalogue.row_of.get(item_id)
    if rules is not None and known_row is not None:
        answer.rules = effects(rules, known_row, item_id, opened.now_ms)


def _pulls_of(opened: OpenList, answer: WhyAnswer, title: Callable[[str], str | None], past: list[str]) -> list[Pull]:
    """Return what some past items did; on the model's thread."""
    if opened.trace is None or answer.score is None:
        return []
    return pulls_of(
        opened.trace, opened.pipeline, opened.window, opened.left_out, answer.item_id, answer.score, title, past
    )


def _made(opened: OpenList) -> MadeList:
    served, state = opened.served, opened.state
    versions = served.versions
    return MadeList(
        state.revision,
        state.newest_ts,
        opened.now_ms,
        versions.artifact,
        opened.degraded,
        len(opened.items),
        served.catalogue.n_items,
        served.catalogue.generation,
        len(opened.window),
        versions.rules,
    )


def _told(answer: WhyAnswer, opened: OpenList, listed: RankedItem | None) -> Told:
    """Return what a sentence for a user of the shop is made of."""
    because = answer.because
    kinds = [one.type for one in opened.window if one.item_id == because]
    return Told(
        item=answer.title or answer.item_id,
        step=answer.step,
        sources=None if listed is None else listed.sources,
        because=None if because is None else answer.because_title or because,
        did=kinds[-1] if kinds else None,
        degraded=opened.degraded,
    )
