"""The load counts every event: with its list, or with the time that it has waited."""

from __future__ import annotations

from tools.bench.live.load import Arrived, Quantiles, Waiting


def made(user_id: str, event_id: str, **fields: object) -> Arrived:
    """Return a full list."""
    return Arrived(**{"user_id": user_id, "event_id": event_id, "degraded": "none"} | fields)  # type: ignore[arg-type]


def test_a_list_answers_the_events_that_it_knows() -> None:
    """A window that a newer one replaced before the model saw it waits for the newer list."""
    waiting = Waiting()
    for second, event in enumerate(["e1", "e2", "e3"]):
        waiting.sent("u", event, float(second), counts=True)
    waiting.arrived(made("u", "e2"), 10.0)
    assert waiting.event_ms == [10_000.0, 9_000.0] and waiting.list_ms == [9_000.0]
    assert waiting.give_up(12.0) == 1
    assert waiting.event_ms == [10_000.0, 9_000.0, 10_000.0]


def test_only_full_lists_answer() -> None:
    """A fallback list is counted apart; an older list answers nothing, nor does a stranger's."""
    waiting = Waiting()
    waiting.sent("u", "e5", 0.0, counts=True)
    waiting.arrived(made("u", "e5", degraded="popular", provisional=True), 1.0)
    waiting.arrived(made("u", "e4"), 1.0)
    waiting.arrived(made("stranger", "e9"), 1.0)
    assert waiting.event_ms == [] and waiting.n_waiting == 1 and waiting.n_provisional == 1
    waiting.arrived(made("u", "e5", degraded="popular"), 2.0)
    assert waiting.event_ms == [2_000.0] and waiting.n_waiting == 0 and waiting.n_degraded == 1


def test_events_of_the_warm_up_do_not_count() -> None:
    waiting = Waiting()
    waiting.sent("u", "e1", 0.0, counts=False)
    waiting.sent("u", "e2", 1.0, counts=True)
    waiting.sent("v", "e3", 1.0, counts=False)
    waiting.arrived(made("u", "e2"), 2.0)
    assert waiting.event_ms == [1_000.0] and waiting.give_up(9.0) == 0 and waiting.n_waiting == 1


def test_quantiles_of_nothing_are_none() -> None:
    assert Quantiles.of([]) == Quantiles(0, None, None, None)
    assert Quantiles.of([float(i) for i in range(101)]) == Quantiles(101, 50.0, 90.0, 99.0)
