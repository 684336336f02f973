"""``headrace rejected list|show|redrive`` counts, shows and resends rejected events."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import heapq
from collections import Counter
from typing import Any, Final

from streams.contract.records import REASONS, decode_any
from streams.errors import InputError, RecordError
from streams.forgetting.read_marks import read_marks as forgotten_users
from streams.formats.decoders import open_event_decoder
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.printable import printable
from streams.rejects.redrive import Redriver, Tally
from streams.rejects.reject_reader import RejectedEvent, Wanted, read_marks, read_rejects
from streams.settings.load import KafkaSettings, Settings, load_settings
from tools.cli import emit, write_line
from tools.files.refused_rows import RefusedRows

SHOWN_RECORDS: Final = 10
SHOWN_CHARACTERS: Final = 2_000
SHOWN_LEFT: Final = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "action",
        choices=("list", "show", "redrive"),
        help="list: count by reason and field; show: print the newest; redrive: publish on events again",
    )
    parser.add_argument("--reason", choices=tuple(REASONS), help="only rejects of this reason")
    parser.add_argument("--field", metavar="NAME", help="only rejects of this field")
    parser.add_argument("--count", type=int, metavar="N", help=f"show: how many records (default: {SHOWN_RECORDS})")
    parser.add_argument(
        "--edit",
        metavar="COMMAND",
        help="redrive: a program that reads each value from standard input and writes the corrected one "
        "(default: send records as they were)",
    )
    parser.add_argument("--yes", action="store_true", help="redrive: send; without it nothing is sent")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 if a redrive leaves records behind."""
    if args.action != "redrive" and (args.edit is not None or args.yes):
        raise InputError(f"{args.action}: --edit and --yes need redrive")
    if args.count is not None and (args.action != "show" or args.count < 1):
        raise InputError(f"--count {args.count}: needs show, and must be at least 1")
    settings = load_settings(broker=args.broker)
    wanted = Wanted(args.reason, args.field)
    if args.action == "list":
        return _list(args, settings.kafka, wanted)
    if args.action == "show":
        return _show(args, settings.kafka, wanted)
    return _redrive(args, settings, wanted)


def _list(args: argparse.Namespace, kafka: KafkaSettings, wanted: Wanted) -> int:
    counts, redriven = asyncio.run(_count(kafka, wanted))
    rows: list[dict[str, Any]] = [
        {"reason": reason, "field": field, "rejects": n, "redriven": redriven[reason, field]}
        for (reason, field), n in counts.most_common()
    ]
    total = {"rejects": counts.total(), "redriven": redriven.total()}
    lines = [f"{'reason':<12} {'field':<12} {'rejects':>9} {'redriven':>9}"] if rows else []
    lines += [
        f"{as_text(r['reason']):<12} {as_text(r['field']) or '-':<12} {r['rejects']:>9} {r['redriven']:>9}"
        for r in rows
    ]
    lines.append(f"{total['rejects']} rejects, {total['redriven']} of them redriven")
    emit(args, total | {"by": rows}, lines)
    return 0


async def _count(kafka: KafkaSettings, wanted: Wanted) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    done = await read_marks(kafka)
    counts: Counter[tuple[str, str]] = Counter()
    redriven: Counter[tuple[str, str]] = Counter()
    async for reject in read_rejects(kafka, wanted):
        counts[reject.reason, reject.field] += 1
        redriven[reject.reason, reject.field] += reject.id in done
    return counts, redriven


def _show(args: argparse.Namespace, kafka: KafkaSettings, wanted: Wanted) -> int:
    newest = asyncio.run(_newest(kafka, wanted, args.count or SHOWN_RECORDS))
    with contextlib.suppress(BrokenPipeError):
        if not args.json:
            for reject in newest:
                for line in [*as_paragraph(reject), ""]:
                    write_line(line)
        emit(args, {"records": [as_result(reject) for reject in newest]}, f"{len(newest)} rejects shown, newest first")
    return 0


