"""A catalogue's base index in a Qdrant server, 1.10 or newer, and the search that replaces it.

::

    build   create NAME-ARTIFACT-GENERATION ─► upload ─► wait for its graph ─► measure recall
            ─► alias NAME points to it ─► delete all generations but the last two
    search  the server, within a deadline ─► where it fails: this process, which has the vectors
    mend    each minute without the server: where it has lost the collection, or never had it, build

A search names its collection and not the alias, because rows belong to one generation. Each worker
needs a name of its own, because it numbers its rows in its own way.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from math import ceil
from typing import Any, Final

import numpy as np
from packaging.version import InvalidVersion, Version
from qdrant_client import QdrantClient, models

from models.base.types import Float32, Int64
from models.index.engine_calls import EngineCalls, EngineError
from models.index.faiss_kinds import nearest_exact
from models.index.index import ItemIndex
from models.index.recall import least_effort

log = logging.getLogger(__name__)

#: The oldest server that answers batches of queries (``/points/query/batch``).
OLDEST: Final = Version("1.10")
RECALL_TARGET: Final = 0.98
#: Candidates that a search of the server's graph keeps (``hnsw_ef``), rising; 0 compares with every
#: vector.
EFFORTS: Final = (64, 128, 256, 512, 1_024, 0)
#: Vectors in one upload: 1 MB of JSON at 65 values each; a server takes 32 MB.
UPLOAD: Final = 1_000
#: An index that the server does not have is built there again after this long.
MEND_S: Final = 60.0
#: Longest time for one step of a build, and for the server to finish its graph.
STEP_S: Final = 30.0
GRAPH_S: Final = 1_800.0
POLL_S: Final = 0.5


class QdrantEngine(EngineCalls):
    """One worker's collections in a server. Builds one index at a time; any thread may search.

    Parameters
    ----------
    client : of the server; its own timeout should be at least ``timeout_s``
    name : of this worker, letters, digits, ``-``, ``_`` and ``.``; no other worker may use it
    artifact : version of the artifact whose vectors these are
    timeout_s : longest time that a search waits for the server
    """

    def __init__(self, client: QdrantClient, name: str, artifact: str, timeout_s: float) -> None:
        if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII):
            raise ValueError(f"name={name!r}: must be 1 to 100 letters, digits, '-', '_' and '.'")
        super().__init__()
        self.client = client
        self.name = name
        self.artifact = re.sub(r"[^0-9A-Za-z]", "", artifact)[:16]
        self.timeout_s = timeout_s
        self._building = threading.Lock()

    def build(self, vectors: Float32) -> QdrantIndex:
        """Return an index of vectors in the server; while the server fails, this process searches.

        Parameters
        ----------
        vectors : (n, d) float32, finite; kept and not copied, so they must never change
        """
        index = QdrantIndex(self, vectors)
        index.mend()
        return index

    def has(self, collection: str) -> bool:
        """Whether the server has a collection.

        Raises
        ------
        EngineError
            When the server fails.
        """
        return bool(self.ask(lambda: self.client.collection_exists(collection), STEP_S))

    def replace(self, index: QdrantIndex) -> None:
        """Put an index into a new collection, to which the alias points from then on.

        Raises
        ------
        EngineError
            When the server fails; what was there before stays.
        """
        with self._building:
            self._check_version()
            before = self._collections()
            collection = f"{self.name}-{self.artifact}-{1 + max(before.values(), default=0)}"
            dim = models.VectorParams(size=index.vectors.shape[1], distance=models.Distance.DOT)
            self.ask(lambda: self.client.create_collection(collection, vectors_config=dim), STEP_S)
            try:
                self._fill(collection, index.vectors)
                index.use(collection)
                previous = self._switch(collection)
            except EngineError:
                self._delete(collection)
                raise
            for old in before.keys() - {previous}:
                self._delete(old)

    def _check_version(self) -> None:
        text = str(self.ask(self.client.info, STEP_S).version)
        try:
            is_usable = Version(text) >= OLDEST
        except InvalidVersion:
            is_usable = False
        if not is_usable:
            raise EngineError(f"the server is version {text}, must be at least {OLDEST}; upgrade it")

    def _collections(self) -> dict[str, int]:
        """Return the generation of each collection of this worker, of any artifact."""
        form = re.compile(rf"{re.escape(self.name)}-[0-9A-Za-z]*-([0-9]{{1,18}})")
        listed = self.ask(self.client.get_collections, STEP_S).collections
        return {one.name: int(found[1]) for one in listed if (found := form.fullmatch(one.name))}

    def _fill(self, collection: str, vectors: Float32) -> None:
        """Upload vectors with their rows as ids, and wait until the server has its graph."""
        for start in range(0, len(vectors), UPLOAD):
            block = vectors[start : start + UPLOAD]
            batch = models.Batch.model_construct(ids=list(range(start, start + len(block))), vectors=block.tolist())
            self.ask(lambda batch=batch: self.client.upsert(collection, batch, wait=True), STEP_S)  # type: ignore[misc]
        deadline = time.monotonic() + GRAPH_S
        while self.ask(lambda: self.client.get_collection(collection), STEP_S).status != models.CollectionStatus.GREEN:
            if time.monotonic() > deadline:
                raise EngineError(f"{collection}: its graph was not finished within {GRAPH_S:.0f} s")
            time.sleep(POLL_S)
        n_held = self.ask(lambda: self.client.count(collection, exact=True), STEP_S).count
        if n_held != len(vectors):
            raise EngineError(f"{collection} holds {n_held} vectors, must be {len(vectors)}")

    def _switch(self, collection: str) -> str:
        """Let the alias point to a collection, in one step; return where it pointed before."""
        aliases = self.ask(self.client.get_aliases, STEP_S).aliases
        previous = next((one.collection_name for one in aliases if one.alias_name == self.name), "")
        create = models.CreateAlias(collection_name=collection, alias_name=self.name)
        actions: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if previous:
            actions.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.name)))
        self.ask(lambda: self.client.update_collection_aliases(actions), STEP_S)
        return previous

    def _delete(self, collection: str) -> None:
        try:
            self.ask(lambda: self.client.delete_collection(collection), STEP_S)
        except EngineError as exc:  # the next build tries again
            log.warning("index engine: %s could not be deleted: %s", collection, exc)


class QdrantIndex:
    """An index in one collection of a server.

    Attributes
    ----------
    kind : ``qdrant``
    recall : measured share of the exact answers that a search of the server finds
    """

    def __init__(self, engine: QdrantEngine, vectors: Float32) -> None:
        self.vectors = vectors
        self.kind = "qdrant"
        self.recall = 1.0
        self._engine = engine
        self._collection = ""  # until the server has one
        self._effort = 0
        self._local: ItemIndex | None = None
        self._mending: threading.Thread | None = None
        self._mend_at = 0.0

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.vectors)

    def use(self, collection: str) -> None:
        """Search in a collection from now on, with the least effort that finds 0.98 of the best.

        Raises
        ------
        EngineError
            When the server fails; the index then searches where it did before.
        """

        def search(queries: Float32, k: int, effort: int) -> tuple[Int64, Float32]:
            return self._remote(collection, queries, k, effort, STEP_S)

        effort, recall = least_effort(search, self.vectors, EFFORTS, target=RECALL_TARGET, seed=1)
        self._collection, self._effort, self.recall = collection, effort, recall

    def mend(self) -> None:
        """Build the index in the server where it lacks it; while it fails, build one here."""
        try:
            if not self._collection or not self._engine.has(self._collection):
                self._collection = ""
                self._engine.replace(self)
                self._engine.note_answer()
        except EngineError as exc:
            self._engine.note_failure(f"the index cannot be built, so this process searches: {exc}")
        if self._engine.problem and self._local is None:
            self._local = ItemIndex.build(self.vectors)
        self._mend_at = time.monotonic() + MEND_S

    def search(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return the best rows and their scores, (q, w) each, best first.

        w is the smaller of ``k`` and the number of vectors. Where the server fails, this process
        answers, and the server is not asked for a few seconds.

        Raises
        ------
        ValueError
            When the width differs from the vectors', a value is not finite, or ``k`` is below 1.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        dim = self.vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise ValueError(f"queries of shape {queries.shape}: must be (q, {dim}), as the vectors are")
        if not np.isfinite(queries).all():
            raise ValueError("queries: a value is not finite; every value must be a float32 number")
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        width = min(k, len(self))
        if not len(queries) or not width:
            return np.zeros((len(queries), width), np.int64), np.zeros((len(queries), width), np.float32)
        if self._collection and self._engine.may_ask():
            try:
                found = self._remote(self._collection, queries, width, self._effort, self._engine.timeout_s)
            except EngineError as exc:
                self._engine.note_failure(f"this process searches instead: {exc}")
            else:
                self._engine.note_answer()
                return found
        self._begin_mending()
        return nearest_exact(self.vectors, queries, width) if self._local is None else self._local.search(queries, k)

    def _remote(
        self, collection: str, queries: Float32, k: int, effort: int, timeout_s: float
    ) -> tuple[Int64, Float32]:
        """Return what the server finds, (q, k) each.

        Raises
        ------
        EngineError
            When it fails, or finds other than ``k`` rows of this index.
        """
        params = models.SearchParams(hnsw_ef=effort) if effort else models.SearchParams(exact=True)
        asked = [models.QueryRequest(query=query, limit=k, params=params) for query in queries.tolist()]
        client, seconds = self._engine.client, ceil(timeout_s)
        answers = self._engine.ask(lambda: client.query_batch_points(collection, asked, timeout=seconds), timeout_s)
        ids = [[point.id for point in answer.points] for answer in answers]
        if [len(of_one) for of_one in ids] != [k] * len(queries):
            found = min(map(len, ids), default=0)
            raise EngineError(f"{collection} gave {found} rows for a query, must be {k}")
        rows = np.array(ids)
        if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(self):
            raise EngineError(f"{collection} gave a row that is not from 0 to {len(self) - 1}")
        scores = np.array([[point.score for point in answer.points] for answer in answers], dtype=np.float32)
        return rows.astype(np.int64), scores

    def _begin_mending(self) -> None:
        """Mend in the background where that is due and not under way."""
        if time.monotonic() >= self._mend_at and (self._mending is None or not self._mending.is_alive()):
            self._mending = threading.Thread(target=self.mend, name="index-mending", daemon=True)
            self._mending.start()
