"""Read recommendation lists, each once, until Ctrl-C: python consume.py BROKER

Needs `pip install confluent-kafka msgpack`, and nothing of headrace. docs/contract/consuming.md
says why the rule holds.
"""

import sys

import msgpack
from confluent_kafka import Consumer

# user_id -> rank of the last list taken; keep it in your database, in one transaction with the list
newest = {}
consumer = Consumer(
    {
        "bootstrap.servers": sys.argv[1],
        "group.id": "shop-frontend",
        "auto.offset.reset": "earliest",
        # an offset is committed after the list is stored, never before
        "enable.auto.commit": False,
    }
)
consumer.subscribe(["recommendations"])
try:
    while True:
        record = consumer.poll(1.0)
        if record is None or record.error():
            continue
        if record.value() is None:  # the user was removed or forgotten: drop what you show and keep
            newest.pop(record.key().decode(), None)
            continue
        # json.loads where the deployment sets output_format=json
        found = msgpack.unpackb(record.value())
        full = not found.get("provisional", False)
        rank = (found["revision"], found.get("users_offset", -1), full, found.get("model_order", 0))
        if rank > newest.get(found["user_id"], (-1, -1, False, 0)):
            newest[found["user_id"]] = rank
            items = " ".join(f"{item['item_id']}({item['score']:.3f})" for item in found["items"])
            print(f"{found['user_id']} revision {found['revision']}: {items}", flush=True)
        consumer.commit(record, asynchronous=False)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
