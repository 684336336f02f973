"""Announces artifacts: checks one, and names it on ``models``."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import NamedTuple

from models.artifact.artifact import Artifact, ArtifactError, load_artifact, manifest_sha256
from models.artifact.stores import StoreError, check_below, fetch_artifact, local_folder
from streams.announcements.follow import Announced
from streams.announcements.sending.announce import announce, announced
from streams.contract.announcements import ModelAnnouncement
from streams.contract.records import VERSION
from streams.errors import InputError
from streams.recommender.model.stored_artifact import artifact_cache
from streams.settings.load import KafkaSettings, RecommenderSettings


class Sent(NamedTuple):
    """An announcement that the broker has.

    Parameters
    ----------
    artifact : its version; empty for the artifact that the workers' settings name
    announcement : its id in receipts
    """

    artifact: str
    announcement: str


class Expected(NamedTuple):
    """What somebody saw who confirms an announcement; anything else is refused.

    Parameters
    ----------
    newest : id of the newest announcement, empty where there was none
    sha256 : of the manifest of the artifact
    """

    newest: str
    sha256: str


def checked_artifact(place: Path | str, within: RecommenderSettings | None = None) -> tuple[Artifact, str]:
    """Return an artifact that can be read here, and the checksum of its manifest.

    Parameters
    ----------
    place : a folder, or the URI of an artifact in another store, from which it is fetched
    within : it must lie in these settings' ``artifact_roots``; None allows every place

    Raises
    ------
    InputError
        When it is missing or damaged, lies elsewhere, or cannot be fetched.
    """
    folder, roots = local_folder(str(place)), [] if within is None else within.roots()
    try:
        if folder is None:
            if within is not None:
                check_below(str(place), within.stores())
            folder, roots = fetch_artifact(str(place), artifact_cache(within)), []
        sha256 = manifest_sha256(folder, roots)
        return load_artifact(folder, roots=roots, manifest_sha256=sha256), sha256
    except (ArtifactError, StoreError) as exc:
        raise InputError(str(exc)) from exc


async def current(kafka: KafkaSettings, name: str) -> Announced[ModelAnnouncement] | None:
    """Return what is announced under a name; None where nothing ever was."""
    return (await announced(kafka, "models", ModelAnnouncement)).get(name)


async def announce_artifact(
    kafka: KafkaSettings,
    place: Path | str,
    name: str,
    *,
    refresh_days: float | None = None,
    within: RecommenderSettings | None = None,
    expected: Expected | None = None,
) -> Sent:
    """Announce an artifact.

    Parameters
    ----------
    place : the artifact; recommenders read it under the same path or URI
    name : of the deployment
    refresh_days : users who were active within so many days get new lists
    within : as in :func:`checked_artifact`
    expected : None announces whatever the place holds, after whatever was announced before

    Raises
    ------
    InputError
        When the artifact cannot be read here, or is not what is expected.
    BrokerError, TopicError
        When it cannot be announced.
    """
    artifact, sha256 = await asyncio.to_thread(checked_artifact, place, within)
    held = await current(kafka, name)
    _check(name, held, sha256, expected)
    folder = local_folder(str(place))
    # links stay: a path that points to the newest may be meant
    uri = str(place).rstrip("/") if folder is None else os.path.abspath(folder)
    before = held.record if held is not None else None
    previous = before.uri if before is not None and before.uri != uri else before.previous if before else None
    return await _send(kafka, name, _record(artifact, uri, sha256, previous, refresh_days))


async def announce_previous(
    kafka: KafkaSettings,
    name: str,
    *,
    refresh_days: float | None = None,
    within: RecommenderSettings | None = None,
    newest: str | None = None,
) -> Sent:
    """Announce the artifact before the present one, or take the only announcement away.

    Parameters
    ----------
    within : as in :func:`checked_artifact`
    newest : id of the announcement that is to be taken back; None takes back whatever is there

    Raises
    ------
    InputError
        When nothing is announced, another announcement has come, or the artifact before cannot be
        read here.
    """
    held = await current(kafka, name)
    if held is None or held.record is None:
        raise InputError(f"rollback: nothing is announced as {name!r}; the recommenders serve what their settings name")
    if newest is not None:
        _check(name, held, "", Expected(newest, ""))
    uri = held.record.previous
    if uri is None:
        return await _send(kafka, name, None)
    artifact, sha256 = await asyncio.to_thread(checked_artifact, uri, within)
    return await _send(kafka, name, _record(artifact, uri, sha256, held.record.uri, refresh_days))


def _check(name: str, held: Announced[ModelAnnouncement] | None, sha256: str, expected: Expected | None) -> None:
    """Raise :class:`InputError` unless all is as somebody saw it."""
    if expected is None:
        return
    newest = "" if held is None else held.id
    if newest != expected.newest:
        raise InputError(
            f"{name!r}: {newest or 'nothing'} is the newest announcement, and {expected.newest or 'nothing'} was when "
            "you looked; look again"
        )
    if sha256 != expected.sha256:
        raise InputError(
            f"the manifest has the checksum {sha256[:12]}, and had {expected.sha256[:12]} when it was checked; check it "
            "again"
        )


def _record(
    artifact: Artifact, uri: str, sha256: str, previous: str | None, refresh_days: float | None
) -> ModelAnnouncement:
    now_ms = int(1000 * time.time())
    metrics = artifact.manifest.metrics
    return ModelAnnouncement(VERSION, artifact.version, uri, sha256, now_ms, metrics, previous, refresh_days)


async def _send(kafka: KafkaSettings, name: str, record: ModelAnnouncement | None) -> Sent:
    return Sent("" if record is None else record.artifact, await announce(kafka, "models", name, record))
