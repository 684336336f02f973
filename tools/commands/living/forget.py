"""``headrace forget``: erases users, waits for the receipts, and proves that nothing is left."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from models.files.atomic import replace_file
from streams.contract.pseudonyms import open_pseudonyms
from streams.errors import InputError, RunError
from streams.kafka.deployment import load_deployment
from streams.kafka.permissions import prepare
from streams.printable import counted
from streams.settings.load import Settings
from tools.announcing.forgetting.ask import Outcome, ask, wait
from tools.announcing.forgetting.deployments import runs_of
from tools.announcing.forgetting.files_proof import places, read_files
from tools.announcing.forgetting.people import Person, people_of
from tools.announcing.forgetting.shared_store_proof import read_shared_store
from tools.announcing.forgetting.topics_proof import Traces, read_traces
from tools.cli import check_consent, emit, progress, say
from tools.reports.outputs import check_writable

STATE_DIR: Final = Path(".headrace")
#: Where receipts are kept, below the state directory.
RECEIPTS: Final = "forgotten"
TIMEOUT_S: Final = 60.0
SHOWN: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("users", nargs="*", metavar="USER", help="ids of users, as the shop has them")
    parser.add_argument("--file", metavar="FILE", help="a file with one id in each line; - for standard input")
    parser.add_argument("--yes", action="store_true", help="erase without asking")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="S",
        help="how many seconds to wait for the receipts (default: %(default)g)",
    )
    parser.add_argument(
        "--prove", action="store_true", help="erase nothing: say what is left of the users, where and until when"
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=STATE_DIR,
        metavar="DIR",
        help="where receipts are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="DIR",
        help="prove: read the files of this folder too, such as logs",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where something is left that should be gone."""
    if not args.prove and args.also:
        raise InputError("--also: is for --prove; leave it out")
    if not args.timeout > 0:
        raise InputError(f"--timeout {args.timeout:g}: must be above 0, in seconds")
    settings = load_deployment(broker=args.broker)
    people = people_of(args.users, args.file, open_pseudonyms(settings.kafka))
    return _prove(args, settings, people) if args.prove else _forget(args, settings, people)


def _forget(args: argparse.Namespace, settings: Settings, people: list[Person]) -> int:
    what = f"{counted(len(people), 'user')} will be forgotten: windows, lists, vectors and features, for ever"
    check_consent(args.yes, what)
    folder = args.state_dir / RECEIPTS
    check_writable("--state-dir", folder)
    outcome = asyncio.run(_ask_and_wait(settings, people, args.timeout))
    path = _keep(folder, outcome)
    result = outcome.as_dict() | {"users": len(people), "file": str(path)}
    emit(args, result, [*_lines(outcome), f"receipts kept in {path}"])
    if outcome.failed:
        raise RunError(f"{counted(len(outcome.failed), 'request')} failed: {outcome.failed[0].detail}")
    if outcome.missing:
        who = "; ".join(f"{name}: {counted(n, 'request')}" for name, n in outcome.missing.items())
        raise RunError(
            f"no answer within {args.timeout:g} s from {who}; the requests stand: workers that start or come back obey them"
        )
    return 0


async def _ask_and_wait(settings: Settings, people: list[Person], timeout_s: float) -> Outcome:
    outcome = await ask(settings.kafka, people)
    await wait(settings.kafka, outcome, timeout_s)
    return outcome


def _keep(folder: Path, outcome: Outcome) -> Path:
    """Keep the receipts as a file that holds no id of a user; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    first = outcome.asked[0]
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(first.requested_ts / 1000))
    path = folder / f"{stamp}-{first.request_id[:8]}.json"
    replace_file(path, msgspec.json.format(msgspec.json.encode(outcome.as_dict()), indent=1) + b"\n")
    return path


def _lines(outcome: Outcome) -> list[str]:
    lines = []
    for one in outcome.asked[:SHOWN]:
        lines.append(f"user {one.person.given}: request {one.request_id}")
        for receipt in outcome.receipts.get(one.request_id, ()):
            lines.append(f"  {receipt.app}, partition {receipt.partition}: {receipt.stage}: {receipt.detail}")
    n_more = len(outcome.asked) - SHOWN
    lines += [f"and {counted(n_more, 'more user')}; the file has all receipts"] if n_more > 0 else []
    if outcome.unfollowed:
        lines.append(f"{counted(outcome.unfollowed, 'other user')} followed them, and no longer does")
    if outcome.runs:
        lines.append(f"rebuild runs that were asked too: {', '.join(outcome.runs)}")
    return lines


def _prove(args: argparse.Namespace, settings: Settings, people: list[Person]) -> int:
    traces = Traces(people)
    has_store = asyncio.run(_read_deployments(settings, traces))
    data = [settings.sequencer.data_dir, settings.recommender.encoder_cache_dir, settings.server.serve_dir]
    data += [str(args.state_dir), *args.also]
    broker = args.state_dir / "broker"
    n_files = read_files(traces, places(data), skipped=[broker])
    found = {person.given: traces.found.get(person.given, []) for person in people}
    left = {user: [one for one in of_user if one.kind == "left"] for user, of_user in found.items()}
    n_left = sum(map(len, left.values()))
    lines = [
        f"user {user}: {one.kind}: {one.place}: {one.what}{f'; until {one.until}' if one.until else ''}"
        for user, of_user in found.items()
        for one in of_user
    ]
    unasked = [person.given for person in people if person.key not in traces.marks]
    told = [f"user {user}: no request on privacy: everything of the user counts as left" for user in unasked]
    end = f"{counted(n_left, 'trace')} left that should be gone" if n_left else "nothing is left that should be gone"
    result: dict[str, Any] = {
        "users": {
            user: [{"place": o.place, "kind": o.kind, "what": o.what, "until": o.until, "n": o.n} for o in of_user]
            for user, of_user in found.items()
        },
        "unasked": unasked,
        "left": n_left,
        "files": n_files,
        "store": str(settings.server.store_address()) if has_store else None,
    }
    read = f"{counted(n_files, 'file')}{' and the shared store' if has_store else ''} read"
    emit(args, result, [*told, *lines, f"{end}; {read}"])
    return 1 if n_left else 0


async def _read_deployments(settings: Settings, traces: Traces) -> bool:
    """Read the topics and the store that servers share; return whether there is such a store."""
    kafka = settings.kafka
    await prepare(kafka, "eraser")
    with progress() as bar:
        task = bar.add_task("reading topics", total=None, unit="topics")
        n = 0

        def show(topic: str) -> None:
            nonlocal n
            n += 1
            bar.update(task, completed=n, note=topic)

        await read_traces(kafka, traces, on_topic=show)
        live = dict(traces.marks)
        for run, of_run in (await runs_of(kafka)).items():
            await read_traces(of_run, traces, f"run {run}: ", on_topic=show)
        traces.marks = live
    say("topics are read", style="dim")
    return await read_shared_store(settings, traces)
