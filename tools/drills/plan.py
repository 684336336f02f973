"""What a person asked of a drill, and what its kind needs of broker and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.drills.events import Shares


@dataclass(frozen=True)
class Needs:
    """What a kind of drill needs of its broker and its workers.

    Parameters
    ----------
    own_broker : whether the drill must start a broker of its own, which it may kill
    model_faults : whether recommenders run ``tools.drills.faulty_model``, which can slow, hang and
        crash the model
    workers_may_end : whether workers may end by themselves without being a problem
    n_workers : workers of each app at the start, whatever a person asks for; None for what a person
        asks for
    n_users, rate_per_s : where a person names none; a kind whose harm takes long has fewer users
    variables : settings of every worker, as environment variables
    """

    own_broker: bool = False
    model_faults: bool = False
    workers_may_end: bool = False
    n_workers: int | None = None
    n_users: int = 100_000
    rate_per_s: float = 500.0
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a person asked for, and what the kind needs.

    Parameters
    ----------
    kind : name of the kind
    n_users : users of the made events; each has one event before the load begins
    rate_per_s : events a second
    kills : workers that ``kill`` kills
    minutes : duration of the kinds that last for a time
    seed : of the events and of the order of the faults
    n_workers : workers of each app at the start
    store : where sequencers keep their state, as ``HEADRACE_SEQUENCE_STORE``
    shares : shares of the events that are repeated, late or malformed
    n_lists : lists that ``rules`` judges
    log, log_columns : the history that ``replay`` publishes and its columns, as ``headrace replay``
        takes them; None for made events
    """

    kind: str
    n_users: int
    rate_per_s: float
    kills: int
    minutes: float
    seed: int
    n_workers: int
    store: str
    shares: Shares = field(default_factory=Shares)
    log: Path | None = None
    log_columns: str = ""
    needs: Needs = field(default_factory=Needs)
    n_lists: int = 100_000
