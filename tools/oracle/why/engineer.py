"""An answer in the words of an engineer: every number, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.ranking.explaining.answer import Fusion, Needed, SourcePlace
from models.ranking.explaining.steps import shown_time
from tools.cli import ResultTable
from tools.oracle.why.answer import Answer

#: Past items in the table; JSON has all.
SHOWN_PULLS: Final = 10
_STEPS: Final = {
    "unknown": "is not in the catalogue",
    "not-yet": "was not in the catalogue yet",
    "removed": "had been removed from the catalogue",
    "withdrawn": "was hidden",
    "unpublished": "was hidden: not published yet",
    "expired": "was hidden: expired",
    "left-out": "was left out of the catalogue",
    "had": "is something that the user has had",
    "refused": "is something that the user asked not to see",
    "no-candidate": "was no candidate",
    "outranked": "was outranked",
    "rule": "was kept out by a business rule",
    "recomputed-only": "is only in the list made again",
    "no-window": "cannot be explained",
}


def lines(answer: Answer) -> Iterator[str | ResultTable]:
    """Yield an answer as lines and tables."""
    yield from _head(answer)
    if answer.sources:
        yield _sources(answer.sources)
    if answer.fusion is not None:
        yield from _fusion(answer.fusion)
    if answer.pulled_by:
        yield _pulls(answer)
    for rule in answer.rules:
        told = ", ".join(f"{name} {value}" for name, value in rule.items() if name != "rule")
        yield f"rule {rule['rule']}: {told}"
    for needed in answer.needed:
        yield f"needed: {_needed(needed)}"
    yield from _recomputed(answer)
    for note in answer.notes:
        yield f"note: {note}"


def _head(answer: Answer) -> Iterator[str]:
    made, versions, window = answer.of_list, answer.versions, answer.window
    if answer.published is not None:
        place = f"is number {answer.published.rank} of {made.n_items}, score {answer.published.score:.6g}"
    else:
        place = f"is not among the {made.n_items}: it {_STEPS[answer.step]}"
    yield f"{_named(answer.item_id, answer.title)} {place}; {answer.detail}"
    kind = "" if made.degraded == "none" else f", {made.degraded}"
    kind += ", provisional" if made.provisional else ""
    yield (
        f"list {made.list_id} of user {answer.user_id}: made at {shown_time(made.produced_ts)}{kind}, on "
        f"recommendations at {made.partition}:{made.offset}, by event {made.event_id} at {made.partition}:"
        f"{made.event_offset} of events"
    )
    rules = f", rules {versions.rules}" if versions.rules else ""
    yield (
        f"versions: artifact {versions.artifact} ({versions.artifact_folder}), catalogue generation "
        f"{versions.index_generation} with {versions.catalogue_items} items{rules}"
    )
    yield (
        f"window: revision {window.revision}, from {window.origin}; {len(window.behaviours)} behaviours, "
        f"{window.n_seen} items had before them, {window.n_hidden} refused"
    )
    if answer.known.users_offset is not None:
        gone = "" if answer.known.is_of_then else " (gone: a later one was taken, if there is one)"
        yield (
            f"user: record at {made.partition}:{answer.known.users_offset} of users{gone}, "
            f"{len(answer.known.features)} features, follows {answer.known.n_follows}"
        )
    if answer.published is not None and answer.published.because is not None:
        yield f"because of {_named(answer.published.because, answer.published.because_title)}"


def _named(item_id: str, title: str | None) -> str:
    return item_id if title is None or title == item_id else f"{item_id} ({title})"


def _sources(sources: list[SourcePlace]) -> ResultTable:
    rows = [
        (
            one.source,
            "yes" if one.brought else "no",
            _number(one.rank),
            _number(one.score),
            _number(one.place),
            str(one.n_brought),
            _number(one.needed),
        )
        for one in sources
    ]
    header = ("source", "brought it", "rank", "score", "place of all", "it brings", "score needed")
    return ResultTable("sources of candidates", header, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _fusion(fusion: Fusion) -> Iterator[str | ResultTable]:
    header = ("group of inputs", "adds", "for the last listed", "inputs (mean candidate)")
    rows = [
        (
            one.group,
            f"{one.adds:+.4f}",
            "-" if one.last_listed_adds is None else f"{one.last_listed_adds:+.4f}",
            ", ".join(f"{name} {own:.4g} ({mean:.4g})" for name, (own, mean) in one.inputs.items()) or "item vector",
        )
        for one in fusion.groups
    ]
    yield ResultTable(f"fusion: candidate {fusion.rank} of {fusion.n_candidates}", header, rows)
    yield f"logit {fusion.logit:.6g} = {fusion.baseline:.6g} of the mean candidate + the sum of the groups"
    if fusion.ranked_by == "retrieval":
        yield (
            f"the item has no event since training: its logit is retrieval's share beside the others, "
            f"{fusion.used_logit:.6g}, not the network's"
        )
    yield (
        f"probability {fusion.probability:.6g} = sigmoid({fusion.slope:.4g} * ({fusion.used_logit:.6g} - "
        f"{fusion.log_total:.6g}) + {fusion.offset:.4g})"
    )


def _pulls(answer: Answer) -> ResultTable:
    rows = [
        (
            _named(one.item_id, one.title),
            f"{one.type}, {shown_time(one.ts)}",
            "no candidate" if one.score_without is None else f"{one.score_without:.6g}",
            f"{one.change:+.6g}",
        )
        for one in answer.pulled_by[:SHOWN_PULLS]
    ]
    n_left = len(answer.pulled_by) - len(rows)
    more = f"; {n_left} more in --json" if n_left else ""
    return ResultTable(f"past items{more}", ("past item", "last", "score without it", "it adds"), rows)


def _needed(needed: Needed) -> str:
    source = f"{needed.source}: " if needed.source else ""
    numbers = []
    if needed.rank is not None:
        numbers.append(f"it is at {needed.rank}")
    if needed.score is not None and needed.needed is not None:
        numbers.append(f"it has {needed.score:.6g} and needs {needed.needed:.6g}")
    return f"{source}{needed.what}" + (f" ({', '.join(numbers)})" if numbers else "")


def _recomputed(answer: Answer) -> Iterator[str]:
    found = answer.recomputed
    if found is None:
        return
    if found.equal:
        yield (
            f"made again, the list is the published one: scores differ by at most {found.greatest_difference:.2g} "
            f"(limit {found.tolerance:g})"
        )
        return
    yield (
        f"made again, the list differs: scores by up to {found.greatest_difference:.3g} (limit {found.tolerance:g}), "
        f"{len(found.published_alone)} items are in the published one alone, {len(found.recomputed_alone)} in the other"
    )
    for reason in found.reasons:
        yield f"  it may differ because {reason}"
