"""A published list with all that made it, and the same list made again.

::

    recommendations ─► the list ─► the window   (windows)
                          │    └─► the artifact (artifacts)
                          └─────► the catalogue of then (shop), its popularity (popularity)
                                       └─► models.ranking: the same pipeline makes the list again
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from models.base.device import tame_pytorch
from models.base.types import Behaviours, Float32
from models.features.columns import Row, item_row
from models.index.index import EXACT_UP_TO
from models.ranking.again import policy_of
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.catalogue.ruled import ruled
from models.ranking.explaining.tracing import Person, Trace, traced
from models.ranking.fallback import UserVectors
from models.ranking.lists import RankedList
from streams.catalogue.item_facts import facts_of
from streams.catalogue.item_vectors import item_vectors
from streams.catalogue.seen_index import SeenIndex
from streams.contract.item_records import is_shown
from streams.contract.records import Recommendation
from streams.contract.windows import WindowState
from streams.formats.decoders import open_event_decoder
from streams.recommender.list_encoding import list_seeds
from streams.recommender.list_records import (
    behaviours,
    left_out,
    revision_of,
    stored_vectors,
    weights_of_shown,
)
from streams.recommender.served import Model
from streams.settings.load import Settings
from tools.oracle.why.models import ModelFinder, OpenModel
from tools.oracle.why.person import VECTORS, FoundPerson, find_person
from tools.oracle.why.popularity import Recounted, recounted
from tools.oracle.why.published import Place, Published, find_list
from tools.oracle.why.rules import find_rules
from tools.oracle.why.shop import ItemHistory, Shop
from tools.oracle.why.topics import Topics, open_topics
from tools.oracle.why.windows import SEQUENCES, FoundWindow, find_window


@dataclass(frozen=True)
class OpenCatalogue:
    """A catalogue of then, and why items of it are not in it.

    Parameters
    ----------
    left_out : item id to the reason why the recommender has no vector of it
    """

    catalogue: Catalogue
    left_out: dict[str, str]


@dataclass(frozen=True, eq=False)
class Case:
    """A published list, opened.

    Parameters
    ----------
    trace : the list's way through the pipeline; None for a list that was made without it, and where
        the topics hold no window
    fallback : the whole catalogue in the order of a list that was made without the pipeline, and
        the list itself; None for other lists, and where its vector is gone
    popularity : recounted, with ``live_popularity`` on
    whole, catalogue : without the rules that the list obeys, and under them
    """

    settings: Settings
    history: ItemHistory
    published: Published
    window: FoundWindow
    person: FoundPerson
    opened: OpenModel
    shop: Shop
    left_out: Mapping[str, str]
    whole: Catalogue
    catalogue: Catalogue
    popularity: Recounted | None
    trace: Trace | None
    fallback: tuple[RankedList, RankedList] | None

    @property
    def record(self) -> Recommendation:
        """The list."""
        return self.published.record

    def behaviours(self) -> Behaviours:
        """Return the window's behaviours as the models take them; none without a window."""
        return Behaviours() if self.window.state is None else behaviours(self.window.state)

    def extra_seen(self) -> set[str]:
        """Return the items beyond the window that the list may not hold."""
        return _extra_seen(self.opened.model, self.catalogue, self.window.state)

    @property
    def is_index_approximate(self) -> bool:
        """Whether recommenders search this catalogue by an index that may miss items."""
        return self.catalogue.n_items > EXACT_UP_TO


