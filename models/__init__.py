"""Arrays in, arrays out: nothing here knows of Kafka.

Reading order: ``text``, ``encoder`` (an item's text becomes a vector, once), ``sequence`` (a window becomes a user vector),
``factors`` (matrix factorisation), ``index`` (retrieval), ``fusion`` (one probability per candidate), ``recommend`` (all of it),
``training``, ``artifact``, ``evaluation``.
"""
