"""What unit tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread where a test has imported it.

    Then results do not depend on the machine.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # a worker that ran in this process disables it
    with_onednn = torch.backends.mkldnn.set_flags(_enabled=True)[0]
    yield
    torch.set_num_threads(before)
    torch.backends.mkldnn.set_flags(_enabled=with_onednn)
