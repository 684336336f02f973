"""Where an announced artifact lies on this machine, and what a worker caches beside it."""

from __future__ import annotations

from pathlib import Path

from models.artifact.stores import StoreError, check_below, fetch_artifact, local_folder
from models.text.embedding_cache import default_folder
from streams.contract.announcements import ModelAnnouncement
from streams.errors import HeadraceError
from streams.settings.load import RecommenderSettings


def artifact_cache(settings: RecommenderSettings | None = None) -> Path:
    """Return the folder for artifacts from other stores, beside the cached embeddings."""
    return _cache(settings) / "artifacts"


def catalogue_folder(settings: RecommenderSettings) -> Path:
    """Return the folder in which the workers of a machine share the rows of large catalogues."""
    return _cache(settings) / "catalogue"


def _cache(settings: RecommenderSettings | None) -> Path:
    if settings is not None and settings.encoder_cache_dir:
        return Path(settings.encoder_cache_dir)
    return default_folder().parent


def place_of(settings: RecommenderSettings, announced: ModelAnnouncement | None) -> tuple[Path, list[Path]]:
    """Return the folder of an artifact, and the roots in which it must lie.

    An artifact of another store is fetched where it is not there yet. That takes a while, so no
    event loop should wait for it.

    Parameters
    ----------
    announced : None takes the artifact of the settings

    Raises
    ------
    HeadraceError
        When the place is not allowed, or the artifact cannot be fetched.
    """
    if announced is None:
        return Path(settings.artifact), settings.roots()
    folder = local_folder(announced.uri)
    if folder is None:
        cache = artifact_cache(settings)
        try:
            check_below(announced.uri, settings.stores())
            return fetch_artifact(announced.uri, cache, announced.sha256), [cache]
        except StoreError as exc:
            raise HeadraceError(str(exc)) from exc
    if not folder.is_absolute():
        raise HeadraceError(
            f"uri {announced.uri!r} is not an absolute path; publish a folder of artifact_roots that every recommender "
            "sees, or the URI of a store"
        )
    return folder, settings.roots()
