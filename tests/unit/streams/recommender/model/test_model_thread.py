"""The model's thread: each caller gets a result or an error, and no job keeps the process alive."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from streams.errors import StalledError
from streams.recommender.model.model_thread import ModelThread

pytestmark = pytest.mark.model


def test_jobs_run_on_one_thread_in_order() -> None:
    """Models are not for two threads at a time."""
    names: list[str] = []
    order: list[int] = []

    def job(i: int) -> int:
        names.append(threading.current_thread().name)
        order.append(i)
        return 2 * i

    async def run() -> list[int]:
        worker = ModelThread("tested")
        results = await asyncio.gather(*(worker.run(job, i) for i in range(20)))
        worker.stop()
        await worker.ended()
        return results

    assert asyncio.run(run()) == [2 * i for i in range(20)]
    assert (order, set(names)) == (list(range(20)), {"tested"})


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_job_raises_reaches_its_caller_and_the_next_job_runs(error: BaseException) -> None:
    """Not even an exit may leave a caller waiting, or end the event loop."""

    def job() -> None:
        raise error

    async def run() -> str:
        worker = ModelThread("tested")
        with pytest.raises((ValueError, RuntimeError)):
            await asyncio.wait_for(worker.run(job), 5)
        return await asyncio.wait_for(worker.run(lambda: "next"), 5)

    assert asyncio.run(run()) == "next"


def test_a_dead_thread_is_replaced() -> None:
    """However it died."""

    async def run() -> list[Any]:
        worker = ModelThread("tested")
        first = await worker.run(threading.get_ident)
        worker.stop()
        await worker.ended()
        return [first, await asyncio.wait_for(worker.run(lambda: "again"), 5)]

    assert asyncio.run(run())[1] == "again"


def test_busy_time_is_that_of_the_job_at_hand() -> None:
    """The judge of a hang; an idle thread is never hung."""
    release = threading.Event()

    async def run() -> tuple[float, float]:
        worker = ModelThread("tested")
        before = worker.busy_s
        job = asyncio.ensure_future(worker.run(release.wait, 10))
        await asyncio.sleep(0.05)
        during = worker.busy_s
        release.set()
        await job
        # the thread notes the end of a job a moment after it has handed the result over
        while worker.busy_s:
            await asyncio.sleep(0.001)
        return before, during

    before, during = asyncio.run(run())
    assert before == 0 and 0.01 < during < 10


def test_a_job_that_hangs_is_given_up_after_the_limit() -> None:
    """Its caller learns of it; a job that ends in time gives its result."""
    release = threading.Event()

    async def run() -> int:
        async with ModelThread("tested") as worker:
            with pytest.raises(StalledError, match="tested: a job has been running for .* limit 0.05 s"):
                await worker.run_within(0.05, release.wait, 10)
            release.set()
            return await worker.run_within(60.0, lambda: 3)

    assert asyncio.run(run()) == 3


def test_a_job_that_hangs_does_not_keep_the_process() -> None:
    """A supervisor can only restart what ends."""
    code = (
        "import asyncio, time\n"
        "from streams.recommender.model import model_thread as e\n"
        "e.STOP_TIMEOUT_S = 0.1\n"
        "async def main():\n"
        "    w = e.ModelThread('model')\n"
        "    asyncio.ensure_future(w.run(time.sleep, 60))\n"
        "    await asyncio.sleep(0.1)\n"
        "    w.stop()\n"
        "    await w.ended()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[5]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=30, check=False).returncode == 0


def test_a_thread_that_waits_holds_nothing_of_its_last_job() -> None:
    """The arguments and the result of a rebuild are a gigabyte at a million items."""

    class Rows:
        """Stands for large arrays."""

    async def run() -> list[Any]:
        worker = ModelThread("tested")
        given = Rows()
        made = await worker.run(lambda rows: (rows, Rows())[1], given)
        gone = [weakref.ref(given), weakref.ref(made)]
        del given, made
        await asyncio.sleep(0.1)
        found = [ref() for ref in gone]
        worker.stop()
        await worker.ended()
        return found

    assert asyncio.run(run()) == [None, None]
