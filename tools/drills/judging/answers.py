"""Judges what servers answered, against what the topics carried and what was in force when.

::

    pushed     a list of recommendations, without what may not be shown; never an older one again
    on demand  of a window of sequences, by the model and the rules in force: see demanded.py
    404        of a user who was forgotten
    503        of a server that is not ready
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from models.rules.facts import ItemFacts
from models.rules.row_rules import Rules
from streams.contract.marks import revision_in
from streams.contract.newest_lists import NO_LIST, Rank, rank_of
from streams.contract.records import Recommendation, RecordDecoder
from streams.server.gate.problems import URN, ProblemBody
from streams.server.lists.answers import UserList
from streams.server.parts.ranking import RankedAnswer
from tools.drills.judging.history import Forgotten, Hidden, History
from tools.drills.judging.questions import Asked, Lives
from tools.oracle.rules_kept import may_show

EXAMPLES: Final = 8
#: What an answer can be, when it is wrong; each is a figure of the report, and must be 0.
WRONG: Final = (
    "failed", "unlike_topic", "older_again", "older_than_start", "no_list_again", "of_forgotten", "withdrawn", "denied",
    "other_model", "other_rules", "no_window", "unlike_oracle",
)  # fmt: skip


class PushedList(NamedTuple):
    """A list as the topic carried it."""

    user: str
    rank: Rank
    items: tuple[tuple[str, float, str | None], ...]
    fields: tuple[Any, ...]


class ListLog:
    """What ``recommendations`` and ``sequences`` carried, as it came.

    Attributes
    ----------
    lists : by list id
    windows : encoded, by user and revision
    """

    def __init__(self) -> None:
        self.lists: dict[str, PushedList] = {}
        self.windows: dict[tuple[str, int], bytes] = {}
        self._newest: dict[str, tuple[list[float], list[Rank]]] = {}
        self._decoder = RecordDecoder(Recommendation)

    def add_list(self, record: Any, now_s: float) -> None:
        """Take in a record of ``recommendations``."""
        if record.value is None:
            return
        self.add(self._decoder.decode(record.value), now_s)

    def add(self, made: Recommendation, now_s: float) -> None:
        """Take in a list."""
        items = tuple((item.item_id, item.score, item.because) for item in made.items)
        self.lists[made.list_id] = PushedList(made.user_id, rank_of(made), items, fields_of(made))
        times, ranks = self._newest.setdefault(made.user_id, ([], []))
        if not ranks or rank_of(made) > ranks[-1]:
            times.append(now_s)
            ranks.append(rank_of(made))

    def add_window(self, key: bytes | None, value: bytes | None) -> None:
        """Take in a record of ``sequences``."""
        if key and value is not None:
            self.windows[key.decode("utf-8", "replace"), revision_in(value)] = value

    def newest_at(self, user: str, time_s: float) -> Rank:
        """Return the rank of the user's newest list that had come by a time."""
        times, ranks = self._newest.get(user, ([], []))
        place = bisect.bisect_right(times, time_s)
        return ranks[place - 1] if place else NO_LIST


def fields_of(made: Recommendation | UserList) -> tuple[Any, ...]:
    """Return what an answer and its list have in common beside the items."""
    rules = made.rules if isinstance(made.rules, str) else ""
    return made.revision, made.event_ts, made.produced_ts, made.artifact, made.degraded, bool(made.provisional), rules


@dataclass(frozen=True)
class InForce:
    """What was in force when; items are judged by ``facts``."""

    models: History[str]
    rules: History[Rules | None]
    hidden: History[Hidden]
    forgotten: Forgotten
    facts: Mapping[str, ItemFacts]

    def hides(self, item_id: str, hidden: Hidden, rules: Rules | None, now_ms: int) -> bool:
        """Whether an answer may not show an item."""
        if item_id in hidden:
            return True
        return rules is not None and not may_show(rules.document, item_id, self.facts[item_id], now_ms)


class Demanded(NamedTuple):
    """An answer that was made on demand, and is yet to be compared with the oracle."""

    asked: Asked
    answer: UserList | RankedAnswer


