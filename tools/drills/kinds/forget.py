"""``headrace drill forget``: forgets users under load, while workers and the command are killed.

::

    live     prefill ─ load ──────────────────────────────────────────── load ─┬─ verdict
    forget             waves: command, kills ─┐        ┌─ a wave         ┌─ proof
    rebuild                                   └ --into ┘ ─ promotion ────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from functools import partial
from typing import Any, Final

from streams.errors import RunError
from tools.announcing.forgetting.deployments import runs_of
from tools.drills.acts.promotion import promote
from tools.drills.acts.replay_command import command
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.run import delete_topics
from tools.drills.session import Drill, variables_of
from tools.replay.rebuild.run_workers import run_variables
from tools.workers.apps import APP_NAMES

#: Users who are forgotten, in waves; fewer where the drill has fewer than twice as many.
N_FORGOTTEN: Final = 200
N_WAVES: Final = 4
RUN: Final = "before"
#: Longest time of one command, in seconds, and that for which it waits for receipts.
LIMIT_S: Final = 240.0
RECEIPTS_S: Final = 120.0
#: A wave is harmed after a time drawn from this range, in seconds.
HARM_S: Final = (0.2, 4.0)
#: The folder of a broker of the drill's own.
BROKER: Final = "broker"


async def script(drill: Drill) -> None:
    """Forget users in waves, with harm; rebuild and promote in between; prove at the end."""
    n = min(N_FORGOTTEN, drill.plan.n_users // 2)
    users = [f"u{i}" for i in drill.rng.sample(range(drill.plan.n_users), n)]
    waves = [users[i::N_WAVES] for i in range(N_WAVES)]
    done: list[dict[str, Any]] = []
    drill.extra |= {"forgotten_users": n, "command_kills": 0}
    try:
        for i, wave in enumerate(waves[:-1]):
            done.append(await _wave(drill, wave, f"wave {i + 1}", kills_command=i % 2 == 0))
        # the run is made while these users are there, and promoted when they are forgotten
        await command(drill, "--into", RUN, "--from-topic")
        done.append(await _wave(drill, waves[-1], f"wave {N_WAVES}, with a rebuild", kills_command=False))
        async with drill.load.at_rest():
            await drill.catch_up()
        await promote(drill, RUN, partial(command, drill))
        async with drill.load.at_rest():
            await drill.catch_up()
            await _prove(drill, users)
    finally:
        for run in (await runs_of(drill.settings.kafka)).values():
            await delete_topics(run)
    receipts = [request["receipts"] for each in done for request in each["requests"]]
    drill.extra["receipts"] = sum(map(len, receipts))
    if any(len(found) != len(APP_NAMES) for found in receipts) or not all(each["complete"] for each in done):
        drill.found.append(f"receipts of {n} users: {drill.extra['receipts']}, must be {n * len(APP_NAMES)}")


async def _wave(drill: Drill, users: list[str], name: str, *, kills_command: bool) -> dict[str, Any]:
    """Forget users while a worker, and maybe the command, is killed; return what it says."""
    app = drill.rng.choice(APP_NAMES)
    async with drill.fault(f"{name}: kill of a {app}{' and of the command' if kills_command else ''}"):
        process = await _start(drill, "--yes", "--timeout", f"{RECEIPTS_S:g}")
        running = asyncio.create_task(process.communicate(_ids(users)))
        await asyncio.wait([running], timeout=drill.rng.uniform(*HARM_S))
        drill.cluster.kill(drill.rng.choice(drill.cluster.of_app(app)))
        if kills_command and not running.done():
            drill.extra["command_kills"] += 1
            process.kill()
            await running
            return await _forget(drill, users)
        return await _result(process, running)


async def _forget(drill: Drill, users: list[str]) -> dict[str, Any]:
    process = await _start(drill, "--yes", "--timeout", f"{RECEIPTS_S:g}")
    return await _result(process, asyncio.create_task(process.communicate(_ids(users))))


async def _prove(drill: Drill, users: list[str]) -> None:
    """Say what the proof finds that should be gone."""
    # all that the workers and the commands have written; the broker's log is read as topics
    folders = [str(path) for path in sorted(drill.folder.iterdir()) if path.name != BROKER]
    process = await _start(drill, "--prove", *(f"--also={path}" for path in folders))
    proof = await _result(process, asyncio.create_task(process.communicate(_ids(users))), may_end_with=1)
    left = [(user, one) for user, found in proof["users"].items() for one in found if one["kind"] == "left"]
    came_back = sum(any(one["kind"] == "new life" for one in found) for found in proof["users"].values())
    drill.extra |= {"traces_left": len(left), "came_back": came_back, "files_read": proof["files"]}
    if left or proof["unasked"]:
        drill.found.append(
            f"{len(left)} traces of forgotten users left, {len(proof['unasked'])} users without a request"
        )
    drill.found += [f"{user}: {one['place']}: {one['what']}" for user, one in left[:5]]


async def _start(drill: Drill, *options: str) -> asyncio.subprocess.Process:
    env = os.environ | run_variables(drill.settings) | variables_of(drill.settings, drill.plan)
    env |= {"HEADRACE_DATA_DIR": str(drill.folder / "none"), "OMP_NUM_THREADS": "1"}
    argv = ["--file", "-", *options, "--state-dir", str(drill.folder / "state"), "--json"]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.main", "forget", *argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe
    )  # fmt: skip


def _ids(users: list[str]) -> bytes:
    """Return what the command reads: a file would hold the ids after the users are forgotten."""
    return "\n".join(users).encode()


async def _result(
    process: asyncio.subprocess.Process, running: asyncio.Task[tuple[bytes, bytes]], may_end_with: int = 0
) -> dict[str, Any]:
    try:
        out, err = await asyncio.wait_for(running, LIMIT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise RunError(f"headrace forget: not done after {LIMIT_S:g} s") from None
    if process.returncode not in (0, may_end_with):
        last = (err.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise RunError(f"headrace forget: exit code {process.returncode}: {last}")
    found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return found


KIND: Final = Kind(script, Needs(n_users=10_000))
