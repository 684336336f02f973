"""The closed lists of what each app counts, with the meanings that ``/metrics`` shows.

A misspelt name is a type error. On ``/metrics`` every name begins with ``headrace_``, a counter
ends with ``_total``, and each series is there from the worker's start, so that a rate misses no
first event. ``tools.project.watching.metrics_page`` writes ``docs/watching/metrics.md`` from these
lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from streams.health.stage_times import RECOMMENDER_STAGES, SEQUENCER_STAGES, Stage

App: TypeAlias = Literal["sequencer", "recommender"]
Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]

#: Numbers of both apps that only grow while a worker lives.
SharedCounter: TypeAlias = (
    Annotated[Literal["keys_foreign"], "records on a changelog whose key is not a user_id"]
    | Annotated[Literal["users_forgotten"], "forgotten users of whom this worker erased data"]
    | Annotated[Literal["privacy_malformed"], "records on privacy that are not requests"]
    | Annotated[Literal["events_expired"], "records that the broker deleted before they were read, at most"]
    | Annotated[Literal["stores_rebuilt"], "partitions whose RocksDB files could not be used"]
)
#: Numbers of a sequencer that only grow.
SequencerCounter: TypeAlias = (
    Annotated[Literal["windows_damaged"], "windows that the sequencer could not read and started again"]
    | Annotated[Literal["users_expired"], "users whose window was removed because of user_ttl_days"]
    | Annotated[Literal["reject_alarms"], "minutes with so many rejects that an ERROR was logged"]
)
#: Numbers of a recommender that only grow.
RecommenderCounter: TypeAlias = (
    Annotated[Literal["lists"], "lists published"]
    | Annotated[Literal["windows_read"], "windows read from sequences"]
    | Annotated[Literal["model_batches"], "forward passes of the model"]
    | Annotated[Literal["model_windows"], "windows in the model's forward passes"]
    | Annotated[Literal["lists_degraded"], "fallback lists: made without the model, a full list follows"]
    | Annotated[
        Literal["windows_poisoned"], "windows from which the model makes no number; their users got popular items"
    ]
    | Annotated[Literal["model_late"], "forward passes that took longer than model_timeout_ms"]
    | Annotated[Literal["model_failures"], "times that the model failed on every window it was given"]
    | Annotated[Literal["items_left_out"], "item records without a usable vector"]
    | Annotated[Literal["rules_malformed"], "records on rules that are no rules records"]
    | Annotated[Literal["events_unknown_item"], "new behaviours of items that the catalogue does not have"]
    | Annotated[Literal["windows_malformed"], "records on sequences that are not windows"]
    | Annotated[Literal["windows_newer"], "windows of a newer version, which this worker cannot read"]
    | Annotated[Literal["windows_older"], "windows of a lower revision than the user's last list"]
    | Annotated[Literal["vectors_damaged"], "user vectors that could not be read"]
    | Annotated[Literal["users_removed"], "users whose vector was removed after a tombstone on sequences"]
    | Annotated[Literal["users_malformed"], "records on users that break the contract; they change nothing"]
    | Annotated[Literal["lists_first"], "lists of users without events, from a record on users"]
    | Annotated[Literal["index_rebuilds"], "times that the catalogue's rows and index were built again"]
    | Annotated[Literal["announcements_malformed"], "records on models, rules or privacy that cannot be read"]
    | Annotated[Literal["model_swaps"], "announced artifacts that were put in force while the worker served"]
    | Annotated[Literal["model_swaps_failed"], "announced artifacts that could not be put in force"]
    | Annotated[Literal["lists_refreshed"], "lists that users got again, without a new event, after a model swap"]
)
CounterName: TypeAlias = SharedCounter | SequencerCounter | RecommenderCounter
#: Numbers of a recommender that rise and fall.
GaugeName: TypeAlias = (
    Annotated[Literal["catalogue_items"], "items that can be recommended now"]
    | Annotated[Literal["catalogue_hidden"], "items of the catalogue that lists must not show now"]
    | Annotated[Literal["catalogue_tail"], "rows since the last rebuild, which are searched exactly"]
    | Annotated[
        Literal["index_recall_percent"], "share of the exact best 100 that retrieval finds, measured each minute"
    ]
    | Annotated[Literal["users_known"], "users of this worker of whom a record is on users"]
    | Annotated[Literal["users_followed"], "followed users of other workers whose vectors are kept"]
    | Annotated[Literal["index_generation"], "version of the catalogue snapshot"]
    | Annotated[
        Literal["catalogue_taken_in"], "items that the catalogue of an announced artifact has taken in while it loads"
    ]
    | Annotated[Literal["refresh_waiting"], "users who wait for a list of the new model, without a new event"]
    | Annotated[Literal["index_engine_failures"], "searches and builds in which the index engine failed"]
    | Annotated[Literal["pending_windows"], "users who wait for the model"]
    | Annotated[Literal["windows_held"], "users who wait because of lists_per_minute"]
    | Annotated[Literal["windows_superseded"], "windows that a newer one replaced before the model ran"]
    | Annotated[Literal["popularity_events"], "events since training, in this worker's windows, that popularity counts"]
)
Name: TypeAlias = CounterName | GaugeName
PREFIX: Final = "headrace_"
#: Gauges that have no value before their first measurement: a recall of 0 would be an alarm.
MEASURED_LATER: Final[tuple[GaugeName, ...]] = ("index_recall_percent",)


@dataclass(frozen=True)
class Described:
    """A metric with labels, or one that is not a plain counter or gauge."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


