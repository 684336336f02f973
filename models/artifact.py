"""A trained model as a directory: ``tensors.safetensors`` and ``manifest.json``. Never pickle; loading checks everything."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from models.artifact_files import (
    MAX_MANIFEST_BYTES,
    MAX_TENSORS_BYTES,
    FileError,
    check_header,
    check_sizes,
    placed,
    read_limited,
)
from models.factors import ItemFactors
from models.fusion import FusionModel
from models.sequence import SequenceConfig, SequenceModel
from models.side_features import SideFeatures
from models.types import Float32, Int64
from models.whitening import Whitening

FORMAT: Final = 2
TENSORS: Final = "tensors.safetensors"
MANIFEST: Final = "manifest.json"
_PER_ITEM: Final = (
    "mf.factors", "mf.biases", "next.rows", "next.weights", "neighbours.rows", "neighbours.weights",
    "popularity", "recent_popularity", "first_ms",
)  # fmt: skip
REMEDY: Final = "train it again with headrace train, or restore the directory from its source"


class ArtifactError(Exception):
    """An artifact cannot be used; the message is one line: file, what is wrong, remedy."""

    def __init__(self, where: Path, problem: str) -> None:
        super().__init__(f"{where}: {problem}; {REMEDY}")


class TensorSpec(msgspec.Struct):
    """Type and shape of one tensor."""

    dtype: str
    shape: list[int]


class _Format(msgspec.Struct):
    format: int


class Manifest(msgspec.Struct, kw_only=True):
    """What an artifact is and what made it. ``item_ids[row]`` is the external id of an item row."""

    format: int
    sha256: str
    created_ms: int
    encoder_name: str
    encoder_version: str
    text_version: str
    sequence: dict[str, int | float | str]
    alpha: float
    regularisation: float
    trained_from_ms: int
    trained_to_ms: int
    n_events: int
    n_users: int
    preset: str
    seed: int
    left_out: str
    epochs: int
    metrics: dict[str, float]
    item_features: dict[str, Any]
    user_features: dict[str, Any]
    tensors: dict[str, TensorSpec]
    item_ids: list[str]


@dataclass(frozen=True)
class Artifact:
    """A checked model, ready to serve.

    ``next_rows`` (n_items, n_next) int64 holds each item's most frequent followers, -1 where there are fewer, and
    ``next_weights`` their shares; ``neighbour_rows`` and ``neighbour_weights`` (n_items, n_neighbours) likewise the items most often had
    by the same users, and their cosines; ``popularity`` (n_items,) counts in training; ``recent_popularity`` (n_items,) the decayed
    counts as of ``manifest.trained_to_ms``; ``first_ms`` (n_items,) int64 the time of an item's first event, -1 without one.
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

    @property
    def encoder_name(self) -> str:
        """Name of the language model whose embeddings the item vectors are projected from."""
        return self.manifest.encoder_name

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
    """Return an artifact of trained tensors; ``info`` holds the manifest's remaining fields."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    manifest = Manifest(
        format=FORMAT,
        sha256=hashlib.sha256(safetensors.torch.save(kept)).hexdigest(),
        sequence=asdict(config),
        tensors={name: TensorSpec(str(t.dtype), list(t.shape)) for name, t in kept.items()},
        **info,
    )
    return _assemble(manifest, kept, device)


def save_artifact(artifact: Artifact, directory: Path) -> None:
    """Write an artifact in one step: another one at ``directory`` is replaced, an interruption leaves it as it was."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch_name:
        scratch = Path(scratch_name) / "new"
        scratch.mkdir()
        (scratch / TENSORS).write_bytes(safetensors.torch.save(artifact.tensors))
        (scratch / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(artifact.manifest)))
        old = Path(scratch_name) / "old"
        had_one = directory.exists()
        if had_one:
            os.rename(directory, old)
        try:
            os.rename(scratch, directory)
        except BaseException:
            if had_one:
                os.rename(old, directory)
            raise


