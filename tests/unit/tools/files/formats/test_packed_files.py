"""Compressed files as streams: bounded memory, bounded size, and truncation is an error."""

from __future__ import annotations

import gzip
import resource
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from streams.errors import InputError
from tools.files.formats.packed_files import FREE_BYTES, MAX_RATIO, check_unpacked, open_unpacked
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader
from tools.files.refused_rows import RefusedRows

PEAK_BYTES = 4 << 20


def read_all(path: Path) -> int:
    """Return how many bytes a file unpacks to, read a piece at a time."""
    with open_unpacked(path, str(path)) as content:
        return sum(len(piece) for piece in iter(lambda: content.read(1 << 16), b""))


def packed(suffix: str, data: bytes) -> bytes:
    """Return data in gzip or zstd."""
    return gzip.compress(data) if suffix == "gz" else zstandard.ZstdCompressor(level=19).compress(data)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_frames_after_one_another_are_one_file(tmp_path: Path, suffix: str) -> None:
    """As ``cat`` makes them; other files are left alone."""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(packed(suffix, b"abc" * 1_000) + packed(suffix, b"d"))
    assert read_all(path) == 3_001
    (tmp_path / "plain").write_bytes(b"plain text")
    with open_unpacked(tmp_path / "plain", "plain") as content:
        assert content.read() == b"plain text"


def test_a_zstd_bomb_is_unpacked_a_piece_at_a_time(tmp_path: Path) -> None:
    """8 KB that are 256 MB: they do not come in one call, and end at the bound."""
    path = tmp_path / "bomb.zst"
    path.write_bytes(packed("zst", bytes(1 << 28)))
    size = path.stat().st_size
    assert size < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"unpacks to more than 128 MiB and 200 times its {size} bytes"):
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_log_that_unpacks_to_far_more_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good rows without end are as bad as one line without end."""
    monkeypatch.setattr("tools.files.formats.packed_files.FREE_BYTES", 1 << 20)
    path = tmp_path / f"log.csv.{suffix}"
    rows = b"user_id,item_id,ts\n" + b"u,i,1600000000\n" * 100_000
    frame = packed(suffix, rows)
    path.write_bytes(frame * ((1 << 20) // (len(rows) - MAX_RATIO * len(frame)) + 1))
    n_read = 0
    with pytest.raises(InputError, match="unpacks to more than"):
        for _ in LogReader(LogSource((path,)), RefusedRows(shown=0)):
            n_read += 1
    assert n_read > 10_000


def test_the_bound_grows_with_the_file() -> None:
    """The ratio is the same for logs of every size, and a small log has some megabytes free."""
    check_unpacked(Path("a"), FREE_BYTES, 10)
    check_unpacked(Path("a"), MAX_RATIO * (10 << 30), 10 << 30)
    with pytest.raises(InputError):
        check_unpacked(Path("a"), FREE_BYTES + MAX_RATIO * 10 + 1, 10)


@pytest.mark.parametrize("cut", [1, 5, 10])
def test_a_frame_that_ends_early_is_damaged(tmp_path: Path, cut: int) -> None:
    """Its rows never pass for the whole log; nor does what follows the last frame pass for one."""
    frame = packed("zst", b"user_id,item_id,ts\nu,i,1600000000\n" * 10)
    for data in (frame[:-cut], frame + frame[:cut], frame + b"xx"):
        path = tmp_path / "a.csv.zst"
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged zstd"):
            read_all(path)


def test_a_window_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """A frame names how much of the past it refers to: 2 GiB here."""
    path = tmp_path / "a.zst"
    parameters = zstandard.ZstdCompressionParameters(window_log=31)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(stream.compress(b"x" * 1_000) + stream.flush())
    with pytest.raises(InputError, match="damaged zstd"):
        read_all(path)
