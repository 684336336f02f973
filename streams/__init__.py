"""The workers: records in from Kafka, records out to Kafka.

::

    events ──► sequencer ──► sequences ──► recommender ──► recommendations
                   └──► events.rejected        ▲   └─────► user-vectors
                                    items ─────┘

Reading order: ``contract.records`` (what is on the wire), ``kafka.topic_specs``,
``sequencer.window`` (a pure function), ``sequencer.absorb_batch`` and ``sequencer.agent``, then
``recommender.window_queue``, ``recommender.list_records`` and ``recommender.agent``.
``kafka.batch_writer``, ``state.table`` and ``runtime.app`` are the fast path through Faust.
"""
