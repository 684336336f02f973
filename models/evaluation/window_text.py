"""A user's window written as text and embedded by the language model.

This is the literal reading of sequential embedding. The window's text is whitened like the items'
texts. A linear map, fitted by ridge regression, then predicts the text embedding of the next item.
User vectors and items lie in the space of item texts: the retrieval score is ``user . item``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.event_types import DEFAULT_TYPES, WindowTypes
from models.base.types import Float32
from models.interactions import Interactions, sample_positions, windows_before
from models.sequence.packing import PackedWindows, pack
from models.text.encoder import TextEncoder
from models.text.whitening import Whitening

#: Characters of a window's text. An encoder reads 256 tokens of about four characters each in
#: English: 1,000 characters.
MAX_WINDOW_CHARS: Final = 1_000
#: Characters of one item in it. Titles come first and fit; a long description must not push out the
#: older behaviours.
MAX_ITEM_CHARS: Final = 100


class WindowTextEncoder:
    """User vectors from windows written as text; one :class:`models.sequence.model.UserEncoder`.

    For a window's text ``s``: ``user = whiten(encode(s)) M``, with ``M`` from
    :func:`fit_window_text`. Each distinct text of a call is embedded once. Each new behaviour costs
    a full run of the language model. For one thread at a time, like the text encoder.

    Parameters
    ----------
    encoder : the one that embedded the items' texts
    texts : by row of the catalogue, cleaned (:func:`models.text.clean.item_text`); ``""`` for an
        item without text
    whitening : fitted on the items' embeddings, (encoder.dim, text_dim)
    map : (text_dim, dim) float32, ``M``; the identity leaves the whitened embedding unchanged
    kinds : the types of the windows, which the text names

    Raises
    ------
    ValueError
        When encoder, whitening and map do not fit together, or the map is not finite.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        whitening: Whitening,
        map: Float32,
        kinds: WindowTypes = DEFAULT_TYPES.window_types,
    ) -> None:
        if whitening.matrix.shape[0] != encoder.dim:
            raise ValueError(
                f"whitening of {whitening.matrix.shape[0]} dimensions, encoder of {encoder.dim}: "
                "must be equal; use the encoder that the whitening was fitted with"
            )
        if map.ndim != 2 or map.shape[0] != whitening.matrix.shape[1]:
            raise ValueError(
                f"map of shape {map.shape}: must be ({whitening.matrix.shape[1]}, dim); fit it with this whitening"
            )
        if not np.isfinite(map).all():
            raise ValueError("map has values that are NaN or infinite: all must be finite; fit it again")
        self._encoder, self._whitening, self._map, self._kinds = encoder, whitening, map, kinds
        self._texts = [_cut(text.strip(), MAX_ITEM_CHARS) for text in texts]

    def window_text(self, packed: PackedWindows, i: int) -> str:
        """Return window ``i`` as one text: each behaviour's type and item text, newest first.

        Encoders read only the beginning of a text. The text ends between words after at most
        :data:`MAX_WINDOW_CHARS` characters, so it loses the oldest behaviours. Items without text
        are left out. A window that has no item with text gives ``""``.
        """
        n = int(packed.lengths[i])
        parts: list[str] = []
        n_chars = 0
        for row, kind in zip(packed.rows[i, :n][::-1].tolist(), packed.types[i, :n][::-1].tolist(), strict=True):
            if n_chars > MAX_WINDOW_CHARS:
                break
            if self._texts[row]:
                parts.append(f"{self._kinds.names[kind]} {self._texts[row]}")
                n_chars += len(parts[-1]) + 1
        return _cut(" ".join(parts), MAX_WINDOW_CHARS)

    def user_vectors(self, packed: PackedWindows, items: Float32) -> Float32:
        """Return one vector per window, (n, dim) float32; zeros for a window without text.

        Parameters
        ----------
        items : (n_rows, dim) float32, the catalogue's ``text_unit``; only its shape is used, since
            the windows' texts replace it

        Raises
        ------
        ValueError
            When ``items`` has other rows than there are texts, or another width than the map.
        """
        need = (len(self._texts), self._map.shape[1])
        if items.shape != need:
            raise ValueError(f"items of shape {items.shape}: must be {need}; give texts and vectors of one catalogue")
        written = [self.window_text(packed, i) for i in range(len(packed.lengths))]
        place = {text: row for row, text in enumerate(dict.fromkeys(text for text in written if text))}
        # the last row is for no text
        embedded = np.zeros((len(place) + 1, self._encoder.dim), dtype=np.float32)
        if place:
            embedded[:-1] = self._encoder.encode(list(place))
        vectors = self._whitening.apply(embedded) @ self._map
        # no text, or the encoder gave up: whitening would move it away from 0
        vectors[~embedded.any(axis=1)] = 0.0
        result: Float32 = vectors[[place.get(text, -1) for text in written]].astype(np.float32)
        return result


