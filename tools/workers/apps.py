"""The two apps: what each one runs, reads and writes, and where its state lies.

::

    events ─► sequencer ─► sequences ─► recommender ─► recommendations
                           (its state)                 user-vectors (its state)

Topics have their names of the contract. :mod:`streams.contract.roles` has all topics that an app
may use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from streams.contract.roles import topics_of

AppName = Literal["sequencer", "recommender"]
APP_NAMES: Final[tuple[AppName, ...]] = get_args(AppName)


@dataclass(frozen=True)
class App:
    """One app.

    Parameters
    ----------
    name : its role in :mod:`streams.contract.roles`, and the argument of ``KafkaSettings.group``
    module : what ``faust -A`` loads
    input : the topic whose offsets the consumer group commits
    output : the topic that holds the app's results
    changelog : the topic that holds the app's state
    """

    name: AppName
    module: str
    input: str
    output: str
    changelog: str

    @property
    def topics(self) -> tuple[str, ...]:
        """Return all topics that a worker of the app needs."""
        return topics_of(self.name)


#: In the order of the flow: when the first app has caught up, its output is complete for the second
#: app.
APPS: Final = (
    App("sequencer", "streams.sequencer", "events", "sequences", "sequences"),
    App("recommender", "streams.recommender", "sequences", "recommendations", "user-vectors"),
)
#: The ways in which the sequencer ends an event. Their counts add up to those of the events that it
#: read.
ENDINGS: Final = ("accepted", "duplicate", "late", "rejected", "forgotten")
MODULES: Final[dict[AppName, str]] = {app.name: app.module for app in APPS}
