"""Plumbing and time: Kafka in, Kafka out.

::

    events ──► sequencer ──► sequences ──► recommender ──► recommendations
                   └──► events.rejected        ▲   └─────► user-vectors
                                    items ─────┘

Reading order: ``records`` (what is on the wire), ``topics``, ``window`` (the pure window), ``sequencing`` and ``sequencer``,
``pending``, ``recommending`` and ``recommender``. ``batches``, ``table`` and ``app`` are the fast path through Faust.
"""