def load_artifact(directory: Path, device: str = "cpu", roots: Sequence[Path] = ()) -> Artifact:
    """Read an artifact and check it whole.

    Parameters
    ----------
    roots : folders of which one must contain it, symbolic links followed; none allows every place

    Raises
    ------
    ArtifactError
        For a place outside the roots, a missing, unreadable or too large file, a link in place of a file, an unknown format, a wrong
        checksum, a tensor that is missing or of another type or shape, a weight that is not finite, a repeated item id.
    """
    directory = Path(directory)
    try:
        folder = placed(directory, roots)
        text = read_limited(folder / MANIFEST, MAX_MANIFEST_BYTES)
        data = read_limited(folder / TENSORS, MAX_TENSORS_BYTES)
    except FileError as exc:
        raise ArtifactError(directory, str(exc)) from exc
    try:
        found_format = msgspec.json.decode(text, type=_Format).format
        if found_format != FORMAT:
            raise ArtifactError(directory / MANIFEST, f"format {found_format}, this version reads {FORMAT}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ArtifactError(directory / MANIFEST, f"not a manifest: {exc}") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        raise ArtifactError(directory / TENSORS, f"checksum {found[:12]}, the manifest says {manifest.sha256[:12]}")
    try:
        check_header(data)
        tensors = safetensors.torch.load(data)
    except FileError as exc:
        raise ArtifactError(directory / TENSORS, str(exc)) from exc
    except (SafetensorError, ValueError) as exc:
        raise ArtifactError(directory / TENSORS, f"not safetensors: {exc}") from exc
    _check_tensors(directory / TENSORS, manifest, tensors)
    try:
        return _assemble(manifest, tensors, device)
    except (ArithmeticError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as exc:
        reason = " ".join(str(exc).split())
        raise ArtifactError(directory, f"tensors and configuration do not fit: {reason}") from exc


def _check_tensors(where: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> None:
    if tensors.keys() != manifest.tensors.keys():
        raise ArtifactError(where, f"tensors unlike the manifest's: {sorted(tensors.keys() ^ manifest.tensors.keys())}")
    for name, spec in manifest.tensors.items():
        tensor = tensors[name]
        if str(tensor.dtype) != spec.dtype or list(tensor.shape) != spec.shape:
            shown = f"{tensor.dtype} {list(tensor.shape)}, the manifest says {spec.dtype} {spec.shape}"
            raise ArtifactError(where, f"tensor {name} is {shown}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(where, f"tensor {name} holds values that are not finite")
    n_items = len(manifest.item_ids)
    if len(set(manifest.item_ids)) != n_items:
        raise ArtifactError(where.parent / MANIFEST, "item_ids holds an id twice")
    for name in _PER_ITEM:
        if name not in tensors or tensors[name].shape[0] != n_items:
            raise ArtifactError(where, f"tensor {name} does not have {n_items} rows, one for each of item_ids")
    for table in ("next", "neighbours"):
        named, weights = tensors[f"{table}.rows"], tensors[f"{table}.weights"]
        if named.shape != weights.shape or bool(((named < -1) | (named >= n_items)).any()):
            raise ArtifactError(where, f"tensor {table}.rows does not name items by rows below {n_items}")


def _assemble(manifest: Manifest, tensors: dict[str, Tensor], device: str) -> Artifact:
    names = {field.name for field in fields(SequenceConfig)}
    if manifest.sequence.keys() != names:
        raise ValueError(f"sequence names other sizes than {', '.join(sorted(names))}")
    check_sizes(manifest.sequence)
    config = msgspec.convert(manifest.sequence, SequenceConfig)
    sequence = SequenceModel(config, len(manifest.item_ids))
    _load(sequence, "sequence.", tensors)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    item_features = SideFeatures.restore(manifest.item_features, arrays, "item_imputer.")
    user_features = SideFeatures.restore(manifest.user_features, arrays, "user_imputer.")
    fusion = FusionModel(config.dim + 1 + user_features.width, config.dim + 1 + item_features.width)
    _load(fusion, "fusion.", tensors)
    whitening = Whitening(tensors["whitening.mean"].numpy(), tensors["whitening.matrix"].numpy())
    if whitening.mean.ndim != 1 or whitening.matrix.shape != (len(whitening.mean), config.text_dim):
        raise ValueError(f"whitening of shape {whitening.matrix.shape} does not give {config.text_dim} columns")
    return Artifact(
        manifest=manifest,
        version=_version(manifest),
        tensors=tensors,
        sequence=sequence.to(device).eval(),
        fusion=fusion.to(device).eval(),
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
    )


def _version(manifest: Manifest) -> str:
    """Return 12 hexadecimal digits over all of a manifest that changes a list; when it was made and how good it is does not."""
    made_of = (
        manifest.format, manifest.sha256, manifest.item_ids, manifest.encoder_version, manifest.text_version,
        sorted(manifest.sequence.items()),
        manifest.item_features, manifest.user_features, manifest.alpha, manifest.regularisation, manifest.trained_to_ms,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()[:12]


def _load(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
