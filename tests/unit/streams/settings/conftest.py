"""A token endpoint, and the secret of its client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.security.tokens import SECRET, Endpoint, token_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Give an endpoint for client credentials."""
    with token_endpoint() as served:
        yield served


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """Give a file with the client's secret."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(SECRET + "\n")
    return str(file)
