"""Compares every list on ``recommendations`` with the oracle, and not only each user's last one.

::

    events ─► window at each revision ─┐
    lists  ─► user, revision, artifact ┴─► the list that this artifact makes of it ─► equal?
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.artifact.artifact import load_artifact
from streams.contract.records import Item, Recommendation, RecordDecoder, encode
from streams.contract.windows import WindowState
from streams.kafka.topic_reader import read_records
from streams.settings.load import Settings
from tools.oracle.compare import compare_list
from tools.oracle.expected import ListOracle, WindowOracle

EXAMPLES: Final = 5
#: A user's key and the revision of the user's window.
Place = tuple[bytes, int]


@dataclass
class EveryList:
    """What was found.

    Parameters
    ----------
    n_lists : lists on the topic, repeats included
    n_compared : lists that were compared with the oracle's
    n_without_model : degraded or provisional ones, which no artifact makes alone
    n_wrong : lists unlike that of the artifact that they name
    n_strange : lists that name no artifact of the drill
    n_no_window : lists of a revision that no events lead to
    """

    n_lists: int = 0
    n_compared: int = 0
    n_without_model: int = 0
    n_wrong: int = 0
    n_strange: int = 0
    n_no_window: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, made: Recommendation, why: str) -> None:
        """Keep an example."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(
                f"list of {made.user_id}, revision {made.revision}, artifact {made.artifact[:12]}: {why}"
            )


async def compare_every_list(settings: Settings, items: Sequence[Item], artifacts: Sequence[Path]) -> EveryList:
    """Read the topics, which must be at rest, and compare each list with its window's.

    Parameters
    ----------
    items : the catalogue of all lists
    artifacts : folders of the artifacts that lists may name
    """
    kafka, decoder = settings.kafka, RecordDecoder(Recommendation)
    found = EveryList()
    folders = {load_artifact(folder).version: folder for folder in artifacts}
    lists: dict[str, dict[Place, list[Recommendation]]] = {version: {} for version in folders}
    async for record in read_records(kafka, kafka.topic("recommendations")):
        if record.value is None:
            continue
        made = decoder.decode(record.value)
        found.n_lists += 1
        if made.artifact not in lists:
            found.n_strange += 1
            found.note(made, "no artifact of the drill")
        elif made.degraded != "none" or made.provisional:
            found.n_without_model += 1
        else:
            lists[made.artifact].setdefault((made.user_id.encode(), made.revision), []).append(made)
    windows = await _windows(settings, {place for of_one in lists.values() for place in of_one})
    for version, of_one in lists.items():
        oracle = ListOracle(folders[version], items, settings.recommender)
        await asyncio.to_thread(_compare, oracle, of_one, windows, found)
    return found


async def _windows(settings: Settings, wanted: set[Place]) -> dict[Place, bytes]:
    """Return the encoded windows at some revisions, as the events lead to them."""
    windows: dict[Place, bytes] = {}

    def note(key: bytes, state: WindowState) -> None:
        if (key, state.revision) in wanted:
            windows[key, state.revision] = encode(state)

    oracle = WindowOracle.of(settings, on_window=note)
    async for record in read_records(settings.kafka, settings.kafka.topic("events")):
        oracle.add(record)
    oracle.truth()
    return windows


def _compare(
    oracle: ListOracle, lists: Mapping[Place, list[Recommendation]], windows: Mapping[Place, bytes], found: EveryList
) -> None:
    places = [place for place in lists if place in windows]
    for place in lists.keys() - windows.keys():
        found.n_no_window += len(lists[place])
        found.note(lists[place][0], "no events lead to this revision")
    expected = oracle.lists_of((place[0], windows[place]) for place in places)
    for place, right in zip(places, expected, strict=True):
        for made in lists[place]:
            found.n_compared += 1
            if why := compare_list(made, right):
                found.n_wrong += 1
                found.note(made, why)
