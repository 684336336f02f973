"""An artifact holds no user rows, so forgetting a user changes none: receipts say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.support import tiny


@pytest.mark.model
def test_an_artifact_names_no_user_and_has_no_row_for_each(tmp_path: Path) -> None:
    """Neither an id of the log's users, nor a tensor with as many rows as there are users."""
    folder = Path(tiny.artifact())
    users = {line.split(",")[0].encode() for line in tiny.write_log(tmp_path / "log.csv").read_text().splitlines()[1:]}
    assert len(users) == tiny.N_USERS
    named = re.compile(rb"(?<![A-Za-z0-9_])(" + b"|".join(sorted(users, reverse=True)) + rb")(?![A-Za-z0-9_])")
    n_tensors = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".safetensors":
            with safe_open(path, "np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                    n_tensors += 1
                    assert tensors.get_slice(name).get_shape()[:1] != [tiny.N_USERS], f"{path.name}: {name}"
        elif path.is_file():
            assert not named.search(path.read_bytes()), path.name
    assert n_tensors > 10
