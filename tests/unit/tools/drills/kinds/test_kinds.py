"""The pure parts of the kinds: the plan of kills, waves, bounds, poison, limits."""

from __future__ import annotations

import argparse
import pkgutil
import random
from pathlib import Path

import pytest

from models.artifact.artifact import ArtifactError, load_artifact
from streams.contract.records import Item, RecordDecoder
from streams.errors import InputError, RecordError
from tests.support import tiny
from tools.commands.trials.drill import add_arguments, plan_of
from tools.drills import kinds
from tools.drills.artifact import catalogue_of
from tools.drills.kind import KINDS, load_kind
from tools.drills.kinds import kill
from tools.drills.kinds.kill import MOMENTS, plan_faults
from tools.drills.kinds.overload import wrong
from tools.drills.kinds.poison import damaged_copy, poisoned_items
from tools.drills.kinds.soak import MAX_GROWN_FILES, MAX_SLOPE_MB_PER_MIN, creeping, not_judged, rate_of
from tools.drills.plan import Needs
from tools.drills.resource_watch import MB, Sample, after_warm_up, slope_mb_per_min

pytestmark = pytest.mark.model


def parsed(*argv: str) -> argparse.Namespace:
    """Return the command's parsed arguments."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_its_module(name: str) -> None:
    """A kind that cannot be loaded fails here, and not in a night run."""
    kind = load_kind(name)
    assert plan_of(parsed(name), kind.needs).kind == name
    assert kind.script.__module__ == f"tools.drills.kinds.{name.replace('-', '_')}"


def test_every_module_of_a_kind_is_in_the_table() -> None:
    """A kind that the command does not know would never run."""
    modules = {module.name for module in pkgutil.iter_modules(kinds.__path__)}
    assert modules == {name.replace("-", "_") for name in KINDS}


def test_a_module_without_a_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped constant is an error, and not a drill without harm."""
    monkeypatch.delattr(kill, "KIND")
    with pytest.raises(TypeError, match=r"tools.drills.kinds.kill: KIND is None, must be a tools.drills.kind.Kind"):
        load_kind("kill")


@pytest.mark.parametrize("name", ["rebalance", "replay"])
def test_a_kind_that_needs_one_worker_of_each_app_gets_one(name: str) -> None:
    """Workers that join are counted from one; a rebuild has workers of its own."""
    assert plan_of(parsed(name, "--workers", "2"), load_kind(name).needs).n_workers == 1
    assert plan_of(parsed("kill", "--workers", "2"), load_kind("kill").needs).n_workers == 2


@pytest.mark.parametrize("option", ["--users=0", "--rate=0", "--kills=0", "--minutes=0", "--malformed-share=0.2"])
def test_a_number_out_of_range_is_one_line(option: str) -> None:
    """The message names the option, the value and the limits."""
    with pytest.raises(InputError, match=rf"^{option.split('=')[0]} [\d.]+: must be [\d.]+ to [\d.]+$"):
        plan_of(parsed("kill", option), Needs())


def test_kills_come_at_every_moment_to_both_apps_in_an_order_of_the_seed() -> None:
    """The plan has each bad moment once, a zombie at least once, and other kills."""
    plan = plan_faults(10, random.Random(1))
    moments = [moment for moment, _ in plan]
    assert set(MOMENTS) | {"zombie"} == set(moments) and moments.count("zombie") == 2 and len(moments) == 12
    assert {app for _, app in plan} == {"sequencer", "recommender"}
    assert plan == plan_faults(10, random.Random(1)) != plan_faults(10, random.Random(2))
    for seed in range(10):
        pauses = [app for moment, app in plan_faults(10, random.Random(seed)) if moment == "zombie"]
        assert pauses == ["sequencer", "recommender"]
        assert ("zombie", "sequencer") in plan_faults(1, random.Random(seed))


