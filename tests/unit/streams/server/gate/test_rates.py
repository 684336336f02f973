"""The rate of a caller: a burst of a second, then so many in each second."""

from __future__ import annotations

from streams.server.gate import rates
from streams.server.gate.rates import Rates


def test_a_caller_gets_a_burst_and_then_its_rate() -> None:
    """Other callers have rates of their own."""
    now = [0.0]
    found = Rates(2, lambda: now[0])
    assert [found.wait_s("a") for _ in range(3)] == [0, 0, 0.5]
    assert found.wait_s("b") == 0
    now[0] = 0.25
    assert found.wait_s("a") == 0.25
    now[0] = 0.5
    assert found.wait_s("a") == 0 and found.wait_s("a") > 0
    now[0] = 60
    assert [found.wait_s("a") > 0 for _ in range(3)] == [False, False, True]


def test_strangers_do_not_fill_the_memory() -> None:
    """Addresses can be made up."""
    found = Rates(1, lambda: 0.0)
    for n in range(rates.MAX_CALLERS + 5):
        assert found.wait_s(str(n)) == 0
    assert len(found._buckets) <= rates.MAX_CALLERS  # noqa: SLF001
