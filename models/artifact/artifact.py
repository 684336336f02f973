"""A trained model as a folder: ``tensors.safetensors`` and ``manifest.json``. Never pickle.

Loading checks everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import safetensors.torch
import torch
from msgspec import UNSET, UnsetType
from safetensors import SafetensorError
from torch import Tensor, nn

from models.artifact.golden import GOLDEN, MAX_GOLDEN_BYTES, Golden, encode_golden, read_golden
from models.artifact.manifest import DEFAULT_FORMAT, FORMAT, Manifest, read_manifest, version_of
from models.artifact.shapes import check_newcomers, check_shapes, check_sizes, empty_models
from models.base.event_types import WindowTypes
from models.base.experts import blend_weights
from models.base.types import Float32, Int64
from models.factors.matrix_factorisation import ItemFactors
from models.features.side_features import SideFeatures
from models.files.atomic import replaced_folder
from models.files.plain_files import (
    MAX_MANIFEST_BYTES,
    MAX_TENSORS_BYTES,
    FileError,
    open_plain,
    opened,
    read_exactly,
    read_plain,
)
from models.files.tensor_header import TensorSpec, read_header
from models.fusion import FusionModel
from models.rules.repeats import NO_REPEATS, Repeats
from models.sequence.model import SequenceConfig, SequenceModel
from models.text.whitening import Whitening

TENSORS: Final = "tensors.safetensors"
MANIFEST: Final = "manifest.json"
#: Counts, shares and cosines: the models take logarithms of them.
_NOT_NEGATIVE: Final = ("popularity", "recent_popularity", "next.weights", "neighbours.weights")
REMEDY: Final = "train it again with headrace train, or restore the directory from its source"


class ArtifactError(Exception):
    """An artifact cannot be used; the message is one line: file, problem, remedy."""

    def __init__(self, where: Path, problem: str) -> None:
        super().__init__(f"{where}: {problem}; {REMEDY}")


@dataclass(frozen=True)
class Artifact:
    """A checked model, ready to serve.

    Parameters
    ----------
    next_rows : (n_items, n_next) int64, each item's most frequent followers, -1 where there are
        fewer
    next_weights : (n_items, n_next) float32, their shares
    neighbour_rows : (n_items, n_neighbours) int64, the items most often had by the same users, -1
        for none
    neighbour_weights : (n_items, n_neighbours) float32, their cosines
    popularity : (n_items,) float32, counts in training
    recent_popularity : (n_items,) float32, decayed counts as of ``manifest.trained_to_ms``
    first_ms : (n_items,) int64, time of an item's first event, -1 without one
    kinds : the types that the models know, and which ones of a window they must not see
    golden : windows with the lists that they must get; None for an artifact without any
    repeats : whether lists may hold items that the user has had, unless somebody decides otherwise
    blend : (n_experts,) float32, weights of :data:`models.base.experts.EXPERTS`; None without one
    """

    manifest: Manifest
    version: str
    tensors: dict[str, Tensor]
    sequence: SequenceModel
    fusion: FusionModel
    whitening: Whitening
    factors: ItemFactors
    next_rows: Int64
    next_weights: Float32
    neighbour_rows: Int64
    neighbour_weights: Float32
    item_features: SideFeatures
    user_features: SideFeatures
    popularity: Float32
    recent_popularity: Float32
    first_ms: Int64
    device: str
    kinds: WindowTypes
    golden: Golden | None = None
    repeats: Repeats = NO_REPEATS
    blend: Float32 | None = None

    def beside(self, deployment: WindowTypes) -> Artifact:
        """Return the artifact for windows of a deployment, which may have other types of events."""
        return replace(self, kinds=self.kinds.beside(deployment))

    @property
    def encoder_name(self) -> str:
        """Name of the language model whose embeddings become item vectors; empty without one."""
        return self.manifest.encoder_name

    @property
    def takes_text(self) -> bool:
        """Whether the model reads the texts of items; otherwise it knows items by their ids alone.

        Artifacts of older versions name an encoder also where there were no texts: their whitening
        has a width of 1 and is zero.
        """
        is_blank = len(self.whitening.mean) == 1 and not self.whitening.matrix.any()
        return bool(self.manifest.encoder_name) and not is_blank

    @property
    def encoder_version(self) -> str:
        """Version of that language model."""
        return self.manifest.encoder_version

    @property
    def text_version(self) -> str:
        """Version of the text cleaning."""
        return self.manifest.text_version


def make_artifact(
    tensors: Mapping[str, Tensor], config: SequenceConfig, info: Mapping[str, Any], device: str = "cpu"
) -> Artifact:
    """Return an artifact of trained tensors.

    Parameters
    ----------
    info : the remaining fields of the manifest
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    manifest = Manifest(
        format=DEFAULT_FORMAT if isinstance(info.get("event_types", UNSET), UnsetType) else FORMAT,
        sha256=hashlib.sha256(safetensors.torch.save(kept)).hexdigest(),
        sequence=asdict(config),
        tensors={name: TensorSpec(str(t.dtype), list(t.shape)) for name, t in kept.items()},
        **info,
    )
    return _assemble(manifest, kept, device)


