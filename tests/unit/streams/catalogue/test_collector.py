"""The search for cycles is paused for a load, and goes on as it was."""

from __future__ import annotations

import gc

import pytest

from streams.catalogue.collector import collector_paused


@pytest.mark.parametrize("was_enabled", [True, False])
def test_it_is_as_before_after_a_load_that_failed(*, was_enabled: bool) -> None:
    """Whoever had it off keeps it off."""
    before = gc.isenabled()
    try:
        (gc.enable if was_enabled else gc.disable)()
        with pytest.raises(OSError, match="lost"), collector_paused():
            assert not gc.isenabled()
            raise OSError("lost")
        assert gc.isenabled() is was_enabled
    finally:
        (gc.enable if before else gc.disable)()
