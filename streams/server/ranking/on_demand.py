"""Answers callers' questions with the recommender's pipeline, on the model's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from models.base.event_types import EventTypes
from models.base.types import Behaviours
from models.features.columns import Row
from models.ranking.asked_items import allowed_rows, heaviest_items, popular_items, similar_items
from models.ranking.catalogue.ruled import narrowed
from models.ranking.catalogue.snapshot import Catalogue
from models.ranking.lists import RankedBatch, RankedItem, RankedList
from models.ranking.pipeline import Pipeline
from models.rules.row_rules import Rules
from streams.contract.records import SourceRank
from streams.recommender.list_encoding import UserWindow
from streams.recommender.list_records import behaviours
from streams.recommender.served import Served
from streams.server.gate.problems import Problem, bad_value, not_ready
from streams.server.gate.request_traces import part_of_request
from streams.server.lists.answers import MAX_N, ListedItem, Question, UserList
from streams.server.lists.shown_items import ShownItems
from streams.server.parts.ranking import (
    Behaved,
    Features,
    ItemMap,
    RankedAnswer,
    RankQuestion,
    RulesEffect,
    ScoredItem,
    ScoredItems,
    SessionQuestion,
)
from streams.server.parts.why import WhyAnswer, WhyQuestion
from streams.server.ranking.item_map import ItemMaps
from streams.server.ranking.known_users import KnownUsers
from streams.server.ranking.served_model import ServedModel
from streams.server.ranking.why import WhyAnswers, open_list

#: Sizes of lists that pipelines are made for: an answer takes the first items of the next size.
SIZES: Final = (10, 30, 100, MAX_N)
#: Milliseconds between two behaviours without times.
STEP_MS: Final = 1_000
FoundT = TypeVar("FoundT")


class OnDemand:
    """Ranks with the model in force. For one event loop.

    Parameters
    ----------
    known : windows and features of users
    clock : seconds since 1970
    """

    def __init__(
        self,
        model: ServedModel,
        shown: ShownItems,
        types: EventTypes,
        n_candidates: int,
        known: KnownUsers,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._shown = shown
        self._types = types
        self._n_candidates = n_candidates
        self._known = known
        self._clock = clock
        self._pipelines: dict[int, Pipeline] = {}
        self._pipelines_of = ""
        self._maps = ItemMaps(model.thread, shown, known)

    async def session(self, asked: SessionQuestion) -> RankedAnswer:
        """Return a list for a visitor."""
        served, window = self._served(), self._window(asked.events)
        pipeline = self._pipeline(served, asked.n)

        def job() -> RankedList:
            catalogue = self._narrowed(served.catalogue, category=asked.category, exclude=asked.exclude)
            return ranked(pipeline, catalogue, window, asked.features)

        found = await self._rank(job)
        return self._answer(served, found, asked.n, explain=asked.explain)

    async def user(self, key: bytes, asked: Question, n: int) -> UserList | None:
        """Return a list of a user's newest window, as the recommender would make it now.

        None for a user without a window. Followed users take no part in it.
        """
        window, begun_ns = self._known.window(key), time.time_ns()
        if window is None:
            return None
        served, features = self._served(), self._known.features(key)
        pipeline = self._pipeline(served, n)

        def job() -> RankedList:
            catalogue = self._narrowed(served.catalogue, category=asked.category, exclude=sorted(asked.exclude))
            return _of_user(served, pipeline, catalogue, (key, window), features)

        made = self._answer(served, await self._rank(job), n, explain=asked.explain)
        self._note(key, "list on demand", begun_ns, window.revision)
        produced_ms = int(1000 * self._clock())
        return UserList(
            asked.user_id, "", window.revision, window.newest_ts, produced_ms, made.artifact, made.degraded, made.items,
            rules=made.rules, on_demand=True,
        )  # fmt: skip

    async def why(self, key: bytes, asked: WhyQuestion) -> WhyAnswer:
        """Return why an item is in the list that :meth:`user` would make, or is not."""
        served, window, begun_ns = self._served(), self._known.window(key), time.time_ns()
        if window is None:
            raise Problem(
                404, "no-window", f"the server has no window of user {asked.user_id!r}", field="user_id",
                remedy="send an event of the user",
            )  # fmt: skip
        if asked.item_id not in self._shown and asked.item_id not in served.whole.row_of:
            raise _no_item(asked.item_id)
        pipeline, features = self._pipeline(served, asked.n), self._known.features(key)
        now_ms = int(1000 * self._clock())
        opening = partial(open_list, served, pipeline, key, window, features, now_ms)
        with part_of_request("rank"):
            answer = await WhyAnswers(self._model.thread, self._shown).answer(opening, asked)
        self._note(key, "why", begun_ns, window.revision)
        return answer

    async def under_rules(self, key: bytes, rules: Rules | None) -> RulesEffect | None:
        """Return a user's list under the rules in force, and as it would be under others.

        Both are made now, of the same window and as long as the recommender makes them.
        """
        window = self._known.window(key)
        if window is None:
            return None
        served, features, now_ms = self._served(), self._known.features(key), int(1000 * self._clock())

        def job() -> tuple[Served, list[RankedList]]:
            other = served.under(rules, now_ms)
            lists = [
                _of_user(one, one.model.pipeline, one.catalogue, (key, window), features) for one in (served, other)
            ]
            return other, lists

        other, (now, then) = await self._model.thread.run(job)
        gone = self._shown.hidden_under((item.item_id for item in then.items), rules)
        return RulesEffect(
            self._answer(served, now, len(now.items), explain=False),
            self._answer(other, then, len(then.items), explain=False, hidden=gone),
        )

    async def rank(self, asked: RankQuestion) -> RankedAnswer:
        """Return the caller's candidates in the model's order."""
        served, window = self._served(), self._window(asked.events)
        wanted = list(dict.fromkeys(asked.candidates))
        pipeline = self._pipeline(served, len(wanted))

        def job() -> RankedList:
            catalogue = self._narrowed(served.catalogue, only=wanted)
            return ranked(pipeline, catalogue, window, asked.features)

        answer = self._answer(served, await self._rank(job), len(wanted), explain=asked.explain)
        listed = {item.item_id for item in answer.items}
        answer.left_out = [item_id for item_id in wanted if item_id not in listed]
        return answer

    async def similar(self, item_id: str, n: int, category: str | None) -> ScoredItems:
        """Return the items nearest to an item."""
        served = self._served()

        def job() -> list[tuple[str, float]] | None:
            return similar_items(self._narrowed(served.catalogue, category=category), item_id, n)

        found = await self._rank(job)
        if found is None:
            raise _no_item(item_id)
        return self._scored(served, found)

    async def item_map(self, key: bytes | None) -> ItemMap:
        """Return the catalogue on two axes, with a user's vector and window on it."""
        return await self._maps.with_user(self._served(), key)

    async def places(self, item_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return where items lie on the map; unknown ones are left out."""
        return await self._maps.places(self._served(), item_ids)

    async def popular(self, n: int, category: str | None, since_ms: int | None = None) -> ScoredItems:
        """Return the most popular items."""
        served = self._served()
        weights = None if since_ms is None else self._weights_since(since_ms)

        def job() -> list[tuple[str, float]]:
            catalogue = self._narrowed(served.catalogue, category=category)
            return popular_items(catalogue, n) if weights is None else heaviest_items(catalogue, weights(), n)

        return self._scored(served, await self._rank(job))

    def _weights_since(self, since_ms: int) -> Callable[[], dict[str, float]]:
        """Return what counts each item's events since a time, on the model's thread."""
        counted = self._model.popularity
        if counted is None:
            raise not_ready("the model")
        if since_ms < counted.counts_from_ms:
            begun = datetime.fromtimestamp(counted.counts_from_ms / 1000, UTC).isoformat(timespec="seconds")
            raise bad_value(
                "since", f"before {begun}, when the training of the model ended",
                "ask for a later time, or without since for what is popular by training and events together",
            )  # fmt: skip
        return counted.since(since_ms)

    async def _rank(self, job: Callable[[], FoundT]) -> FoundT:
        """Return what a job finds on the model's thread; a traced request has it as a part."""
        with part_of_request("rank"):
            return await self._model.thread.run(job)

    def _note(self, key: bytes, what: str, begun_ns: int, revision: int) -> None:
        """Note an answer that comes of a user's window, where that is traced."""
        if self._known.traces is not None:
            self._known.traces.answered(key, what, begun_ns, revision)

    def _served(self) -> Served:
        served = self._model.current()
        if served is None:
            raise not_ready("the model")
        return served

    def _pipeline(self, served: Served, n: int) -> Pipeline:
        """Return a pipeline that makes lists of at least ``n`` items."""
        artifact = served.model.artifact
        if self._pipelines_of != artifact.version:
            self._pipelines, self._pipelines_of = {}, artifact.version
        size = next(size for size in SIZES if size >= n)
        if size not in self._pipelines:
            self._pipelines[size] = Pipeline(artifact, k=size, n_candidates=self._n_candidates)
        return self._pipelines[size]

    def _window(self, events: Sequence[Behaved]) -> Behaviours:
        """Return the behaviours of a body as the model takes them, oldest first."""
        names, known = self._types.window_types.names, []
        ts_ms = int(1000 * self._clock()) - STEP_MS * len(events)
        for place, event in enumerate(events):
            kind = event.type or self._types.default_name
            if kind not in names:
                limit = f"must be one of {', '.join(names)}"
                raise bad_value("type", f"event {place}: {kind!r}, {limit}", "use a type of the setting event_types")
            ts_ms = ts_ms + STEP_MS if event.ts is None else event.ts
            known.append((event.item_id, kind, ts_ms))
        known.sort(key=lambda one: one[2])
        return Behaviours.of_rows(known) if known else Behaviours()

    def _narrowed(
        self,
        catalogue: Catalogue,
        *,
        category: str | None = None,
        exclude: Sequence[str] = (),
        only: Sequence[str] | None = None,
    ) -> Catalogue:
        if category is None and not exclude and only is None:
            return catalogue
        now_ms = int(1000 * self._clock())
        return narrowed(catalogue, allowed_rows(catalogue, now_ms, category=category, exclude=exclude, only=only))

    def _answer(
        self, served: Served, found: RankedList, n: int, *, explain: bool, hidden: AbstractSet[str] | None = None
    ) -> RankedAnswer:
        if hidden is None:
            hidden = self._shown.hidden(item.item_id for item in found.items)
        items = [self._item(item, explain=explain) for item in found.items if item.item_id not in hidden]
        versions = served.versions
        return RankedAnswer(versions.artifact, found.degraded, items[:n], versions.rules)

    def _item(self, item: RankedItem, *, explain: bool) -> ListedItem:
        sources = {name: SourceRank(*place) for name, place in item.sources.items()} if explain else None
        return ListedItem(item.item_id, item.score, self._shown.title(item.item_id), item.because, sources)

    def _scored(self, served: Served, found: Sequence[tuple[str, float]]) -> ScoredItems:
        hidden, title = self._shown.hidden(item_id for item_id, _ in found), self._shown.title
        items = [ScoredItem(item_id, score, title(item_id)) for item_id, score in found if item_id not in hidden]
        return ScoredItems(served.versions.artifact, items)


def _no_item(item_id: str) -> Problem:
    return Problem(
        404, "no-item", f"nothing is known of item {item_id!r}", field="item_id", remedy="PUT the item first"
    )


def ranked(pipeline: Pipeline, catalogue: Catalogue, window: Behaviours, features: Features | None) -> RankedList:
    """Return the list of one window.

    Raises
    ------
    Problem
        When the model gives a number that is not finite.
    """
    return _finite(pipeline.recommend(catalogue, [window], [set()], None if features is None else [features]))


def _of_user(served: Served, pipeline: Pipeline, catalogue: Catalogue, user: UserWindow, features: Row) -> RankedList:
    """Return the list of a user's window as the recommender makes it, without followed users."""
    lists = pipeline.recommend(
        catalogue,
        [behaviours(user[1])],
        [served.left_out(user[1])],
        [features] if features else None,
        seeds=served.seeds([user]),
        repeats=served.repeats,
        weights=served.weights([user]),
    )
    return _finite(lists)


def _finite(lists: RankedBatch) -> RankedList:
    if not lists.is_finite().all():
        raise Problem(503, "model", "the model makes nothing of this", remedy="ask with fewer events, or again later")
    return lists[0]
