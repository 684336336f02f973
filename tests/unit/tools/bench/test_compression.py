"""``headrace bench compression`` measures every codec on seeded records."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest

from streams.contract.kafka_records import OutRecord
from streams.contract.records import Recommendation, RecordDecoder
from streams.contract.windows import decode_window
from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import compression as bench_compression
from tools.bench.compression import CODECS, Cost, lists, measure, options_of, summarize, windows
from tools.main import main


def test_a_small_run_reports_every_codec(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object for programs, one table for people."""
    assert main(["bench", "compression", "--records", "400", "--repeats", "2", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["table"]
    assert [(row["kind"], row["codec"]) for row in table] == [
        (kind, codec) for kind in ("windows", "small windows", "lists") for codec in CODECS
    ]
    for row in table:
        assert row["records"] == 400
        assert row["write_us"]["min"] <= row["write_us"]["median"] <= row["write_us"]["max"]
        assert row["share"] == 1.0 if row["codec"] == "none" else row["share"] < 0.9
    assert main(["bench", "compression", "--records", "40", "--repeats", "1"]) == 0
    assert "small windows  zstd" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make", [lambda rng: windows(5, 10, rng), lambda rng: lists(50, rng)], ids=["windows", "lists"]
)
def test_the_data_is_seeded(make: Callable[[random.Random], Iterator[OutRecord]]) -> None:
    one, same, other = (list(make(random.Random(seed))) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 50


def test_the_records_are_those_of_the_contract() -> None:
    """Windows grow to as many events as a user had; lists have all their items."""
    last = {record.key: decode_window(record.value or b"") for record in windows(3, 10, random.Random(1))}
    assert [(len(state.items), state.revision) for state in last.values()] == [(40, 40)] * 3
    (made,) = (RecordDecoder(Recommendation).decode(record.value) for record in lists(1, random.Random(1)))
    assert len(made.items) == 10


def test_batches_of_one_are_larger() -> None:
    records = list(lists(20, random.Random(1)))
    assert measure(records, CODECS["zstd"], 1).n_bytes > 1.2 * measure(records, CODECS["zstd"], 20).n_bytes


def test_times_are_medians_with_their_range() -> None:
    rows = summarize(
        "lists", 9, {"none": [Cost(100, t, 1.0, 1.0) for t in (5.0, 1.0, 2.0)], "zstd": [Cost(40, 1.0, 1.0, 1.0)] * 3}
    )
    assert rows[0]["write_us"] == {"median": 2.0, "min": 1.0, "max": 5.0}
    assert rows[1]["share"] == 0.4


@pytest.mark.parametrize("words", [("--records", "9"), ("--batch", "0"), ("--repeats", "0")])
def test_what_cannot_be_measured_is_refused(words: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=f"{words[0]} {words[1]}: must be at least"):
        options_of(arguments(bench_compression, *words))


def test_records_that_get_lost_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_compression, "as_batch", lambda records, codec: whole_batch(records[1:], codec))
    with pytest.raises(AssertionError, match="9 records came back of 10"):
        measure(list(lists(10, random.Random(1))), 0, 10)


whole_batch = bench_compression.as_batch