@dataclass
class AnswerJudge:
    """Judges answers. Call :meth:`judge` once, with all of them.

    Attributes
    ----------
    wrong : how many answers are wrong in which way
    counts : answers by kind
    demanded : the answers on demand that had the right model and rules
    """

    log: ListLog
    in_force: InForce
    servers: Sequence[Lives]
    list_size: int
    wrong: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    demanded: list[Demanded] = field(default_factory=list)
    _served: dict[tuple[int, str, str], Rank] = field(default_factory=dict)
    _ended: list[tuple[float, int, tuple[int, str, str], Rank]] = field(default_factory=list)

    def judge(self, answers: Sequence[Asked]) -> None:
        """Judge all answers, in the order in which they were asked for."""
        for asked in sorted(answers, key=lambda one: one.begun_s):
            self._fold(asked.begun_s)
            if asked.status == 200:
                self._judge_answer(asked)
            elif asked.status == 404 and asked.kind != "session":
                self._judge_no_list(asked)
            elif asked.status == 503 and _kind(asked.body) == "not-ready" and self._is_starting(asked):
                self.counts["not_ready"] += 1
            else:
                self.note("failed", asked, f"status {asked.status}: {asked.body[:200]!r}")

    def note(self, sort: str, asked: Asked, why: str) -> None:
        """Note a wrong answer."""
        self.wrong[sort] += 1
        if len(self.examples) < EXAMPLES:
            who = f"server-{asked.server}, process {asked.life}, {asked.kind} of {asked.subject}"
            self.examples.append(f"{sort}: {who}, after {asked.begun_s - self.servers[0].starts_s[0]:.2f} s: {why}")

    def started_s(self, asked: Asked) -> float:
        """Return when the process that answered was started."""
        return self.servers[asked.server].starts_s[asked.life]

    def _is_starting(self, asked: Asked) -> bool:
        return asked.begun_s < self.servers[asked.server].ready_s[asked.life]

    def _judge_answer(self, asked: Asked) -> None:
        if asked.kind == "session":
            self._judge_demanded(asked, msgspec.json.decode(asked.body, type=RankedAnswer))
            return
        made = msgspec.json.decode(asked.body, type=UserList)
        least = self.in_force.forgotten.least_mark(asked.subject, asked.server, self.started_s(asked), asked.begun_s)
        if made.revision <= least:
            self.note("of_forgotten", asked, f"revision {made.revision} after a request of {least}")
        elif made.on_demand:
            self._judge_demanded(asked, made)
        else:
            self._judge_pushed(asked, made)

    def _judge_pushed(self, asked: Asked, made: UserList) -> None:
        self.counts["pushed"] += 1
        pushed = self.log.lists.get(made.list_id)
        if pushed is None or pushed.user != asked.subject or pushed.fields != fields_of(made):
            self.note("unlike_topic", asked, f"no such list on the topic: {made.list_id}, revision {made.revision}")
            return
        found = tuple((item.item_id, item.score, item.because) for item in made.items)
        states = self.shown_states(asked)
        expected = [
            tuple(item for item in pushed.items if not self.in_force.hides(item[0], *state, _now_ms(made)))
            for state in states
        ]
        if found not in expected:
            self._note_items(asked, [item[0] for item in found], states, made)
        self._judge_age(asked, "pushed", pushed.rank)
        newest = self.log.newest_at(asked.subject, self.started_s(asked))
        is_over = self.in_force.forgotten.may_be_forgotten(asked.subject, asked.ended_s, newest[0])
        if pushed.rank < newest and not is_over:
            self.note("older_than_start", asked, f"rank {pushed.rank}, {newest} was on the topic before the start")

    def _note_items(
        self, asked: Asked, listed: Sequence[str], states: Sequence[tuple[Hidden, Rules | None]], made: UserList
    ) -> None:
        for sort in ("withdrawn", "denied"):
            for item_id in listed:
                is_wrong = all(
                    item_id in hidden
                    if sort == "withdrawn"
                    else self.in_force.hides(item_id, hidden, rules, _now_ms(made))
                    for hidden, rules in states
                )
                if is_wrong:
                    self.note(sort, asked, f"item {item_id}")
                    return
        self.note("unlike_topic", asked, f"list {made.list_id} has other items than on the topic")

    def _judge_demanded(self, asked: Asked, made: UserList | RankedAnswer) -> None:
        kind = "session" if asked.kind == "session" else "on_demand"
        self.counts[kind] += 1
        where = asked.server, self.started_s(asked), asked.begun_s, asked.ended_s
        if made.artifact not in (models := self.in_force.models.possible(*where)):
            self.note("other_model", asked, f"artifact {made.artifact[:12]}, must be {[one[:12] for one in models]}")
            return
        versions = ["" if rules is None else rules.version for rules in self.in_force.rules.possible(*where)]
        if made.rules not in versions:
            self.note("other_rules", asked, f"rules {made.rules!r}, must be of {versions}")
            return
        if isinstance(made, UserList):
            self._judge_age(asked, "on_demand", (made.revision, -1, True, 0))
            if (asked.subject, made.revision) not in self.log.windows:
                self.note("no_window", asked, f"revision {made.revision}: no such window on sequences")
                return
        hidden = [one for one in self.in_force.hidden.possible(*where)]
        gone = [item.item_id for item in made.items if all(item.item_id in one for one in hidden)]
        if gone:
            self.note("withdrawn", asked, f"item {gone[0]}")
            return
        self.demanded.append(Demanded(asked, made))

    def _judge_no_list(self, asked: Asked) -> None:
        self.counts["no_list"] += 1
        subject, forgotten = asked.subject, self.in_force.forgotten
        newest = self.log.newest_at(subject, self.started_s(asked))
        known = [
            newest,
            *(self._served.get((asked.server, subject, kind), NO_LIST) for kind in ("pushed", "on_demand")),
        ]
        if _kind(asked.body) != "no-list" or not forgotten.may_be_forgotten(subject, asked.ended_s, max(known)[0]):
            self.note("no_list_again", asked, f"{asked.body[:120]!r} although a list of rank {max(known)} was known")

    def shown_states(self, asked: Asked) -> list[tuple[Hidden, Rules | None]]:
        """Return what may have been hidden at an answer, each with rules that may have held."""
        where = asked.server, self.started_s(asked), asked.begun_s, asked.ended_s
        return [
            (hidden, rules)
            for hidden in self.in_force.hidden.possible(*where)
            for rules in self.in_force.rules.possible(*where)
        ]

    def _judge_age(self, asked: Asked, kind: str, rank: Rank) -> None:
        """Note an answer that is older than one that its server gave before it was asked."""
        place = asked.server, asked.subject, kind
        if rank < (before := self._served.get(place, NO_LIST)):
            self.note("older_again", asked, f"rank {rank} after {before}")
        heapq.heappush(self._ended, (asked.ended_s, len(self._ended), place, rank))

    def _fold(self, begun_s: float) -> None:
        while self._ended and self._ended[0][0] <= begun_s:
            _, _, place, rank = heapq.heappop(self._ended)
            self._served[place] = max(rank, self._served.get(place, NO_LIST))


def _kind(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=ProblemBody).type.removeprefix(URN)
    except msgspec.DecodeError:
        return ""


def _now_ms(made: UserList) -> int:
    """Return a time for rules about ages, which the drill's rules do not ask about."""
    return made.produced_ts
