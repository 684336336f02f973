"""The judge of servers' answers finds each way in which an answer can be wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from models.rules.facts import ItemFacts
from models.rules.row_rules import Rules
from streams.server.gate.problems import Problem, not_ready
from streams.server.lists.answers import ListedItem, UserList
from tests.unit.streams.server.served import a_list
from tools.drills.judging.answers import AnswerJudge, InForce, ListLog
from tools.drills.judging.history import Change, Forgotten, Hidden, History
from tools.drills.judging.questions import Asked

FACTS = {item_id: ItemFacts() for item_id in "abc"}
START_S = 100.0


def judge_of(**more: Any) -> AnswerJudge:
    """Return a judge of one server, which was started after two lists of ``u`` and before one."""
    log = ListLog()
    for revision in (1, 2):
        log.add(a_list("u", revision), START_S - 3 + revision)
    log.add(a_list("u", 3), START_S + 20)
    fields: dict[str, Any] = {
        "models": History("art"),
        "rules": History[Rules | None](None),
        "hidden": History(Hidden()),
        "forgotten": Forgotten(),
        "facts": FACTS,
    }
    server: Any = SimpleNamespace(starts_s=[START_S], ready_s=[START_S + 5])
    return AnswerJudge(log, InForce(**fields | more), [server], 3)


def answer(revision: int, items: str = "abc", **more: Any) -> bytes:
    """Return the answer that has a list of ``u``."""
    made = a_list("u", revision)
    listed = [ListedItem(item.item_id, item.score, "", item.because) for item in made.items if item.item_id in items]
    fields: dict[str, Any] = {"artifact": made.artifact, "degraded": "none", "items": listed}
    found = UserList("u", made.list_id, revision, made.event_ts, made.produced_ts, **fields | more)
    return msgspec.json.encode(found)


def asked(body: bytes, at_s: float = START_S + 10, status: int = 200, kind: Any = "pushed") -> Asked:
    return Asked(0, 0, kind, "u", at_s, at_s + 0.01, status, body)


def wrong(judge: AnswerJudge, *answers: Asked) -> dict[str, int]:
    judge.judge(answers)
    return dict(judge.wrong)


def test_lists_as_the_topic_has_them_are_right() -> None:
    """Also a newer one than at the start, and one that came while it was asked for."""
    assert wrong(judge_of(), asked(answer(2)), asked(answer(3), START_S + 30), asked(answer(3), START_S + 31)) == {}


@pytest.mark.parametrize(
    ("body", "status", "sort"),
    [
        (answer(2, degraded="popular"), 200, "unlike_topic"),
        (answer(7), 200, "unlike_topic"),
        (answer(2, "ab"), 200, "unlike_topic"),
        (answer(1), 200, "older_than_start"),
        (Problem(404, "no-list", "user 'u' has no list").encoded(), 404, "no_list_again"),
        (Problem(500, "failed", "").encoded(), 500, "failed"),
        (not_ready("items").encoded(), 503, "failed"),
        (answer(2, on_demand=True, artifact="other"), 200, "other_model"),
        (answer(2, on_demand=True, rules="other"), 200, "other_rules"),
        (answer(2, on_demand=True), 200, "no_window"),
    ],
)
def test_each_wrong_answer_is_found(body: bytes, status: int, sort: str) -> None:
    assert wrong(judge_of(), asked(body, status=status)) == {sort: 1}


def test_an_older_list_after_a_newer_one_is_wrong_unless_they_were_asked_side_by_side() -> None:
    newer, older = asked(answer(3), START_S + 30), asked(answer(2), START_S + 30.005)
    assert wrong(judge_of(), newer, older) == {}
    assert wrong(judge_of(), newer, older._replace(begun_s=START_S + 31, ended_s=START_S + 32)) == {"older_again": 1}


def test_a_server_that_starts_may_say_that_it_is_not_ready() -> None:
    judge = judge_of()
    assert wrong(judge, asked(not_ready("items").encoded(), START_S + 1, 503)) == {} and judge.counts["not_ready"] == 1


def test_what_is_withdrawn_may_show_until_the_server_knows() -> None:
    """A server that started after the withdrawal knows from its first answer on."""
    hidden = History(Hidden())
    change = hidden.ask(Hidden(frozenset("b")), START_S + 8)
    change.held_on_s[0] = START_S + 12
    for at_s, with_b, without_b in ((7, True, False), (9, True, True), (13, False, True)):
        found = [wrong(judge_of(hidden=hidden), asked(answer(2, items), START_S + at_s)) for items in ("abc", "ac")]
        assert [not one for one in found] == [with_b, without_b], at_s
        assert with_b or found[0] == {"withdrawn": 1}
    change.held_on_s.clear()
    change.done_s = START_S - 1
    assert wrong(judge_of(hidden=hidden), asked(answer(2))) == {"withdrawn": 1}


def test_what_the_rules_deny_is_wrong_once_they_hold() -> None:
    rules: History[Rules | None] = History(None)
    change = rules.ask(Rules.of('deny = ["a"]', 3), START_S + 1)
    assert wrong(judge_of(rules=rules), asked(answer(2))) == {}, "no receipts yet"
    change.held_s = START_S + 2
    assert wrong(judge_of(rules=rules), asked(answer(2))) == {"denied": 1}
    assert wrong(judge_of(rules=rules), asked(answer(2, "bc"))) == {}


def test_nothing_of_a_former_life_comes_after_the_receipts() -> None:
    """A 404 is right while the user may be forgotten, and wrong for the life after it."""
    forgotten = Forgotten()
    (change,) = forgotten.add({"u": 2}, START_S + 1, START_S + 2)
    none = asked(Problem(404, "no-list", "user 'u' has no list").encoded(), status=404)
    assert wrong(judge_of(forgotten=forgotten), asked(answer(2)), none) == {}
    change.held_s = START_S + 9
    assert wrong(judge_of(forgotten=forgotten), asked(answer(2))) == {"of_forgotten": 1}
    assert wrong(judge_of(forgotten=forgotten), asked(answer(3), START_S + 30), none) == {}
    later = none._replace(begun_s=START_S + 31, ended_s=START_S + 32)
    assert wrong(judge_of(forgotten=forgotten), asked(answer(3), START_S + 30), later) == {"no_list_again": 1}


def test_a_value_is_possible_from_the_question_on_and_alone_once_it_holds() -> None:
    history: History[str] = History("a")
    change: Change[str] = history.ask("b", 5.0)
    assert [history.possible(0, 0.0, at_s, at_s + 1) for at_s in (3.0, 4.5)] == [["a"], ["b", "a"]]
    change.done_s = 6.0
    assert history.possible(0, 7.0, 8.0, 9.0) == ["b"] and history.possible(0, 5.5, 8.0, 9.0) == ["b", "a"]
    change.held_s = 7.5
    assert history.possible(0, 0.0, 8.0, 9.0) == ["b"]
    assert history.newest == "b"