class CaseFinder:
    """Opens published lists. For one event loop; it keeps what several lists share.

    Parameters
    ----------
    find_model : returns the model of an artifact's version
    """

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        history: ItemHistory,
        find_model: Callable[[str], Awaitable[OpenModel]],
    ) -> None:
        self.history = history
        self._settings = settings
        self._topics = topics
        self._find_model = find_model
        self._catalogues: dict[object, OpenCatalogue] = {}
        self._decoder = open_event_decoder(
            settings.kafka, settings.sequencer.max_future_skew_ms, settings.sequencer.types()
        )

    async def find(self, user_id: str, *, list_id: str | None = None, place: Place | None = None) -> Case:
        """Return the list that a question is about, opened.

        Raises
        ------
        InputError
            When there is no such list, or its artifact is not to be found.
        HeadraceError
            When the artifact or its text encoder cannot be used.
        """
        return await self.open(await find_list(self._topics, user_id, list_id=list_id, place=place))

    async def open(self, published: Published) -> Case:
        """Return a list, opened; raise as :meth:`find` does."""
        record, settings = published.record, self._settings
        opened = await self._find_model(record.artifact)
        window = await find_window(self._topics, published, self._decoder, settings.sequencer.bounds())
        past = () if window.state is None else (item.item_id for item in window.state.items)
        known = {*opened.model.artifact.manifest.item_ids, *past, *(item.item_id for item in record.items)}
        shop = self.history.as_of(record.produced_ts, known)
        person = await find_person(self._topics, published, opened.model.artifact)
        there = self._catalogue(opened.model, shop, record)
        catalogue, popularity = there.catalogue, None
        if settings.recommender.live_popularity == "on":
            popularity = await recounted(self._topics.whole(SEQUENCES), opened.model.artifact, catalogue, record)
            catalogue = popularity.catalogue
        whole, rules = catalogue, await find_rules(self._topics, record)
        catalogue = ruled(whole, rules, record.produced_ts)
        trace = fallback = None
        if window.state is not None and _is_fallback(record):
            stored = await self._stored(published, opened.model)
            fallback = _fallback(opened.model, catalogue, window.state, record, stored)
        elif window.state is not None:
            trace = self._traced(opened.model, catalogue, record.user_id, window.state, person.person)
        return Case(
            settings, self.history, published, window, person, opened, shop, there.left_out, whole, catalogue, popularity,
            trace, fallback,
        )  # fmt: skip

    def _catalogue(self, model: Model, shop: Shop, record: Recommendation) -> OpenCatalogue:
        """Return the catalogue of then; lists of the same catalogue share it."""
        hidden = frozenset(i for i, item in shop.items.items() if not is_shown(item, record.produced_ts))
        key = (model.artifact.version, frozenset((i, id(item)) for i, item in shop.items.items()), hidden)
        if key not in self._catalogues:
            items = list(shop.items.values())
            vectors: dict[str, Float32] = {item.item_id: np.zeros(1, dtype=np.float32) for item in items}
            without: dict[str, str] = {}
            if model.embed is not None:
                vectors, without = item_vectors(items, model.embed)
            features: dict[str, Row] | None = None
            if model.artifact.item_features.width:
                features = {item.item_id: item_row(msgspec.structs.asdict(item)) for item in items}
            facts = {item.item_id: facts_of(item) for item in items}
            made = build_catalogue(
                model.artifact, vectors, record.index_generation, features, hidden, facts, is_exact=True
            )
            self._catalogues[key] = OpenCatalogue(made, without)
        return self._catalogues[key]

    def _traced(
        self, model: Model, catalogue: Catalogue, user_id: str, state: WindowState, person: Person
    ) -> Trace | None:
        if not catalogue.n_items:
            return None
        seen = _extra_seen(model, catalogue, state)
        rules = catalogue.rules
        is_by_chance = rules is not None and bool(rules.rules.document.exploration)
        seeds = list_seeds([(user_id.encode(), state)]) if is_by_chance else None
        weights = None
        if rules is not None and rules.rules.decay != 1.0:
            weights = [weights_of_shown(state, SeenIndex(catalogue.item_ids), rules.rules)]
        n_candidates = max(self._settings.recommender.n_candidates, self._settings.recommender.list_size)
        return traced(
            model.pipeline, model.artifact, catalogue, behaviours(state), seen, n_candidates, person, seeds, weights
        )

    async def _stored(self, published: Published, model: Model) -> UserVectors | None:
        """Return the user's vectors as they were before a list; None where they are gone."""
        record, artifact = published.record, model.artifact
        if record.degraded != "stale-vector":
            return None
        async for found in self._topics.of_user(VECTORS, published.partition, record.user_id.encode()):
            if found.value is None:
                return None
            if found.timestamp <= record.produced_ts and revision_of(found.value) < record.revision:
                widths = artifact.sequence.config.dim + 1, artifact.factors.factors.shape[1]
                return stored_vectors(found.value, artifact.version, *widths)
        return None


def _extra_seen(model: Model, catalogue: Catalogue, state: WindowState | None) -> set[str]:
    """Return the items of a catalogue that no list of a window may hold, beside the window's."""
    if state is None:
        return set()
    rules = None if catalogue.rules is None else catalogue.rules.rules
    return left_out(state, SeenIndex(catalogue.item_ids), policy_of(model.artifact, catalogue), rules)


def _is_fallback(record: Recommendation) -> bool:
    """Whether a list was made without the sequence model and fusion."""
    return record.provisional or record.degraded in ("stale-vector", "mf-only")


def _fallback(
    model: Model, catalogue: Catalogue, state: WindowState, record: Recommendation, stored: UserVectors | None
) -> tuple[RankedList, RankedList] | None:
    """Return a fallback list made again: the whole catalogue in its order, and the list."""
    if record.degraded == "stale-vector" and stored is None:
        return None
    seen = _extra_seen(model, catalogue, state)
    seeds, repeats = list_seeds([(record.user_id.encode(), state)]), policy_of(model.artifact, catalogue)
    arguments = catalogue, [behaviours(state)], [seen], [stored], seeds, repeats
    made = model.fallback.lists(*arguments)[0]
    without_size = replace(catalogue, rules=None)  # the rules' list size would cut the order short
    whole = replace(model.fallback, k=max(1, catalogue.n_items)).lists(without_size, *arguments[1:])[0]
    return whole, made


@contextlib.asynccontextmanager
async def open_cases(settings: Settings, named: Path | None = None) -> AsyncIterator[CaseFinder]:
    """Give a finder of the lists of a deployment.

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    tame_pytorch()
    async with open_topics(settings.kafka) as topics:
        yield CaseFinder(settings, topics, await ItemHistory.read(settings.kafka), ModelFinder(settings, named).of)
