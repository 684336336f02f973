"""``headrace bench lists``: its options, its summary, and what counts as the same list."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.errors import InputError
from tools.bench import lists
from tools.bench.lists import Options, differences, summarize, with_ratios
from tools.bench.made.shop import made_shop, made_windows


def options(*arguments: str) -> Options:
    """Return the options that a command line gives."""
    parser = argparse.ArgumentParser()
    lists.add_arguments(parser)
    return lists.options_of(parser.parse_args(arguments))


def test_a_part_can_be_chosen() -> None:
    """A short run needs few numbers."""
    chosen = options("--presets", "demo", "--items", "2000", "--lengths", "50", "--batches", "1,64", "--repeats", "2")
    assert (chosen.presets, chosen.items, chosen.lengths, chosen.batches) == (("demo",), (2000,), (50,), (1, 64))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--presets", "fast"), "--presets 'fast': must be among demo, best"),
        (("--items", "12,x"), "--items '12,x': must be whole numbers from 1"),
        (("--items", "99"), "--items 99: must be from 100 to 1000000"),
        (("--batches", "0"), "--batches '0': must be whole numbers from 1"),
        (("--batches", "4096"), "--batches 4096: must be at most 512"),
        (("--repeats", "0"), "--repeats 0: must be at least 1"),
        (("--same", "5"), "--same 5: must be at least 0, and needs --beside"),
        (("--beside", "/nowhere"), "--beside /nowhere: is no checkout of headrace"),
    ],
)
def test_bad_options_are_refused(arguments: tuple[str, str], words: str) -> None:
    """The error names option, value and limit."""
    with pytest.raises(InputError, match=words):
        options(*arguments)


def test_costs_are_medians_per_list_and_ratios_are_of_one_cell() -> None:
    """Three turns of ten lists, by hand."""
    turns = [{"cpu_s": cpu_s, "wall_s": 2 * cpu_s, "n": 10} for cpu_s in (0.03, 0.01, 0.02)]
    row = summarize(turns)
    assert row["cpu_us"] == pytest.approx(2_000) and row["wall_us"] == pytest.approx(4_000)
    assert (row["least_cpu_us"], row["most_cpu_us"]) == pytest.approx((1_000, 3_000))
    assert row["lists_per_cpu_s"] == pytest.approx(500)
    cell: dict[str, Any] = {"preset": "best", "items": 2_000, "length": 50, "batch": 1}
    rows = [cell | {"program": "pipeline", "cpu_us": 100.0}, cell | {"program": "limit", "cpu_us": 40.0}]
    rows.append(cell | {"batch": 8, "program": "pipeline", "cpu_us": 7.0})
    assert [row["times_as_cheap"] for row in with_ratios(rows)] == [1.0, 0.4, 1.0]


def test_lists_differ_in_ties_or_otherwise() -> None:
    """Two items with one score may change places."""
    same, turned = [["a", 0.5], ["b", 0.3]], [["b", 0.5], ["a", 0.5]]
    assert differences([same], [[["a", 0.5], ["b", 0.3 + 4e-6]]]) == {
        "lists": 1, "same": 1, "ties": 0, "others": 0, "far": 0, "greatest_score_gap": pytest.approx(4e-6),
    }  # fmt: skip
    assert differences([turned], [[["a", 0.5], ["b", 0.5]]])["ties"] == 1
    assert differences([same, same], [[["b", 0.5], ["a", 0.3]], [["b", 0.9], ["c", 0.3]]])["others"] == 1
    assert differences([same], [same[:1]])["others"] == 1


@pytest.mark.model
def test_a_made_shop_is_the_same_for_the_same_seed() -> None:
    """Every program of a run, and every run, sees one shop."""
    one, other = made_shop("demo", 300), made_shop("demo", 300)
    assert one.artifact.version == other.artifact.version
    np.testing.assert_array_equal(one.vectors, other.vectors)
    windows = made_windows(one.groups, 5, 20)
    assert windows["rows"].shape == (5, 20) and windows["rows"].max() < 300
    assert (np.diff(windows["times"], axis=1) > 0).all()


@pytest.mark.long
def test_the_programs_take_turns_on_one_shop(tmp_path: Path) -> None:
    """A short run gives a row for each program, and a commit's lists are those of itself."""
    short = ("--presets", "demo", "--items", "300", "--lengths", "50", "--batches", "1,8", "--repeats", "1")
    found = lists.run(options(*short, "--beside", str(lists.ROOT), "--same", "64"))
    programs = {row["program"] for row in found["table"]}
    assert programs >= {"pipeline", "limit", "loop", "beside", "beside, told"}
    assert len(found["table"]) == 2 * len(programs)
    assert [row["others"] for row in found["same_lists"]] == [0]
    assert lists.as_table(found)
