"""What every handler gets: the dependency ``server``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from litestar.di import NamedDependency

from streams.server.gate.measures import Measures
from streams.server.lists.answers import ListAnswers
from streams.server.lists.listeners import Listeners
from streams.server.lists.shown_items import ShownItems
from streams.server.lists.store import ListStore
from streams.server.parts.ranking import Ranker
from streams.server.parts.readiness import Readiness
from streams.server.writing.writes import Writes
from streams.settings.load import Settings


@dataclass(frozen=True, eq=False)
class Server:
    """The parts of a running server. For one event loop.

    A handler takes it as its argument ``server: TheServer``.

    Parameters
    ----------
    store : the newest list of each user
    shown : the catalogue and the rules: what answers may show now
    lists : answers questions for users' lists
    listeners : wakes those who wait for a new list of a user
    ranker : asks the model
    writes : checks and writes events, items and users
    ready : whether all is read
    measures : what ``/metrics`` shows
    """

    settings: Settings
    store: ListStore
    shown: ShownItems
    lists: ListAnswers
    listeners: Listeners
    ranker: Ranker
    writes: Writes
    ready: Readiness
    measures: Measures


#: The type of a handler's argument ``server``.
TheServer: TypeAlias = NamedDependency[Server]
