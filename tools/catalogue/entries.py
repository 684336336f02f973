"""``put``, ``delete`` and ``list`` of a topic of entries.

``headrace items`` and ``headrace users`` share them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from streams.contract.records import Item, User, encode
from streams.errors import InputError
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.printable import counted
from streams.settings.load import Settings
from tools.catalogue.items_topic import EntryTopic
from tools.cli import add_common_arguments, check_consent, emit, progress, say, write_json, write_row
from tools.files.entries.reader import EntryReader
from tools.files.entries.sources import CatalogueSource, EntrySource, UserSource
from tools.files.file_options import shown_paths
from tools.files.refused_rows import SHOWN_BAD, RefusedRows

EntryT = TypeVar("EntryT", Item, User)
Records = Iterable[tuple[str, "bytes | None"]]
#: The entries that a dry run shows as they were understood.
SHOWN_ENTRIES: Final = 3
#: Where more than this share would be removed, the file is likely not the whole of it.
FAR_FEWER: Final = 0.5


@dataclass(frozen=True)
class EntryCommand(Generic[EntryT]):
    """A command over a topic of entries.

    Parameters
    ----------
    what : an entry in words, ``item``
    source : names the files
    publish : writes records by id; returns how many were delivered
    row : the cells of an entry in a list, after its id
    id_on_wire : from an id as the user gives it to the one on the topic
    on_wire : the same for a whole entry
    """

    what: str
    topic: EntryTopic[EntryT]
    source: type[EntrySource[EntryT]]
    publish: Callable[[Settings, Records], Awaitable[int]]
    row: Callable[[EntryT], list[str]]
    id_on_wire: Callable[[str], str] = str
    on_wire: Callable[[EntryT], EntryT] = lambda entry: entry


def add_arguments(
    parser: argparse.ArgumentParser, source: type[CatalogueSource] | type[UserSource], what: str, of_topic: str
) -> None:
    """Add the actions of a command over a topic of entries, each with its options.

    Parameters
    ----------
    what : an entry in words, ``item``
    of_topic : what the topic holds in words
    """
    actions = parser.add_subparsers(dest="action", required=True, metavar="put|delete|list")
    put = _add_action(actions, "put", f"publish {of_topic} from files")
    put.add_argument(
        "names",
        nargs="*",
        metavar="FILE",
        help=f"in any format that a log may have (default: paths of [{source.section().name}] in headrace.toml)",
    )
    put.add_argument("--replace", action="store_true", help=f"remove every {what} that the files lack")
    put.add_argument("--yes", action="store_true", help="with --replace: remove without asking")
    put.add_argument("--dry-run", action="store_true", help="read and check the files, show how, send nothing")
    source.add_file_options(put, "")
    delete = _add_action(actions, "delete", f"remove {what}s by id")
    delete.add_argument("names", nargs="*", metavar="ID", help=f"the ids of the {what}s")
    delete.add_argument("--yes", action="store_true", help="remove without asking, because it cannot be undone")
    listing = _add_action(actions, "list", f"print {of_topic}")
    listing.add_argument("names", nargs="*", metavar="ID", help=f"only these {what}s (default: all)")
    listing.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="json: one whole record per line, which put takes (default: %(default)s)",
    )


def _add_action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    add_common_arguments(parser, is_action=True)
    return parser


def run(args: argparse.Namespace, settings: Settings, command: EntryCommand[EntryT]) -> int:
    """Run the command; return its exit code.

    It is 1 where a row was refused or a listed id is not there.
    """
    actions: Mapping[str, Callable[..., int]] = {"put": _put, "delete": _delete, "list": _list}
    return actions[args.action](args, settings, command)


def _put(args: argparse.Namespace, settings: Settings, command: EntryCommand[EntryT]) -> int:
    section = command.source.section()
    paths = [Path(name) for name in args.names] or list(section.paths)
    if not paths:
        raise InputError(f"put: no file is named; name one or more: headrace {command.topic.name} put FILE")
    read = read_files(command, command.source.of_files(args, paths, ""))
    refused, removed, found = read.refused, read.removed, read.result()
    told = f"{refused.n} refused"
    if args.dry_run:
        if removed:
            found["would_remove"] = len(removed)
            told += f", {len(removed)} would be removed"
        return _show(args, read.entries, found, told)
    if args.replace:
        kept = read.entries.keys() | {command.id_on_wire(key) for key in read.reader.ids_refused}
        removed |= dict.fromkeys(_to_remove(args, settings, command, kept, shown_paths(paths)))
    if args.replace or removed:
        found["removed"] = len(removed)
        told += f", {len(removed)} removed"
    sent = asyncio.run(count(command.publish(settings, read.records()))) - len(removed)
    emit(args, {"sent": sent, **found}, f"{counted(sent, command.what)} sent, {told}")
    return 1 if refused.n else 0


@dataclass(frozen=True)
class ReadEntries(Generic[EntryT]):
    """What files hold, by the ids on the topic.

    Parameters
    ----------
    removed : the ids of entries that are to be removed
    """

    entries: dict[str, EntryT]
    removed: dict[str, None]
    reader: EntryReader[Any]
    refused: RefusedRows

    def records(self) -> Records:
        """Return the records that publish it."""
        puts = ((key, encode(entry)) for key, entry in self.entries.items())
        return chain(puts, ((key, None) for key in self.removed))

    def result(self) -> dict[str, Any]:
        """Return the counts for ``--json``."""
        found: dict[str, Any] = {"refused": self.refused.n}
        if self.refused.n:
            found["groups"] = self.refused.as_json()
        if self.reader.tally.left_out.counts():
            found["left_out"] = self.reader.tally.left_out.counts()
        if self.reader.tally.n_repeated:
            found["repeated"] = self.reader.tally.n_repeated
        return found


def read_files(command: EntryCommand[EntryT], source: EntrySource[EntryT]) -> ReadEntries[EntryT]:
    """Read all entries of files; tell what was refused and left out."""
    refused = RefusedRows(f"refused {command.what}s")
    reader = source.reader(refused)
    entries = {command.id_on_wire(key): command.on_wire(entry) for key, entry in reader.read().items()}
    if refused.n > SHOWN_BAD or refused.left_out:
        refused.say_summary()
    return ReadEntries(entries, {command.id_on_wire(key): None for key in reader.ids_removed}, reader, refused)


async def count(delivered: Awaitable[int]) -> int:
    """Return how many records were delivered; ``asyncio.run`` takes a coroutine alone."""
    return await delivered


def _show(args: argparse.Namespace, entries: Mapping[str, EntryT], found: dict[str, Any], told: str) -> int:
    """Show the first entries as they would be sent, and the counts."""
    first = [msgspec.to_builtins(entry) for entry in islice(entries.values(), SHOWN_ENTRIES)]
    if not args.json:
        for entry in islice(entries.values(), SHOWN_ENTRIES):
            write_json(msgspec.json.encode(entry).decode())
    emit(
        args,
        {"dry_run": True, "sent": 0, "would_send": len(entries), **found, "first": first},
        f"{len(entries)} would be sent, {told}; nothing was sent",
    )
    return 1 if found["refused"] else 0


def _to_remove(
    args: argparse.Namespace, settings: Settings, command: EntryCommand[EntryT], kept: set[str], name: str
) -> list[str]:
    """Return the ids on the topic that are not kept, if the user agrees to remove them."""
    if not kept:
        raise InputError(f"put --replace: {name} has no {command.what} that can be used; nothing was removed")
    there = asyncio.run(command.topic.read(settings.kafka))
    removed = [entry_id for entry_id in there if entry_id not in kept]
    if not removed:
        return []
    share = len(removed) / len(there)
    warning = ", far fewer than the topic: is it the whole file?" if share > FAR_FEWER else ""
    clause = (
        f"put --replace: {len(removed):,} of {counted(len(there), command.what)} ({share:.0%}) would be removed, because {name} "
        f"has {len(kept):,}{warning}"
    )
    check_consent(args.yes, clause)
    if args.yes:
        say(clause.replace("would be", "are"), style="yellow")
    return removed


def _delete(args: argparse.Namespace, settings: Settings, command: EntryCommand[EntryT]) -> int:
    if not args.names:
        raise InputError(f"delete: no {command.what} id is given; name the ids to delete")
    check_consent(args.yes, f"delete: would remove {counted(len(args.names), command.what)} from {command.topic.name}")
    records = ((command.id_on_wire(name), None) for name in args.names)
    sent = asyncio.run(count(command.publish(settings, records)))
    emit(args, {"sent": sent}, f"{counted(sent, command.what)} deleted")
    return 0


def _list(args: argparse.Namespace, settings: Settings, command: EntryCommand[EntryT]) -> int:
    there = asyncio.run(command.topic.read(settings.kafka))
    wanted = {command.id_on_wire(name): name for name in args.names}
    missing = [name for key, name in wanted.items() if key not in there]
    listed = {key: there[key] for key in wanted if key in there} if args.names else there
    with contextlib.suppress(BrokenPipeError):
        entry: EntryT
        for key, entry in listed.items():
            if args.format == "json":
                write_json(msgspec.json.encode(entry).decode())
            else:
                write_row([key, *command.row(entry)])
        for name in missing:
            say(f"{command.what} {name!r} is not on {command.topic.name}", style="yellow")
        emit(args, {f"{command.what}s": len(listed), "sent": 0, **({"missing": missing} if missing else {})})
    return 1 if missing else 0


async def publish(settings: Settings, topic: str, records: Records) -> int:
    """Publish records by id to a topic of the contract; return how many were delivered."""
    kafka = (await with_existing_partitions(settings)).kafka
    await prepare(kafka, "catalogue")
    name = kafka.topic(topic)
    sent = 0
    with progress() as bar:
        task = bar.add_task("publishing", total=None, unit="records")
        async with Publisher(kafka) as publisher:
            for entry_id, value in records:
                await publisher.publish(name, entry_id.encode(), value)
                sent += 1
                bar.update(task, completed=sent)
    return sent