BUILD: Final = Described("build", "info", ("app", "python", "version"), "1 for the release that this worker runs")
LAG: Final = Described("lag", "gauge", ("partition",), "offsets that are not committed, as the broker last said")
STAGE: Final = Described(
    "stage_ms", "histogram", ("stage",), "milliseconds that an event or its list spends in each stage"
)
EVENTS: Final = Described(
    "events", "counter", ("partition", "outcome"), "events by how they ended; read is the sum of the other five"
)
FRESHNESS: Final = Described(
    "freshness_ms", "histogram", (), "milliseconds from a window's write to the delivery of its list"
)
LIST_AGE: Final = Described(
    "list_age_seconds", "gauge", (), "seconds since this worker last delivered a list, at first since its start"
)
ARTIFACT: Final = Described("artifact", "gauge", ("artifact",), "1 for the artifact that lists are made with")


@dataclass(frozen=True)
class AppNames:
    """What one app exposes."""

    counters: dict[CounterName, str]
    gauges: dict[GaugeName, str]
    others: tuple[Described, ...]
    stages: tuple[Stage, ...]

    def described(self) -> list[Described]:
        """Return every metric of the app, by name."""
        found = [Described(name, "counter", (), text) for name, text in self.counters.items()]
        found += [Described(name, "gauge", (), text) for name, text in self.gauges.items()]
        return sorted([*found, *self.others], key=lambda each: each.name)


def _meanings(*literals: object) -> dict[Any, str]:
    return {get_args(name)[0]: text for union in literals for name, text in map(get_args, get_args(union))}


_BOTH: Final = (BUILD, LAG, STAGE)
_COUNTERS: Final[dict[App, dict[CounterName, str]]] = {
    "sequencer": _meanings(SharedCounter, SequencerCounter),
    "recommender": _meanings(SharedCounter, RecommenderCounter),
}
BY_APP: Final[dict[App, AppNames]] = {
    "sequencer": AppNames(_COUNTERS["sequencer"], {}, (*_BOTH, EVENTS), SEQUENCER_STAGES),
    "recommender": AppNames(
        _COUNTERS["recommender"],
        _meanings(GaugeName),
        (*_BOTH, FRESHNESS, LIST_AGE, ARTIFACT),
        RECOMMENDER_STAGES,
    ),
}


def exposed(described: Iterable[Described]) -> set[str]:
    """Return the names of all series of some metrics, as a query writes them."""
    endings = {
        "counter": ("_total",),
        "gauge": ("",),
        "info": ("_info",),
        "histogram": ("_bucket", "_count", "_sum"),
    }
    return {f"{PREFIX}{each.name}{end}" for each in described for end in endings[each.kind]}
