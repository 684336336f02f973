"""What a million costs: the meters, and the arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import cost
from tools.bench.cost import Cost, Options, options_of
from tools.bench.live.meters import Joules, log_bytes


def parsed(*argv: str) -> Options:
    return options_of(arguments(cost, *argv))


def test_a_cost_is_scaled_to_a_million_and_unknown_stays_unknown() -> None:
    cost = Cost(
        50_000, 2_000, 3.0, {"sequencer": 0.5, "broker": 0.1}, 5_000_000, None, 10.0, None, {"events": 4_000_000}
    )
    assert cost.per_million(cost.n_events) == {
        "cpu_s": {"sequencer": 10.0, "broker": 2.0},
        "wire_mb": 100.0,
        "disk_mb": None,
        "disk_mb_by_topic": {"events": 80.0},
        "joules": 200.0,
        "gpu_s": None,
    }


def test_logs_are_summed_by_topic(tmp_path: Path) -> None:
    for name, size in (("x.events-0", 10), ("x.events-1", 20), ("x.user-vectors-0", 5), ("other-0", 99)):
        (tmp_path / "kafka" / name).mkdir(parents=True)
        (tmp_path / "kafka" / name / "00.log").write_bytes(b"a" * size)
        (tmp_path / "kafka" / name / "00.index").write_bytes(b"a" * 1000)
    assert log_bytes(tmp_path, "x.") == {"events": 30, "user-vectors": 5}


def package(root: Path, name: str, energy: int) -> Path:
    place = root / name
    place.mkdir(exist_ok=True)
    (place / "energy_uj").write_text(f"{energy}\n")
    (place / "max_energy_range_uj").write_text("1000000000\n")
    return place


def test_joules_are_those_of_the_packages_also_past_the_end_of_a_counter(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 1_000_000)
    package(tmp_path, "intel-rapl:1", 999_000_000)
    package(tmp_path, "intel-rapl:0:0", 7)
    joules = Joules(tmp_path)
    package(tmp_path, "intel-rapl:0", 3_500_000)
    package(tmp_path, "intel-rapl:1", 500_000)
    package(tmp_path, "intel-rapl:0:0", 99_000_000)
    assert joules.why_not is None and joules.since() == pytest.approx(2.5 + 1.5)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    joules = Joules(tmp_path / "none")
    assert joules.since() is None and "no energy counters" in (joules.why_not or "")


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (("--presets", "worst"), "--presets worst: must be of demo, best"),
        (("--windows", "0"), "--windows 0: each must be 1 to 1000"),
        (("--windows", "x"), "--windows x: must be whole numbers"),
        (("--events", "5"), "--events 5: must be 10000 to 10000000"),
        (("--rounds", "0"), "--rounds 0: must be 1 to 100"),
    ],
)
def test_options_out_of_range_are_refused(argv: tuple[str, str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        parsed(*argv)
