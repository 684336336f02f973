"""The benchmark of recovery: its windows, and its options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streams.contract.windows import decode_window
from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import recovery
from tools.bench.recovery import Options, full_window, leave_page_cache, options_of


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
        ("--uncached", "--broker", "127.0.0.1:9092"),
    ):
        with pytest.raises(InputError, match=argv[0]):
            parsed(*argv)
    assert parsed().kinds == ("memory", "rocksdb_cold", "rocksdb_kept")


def test_windows_that_do_not_fit_on_the_disk_are_refused_before_the_broker_starts() -> None:
    """The message names the sizes, the folder and the remedy."""
    with pytest.raises(InputError, match=r"need about .* GB in .*TMPDIR"):
        recovery.run(replace(parsed(), n_windows=10**9, n_bytes=10**6))


def test_files_that_leave_the_page_cache_keep_their_bytes(tmp_path: Path) -> None:
    """Also those in folders; a link to nothing is passed over."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "000001.sst").write_bytes(b"x" * 10_000)
    (tmp_path / "gone").symlink_to(tmp_path / "absent")
    leave_page_cache(tmp_path)
    assert (tmp_path / "store" / "000001.sst").read_bytes() == b"x" * 10_000
