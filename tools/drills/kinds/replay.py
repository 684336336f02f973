"""``headrace drill replay``: rebuilds history on other topics, compares and promotes it.

The drill kills the rebuild twice on the way. The rebuilt windows and lists must equal the live
ones.

::

    live     prefill ─ history ─ load ───────────────────────── at rest ─ caught up ─┐
    rebuild            --into ─ kill ─ --into ─ kill ─ --into (done) ──────── --into ┴─ --compare

    live                   load again ─┬─ verdict
    rebuild  --compare ─ promotion ────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from streams.contract.newest_lists import LatestLists
from streams.contract.records import Recommendation, RecordDecoder
from streams.errors import InputError, RunError
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings
from tools.drills.acts.promotion import promote
from tools.drills.acts.replay_command import COMMAND_LIMIT_S, command, start_command
from tools.drills.kind import Kind
from tools.drills.load import MAX_CHUNK
from tools.drills.plan import Needs
from tools.drills.run import delete_topics
from tools.drills.session import CATCH_UP_S, Drill
from tools.replay.rebuild.manifest import load_manifest, run_settings
from tools.workers.apps import APPS
from tools.workers.processes import signal_group

RUN: Final = "again"
N_KILLS: Final = 2
#: Events of history for each user without a log: 100,000 users, the default, make a million.
EVENTS_PER_USER: Final = 10
#: A kill comes when a share of the events that is drawn from this range is copied, and after a
#: pause in seconds.
KILL_SHARE: Final = (0.0, 0.9)
KILL_PAUSE_S: Final = (0.0, 3.0)
POLL_S: Final = 0.05


@dataclass(frozen=True)
class Lists:
    """The lists of a run.

    Parameters
    ----------
    n_repeated : lists that were no news to a consumer
    n_duplicate : lists that a consumer took although it had taken them before
    """

    n_lists: int
    n_repeated: int
    n_duplicate: int


async def script(drill: Drill) -> None:
    """Make history, rebuild it with kills, compare while the load rests, and promote under load."""
    settings = run_settings(drill.settings, RUN, drill.settings.kafka.partitions)
    try:
        n_history = await _make_history(drill)
        drill.say(f"{n_history} events of history; rebuilding, to be killed {N_KILLS} times")
        began = time.monotonic()
        for n in range(N_KILLS):
            await _rebuild_and_kill(drill, n_history, n)
        await command(drill, "--into", RUN, "--from-topic")
        drill.extra["rebuild_s"] = round(time.monotonic() - began, 1)
        async with drill.load.at_rest():
            await drill.catch_up(max(CATCH_UP_S, COMMAND_LIMIT_S))
            rebuilt = await command(drill, "--into", RUN, "--from-topic")
            compared = await command(drill, "--compare", RUN, may_end_with=1)
            lists = await count_lists(settings.kafka)
        _report(drill, rebuilt, compared, lists)
        if compared["equal"]:
            await promote(drill, RUN, partial(command, drill))
    finally:
        for app in APPS:  # of a rebuild that was killed with its command
            kill_workers(settings.kafka.topic_prefix, app.module)
        await delete_topics(settings.kafka)


def _report(drill: Drill, rebuilt: dict[str, Any], compared: dict[str, Any], lists: Lists) -> None:
    wrong = {where: sum(compared[where].values()) for where in ("windows", "lists")}
    drill.extra |= {
        "rebuilt_events": rebuilt["events"],
        "events_copied_twice": rebuilt["repeated"],
        "rebuilt_users": compared["users"],
        "rebuilt_wrong_windows": wrong["windows"],
        "rebuilt_wrong_lists": wrong["lists"],
        "rebuilt_lists": lists.n_lists,
        "rebuilt_repeated_lists": lists.n_repeated,
        "rebuilt_duplicate_lists": lists.n_duplicate,
    }
    drill.found += [f"rebuilt {where}: {n} differ from the live ones" for where, n in wrong.items() if n]
    drill.found += [f"{d['where']} {d['user_id']}: {d['what']}: {d['why']}" for d in compared["first"][:3]]
    if lists.n_duplicate:
        drill.found.append(f"{lists.n_duplicate} rebuilt lists taken twice")


async def _make_history(drill: Drill) -> int:
    """Publish history, a log or made events, to the live topic; return the number of events."""
    if drill.plan.log is not None:
        options = ["--columns", drill.plan.log_columns] if drill.plan.log_columns else []
        done = await command(drill, str(drill.plan.log), "--run", "history", *options)
        n_events = int(done["sent"])
    else:
        n_events = EVENTS_PER_USER * drill.plan.n_users
        for first in range(0, n_events, MAX_CHUNK):
            now_ms = int(time.time() * 1000)
            n_chunk = min(MAX_CHUNK, n_events - first)
            await drill.load.publish([drill.load.make(now_ms) for _ in range(n_chunk)])
    return n_events


async def _rebuild_and_kill(drill: Drill, n_history: int, n: int) -> None:
    """Begin or continue the rebuild, and kill the command and its workers at a random moment."""
    share, pause_s = drill.rng.uniform(*KILL_SHARE), drill.rng.uniform(*KILL_PAUSE_S)
    process = await start_command(drill, "--into", RUN, "--from-topic")
    running = asyncio.create_task(process.communicate())
    try:
        deadline = time.monotonic() + COMMAND_LIMIT_S
        while n_copied(drill.folder) < share * n_history and not running.done():
            if time.monotonic() > deadline:
                raise RunError(f"rebuild: {share:.0%} of the events not copied after {COMMAND_LIMIT_S:g} s")
            await asyncio.sleep(POLL_S)
        await asyncio.wait([running], timeout=pause_s)
        drill.say(f"kill {n + 1}: rebuild has {n_copied(drill.folder)} events; finished already: {running.done()}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        prefix = run_settings(drill.settings, RUN, drill.settings.kafka.partitions).kafka.topic_prefix
        for app in APPS:
            kill_workers(prefix, app.module)
        await running


def n_copied(folder: Path) -> int:
    """Return how many events are copied by the run's manifest; 0 without a manifest."""
    try:
        manifest = load_manifest(folder / "runs" / RUN)
    except InputError:
        return 0
    return sum(manifest.copied.values()) - sum(manifest.begins.values())


def kill_workers(prefix: str, module: str) -> int:
    """Kill the workers that run a module on topics of a prefix; return their number."""
    n_killed = 0
    for pid in worker_pids(prefix, module):
        n_killed += signal_group(pid, signal.SIGKILL)  # a worker leads its own process group
    return n_killed


def worker_pids(prefix: str, module: str) -> Iterator[int]:
    """Yield the ids of the processes that run a module on topics of a prefix; needs ``/proc``."""
    variable = f"HEADRACE_TOPIC_PREFIX={prefix}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            if module.encode() in argv and variable in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except OSError:  # the process has ended, or belongs to another user
            continue


async def count_lists(kafka: KafkaSettings) -> Lists:
    """Read and count the lists of a run as a consumer of the contract does."""
    latest, decoder = LatestLists(), RecordDecoder(Recommendation)
    n_lists = n_news = 0
    taken: set[str] = set()
    async for record in read_records(kafka, kafka.topic("recommendations")):
        if record.value is None:
            continue
        made = decoder.decode(record.value)
        n_lists += 1
        if latest.accept(made):
            n_news += 1
            taken.add(made.list_id)
    return Lists(n_lists, n_lists - n_news, n_news - len(taken))


#: The drill kills the rebuild only, so one live worker of each app is enough.
KIND: Final = Kind(script, Needs(n_workers=1))
