"""The two apps: what a worker of each app runs, what it reads, what it writes, and where its state lies.

::

    events ─► sequencer ─► sequences ─► recommender ─► recommendations
                           (its state)                 user-vectors (its state)

Topics bear their names in the contract. All topics that an app may use, and how, are in :mod:`streams.contract.roles`.
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
    name : the role in :mod:`streams.contract.roles`; ``KafkaSettings.group(name)`` is the consumer group
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


#: In the order of the flow: when the first app has caught up, its output says how far the second app must go.
APPS: Final = (
    App("sequencer", "streams.sequencer", "events", "sequences", "sequences"),
    App("recommender", "streams.recommender", "sequences", "recommendations", "user-vectors"),
)
#: The ways in which the sequencer ends an event. Their counts add up to those of the events that it read.
ENDINGS: Final = ("accepted", "duplicate", "late", "rejected")
MODULES: Final[dict[AppName, str]] = {app.name: app.module for app in APPS}
