"""Train an artifact with a text encoder of your own.

Run it as: python custom_encoder.py LOG_CSV CATALOGUE_CSV OUT

The log has the columns user_id, item_id and ts (milliseconds); the catalogue item_id and title.
Workers load encoders by name or folder only, so an artifact of this encoder serves in your own
process, as in embed_pipeline.py.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from sklearn.feature_extraction.text import HashingVectorizer

from models.artifact.artifact import save_artifact
from models.base.types import Float32
from models.interactions import Interactions
from models.text.clean import item_text, text_version
from models.training.train import TextSource, TrainingData, TrainingOptions, train


class CharacterEncoder:
    """Counts of three to five letters, hashed: similar spelling gives similar vectors.

    The class is a `models.text.encoder.TextEncoder`.
    """

    files_sha256 = ""  # it is loaded from no file
    version = "characters-256-1"  # change it with anything that changes a vector
    dim = 256

    def __init__(self) -> None:
        self._counts = HashingVectorizer(n_features=self.dim, analyzer="char_wb", ngram_range=(3, 5), norm="l2")

    def warm_up(self) -> None:
        """Do nothing: there is nothing to load."""

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, 256) float32, in the order given; all values finite."""
        return self._counts.transform(texts).toarray().astype("float32")


def rows(path: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column name."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


log = Interactions.from_rows((row["user_id"], row["item_id"], "view", int(row["ts"])) for row in rows(sys.argv[1]))
texts = {row["item_id"]: item_text(row["title"]) for row in rows(sys.argv[2])}
encoder = CharacterEncoder()
vectors = dict(zip(texts, encoder.encode(list(texts.values())), strict=True))
source = TextSource("characters", encoder.version, text_version())
artifact = train(TrainingData(log, vectors, source), TrainingOptions(preset="demo", seed=1))
save_artifact(artifact, Path(sys.argv[3]))
print(f"artifact {artifact.version} in {sys.argv[3]}: validation {artifact.manifest.metrics}")
