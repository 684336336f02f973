"""``status`` says how much of the last events the recommenders' catalogue knows."""

from __future__ import annotations

import pytest

from streams.contract.committed_note import UNHEALTHY_MS, CatalogueShare, encode
from streams.kafka.group_watch import Group, Member
from tools.commands.running.status import as_dict, as_lines
from tools.workers.flow import Flow, problems_of
from tools.workers.known_items import as_share, live_share, share_text

MS = 1_700_000_000_000


def counted(worker: str, n_events: int, n_unknown: int, seen_ms: int = MS) -> str:
    """Return what a recommender commits."""
    return encode(CatalogueShare(worker, n_events, n_unknown, f"of-{worker}" if n_unknown else "", seen_ms))


def test_what_recommenders_counted_is_put_together_without_repeats() -> None:
    """The newest note of each worker of the group counts, where it is not older than a day."""
    notes = [
        counted("a", 10, 9, MS - 5),
        counted("a", 30, 3),
        counted("b", 20, 5),
        counted("gone", 50, 50),
        "",
        "x",
        "{}",
    ]
    group = Group("Stable", tuple(Member(name, "faust", "/127.0.0.1", frozenset()) for name in ("a", "b", "c")))
    found = live_share(notes, group, MS + 1)
    assert (found.n_events, found.n_unknown, found.example) == (50, 8, "of-b")
    assert as_share(found) == {"events": 50, "known": 42, "share": 0.84, "example": "of-b"}
    assert share_text(found) == "the catalogue has the items of 42 of the last 50 events (84%)"
    assert live_share(notes, None, MS + 1).n_events == 100, "a broker that cannot tell members"
    nothing = live_share(notes, group, MS + UNHEALTHY_MS)
    assert as_share(nothing)["share"] is None and "have counted none" in share_text(nothing)


@pytest.mark.parametrize(("n_unknown", "is_problem"), [(20, True), (10, True), (9, False), (0, False)])
def test_status_names_what_the_recommender_committed(n_unknown: int, is_problem: bool) -> None:
    """The command needs no worker's page for the line, the share and the remedy."""
    flow = Flow("recommender", "sequences", None, {}, {}, share=CatalogueShare("", 20, n_unknown, "100.0", MS))
    problems = problems_of(flow)
    assert len(problems) == is_problem
    for word in ("20 of the last 20", "'100.0'", "headrace items list") if n_unknown == 20 else ():
        assert word in problems[0]
    known = 20 - n_unknown
    assert as_dict(flow)["known_items"] == {"events": 20, "known": known, "share": known / 20, "example": "100.0"}
    assert f"  the catalogue has the items of {known} of the last 20 events" in as_lines([flow], [], problems)[1]
    assert as_dict(Flow("sequencer", "events", None, {}, {}))["known_items"] is None
