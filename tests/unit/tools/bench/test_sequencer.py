"""The sequencer's benchmark: its events, its check that all programs did the same, its ratios."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from streams.contract.records import EventDecoder
from streams.errors import InputError, RunError
from streams.sequencer.absorb_batch import absorb_batch
from streams.settings.record_limits import WindowBounds
from tests.support.builders import FakeRecord
from tests.support.programs import arguments
from tools.bench import sequencer
from tools.bench.live.peers import streams_peer
from tools.bench.live.peers.load import plain_records, records
from tools.bench.sequencer import Options, as_table, check_counts, options_of, summarize


def parsed(*argv: str) -> Options:
    return options_of(arguments(sequencer, *argv))


def test_the_load_has_every_outcome_and_is_the_same_each_time() -> None:
    made = list(records(20_000, 200, seed=3))
    assert made == list(records(20_000, 200, seed=3)) != list(records(20_000, 200, seed=4))
    read = [FakeRecord(record.key, record.value or b"", i) for i, record in enumerate(made)]
    decoder, now_ms = EventDecoder(300_000), 1_800_000_000_000
    counts = absorb_batch(read, lambda _: None, decoder, WindowBounds(), now_ms).counts
    assert counts.read == counts.accepted + counts.duplicate + counts.late + counts.rejected == 20_000
    assert 300 < counts.duplicate < 500 and 100 < counts.late < 300 and 50 < counts.rejected < 150
    assert Counter(len(record.value or b"") > 0 for record in made) == {True: 20_000}


def test_the_obvious_agents_events_are_json_without_faults() -> None:
    made = list(plain_records(500, 20, seed=1))
    decoder = EventDecoder(300_000)
    ids = {decoder.decode_event(record.key, record.value, 1_800_000_000_000).event_id for record in made}
    assert len(ids) == 500 and all((record.value or b"").startswith(b"{") for record in made)


def test_programs_that_count_otherwise_are_an_error() -> None:
    same = {"accepted": 5.0, "duplicate": 2.0, "late": 1.0, "rejected": 0.0}
    check_counts({"sequencer": same, "streams": dict(same)})
    with pytest.raises(RunError, match=r"did not do the same.*'streams': \[5, 2, 0, 1\]"):
        check_counts({"sequencer": same, "streams": same | {"late": 0.0, "rejected": 1.0}})


def test_ratios_are_medians_of_pairs_that_ran_beside_each_other() -> None:
    def run(rate: float) -> dict[str, float]:
        counts = dict.fromkeys(("accepted", "duplicate", "late", "rejected"), 1.0)
        return {"events_per_s": rate, "cpu_us_per_event": 1e6 / rate} | counts

    found = summarize(
        {
            "sequencer": [run(100), run(50), run(300)],
            "aiokafka": [run(100), run(100), run(100)],
            "streams": [run(50), run(50), run(50)],
        }
    )
    assert found["ratio_vs_raw_aiokafka"] == 1.0 and found["ratio_vs_raw_aiokafka_range"] == [0.5, 3.0]
    assert found["ratio_vs_kafka_streams"] == found["cpu_ratio_vs_kafka_streams"] == 2.0
    assert "ratio_vs_obvious_agent" not in found
    shown = as_table(found | {"left_out": {"obvious": "why"}, "machine": "m", "broker": "b", "date": "d", "repeats": 3})
    assert "obvious is left out: why" in shown


@pytest.mark.parametrize("argv", [("--repeats", "0"), ("--events", "10"), ("--warm", "0"), ("--users", "0")])
def test_sizes_out_of_range_are_refused(argv: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=rf"{argv[0]}={argv[1]} must be at least"):
        parsed(*argv)
    assert parsed("--peers").has_peers and not parsed().has_peers


def test_a_machine_without_maven_leaves_the_peer_out_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "mvn" else f"/bin/{name}")
    with pytest.raises(streams_peer.PeerUnavailableError, match="mvn not found; install Maven and a JDK"):
        streams_peer.build(tmp_path)


def test_a_build_that_fails_says_what_maven_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "mvn"
    tool.write_text("#!/bin/sh\necho '[INFO] x'; echo '[ERROR] no such artifact'; exit 3\n")
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(streams_peer.PeerUnavailableError, match=r"Maven ended with 3: \[ERROR\] no such artifact"):
        streams_peer.build(tmp_path / "out")