@dataclass(frozen=True)
class WindowTextTraining:
    """How the map is fitted.

    Parameters
    ----------
    max_length : behaviours of a window, the newest ones, as in serving
    n_pairs : (window, next item) pairs at most; each costs a run of the encoder
    regularisation : ``r`` of :func:`fit_window_text`, as a share of the mean variance of a window's
        embedding
    """

    max_length: int = 50
    n_pairs: int = 10_000
    regularisation: float = 1.0

    def __post_init__(self) -> None:
        for name in ("max_length", "n_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if not (self.regularisation > 0 and math.isfinite(self.regularisation)):
            raise ValueError(f"regularisation={self.regularisation}: must be above 0 and finite, such as 1")


@dataclass(frozen=True)
class WindowTextData:
    """What the map is fitted to.

    Parameters
    ----------
    log : the training log
    texts : by row of ``log.item_ids``, cleaned; ``""`` for an item without text
    text_unit : (n_items, text_dim) float32, by the same rows: whitened text embeddings of unit
        length, zeros without text
    """

    log: Interactions
    texts: Sequence[str]
    text_unit: Float32

    def __post_init__(self) -> None:
        n_items = len(self.log.item_ids)
        if len(self.texts) != n_items:
            raise ValueError(f"{len(self.texts)} texts: must be {n_items}, one per item of the log; '' for none")
        if self.text_unit.ndim != 2 or len(self.text_unit) != n_items:
            raise ValueError(
                f"text_unit of shape {self.text_unit.shape}: must be ({n_items}, text_dim), a row per item"
            )


def fit_window_text(
    data: WindowTextData, encoder: TextEncoder, whitening: Whitening, training: WindowTextTraining, *, seed: int
) -> Float32:
    """Return the map ``M`` from a whitened window embedding to the text of the next item.

    Minimises ``sum_i |y_i - M'x_i|^2 + r |M - sI|^2`` in closed form, ``M = (X'X + rI)^-1 (X'Y +
    rsI)``: ``x_i`` is a window's whitened embedding, ``y_i`` the unit text vector of the next item.
    The regression shrinks towards a multiple of the identity instead of 0, because windows and
    items are both texts: with little data the window's own text is the best guess. ``s`` is the
    multiple that fits best by itself, ``trace(X'Y) / trace(X'X)``; ``r`` is a share of the mean
    variance. The product of ``M'x`` with an item's unit vector orders items as its sigmoid does;
    that sigmoid is not a calibrated probability.

    The same input and seed give the same map. Pairs are sampled over the whole log; items without
    text are never targets.

    Returns
    -------
    (text_dim, text_dim) float32

    Raises
    ------
    ValueError
        When no item with text follows a window with text, or shapes do not fit together.

    Notes
    -----
    There is no intercept. Whitening removes the mean of items' texts but not that of windows'
    texts, and the common part of the windows works as an intercept.

    References
    ----------
    Hoerl and Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, 1970; here
    with one penalty for all columns of ``Y``.
    """
    row_of = {item_id: row for row, item_id in enumerate(data.log.item_ids)}
    has_text = np.linalg.norm(data.text_unit, axis=1) > 0
    usable = np.flatnonzero(has_text[data.log.items] & data.log.is_positive).tolist()
    positions = sample_positions(data.log, usable, training.n_pairs, seed)
    windows, _, following = windows_before(data.log, positions, training.max_length)
    identity = np.eye(whitening.matrix.shape[1], dtype=np.float32)
    as_text = WindowTextEncoder(encoder, data.texts, whitening, identity, data.log.kinds)
    x = as_text.user_vectors(pack(windows, row_of, training.max_length, data.log.kinds), data.text_unit).astype(
        np.float64
    )
    if not x.any():
        raise ValueError(
            f"log (number of events: {len(data.log)}): no item with text follows a window with text; give a longer log"
        )
    y = data.text_unit[[row_of[item_id] for item_id in following]].astype(np.float64)
    xx, xy = x.T @ x, x.T @ y
    ridge = training.regularisation * np.trace(xx) / len(xx) * identity
    fitted: Float32 = np.linalg.solve(xx + ridge, xy + np.trace(xy) / np.trace(xx) * ridge).astype(np.float32)
    return fitted


def _cut(text: str, max_chars: int) -> str:
    """Return the beginning of a text, cut between words unless its first word is longer."""
    if len(text) <= max_chars:
        return text
    return text[: max_chars + 1].rpartition(" ")[0].rstrip() or text[:max_chars]
