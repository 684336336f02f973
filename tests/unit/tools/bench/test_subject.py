"""The table of benchmarks has every benchmark."""

from __future__ import annotations

import pkgutil

import pytest

from tools import bench
from tools.bench import compression
from tools.bench.subject import SUBJECTS, load_subject


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_benchmark_can_be_loaded(name: str) -> None:
    subject = load_subject(name)
    assert subject.run.__module__ == f"tools.bench.{name.replace('-', '_')}"


def test_every_module_of_a_benchmark_is_in_the_table() -> None:
    """A benchmark that the command does not know would never run."""
    modules = {module.name for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg} - {
        "subject",
    }
    assert modules == {name.replace("-", "_") for name in SUBJECTS}


def test_a_module_without_a_benchmark_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(compression, "SUBJECT")
    with pytest.raises(
        TypeError, match=r"tools.bench.compression: SUBJECT is None, must be a tools.bench.subject.Subject"
    ):
        load_subject("compression")