async def _newest(kafka: KafkaSettings, wanted: Wanted, count: int) -> list[RejectedEvent]:
    heap: list[tuple[int, int, RejectedEvent]] = []
    n = 0
    async for reject in read_rejects(kafka, wanted):
        n += 1
        entry = (int(reject.ts) if reject.ts.lstrip("-").isdecimal() else 0, n, reject)
        (heapq.heappushpop if len(heap) >= count else heapq.heappush)(heap, entry)
    return [reject for _ts, _n, reject in sorted(heap, key=lambda entry: entry[:2], reverse=True)]


def as_text(data: bytes | str | None) -> str:
    """Return bytes as one printable line; bytes that are not UTF-8 appear as escapes."""
    if data is None:
        return ""
    text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
    return printable(text)


def as_paragraph(reject: RejectedEvent) -> list[str]:
    """Return a reject as lines of text."""
    value = as_text(reject.value)
    lines = [f"{as_text(reject.id)}  {as_text(reject.reason)}: {as_text(reject.field) or 'record'}"]
    lines += [f"  detail   {as_text(reject.detail)}", f"  key      {as_text(reject.key)}"]
    lines += [f"  header   {as_text(name)}: {as_text(content)}" for name, content in reject.headers]
    more = f" ... ({len(value)} characters)" if len(value) > SHOWN_CHARACTERS else ""
    more += f" (the beginning of {as_text(reject.size)} bytes)" if reject.size else ""
    lines.append(f"  value    {value[:SHOWN_CHARACTERS]}{more}")
    with contextlib.suppress(RecordError):
        lines.append(f"  reads as {as_text(repr(decode_any(reject.value or b'')))[:SHOWN_CHARACTERS]}")
    return lines


def as_result(reject: RejectedEvent) -> dict[str, Any]:
    """Return a reject as JSON; bytes are base64 because they may not be text."""
    names = ("id", "reason", "field", "detail", "topic", "partition", "offset", "ts", "size")
    return {name: getattr(reject, name) for name in names} | {
        "key": _base64(reject.key),
        "value": _base64(reject.value),
        "headers": [[name, _base64(content)] for name, content in reject.headers],
    }


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _redrive(args: argparse.Namespace, settings: Settings, wanted: Wanted) -> int:
    tally = asyncio.run(_send(args, settings, wanted))
    result = {"sent": tally.sent if args.yes else 0, "would_send": tally.sent, "left": tally.left}
    result |= {"redriven_before": tally.redriven_before, "forgotten": tally.forgotten}
    said = f"{tally.sent} events sent" if args.yes else f"{tally.sent} events would be sent; add --yes to send them"
    why = ", ".join(f"{reason} {n}" for reason, n in sorted(tally.reasons_left.items()))
    left = f"; {tally.left} would be rejected again ({why}): correct them with --edit" if tally.left else ""
    emit(
        args,
        result | {"reasons_left": tally.reasons_left},
        f"{said}; {tally.redriven_before} were redriven before, {tally.forgotten} are of forgotten users{left}",
    )
    return 1 if tally.left else 0


async def _send(args: argparse.Namespace, settings: Settings, wanted: Wanted) -> Tally:
    kafka = settings.kafka
    decoder = open_event_decoder(kafka, settings.sequencer.max_future_skew_ms, settings.sequencer.types())
    told = RefusedRows("records that are not sent", SHOWN_LEFT).refuse
    if not args.yes:
        redriver = Redriver(kafka, decoder, args.edit, None, await forgotten_users(kafka), told)
        await redriver.redrive(read_rejects(kafka, wanted), await read_marks(kafka))
        return redriver.tally
    await prepare(kafka, "redriver")
    async with Publisher(kafka) as publisher:
        redriver = Redriver(kafka, decoder, args.edit, publisher, await forgotten_users(kafka), told)
        await redriver.redrive(read_rejects(kafka, wanted), await read_marks(kafka))
    return redriver.tally
