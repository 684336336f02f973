"""Announces artifacts: checks one, names it on ``models``, and waits until it is in force.

Recommenders answer, and servers: one that ranks has the artifact in force then, another one has no
model.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from models.artifact.artifact import Artifact, ArtifactError, load_artifact, manifest_sha256
from models.artifact.stores import StoreError, fetch_artifact, local_folder
from streams.announcements.follow import Announced
from streams.contract.announcements import Answering, ModelAnnouncement
from streams.contract.records import VERSION
from streams.errors import InputError
from streams.recommender.model.stored_artifact import artifact_cache
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_ID_LENGTH
from tools.announcing.announce import announce, announced
from tools.announcing.receipts import SERVER, Answers, wait_for_receipts

#: Who answers.
APPS: Final[tuple[Answering, ...]] = ("recommender", SERVER)
#: Loading embeds the catalogue where the text encoder is another one.
TIMEOUT_S: Final = 600.0


@dataclass(frozen=True)
class Swap:
    """An announcement and how recommenders and servers answered it.

    Parameters
    ----------
    artifact : its version; empty for the artifact that the workers' settings name
    answers : None where nobody waited for them
    """

    name: str
    artifact: str
    announcement: str
    answers: Answers | None

    @property
    def what(self) -> str:
        """The artifact in words."""
        return f"artifact {self.artifact}" if self.artifact else "the artifact of the workers' settings"

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        found = {"name": self.name, "artifact": self.artifact, "announcement": self.announcement}
        return found if self.answers is None else found | self.answers.as_dict()

    def as_lines(self) -> list[str]:
        """Return it for people."""
        head = f"{self.what} is announced as {self.name!r}"
        if self.answers is None:
            return [f"{head}; nobody waited for recommenders and servers"]
        if not self.answers.n_live:
            return [f"{head}; no recommender and no server runs: it takes effect when one starts"]
        return [head, *self.answers.as_lines()]


def checked_artifact(place: Path | str) -> tuple[Artifact, str]:
    """Return an artifact that can be read here, and the checksum of its manifest.

    Parameters
    ----------
    place : a folder, or the URI of an artifact in another store, from which it is fetched

    Raises
    ------
    InputError
        When it is missing or damaged, or cannot be fetched.
    """
    folder = local_folder(str(place))
    try:
        if folder is None:
            folder = fetch_artifact(str(place), artifact_cache())
        sha256 = manifest_sha256(folder)
        return load_artifact(folder, manifest_sha256=sha256), sha256
    except (ArtifactError, StoreError) as exc:
        raise InputError(str(exc)) from exc


def check_name(option: str, name: str) -> None:
    """Raise :class:`InputError` for a deployment name that no record could have as its key."""
    if not 1 <= len(name) <= MAX_ID_LENGTH:
        raise InputError(f"{option}: {len(name)} characters, must be 1 to {MAX_ID_LENGTH}")


async def current(kafka: KafkaSettings, name: str) -> Announced[ModelAnnouncement] | None:
    """Return what is announced under a name; None where nothing ever was."""
    return (await announced(kafka, "models", ModelAnnouncement)).get(name)


async def publish_artifact(
    kafka: KafkaSettings, place: Path | str, name: str, *, refresh_days: float | None, timeout_s: float | None
) -> Swap:
    """Announce an artifact and wait for the live recommenders and servers.

    Parameters
    ----------
    place : the artifact; recommenders and servers read it under the same path or URI
    refresh_days : users who were active within so many days get new lists
    timeout_s : longest wait, in seconds; None does not wait

    Raises
    ------
    InputError
        When the artifact cannot be read here.
    BrokerError, TopicError
        When it cannot be announced.
    """
    artifact, sha256 = checked_artifact(place)
    held = await current(kafka, name)
    folder = local_folder(str(place))
    # links stay: a path that points to the newest may be meant
    uri = str(place).rstrip("/") if folder is None else os.path.abspath(folder)
    before = held.record if held is not None else None
    previous = before.uri if before is not None and before.uri != uri else before.previous if before else None
    record = ModelAnnouncement(
        VERSION, artifact.version, uri, sha256, int(1000 * time.time()), artifact.manifest.metrics, previous,
        refresh_days,
    )  # fmt: skip
    return await _announce(kafka, name, record, timeout_s)


async def roll_back(kafka: KafkaSettings, name: str, *, refresh_days: float | None, timeout_s: float | None) -> Swap:
    """Announce the artifact before the present one, or take the only announcement away.

    Raises
    ------
    InputError
        When nothing is announced, or the artifact before cannot be read here.
    """
    held = await current(kafka, name)
    if held is None or held.record is None:
        raise InputError(f"rollback: nothing is announced as {name!r}; the recommenders serve what their settings name")
    if held.record.previous is None:
        return await _announce(kafka, name, None, timeout_s)
    uri = held.record.previous
    artifact, sha256 = checked_artifact(uri)
    record = ModelAnnouncement(
        VERSION, artifact.version, uri, sha256, int(1000 * time.time()), artifact.manifest.metrics,
        held.record.uri, refresh_days,
    )  # fmt: skip
    return await _announce(kafka, name, record, timeout_s)


async def _announce(kafka: KafkaSettings, name: str, record: ModelAnnouncement | None, timeout_s: float | None) -> Swap:
    announcement = await announce(kafka, "models", name, record)
    answers = None
    if timeout_s is not None:
        answers = await wait_for_receipts(kafka, "model", announcement, apps=APPS, timeout_s=timeout_s)
    return Swap(name, "" if record is None else record.artifact, announcement, answers)


def as_row(record: ModelAnnouncement) -> dict[str, Any]:
    """Return an announcement for ``--json``."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found
