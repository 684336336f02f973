"""The benchmark of a catalogue that changes.

Every change comes into force, and no list shows a hidden item.
"""

from __future__ import annotations

import pytest

from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import catalogue
from tools.bench.catalogue import SUBJECT
from tools.bench.live.changing_catalogue import Probes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--items", "10"), "--items 10: must be from 100"),
        (("--rates", "-1"), "--rates -1: must be from 0"),
        (("--seconds", "0"), "--seconds 0: must be from 1"),
        (("--rounds", "99"), "--rounds 99: must be from 1 to 20"),
        (("--workers", "9"), "--workers 9: must be from 1 to 8"),
    ],
)
def test_a_number_out_of_its_range_is_refused(words: tuple[str, ...], told: str) -> None:
    """The message names the option, the value and the limit."""
    with pytest.raises(InputError, match=told):
        SUBJECT.options_of(arguments(catalogue, *words))


@pytest.mark.model
def test_every_change_comes_into_force_and_no_hidden_item_is_listed() -> None:
    """A short run of a small shop; rate 0 is always measured, because ratios need it."""
    chosen = SUBJECT.options_of(
        arguments(catalogue, "--items", "300", "--rates", "40", "--seconds", "1", "--rounds", "1")
    )
    result = SUBJECT.run(chosen)
    (size,) = result["sizes"]
    without, found = size["rates"]
    assert (without["rate"], without["changes"], without["ratio"]) == (0.0, 0, 1.0)
    assert found["changes"] > 0 and found["in_force"] == found["changes"]
    assert found["wrong_items"] == 0 and size["recall"] == 1.0
    assert size["peak_mb"] >= size["memory_mb"] and size["start_s"] > 0
    assert len(SUBJECT.as_table(result)) == 3


def test_through_a_broker_needs_events_and_users_within_limits() -> None:
    """What is measured through a broker takes the benchmark's sizes and rates."""
    with pytest.raises(InputError, match="--events 0: must be from 1"):
        SUBJECT.options_of(arguments(catalogue, "--through-broker", "--events", "0"))
    chosen = SUBJECT.options_of(arguments(catalogue, "--through-broker", "--items", "300", "--rates", "5"))
    assert chosen.live is not None and chosen.live.workers == 1
    assert (chosen.live.sizes, chosen.live.rates) == ((300,), (0.0, 5.0))
    assert SUBJECT.options_of(arguments(catalogue)).live is None


def test_a_probe_ages_until_the_last_list_that_shows_it() -> None:
    """The most listed items are hidden; one that no list shows again has age 0."""
    probes = Probes()
    for _ in range(3):
        probes.arrived(["a", "b"], 1.0)
    probes.arrived(["c"], 1.0)
    assert probes.next()[:2] == ["a", "b"]
    probes.hide(["a", "b"], 10.0)
    probes.arrived(["a", "c"], 10.2)
    probes.arrived(["a"], 10.25)
    assert probes.end() == ["a", "b"] and probes.ages_ms == pytest.approx([250.0, 0.0])
    probes.arrived(["a"], 12.0)  # shown again
    assert len(probes.ages_ms) == 2 and probes.next() == ["a"]
