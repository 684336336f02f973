"""Who must answer an announcement, and which receipt is whose answer."""

from __future__ import annotations

from typing import Any

import pytest

from streams.announcements.sending.answers import Answers, answer_of, parties
from streams.contract.announcements import Answering, Receipt
from streams.errors import RunError
from streams.kafka.group_watch import Group, Member

TOPICS: dict[Answering, str] = {"sequencer": "events", "recommender": "sequences"}
MEMBERS = (
    Member("r-1", "headrace-recommender", "/10.0.0.1", frozenset({("sequences", 0), ("sequences", 1)})),
    Member("r-2", "headrace-recommender", "/10.0.0.2", frozenset({("sequences", 2)})),
)


def receipt(
    worker: str, stage: Any = "done", *, ts: int = 1, partition: int | None = None, detail: str = ""
) -> Receipt:
    return Receipt(1, "model", "live@0.3", "recommender", worker, stage, ts, partition, detail)


def test_every_live_worker_must_answer() -> None:
    found = parties({"recommender": Group("Stable", MEMBERS)}, TOPICS, None)
    assert [party.worker for party in found] == ["r-1", "r-2"]
    assert answer_of(found[0], [receipt("r-2")]) is None
    assert answer_of(found[1], [receipt("r-2")]) == receipt("r-2")


def test_for_a_user_the_owner_of_the_partition_must_answer_and_any_owners_answer_counts() -> None:
    """The owner before wrote what the present one has read."""
    (party,) = parties({"recommender": Group("Stable", MEMBERS)}, TOPICS, 2)
    assert "r-2" in party.text and answer_of(party, [receipt("r-2")]) is None
    assert answer_of(party, [receipt("gone", partition=2)]) is not None
    (free,) = parties({"recommender": Group("Stable", MEMBERS)}, TOPICS, 3)
    assert "no live worker" in free.text


def test_every_live_server_must_answer_whoever_the_user_is() -> None:
    """Each may hold data of any user. Where none runs, or the broker does not tell, none must."""
    servers = Group("Stable", (Member("s-1", "headrace", "/10.0.0.9", frozenset()),))
    for partition in (None, 2):
        (party,) = parties({"server": servers}, TOPICS, partition)
        assert (party.worker, party.partition) == ("s-1", None)
        assert answer_of(party, [receipt("s-1")]) is None
        own = Receipt(1, "forget", "r", "server", "s-1", "done", 1)
        assert answer_of(party, [own]) == own
        assert parties({"server": Group("Empty", ())}, TOPICS, partition) == []
        assert parties({"server": None}, TOPICS, partition) == []


def test_one_answer_counts_where_the_broker_does_not_tell_the_members() -> None:
    (party,) = parties({"recommender": None}, TOPICS, None)
    assert answer_of(party, [receipt("any")]) is not None


def test_the_newest_answer_of_a_worker_counts() -> None:
    (party, _) = parties({"recommender": Group("Stable", MEMBERS)}, TOPICS, None)
    found = answer_of(party, [receipt("r-1", "failed", ts=5), receipt("r-1", "done", ts=9)])
    assert found is not None and found.stage == "done"


def test_a_timeout_names_who_is_missing_and_says_that_the_announcement_stands() -> None:
    with pytest.raises(RunError, match=r"no answer in time from recommender r-2.*the announcement stands"):
        Answers((receipt("r-1"),), ("recommender r-2 at 10.0.0.2",), 2).check("artifact a")


def test_a_worker_that_failed_is_told_with_why() -> None:
    with pytest.raises(RunError, match="1 of 2 workers: recommender r-1: no room"):
        Answers((receipt("r-1", "failed", detail="no room"), receipt("r-2")), (), 2).check("artifact a")
    Answers((receipt("r-1"), receipt("r-2")), (), 2).check("artifact a")
