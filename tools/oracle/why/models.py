"""Finds and opens the model that a list names, also after another one has taken its place.

::

    --artifact ─► the setting artifact ─► where the topic models says
                                         ─► folders of artifact_roots ─► what was fetched
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.artifact.artifact import MANIFEST, ArtifactError
from models.artifact.manifest import read_manifest, version_of
from models.artifact.stores import local_folder
from models.files.plain_files import MAX_MANIFEST_BYTES, FileError, opened, read_plain
from streams.contract.announcements import ModelAnnouncement
from streams.contract.records import RecordDecoder
from streams.errors import InputError, RecordError, TopicError
from streams.kafka.topic_reader import read_records
from streams.recommender.model.artifact_encoder import ArtifactEncoder, usable_artifact, usable_device
from streams.recommender.model.stored_artifact import artifact_cache
from streams.recommender.served import Model
from streams.settings.load import KafkaSettings, RecommenderSettings, Settings


@dataclass(frozen=True)
class OpenModel:
    """The model that made a list, and where its artifact lies."""

    model: Model
    folder: Path


class ModelFinder:
    """Opens models by the version of their artifact, each once.

    Parameters
    ----------
    named : the only folder to look at; None looks for the artifact
    """

    def __init__(self, settings: Settings, named: Path | None = None) -> None:
        self._settings = settings
        self._named = named
        self._models: dict[str, OpenModel] = {}

    async def of(self, version: str) -> OpenModel:
        """Return the model of an artifact.

        Raises
        ------
        InputError
            When no folder holds the artifact.
        HeadraceError
            When the artifact or its text encoder cannot be used.
        """
        if version not in self._models:
            settings = self._settings.recommender
            announced = () if self._named else await announced_folders(self._settings.kafka)
            folder = find_artifact(version, settings, self._named, announced)
            device = usable_device(settings.device)
            artifact = usable_artifact(folder, device, () if self._named else _roots(settings))
            artifact = artifact.beside(self._settings.sequencer.types().window_types)
            encoder = ArtifactEncoder.of(artifact, device, settings)
            embed = None if encoder is None else encoder.embed
            self._models[version] = OpenModel(Model.of(artifact, settings, embed), folder)
        return self._models[version]


async def announced_folders(settings: KafkaSettings) -> list[Path]:
    """Return the folders of this machine that announcements name, the newest first.

    The topic is compacted by deployment name, so it may hold only the newest announcements, and
    what each took the place of.
    """
    decoder, found = RecordDecoder(ModelAnnouncement), dict[Path, None]()
    with contextlib.suppress(TopicError):
        async for record in read_records(settings, settings.topic("models")):
            try:
                announced = decoder.decode(record.value)
            except RecordError:
                continue
            for text in (announced.previous, announced.uri):
                if text and (folder := local_folder(text)) is not None:
                    found[folder] = None
    return [*reversed(found)]


def find_artifact(version: str, settings: RecommenderSettings, named: Path | None, announced: Sequence[Path]) -> Path:
    """Return the folder of the artifact of a version.

    Parameters
    ----------
    named : the only folder to look at; None looks at all others
    announced : folders that records of ``models`` name

    Raises
    ------
    InputError
        When no folder holds it, or the named one holds another.
    """
    if named is not None:
        try:
            found = version_in(named)
        except ArtifactError as exc:
            raise InputError(f"--artifact {named}: {exc}") from exc
        if found != version:
            raise InputError(
                f"--artifact {named}: holds artifact {found}, the list was made by {version}; name the folder of that "
                "one, or leave the option out"
            )
        return named
    looked_at: dict[str, str] = {}
    for folder in _folders(settings, announced):
        try:
            looked_at[str(folder)] = version_in(folder, _roots(settings))
        except ArtifactError:
            continue
        if looked_at[str(folder)] == version:
            return folder
    here = ", ".join(f"{found} in {folder}" for folder, found in looked_at.items()) or "none"
    raise InputError(
        f"artifact {version}: made the list, and is neither in the setting artifact nor in artifact_roots, nor where "
        f"the topic models says; found {here}; name its folder by --artifact DIR"
    )


def _folders(settings: RecommenderSettings, announced: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders that may hold an artifact, each once."""
    seen: set[Path] = set()
    for folder in _all_folders(settings, announced):
        if folder not in seen and (folder / MANIFEST).is_file():
            seen.add(folder)
            yield folder


def _all_folders(settings: RecommenderSettings, announced: Sequence[Path]) -> Iterator[Path]:
    yield Path(settings.artifact).absolute()
    yield from announced
    for root in _roots(settings):
        if root.is_dir():
            yield root
            yield from sorted(child for child in root.iterdir() if child.is_dir())


def _roots(settings: RecommenderSettings) -> list[Path]:
    return [*settings.roots(), artifact_cache(settings)]


def version_in(directory: Path, roots: Sequence[Path] = ()) -> str:
    """Return the version that a folder's manifest gives; raise as :func:`load_artifact` does."""
    try:
        with opened(directory, roots) as folder:
            text = read_plain(folder, MANIFEST, MAX_MANIFEST_BYTES)
        return version_of(read_manifest(text, len(text)))
    except FileError as exc:
        raise ArtifactError(directory, str(exc)) from exc
