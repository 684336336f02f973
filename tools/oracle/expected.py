"""Works out what the topics must hold: every window and every list of some events, without Kafka.

The windows come from the pure functions that the sequencer runs, and the lists from the
recommender's pipeline. The oracle has nothing that can go wrong between them: no batches,
partitions, restarts or repeats. So ``tools.oracle.compare`` can compare what a deployment holds
after a disturbance with what it must hold, windows byte by byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch

from models.artifact.artifact import Artifact, ArtifactError, load_artifact
from models.base.event_types import DEFAULT_TYPES, EventTypes
from models.base.types import Behaviours
from models.features.columns import Row, item_row
from models.ranking.again import policy_of
from models.ranking.catalogue.ruled import ruled
from models.ranking.lists import RankedBatch
from models.ranking.pipeline import Catalogue, Pipeline, build_catalogue
from models.rules.row_rules import Rules
from models.text.clean import item_text, own_title
from streams.catalogue.item_facts import facts_of
from streams.catalogue.seen_index import SeenIndex
from streams.contract.item_records import is_shown
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.marks import NO_MARKS, Marks, new_life
from streams.contract.records import Event, EventDecoder, Item, Recommendation, encode
from streams.contract.windows import BaseWindow, WindowState, decode_window
from streams.errors import InputError, RecordError
from streams.health.counters import Counts
from streams.kafka.publisher import KeyHomes
from streams.recommender.list_encoding import Versions, list_seeds, recommendations, user_vectors
from streams.recommender.list_records import behaviours, left_out, weights_of_shown
from streams.recommender.model.artifact_encoder import ArtifactEncoder, usable_device
from streams.recommender.users.model_inputs import model_inputs
from streams.recommender.users.records import UserFacts
from streams.sequencer.absorb_batch import Home, check_home, is_forgotten_reject
from streams.sequencer.window import absorb
from streams.settings.load import RecommenderSettings, Settings
from streams.settings.record_limits import WindowBounds
from tools.oracle.users import NOBODY, KnownUsers

#: So many events are collected before they are absorbed, so that the events of a user are absorbed
#: together.
EVENTS_PER_FOLD: Final = 200_000
#: How many windows the model gets at once.
WINDOWS_PER_CHUNK: Final = 256


@dataclass(frozen=True)
class Truth:
    """What a sequence of events must lead to.

    Parameters
    ----------
    windows : user key to the encoded window, equal to the record on ``sequences`` in every byte
    counts : partition to the outcomes of its events, each read once
    rejected : partition and offset of each event that goes to ``events.rejected``
    maybe_rejected : those that go there if they are read before their user is forgotten
    """

    windows: dict[bytes, bytes] = field(default_factory=dict)
    counts: dict[int, Counts] = field(default_factory=dict)
    rejected: set[tuple[int, int]] = field(default_factory=set)
    maybe_rejected: set[tuple[int, int]] = field(default_factory=set)


class WindowOracle:
    """Works out the windows: :meth:`add` each record of ``events`` once, then take :meth:`truth`.

    The oracle takes the timestamp of a record as the time of day, so that the answer depends on the
    records alone. The sequencer takes its own clock, which is later. So only an event whose time is
    ahead of its record's timestamp by more than the skew can have another outcome there. The oracle
    does not apply the ceiling for rejects. It keeps states decoded, and encodes the last ones.

    Parameters
    ----------
    max_future_skew_ms : how far an event's time may be ahead of its record's timestamp
    home : gives the partition of a key; None accepts every partition
    decoder : reads the records; None reads those that headrace writes
    marks : users who were forgotten; events of their former lives leave nothing
    on_window : gets a user's key and each window on the way, in turn; None for the last ones alone
    """

    def __init__(
        self,
        bounds: WindowBounds,
        *,
        max_future_skew_ms: int,
        home: Home | None = None,
        decoder: EventDecoder | None = None,
        marks: Marks = NO_MARKS,
        on_window: Callable[[bytes, WindowState], None] | None = None,
    ) -> None:
        self._bounds = bounds
        self._on_window = on_window
        self._marks = marks
        self._home = home
        self._decoder = decoder or EventDecoder(max_future_skew_ms, bounds.types)
        self._truth = Truth()
        self._offsets: dict[int, int] = {}
        self._states: dict[int, dict[bytes, WindowState]] = {}
        self._waiting: dict[tuple[int, bytes], list[tuple[Event, int]]] = {}
        self._n_waiting = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        n_partitions: int | None = None,
        decoder: EventDecoder | None = None,
        marks: Marks = NO_MARKS,
        on_window: Callable[[bytes, WindowState], None] | None = None,
    ) -> WindowOracle:
        """Return a deployment's oracle, which rejects events on another partition than the user's.

        Parameters
        ----------
        n_partitions : partition count of ``events``; None takes the setting
        decoder, marks, on_window : as for the class
        """
        home = KeyHomes(n_partitions or settings.kafka.partitions, settings.kafka.partitioner)
        group = settings.sequencer
        skew_ms = group.max_future_skew_ms
        return cls(
            group.bounds(), max_future_skew_ms=skew_ms, home=home, decoder=decoder, marks=marks, on_window=on_window
        )

    def add(self, record: ConsumedRecord) -> None:
        """Add one record; raise :class:`InputError` where offsets of its partition do not rise."""
        partition, offset = record.partition, record.offset
        last = self._offsets.get(partition, -1)
        if offset <= last:
            raise InputError(
                f"partition {partition}: offset {offset} after {last}; give each partition's records once, in offset order"
            )
        self._offsets[partition] = offset
        counts = self._truth.counts.setdefault(partition, Counts())
        counts.read += 1
        try:
            event = self._decoder.decode_event(record.key, record.value, record.timestamp)
            if event.ts <= self._marks.get(event.user_id.encode(), -1):
                counts.forgotten += 1
                return
            check_home(record, self._home)
        except RecordError:
            if is_forgotten_reject(record, self._decoder, self._marks):
                counts.forgotten += 1
                self._truth.maybe_rejected.add((partition, offset))
            else:
                counts.rejected += 1
                self._truth.rejected.add((partition, offset))
            return
        self._waiting.setdefault((partition, event.user_id.encode()), []).append((event, offset))
        self._n_waiting += 1
        if self._n_waiting >= EVENTS_PER_FOLD:
            self._absorb()

    def truth(self) -> Truth:
        """Return what all records so far must lead to.

        Raises
        ------
        InputError
            When a user has events in two partitions.
        """
        self._absorb()
        home: dict[bytes, int] = {}
        for partition, states in sorted(self._states.items()):
            for key, state in states.items():
                if key in home:
                    raise InputError(
                        f"user {key!r} has events in partitions {home[key]} and {partition}, must be in one; publish with "
                        "one partitioner and one partition count"
                    )
                home[key] = partition
                self._truth.windows[key] = encode(state)
        return self._truth

    def _absorb(self) -> None:
        for (partition, key), events in self._waiting.items():
            states, counts = self._states.setdefault(partition, {}), self._truth.counts[partition]
            state, mark = states.get(key), self._marks.get(key)
            if state is None and mark is not None:
                state = new_life(mark)
            for group in [events] if self._on_window is None else [[event] for event in events]:
                outcome = absorb(state, group, self._bounds)
                counts.accepted += outcome.accepted
                counts.duplicate += outcome.duplicate
                counts.late += outcome.late
                if outcome.state is not None:
                    state = states[key] = outcome.state
                    if self._on_window is not None:
                        self._on_window(key, state)
        self._waiting.clear()
        self._n_waiting = 0


class ListOracle:
    """Makes the list that each window must lead to, from window, catalogue and artifact.

    The oracle takes popularity from the artifact. A recommender makes the same lists with
    ``live_popularity`` off; with it on, popularity also counts the windows of the moment.

    Parameters
    ----------
    artifact : directory of the artifact
    items : the catalogue; of two entries with one id the last one counts
    settings : the recommender's device, list size, text cleaning and embedding cache
    types : the deployment's table of event types
    rules : what the lists obey; None for no rules
    now_ms : the time from which the ages of items count, since 1970; None takes the clock

    Raises
    ------
    InputError
        When the artifact is missing or damaged.
    HeadraceError
        When the artifact was made with another version of the encoder or of the text cleaning.
    """

    def __init__(
        self,
        artifact: Path,
        items: Iterable[Item],
        settings: RecommenderSettings,
        types: EventTypes = DEFAULT_TYPES,
        rules: Rules | None = None,
        now_ms: int | None = None,
    ) -> None:
        device = usable_device(settings.device)
        try:
            loaded = load_artifact(artifact, device).beside(types.window_types)
        except ArtifactError as exc:
            raise InputError(str(exc)) from exc
        self._artifact = loaded
        self._rules = rules
        now_ms = int(time.time() * 1_000) if now_ms is None else now_ms
        self._versions = Versions(loaded.version, 0, "" if rules is None else rules.version)
        self._pipeline = Pipeline(loaded, k=settings.list_size, n_candidates=settings.n_candidates)
        whole = _catalogue(loaded, {item.item_id: item for item in items}, device, settings, now_ms)
        self._catalogue = ruled(whole, rules, now_ms)
        self._repeats = policy_of(loaded, self._catalogue)
        self._seen = SeenIndex(self._catalogue.item_ids)

    def lists(
        self,
        windows: Mapping[bytes, bytes],
        on_progress: Callable[[int], None] = lambda _done: None,
        users: KnownUsers = NOBODY,
    ) -> dict[bytes, Recommendation]:
        """Return the list of each window, and of each known user without one, by user key.

        ``produced_ts`` and ``index_generation`` are 0, because they depend on the moment. A
        followed user counts with the user's last window; so a deployment makes the same list where
        the followed user had no event after the follower's last list.

        Parameters
        ----------
        windows : user key to encoded window, as in :class:`Truth`
        on_progress : called with the number of lists made so far
        users : what is known of users beside their events
        """
        found: dict[bytes, Recommendation] = {}
        followed = {key: windows[key] for key in users.followed() & windows.keys()}
        vectors: dict[bytes, bytes] = {}
        for chunk in _chunks(followed):
            made = user_vectors(chunk, self._ranked(chunk, None), self._versions)
            vectors |= {key: encode(one) for (key, _), one in zip(chunk, made, strict=True) if one is not None}
        for chunk in (*_chunks(windows), *_chunks(users.without_window(windows))):
            facts = users.facts([key for key, _ in chunk], vectors)
            lists = recommendations(chunk, self._ranked(chunk, facts), self._versions, 0, facts=facts)
            found.update(zip((key for key, _ in chunk), lists, strict=True))
            on_progress(len(found))
        return found

    def lists_of(self, windows: Iterable[tuple[bytes, bytes]]) -> Iterator[Recommendation]:
        """Yield the list of each window, in order; a user may have several.

        Parameters
        ----------
        windows : user key and encoded window
        """
        for chunk in _chunked(windows):
            yield from recommendations(chunk, self._ranked(chunk, None), self._versions, 0)

    def visitors(self, windows: Sequence[Behaviours]) -> RankedBatch:
        """Return the lists of visitors of whom nothing but a window is known."""
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            return self._pipeline.recommend(self._catalogue, windows, [set() for _ in windows])

    def _ranked(
        self, windows: Sequence[tuple[bytes, BaseWindow]], facts: Sequence[UserFacts | None] | None
    ) -> RankedBatch:
        rows, followed = model_inputs(facts, self._artifact)
        # As the recommender computes GELU, see tame_pytorch: the last bits of a score can decide
        # which item is the last candidate.
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            return self._pipeline.recommend(
                self._catalogue,
                [behaviours(state) for _, state in windows],
                [left_out(state, self._seen, self._repeats, self._rules) for _, state in windows],
                rows,
                seeds=None if self._rules is None else list_seeds(windows),
                followed=followed,
                weights=[weights_of_shown(state, self._seen, self._rules) for _, state in windows],
            )


def _chunks(windows: Mapping[bytes, bytes | BaseWindow]) -> Iterator[list[tuple[bytes, BaseWindow]]]:
    """Yield windows, decoded, so many that the model gets at once."""
    return _chunked(windows.items())


def _chunked(windows: Iterable[tuple[bytes, bytes | BaseWindow]]) -> Iterator[list[tuple[bytes, BaseWindow]]]:
    pairs = iter(windows)
    while chunk := list(islice(pairs, WINDOWS_PER_CHUNK)):
        yield [(key, decode_window(one) if isinstance(one, bytes) else one) for key, one in chunk]


def _catalogue(
    artifact: Artifact, items: Mapping[str, Item], device: str, settings: RecommenderSettings, now_ms: int
) -> Catalogue:
    """Return the catalogue as the recommender builds it; opens the encoder only for texts."""
    encoder = ArtifactEncoder.of(artifact, device, settings) if items else None
    if encoder is None:
        vectors = np.zeros((len(items), 1), dtype=np.float32)
    else:
        fields = ((own_title(i.item_id, i.title), i.text, i.category, i.tags, i.categories) for i in items.values())
        vectors = encoder.embed([item_text(*of_item) for of_item in fields])
    features: dict[str, Row] | None = None
    if artifact.item_features.width:
        features = {item_id: item_row(msgspec.structs.asdict(item)) for item_id, item in items.items()}
    facts = {item_id: facts_of(item) for item_id, item in items.items()}
    hidden = {item_id for item_id, item in items.items() if not is_shown(item, now_ms)}
    return build_catalogue(artifact, dict(zip(items, vectors, strict=True)), 0, features, hidden, facts)
