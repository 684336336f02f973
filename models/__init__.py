"""Models over arrays: no module here knows Kafka.

Reading order: ``text`` (an item's text becomes a vector, once), ``sequence`` (a window becomes a
user vector), ``factors`` (matrix factorisation and item neighbours), ``index`` (retrieval),
``fusion`` (one probability per candidate), ``ranking`` (all of it, as served), ``training``,
``artifact`` (the result on disk), ``evaluation``.
"""
