"""What linear algebra is told about the processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.base.processor import algebra_environment, set_up_algebra

AVX_512 = "avx512f avx512cd avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("vendor", "flags", "is_told"),
    [
        ("AuthenticAMD", f"fpu {AVX_512} sse", True),
        ("AuthenticAMD", "fpu avx2 avx512f", False),
        ("GenuineIntel", f"fpu {AVX_512}", False),
    ],
)
def test_openblas_is_told_of_avx_512_where_it_does_not_see_it(
    tmp_path: Path, vendor: str, flags: str, is_told: bool
) -> None:
    """Only AMD's processors with all that the kernels need."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t: none\n")
    assert algebra_environment(cpuinfo) == ({"OPENBLAS_CORETYPE": "SkylakeX"} if is_told else {})


def test_a_machine_without_a_description_is_no_error(tmp_path: Path) -> None:
    """As on macOS."""
    assert algebra_environment(tmp_path / "none") == {}


def test_what_is_set_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's choice wins."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    set_up_algebra(is_beside_events=True)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
