"""Announces artifacts, and waits until they are in force.

Recommenders answer, and servers: one that ranks has the artifact in force then, another one has no
model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.announcements.sending.answers import SERVER, Answers
from streams.announcements.sending.models import Sent, announce_artifact, announce_previous
from streams.contract.announcements import Answering, ModelAnnouncement
from streams.errors import InputError
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_ID_LENGTH
from tools.announcing.receipts import wait_with_bar

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


def check_name(option: str, name: str) -> None:
    """Raise :class:`InputError` for a deployment name that no record could have as its key."""
    if not 1 <= len(name) <= MAX_ID_LENGTH:
        raise InputError(f"{option}: {len(name)} characters, must be 1 to {MAX_ID_LENGTH}")


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
    return await _answered(
        kafka, name, await announce_artifact(kafka, place, name, refresh_days=refresh_days), timeout_s
    )


async def roll_back(kafka: KafkaSettings, name: str, *, refresh_days: float | None, timeout_s: float | None) -> Swap:
    """Announce the artifact before the present one, or take the only announcement away.

    Raises
    ------
    InputError
        When nothing is announced, or the artifact before cannot be read here.
    """
    return await _answered(kafka, name, await announce_previous(kafka, name, refresh_days=refresh_days), timeout_s)


async def _answered(kafka: KafkaSettings, name: str, sent: Sent, timeout_s: float | None) -> Swap:
    answers = None
    if timeout_s is not None:
        answers = await wait_with_bar(kafka, "model", sent.announcement, apps=APPS, timeout_s=timeout_s)
    return Swap(name, sent.artifact, sent.announcement, answers)


def as_row(record: ModelAnnouncement) -> dict[str, Any]:
    """Return an announcement for ``--json``."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found
