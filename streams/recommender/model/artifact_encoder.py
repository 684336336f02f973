"""Loads an artifact and opens the text encoder that it was trained with; any other is refused.

A recommender loads its model in these steps; ``headrace doctor`` checks a model by the same ones::

    usable_device ──► usable_artifact ──► ArtifactEncoder.of
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.artifact.artifact import Artifact, ArtifactError, load_artifact
from models.base.device import check_computes, resolve_device
from models.base.types import Float32
from models.text.clean import load_user_words, text_version, use_segmenter
from models.text.cleaned_texts import CleanedTexts
from models.text.embedding_cache import CacheError, EmbeddingCache, embed_texts
from models.text.encoder import FAKE_ENCODER, FakeEncoder, TextEncoder, load_encoder
from models.text.encoder_files import Access
from models.text.huggingface import EncoderError, shown
from streams.errors import HeadraceError, InputError, SettingsError
from streams.settings.load import RecommenderSettings


def prepare_text(settings: RecommenderSettings) -> None:
    """Choose the segmenter and the user words of this process, before the first text.

    Raises
    ------
    SettingsError
        When they are not usable.
    """
    try:
        use_segmenter(settings.segmenter)
        if settings.user_words:
            load_user_words(Path(settings.user_words))
    except ValueError as exc:
        raise SettingsError(str(exc)) from exc


def usable_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for the setting ``device``.

    Raises
    ------
    SettingsError
        When the setting asks for CUDA and this machine has none, or CUDA is there and does not
        compute.
    """
    try:
        found = resolve_device(device)
        check_computes(found)
    except ValueError as exc:
        raise SettingsError(f"{exc}, in HEADRACE_DEVICE or by --device cpu") from exc
    return found


def usable_artifact(path: Path, device: str, roots: Sequence[Path] = (), manifest_sha256: str = "") -> Artifact:
    """Return an artifact.

    The arguments are those of :func:`~models.artifact.artifact.load_artifact`.

    Raises
    ------
    HeadraceError
        When the artifact is missing, damaged, or outside the roots.
    """
    try:
        return load_artifact(path, device, roots, manifest_sha256)
    except ArtifactError as exc:
        raise HeadraceError(str(exc)) from exc


def open_cache(folder: Path | None, encoder: TextEncoder) -> EmbeddingCache:
    """Return an encoder's cache. It lies in the user's cache directory unless ``folder`` is given.

    Raises
    ------
    HeadraceError
        When the folder or the file cannot be opened.
    """
    try:
        return EmbeddingCache(folder, encoder.version, encoder.dim)
    except CacheError as exc:
        raise HeadraceError(f"{exc}; set HEADRACE_ENCODER_CACHE_DIR") from exc


#: Which package to install is not to be seen from the name.
_UNICODE: Final = " (Unicode's tables come with Python)"


def open_encoder(name: str, device: str, access: Access) -> TextEncoder:
    """Return an encoder by name.

    Raises
    ------
    InputError
        When no encoder has that name, or ``access`` does not allow it.
    """
    try:
        return FakeEncoder() if name == FAKE_ENCODER else load_encoder(name, device, access)
    except EncoderError as exc:
        raise InputError(str(exc)) from exc


def open_artifact_encoder(
    artifact: Artifact, device: str, settings: RecommenderSettings
) -> tuple[TextEncoder, EmbeddingCache]:
    """Return the artifact's encoder and its cache.

    The artifact may name an encoder of this package, or a folder inside ``settings.roots()``. The
    setting ``encoder`` takes precedence and may name anything. In both cases the encoder's files
    and its version must be the artifact's.

    Raises
    ------
    InputError
        When the encoder cannot be opened, is not allowed, or its files differ from the artifact's.
    HeadraceError
        When the version of the encoder or of the text cleaning differs from the artifact's, because
        vectors of two versions must not be mixed; or when the encoder has another dimension.
    """
    sha256 = artifact.manifest.encoder_sha256
    if settings.encoder:
        access = Access(may_download=settings.encoder_download == "on", sha256=sha256)
        encoder = open_encoder(settings.encoder, device, access)
    else:
        try:
            encoder = open_encoder(artifact.encoder_name, device, Access(roots=settings.roots(), sha256=sha256))
        except InputError as exc:
            problem = str(exc).removesuffix("; name a folder or a model")
            raise InputError(
                f"the artifact's {problem}; restore it, or name the model that it was trained with in HEADRACE_ENCODER"
            ) from exc
    for what, expected, found in (
        ("encoder", artifact.encoder_version, encoder.version),
        ("text cleaning", artifact.text_version, text_version()),
    ):
        if expected != found:
            here, there = _differences(found, expected)
            raise HeadraceError(
                f"{what}: {here} here, {there} when the artifact was trained: vectors would be mixed; "
                f"train again, or install what it was trained with{_UNICODE if 'unicode-' in there else ''}"
            )
    n_dims = artifact.whitening.mean.shape[0]
    if encoder.dim != n_dims:
        raise HeadraceError(
            f"encoder {shown(artifact.encoder_name)} gives {encoder.dim} dimensions, the artifact takes {n_dims}: "
            "it is damaged or of another encoder; train it again with headrace train"
        )
    folder = Path(settings.encoder_cache_dir) if settings.encoder_cache_dir else None
    return encoder, open_cache(folder, encoder)


def _differences(found: str, expected: str) -> tuple[str, str]:
    """Return the parts of two versions that are in one of them only, as text."""
    ours, theirs = found.split("+"), expected.split("+")
    return (
        " ".join(part for part in ours if part not in theirs) or found,
        " ".join(part for part in theirs if part not in ours) or expected,
    )


def check_model(settings: RecommenderSettings) -> Artifact:
    """Return the artifact that the settings name, once a recommender could serve it here.

    For commands that start recommenders late in their work.

    Raises
    ------
    InputError
        When the artifact is missing, damaged, or outside the roots.
    HeadraceError
        When its device or its text encoder cannot be used.
    """
    device = usable_device(settings.device)
    try:
        artifact = load_artifact(Path(settings.artifact), device, settings.roots())
    except ArtifactError as exc:
        raise InputError(str(exc)) from exc
    ArtifactEncoder.of(artifact, device, settings)
    return artifact


class ArtifactEncoder:
    """Embeds texts as an artifact's training did. For one thread.

    The encoder and its cache are opened here, before the first text: a worker with an empty
    catalogue must not find out at its first item that it cannot read texts.

    Parameters
    ----------
    artifact : one that takes text

    Attributes
    ----------
    cleaned : keeps cleaned texts beside the vectors

    Raises
    ------
    HeadraceError
        What :func:`prepare_text` and :func:`open_artifact_encoder` raise.
    """

    def __init__(self, artifact: Artifact, device: str, settings: RecommenderSettings) -> None:
        prepare_text(settings)
        self._encoder, self._cache = open_artifact_encoder(artifact, device, settings)
        self.cleaned = CleanedTexts(self._cache.path.parent, text_version())
        self._encoder.warm_up()

    @classmethod
    def of(cls, artifact: Artifact, device: str, settings: RecommenderSettings) -> ArtifactEncoder | None:
        """Return the encoder of an artifact; None where it knows items by their ids alone."""
        return cls(artifact, device, settings) if artifact.takes_text else None

    @property
    def version(self) -> str:
        """Return the version of the encoder."""
        return self._encoder.version

    def embed(self, texts: list[str]) -> Float32:
        """Return one vector per text, (n, dim) float32; zeros for an empty text."""
        return embed_texts(texts, self._encoder, self._cache)
