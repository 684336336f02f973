"""Make lists without Kafka, cell by cell as in a notebook.

Run it as: python embed_pipeline.py ARTIFACT CATALOGUE_CSV

The catalogue has the columns item_id and title; `headrace train LOG --items CATALOGUE_CSV --out
ARTIFACT` made the artifact.
"""

# %% What the server serves: an artifact, and the catalogue of the moment
import csv
import sys
import time
from pathlib import Path

from models.artifact.artifact import load_artifact
from models.base.types import Behaviour
from models.ranking.catalogue import build_catalogue
from models.ranking.pipeline import Pipeline
from models.text.clean import item_text
from streams.recommender.model.artifact_encoder import open_artifact_encoder
from streams.settings.load import load_settings

artifact = load_artifact(Path(sys.argv[1]))
with open(sys.argv[2], newline="", encoding="utf-8") as file:
    titles = {row["item_id"]: row["title"] for row in csv.DictReader(file)}
print(f"artifact {artifact.version}: {len(artifact.manifest.item_ids)} items, encoder {artifact.encoder_name}")

# %% The language model that the artifact was trained with embeds the titles: (n_items, dim) float32
encoder, _cache = open_artifact_encoder(artifact, "cpu", load_settings(artifact=sys.argv[1]).recommender)
vectors = encoder.encode([item_text(title) for title in titles.values()])
catalogue = build_catalogue(artifact, dict(zip(titles, vectors, strict=True)), generation=1)

# %% A window is a user's last behaviours in order of time; this user saw the first three items
now_ms = int(time.time() * 1000)
window = [Behaviour(item_id, "view", now_ms - 60_000 * age) for age, item_id in zip((3, 2, 1), titles, strict=False)]

# %% One list per window. A window without any known item gets popular items, and `degraded` says so
pipeline = Pipeline(artifact, k=5)
known, unknown = pipeline.recommend(catalogue, [window, []])
for name, found in (("three views", known), ("nothing known", unknown)):
    print(f"{name} (degraded: {found.degraded})")
    for item in found.items:
        because = f"because of {titles[item.because]}" if item.because else "no single reason"
        print(f"  {item.score:.3f}  {titles[item.item_id]:<40} {because}; sources {', '.join(item.sources)}")
