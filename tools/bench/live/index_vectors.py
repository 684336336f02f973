"""Vectors for ``headrace bench index``: an artifact's own, and as many more like them as wanted.

A data set of this size has no million items. The benchmark makes the others from the real ones, and
reports by how much the two differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from models.base.types import Float32
from streams.errors import InputError
from streams.settings.load import load_settings
from tools.training.inputs import TrainingSources

#: A new item lies between an item and one of this many nearest others.
N_NEIGHBOURS: Final = 10
#: It leaves the line between the two by this share of their distance, in a random direction.
NOISE: Final = 0.7
#: Items that are made in one step.
BLOCK: Final = 50_000
#: Quantiles that compare made with real vectors.
QUANTILES: Final = (0.1, 0.5, 0.9)
N_COMPARED: Final = 1_000


def real_vectors(artifact_dir: Path, sources: TrainingSources, n_queries: int, seed: int) -> tuple[Float32, Float32]:
    """Return vectors of a catalogue, (n, d + 1), and of users, (q, d + 1), whose last entry is 1.

    Users are windows before events of the log.

    Parameters
    ----------
    sources : the log and the catalogue

    Raises
    ------
    InputError
        When the catalogue or the log is missing, or gives too few items or windows.
    HeadraceError
        When the artifact or its encoder cannot be used.
    """
    from models.base.device import tame_pytorch
    from models.interactions import sample_positions, windows_before
    from models.ranking.candidates import packed_windows, user_states
    from models.ranking.pipeline import build_catalogue
    from models.sequence.serving import ServedSequence
    from streams.recommender.model.artifact_encoder import open_artifact_encoder, prepare_text, usable_artifact
    from tools.training.inputs import embed_items

    tame_pytorch()
    settings = load_settings().recommender
    artifact = usable_artifact(artifact_dir, "cpu", [artifact_dir.absolute().parent])
    sides = sources.read_sides()
    embeddings: dict[str, Float32] = {}
    if artifact.takes_text:
        prepare_text(settings)
        embeddings = embed_items(sides.items, *open_artifact_encoder(artifact, "cpu", settings))
    catalogue = build_catalogue(artifact, embeddings, 1, sides.item_features)
    log = sources.read_log()
    positions = sample_positions(log, range(len(log)), n_queries, seed)
    windows, _, _ = windows_before(log, positions, artifact.sequence.config.max_length)
    _, packed, wishes = packed_windows(artifact, catalogue, windows)
    users = user_states(artifact, ServedSequence(artifact.sequence), catalogue, packed, wishes)[0][wishes.lengths > 0]
    items = np.ascontiguousarray(catalogue.vectors[~catalogue.is_blank])
    if len(items) <= 10 * N_NEIGHBOURS or len(users) < 2:
        raise InputError(
            f"{len(items)} items and {len(users)} windows: more are needed; name a larger catalogue and log"
        )
    return items, users


def extended(items: Float32, n: int, seed: int) -> Float32:
    """Return ``n`` vectors: some of the items, or all of them and made ones.

    A made vector has length and last entry (the bias) of a real item. Its direction lies between
    that item and one of its nearest neighbours by cosine, and off the line between them.

    Parameters
    ----------
    items : (m, d + 1) float32
    """
    from models.index.faiss_kinds import nearest_exact

    rng = np.random.default_rng(seed)
    if n <= len(items):
        return np.ascontiguousarray(items[np.sort(rng.choice(len(items), n, replace=False))])
    lengths, unit = _unit(items)
    neighbours = nearest_exact(unit, unit, N_NEIGHBOURS + 1)[0][:, 1:]
    made = np.empty((n, items.shape[1]), dtype=np.float32)
    made[: len(items)] = items
    for start in range(len(items), n, BLOCK):
        block = made[start : start + BLOCK]
        of = rng.integers(len(items), size=len(block))
        other = neighbours[of, rng.integers(N_NEIGHBOURS, size=len(block))]
        apart = unit[other] - unit[of]
        off = rng.standard_normal(apart.shape, dtype=np.float32)
        off *= NOISE * np.linalg.norm(apart, axis=1, keepdims=True) / np.sqrt(apart.shape[1])
        directions = unit[of] + rng.random((len(block), 1), dtype=np.float32) * apart + off
        block[:, :-1] = directions * (lengths[of] / np.linalg.norm(directions, axis=1))[:, None]
        block[:, -1] = items[of, -1]
    return made


def likeness(items: Float32, made: Float32, seed: int) -> dict[str, dict[str, list[float]]]:
    """Return quantiles of lengths, biases and neighbours' cosines of real and of made vectors.

    The tenth neighbour is looked for among as many made vectors as there are real ones: among a
    million it must be nearer.

    Parameters
    ----------
    made : of which at least half are made
    """
    from models.index.faiss_kinds import nearest_exact

    rng = np.random.default_rng(seed)
    sample = np.ascontiguousarray(made[rng.choice(len(made), min(len(items), len(made)), replace=False)])
    found = {}
    for name, vectors in (("real", items), ("made", sample)):
        lengths, unit = _unit(vectors)
        asked = unit[rng.choice(len(unit), min(N_COMPARED, len(unit)), replace=False)]
        tenth = nearest_exact(unit, asked, min(N_NEIGHBOURS + 1, len(unit)))[1][:, -1]
        values = {"length": lengths, "bias": vectors[:, -1], "cosine of the tenth neighbour": tenth}
        found[name] = {what: np.quantile(of, QUANTILES).round(3).tolist() for what, of in values.items()}
    return found


def _unit(vectors: Float32) -> tuple[Float32, Float32]:
    """Return lengths and directions without the last entry; length 0 has direction 0."""
    lengths: Float32 = np.linalg.norm(vectors[:, :-1], axis=1)
    unit = vectors[:, :-1] / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return lengths, np.ascontiguousarray(unit, dtype=np.float32)
