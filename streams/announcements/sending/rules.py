"""Puts rules documents onto the topic ``rules``, and takes them back.

The topic keeps the rules of a scenario under its name, and those that they replaced under the name
and ``@previous``, which no deployment serves.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from models.rules.document import Document, as_plain, version_of
from models.rules.parse import MAX_BYTES, RulesError, parse
from streams.announcements.sending.announce import announce, announced
from streams.contract.announcements import RulesRecord
from streams.contract.records import VERSION
from streams.errors import InputError
from streams.settings.load import KafkaSettings

#: Ends the key of what was in force before.
PREVIOUS = "@previous"


async def rules_by_key(kafka: KafkaSettings) -> dict[str, RulesRecord]:
    """Return what the topic holds, by key."""
    found = await announced(kafka, "rules", RulesRecord)
    return {key: each.record for key, each in sorted(found.items()) if each.record is not None}


def record_of(scenario: str, text: str) -> RulesRecord:
    """Return the record of a document."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return RulesRecord(VERSION, scenario, text, sha256, int(time.time() * 1_000))


async def put_rules(kafka: KafkaSettings, scenario: str, text: str, *, expected: str | None = None) -> str:
    """Publish a document, and keep the one that it replaces; return the announcement's id.

    Parameters
    ----------
    expected : version of the rules that it is to replace, empty for none; None replaces any

    Raises
    ------
    InputError
        When the scenario has other rules than expected.
    """
    current = (await rules_by_key(kafka)).get(scenario)
    _check(scenario, current, expected)
    if current is None or current.rules != text:
        await _keep(kafka, scenario, None if current is None else current.rules)
    return await announce(kafka, "rules", scenario, record_of(scenario, text))


async def rollback_rules(kafka: KafkaSettings, scenario: str, *, expected: str | None = None) -> tuple[str, str]:
    """Publish the rules that were in force before; the present ones become the previous ones.

    Parameters
    ----------
    expected : as in :func:`put_rules`

    Returns
    -------
    announcement, version : the id in receipts, and the version now in force, empty for no rules

    Raises
    ------
    InputError
        When the scenario has never had rules, or has others than expected.
    """
    known = await rules_by_key(kafka)
    current, before = known.get(scenario), known.get(scenario + PREVIOUS)
    _check(scenario, current, expected)
    if current is None and before is None:
        raise InputError(
            f"scenario {scenario!r} has no rules to go back from; headrace rules list names those that have"
        )
    record = None if before is None else record_of(scenario, before.rules)
    announcement = await announce(kafka, "rules", scenario, record)
    await _keep(kafka, scenario, None if current is None else current.rules)
    return announcement, "" if record is None else version_of(record.rules)


def _check(scenario: str, current: RulesRecord | None, expected: str | None) -> None:
    version = "" if current is None else version_of(current.rules)
    if expected not in (None, version):
        raise InputError(
            f"scenario {scenario!r} has {f'rules {version}' if version else 'no rules'} now, and had "
            f"{f'rules {expected}' if expected else 'none'} when you looked; look again"
        )


async def _keep(kafka: KafkaSettings, scenario: str, text: str | None) -> None:
    key = scenario + PREVIOUS
    await announce(kafka, "rules", key, None if text is None else record_of(key, text))


def read_rules(name: str | Path, list_size: int) -> tuple[str, Document]:
    """Return the text of a document and its values; raise :class:`InputError` for a wrong one."""
    try:
        with Path(name).open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
        return text, parse(text, list_size)
    except OSError as exc:
        raise InputError(f"{name}: {exc.strerror}; name a file with rules in TOML") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"{name}: byte {exc.start + 1} is not UTF-8; save the file as UTF-8") from exc
    except RulesError as exc:
        raise InputError(f"{name}, {exc}") from exc


def summary(document: Document) -> str:
    """Return in a few words what a document has."""
    plain = as_plain(document)
    parts = [
        f"{name} {len(value)}" if isinstance(value, list | dict) else f"{name} {value}" for name, value in plain.items()
    ]
    return ", ".join(parts) or "no rules"


def warnings(document: Document, list_size: int) -> list[str]:
    """Return what is allowed and yet may be a mistake."""
    size, found = document.list_size or list_size, []
    if document.allow and len(document.allow) < size:
        found.append(f"allow has {len(document.allow)} items and a list has {size}: every list will be short")
    if document.exploration > 0.5:
        found.append(f"exploration={document.exploration:g}: more than half of each list is left to chance")
    return found
