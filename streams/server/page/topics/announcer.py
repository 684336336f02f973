"""Announces models and rules for the page, by the code that the commands use.

What loads an artifact is imported when somebody asks for it: it takes seconds and hundreds of
megabytes, and a server of pushed lists does without.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from streams.announcements.sending.rules import put_rules, rollback_rules
from streams.contract.announcements import GoldenState
from streams.settings.load import Settings

#: The file by which a folder is known as an artifact.
MANIFEST: Final = "manifest.json"
#: Artifacts that the page proposes, and folders that it looks into for them.
PROPOSED: Final = 200
MAX_FOLDERS: Final = 2_000


class Checked(NamedTuple):
    """An artifact that could be announced.

    Parameters
    ----------
    place : path or URI
    sha256 : of its manifest
    golden : whether it gives the lists of its golden windows on this server's machine
    told : how it differs, empty where it does not
    metrics : of its training
    """

    place: str
    artifact: str
    sha256: str
    golden: GoldenState
    told: str
    metrics: Mapping[str, float]


class Announcer(Protocol):
    """Checks and announces. Each method raises :class:`~streams.errors.HeadraceError`."""

    async def proposed(self) -> Sequence[str]:
        """Return the artifacts in the folders of ``artifact_roots``, the newest first."""
        ...

    async def check(self, place: str) -> Checked:
        """Load an artifact of ``artifact_roots``, and make its golden lists."""
        ...

    async def publish(self, place: str, newest: str, sha256: str, refresh_days: float | None) -> str:
        """Announce an artifact; return the announcement's id.

        Parameters
        ----------
        newest, sha256 : what the visitor saw: id of the newest announcement, and the checksum
        refresh_days : users who were active within so many days get new lists
        """
        ...

    async def rollback(self, newest: str, refresh_days: float | None) -> str:
        """Announce the artifact before the present one; return the announcement's id."""
        ...

    async def put_rules(self, text: str, expected: str) -> str:
        """Announce rules; return the announcement's id.

        Parameters
        ----------
        expected : version of the rules that the visitor saw in force, empty for none
        """
        ...

    async def rollback_rules(self, expected: str) -> str:
        """Announce the rules of before; return the announcement's id."""
        ...


class TopicAnnouncer:
    """Announces for a server's own deployment, one thing at a time. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one = asyncio.Lock()

    async def proposed(self) -> Sequence[str]:
        """Return the artifacts in the folders of ``artifact_roots``, the newest first."""
        return await asyncio.to_thread(artifacts_in, self._settings.recommender.roots())

    async def check(self, place: str) -> Checked:
        """Load an artifact of ``artifact_roots``, and make its golden lists."""
        async with self._one:
            return await asyncio.to_thread(_checked, place, self._settings)

    async def publish(self, place: str, newest: str, sha256: str, refresh_days: float | None) -> str:
        """Announce an artifact; return the announcement's id."""
        from streams.announcements.sending.models import Expected, announce_artifact

        recommender = self._settings.recommender
        async with self._one:
            sent = await announce_artifact(
                self._settings.kafka, place, recommender.model_name,
                refresh_days=refresh_days, within=recommender, expected=Expected(newest, sha256),
            )  # fmt: skip
        return sent.announcement

    async def rollback(self, newest: str, refresh_days: float | None) -> str:
        """Announce the artifact before the present one; return the announcement's id."""
        from streams.announcements.sending.models import announce_previous

        recommender = self._settings.recommender
        async with self._one:
            sent = await announce_previous(
                self._settings.kafka, recommender.model_name,
                refresh_days=refresh_days, within=recommender, newest=newest,
            )  # fmt: skip
        return sent.announcement

    async def put_rules(self, text: str, expected: str) -> str:
        """Announce rules; return the announcement's id."""
        async with self._one:
            return await put_rules(self._settings.kafka, self._settings.recommender.scenario, text, expected=expected)

    async def rollback_rules(self, expected: str) -> str:
        """Announce the rules of before; return the announcement's id."""
        async with self._one:
            scenario = self._settings.recommender.scenario
            return (await rollback_rules(self._settings.kafka, scenario, expected=expected))[0]


def artifacts_in(roots: Sequence[Path]) -> list[str]:
    """Return folders of artifacts, newest first: roots, what is in them, and one floor below."""
    found: list[tuple[float, str]] = []
    looked_at: set[str] = set()
    floor = [str(root.absolute()) for root in roots]
    for _ in range(3):
        below: list[str] = []
        for folder in floor:
            if folder in looked_at or len(looked_at) == MAX_FOLDERS:
                continue
            looked_at.add(folder)
            try:
                found.append((os.stat(os.path.join(folder, MANIFEST)).st_mtime, folder))
                continue  # an artifact holds no other
            except OSError:
                pass
            below += _folders_in(folder)
        floor = below
    return [folder for _, folder in sorted(found, reverse=True)[:PROPOSED]]


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(one.path for one in entries if not one.name.startswith(".") and one.is_dir())
    except OSError:
        return []


def _checked(place: str, settings: Settings) -> Checked:
    from models.base.device import tame_pytorch
    from models.ranking.golden import golden_difference
    from streams.announcements.sending.models import checked_artifact

    artifact, sha256 = checked_artifact(place, settings.recommender)
    tame_pytorch()
    told = golden_difference(artifact.beside(settings.sequencer.types().window_types))
    golden: GoldenState = "none" if artifact.golden is None else "unlike" if told else "equal"
    return Checked(place, artifact.version, sha256, golden, told, artifact.manifest.metrics)
