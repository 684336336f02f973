"""``headrace demo``: what it refuses before it begins."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from streams.errors import InputError
from tools.commands.trials.demo import options_of


def test_a_log_without_its_catalogue_is_refused(tmp_path: Path) -> None:
    """Lists without titles show nothing: --log and --items go together."""
    with pytest.raises(InputError, match="go together"):
        options_of(argparse.Namespace(log=tmp_path / "log.csv", items=None))
