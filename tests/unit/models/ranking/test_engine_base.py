"""A catalogue whose base index is in an engine gives the rows of one that is searched here."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import QdrantClient

from models.base.types import Float32
from models.index.qdrant import QdrantEngine
from models.ranking.catalogue import Catalogue, rebuild
from models.ranking.catalogue.store import CatalogueStore, Entry
from models.text.encoder import FakeEncoder
from tests.support.tiny_models import artifact

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore:Local mode:UserWarning")]
IDS = [f"new-{number:03}" for number in range(60)]


def entry(item_id: str, text: str) -> Entry:
    """Return an item whose vector follows from a text."""
    return Entry(item_id, {}, FakeEncoder(16).encode([text])[0], text_key=text.rjust(16)[-16:].encode())


def changed(store: CatalogueStore) -> Catalogue:
    """Return the catalogue after a rebuild and changes: a tail, hidden and withdrawn items."""
    store.apply([entry(item_id, item_id) for item_id in IDS])
    store.rebuild_now()
    store.apply([entry("new-003", "another text"), entry("later", "later")], removed=["new-007"])
    store.show({"new-011": False})
    return store.snapshot()


def queries(catalogue: Catalogue) -> Float32:
    """Return vectors of users."""
    return np.random.default_rng(1).standard_normal((5, catalogue.vectors.shape[1])).astype(np.float32)


@pytest.mark.parametrize("harm", ["none", "away from the start", "lost later"])
def test_the_base_in_an_engine_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    """Tail and mask stay here, and so does the search while the engine fails."""
    monkeypatch.setattr(rebuild, "EXACT_UP_TO", 4)
    model, client = artifact(), QdrantClient(":memory:")
    engine = QdrantEngine(client, "worker", model.version, timeout_s=20.0)
    if harm == "away from the start":
        client.close()
    found = changed(CatalogueStore(model, engine.build))
    if harm == "lost later":
        for one in client.get_collections().collections:
            client.delete_collection(one.name)
    wanted = changed(CatalogueStore(model))
    rows, scores = found.index.search(queries(found), 30)
    wanted_rows, wanted_scores = wanted.index.search(queries(wanted), 30)
    assert rows.tolist() == wanted_rows.tolist()
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-4)
    assert found.index.kind == "qdrant" and found.index.n_tail == 2
    assert bool(engine.problem) == (harm != "none")
    ids = {found.item_ids[row] for row in found.index.search(queries(found), 100)[0].ravel().tolist()}
    assert "later" in ids and not ids & {"new-007", "new-011"}
