"""The benchmark of a catalogue that changes.

Every change comes into force, and no list shows a hidden item.
"""

from __future__ import annotations

import pytest

from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import catalogue
from tools.bench.catalogue import SUBJECT


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--items", "10"), "--items 10: must be from 100"),
        (("--rates", "-1"), "--rates -1: must be from 0"),
        (("--seconds", "0"), "--seconds 0: must be from 1"),
        (("--rounds", "99"), "--rounds 99: must be from 1 to 20"),
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
    assert len(SUBJECT.as_table(result)) == 3
