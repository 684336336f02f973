"""Publish shop events with a plain Kafka client: python publish.py BROKER USER ITEM [ITEM ...]

Needs `pip install confluent-kafka`, and nothing of headrace. The contract is in
docs/contract/README.md.
"""

import json
import sys
import time
import uuid

from confluent_kafka import Producer

broker, user_id, *item_ids = sys.argv[1:]
problems = []
producer = Producer(
    {
        "bootstrap.servers": broker,
        # all events of a user on the partition that headrace expects
        "partitioner": "murmur2_random",
        "enable.idempotence": True,  # the client's own retries keep order and send nothing twice
    }
)
for item_id in item_ids:
    event = {
        "v": 1,
        # names the event for ever: use the same id when you send it again
        "event_id": str(uuid.uuid4()),
        "user_id": user_id,
        "item_id": item_id,
        "type": "view",  # or click, or purchase
        "ts": int(time.time() * 1000),  # milliseconds since 1970, UTC
    }
    producer.produce(
        "events",
        key=user_id,  # the record key is the user_id
        value=json.dumps(event),
        on_delivery=lambda error, record: problems.append(error) if error else None,
    )
n_unsent = producer.flush(30)
if problems or n_unsent:
    sys.exit(f"{len(problems)} events refused, {n_unsent} not sent within 30 s: {problems[:1]}")
print(f"{len(item_ids)} events of {user_id} published")
