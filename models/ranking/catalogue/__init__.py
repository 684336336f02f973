"""The catalogue: every item that lists may show, and what is known of it, while it changes.

::

    record ─► parts ─► store ─► rows, live_index, tables, popularity ─► snapshot
"""

from models.ranking.catalogue.build import build_catalogue
from models.ranking.catalogue.snapshot import Catalogue

__all__ = ["Catalogue", "build_catalogue"]
