"""What a catalogue needs of an index: the best rows of each query."""

from __future__ import annotations

from typing import Protocol

from models.base.types import Float32, Int64


class VectorSearch(Protocol):
    """Finds the vectors with the largest inner products.

    ``models.index.index.ItemIndex`` searches in this process, ``models.index.qdrant.QdrantIndex``
    asks a vector database.
    """

    @property
    def kind(self) -> str:
        """Name of the way in which it searches."""

    @property
    def recall(self) -> float:
        """Measured share of the exact answers that a search finds; 1 for exact."""

    def __len__(self) -> int:
        """Return the number of vectors."""

    def search(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return the best rows and their scores, (q, w) each, best first.

        w is the smaller of ``k`` and the number of vectors.
        """
