"""The benchmark of recovery: its windows, and its options."""

from __future__ import annotations

import pytest

from streams.contract.windows import decode_window
from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import recovery
from tools.bench.recovery import Options, full_window, options_of


def parsed(*argv: str) -> Options:
    return options_of(arguments(recovery, *argv))


@pytest.mark.parametrize("n_bytes", [2_000, 4_000])
def test_a_made_window_is_one_of_the_contract_and_of_the_size(n_bytes: int) -> None:
    value = full_window(n_bytes)
    state = decode_window(value)
    assert abs(len(value) - n_bytes) < 60
    assert len(state.items) == 50 and state.recent == sorted(state.recent) and len(state.recent) <= 100


def test_options_out_of_range_are_refused() -> None:
    for argv in (
        ("--windows", "5"),
        ("--bytes", "1"),
        ("--repeats", "0"),
        ("--kinds", "disk"),
        ("--kinds", "rocksdb_kept"),
    ):
        with pytest.raises(InputError, match=argv[0]):
            parsed(*argv)
    assert parsed().kinds == ("memory", "rocksdb_cold", "rocksdb_kept")
