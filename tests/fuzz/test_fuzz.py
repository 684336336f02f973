"""A short run of the fuzz targets: every seed through every target, then seeded mutations."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from streams.contract import records
from streams.errors import RecordError
from tests.fuzz.corpus import SEEDS, mutated
from tests.fuzz.targets import MAX_SECONDS, run, targets

N_MUTATIONS = 4_000


def test_seeds_and_mutations_raise_only_what_is_promised(tmp_path: Path) -> None:
    """No input may stop a worker with an unforeseen error."""
    checks = targets(tmp_path)
    for seed in SEEDS:
        for i in range(len(checks)):
            run(bytes([i]) + seed, checks)
    rng = random.Random(20_261)
    for _ in range(N_MUTATIONS):
        data = bytes([rng.randrange(len(checks))]) + mutated(rng)
        try:
            run(data, checks)
        except Exception as exc:
            pytest.fail(f"{data!r}: {exc!r}")


def test_the_targets_find_an_error_that_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds alone find a decoder that leaks another error."""
    decode = records.RecordDecoder.decode

    def leaking(self: records.RecordDecoder[object], value: bytes | None) -> object:
        try:
            return decode(self, value)
        except RecordError as error:
            raise ValueError(error.detail) from error

    monkeypatch.setattr(records.RecordDecoder, "decode", leaking)
    checks = targets(tmp_path)
    with pytest.raises(ValueError, match="first byte"):
        run(b"\x00hello", checks)


def test_the_bound_on_time_is_far_above_what_a_large_record_needs(tmp_path: Path) -> None:
    """The greatest record decodes in a small part of the time bound."""
    checks = targets(tmp_path)
    started = time.process_time()
    run(b"\x00" + b'{"v":1,"x":[' + b"1," * 32_000 + b"1]}", checks)
    assert time.process_time() - started < MAX_SECONDS / 4
