"""Compares lists that servers made on demand with the oracle's.

An answer names its model and its rules. Its catalogue is that of a moment: a server takes changes
of items into the model's catalogue a little later than it hides what is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from models.artifact.artifact import load_artifact
from models.base.types import Behaviours
from models.metrics.same_lists import list_difference
from models.rules.row_rules import Rules
from streams.contract.records import Item
from streams.server.lists.answers import UserList
from streams.server.ranking.on_demand import SIZES
from streams.settings.load import RecommenderSettings
from tools.drills.judging.answers import AnswerJudge, Demanded
from tools.drills.judging.history import Hidden
from tools.drills.judging.questions import N_DEMANDED, Session
from tools.oracle.compare import SCORE_TOLERANCE
from tools.oracle.expected import ListOracle

#: A change of an item is in the model's catalogue within so many seconds.
CATALOGUE_S: Final = 10.0
Scored = tuple[str, float]


class Made(NamedTuple):
    """What a list on demand was made with."""

    artifact: str
    rules: str
    hidden: Hidden
    size: int


@dataclass(frozen=True)
class Shop:
    """What the oracle makes lists of.

    Parameters
    ----------
    artifacts : folders of those that answers may name
    rules : by version
    items : the whole catalogue, before anything was withdrawn
    """

    settings: RecommenderSettings
    artifacts: Sequence[Path]
    rules: Mapping[str, Rules]
    items: Sequence[Item]
    sessions: Sequence[Session]

    def catalogue(self, hidden: Hidden) -> list[Item]:
        """Return the catalogue without what is hidden."""
        return catalogue_without(self.items, hidden)


def catalogue_without(items: Iterable[Item], hidden: Hidden) -> list[Item]:
    """Return items, without those that are deleted, and those that are unavailable marked so."""
    return [
        msgspec.structs.replace(item, available=False) if item.item_id in hidden.unavailable else item
        for item in items
        if item.item_id not in hidden.deleted
    ]


def compare_demanded(judge: AnswerJudge, shop: Shop) -> int:
    """Compare each answer on demand with the oracle's; note those that are unlike it.

    Returns how many were compared.
    """
    waiting = {place: list(_possible(judge, demanded)) for place, demanded in enumerate(judge.demanded)}
    why: dict[int, str] = {}
    while waiting:
        by_made: dict[Made, list[int]] = {}
        for place, possible in waiting.items():
            by_made.setdefault(possible[0], []).append(place)
        left = {}
        for made, places in by_made.items():
            expected = _lists(judge, shop, made, places)
            for place in places:
                told = _difference(judge, judge.demanded[place], expected[place])
                if told:
                    why.setdefault(place, told)
                    if rest := waiting[place][1:]:
                        left[place] = rest
                        continue
                    judge.note("unlike_oracle", judge.demanded[place].asked, why[place])
        waiting = left
    return len(judge.demanded)


def _possible(judge: AnswerJudge, demanded: Demanded) -> Iterable[Made]:
    asked, answer = demanded
    hidden = judge.in_force.hidden.possible(
        asked.server, judge.started_s(asked), asked.begun_s - CATALOGUE_S, asked.ended_s
    )
    n = judge.list_size if asked.kind == "pushed" else N_DEMANDED
    size = next(size for size in SIZES if size >= n)
    return [Made(answer.artifact, answer.rules, one, size) for one in dict.fromkeys(hidden)]


def _lists(judge: AnswerJudge, shop: Shop, made: Made, places: Sequence[int]) -> dict[int, list[Scored]]:
    """Return the oracle's list of each answer."""
    folder = next(one for one in shop.artifacts if load_artifact(one).version == made.artifact)
    settings = replace(shop.settings, list_size=made.size)
    oracle = ListOracle(folder, shop.catalogue(made.hidden), settings, rules=shop.rules.get(made.rules))
    found: dict[int, list[Scored]] = {}
    of_users, of_visitors = [], []
    for place in places:
        asked, answer = judge.demanded[place]
        if isinstance(answer, UserList):
            of_users.append((place, (asked.subject.encode(), judge.log.windows[asked.subject, answer.revision])))
        else:
            of_visitors.append((place, Behaviours.of_rows(shop.sessions[int(asked.subject)].events)))
    for (place, _), expected in zip(of_users, oracle.lists_of(window for _, window in of_users), strict=True):
        found[place] = [(item.item_id, item.score) for item in expected.items]
    ranked = oracle.visitors([window for _, window in of_visitors]) if of_visitors else ()
    for (place, _), visitor in zip(of_visitors, ranked, strict=True):
        found[place] = [(item.item_id, item.score) for item in visitor.items]
    return found


def _difference(judge: AnswerJudge, demanded: Demanded, expected: Sequence[Scored]) -> str:
    """Return how an answer differs from what was expected, without what was hidden meanwhile."""
    asked, answer = demanded
    n = judge.list_size if asked.kind == "pushed" else N_DEMANDED
    found = [(item.item_id, item.score) for item in answer.items]
    told = ""
    for hidden, rules in judge.shown_states(asked):
        shown = [one for one in expected if not judge.in_force.hides(one[0], hidden, rules, 0)][:n]
        told = list_difference(found, shown, SCORE_TOLERANCE)
        if not told:
            return ""
    return told