def with_golden(artifact: Artifact, golden: Golden) -> Artifact:
    """Return an artifact with golden windows, whose checksum its manifest then has."""
    sha256 = hashlib.sha256(encode_golden(golden)).hexdigest()
    return replace(artifact, manifest=msgspec.structs.replace(artifact.manifest, golden_sha256=sha256), golden=golden)


def save_artifact(artifact: Artifact, directory: Path) -> None:
    """Write an artifact in one step.

    It replaces an artifact at ``directory``; an interruption leaves that one as it was.
    """
    with replaced_folder(directory) as folder:
        (folder / TENSORS).write_bytes(safetensors.torch.save(artifact.tensors))
        if artifact.golden is not None:
            (folder / GOLDEN).write_bytes(encode_golden(artifact.golden))
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(artifact.manifest)))


def manifest_sha256(directory: Path, roots: Sequence[Path] = ()) -> str:
    """Return the SHA-256 of an artifact's manifest, which names all its other files by theirs.

    Raises
    ------
    ArtifactError
        When the place is outside the roots, or the manifest cannot be read.
    """
    try:
        with opened(directory, roots) as folder:
            return hashlib.sha256(read_plain(folder, MANIFEST, MAX_MANIFEST_BYTES)).hexdigest()
    except FileError as exc:
        raise ArtifactError(directory, str(exc)) from exc


