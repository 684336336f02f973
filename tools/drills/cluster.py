"""Starts, supervises, kills and pauses the workers of a drill."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from streams.errors import RunError
from streams.settings.load import Settings
from tools.workers.apps import APP_NAMES, ENDINGS, AppName
from tools.workers.launch import Launch, make_worker
from tools.workers.process import Worker, WorkerError
from tools.workers.supervisor import READY_S, Supervisor

STOP_S: Final = 15.0
POLL_S: Final = 0.1


class DrillWorker(Worker):
    """A worker that can be paused, as a long garbage collection or a stopped virtual machine would.

    Attributes
    ----------
    was_paused : whether the process was paused since its start; a paused worker ends by itself when
        others have taken over its partitions
    """

    was_paused = False

    @property
    def label(self) -> str:
        """Return the app and the number, such as ``sequencer-0``."""
        return self.log_path.stem

    def start(self) -> None:
        """Start the process; a pause of the process before does not count."""
        self.was_paused = False
        super().start()

    def pause(self) -> None:
        """Pause the process with SIGSTOP."""
        self.was_paused = True
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the paused process continue."""
        self._signal_group(signal.SIGCONT)

    def answers(self) -> bool:
        """Whether its pages answer, ready or not."""
        try:
            self.counts()
        except WorkerError:
            return False
        return True

    def rss_bytes(self) -> int:
        """Return the resident memory of the process, 0 when it does not run."""
        return _proc_number(self.pid, "statm", 1) * os.sysconf("SC_PAGE_SIZE") if self.is_running else 0

    def n_files(self) -> int:
        """Return how many files the process has open, 0 when it does not run."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd")) if self.is_running else 0
        except OSError:
            return 0


def _proc_number(pid: int | None, file: str, field: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/{file}").read_text().split()[field])
    except (OSError, ValueError, IndexError):
        return 0


class Cluster:
    """Some workers of each app. A background task restarts at once those that end.

    Parameters
    ----------
    settings : broker, prefix and artifact of the drill
    folder : holds the state directories and the logs of the workers
    env : further environment variables of every worker

    Attributes
    ----------
    ended : a line for each worker that ended although the drill did not kill it, and for each exit
        code other than 0 after an orderly stop
    unexpected : those lines whose worker had not been paused
    """

    def __init__(self, settings: Settings, folder: Path, env: Mapping[str, str]) -> None:
        self._settings = settings
        self._folder = folder
        self._env = dict(env)
        self._supervisors: dict[DrillWorker, Supervisor] = {}
        # process ids that were killed, or are in ``ended`` already
        self._accounted: set[int | None] = set()
        self._numbers = dict.fromkeys(APP_NAMES, 0)
        self.ended: list[str] = []
        self.unexpected: list[str] = []
        self.n_restarts = 0

    @property
    def workers(self) -> list[DrillWorker]:
        """Return the workers that are supervised now."""
        return list(self._supervisors)

    def of_app(self, name: AppName) -> list[DrillWorker]:
        """Return the workers of one app."""
        return [worker for worker in self._supervisors if worker.name == name]

    def make_worker(self, name: AppName, *, module: str = "", env: Mapping[str, str] | None = None) -> DrillWorker:
        """Return one more worker, not started, with a directory, a port and a log of its own.

        Parameters
        ----------
        module : what ``faust -A`` loads instead of the app's own module; empty for the app's own
        env : environment variables of this worker alone
        """
        label = f"{name}-{self._numbers[name]}"
        self._numbers[name] += 1
        variables = {"HEADRACE_ENCODER_CACHE_DIR": str(self._folder / "encoder-cache"), "OMP_NUM_THREADS": "1"}
        variables |= self._env | dict(env or {})
        log = self._folder / f"{label}.log"
        launch = Launch(name, self._folder / label, log, module=module, variables=variables)
        return make_worker(DrillWorker, self._settings, launch)

    def start_worker(self, name: AppName, *, module: str = "", env: Mapping[str, str] | None = None) -> DrillWorker:
        """Start one more worker, see :meth:`make_worker`, and supervise it."""
        worker = self.make_worker(name, module=module, env=env)
        worker.start()
        # Without a window a restart is at once and without limit; the drill itself is bounded.
        self._supervisors[worker] = Supervisor([worker], window_s=0.0)
        return worker

    async def supervise(self) -> None:
        """Restart workers that end, until cancelled."""
        while True:
            now = time.monotonic()
            for worker, supervisor in list(self._supervisors.items()):
                pid = worker.pid
                for line in supervisor.check(now):
                    self.n_restarts += 1
                    self._note_end(worker, pid, line)
            await asyncio.sleep(POLL_S)

    def _note_end(self, worker: DrillWorker, pid: int | None, line: str) -> None:
        if pid in self._accounted:
            return
        self._accounted.add(pid)
        self.ended.append(f"{worker.label}: {line}")
        if not worker.was_paused:
            self.unexpected.append(f"{worker.label}: {line}")

    def kill(self, worker: DrillWorker) -> None:
        """Kill a worker with SIGKILL; the supervisor starts it again."""
        if worker.is_running:
            self._accounted.add(worker.pid)
        worker.kill()

    async def retire(self, worker: DrillWorker) -> None:
        """Stop a worker in order, for good."""
        self._supervisors.pop(worker)
        await self._stop(worker)

    async def _stop(self, worker: DrillWorker) -> None:
        code = await asyncio.to_thread(worker.stop, STOP_S)
        if code:
            line = f"{worker.name} stopped with code {code}, must be 0; {worker.log_tail()}"
            self._note_end(worker, worker.pid, line)

    async def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return when all workers answer that they are ready.

        Raises
        ------
        RunError
            When that takes longer than ``timeout_s``; the message quotes the log of a worker that
            is not ready.
        """
        deadline = time.monotonic() + timeout_s
        for worker in self.workers:
            while not await is_ready(worker):
                if time.monotonic() > deadline:
                    raise RunError(f"{worker.label}: not ready after {timeout_s:g} s; {worker.log_tail()}")
                await asyncio.sleep(POLL_S)

    async def counts(self) -> dict[str, dict[str, Any]]:
        """Return the page ``/counts`` of each worker that answers, by label."""
        found: dict[str, dict[str, Any]] = {}
        for worker in self.workers:
            try:
                found[worker.label] = await asyncio.to_thread(worker.counts)
            except WorkerError:
                continue  # the worker is just being restarted
        return found

    async def stop(self) -> None:
        """Stop all workers at once, each killed when it does not end in time. Repeat-safe."""
        workers = self.workers
        self._supervisors.clear()
        try:
            await asyncio.gather(*(self._stop(worker) for worker in workers))
        finally:
            for worker in workers:
                worker.kill()


async def is_ready(worker: DrillWorker) -> bool:
    """Whether a worker runs and says that it is ready."""
    return worker.is_running and await asyncio.to_thread(worker.is_ready)


def unbalanced(pages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the labels of the pages on which the ends of events do not add up to ``read``."""
    found = []
    for label, page in pages.items():
        totals: Iterable[Mapping[str, int]] = [page["total"], *page["partitions"].values()]
        if any(total["read"] != sum(total[name] for name in ENDINGS) for total in totals):
            found.append(label)
    return found
