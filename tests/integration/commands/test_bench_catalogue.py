"""The benchmark of a catalogue that changes, through a broker and both apps."""

from __future__ import annotations

import pytest

from tests.support.programs import arguments
from tools.bench import catalogue
from tools.bench.catalogue import SUBJECT
from tools.bench.live import changing_catalogue
from tools.broker.local_broker import BrokerInfo

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(240), pytest.mark.long]


def test_lists_come_and_hidden_items_leave_them_while_the_catalogue_changes(
    broker: BrokerInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event gets its list at both rates, and hidden items were seen to go."""
    monkeypatch.setattr(changing_catalogue, "HOLD_S", 1.0)
    words = "--through-broker", "--items", "300", "--rates", "20", "--seconds", "5", "--events", "40", "--users", "30"
    result = SUBJECT.run(SUBJECT.options_of(arguments(catalogue, *words, "--broker", broker.bootstrap)))
    (size,) = result["sizes"]
    without, found = size["rates"]
    assert (without["rate"], without["changes"], without["ratio"]) == (0.0, 0, 1.0)
    held = size["memory_mb"]["recommender"]
    assert 0 < held["private"] <= held["proportional"] <= held["resident"] <= held["peak"]
    assert found["rate"] == 20.0 and found["changes"] > 20
    for row in (without, found):
        assert row["lists_per_s"] > 0 and row["unanswered"] == 0
        assert row["age_ms"]["n"] >= changing_catalogue.N_PROBES
    assert len(SUBJECT.as_table(result)) == 3