def load_artifact(
    directory: Path, device: str = "cpu", roots: Sequence[Path] = (), manifest_sha256: str = ""
) -> Artifact:
    """Read an artifact and check all of it.

    Parameters
    ----------
    manifest_sha256 : what :func:`manifest_sha256` must give; empty for any manifest
    roots : folders of which one must contain it, symbolic links resolved; empty allows every place

    Raises
    ------
    ArtifactError
        When the place is outside the roots; a file is missing, unreadable, sparse, too large or a
        link; the format is unknown; the checksum is wrong; a tensor is missing or has another type
        or shape; a weight is not finite; or an item id is repeated.

    Notes
    -----
    Names, types and shapes are compared from the file's header with models without values, before
    the tensors are read. So memory stays a small multiple of the files' sizes, also for a refusal.
    """
    directory = Path(directory)
    try:
        with opened(directory, roots) as folder:
            manifest, data = _read(directory, folder, manifest_sha256)
            golden = read_plain(folder, GOLDEN, MAX_GOLDEN_BYTES) if manifest.golden_sha256 else None
    except FileError as exc:
        raise ArtifactError(directory, str(exc)) from exc
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        raise ArtifactError(directory / TENSORS, f"checksum {found[:12]}, the manifest says {manifest.sha256[:12]}")
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError) as exc:
        raise ArtifactError(directory / TENSORS, f"not safetensors: {exc}") from exc
    del data  # the tensors are copies
    _check_values(directory / TENSORS, manifest, tensors)
    try:
        artifact = _assemble(manifest, tensors, device)
    except (ArithmeticError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as exc:
        reason = " ".join(str(exc).split())
        raise ArtifactError(directory, f"tensors and configuration do not fit: {reason}") from exc
    return artifact if golden is None else _beside(directory, artifact, golden)


def _beside(directory: Path, artifact: Artifact, golden: bytes) -> Artifact:
    try:
        read = read_golden(golden, artifact.manifest.golden_sha256, len(artifact.whitening.mean))
    except FileError as exc:
        raise ArtifactError(directory / GOLDEN, str(exc)) from exc
    return replace(artifact, golden=read)


def _read(directory: Path, folder: int, sha256: str) -> tuple[Manifest, bytes]:
    """Return the manifest and the tensors' bytes, once manifest and header agree."""
    text = read_plain(folder, MANIFEST, MAX_MANIFEST_BYTES)
    found = hashlib.sha256(text).hexdigest()
    if sha256 and found != sha256:
        raise ArtifactError(directory / MANIFEST, f"checksum {found[:12]}, announced was {sha256[:12]}")
    with open_plain(folder, TENSORS, MAX_TENSORS_BYTES) as (file, size):
        try:
            header = read_header(file, size)
        except FileError as exc:
            raise ArtifactError(directory / TENSORS, str(exc)) from exc
        most_rows = max((spec.shape[0] for spec in header.values() if spec.shape), default=0)
        try:
            manifest = read_manifest(text, most_rows)
        except FileError as exc:
            raise ArtifactError(directory / MANIFEST, str(exc)) from exc
        _check_declared(directory / TENSORS, manifest, header)
        try:
            sizes = len(manifest.item_ids), len(manifest.kinds.types), len(manifest.features)
            check_shapes(header, _config(manifest), *sizes)
            check_newcomers(header, manifest.newcomers)
        except (FileError, ValueError) as exc:
            raise ArtifactError(directory / TENSORS, f"tensors and configuration do not fit: {exc}") from exc
        file.seek(0)
        return manifest, read_exactly(file, TENSORS, size)


def _config(manifest: Manifest) -> SequenceConfig:
    """Return the sizes of the sequence model.

    Raises
    ------
    ValueError
        When a size is absent, unknown or outside its limits.
    """
    names = {field.name for field in fields(SequenceConfig)}
    if manifest.sequence.keys() != names:
        raise ValueError(f"sequence names other sizes than {', '.join(sorted(names))}")
    check_sizes(manifest.sequence)
    return msgspec.convert(manifest.sequence, SequenceConfig)


def _check_declared(where: Path, manifest: Manifest, header: Mapping[str, TensorSpec]) -> None:
    if header.keys() != manifest.tensors.keys():
        raise ArtifactError(
            where, f"tensors unlike the manifest's: {sorted(header.keys() ^ manifest.tensors.keys())[:5]}"
        )
    for name, spec in manifest.tensors.items():
        if header[name] != spec:
            shown = f"{header[name].dtype} {header[name].shape}, the manifest says {spec.dtype} {spec.shape}"
            raise ArtifactError(where, f"tensor {name} is {shown}")


def _check_values(where: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(where, f"tensor {name} holds values that are not finite")
        if name in _NOT_NEGATIVE and bool((tensor < 0).any()):
            raise ArtifactError(where, f"tensor {name} holds values below 0")
    n_items = len(manifest.item_ids)
    if len(set(manifest.item_ids)) != n_items:
        raise ArtifactError(where.parent / MANIFEST, "item_ids holds an id twice")
    if not manifest.encoder_name and bool(tensors["whitening.matrix"].any()):
        raise ArtifactError(where.parent / MANIFEST, "encoder_name is empty, but the model takes texts")
    for name in ("next.rows", "neighbours.rows"):
        if bool(((tensors[name] < -1) | (tensors[name] >= n_items)).any()):
            raise ArtifactError(where, f"tensor {name} does not name items by rows below {n_items}")


def _assemble(manifest: Manifest, tensors: dict[str, Tensor], device: str) -> Artifact:
    config = _config(manifest)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    item_features = SideFeatures.restore(manifest.item_features, arrays, "item_imputer.")
    user_features = SideFeatures.restore(manifest.user_features, arrays, "user_imputer.")
    n_items = len(manifest.item_ids)
    sequence, fusion = empty_models(
        config, n_items, len(manifest.kinds.types), user_features.width, item_features.width, device,
        len(manifest.features),
    )  # fmt: skip
    _load(sequence, "sequence.", tensors)
    _load(fusion, "fusion.", tensors)
    whitening = Whitening(tensors["whitening.mean"].numpy(), tensors["whitening.matrix"].numpy())
    return Artifact(
        manifest=manifest,
        version=version_of(manifest),
        tensors=tensors,
        sequence=sequence.eval(),
        fusion=fusion.eval(),
        whitening=whitening,
        factors=ItemFactors(tensors["mf.factors"].numpy(), tensors["mf.biases"].numpy()),
        next_rows=tensors["next.rows"].numpy().astype(np.int64),
        next_weights=tensors["next.weights"].numpy(),
        neighbour_rows=tensors["neighbours.rows"].numpy().astype(np.int64),
        neighbour_weights=tensors["neighbours.weights"].numpy(),
        item_features=item_features,
        user_features=user_features,
        popularity=tensors["popularity"].numpy(),
        recent_popularity=tensors["recent_popularity"].numpy(),
        first_ms=tensors["first_ms"].numpy(),
        device=device,
        kinds=manifest.kinds,
        repeats=manifest.policy,
        blend=None if isinstance(manifest.blend, UnsetType) else blend_weights(manifest.blend),
    )


def _load(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