def test_memory_that_creeps_is_seen_and_warm_up_is_not() -> None:
    """A line of 3 MB a minute after the warm-up has that slope, whatever came before."""
    warming = [Sample(t, 500 * MB, 9) for t in range(0, 60, 5)]
    creeps = [Sample(t, 100 * MB + int(t * 3 * MB / 60), 9) for t in range(60, 300, 5)]
    assert slope_mb_per_min(after_warm_up(warming + creeps, 60)) == pytest.approx(3.0, rel=1e-3)
    assert slope_mb_per_min(warming) == slope_mb_per_min([]) == slope_mb_per_min(warming[:1]) == 0.0


def test_only_long_lives_are_judged() -> None:
    """A process that has just started still fills its windows."""
    fast = MAX_SLOPE_MB_PER_MIN + 1
    lives: list[dict[str, float | str]] = [
        {"worker": "sequencer-0", "seconds": 60.0, "slope_mb_per_min": fast, "grown_files": 99},
        {"worker": "recommender-0", "seconds": 4_000.0, "slope_mb_per_min": fast, "grown_files": 0},
        {"worker": "recommender-1", "seconds": 4_000.0, "slope_mb_per_min": 0.1, "grown_files": MAX_GROWN_FILES + 1},
        {"worker": "recommender-2", "seconds": 4_000.0, "slope_mb_per_min": 0.1, "grown_files": MAX_GROWN_FILES},
    ]
    assert [line.split(":")[0] for line in creeping(lives)] == ["recommender-0", "recommender-1"]
    assert not_judged(lives) == ["no sequencer lived 780 s: memory not judged; raise --minutes"]


def test_a_wave_swings_around_the_rate() -> None:
    """A wave goes from half to one and a half times the rate; a pause has no events."""
    rates = [rate_of("wave", 100, at_s) for at_s in range(60)]
    assert (min(rates), max(rates)) == pytest.approx((50, 150), rel=0.01)
    assert (rate_of("burst", 100, 3), rate_of("pause", 100, 3)) == (500, 0)


def test_every_bound_of_the_overload_can_be_broken() -> None:
    """The bounds are of one user's lists, of memory, and of freshness."""
    good = {
        "crawler_lists_per_minute": 600,
        "hot_lists_per_minute": 600,
        "growth_mb": {"sequencer-0": 20.0},
        "superseding_wait_s": 20.0,
        "others_freshness_ms": {"p99": 24_000.0},
        "recovered_freshness_ms": {"p99": 200.0},
    }
    assert wrong(good, 600) == []
    assert len(wrong(good | {"crawler_lists_per_minute": 700}, 600)) == 1
    assert len(wrong(good | {"growth_mb": {"sequencer-0": 2_000.0}}, 600)) == 1
    assert len(wrong(good | {"recovered_freshness_ms": {"p99": 60_000.0}}, 600)) == 1
    assert len(wrong(good | {"recovered_freshness_ms": {"p99": None}}, 600)) == 1
    assert len(wrong(good | {"others_freshness_ms": {"p99": 26_000.0}}, 600)) == 1, "a quarter more is 25 s"
    quick = good | {"superseding_wait_s": 0.5, "others_freshness_ms": {"p99": 4_000.0}}
    assert wrong(quick, 600) == [], "with few users the wait is less than a pause of the machine"


def test_poison_for_the_catalogue_is_poison() -> None:
    """The catalogue must not change, because the drill expects the lists of the old one."""
    decoder = RecordDecoder(Item)
    for key, value in poisoned_items("i1"):
        if value is None:
            assert key != b"i1"
            continue
        with pytest.raises(RecordError):
            decoder.decode(value)


def test_a_damaged_copy_is_refused_and_the_original_is_not(tmp_path: Path) -> None:
    """The drill damages its own copy."""
    with pytest.raises(ArtifactError, match="checksum"):
        load_artifact(damaged_copy(tiny.artifact(), tmp_path / "damaged"))
    assert len(catalogue_of(tiny.artifact())) == len(load_artifact(tiny.artifact()).manifest.item_ids) > 0
